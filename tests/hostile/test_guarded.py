"""Whole runs on hostile datasets: nothing runs, nothing is fetched, installed or told to anybody.

The datasets' label caches and arrays would leave a mark when they are unpickled, their YAML has a
script to download with, and a checkpoint asks for a package that is not there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aoi_tl.synthetic.surfaces import write_surfaces
from tests.drawn import draw_dataset
from tests.fuzz.readers import tiny_checkpoint
from tests.hostile import guard
from tests.hostile.corpus import Trap, link, pipe
from tests.hostile.files import as_missing, saved
from tests.test_read_only import classification, every, spoil, state

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def detection(folder: Path, weights: Path, trusted: bool = False) -> Path:
    file = folder / f"{weights.stem}-{trusted}.yaml"
    file.write_text(yaml.safe_dump({
        "target": every(folder / "data")[0], "sources": every(folder / "data")[1:2],
        "weights": str(weights), "weights_may_run_code": trusted, "seeds": [0],
        "arms": ["stock", "method"], "score": {"n_clusters": 2},
        "train": {"epochs": 1, "batch": 4, "imgsz": 32, "nbs": 4, "workers": 0, "plots": True},
    }))
    return file


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("guarded")
    data = folder / "data"
    for seed, name in enumerate(("new", "near", "far")):
        file = draw_dataset(data / name, {"dent": 3, "划痕": 2}, seed=seed)
        spoil(file.parent, folder / "sprung")
        with file.open("a") as opened:
            opened.write(f"download: |\n  open({str(folder / 'sprung')!r}, 'w')\n")
    # What lies in a dataset's folder without being of it is neither read nor waited for.
    pipe(data / "near" / "images" / "train" / "train9.png")
    link(data / "near" / "images" / "train" / "train8.png", "/dev/zero")
    link(data / "near" / "labels" / "val.cache", folder / "sprung")
    few = {"No Defect": 2, "Inked": 2}
    write_surfaces(data / "lithium", "lithium", {"train": few, "test": few}, 32)
    write_surfaces(data / "steel", "steel", {"train": {"patches": 4, "scratches": 4}}, 32)
    tiny, missing, payload = (folder / f"{name}.pt" for name in ("tiny", "missing", "payload"))
    tiny.write_bytes(tiny_checkpoint(folder))
    as_missing(missing)
    saved({"model": Trap(folder / "trusted")})(payload)
    labels = str(classification(data, folder / "runs" / "e"))

    def classify(encoder: Path, out: str, *more: str) -> list[str]:
        return ["classify", labels, "--out", f"{folder}/runs/{out}", "--set", f"encoder={encoder}",
                "--set", "weights=hub", *more]

    commands = {
        "score": ["score", *every(data), "--out", f"{folder}/runs/s"],
        "check": ["check", *every(data), "--out", f"{folder}/runs/c"],
        "run": ["run", str(detection(folder, tiny)), "--out", f"{folder}/runs/r"],
        "run, trusted": ["run", str(detection(folder, tiny, True)), "--out", f"{folder}/runs/t",
                         "--set", "arms=[stock]"],
        "classify": ["classify", labels, "--out", f"{folder}/runs/l"],
        "missing": ["run", str(detection(folder, missing)), "--out", f"{folder}/runs/m"],
        "missing, trusted": ["run", str(detection(folder, missing, True)), "--out",
                             f"{folder}/runs/m2"],
        "payload": ["run", str(detection(folder, payload)), "--out", f"{folder}/runs/p"],
        "payload, classify": classify(payload, "p3"),
    }
    before = state(data)
    ran = guarded(folder, commands)
    untrusted = (folder / "trusted").exists()
    also = guarded(folder, {"payload, trusted": [
        "run", str(detection(folder, payload, True)), "--out", f"{folder}/runs/p2"]})
    (folder / "trusted").rename(folder / "trusted to run")
    more = guarded(folder, {"payload, classify, trusted": classify(
        payload, "p4", "--set", "weights_may_run_code=true")})
    return {**ran, "folder": folder, "ends": {**ran["ends"], **also["ends"], **more["ends"]},
            "untrusted": untrusted, "same": state(data) == before}


def guarded(folder: Path, commands: dict[str, list[str]]) -> dict[str, object]:
    """Run commands in a process of their own, with a home, a cache and installers of their own."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("pip", "pip3", "uv", "conda", "apt-get", "curl", "wget"):
        (tools / name).write_text(f"#!/bin/sh\ntouch {folder}/installed\n")
        (tools / name).chmod(0o755)
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    job, report = folder / "job.json", folder / "report.json"
    job.write_text(json.dumps({"report": str(report), "commands": list(commands.values())}))
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "LANG") if name in os.environ}
    subprocess.run(
        [sys.executable, "-m", "tests.hostile.guard", str(job)], cwd=ROOT, check=True, timeout=600,
        env={**kept, "PATH": f"{tools}:/usr/bin:/bin", "HOME": str(folder / "home"),
             "TMPDIR": str(folder / "tmp"), "AOI_TL_CACHE": str(folder / "cache"),
             "NUMBA_CACHE_DIR": str(folder / "cache"),
             "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
    )
    found = json.loads(report.read_text())
    return {**found, "ends": dict(zip(commands, found["ends"], strict=True))}


def test_the_runs_are_done(done) -> None:
    for name in ("score", "check", "run", "run, trusted", "classify"):
        assert done["ends"][name] == "done", name


def test_nothing_of_a_dataset_is_run(done) -> None:
    assert not (done["folder"] / "sprung").exists()


def test_nothing_of_a_dataset_is_changed(done) -> None:
    assert done["same"]


def test_no_connection_is_tried(done) -> None:
    assert done["reached"] == []


def test_nothing_is_installed(done) -> None:
    assert not (done["folder"] / "installed").exists()
    assert not [line for line in done["started"] if "pip" in line or "install" in line]


def test_nothing_is_written_but_runs_and_caches(done) -> None:
    # Matplotlib keeps a list of the machine's fonts, where its users expect it.
    own = ("runs", "cache", "tmp", "report.json", "home/.cache", "home/.config")
    places = (*(str(done["folder"] / name) for name in own), "/dev/")
    assert {path for path in done["changed"] if not path.startswith(places)} == set()
    kept = {path.parent.name for path in (done["folder"] / "home").rglob("*") if path.is_file()}
    assert kept <= {"matplotlib"}


def test_a_checkpoint_that_asks_for_a_package_is_refused(done) -> None:
    assert "would run aoi_tl_canary_package.start" in done["ends"]["missing"]
    assert "aoi_tl_canary_package" in done["ends"]["missing, trusted"]
    assert all(end.startswith("refused") for name, end in done["ends"].items() if "missing" in name)


def test_a_payload_runs_only_where_the_experiment_lets_it(done) -> None:
    assert "weights_may_run_code" in done["ends"]["payload"]
    assert "weights_may_run_code" in done["ends"]["payload, classify"]
    assert not done["untrusted"]
    assert (done["folder"] / "trusted to run").exists()
    assert done["ends"]["payload, trusted"].startswith("refused: expected a detector")
    assert (done["folder"] / "trusted").exists()
    ended = done["ends"]["payload, classify, trusted"]
    assert ended.startswith("refused: expected a classifier or a detector")


@pytest.mark.parametrize(("event", "arguments", "where"), [
    ("socket.connect", (None, ("192.0.2.1", 80)), "reached"),
    ("socket.getaddrinfo", ("example.org", 80, 0, 0, 0), "reached"),
    ("subprocess.Popen", ("/usr/bin/pip", ["pip", "install", "x"], None, None), "started"),
])
def test_the_guard_sees_and_stops(event, arguments, where, monkeypatch) -> None:
    monkeypatch.setitem(guard.seen, where, [])
    with pytest.raises(PermissionError):
        guard.watch(event, arguments)
    assert len(guard.seen[where]) == 1


def test_the_guard_sees_what_is_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(guard.seen, "changed", [])
    guard.watch("open", (str(tmp_path / "a"), "w", os.O_WRONLY))
    guard.watch("open", (str(tmp_path / "b"), "r", os.O_RDONLY))
    guard.watch("os.symlink", ("/elsewhere", str(tmp_path / "c"), -1))
    assert guard.seen["changed"] == [str(tmp_path / "a"), str(tmp_path / "c")]
