"""What a command shows while it runs: a live view in a terminal, else plain lines, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from aoi_tl.workflows.progress import Progress, Training, silent

if TYPE_CHECKING:
    from rich.console import Console

#: Plain lines about one thing come this many seconds apart.
EVERY = 30.0


@contextmanager
def open_view(quiet: bool = False) -> Iterator[Progress]:
    """Open the view that fits: live on standard error where that is a terminal, else plain lines.

    The lines go to standard output, before the result: standard error is left to notes and to the
    one line of an error.

    Parameters
    ----------
    quiet : bool
        Show nothing.

    Yields
    ------
    callable
        The progress callback.
    """
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        from rich.console import Console

        with LiveView(Console(stderr=True)) as view:
            yield view
    else:
        yield PlainLines(sys.stdout)


class LiveView:
    """One live view in a terminal: a bar for the step, and one for each running training.

    Parameters
    ----------
    console : rich.console.Console
        Where it is drawn; it is gone in the end.
    clock : callable
        Seconds, as `time.monotonic` gives them.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"), TextColumn("{task.fields[best]}"),
            TextColumn("{task.fields[left]}"), console=console, transient=True,
        )
        self._pace = _Pace(clock)
        self._step = self._bars.add_task("reading", total=None, count="", best="", left="")
        self._shown: dict[str, int] = {}

    def __enter__(self) -> LiveView:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show a step."""
        self._bars.update(
            self._step, description=what, completed=done, total=total or None,
            count=f"{done}/{total}" if total else "", left=_left(self._pace(what, done, total)),
        )

    def trainings(self, running: Sequence[Training]) -> None:
        """Show all trainings that are running."""
        for name in self._shown.keys() - {training.name for training in running}:
            self._bars.remove_task(self._shown.pop(name))  # type: ignore[arg-type]
        for training in running:
            if training.name not in self._shown:
                self._shown[training.name] = self._bars.add_task(
                    training.name, count="", best="", left=""
                )
            self._bars.update(
                self._shown[training.name],  # type: ignore[arg-type]
                completed=training.epoch, total=training.epochs or None,
                count=f"epoch {training.epoch}/{training.epochs}", best=_best(training),
                left=_left(training.left),
            )

    def reused(self, what: str) -> None:
        """Show what need not be trained, in a line that stays."""
        self._bars.console.print(f"reused: {what}", markup=False, highlight=False)


class PlainLines:
    """The same as lines, for a log: a training's beginning and end, and now and then its state.

    Parameters
    ----------
    stream : file
        Where the lines go.
    clock : callable
        Seconds, as `time.monotonic` gives them.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._pace = _Pace(clock)
        self._said = {"": clock()}
        self._last: dict[str, Training] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say how far a step has come: each training that has ended, else from time to time."""
        left = self._pace(what, done, total)
        if what == "training" or self._is_time(""):
            self._say(what, f"{done} of {total} done" if total else "", _left(left))

    def trainings(self, running: Sequence[Training]) -> None:
        """Say which trainings begin and end, and from time to time how far they have come."""
        now = {training.name: training for training in running}
        for name in [name for name in self._last if name not in now]:
            ended = self._last.pop(name)
            del self._said[name]
            self._say(name, "ended", _best(ended))
        for name, training in now.items():
            if name not in self._last:
                self._said[name] = self._clock()
                self._say(name, f"{training.epochs} epochs")
            elif training != self._last[name] and self._is_time(name):
                self._say(name, f"epoch {training.epoch}/{training.epochs}", _best(training),
                          _left(training.left))
            self._last[name] = training

    def reused(self, what: str) -> None:
        """Say what need not be trained."""
        self._say("reused", what)

    def _is_time(self, about: str) -> bool:
        if self._clock() - self._said[about] < EVERY:
            return False
        self._said[about] = self._clock()
        return True

    def _say(self, about: str, *words: str) -> None:
        told = ", ".join(word for word in words if word)
        print(f"{about}: {told}" if told else about, file=self._stream, flush=True)


class _Pace:
    """Says how long a step will still take, from when it began and how far it has come."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._what = ""
        self._began, self._before = 0.0, 0

    def __call__(self, what: str, done: int, total: int) -> float | None:
        if what != self._what:
            self._what, self._began, self._before = what, self._clock(), done
        if done <= self._before or not total:
            return None
        return (self._clock() - self._began) / (done - self._before) * (total - done)


def _best(training: Training) -> str:
    return "" if training.best is None else f"best mAP50 {training.best:.3f}"


def _left(seconds: float | None) -> str:
    """Give a time in words.

    Examples
    --------
    >>> _left(7.2), _left(200), _left(7300), _left(None)
    ('7 s left', '3 min left', '2 h 2 min left', '')
    """
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s left"
    return f"{minutes} min left" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min left"
