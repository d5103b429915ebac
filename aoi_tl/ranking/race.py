"""Training missing detectors, and proxies of undecided sources, within a time budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.halving import Pace, Standing, affordable, successive_halving
from aoi_tl.ranking.measure import Measured, UndefinedMeasure, Value
from aoi_tl.ranking.proxy import (
    BATCH,
    SOURCE_STEPS,
    STEPS,
    fine_tune_shortly,
    gain_over,
    halves,
    plain_proxy,
    proxy_size,
    time_trial,
    train_shortly,
)

#: Steps of the longest proxy: as many as a fine-tuning on ten images takes.
LONGEST = 100

Doing = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Race:
    """What a time budget was spent on.

    Attributes
    ----------
    sources : tuple of Domain
        As given; those that had none now have a detector, where the budget was enough.
    proxies : dict of str to Measured
        The measure ``proxy`` of each source that took part, by its name.
    notes : tuple of str
        How many took part, and with what.
    """

    sources: tuple[Domain, ...]
    proxies: dict[str, Measured]
    notes: tuple[str, ...]


def race(
    target: Domain, sources: Sequence[Domain], order: Sequence[str], seconds: float, folder: Path,
    doing: Doing = lambda what, done, total: None,
) -> Race:
    """Spend a time budget on short fine-tunings from the sources whose places are open.

    Parameters
    ----------
    target : Domain
        With at least two labelled images, and the COCO checkpoint.
    sources : sequence of Domain
    order : sequence of str
        The names of those whose places are open, the most promising first.
    seconds : float
        The budget.
    folder : Path
        Where short detectors of sources that had none go.
    doing : callable
        Called with what is being done, how much of it is done, and of how much.

    Returns
    -------
    Race

    Raises
    ------
    DataError
        When fewer than two images of the target are labelled.
    ExperimentError
        When the budget is not enough for one proxy.
    """
    began = time.monotonic()
    by_name = {source.name: source for source in sources}
    size = proxy_size(sources)
    pace = measured_pace(target, [by_name[name] for name in order], size)
    left = seconds - (time.monotonic() - began)
    number = affordable(order, left, pace, STEPS)
    if not number:
        name = order[0]
        needed = seconds - left + pace.prepare.get(name, 0.0) + 2 * pace.seconds(STEPS)
        raise ExperimentError(
            f"expected --budget of at least {in_words(needed)}, which one proxy takes here "
            f"({name} and plain fine-tuning), got {in_words(seconds)}; give more, or --budget 0 "
            "for the measures that train nothing"
        )
    done = 0

    def trial(name: str, steps: int) -> Value:
        nonlocal done
        doing(f"proxy of {name}, {steps} steps", done, 2 * number)
        if by_name[name].detector is None:
            by_name[name] = with_short_detector(target, by_name[name], size, folder)
        start = by_name[name].detector
        assert start is not None
        found = fine_tune_shortly(target, start, True, steps, size)
        done += 1
        return gain_over(found, plain_proxy(target, steps, size))

    standings = successive_halving(order, left, pace, trial, STEPS, LONGEST)
    return Race(
        tuple(by_name[source.name] for source in sources),
        {name: _measured(standing) for name, standing in standings.items()},
        (_said(standings, len(order), seconds),),
    )


def train_missing(
    target: Domain, sources: Sequence[Domain], seconds: float, folder: Path,
    doing: Doing = lambda what, done, total: None,
) -> Race:
    """Spend a time budget on short detectors of the sources that have none.

    Parameters
    ----------
    target, seconds, folder, doing
        As for `race`.
    sources : sequence of Domain
        The most promising first.

    Returns
    -------
    Race
        Without proxies.

    Raises
    ------
    DataError, ExperimentError
        As for `race`.
    """
    began = time.monotonic()
    missing = [source for source in sources if source.detector is None]
    if not missing:
        return Race(tuple(sources), {}, ())
    size = proxy_size(sources)
    each = measured_pace(target, missing, size).prepare[missing[0].name]
    trained: dict[str, Domain] = {}
    for source in missing:
        spent = time.monotonic() - began
        if spent + each > seconds:
            break
        doing(f"detector of {source.name}, about {in_words(each)}", len(trained), len(missing))
        trained[source.name] = with_short_detector(target, source, size, folder)
        each = (time.monotonic() - began - spent + each) / 2
    if not trained:
        raise ExperimentError(
            f"expected --budget of at least {in_words(spent + each)}, which a short detector takes "
            f"here ({missing[0].name}), got {in_words(seconds)}; give more, or --budget 0 with a "
            "method that reads data alone"
        )
    return Race(
        tuple(trained.get(source.name, source) for source in sources), {},
        (f"short detectors were trained for {len(trained)} of {len(missing)} sources without a "
         f"kept one, within {in_words(seconds)}",),
    )


def with_short_detector(target: Domain, source: Domain, size: int, folder: Path) -> Domain:
    """Train a short detector of a source, and look through it at the target's images.

    Parameters
    ----------
    target, source : Domain
        The source with labelled samples and the COCO checkpoint.
    size : int
        Pixels of the images' longer side.
    folder : Path
        Where it goes.

    Returns
    -------
    Domain
        The source with its detector; what it sees is known, so that the file may go.
    """
    trained = replace(source, detector=train_shortly(source, size, folder))
    trained.view_of(target)
    return trained


def measured_pace(target: Domain, sources: Sequence[Domain], size: int) -> Pace:
    """Find out how fast this machine is, by a very short training.

    Parameters
    ----------
    target : Domain
        With the COCO checkpoint.
    sources : sequence of Domain
        Those that may have to be learned first.
    size : int
        Pixels of the images' longer side.

    Returns
    -------
    Pace

    Raises
    ------
    DataError
        When fewer than two images of the target are labelled.
    """
    try:
        step, besides = time_trial(target, size)
        batch = min(BATCH, len(halves(target)[0][0]))
    except UndefinedMeasure as why:
        raise DataError(f"{why} ({target.name}); label more, or leave --budget out") from None
    step = max(step, 1e-3)
    prepare = {
        source.name: 0.0 if source.detector is not None
        else besides + step * SOURCE_STEPS * BATCH / batch
        for source in sources
    }
    return Pace(2 * step, besides / step, prepare)


def in_words(seconds: float) -> str:
    """Give a time as a reader says it.

    Examples
    --------
    >>> in_words(41.2), in_words(600), in_words(5400)
    ('42 s', '10 min', '1 h 30 min')
    """
    whole = int(-(-seconds // 1))
    if whole < 120:
        return f"{whole} s"
    minutes = -(-whole // 60)
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if not hours else f"{hours} h" + (f" {rest} min" if rest else "")


def _measured(standing: Standing) -> Measured:
    value = standing.value
    return Measured(
        value.value, "higher", value.low, value.high,
        words=f"{100 * value.value:+.0f} points over plain fine-tuning, both for "
              f"{standing.steps} steps",
    )


def _said(standings: dict[str, Standing], open_places: int, seconds: float) -> str:
    steps = sorted({standing.steps for standing in standings.values()})
    length = f"{steps[0]} to {steps[-1]} steps" if len(steps) > 1 else f"{steps[0]} steps"
    return (f"proxies of {len(standings)} of the {open_places} sources whose places are open, "
            f"of {length}, within {in_words(seconds)}")
