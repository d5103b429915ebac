"""Whatever command is given, not a byte, a right, a time or a link of any dataset changes.

The datasets hold what Ultralytics would change or run: JPEGs without their end marker, which it
saves again, label caches, which it unpickles and writes anew, and arrays beside images.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from aoi_tl.cli import app
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.formats import export_dataset
from aoi_tl.synthetic.surfaces import write_surfaces
from tests.drawn import draw_dataset
from tests.hostile.corpus import Trap
from tests.rights import as_ordinary_user
from tests.tiny_detector import tiny_detector

pytestmark = pytest.mark.slow

TRAIN = ["epochs=1", "batch=4", "imgsz=32", "nbs=4", "workers=0"]
SMALL = [word for name in [*(f"train.{word}" for word in TRAIN), "seeds=[0]",
                           "score.n_clusters=2"] for word in ("--set", name)]


def spoil(folder: Path, mark: Path) -> None:
    """Add to a dataset what Ultralytics would change or run."""
    for image in sorted(folder.glob("images/*/*.png")):
        pixels = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)
        done, encoded = cv2.imencode(".jpg", pixels)
        assert done
        kind = int(image.stem[-1]) % 3
        if kind == 0:  # read all the same, but without the end that Ultralytics asks for
            image.unlink()
            image.with_suffix(".jpg").write_bytes(encoded.tobytes() + b"\0\0")
        elif kind == 1:
            place = folder / "elsewhere" / image.parent.name / image.name
            place.parent.mkdir(parents=True, exist_ok=True)
            image.rename(place)
            image.symlink_to(place)
    trap = pickle.dumps(Trap(mark))
    for split in folder.glob("labels/*"):
        split.with_suffix(".cache").write_bytes(trap)
        (split / "classes.txt").write_text("dent\n")
    for split in folder.glob("images/*"):
        split.with_suffix(".cache").write_bytes(trap)
        for image in list(split.glob("*.[jp]*")):
            np.save(image.with_suffix(".npy"), np.array([Trap(mark)]), allow_pickle=True)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("read-only")
    data, mark = folder / "data", folder / "sprung"
    draw_dataset(data / "new", {"dent": 3, "stain": 2}, seed=1)
    draw_dataset(data / "near", {"stain": 2, "dent": 4}, seed=2, ground=125)
    draw_dataset(data / "far", {"dent": 2, "burr": 1, "stain": 1}, seed=3, ground=40)
    export_dataset(load_dataset(data / "far" / "data.yaml"), "voc", data / "voc")
    shutil.make_archive(str(data / "packed"), "zip", data / "voc")
    for name in ("new", "near", "far"):
        spoil(data / name, mark)
    few = {"No Defect": 2, "Inked": 2}
    write_surfaces(data / "lithium", "lithium", {"train": few, "test": few}, 32)
    write_surfaces(data / "steel", "steel", {"train": {"patches": 4, "scratches": 4}}, 32)
    for split in ("lithium/train", "lithium/test", "steel/train"):
        (data / f"{split}.cache").write_bytes(pickle.dumps(Trap(mark)))
    (data / "aliases.yaml").write_text("dent: [burr]\n")
    tiny_detector(data / "tiny.pt", ("dent", "stain"))
    return folder


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything about everything below a folder, but when it was last read."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        is_ = path.lstat()
        content = (
            os.readlink(path) if stat.S_ISLNK(is_.st_mode)
            else hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(is_.st_mode)
            else sorted(os.listdir(path)) if stat.S_ISDIR(is_.st_mode)
            else "a pipe or device"
        )
        found[str(path.relative_to(folder))] = (
            is_.st_mode, is_.st_uid, is_.st_gid, is_.st_nlink, is_.st_size, is_.st_mtime_ns,
            content,
        )
    return found


def experiment(data: Path, out: Path) -> Path:
    out.mkdir(parents=True)
    file = out / "new.yaml"
    file.write_text(yaml.safe_dump({
        "target": str(data / "new" / "data.yaml"), "sources": [str(data / "*" / "data.yaml")],
        "aliases": str(data / "aliases.yaml"), "weights": str(data / "tiny.pt"),
        "arms": ["method", "full-source-all"], "subset": {"mixed": "paint"}, "pick": "near",
    }))
    return file


def classification(data: Path, out: Path) -> Path:
    out.mkdir(parents=True)
    file = out / "lithium.yaml"
    file.write_text(yaml.safe_dump({
        "method": "cdg", "target": {"path": str(data / "lithium")},
        "source": {"path": str(data / "steel")}, "encoder": "yolov8n.yaml", "weights": "random",
        "arms": ["cdg"], "seeds": [0], "report": {"robustness": ["noise"], "maps": 1, "samples": 2},
        "train": {"epochs": 1, "image_size": 32, "batch": 4, "blocks": {"source": 1, "target": 1}},
    }))
    return file


def every(data: Path) -> list[str]:
    return [str(data / name / "data.yaml") for name in ("new", "near", "far")]


#: What is typed, given the data and a folder that is free; some want another command before.
COMMANDS: dict[str, Callable[[Path, Path], list[list[str]]]] = {
    "score": lambda d, o: [["score", *every(d), "--out", f"{o}/s", "--aliases",
                            f"{d}/aliases.yaml"]],
    "score --matrix": lambda d, o: [["score", "--matrix", *every(d), "--out", f"{o}/m",
                                     "--clusters", "2"]],
    "index, score --index": lambda d, o: [
        ["index", f"{o}.index", *every(d), "--clusters", "2"],
        ["score", every(d)[0], "--index", f"{o}.index", "--out", f"{o}/i"]],
    "labels": lambda d, o: [["labels", *every(d)]],
    "check": lambda d, o: [["check", *every(d), "--out", f"{o}/c"]],
    "split": lambda d, o: [["split", every(d)[1], "--out", f"{o}/split"]],
    "export": lambda d, o: [["export", "coco", every(d)[0], "--out", f"{o}/coco"],
                            ["export", "voc", every(d)[0], "--out", f"{o}/voc"]],
    "import": lambda d, o: [["import", "voc", f"{d}/voc", "--out", f"{o}/voc"],
                            ["import", "voc", f"{d}/packed.zip", "--out", f"{o}/packed"]],
    "transfer": lambda d, o: [["transfer", *every(d)[:2], "--weights", str(d / "tiny.pt"), "--out",
                               f"{o}/t", *SMALL, "--set", "arms=[subset-source]"]],
    "run, report": lambda d, o: [["run", str(experiment(d, o)), "--out", f"{o}/r", *SMALL],
                                 ["report", f"{o}/r"]],
    "classify, report": lambda d, o: [
        ["classify", str(classification(d, o)), "--out", f"{o}/r"], ["report", f"{o}/r"]],
}


def type_in(lines: list[list[str]]) -> None:
    for words in lines:
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, (words, done.output)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_changes_a_dataset(command: str, shelf: Path, tmp_path: Path) -> None:
    before = state(shelf)
    type_in(COMMANDS[command](shelf / "data", tmp_path / "out"))
    assert state(shelf) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_does_with_datasets_that_nobody_may_write(
    command: str, shelf: Path, tmp_path: Path
) -> None:
    places = [shelf, *(path for path in shelf.rglob("*") if not path.is_symlink())]
    rights = {path: path.stat().st_mode for path in places}
    for path in places:
        path.chmod(rights[path] & ~0o222)
    try:
        before = state(shelf)
        with as_ordinary_user():
            with pytest.raises(PermissionError):
                (shelf / "data" / "new" / "labels" / "new.txt").touch()
            type_in(COMMANDS[command](shelf / "data", tmp_path / "out"))
        assert state(shelf) == before
    finally:
        for path, mode in rights.items():
            path.chmod(mode)


def test_a_second_demo_leaves_what_the_first_one_drew(tmp_path: Path) -> None:
    from aoi_tl.synthetic.demo_datasets import draw_demo

    draw_demo(tmp_path / "data", workers=1)
    before = state(tmp_path / "data")
    type_in([["demo", "--data", f"{tmp_path}/data", "--out", f"{tmp_path}/out", *SMALL, "--set",
              "arms=[coco]", "--set", "weights=yolov8n.yaml", "--set", "train.imgsz=64"]])
    assert state(tmp_path / "data") == before


def test_the_datasets_are_what_ultralytics_would_change(shelf: Path) -> None:
    from aoi_tl.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.utils import verify_image_label

    data = shelf / "data" / "new"
    image = next(data.glob("images/train/*.jpg"))
    before = image.read_bytes()
    label = data / "labels" / "train" / f"{image.stem}.txt"
    verify_image_label((str(image), str(label), "", False, 9, 0, 0, False))
    changed, _ = image.read_bytes() != before, image.write_bytes(before)
    assert changed
    trap = pickle.loads((data / "labels" / "train.cache").read_bytes())
    trap.close()
    assert (shelf / "sprung").exists()
    (shelf / "sprung").unlink()
