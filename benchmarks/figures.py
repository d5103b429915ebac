"""What the speed benchmarks share: the machine, the clock and the table."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figure:
    """A measured number beside what it is held against; ``bound`` reads like "<= 1.5"."""

    name: str
    measured: str
    reference: str
    ratio: float
    bound: str

    @property
    def holds(self) -> bool:
        sign, limit = self.bound.split()
        return self.ratio <= float(limit) if sign == "<=" else self.ratio >= float(limit)


def machine() -> str:
    """One line about where the figures come from, and how busy it was."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        pass
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}; load {busy:.1f} at the end"
    )


def show(figures: list[Figure]) -> None:
    """Print the table in Markdown, then the machine."""
    print("| figure | measured | reference | ratio | bound | holds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for f in figures:
        verdict = "yes" if f.holds else "NO"
        print(
            f"| {f.name} | {f.measured} | {f.reference} | {f.ratio:.4g} | {f.bound} | {verdict} |"
        )
    print(f"\n{machine()}")


def cpu_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """CPU time of this thread for one go, the best of a few: other jobs do not count."""
    best = float("inf")
    for _ in range(repeats):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
    return best


def paired_seconds(
    work: Callable[[], object],
    reference: Callable[[], object],
    repeats: int = 5,
    clock: Callable[[Callable[[], object], int], float] = cpu_seconds,
) -> tuple[float, float]:
    """Time of two things done in turn, by either clock here, the best of a few of each.

    A machine that others share is faster at one moment than at the next: in turn, both meet both.
    """
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        best = [min(b, clock(w, 1)) for b, w in zip(best, (work, reference), strict=True)]
    return best[0], best[1]


def wall_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Time on the clock for one go, the best of a few."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best
