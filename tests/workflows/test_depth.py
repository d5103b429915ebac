"""Datasets of 10, 12 and 14 bits are scored, checked, trained and inspected as those of 8."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from aoi_tl import Experiment, run_experiment
from aoi_tl.adaptation.balance import balance
from aoi_tl.adaptation.subset import subset_to_label_space
from aoi_tl.caches import signature_cache
from aoi_tl.caches.dataset_cache import read_summaries
from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.cli import app
from aoi_tl.data.images import read_image
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.duplicates.pairs import find_duplicates
from aoi_tl.errors import AoiTlError
from aoi_tl.transfer.thresholds import read_thresholds
from aoi_tl.workflows.check import run_check, run_split
from aoi_tl.workflows.inspect import run_inspection
from aoi_tl.workflows.score import run_score, run_score_matrix
from tests.deepened import WAYS, deepen, deepened
from tests.drawn import draw_dataset, tree_hash
from tests.tiny_detector import tiny_detector

TRAIN = {"epochs": 1, "batch": 4, "imgsz": 64, "nbs": 4, "workers": 0}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets as 8 bits, and both as 12; the second with two classes."""
    folder = tmp_path_factory.mktemp("shelf")
    draw_dataset(folder / "8" / "new", {"dent": 3, "stain": 1}, seed=1, empty=2)
    draw_dataset(folder / "8" / "near", {"stain": 1, "dent": 4, "burr": 1}, seed=2, ground=125)
    for name in ("new", "near"):
        deepen(folder / "8" / name, folder / "12" / name, 12, "measured")
    tiny_detector(folder / "tiny.pt", ("dent", "stain"))
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AOI_TL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def emd(target: Path, source: Path, out: Path, depth: int | None = None) -> float:
    rows = run_score(target / "data.yaml", [source / "data.yaml"], out,
                     {"n_clusters": 5, "method": "emd"}, depth=depth)
    return float(rows["sources"][0]["emd"])


# ------------------------------------------------------------------------------------ signatures


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("depth", [10, 12, 14])
def test_equal_pictures_are_near_at_any_depth(
    shelf: Path, tmp_path: Path, depth: int, way: str
) -> None:
    deep = deepen(shelf / "8/new", tmp_path / "deep", depth, way)
    before = tree_hash(tmp_path / "deep")
    assert emd(shelf / "8/new", deep, tmp_path / "out") < 3
    assert tree_hash(tmp_path / "deep") == before
    notes = json.loads((tmp_path / "out/notes.json").read_text())
    assert any(f"deep: {depth} bits of 16" in note for note in notes)


def test_real_pictures_are_near_at_any_depth(shared: Path, tmp_path: Path) -> None:
    given = sorted((shared / "data").glob("*/images/*/*.jpg"))
    given = given or sorted((shared / "data").rglob("*.jpg"))
    for depth in (8, 10, 12, 14):
        images, labels = tmp_path / str(depth) / "images", tmp_path / str(depth) / "labels"
        images.mkdir(parents=True)
        labels.mkdir()
        for number, image in enumerate(given[:: max(1, len(given) // 12)][:12]):
            pixels = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)[:512, :512]
            made = pixels if depth == 8 else deepened(pixels, depth, "multiplied")
            cv2.imwrite(str(images / f"{number}.png"), made)
            (labels / f"{number}.txt").write_text("0 .5 .5 .2 .2\n")
        (tmp_path / str(depth) / "data.yaml").write_text("train: images\nnames: [dent]\n")
    for depth in (10, 12, 14):
        assert emd(tmp_path / "8", tmp_path / str(depth), tmp_path / f"out{depth}") < 3


def test_a_wrong_depth_is_what_makes_pictures_dark(shelf: Path, tmp_path: Path) -> None:
    assert emd(shelf / "8/new", shelf / "12/new", tmp_path / "dark", depth=16) > 100
    # The same signatures are asked for at another depth: nothing of the first is taken.
    assert emd(shelf / "8/new", shelf / "12/new", tmp_path / "light", depth=12) < 3
    assert emd(shelf / "8/new", shelf / "12/new", tmp_path / "found") < 3


def test_depths_are_kept_apart_in_the_cache(shelf: Path, own_cache: Path) -> None:
    deep, shallow = (
        [sample.image for sample in load_dataset(shelf / name / "new/data.yaml").samples]
        for name in ("12", "8")
    )
    with SignatureCache(own_cache) as cache:
        plain = cache.signatures(shallow, 4)
        both = cache.signatures([*shallow, *deep], 4, depths=[16] * len(deep) + [12] * len(deep))
        assert both == plain + plain
        dark = cache.signatures(deep, 4)
        assert dark[0] != plain[0]
        assert cache.signatures(deep, 4, depths=[12] * len(deep)) == plain
        curves = cache.curves([shallow[0], deep[0]], depths=[16, 12])
        assert (curves[0] == curves[1]).all()


def test_what_was_found_is_kept_with_the_dataset(
    shelf: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deep"
    shutil.copytree(shelf / "12/new", folder)
    for file in [folder, *folder.rglob("*")]:  # what is young is not relied on
        os.utime(file, (1e9, 1e9))
    monkeypatch.setattr("aoi_tl.caches.dataset_cache.SETTLED_NS", -10**12)
    monkeypatch.setattr(signature_cache, "SETTLED_NS", -10**12)
    with SignatureCache(own_cache) as cache:
        [first] = read_summaries([folder / "data.yaml"], {}, cache)
        monkeypatch.setattr("aoi_tl.data.yolo.read.depth_of_deep", None)  # not called again
        [again] = read_summaries([folder / "data.yaml"], {}, cache)
        monkeypatch.undo()
        [other] = read_summaries([folder / "data.yaml"], {}, cache, depth=14)
    assert first.depth == again.depth == 12
    assert again.notes == first.notes
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert other.depth == 14


def test_a_matrix_holds_depths_apart(shelf: Path, tmp_path: Path) -> None:
    paths = [shelf / bits / name / "data.yaml" for bits in ("8", "12") for name in ("new", "near")]
    rows = run_score_matrix(paths, tmp_path / "m", {"n_clusters": 3, "method": "emd"})
    table = {r["target"]: {s["name"]: s["emd"] for s in r["sources"]} for r in rows}
    assert table["8/new"]["12/new"] < 3
    assert table["8/new"]["12/near"] == pytest.approx(table["12/new"]["8/near"], abs=1e-6)


# ----------------------------------------------------------------------------------------- check


def test_check_notes_the_depth_and_finds_copies_across_depths(shelf: Path, tmp_path: Path) -> None:
    deep, plain = run_check(
        [shelf / "12/new/data.yaml", shelf / "8/new/data.yaml"], tmp_path / "out"
    )
    [found] = [f for f in deep.findings if f.kind == "depth"]
    assert found.severity == "note"
    assert found.what.startswith("12 bits of 16: largest value ")
    assert not [f for f in plain.findings if f.kind in ("depth", "mixed depths")]
    assert not [f for f in deep.findings if f.kind == "mixed depths"]
    blank = [f for f in (*deep.findings, *plain.findings) if f.kind == "blank image"]
    assert not blank


def test_check_warns_of_mixed_depths(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(shelf / "12/new", folder)
    shutil.copy(shelf / "8/new/images/val/val0.png", folder / "images/val/val0.png")
    done = CliRunner().invoke(app, ["check", str(folder), "--out", str(tmp_path / "out"),
                                    "--fail-on", "warning"])
    assert done.exit_code == 1
    found = json.loads((tmp_path / "out/mixed/check.json").read_text())["findings"]
    [warning] = [one for one in found if one["kind"] == "mixed depths"]
    assert warning["severity"] == "warning"
    assert warning["places"][0]["what"] == "17 images store more than 8 bits, 1 store 8"


def test_copies_are_found_across_depths(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    surface = cv2.GaussianBlur(chance.normal(0, 20, (160, 160)), (0, 0), 1.5) * 3 + 100
    surface = surface.clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "8.png"), surface)
    cv2.imwrite(str(tmp_path / "12.png"), deepened(surface, 12, "measured"))
    [pair] = find_duplicates([tmp_path / "8.png", tmp_path / "12.png"], depths=[16, 12]).overlaps
    assert pair.similarity > 0.95


@pytest.mark.parametrize("words", [["--depth", "11"], ["--depth", "0"], ["--depth", "-12"]])
@pytest.mark.parametrize("command", ["check", "score"])
def test_a_bad_depth_on_the_command_line(
    shelf: Path, tmp_path: Path, command: str, words: list[str]
) -> None:
    files = [str(shelf / f"8/{name}/data.yaml") for name in ("new", "near")]
    done = CliRunner().invoke(app, [command, *files, "--out", str(tmp_path / "out"), *words])
    assert isinstance(done.exception, AoiTlError)
    assert f"--depth: expected a depth of 8, 10, 12, 14 or 16 bits, got {words[1]}" in str(
        done.exception
    )


def test_a_split_dataset_is_ready_to_train_on(shelf: Path, tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    images = load_dataset(shelf / "12/new/data.yaml").images
    groups.write_text("image,group\n" + "".join(f"{i.name},{i.stem}\n" for i in images))
    file, _ = run_split(shelf / "12/new/data.yaml", tmp_path / "out", groups=groups)
    for image in load_dataset(file).images:
        assert read_image(image).dtype == np.uint8
        assert read_image(image).mean() > 80


# ------------------------------------------------------------------------------------ adaptation


def test_new_and_painted_samples_equal_those_of_8_bits(shelf: Path, tmp_path: Path) -> None:
    made = {}
    for bits in ("8", "12"):
        near = load_dataset(shelf / bits / "near/data.yaml")
        painted = subset_to_label_space(near, ["dent"], "paint", tmp_path / bits / "painted")
        balanced = balance(near, tmp_path / bits / "new", minority_to=1.0).dataset
        made[bits] = [
            read_image(sample.image, sample.depth)
            for sample in (*painted.samples, *balanced.samples)
        ]
        assert len(list((tmp_path / bits / "new").rglob("*.png"))) > 3
    assert len(made["8"]) == len(made["12"])
    for one, other in zip(made["8"], made["12"], strict=True):
        assert one.dtype == other.dtype == np.uint8
        assert (one == other).all()


def test_features_are_those_of_8_bits(shelf: Path) -> None:
    from aoi_tl.transfer.viewing import view_images

    views = [
        view_images(shelf / "tiny.pt", load_dataset(shelf / bits / "new/data.yaml").samples, 64)
        for bits in ("8", "12")
    ]
    for name in ("confidence", "box", "regions", "background", "whole"):
        assert np.array_equal(getattr(views[0], name), getattr(views[1], name)), name


# -------------------------------------------------------------------------- training, inspecting


@pytest.fixture(scope="module")
def runs(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same experiment on 8 and on 12 bits."""
    found = {}
    before = tree_hash(shelf)
    for bits in ("8", "12"):
        experiment = Experiment.model_validate({
            "target": str(shelf / bits / "new/data.yaml"),
            "sources": str(shelf / bits / "near/data.yaml"),
            "weights": str(shelf / "tiny.pt"), "train": TRAIN, "seeds": [0],
            "score": {"n_clusters": 3}, "arms": ["stock", "method"], "operate": {"escape": 0.3},
            "balance": {"minority": {"to": 1.0}},
        })
        found[bits] = run_experiment(experiment, tmp_path_factory.mktemp("runs") / bits).folder
    assert tree_hash(shelf) == before
    return found


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    from aoi_tl.transfer.detector import load_checkpoint

    return load_checkpoint(checkpoint).state_dict()


@pytest.mark.slow
def test_training_is_equal_to_the_bit(runs: dict[str, Path]) -> None:
    for stage in ("stock-s0-target", "method-s0-source", "method-s0-target"):
        one, other = (
            weights_of(runs[bits] / f"stages/{stage}/weights/best.pt") for bits in ("8", "12")
        )
        assert one.keys() == other.keys()
        for name, values in one.items():
            assert torch.equal(values, other[name]), (stage, name)
    for name in ("arms.csv", "per_class.csv", "counts.csv", "operating.csv"):
        assert (runs["8"] / name).read_bytes() == (runs["12"] / name).read_bytes(), name


@pytest.mark.slow
def test_a_run_says_the_depth_and_shows_bright_pictures(runs: dict[str, Path]) -> None:
    notes = json.loads((runs["12"] / "notes.json").read_text())
    assert [note for note in notes if note.startswith("new: 12 bits of 16: largest value")]
    assert [note for note in notes if note.startswith("near: 12 bits of 16: largest value")]
    assert not [n for n in json.loads((runs["8"] / "notes.json").read_text()) if "bits" in n]
    for one in sorted((runs["12"] / "appearance").glob("*.webp")):
        assert cv2.imread(str(one)).mean() > 80
        assert one.read_bytes() == (runs["8"] / "appearance" / one.name).read_bytes()
    for image in (runs["12"] / "data").rglob("*.png"):
        assert read_image(image).dtype == np.uint8


@pytest.mark.slow
def test_a_line_s_images_are_inspected_at_the_depth_of_the_target(
    runs: dict[str, Path], shelf: Path, tmp_path: Path
) -> None:
    model = runs["12"] / "stages/stock-s0-target/weights/best.pt"
    assert read_thresholds(model)[0].depth == 12
    assert read_thresholds(runs["8"] / "stages/stock-s0-target/weights/best.pt")[0].depth is None
    said: list[str] = []
    # One dark part tells nothing of its camera; the detector knows.
    dark = tmp_path / "dark.png"
    cv2.imwrite(str(dark), deepened(np.full((64, 64), 40, np.uint8), 12))
    found = [
        run_inspection(model, [*sorted((shelf / bits / "new/images/test").iterdir()), dark],
                       tmp_path / bits, note=said.append)
        for bits in ("8", "12")
    ]
    assert [v.boxes for v in found[0]] == [v.boxes for v in found[1]]
    assert said == []
    pictures = [sorted((tmp_path / bits).rglob("*.jpg")) for bits in ("8", "12")]
    for one, other in zip(*pictures, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert ("dark" in one.name) == (cv2.imread(str(one)).mean() < 60)


@pytest.mark.slow
def test_a_detector_of_8_bits_finds_the_depth_of_what_it_inspects(
    runs: dict[str, Path], shelf: Path, tmp_path: Path
) -> None:
    model = runs["8"] / "stages/stock-s0-target/weights/best.pt"
    said: list[str] = []
    found = [
        run_inspection(model, [shelf / bits / "new/images/test"], tmp_path / bits,
                       note=said.append)
        for bits in ("8", "12")
    ]
    assert [v.boxes for v in found[0]] == [v.boxes for v in found[1]]
    assert len(said) == 1
    assert said[0].startswith("12 bits of 16: largest value")


@pytest.mark.slow
def test_an_experiment_sets_the_depth(shelf: Path, tmp_path: Path) -> None:
    from aoi_tl.experiment.settings import read_settings
    from aoi_tl.workflows.shelf import read_data

    file = tmp_path / "experiment.yaml"
    file.write_text(f"target: {shelf}/12/new/data.yaml\nsources: [{shelf}/8/near/data.yaml]\n"
                    "depth: 14\n")
    target, [source], notes = read_data(read_settings(file, Experiment))
    assert target.depth == 14
    assert source.depth == 16  # of images that store 8 bits it says nothing
    assert "new: 14 bits of 16, as set" in " ".join(notes)
    file.write_text(file.read_text().replace("14", "11"))
    with pytest.raises(AoiTlError, match=r"line 3, depth: expected 8, 10, 12, 14 or 16"):
        read_settings(file, Experiment)


# ----------------------------------------------------------------------------------- classification


@pytest.mark.slow
def test_classification_is_equal_to_the_bit(tmp_path: Path) -> None:
    from aoi_tl.experiment.classification import ClassificationExperiment
    from aoi_tl.synthetic.surfaces import write_surfaces
    from aoi_tl.workflows.classify import run_classification

    few = {"No Defect": 3, "Inked": 2}
    write_surfaces(tmp_path / "8/lithium", "lithium", {"train": few, "test": few}, 32)
    write_surfaces(tmp_path / "8/steel", "steel", {"train": {"patches": 6, "scratches": 6}}, 32)
    for name in ("lithium", "steel"):
        deepen(tmp_path / "8" / name, tmp_path / "12" / name, 12, "measured")
    outs = {}
    for bits in ("8", "12"):
        experiment = ClassificationExperiment.model_validate({
            "method": "cdg", "target": {"path": str(tmp_path / bits / "lithium")},
            "source": {"path": str(tmp_path / bits / "steel")}, "seeds": [0], "arms": ["plain"],
            "encoder": "yolov8n.yaml", "weights": "random",
            "report": {"robustness": [], "maps": 0, "samples": 4},
            "train": {"epochs": 1, "image_size": 32, "batch": 4,
                      "blocks": {"source": 3, "target": 2}},
        })
        outs[bits] = run_classification(experiment, tmp_path / f"run{bits}").folder
    chances = [pd.read_csv(outs[bits] / "stages/plain-s0/probabilities.csv") for bits in outs]
    assert chances[0].equals(chances[1])
    notes = json.loads((outs["12"] / "notes.json").read_text())
    assert notes[0].startswith("lithium: 12 bits of 16")
    assert not (outs["8"] / "notes.json").exists()
    pictures = [(outs[bits] / "samples.png").read_bytes() for bits in outs]
    assert pictures[0] == pictures[1]
