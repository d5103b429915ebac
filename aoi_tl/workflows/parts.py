"""Grouping labelled images that show the same part, so that no split separates them."""

from __future__ import annotations

from pathlib import Path

from aoi_tl.data.dataset import Dataset
from aoi_tl.duplicates.pairs import find_duplicates
from aoi_tl.duplicates.parts import Defects
from aoi_tl.files.untrusted import real_path
from aoi_tl.workflows.progress import Progress, silent


def parts_of(
    dataset: Dataset, workers: int = 2, progress: Progress = silent
) -> dict[Path, str]:
    """Find the part that each training image of a dataset shows.

    Parameters
    ----------
    dataset : Dataset
        Copies, other exposures and overlapping crops of its train split show one part.
    workers : int
        Threads that read images.
    progress : callable
        Progress callback, called with ``(what, done, total)``.

    Returns
    -------
    dict of Path to str
        The part's number by image.
    """
    samples = dataset.split("train").samples
    found = find_duplicates(
        [real_path(sample.image) for sample in samples], workers,
        lambda done, total: progress("looking for copies", done, total),
        defects=[Defects(sample.classes, sample.boxes) for sample in samples],
        depths=[sample.depth for sample in samples],
    )
    return {
        sample.image: str(part) for sample, part in zip(samples, found.groups, strict=True)
    }
