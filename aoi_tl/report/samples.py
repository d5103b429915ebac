"""The sample pictures of a dataset, kept by a run under ``appearance/``, with their boxes."""

from __future__ import annotations

from aoi_tl.report.pictures import Box, Picture, embed
from aoi_tl.report.run_tables import RunTables


def sample_pictures(tables: RunTables, dataset: str, side: int) -> list[Picture]:
    """Embed the sample images of a dataset.

    Parameters
    ----------
    tables : RunTables
    dataset : str
    side : int
        Pixels of the longer side, at most.

    Returns
    -------
    list of Picture
        Empty where the run kept none, as one made by an earlier version.
    """
    images = tables.table("appearance/images.csv")
    if images is None:
        return []
    shown = images[(images["dataset"].astype(str) == dataset) & (images["sample"] == 1)]
    boxes = boxes_of(tables)
    found = (
        embed(tables.path / "appearance" / f"{picture}.webp", side, boxes.get(picture, ()), image)
        for picture, image in zip(shown["picture"], shown["image"].astype(str), strict=True)
    )
    return [picture for picture in found if picture]


def boxes_of(tables: RunTables) -> dict[str, list[Box]]:
    """Read the boxes of all kept pictures, by the picture's name."""
    labels = tables.table("appearance/labels.csv")
    boxes: dict[str, list[Box]] = {}
    if labels is not None:
        for row in labels.to_dict("records"):
            x, y, width, height = (100 * float(row[n]) for n in ("x", "y", "width", "height"))
            boxes.setdefault(str(row["picture"]), []).append(Box(
                x - width / 2, y - height / 2, width, height, str(row["class"]),
            ))
    return boxes
