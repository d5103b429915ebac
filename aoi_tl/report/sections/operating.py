"""Section "What threshold do I run?": thresholds, with escape and overkill on the test images."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.report.charts import Chart, arm_colours, canvas, chart
from aoi_tl.report.run_tables import RunTables, label_arms
from aoi_tl.report.section import Section
from aoi_tl.report.tables import Table
from aoi_tl.report.wording import percent

if TYPE_CHECKING:
    import pandas

_RATES = ("escape", "overkill")


def build(tables: RunTables) -> Section | None:
    """Show the operating points of every arm and seed.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section or None
        None where the run chose no thresholds.
    """
    found = tables.table("operating.csv")
    if found is None:
        return None
    rows = label_arms(found)
    images = rows[rows["scope"] == "image"]
    classes = rows[(rows["scope"] == "class") & (rows["seed"] == tables.seeds[0])]
    aim = json.loads(str(images["aim"].iloc[0]))
    kept = images["chosen_is_met"].astype(str) == "True"
    return Section("operating", "What threshold do I run?", {
        "aim": aim_words(aim), "outcomes": [
            outcome(row, aim) for row in images.drop_duplicates("arm").to_dict("records")],
        "unmet": [f"{row['arm']}, seed {row['seed']}" for row in
                  images[~kept].to_dict("records")],
        "trained": len(images), "seed": tables.seeds[0],
        "charts": [drawn for rate in _RATES if (drawn := _chart(images, rate))],
        "images": _image_table(images), "classes": _class_table(classes),
        "export": f"aoi-tl export-model {shlex.quote(tables.name)} --format onnx",
        "inspect": f"aoi-tl inspect {shlex.quote(tables.name)}/exported/DETECTOR.onnx IMAGES "
                   "--out runs/inspect",
    })


def aim_words(aim: dict[str, Any]) -> str:
    """Say what thresholds were chosen for.

    Examples
    --------
    >>> aim_words({"escape": 0.01})
    'at most 1 % of the defective images passed, and as few good ones rejected as can be'
    >>> aim_words({"cost": {"escape": 100.0, "overkill": 1.0}})
    'the lowest cost, a passed defective image at 100 and a rejected good one at 1'
    """
    if "cost" in aim:
        cost = aim["cost"]
        return (f"the lowest cost, a passed defective image at {cost['escape']:g} and a rejected "
                f"good one at {cost['overkill']:g}")
    if "escape" in aim:
        return (f"at most {percent(aim['escape'])} of the defective images passed, and as few good "
                "ones rejected as can be")
    return (f"at most {percent(aim['overkill'])} of the good images rejected, and as few defective "
            "ones passed as can be")


def outcome(row: Mapping[Any, Any], aim: Mapping[str, Any]) -> str:
    """Say what a detector's thresholds did on the test images, beside the limit.

    Parameters
    ----------
    row : mapping
        A line of ``operating.csv`` of the scope ``image``.
    aim : mapping
        As ``operate`` has it in the experiment.

    Returns
    -------
    str

    Examples
    --------
    >>> row = {"arm": "stock", "defective": 50, "good": 0, "escape": 0.1, "escape_low": 0.03,
    ...        "escape_high": 0.2, "overkill": float("nan"), "overkill_low": float("nan"),
    ...        "overkill_high": float("nan")}
    >>> outcome(row, {"escape": 0.01})
    'stock passed 5 of 50 defective images (10 % [3.0, 20.0]), more than the limit of 1 %.'
    """
    said = []
    for rate, kind, done in (("escape", "defective", "passed"), ("overkill", "good", "rejected")):
        total = int(row[kind])
        if not total:
            continue
        comparison = ""
        if rate in aim:
            limit, low, high = float(aim[rate]), row[f"{rate}_low"], row[f"{rate}_high"]
            comparison = f", within the limit of {percent(limit)}" if high <= limit else \
                f", more than the limit of {percent(limit)}" if low > limit else \
                f"; the interval includes the limit of {percent(limit)}"
        said.append(f"{done} {round(row[rate] * total)} of {total} {kind} images "
                    f"({_rate(row, rate)}){comparison}")
    return f"{row['arm']} {' and '.join(said)}."


def _chart(images: pandas.DataFrame, rate: str) -> Chart | None:
    """Draw a rate of every arm and seed on the test images, with its interval."""
    shown = images[images[rate].notna()]
    if shown.empty:
        return None
    arms = list(dict.fromkeys(shown["arm"]))
    colours, seeds = arm_colours(arms), list(dict.fromkeys(shown["seed"]))
    words = {"escape": "defective images passed", "overkill": "good images rejected"}[rate]
    with canvas(height=0.9 + len(arms) * (0.16 + 0.2 * len(seeds))) as (figure, axes):
        for row in shown.to_dict("records"):
            y = arms.index(row["arm"]) + 0.7 * (seeds.index(row["seed"]) + 0.5) / len(seeds) - 0.35
            axes.plot([100 * row[f"{rate}_low"], 100 * row[f"{rate}_high"]], [y, y], linewidth=4,
                      alpha=0.35, color=colours[row["arm"]], solid_capstyle="butt")
            axes.plot(100 * row[rate], y, "o", color=colours[row["arm"]], markersize=5)
        axes.set_yticks(range(len(arms)), arms)
        axes.set(xlabel=f"{rate}: {words}, %", ylim=(len(arms) - 0.5, -0.5), xlim=(-2, 102))
        columns = ["arm", "seed", rate, f"{rate}_low", f"{rate}_high"]
        return chart(figure, f"operating-{rate}", f"{rate.capitalize()} on the test images: a dot "
                     "a seed, a band for its 95 % interval over test images", shown[columns])


def _image_table(images: pandas.DataFrame) -> Table:
    return Table(
        "Whole images: rejected when a box of any class reaches its threshold; 95 % interval over "
        "test images",
        ("arm", "seed", "escape", "defective tested", "overkill", "good tested",
         "escape on held-out labelled images", "overkill on them", "limit met on them"),
        tuple(
            (str(row["arm"]), str(row["seed"]), _rate(row, "escape"), f"{row['defective']:.0f}",
             _rate(row, "overkill"), f"{row['good']:.0f}",
             f"{row['chosen_escaped']:.0f} of {row['chosen_defective']:.0f}",
             f"{row['chosen_rejected']:.0f} of {row['chosen_good']:.0f}",
             "yes" if str(row["chosen_is_met"]) == "True" else "no")
            for row in images.to_dict("records")
        ),
    )


def _class_table(classes: pandas.DataFrame) -> Table:
    return Table(
        "Each class by itself: defective is an image that holds the class, rejected one with a box "
        "of it above the threshold",
        ("arm", "class", "threshold", "escape", "with the class", "overkill", "without"),
        tuple(
            (str(row["arm"]), str(row["class"]), f"{row['threshold']:.3f}", _rate(row, "escape"),
             f"{row['defective']:.0f}", _rate(row, "overkill"), f"{row['good']:.0f}")
            for row in classes.to_dict("records")
        ),
    )


def _rate(row: Mapping[Any, Any], rate: str) -> str:
    value, low, high = (float(row[name]) for name in (rate, f"{rate}_low", f"{rate}_high"))
    if np.isnan(value):
        return "none tested"
    return f"{percent(value)} [{100 * low:.1f}, {100 * high:.1f}]"
