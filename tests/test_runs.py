from __future__ import annotations

from pathlib import Path

import pytest

from aoi_tl.errors import RunError
from aoi_tl.runs import open_run, write_atomically

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
        pytest.raises(RunError, match=r"differs in experiment .*3.*there.*5.*here"),
        open_run(tmp_path / "r", other, resume=True),
    ):
        pass


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    with (
        open_run(tmp_path / "r", PRINT),
        pytest.raises(RunError, match="a run at work"),
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

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.csv"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def work() -> None:
        with open_run(tmp_path / "r", PRINT, resume=True) as run:
            raise OSError(28, "No space left on device", str(run.path / "arms.csv"))

    with pytest.raises(RunError, match="No space left on device; free the place"):
        work()
