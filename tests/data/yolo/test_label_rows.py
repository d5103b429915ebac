from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoi_tl.data.yolo.label_rows import format_labels, parse_labels, read_label_file

FILE = Path("labels/a.txt")


def boxes(text: bytes, n_classes=3, **more):
    rows = parse_labels(text, FILE, n_classes, **more)
    assert rows.faults == ()
    return rows.classes.tolist(), rows.boxes.tolist()


def test_boxes_and_polygons():
    assert boxes(b"1 0.5 0.5 0.2 0.1\n0 0.1 0.1 0.1 0.1") == (
        [1, 0],
        [[0.5, 0.5, 0.2, 0.1], [0.1, 0.1, 0.1, 0.1]],
    )
    classes, (box,) = boxes(b"2 0.1 0.2 0.5 0.2 0.5 0.8 0.3 0.9")
    assert classes == [2]
    assert box == pytest.approx([0.3, 0.55, 0.4, 0.7])


def test_blank_lines_byte_order_marks_and_line_ends():
    text = b"\xef\xbb\xbf0 .5 .5 .1 .1\r\n\r\n   \n0.0 5e-1 .5 .1 .1"
    assert boxes(text) == ([0, 0], [[0.5, 0.5, 0.1, 0.1]] * 2)
    assert boxes(b"") == ([], [])
    assert parse_labels(b"", FILE, 3).boxes.shape == (0, 4)


def test_pose_rows_keep_their_box():
    assert boxes(b"0 .5 .5 .1 .1 .4 .4 2 .6 .6 2", keypoint_columns=6)[1] == [[0.5, 0.5, 0.1, 0.1]]


def test_a_box_a_hair_outside_is_clipped():
    (box,) = boxes(b"0 0.9 0.5 0.2008 0.2")[1]
    assert box[0] + box[2] / 2 == pytest.approx(1, abs=1e-12)
    assert box[0] - box[2] / 2 == pytest.approx(0.9 - 0.1004)


def test_boxes_without_area_are_counted():
    rows = parse_labels(b"0 .5 .5 0 .1\n0 .5 .5 .1 .1\n1 .1 .1 .1 .1 .1 .1", FILE, 3)
    assert rows.without_area == 2
    assert rows.classes.tolist() == [0]


@pytest.mark.parametrize(
    ("row", "kind", "words"),
    [
        (b"3 .5 .5 .1 .1", "class id", "expected a class id from 0 to 2, got 3"),
        (b"-1 .5 .5 .1 .1", "class id", "got -1"),
        (b"0.5 .5 .5 .1 .1", "class id", "got 0.5"),
        (b"0 nan .5 .1 .1", "not finite", "expected finite numbers, got '0 nan .5 .1 .1'"),
        (b"0 inf .5 .1 .1", "not finite", "finite"),
        (b"0 .5 .5 -.1 .1", "negative size", "positive size"),
        (b"dent .5 .5 .1 .1", "not a number", "expected numbers, got 'dent .5 .5 .1 .1'"),
        (b"0 1_0 .5 .1 .1", "not a number", "expected numbers"),
        (b"\xff\xfe0", "not a number", "expected numbers"),
        (b"0 .5 .5 .1", "columns", "got 4 columns"),
        (b"0 .5 .5 .1 .1 .9", "columns", "got 6 columns"),
        (b"0 .5 .5 .1 .1 .9 .9 .9", "columns", "got 8 columns"),
        (b"0 .5 .5 1.1 .1", "outside", "got one 0.05 outside"),
        (b"0 120 80 30 20", "outside", "divide pixels by the image's size"),
        (b"0 .1 .1 .1 .5 1.2 .5", "outside", "0.2 outside"),
    ],
)
def test_bad_rows_are_named(row, kind, words):
    rows = parse_labels(b"0 .5 .5 .1 .1\n" + row, FILE, 3)
    assert rows.classes.tolist() == [0]
    (fault,) = rows.faults
    assert (fault.file, fault.line, fault.kind) == (FILE, 2, kind)
    assert str(fault).startswith("labels/a.txt line 2: expected")
    assert words in fault.text
    assert ";" in fault.text


def test_missing_and_unreadable_files(tmp_path):
    assert read_label_file(tmp_path / "none.txt", 3) is None
    (tmp_path / "folder.txt").mkdir()
    assert read_label_file(tmp_path / "folder.txt", 3).faults[0].kind == "unreadable"


shares = st.floats(0.01, 0.99)


@given(st.lists(st.tuples(st.integers(0, 2), shares, shares, shares, shares), max_size=8))
def test_what_is_written_reads_back_bit_for_bit(rows):
    classes = np.array([row[0] for row in rows], dtype=np.int64)
    corners = np.array([row[1:] for row in rows]).reshape(-1, 4)
    size = np.minimum(corners[:, 2:], 2 * np.minimum(corners[:, :2], 1 - corners[:, :2]))
    wanted = np.hstack([corners[:, :2], size])
    back = parse_labels(format_labels(classes, wanted).encode(), FILE, 3)
    assert back.faults == ()
    assert (back.classes == classes).all()
    assert (back.boxes == wanted).all()


@given(st.binary(max_size=200) | st.text("0123456789.-+einfa \n\t_", max_size=80).map(str.encode))
def test_any_bytes_give_rows_or_faults(content):
    rows = parse_labels(content, FILE, 3, 6)
    assert len(rows.classes) == len(rows.boxes)
    assert ((rows.classes >= 0) & (rows.classes < 3)).all()
    low, high = rows.boxes[:, :2] - rows.boxes[:, 2:] / 2, rows.boxes[:, :2] + rows.boxes[:, 2:] / 2
    assert (low >= -1e-9).all()
    assert (high <= 1 + 1e-9).all()
    assert (rows.boxes[:, 2:] > 0).all()


def test_a_file_that_is_no_label_file_is_not_read_to_its_end():
    found = parse_labels(b"junk\n" * 5000, Path("a.txt"), 2)
    assert len(found.faults) == 1000
