"""Section of a matrix run: every dataset against every other, as a heat map."""

from __future__ import annotations

from typing import Any

from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.section import Section
from aoi_tl.report.tables import Table
from aoi_tl.report.wording import picked_names

_QUANTITIES = ("discrepancy", "emd", "gini", "estimated_gain")
#: Datasets up to which a cell shows its number beside its colour.
_NUMBERS = 16


def build(tables: RunTables) -> Section | None:
    """Show the matrix of a ``score --matrix``.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section or None
        None where there is one target alone.
    """
    rankings = tables.json("scores.json")
    if not isinstance(rankings, list):
        return None
    names = [ranking["target"] for ranking in rankings]
    pairs = {
        (ranking["target"], row["name"]): {
            **{name: row.get(name) for name in _QUANTITIES},
            "shared": len(row["shared_classes"]), "rank": row["rank"],
            "why": row.get("undefined") or row.get("note"),
        }
        for ranking in rankings for row in ranking["sources"]
    }
    known = [name for name in _QUANTITIES if any(pair[name] is not None for pair in pairs.values())]
    return Section("matrix", "Which pairs are close?", {
        "names": names, "numbers": len(names) <= _NUMBERS, "quantities": known,
        "rows": [[_cell(pairs.get((target, source))) for source in names] for target in names],
        "data": {
            "names": names,
            "pairs": [[pairs.get((target, source)) for source in names] for target in names],
        },
        "picks": Table("The pick for every target", ("target", "picked", "first three"), tuple(
            (r["target"], " + ".join(picked_names(r)) or "none",
             ", ".join(row["name"] for row in r["sources"][:3] if row["rank"]))
            for r in rankings
        )),
    })


def _cell(pair: dict[str, Any] | None) -> str:
    if pair is None:
        return ""
    return "–" if pair["discrepancy"] is None else f"{pair['discrepancy']:.2f}"
