"""Formats of darknet, CVAT, Label Studio, roLabelImg, Severstal and DeepPCB; odd masks and XML."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from aoi_tl.errors import DataError
from aoi_tl.formats import import_dataset
from aoi_tl.formats.recognise import recognise
from aoi_tl.formats.run_lengths import box_around, decode_counts

from .conftest import edges
from .test_readers import COCO, OBJECT, voc

# ------------------------------------------------------------------------------------------- yolo


def darknet(picture, put, prefix: str = "data/obj_train_data") -> None:
    for name in ("a", "b", "c"):
        picture(f"set/obj_train_data/{name}.png")
    put("set/obj_train_data/a.txt", "1 0.5 0.5 0.25 0.5\n0 .25 .25 .5 .5\n")
    put("set/obj_train_data/c.txt", "")
    put("set/obj.names", "dent\n划痕\n")
    put("set/obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n"
                        "backup = backup/\n")
    put("set/train.txt", f"{prefix}/a.png\n{prefix}/b.png\n")
    put("set/valid.txt", f"{prefix}/c.png\n")


def test_darknet_and_cvats_yolo(tmp_path, picture, put):
    darknet(picture, put)
    done = import_dataset("yolo", tmp_path / "set", tmp_path / "new")
    assert done.dataset.names == ("dent", "划痕")
    assert edges(done.dataset) == {
        "a": [("划痕", (30, 15, 50, 45)), ("dent", (0, 0, 40, 30))], "b": [], "c": [],
    }
    assert {s.image.stem: s.split for s in done.dataset.samples} == {
        "a": "train", "b": "train", "c": "val"}
    [note] = done.notes
    assert note.startswith("1 listed images without a label file treated as free of defects")


def test_label_studios_yolo(tmp_path, picture, put):
    for name in ("1-a", "2-b"):
        picture(f"set/images/{name}.png")
        put(f"set/labels/{name}.txt", "0 0.5 0.5 0.25 0.5\n")
    put("set/classes.txt", "dent\nhole\n")
    put("set/notes.json", {"categories": [{"id": 0, "name": "dent"}], "info": {}})
    done = import_dataset("yolo", tmp_path / "set", tmp_path / "new")
    assert done.dataset.names == ("dent", "hole")
    assert edges(done.dataset) == {
        "1-a": [("dent", (30, 15, 50, 45))], "2-b": [("dent", (30, 15, 50, 45))]}
    assert recognise(tmp_path / "set") == "yolo"


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("obj_train_data/a.txt", "7 .5 .5 .1 .1\n", "a.txt line 1: "),
        ("obj_train_data/a.txt", "0 nan .5 .1 .1\n", "a.txt line 1: "),
        ("obj.names", "", "expected a class name on each line"),
        ("obj.names", "dent\ndent\n", "expected a class name on each line, each once"),
    ],
)
def test_yolo_faults(picture, put, refused, tmp_path, file, text, words):
    darknet(picture, put)
    put(f"set/{file}", text)
    assert words in refused("yolo", tmp_path / "set")


def test_yolo_without_names(picture, put, refused, tmp_path):
    picture("set/a.png")
    put("set/a.txt", "0 .5 .5 .1 .1\n")
    assert "expected class names in obj.names or classes.txt" in refused("yolo", tmp_path / "set")


# ---------------------------------------------------------------------------------------- deeppcb


def test_deeppcb(tmp_path, picture, put):
    for name in ("00041000", "00041001"):
        picture(f"set/group00041/00041/{name}_test.png")
        picture(f"set/group00041/00041/{name}_temp.png")
    put("set/group00041/00041_not/00041000.txt", "10 20 30 40 3\n1,2,3,4,6\n")
    put("set/group00041/00041_not/00041001.txt", "")
    for name, stem in (("trainval", "00041000"), ("test", "00041001")):
        put(f"set/{name}.txt",
            f"group00041/00041/{stem}.jpg group00041/00041_not/{stem}.txt\n")
    assert recognise(tmp_path / "set") == "deeppcb"
    done = import_dataset(None, tmp_path / "set", tmp_path / "new")
    assert done.dataset.names == ("open", "short", "mousebite", "spur", "copper", "pin-hole")
    assert edges(done.dataset) == {
        "00041000_test": [("mousebite", (10, 20, 30, 40)), ("pin-hole", (1, 2, 3, 4))],
        "00041001_test": [],
    }
    assert [s.split for s in done.dataset.samples] == ["train", "test"]
    assert [n.split(",")[0] for n in done.notes] == ["2 template images left out"]


@pytest.mark.parametrize("row", ["1 2 3 4 7", "1 2 3 4 0", "1 2 3 4", "a b c d 1", "1 2 3 4 nan"])
def test_deeppcb_faults(tmp_path, picture, put, refused, row):
    picture("set/00041/00041000_test.png")
    put("set/00041_not/00041000.txt", f"{row}\n")
    assert "00041000.txt line 1: expected x1 y1 x2 y2" in refused("deeppcb", tmp_path / "set")


# ------------------------------------------------------------------------------------ run lengths


def encode(counts: list[int]) -> str:
    """COCO's compressed run lengths, as its own encoder writes them."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr((bits | 0x20 if more else bits) + 48)
            if not more:
                break
    return text


def runs_of(mask: np.ndarray) -> list[int]:
    flat, counts, last = mask.T.reshape(-1), [0], 0
    for value in flat:
        if value != last:
            counts.append(0)
            last = value
        counts[-1] += 1
    return counts


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_give_the_box_of_the_mask(seed):
    chance = np.random.default_rng(seed)
    height, width = chance.integers(3, 60, 2)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(chance.integers(1, 4)):
        y, x = chance.integers(0, height), chance.integers(0, width)
        mask[y : y + chance.integers(1, height + 1), x : x + chance.integers(1, width + 1)] = 1
    rows, columns = np.nonzero(mask)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    counts = runs_of(mask)
    assert decode_counts(encode(counts)) == counts
    assert box_around(counts, height, width) == expected


@pytest.mark.parametrize("compressed", [True, False])
def test_coco_without_bbox(tmp_path, picture, put, compressed):
    picture("images/deep/a.png"), picture("images/b.png")
    mask = np.zeros((60, 80), np.uint8)
    mask[10:20, 30:50] = 1
    counts = runs_of(mask)
    entry = {"image_id": 7, "category_id": 5, "segmentation": {
        "size": [60, 80], "counts": encode(counts) if compressed else counts}}
    done = import_dataset("coco", put("annotations/a.json", {**COCO, "annotations": [entry]}),
                          tmp_path / "new")
    assert edges(done.dataset)["a"] == [("dent", (30, 10, 50, 20))]


@pytest.mark.parametrize(
    "mask", [
        {"size": [60, 80], "counts": "zzz"}, {"size": [60, 80], "counts": [5, 5]}, {"counts": "1"},
        {"size": [-60, -80], "counts": [4800]}, {"size": [60, 80], "counts": [4801, -1]},
        {"size": [10**9, 10**9], "counts": "o" * 99}, {"size": [60, 80], "counts": None},
    ],
)
def test_run_lengths_that_are_none(picture, put, refused, mask):
    picture("images/deep/a.png"), picture("images/b.png")
    entry = {"image_id": 7, "category_id": 5, "segmentation": mask}
    assert "run lengths or polygons" in refused(
        "coco", put("annotations/a.json", {**COCO, "annotations": [entry]}))


@pytest.mark.parametrize("head", [
    "ImageId,ClassId,EncodedPixels", "ImageId_ClassId,EncodedPixels"])
def test_severstal(tmp_path, picture, put, head):
    for name in ("a", "b", "c"):
        picture(f"train_images/{name}.png")
    # Columns are 60 high: two pieces of class 3 in a, far apart; and one of class 1.
    first = " ".join(f"{60 * x + 11} 10" for x in range(20, 30))
    second = " ".join(f"{60 * x + 1} 60" for x in range(60, 62))
    third = " ".join(f"{60 * x + 31} 5" for x in range(2, 8))
    joint = "_" if head.startswith("ImageId_") else ","
    put("train.csv", f"{head}\na.png{joint}3,{first} {second}\na.png{joint}1,{third}\n"
                     f"b.png{joint}4,{third}\nc.png{joint}2,\n")
    done = import_dataset("csv", tmp_path / "train.csv", tmp_path / "new",
                          tmp_path / "train_images")
    assert edges(done.dataset) == {
        "a": [("3", (60, 0, 62, 60)), ("3", (20, 10, 30, 20)), ("1", (2, 30, 8, 35))],
        "b": [("4", (2, 30, 8, 35))], "c": [],
    }


@pytest.mark.parametrize("runs", ["1", "0 5", "4800 2", "1 x", "5 -1", "9" * 5000 + " 1"])
def test_severstal_faults(picture, put, refused, tmp_path, runs):
    picture("images/a.png")
    table = put("t.csv", f"ImageId,ClassId,EncodedPixels\na.png,1,{runs}\n")
    assert "t.csv line 2: expected pairs of a first pixel" in refused("csv", table)


# ------------------------------------------------------------------------------------ turned boxes


def test_rolabelimg(tmp_path, picture, put):
    picture("a.png")
    turned = ("<object><type>robndbox</type><name>dent</name><robndbox><cx>40</cx><cy>30</cy>"
              "<w>20</w><h>10</h><angle>{}</angle></robndbox></object>")
    upright = OBJECT.format(1)
    put("a.xml", voc(turned.format(math.pi / 6) + turned.format(math.pi / 2) + upright))
    done = import_dataset("voc", tmp_path / "a.xml", tmp_path / "new")
    half_w = (20 * math.cos(math.pi / 6) + 10 * math.sin(math.pi / 6)) / 2
    half_h = (20 * math.sin(math.pi / 6) + 10 * math.cos(math.pi / 6)) / 2
    assert edges(done.dataset)["a"] == [
        ("dent", tuple(round(v, 3) for v in
                       (40 - half_w, 30 - half_h, 40 + half_w, 30 + half_h))),
        ("dent", (35, 20, 45, 40)), ("dent", (1, 2, 30.5, 40)),
    ]


# -------------------------------------------------------------------------------------------- XML

TEXTS = {"gbk": "划痕", "gb2312": "划痕", "gb18030": "划痕㐀", "big5": "刮痕",
         "shift_jis": "キズ欠け", "utf-16": "划痕"}


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("encoding", TEXTS)
def test_xml_in_the_encodings_of_the_field(tmp_path, picture, put, encoding, declared):
    picture("a.png")
    label = TEXTS[encoding] if declared or encoding != "gb18030" else "划痕"
    head = f'<?xml version="1.0" encoding="{encoding.upper()}"?>\n' if declared else ""
    text = head + voc(OBJECT.format(1).replace("dent", label))
    put("a.xml", text.encode(encoding))
    done = import_dataset("voc", tmp_path / "a.xml", tmp_path / "new")
    assert done.dataset.names == (label,)


def test_xml_that_declares_another_encoding_than_it_has(tmp_path, picture, put):
    picture("a.png")
    text = '<?xml version="1.0" encoding="utf-8"?>' + voc(OBJECT.format(1).replace("dent", "划痕"))
    put("a.xml", text.encode("gbk"))
    done = import_dataset("voc", tmp_path / "a.xml", tmp_path / "new")
    assert done.dataset.names == ("划痕",)


@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "shift_jis"])
def test_entities_are_refused_in_every_encoding(picture, put, refused, encoding):
    picture("a.png")
    text = (f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY b "c">]>'
            "<annotation>&b;</annotation>")
    assert "without entities" in refused("voc", put("a.xml", text.encode(encoding)))


# ------------------------------------------------------------------------------------------ masks


def masked(tmp_path, picture, mask: np.ndarray, name: str = "a.png"):
    picture(f"images/{name}")
    (tmp_path / "masks").mkdir(exist_ok=True)
    cv2.imwrite(str(tmp_path / "masks" / name), mask)
    return tmp_path / "masks"


def two_classes() -> np.ndarray:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:20, 30:50], mask[40:50, 5:25] = 1, 2
    return mask


def palette_png(indices: np.ndarray, colours: list[tuple[int, int, int]]) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (struct.pack(">I", len(body)) + kind + body
                + struct.pack(">I", zlib.crc32(kind + body)))

    height, width = indices.shape
    rows = b"".join(b"\0" + row.tobytes() for row in indices)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(
        ">IIBBBBB", width, height, 8, 3, 0, 0, 0)) + chunk(b"PLTE", bytes(sum(colours, ())))
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def test_masks_of_nothing_but_0_and_1(tmp_path, picture, refused):
    mask = (two_classes() == 1).astype(np.uint8)
    source = masked(tmp_path, picture, mask)
    done = import_dataset("masks", source, tmp_path / "new")
    assert edges(done.dataset) == {"a": [("defect", (30, 10, 50, 20))]}
    assert "values up to 2" in refused("masks", masked(tmp_path, picture, mask * 2))


COLOURS = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]


def test_masks_of_several_classes_through_a_palette(tmp_path, picture, put, refused):
    picture("images/a.png")
    put("masks/a.png", palette_png(two_classes(), COLOURS))
    assert "palette's values [1, 2]; say which class" in refused("masks", tmp_path / "masks")
    done = import_dataset("masks", tmp_path / "masks", tmp_path / "new",
                          values={1: "scratch", 2: "dent"})
    both = {"a": [("scratch", (30, 10, 50, 20)), ("dent", (5, 40, 25, 50))]}
    assert {k: sorted(v) for k, v in edges(done.dataset).items()} == {
        k: sorted(v) for k, v in both.items()}
    put("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\n"
                        "scratch:128,0,0::\ndent:0,128,0::\n")
    mapped = import_dataset("masks", tmp_path / "masks", tmp_path / "again")
    assert edges(mapped.dataset) == edges(done.dataset)
    put("labelmap.txt", "scratch:128,0::\n")
    told = refused("masks", tmp_path / "masks")
    assert "labelmap.txt line 1: expected name:red,green,blue" in told


def test_a_palette_of_one_class_is_a_mask(tmp_path, picture, put):
    picture("images/a.png")
    put("masks/a.png", palette_png((two_classes() == 1).astype(np.uint8), COLOURS))
    done = import_dataset("masks", tmp_path / "masks", tmp_path / "new")
    assert edges(done.dataset) == {"a": [("defect", (30, 10, 50, 20))]}


def test_masks_of_several_classes_by_value(tmp_path, picture):
    done = import_dataset("masks", masked(tmp_path, picture, two_classes()), tmp_path / "new",
                          values={1: "scratch", 2: "dent"})
    assert sorted(edges(done.dataset)["a"]) == [
        ("dent", (5, 40, 25, 50)), ("scratch", (30, 10, 50, 20))]


# -------------------------------------------------------------------------------------- recognised


def test_what_is_in_a_folder_is_found(tmp_path, picture, put):
    for format, name, content in (
        ("coco", "a.json", COCO), ("labelme", "a.json", {"shapes": []}),
        ("voc", "a.xml", voc("")), ("cvat", "a.xml", "<annotations/>"),
        ("csv", "a.csv", "image,class,x1,y1,x2,y2\n"), ("yolo", "classes.txt", "dent\n"),
        ("deeppcb", "00041_not/1.txt", "1 2 3 4 5\n"),
    ):
        put(f"{format}/{name}", content)
        picture(f"{format}/images/a.png")
        assert recognise(tmp_path / format) == format
        if not format.startswith(("yolo", "deeppcb")):
            assert recognise(tmp_path / format / name) == format
    picture("x/images/a.png"), picture("x/masks/a.png"), picture("y/dent/a.png")
    assert recognise(tmp_path / "x") == recognise(tmp_path / "x/masks") == "masks"
    assert recognise(tmp_path / "y") == "folders"
    put("coco/b.xml", voc(""))
    with pytest.raises(DataError, match="got voc and coco; name the format"):
        recognise(tmp_path / "coco")
    put("u/data.yaml", "names: [a]\n")
    with pytest.raises(DataError, match=r"got data\.yaml, a YAML file; if it"):
        recognise(tmp_path / "u")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="got none; name the format"):
        recognise(tmp_path / "empty")


@pytest.mark.parametrize("told", [True, False])
def test_masks_and_images_in_folders_of_splits(tmp_path, picture, told):
    """``train/images`` beside ``train/masks``, the same names in each split."""
    for split in ("train", "Valid", "test"):
        picture(f"set/{split}/images/a.png"), picture(f"set/{split}/preview/a.png")
        folder = tmp_path / "set" / split / "masks" / "dent"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a.png"), (two_classes() == 1).astype(np.uint8))
    done = import_dataset("masks" if told else None, tmp_path / "set", tmp_path / "new")
    assert sorted(sample.split for sample in done.dataset.samples) == ["test", "train", "val"]
    assert done.dataset.counts == {"dent": 3}


def test_masks_as_anomaly_sets_lay_them(tmp_path, picture):
    """MVTec's layout: ``ground_truth/<class>`` beside ``train/good`` and ``test/<class>``."""
    picture("set/train/good/000.png"), picture("set/test/good/000.png")
    for name in ("crack", "hole"):
        picture(f"set/test/{name}/000.png")
        folder = tmp_path / "set" / "ground_truth" / name
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "000_mask.png"), (two_classes() == 1).astype(np.uint8) * 255)
    done = import_dataset(None, tmp_path / "set", tmp_path / "new")
    assert done.dataset.counts == {"crack": 1, "hole": 1}
    assert [sample.split for sample in done.dataset.samples].count("test") == 3


def test_a_folder_of_nothing_but_images_is_no_class(tmp_path, picture):
    picture("set/images/a.png"), picture("other/train/a.png"), picture("third/train/images/a.png")
    for name in ("set", "other", "third"):
        with pytest.raises(DataError, match="got none; name the format"):
            recognise(tmp_path / name)
