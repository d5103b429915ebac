"""What a command shows while it runs: in a terminal, in a log, and with --quiet."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from aoi_tl.live import LiveView, PlainLines, open_view
from aoi_tl.workflows.progress import (
    NOTED,
    Training,
    View,
    note_reused,
    noted,
    read_results,
    silent,
    watched,
)
from tests.drawn import draw_dataset
from tests.tiny_detector import tiny_detector

AT_12 = Training("dc-1/auto/0/target", 12, 50, 0.4123, 190.0)
UNSEEN = Training("dc-1/auto/0/source", 0, 50, None, None)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


# ---------------------------------------------------------------------------------- in a terminal


def drawn(view: LiveView, console: Console) -> str:
    """What is on the screen now."""
    with console.capture() as captured:
        console.print(view._bars.get_renderable())
    return captured.get()


def test_the_live_view_shows_stage_epoch_time_left_and_the_best_map() -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), force_terminal=True, width=110, color_system=None)
    view = LiveView(console, clock)
    view("training", 0, 4)
    clock.now = 60.0
    view("training", 1, 4)
    view.trainings([AT_12, UNSEEN])
    shown = drawn(view, console)
    [overall, first, second] = shown.rstrip().splitlines()
    assert "training" in overall
    assert "1/4" in overall
    assert "3 min left" in overall
    for word in ("dc-1/auto/0/target", "epoch 12/50", "best mAP50 0.412", "3 min left"):
        assert word in first
    assert "dc-1/auto/0/source" in second
    assert "epoch 0/50" in second
    assert "mAP50" not in second
    view.trainings([])
    assert "dc-1" not in drawn(view, console)


def test_what_is_reused_stays_above_the_live_view_and_is_no_markup() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=110, record=True)
    with LiveView(console) as view:
        view.reused("[red]dc-1/auto/0/source[/red], the kept detector of union")
        view("[bold]reading labels[/bold]", 1, 2)
        assert "[bold]reading" in drawn(view, console)
    assert "reused: [red]dc-1/auto/0/source[/red], the kept" in console.export_text()


# ---------------------------------------------------------------------------------------- in a log


def test_plain_lines_tell_of_beginnings_ends_and_now_and_then_of_the_state() -> None:
    clock, log = Clock(), io.StringIO()
    lines = PlainLines(log, clock)
    lines("reading labels", 1, 9)  # too early to be worth a line
    lines("training", 0, 2)
    lines.trainings([UNSEEN])
    clock.now = 29.0
    lines.trainings([Training(UNSEEN.name, 1, 50, 0.1, 1421.0)])  # the last line is too fresh
    clock.now = 31.0
    lines.trainings([Training(UNSEEN.name, 2, 50, 0.25, 720.0)])
    lines.trainings([Training(UNSEEN.name, 2, 50, 0.25, 720.0)])
    lines.reused("dc-1/auto/0/target, trained before")
    lines.trainings([])
    lines("training", 1, 2)
    lines("signatures", 5, 10)
    assert log.getvalue().splitlines() == [
        "training: 0 of 2 done",
        "dc-1/auto/0/source: 50 epochs",
        "dc-1/auto/0/source: epoch 2/50, best mAP50 0.250, 12 min left",
        "reused: dc-1/auto/0/target, trained before",
        "dc-1/auto/0/source: ended, best mAP50 0.250",
        "training: 1 of 2 done, 31 s left",
        "signatures: 5 of 10 done",
    ]


def test_the_view_fits_where_standard_error_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_view(quiet=True) as view:
        assert view is silent
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with open_view() as view:
        assert isinstance(view, PlainLines)
        assert view._stream is sys.stdout
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with open_view() as view:
        assert isinstance(view, LiveView)


# ---------------------------------------------------------------------- from worker to the command


class Heard:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.running: list[Training] = []
        self.said: list[str] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        pass

    def trainings(self, running: list[Training]) -> None:
        self.running += running

    def reused(self, what: str) -> None:
        self.said.append(what)


def test_a_watched_run_tells_what_is_trained_and_what_is_reused(tmp_path: Path) -> None:
    heard = Heard()
    assert isinstance(heard, View)
    results = tmp_path / "stage/results.csv"
    results.parent.mkdir()
    results.write_text("epoch,metrics/mAP50(B),val/box_loss\n1,0.2,1\n2,0.6,1\n3,0,1\n")
    with watched([tmp_path], heard):
        note_reused(tmp_path, "a/b/0/source, trained before")
        with noted(tmp_path, "a/b/0/target", results.parent, 9):
            (tmp_path / NOTED / "torn.json").write_text("{")
        # However short it was, the watcher sees it once.
    assert heard.running[-1] == Training("a/b/0/target", 3, 9, 0.6, None)
    assert heard.said == ["a/b/0/source, trained before"]
    assert not (tmp_path / NOTED).exists()


def test_nothing_is_written_where_nobody_watches(tmp_path: Path) -> None:
    with watched([tmp_path], silent), noted(tmp_path, "a/b/0/target", tmp_path, 9):
        note_reused(tmp_path, "c")
    assert not list(tmp_path.iterdir())


def test_without_validation_there_is_no_best(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("epoch,metrics/mAP50(B),val/box_loss\n1,0,0\n2,0,0\n3")
    assert read_results(tmp_path / "results.csv") == (3, None)


# --------------------------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("live")
    for number, name in enumerate(("new", "old")):
        draw_dataset(place / name, {"dent": 2, "stain": 3}, seed=number)
    tiny_detector(place / "tiny.pt", ["dent", "stain"])
    (place / "parts.yaml").write_text(yaml.safe_dump({
        "target": "new/data.yaml", "sources": "old/data.yaml", "weights": "tiny.pt",
        "arms": ["method-all"], "seeds": [0], "score": {"n_clusters": 3},
        "train": {"epochs": 2, "batch": 4, "imgsz": 64, "nbs": 4, "workers": 0},
    }))
    return place


COMMAND = [sys.executable, "-c", "from aoi_tl.cli import main; main()", "run", "parts.yaml"]


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "AOI_TL_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "120"}


@pytest.mark.slow
def test_a_run_in_a_terminal_then_in_a_log_then_quiet(place: Path) -> None:
    """One after another: the second and third find everything trained."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, "--out", "run"], cwd=place, env=environment(place),
                               stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    result = process.communicate()[0].decode()
    assert process.returncode == 0, shown.decode()
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"parts/method-all/0/target\s.*epoch 2/2\s+best mAP50 0\.\d+", screen)
    assert "1/1" in screen
    assert "report.html" in result
    assert "epoch" not in result
    assert not (place / "run" / NOTED).exists()

    for words, expected in (([], "reused: 1 of 1 arms with one seed, evaluated before\n"),
                            (["--quiet"], "")):
        again = subprocess.run([*COMMAND, "--out", "run", "--resume", *words], cwd=place,
                               env=environment(place), capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        assert again.stderr == ""
        first, _, result = again.stdout.partition("\n\n")
        assert first.startswith(expected)
        assert ("training: 1 of 1 done" in first) == bool(expected)
        assert "report.html" in result


def test_every_command_that_shows_progress_has_quiet() -> None:
    import inspect

    from aoi_tl import cli
    from tests.working_folder import COMMAND as GROUP

    for name, command in GROUP.commands.items():  # type: ignore[attr-defined]
        source = inspect.getsource(getattr(cli, command.callback.__name__))
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("open_view(quiet" in source) == ("--quiet" in options), name
