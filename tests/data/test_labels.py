from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.labels import apply_aliases, check_aliases, load_aliases
from aoi_tl.errors import DataError


def aliases(tmp_path, text):
    path = tmp_path / "aliases.yaml"
    path.write_text(text, encoding="utf-8")
    return load_aliases(path)


def test_both_kinds_of_entries(tmp_path):
    text = "scratch: [scratches, 划痕, scratch]\nPinhole: blowhole\nblowhole: [hole]\n1: [2]\n"
    assert aliases(tmp_path, text) == {
        "scratches": "scratch",
        "划痕": "scratch",
        "Pinhole": "blowhole",
        "hole": "blowhole",
        "2": "1",
    }
    assert aliases(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b", "expected a map of names, got a list"),
        ("a: {b: c}", "expected names for 'a', got a dict"),
        ("a:", "expected names for 'a', got nothing"),
        ("a: [[b]]", "expected a list of names for 'a'"),
        ("a: ['']", "got an empty one"),
        ("a: [c]\nb: [c]", "expected one meaning for 'c', got 'a' and 'b'"),
        ("a: b\nb: c", "map 'a' to 'c'"),
        ("a: b\nb: a", "map 'a' to 'a'"),
        ("a: [b\nc: d", "line 2"),
    ],
)
def test_maps_that_mean_nothing_are_refused(tmp_path, text, words):
    with pytest.raises(DataError, match=r"aliases\.yaml") as caught:
        aliases(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused_with_the_nearest():
    check_aliases({"scratches": "scratch"}, ["scratches", "dent"])
    with pytest.raises(DataError, match="got 'scratchs'; did you mean 'scratches'"):
        check_aliases({"scratchs": "scratch"}, ["scratches", "dent"])
    with pytest.raises(DataError, match="got 'xyz'; known are dent, scratches"):
        check_aliases({"xyz": "scratch"}, ["scratches", "dent"])


def test_names_merge_and_boxes_keep_their_order():
    boxes = np.arange(12).reshape(3, 4) / 20
    sample = Sample(Path("a.png"), "train", np.array([3, 0, 1]), boxes)
    steel = Dataset("steel", Path("d.yaml"), ("scratches", "rust", "dent", "scratch"), (sample,))
    done = apply_aliases(steel, {"scratches": "scratch", "rust": "corrosion", "other": "dent"})
    assert done.names == ("scratch", "corrosion", "dent")
    assert done.samples[0].classes.tolist() == [0, 0, 1]
    assert done.samples[0].boxes.tolist() == boxes.tolist()
    assert done.counts == {"scratch": 2, "corrosion": 1, "dent": 0}
    assert apply_aliases(steel, {}) is steel
