"""Every hostile file is refused at every door that takes such a file, in one line, and soon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from aoi_tl.classification.encoders import _read_state, read_ultralytics
from aoi_tl.data.labels import load_aliases
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import AoiTlError
from aoi_tl.experiment.detection import Experiment
from aoi_tl.experiment.settings import read_settings
from aoi_tl.formats import import_dataset
from aoi_tl.transfer.detector import load_checkpoint
from tests.drawn import draw_dataset
from tests.hostile.files import (
    ANNOTATIONS,
    CHECKPOINTS,
    FOLDERS,
    IN_FOLDERS,
    MEMBERS,
    YAMLS,
    ZIPS,
    packed,
)
from tests.hostile.limits import at_most, bounded_memory

pytestmark = pytest.mark.slow

YAML_DOORS: dict[str, Callable[[Path], object]] = {
    "data.yaml": load_dataset,
    "experiment": lambda file: read_settings(file, Experiment),
    "aliases": load_aliases,
}
CHECKPOINT_DOORS: dict[str, Callable[[Path], object]] = {
    "detector": load_checkpoint,
    "encoder": read_ultralytics,
    "tensors": _read_state,
}


def refused(read: Callable[[], object]) -> str:
    with at_most(60), bounded_memory(), pytest.raises(AoiTlError) as caught:
        read()
    told = str(caught.value)
    assert "\n" not in told
    assert "expected" in told
    assert len(told) < 2000
    return told


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("door", YAML_DOORS)
@pytest.mark.parametrize("kind", YAMLS)
def test_hostile_yaml_is_refused(kind: str, door: str, tmp_path: Path) -> None:
    file = draw_dataset(tmp_path / "data", {"dent": 1}, splits=("train",))
    YAMLS[kind](file)
    refused(lambda: YAML_DOORS[door](file))
    assert not (Path.cwd() / "sprung").exists()


@pytest.mark.parametrize(("format_", "kind"), ANNOTATIONS)
def test_hostile_annotations_are_refused(format_: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.full((8, 8), 9, np.uint8))
    suffix = {"voc": "xml", "cvat": "xml", "csv": "csv"}.get(format_, "json")
    source = tmp_path / f"notes.{suffix}"
    ANNOTATIONS[format_, kind](source)
    before = listing(tmp_path)
    refused(lambda: import_dataset(format_, source, tmp_path / "out", tmp_path / "images"))
    assert listing(tmp_path) == before


@pytest.mark.parametrize(("format_", "name", "kind"), IN_FOLDERS)
@pytest.mark.parametrize("skip", [False, True])
def test_hostile_files_among_annotations(
    format_: str, name: str, kind: str, skip: bool, tmp_path: Path
) -> None:
    (tmp_path / "set" / "images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "set" / "images" / "a.png"), np.full((8, 8), 9, np.uint8))
    for other, content in FOLDERS[format_].items():
        (tmp_path / "set" / other).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / other).write_bytes(content)
    IN_FOLDERS[format_, name, kind](tmp_path / "set" / name)
    before = listing(tmp_path)
    source = tmp_path / "set" / "masks" if format_ == "masks" else tmp_path / "set"
    told = ""
    with at_most(60), bounded_memory():
        try:
            import_dataset(format_, source, tmp_path / "out", skip_faulty=skip)
        except AoiTlError as error:
            told = str(error)
            assert listing(tmp_path) == before
    assert "\n" not in told
    assert len(told) < 2000
    assert {path for path in listing(tmp_path) if not path.startswith("out")} == before


@pytest.mark.parametrize("kind", ZIPS)
def test_hostile_archives_are_refused(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "in" / "notes.zip"
    source.parent.mkdir()
    ZIPS[kind](source)
    before = listing(tmp_path)
    refused(lambda: import_dataset("coco", source, tmp_path / "in" / "out"))
    assert listing(tmp_path) == before
    assert not Path("/tmp/sprung.png").exists()


def test_the_archives_are_good_but_for_what_is_hostile(tmp_path: Path) -> None:
    source = tmp_path / "notes.zip"
    source.write_bytes(packed())
    done = import_dataset("coco", source, tmp_path / "out")
    assert done.dataset.counts == {"dent": 1}
    assert sorted(MEMBERS) == ["images/a.png", "train.json"]


@pytest.mark.parametrize("door", CHECKPOINT_DOORS)
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_hostile_checkpoints_are_refused(kind: str, door: str, tmp_path: Path) -> None:
    file, mark = tmp_path / "model.pt", tmp_path / "sprung"
    CHECKPOINTS[kind](file, mark)
    before = listing(tmp_path)
    told = refused(lambda: CHECKPOINT_DOORS[door](file))
    assert listing(tmp_path) == before
    if kind == "payload" and door == "detector":
        assert "would run builtins.open" in told.replace("io.open", "builtins.open")
        assert "weights_may_run_code" in told
