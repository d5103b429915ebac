"""How a workflow tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable

Tell = Callable[[str, int, int], None]
"""Told what is being done, how many steps are done, and of how many."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
