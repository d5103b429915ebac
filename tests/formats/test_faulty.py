"""One bad row does not stop the good ones, when told so; and never more than a few."""

from __future__ import annotations

import pytest

from aoi_tl.errors import DataError
from aoi_tl.formats import import_dataset

from .conftest import edges
from .test_readers import COCO, OBJECT, voc

TABLE = "filename,class,xmin,ymin,xmax,ymax\n"


def boxes(picture, n: int = 40) -> str:
    return TABLE + "".join(
        f"{picture(f'images/{i:02d}.png').name},dent,1,2,30,40\n" for i in range(n))


def test_faulty_rows_are_counted_by_kind_and_left_out(tmp_path, picture, put):
    text = boxes(picture)
    picture("images/x.png"), picture("images/y.png")
    bad = "x.png,dent,1,2,a,40\n00.png,hole,100,2,120,40\n"
    table = put("t.csv", text + bad)
    done = import_dataset("csv", table, tmp_path / "new", skip_faulty=True)
    assert len(done.dataset.samples) == 40  # x has no box that can be used: it is not defect-free
    assert edges(done.dataset)["00"] == [("dent", (1, 2, 30, 40))]
    assert len(done.faults) == 2
    told = [note for note in done.notes if "annotations left out" in note]
    assert told[0].startswith("1 annotations left out: expected four numbers for the box, the")
    assert "t.csv line 42: expected four numbers" in told[0]
    assert told[1].startswith("1 annotations left out: expected a box inside the image of N x N")


def test_the_strict_way_counts_them_and_names_the_option(picture, put, refused):
    table = put("t.csv", boxes(picture) + "00.png,dent,1,2,a,40\n" * 3)
    message = refused("csv", table)
    assert "t.csv line 42: expected four numbers" in message
    assert "(and 2 more such faults), 3 in all; --skip-faulty leaves such out" in message


def test_above_a_share_nothing_is_skipped(tmp_path, picture, put, refused):
    table = put("t.csv", boxes(picture) + "00.png,dent,1,2,a,40\n" * 3)
    message = refused("csv", table, skip_faulty=True)
    assert "at most 5% of the annotations to be faulty, got 3 of 43, the first: " in message
    done = import_dataset("csv", table, tmp_path / "new", skip_faulty=True, most_faulty=0.1)
    assert len(done.faults) == 3


@pytest.mark.parametrize("format", ["voc", "labelme", "coco", "yolo", "deeppcb"])
def test_in_every_format(tmp_path, picture, put, format):
    """Image 0 has a sound and a faulty mark, image 1 nothing but a faulty one."""
    stems = [f"{i:02d}" for i in range(10)]
    suffix = "_test" if format == "deeppcb" else ""
    for stem in stems:
        picture(f"set/g/{stem}{suffix}.png")
    shape = {"label": "dent", "shape_type": "rectangle", "points": [[1, 2], [30, 40]]}
    broken = {**shape, "points": [[1, 2]]}
    entries = []
    for number, stem in enumerate(stems):
        kinds = [True, False] if number == 0 else [number != 1]
        if format == "voc":
            put(f"set/g/{stem}.xml", voc("".join(
                OBJECT.format(1 if good else "x") for good in kinds), f"{stem}.png"))
        elif format == "labelme":
            put(f"set/g/{stem}.json", {"imagePath": f"{stem}.png", "shapes": [
                shape if good else broken for good in kinds]})
        elif format == "yolo":
            put(f"set/g/{stem}.txt", "".join(
                f"0 .5 .5 .1 {'.1' if good else 'x'}\n" for good in kinds))
        elif format == "deeppcb":
            put(f"set/g_not/{stem}.txt", "".join(
                f"1 2 30 40 {1 if good else 9}\n" for good in kinds))
        entries += [{"image_id": number, "category_id": 5 if good else 55,
                     "bbox": [1, 2, 29, 38]} for good in kinds]
    if format == "coco":
        put("set/all.json", {**COCO, "annotations": entries, "images": [
            {"id": n, "file_name": f"{stem}.png"} for n, stem in enumerate(stems)]})
    put("set/classes.txt", "dent\n") if format == "yolo" else None
    with pytest.raises(DataError, match="2 in all; --skip-faulty"):
        import_dataset(format, tmp_path / "set", tmp_path / "never")
    done = import_dataset(format, tmp_path / "set", tmp_path / "new", skip_faulty=True,
                          most_faulty=0.2)
    found = edges(done.dataset)
    assert [stem.removesuffix(suffix) for stem in found] == [s for s in stems if s != "01"]
    assert all(len(every) == 1 for every in found.values())
    assert len(done.faults) == 2


def test_a_broken_file_among_many(tmp_path, picture, put):
    for i in range(30):
        picture(f"set/{i}.png")
        put(f"set/{i}.xml", voc(OBJECT.format(1), f"{i}.png") if i else "<annotation>")
    with pytest.raises(DataError, match=r"0\.xml line 1: expected valid XML.*1 in all"):
        import_dataset("voc", tmp_path / "set", tmp_path / "never")
    done = import_dataset("voc", tmp_path / "set", tmp_path / "new", skip_faulty=True)
    assert len(done.dataset.samples) == 29
