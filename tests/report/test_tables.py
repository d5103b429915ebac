from __future__ import annotations

import pandas as pd
import pytest

from aoi_tl.evaluation.bootstrap import Interval
from aoi_tl.evaluation.comparison import summarise
from aoi_tl.report.tables import (
    arms_table,
    matrix_table,
    ranking_table,
    verdict,
    verdicts,
    verdicts_over_targets,
)

SCORES = {
    "target": "dc-1", "n_clusters": 5, "method": "paper", "selected": "lc-101",
    "sources": [
        {"name": "nj-101", "emd": 24.0, "gini": 0.65, "shared_classes": ["a", "b"],
         "discrepancy": 2.6, "undefined": None, "rank": 1, "images": 9, "instances": 10},
        {"name": "lc-101", "emd": 29.0, "gini": 0.64, "shared_classes": ["a", "b"],
         "discrepancy": 3.1, "undefined": None, "rank": 2, "images": 20, "instances": 30},
        {"name": "jy-381-4", "emd": 58.2, "gini": 0.0, "shared_classes": ["a"],
         "discrepancy": None, "undefined": "one class is shared", "rank": None, "images": 3,
         "instances": 3},
    ],
}


def rows(*values: tuple[str, int, float]) -> pd.DataFrame:
    return pd.DataFrame(values, columns=["arm", "seed", "map50"])


def test_the_ranking_says_what_is_picked_and_why_not() -> None:
    table = ranking_table(SCORES)
    assert [row[1] for row in table.rows] == ["nj-101", "lc-101", "jy-381-4"]
    assert table.rows[1][-1] == "picked"
    assert table.rows[2][0] == ""
    assert table.rows[2][5] == "undefined"
    assert table.rows[2][-1] == "one class is shared"
    assert table.to_markdown().count("\n") == 5


def test_auto_shows_all_that_can_be_done_with_its_sentence() -> None:
    near = {**SCORES["sources"][0], "explanation": "your class", "tied": False,
            "measures": {"box": {"undefined": None}}}
    bare = {**near, "name": "bare", "explanation": "none of your classes",
            "measures": {"box": {"undefined": "bare has no labelled box"}}}
    choices = [
        {"name": "nj-101", "sources": ["nj-101"], "estimated_gain": 4.0, "interval": [-1.0, 9.0]},
        {"name": "none: fine-tune COCO", "sources": [], "estimated_gain": 0.0,
         "interval": [0.0, 0.0]},
        {"name": "bare", "sources": ["bare"], "estimated_gain": None, "interval": None},
    ]
    table = ranking_table({"target": "dc-1", "method": "auto", "selected": "nj-101",
                           "sources": [near, bare], "choices": choices})
    assert table.rows[0] == ("1", "nj-101", "+4.0 [-1.0, +9.0]", "picked; your class")
    assert table.rows[1][:3] == ("2", "none: fine-tune COCO", "+0.0 [+0.0, +0.0]")
    assert table.rows[2][:3] == ("", "bare", "unknown")
    assert table.rows[2][3] == "bare has no labelled box; none of your classes"


def test_of_several_together_the_set_is_picked_not_its_first_member() -> None:
    near = {**SCORES["sources"][0], "explanation": "your class", "tied": False,
            "measures": {"box": {"undefined": None}}}
    choices = [
        {"name": "nj-101 + xh-3", "sources": ["nj-101", "xh-3"], "estimated_gain": 5.0,
         "interval": [-1.0, 9.0]},
        {"name": "nj-101", "sources": ["nj-101"], "estimated_gain": 4.0, "interval": [-1.0, 9.0]},
    ]
    table = ranking_table({"target": "dc-1", "method": "auto", "selected": "nj-101",
                           "sources": [near], "choices": choices})
    assert [row[-1] for row in table.rows] == ["picked; nj-101, xh-3", "your class"]


def test_another_measure_is_shown_with_its_interval() -> None:
    found = {"value": 0.5, "interval": [0.25, 0.75], "undefined": None}
    row = {**SCORES["sources"][0], "measures": {"box": found}, "tied": True, "explanation": "why"}
    table = ranking_table({**SCORES, "method": "box", "sources": [row]})
    assert table.rows == (
        ("1", "nj-101", "0.5 [0.25, 0.75]", "within noise of the first; why"),
    )


def test_a_matrix_has_a_dash_on_its_diagonal() -> None:
    other = {**SCORES, "target": "nj-101", "sources": [SCORES["sources"][1]]}
    table = matrix_table([SCORES, other], "discrepancy")
    assert table.rows[0][1:] == ("–", "2.6000")
    assert table.rows[1][1:] == ("–", "–")


@pytest.mark.parametrize(
    ("method", "word"),
    [((0.5, 0.6, 0.7, 0.6), "better"), ((0.1, 0.2, 0.3, 0.2), "worse"),
     ((0.4, 0.3, 0.6, 0.3), "No difference")],
)
def test_only_an_interval_without_zero_is_a_difference(
    method: tuple[float, ...], word: str
) -> None:
    stock = (0.3, 0.41, 0.5, 0.42)
    table = summarise(
        rows(*(("stock", s, v) for s, v in enumerate(stock)),
             *(("method", s, v) for s, v in enumerate(method))),
        ["map50"], ["stock"],
    )
    assert word in verdict(table, "map50", "method", "stock")


def test_one_seed_tells_nothing() -> None:
    table = summarise(rows(("stock", 0, 0.1), ("method", 0, 0.9)), ["map50"], ["stock"])
    assert "shows nothing" in verdict(table, "map50", "method", "stock")
    assert arms_table(table, "map50", ["coco", "stock"]).rows[1] == (
        "method", "1", "0.900", "", "+0.800"
    )


def test_three_seeds_without_resampled_images_are_too_few() -> None:
    values = [(arm, seed, v + seed / 100) for seed in range(3)
              for arm, v in (("stock", 0.1), ("method", 0.9))]
    table = summarise(rows(*values), ["map50"], ["stock"])
    assert "too few to compare" in verdict(table, "map50", "method", "stock")


def test_the_wider_of_two_intervals_decides_and_both_are_shown() -> None:
    values = [(arm, seed, v + seed * step) for seed in range(4)
              for arm, v, step in (("stock", 0.1, 0.01), ("method", 0.2, 0.011))]
    found = {("map50", arm, None): Interval(0.1, 0.05, 0.3) for arm in ("stock", "method")}
    found["map50", "method", "stock"] = Interval(0.1, -0.02, 0.22)
    table = summarise(rows(*values), ["map50"], ["stock"], found)
    assert verdict(table, "map50", "method", "stock").endswith(
        "+0.102 mAP50 [-0.020, +0.220] over 4 seeds."
    )
    shown = arms_table(table, "map50", ["stock"])
    assert shown.rows[1][-1] == "+0.102 [+0.099, +0.104] (-0.020, +0.220)"
    assert "test images" in shown.title


def test_each_number_of_labelled_images_has_its_own_verdict() -> None:
    parts = [
        summarise(rows(*((arm, seed, v + seed / 100) for seed in range(4)
                         for arm, v in (("stock", 0.1), ("chain", 0.1 + gain)))),
                  ["map50"], ["stock"]).assign(images=images)
        for images, gain in (("10", 0.2), ("all", 0.0))
    ]
    said = verdicts(pd.concat(parts, ignore_index=True), "map50", ["stock"])
    assert said[0].startswith("With 10 labelled images: chain is better")
    assert said[1].startswith("With all labelled images: No difference")
    assert arms_table(pd.concat(parts), "map50", ["stock"]).headings[:2] == ("arm", "images")


def test_several_targets_are_summed_up_where_they_have_intervals() -> None:
    def target(gain: float) -> pd.DataFrame:
        values = [(arm, seed, v + seed / 100) for seed in range(4)
                  for arm, v in (("stock", 0.1), ("auto", 0.1 + gain))]
        return summarise(rows(*values), ["map50"], ["stock"])

    [said] = verdicts_over_targets([target(0.2), target(0.4)], "map50", ["stock", "stock-long"])
    assert said == ("auto minus stock, mAP50: +0.300 [+0.200, +0.400] over 2 targets: 2 won, "
                    "0 undecided, 0 lost.")
    one_seed = summarise(rows(("stock", 0, 0.1), ("auto", 0, 0.9)), ["map50"], ["stock"])
    assert verdicts_over_targets([one_seed, one_seed], "map50", ["stock"]) == []
    budgets = [pd.concat([target(g).assign(images="10"), target(0.0).assign(images="all")])
               for g in (0.2, 0.3)]
    said10, said_all = verdicts_over_targets(budgets, "map50", ["stock"])
    assert said10.startswith("With 10 labelled images: auto minus stock, mAP50: +0.250")
    assert "0 won, 2 undecided" in said_all


def test_arms_without_a_common_seed() -> None:
    table = summarise(rows(("stock", 0, 0.1), ("method", 1, 0.9)), ["map50"], ["stock"])
    assert "cannot be compared" in verdict(table, "map50", "method", "stock")
