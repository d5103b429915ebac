"""Section of a comparison page: the selected sources and the scores of several runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from aoi_tl.report.run_tables import RunTables, label_arms
from aoi_tl.report.section import Section
from aoi_tl.report.tables import METRIC_NAMES, Table
from aoi_tl.report.wording import picked_names

_MAIN = ("map50", "balanced_accuracy", "accuracy")


def build(runs: Sequence[RunTables]) -> Section:
    """Put several runs side by side.

    Parameters
    ----------
    runs : sequence of RunTables
        Of any kind.

    Returns
    -------
    Section
    """
    return Section("runs", "What did each run come to?", {
        "runs": [_facts(tables) for tables in runs], "tables": _arms(runs), "picks": _picks(runs),
    })


def _facts(tables: RunTables) -> dict[str, Any]:
    scores = tables.scores or {}
    return {
        "name": tables.name, "folder": str(tables.path), "kind": tables.kind,
        "target": scores.get("target", ""), "picked": ", ".join(picked_names(scores)),
        "arms": len(tables.arms), "seeds": len(tables.seeds),
    }


def _arms(runs: Sequence[RunTables]) -> list[Table]:
    """Give a table for each metric: a row an arm, a column a run, in the order of the runs."""
    found: dict[str, dict[str, dict[int, str]]] = {}
    for place, tables in enumerate(runs):
        summary = tables.table("summary.csv")
        if summary is None:
            continue
        metric = next((m for m in _MAIN if m in set(summary["metric"])), None)
        for row in label_arms(summary[summary["metric"] == metric]).to_dict("records"):
            low, high = row.get("low", math.nan), row.get("high", math.nan)
            span = "" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"
            cells = found.setdefault(str(metric), {}).setdefault(str(row["arm"]), {})
            cells[place] = f"{row['mean']:.3f}{span}, {row['n']:.0f} seeds"
    return [
        Table(
            f"{METRIC_NAMES.get(metric, metric)}, mean [95 % interval over seeds]",
            ("arm", *(tables.name for tables in runs)),
            tuple((arm, *(cells.get(place, "") for place in range(len(runs))))
                  for arm, cells in rows.items()),
        )
        for metric, rows in found.items()
    ]


def _picks(runs: Sequence[RunTables]) -> Table | None:
    """Give the rank of every source in every run, where at least one ranks."""
    ranks: dict[str, dict[int, str]] = {}
    for place, tables in enumerate(runs):
        scores = tables.scores or {"sources": []}
        for row in scores["sources"]:
            mark = " (picked)" if row["name"] in picked_names(scores) else ""
            rank = "no score" if row["rank"] is None else str(row["rank"])
            ranks.setdefault(row["name"], {})[place] = rank + mark
    if not ranks:
        return None
    return Table("Rank of every source", ("source", *(tables.name for tables in runs)), tuple(
        (name, *(cells.get(place, "") for place in range(len(runs))))
        for name, cells in ranks.items()
    ))
