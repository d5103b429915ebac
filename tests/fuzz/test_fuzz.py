"""Whatever a file holds, a reader reads it or says in one line why not: soon, and in bounds.

``HYPOTHESIS_PROFILE=long`` looks further, and elsewhere each time.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from aoi_tl.errors import AoiTlError
from tests.fuzz.readers import READERS
from tests.hostile.limits import at_most, bounded_memory

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
EXAMPLES = 3000 if LONG else 200
SECONDS = 20  # for one file, on a busy machine


def is_refused(reader, content: bytes) -> bool:
    """Whether a file is refused; anything but one short line is no refusal."""
    with at_most(SECONDS):
        try:
            reader(content)
        except AoiTlError as error:
            told = str(error)
            assert "\n" not in told
            assert len(told) < 2000
            assert "expected" in told
            told.encode()
            return True
    return False


@pytest.mark.parametrize("name", READERS)
def test_only_our_own_error_comes_out(
    name: str, tmp_path: Path, counts: dict[str, Counter[str]]
) -> None:
    (tmp_path / "valid").mkdir()
    (tmp_path / "read").mkdir()
    reader = READERS[name].prepare(tmp_path / "read")
    seen = counts[name] = Counter()
    last = tmp_path / "last"  # what it was, where it ends the process

    @settings(
        max_examples=int(EXAMPLES * READERS[name].share), deadline=None, derandomize=not LONG,
        database=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
    )
    @given(READERS[name].files(tmp_path / "read"))
    def one(content: bytes) -> None:
        last.write_bytes(content)
        seen["refused" if is_refused(reader, content) else "read"] += 1

    with bounded_memory():
        one()
    assert seen["read"]
    assert seen["refused"]
