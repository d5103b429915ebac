from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from aoi_tl.classification.folders import read_image_csv, read_image_folders
from aoi_tl.classification.image_set import ImageSet
from aoi_tl.errors import DataError


def fill(folder: Path, count: int = 2) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((8, 8), 9 * number, np.uint8))


def make_set(labels: list[int], splits: list[str], groups: list[str] | None = None) -> ImageSet:
    names = tuple("abcdef"[: max(labels) + 1])
    return ImageSet("made", names, tuple(Path(f"{i}.png") for i in range(len(labels))),
                    np.array(labels), tuple(splits),
                    tuple(groups or [str(i) for i in range(len(labels))]))


def test_split_folders(tmp_path: Path) -> None:
    for split, name, count in (("train", "No Defect", 3), ("train", "Inked", 1),
                               ("Test", "No Defect", 2), ("Test", "Inked", 2)):
        fill(tmp_path / split / name, count)
    (tmp_path / "train" / "Inked" / "notes.txt").write_text("no image")
    found = read_image_folders(tmp_path)
    assert found.classes == ("Inked", "No Defect")
    assert found.split("train").counts == {"Inked": 1, "No Defect": 3}
    assert found.split("test").counts == {"Inked": 2, "No Defect": 2}


def test_folders_without_splits_are_for_training(tmp_path: Path) -> None:
    fill(tmp_path / "crazing")
    fill(tmp_path / "patches")
    assert set(read_image_folders(tmp_path).splits) == {"train"}


def test_composition_and_state_as_folders_in_folders(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "NCM811" / "100 cycles")
    fill(tmp_path / "train" / "NCM811" / "pristine")
    assert read_image_folders(tmp_path).classes == ("NCM811 100 cycles", "NCM811 pristine")


def test_csv_with_composition_and_state(tmp_path: Path) -> None:
    fill(tmp_path / "images", 3)
    table = tmp_path / "sem.csv"
    table.write_text("file,composition,state,split,cell\n0,NCM333,pristine,train,c1\n"
                     "1,NCM811,100 cycles,valid,c2\n2,NCM811,100 cycles,test,c3\n")
    found = read_image_csv(table, "file", ["composition", "state"], group="cell",
                           pattern="images/{}.png")
    assert found.classes == ("NCM333 pristine", "NCM811 100 cycles")
    assert found.splits == ("train", "val", "test")
    assert found.groups == ("c1", "c2", "c3")


def test_empty_class_folder(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "Inked")
    (tmp_path / "train" / "Damaged").mkdir()
    with pytest.raises(DataError, match=r"images of class 'Damaged' in .*got an empty folder"):
        read_image_folders(tmp_path)


def test_no_folder_and_no_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing there; correct the path"):
        read_image_folders(tmp_path / "absent")
    with pytest.raises(DataError, match="folder per class in"):
        read_image_folders(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,kind\n0.png,a\n", "expected a column 'class'"),
        ("image,class\nabsent.png,a\n", r"table\.csv:2: expected an image at"),
        ("image,class,split\n0.png,a,tset\n", "got 'tset'"),
        ("image,class\n0.png,\n", "expected a class, got nothing"),
        ("image,class\n", "expected a row per image"),
    ],
)
def test_faults_of_a_table(tmp_path: Path, text: str, message: str) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((8, 8), np.uint8))
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_image_csv(tmp_path / "table.csv")
