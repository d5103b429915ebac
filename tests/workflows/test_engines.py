"""One grid on every engine: the same tables to the byte, whoever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from aoi_tl import run_experiment
from aoi_tl.caches import signature_cache
from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.engine import LocalEngine, RayEngine, Task, granted_gpus
from aoi_tl.errors import DataError, EngineError
from aoi_tl.experiment.detection import Experiment
from aoi_tl.workflows.chain import Chain, Work
from aoi_tl.workflows.training import train_and_evaluate
from tests.cluster import two_nodes
from tests.drawn import draw_dataset
from tests.test_engine import die, die_once, refuse, square

pytestmark = [pytest.mark.slow, pytest.mark.alone]

TABLES = ("arms.csv", "per_class.csv", "summary.csv", "counts.csv", "scores.csv")
TRAIN = {"epochs": 1, "batch": 4, "imgsz": 64, "nbs": 4, "workers": 0}


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two targets: one with two arms (three trainings), one with one."""
    folder = tmp_path_factory.mktemp("shelf")
    draw_dataset(folder / "new", {"dent": 3, "stain": 1}, seed=1)
    draw_dataset(folder / "near", {"stain": 2, "dent": 5}, seed=2, ground=125)
    files = []
    for target, source, arms in (("new", "near", ["coco", "method-all"]), ("near", "new", "coco")):
        file = folder / f"for-{target}.yaml"
        file.write_text(yaml.safe_dump({
            "target": f"{target}/data.yaml", "sources": f"{source}/data.yaml", "arms": arms,
            "weights": "yolov8n.yaml", "train": TRAIN, "seeds": [0], "score": {"n_clusters": 3},
        }))
        files.append(file)
    return files


@pytest.fixture(scope="module")
def expected(
    experiments: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The tables of both, from this process alone."""
    folder = tmp_path_factory.mktemp("alone")
    for file in experiments:
        run_experiment(file, folder / file.stem)
    return tables(folder, experiments)


def tables(folder: Path, experiments: list[Path]) -> dict[str, bytes]:
    return {
        f"{file.stem}/{name}": (folder / file.stem / name).read_bytes()
        for file in experiments for name in TABLES
    }


def wait_for(found: Callable[[], object], seconds: float = 1200) -> None:
    deadline = time.monotonic() + seconds
    while not found() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found()


def kill_when(mark: Path, victims: Callable[[], list[psutil.Process]]) -> threading.Thread:
    """Kill processes as soon as a file is there, from a thread."""

    def kill() -> None:
        wait_for(mark.exists)
        for victim in victims():
            victim.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_killed_process_leaves_the_same_tables(
    experiments: list[Path], expected: dict[str, bytes], tmp_path: Path
) -> None:
    file = experiments[1]

    def workers() -> list[psutil.Process]:
        found = [child for child in psutil.Process().children()
                 if "spawn_main" in " ".join(child.cmdline())]
        assert found
        return found[:1]

    mark = tmp_path / file.stem / "stages" / "coco-s0-target" / "initial.pt"
    killing = kill_when(mark, workers)
    run_experiment(file, tmp_path / file.stem, jobs=2)
    killing.join()
    assert tables(tmp_path, [file]).items() <= expected.items()


# ------------------------------------------------------------------------------------------- Ray


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with two_nodes() as found:
        yield found


@pytest.fixture(scope="module")
def ray_engine(address: str) -> Iterator[RayEngine]:
    engine = RayEngine(address)
    yield engine
    engine.close()


def ray_workers(name: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter()
            if process.name().startswith("ray::") and name in process.name()]


def test_ray_runs_tasks_and_those_of_killed_workers_again(
    ray_engine: RayEngine, tmp_path: Path
) -> None:
    tasks = [Task(f"square {n}", square, (n,)) for n in range(5)]
    found = {task.name: result for task, result in ray_engine.run(tasks)}
    assert found == {f"square {n}": n * n for n in range(5)}
    again = [Task(f"n {n}", die_once, (tmp_path, n)) for n in range(6)]
    assert sorted(result for _, result in ray_engine.run(again)) == list(range(6))
    assert (tmp_path / "3").exists()


def test_a_task_is_told_which_gpus_it_was_lent(ray_engine: RayEngine) -> None:
    tasks = [Task("on a GPU", granted_gpus, gpus=1), Task("on CPU", granted_gpus)]
    assert {task.name: lent for task, lent in ray_engine.run(tasks)} == {
        "on a GPU": "0", "on CPU": None,
    }
    assert granted_gpus() is None


def test_faults_on_ray_are_one_line(ray_engine: RayEngine, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^expected so, got otherwise; correct it$"):
        list(ray_engine.run([Task("refuse", refuse)]))
    with pytest.raises(EngineError, match=r"2 GPUs for a-training, got a cluster of 1 CPUs and 1"):
        list(ray_engine.run([Task("a-training", square, (1,), gpus=2)]))
    with pytest.raises(EngineError, match="expected the workers of die to finish") as error:
        list(ray_engine.run([Task("die", die)]))
    assert "\n" not in str(error.value)
    absent = Work(
        tmp_path / "nowhere", "", Experiment(target="t", sources=("s",)), Chain("coco", "backbone"),
        0, tmp_path / "a.pt", tmp_path / "data" / "t" / "data.yaml", 1,
    )
    with pytest.raises(EngineError, match=r"expected the machine .* to see .*nowhere, as the"):
        list(ray_engine.run([Task("coco-s0", train_and_evaluate, (absent,))]))


def test_ray_measures_the_same_signatures(
    ray_engine: RayEngine, experiments: list[Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = sorted(experiments[0].parent.rglob("*.png"))
    assert len(images) > 20
    with SignatureCache(tmp_path / "here", LocalEngine(1)) as cache:
        expected = cache.signatures(images, 3)
    monkeypatch.setattr(signature_cache, "_TRIAL", 4)
    monkeypatch.setattr(signature_cache, "_CHUNK", 4)
    monkeypatch.setattr(signature_cache, "_SHARD", 5)
    monkeypatch.setattr(signature_cache, "_WORTH_WORKERS", 0.0)
    with SignatureCache(tmp_path / "there", ray_engine) as cache:
        assert cache.signatures(images, 3) == expected
        assert cache.note is None
        assert cache.signatures(images, 3) == expected


def test_a_grid_goes_on_after_workers_and_driver_are_killed(
    address: str, experiments: list[Path], expected: dict[str, bytes], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", "from aoi_tl.cli import main; main()", "run",
               *map(str, experiments), "--resume"]
    named = [*command, "--engine", "ray", "--address", address]
    # The experiment's own key and Ray's own variable say the same.
    found = [*command, "--set", "engine=ray"]
    environment = {**os.environ, "RAY_ADDRESS": address}
    stages = tmp_path / "runs" / experiments[0].stem / "stages"

    driver = subprocess.Popen(named, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    killing = kill_when(
        stages / "method-all-s0-source" / "initial.pt",
        lambda: ray_workers("train_and_evaluate")[:1],
    )
    killing.join()
    wait_for((stages / "coco-s0-target" / "test.json").exists)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert not list((tmp_path / "runs").glob("*/done"))

    again = subprocess.run(found, cwd=tmp_path, capture_output=True, text=True, check=False,
                           env=environment)
    assert again.returncode == 0, again.stderr
    assert len(list((tmp_path / "runs").glob("*/done"))) == 2
    assert tables(tmp_path / "runs", experiments) == expected
