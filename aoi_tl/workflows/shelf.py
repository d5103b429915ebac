"""A target and a shelf of sources: under common names, and none holds the target's test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.images import content_hash
from aoi_tl.data.labels import apply_aliases, check_aliases, load_aliases
from aoi_tl.data.yolo import load_dataset
from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.experiment import Experiment


def read_data(experiment: Experiment) -> tuple[Dataset, list[Dataset], list[str]]:
    """Load target and sources under common class names, none holding another's test images.

    Parameters
    ----------
    experiment : Experiment
        With absolute paths.

    Returns
    -------
    target : Dataset
    sources : list of Dataset
        Without the target's validation and test images where ``overlap: drop`` says so.
    notes : list of str
        What was left out or looks odd, one line each.

    Raises
    ------
    DataError, ExperimentError
        When a dataset cannot be read or used.
    """
    target, *sources = load_with_aliases(
        [experiment.target, *experiment.sources], experiment.aliases
    )
    names = [target.name, *(source.name for source in sources)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ExperimentError(
            f"{experiment.where('sources')}: expected datasets of different names, got {twice!r} "
            "twice; rename one's YAML or folder"
        )
    notes = [f"{dataset.name}: {note}" for dataset in (target, *sources) for note in dataset.notes]
    for split, why in (("train", "to train on"), ("test", "to weigh the arms on")):
        found = target.split(split)
        if not found.samples:
            raise DataError(
                f"{target.path}: expected a {split} split {why}, got none; add '{split}:' to it"
            )
        if not found.instances:
            raise DataError(
                f"{target.path}: expected boxes in the {split} split {why}, got "
                f"{len(found.samples)} images without any; label some"
            )
    kept = []
    for source in sources:
        apart, note = without_overlap(target, source, experiment)
        notes += [note] if note else []
        kept.append(apart)
    return target, kept, notes


def load_with_aliases(paths: Sequence[str | Path], aliases: str | Path | None) -> list[Dataset]:
    """Load datasets and bring their class names under common ones."""
    datasets = [load_dataset(path) for path in paths]
    if aliases is None:
        return datasets
    common = load_aliases(aliases)
    check_aliases(common, [name for dataset in datasets for name in dataset.names])
    return [apply_aliases(dataset, common) for dataset in datasets]


def without_overlap(
    target: Dataset, source: Dataset, experiment: Experiment
) -> tuple[Dataset, str | None]:
    """Keep the images that the target is validated and tested on out of a source.

    Parameters
    ----------
    target, source : Dataset
        Compared by the content of their image files.
    experiment : Experiment
        Whose ``overlap`` says whether to refuse, drop or keep the shared images.

    Returns
    -------
    source : Dataset
    note : str or None
        What was found.

    Raises
    ------
    DataError
        When images are shared and ``overlap`` is ``refuse``.
    """
    unseen = {content_hash(sample.image) for sample in target.split("val", "test").samples}
    kept = tuple(s for s in source.samples if content_hash(s.image) not in unseen)
    n_shared = len(source.samples) - len(kept)
    if not n_shared:
        return source, None
    what = f"{source.name}: {n_shared} of {len(source.samples)} images are also in the " \
           f"validation or test split of {target.name}"
    if experiment.overlap == "refuse":
        raise DataError(
            f"expected sources without the target's validation and test images, got {what}; "
            "set 'overlap: drop' to leave them out (or 'keep', and trust no result)"
        )
    if experiment.overlap == "keep":
        return source, f"{what}, and were kept: no result of a source arm can be trusted"
    return replace(source, samples=kept), f"{what}, and were left out"
