"""Plots as inline SVG in the page's colours, each with its data as CSV."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.report.tables import METRIC_NAMES

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# Okabe and Ito's palette: distinguishable for colour-blind readers as well.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
ARM_COLOURS = {
    "scratch": "#999999", "coco": "#000000", "stock": "#D55E00", "full-source": "#0072B2",
    "subset-source": "#56B4E9", "method": "#CC79A7", "method-all": "#009E73",
}

INK, LINE = "#1c2024", "#d9d9e0"
#: What a drawn colour is called in the page's style, which gives it a value for light and dark.
VARIABLES = {
    INK: "--ink", LINE: "--line", "#0072b2": "--blue", "#d55e00": "--vermilion",
    "#009e73": "--green", "#cc79a7": "--pink", "#e69f00": "--orange", "#56b4e9": "--sky",
    "#000000": "--black", "#999999": "--grey",
}
_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Chart:
    """One plot of the page.

    Attributes
    ----------
    name : str
        The name of its CSV file.
    title : str
        Its caption, also its text alternative for screen readers.
    svg : str
        The drawing.
    csv : str
        The numbers that it shows.
    """

    name: str
    title: str
    svg: str
    csv: str

    @property
    def csv_uri(self) -> str:
        """The CSV as a link that needs no file."""
        return "data:text/csv;base64," + base64.b64encode(self.csv.encode("utf-8")).decode()


def arm_colours(arms: Sequence[str]) -> dict[str, str]:
    """Assign colours to arms: the same in every figure, and in every run for the known arms.

    Examples
    --------
    >>> arm_colours(["coco", "mine"])["coco"]
    '#000000'
    """
    spare = iter(colour for colour in PALETTE * (len(arms) + 1)
                 if colour not in {ARM_COLOURS.get(arm) for arm in arms})
    return {arm: ARM_COLOURS.get(arm) or next(spare, "#999999") for arm in arms}


def arm_dashes(arms: Sequence[str]) -> dict[str, str]:
    """Assign different dashes to arms that share a colour, so that colour is not the only cue.

    Examples
    --------
    >>> arm_dashes(["coco", "stock"])
    {'coco': '-', 'stock': '--'}
    """
    return {arm: _DASHES[place % len(_DASHES)] for place, arm in enumerate(arms)}


def draw_curves(
    name: str,
    title: str,
    curves: Mapping[str, Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]],
    xlabel: str,
    ylabel: str,
    points: int = 101,
) -> Chart:
    """Draw one curve per arm: the mean over its seeds, with the seeds' range behind it.

    Parameters
    ----------
    name, title : str
        Of the chart.
    curves : mapping of str to sequence of (x, y)
        For each arm and seed, arrays of shape (n,); all on one grid ``x`` in 0..1.
    xlabel, ylabel : str
        What the axes show.
    points : int
        Points of the grid that are drawn and written.

    Returns
    -------
    Chart
    """
    import pandas as pd

    colours, dashes = arm_colours(list(curves)), arm_dashes(list(curves))
    grid = np.linspace(0, 1, points)
    rows = []
    with canvas() as (figure, axes):
        for arm, seeds in curves.items():
            y = np.stack([np.interp(grid, x, values) for x, values in seeds])
            mean, low, high = y.mean(axis=0), y.min(axis=0), y.max(axis=0)
            axes.plot(grid, mean, dashes[arm], color=colours[arm], linewidth=1.8, label=arm)
            if len(seeds) > 1:
                axes.fill_between(grid, low, high, color=colours[arm], alpha=0.14, linewidth=0)
            rows += [(arm, *row) for row in np.column_stack([grid, mean, low, high]).round(4)]
        axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1.02))
        legend(axes, len(curves))
        table = pd.DataFrame(rows, columns=["arm", xlabel, "mean", "low", "high"])
        return chart(figure, name, title, table)


def draw_arms(rows: pandas.DataFrame, summary: pandas.DataFrame, metric: str) -> Chart:
    """Draw every seed of every arm as a dot, with the mean and its intervals beside it.

    Parameters
    ----------
    rows : DataFrame
        A row per arm and seed.
    summary : DataFrame
        ``metric, arm, mean, low, high`` (over seeds) and, where the run has them,
        ``boot_low, boot_high`` (over test images and seeds).
    metric : str
        The column of ``rows`` to draw.

    Returns
    -------
    Chart
    """
    arms = list(dict.fromkeys(rows["arm"]))
    colours = arm_colours(arms)
    table = summary[summary["metric"] == metric].set_index("arm")
    with canvas(height=0.8 + 0.36 * len(arms)) as (figure, axes):
        for place, arm in enumerate(arms):
            values, row = rows.loc[rows["arm"] == arm, metric].to_numpy(float), table.loc[arm]
            for low, high, width, alpha in (
                ("boot_low", "boot_high", 9, 0.2), ("low", "high", 4, 0.4)
            ):
                if low in row and np.isfinite(row[low]):
                    axes.plot([row[low], row[high]], [place, place], color=colours[arm],
                              linewidth=width, alpha=alpha, solid_capstyle="butt")
            axes.plot([row["mean"]] * 2, [place - 0.25, place + 0.25], color=colours[arm],
                      linewidth=2)
            axes.plot(values, np.full(len(values), place), "o", color=colours[arm], markersize=4)
        axes.set_yticks(range(len(arms)), arms)
        name = METRIC_NAMES.get(metric, metric)
        axes.set(xlabel=f"{name} on the target's test split", ylim=(len(arms) - 0.5, -0.5))
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        wanted = [c for c in ("arm", "seed", metric) if c in rows]
        return chart(figure, f"arms-{metric}", f"Every arm's {name}: a dot a seed, a bar for the "
                     "mean, bands for the intervals", rows[wanted])


# ------------------------------------------------------------------------------------ the canvas


@contextmanager
def canvas(width: float = 4.5, height: float = 3.3) -> Iterator[tuple[Figure, Axes]]:
    """Open a figure of one panel, in inches, in the page's style.

    Yields
    ------
    figure : Figure
    axes : Axes
    """
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9,
        "text.parse_math": False, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": LINE,
        "xtick.color": INK, "ytick.color": INK, "grid.color": LINE, "axes.titlesize": 9,
        "legend.fontsize": 8, "path.simplify": True,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A name in a script that the measuring font lacks is drawn by the reader's own font.
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(linewidth=0.6)
        axes.set_axisbelow(True)
        yield figure, axes


def legend(axes: Axes, entries: int) -> None:
    """Put the legend above the panel, where it hides nothing."""
    labels = axes.get_legend_handles_labels()[1]
    widest = 30 + 4.6 * max(map(len, labels), default=0)  # points: its line, and 8-point letters
    figure = axes.get_figure(root=True)
    assert figure is not None
    room = 65 * figure.get_figwidth()
    columns = max(1, min(entries, 3, int(room / widest)))
    axes.legend(frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1),
                borderaxespad=0.2, handlelength=2.4, columnspacing=1.2)


def chart(figure: Figure, name: str, title: str, data: pandas.DataFrame) -> Chart:
    """Close a figure into a chart; inside the `canvas` block.

    Parameters
    ----------
    figure : Figure
    name, title : str
        Of the chart.
    data : DataFrame
        The numbers that it shows.

    Returns
    -------
    Chart
        Equal figures give equal charts.
    """
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={
            "Date": None, "Creator": None, "Format": None, "Type": None,
        })
    svg = stream.getvalue()
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)  # it would hold for the whole page
    # Ids are unique within a drawing; the page holds several. A name may hold any character.
    own = "c" + hashlib.sha256(name.encode("utf-8")).hexdigest()[:10]
    svg = re.sub(r'\bid="', f'id="{own}-', svg)
    svg = re.sub(r'(url\(|xlink:href=")#', rf"\g<1>#{own}-", svg)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda m: f"var({VARIABLES[m[0]]})" if m[0] in VARIABLES
                 else m[0], svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    # Coordinates need two places; what is written on an axis keeps all of its own.
    svg = re.sub(r"<[^>]*>", lambda m: re.sub(r"(\d+\.\d\d)\d+", r"\1", m[0]), svg)
    svg = re.sub(r"\n\s*", " ", svg)
    points = float(figure.get_figwidth()) * 72
    svg = svg.replace(
        "<svg", f'<svg role="img" aria-hidden="true" style="max-width:{points * 1.36:.0f}px"', 1
    )
    return Chart(name, title, svg, data.to_csv(index=False, lineterminator="\n"))
