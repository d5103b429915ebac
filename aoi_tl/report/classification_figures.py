"""Figures of a classification run, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aoi_tl.data.images import read_image, to_8_bits
from aoi_tl.files.run_folder import write_atomically
from aoi_tl.report.charts import PALETTE, arm_colours
from aoi_tl.report.figures import draw_arms
from aoi_tl.report.run_tables import RunTables

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOMAIN_COLOURS = {"target": PALETTE[0], "source": PALETTE[1]}


def draw_losses(losses: Mapping[str, pandas.DataFrame], window: int = 10) -> bytes:
    """Draw the loss of every arm, domain by domain, over its steps.

    Parameters
    ----------
    losses : mapping of arm to DataFrame
        ``step``, ``domain`` and ``loss`` of one seed.
    window : int
        Steps of the running mean that is drawn over the single losses.

    Returns
    -------
    bytes
        A PNG.

    References
    ----------
    .. [1] Chen et al. 2024, Figure 3.
    """
    figure, panels = _panels(len(losses), columns=2, width=4.6, height=2.9)
    for axes, (arm, table) in zip(panels, losses.items(), strict=False):
        for domain, rows in table.groupby("domain", sort=False):
            colour = DOMAIN_COLOURS[str(domain)]
            axes.plot(rows["step"], rows["loss"].clip(lower=1e-3), ".", color=colour, alpha=0.18,
                      markersize=2.5)
            axes.plot(rows["step"], rows["loss"].clip(lower=1e-3).rolling(window, 1).mean(),
                      color=colour, linewidth=1.5, label=str(domain))
        axes.set(title=arm, xlabel="optimiser step", ylabel="cross entropy", yscale="log")
        axes.legend(frameon=False, fontsize=8, loc="upper right")
    return _png(figure)


def draw_class_bars(arms: pandas.DataFrame, counts: Mapping[str, int]) -> bytes:
    """Draw the accuracy within each class, a bar an arm.

    Parameters
    ----------
    arms : DataFrame
        A row per arm and seed with a column ``accuracy <class>`` for each class.
    counts : mapping of class to int
        Test images of each class.

    Returns
    -------
    bytes
        A PNG: means over the seeds, and the single seeds as dots.

    References
    ----------
    .. [1] Chen et al. 2024, Figure 4.
    """
    labels = list(dict.fromkeys(arms["arm"]))
    classes = [name for name in counts if counts[name]]
    figure, [axes] = _panels(1, columns=1, width=max(6.4, 1.5 * len(classes)), height=3.6)
    width = 0.8 / len(labels)
    colours = arm_colours(labels)
    for place, arm in enumerate(labels):
        rows = arms[arms["arm"] == arm]
        values = rows[[f"accuracy {name}" for name in classes]].to_numpy(float)
        x = np.arange(len(classes)) + (place - (len(labels) - 1) / 2) * width
        axes.bar(x, values.mean(axis=0), width * 0.92, color=colours[arm], alpha=0.75,
                 label=arm)
        for seed in values:
            axes.plot(x, seed, ".", color="#222222", markersize=3)
    axes.set_xticks(np.arange(len(classes)), [f"{name}\n{counts[name]} tested"
                                              for name in classes], fontsize=8)
    axes.set(ylabel="accuracy within the class", ylim=(0, 1.03))
    axes.legend(frameon=False, fontsize=8, ncols=len(labels), loc="lower center",
                bbox_to_anchor=(0.5, 1.0))
    return _png(figure)


def draw_samples(
    images: Sequence[np.ndarray], labels: Sequence[str], predicted: Sequence[str],
    chances: Sequence[float],
) -> bytes:
    """Draw a grid of test images with their true and predicted classes.

    Parameters
    ----------
    images : sequence of ndarray of uint8
        Grey or RGB.
    labels, predicted : sequence of str
        The true and the given class.
    chances : sequence of float
        Probability of the given class.

    Returns
    -------
    bytes
        A PNG: green frames are right, red ones wrong.

    References
    ----------
    .. [1] Chen et al. 2024, Figure 5.
    """
    figure, panels = _panels(len(images), columns=5, width=1.75, height=2.05)
    for axes, image, label, given, chance in zip(
        panels, images, labels, predicted, chances, strict=False
    ):
        right = label == given
        colour = "#009E73" if right else "#C1272D"
        _show_image(axes, image)
        for spine in axes.spines.values():
            spine.set(visible=True, color=colour, linewidth=2.5)
        caption = f"{label}\n{chance:.0%}" if right else f"{label}\ntaken for {given} {chance:.0%}"
        axes.set_title(caption, fontsize=7, color=colour)
    return _png(figure)


def draw_maps(images: np.ndarray, maps: np.ndarray, labels: Sequence[str]) -> bytes:
    """Draw attribution maps of each image's own class over the image.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, 3)
        In 0..1.
    maps : ndarray of shape (n, height, width)
        In 0..1.
    labels : sequence of str
        Their classes.

    Returns
    -------
    bytes
        A PNG: above the image, below it the same with the map on it.
    """
    columns = min(5, len(images))
    figure, panels = _panels(2 * columns * -(-len(images) // columns), columns, 1.6, 1.75)
    for axes in panels:
        axes.set_axis_off()
    for place, (image, heat, label) in enumerate(zip(images, maps, labels, strict=True)):
        row, column = divmod(place, columns)
        above, below = panels[2 * row * columns + column], panels[(2 * row + 1) * columns + column]
        above.imshow(image, vmin=0, vmax=1)
        above.set_title(label, fontsize=7)
        below.imshow(image, vmin=0, vmax=1)
        below.imshow(heat, cmap="inferno", alpha=0.55, vmin=0, vmax=1)
    return _png(figure)


def draw_confusion(confusion: np.ndarray, classes: Sequence[str], title: str) -> bytes:
    """Draw a confusion matrix.

    Parameters
    ----------
    confusion : ndarray of shape (classes, classes)
        Images of each class (rows) by the class given (columns), summed over seeds.
    classes : sequence of str
        Their names.
    title : str
        The title of the figure.

    Returns
    -------
    bytes
        A PNG: shade is the share of the row, the number counts images.
    """
    side = 1.6 + 0.62 * len(classes)
    figure, [axes] = _panels(1, 1, side, side)
    axes.grid(False)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(*confusion.shape):
        axes.text(j, i, str(confusion[i, j]), ha="center", va="center", fontsize=8,
                  color="white" if share[i, j] > 0.55 else "#222222")
    axes.set_xticks(range(len(classes)), classes, rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.set(title=title, xlabel="given", ylabel="true")
    return _png(figure)


def write_figures(tables: RunTables) -> None:
    """Write the figures of a classification beside its tables.

    Parameters
    ----------
    tables : RunTables
        Of a finished classification.
    """
    arms, summary, counts = (tables.required(f"{n}.csv") for n in ("arms", "summary", "counts"))
    tested = counts[(counts["domain"] == "target") & (counts["split"] == "test")]
    labels, seed = tables.arms, tables.seeds[0]
    shown = shown_arm(labels)
    figures = {
        "arms.png": draw_arms(arms, summary, "accuracy"),
        "classes.png": draw_class_bars(
            arms, dict(zip(tested["class"], tested["images"], strict=True))
        ),
        "confusion.png": draw_confusion(
            *confusion_matrix(tables.required("confusion.csv"), shown), f"{shown}, all seeds"
        ),
    }
    losses = {arm: table for arm in labels
              if (table := tables.table(f"stages/{arm}-s{seed}/losses.csv")) is not None}
    if losses:  # a frozen arm has none
        figures["losses.png"] = draw_losses(losses)
    chosen = chosen_samples(tables, f"{shown}-s{seed}")
    if len(chosen):
        figures["samples.png"] = draw_samples(
            [read_image(row["image"], int(row.get("depth", 16)))
             for row in chosen.to_dict("records")], list(chosen["class"]),
            list(chosen["predicted"]), list(chosen["probability"]),
        )
    for name, png in figures.items():
        write_atomically(tables.path / name, png)


def shown_arm(arms: Sequence[str]) -> str:
    """Give the arm that the detailed figures show: the main arm of the method."""
    return next((arm for arm in ("cdg", "two-stage") if arm in arms), arms[-1])


def confusion_matrix(table: pandas.DataFrame, arm: str) -> tuple[np.ndarray, list[str]]:
    """Sum an arm's confusion matrix over its seeds.

    Parameters
    ----------
    table : DataFrame
        ``arm, class, predicted, images``.
    arm : str

    Returns
    -------
    matrix : int64 array of shape (classes, classes)
        Images of each class (rows) by the class given (columns).
    classes : list of str
    """
    rows = table[table["arm"] == arm]
    classes = list(dict.fromkeys(rows["class"]))
    summed = rows.groupby(["class", "predicted"])["images"].sum()
    return np.array([[summed[name, other] for other in classes] for name in classes]), classes


def chosen_samples(tables: RunTables, stage: str) -> pandas.DataFrame:
    """Choose test images to show: equally many wrong and right ones, of every class in turn.

    Parameters
    ----------
    tables : RunTables
        Its experiment says how many.
    stage : str

    Returns
    -------
    DataFrame
        Rows of the stage's ``predictions.csv`` whose image is still there.
    """
    import pandas as pd
    import yaml

    settings = yaml.safe_load(tables.text("experiment.yaml") or "{}") or {}
    count = int((settings.get("report") or {}).get("samples", 20))
    table = tables.required(f"stages/{stage}/predictions.csv")
    table = table[[Path(image).is_file() for image in table["image"]]]
    table = table.assign(wrong=table["class"] != table["predicted"])
    table["turn"] = table.groupby(["wrong", "class"]).cumcount()
    ordered = table.sort_values(["turn", "class"], kind="stable")
    wrong = ordered[ordered["wrong"]].head(count // 2)
    return pd.concat([ordered[~ordered["wrong"]].head(count - len(wrong)), wrong])


def _panels(
    count: int, columns: int, width: float, height: float
) -> tuple[Figure, list[Axes]]:
    """Lay out ``count`` panels, each ``width`` by ``height`` inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    columns = min(columns, count)
    figure = Figure(figsize=(columns * width, rows * height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = [axes for line in figure.subplots(rows, columns, squeeze=False) for axes in line]
    for axes in panels[:count]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def _show_image(axes: Axes, image: np.ndarray) -> None:
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    shown = to_8_bits(image)
    axes.imshow(shown, cmap="gray" if shown.ndim == 2 else None, vmin=0, vmax=255)


def _png(figure: Figure) -> bytes:
    import io

    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
