"""Figures of a detection run: curves and scores of all arms, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from aoi_tl.files.run_folder import write_atomically
from aoi_tl.report.charts import arm_colours
from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.tables import METRIC_NAMES

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def write_figures(tables: RunTables) -> None:
    """Write the figures of a detection run beside its tables.

    Parameters
    ----------
    tables : RunTables
        Of a finished run.
    """
    curves: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
    for trained in tables.trained:
        if found := tables.curves(trained.stage):
            curves.setdefault(trained.label, []).append(found)
    figures = {
        "arms.png": draw_arms(
            tables.labelled("arms.csv"), tables.labelled("summary.csv"), "map50"
        ),
        "pr_curves.png": draw_curves(
            {arm: [(c["recall_grid"], c["precision_mean"]) for c in found]
             for arm, found in curves.items()}, "recall", "precision (mean over classes, IoU 0.5)",
        ),
        "f1_curves.png": draw_curves(
            {arm: [(c["confidence"], c["f1_mean"]) for c in found]
             for arm, found in curves.items()}, "confidence", "F1 (mean over classes, IoU 0.5)",
        ),
    }
    for name, png in figures.items():
        write_atomically(tables.path / name, png)


def draw_curves(
    curves: Mapping[str, Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]],
    xlabel: str,
    ylabel: str,
) -> bytes:
    """Draw one curve per arm: the mean over its seeds, with the seeds' range behind it.

    Parameters
    ----------
    curves : mapping of str to sequence of (x, y)
        For each arm and seed, arrays of shape (n,); all on one grid ``x``.
    xlabel, ylabel : str
        What the axes show.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = canvas(6.4, 4.6)
    colours = arm_colours(list(curves))
    for arm, seeds in curves.items():
        x = seeds[0][0]
        y = np.stack([values for _, values in seeds])
        axes.plot(x, y.mean(axis=0), color=colours[arm], linewidth=2, label=arm)
        if len(seeds) > 1:
            axes.fill_between(x, y.min(axis=0), y.max(axis=0), color=colours[arm], alpha=0.12,
                              linewidth=0)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=9)
    return _png(figure)


def draw_arms(rows: pandas.DataFrame, summary: pandas.DataFrame, metric: str) -> bytes:
    """Draw every seed of every arm as a dot, with mean and 95 % interval beside it.

    Parameters
    ----------
    rows : DataFrame
        A row per arm and seed.
    summary : DataFrame
        As ``evaluation.comparison.summarise`` returns it.
    metric : str
        The column of ``rows`` to draw.

    Returns
    -------
    bytes
        A PNG.
    """
    arms = list(dict.fromkeys(rows["arm"]))
    figure, axes = canvas(6.4, 0.9 + 0.5 * len(arms))
    colours = arm_colours(arms)
    table = summary[summary["metric"] == metric].set_index("arm")
    for place, arm in enumerate(arms):
        values = rows.loc[rows["arm"] == arm, metric].to_numpy(float)
        row = table.loc[arm]
        if np.isfinite(row["low"]):
            axes.plot([row["low"], row["high"]], [place, place], color=colours[arm], linewidth=5,
                      alpha=0.3, solid_capstyle="round")
        axes.plot([row["mean"]] * 2, [place - 0.22, place + 0.22], color=colours[arm], linewidth=2)
        axes.scatter(values, np.full(len(values), place), color=colours[arm], s=22, zorder=3)
    axes.set_yticks(range(len(arms)), arms)
    name = METRIC_NAMES.get(metric, metric)
    axes.set(xlabel=f"{name} on the target's test split", ylim=(len(arms) - 0.5, -0.5))
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    return _png(figure)


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Make an empty figure in the house style, with its axes.

    Parameters
    ----------
    width, height : float
        In inches.

    Returns
    -------
    figure, axes
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    # Without the date and version, equal runs give equal files.
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
