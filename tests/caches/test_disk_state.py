from __future__ import annotations

import os
import sys

import pytest

from aoi_tl.caches import disk_state as room
from aoi_tl.caches.disk_state import state_of, states_of


@pytest.fixture
def places(tmp_path):
    for name in ("a", "b\n", "ü", os.fsdecode(b"\xff")):
        (tmp_path / name).mkdir()
        for i in range(5):
            (tmp_path / name / f"{i}.txt").write_text(name.encode("utf-8", "replace").decode() * i)
    (tmp_path / "a" / "gone").symlink_to(tmp_path / "nowhere")
    return [*map(str, sorted(tmp_path.iterdir())), str(tmp_path / "a/1.txt"), str(tmp_path / "no")]


@pytest.mark.parametrize("processes", [1, 2, 3, 50])
def test_however_many_look_they_see_the_same(places, processes, monkeypatch):
    monkeypatch.setattr(room, "_MANY", 1)
    asked = []
    monkeypatch.setattr(room, "state_of", lambda path: asked.append(path) or state_of(path))
    assert states_of(places, 100, processes) == {path: state_of(path) for path in places}
    assert len(asked) == -(-len(places) // min(processes, len(places)))  # the rest was helpers'
    assert states_of([], 0, processes) == {}


def test_few_files_are_looked_at_here(places, monkeypatch):
    monkeypatch.setattr(room, "_start", None)
    assert set(states_of(places, 20, 2)) == set(places)


@pytest.mark.parametrize("program", ["/bin/false", "/no/such/program", "/bin/echo"])
def test_what_helpers_cannot_do_is_done_here(places, program, monkeypatch):
    monkeypatch.setattr(room, "_MANY", 1)
    monkeypatch.setattr(sys, "executable", program)
    assert states_of(places, 100, 3) == {path: state_of(path) for path in places}


def test_every_kind_of_change_is_another_state(tmp_path):
    (tmp_path / "a").write_text("1")
    states = [state_of(str(tmp_path))]

    def changed():
        states.append(state_of(str(tmp_path)))
        return states[-1] != states[-2]

    (tmp_path / "b").write_text("")
    assert changed()
    (tmp_path / "b").rename(tmp_path / "c")
    assert changed()
    os.utime(tmp_path / "a", ns=(1, 1))
    assert changed()
    (tmp_path / "a").write_text("2")
    os.utime(tmp_path / "a", ns=(1, 1))  # the same size and time: when that was set tells
    assert changed()
    (tmp_path / "c").unlink()
    assert changed()
    assert not changed()
    newest = max(f.stat().st_ctime_ns for f in (tmp_path, tmp_path / "a"))
    assert states[-1][1] == newest


def test_helpers_import_the_standard_library_alone():
    import ast
    from pathlib import Path

    tree = ast.parse(Path(room.__file__).read_text())
    names = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= sys.stdlib_module_names
