"""Section "What was changed?": counts before and after, Lorenz curves and Gini, new samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.report.charts import Chart, canvas, chart, legend
from aoi_tl.report.pictures import Box, Picture, embed
from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.section import Section
from aoi_tl.report.tables import Table

if TYPE_CHECKING:
    import pandas

STEPS = ("before", "subset", "balanced")
_COLOURS = {"before": "#000000", "subset": "#0072B2", "balanced": "#D55E00"}
_DASHES = {"before": "-", "subset": "--", "balanced": "-."}
#: New samples that are shown of a dataset.
_SHOWN = 8
_LABELLED_CLASSES = 40


def build(tables: RunTables) -> Section | None:
    """Show the changes of each dataset by subset and balance.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section or None
        None where nothing was adapted.
    """
    counts = tables.table("counts.csv")
    if counts is None or "before" not in counts:
        return None
    datasets = []
    for name in dict.fromkeys(counts["dataset"].astype(str)):
        rows = counts[counts["dataset"].astype(str) == name]
        summed = rows[rows["class"].isin(["images", "gini"])].set_index("class")
        classes = rows[~rows["class"].isin(["images", "gini"])]
        steps = [step for step in STEPS if classes[step].notna().any()]
        datasets.append({
            "name": name, "changed": len(steps) > 1,
            "dropped": _dropped(classes, summed, steps),
            "table": _table(name, classes, summed, steps),
            "charts": [_bars(name, classes, steps), _lorenz(name, classes, summed, steps)]
            if len(steps) > 1 else [],
            "samples": _new_samples(tables, name),
        })
    return Section("adaptation", "What was changed?", {"datasets": datasets})


def _dropped(
    classes: pandas.DataFrame, summed: pandas.DataFrame, steps: list[str]
) -> str:
    if "subset" not in steps:
        return ""
    gone = classes[(classes["before"].fillna(0) > 0) & (classes["subset"].fillna(0) == 0)]
    boxes = int(classes["before"].sum() - classes["subset"].sum())
    images = int(summed["before"]["images"] - summed["subset"]["images"])
    names = ", ".join(map(str, gone["class"].head(12)))
    more = f" and {len(gone) - 12} more" if len(gone) > 12 else ""
    return (f"The subset dropped {boxes} boxes and {images} images: "
            + (f"the target has no {names}{more}." if len(gone) else "no class was lost."))


def _table(
    name: str, classes: pandas.DataFrame, summed: pandas.DataFrame, steps: list[str]
) -> Table:
    def cells(row: Any) -> tuple[str, ...]:
        return tuple("" if row[s] != row[s] else f"{float(row[s]):g}" for s in steps)

    rows = [(str(row["class"]), *cells(row)) for _, row in classes.iterrows()]
    rows += [(label, *cells(summed.loc[key])) for key, label in
             (("images", "images"), ("gini", "Gini of the classes present")) if key in summed.index]
    return Table(f"{name}: training boxes of each class, before and after", ("class", *steps),
                 tuple(rows))


def _bars(name: str, classes: pandas.DataFrame, steps: list[str]) -> Chart:
    """Draw the boxes of each class at every step, the commonest first."""
    shown = classes[classes[steps].fillna(0).to_numpy(float).max(axis=1) > 0]
    shown = shown.sort_values("before", ascending=False, kind="stable").head(_LABELLED_CLASSES)
    y = np.arange(len(shown))
    with canvas(4.6, 1.1 + 0.26 * len(shown)) as (figure, axes):
        height = 0.8 / len(steps)
        for place, step in enumerate(steps):
            axes.barh(y + (place - (len(steps) - 1) / 2) * height, shown[step].fillna(0), height,
                      color=_COLOURS[step], label=step)
        axes.set_yticks(y, list(map(str, shown["class"])))
        axes.set(xlabel="training boxes", ylim=(len(shown) - 0.4, -0.6))
        legend(axes, len(steps))
        return chart(figure, f"counts-{name}", f"{name}: training boxes of each class",
                     classes[["class", *steps]])


def _lorenz(
    name: str, classes: pandas.DataFrame, summed: pandas.DataFrame, steps: list[str]
) -> Chart:
    """Draw the Lorenz curve of the classes present at every step."""
    import pandas as pd

    from aoi_tl.similarity.gini import lorenz_curve

    rows = []
    with canvas(3.6, 3.3) as (figure, axes):
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
        for step in steps:
            counts = [int(n) for n in classes[step].dropna() if n]
            if not counts:
                continue
            curve = np.asarray(lorenz_curve(counts), dtype=float)
            x = np.linspace(0, 1, len(curve))
            delta = float(summed[step]["gini"]) if "gini" in summed.index else np.nan
            axes.plot(x, curve, _DASHES[step], color=_COLOURS[step], linewidth=1.8,
                      label=f"{step}: Gini {delta:.3f}")
            rows += [(step, *point) for point in np.column_stack([x, curve]).round(5)]
        axes.set(xlabel="share of the classes, rarest first", ylabel="share of the boxes",
                 xlim=(0, 1), ylim=(0, 1))
        axes.legend(frameon=False, loc="upper left")
        return chart(figure, f"lorenz-{name}", f"{name}: Lorenz curves; the nearer to the "
                     "diagonal, the more equal the classes",
                     pd.DataFrame(rows, columns=["step", "classes", "boxes"]))


def _new_samples(tables: RunTables, name: str) -> list[Picture]:
    """Embed new samples that balancing made, with their boxes."""
    files = sorted((tables.path / "samples" / f"{name}-balanced").rglob("*"))
    images = [file for file in files if file.is_file()]
    chosen = [images[i * len(images) // _SHOWN] for i in range(_SHOWN)] \
        if len(images) > _SHOWN else images
    labels = tables.path / "data" / f"{name}-balanced" / "labels" / "train"
    names = _names(tables, f"{name}-balanced")
    found = (embed(file, 200, _read_boxes(labels / f"{file.stem}.txt", names)) for file in chosen)
    return [picture for picture in found if picture]


def _names(tables: RunTables, dataset: str) -> list[str]:
    import yaml

    text = tables.text(f"data/{dataset}/data.yaml")
    names = (yaml.safe_load(text) or {}).get("names", []) if text else []
    return [str(name) for name in (names.values() if isinstance(names, dict) else names)]


def _read_boxes(file: Any, names: list[str]) -> list[Box]:
    from aoi_tl.data.yolo.label_rows import read_label_file

    rows = read_label_file(file, len(names))
    if rows is None:
        return []
    return [
        Box(100 * (x - w / 2), 100 * (y - h / 2), 100 * w, 100 * h, names[label])
        for label, (x, y, w, h) in zip(rows.classes.tolist(), rows.boxes.tolist(), strict=True)
    ]
