"""A detector of four convolutions: a training of it takes a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TINY = """\
nc: 2
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [-1, 1, Conv, [32, 3, 1]]
  - [[2, 3], 1, Detect, [nc]]
"""


def tiny_detector(file: Path, names: Sequence[str]) -> Path:
    """Write a new one of these classes."""
    from aoi_tl.transfer.detector import new_model, save_checkpoint

    architecture = file.with_suffix(".yaml")
    architecture.write_text(TINY)
    save_checkpoint(new_model(str(architecture), names, 0), file)
    return file
