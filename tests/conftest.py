from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test depends on time, on a busy machine least of all.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real datasets and checkpoints, where this machine has one."""
    folder = Path(os.environ.get("AOI_TL_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"real data not found: no folder {folder}; set AOI_TL_SHARED")
    return folder
