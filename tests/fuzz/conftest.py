"""How many files each reader was given is told at the end."""

from __future__ import annotations

from collections import Counter

import pytest

COUNTS = pytest.StashKey[dict[str, Counter[str]]]()


@pytest.fixture
def counts(request: pytest.FixtureRequest) -> dict[str, Counter[str]]:
    """For each reader: files read and files refused."""
    return request.config.stash.setdefault(COUNTS, {})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of pytest-xdist hands its counts to the one that reports."""
    if hasattr(session.config, "workeroutput"):
        found = session.config.stash.get(COUNTS, {})
        session.config.workeroutput["fuzzed"] = {name: dict(seen) for name, seen in found.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    found = node.config.stash.setdefault(COUNTS, {})
    for name, seen in getattr(node, "workeroutput", {}).get("fuzzed", {}).items():
        found.setdefault(name, Counter()).update(seen)


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    found = config.stash.get(COUNTS, {})
    if found:
        terminalreporter.section("files fuzzed")
        for name, seen in found.items():
            terminalreporter.write_line(
                f"{name}: {seen.total()} files, {seen['read']} read, {seen['refused']} refused")
        total = sum((seen for seen in found.values()), Counter())
        terminalreporter.write_line(f"all: {total.total()} files, {total['refused']} refused")
