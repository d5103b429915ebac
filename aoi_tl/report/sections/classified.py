"""Section "Where does it fail?" of a classification: classes, confusions, images, attribution."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.report.charts import (
    PALETTE,
    Chart,
    arm_colours,
    arm_dashes,
    canvas,
    chart,
    legend,
)
from aoi_tl.report.classification_figures import chosen_samples, confusion_matrix, shown_arm
from aoi_tl.report.pictures import embed
from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.section import Section
from aoi_tl.report.tables import Table, plain_table

if TYPE_CHECKING:
    import pandas


def build(tables: RunTables) -> Section | None:
    """Show where the classifiers of a run fail.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section
    """
    arms, counts = tables.required("arms.csv"), tables.required("counts.csv")
    confusion, seed = tables.required("confusion.csv"), tables.seeds[0]
    shown = shown_arm(tables.arms)
    charts = [_class_bars(arms, counts), _reliability(tables)]
    maps = embed(tables.path / f"stages/{shown}-s{seed}/maps.png", 1000, quality=70)
    return Section("classified", "Where does it fail?", {
        "shown": shown, "seed": seed, "charts": [found for found in charts if found],
        "confusion": [_confusion(confusion, arm) for arm in tables.arms],
        "samples": _samples(tables, f"{shown}-s{seed}"), "maps": maps,
        "robustness": _robustness(tables), "counts": plain_table("Images of each class", counts),
    })


def _class_bars(arms: pandas.DataFrame, counts: pandas.DataFrame) -> Chart | None:
    """Draw the accuracy within each class, a mark an arm."""
    tested = counts[(counts["domain"] == "target") & (counts["split"] == "test")]
    images = dict(zip(tested["class"].astype(str), tested["images"], strict=True))
    classes = [n for n, count in images.items() if count and f"accuracy {n}" in arms]
    if not classes:
        return None
    labels = list(dict.fromkeys(arms["arm"]))
    colours, columns = arm_colours(labels), [f"accuracy {name}" for name in classes]
    table = arms.groupby("arm", sort=False)[columns].mean()
    y, height = np.arange(len(classes)), 0.8 / len(labels)
    with canvas(4.8, 1.1 + len(classes) * (0.16 + 0.14 * len(labels))) as (figure, axes):
        for place, arm in enumerate(labels):
            axes.barh(y + (place - (len(labels) - 1) / 2) * height, table.loc[arm], height,
                      color=colours[arm], label=arm)
        axes.set_yticks(y, [f"{name} ({images[name]})" for name in classes])
        axes.set(xlabel="accuracy within the class, mean over seeds", xlim=(0, 1),
                 ylim=(len(classes) - 0.5, -0.5))
        legend(axes, len(labels))
        return chart(figure, "class-accuracy", "Accuracy within each class; in brackets its test "
                     "images", table.reset_index())


def _reliability(tables: RunTables) -> Chart | None:
    """Draw the reliability diagram: accuracy by predicted probability."""
    import pandas as pd

    from aoi_tl.evaluation.calibration import bin_confidences

    colours, dashes = arm_colours(tables.arms), arm_dashes(tables.arms)
    rows = []
    with canvas(4.5, 3.8) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=PALETTE[-1], linewidth=1)
        for arm in tables.arms:
            found = [t for trained in tables.trained if trained.label == arm
                     and (t := tables.table(f"stages/{trained.stage}/predictions.csv")) is not None]
            if not found:
                continue
            joined = pd.concat(found)
            binned = bin_confidences(
                joined["probability"], joined["class"] == joined["predicted"])
            filled = binned.images > 0
            x, y = binned.confidence[filled], binned.accuracy[filled]
            axes.plot(x, y, dashes[arm], marker="o", markersize=4, color=colours[arm],
                      label=f"{arm}: error {binned.error:.2f}")
            rows += [(arm, *row) for row in zip(
                x.round(4), y.round(4), binned.images[filled], strict=True)]
        if not rows:
            return None
        axes.set(xlabel="probability of the class given", ylabel="share that is right",
                 xlim=(0, 1), ylim=(0, 1.02))
        legend(axes, 2)
        return chart(figure, "reliability", "Reliability, all seeds: on the diagonal the "
                     "probabilities keep their word; error: expected calibration error",
                     pd.DataFrame(rows, columns=["arm", "probability", "right", "images"]))


def _confusion(table: pandas.DataFrame, arm: str) -> dict[str, Any]:
    matrix, classes = confusion_matrix(table, arm)
    totals = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return {
        "arm": arm, "columns": classes,
        "rows": [
            {"name": name, "cells": [{"n": int(n), "share": float(n / total)} for n in row]}
            for name, row, [total] in zip(classes, matrix, totals, strict=True)
        ],
    }


def _samples(tables: RunTables, stage: str) -> list[dict[str, Any]]:
    found = []
    for row in chosen_samples(tables, stage).to_dict("records"):
        picture = embed(Path(row["image"]), 200, depth=int(row.get("depth", 16)))
        if picture is not None:
            found.append({
                "picture": picture, "label": row["class"], "given": row["predicted"],
                "right": not row["wrong"], "chance": f"{row['probability']:.0%}",
            })
    return found


def _robustness(tables: RunTables) -> Table | None:
    table = tables.table("robustness.csv")
    if table is None:
        return None
    wide = table.pivot_table(index=["change", "strength"], columns="arm", values="accuracy",
                             sort=False)[list(dict.fromkeys(table["arm"]))]
    return plain_table(
        "Accuracy on changed test images, mean over seeds (noise: deviation; blur: pixels; "
        "brightness, contrast: factor; jpeg: quality; rotation: degrees; fgsm, pgd: L-infinity "
        "radius, images in 0..1)", wide.reset_index(),
    )
