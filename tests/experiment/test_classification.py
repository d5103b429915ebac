from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from aoi_tl.classification import cdg, patches, probe, robustness, two_stage
from aoi_tl.errors import ExperimentError
from aoi_tl.experiment.classification import (
    ARMS,
    CHANGES,
    DEFAULT_ARMS,
    FROZEN,
    PROBED,
    ClassificationExperiment,
    locate_images,
)
from aoi_tl.experiment.detection import Experiment
from aoi_tl.experiment.settings import read_settings, validate
from aoi_tl.synthetic.surfaces import LITHIUM_COUNTS, surface_classes
from aoi_tl.workflows.classifier_arms import STEPS_OF

ROOT = Path(__file__).parents[2]
LEAST = {"method": "cdg", "target": {"path": "t"}, "source": {"path": "s"}}


def test_names_are_those_of_the_rooms() -> None:
    assert (*probe.ARMS, patches.ARM) == FROZEN
    named = {"cdg": (*FROZEN, *cdg.ARMS), "two-stage": (*FROZEN, *two_stage.ARMS)}
    assert named == DEFAULT_ARMS
    assert {method: (*arms, *PROBED[method]) for method, arms in named.items()} == ARMS
    assert {(method, arm) for method in ARMS for arm in PROBED[method]} == set(STEPS_OF)
    assert tuple(robustness.STRENGTHS) == CHANGES


def test_defaults_are_the_papers() -> None:
    train = validate(LEAST, ClassificationExperiment).train
    assert (train.blocks.source, train.blocks.target) == (50, 10)
    assert (train.learning_rate, train.batch, train.epochs, train.image_size) == (
        0.001, 16, 10, 224)
    assert (train.alpha, train.beta) == (1, 1)


def test_arms_follow_the_method() -> None:
    assert validate(LEAST, ClassificationExperiment).arms == (*FROZEN, *cdg.ARMS)
    assert validate({**LEAST, "method": "two-stage"}, ClassificationExperiment).arms == (
        *FROZEN, *two_stage.ARMS)
    assert validate({**LEAST, "arms": ["cdg", "plain", "cdg"]}, ClassificationExperiment).arms == (
        "cdg", "plain")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("arms: [cgd]", "did you mean 'cdg'"),
        ("arms: [two-stage]", "for cdg, got 'two-stage'"),
        ("seeds: [1, 1]", "distinct seeds"),
        ("train: {epoch: 3}", "did you mean 'epochs'"),
        ("train: {blocks: {source: 0}}", "touches both domains"),
        ("train: {image_size: 8}", "train.image_size"),
        ("imbalance: {treatment: oversample}", "got treatment oversample and 0 classes"),
        ("imbalance: {oversample: {Inked: 3}}", "got treatment none and 1 classes"),
        ("report: {robustness: [fog]}", "expected changes out of noise"),
        ("method: dann", "method"),
    ],
)
def test_faults_are_told_with_their_line(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "e.yaml"
    head = [] if line.startswith("method") else ["method: cdg"]
    file.write_text("\n".join([*head, "target: {path: t}", "source: {path: s}", line]) + "\n")
    number = 3 + len(head)
    with pytest.raises(ExperimentError, match=f"line {number}.*{message}"):
        read_settings(file, ClassificationExperiment)


PARTS = """run:
  target: t.yaml
  sources: [s.yaml]
classify:
  method: cdg
  target: {path: t}
  source: {path: s}
"""


def test_each_command_reads_its_part_of_a_file_for_both(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(PARTS)
    assert read_settings(file, Experiment).sources == ("s.yaml",)
    read = read_settings(file, ClassificationExperiment, ["train.epochs=3"])
    assert (read.target.path, read.train.epochs, read.name) == ("t", 3, "e")
    file.write_text(PARTS + "  epochs: 3\n")
    assert read_settings(file, Experiment).target == "t.yaml"
    with pytest.raises(ExperimentError, match=r"e\.yaml, line 8, epochs: expected one of target"):
        read_settings(file, ClassificationExperiment)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PARTS.split("classify")[0], "expected a part 'classify' with further keys, got run; add"),
        ("classify: [1]\n", "expected a part 'classify' with further keys, got the list"),
        (PARTS + "seeds: [0]\n", "got the unknown key"),
    ],
)
def test_a_file_without_the_part_of_the_command(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(text)
    with pytest.raises(ExperimentError, match=message):
        read_settings(file, ClassificationExperiment)


def test_paths_are_found_from_the_file_and_from_the_data_root(tmp_path: Path) -> None:
    for name in ("datasets/t", "datasets/s", "elsewhere/t", "elsewhere/s", "experiments"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/mine.pt").write_bytes(b"")
    file = tmp_path / "experiments/e.yaml"
    file.write_text("method: cdg\ntarget: {path: ../datasets/t}\nsource: {path: ../datasets/s}\n"
                    "encoder: mine.pt\n")
    experiment = read_settings(file, ClassificationExperiment)
    found = locate_images(experiment)
    assert Path(found.target.path).samefile(tmp_path / "datasets/t")
    assert Path(found.encoder).samefile(tmp_path / "weights/mine.pt")
    other = locate_images(experiment, data_root=tmp_path / "elsewhere")
    assert Path(other.source.path).samefile(tmp_path / "elsewhere/s")


def test_missing_data_and_a_source_that_is_the_target(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    paths = {"target": {"path": str(tmp_path / "t")}, "source": {"path": str(tmp_path / "s")}}
    with pytest.raises(ExperimentError, match=r"source\.path: .*got nothing there"):
        locate_images(validate({**LEAST, **paths}, ClassificationExperiment))
    paths["source"] = paths["target"]
    with pytest.raises(ExperimentError, match="other than the target"):
        locate_images(validate({**LEAST, **paths}, ClassificationExperiment))


@pytest.mark.parametrize(
    ("name", "cards"),
    [("lithium-cdg", ["lithium-iesdc", "neu-cls"]), ("sem-two-stage", ["sem-cathodes"])],
)
def test_files_that_come_along_are_read_and_their_classes_are_on_the_cards(
    name: str, cards: list[str]
) -> None:
    experiment = read_settings(ROOT / "experiments" / f"{name}.yaml", ClassificationExperiment)
    assert experiment.arms == DEFAULT_ARMS[experiment.method]
    assert len(experiment.seeds) >= 3
    known: set[str] = set()
    for card in cards:
        told = yaml.safe_load((ROOT / f"datasets/{card}.yaml").read_text())
        known |= {*told["classes"], *told.get("class_names", [])}
    assert {*experiment.shifted_classes, *experiment.imbalance.oversample} <= known
    for images in (experiment.target, experiment.source):
        assert any(f"../datasets/{card}" in images.path for card in cards)


def test_cathode_card_names_what_is_drawn() -> None:
    card = yaml.safe_load((ROOT / "datasets/sem-cathodes.yaml").read_text())
    assert tuple(card["class_names"]) == surface_classes("sem")


def test_lithium_card_is_table_one_of_the_paper() -> None:
    card = yaml.safe_load((ROOT / "datasets/lithium-iesdc.yaml").read_text())
    assert card["train"] == LITHIUM_COUNTS["train"]
    assert card["test"] == LITHIUM_COUNTS["test"]
    assert card["classes"] == {
        name: card["train"][name] + card["test"][name] for name in card["train"]
    }
    assert sum(card["classes"].values()) == card["images"]["count"]
