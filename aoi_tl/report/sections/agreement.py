"""Section "Which measure foretold the gain?": every measure of a benchmark against the gains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aoi_tl.report.benchmark import agreement_table, calibration_table
from aoi_tl.report.charts import Chart, canvas, chart
from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.section import Section

if TYPE_CHECKING:
    import pandas

#: What is drawn of every measure, and whether the best is the highest.
_DRAWN = {
    "top1_regret": ("top-1 regret, points of mAP50", "What the first choice of each measure lost "
                    "against the best of all that was trained, mean over targets; the band is the "
                    "95 % interval over targets", False),
    "weighted_tau": ("weighted tau", "How well each measure's order of single sources agrees with "
                     "the order by their gains, mean over targets; the band is the 95 % interval",
                     True),
}


def build(tables: RunTables) -> Section | None:
    """Show regret and rank agreement of every measure, and how far off the estimates were.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section
    """
    found = tables.required("ranking.csv")
    calibrated = tables.table("calibration.csv")
    return Section("agreement", "Which measure foretold the gain?", {
        "charts": [_chart(found, quantity) for quantity in _DRAWN],
        "table": agreement_table(found),
        "calibration": None if calibrated is None else calibration_table(
            {str(row.pop("estimate")): {str(name): float(value) for name, value in row.items()}
             for row in calibrated.to_dict("records")}),
    })


def _chart(found: pandas.DataFrame, quantity: str) -> Chart:
    """Draw a quantity of every measure with its interval, the best first."""
    words, title, highest = _DRAWN[quantity]
    known = found[found[quantity].notna()].sort_values(
        quantity, ascending=not highest, kind="stable")
    columns = ["measure", quantity, f"{quantity}_low", f"{quantity}_high"]
    with canvas(height=0.8 + 0.26 * max(1, len(known))) as (figure, axes):
        for place, row in enumerate(known[columns].itertuples(index=False)):
            name, mean, low, high = row
            colour = "#009E73" if str(name).startswith("auto") else "#0072B2"
            axes.plot([low, high], [place, place], color=colour, linewidth=4, alpha=0.35,
                      solid_capstyle="butt")
            axes.plot(mean, place, "o", color=colour, markersize=5)
        axes.set_yticks(range(len(known)), list(map(str, known["measure"])))
        axes.set(xlabel=words, ylim=(len(known) - 0.5, -0.5))
        return chart(figure, f"measures-{quantity.replace('_', '-')}", title, known[columns])
