"""Every reader of files that come from outside, and the files that it is given."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st

from aoi_tl.data.depth import find_depth
from aoi_tl.data.images import image_fault, image_size, read_image, read_stored
from aoi_tl.data.labels import load_aliases
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.data.yolo.write import write_dataset
from aoi_tl.experiment.classification import ClassificationExperiment, locate_images
from aoi_tl.experiment.detection import Experiment, locate
from aoi_tl.experiment.settings import read_settings
from aoi_tl.formats import import_dataset
from tests.fuzz import files
from tests.hostile.corpus import Trap


@dataclass(frozen=True)
class Reader:
    """What is fuzzed.

    ``prepare`` gets an empty folder once and gives what reads a content that lies nowhere yet;
    ``files`` gets the same folder. ``share`` scales the number of examples.
    """

    prepare: Callable[[Path], Callable[[bytes], object]]
    files: Callable[[Path], st.SearchStrategy[bytes]]
    share: float = 1.0


def draw(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((10, 20), 99, np.uint8))


def dataset(folder: Path) -> Path:
    draw(folder, "images/train/a.png", "images/val/b.png")
    for split, stem in (("train", "a"), ("val", "b")):
        (folder / "labels" / split).mkdir(parents=True)
        (folder / "labels" / split / f"{stem}.txt").write_text("0 .5 .5 .1 .1\n")
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [dent, hole]\n")
    (folder / "other.yaml").write_text("train: images/train\nnames: [dent]\n")
    return folder / "data.yaml"


def file_reader(name: str, read: Callable[[Path], object]) -> Callable[[Path], Any]:
    """Read from a file of that name in the folder, the same one each time."""

    def prepare(folder: Path) -> Callable[[bytes], object]:
        dataset(folder)
        file = folder / name

        def given(content: bytes) -> object:
            file.write_bytes(content)
            return read(file)

        return given

    return prepare


def importer(format_: str | None, name: str, **beside: str) -> Callable[[Path], Any]:
    def read(file: Path) -> object:
        out = notes_of(file).parent / "out"
        try:
            source = notes_of(file) if format_ in (None, "yolo", "deeppcb") else file
            return import_dataset(format_, source, out, notes_of(file).parent / "images")
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def prepare(folder: Path) -> Callable[[bytes], object]:
        draw(folder, "images/a.png", "images/b.png")
        (folder / "notes" / name).parent.mkdir(parents=True)
        for other, content in beside.items():
            (folder / "notes" / other).parent.mkdir(exist_ok=True)
            (folder / "notes" / other).write_text(content)

        def given(content: bytes) -> object:
            (folder / "notes" / name).write_bytes(content)
            return read(folder / "notes" / name)

        return given

    return prepare


def mask_reader(name: str) -> Callable[[Path], Any]:
    """Read masks whose own content, or whose map of colours, is given."""

    def prepare(folder: Path) -> Callable[[bytes], object]:
        draw(folder, "images/a.png", "masks/a.png")
        (folder / "masks/a.png").write_bytes(PALETTE_MASK)

        def given(content: bytes) -> object:
            (folder / name).write_bytes(content)
            try:
                return import_dataset("masks", folder / "masks", folder / "out",
                                      values={1: "dent", 2: "hole"} if name.endswith("png")
                                      else None)
            finally:
                shutil.rmtree(folder / "out", ignore_errors=True)

        return given

    return prepare


def notes_of(file: Path) -> Path:
    """The folder of annotations that a file lies in."""
    return next(folder for folder in file.parents if folder.name == "notes")


def load_and_write(file: Path) -> object:
    """Load, and write what was loaded: a name that cannot be written is told by then."""
    loaded = load_dataset(file)
    try:
        return load_dataset(write_dataset(loaded, file.parent / "out"))
    finally:
        shutil.rmtree(file.parent / "out", ignore_errors=True)


def load_deep(file: Path) -> object:
    """Load a dataset whose depth is found on this image alone, and write it as 8 bits."""
    (file.parent / "a.png").unlink(missing_ok=True)
    return load_and_write(file.parents[2] / "data.yaml")


def load_labels(file: Path) -> object:
    return load_dataset(file.parents[2] / "data.yaml")


def load_list(file: Path) -> object:
    (file.parent / "data.yaml").write_text("train: list.txt\nnames: [dent, hole]\n")
    return load_dataset(file.parent / "data.yaml")


def experiment(file: Path) -> object:
    return locate(read_settings(file, Experiment))


def classification(file: Path) -> object:
    return locate_images(read_settings(file, ClassificationExperiment))


def override(file: Path) -> object:
    words = file.read_bytes().decode("utf-8", "replace")
    return read_settings(file.parent / "experiment.yaml", Experiment, [f"train.epochs={words}"])


def with_experiment(prepare: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def prepared(folder: Path) -> Any:
        (folder / "experiment.yaml").write_text("target: data.yaml\nsources: [data.yaml]\n")
        return prepare(folder)

    return prepared


def image_table(file: Path) -> object:
    from aoi_tl.classification.folders import read_image_csv

    return read_image_csv(file)


def groups(file: Path) -> object:
    from aoi_tl.data.splitting import read_groups

    return read_groups(file, [Path("a.png"), Path("b.png")])


def index(file: Path) -> object:
    from aoi_tl.caches.signature_index import SignatureIndex
    from aoi_tl.similarity.signature import Signature

    with SignatureIndex(file) as opened:
        return opened.search(Signature([[9, 9, 9]], [1.0]), ("dent", "hole"), top=2)


def index_files(folder: Path) -> st.SearchStrategy[bytes]:
    from aoi_tl.caches.signature_index import IndexRow, SignatureIndex
    from aoi_tl.similarity.signature import Signature

    file = folder / "valid.index"
    with SignatureIndex(file, n_clusters=2) as opened:
        opened.add([
            IndexRow(f"/{name}/data.yaml", name, 3, {"dent": 5, "hole": 2},
                     Signature([[9, 9, 9], [200, 9, 9]], [0.5, 0.5]))
            for name in "ab"
        ])
    valid = file.read_bytes()
    tokens = [b"\xff" * 4, b"\0" * 8, b"\x7f", b"dent", b"9"]
    return st.one_of(files.JUNK, files.edited([valid], tokens))


def image(file: Path) -> object:
    fault = image_fault(file)
    find_depth([file])
    told = None
    for read in (image_size, read_stored, read_image):
        try:
            read(file)
        except Exception as error:
            told = error
            if not hasattr(error, "__cause__") or type(error).__name__ != "DataError":
                raise
    if told is not None:
        raise told
    return fault


# ------------------------------------------------------------------------------------- checkpoints

TINY = {
    "nc": 2, "scales": {"n": [1.0, 1.0, 64]},
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 2]]],
    "head": [[-1, 1, "Conv", [8, 3, 2]], [[1, 2], 1, "Detect", ["nc"]]],
}


def tiny_checkpoint(folder: Path) -> bytes:
    from aoi_tl.transfer.detector import new_model, save_checkpoint

    file = folder / "tiny.pt"
    save_checkpoint(new_model(TINY, ("dent", "hole"), seed=0), file)
    return file.read_bytes()


def detector(file: Path) -> object:
    from aoi_tl.transfer.detector import load_checkpoint

    try:
        return load_checkpoint(file)
    finally:
        assert not (file.parent / "sprung").exists()


def encoder(file: Path) -> object:
    from aoi_tl.classification.encoders import read_ultralytics

    try:
        return read_ultralytics(file)
    finally:
        assert not (file.parent / "sprung").exists()


def tensors(file: Path) -> object:
    from aoi_tl.classification.encoders import _read_state

    try:
        return _read_state(file)
    finally:
        assert not (file.parent / "sprung").exists()


def tiny_state() -> bytes:
    import torch

    packed = io.BytesIO()
    torch.save({"module.weight": torch.ones(2, 3), "bias": torch.zeros(3)}, packed)
    return packed.getvalue()


def state_files(folder: Path) -> st.SearchStrategy[bytes]:
    return checkpoint_files(folder, tiny_state())


def checkpoint_files(folder: Path, valid: bytes | None = None) -> st.SearchStrategy[bytes]:
    valid = valid or tiny_checkpoint(folder)
    traps = [Trap(folder / "sprung"), {"model": Trap(folder / "sprung")}, {"model": 1}, [], None,
             {"ema": None, "model": [1]}]
    return st.one_of(files.JUNK, st.just(valid), files.checkpoints(valid, traps))


# --------------------------------------------------------------------------------- the valid files

def palette_mask() -> bytes:
    """A PNG of 20 x 10 pixels with a palette of three colours."""
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(
            ">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes([0] * 5 + [1] * 10 + [2] * 5) for _ in range(10))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 10, 8, 3, 0, 0, 0))
            + chunk(b"PLTE", bytes([0, 0, 0, 128, 0, 0, 0, 128, 0]))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


PALETTE_MASK = palette_mask()
DATA = {"path": ".", "train": "images/train", "val": ["images/val"], "nc": 2,
        "names": {0: "dent", 1: "hole"}, "depth": 12, "kpt_shape": [2, 3], "download": "print(1)"}
EXPERIMENT = {"target": "data.yaml", "sources": ["images/../data.yaml", "other.yaml"],
              "aliases": None, "weights": "yolov8n.yaml", "pick": ["auto"], "seeds": [0, 1],
              "score": {"n_clusters": 3, "sample": "all"}, "balance": {"minority": {"to": 0.5}},
              "train": {"epochs": 1, "lr0": 0.1, "source": {"epochs": 2}}, "arms": ["coco"],
              "device": 0, "depth": 12}
CLASSIFICATION = {"method": "cdg", "target": {"path": "images/train", "shots": {"a": 1}},
                  "source": {"path": "images/val", "pattern": "{}.png"}, "seeds": [0],
                  "train": {"epochs": 1, "blocks": {"source": 1, "target": 1}},
                  "imbalance": {"treatment": "oversample", "oversample": {"a": 2.0}},
                  "report": {"robustness": ["noise"], "maps": 0}}
ALIASES = {"scratch": ["scratches", "划痕"], "Pinhole": "blowhole", "dent": []}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 10},
               {"id": "2", "file_name": "b.png"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]},
                    {"id": 2, "image_id": "2", "category_id": 2, "iscrowd": 0,
                     "segmentation": [[1, 1, 5, 1, 5, 5]]},
                    {"id": 3, "image_id": 1, "category_id": 1,
                     "segmentation": {"size": [10, 20], "counts": "l14X4"}}],
    "categories": [{"id": 1, "name": "dent"}, {"id": 2, "name": "hole"}],
}
LABELME = {
    "imagePath": "a.png", "imageHeight": 10, "imageWidth": 20, "imageData": None,
    "shapes": [{"label": "dent", "shape_type": "rectangle", "points": [[1, 1], [5, 5]]},
               {"label": "hole", "points": [[1, 1], [5, 5], [1, 5]]},
               {"label": "dent", "shape_type": "circle", "points": [[5, 5], [6, 5]]}],
}
INSIDE = {**LABELME, "imagePath": "gone.png", "imageData": files.embedded(files.IMAGES[4]),
          "imageHeight": 9, "imageWidth": 12}
VOC = b"""<annotation><filename>a.png</filename><size><width>20</width><height>10</height></size>
<object><name>dent</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>
</object><object><name>hole</name><polygon><x1>1</x1><y1>1</y1><x2>5</x2><y2>1</y2><x3>5</x3>
<y3>5</y3></polygon></object></annotation>"""
TURNED = VOC.replace(b"<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>",
                     b"<robndbox><cx>5</cx><cy>5</cy><w>4</w><h>2</h><angle>.5</angle></robndbox>")
ENCODED = [
    f'<?xml version="1.0" encoding="{encoding}"?>'.encode(encoding)
    + VOC.decode().replace("dent", word).encode(encoding)
    for encoding, word in (("gbk", "划痕"), ("big5", "刮痕"), ("shift_jis", "キズ"))
] + [VOC.replace(b"dent", "划痕".encode("gbk")), VOC.decode().encode("utf-16")]
RUNS = [["ImageId", "ClassId", "EncodedPixels"], ["a.png", 1, "1 5 21 5"], ["b.png", 2, ""]]
CVAT = b"""<annotations><meta><task><labels><label><name>dent</name></label></labels></task></meta>
<image id="0" name="a.png" width="20" height="10" subset="Train"><box label="dent" xtl="1" ytl="2"
xbr="5" ybr="6" rotation="30"/><polygon label="dent" points="1,1;5,1;5,5"/><ellipse label="dent"
cx="5" cy="5" rx="2" ry="1"/><mask label="dent" left="1" top="1" width="3" height="3"/></image>
</annotations>"""
BOXES = [["filename", "class", "xmin", "ymin", "xmax", "ymax", "split"],
         ["a.png", "dent", 1, 2, 5, 6, "train"], ["b.png", "hole", 1, 2, 5, 6, "val"],
         ["b.png", "", "", "", "", "", ""]]
BARE = [["a.png", 1, 2, 5, 6, "dent"]]
TABLE = [["image", "class", "split"], ["images/train/a.png", "fine", "train"],
         ["images/val/b.png", "torn", "test"]]
GROUPS = [["image", "group"], ["a.png", "p1"], ["b.png", "p2"]]
ROWS = [b"0 0.5 0.5 0.2 0.1\n1 .1 .1 .5 .1 .5 .7\n", b"\xef\xbb\xbf1 .5 .5 .1 .1\r\n"]

LABEL_MAP = b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ndent:128,0,0::\nhole:0,128,0::\n"
SETTINGS = b"classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n"
LISTED = b"data/obj_train_data/a.png\nimages\\b.png\n"

READERS: dict[str, Reader] = {
    "data.yaml": Reader(file_reader("data.yaml", load_and_write), lambda f: files.yamls(DATA)),
    "labels": Reader(file_reader("labels/train/a.txt", load_labels), lambda f: files.rows(*ROWS)),
    "image list": Reader(file_reader("list.txt", load_list), lambda f: files.rows(
        b"images/train/a.png\n./images/val/b.png\r\n", b"\xef\xbb\xbfimages\\val\\b.png")),
    "experiment": Reader(file_reader("experiment.yaml", experiment),
                         lambda f: files.yamls(EXPERIMENT)),
    "classification experiment": Reader(file_reader("experiment.yaml", classification),
                                        lambda f: files.yamls(CLASSIFICATION)),
    "--set": Reader(with_experiment(file_reader("words", override)), lambda f: files.yamls(3)),
    "aliases": Reader(file_reader("aliases.yaml", load_aliases), lambda f: files.yamls(ALIASES)),
    "coco": Reader(importer("coco", "a.json"), lambda f: files.jsons(COCO)),
    "labelme": Reader(importer("labelme", "a.json"), lambda f: files.jsons(LABELME, INSIDE)),
    "voc": Reader(importer("voc", "a.xml"), lambda f: files.xmls(VOC)),
    "turned voc": Reader(importer("voc", "a.xml"), lambda f: files.xmls(TURNED)),
    "encoded voc": Reader(importer("voc", "a.xml"), lambda f: files.edited(
        ENCODED, [b"\0", b"\xff\xfe", b"\x81", b"\xb0\xa1", b"encoding='big5'", b"utf-16",
                  b"<!DOCTYPE a [<!ENTITY a 'b'>]>", b"&a;", b"zip"])),
    "yolo": Reader(importer("yolo", "a.txt", **{"classes.txt": "dent\nhole\n"}),
                   lambda f: files.rows(*ROWS)),
    "yolo names": Reader(importer("yolo", "obj.names", **{"a.txt": "0 .5 .5 .1 .1\n"}),
                         lambda f: files.rows(b"dent\nhole\n")),
    "yolo settings": Reader(
        importer("yolo", "obj.data", **{"obj.names": "dent\n", "a.txt": "0 .5 .5 .1 .1\n"}),
        lambda f: files.rows(SETTINGS), 0.5),
    "yolo list": Reader(
        importer("yolo", "train.txt", **{"obj.names": "dent\n", "a.txt": "0 .5 .5 .1 .1\n"}),
        lambda f: files.rows(LISTED), 0.5),
    "mask": Reader(mask_reader("masks/a.png"), lambda f: st.one_of(
        files.JUNK, files.images(),
        files.edited([PALETTE_MASK], [b"PLTE", b"\0\0\0\3", b"\xff" * 4]),
    )),
    "label map": Reader(mask_reader("labelmap.txt"), lambda f: files.rows(LABEL_MAP)),
    "deeppcb list": Reader(
        importer("deeppcb", "trainval.txt", **{"a_not/a.txt": "1 2 5 6 3\n"}),
        lambda f: files.rows(b"a/a.jpg a_not/a.txt\nb/b.jpg b_not/b.txt\n"), 0.5),
    "deeppcb": Reader(importer("deeppcb", "a_not/a.txt"), lambda f: files.rows(
        b"1 2 5 6 3\n2,3,6,7,6\n")),
    "run lengths": Reader(importer("csv", "a.csv"), lambda f: files.tables(RUNS)),
    "recognised": Reader(importer(None, "a.json"), lambda f: files.jsons(COCO, LABELME)),
    "cvat": Reader(importer("cvat", "a.xml"), lambda f: files.xmls(CVAT)),
    "csv": Reader(importer("csv", "a.csv"), lambda f: files.tables(BOXES, BARE)),
    "zip": Reader(importer("coco", "a.zip"), lambda f: files.archives(
        {"a/train.json": json.dumps(COCO).encode(), "a/images/a.png": files.IMAGES[0]})),
    "image table": Reader(file_reader("table.csv", image_table), lambda f: files.tables(TABLE)),
    "groups": Reader(file_reader("groups.csv", groups), lambda f: files.tables(GROUPS)),
    "index": Reader(file_reader("shelf.index", index), index_files, 0.5),
    "image": Reader(file_reader("a.png", image), lambda f: st.one_of(files.JUNK, files.images())),
    "deep image": Reader(file_reader("images/train/a.tif", load_deep), lambda f: st.one_of(
        files.JUNK, files.images(files.DEEP))),
    "detector": Reader(file_reader("a.pt", detector), checkpoint_files, 0.5),
    "encoder": Reader(file_reader("a.pt", encoder), checkpoint_files, 0.5),
    "tensors": Reader(file_reader("a.pt", tensors), state_files),
}
