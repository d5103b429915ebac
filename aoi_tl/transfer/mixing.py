"""Mixing datasets into one training: joint label space, repeated images, annotated classes.

The mix is a plain Ultralytics dataset. Plain Ultralytics trains on it without the masks.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.yolo.label_rows import format_labels
from aoi_tl.data.yolo.write import building_folder, place_images
from aoi_tl.errors import DataError, ExperimentError

#: The key of ``data.yaml`` that says which classes each folder of the mix annotates.
ANNOTATED = "annotated"


@dataclass(frozen=True, eq=False)
class Member:
    """One dataset of a mix.

    Parameters
    ----------
    dataset : Dataset
        Its train split takes part.
    times : int
        How often each of its images comes in an epoch.
    """

    dataset: Dataset
    times: int = 1


def target_times(n_target: int, n_source: int, share: float) -> int:
    """How often the target's images are repeated to make up a share of the mix.

    Parameters
    ----------
    n_target, n_source : int
        Training images; at least one of the target's.
    share : float
        The target's share of an epoch, above 0 and below 1.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ExperimentError
        If the share is out of range.

    Examples
    --------
    >>> target_times(10, 120, 0.5), target_times(10, 120, 0.25), target_times(500, 120, 0.5)
    (12, 4, 1)
    """
    if not 0 < share < 1:
        raise ExperimentError(
            f"expected a share of the target above 0 and below 1, got {share}; 0.5 makes it half "
            "of the images"
        )
    return max(1, round(share / (1 - share) * n_source / n_target))


def source_times(sizes: Sequence[int], evenness: float) -> list[int]:
    """How often each source's images are repeated, so that a large source does not dominate.

    Parameters
    ----------
    sizes : sequence of int
        Training images of each source.
    evenness : float
        0: each image comes once. 1: all sources come equally often. Between them a source of n
        images counts as ``n ** (1 - evenness)``.

    Returns
    -------
    list of int
        1 for the largest source.

    Raises
    ------
    ExperimentError
        If `evenness` is out of range.

    References
    ----------
    .. [1] Conneau, Lample. "Cross-lingual Language Model Pretraining." NeurIPS 2019: sampling
       with exponentially smoothed shares.

    Examples
    --------
    >>> source_times([1000, 100, 10], 0.0), source_times([1000, 100, 10], 0.5)
    ([1, 1, 1], [1, 3, 10])
    """
    if not 0 <= evenness <= 1:
        raise ExperimentError(f"expected union.evenness in 0..1, got {evenness}")
    largest = max(sizes)
    return [max(1, round((largest / size) ** evenness)) if size else 1 for size in sizes]


def write_mix(members: Sequence[Member], folder: Path) -> Path:
    """Write the train splits of several datasets as one dataset.

    Class ids are those of the joint label space: the names of the members in their order, each
    once. A member's *annotated* classes are all of its names; where the members' differ, the YAML
    lists them, and the training masks the others' classes (`aoi_tl.transfer.masking`).

    Parameters
    ----------
    members : sequence of Member
        Their names differ.
    folder : Path
        New; appears at once, complete.

    Returns
    -------
    Path
        The new ``data.yaml``. It has no val split of its own: ``train`` stands in.

    Raises
    ------
    DataError
        If no member has a training image, two classes cannot be distinguished, or nothing can be
        written.
    """
    import yaml

    names = joint_names([member.dataset for member in members])
    building = building_folder(folder)
    try:
        lines, annotated = [], {}
        for number, member in enumerate(members):
            samples = member.dataset.split("train").samples
            part = f"{number:02d}"
            ids = np.array([names.index(name) for name in member.dataset.names], dtype=np.int64)
            images, labels = building / "images" / part, building / "labels" / part
            labels.mkdir(parents=True)
            for sample, place in zip(
                samples, place_images(samples, images, False, set()), strict=True
            ):
                rows = format_labels(ids[sample.classes], sample.boxes)
                (labels / f"{place.stem}.txt").write_text(rows, encoding="utf-8")
                lines += [f"./images/{part}/{place.name}"] * member.times
            annotated[part] = sorted(ids.tolist())
        if not lines:
            raise DataError("expected training images to mix, got none; choose other sources")
        (building / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        content: dict[str, object] = {
            "train": "train.txt", "val": "train.txt", "names": dict(enumerate(names)),
        }
        if any(len(ids) < len(names) for ids in annotated.values()):
            content[ANNOTATED] = annotated
        (building / "data.yaml").write_text(
            yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8"
        )
        building.chmod(0o755)
        os.replace(building, folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return folder / "data.yaml"


def joint_names(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """Give the joint label space of datasets.

    Parameters
    ----------
    datasets : sequence of Dataset
        With aliases applied.

    Returns
    -------
    tuple of str
        Every class name once, in order of appearance.

    Raises
    ------
    DataError
        If two names differ only in case or blanks, so that it is unclear if they mean one class.
    """
    names = tuple(dict.fromkeys(name for dataset in datasets for name in dataset.names))
    folded: dict[str, str] = {}
    for name in names:
        key = name.strip().casefold()
        if key in folded:
            raise DataError(
                f"expected class names that can be distinguished, got {folded[key]!r} and "
                f"{name!r}; make them one with aliases, or rename one"
            )
        folded[key] = name
    return names


def optimiser_steps(n_images: int, epochs: int, batch: int, nominal_batch: int = 64) -> int:
    """How many steps the optimiser takes in a training of Ultralytics.

    Parameters
    ----------
    n_images : int
        Images in an epoch, repetitions counted.
    epochs, batch : int
        Of the training.
    nominal_batch : int
        Ultralytics' ``nbs``: gradients are gathered over so many images.

    Returns
    -------
    int
        The warm-up, in which Ultralytics steps more often, is not counted apart.

    Examples
    --------
    >>> optimiser_steps(10, 60, 8, 8), optimiser_steps(54, 60, 16, 64)
    (120, 60)
    """
    batches = math.ceil(n_images / batch) * epochs
    return max(1, batches // max(1, round(nominal_batch / batch)))
