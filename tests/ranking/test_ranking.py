from __future__ import annotations

import json

import pytest

from aoi_tl.ranking.choices import Choice
from aoi_tl.ranking.measure import Measured
from aoi_tl.ranking.ranking import Ranking, rank_by
from aoi_tl.ranking.selection import SourceScore


def row(name, **measures):
    return SourceScore(name, 9.0, 0.5, ("a", "b"), 2.25, None, None, 10, 20, measures=measures)


def test_undefined_stands_last_without_a_rank():
    rows, selected = rank_by("box", [
        row("none", box=Measured(None, "lower", undefined="no box")),
        row("far", box=Measured(3.0, "lower")), row("near", box=Measured(1.0, "lower")),
    ])
    assert [(r.name, r.rank) for r in rows] == [("near", 1), ("far", 2), ("none", None)]
    assert selected == "near"


def test_nothing_is_selected_where_nothing_is_defined():
    _, selected = rank_by("box", [row("a", box=Measured(None, "lower", undefined="no box"))])
    assert selected is None


def test_places_within_noise_of_the_first_are_marked():
    rows, _ = rank_by("box", [
        row("first", box=Measured(1.0, "lower", 0.8, 1.2)),
        row("near", box=Measured(1.3, "lower", 1.1, 1.5)),
        row("far", box=Measured(3.0, "lower", 2.5, 3.5)),
    ])
    assert [r.tied for r in rows] == [False, True, False]
    assert [r.places for r in rows] == [(1, 2), (1, 2), (3, 3)]


def test_places_within_noise_of_each_other_are_said():
    rows, _ = rank_by("box", [
        row("a", box=Measured(1.0, "lower", 0.9, 1.1)),
        row("b", box=Measured(2.0, "lower", 1.5, 2.5)),
        row("c", box=Measured(3.0, "lower", 2.4, 3.6)),
        row("d", box=Measured(4.0, "lower", 3.5, 4.5)),
        row("none", box=Measured(None, "lower", undefined="no box")),
    ])
    assert [r.places for r in rows] == [(1, 1), (2, 3), (2, 4), (3, 4), None]
    assert not any(r.tied for r in rows)
    written = json.loads(Ranking("t", 5, "box", rows, None).to_json())["sources"]
    assert [r["places"] for r in written] == [[1, 1], [2, 3], [2, 4], [3, 4], None]


def test_the_files_hold_every_measure():
    rows, selected = rank_by("size", [row(
        "a", size=Measured(20.0, "higher"), box=Measured(1.0, "lower", 0.5, 1.5, seconds=2.0)
    )])
    ranking = Ranking("t", 5, "size", rows, selected)
    [written] = json.loads(ranking.to_json())["sources"]
    assert written["measures"]["box"] == {
        "value": 1.0, "direction": "lower", "interval": [0.5, 1.5], "undefined": None,
    }
    assert written["estimated_gain"] is None
    assert written["interval"] is None
    assert written["explanation"] == ""
    assert ranking.to_frame()["box"].tolist() == [1.0]


def test_a_cost_does_not_make_two_measurements_differ():
    assert Measured(1.0, "lower", seconds=1) == Measured(1.0, "lower", seconds=2)
    assert Measured(1.0, "lower").badness < Measured(None, "lower").badness
    assert Measured(2.0, "higher").badness == pytest.approx(-2.0)


def test_choices_are_written_where_there_are_any():
    plain = Ranking("t", 5, "auto", (row("a"),), "a")
    assert "choices" not in plain.to_dict()
    assert plain.chosen is None
    listed = (Choice("a + b", ("a", "b"), 4.0, (1.0, 7.0)), Choice("none", (), 0.0, None))
    chosen = Ranking("t", 5, "auto", (row("a"),), "a", choices=listed)
    assert chosen.to_dict()["choices"] == [
        {"name": "a + b", "sources": ["a", "b"], "estimated_gain": 4.0, "interval": [1.0, 7.0]},
        {"name": "none", "sources": [], "estimated_gain": 0.0, "interval": None},
    ]
    assert chosen.chosen == ("a", "b")
