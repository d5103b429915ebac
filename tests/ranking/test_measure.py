from aoi_tl.ranking.measure import Measured


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
