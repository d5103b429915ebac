import time

import pytest

from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.measure import Measure, Measured, UndefinedMeasure, Value
from aoi_tl.similarity.signature import Signature

DOMAIN = Domain("a", {"dent": 3}, 1, Signature([[9, 9, 9]], [1.0]))


def test_intervals_that_overlap_reach_each_other() -> None:
    one, other = Measured(1.0, "higher", 0.5, 1.5), Measured(2.0, "higher", 1.5, 2.5)
    assert one.reaches(other)
    assert other.reaches(one)
    assert not one.reaches(Measured(2.0, "higher", 1.6, 2.5))


def test_without_intervals_only_equal_values_do() -> None:
    one, other, none = (Measured(value, "higher") for value in (1.0, 2.0, None))
    assert one.reaches(one)
    assert not one.reaches(other)
    assert not none.reaches(none)
    assert not one.reaches(none)


def test_a_lower_badness_is_better() -> None:
    assert Measured(2.0, "higher").badness < Measured(1.0, "higher").badness
    assert Measured(1.0, "lower").badness < Measured(2.0, "lower").badness
    assert Measured(None, "lower").badness == float("inf")


@pytest.mark.parametrize("undefined", [False, True])
def test_a_measure_reports_its_value_or_why_there_is_none_and_its_cost(undefined: bool) -> None:
    def compute(target: Domain, source: Domain) -> Value:
        if undefined:
            raise UndefinedMeasure("no box")
        return Value(4.0, 3.0, 5.0, "four of five")

    began = time.perf_counter()
    found = Measure("m", "higher", "data", compute)(DOMAIN, DOMAIN)
    assert 0 <= found.seconds <= time.perf_counter() - began
    expected = (None, None, None, "no box", "") if undefined else (4.0, 3.0, 5.0, None,
                                                                   "four of five")
    assert (found.value, found.low, found.high, found.undefined, found.words) == expected
    assert found.direction == "higher"
