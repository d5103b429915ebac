from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoi_tl.data.yolo.file_list import FileList

NAMES = st.text(st.characters(exclude_characters="/\\"), min_size=1, max_size=8)
FOLDERS = st.sampled_from(["", "/", "/a/", "a/b/", "s3://c/ü/"])
PATHS = st.lists(st.tuples(FOLDERS, NAMES).map("".join))


@given(PATHS, st.integers(-9, 9), st.integers(-9, 9))
def test_is_the_list_it_was_made_of(paths, start, end):
    files = FileList(paths)
    assert list(files) == paths
    assert len(files) == len(paths)
    assert files == paths
    assert files == tuple(paths)
    assert [files[i] for i in range(len(paths))] == paths
    assert files[start:end] == paths[start:end]
    assert bool(files) == bool(paths)
    assert FileList.joined([files, FileList(), files]) == paths + paths
    kept = json.loads(json.dumps(files.folders()))
    assert FileList.of_folders(kept) == paths


# Names that are told apart by part and not by letter, and folders within folders.
PLACES = st.lists(st.lists(st.sampled_from(["a", "b", "b-c", "b.png", "B", "é"]), min_size=1,
                           max_size=4).map("/".join))


@given(PLACES, st.booleans())
def test_sorts_as_paths_do(paths, absolute):
    paths = [f"/{path}" if absolute else path for path in paths]
    assert list(FileList.sorted(paths)) == list(map(str, sorted(set(map(Path, paths)))))


@given(PATHS, PATHS)
def test_what_is_common(paths, others):
    assert list(FileList(paths).common(FileList(others))) == [p for p in paths if p in others]


def test_differs_from_others_and_ends():
    files = FileList(["/a/1", "/b/2"])
    assert files != ["/a/1"]
    assert files != ["/a/1", "/b/3"]
    assert files != "ab"
    assert files[-2] == "/a/1"
    for index in (2, -3):
        with pytest.raises(IndexError, match="below 2"):
            files[index]
    assert repr(files) == "FileList(['/a/1', '/b/2'])"


def test_takes_few_bytes_a_file():
    files = FileList(f"/somewhere/far/away/images/train/{i:08}.png" for i in range(10_000))
    [(folder, names)] = files.folders()
    assert (sys.getsizeof(folder) + sys.getsizeof(names)) / len(files) < 14
    assert files[9_999].endswith("/00009999.png")
