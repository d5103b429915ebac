from __future__ import annotations

import random
import re
import signal
import time
from collections import Counter

import pytest

from tests.reliability.conftest import (
    Unbroken,
    World,
    assert_ends_the_same,
    assert_nothing_is_torn,
)
from tests.reliability.lives import Trap

pytestmark = pytest.mark.slow

KILLS = 30
SEED = 20

PHASES = {
    "writing a checkpoint": r"^stages/[^/]+/(weights/|.*initial)",
    "weighing": r"^stages/.*(test|curves)|(arms|per_class)\.csv",
    "in a stage": r"^stages/",
    "scoring": r"(scores\.|notes\.json)",
    "adapting": r"^(data|samples)|counts\.csv",
    "report": r"(summary|report|curves\.png|arms\.png|done|timings)",
}


def phase(event: str) -> str:
    """What a run is at when it writes this."""
    inside = event.split(" ", 1)[1]
    return next((name for name, words in PHASES.items() if re.search(words, inside)), "start-up")


def test_thirty_kills_and_the_same_arms(world: World, unbroken: Unbroken) -> None:
    """SIGKILL at moments by chance: in time, at a write, within a write, while importing.

    Two of them fall on a write by chance of each phase, so that none is left out.
    """
    chance = random.Random(SEED)
    sizes = Counter(map(phase, unbroken.writes))
    waiting = [*PHASES, *PHASES]
    chance.shuffle(waiting)
    story: list[str] = []
    phases: Counter[str] = Counter()
    journey = 0
    while len(story) < KILLS:
        journey += 1
        out = world.folder / f"journey{journey}"
        while True:
            ways = (("time", 7), ("write", 6), ("tear", 5), ("cold", 2), ("phase", len(waiting)))
            way = chance.choices([name for name, _ in ways], [weight for _, weight in ways])[0]
            if len(waiting) >= KILLS - len(story):
                way = "phase" if waiting else "none"
            moment = round(chance.uniform(0, unbroken.seconds * 2 / 3), 2)
            number = chance.randint(1, len(unbroken.writes) * 2 // 3)
            size = chance.choice((1, 100, 60_000))
            if way == "phase":
                skip = chance.randrange(max(1, sizes[waiting[-1]] // 2))
                trap, when = Trap(out, at=PHASES[waiting[-1]], skip=skip), skip
            elif way in {"write", "tear"}:
                do = "tear" if way == "tear" else "kill"
                trap, when = Trap(out, number, do=do, size=size), number
            else:
                trap, when = Trap(out), moment
            life = world.begin(out, cold=True) if way == "cold" else world.begin(out, trap)
            if way in {"time", "cold"}:
                time.sleep(moment)
                life.send(signal.SIGKILL)
            ended = life.end()
            if ended.status == 0:
                break
            events = life.events()
            at = "imports" if way == "cold" else phase(events[-1]) if events else "start-up"
            if way == "phase":
                at = waiting.pop()
            story.append(f"{way} {when}: {at}")
            told = f"seed {SEED}, journey {journey}, kills so far: {story}\n{ended.err}"
            assert ended.status in {-signal.SIGKILL, -signal.SIGXFSZ}, told
            phases[at] += 1
            assert_nothing_is_torn(out)
        try:
            assert_ends_the_same(out, unbroken)
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}, journey {journey}, kills: {story}") from error
    print(f"{len(story)} kills survived in {journey} runs, at: {dict(phases)}")
    assert set(PHASES) <= set(phases)
