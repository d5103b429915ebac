"""Every command that writes: killed within its writes it leaves the old or the new, whole."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.reliability.conftest import World, assert_nothing_is_torn, last_line, mounted
from tests.reliability.lives import Ended, Life, Trap

pytestmark = pytest.mark.slow

KILLS = 6  # of each command


def content(folder: Path) -> dict[str, bytes]:
    """What a user finds: names and bytes of all files, without what is hidden."""
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part[0] == "." for part in file.relative_to(folder).parts)
    }


def writes(events: list[str]) -> int:
    return sum(not re.search(r"/(images|labels)/", event) for event in events)


@pytest.fixture
def places(world: World, tmp_path: Path) -> Mapping[str, Path]:
    shelf, voc = world.folder / "shelf", world.folder / "voc-source"
    if not voc.exists():
        ended = world.nursery.begin("export", "voc", shelf / "near/data.yaml", "--out", voc).end()
        assert ended.status == 0, ended.err
    return {name: shelf / name / "data.yaml" for name in ("new", "near", "far")} | {
        "voc": voc, "out": tmp_path / "place" / "out",
    }


@pytest.mark.parametrize(("before", "command"), [
    ("split {near} --out {out}", "split {near} --out {out} --seed 3 --shares 0.5 0.25 0.25"),
    ("import voc {voc} --out {out}", "import voc {voc} --out {out} --split train"),
    (None, "split {near} --out {out}"),
    (None, "import voc {voc} --out {out}"),
    (None, "export coco {near} --out {out}"),
    (None, "export voc {near} --out {out}"),
    ("check {new} --out {out}", "check {new} {near} --out {out}"),
])
def test_a_killed_command_leaves_the_old_or_the_new(
    world: World, places: Mapping[str, Path], before: str | None, command: str
) -> None:
    out = places["out"]

    def words(text: str) -> list[str]:
        return text.format(**places).split()

    def begin(text: str, trap: Trap | None = None) -> tuple[Life, Ended]:
        life = world.nursery.begin(*words(text), trap=trap)
        return life, life.end()

    def prepared() -> dict[str, bytes]:
        if out.parent.exists():
            shutil.rmtree(out.parent)
        out.parent.mkdir(parents=True, exist_ok=True)
        if before is not None:
            ended = begin(before)[1]
            assert ended.status == 0, ended.err
        return content(out)

    old = prepared()
    life, ended = begin(command, Trap(out.parent))
    assert ended.status == 0, ended.err
    new = content(out)
    assert new not in ({}, old)
    chance = random.Random(command)
    total = writes(life.events())
    numbers = sorted(chance.sample(range(1, total + 1), min(KILLS - 1, total - 1)))
    found = []
    for do, number in [("kill", n) for n in (*numbers, total)] + [("tear", 1), ("SIGINT", 2)]:
        assert prepared() == old
        _, ended = begin(command, Trap(out.parent, number, do=do, size=20))
        if do == "SIGINT":
            assert (ended.status, last_line(ended.err)[:21]) == (130, "aoi-tl: interrupted; ")
        else:
            assert ended.status in {-signal.SIGKILL, -signal.SIGXFSZ}, (number, ended.err)
        left = content(out)
        if command.startswith("check"):  # a folder of one file for each dataset, each whole
            assert all(left[name] in (old.get(name), new[name]) for name in left)
        else:
            assert left in (old, new), (do, number)
        found.append(left == new)
        if before is not None or not left:  # an exported folder is not written a second time
            ended = begin(command)[1]
            assert ended.status == 0, ended.err
            assert content(out) == new
    assert not all(found)


def test_a_killed_score_goes_on(world: World, places: Mapping[str, Path], tmp_path: Path) -> None:
    words = ["score", *(str(places[name]) for name in ("new", "near", "far")), "--resume", "--out"]
    whole = tmp_path / "whole"
    life = world.nursery.begin(*words, whole, trap=Trap(whole),
                               env={"AOI_TL_CACHE": str(tmp_path / "cache")})
    assert life.end().status == 0
    total = writes(life.events())
    out = tmp_path / "out"
    # A resumed score writes less than a new one: no folder, no fingerprint.
    for number in range(1, total - 6, max(1, total // KILLS)):
        for do in ("kill", "SIGINT"):
            env = {"AOI_TL_CACHE": str(tmp_path / f"cache-{number}")}
            trap = Trap(out, number, do=do)
            ended = world.nursery.begin(*words, out, trap=trap, env=env).end()
            if do == "SIGINT":
                assert (ended.status, last_line(ended.err)[:21]) == (130, "aoi-tl: interrupted; ")
            else:
                assert ended.status == -signal.SIGKILL
            assert_nothing_is_torn(out)
    ended = world.nursery.begin(*words, out).end()
    assert ended.status == 0, ended.err
    assert content(out) == content(whole)


def test_a_killed_index_holds_what_it_held(
    world: World, places: Mapping[str, Path], tmp_path: Path
) -> None:
    """The database is written by SQLite itself: it is killed by a limit on the size of files."""
    folder = tmp_path / "place"
    folder.mkdir()
    file = folder / "shelf.index"
    env = {"AOI_TL_CACHE": str(tmp_path / "cache")}

    def ranked() -> list[str]:
        out = tmp_path / f"score{len(list(tmp_path.iterdir()))}"
        words = ("score", places["new"], "--index", file, "--out", out)
        ended = world.nursery.begin(*words, env=env).end()
        assert ended.status == 0, ended.err
        rows = json.loads((out / "scores.json").read_text())["sources"]
        return sorted(row["name"] for row in rows)

    def index(name: str, trap: Trap | None = None) -> int:
        words = ("index", file, places[name], "--clusters", 3)
        ended = world.nursery.begin(*words, trap=trap, env=env).end()
        if ended.status == 130:
            assert last_line(ended.err).startswith("aoi-tl: interrupted; ")
        return ended.status

    kills = 0
    for size in (1, 600, 5_000, 9_000, 13_000):  # a new index: absent, or as good as new
        status = index("near", Trap(folder, at=r"shelf\.index", do="tear", size=size))
        kills += status == -signal.SIGXFSZ
        assert status in {0, -signal.SIGXFSZ}
        assert index("near") == 0
        assert ranked() == ["near"]
        file.unlink()
    assert index("near") == 0
    for size in (1, 600, 5_000, 9_000, 13_000):
        status = index("far", Trap(folder, at=r"shelf\.index", do="tear", size=size))
        kills += status == -signal.SIGXFSZ
        assert ranked() in (["near"], ["far", "near"])
    assert kills >= 5
    assert index("far", Trap(folder, at=r"shelf\.index", do="SIGINT")) == 130
    assert index("far") == 0
    assert ranked() == ["far", "near"]


def classification(folder: Path) -> Path:
    """A small classification, with its images."""
    from aoi_tl.synthetic.surfaces import write_surfaces

    few = {"No Defect": 2, "Over Melting": 1}
    write_surfaces(folder / "lithium", "lithium", {"train": few, "test": few}, 32)
    write_surfaces(folder / "steel", "steel", {"train": {"patches": 4, "scratches": 4}}, 32)
    experiment = folder / "experiment.yaml"
    experiment.write_text(yaml.safe_dump({
        "method": "cdg", "target": {"path": "lithium"}, "source": {"path": "steel"},
        "encoder": "yolov8n.yaml", "weights": "random", "seeds": [0], "arms": ["plain", "cdg"],
        "train": {"epochs": 1, "image_size": 32, "batch": 2, "blocks": {"source": 1, "target": 1}},
        "report": {"robustness": [], "maps": 0, "samples": 2},
    }))
    return experiment


def test_a_disk_too_small_for_the_pixels_is_one_line(world: World, tmp_path: Path) -> None:
    """They are written through memory, where a full disk is a signal that nobody survives."""
    words = ["classify", classification(tmp_path), "--set", "train.image_size=512", "--out"]
    with mounted(tmp_path / "disk", "size=400k") as remount:
        out = tmp_path / "disk" / "out"
        trap = None if remount else Trap(out, at="cache", do="limit", size=300_000)
        ended = world.nursery.begin(*words, out, trap=trap).end()
        assert ended.status == 2, ended.err
        assert str(out) in last_line(ended.err)


def test_a_killed_classification_ends_the_same(world: World, tmp_path: Path) -> None:
    words = ["classify", str(classification(tmp_path)), "--resume", "--out"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    life = world.nursery.begin(*words, whole, trap=Trap(whole))
    ended = life.end()
    assert ended.status == 0, ended.err
    total = writes(life.events())
    chance = random.Random(5)
    kills = 0
    for number in sorted(chance.sample(range(2, total // 2), KILLS)):
        life = world.nursery.begin(*words, out, trap=Trap(
            out, number, do=chance.choice(("kill", "tear")), size=chance.choice((1, 50_000))
        ))
        ended = life.end()
        assert ended.status in {0, -signal.SIGKILL, -signal.SIGXFSZ}, ended.err
        kills += ended.status != 0
        assert_nothing_is_torn(out)
    assert kills >= KILLS // 2
    ended = world.nursery.begin(*words, out, trap=Trap(out, at="arms", do="SIGINT")).end()
    assert (ended.status, last_line(ended.err)[:21]) == (130, "aoi-tl: interrupted; ")
    ended = world.nursery.begin(*words, out).end()
    assert ended.status == 0, ended.err
    apart = {"timings.csv", "report.html"}  # they hold seconds
    one, other = content(whole), content(out)
    assert set(one) == set(other)
    for name in one:
        if name.endswith(".csv") and name not in apart:
            assert one[name] == other[name], name
