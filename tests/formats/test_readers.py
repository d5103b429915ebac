"""What each format says, read one by one."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from aoi_tl.data.images import write_image
from aoi_tl.formats import import_dataset

from .conftest import edges

# ------------------------------------------------------------------------------------------ coco

COCO = {
    "images": [
        {"id": 7, "file_name": "deep/a.png", "width": 80, "height": 60},
        {"id": "x", "file_name": "b.png"},
    ],
    "categories": [{"id": 5, "name": "dent"}, {"id": 2, "name": "划痕"}, {"id": 9, "name": "rust"}],
    "annotations": [
        {"image_id": 7, "category_id": 5, "bbox": [1.5, 2, 10, 20]},
        {"image_id": 7, "category_id": 2, "segmentation": [[5, 5, 9, 5, 9, 9], [1, 1, 2, 2, 3, 1]]},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1},
    ],
}


def test_coco(tmp_path, picture, put):
    picture("images/deep/a.png"), picture("images/b.png")
    done = import_dataset("coco", put("annotations/all.json", COCO), tmp_path / "new")
    assert done.dataset.names == ("划痕", "dent", "rust")
    assert edges(done.dataset) == {
        "a": [("dent", (1.5, 2, 11.5, 22)), ("划痕", (1, 1, 9, 9))],
        "b": [],
    }
    assert [n.split(",")[0] for n in done.notes] == ["1 crowd regions left out"]


def test_coco_files_are_splits(tmp_path, picture, put):
    for split in ("train", "val"):
        name = picture(f"images/{split}/{split}.png").name
        put(
            f"annotations/instances_{split}2017.json",
            {**COCO, "images": [{"id": 7, "file_name": name}]},
        )
    done = import_dataset("coco", tmp_path / "annotations", tmp_path / "new")
    assert [(s.split, s.image.stem) for s in done.dataset.samples] == [
        ("train", "train"),
        ("val", "val"),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": None}, "expected a COCO file with lists of images"),
        ({"images": [{"id": 1}]}, "image 1: expected an image with id and file_name"),
        ({"categories": [{"id": 1}]}, "expected categories with id and name"),
        (
            {"annotations": [{"image_id": 7, "category_id": 77, "bbox": [1, 1, 2, 2]}]},
            "annotation 1: expected category_id of a category, got 77",
        ),
        (
            {"annotations": [{"image_id": 70, "category_id": 5, "bbox": [1, 1, 2, 2]}]},
            "expected image_id of a listed image, got 70",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 5, "bbox": [1, 1, -2, 2]}]},
            "annotation 1: expected bbox as x, y, width, height",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 5, "bbox": [1, 1, "nan", 2]}]},
            "annotation 1: expected bbox",
        ),
        ({"annotations": [{"image_id": 7, "category_id": 5}]}, "or polygons, got None"),
        (
            {"annotations": [{"image_id": 7, "category_id": 5, "bbox": [70, 1, 90, 2]}]},
            "expected a box inside the image of 80 x 60",
        ),
    ],
)
def test_coco_faults(picture, put, refused, change, words):
    picture("images/deep/a.png"), picture("images/b.png")
    assert words in refused("coco", put("annotations/all.json", {**COCO, **change}))


def test_broken_and_deep_json(put, picture, refused):
    picture("a.png")
    assert "line 2: expected valid JSON" in refused("coco", put("a.json", '{"images": [],\n"a": }'))
    assert "too deep" in refused("coco", put("a.json", "[" * 200_000))
    assert "expected UTF-8 text" in refused("coco", put("a.json", b"\xff\xfe{"))


def test_a_file_name_cannot_lead_out(tmp_path, picture, put, refused):
    picture("secret.png"), picture("images/other.png")
    outside = {**COCO, "images": [{"id": 7, "file_name": "../secret.png"}]}
    assert "1 not found" in refused("coco", put("annotations/a.json", outside))
    absolute = {**COCO, "images": [{"id": 7, "file_name": str(tmp_path / "secret.png")}]}
    assert "1 not found" in refused("coco", put("annotations/a.json", absolute))


# ------------------------------------------------------------------------------------------- voc

OBJECT = (
    "<object><name> dent </name><bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>30.5</xmax>"
    "<ymax>40</ymax></bndbox><part><name>x</name></part></object>"
)


def voc(body: str, name: str = "a.png", size: str = "80") -> str:
    return (
        f"<annotation><filename>{name}</filename><size><width>{size}</width>"
        f"<height>60</height><depth>1</depth></size>{body}</annotation>"
    )


def test_voc(tmp_path, picture, put):
    for name in ("JPEGImages/a.png", "JPEGImages/划痕 2.png", "JPEGImages/c.png"):
        picture(name)
    put("Annotations/a.xml", voc(OBJECT.format(1), "stale-name.png"))
    put("Annotations/划痕 2.xml", voc("", "划痕 2"))
    polygon = (
        "<object><name>hole</name><polygon><x1>5</x1><y1>6</y1><x2>9</x2><y2>6</y2>"
        "<x3>9</x3><y3>12</y3></polygon></object>"
    )
    put("Annotations/other.xml", voc(polygon, "c.png", size="0"))
    put("ImageSets/Main/train.txt", "a 1\nother -1\n")
    put("ImageSets/Main/val.txt", "划痕 2\n")
    done = import_dataset("voc", tmp_path, tmp_path / "new")
    assert edges(done.dataset) == {
        "a": [("dent", (1, 2, 30.5, 40))],
        "c": [("hole", (5, 6, 9, 12))],
        "划痕 2": [],
    }
    assert {s.image.stem: s.split for s in done.dataset.samples} == {
        "a": "train",
        "c": "train",
        "划痕 2": "val",
    }
    counted = import_dataset(
        "voc",
        tmp_path / "Annotations" / "a.xml",
        tmp_path / "one",
        images=tmp_path / "JPEGImages",
        first_pixel=1,
    )
    assert edges(counted.dataset) == {"a": [("dent", (0, 1, 30.5, 40))]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (voc(OBJECT.format("x")), "object 1: expected xmin, ymin, xmax, ymax as numbers"),
        (voc(OBJECT.format("nan")), "object 1: expected xmin"),
        (voc("<object><name>a</name></object>"), "object 1: expected xmin"),
        (voc(OBJECT.format(1).replace(" dent ", "")), "expected a class name, got an empty one"),
        (voc("", size="90"), "expected an image of 90 x 60 pixels, got 80 x 60"),
        ("<html/>", "expected <annotation>, got <html>"),
        ("<annotation>\n<object></annotation>", "line 2: expected valid XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "without entities"),
        (
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>',
            "without entities",
        ),
        ("<?xml version='1.0' encoding='nope'?><annotation/>", "expected valid XML"),
    ],
)
def test_voc_faults(picture, put, refused, text, words):
    picture("a.png")
    assert words in refused("voc", put("a.xml", text))


def test_images_of_one_name_in_two_folders(tmp_path, picture, put, refused):
    picture("images/x/a.png"), picture("images/y/a.png")
    put("xml/a.xml", voc(OBJECT.format(1)))
    assert "expected one image called 'a.png', got 2" in refused("voc", tmp_path / "xml")
    done = import_dataset("voc", tmp_path / "xml", tmp_path / "n", images=tmp_path / "images" / "x")
    assert len(done.dataset.samples) == 1


# --------------------------------------------------------------------------------------- labelme


def test_labelme(tmp_path, picture, put):
    image = picture("set/a.png")
    shapes = [
        {"label": "dent", "shape_type": "rectangle", "points": [[30, 40], [10, 20]]},
        {"label": "划痕", "points": [[1, 2], [9, 2], [5, 8]]},
        {"label": "hole", "shape_type": "circle", "points": [[20, 20], [23, 24]]},
        {"label": "rust", "shape_type": "mask", "points": [[3, 4], [9, 9]], "mask": "x"},
        {"label": "dent", "shape_type": "line", "points": [[1, 2], [9, 2]]},
    ]
    content = {"imagePath": "..\\old\\a.png", "imageWidth": 80, "imageHeight": 60}
    put("set/a.json", {**content, "shapes": shapes})
    done = import_dataset("labelme", tmp_path / "set", tmp_path / "new")
    assert edges(done.dataset)["a"] == [
        ("dent", (10, 20, 30, 40)),
        ("划痕", (1, 2, 9, 8)),
        ("hole", (15, 15, 25, 25)),
        ("rust", (3, 4, 10, 10)),
    ]
    assert "1 shapes left out: points and lines" in done.notes[0]
    # An image that is only in the JSON is taken from there.
    data = base64.b64encode(image.read_bytes()).decode()
    put("set/b.json", {**content, "imagePath": "b.png", "imageData": data, "shapes": shapes[:1]})
    done = import_dataset("labelme", tmp_path / "set", tmp_path / "more", link=True)
    assert len(done.dataset.samples) == 2
    assert [edges(done.dataset)[stem] for stem in edges(done.dataset) if "b" in stem] == [
        [("dent", (10, 20, 30, 40))]
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "expected a LabelMe file with shapes"),
        ({"shapes": [3]}, "shape 1: expected a shape with a label"),
        ({"shapes": [{"label": "a", "points": [[1, 2], [3, 4]]}]}, "at least 3 points"),
        (
            {"shapes": [{"label": "a", "shape_type": "rectangle", "points": [[1, 2], [3]]}]},
            "at least 2 points for a rectangle",
        ),
        ({"shapes": [{"label": "a", "points": [[1, 2], [3, "x"], [1, 1]]}]}, "at least 3 points"),
    ],
)
def test_labelme_faults(picture, put, refused, content, words):
    picture("a.png")
    assert words in refused("labelme", put("a.json", content))


# ------------------------------------------------------------------------------------------ cvat


def test_cvat(tmp_path, picture, put):
    picture("images/train/a.png"), picture("images/b.png")
    text = """<?xml version="1.0" encoding="utf-8"?>
    <annotations><version>1.1</version><meta><task><labels>
      <label><name>rust</name></label><label><name>dent</name></label></labels></task></meta>
    <image id="0" name="train/a.png" width="80" height="60" subset="Train">
      <box label="dent" xtl="1.5" ytl="2" xbr="11.5" ybr="22"/>
      <box label="dent" xtl="20" ytl="20" xbr="40" ybr="30" rotation="90.0"/>
      <polygon label="rust" points="5.0,6.0;9.0,6.0;9.0,12.0"/>
      <ellipse label="rust" cx="50" cy="30" rx="5" ry="3" rotation="0"/>
      <mask label="rust" left="60" top="40" width="10" height="5" rle="1"/>
      <points label="dent" points="1,2"/></image>
    <image id="1" name="b.png" width="80" height="60" subset="Validation"/></annotations>"""
    done = import_dataset(
        "cvat", put("annotations.xml", text), tmp_path / "new", images=tmp_path / "images"
    )
    assert done.dataset.names == ("rust", "dent")
    assert edges(done.dataset)["a"] == [
        ("dent", (1.5, 2, 11.5, 22)),
        ("dent", (25, 15, 35, 35)),
        ("rust", (5, 6, 9, 12)),
        ("rust", (45, 27, 55, 33)),
        ("rust", (60, 40, 70, 45)),
    ]
    assert [s.split for s in done.dataset.samples] == ["train", "val"]
    assert "1 shapes left out" in done.notes[0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<track id='0'/>", "expected CVAT for images, got tracks of a video"),
        ("<image name='a.png'><box label='a' xtl='1'/></image>", "expected a box with numbers"),
        ("<image name='a.png'><polygon label='a' points='1,2;3'/></image>", "expected a polygon"),
        ("<image name='a.png'><ellipse label='a' cx='nan'/></image>", "expected a ellipse"),
        ("<image name='a.png' width='9' height='9'/>", "expected an image of 9 x 9 pixels"),
    ],
)
def test_cvat_faults(picture, put, refused, body, words):
    picture("a.png")
    assert words in refused("cvat", put("a.xml", f"<annotations>{body}</annotations>"))


# ----------------------------------------------------------------------------------------- masks


def masked(path, *boxes, value=255, dtype=np.uint8):
    mask = np.zeros((60, 80), dtype)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, mask)
    return mask


def test_masks(tmp_path, picture):
    for name in ("a", "b", "free"):
        picture(f"images/{name}.png")
    # Two pieces 4 pixels apart are one defect, 5 pixels apart two; specks are none.
    masked(tmp_path / "masks" / "a.png", (10, 10, 20, 20), (24, 10, 30, 20), (60, 40, 62, 42))
    masked(tmp_path / "masks" / "b_mask.png", (10, 10, 20, 20), (25, 10, 30, 20))
    done = import_dataset("masks", tmp_path / "masks", tmp_path / "new")
    assert edges(done.dataset) == {
        "a": [("defect", (10, 10, 30, 20))],
        "b": [("defect", (10, 10, 20, 20)), ("defect", (25, 10, 30, 20))],
        "free": [],
    }
    assert "1 images without a mask treated as free of defects" in done.notes[0]
    fine = import_dataset("masks", tmp_path / "masks", tmp_path / "fine", gap=0, area=1, label="x")
    assert fine.dataset.counts == {"x": 5}


def test_masks_in_folders_of_classes(tmp_path, picture):
    """As MVTec AD lies on disk, with the same names in every class."""
    for folder in ("crack", "hole", "good"):
        picture(f"test/{folder}/000.png")
    masked(tmp_path / "ground_truth" / "crack" / "000_mask.png", (10, 10, 20, 20))
    masked(tmp_path / "ground_truth" / "hole" / "000_mask.png", (30, 30, 50, 40))
    done = import_dataset(
        "masks",
        tmp_path / "ground_truth",
        tmp_path / "new",
        images=tmp_path / "test",
        split="train",
    )
    found = sorted(mark for marks in edges(done.dataset).values() for mark in marks)
    assert found == [("crack", (10, 10, 20, 20)), ("hole", (30, 30, 50, 40))]
    assert len(done.dataset.samples) == 3


def test_masks_with_a_value_for_each_class(tmp_path, picture, refused):
    picture("images/a.png")
    mask = masked(tmp_path / "masks" / "a.png", (10, 10, 20, 20), value=1)
    mask[30:40, 30:50] = 2
    write_image(tmp_path / "masks" / "a.png", mask)
    done = import_dataset(
        "masks", tmp_path / "masks", tmp_path / "new", values={1: "dent", 2: "rust"}
    )
    assert edges(done.dataset) == {"a": [("dent", (10, 10, 20, 20)), ("rust", (30, 30, 50, 40))]}
    source = tmp_path / "masks"
    assert "expected pixel values [1], got [2]" in refused("masks", source, values={1: "dent"})
    assert "expected marked pixels above 127, got values up to 2" in refused("masks", source)


def test_mask_faults(tmp_path, picture, put, refused):
    picture("images/a.png")
    masked(tmp_path / "masks" / "a.png", (10, 10, 20, 20))
    (tmp_path / "empty").mkdir()
    assert "expected mask images in the folder" in refused("masks", tmp_path / "empty")
    assert "expected a folder of masks" in refused("masks", tmp_path / "masks" / "a.png")
    write_image(tmp_path / "masks" / "a.png", np.full((30, 40), 255, np.uint8))
    assert "expected an image of 40 x 30 pixels" in refused("masks", tmp_path / "masks")
    put("masks/a.png", b"x")
    assert "expected a complete mask" in refused("masks", tmp_path / "masks")


# --------------------------------------------------------------------------------------- folders


def test_folders(tmp_path, picture):
    for name in ("train/划痕/a.png", "train/dent/deep/b.png", "test/good/c.png", "valid/OK/d.png"):
        picture(f"set/{name}")
    done = import_dataset("folders", tmp_path / "set", tmp_path / "new")
    whole = (0, 0, 80, 60)
    assert edges(done.dataset) == {"a": [("划痕", whole)], "b": [("dent", whole)], "c": [], "d": []}
    assert {s.image.stem: s.split for s in done.dataset.samples} == {
        "a": "train",
        "b": "train",
        "c": "test",
        "d": "val",
    }


def test_folder_faults(tmp_path, picture, refused):
    picture("set/dent/a.png"), picture("set/b.png")
    assert "expected a folder named like its class" in refused("folders", tmp_path / "set")
    assert "expected a folder for each class" in refused("folders", tmp_path / "set" / "b.png")


# ------------------------------------------------------------------------------------------- csv


@pytest.mark.parametrize(
    "text",
    [
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,80,60,dent,1,2,30,40\n",
        "label_name;bbox_x;bbox_y;bbox_width;bbox_height;image_name\ndent;1;2;29;38;a.png\n",
        "\ufeffImage\tClass\tx\ty\twidth\theight\nold/a.png\tdent\t1\t2\t29\t38\r\n",
        "path,x1,y1,x2,y2,class\na.png,1,2,30,40,dent\nb.png,,,,,\n",
        "a.png,1,2,30,40,dent\n",
        "file,label,x1,y1,x2,y2\na.png,dent,0.0125,0.03333333333,0.375,0.66666666667\n",
        'image,label,x,y,w,h\n"a.png","dent","1","2","29","38"\n',
    ],
)
def test_csv_in_many_hands(tmp_path, picture, put, text):
    picture("a.png"), picture("b.png")
    done = import_dataset("csv", put("boxes.csv", text), tmp_path / "new")
    found = {stem: marks for stem, marks in edges(done.dataset).items() if marks}
    assert found == {"a": [("dent", (1, 2, 30, 40))]}
    assert ("b" in edges(done.dataset)) == ("b.png" in text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "got an empty file"),
        ("a,b,c\n1,2,3\n", "expected columns for image, class and box, got a, b, c"),
        ("image,label,x,y,w,h\na.png,dent,1,2,-3,4\n", "line 2: expected four numbers"),
        ("image,label,x,y,w,h\n,dent,1,2,3,4\n", "line 2: expected an image name"),
        ("image,label,x,y,w,h\na.png,dent\n", "line 2: expected four numbers"),
        ("image,label,x,y,w,h\na.png,,1,2,3,4\n", "expected a class name, got an empty one"),
    ],
)
def test_csv_faults(picture, put, refused, text, words):
    picture("a.png")
    assert words in refused("csv", put("boxes.csv", text))
