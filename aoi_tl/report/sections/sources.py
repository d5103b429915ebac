"""Section "Which source, and why?": one card per source, in rank order."""

from __future__ import annotations

from typing import Any

from aoi_tl.report.pictures import Picture
from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.samples import sample_pictures
from aoi_tl.report.section import Section
from aoi_tl.report.tables import Table, ranking_table
from aoi_tl.report.wording import gain, picked_names, sentence

#: Cards that are shown at once; the rest waits behind a word, with smaller pictures.
_OPEN = 12
#: Cards of further sources with pictures; the table lists all.
_CARDS = 120


def build(tables: RunTables) -> Section | None:
    """Show every source with its measures, its pictures, and the reason for its rank.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section or None
        None where nothing was ranked.
    """
    scores = tables.scores
    if scores is None:
        return None
    picked, rows = picked_names(scores), scores["sources"]
    cards = [
        _card(tables, row, row["name"] in picked, 220 if place < _OPEN else 128)
        for place, row in enumerate(rows[:_CARDS])
    ]
    return Section("sources", "Which source, and why?", {
        "target": scores["target"],
        "target_pictures": sample_pictures(tables, scores["target"], 220),
        "open": cards[:_OPEN], "more": cards[_OPEN:], "all": len(rows),
        "table": ranking_table(scores), "measures": measures_table(scores),
        "choices": bool(scores.get("choices")),
        "method": scores.get("method", "paper"), "n_clusters": scores.get("n_clusters"),
    })


def _card(tables: RunTables, row: dict[str, Any], picked: bool, side: int) -> dict[str, Any]:
    pictures: list[Picture] = sample_pictures(tables, row["name"], side)
    return {
        "name": row["name"], "rank": row["rank"], "picked": picked,
        "undefined": row.get("undefined"), "note": row.get("note"),
        "emd": row.get("emd"), "gini": row.get("gini"), "shared": row["shared_classes"],
        "discrepancy": row.get("discrepancy"), "images": row["images"],
        "instances": row["instances"],
        "gain": gain(row) if row.get("estimated_gain") is not None else None,
        "explanation": sentence(row["explanation"]) if row.get("explanation") else None,
        "tied": row.get("tied", False), "pictures": pictures,
    }


def measures_table(scores: dict[str, Any]) -> Table | None:
    """Show every measure of every source, with its interval or the reason why it has no value.

    Parameters
    ----------
    scores : dict
        The content of ``scores.json``; a row's ``measures`` maps a name to a number or to a
        mapping with ``value``, ``low``, ``high`` and ``undefined``.

    Returns
    -------
    Table or None
        None where the ranking holds no measures but the published score.
    """
    rows = [row for row in scores["sources"] if row.get("measures")]
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row["measures"]))
    return Table(
        "Every measure of every source", ("source", *names),
        tuple((row["name"], *(_measure(row["measures"].get(name)) for name in names))
              for row in rows),
    )


def _measure(found: Any) -> str:
    if found is None:
        return ""
    if isinstance(found, int | float):
        return f"{found:.4g}"
    value = found.get("value")
    if value is None:
        return str(found.get("undefined") or "")
    low, high = found.get("interval") or (found.get("low"), found.get("high"))
    span = f" [{low:.4g}, {high:.4g}]" if low is not None and high is not None else ""
    return f"{value:.4g}{span}"
