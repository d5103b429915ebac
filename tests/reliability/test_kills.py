from __future__ import annotations

import random
import re
import signal
import time
from collections import Counter

from aoi_tl.runs import UNFINISHED
from tests.reliability.conftest import (
    Unbroken,
    World,
    assert_ends_the_same,
    assert_nothing_is_torn,
)
from tests.reliability.lives import Trap

KILLS = 30
SEED = 20

PHASES = {
    "writing a checkpoint": r"^stages/[^/]+/(weights/|initial)",
    "weighing": r"^stages/.*(test|curves)|(arms|per_class)\.csv",
    "in a stage": r"^stages/",
    "scoring": r"(scores\.|notes\.json)",
    "adapting": r"^(data|samples)|counts\.csv",
    "report": r"(summary|report|curves\.png|arms\.png|done|timings)",
}


def phase(events: list[str]) -> str:
    """What a run was at when it wrote last."""
    if not events:
        return "start-up"
    inside = events[-1].split(" ", 1)[1].replace(UNFINISHED, "")
    return next((name for name, words in PHASES.items() if re.search(words, inside)), "start-up")


def test_thirty_kills_and_the_same_arms(world: World, unbroken: Unbroken) -> None:
    """SIGKILL at moments by chance: at a time, at a write, within a write, and while importing."""
    chance = random.Random(SEED)
    story: list[str] = []
    phases: Counter[str] = Counter()
    journey = 0
    while len(story) < KILLS:
        journey += 1
        out = world.folder / f"journey{journey}"
        while True:
            way = chance.choices(("time", "write", "tear", "cold"), (10, 12, 6, 2))[0]
            number = chance.randint(1, unbroken.writes * 2 // 3) if way in {"write", "tear"} else 0
            moment = chance.uniform(0, unbroken.seconds * 2 / 3)
            if len(story) == KILLS:
                way, number = "none", 0
            if way == "cold":
                life = world.begin(out, cold=True)
            else:
                life = world.begin(out, Trap(
                    out, number, do="tear" if way == "tear" else "kill",
                    size=chance.choice((1, 100, 60_000)),
                ))
            if way in {"time", "cold"}:
                time.sleep(moment)
                life.send(signal.SIGKILL)
            ended = life.end()
            if ended.status == 0:
                break
            at = "imports" if way == "cold" else phase(life.events())
            story.append(f"{way} {number or round(moment, 2)}: {at}")
            told = f"seed {SEED}, journey {journey}, kills so far: {story}\n{ended.err}"
            assert ended.status in {-signal.SIGKILL, -signal.SIGXFSZ}, told
            phases[at] += 1
            assert_nothing_is_torn(out)
        try:
            assert_ends_the_same(out, unbroken)
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}, journey {journey}, kills: {story}") from error
    print(f"{len(story)} kills survived in {journey} runs, at: {dict(phases)}")
    assert len(phases) >= 5, phases
