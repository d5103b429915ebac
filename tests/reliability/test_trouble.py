"""A full disk, a folder without rights, files that vanish, two runs at once: one line each."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aoi_tl.files.run_folder import UNFINISHED
from tests.reliability.conftest import (
    Unbroken,
    World,
    assert_ends_the_same,
    assert_nothing_is_torn,
    last_line,
    mounted,
)
from tests.reliability.lives import REPOSITORY, Trap

pytestmark = pytest.mark.slow

SOURCE, STOCK = r"stages/method-all-s0-source/", r"stages/stock-s0-target/"


def finish(world: World, out: Path, unbroken: Unbroken) -> None:
    """Go on with a run after the trouble is over."""
    ended = world.begin(out).end()
    assert ended.status == 0, ended.err
    assert ended.err == ""
    assert_ends_the_same(out, unbroken)


def test_killed_between_the_last_file_and_its_marker(
    world: World, unbroken: Unbroken, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for at in (
        STOCK + rf"weights/{UNFINISHED}best", STOCK + rf"{UNFINISHED}done", STOCK + r"done$",
        STOCK + r"test\.json$", r"^arms\.csv$", rf"^{UNFINISHED}done", r"^done$",
    ):
        life = world.begin(out, Trap(out, at=at))
        assert life.end().status == -signal.SIGKILL, at
        assert re.search(at, life.events()[-1].split(" ", 1)[1])
        assert_nothing_is_torn(out)
        assert not (out / "done").exists()
    assert list(out.rglob(f"{UNFINISHED}*")), "the kills were to leave something"
    finish(world, out, unbroken)


@pytest.mark.parametrize(
    ("do", "words"), [("full", "No space left on device"), ("limit", "File too large")]
)
def test_no_room_is_one_line(
    world: World, unbroken: Unbroken, tmp_path: Path, do: str, words: str
) -> None:
    """The same run meets it again and again, each time further on."""
    out = tmp_path / "run"
    for at, size in (
        (r"fingerprint", 10), (r"scores\.json", 100), (r"^data/.*data\.yaml", 40),
        (r"^samples/", 100), (STOCK + rf"{UNFINISHED}ledger", 100), (STOCK + "results", 10),
        (STOCK + rf"weights/{UNFINISHED}state", 20_000), (STOCK + rf"weights/{UNFINISHED}\d", 0),
        (STOCK + rf"weights/{UNFINISHED}best", 30_000), (STOCK + rf"{UNFINISHED}done", 0),
        (STOCK + rf"{UNFINISHED}curves", 100), (r"arms\.csv", 10), (r"report\.html", 1000),
        (rf"^{UNFINISHED}timings", 10),
    ):
        life = world.begin(out, Trap(out, at=at, do=do, size=size))
        ended = life.end()
        if at.endswith("timings") and do == "limit":
            break
        assert ended.status == 2, (at, ended.status, ended.err)
        line = last_line(ended.err)
        assert words in line, at
        assert str(out) in line, at
        assert "make room" in line
        assert_nothing_is_torn(out)
    finish(world, out, unbroken)


def test_a_disk_that_is_really_full(world: World, unbroken: Unbroken, tmp_path: Path) -> None:
    """A disk of 700 kB; where none can be mounted, every write is refused from a checkpoint on."""
    with mounted(tmp_path / "disk", "size=700k") as remount:
        out = tmp_path / "disk" / "run"
        trap = None if remount else Trap(out, at=STOCK + r"weights/", do="full")
        ended = world.begin(out, trap).end()
        assert ended.status == 2, ended.err
        line = last_line(ended.err)
        assert "No space left on device" in line
        assert str(out) in line
        assert_nothing_is_torn(out)
        if remount:
            assert remount("size=50m")
        finish(world, out, unbroken)


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A folder that even root cannot write to, made in whichever way this machine allows."""
    with mounted(tmp_path / "disk", "ro") as remount:
        folder = tmp_path / "disk"
        if not remount:
            folder.chmod(0o555)
        if os.access(folder, os.W_OK):
            folder = Path("/proc/self")
        yield folder


@pytest.mark.parametrize("command", [
    "run {experiment} --out {out}",
    "score {new} {near} --out {out}",
    "index {out}/shelf.index {new} --clusters 3",
    "check {new} --out {out}",
    "split {new} --out {out}",
    "export coco {new} --out {out}",
    "import voc {voc} --out {out}",
    "score {new} {near} --out {free} --json {out}",
])
def test_a_folder_without_rights_is_one_line(
    world: World, unwritable: Path, tmp_path: Path, command: str
) -> None:
    shelf = world.folder / "shelf"
    voc = world.folder / "voc"
    if not voc.exists():
        ended = world.nursery.begin("export", "voc", shelf / "new/data.yaml", "--out", voc).end()
        assert ended.status == 0, ended.err
    words = command.format(
        experiment=world.experiment, out=unwritable / "out", free=tmp_path / "free", voc=voc,
        new=shelf / "new" / "data.yaml", near=shelf / "near" / "data.yaml",
    ).split()
    ended = world.nursery.begin(*words, env={"AOI_TL_CACHE": str(tmp_path / "cache")}).end()
    assert ended.status == 2, ended.err
    assert str(unwritable) in last_line(ended.err)


@pytest.mark.parametrize(("gone", "at"), [
    ("near", r"^data/\.unfinished-near-subset"),
    ("new", STOCK + r"initial|^stages"),
    ("near", SOURCE + r"initial"),
    ("new", STOCK + r"done$"),
    ("new", STOCK + r"results\.csv"),
])
def test_a_dataset_that_vanishes(
    world: World, unbroken: Unbroken, tmp_path: Path, gone: str, at: str
) -> None:
    out, place = tmp_path / "run", world.folder / "shelf" / gone
    elsewhere = tmp_path / "elsewhere"
    try:
        ended = world.begin(out, Trap(out, at=at, do="move", what=(str(place), str(elsewhere)))
                            ).end()
        assert ended.status == 2, ended.err
        assert gone in last_line(ended.err)
        again = world.begin(out).end()
        assert again.status == 2, again.err
        assert gone in last_line(again.err)
        assert_nothing_is_torn(out)
    finally:
        if elsewhere.exists():
            shutil.move(elsewhere, place)
    finish(world, out, unbroken)


def test_a_checkpoint_that_vanishes(world: World, unbroken: Unbroken, tmp_path: Path) -> None:
    """The one that all begins with is wanted back; those that were trained are trained again."""
    out, start = tmp_path / "run", world.folder / "shelf" / "start.pt"
    elsewhere = tmp_path / "elsewhere.pt"
    try:
        trap = Trap(out, at=r"^arms\.csv", do="move", what=(str(start), str(elsewhere)))
        ended = world.begin(out, trap).end()
        assert ended.status == 2, ended.err
        assert "start.pt" in last_line(ended.err)
        assert "start.pt" in last_line(world.begin(out).end().err)
    finally:
        shutil.move(elsewhere, start)
    best = out / SOURCE / "weights" / "best.pt"
    trap = Trap(out, at=SOURCE + rf"{UNFINISHED}done", do="move", what=(str(best), str(elsewhere)))
    ended = world.begin(out, trap).end()
    assert ended.status == 2, ended.err
    assert str(best) in last_line(ended.err)
    life = world.begin(out, Trap(out, at=SOURCE + rf"weights/{UNFINISHED}state-1"))
    assert life.end().status == -signal.SIGKILL
    best.unlink()
    finish(world, out, unbroken)


def test_the_second_run_on_a_folder_is_refused(
    world: World, unbroken: Unbroken, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = world.begin(out, Trap(out, at=STOCK, do="SIGSTOP"))
    try:
        while not any("stages" in event for event in first.events()):
            time.sleep(0.05)
        before = {str(file): file.stat().st_mtime_ns for file in out.rglob("*")}
        second = world.begin(out).end()
        assert second.status == 2
        assert "another run using it" in last_line(second.err)
        assert {str(file): file.stat().st_mtime_ns for file in out.rglob("*")} == before
    finally:
        first.send(signal.SIGCONT)
    ended = first.end()
    assert ended.status == 0, ended.err
    assert_ends_the_same(out, unbroken)


@pytest.mark.parametrize(("name", "status", "word"), [
    ("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated"),
])
def test_a_signal_is_one_line(
    world: World, unbroken: Unbroken, tmp_path: Path, name: str, status: int, word: str
) -> None:
    """The same run is stopped again and again, each time further on; once as users start it."""
    out = tmp_path / "run"
    line = f"aoi-tl: {word}; a run continues with --resume"
    life = world.begin(out, cold=True)
    while not (out / "fingerprint.json").exists():
        time.sleep(0.02)
    life.send(getattr(signal, name))
    ended = life.end()
    assert (ended.status, last_line(ended.err)) == (status, line)
    for at in (
        r"scores\.json", r"^samples/", STOCK + "results", STOCK + rf"weights/{UNFINISHED}state-1",
        STOCK + rf"weights/{UNFINISHED}\d+/", STOCK + r"test", SOURCE + "initial",
        SOURCE + rf"weights/{UNFINISHED}best", r"report\.html",
    ):
        ended = world.begin(out, Trap(out, at=at, do=name)).end()
        assert (ended.status, last_line(ended.err)) == (status, line), at
        assert_nothing_is_torn(out)
    finish(world, out, unbroken)


WORKERS = """
import aoi_tl.caches.signature_cache as cache
import aoi_tl.engine as engine
engine._cores = lambda: 2
cache._TRIAL, cache._WORTH_WORKERS, cache._CHUNK, cache._SHARD = 1, 0.0, 1, 2
from aoi_tl.cli import main
main()
"""


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.3])
def test_ctrl_c_in_a_terminal_is_one_line_whatever_its_workers_do(
    world: World, tmp_path: Path, moment: float
) -> None:
    """It reaches all processes of the command: as they start, and while they measure images."""
    shelf = world.folder / "shelf"
    command = [sys.executable, "-c", WORKERS, "score", str(shelf / "new" / "data.yaml"),
               str(shelf / "near" / "data.yaml"), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=REPOSITORY,
        start_new_session=True, env={**os.environ, "AOI_TL_CACHE": str(tmp_path / "cache")},
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and len(children.read_text().split()) < 2:
        time.sleep(0.01)
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGINT)
    err = process.communicate(timeout=120)[1]
    assert (process.returncode, last_line(err)) == (
        130, "aoi-tl: interrupted; a run continues with --resume"
    )
