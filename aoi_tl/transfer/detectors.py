"""Source detectors: given by the user, or trained once and kept for every target, arm and seed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import CheckpointError
from aoi_tl.files.cache_folder import cache_folder
from aoi_tl.files.run_folder import RunFolder, file_hash, write_atomically
from aoi_tl.transfer.detector import load_checkpoint
from aoi_tl.transfer.mixing import Member, write_mix
from aoi_tl.transfer.stage import Stage, train_stage
from aoi_tl.transfer.trackers import Tracked

#: Changed when older kept detectors must not be used any more.
_FORMAT = 1


@dataclass(frozen=True)
class SourceDetector:
    """A detector of one source or of several, given or defined by its training.

    Parameters
    ----------
    name : str
        Its name in tables: the source's name, or ``union``.
    data : tuple of (Path, int)
        The ``data.yaml`` of each source, and how often each of its images comes in an epoch.
    contents : tuple of str
        The fingerprint of each source's train split.
    start : Path
        The checkpoint that its training starts from.
    arguments : mapping
        Ultralytics' training arguments.
    seed : int
        Of the training.
    checkpoint : Path or None
        A detector that exists already; then nothing is trained.
    """

    name: str
    data: tuple[tuple[Path, int], ...]
    contents: tuple[str, ...]
    start: Path
    arguments: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    checkpoint: Path | None = None

    @property
    def key(self) -> str:
        """A hash of everything that its tensors depend on, as 32 hexadecimal digits."""
        from ultralytics import __version__

        start = file_hash(self.start) if self.start.is_file() else str(self.start)
        words = {
            "format": _FORMAT, "ultralytics": __version__, "start": start, "seed": self.seed,
            "data": [[content, times] for content, (_, times)
                     in zip(self.contents, self.data, strict=True)],
            "arguments": {k: v for k, v in sorted(self.arguments.items())
                          if k not in ("workers", "device")},
        }
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def folder(self) -> Path:
        """The folder where it is kept."""
        return cache_folder() / "detectors" / self.key

    @property
    def is_kept(self) -> bool:
        """Whether it is given, or was trained before."""
        return self.checkpoint is not None or (self.folder / "detector.json").is_file()


@dataclass(frozen=True)
class KeptDetector:
    """An available source detector.

    Attributes
    ----------
    checkpoint : Path
        Its weights, with the class names of its sources.
    seconds : float
        How long its training took; 0 where the user gave it.
    reused : bool
        Whether it existed before.
    """

    checkpoint: Path
    seconds: float
    reused: bool


def keep_detector(
    detector: SourceDetector, tracked: Tracked | None = None, verbose: bool = False
) -> KeptDetector:
    """Give a source's detector: the given one, the kept one, or train it and keep it.

    An interrupted training resumes from its last epoch. If two processes need the same
    detector, the second waits for the first.

    Parameters
    ----------
    detector : SourceDetector
        What is wanted.
    tracked : Tracked, optional
        What the user's own trackers of experiments call its training.
    verbose : bool
        Show Ultralytics' own lines.

    Returns
    -------
    KeptDetector

    Raises
    ------
    CheckpointError, DataError, RunError
        If the checkpoint, the data or the cache folder cannot be used.
    """
    if detector.checkpoint is not None:
        return KeptDetector(detector.checkpoint, 0.0, reused=True)
    folder = detector.folder
    best, described = folder / "best.pt", folder / "detector.json"
    with RunFolder(folder.parent).lock(f".{detector.key}.lock"):
        if described.is_file() and best.is_file():
            seconds = json.loads(described.read_text(encoding="utf-8"))["seconds"]
            return KeptDetector(best, seconds, reused=True)
        data = folder / "data" / "data.yaml"
        if not data.is_file():
            members = [Member(load_dataset(file), times) for file, times in detector.data]
            write_mix(members, data.parent)
        stage = Stage(
            detector.start, data, folder / "training", "all", seed=detector.seed,
            arguments=detector.arguments, tracked=tracked,
        )
        trained = train_stage(stage, resume=True, verbose=verbose)
        write_atomically(best, trained.best.read_bytes())
        write_atomically(folder / "ledger.csv", trained.ledger.read_bytes())
        write_atomically(described, json.dumps({
            "sources": [str(file) for file, _ in detector.data],
            "times": [times for _, times in detector.data],
            "contents": list(detector.contents),
            "start": str(detector.start), "seed": detector.seed,
            "arguments": dict(detector.arguments),
            "epochs": trained.epochs, "seconds": trained.seconds, "notes": list(trained.notes),
        }, indent=1, default=str) + "\n")
        for part in (folder / "training", folder / "data"):
            shutil.rmtree(part, ignore_errors=True)
    return KeptDetector(best, trained.seconds, reused=False)


def check_given(
    checkpoint: Path, dataset: Dataset, start: Path, aliases: Mapping[str, str]
) -> None:
    """Refuse a given detector that cannot stand for its dataset.

    Parameters
    ----------
    checkpoint : Path
        The detector.
    dataset : Dataset
        What it was trained on, aliases applied.
    start : Path
        The experiment's checkpoint.
    aliases : mapping of str to str
        Common class names, by the detector's own.

    Raises
    ------
    CheckpointError
        If it cannot be opened, is of another architecture than `start`, does not know a class of
        the dataset, or two of its classes become one.
    """
    model = load_checkpoint(checkpoint)
    own = [str(name) for name in model.names.values()]
    names = [aliases.get(name, name) for name in own]
    missing = [name for name in dataset.label_space if name not in names]
    if missing:
        raise CheckpointError(
            f"expected a detector of the classes of {dataset.name}, got {checkpoint} without "
            f"{', '.join(missing)} (it has {', '.join(names)}); name the dataset that it was "
            "trained on, or map the names with aliases"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise CheckpointError(
            f"expected classes that stay distinct under the aliases, got two of {checkpoint} that "
            f"become {twice!r}; leave out 'checkpoint', so that the source is trained again"
        )
    if not start.is_file():
        return
    ours, theirs = load_checkpoint(start).yaml, model.yaml
    parts = ("backbone", "head")
    if [ours.get(part) for part in parts] != [theirs.get(part) for part in parts]:
        raise CheckpointError(
            f"expected a detector of the same architecture as {start.name}, got {checkpoint} of "
            "another one; choose 'weights' of its architecture"
        )


def any_kept() -> bool:
    """Whether the cache folder holds a detector at all."""
    return next((cache_folder() / "detectors").glob("*/detector.json"), None) is not None


def find_kept(contents: Sequence[str], folder: Path | None = None) -> Path | None:
    """Find a kept detector by the data that it was trained on, with any settings.

    Parameters
    ----------
    contents : sequence of str
        The fingerprints of the train splits of its sources, in any order.
    folder : Path, optional
        Where detectors are kept; the cache's own folder unless given.

    Returns
    -------
    Path or None
        The checkpoint that was kept last; None where there is none.
    """
    folder = folder or cache_folder() / "detectors"
    found = []
    for described in folder.glob("*/detector.json"):
        try:
            known = json.loads(described.read_text(encoding="utf-8"))["contents"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another version's, or being written
        if sorted(known) == sorted(contents) and described.with_name("best.pt").is_file():
            found.append((described.stat().st_mtime_ns, described.with_name("best.pt")))
    return max(found)[1] if found else None
