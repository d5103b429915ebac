"""Strategies for files that are nearly right: valid ones, spoilt where their format has joints."""

from __future__ import annotations

import base64
import copy
import csv
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import yaml
from hypothesis import strategies as st

JUNK = st.binary(max_size=200)

NUMBERS = [0, 1, -1, 2, 0.5, -0.5, 1e-300, 1e308, -1e308, float("inf"), float("nan"), 2**31, 2**63,
           10**30, True, False]
TEXTS = ["", " ", "0", "-1", "0.5", "1e999", "nan", "9" * 5000, "0x" + "f" * 5000, "1:59" * 60,
         "a.png", "images/a.png", "../a.png", "/etc/passwd", "C:\\a.png", "a/" * 200 + "a.png",
         "~", "~no-such-user/a.png", "*", "[", "{0.__class__}", "%s%n", "\n", "\t", "\x07", "划痕",
         "Ä", "\u202e",
         "\ufeff", "train", "val", "test", "dent", "x" * 3000, "../" * 40]
UNWRITABLE = ["\0", "a\0.png", "\ud800", "a\udcff.png"]


def deep(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


ODD = st.one_of(
    st.none(),
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS + UNWRITABLE),
    st.text(max_size=8),
    st.integers(-10, 10),
    st.floats(-2, 2),
    st.sampled_from([[], {}, [[]], [None], {"a": 1}, {"0": "a", "x": []}, deep(20), deep(60)]),
)


@st.composite
def changed(draw: st.DrawFn, trees: Sequence[Any], values: st.SearchStrategy[Any] = ODD) -> Any:
    """Take a tree of maps and lists and replace, remove, repeat or wrap up to four of its parts."""
    tree = [copy.deepcopy(draw(st.sampled_from(trees)))]
    for _ in range(draw(st.integers(1, 4))):
        # Walk down from the root; stop anywhere.
        place: Any = tree
        key: Any = 0
        while isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 3)):
            place = place[key]
            key = draw(st.sampled_from(sorted(place, key=str) if isinstance(place, dict)
                                       else range(len(place))))
        what = draw(st.sampled_from(["replace", "replace", "remove", "repeat", "wrap", "name"]))
        if what == "replace" or place is tree:
            place[key] = copy.deepcopy(draw(values))
        elif what == "remove":
            del place[key]
        elif what == "wrap":
            place[key] = draw(st.sampled_from([[place[key]], {"a": place[key]}]))
        elif isinstance(place, list):
            place.insert(key, copy.deepcopy(place[key]) if what == "repeat"
                         else copy.deepcopy(draw(values)))
        else:
            place[draw(st.sampled_from(["a", "0", "names", "path", "", "id"]))] = place[key]
    return tree[0]


@st.composite
def edited(draw: st.DrawFn, files: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """Take a file and cut, repeat, overwrite or insert pieces of its text."""
    content = draw(st.sampled_from(files))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 0, 1, 1, 2, 4, 8, 30]))
        piece = draw(st.one_of(st.sampled_from(list(tokens)), st.binary(max_size=6),
                               st.just(content[at:at + length])))
        times = draw(st.sampled_from([1, 1, 1, 2, 40, 400]))
        content = content[:at] + piece * times + content[at + length:]
    return content if draw(st.integers(0, 9)) else content[:draw(st.integers(0, len(content)))]


# ------------------------------------------------------------------------------------------- YAML


def dumped(tree: Any) -> bytes:
    """Write YAML as a hostile tool would: double quotes let any character through."""
    try:
        return yaml.safe_dump(tree, allow_unicode=True).encode()
    except UnicodeEncodeError:
        return json.dumps(tree).encode()


YAML_TOKENS = [
    b"\n", b"- ", b": ", b"? ", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"<<: *a\n", b"!!int ",
    b"!!float ", b"!!timestamp ", b"!!binary ", b"!!set ", b"!!omap ", b"!!bool ", b"!!null ",
    b"!!python/object/apply:os.getcwd []", b"!x ", b"---\n", b"...\n", b"%YAML 9.9\n", b"|\n  ",
    b">-\n", b'"\\ud800"', b'"\\0"', b"2001-99-99", b"1:59:59", b"0b_", b"0o9", b".inf", b"'",
    b'"', b"#", b"\t", b"  ", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc2\x85", b"=", b"~", b"9" * 200,
    b"a: &a [*a]\n", b"- - - - ", b"x" * 2000,
]


def yamls(*trees: Any) -> st.SearchStrategy[bytes]:
    """Bytes; text of YAML's own characters; good trees changed; good files edited."""
    files = [dumped(tree) for tree in trees]
    return st.one_of(
        JUNK,
        st.text("ab:-[]{}&*!'\"\n \t|>?%@0.,#~<=", max_size=60).map(str.encode),
        changed(trees).map(dumped),
        edited(files, YAML_TOKENS),
    )


# ------------------------------------------------------------------------------------------- JSON

JSON_TOKENS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"null", b"NaN", b"-Infinity", b"1e999",
               b"9" * 5000, b'"\\ud800"', b'"\\u0000"', b"[" * 900, b'{"a":' * 400, b"\xff", b"\\"]


def jsons(*trees: Any) -> st.SearchStrategy[bytes]:
    files = [json.dumps(tree).encode() for tree in trees]
    return st.one_of(
        JUNK,
        changed(trees).map(lambda tree: json.dumps(tree).encode()),
        changed(trees, ODD | st.sampled_from([deep(300), deep(900)])).map(
            lambda tree: json.dumps(tree).encode()),
        edited(files, JSON_TOKENS),
    )


# -------------------------------------------------------------------------------------------- XML

XML_TOKENS = [
    b"<", b">", b"</", b"/>", b"&amp;", b"&lt;", b"&a;", b"&#0;", b"&#xd800;", b"<object>",
    b"</object>", b"<image/>", b"<bndbox>", b"<track/>", b"<!-- -->", b"<![CDATA[", b"]]>",
    b"<?xml version='1.0' encoding='utf-16'?>", b"<?xml version='1.0' encoding='no-such'?>",
    b"<!DOCTYPE a [<!ENTITY a 'b'>]>", b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>", b"nan", b"inf",
    b"-1", b"1e999", b"9" * 5000, b"points='0,0;1;'", b"\xff\xfe", b"\0", b"<a>" * 300,
]


@st.composite
def _xml(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    root = ElementTree.fromstring(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        elements = list(root.iter())
        element = draw(st.sampled_from(elements))
        odd = draw(st.one_of(st.sampled_from(TEXTS), ODD.map(str), st.text(max_size=8)))
        odd = "".join(c for c in odd if c.isprintable())
        what = draw(st.sampled_from(["text", "attribute", "tag", "remove", "repeat", "nest"]))
        if what == "text":
            element.text = odd
        elif what == "attribute":
            names = [*element.attrib, "name", "points", "label"]
            element.set(draw(st.sampled_from(names)), odd)
        elif what == "tag":
            element.tag = draw(st.sampled_from([other.tag for other in elements]))
        elif len(element):
            child = draw(st.sampled_from(list(element)))
            if what == "remove":
                element.remove(child)
            elif what == "repeat":
                element.append(copy.deepcopy(child))
            else:
                child.append(copy.deepcopy(element))
    return ElementTree.tostring(root, encoding="utf-8")


def xmls(*files: bytes) -> st.SearchStrategy[bytes]:
    return st.one_of(JUNK, _xml(files), edited(files, XML_TOKENS))


# -------------------------------------------------------------------------------------- rows, CSV

ROW_TOKENS = [b"\n", b"\r", b" ", b"0", b"1", b"-1", b"0.5", b"1e999", b"nan", b"inf", b"1_0",
              b"0x1", b"9" * 400, b"\xef\xbb\xbf", b"\0", b"\xff", "١".encode(), b",", b";", b"\t",
              b'"', b"#", b"0 .5 .5 .1 .1\n", b"1 .1 .1 .5 .1 .5 .7\n"]


def rows(*files: bytes) -> st.SearchStrategy[bytes]:
    numbers = st.sampled_from([str(n) for n in NUMBERS] + ["0", "1", "0.5", "x"]) | st.floats(
        -0.2, 1.2).map(str)
    lines = st.lists(st.lists(numbers, max_size=9).map(" ".join), max_size=4).map("\n".join)
    return st.one_of(JUNK, lines.map(str.encode), edited(files, ROW_TOKENS))


def _table(cells: list[list[Any]], separator: str) -> bytes:
    text = io.StringIO()
    lines = [line if isinstance(line, list) else [line] for line in cells]
    csv.writer(text, delimiter=separator).writerows(
        [[str(cell) for cell in line] for line in lines])
    return text.getvalue().encode("utf-8", "surrogatepass")


def tables(*cells: list[list[Any]]) -> st.SearchStrategy[bytes]:
    return st.one_of(
        JUNK,
        st.builds(_table, changed(cells).filter(lambda tree: isinstance(tree, list)),
                  st.sampled_from(",;\t")),
        edited([_table(table, ",") for table in cells], ROW_TOKENS),
    )


# ---------------------------------------------------------------------------------------- archives

MEMBER_NAMES = ["a.csv", "b.png", "a/b.csv", "/a.csv", "../a.csv", "a/../../b.csv", "C:\\a.csv",
                "..\\a.csv", "a.csv/", "a.csv/b.csv", "\u5212.csv", "a" * 300 + ".csv", ".a.csv",
                "x/" * 300 + "a.csv", "CON.csv", "a\n.csv", " .csv", "A.CSV", "a.py", "a.zip"]
MODES = [0, 0o100644, 0o040755, 0o120777, 0o020666, 0o010644, 0o060660, 0o104755]


@st.composite
def archives(draw: st.DrawFn, members: dict[str, bytes]) -> bytes:
    """Zips with odd members, flags and types; then, for some, with odd bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for _ in range(draw(st.integers(0, 3))):
            member = zipfile.ZipInfo(draw(st.sampled_from(MEMBER_NAMES) | st.text(
                st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)))
            member.external_attr = draw(st.sampled_from(MODES)) << 16
            member.compress_type = draw(st.sampled_from(
                [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2]))
            content = draw(st.binary(max_size=20)) * draw(st.sampled_from([1, 1, 5000]))
            archive.writestr(member, content)
    content = packed.getvalue()
    if draw(st.booleans()):
        return content
    # The end's counts, offsets and sizes, or anything.
    return draw(edited([content], [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff", b"PK\1\2",
                                   b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"\x09\0"]))


# ------------------------------------------------------------------------------------- checkpoints

PICKLE_TOKENS = [b"cos\nsystem\n", b"cbuiltins\nopen\n", b"cbuiltins\ngetattr\n", b"(", b")", b".",
                 b"N", b"R", b"b", b"o", b"}", b"]", b"\x80\x02", b"\x80\x05", b"\x93", b"\x81",
                 b"q\x00", b"h\x00", b"Q", b"X\xff\xff\xff\x7f", b"\x8a\x04\xff\xff\xff\x7f",
                 b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"(" * 3000,
                 b"]" * 2000, b"ctorch.nn.modules.conv\nConv2d\n", b"cpathlib\nPosixPath\n"]


@st.composite
def checkpoints(draw: st.DrawFn, valid: bytes, traps: Sequence[Any]) -> bytes:
    """A checkpoint's own archive with another pickle in it, or records cut and left out."""
    with zipfile.ZipFile(io.BytesIO(valid)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    [name] = [name for name in records if name.endswith("data.pkl")]
    what = draw(st.sampled_from(["pickle", "pickle", "trap", "record", "missing", "size", "zip"]))
    if what == "pickle":
        records[name] = draw(edited([records[name]], PICKLE_TOKENS))
    elif what == "trap":
        trap = pickle.dumps(draw(st.sampled_from(list(traps))), protocol=2)
        if draw(st.booleans()):
            return trap  # as torch wrote them before its archives
        records[name] = trap
    elif what == "record":
        other = draw(st.sampled_from(sorted(records)))
        records[other] = draw(edited([records[other][:4000]], [b"\xff" * 4, b"\0" * 4]))
    elif what == "missing":
        del records[draw(st.sampled_from(sorted(records)))]
    elif what == "size":  # tensors of sizes that their storage does not hold
        at = draw(st.integers(0, len(records[name]) - 5))
        count = struct.pack("<I", draw(st.sampled_from([0, 2**31 - 1, 2**32 - 1, 2**30])))
        records[name] = records[name][:at] + b"J" + count + records[name][at + 5:]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for record, content in records.items():
            archive.writestr(record, content)
    content = packed.getvalue()
    if what == "zip":
        content = draw(edited([content], [b"\xff\xff\xff\xff", b"\0\0\0\0", b"PK\1\2", b"PK\5\6"]))
    return content


# ------------------------------------------------------------------------------------------ images


def _encoded() -> list[bytes]:
    chance = np.random.default_rng(0)
    grey = chance.integers(0, 255, (9, 12), dtype=np.uint8)
    colour = chance.integers(0, 255, (9, 12, 3), dtype=np.uint8)
    deep_grey = chance.integers(0, 65535, (9, 12), dtype=np.uint16)
    found = []
    for suffix, pixels in [
        (".png", grey), (".png", colour), (".png", deep_grey), (".jpg", grey), (".jpg", colour),
        (".bmp", grey), (".bmp", colour), (".tif", grey), (".tif", deep_grey), (".webp", colour),
        (".pgm", grey), (".ppm", colour), (".ras", colour),
        (".jp2", np.tile(grey, (8, 6))), (".avif", np.tile(colour, (8, 6, 1))),
    ]:
        done, data = cv2.imencode(suffix, pixels)
        assert done, suffix
        found.append(data.tobytes())
    return found


def _deep() -> list[bytes]:
    """Images of 12 bits in 16, with the tags that say so and without."""
    grey = np.random.default_rng(0).integers(0, 4096, (9, 12), dtype=np.uint16)
    found = []
    for suffix, pixels in [(".png", grey), (".tif", grey), (".pgm", grey),
                           (".png", np.dstack([grey] * 3)), (".tif", np.dstack([grey] * 3))]:
        done, data = cv2.imencode(suffix, pixels)
        assert done, suffix
        found.append(data.tobytes())
    chunk = b"sBIT\x0c"
    found.append(found[0][:33] + struct.pack(">I", 1) + chunk
                 + struct.pack(">I", zlib.crc32(chunk)) + found[0][33:])
    found.append(found[2].replace(b"65535", b"4095"))
    return found


IMAGES = _encoded()
DEEP = _deep()
_BIG = [struct.pack(order + kind, n) for order in "<>" for kind, n in
        [("I", 2**31 - 1), ("I", 2**32 - 1), ("I", 60000), ("I", 0), ("H", 65535), ("H", 0),
         ("I", 1)]]


@st.composite
def images(draw: st.DrawFn, of: Sequence[bytes] = tuple(IMAGES)) -> bytes:
    """Images with other sizes, depths and offsets in their headers, cut and overwritten."""
    content = draw(st.sampled_from(of))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(content), 80)) | st.integers(0, len(content)))
        piece = draw(st.sampled_from(_BIG) | st.binary(min_size=1, max_size=4))
        content = content[:at] + piece + content[at + len(piece):]
    if not draw(st.integers(0, 3)):
        content = content[:draw(st.integers(0, len(content)))]
    if content[:8] == b"\x89PNG\r\n\x1a\n" and draw(st.booleans()):
        content = _with_checksums(content)
    return content


def _with_checksums(content: bytes) -> bytes:
    """Mend a PNG's checksums, so that what is odd in it is looked at."""
    done, at = content[:8], 8
    while at + 12 <= len(content):
        [length] = struct.unpack(">I", content[at:at + 4])
        body = content[at + 4:at + 8 + length]
        if at + 12 + length > len(content):
            break
        done += content[at:at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return done + content[at:]


def embedded(image: bytes) -> str:
    return base64.b64encode(image).decode()

