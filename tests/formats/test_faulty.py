"""One bad row does not stop the good ones, when told so; and never more than a few."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from aoi_tl.errors import DataError
from aoi_tl.formats import FORMATS, import_dataset

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


SHAPE = '<box label="dent" xtl="1" ytl="2" xbr="{}" ybr="40"/>'


@pytest.mark.parametrize("format", [
    "voc", "labelme", "coco", "cvat", "yolo", "deeppcb", "csv", "severstal",
])
def test_in_every_format(tmp_path, picture, put, format):
    """Image 0 has a sound and a faulty mark, image 1 nothing but a faulty one."""
    stems = [f"{i:02d}" for i in range(10)]
    suffix = "_test" if format == "deeppcb" else ""
    for stem in stems:
        picture(f"set/g/{stem}{suffix}.png")
    shape = {"label": "dent", "shape_type": "rectangle", "points": [[1, 2], [30, 40]]}
    broken = {**shape, "points": [[1, 2]]}
    entries: list[dict] = []
    texts: list[str] = []
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
        elif format == "cvat":
            shapes = "".join(SHAPE.format(30 if good else "x") for good in kinds)
            texts.append(f'<image name="{stem}.png">{shapes}</image>')
        elif format == "csv":
            texts += [f"{stem}.png,dent,1,2,{30 if good else 'x'},40\n" for good in kinds]
        elif format == "severstal":
            # A row without runs says only that the other classes are not there.
            texts += [f"{stem}.png,3,{'61 10' if good else '0 5'}\n" for good in kinds]
            texts.append(f"{stem}.png,4,\n")
        entries += [{"image_id": number, "category_id": 5 if good else 55,
                     "bbox": [1, 2, 29, 38]} for good in kinds]
    if format == "coco":
        put("set/all.json", {**COCO, "annotations": entries, "images": [
            {"id": n, "file_name": f"{stem}.png"} for n, stem in enumerate(stems)]})
    put("set/classes.txt", "dent\n") if format == "yolo" else None
    put("set/a.xml", f"<annotations>{''.join(texts)}</annotations>") if format == "cvat" else None
    if format in ("csv", "severstal"):
        head = TABLE if format == "csv" else "ImageId,ClassId,EncodedPixels\n"
        put("set/a.csv", head + "".join(texts))
        format = "csv"
    with pytest.raises(DataError, match="2 in all; --skip-faulty"):
        import_dataset(format, tmp_path / "set", tmp_path / "never")
    done = import_dataset(format, tmp_path / "set", tmp_path / "new", skip_faulty=True,
                          most_faulty=0.2)
    found = edges(done.dataset)
    assert [stem.removesuffix(suffix) for stem in found] == [s for s in stems if s != "01"]
    assert all(len(every) == 1 for every in found.values())
    assert len(done.faults) == 2


def test_in_masks(tmp_path, picture):
    """As above; one mask of image 1 is faulty, and another one empty."""
    for number in range(10):
        picture(f"set/images/{number}.png")
        for name in ("dent", "hole"):
            mask = np.zeros((60, 80), np.uint8)
            if name == "dent":
                mask[10:20, 30:50] = 90 if number == 1 else 255
            if number == 0 and name == "hole":
                mask[40:50, 5:25] = 90
            file = tmp_path / "set" / "masks" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), mask)
    masks = tmp_path / "set" / "masks"
    with pytest.raises(DataError, match=r"values up to 90.*2 in all; --skip-faulty"):
        import_dataset("masks", masks, tmp_path / "never")
    done = import_dataset("masks", masks, tmp_path / "new", skip_faulty=True, most_faulty=0.2)
    found = edges(done.dataset)
    assert sorted(found) == ["0", *map(str, range(2, 10))]
    assert all(every == [("dent", (30, 10, 50, 20))] for every in found.values())
    (masks / "dent" / "3.png").write_bytes((masks / "dent" / "3.png").read_bytes()[:60])
    done = import_dataset("masks", masks, tmp_path / "again", skip_faulty=True, most_faulty=0.3)
    assert "3" not in edges(done.dataset)


def test_in_folders_of_classes(tmp_path, picture):
    for number in range(20):
        picture(f"set/dent/{number}.png")
    picture("set/lost.png")
    with pytest.raises(DataError, match=r"expected a folder named like its class.*1 in all"):
        import_dataset("folders", tmp_path / "set", tmp_path / "never")
    done = import_dataset("folders", tmp_path / "set", tmp_path / "new", skip_faulty=True)
    assert "lost" not in edges(done.dataset)
    assert len(done.dataset.samples) == 20


def test_every_format_is_tried():
    tried = {"voc", "labelme", "coco", "cvat", "yolo", "deeppcb", "csv", "masks", "folders"}
    assert tried == set(FORMATS)


def test_a_faulty_category_does_not_stop_the_others(tmp_path, picture, put):
    picture("images/a.png")
    table = put("all.json", {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [n, 2, 9, 8]} for n in range(9)],
        "categories": [{"id": 1, "name": "dent"}, {"id": 2}],
    })
    with pytest.raises(DataError, match=r"expected categories with id and name.*1 in all"):
        import_dataset("coco", table, tmp_path / "never")
    done = import_dataset("coco", table, tmp_path / "new", skip_faulty=True, most_faulty=0.2)
    assert done.dataset.counts == {"dent": 9}


def test_a_row_that_is_none_does_not_stop_the_table(tmp_path, picture, put):
    rows = boxes(picture).replace("39.png,dent", f"39.png,{'x' * 200_000}")
    with pytest.raises(DataError, match=r"t.csv line 41: expected a CSV row.*1 in all"):
        import_dataset("csv", put("t.csv", rows), tmp_path / "never")
    done = import_dataset("csv", put("t.csv", rows), tmp_path / "new", skip_faulty=True)
    assert done.dataset.counts == {"dent": 39}


@pytest.mark.parametrize("format", ["voc", "labelme", "cvat", "coco", "deeppcb"])
def test_a_broken_file_among_many_in_every_format_of_files(tmp_path, picture, put, format):
    shape = {"label": "dent", "shape_type": "rectangle", "points": [[1, 2], [30, 40]]}
    for i in range(30):
        name = f"{i}_test.png" if format == "deeppcb" else f"{i}.png"
        picture(f"set/g/{name}")
        good = {
            "voc": voc(OBJECT.format(1), name),
            "labelme": {"imagePath": name, "shapes": [shape]},
            "cvat": f'<annotations><image name="{name}">{SHAPE.format(30)}</image></annotations>',
            "coco": {**COCO, "images": [{"id": 1, "file_name": name}], "annotations": [
                {"image_id": 1, "category_id": 5, "bbox": [1, 2, 29, 38]}]},
            "deeppcb": "1 2 30 40 1\n",
        }[format]
        suffix = {"deeppcb": "txt", "labelme": "json", "coco": "json"}.get(format, "xml")
        folder = "g_not" if format == "deeppcb" else "notes"
        put(f"set/{folder}/{i}.{suffix}", good if i else b"\xff\x00<")
    if format == "coco":  # whose files are whole sets, told apart by their splits alone
        (tmp_path / "set" / "notes" / "0.json").unlink()
        put("set/notes/broken.json", "{")
    with pytest.raises(DataError, match=r"1 in all; --skip-faulty"):
        import_dataset(format, tmp_path / "set", tmp_path / "never")
    done = import_dataset(format, tmp_path / "set", tmp_path / "new", skip_faulty=True)
    assert len(done.dataset.samples) == 29
    for i in (1, 2):
        put(f"set/{folder}/{i}.{suffix}", b"\xff\x00<")
    with pytest.raises(DataError, match=r"5% of the (files|annotations)"):
        import_dataset(format, tmp_path / "set", tmp_path / "nor", skip_faulty=True)


def test_one_file_of_three_is_too_much_to_leave_out(tmp_path, picture, put):
    """Its annotations would be lost, however many there are in the others."""
    for part in ("a", "b"):
        images = "".join(
            f'<image name="{picture(f"set/{part}{i}.png").name}">{SHAPE.format(30)}</image>'
            for i in range(40))
        put(f"set/{part}.xml", f"<annotations>{images}</annotations>")
    put("set/c.xml", "<annotations><image")
    with pytest.raises(DataError, match="at most 5% of the files to be unreadable, got 1 of 3"):
        import_dataset("cvat", tmp_path / "set", tmp_path / "new", skip_faulty=True)


def test_a_broken_file_among_many(tmp_path, picture, put):
    for i in range(30):
        picture(f"set/{i}.png")
        put(f"set/{i}.xml", voc(OBJECT.format(1), f"{i}.png") if i else "<annotation>")
    with pytest.raises(DataError, match=r"0\.xml line 1: expected valid XML.*1 in all"):
        import_dataset("voc", tmp_path / "set", tmp_path / "never")
    done = import_dataset("voc", tmp_path / "set", tmp_path / "new", skip_faulty=True)
    assert len(done.dataset.samples) == 29
