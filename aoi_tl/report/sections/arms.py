"""Section "Did it help?": arms with intervals, differences from the baselines, curves, classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.report.charts import (
    Chart,
    arm_colours,
    arm_dashes,
    canvas,
    chart,
    draw_arms,
    draw_curves,
    legend,
)
from aoi_tl.report.class_curves import class_curves
from aoi_tl.report.run_tables import RunTables, label_arms
from aoi_tl.report.section import Section
from aoi_tl.report.tables import (
    METRIC_NAMES,
    Table,
    arms_table,
    baselines_of,
    plain_table,
    verdicts,
)

if TYPE_CHECKING:
    import pandas
    from numpy.typing import NDArray

    from aoi_tl.evaluation.predictions import Predictions


def build(tables: RunTables) -> Section | None:
    """Show every arm of a run, compared with the baselines.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section
    """
    arms, summary = tables.required("arms.csv"), tables.required("summary.csv")
    baselines = baselines_of(summary)
    metrics = list(dict.fromkeys(summary["metric"].astype(str)))
    main = "map50" if "map50" in metrics else metrics[0]
    metrics.sort(key=lambda metric: metric != main)
    charts = [draw_arms(label_arms(arms), label_arms(summary), main), *_curves(tables),
              *_losses(tables)]
    learning = _learning_curves(tables)
    per_class = tables.table("per_class.csv")
    return Section("arms", "Did it help?", {
        "verdicts": verdicts(summary, main, baselines),
        "both": any(str(c).startswith("boot_") for c in summary),
        "seeds": len(tables.seeds), "charts": charts, "learning": learning,
        "tables": [arms_table(summary, metric, baselines) for metric in metrics],
        "classes": _classes(per_class) if per_class is not None else None,
        "class_charts": _class_curves(tables),
        "class_words": METRIC_NAMES.get(main, main),
        "rows": plain_table("Every arm and seed", arms),
    })


def _classes(per_class: pandas.DataFrame) -> Table | None:
    if not {"arm", "class", "instances", "ap50"} <= set(per_class):
        return None
    if "labelled" in per_class:  # else `images` are the test images of the class
        per_class = label_arms(per_class.assign(images=per_class["labelled"]))
    wide = per_class.pivot_table(index=["class", "instances"], columns="arm", values="ap50",
                                 sort=False)
    wide = wide[[a for a in dict.fromkeys(per_class["arm"]) if a in wide]].reset_index()
    wide = wide.sort_values("instances", ascending=False, kind="stable")
    return plain_table("AP50 of each class, mean over the seeds", wide)


def _curves(tables: RunTables) -> list[Chart]:
    found: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
    for trained in tables.trained:
        if curves := tables.curves(trained.stage):
            found.setdefault(trained.label, []).append(curves)
    if not found:
        return []
    return [
        draw_curves("precision-recall", "Precision over recall, mean over classes, IoU 0.5; the "
                    "band is the range of the seeds",
                    {arm: [(c["recall_grid"], c["precision_mean"]) for c in curves]
                     for arm, curves in found.items()}, "recall", "precision"),
        draw_curves("f1-confidence", "F1 over confidence, mean over classes, IoU 0.5; the band is "
                    "the range of the seeds",
                    {arm: [(c["confidence"], c["f1_mean"]) for c in curves]
                     for arm, curves in found.items()}, "confidence", "F1"),
    ]


def _class_curves(tables: RunTables) -> list[Chart]:
    found: dict[str, list[Predictions]] = {}
    for trained in tables.trained:
        if (p := tables.predictions(trained.stage)) is not None:
            found.setdefault(trained.label, []).append(p)
    return class_curves(found) if found else []


def _losses(tables: RunTables) -> list[Chart]:
    """Draw the training loss of a classification's arms, first seed."""
    import pandas as pd

    if tables.kind != "classify":
        return []
    seed = tables.seeds[0]
    found = {arm: t for arm in tables.arms
             if (t := tables.table(f"stages/{arm}-s{seed}/losses.csv")) is not None and len(t)}
    if not found:
        return []
    colours, dashes = arm_colours(list(found)), arm_dashes(list(found))
    with canvas() as (figure, axes):
        rows = []
        for arm, table in found.items():
            for domain, part in table.groupby("domain", sort=False):
                smooth = part["loss"].clip(lower=1e-3).rolling(10, 1).mean()
                kept = np.unique(np.linspace(0, len(part) - 1, min(len(part), 120)).astype(int))
                line = ":" if domain == "source" else dashes[arm]
                axes.plot(part["step"].to_numpy()[kept], smooth.to_numpy()[kept], line,
                          color=colours[arm], linewidth=1.5, label=f"{arm}, {domain}")
                rows.append(pd.DataFrame({"arm": arm, "domain": domain,
                                          "step": part["step"].to_numpy()[kept],
                                          "loss": smooth.to_numpy()[kept].round(5)}))
        axes.set(xlabel="optimiser step", ylabel="cross entropy", yscale="log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        legend(axes, 2)
        return [chart(figure, "losses", f"Training loss, seed {seed}, running mean of ten steps",
                      pd.concat(rows))]


def _learning_curves(tables: RunTables) -> dict[str, Any] | None:
    """Draw the score of every arm over the number of labelled images, where there are several."""
    import pandas as pd

    arms = tables.required("arms.csv")
    if "images" not in arms or "map50" not in arms:
        return None
    numbers = pd.to_numeric(arms["images"].astype(str).replace("all", _whole(tables)),
                            errors="coerce")
    table = arms.assign(labelled=numbers).dropna(subset=["labelled"])
    if table["labelled"].nunique() < 2:
        return None
    means = table.groupby(["arm", "labelled"], sort=False)["map50"].agg(["mean", "min", "max"])
    names = list(dict.fromkeys(table["arm"]))
    colours, dashes = arm_colours(names), arm_dashes(names)
    with canvas() as (figure, axes):
        for arm in names:
            part = means.loc[arm].sort_index()
            axes.plot(part.index, part["mean"], dashes[arm], marker="o", markersize=4,
                      color=colours[arm], label=arm)
            axes.fill_between(part.index, part["min"], part["max"], color=colours[arm], alpha=0.14,
                              linewidth=0)
        axes.set(xlabel="labelled training images of the target", ylabel="mAP50")
        axes.set_ylim(bottom=0)
        legend(axes, len(names))
        return {"chart": chart(figure, "learning-curves", "mAP50 over the number of labelled "
                               "images; the band is the range of the seeds", means.reset_index()),
                "needs": _needs(tables)}


def _needs(tables: RunTables) -> Table | None:
    found = tables.table("learning_curve.csv")
    if found is None:
        return None
    last = found.columns[-2]
    return plain_table(
        f"Mean mAP50 by the number of labelled images; needs: how many an arm needs to reach "
        f"stock with {last}", found,
    )


def _whole(tables: RunTables) -> str:
    """How many training images the target has; not a number where the run does not say."""
    counts, target = tables.table("counts.csv"), (tables.scores or {}).get("target")
    if counts is None or "before" not in counts:
        return "nan"
    row = counts[(counts["dataset"].astype(str) == target) & (counts["class"] == "images")]
    return "nan" if row.empty else f"{float(row['before'].iloc[0]):g}"
