from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aoi_tl import Experiment, run_experiment
from aoi_tl.data.images import read_image
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import AoiTlError
from aoi_tl.transfer.thresholds import read_thresholds
from aoi_tl.workflows.export_model import run_export
from aoi_tl.workflows.inspect import find_images, run_inspection
from tests.drawn import draw_dataset, tree_hash
from tests.one_line import one_line
from tests.tiny_detector import tiny_detector

pytestmark = pytest.mark.slow

TRAIN = {"epochs": 1, "batch": 4, "imgsz": 64, "nbs": 4, "workers": 0}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    draw_dataset(folder / "new", {"dent": 3, "stain": 1}, seed=1, empty=2)
    draw_dataset(folder / "near", {"stain": 2, "dent": 5}, seed=2, ground=125)
    tiny_detector(folder / "tiny.pt", ("dent", "stain"))
    return folder


@pytest.fixture(scope="module")
def run(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose few validation images make training images be cross-validated."""
    experiment = Experiment.model_validate({
        "target": str(shelf / "new" / "data.yaml"), "sources": str(shelf / "near" / "data.yaml"),
        "weights": str(shelf / "tiny.pt"), "train": TRAIN, "seeds": [0], "score": {"n_clusters": 3},
        "arms": ["stock", "method", "zero-shot"], "operate": {"escape": 0.3},
        "balance": {"minority": {"to": 1.0}},
    })
    return run_experiment(experiment, tmp_path_factory.mktemp("runs") / "r").folder


def test_every_arm_has_thresholds_and_their_rates_on_test_images(run: Path) -> None:
    table = pd.read_csv(run / "operating.csv")
    assert table["arm"].tolist() == [a for a in ("stock", "method", "zero-shot") for _ in range(3)]
    whole = table[table["scope"] == "image"]
    assert whole["defective"].tolist() == [4, 4, 4]
    assert whole["good"].tolist() == [2, 2, 2]
    # Validation images, and each training image held out once: six and six.
    assert whole["chosen_defective"].add(whole["chosen_good"]).tolist() == [24, 24, 24]
    assert (table["escape_low"].dropna() <= table["escape"].dropna()).all()
    for arm in ("stock", "method", "zero-shot"):
        weights = run / "stages" / f"{arm}-s0-target" / "weights"
        beside = json.loads((weights / "thresholds.json").read_text())
        assert beside["aim"] == {"escape": 0.3}
        assert beside["image_size"] == 64
        assert beside["chosen_on"]["images"] == 12
        rows = table[(table["arm"] == arm) & (table["scope"] == "class")]
        assert beside["thresholds"] == dict(zip(rows["class"], rows["threshold"], strict=True))
        assert (weights / beside["checkpoint"]).is_file()


def test_folds_leave_nothing_behind_but_their_data(run: Path) -> None:
    assert not list(run.glob("stages/*fold*"))
    counts = pd.read_csv(run / "counts.csv")
    assert not counts["dataset"].str.contains("fold").any()
    whole = load_dataset(run / "data" / "new" / "data.yaml")
    held_out = []
    for file in sorted(run.glob("data/new-fold?/data.yaml")):
        fold = load_dataset(file)
        train, test = ({s.image.name for s in fold.split(x).samples} for x in ("train", "test"))
        assert not train & test
        assert train | test == {s.image.name for s in whole.split("train").samples}
        held_out += sorted(test)
    assert sorted(held_out) == sorted(s.image.name for s in whole.split("train").samples)


def test_inspecting_the_test_images_gives_the_rates_of_the_table(run: Path, tmp_path: Path) -> None:
    table = pd.read_csv(run / "operating.csv").set_index(["arm", "scope"])
    test = load_dataset(run / "data" / "new" / "data.yaml").split("test")
    defective = {sample.image.name for sample in test.samples if len(sample.classes)}
    for arm in ("stock", "method"):
        model = run / "stages" / f"{arm}-s0-target" / "weights" / "best.pt"
        verdicts = run_inspection(model, test.images, tmp_path / arm)
        passed = {verdict.image.name for verdict in verdicts if verdict.verdict == "pass"}
        row = table.loc[(arm, "image")]
        assert len(passed & defective) / len(defective) == pytest.approx(row["escape"])
        good = {image.name for image in test.images} - defective
        assert len(good - passed) / len(good) == pytest.approx(row["overkill"])


@pytest.fixture(scope="module")
def sensitive(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with a detector that tells images apart, and a threshold between their scores."""
    import torch

    from aoi_tl.evaluation.operating import image_scores
    from aoi_tl.transfer.detector import load_checkpoint, save_checkpoint
    from aoi_tl.transfer.inspector import Inspector, predict_samples

    copy = tmp_path_factory.mktemp("edited") / "r"
    shutil.copytree(run, copy, symlinks=True)
    for arm in ("method", "zero-shot"):
        shutil.rmtree(copy / "stages" / f"{arm}-s0-target")
    weights = copy / "stages" / "stock-s0-target" / "weights"
    model = load_checkpoint(weights / "best.pt")
    samples = load_dataset(run / "data" / "new" / "data.yaml").samples
    pixels = np.stack([read_image(sample.image) for sample in samples])
    with torch.no_grad():  # statistics of these very images, so that features differ
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        model.train()(torch.from_numpy(pixels).float()[:, None].repeat(1, 3, 1, 1) / 255)
    generator = torch.Generator().manual_seed(0)
    for level in model.model[-1].cv3:  # the class branch's last layers
        # Small enough that no score is rounded to 1.
        level[-1].weight.data = torch.randn(level[-1].weight.shape, generator=generator) / 4
        level[-1].bias.data[:] = -4.0
    save_checkpoint(model.eval(), weights / "best.pt")
    seen = predict_samples(Inspector(weights / "best.pt", 64), samples)
    scores = np.sort(image_scores(seen)[:, 0])
    widest = int(np.diff(scores).argmax())  # so that rounding turns no verdict
    assert scores[widest + 1] - scores[widest] > 1e-3
    edited = json.loads((weights / "thresholds.json").read_text())
    edited["thresholds"] = {"dent": float(scores[widest:widest + 2].mean()), "stain": 1.0}
    (weights / "thresholds.json").write_text(json.dumps(edited))
    return copy


@pytest.mark.parametrize("format_", ["onnx", "openvino"])
def test_an_exported_file_alone_gives_the_verdicts_of_the_checkpoint(
    sensitive: Path, shelf: Path, tmp_path: Path, format_: str
) -> None:
    pytest.importorskip(format_)
    before = tree_hash(shelf)
    exported = run_export(sensitive, format_)
    assert exported.parity.images == 10
    assert exported.parity.confidence < 1e-4
    moved = tmp_path / exported.file.name
    shutil.move(exported.file, moved)
    thresholds, place = read_thresholds(moved)
    assert place == str(moved)
    assert thresholds.image_size == 64
    assert list(thresholds.values) == ["dent", "stain"]
    images = shelf / "new" / "images"
    one, other = (
        [(v.image, v.verdict, v.classes) for v in run_inspection(model, [images], tmp_path / name)]
        for name, model in (("export", moved), ("checkpoint", exported.checkpoint))
    )
    assert one == other
    assert {verdict for _, verdict, _ in one} == {"pass", "reject"}
    assert tree_hash(shelf) == before


def test_verdicts_are_written_line_by_line(sensitive: Path, shelf: Path, tmp_path: Path) -> None:
    model = sensitive / "stages" / "stock-s0-target" / "weights" / "best.pt"
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    said: list[str] = []
    verdicts = run_inspection(
        model, [shelf / "new" / "images" / "test", broken], tmp_path / "out",
        say=lambda verdict: said.append(verdict.verdict),
    )
    assert said == [verdict.verdict for verdict in verdicts]
    assert said[-1] == "unreadable"
    rows = list(csv.DictReader((tmp_path / "out" / "verdicts.csv").open()))
    lines = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").open()]
    assert [row["verdict"] for row in rows] == [line["verdict"] for line in lines] == said
    assert "no image" in lines[-1]["fault"]
    for row, line in zip(rows, lines, strict=True):
        assert int(row["boxes"]) == len(line["boxes"])
        assert (row["verdict"] == "reject") == bool(line["boxes"])
    pictures = [file for file in (tmp_path / "out" / "pictures").rglob("*") if file.is_file()]
    assert len(pictures) == len(rows) - 1


def test_a_resumed_run_ends_with_the_same_table(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "r"
    shutil.copytree(run, copy, symlinks=True)
    for left in ("done", "operating.csv", "stages/stock-s0-target/operating.json"):
        (copy / left).unlink()
    run_experiment(copy / "experiment.yaml", copy, resume=True)
    assert (copy / "operating.csv").read_bytes() == (run / "operating.csv").read_bytes()


@pytest.mark.parametrize("kind", [
    "no model", "no thresholds", "another suffix", "no image", "empty folder", "in use",
    "a class too few", "out of range", "no run", "a run without", "format", "stray checkpoint",
])
def test_bad_input_gets_one_line(run: Path, shelf: Path, tmp_path: Path, kind: str) -> None:
    weights = run / "stages" / "stock-s0-target" / "weights"
    model, images, out = tmp_path / "best.pt", [shelf / "new" / "images"], tmp_path / "out"
    shutil.copy(weights / "best.pt", model)
    beside = json.loads((weights / "thresholds.json").read_text())
    expected = {
        "no model": "nothing there", "no thresholds": "operate: {escape", "no image": "nothing",
        "another suffix": "a .pt or .onnx file", "empty folder": "a folder without one",
        "in use": "another --out", "a class too few": "correct stain",
        "out of range": "from 0 to 1",
        "no run": "nothing there", "a run without": "'operate'", "format": "onnx or openvino",
        "stray checkpoint": "in its stages/",
    }[kind]
    if kind == "no model":
        model = tmp_path / "gone.pt"
    elif kind == "no thresholds":
        model = run / "stages" / "stock-s0-target" / "weights" / "last.pt"
    elif kind == "another suffix":
        model = tmp_path / "best.engine"
        model.write_bytes(b"")
    elif kind == "no image":
        images = [tmp_path / "gone.png"]
    elif kind == "empty folder":
        images = [tmp_path / "empty"]
        images[0].mkdir()
    elif kind == "in use":
        out = run
    elif kind == "a class too few":
        del beside["thresholds"]["stain"]
        (tmp_path / "thresholds.json").write_text(json.dumps(beside))
    elif kind == "out of range":
        beside["thresholds"]["stain"] = 1.5
        (tmp_path / "thresholds.json").write_text(json.dumps(beside))
    asked = {
        "no run": lambda: run_export(tmp_path / "gone", "onnx"),
        "a run without": lambda: run_export(shelf, "onnx"),
        "format": lambda: run_export(run, "tflite"),
        "stray checkpoint": lambda: run_export(model, "onnx"),
    }.get(kind, lambda: run_inspection(model, images, out))
    with pytest.raises(AoiTlError) as error:
        asked()
    assert expected in one_line(error)


@pytest.mark.parametrize(("operate", "words"), [
    ({"escape": 1.5}, "less than 1"), ({"escape": -0.1}, "at least 0"), ({}, "one of escape"),
    ({"escape": 0.1, "overkill": 0.1}, "one of escape"), ({"escapes": 0.1}, "'escape'"),
    ({"cost": {"escape": 100}}, "'overkill'"),
])
def test_an_aim_that_makes_no_sense_is_refused(operate: dict, words: str) -> None:
    from aoi_tl.experiment.settings import validate

    with pytest.raises(AoiTlError) as error:
        validate({"target": "a.yaml", "sources": ["b.yaml"], "operate": operate}, Experiment)
    assert words in str(error.value)


def test_images_are_found_in_folders_and_patterns_once(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "b/notes.txt", "a.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_images([tmp_path / "*.bmp", tmp_path / "b", tmp_path / "b" / "2.png"])
    assert [file.name for file in found] == ["a.bmp", "1.JPG", "2.png"]
