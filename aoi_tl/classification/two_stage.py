"""Two-stage transfer: from a data-rich domain to a data-poor one with the same classes.

The paper pretrains on SEM images of cathodes without additives and fine-tunes on those with
them; both domains are read by one head over composition x state. Every arm takes the same number
of optimiser steps, ``source_steps + target_steps``.

References
----------
.. [1] Jeon, Kang, Oh et al. "Bridging data-rich and data-poor domains on Lithium-Ion Battery via
   Scanning Electron Microscopic data through Convolutional Neural Network Transfer Learning."
   NeurIPS 2025 workshop AI4Mat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from aoi_tl.classification.training import Step, repeat

ARMS = ("pretraining-only", "fine-tuning-only", "two-stage")


def stage_steps(n_images: int, batch: int, epochs: int) -> int:
    """How many optimiser steps a stage has.

    Parameters
    ----------
    n_images : int
        Samples of one epoch, oversampled ones included.
    batch : int
        Images a batch.
    epochs : int
        Passes over them.

    Returns
    -------
    int
        ``ceil(epochs * n_images / batch)``: epochs follow each other without a short batch.

    Examples
    --------
    >>> stage_steps(100, 16, 3)
    19
    """
    return math.ceil(epochs * n_images / batch)


def arm_steps(
    arm: str, source_steps: int, target_steps: int, count: Literal["total", "target"] = "total"
) -> tuple[Step, ...]:
    """Write out the steps of an arm.

    Parameters
    ----------
    arm : str
        One of ``ARMS``.
    source_steps, target_steps : int
        Steps of the two stages.
    count : {"total", "target"}
        What is the same for every arm: all optimiser steps (an arm with one stage takes those of
        both), or the steps of each stage (an arm with one stage takes those of its own).

    Returns
    -------
    tuple of {"source", "target"}
        One entry an optimiser step.

    Raises
    ------
    ValueError
        When the arm is unknown.

    Examples
    --------
    >>> arm_steps("two-stage", 2, 1)
    ('source', 'source', 'target')
    >>> arm_steps("fine-tuning-only", 2, 1)
    ('target', 'target', 'target')
    """
    both = source_steps + target_steps
    if arm == "pretraining-only":
        return repeat("source", both if count == "total" else source_steps)
    if arm == "fine-tuning-only":
        return repeat("target", both if count == "total" else target_steps)
    if arm == "two-stage":
        return repeat("source", source_steps) + repeat("target", target_steps)
    raise ValueError(f"expected an arm out of {', '.join(ARMS)}, got {arm!r}")


def join_classes(source: Sequence[str], target: Sequence[str]) -> tuple[str, ...]:
    """Put the classes of both domains in one order.

    Parameters
    ----------
    source, target : sequence of str
        Class names of the domains; the target may know fewer.

    Returns
    -------
    tuple of str
        The source's classes.

    Raises
    ------
    ValueError
        When the target has a class that the source does not have.

    Examples
    --------
    >>> join_classes(["NCM333 pristine", "NCM811 pristine"], ["NCM811 pristine"])
    ('NCM333 pristine', 'NCM811 pristine')
    """
    missing = [name for name in target if name not in source]
    if missing:
        raise ValueError(
            f"expected the target's classes among the source's ({', '.join(source)}), got "
            f"{', '.join(missing)}"
        )
    return tuple(source)
