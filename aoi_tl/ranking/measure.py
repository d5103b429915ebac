"""One measure of a source for a target: value, direction, interval and cost, or why undefined."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from aoi_tl.ranking.domain import Domain

Direction = Literal["higher", "lower"]
#: The inputs of measures, the cheapest first.
Needs = Literal["data", "labels", "features", "detector", "training"]


class UndefinedMeasure(ValueError):
    """A measure has no value for this pair; the text states the reason."""


@dataclass(frozen=True)
class Value:
    """A value with its interval, where the measure has one.

    Attributes
    ----------
    value : float
    low, high : float or None
        The 95 % percentile interval of a bootstrap over images.
    words : str
        A remark for the reader; may be empty.
    """

    value: float
    low: float | None = None
    high: float | None = None
    words: str = ""


@dataclass(frozen=True)
class Measured:
    """The result of a measure for one source.

    Attributes
    ----------
    value : float or None
        None where it is undefined.
    direction : {"higher", "lower"}
        Which values favour the source.
    low, high : float or None
        The ends of its 95 % interval; None where the measure does not sample.
    seconds : float
        Its cost.
    undefined : str or None
        Why there is no value.
    words : str
        A remark for the reader; may be empty.
    """

    value: float | None
    direction: Direction
    low: float | None = None
    high: float | None = None
    seconds: float = field(default=0.0, compare=False)
    undefined: str | None = None
    words: str = ""

    @property
    def badness(self) -> float:
        """A number that is lower for a better source; infinite where there is no value."""
        if self.value is None:
            return float("inf")
        return self.value if self.direction == "lower" else -self.value

    def reaches(self, other: Measured) -> bool:
        """Whether the intervals of the two overlap: then their order may be chance."""
        if None in (self.low, self.high, other.low, other.high):
            return self.value is not None and self.value == other.value
        assert self.low is not None
        assert self.high is not None
        assert other.low is not None
        assert other.high is not None
        return self.low <= other.high and other.low <= self.high

    def to_dict(self) -> dict[str, Any]:
        """Give the entry of ``scores.json``, without the cost, which differs between equal runs."""
        interval = None if self.low is None else [self.low, self.high]
        return {"value": self.value, "direction": self.direction, "interval": interval,
                "undefined": self.undefined}


@dataclass(frozen=True)
class Measure:
    """A measure of a source for a target.

    Attributes
    ----------
    name : str
        Its name for ``--method``.
    direction : {"higher", "lower"}
        Which values favour the source.
    needs : {"data", "labels", "features", "detector", "training"}
        The most expensive input that it uses.
    compute : callable
        Takes the target and the source. Gives a `Value`, or raises `UndefinedMeasure`.
    """

    name: str
    direction: Direction
    needs: Needs
    compute: Callable[[Domain, Domain], Value]

    def __call__(self, target: Domain, source: Domain) -> Measured:
        """Measure one source.

        Parameters
        ----------
        target, source : Domain

        Returns
        -------
        Measured
            With the reason in place of a value where the measure is undefined.
        """
        began = time.perf_counter()
        try:
            found = self.compute(target, source)
        except UndefinedMeasure as why:
            return Measured(None, self.direction, seconds=time.perf_counter() - began,
                            undefined=str(why))
        return Measured(found.value, self.direction, found.low, found.high,
                        time.perf_counter() - began, words=found.words)
