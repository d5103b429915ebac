"""Progress: how a workflow reports what it is doing, and which trainings are running."""

from __future__ import annotations

import csv
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and of how many."""

#: The folder of a run in which workers note what they train, while somebody watches.
NOTED = ".running"
#: Seconds between two looks.
PAUSE = 0.5


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Training:
    """A training that is running.

    Attributes
    ----------
    name : str
        ``<experiment>/<arm>/<seed>/<stage>``.
    epoch, epochs : int
        How many are done, and how many are asked for.
    best : float or None
        The highest mAP50 on the validation split so far; None where nothing is validated.
    left : float or None
        Seconds that it will still take at its pace; None before its first epoch is seen to end.
    """

    name: str
    epoch: int
    epochs: int
    best: float | None
    left: float | None


@runtime_checkable
class View(Protocol):
    """A progress callback that also shows single trainings."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show a step."""

    def trainings(self, running: Sequence[Training]) -> None:
        """Show all trainings that are running."""

    def reused(self, what: str) -> None:
        """Show what need not be trained."""


@contextmanager
def noted(run: Path, name: str, folder: Path, epochs: int) -> Iterator[None]:
    """Note that a training is running, for whoever watches the run from another process.

    Parameters
    ----------
    run : Path
        The run folder; nothing is written where nobody watches it.
    name : str
        Of the training.
    folder : Path
        Where it writes Ultralytics' ``results.csv``.
    epochs : int
        How many it was asked for.
    """
    note = {"name": name, "folder": str(folder), "epochs": epochs}
    with suppress(FileNotFoundError):
        _file(run, name).write_text(json.dumps(note))
    try:
        yield
    finally:  # whoever watches looks once more, then removes it
        epoch, best = read_results(folder / "results.csv")
        with suppress(FileNotFoundError):
            _file(run, name).write_text(json.dumps({**note, "ended": [epoch, best]}))


def note_reused(run: Path, what: str) -> None:
    """Note that something is reused instead of trained, where somebody watches the run."""
    with suppress(FileNotFoundError):
        _file(run, what).write_text(json.dumps({"reused": what}))


def _file(run: Path, name: str) -> Path:
    return run / NOTED / f"{name.replace('/', '+')}.json"


@contextmanager
def watched(runs: Sequence[Path], progress: Progress) -> Iterator[None]:
    """Show the trainings of some runs meanwhile, where the callback is a `View`.

    Parameters
    ----------
    runs : sequence of Path
        The run folders.
    progress : callable
        A plain callback is left alone.
    """
    if not isinstance(progress, View):
        yield
        return
    for run in runs:
        shutil.rmtree(run / NOTED, ignore_errors=True)
        (run / NOTED).mkdir()
    ended, watch = threading.Event(), _Watch(runs, progress)

    def look() -> None:
        while not ended.wait(PAUSE):
            watch.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        watch.look()
        watch.look()  # without those that the look before saw to have ended
        for run in runs:
            shutil.rmtree(run / NOTED, ignore_errors=True)


class _Watch:
    """Looks at what the workers note, and at the files that their trainings write."""

    def __init__(self, runs: Sequence[Path], view: View) -> None:
        self.runs, self.view = runs, view
        self.first: dict[str, tuple[float, int]] = {}  # when it was seen first, at which epoch
        self.reused: set[str] = set()

    def look(self) -> None:
        running = []
        for file in sorted(file for run in self.runs for file in (run / NOTED).glob("*.json")):
            try:
                note = json.loads(file.read_text())
            except (OSError, ValueError):
                continue  # it is being written, or has just ended
            if "reused" in note:
                if note["reused"] not in self.reused:
                    self.reused.add(note["reused"])
                    self.view.reused(note["reused"])
            else:
                running.append(self._training(note))
                if "ended" in note:
                    file.unlink()
        self.view.trainings(running)

    def _training(self, note: dict[str, Any]) -> Training:
        name, epochs = note["name"], note["epochs"]
        # A source's detector is moved when it has been trained: its end is told in the note.
        epoch, best = note.get("ended") or read_results(Path(note["folder"]) / "results.csv")
        now = time.monotonic()
        began, before = self.first.setdefault(name, (now, epoch))
        left = (now - began) / (epoch - before) * (epochs - epoch) if epoch > before else None
        return Training(name, epoch, epochs, best, left)


def read_results(file: Path) -> tuple[int, float | None]:
    """Read how far a training has come from what Ultralytics writes.

    Parameters
    ----------
    file : Path
        ``results.csv``.

    Returns
    -------
    tuple of int and float or None
        Epochs, and the highest mAP50; 0 and None where there is no file yet, and no mAP50 where
        nothing was validated.

    Examples
    --------
    >>> read_results(Path("nothing/results.csv"))
    (0, None)
    """
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except OSError:
        return 0, None
    found = []
    for row in rows:
        with suppress(TypeError, ValueError, KeyError):
            if float(row["val/box_loss"]):  # without validation Ultralytics writes 0
                found.append(float(row["metrics/mAP50(B)"]))
    return len(rows), max(found, default=None)
