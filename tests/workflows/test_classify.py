from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from aoi_tl.classification.batches import cache_pixels
from aoi_tl.classification.classifier import (
    Classifier,
    build_classifier,
    predict,
    probe_head,
    start_from_probe,
)
from aoi_tl.classification.encoders import build_encoder, read_ultralytics
from aoi_tl.classification.features import VIEWS, compute_features
from aoi_tl.classification.folders import read_image_folders
from aoi_tl.classification.probe import fit_probe
from aoi_tl.data.images import read_image
from aoi_tl.errors import AoiTlError, CheckpointError, DataError, ExperimentError, RunError
from aoi_tl.experiment.classification import ClassificationExperiment
from aoi_tl.experiment.settings import validate
from aoi_tl.synthetic.surfaces import write_surfaces
from aoi_tl.workflows.classifier_arms import spread_over_classes
from aoi_tl.workflows.classify import run_classification
from aoi_tl.workflows.transfer import run_experiment
from tests.drawn import draw_dataset
from tests.tiny_detector import tiny_detector

pytestmark = pytest.mark.slow

SMALL = {"encoder": "yolov8n.yaml", "weights": "random", "seeds": [0],
         "report": {"robustness": ["noise"], "maps": 4, "samples": 6}}
TRAIN = {"epochs": 1, "image_size": 32, "batch": 4, "blocks": {"source": 3, "target": 2}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("surfaces")
    few = {"No Defect": 3, "Over Melting": 1, "Inked": 1}
    write_surfaces(folder / "lithium", "lithium", {"train": few, "test": few}, 32)
    write_surfaces(folder / "steel", "steel", {"train": {"patches": 8, "scratches": 8}}, 32)
    classes = {f"{kind} {state}": 3 for kind in ("NCM333", "NCM811")
               for state in ("pristine", "100 cycles")}
    write_surfaces(folder / "rich", "sem", {"train": classes}, 32)
    poor = {"NCM811 pristine": 2, "NCM811 100 cycles": 1}
    write_surfaces(folder / "poor", "sem-additive", {"train": poor, "test": poor}, 32)
    return folder


def cdg_experiment(data: Path, **changes: Any) -> ClassificationExperiment:
    settings = {"method": "cdg", "target": {"path": str(data / "lithium")},
                "source": {"path": str(data / "steel")}, "train": TRAIN, **SMALL}
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(settings.get(key), dict)
        settings[key] = {**settings[key], **value} if nested else value
    return validate(settings, ClassificationExperiment)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "cdg"
    experiment = cdg_experiment(data, seeds=[0, 1])
    outcome = run_classification(experiment, out)
    assert outcome.folder == out
    return out


def test_run_folder_holds_what_it_promises(finished: Path) -> None:
    for name in ("experiment.yaml", "environment.json", "counts.csv", "arms.csv", "summary.csv",
                 "confusion.csv", "robustness.csv", "timings.csv", "report.html", "arms.png",
                 "classes.png", "losses.png", "confusion.png", "samples.png", "done"):
        assert (finished / name).is_file(), name
    for stage in ("plain-s0", "pretrained-s1", "multi-task-s0", "cdg-s1"):
        for name in ("ledger.json", "losses.csv", "cycles.csv", "predictions.csv", "model.pt"):
            assert (finished / "stages" / stage / name).is_file(), (stage, name)
        assert not (finished / "stages" / stage / "last.pt").exists()


def test_every_arm_and_seed_has_a_row_and_the_same_budget(finished: Path) -> None:
    arms = pd.read_csv(finished / "arms.csv")
    assert list(zip(arms["arm"], arms["seed"], strict=True)) == [
        (arm, seed) for seed in (0, 1)
        for arm in ("nearest-mean", "probe", "patch-probe", "plain", "pretrained", "multi-task",
                    "cdg")
    ]
    frozen = arms["arm"].isin(["nearest-mean", "probe", "patch-probe"])
    assert set(arms[frozen]["steps"]) == {0}
    # 16 source images are 4 batches: two cycles of 3 source and 2 target steps.
    assert set(arms[~frozen]["steps"]) == {10}
    by_arm = arms.set_index("arm")[["target_steps", "source_steps"]]
    assert by_arm.loc["cdg"].iloc[0].tolist() == [4, 6]
    assert by_arm.loc["plain"].iloc[0].tolist() == [10, 0]
    assert by_arm.loc["multi-task"].iloc[0].tolist() == [10, 10]
    assert arms["accuracy"].between(0, 1).all()


def test_accuracy_follows_from_the_predictions_and_the_confusion(finished: Path) -> None:
    arms = pd.read_csv(finished / "arms.csv").set_index(["arm", "seed"])
    confusion = pd.read_csv(finished / "confusion.csv")
    for (arm, seed), row in arms.iterrows():
        found = pd.read_csv(finished / "stages" / f"{arm}-s{seed}" / "predictions.csv")
        assert len(found) == 5
        assert (found["class"] == found["predicted"]).mean() == pytest.approx(row["accuracy"])
        counted = confusion[(confusion["arm"] == arm) & (confusion["seed"] == seed)]
        assert counted["images"].sum() == 5


def test_a_frozen_arm_keeps_what_it_chose_and_says_the_same_again(
    finished: Path, data: Path
) -> None:
    for arm in ("probe", "nearest-mean"):
        stage = finished / f"stages/{arm}-s1"
        chosen = json.loads((stage / "probe.json").read_text())
        assert (chosen["images"], chosen["views"]) == (5, 10)
        assert chosen["held_out"] == 3  # of the three No Defect; the others have one image
        kept = torch.load(stage / "model.pt", weights_only=True)
        module = build_encoder(kept["encoder"], "random", 1).module
        head = torch.nn.Linear(256, 3)
        classifier = Classifier(module, torch.nn.ModuleDict({"target": head}),
                                {"target": slice(0, 3)})
        classifier.module.load_state_dict(kept["state"])
        table = pd.read_csv(finished / "stages" / f"{arm}-s1" / "predictions.csv")
        pixels = cache_pixels(read_image_folders(data / "lithium").split("test"), 32)
        chances = predict(classifier, pixels)
        np.testing.assert_allclose(chances.max(axis=1), table["probability"], atol=1e-4)


def test_no_test_image_is_in_any_fit(data: Path, tmp_path: Path, monkeypatch) -> None:
    """What a frozen arm is fitted on are the training images alone, in their own order."""
    import aoi_tl.workflows.probe_arm as room

    seen = []
    monkeypatch.setitem(room.FITS, "probe", lambda features, labels, *rest: (
        seen.append((features, labels)), fit_probe(features, labels, *rest))[1])
    run_classification(cdg_experiment(data, arms=["probe"]), tmp_path / "run")
    [(features, labels)] = seen
    images = read_image_folders(data / "lithium").split("train")
    pixels = cache_pixels(images, 32)
    expected = compute_features(build_encoder("yolov8n.yaml", "random").module, pixels, VIEWS)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_array_equal(labels, images.labels)


def test_other_test_images_leave_every_arm_as_it_is(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "lithium"
    shutil.copytree(data / "lithium", other)
    for file in (other / "test").rglob("*.png"):
        cv2.imwrite(str(file), 255 - cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    named = ["nearest-mean", "patch-probe", "lp-ft", "probe+cdg"]
    states = {}
    for target in (data / "lithium", other):
        run = tmp_path / f"run-{len(states)}"
        run_classification(cdg_experiment(
            data, target={"path": str(target)}, arms=named,
            train={**TRAIN, "statistics": "target"}, report={"robustness": [], "maps": 0},
        ), run)
        states[target] = {
            arm: torch.load(run / f"stages/{arm}-s0/model.pt", weights_only=True)["state"]
            for arm in named
        }
    first, second = states.values()
    for arm in named:
        for key, tensor in first[arm].items():
            assert torch.equal(tensor, second[arm][key]), (arm, key)


def test_losses_of_cdg_come_in_blocks(finished: Path) -> None:
    losses = pd.read_csv(finished / "stages/cdg-s0/losses.csv")
    assert losses["domain"].tolist() == (["source"] * 3 + ["target"] * 2) * 2
    assert len(pd.read_csv(finished / "stages/cdg-s0/cycles.csv")) == 2


def test_summary_pairs_the_arms_with_both_baselines(finished: Path) -> None:
    summary = pd.read_csv(finished / "summary.csv")
    assert {"n", "mean", "sd", "low", "high", "minus_plain", "minus_pretrained"} <= set(summary)
    assert set(summary["metric"]) == {"accuracy", "macro_f1", "balanced_accuracy"}


def test_page_holds_its_figures_and_names_the_majority(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    found = pd.read_csv(finished / "stages/cdg-s0/predictions.csv")
    wrong = int((found["class"] != found["predicted"]).sum())
    samples = min(3, wrong) + min(6 - min(3, wrong), len(found) - wrong)
    # Arms, losses, classes and reliability as drawings; the samples and the maps as pictures.
    assert page.count('<figure class="chart">') == 4
    assert page.count('src="data:image/webp;base64,') == samples + 1
    assert "60.0 %" in page
    assert "jpeg: quality" in page
    for name in ("classes.png", "losses.png", "samples.png"):
        assert read_image(finished / name).std() > 0


def test_finished_run_is_not_trained_again_and_another_is_refused(
    finished: Path, data: Path
) -> None:
    before = {file: file.stat().st_mtime_ns for file in finished.rglob("result.json")}
    again = run_classification(cdg_experiment(data, seeds=[0, 1]), finished, resume=True)
    assert {file: file.stat().st_mtime_ns for file in finished.rglob("result.json")} == before
    assert len(again.arms) == 14
    with pytest.raises(RunError, match="expected a new run folder"):
        run_classification(cdg_experiment(data, seeds=[0, 1]), finished)
    with pytest.raises(RunError, match=r"differs in train\.alpha: 1\.0 there, 0\.5 here"):
        run_classification(cdg_experiment(data, train={"alpha": 0.5}, seeds=[0, 1]), finished,
                           resume=True)


def test_broken_off_run_ends_with_the_same_arms(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    def break_off(what: str, done: int, total: int) -> None:
        if what == "multi-task, seed 0" and done == 7:
            raise KeyboardInterrupt

    experiment = cdg_experiment(data, seeds=[0, 1])
    with pytest.raises(KeyboardInterrupt):
        run_classification(experiment, tmp_path / "run", progress=break_off)
    assert not (tmp_path / "run/done").exists()
    run_classification(experiment, tmp_path / "run", resume=True)
    for name in ("arms.csv", "summary.csv", "confusion.csv", "robustness.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes(), name


def test_kept_model_can_be_read_and_gives_the_same_classes(finished: Path, data: Path) -> None:
    kept = torch.load(finished / "stages/cdg-s0/model.pt", weights_only=True)
    classifier = build_classifier(
        build_encoder(kept["encoder"], "random"), len(kept["classes"]), len(kept["source_classes"])
    )
    classifier.module.load_state_dict(kept["state"])
    tested = read_image_folders(data / "lithium").split("test")
    given = predict(classifier, cache_pixels(tested, kept["image_size"])).argmax(axis=1)
    table = pd.read_csv(finished / "stages/cdg-s0/predictions.csv")
    assert [kept["classes"][place] for place in given] == table["predicted"].tolist()


@pytest.mark.parametrize(
    "imbalance",
    [{}, {"treatment": "oversample", "oversample": {"NCM811 100 cycles": 3}},
     {"treatment": "weighted"}, {"treatment": "both", "oversample": {"NCM811 100 cycles": 2}}],
)
def test_two_stage_on_drawn_cathodes(data: Path, tmp_path: Path, imbalance: dict[str, Any]) -> None:
    experiment = validate(
        {"method": "two-stage", "target": {"path": str(data / "poor")},
         "source": {"path": str(data / "rich")}, "imbalance": imbalance,
         "shifted_classes": ["NCM811 100 cycles"],
         "train": {"epochs": 1, "target_epochs": 2, "batch": 4, "image_size": 32}, **SMALL},
        ClassificationExperiment,
    )
    outcome = run_classification(experiment, tmp_path / "run")
    assert outcome.arms["arm"].tolist() == [
        "nearest-mean", "probe", "patch-probe", "pretraining-only", "fine-tuning-only", "two-stage"
    ]
    assert outcome.arms["steps"].iloc[3:].nunique() == 1
    assert outcome.arms["shifted_f1"].between(0, 1).all()
    assert {"accuracy", "macro_f1", "shifted_f1"} <= set(outcome.summary["metric"])
    # 12 source images, or 18 or 15 with the oversampled class; 3 target images, or 5 or 4.
    extra = imbalance.get("oversample", {}).get("NCM811 100 cycles", 1) - 1
    source, target = -(-(12 + 3 * extra) // 4), -(-2 * (3 + extra) // 4)
    row = outcome.arms.set_index("arm").loc["two-stage"]
    assert (row["source_steps"], row["target_steps"]) == (source, target)
    table = pd.read_csv(tmp_path / "run/confusion.csv")
    assert table["class"].nunique() == 4  # the source's classes, those the target lacks included


def test_options_of_training_are_taken(data: Path, tmp_path: Path) -> None:
    experiment = cdg_experiment(
        data, arms=["cdg"], train={"head": "joint", "statistics": "target", "adversarial": 0.01,
                                   "count": "target", "flip": False, "rotation": 0},
        report={"robustness": [], "maps": 0, "samples": 0},
    )
    outcome = run_classification(experiment, tmp_path / "run")
    assert len(outcome.arms) == 1
    assert not (tmp_path / "run/robustness.csv").exists()
    assert not (tmp_path / "run/samples.png").exists()
    kept = torch.load(tmp_path / "run/stages/cdg-s0/model.pt", weights_only=True)
    assert kept["state"]["heads.joint.weight"].shape[0] == 5


def test_shots_draw_other_images_for_another_seed_and_the_same_test(
    data: Path, tmp_path: Path
) -> None:
    write_surfaces(tmp_path / "many", "lithium", {
        "train": {"No Defect": 8, "Inked": 8}, "test": {"No Defect": 2, "Inked": 2}}, 32)
    experiment = cdg_experiment(
        data, target={"path": str(tmp_path / "many"), "shots": {"No Defect": 2, "Inked": 1}},
        arms=["plain"], seeds=[0, 1], report={"robustness": [], "maps": 0, "samples": 0},
    )
    outcome = run_classification(experiment, tmp_path / "run")
    # One test set, one source and two draws of three images.
    sizes = sorted(np.load(file, mmap_mode="r").shape[0]
                   for file in (tmp_path / "run/cache").iterdir())
    assert sizes == [3, 3, 4, 16]
    assert len(outcome.arms) == 2


def break_empty_class(folder: Path) -> dict[str, Any]:
    (folder / "lithium/train/Damaged").mkdir()
    return {}


def break_missing_in_test(folder: Path) -> dict[str, Any]:
    for file in (folder / "lithium/test/Inked").iterdir():
        file.unlink()
    (folder / "lithium/test/Inked").rmdir()
    return {}


def break_unreadable(folder: Path) -> dict[str, Any]:
    (folder / "lithium/train/Inked/000.png").write_bytes(b"nothing")
    return {}


def break_one_class(folder: Path) -> dict[str, Any]:
    return {"target": {"classes": ["Inked"]}}


def break_architecture(folder: Path) -> dict[str, Any]:
    import timm

    torch.save(timm.create_model("mobilenetv2_100").state_dict(), folder / "other.pth")
    return {"encoder": "resnet18", "weights": str(folder / "other.pth")}


def break_other_classes(folder: Path) -> dict[str, Any]:
    return {"method": "two-stage", "train": {"blocks": {}}}


def break_shots(folder: Path) -> dict[str, Any]:
    return {"target": {"shots": {"Inked": 1}}}


def break_shifted(folder: Path) -> dict[str, Any]:
    return {"shifted_classes": ["Inkd"]}


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (break_empty_class, DataError, "images of class 'Damaged'"),
        (break_missing_in_test, DataError, "test images of every class in lithium.*Inked"),
        (break_unreadable, DataError, "000.png"),
        (break_one_class, DataError, "two classes or more in lithium"),
        (break_architecture, CheckpointError, "resnet18 at .*another architecture"),
        (break_other_classes, DataError, "target's classes among the source's"),
        (break_shots, ExperimentError, "a number for each class of lithium"),
        (break_shifted, ExperimentError, "did you mean 'Inked'"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path, damage: Any, kind: type[AoiTlError], message: str
) -> None:
    few = {"No Defect": 2, "Inked": 1}
    write_surfaces(tmp_path / "lithium", "lithium", {"train": few, "test": few}, 32)
    write_surfaces(tmp_path / "steel", "steel", {"train": {"patches": 4, "scratches": 4}}, 32)
    changes = damage(tmp_path)
    with pytest.raises(kind, match=message) as caught:
        run_classification(cdg_experiment(tmp_path, **changes), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_chosen_images_come_from_every_class_in_turn() -> None:
    labels = np.array([0] * 10 + [1, 2, 2])
    assert np.bincount(labels[spread_over_classes(labels, 6)]).tolist() == [3, 1, 2]
    assert len(spread_over_classes(labels, 99)) == 13


def test_colour_images_and_a_table_in_place_of_folders(data: Path, tmp_path: Path) -> None:
    rows = ["file,kind,split,cell"]
    for number in range(12):
        image = np.full((20, 24, 3), (40 * (number % 2), 90, 10 * number), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        rows.append(f"{number},{'ab'[number % 2]},,c{number // 2}")
    table = tmp_path / "cells.csv"
    table.write_text("\n".join(row.replace(",,", ",train,") for row in rows) + "\n")
    target = {"path": str(table), "image": "file", "class_columns": "kind", "group": "cell",
              "pattern": "{}.png", "test_share": 0.34}
    outcome = run_classification(
        cdg_experiment(data, target=target, arms=["plain"]), tmp_path / "run")
    result = json.loads((outcome.folder / "stages/plain-s0/result.json").read_text())
    assert result["classes"] == ["a", "b"]
    assert sum(map(sum, result["confusion"])) == 4


def test_a_trusted_encoder_is_opened_once_and_trained_from(data: Path, tmp_path: Path) -> None:
    from ultralytics.nn.tasks import DetectionModel

    mark, file = tmp_path / "mark", tmp_path / "old.pt"
    torch.save({"model": DetectionModel("yolov8n.yaml", verbose=False), "by": Loud(mark)}, file)
    words = {"encoder": str(file), "weights": "hub", "arms": ["plain"],
             "report": {"robustness": [], "maps": 0, "samples": 0}}
    with pytest.raises(CheckpointError, match="weights_may_run_code"):
        run_classification(cdg_experiment(data, **words), tmp_path / "refused")
    assert not mark.exists()
    trusting = cdg_experiment(data, **words, weights_may_run_code=True)
    run_classification(trusting, tmp_path / "run")
    assert mark.exists()
    mark.unlink()
    tensors = tmp_path / "run/weights/trusted-encoder-old.pt"
    ledger = json.loads((tmp_path / "run/stages/plain-s0/ledger.json").read_text())
    assert ledger["origin"] == str(tensors)
    assert not ledger["initialised"]
    run_classification(trusting, tmp_path / "run", resume=True)
    assert not mark.exists(), "opened again"


class Loud:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.mark), "w"))


def test_a_run_says_what_every_class_is_worth_and_what_rejecting_brings(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(finished / "per_class.csv")
    assert set(table["arm"]) == set(pd.read_csv(finished / "arms.csv")["arm"])
    assert set(table["class"]) == {"No Defect", "Over Melting", "Inked", "all"}
    whole = table.dropna()
    assert (whole["low"] <= whole["value"] + 1e-9).all()
    assert (whole["value"] <= whole["high"] + 1e-9).all()
    arms = pd.read_csv(finished / "arms.csv")
    shown = table[(table["arm"] == "probe") & (table["metric"] == "balanced_accuracy")]["value"]
    mean = arms[arms["arm"] == "probe"]["balanced_accuracy"].mean()
    assert shown.iloc[0] == pytest.approx(mean)
    curve = pd.read_csv(finished / "stages/probe-s0/coverage.csv")
    assert curve["coverage"].iloc[-1] == 1
    assert curve["accuracy"].iloc[-1] == pytest.approx(
        arms[(arms["arm"] == "probe") & (arms["seed"] == 0)]["accuracy"].iloc[0])
    experiment = cdg_experiment(data, arms=["probe"], report={"reject": 0.5})
    row = run_classification(experiment, tmp_path / "run").arms.iloc[0]
    told = pd.read_csv(tmp_path / "run/stages/probe-s0/predictions.csv")
    decided = told["probability"] >= 0.5
    assert row["coverage"] == pytest.approx(decided.mean())


def test_arms_that_begin_or_end_with_a_probe(data: Path, tmp_path: Path) -> None:
    named = ["lp-ft", "probe+source", "probe+multi-task", "probe+cdg"]
    experiment = cdg_experiment(data, arms=named, report={"robustness": []})
    arms = run_classification(experiment, tmp_path / "run").arms.set_index("arm")
    # Of 2 cycles of 3 source and 2 target steps: all on the target, and the source's alone.
    assert arms.loc["lp-ft", ["target_steps", "source_steps"]].tolist() == [10, 0]
    assert arms.loc["probe+source", ["target_steps", "source_steps"]].tolist() == [0, 6]
    assert arms.loc["probe+multi-task", ["target_steps", "source_steps"]].tolist() == [10, 10]
    assert arms.loc["probe+cdg", ["target_steps", "source_steps"]].tolist() == [4, 6]
    for arm in ("probe+source", "probe+cdg"):
        check_probe(tmp_path / f"run/stages/{arm}-s0/model.pt", data)


def check_probe(model: Path, data: Path) -> None:
    """The encoder was trained, and the head is the probe on what it gives since."""
    kept = torch.load(model, weights_only=True)
    assert kept["source_classes"] == []
    encoder = build_encoder("yolov8n.yaml", "random")
    head = torch.nn.Linear(256, 3)
    classifier = Classifier(encoder.module, torch.nn.ModuleDict({"target": head}),
                            {"target": slice(0, 3)})
    before = encoder.module[1].layers[0].conv.weight.clone()
    classifier.module.load_state_dict(kept["state"])
    assert not torch.equal(before, encoder.module[1].layers[0].conv.weight)
    images = read_image_folders(data / "lithium")
    train, test = (cache_pixels(images.split(name), 32) for name in ("train", "test"))
    probe = fit_probe(compute_features(encoder.module, train, VIEWS), train.labels, 3, 0)
    expected = probe_head(probe)
    assert torch.equal(head.weight, expected.weight)
    assert torch.equal(head.bias, expected.bias)
    told = pd.read_csv(model.parent / "predictions.csv")["predicted"].tolist()
    assert told == [images.classes[place] for place in predict(classifier, test).argmax(axis=1)]


def test_one_file_trains_a_chain_and_classifies_by_its_backbone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AOI_TL_CACHE", str(tmp_path / "cache"))
    for seed, name in enumerate(("new", "near")):
        draw_dataset(tmp_path / name, {"dent": 2, "stain": 2}, seed=seed, ground=100 + 20 * seed)
    tiny_detector(tmp_path / "tiny.pt", ("dent", "stain"))
    best = "runs/both/stages/chain-s0-target/weights/best.pt"
    file = tmp_path / "both.yaml"
    file.write_text(yaml.safe_dump({
        "run": {"target": "new/data.yaml", "sources": ["near/data.yaml"], "weights": "tiny.pt",
                "train": {"epochs": 1, "imgsz": 64, "batch": 4, "nbs": 4, "workers": 0},
                "arms": ["chain"], "seeds": [0], "score": {"n_clusters": 3}},
        "classify": {"method": "cdg", "target": {"path": str(data / "lithium")},
                     "source": {"path": str(data / "steel")}, "train": TRAIN, "encoder": best,
                     "arms": ["probe", "probe+source"], "seeds": [0],
                     "report": {"robustness": [], "maps": 0, "samples": 0}},
    }))
    run_experiment(file, "runs/both")
    arms = run_classification(file, "runs/both-classes").arms
    assert arms["arm"].tolist() == ["probe", "probe+source"]
    detector = read_ultralytics(Path(best)).state_dict()
    before, after = (
        torch.load(f"runs/both-classes/stages/{arm}-s0/model.pt", weights_only=True)["state"]
        for arm in ("probe", "probe+source")
    )
    # The probe stands on the chain's backbone as it is; the source stage has trained it further.
    own, name = detector["model.0.conv.weight"].float(), "encoder.1.layers.0.conv.weight"
    torch.testing.assert_close(before[name], own)
    assert not torch.equal(after[name], own)
    ledger = json.loads(Path("runs/both-classes/stages/probe-s0/ledger.json").read_text())
    assert ledger["origin"].endswith(best)


def test_lp_ft_starts_as_the_probe(data: Path) -> None:
    images = read_image_folders(data / "lithium")
    train = cache_pixels(images.split("train"), 32)
    encoder = build_encoder("yolov8n.yaml", "random")
    probe = fit_probe(compute_features(encoder.module, train), train.labels, 3, 0)
    classifier = build_classifier(encoder, 3, 2, "joint")
    start_from_probe(classifier.heads["joint"], probe, classifier.slices["target"])
    expected = probe.probabilities(compute_features(encoder.module, train)[:, 0])
    np.testing.assert_allclose(predict(classifier, train), expected, atol=1e-3)
