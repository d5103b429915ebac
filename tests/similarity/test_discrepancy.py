from __future__ import annotations

import pytest

from aoi_tl.similarity.discrepancy import discrepancy


def test_by_hand():
    result = discrepancy(12.0, 0.5, 3)
    assert (result.value, result.undefined, result.note) == (2.0, None, None)
    assert discrepancy(12.0, 0.5, 3, epsilon=1.0).value == 1.5


def test_one_shared_class_is_undefined_not_zero():
    result = discrepancy(58.17, 0.0, 1)
    assert result.value is None
    assert "one class" in str(result.undefined)


def test_no_shared_class_is_undefined():
    result = discrepancy(58.17, 0.0, 0, epsilon=1e-6)
    assert result.value is None
    assert "no class" in str(result.undefined)


def test_balanced_over_several_classes_is_defined_and_says_what_it_hides():
    result = discrepancy(58.17, 0.0, 4)
    assert result.value == 0.0
    assert result.undefined is None
    assert "blind" in str(result.note)


@pytest.mark.parametrize(
    "arguments",
    [
        (-1, 0.5, 2),
        (float("nan"), 0.5, 2),
        (1, 1.5, 2),
        (1, -0.1, 2),
        (1, 0.5, -1),
        (1, 0.5, 2, -1),
    ],
)
def test_refuses(arguments):
    with pytest.raises(ValueError, match="expected"):
        discrepancy(*arguments)
