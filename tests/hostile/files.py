"""Single files that mean harm, for the doors that take one: made by code.

Each maker gets a folder of its own (``out`` beside it is where the reader may write) and the mark,
a file that must never appear; it gives the file to be read.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.corpus import Trap, aliases, link, pipe, png, sparse

Maker = Callable[[Path, Path], Path]


def text(content: str | bytes | Callable[[], bytes]) -> Callable[[Path], object]:
    def write(file: Path) -> None:
        data = content() if callable(content) else content
        file.write_bytes(data.encode() if isinstance(data, str) else data)

    return write


#: What any text file can be instead of one.
NO_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": pipe,
    "a device": lambda file: link(file, "/dev/zero"),
    "a loop of links": lambda file: link(file, file),
    "five gigabytes": lambda file: sparse(file, 5 << 30),
}

# ------------------------------------------------------------------------------------------- YAML

YAMLS: dict[str, Callable[[Path], object]] = {
    "alias bomb": text(aliases()),
    "alias bomb in one value": text("target: &a [x, x]\n" + "".join(
        f"k{n}: &{n} [{', '.join([f'*{p}'] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi",
                                                                    strict=True))),
    "merge bomb": text("a: &a {x: 1}\n" + "".join(
        f"k{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]}}\n"
        for n in range(9))),
    "endless list": text("target: &t [*t]\nnames: &n [*n]"),
    "endless map": text("target: &t {a: *t}"),
    "deep brackets": text("target: " + "[" * 20000),
    "deep dashes": text("target:\n  " + "- " * 20000 + "x"),
    "deep questions": text("? " * 5000 + "x"),
    "deep by aliases": text("k0: &a0 [1]\n" + "".join(
        f"k{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000))),
    "many values": text("target: [" + "1," * 210_000 + "]"),
    "long decimal": text("target: " + "9" * 100_000),
    "long hexadecimal": text("nc: 0x" + "f" * 5000 + "\nnames: [dent]\ntrain: images/train"),
    "long base 60": text("target: 1" + ":59" * 30_000),
    "tagged number": text("target: !!int '" + "9" * 50_000 + "'"),
    "python tag": text("target: !!python/object/apply:os.system ['touch sprung']"),
    "wrong tags": text("target: !!timestamp x\nnames: !!int ''\n"),
    "null character": text('target: "a\\0b"\nsources: ["a\\0b"]\ntrain: "a\\0b"\nnames: [dent]\n'),
    "half a character": text('target: "\\ud800"\ntrain: "\\ud800"\nnames: ["\\ud800"]'),
    **{f"is {what}": make for what, make in NO_FILES.items()},
}

# --------------------------------------------------------------------------- annotations to import

VOC = "<annotation><filename>a.png</filename><object><name>{}</name></object></annotation>"
LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))
COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]}],
    "categories": [{"id": 1, "name": "dent"}],
}


def coco(**changes: Any) -> Callable[[Path], object]:
    return text(json.dumps({**COCO, **changes}))


def encoded(words: str, encoding: str) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(words.encode(encoding))


def labelme(**changes: Any) -> Callable[[Path], object]:
    shape = {"label": "dent", "shape_type": "rectangle", "points": [[1, 1], [5, 5]]}
    return text(json.dumps({"imagePath": "a.png", "shapes": [shape], **changes}))


BOMB = png(40_000, 40_000, zlib.compress(bytes(40_001) * 200))

#: (format, kind): what makes the file; all are refused.
ANNOTATIONS: dict[tuple[str, str], Callable[[Path], object]] = {
    ("voc", "billion laughs"): text(f"<!DOCTYPE a [{LAUGHS}]>" + VOC.format("&l9;")),
    ("voc", "quadratic laughs"): text(
        f'<!DOCTYPE a [<!ENTITY a "{"x" * 100_000}">]>' + VOC.format("&a;" * 10_000)),
    ("voc", "a local file as entity"): text(
        '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + VOC.format("&a;")),
    ("voc", "a page as entity"): text(
        '<!DOCTYPE a [<!ENTITY a SYSTEM "http://127.0.0.1:9/a">]>' + VOC.format("&a;")),
    ("voc", "parameter entity"): text(
        '<!DOCTYPE a [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>' + VOC.format("dent")),
    ("cvat", "billion laughs"): text(f"<!DOCTYPE a [{LAUGHS}]><annotations>&l9;</annotations>"),
    ("coco", "deep lists"): text('{"images": ' + "[" * 100_000),
    ("coco", "deep boxes"): coco(annotations=[
        {"id": 1, "image_id": 1, "category_id": 1,
         "bbox": json.loads("[" * 900 + "]" * 900)}]),
    ("coco", "long number"): text('{"images": ' + "9" * 1_000_000 + "}"),
    ("coco", "half a character"): coco(categories=[{"id": 1, "name": "\ud800"}]),
    ("coco", "path of a million folders"): coco(
        images=[{"id": 1, "file_name": "a/" * 1_000_000 + "b.png"}]),
    ("coco", "path that climbs out"): coco(
        images=[{"id": 1, "file_name": "../../../../etc/passwd"}]),
    ("labelme", "path that climbs out"): labelme(imagePath="/etc/passwd"),
    ("labelme", "pixel bomb inside"): labelme(
        imagePath="gone.png", imageData=base64.b64encode(BOMB).decode()),
    ("labelme", "half a character"): labelme(shapes=[
        {"label": "\udc00", "shape_type": "rectangle", "points": [[1, 1], [5, 5]]}]),
    ("csv", "cell of a megabyte"): text(
        "filename,class,xmin,ymin,xmax,ymax\na.png," + "x" * 1_000_000 + ",1,1,3,3\n"),
    **{(format_, f"is {what}"): make for format_ in ("voc", "cvat", "coco", "labelme", "csv")
       for what, make in NO_FILES.items()},
}
for encoding in ("gbk", "utf-16", "shift_jis", "big5"):
    ANNOTATIONS["voc", f"billion laughs in {encoding}"] = encoded(
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [{LAUGHS}]>' + VOC.format("&l9;"),
        encoding)
ANNOTATIONS |= {
    ("voc", "encoding that is a decoder"): text(
        '<?xml version="1.0" encoding="zip"?>' + VOC.format("dent")),
    ("coco", "mask of the size of a city"): coco(annotations=[
        {"id": 1, "image_id": 1, "category_id": 1,
         "segmentation": {"size": [10**9, 10**9], "counts": [10**18 - 1, 1]}}]),
    ("coco", "run lengths without end"): coco(annotations=[
        {"id": 1, "image_id": 1, "category_id": 1,
         "segmentation": {"size": [8, 8], "counts": "o" * 1_000_000}}]),
    ("csv", "runs that leave the image"): text(
        "ImageId,ClassId,EncodedPixels\na.png,1," + "1 999999999 " * 10_000 + "\n"),
    ("csv", "numbers of many digits"): text(
        "ImageId,ClassId,EncodedPixels\na.png,1," + "9" * 100_000 + " 1\n"),
}
for key in [("voc", "path that climbs out"), ("csv", "path that climbs out")]:
    ANNOTATIONS[key] = text(
        VOC.format("dent").replace("a.png", "../../etc/passwd") if key[0] == "voc" else
        "filename,class,xmin,ymin,xmax,ymax\n../../../../etc/passwd,dent,1,1,3,3\n")

#: What a folder of annotations holds when nothing in it is hostile, by format.
FOLDERS: dict[str, dict[str, bytes]] = {
    "yolo": {"obj.data": b"names = obj.names\n", "obj.names": b"dent\n",
             "a.txt": b"0 .5 .5 .1 .1\n", "train.txt": b"data/a.png\n"},
    "deeppcb": {"a_not/a.txt": b"1 2 5 6 3\n", "trainval.txt": b"a/a.jpg a_not/a.txt\n"},
    "masks": {"masks/a.png": png(8, 8, zlib.compress(bytes(9) * 8)),
              "labelmap.txt": b"dent:128,0,0::\n"},
}
LONG_LINE = b"x" * 1_000_000
#: (format, file in the folder, kind): what makes that file; it is refused, or passed over.
IN_FOLDERS: dict[tuple[str, str, str], Callable[[Path], object]] = {
    **{(format_, name, f"is {what}"): make
       for format_, several in FOLDERS.items() for name in several
       for what, make in NO_FILES.items()},
    ("yolo", "obj.data", "names that climb out"): text("names = ../../../../etc/passwd\n"),
    ("yolo", "obj.data", "names of nothing but dots"): text("names = ..\n"),
    ("yolo", "obj.data", "a pattern for names"): text("names = " + "*" * 5000 + "\n"),
    ("yolo", "obj.data", "a name too long"): text(b"names = " + LONG_LINE),
    ("yolo", "obj.names", "a name of a megabyte"): text(LONG_LINE),
    ("yolo", "obj.names", "a million names"): text(b"".join(b"%d\n" % n for n in range(1_000_000))),
    ("yolo", "a.txt", "long numbers"): text("9" * 100_000 + " 1e999 1 1 1\n"),
    ("yolo", "a.txt", "half a character"): text(b"\xed\xa0\x80 .5 .5 .1 .1\n"),
    ("yolo", "train.txt", "paths that climb out"): text(
        "../../../../etc/passwd\n/etc/shadow.png\n"),
    ("yolo", "train.txt", "null characters"): text(b"a\0.png\n" * 1000),
    ("yolo", "train.txt", "path of a million folders"): text("a/" * 1_000_000 + "b.png\n"),
    ("deeppcb", "a_not/a.txt", "long numbers"): text("9" * 100_000 + " 2 5 6 3\n"),
    ("deeppcb", "a_not/a.txt", "a line of a megabyte"): text(LONG_LINE),
    ("deeppcb", "trainval.txt", "paths that climb out"): text("../../../../etc/passwd x\n"),
    ("masks", "masks/a.png", "pixel bomb"): text(lambda: BOMB),
    ("masks", "masks/a.png", "palette that lies"): text(
        png(8, 8, zlib.compress(bytes(9) * 8)).replace(
            b"IDAT", b"PLTE" + b"\xff" * 768 + b"IDAT")),
    ("masks", "labelmap.txt", "long numbers"): text("dent:" + "9" * 100_000 + ",0,0::\n"),
    ("masks", "labelmap.txt", "a line of a megabyte"): text(LONG_LINE),
    ("masks", "labelmap.txt", "half a character"): text(b"\xed\xa0\x80:1,2,3::\n"),
}

# ---------------------------------------------------------------------------------------- archives

IMAGE = png(8, 8, zlib.compress(bytes(9) * 8))
MEMBERS = {"train.json": json.dumps(COCO).encode(), "images/a.png": IMAGE}


def packed(*more: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in [*MEMBERS.items(), *more]:
            archive.writestr(name, data)
    return content.getvalue()


def member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def renamed(name: bytes) -> bytes:
    """A member whose name no tool writes: it is put in afterwards, in both headers."""
    return packed(("x" * len(name), b"x")).replace(b"x" * len(name), name)


def claimed(total: int) -> bytes:
    """One member that says in both headers that it unpacks to so many bytes."""
    content = packed(("big.png", bytes(1000)))
    return content.replace(struct.pack("<I", 1000), struct.pack("<I", total))


def overlapping(count: int) -> bytes:
    """Many members that share one body (Fifield, "A better zip bomb", 2019)."""
    body = zlib.compress(bytes(1 << 20), 9)[2:-4]
    checksum = zlib.crc32(bytes(1 << 20))
    head = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, checksum, len(body), 1 << 20, 1, 0)
    start = len(head) + 1 + len(body)
    listing = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, checksum, len(body), 1 << 20,
                    10, 0, 0, 0, 0, 0, 0) + b"%06d.png" % number
        for number in range(count))
    said = min(count, 65535)
    return head + b"a" + body + listing + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, said, said,
                                                      len(listing), start, 0)


def long_directory(file: Path) -> None:
    """Five gigabytes that claim to be the list of members."""
    size = 5 << 30
    with file.open("wb") as opened:
        opened.truncate(size)
        opened.seek(size)
        opened.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1 << 26, 1 << 26, size,
                                 0))
        opened.write(struct.pack("<4sIQI", b"PK\6\7", 0, size, 1))
        opened.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF,
                                 0xFFFFFFFF, 0))


ZIPS: dict[str, Callable[[Path], object]] = {
    "climbs out": text(packed(("../sprung", b"x"))),
    "climbs out from within": text(packed(("images/../../sprung.png", IMAGE))),
    "climbs out by backslashes": text(renamed(b"..\\..\\sprung.png")),
    "absolute path": text(packed(("/tmp/sprung.png", IMAGE))),
    "drive": text(packed(("C:sprung.png", IMAGE))),
    "null in a name": text(renamed(b"a.png\0.exe")),
    "link": text(packed((member("images/b.png", stat.S_IFLNK | 0o777), b"/etc/passwd"))),
    "link to a folder": text(packed((member("images2", stat.S_IFLNK | 0o777), b"/tmp"),
                                    ("images2/sprung.png", IMAGE))),
    "device": text(packed((member("images/b.png", stat.S_IFCHR | 0o666), b""))),
    "pipe": text(packed((member("images/b.png", stat.S_IFIFO | 0o666), b""))),
    "two of one name": text(packed(("images/b.png", IMAGE), ("images\\b.png", IMAGE))),
    "file and folder of one name": text(packed(("b.png", IMAGE), ("b.png/c.png", IMAGE))),
    "name longer than a disk takes": text(packed(("a" * 5000 + ".png", IMAGE))),
    "thousand folders deep": text(packed(("a/" * 20_000 + "b.png", IMAGE))),
    "ratio": text(lambda: packed(("big.png", bytes(128 << 20)))),
    "size": text(packed(*[(f"{n}.png", b"") for n in range(20)]).replace(
        struct.pack("<2I", 2, 0), struct.pack("<2I", 2, 0xF0000000))),
    "size that lies": text(claimed(10)),
    "overlapping members": text(lambda: overlapping(20_000)),
    "too many members": text(lambda: overlapping(500_001)),
    "long list of members": long_directory,
    "encrypted": text(packed().replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0")),
    "no archive": text(b"PK\3\4" + bytes(100)),
    **{f"is {what}": make for what, make in NO_FILES.items()},
}

# ------------------------------------------------------------------------------------- checkpoints


def saved(value: Any) -> Callable[[Path], object]:
    def make(file: Path) -> None:
        import torch

        torch.save(value, file)

    return make


def as_missing(file: Path) -> None:
    """A pickle that names a module which is not installed."""
    body = b"\x80\x02caoi_tl_canary_package\nstart\n)R."
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", body)
        archive.writestr("a/version", b"3\n")
        archive.writestr("a/byteorder", b"little")


def deflated(file: Path) -> None:
    """A record that says, and is, six gigabytes of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    body, size, name = block * (6 << 10) + b"\3\0", 6 << 30, b"a/data.pkl"
    longer = struct.pack("<2H2Q", 1, 16, size, len(body))
    common = struct.pack("<5H3I2H", 45, 0, 8, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name),
                         len(longer))
    start = b"PK\3\4" + common + name + longer + body
    central = (b"PK\1\2" + struct.pack("<H", 45) + common + bytes(14) + name + longer)
    file.write_bytes(start + central + struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), len(start), 0))


def script(file: Path) -> None:
    """Compiled code instead of tensors."""
    import torch

    class Doubler(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    torch.jit.save(torch.jit.trace(Doubler(), torch.zeros(1)), str(file))


#: Each gets the file and the mark; all are refused by every door that takes a checkpoint.
CHECKPOINTS: dict[str, Callable[[Path, Path], object]] = {
    "payload": lambda f, m: saved({"model": Trap(m)})(f),
    "payload beside the model": lambda f, m: saved({"model": 1, "train_args": Trap(m)})(f),
    "payload in the old format": lambda f, m: f.write_bytes(pickle.dumps(Trap(m))),
    "payload of many pickles": lambda f, m: f.write_bytes(
        pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
        + pickle.dumps({"model": Trap(m)}, 2)),
    "asks for a package": lambda f, m: as_missing(f),
    "record bomb": lambda f, m: deflated(f),
    "compiled code": lambda f, m: script(f),
    "tensors that are none": lambda f, m: saved({"model": [1, 2, 3]})(f),
    "cut off": lambda f, m: (saved({"model": 1})(f), f.write_bytes(f.read_bytes()[:200])),
    **{f"is {what}": lambda f, m, make=make: make(f) for what, make in NO_FILES.items()},
}
