"""Section "How alike do they look?": colours and their flow, box sizes, a map of images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.report.charts import PALETTE, Chart, canvas, chart, legend
from aoi_tl.report.pictures import embed
from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.section import Section
from aoi_tl.report.wording import picked_names

if TYPE_CHECKING:
    import pandas

#: Sources whose colours are shown beside the target's.
_FLOWS = 8
#: Datasets in one plot of boxes and in one map; more colours cannot be distinguished.
_GROUPS = 4
#: Pixels of the longer side of a thumbnail of the map.
_THUMBNAIL = 72
#: Where a logarithmic axis is labelled.
_TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_MARKS = ("circle", "square", "triangle", "diamond")


def build(tables: RunTables) -> Section | None:
    """Show signatures with their optimal flow, box sizes and the map of images.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section or None
        None where the run kept no pictures, as one made by an earlier version.
    """
    signatures = tables.table("appearance/signatures.csv")
    if signatures is None:
        return None
    scores = tables.scores
    names = list(dict.fromkeys(signatures["dataset"].astype(str)))
    if scores is None:
        return Section("likeness", "How alike do they look?", {
            "target": None, "flows": [], "charts": [], "map": None,
            "colours": [(name, _colours(signatures, name)) for name in names[:60]],
        })
    target = str(scores["target"])
    ranked = [row["name"] for row in scores["sources"] if row["name"] in names]
    shown = list(dict.fromkeys([*(n for n in picked_names(scores) if n in names), *ranked]))
    groups = [target, *shown[: _GROUPS - 1]]
    return Section("likeness", "How alike do they look?", {
        "target": target, "colours": [],
        "flows": [_flow(tables, signatures, name, target, scores) for name in shown[:_FLOWS]],
        "charts": [found for found in [_boxes(tables, groups)] if found],
        "map": _map(tables, groups),
    })


def _colours(signatures: pandas.DataFrame, name: str) -> list[dict[str, Any]]:
    """Give the swatches of a dataset: their place in percent, and their colour."""
    rows = signatures[signatures["dataset"].astype(str) == name]
    swatches, left = [], 0.0
    for row in rows.to_dict("records"):
        rgb = tuple(round(min(max(row[c], 0), 255)) for c in ("red", "green", "blue"))
        swatches.append({
            "cluster": int(row["cluster"]), "left": left, "width": 100 * row["weight"],
            "css": "rgb({},{},{})".format(*rgb),
            "title": f"{100 * row['weight']:.0f} % of the pixels, RGB {rgb[0]}, {rgb[1]}, {rgb[2]}",
        })
        left += 100 * row["weight"]
    return swatches


def _flow(
    tables: RunTables, signatures: pandas.DataFrame, source: str, target: str,
    scores: dict[str, Any],
) -> dict[str, Any]:
    """Lay out the ribbons between the swatches of a source, above, and of the target, below."""
    above, below = _colours(signatures, source), _colours(signatures, target)
    start = {c["cluster"]: c["left"] for c in above}
    end = {c["cluster"]: c["left"] for c in below}
    css = {c["cluster"]: c["css"] for c in above}
    ribbons, flows = [], tables.table("appearance/flows.csv")
    if flows is not None:
        mine = flows[flows["source"].astype(str) == source]
        for row in mine.sort_values(["cluster", "target_cluster"]).to_dict("records"):
            a, b = int(row["cluster"]), int(row["target_cluster"])
            width = 100 * float(row["amount"])
            if width < 0.05 or a not in start or b not in end:
                continue
            ribbons.append({
                "css": css[a], "points": (start[a], start[a] + width, end[b] + width, end[b]),
                "title": f"{width:.0f} % of the pixels travel {row['distance']:.0f}",
            })
            start[a] += width
            end[b] += width
    emd = next((row["emd"] for row in scores["sources"] if row["name"] == source), None)
    return {"source": source, "above": above, "below": below, "ribbons": ribbons, "emd": emd}


def _boxes(tables: RunTables, groups: list[str]) -> Chart | None:
    """Draw size and aspect ratio of boxes: a mark a box."""
    boxes = tables.table("appearance/boxes.csv")
    if boxes is None or boxes.empty:
        return None
    boxes = boxes[boxes["dataset"].astype(str).isin(groups)]
    with canvas(4.8, 3.6) as (figure, axes):
        for place, name in enumerate(groups):
            rows = boxes[boxes["dataset"].astype(str) == name].head(250)
            axes.plot(100 * rows["size"], rows["aspect"], "os^D"[place], markersize=4.6,
                      alpha=0.6, color=PALETTE[place], markeredgewidth=0, label=name)
        axes.set(xlabel="size: square root of the box's area, % of the image", xscale="log",
                 yscale="log", ylabel="aspect ratio: width ÷ height")
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            axis.set_ticks([tick for tick in _TICKS if low <= tick <= high])
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(lambda value, _: "")
        legend(axes, 2)
        return chart(figure, "boxes", "Size and aspect ratio of the boxes of "
                     + ", ".join(groups), boxes.round(5))


def _map(tables: RunTables, groups: list[str]) -> dict[str, Any] | None:
    """Lay out the map of images: a mark an image, near where they look alike."""
    images = tables.table("appearance/images.csv")
    if images is None or "map_x" not in images:
        return None
    images = images[images["dataset"].astype(str).isin(groups) & images["map_x"].notna()]
    if len(images) < 3:
        return None
    places = images[["map_x", "map_y"]].to_numpy(float)
    low, span = places.min(axis=0), np.maximum(np.ptp(places, axis=0), 1e-9)
    places = 12 + (places - low) / span * np.array([576.0, 376.0])
    points = []
    for (x, y), row in zip(places, images.to_dict("records"), strict=True):
        thumbnail = embed(tables.path / "appearance" / f"{row['picture']}.webp", _THUMBNAIL,
                          quality=45)
        if thumbnail is None or not math.isfinite(x + y):
            continue
        place = groups.index(str(row["dataset"]))
        points.append({
            "x": round(float(x), 1), "y": round(float(y), 1), "group": place,
            "name": f"{row['dataset']}: {row['image']}", "src": thumbnail.src,
        })
    return {
        "points": points,
        "groups": [{"name": name, "mark": _MARKS[place], "colour": f"--{colour}"}
                   for place, (name, colour) in enumerate(zip(
                       groups, ("blue", "vermilion", "green", "pink"), strict=False))],
    }
