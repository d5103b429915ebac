from __future__ import annotations

import pytest

from aoi_tl.ranking.halving import Pace, affordable, successive_halving
from aoi_tl.ranking.measure import Value


class Machine:
    """A clock that trials move on, and trials of known worth."""

    def __init__(self, worth, step=1.0, start=0.0):
        self.now, self.worth, self.step, self.start = 0.0, worth, step, start
        self.tried: list[tuple[str, int]] = []
        self.plain: set[int] = set()

    def trial(self, name, steps):
        trials = 1 if steps in self.plain else 2  # plain fine-tuning beside it, once a length
        self.plain.add(steps)
        self.now += trials * self.step * (steps + self.start)
        self.tried.append((name, steps))
        return Value(self.worth[name](steps))

    def halve(self, order, seconds, expected=1.0, longest=10**6):
        pace = Pace(expected, self.start, {})
        return successive_halving(
            order, seconds, pace, self.trial, 10, longest, clock=lambda: self.now
        )


def flat(**worth):
    return {name: lambda steps, value=value: value for name, value in worth.items()}


def test_every_round_has_an_equal_share_and_halves_the_field():
    machine = Machine(flat(a=0.1, b=0.4, c=0.2, d=0.3))
    found = machine.halve("abcd", 200)
    # Four and plain fine-tuning have 100 s, then two and plain fine-tuning.
    assert machine.tried == [("a", 20), ("b", 20), ("c", 20), ("d", 20), ("b", 33), ("d", 33)]
    assert list(found) == ["b", "d", "c", "a"]
    assert [standing.rung for standing in found.values()] == [1, 1, 0, 0]
    assert machine.now <= 200


def test_a_late_bloomer_that_stays_in_the_better_half_wins():
    worth = flat(a=0.30, b=0.29, c=0.1, d=0.0) | {"b": lambda steps: steps / 60}
    assert list(Machine(worth).halve("abcd", 200)) == ["b", "a", "c", "d"]


def test_the_budget_decides_how_many_take_part_from_the_top_of_the_order():
    machine = Machine(flat(**dict.fromkeys("abcdefgh", 0.5)))
    assert affordable("abcdefgh", 80, Pace(1.0, 0.0, {}), 10) == 3
    assert set(machine.halve("abcdefgh", 80)) == {"a", "b", "c"}
    assert machine.halve("abcdefgh", 19) == {}
    assert affordable("abc", 100, Pace(1.0, 0.0, {"a": 90.0}), 10) == 0


def test_a_slower_machine_than_expected_stops_in_time():
    machine = Machine(flat(a=0.1, b=0.4, c=0.2, d=0.3), step=1.5)
    found = machine.halve("abcd", 200)
    assert machine.tried[:4] == [("a", 20), ("b", 20), ("c", 20), ("d", 20)]
    assert [name for name, _ in machine.tried[4:]] == ["b", "d"]
    assert machine.now <= 200
    assert list(found)[:2] == ["b", "d"]


def test_no_trial_is_longer_than_the_longest():
    machine = Machine(flat(a=0.1, b=0.4))
    machine.halve("ab", 10_000, longest=50)
    assert {steps for _, steps in machine.tried} == {50}


def test_who_was_dropped_is_not_above_who_went_on():
    # Gains over plain fine-tuning shrink with the length: c's early one is not to be compared.
    worth = {
        "a": lambda steps: 0.9 if steps <= 20 else 0.4, "b": lambda steps: 0.8 - steps / 100,
        "c": lambda steps: 0.5, "d": lambda steps: 0.0,
    }
    found = Machine(worth).halve("abcd", 200)
    values = [standing.value.value for standing in found.values()]
    assert values == sorted(values, reverse=True)
    assert list(found) == ["b", "a", "c", "d"] or list(found) == ["a", "b", "c", "d"]
    assert found["c"].value.value == pytest.approx(0.4)
    assert found["d"].value.value == 0.0
