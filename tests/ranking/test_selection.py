from __future__ import annotations

from aoi_tl.ranking.selection import SourceScore, rank_sources, select_source


def score(name, value, emd=1.0, instances=1):
    undefined = None if value is not None else "only one class is shared"
    return SourceScore(name, emd, 0.5, ("a", "b"), value, undefined, None, 1, instances)


def names(scores):
    return [row.name for row in scores]


def test_lowest_score_first_and_numbered():
    ranking = rank_sources([score("far", 9.0), score("near", 1.0), score("middle", 2.0)])
    assert [(r.name, r.rank) for r in ranking] == [("near", 1), ("middle", 2), ("far", 3)]


def test_undefined_stands_last_without_a_rank():
    ranking = rank_sources([score("none", None, emd=0.1), score("far", 99.0, emd=50.0)])
    assert [(r.name, r.rank) for r in ranking] == [("far", 1), ("none", None)]


def test_ties_are_ordered_by_emd_then_name():
    rows = [score("b", 0.0, emd=3.0), score("c", 0.0, emd=2.0), score("a", 0.0, emd=3.0)]
    assert names(rank_sources(rows)) == ["c", "a", "b"]


def test_pick_is_the_largest_of_the_three_closest():
    rows = [
        score("1st", 1.0, instances=10),
        score("2nd", 2.0, instances=30),
        score("3rd", 3.0, instances=20),
        score("4th", 4.0, instances=999),
        score("none", None, instances=9999),
    ]
    assert select_source(rows) == "2nd"
    assert select_source(reversed(rows)) == "2nd"


def test_of_equal_sizes_the_closer():
    assert select_source([score("b", 2.0), score("a", 1.0)]) == "a"


def test_nothing_to_pick():
    assert select_source([]) is None
    assert select_source([score("none", None)]) is None
