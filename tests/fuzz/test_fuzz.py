"""Whatever a file holds, a reader reads it or says in one line why not: soon, and in bounds.

``HYPOTHESIS_PROFILE=long`` looks further, and elsewhere each time.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from aoi_tl.errors import AoiTlError
from tests.fuzz.files import deep
from tests.fuzz.readers import READERS
from tests.hostile.limits import at_most, bounded_memory

pytestmark = pytest.mark.slow

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
EXAMPLES = 3000 if LONG else 200
SECONDS = 20  # for one file, on a busy machine


def is_refused(reader, content: bytes) -> bool:
    """Whether a file is refused; anything but one short line is no refusal."""
    with at_most(SECONDS):
        try:
            reader(content)
        except AoiTlError as error:
            told = str(error)
            assert "\n" not in told
            assert len(told) < 2000
            assert "expected" in told
            told.encode()
            return True
    return False


@pytest.mark.parametrize("name", READERS)
def test_only_our_own_error_comes_out(
    name: str, tmp_path: Path, counts: dict[str, Counter[str]]
) -> None:
    (tmp_path / "valid").mkdir()
    (tmp_path / "read").mkdir()
    reader = READERS[name].prepare(tmp_path / "read")
    seen = counts[name] = Counter()
    last = tmp_path / "last"  # what it was, where it ends the process

    @settings(
        max_examples=int(EXAMPLES * READERS[name].share), deadline=None, derandomize=not LONG,
        database=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
    )
    @given(READERS[name].files(tmp_path / "read"))
    def one(content: bytes) -> None:
        last.write_bytes(content)
        seen["refused" if is_refused(reader, content) else "read"] += 1

    with bounded_memory():
        one()
    assert seen["read"]
    assert seen["refused"]


LONG_NAME = b"x" * 300
#: What the fuzzing has found, each once something other than our own error, or none in time.
FOUND: dict[str, tuple[str, bytes]] = {
    "a folder's name too long": ("data.yaml", b"names: [dent]\ntrain: " + LONG_NAME),
    "a file's name too long": ("experiment", b"sources: [data.yaml]\ntarget: " + LONG_NAME),
    "aliases' name too long": (
        "experiment", b"sources: [other.yaml]\ntarget: data.yaml\naliases: " + LONG_NAME),
    "a set's name too long": (
        "classification experiment", b"method: cdg\ntarget: {path: " + LONG_NAME
        + b"}\nsource: {path: images}"),
    "nobody's home": ("experiment", b"sources: [data.yaml]\ntarget: ~no-such-user/data.yaml"),
    "nobody's home, classified": (
        "classification experiment",
        b"method: cdg\ntarget: {path: ~no-such-user/a}\nsource: {path: images}"),
    "no such day": ("experiment", b"target: 2001-99-99"),
    "no such time": ("data.yaml", b"names: !!timestamp x"),
    "an empty number": ("aliases", b"a: !!int ''"),
    "a float of nothing": ("data.yaml", b"names: !!float ''"),
    "no such truth": ("data.yaml", b"names: !!bool x"),
    "a number nobody can print": (
        "data.yaml", b"train: images/train\nnames: [dent]\nnc: 0x" + b"f" * 5000),
    "a key of marks": ("experiment", "\ufeff".encode() * 900 + b"arms: coco"),
    "a line break in a setting": ("--set", b"\n:"),
    "a table of another encoding": ("image table", b"\x80"),
    "a short row": ("image table", b"image,class,split\nimages/train/a.png"),
    "an image's name too long": ("image table", b"image,class\n" + LONG_NAME + b",a"),
    "half a character": ("coco", json.dumps({
        "images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "\ud800"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]}],
    }).encode()),
    "a box of boxes": ("coco", json.dumps({
        "images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "dent"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": deep(900)}],
    }).encode()),
    "points within points": ("labelme", json.dumps({
        "imagePath": "a.png", "shapes": [{"label": "dent", "points": deep(900)}]}).encode()),
    "a name of a million folders": ("labelme", json.dumps({
        "imagePath": "a/" * 1_000_000, "shapes": []}).encode()),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_is_refused(what: str, tmp_path: Path) -> None:
    name, content = FOUND[what]
    (tmp_path / "read").mkdir()
    with bounded_memory():
        assert is_refused(READERS[name].prepare(tmp_path / "read"), content)


def test_an_index_without_its_number_is_refused(tmp_path: Path) -> None:
    from aoi_tl.caches.signature_index import SignatureIndex

    file = tmp_path / "shelf.index"
    SignatureIndex(file, n_clusters=2).close()
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM settings")
    with pytest.raises(AoiTlError, match="number of clusters, got None"):
        SignatureIndex(file)
