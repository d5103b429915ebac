"""The house rules that a machine can check: who imports whom, what is public, what waits."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import aoi_tl

PACKAGE = Path(aoi_tl.__file__).parent
FLOORS = {
    room: floor
    for floor, rooms in enumerate(reversed((
        "__init__", "cli", "workflows", "report",
        "ranking", "adaptation transfer classification",
        "formats duplicates caches synthetic experiment evaluation",
        "data checkpoints", "engine", "files", "similarity", "errors",
    )))
    for room in rooms.split()
}


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
    room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for other in imports(file):
        assert other == room or FLOORS[other] < FLOORS[room], f"{room} may not import {other}"


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
