"""The arms that begin with a source's detector: what they see, what they begin and end with."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from aoi_tl import Experiment, load_dataset, run_experiment
from aoi_tl.errors import AoiTlError
from aoi_tl.transfer.detector import load_checkpoint, new_model, save_checkpoint
from aoi_tl.workflows import auto
from tests.drawn import draw_dataset
from tests.tiny_detector import tiny_detector

pytestmark = pytest.mark.slow

TRAIN = {"epochs": 2, "batch": 4, "imgsz": 64, "nbs": 4, "workers": 0, "source": {"epochs": 1}}
ARMS = ("stock", "stock-long", "zero-shot", "chain", "chain-soup", "joint", "union", "union-soup",
        "union-chain", "union-joint", "auto")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    draw_dataset(folder / "new", {"dent": 3, "stain": 2}, seed=1)
    draw_dataset(folder / "near", {"stain": 2, "dent": 5, "burr": 2}, seed=2, ground=125)
    draw_dataset(folder / "far", {"dent": 4, "stain": 1}, seed=3, ground=40)
    draw_dataset(folder / "alone", {"burr": 2}, seed=4)
    tiny_detector(folder / "tiny.pt", ("dent", "stain"))
    return folder


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AOI_TL_CACHE", str(folder))
        yield folder


def experiment(shelf: Path, **settings: object) -> Experiment:
    defaults = {
        "target": str(shelf / "new" / "data.yaml"),
        "sources": [str(shelf / name / "data.yaml") for name in ("near", "far", "alone")],
        "weights": str(shelf / "tiny.pt"), "train": TRAIN, "arms": list(ARMS), "seeds": [0],
        "pick": ["near"], "score": {"n_clusters": 3}, "target_images": [4, "all"],
    }
    return Experiment.model_validate({**defaults, **settings})


@pytest.fixture(scope="module")
def folder(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_experiment(experiment(shelf), tmp_path_factory.mktemp("runs") / "r").folder


def state(file: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(file).state_dict()


def images_of(stage: Path) -> list[str]:
    """The content of each image that a stage trained on, repetitions included."""
    data = Path(yaml.safe_load((stage / "args.yaml").read_text())["data"])
    content = yaml.safe_load(data.read_text())
    train = data.parent / content["train"]
    files = [data.parent / line for line in train.read_text().split()] \
        if train.suffix == ".txt" else sorted(train.iterdir())
    return [str(file.resolve()) for file in files]


def test_every_arm_has_a_row_for_each_number_of_images(folder: Path) -> None:
    rows = pd.read_csv(folder / "arms.csv")
    assert list(zip(rows["images"], rows["arm"], strict=True)) == [
        (images, arm) for images in ("4", "all") for arm in ARMS
    ]
    assert rows[["map50", "f1"]].notna().all(axis=None)
    summary = pd.read_csv(folder / "summary.csv")
    assert {"images", "boot_low", "minus_stock_boot_high", "minus_stock-long_n"} <= set(summary)
    curve = pd.read_csv(folder / "learning_curve.csv")
    assert list(curve["arm"]) == list(ARMS)


@pytest.mark.parametrize("arm", ["stock", "stock-long", "chain", "union-chain"])
def test_few_images_are_the_only_ones_of_the_target_that_are_seen(
    folder: Path, shelf: Path, arm: str
) -> None:
    few = images_of(folder / "stages" / f"{arm}-n4-s0-target")
    whole = images_of(folder / "stages" / f"{arm}-s0-target")
    target = load_dataset(shelf / "new" / "data.yaml").split("train")
    train = {str(sample.image.resolve()) for sample in target.samples}
    assert len(few) == 4
    assert set(few) < set(whole) == train


@pytest.mark.parametrize("size", ["n4-", ""])
def test_a_joint_training_mixes_the_target_with_training_images_of_the_sources(
    folder: Path, shelf: Path, size: str
) -> None:
    labelled = images_of(folder / "stages" / f"stock-{size}s0-target")
    for arm, sources in (("joint", {"near"}), ("union-joint", {"near", "far"})):
        mixed = images_of(folder / "stages" / f"{arm}-{size}s0-target")
        other = [image for image in mixed if image not in labelled]
        assert set(mixed) > set(labelled)
        assert {Path(image).parents[2].name for image in other} <= sources
        assert {Path(image).parent.name for image in mixed} == {"train"}


def test_a_union_leaves_out_what_shares_no_class(folder: Path, cache: Path) -> None:
    described = [json.loads(file.read_text())
                 for file in sorted((cache / "detectors").glob("*/detector.json"))]
    assert sorted(sorted(Path(f).parent.name for f in d["sources"]) for d in described) == [
        ["far", "near"], ["near"],
    ]


def test_the_longer_control_takes_as_many_steps_as_source_and_target_together(folder: Path) -> None:
    # 16 source images in batches of 4, one epoch: 4 steps. Beside them 2 epochs of 4 images: 2
    # steps, so 3 times as long; or of 6 images: 4 steps, so twice as long.
    for size, epochs in (("n4-", 6), ("", 4)):
        rows = pd.read_csv(folder / "stages" / f"stock-long-{size}s0-target" / "results.csv")
        assert len(rows) == epochs
        plain = pd.read_csv(folder / "stages" / f"stock-{size}s0-target" / "results.csv")
        assert len(plain) == 2


def test_a_chain_begins_with_every_tensor_of_the_detector(folder: Path) -> None:
    kept = json.loads((folder / "detectors.json").read_text())
    for arm, source in (("chain", "near"), ("union-chain", "union")):
        stage = folder / "stages" / f"{arm}-s0-target"
        ledger = pd.read_csv(stage / "ledger.csv")
        assert ledger["origin"].str.contains("copied").all()
        before, initial = state(Path(kept[source]["checkpoint"])), state(stage / "initial.pt")
        same = [name for name in initial if initial[name].shape == before[name].shape]
        # Where the detector knows another number of classes, the class layers alone are new.
        assert all(name.startswith("model.4.cv3") for name in set(initial) - set(same))
        assert len(same) > 60
        assert all(torch.equal(initial[name], before[name]) for name in same)


def test_an_average_lies_halfway_and_trains_nothing_itself(folder: Path) -> None:
    for arm, plain in (("chain-soup", "chain"), ("union-soup", "union-chain")):
        stage = folder / "stages" / f"{plain}-s0-target"
        assert not (folder / "stages" / f"{arm}-s0-target" / "results.csv").exists()
        before, after = state(stage / "initial.pt"), state(stage / "weights" / "best.pt")
        mean = state(folder / "stages" / f"{arm}-s0-target" / "weights" / "best.pt")
        for name, value in mean.items():
            if value.is_floating_point():
                torch.testing.assert_close(value, (before[name] + after[name]) / 2)


def test_the_rate_on_the_target_is_lower(folder: Path) -> None:
    def asked(arm: str) -> dict[str, object]:
        found: dict[str, object] = yaml.safe_load(
            (folder / "stages" / f"{arm}-s0-target" / "args.yaml").read_text()
        )
        return found

    assert asked("stock")["optimizer"] == "auto"
    assert asked("chain")["optimizer"] == "AdamW"
    # Ultralytics' own choice for two classes is 0.002 * 5 / (4 + 2); three tenths of it.
    assert math.isclose(float(str(asked("chain")["lr0"])), 0.3 * 0.001667, rel_tol=1e-6)


def test_auto_says_why_and_is_the_arm_that_it_chose(folder: Path) -> None:
    rows = pd.read_csv(folder / "arms.csv").set_index(["images", "arm"])
    for images, size in (("4", "n4-"), ("all", "")):
        choice = json.loads(
            (folder / "stages" / f"auto-{size}s0-target" / "choice.json").read_text()
        )
        auto, same = rows.loc[images, "auto"], rows.loc[images, choice["arm"]]
        assert auto["map50"] == same["map50"]
        assert choice["why"] in auto["notes"]


def test_cross_validation_holds_out_what_it_is_scored_on(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "ENOUGH", 4)
    target = draw_dataset(tmp_path / "new", {"dent": 3, "stain": 2}, seed=1, size=128)
    for folder, suffix in (("images", ".png"), ("labels", ".txt")):
        train = tmp_path / "new" / folder / "train"
        (train / f"copy{suffix}").write_bytes((train / f"train0{suffix}").read_bytes())
    found = run_experiment(
        experiment(shelf, target=str(target), arms=["union-chain", "auto"], target_images=["all"],
                   train={**TRAIN, "epochs": 1}), tmp_path / "r",
    )
    stages = found.folder / "stages"
    choice = json.loads((stages / "auto-s0-target" / "choice.json").read_text())
    assert list(choice["scores"]) == [
        "stock", "union", *(f"union-soup with weight {w:g}" for w in auto.SOUPS),
        *(f"union-soup with weight {w:g} at the plain rate" for w in auto.SOUPS),
        "union-chain", "union-chain at the plain rate",
    ]
    assert max(choice["scores"].values()) == choice["scores"][choice["why"].split(",")[0]]
    labelled = load_dataset(target).split("train")
    whole = {str(sample.image.resolve()) for sample in labelled.samples}
    trained = []
    for fold in "01":
        data = load_dataset(found.folder / "data" / f"auto-s0-fold{fold}" / "data.yaml")
        held_out = {str(sample.image.resolve()) for sample in data.split("test").samples}
        for arm in ("stock", "union-chain", "union-chain-rate1"):
            [stage] = stages.glob(f"auto-s0-fold{fold}-{arm}-s0-target")
            seen = set(images_of(stage))
            assert not seen & held_out
            assert seen | held_out == whole
        trained.append(seen)
    assert not trained[0] & trained[1]
    copies = {file for file in whole if Path(file).stem in ("train0", "copy")}
    assert len(copies) == 2
    assert any(copies <= seen for seen in trained)


def test_auto_fine_tunes_where_no_source_shares_a_class(shelf: Path, tmp_path: Path) -> None:
    found = run_experiment(
        experiment(shelf, sources=[str(shelf / "alone" / "data.yaml")], arms=["auto"],
                   pick=["alone"], target_images=["all"], train={**TRAIN, "epochs": 1}),
        tmp_path / "alone",
    )
    stage = found.folder / "stages" / "auto-s0-target"
    assert json.loads((stage / "choice.json").read_text())["arm"] == "stock"
    assert not list((found.folder / "stages").glob("*union*"))
    assert "no source shares a class" in found.arms["notes"].item()


def test_another_run_takes_the_kept_detectors(shelf: Path, folder: Path, tmp_path: Path) -> None:
    first = json.loads((folder / "detectors.json").read_text())
    assert not first["near"]["reused"]
    again = run_experiment(
        experiment(shelf, arms=["zero-shot", "chain"], target_images=["all"]), tmp_path / "again"
    )
    known = json.loads((again.folder / "detectors.json").read_text())
    assert known["near"] == {**first["near"], "reused": True}
    rows = pd.read_csv(folder / "arms.csv").set_index(["images", "arm"])
    assert list(again.arms["map50"]) == [rows.loc["all", arm]["map50"]
                                         for arm in ("zero-shot", "chain")]
    assert not list((again.folder / "stages").glob("*-source"))


def test_a_given_detector_is_taken_as_it_is(shelf: Path, folder: Path, tmp_path: Path) -> None:
    kept = json.loads((folder / "detectors.json").read_text())["near"]["checkpoint"]
    sources = [{"data": str(shelf / "near" / "data.yaml"), "checkpoint": kept}]
    found = run_experiment(
        experiment(shelf, sources=sources, arms=["zero-shot"], target_images=["all"]),
        tmp_path / "given",
    )
    rows = pd.read_csv(folder / "arms.csv").set_index(["images", "arm"])
    assert list(found.arms["map50"]) == [rows.loc["all", "zero-shot"]["map50"]]
    assert json.loads((found.folder / "detectors.json").read_text())["near"]["checkpoint"] == kept


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    save_checkpoint(new_model("yolov8n.yaml", ("crack",), 0), folder / "classes.pt")
    save_checkpoint(new_model("yolov8n.yaml", ("stain", "dent", "burr"), 0), folder / "v8.pt")
    save_checkpoint(new_model("yolo11n.yaml", ("stain", "dent", "burr"), 0), folder / "v11.pt")
    return folder


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"checkpoint": "classes.pt"}, ["of the classes of near", "without stain"]),
        ({"checkpoint": "v11.pt", "weights": "v8.pt"}, ["same architecture as v8.pt", "v11.pt"]),
        ({"target_images": [7]}, ["from 1 to 6", "got 7"]),
        ({"arms": ["zero-shot"], "pick": ["alone"]}, ["alone", "target's classes"]),
        ({"arms": ["union"], "sources": ["alone"]}, ["arms", "shares a class"]),
        ({"arms": ["stock-long"]}, ["stock-long", "an arm with a source"]),
    ],
    ids=lambda value: " ".join(map(str, value))[:30] if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_before_any_training(
    shelf: Path, wrong: Path, tmp_path: Path, settings: dict[str, object], words: list[str]
) -> None:
    names = settings.pop("sources", ["near", "alone"])
    sources: list[object] = [str(shelf / name / "data.yaml") for name in names]  # type: ignore[attr-defined]
    if checkpoint := settings.pop("checkpoint", None):
        sources[0] = {"data": sources[0], "checkpoint": str(wrong / str(checkpoint))}
    if weights := settings.get("weights"):
        settings["weights"] = str(wrong / str(weights))
    pick = settings.pop("pick", [Path(str(names[0])).name])  # type: ignore[index]
    with pytest.raises(AoiTlError) as caught:
        run_experiment(
            experiment(shelf, sources=sources, pick=pick, **{"target_images": ["all"], **settings}),
            tmp_path / "run",
        )
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.parametrize("name", ["share", "soup"])
@pytest.mark.parametrize("value", [0, 1])
def test_a_share_of_nothing_or_all_is_refused(shelf: Path, name: str, value: float) -> None:
    with pytest.raises(ValueError, match="transfer"):
        experiment(shelf, transfer={name: value})


def test_the_ranking_looks_through_kept_detectors_and_is_the_same_after_a_resume(
    shelf: Path, folder: Path, tmp_path: Path
) -> None:
    from aoi_tl.engine import LocalEngine
    from aoi_tl.files.run_folder import RunFolder
    from aoi_tl.workflows.transfer import rank

    asked = experiment(shelf)
    target, *sources = [load_dataset(shelf / name / "data.yaml") for name in ("new", "near", "far")]
    alone = load_dataset(shelf / "alone" / "data.yaml")

    def ranked(run: Path):
        run.mkdir(exist_ok=True)
        return rank(RunFolder(run), asked, target, [*sources, alone], LocalEngine(1),
                    lambda *_: None)

    seen = {row.name: row.measures["zero-shot"].value for row in ranked(tmp_path / "later").sources}
    assert seen["near"] is not None
    assert seen["far"] is None
    before = json.loads((folder / "scores.json").read_text())  # ranked before it kept a detector
    assert {row["measures"]["zero-shot"]["value"] for row in before["sources"]} == {None}
    again = ranked(folder)
    assert {row.measures["zero-shot"].value for row in again.sources} == {None}
    assert again.selected == before["selected"]
