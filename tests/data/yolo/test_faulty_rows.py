"""Label rows that cannot be used, left out when told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import DataError
from aoi_tl.experiment.detection import Experiment
from aoi_tl.workflows.shelf import load_with_aliases
from tests.drawn import draw_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return draw_dataset(tmp_path / "set", {"dent": 15}, seed=1)


def spoil(data: Path, *numbers: int, keep: bool = False) -> None:
    for number in numbers:
        file = data.parent / f"labels/train/train{number}.txt"
        file.write_text((file.read_text() if keep else "") + "9 .5 .5 .1 .1\n")


def test_a_faulty_row_is_left_out_and_its_image_where_none_is_left(data: Path) -> None:
    spoil(data, 0)
    spoil(data, 1, keep=True)
    with pytest.raises(DataError, match=r"and 1 more such rows, 2 files in all.*'faulty: skip'"):
        load_dataset(data)
    found = load_dataset(data, skip_faulty=True)
    whole = {sample.image.stem for sample in found.split("train").samples}
    assert "train0" not in whole
    assert {"train1", "train15"} <= whole  # 15 has no defect, and stays
    assert found.instances == 44
    assert any(note.startswith("2 label rows left out") and "train0.txt line 1" in note
               for note in found.notes)


def test_too_many_are_refused_all_the_same(data: Path) -> None:
    spoil(data, 0, 1, 2, 3)
    with pytest.raises(DataError, match="at most 5% of the label rows to be faulty, got 4"):
        load_dataset(data, skip_faulty=True)


def test_an_experiment_says_so(data: Path) -> None:
    spoil(data, 0)
    experiment = Experiment(target=str(data), sources=[str(data)], faulty="skip")
    [found] = load_with_aliases([data], None, skip_faulty=experiment.faulty == "skip")
    assert found.instances == 44
    assert Experiment(target="t", sources=["s"]).faulty == "refuse"
