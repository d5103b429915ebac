"""How many files each reader was given is told at the end."""

from __future__ import annotations

from collections import Counter

import pytest

COUNTS = pytest.StashKey[dict[str, Counter[str]]]()


@pytest.fixture
def counts(request: pytest.FixtureRequest) -> dict[str, Counter[str]]:
    """For each reader: files read and files refused."""
    return request.config.stash.setdefault(COUNTS, {})


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    found = config.stash.get(COUNTS, {})
    if found:
        terminalreporter.section("files fuzzed")
        for name, seen in found.items():
            terminalreporter.write_line(
                f"{name}: {seen.total()} files, {seen['read']} read, {seen['refused']} refused")
        total = sum((seen for seen in found.values()), Counter())
        terminalreporter.write_line(f"all: {total.total()} files, {total['refused']} refused")
