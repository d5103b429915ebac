from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.data.yolo.write import write_dataset
from aoi_tl.errors import AoiTlError
from aoi_tl.workflows.check import run_check, run_split
from tests.hostile.corpus import HOSTILE, Trap, make
from tests.hostile.limits import at_most


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): ((stat := path.lstat()).st_mtime_ns, stat.st_size)
        for path in folder.rglob("*")
    }


READERS: dict[str, Callable[[Path, Path], object]] = {
    "load": lambda data, out: write_dataset(load_dataset(data), out / "written"),
    "check": lambda data, out: run_check([data], out),
    "split": lambda data, out: run_split(data, out / "anew"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_data_is_refused_or_passed_over(kind: str, reader: str, tmp_path: Path) -> None:
    data, mark = make(kind, tmp_path)
    before = listing(data.parent)
    told = ""
    with at_most(120):
        try:
            READERS[reader](data, tmp_path / "out")
        except AoiTlError as error:
            told = str(error)
    assert "\n" not in told
    assert len(told) < 2000
    assert not mark.exists()
    assert listing(data.parent) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "out"}


def test_the_trap_is_a_real_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung"))).close()
    assert (tmp_path / "sprung").exists()
