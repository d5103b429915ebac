from __future__ import annotations

import pytest

from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.explanation import explain
from aoi_tl.ranking.measures import MEASURES, METHODS, looks_at_labels, measures_of
from aoi_tl.similarity.signature import Signature

GREY, WHITE = Signature([[99, 99, 99]], [1]), Signature([[255, 255, 255]], [1])
TARGET = Domain("target", {"dent": 6, "crack": 3, "stain": 1, "hole": 0}, 5, GREY)


def test_overlap_counts_the_instances_of_the_target():
    source = Domain("s", {"dent": 100, "stain": 1, "burr": 50}, 9, WHITE)
    assert MEASURES["overlap"](TARGET, source).value == pytest.approx(0.7)
    assert MEASURES["overlap"](TARGET, Domain("s", {"burr": 5}, 9, WHITE)).value == 0


def test_size_and_emd_are_the_plain_figures():
    source = Domain("s", {"dent": 100, "stain": 1, "burr": 50}, 9, WHITE)
    assert MEASURES["size"](TARGET, source).value == 151
    assert MEASURES["emd"](TARGET, source).value == pytest.approx(156 * 3**0.5)


def test_paper_says_why_it_is_undefined():
    found = MEASURES["paper"](TARGET, Domain("s", {"burr": 5}, 9, WHITE))
    assert found.value is None
    assert found.undefined == "no class is shared"
    assert found.seconds > 0


def test_box_needs_labelled_boxes():
    found = MEASURES["box"](TARGET, TARGET)
    assert found.value is None
    assert "target has no labelled box" in str(found.undefined)


def test_random_depends_on_the_names_alone():
    one, again = (MEASURES["random"](TARGET, Domain("s", {"dent": 1}, n, WHITE)) for n in (1, 2))
    assert one.value == again.value != MEASURES["random"](TARGET, TARGET).value
    assert 0 <= one.value < 1
    drawn = [MEASURES["random"](TARGET, Domain(f"s{i}", {}, 1, WHITE)).value for i in range(200)]
    assert min(drawn) < 0.1
    assert 0.9 < max(drawn) < 1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_shows_what_it_is_by(method):
    names = [measure.name for measure in measures_of(method)]
    assert len(set(names)) == len(names)
    assert {"paper", "emd", "size", "overlap"} <= set(names)
    assert looks_at_labels("paper") is False


def test_a_sentence_for_each_kind_of_source():
    same = Domain("s", {"dent": 1, "crack": 1, "stain": 1}, 3, GREY)
    assert explain(TARGET, same, {}) == (
        "all of your 3 classes; much the same colours; 3 boxes in 3 images"
    )
    other = Domain("s", {"burr": 5}, 9, WHITE)
    assert explain(TARGET, other, {}).startswith("none of your classes; much brighter images")
