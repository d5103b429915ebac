from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from aoi_tl.files.run_folder import UNFINISHED
from tests.drawn import draw_dataset
from tests.reliability.lives import Life, Nursery, Trap, nursery_in
from tests.tiny_detector import tiny_detector

EXPERIMENT = """\
target: new/data.yaml
sources: [near/data.yaml, far/data.yaml]
weights: start.pt
score: {n_clusters: 3}
balance: {minority: {to: 1.0}}
train: {epochs: 2, batch: 4, imgsz: 64, nbs: 8, workers: 0, optimizer: AdamW, lr0: 0.0005,
        warmup_epochs: 0, scale: 0.1, translate: 0.0, close_mosaic: 1}
arms: [stock, method-all]
seeds: [0]
"""


@dataclass(frozen=True)
class Unbroken:
    """A run that nothing happened to."""

    folder: Path
    writes: tuple[str, ...]
    seconds: float


@dataclass
class World:
    """A small experiment, and lives that work on it."""

    folder: Path
    nursery: Nursery

    @property
    def experiment(self) -> Path:
        return self.folder / "shelf" / "experiment.yaml"

    def words(self, out: Path) -> tuple[object, ...]:
        return ("run", self.experiment, "--out", out, "--resume")

    def begin(self, out: Path, trap: Trap | None = None, cold: bool = False) -> Life:
        """Begin or go on with a run; its measured signatures lie beside it."""
        env = {"AOI_TL_CACHE": f"{out}-cache"}
        if cold:
            return self.nursery.begin_cold(*self.words(out), env=env)
        return self.nursery.begin(*self.words(out), trap=trap, env=env)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    from aoi_tl.transfer.training import train_detector

    folder = tmp_path_factory.mktemp("reliability")
    shelf = folder / "shelf"
    with nursery_in(folder / "lives") as nursery:
        draw_dataset(shelf / "new", {"dent": 4, "stain": 2}, seed=1, empty=0)
        draw_dataset(shelf / "near", {"dent": 4, "stain": 3}, seed=2, ground=125, empty=0)
        draw_dataset(shelf / "far", {"dent": 3, "stain": 1}, seed=3, ground=40, empty=0)
        (shelf / "experiment.yaml").write_text(EXPERIMENT)
        # Begins with a detector that finds something: zeros would agree with anything.
        many = draw_dataset(folder / "many", {"dent": 16, "stain": 16}, splits=("train",), empty=0)
        data = folder / "many.yaml"
        data.write_text(
            many.read_text().replace("path: .", f"path: {many.parent}") + "val: images/train\n"
        )
        tiny_detector(folder / "initial.pt", ("dent", "stain"))
        trained = train_detector(
            folder / "initial.pt", data, folder / "start", 0,
            {"epochs": 20, "imgsz": 64, "batch": 8, "nbs": 8, "workers": 0, "device": "cpu",
             "optimizer": "AdamW", "lr0": 0.01, "warmup_epochs": 0, "mosaic": 0.0, "scale": 0.0,
             "translate": 0.0},
        )
        os.replace(trained.best, shelf / "start.pt")
        yield World(folder, nursery)


@pytest.fixture(scope="session")
def unbroken(world: World) -> Unbroken:
    import pandas as pd

    out = world.folder / "unbroken"
    began = time.monotonic()
    life = world.begin(out, Trap(out))
    ended = life.end()
    assert ended.status == 0, ended.err
    assert ended.err == ""
    arms = pd.read_csv(out / "arms.csv")
    assert (arms["map50"] > 0).all(), "two runs of zeros would agree whatever happened to them"
    assert arms["f1"].nunique() == len(arms)
    seconds = time.monotonic() - began
    writes = [line for line in life.events() if not re.search(r"/(images|labels)/", line)]
    return Unbroken(out, tuple(writes), seconds)


def assert_nothing_is_torn(folder: Path) -> None:
    """All that a reader may open can be read; what is not whole yet has a name of its own."""
    import torch

    for file in folder.rglob("*"):
        inside = file.relative_to(folder)
        if not file.is_file() or any(part.startswith(UNFINISHED) for part in inside.parts):
            continue
        if file.suffix == ".json" or (file.name == "done" and inside.parts[0] == "stages"):
            json.loads(file.read_text())
        elif file.suffix == ".csv":
            rows = list(csv.reader(file.read_text().splitlines()))
            assert rows, inside
            assert {len(row) for row in rows} == {len(rows[0])}, inside
        elif file.suffix == ".pt":
            torch.load(file, map_location="cpu", weights_only=False)
        elif file.suffix == ".npz":
            with np.load(file) as found:
                assert all(found[name].size for name in found.files)


def assert_ends_the_same(folder: Path, unbroken: Unbroken) -> None:
    """A run ended as the unbroken one did, to the last bit of every weight, and left no trace."""
    import torch

    assert (folder / "done").is_file()
    for name in ("arms.csv", "per_class.csv", "summary.csv", "counts.csv", "scores.csv"):
        assert (folder / name).read_bytes() == (unbroken.folder / name).read_bytes(), name
    assert stages_timed(folder) == stages_timed(unbroken.folder)
    before, after = (
        {str(file.relative_to(place)): file for file in sorted(place.rglob("*"))}
        for place in (unbroken.folder, folder)
    )
    assert list(before) == list(after), set(before) ^ set(after)
    for name in before:
        if name.endswith(".pt"):
            one, other = (
                torch.load(files[name], map_location="cpu", weights_only=False)["model"]
                for files in (before, after)
            )
            state = other.state_dict()
            assert all(torch.equal(v, state[key]) for key, v in one.state_dict().items()), name
    assert_nothing_is_torn(folder)


def stages_timed(folder: Path) -> list[tuple[str, str]]:
    """The stages in a run's table of times, with their epochs."""
    with (folder / "timings.csv").open(newline="") as file:
        return [(row["stage"], row["epochs"]) for row in csv.DictReader(file)]


def last_line(err: str) -> str:
    """The one line that a life said on its standard error."""
    assert "Traceback" not in err, err
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("aoi-tl: ")
    return lines[0]


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Callable[[str], bool] | None]:
    """A disk of its own, where this machine lets us have one; the way to mount it anew."""
    folder.mkdir()

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False

    if not mount(options):
        yield None
        return
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
