"""Reading a target and its shelf of sources: common class names, no overlap with test images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from aoi_tl.caches.dataset_cache import read_summaries
from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.data.dataset import Dataset
from aoi_tl.data.dataset_names import distinct_names
from aoi_tl.data.images import content_hash
from aoi_tl.data.labels import apply_aliases, check_aliases, load_aliases
from aoi_tl.data.summary import Summary
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.duplicates.pairs import CERTAIN
from aoi_tl.errors import DataError, ExperimentError, RunError
from aoi_tl.experiment.detection import Experiment
from aoi_tl.files.cache_folder import cache_folder
from aoi_tl.files.run_folder import folder_name, write_atomically
from aoi_tl.workflows.check import unseen_images_in
from aoi_tl.workflows.progress import Progress, silent

_FORMAT = "2"  # raised when the similarity changes its meaning


def read_data(
    experiment: Experiment, progress: Progress = silent
) -> tuple[Dataset, list[Dataset], list[str]]:
    """Load target and sources under common class names, none holding another's test images.

    Parameters
    ----------
    experiment : Experiment
        With absolute paths.
    progress : callable
        Called with ``(what, done, total)`` during the work.

    Returns
    -------
    target : Dataset
    sources : list of Dataset
        Without the target's validation and test images where ``overlap: drop`` says so.
    notes : list of str
        Notes on omitted or unusual data, one line each.

    Raises
    ------
    DataError, ExperimentError
        When a dataset cannot be read or used.
    """
    target, *sources = load_with_aliases(
        [experiment.target, *experiment.source_files], experiment.aliases,
        [None, *experiment.source_names], experiment.faulty == "skip", experiment.depth,
    )
    names = [target.name, *(source.name for source in sources)]
    folders = [folder_name(name) for name in names]
    twice = next((name for name, folder in zip(names, folders, strict=True)
                  if folders.count(folder) > 1), None)
    if twice:
        raise ExperimentError(
            f"{experiment.where('sources')}: expected datasets of different names, got {twice!r} "
            "twice; give a source another one, such as {data: ..., name: line-2}"
        )
    notes = [f"{dataset.name}: {note}" for dataset in (target, *sources) for note in dataset.notes]
    for split, why in (("train", "to train on"), ("test", "to evaluate the arms on")):
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
    kept, excluded = without_overlap(target, sources, experiment, progress)
    return target, kept, [*notes, *excluded]


def load_with_aliases(
    paths: Sequence[str | Path], aliases: str | Path | None, names: Sequence[str | None] = (),
    skip_faulty: bool = False, depth: int | None = None,
) -> list[Dataset]:
    """Load datasets, give them distinct names, and map their class names to common ones."""
    datasets = [
        replace(load_dataset(path, skip_faulty=skip_faulty, depth=depth), name=name)
        for path, name in zip(paths, distinct_names([Path(p) for p in paths], names), strict=True)
    ]
    if aliases is None:
        return datasets
    common = load_aliases(aliases)
    check_aliases(common, [name for dataset in datasets for name in dataset.names])
    return [apply_aliases(dataset, common) for dataset in datasets]


def sum_up_with_aliases(
    paths: Sequence[str | Path], aliases: str | Path | None, cache: SignatureCache,
    depth: int | None = None,
) -> list[Summary]:
    """Summarise datasets as `load_with_aliases` loads them; unchanged ones come from the cache."""
    common = {} if aliases is None else load_aliases(aliases)
    found = read_summaries(paths, common, cache, depth=depth)
    names = distinct_names([Path(path) for path in paths])
    return [replace(one, name=name) for one, name in zip(found, names, strict=True)]


def without_overlap(
    target: Dataset, sources: Sequence[Dataset], experiment: Experiment, progress: Progress = silent
) -> tuple[list[Dataset], list[str]]:
    """Exclude the target's validation and test images from its sources.

    Parameters
    ----------
    target : Dataset
    sources : sequence of Dataset
        Compared by content and by pixels: another exposure, size or encoding of a test image, or a
        crop of it, counts as well as an equal file.
    experiment : Experiment
        Whose ``overlap`` says whether to refuse, drop or keep the shared images.
    progress : callable
        Called with ``(what, done, total)`` during the work.

    Returns
    -------
    sources : list of Dataset
    notes : list of str
        What was found. Images that are only somewhat similar are kept and reported.

    Raises
    ------
    DataError
        When images are certainly shared and ``overlap`` is ``refuse``.
    """
    kept, notes = [], []
    for source, likeness in zip(sources, _shared(target, sources, progress), strict=True):
        hashes = [content_hash(sample.image) for sample in source.samples]
        sure = [likeness.get(content, 0.0) >= CERTAIN for content in hashes]
        doubtful = sum(content in likeness for content in hashes) - sum(sure)
        equal = sum(likeness.get(content, 0.0) > 1 for content in hashes)
        seen = f"the validation or test split of {target.name}"
        of = f"of {len(hashes)} images"
        if doubtful:
            notes.append(
                f"{source.name}: {doubtful} {of} may show a part that is also in {seen}, and were "
                "kept; 'aoi-tl check' names them"
            )
        what = f"{source.name}: {sum(sure)} {of} are also in {seen} ({equal} as equal files, " \
               f"{sum(sure) - equal} in another exposure, encoding or crop)"
        if any(sure) and experiment.overlap == "refuse":
            raise DataError(
                f"expected sources without the target's validation and test images, got {what}; "
                "set 'overlap: drop' to leave them out (or 'keep', and trust no result)"
            )
        if any(sure) and experiment.overlap == "keep":
            notes.append(f"{what}, and were kept: no result of a source arm can be trusted")
        elif any(sure):
            notes.append(f"{what}, and were left out")
            source = replace(source, samples=tuple(
                sample for sample, shared in zip(source.samples, sure, strict=True) if not shared
            ))
        kept.append(source)
    return kept, notes


def _shared(
    target: Dataset, sources: Sequence[Dataset], progress: Progress
) -> list[dict[str, float]]:
    """For each source, the similarity of its images to unseen ones, by the hash of their content.

    What was once found is looked up, for as long as the images and their labels are the same.
    """
    unseen = target.split("val", "test")
    files = []
    for source in sources:
        words = "\n".join([_FORMAT, unseen.fingerprint(), source.fingerprint()])
        key = hashlib.sha256(words.encode()).hexdigest()
        files.append(cache_folder() / "overlaps" / f"{key}.json")
    known = [_looked_up(file) for file in files]
    fresh = [source for source, found in zip(sources, known, strict=True) if found is None]
    if unseen.samples and fresh:
        searched = iter(unseen_images_in(target, fresh, progress=progress))
        for number, file in enumerate(files):
            if known[number] is None:
                known[number] = {
                    content_hash(image): likeness for image, _, likeness in next(searched)
                }
                with suppress(RunError):  # a folder that cannot be written costs time, no more
                    write_atomically(file, json.dumps(known[number]))
    return [found or {} for found in known]


def _looked_up(file: Path) -> dict[str, float] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(content): float(likeness) for content, likeness in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
