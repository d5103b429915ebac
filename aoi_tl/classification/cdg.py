"""Cross-domain generalisation (CDG): its arms, its cycle and its budget of steps.

An epoch is *one pass over the source, rounded up to complete CDG cycles*: a source of 1800 images
has 113 batches of 16, a target of 20 has two. The budget of a run is its epochs times the steps of
one epoch. **Every arm takes exactly that number of optimiser steps**, divided as follows:

========== ===========================================================================
arm        its steps
========== ===========================================================================
plain      all on the target
pretrained the cycle's share of source steps first, then its share of target steps
multi-task all joint: a batch of each domain, ``L_total = alpha L_target + beta L_source``
cdg        cycles of 50 source and 10 target steps
========== ===========================================================================

``pretrained`` and ``cdg`` see the same batches in different orders. ``multi-task`` sees two batches
a step. With ``count="target"`` the arms take the same number of *target* steps instead. This
matters if 20 images are quickly overfitted; ``plain`` is then the shortest arm.

The paper's ``L_overall = L_total + sum_i L(i)`` is a sum over the iterations of one cycle, each
of which has one domain's batch. Its terms are minimised in turn: a source step by ``beta
L_source``, a target step by ``alpha L_target``. ``L_total`` itself enters as the cycle's mean
losses, weighted; ``joint_steps`` adds steps on a batch of both domains to each cycle (the paper
names 50 and 10 only, hence 0).

References
----------
.. [1] Chen et al. "Deep-Learning-Based Lithium Battery Defect Detection via Cross-Domain
   Generalization." IEEE Access 12, 2024, equations 4 to 7 and section IV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aoi_tl.classification.training import History, Step, repeat

ARMS = ("plain", "pretrained", "multi-task", "cdg")


@dataclass(frozen=True)
class Cycle:
    """The blocks of one CDG cycle.

    Attributes
    ----------
    source_steps, target_steps : int
        Steps of each block; the source's comes first.
    joint_steps : int
        Steps on both domains at once, after them.
    """

    source_steps: int = 50
    target_steps: int = 10
    joint_steps: int = 0

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of one cycle, in order."""
        return (
            repeat("source", self.source_steps)
            + repeat("target", self.target_steps)
            + repeat("joint", self.joint_steps)
        )


def count_cycles(n_source: int, batch: int, epochs: int, cycle: Cycle) -> int:
    """How many cycles a run has.

    Parameters
    ----------
    n_source : int
        Source training images.
    batch : int
        Images a batch.
    epochs : int
        Passes over the source.
    cycle : Cycle
        The blocks.

    Returns
    -------
    int
        ``epochs * ceil(ceil(n_source / batch) / source batches of a cycle)``.

    Raises
    ------
    ValueError
        When a cycle never touches the source.

    Examples
    --------
    >>> count_cycles(n_source=1800, batch=16, epochs=10, cycle=Cycle())
    30
    """
    seen = cycle.source_steps + cycle.joint_steps
    if seen == 0:
        raise ValueError("expected a cycle with source or joint steps, got none")
    return epochs * math.ceil(math.ceil(n_source / batch) / seen)


def arm_steps(
    arm: str, cycles: int, cycle: Cycle, count: Literal["total", "target"] = "total"
) -> tuple[Step, ...]:
    """Write out the steps of an arm.

    Parameters
    ----------
    arm : str
        One of ``ARMS``.
    cycles : int
        As ``count_cycles`` gives them.
    cycle : Cycle
        The blocks.
    count : {"total", "target"}
        What is the same for every arm: all optimiser steps, or those that see the target.

    Returns
    -------
    tuple of {"source", "target", "joint"}
        One entry an optimiser step.

    Raises
    ------
    ValueError
        When the arm is unknown.

    Examples
    --------
    >>> cycle = Cycle(source_steps=2, target_steps=1)
    >>> arm_steps("cdg", 2, cycle)
    ('source', 'source', 'target', 'source', 'source', 'target')
    >>> arm_steps("pretrained", 2, cycle)
    ('source', 'source', 'source', 'source', 'target', 'target')
    >>> len(arm_steps("plain", 2, cycle)), len(arm_steps("plain", 2, cycle, count="target"))
    (6, 2)
    """
    target = cycles * (cycle.target_steps + cycle.joint_steps)
    source = cycles * cycle.source_steps
    alone = target + source if count == "total" else target
    if arm == "plain":
        return repeat("target", alone)
    if arm == "pretrained":
        return repeat("source", source) + repeat("target", target)
    if arm == "multi-task":
        return repeat("joint", alone)
    if arm == "cdg":
        return cycle.steps * cycles
    raise ValueError(f"expected an arm out of {', '.join(ARMS)}, got {arm!r}")


@dataclass(frozen=True)
class CycleLoss:
    """The losses of one cycle.

    Attributes
    ----------
    target, source : float
        Mean cross entropy of the cycle's steps in each domain; NaN where it has none.
    total : float
        ``L_total = alpha target + beta source``, of the domains that are there.
    overall : float
        ``L_overall = L_total + sum_i L(i)``, every ``L(i)`` weighted by its domain's alpha or beta.
    """

    target: float
    source: float
    total: float
    overall: float


def cycle_losses(
    history: History, length: int, alpha: float = 1.0, beta: float = 1.0
) -> tuple[CycleLoss, ...]:
    """Add up the paper's losses, cycle by cycle.

    Parameters
    ----------
    history : History
        Of any arm.
    length : int
        Steps of a cycle.
    alpha, beta : float
        Weights of the target's and the source's loss.

    Returns
    -------
    tuple of CycleLoss
        One for every ``length`` steps.

    References
    ----------
    .. [1] Chen et al. 2024, equations 4 and 6.

    Examples
    --------
    >>> history = History((0, 1, 2), ("source", "source", "target"), (2.0, 1.0, 3.0), 1.0, 0.1)
    >>> cycle_losses(history, 3)
    (CycleLoss(target=3.0, source=1.5, total=4.5, overall=10.5),)
    """
    step, loss = np.asarray(history.step), np.asarray(history.loss)
    domain = np.asarray(history.domain)
    found = []
    for number in range(int(step.max()) // length + 1 if len(step) else 0):
        here = step // length == number
        means, total, terms = {}, 0.0, 0.0
        for name, weight in (("target", alpha), ("source", beta)):
            losses = loss[here & (domain == name)]
            means[name] = float(losses.mean()) if len(losses) else math.nan
            if len(losses):
                total += weight * means[name]
                terms += weight * float(losses.sum())
        found.append(CycleLoss(means["target"], means["source"], total, total + terms))
    return tuple(found)
