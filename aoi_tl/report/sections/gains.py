"""Section "What did each source bring?": the gain of every target from every source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aoi_tl.report.benchmark import choices_table, paint_gains
from aoi_tl.report.charts import Chart, canvas, chart
from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.section import Section

if TYPE_CHECKING:
    import pandas

#: Plots that are shown at once; the others wait behind a word.
_OPEN = 4
#: Points of mAP50 at which the colour of a cell is full.
_FULL = 30.0


def build(tables: RunTables) -> Section | None:
    """Show the gains, what was chosen, and each measure's plot of all pairs.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section
    """
    from aoi_tl.ranking.evaluation import choices_made
    from aoi_tl.ranking.measures import directions

    pairs, found = tables.required("pairs.csv"), tables.required("ranking.csv")
    known = directions(pairs)
    best_first = found.sort_values("top1_regret", kind="stable")["measure"].astype(str)
    charts = [_plot(pairs, name, known[name]) for name in best_first
              if name in known and pairs[name].notna().any()]
    return Section("gains", "What did each source bring?", {
        "cells": _cells(pairs), "open": charts[:_OPEN], "more": charts[_OPEN:],
        "choices": choices_table(pairs, choices_made(pairs, "auto")) if "auto" in pairs else None,
    })


def _cells(pairs: pandas.DataFrame) -> dict[str, Any]:
    """Lay the gains out: a row for each target, a column for each source, sets in the last."""
    several = pairs["sources"].astype(str).str.contains("+", regex=False)
    sources = sorted(set(pairs["sources"][~several].astype(str)))
    columns = [*sources, "together"] if several.any() else sources
    named = pairs.assign(column=pairs["sources"].astype(str).where(~several, "together"))
    rows = []
    for target, mine in named.groupby("target", sort=False):
        gains = mine.set_index("column")["gain"]
        rows.append({"target": str(target), "stock": float(mine["stock"].iloc[0]), "cells": [
            _cell(float(gains[column])) if column in gains else None for column in columns
        ]})
    return {"columns": columns, "rows": rows}


def _cell(gain: float) -> dict[str, Any]:
    return {"text": f"{gain:+.1f}", "kind": "up" if gain > 0 else "down",
            "share": min(1.0, abs(gain) / _FULL)}


def _plot(pairs: pandas.DataFrame, measure: str, direction: str) -> Chart:
    columns = ["target", "sources", measure, "gain"]
    with canvas(4.6, 3.6) as (figure, axes):
        paint_gains(axes, pairs, measure, direction)
        return chart(
            figure, f"gain-{measure}", f"{measure}: what it said of a source, and the gain that "
            "training showed; a circle for one source, a diamond for several together",
            pairs[pairs[measure].notna()][columns],
        )
