"""The house rules that a machine can check: who imports whom, what is public, what waits."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import aoi_tl

PACKAGE = Path(aoi_tl.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"


def floors() -> dict[str, int]:
    """The floor of each room, as the table in CONTRIBUTING has it."""
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", CONTRIBUTING.read_text(encoding="utf-8"), re.M)
    return {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms)}


FLOORS = floors()


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """The rooms of aoi_tl that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
            if node.module == "aoi_tl":
                modules = [f"aoi_tl.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in modules if name.startswith("aoi_tl.")}
    return found


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(PACKAGE))
)
def test_imports_go_downward(file: Path) -> None:
    room = room_of(file)
    for other in imports(file):
        assert other == room or FLOORS[other] < FLOORS[room], f"{room} may not import {other}"


def test_the_table_of_floors_names_every_room() -> None:
    assert set(FLOORS) == {room_of(file) for file in PACKAGE.rglob("*.py")}
    assert sorted(set(FLOORS.values())) == list(range(1, max(FLOORS.values()) + 1))


def test_no_room_is_more_than_a_quarter() -> None:
    lines: Counter[str] = Counter()
    for file in PACKAGE.rglob("*.py"):
        lines[room_of(file)] += len(file.read_text(encoding="utf-8").splitlines())
    largest, size = lines.most_common(1)[0]
    assert size <= lines.total() / 4, f"{largest} has {size} of {lines.total()} lines"


def test_the_public_names_are_what_is_promised() -> None:
    assert set(aoi_tl.__all__) == set(aoi_tl._HOMES)
    for name in aoi_tl.__all__:
        assert getattr(aoi_tl, name).__doc__, name
    assert set(aoi_tl.__all__) <= set(dir(aoi_tl))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aoi_tl.nothing


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import aoi_tl", ["torch", "ultralytics", "cv2", "numpy"]),
        ("import aoi_tl.cli", ["torch", "ultralytics", "cv2", "numpy", "pydantic"]),
        ("from aoi_tl import score_sources", ["torch", "ultralytics", "pandas", "sklearn"]),
        ("from aoi_tl import run_experiment", ["torch", "ultralytics"]),
    ],
)
def test_heavy_imports_wait(code: str, absent: list[str]) -> None:
    check = f"import sys; {code}; print([m for m in {absent!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True,
                            check=True)
    assert result.stdout.strip() == "[]"
