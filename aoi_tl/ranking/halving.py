"""Successive halving in a time budget: short trials of many, longer ones of the better half."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from aoi_tl.ranking.measure import Value


@dataclass(frozen=True)
class Pace:
    """How long trials take here.

    Attributes
    ----------
    step : float
        Seconds of one step of a trial.
    start : float
        What a trial costs besides its steps, in steps.
    prepare : mapping of str to float
        Seconds that a contestant takes before its first trial; 0 where it is not there.
    """

    step: float
    start: float
    prepare: Mapping[str, float]

    def seconds(self, steps: int) -> float:
        """How long one trial takes."""
        return self.step * (steps + self.start)

    def steps(self, seconds: float) -> int:
        """How many steps one trial may have; may be below 0."""
        return math.floor(seconds / self.step - self.start)


@dataclass(frozen=True)
class Standing:
    """How far a contestant came.

    Attributes
    ----------
    rung : int
        The last round that it took part in, from 0.
    steps : int
        The length of its trial there.
    value : Value
        What it came to. A contestant that was dropped is not above one that went on: where it
        was, by the values of different lengths, it is set equal to the lowest of those.
    """

    rung: int
    steps: int
    value: Value


def rounds(contestants: int) -> int:
    """Give the number of rounds: the logarithm of the number of contestants, at least one.

    Examples
    --------
    >>> [rounds(n) for n in (1, 2, 3, 4, 5, 8)]
    [1, 1, 2, 2, 3, 3]
    """
    return max(1, math.ceil(math.log2(contestants)))


def affordable(order: Sequence[str], seconds: float, pace: Pace, shortest: int) -> int:
    """Give how many contestants, the first of an order, a budget is enough for.

    Parameters
    ----------
    order : sequence of str
    seconds : float
        The budget.
    pace : Pace
    shortest : int
        Steps of the shortest trial.

    Returns
    -------
    int
        The largest number whose first round is of `shortest` steps or more, each round having an
        equal share of the budget; 0 where it is not enough for one. What a round is compared with
        is one more trial.

    Examples
    --------
    >>> pace = Pace(step=1.0, start=0.0, prepare={"a": 30.0})
    >>> [affordable("abcd", s, pace, 20) for s in (69, 70, 90, 190)]
    [0, 1, 2, 3]
    """
    for n in range(len(order), 0, -1):
        prepared = sum(pace.prepare.get(name, 0.0) for name in order[:n])
        # Round k has half the contestants of the one before, rounded up.
        alive, needed = n, prepared
        for _ in range(rounds(n)):
            needed += (alive + 1) * pace.seconds(shortest)
            alive = math.ceil(alive / 2)
        share = (seconds - prepared) / rounds(n)
        if needed <= seconds and pace.steps(share / (n + 1)) >= shortest:
            return n
    return 0


def successive_halving(
    order: Sequence[str],
    seconds: float,
    pace: Pace,
    trial: Callable[[str, int], Value],
    shortest: int,
    longest: int,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Standing]:
    """Try contestants shortly, and the better half of them longer, round by round.

    Parameters
    ----------
    order : sequence of str
        The contestants, the most promising first; those that the budget is not enough for are left
        out from the end.
    seconds : float
        The budget.
    pace : Pace
        What trials are expected to cost; corrected after each round by what they did cost.
    trial : callable
        Takes a contestant and a number of steps. Gives its value, the higher the better.
    shortest, longest : int
        Steps of a trial, at least and at most.
    clock : callable
        Gives the time in seconds.

    Returns
    -------
    dict of str to Standing
        The best first. Empty where the budget is not enough for one.

    Notes
    -----
    Every round has the same share of the budget. A trial that would end behind it is not begun,
    but in the first round.

    References
    ----------
    .. [1] Jamieson, Talwalkar. "Non-stochastic Best Arm Identification and Hyperparameter
       Optimization." AISTATS 2016, figure 3.
    """
    began = clock()
    alive = list(order[: affordable(order, seconds, pace, shortest)])
    total = rounds(len(alive)) if alive else 0
    found: dict[str, Standing] = {}
    for rung in range(total):
        left = seconds - (clock() - began)
        preparing = sum(pace.prepare.get(name, 0.0) for name in alive) if rung == 0 else 0.0
        share = (left - preparing) / (total - rung)
        steps = min(pace.steps(share / (len(alive) + 1)), longest)
        if rung and steps < shortest:
            break
        steps, started = max(steps, shortest), clock()
        tried: dict[str, Value] = {}
        for name in alive:
            if rung and clock() - began + pace.seconds(steps) > seconds:
                break
            tried[name] = trial(name, steps)
        expected = preparing + (len(tried) + 1) * pace.seconds(steps)
        if tried:
            pace = replace(pace, step=pace.step * (clock() - started) / expected)
        found |= {name: Standing(rung, steps, value) for name, value in tried.items()}
        ranked = sorted(tried, key=lambda name: -tried[name].value)
        alive = ranked[: math.ceil(len(alive) / 2)]
    return _in_order(found)


def _in_order(found: Mapping[str, Standing]) -> dict[str, Standing]:
    """The standings, the best first; none below one of an earlier round."""
    best_first = sorted(found, key=lambda name: (-found[name].rung, -found[name].value.value))
    result: dict[str, Standing] = {}
    lowest = math.inf
    for name in best_first:
        value = found[name].value
        above = max(0.0, value.value - lowest)
        if above:
            value = replace(
                value, value=lowest,
                low=None if value.low is None else value.low - above,
                high=None if value.high is None else value.high - above,
            )
        lowest = value.value
        result[name] = replace(found[name], value=value)
    return result
