"""Folders that are named like splits are splits, whatever the format."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from aoi_tl.formats import import_dataset

from .test_readers import COCO, OBJECT, voc

LAYOUT = {"Train": "train", "valid": "val", "TEST": "test"}
SHAPE = {"label": "dent", "shape_type": "rectangle", "points": [[1, 2], [30, 40]]}
BOXES = "filename,class,xmin,ymin,xmax,ymax\n{},dent,1,2,30,40\n"


def of(done) -> dict[str, str]:
    return {sample.image.stem.partition("_")[0]: sample.split for sample in done.dataset.samples}


def coco(name: str) -> dict:
    return {**COCO, "images": [{"id": 7, "file_name": name}]}


@pytest.mark.parametrize("format", ["coco", "voc", "labelme", "csv", "masks", "folders"])
def test_annotations_beside_images_in_folders_of_splits(tmp_path, picture, put, format):
    """The commonest layout of all; the images have one name in all three."""
    for number, folder in enumerate(LAYOUT):
        place = f"set/{folder}/dent" if format == "folders" else f"set/{folder}"
        image = picture(f"{place}/a.png")
        cv2.imwrite(str(image), np.full((60, 80), 40 * number, np.uint8))
        if format == "coco":
            put(f"set/{folder}/_annotations.coco.json", coco("a.png"))
        elif format == "voc":
            put(f"set/{folder}/a.xml", voc(OBJECT.format(1)))
        elif format == "labelme":
            put(f"set/{folder}/a.json", {"imagePath": "a.png", "shapes": [SHAPE]})
        elif format == "csv":
            put(f"set/{folder}/_annotations.csv", BOXES.format("a.png"))
        elif format == "masks":
            (tmp_path / "masks" / folder).mkdir(parents=True)
            mask = np.zeros((60, 80), np.uint8)
            mask[2:40, 1:30] = 255
            cv2.imwrite(str(tmp_path / "masks" / folder / "a.png"), mask)
    source, images = (tmp_path / "masks", tmp_path / "set") if format == "masks" else (
        tmp_path / "set", None)
    done = import_dataset(format, source, tmp_path / "new", images)
    assert [s.split for s in done.dataset.samples] == ["train", "val", "test"]
    shades = [int(cv2.imread(str(s.image), 0)[0, 0]) for s in done.dataset.samples]
    assert shades == [0, 40, 80]
    assert done.notes == (() if format != "coco" else done.notes)


@pytest.mark.parametrize("format", ["coco", "voc", "labelme", "csv"])
def test_images_in_folders_of_splits_are_enough(tmp_path, picture, put, format):
    names = [picture(f"images/{folder}/{folder}_1.png").name for folder in LAYOUT]
    for name in names:
        stem = name.removesuffix(".png")
        if format == "voc":
            put(f"notes/{stem}.xml", voc(OBJECT.format(1), name))
        elif format == "labelme":
            put(f"notes/{stem}.json", {"imagePath": name, "shapes": [SHAPE]})
    if format == "coco":
        put("notes/all.json", {**COCO, "annotations": COCO["annotations"][:1], "images": [
            {"id": n, "file_name": name} for n, name in enumerate(names, start=7)]})
    if format == "csv":
        put("notes/boxes.csv", BOXES.format(names[0]) + "".join(
            f"{name},dent,1,2,30,40\n" for name in names[1:]))
    done = import_dataset(format, tmp_path / "notes", tmp_path / "new")
    assert of(done) == LAYOUT


def test_where_splits_disagree_the_files_own_wins_and_a_note_says_so(tmp_path, picture, put):
    for name in ("a", "b"):
        picture(f"images/train/{name}.png")
    put("boxes.csv", "filename,class,xmin,ymin,xmax,ymax,split\n"
                     "a.png,dent,1,2,30,40,val\nb.png,dent,1,2,30,40,train\n")
    done = import_dataset("csv", tmp_path / "boxes.csv", tmp_path / "n", tmp_path / "images")
    assert of(done) == {"a": "val", "b": "train"}
    [note] = done.notes
    assert "1 splits in which the folder of the image differs: the annotation was followed" in note
    told = import_dataset("csv", tmp_path / "boxes.csv", tmp_path / "m", tmp_path / "images",
                          split="train")
    assert set(of(told).values()) == {"train"}


def test_a_folder_that_only_sounds_like_a_split_is_none(tmp_path, picture):
    for place in ("test_scratch/a.png", "training day/b.png", "good/c.png"):
        picture(f"set/{place}")
    done = import_dataset("folders", tmp_path / "set", tmp_path / "new")
    assert set(of(done).values()) == {"train"}
    assert done.dataset.names == ("test_scratch", "training day")


def test_a_category_that_is_only_above_others_is_left_out(tmp_path, picture, put):
    picture("images/deep/a.png"), picture("images/b.png")
    categories = [{"id": 0, "name": "defects", "supercategory": "none"},
                  {"id": 5, "name": "dent", "supercategory": "defects"},
                  {"id": 2, "name": "rust", "supercategory": "defects"},
                  {"id": 9, "name": "hole", "supercategory": "dent"}]
    done = import_dataset("coco", put("annotations/all.json", {**COCO, "categories": categories}),
                          tmp_path / "new")
    assert done.dataset.names == ("rust", "dent", "hole")  # dent is above hole, and used
    assert any("category 'defects' left out: only a supercategory" in note for note in done.notes)
    used = [*COCO["annotations"], {"image_id": 7, "category_id": 0, "bbox": [1, 1, 2, 2]}]
    done = import_dataset("coco", put("annotations/all.json", {
        **COCO, "categories": categories, "annotations": used}), tmp_path / "again")
    assert done.dataset.names[0] == "defects"
