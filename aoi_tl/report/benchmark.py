"""The report of a ranking benchmark: tables, and a plot of all pairs for each measure."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aoi_tl.report.charts import PALETTE
from aoi_tl.report.figures import canvas
from aoi_tl.report.tables import Table

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

_FORMS = {
    "tau": ("tau", ".2f"), "weighted_tau": ("weighted tau", ".2f"),
    "top1_regret": ("top-1 regret", ".1f"), "top3_regret": ("top-3 regret", ".1f"),
    "wins": ("wins", ".2f"),
}


def agreement_table(found: pandas.DataFrame) -> Table:
    """Show how well each measure predicted the gains.

    Parameters
    ----------
    found : DataFrame
        As `aoi_tl.ranking.evaluation.agreement` gives it.

    Returns
    -------
    Table
        Means over targets with their 95 % intervals.
    """
    rows = tuple(
        (str(row["measure"]), *(
            f"{row[name]:{form}} [{row[f'{name}_low']:{form}}, {row[f'{name}_high']:{form}}]"
            for name, (_, form) in _FORMS.items()
        )) for _, row in found.iterrows()
    )
    targets = int(found["targets"].max()) if len(found) else 0
    return Table(
        f"Means over {targets} targets [95 % interval over targets]; regrets in points of mAP50",
        ("measure", *(heading for heading, _ in _FORMS.values())), rows,
    )


def calibration_table(calibrated: Mapping[str, Mapping[str, float]]) -> Table:
    """Show how far the estimated gains were off.

    Parameters
    ----------
    calibrated : mapping of str to mapping
        For each estimate what `aoi_tl.ranking.evaluation.calibration` gives.

    Returns
    -------
    Table
    """
    def shown(found: Mapping[str, float], name: str, form: str) -> str:
        low, high = found[f"{name}_low"], found[f"{name}_high"]
        return f"{found[name]:{form}} [{low:{form}}, {high:{form}}]"

    return Table(
        "Estimated gain against the gain, points of mAP50",
        ("estimate", "pairs", "bias", "mean absolute error", "share inside its interval"),
        tuple((
            name, f"{found['pairs']:.0f}", shown(found, "bias", "+.1f"),
            shown(found, "error", ".1f"), shown(found, "inside", ".2f"),
        ) for name, found in calibrated.items()),
    )


def choices_table(pairs: pandas.DataFrame, chosen: Mapping[str, tuple[str, float]]) -> Table:
    """Show for each target what was chosen, and what would have been best.

    Parameters
    ----------
    pairs : DataFrame
        As `aoi_tl.ranking.evaluation.agreement` takes it.
    chosen : mapping of str to (str, float)
        As `aoi_tl.ranking.evaluation.choices_made` gives it.

    Returns
    -------
    Table
    """
    rows = []
    for target, mine in pairs.groupby("target", sort=False):
        best = mine.sort_values("gain").iloc[-1]
        name, gain = ("none", 0.0) if best["gain"] <= 0 else (best["sources"], best["gain"])
        picked, got = chosen[str(target)]
        rows.append((str(target), picked, f"{got:+.1f}", str(name), f"{gain:+.1f}"))
    return Table("What auto chose, and the best of all that was trained, gain in points of mAP50",
                 ("target", "chosen", "gain", "best", "gain of the best"), tuple(rows))


def benchmark_page(
    pairs: pandas.DataFrame, found: pandas.DataFrame,
    calibrated: Mapping[str, Mapping[str, float]], chosen: Mapping[str, tuple[str, float]],
) -> str:
    """Give the page of a benchmark in Markdown.

    Parameters
    ----------
    pairs, found, calibrated, chosen
        As for `choices_table`, `agreement_table` and `calibration_table`.

    Returns
    -------
    str
    """
    single = pairs[~pairs["sources"].str.contains("+", regex=False)]
    parts = [
        "# Does the order of the sources pay?\n",
        f"{len(single)} pairs of a target and one source, and {len(pairs) - len(single)} of a "
        "target and several together. The gain is in points of mAP50 over plain fine-tuning of "
        "COCO (`stock`) on the target's test images. `auto` may choose a set, or none; any other "
        "measure its first source. Wins are the share of targets whose first choice was better "
        "than `stock`. `auto-data` is `auto` without detectors.\n",
    ]
    for table in (agreement_table(found), calibration_table(calibrated),
                  choices_table(pairs, chosen)):
        parts.append(f"**{table.title}**\n\n{table.to_markdown()}")
    parts += [f"![{name}](plots/{name}.svg)" for name in found["measure"]]
    return "\n".join(parts) + "\n"


def draw_gains(pairs: pandas.DataFrame, measure: str, direction: str) -> str:
    """Draw the gain of every pair against a measure's value, one colour per target.

    Parameters
    ----------
    pairs : DataFrame
        As `aoi_tl.ranking.evaluation.agreement` takes it.
    measure : str
        The column that is drawn along the x axis.
    direction : {"higher", "lower"}
        Which values favour a source.

    Returns
    -------
    str
        An SVG; equal tables give equal text.
    """
    import matplotlib

    figure, axes = canvas(5.4, 4.0)
    paint_gains(axes, pairs, measure, direction)
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "aoi-tl", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def paint_gains(axes: Axes, pairs: pandas.DataFrame, measure: str, direction: str) -> None:
    """Paint what `draw_gains` shows into a panel.

    Parameters
    ----------
    axes : Axes
    pairs, measure, direction
        As for `draw_gains`.
    """
    targets = list(dict.fromkeys(pairs["target"].astype(str)))
    for number, (target, mine) in enumerate(pairs.groupby("target", sort=False)):
        several = mine["sources"].str.contains("+", regex=False)
        colour = PALETTE[number % len(PALETTE)]
        for rows, marker, label in ((mine[~several], "o", str(target)), (mine[several], "D", None)):
            axes.scatter(rows[measure], rows["gain"], color=colour, s=20, marker=marker,
                         label=label)
    axes.axhline(0, color="#000000", linewidth=0.8)
    axes.set(xlabel=f"{measure} ({direction} is better)", ylabel="gain, points of mAP50")
    if len(targets) <= len(PALETTE):
        axes.legend(frameon=False, fontsize=7)
