from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aoi_tl.errors import RunError
from aoi_tl.files.run_folder import UNFINISHED, open_run, write_atomically

PRINT = {"experiment": {"epochs": 3}, "data": "abc"}


def test_done_comes_last_and_survives(tmp_path: Path) -> None:
    with open_run(tmp_path / "r", PRINT) as run:
        assert not run.is_done
        run.write_json("scores.json", {"名": 1})
        run.mark_done()
    with open_run(tmp_path / "r", PRINT, resume=True) as run:
        assert run.is_done
        assert run.read_json("scores.json") == {"名": 1}
        assert run.read_json("nothing.json") is None


def test_a_used_folder_needs_resume(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="add --resume"), open_run(tmp_path, PRINT):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_another_experiment_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path / "r", PRINT):
        pass
    other = {**PRINT, "experiment": {"epochs": 5}}
    with (
        pytest.raises(RunError, match=r"differs in epochs: 3 there, 5 here;"),
        open_run(tmp_path / "r", other, resume=True),
    ):
        pass


GROWS = {"seeds": True, "arms": False, "data": False}


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"seeds": [0, 1, 2]}, ""),
        ({"arms": ["b", "c", "a"], "data": {"t": "x", "s": "y", "new": "z"}}, ""),
        ({"seeds": [1, 0]}, r"seeds: \[0, 1\] there, \[1, 0\] here"),
        ({"seeds": [0]}, r"seeds: \[0, 1\] there, \[0\] here"),
        ({"arms": ["b"]}, "arms: .* there"),
        ({"data": {"t": "x"}}, 'data.s: "y" there, nothing here'),
        ({"data": {"t": "x", "s": "other"}}, 'data.s: "y" there, "other" here'),
        ({"weights": "w"}, 'weights: nothing there, "w" here'),
        ({"weights": None}, ""),
    ],
)
def test_what_may_grow_grows_and_nothing_else(
    tmp_path: Path, change: dict[str, object], refused: str
) -> None:
    before = {"seeds": [0, 1], "arms": ["a", "b"], "data": {"t": "x", "s": "y"}}
    with open_run(tmp_path / "r", before, may_grow=GROWS) as run:
        run.mark_done()
    if refused:
        with (
            pytest.raises(RunError, match=refused),
            open_run(tmp_path / "r", {**before, **change}, resume=True, may_grow=GROWS),
        ):
            pass
        change = {}
    with open_run(tmp_path / "r", {**before, **change}, resume=True, may_grow=GROWS) as run:
        grown = any(change.values())
        assert run.is_done is not grown
        assert run.read_json("fingerprint.json") == {**before, **(change if grown else {})}


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    with (
        open_run(tmp_path / "r", PRINT),
        pytest.raises(RunError, match="another run using"),
        open_run(tmp_path / "r", PRINT, resume=True),
    ):
        pass


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "r").touch()
    with pytest.raises(RunError, match="got a file"), open_run(tmp_path / "r", PRINT):
        pass


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_atomically(tmp_path / "a.csv", "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(file))

    for step in ("os.replace", "os.fsync", "os.chmod"):
        with monkeypatch.context() as patch:
            patch.setattr(step, full)
            with pytest.raises(RunError, match=r"a\.csv, got No space left on device; make room"):
                write_atomically(file, "new")
        assert file.read_text() == "old"
        assert [found.name for found in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("name", "place"), [("arms.csv", r"r/arms\.csv"), ("", "/r"), (None, "/r")]
)
def test_a_full_disk_is_one_line(tmp_path: Path, name: str | None, place: str) -> None:
    """Also where the system does not say which file it was, as with a write to an open one."""
    def work() -> None:
        with open_run(tmp_path / "r", PRINT, resume=True) as run:
            raise OSError(28, "No space left on device", name and str(run.path / name))

    with pytest.raises(RunError, match=f"{place}, got No space left on device; make room"):
        work()


def test_a_bug_stays_a_bug(tmp_path: Path) -> None:
    def work() -> None:
        with open_run(tmp_path / "r", PRINT):
            (tmp_path / "elsewhere").read_text()

    with pytest.raises(FileNotFoundError, match="elsewhere"):
        work()


def test_what_a_kill_left_unfinished_is_removed(tmp_path: Path) -> None:
    with open_run(tmp_path / "r", PRINT) as run:
        run.write("stages/a/weights/last.pt", b"whole")
    images = tmp_path / "images"
    images.mkdir()
    (images / f"{UNFINISHED}mine.png").write_bytes(b"not ours: behind a link")
    (tmp_path / "r" / "images").symlink_to(images)
    (tmp_path / "r" / ".mine").write_text("hidden, and not ours")
    (tmp_path / "r" / "stages" / "a" / f"{UNFINISHED}ledger.csv-x1").write_text("torn")
    half = tmp_path / "r" / "data" / f"{UNFINISHED}near-x2" / "labels"
    half.mkdir(parents=True)
    (half / "0.txt").write_text("0 0.5")
    with open_run(tmp_path / "r", PRINT, resume=True):
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {
        "images", f"images/{UNFINISHED}mine.png", "r", "r/images", "r/.mine", "r/.lock",
        "r/fingerprint.json", "r/data", "r/stages", "r/stages/a", "r/stages/a/weights",
        "r/stages/a/weights/last.pt",
    }


def test_a_process_that_outlives_the_run_does_not_hold_its_folder(tmp_path: Path) -> None:
    """As data-loading processes do, which are forks."""
    code = (
        "import os, sys, time\n"
        "from aoi_tl.files.run_folder import open_run\n"
        "with open_run(sys.argv[1], {}):\n"
        "    if not os.fork():\n"
        "        print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "r")],
                              stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        with pytest.raises(RunError, match="another run using"), open_run(tmp_path / "r", {}, True):
            pass
        parent.kill()
        parent.wait()
        with open_run(tmp_path / "r", {}, resume=True) as run:
            assert not run.is_done
    finally:
        os.kill(child, signal.SIGKILL)
