from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aoi_tl.engine import LocalEngine, RayEngine, Task, open_engine
from aoi_tl.errors import DataError, EngineError


def square(number: int) -> int:
    return number * number


def refuse() -> None:
    raise DataError("expected so, got otherwise; correct it")


def die_once(folder: Path, number: int) -> int:
    """Kill the worker at the first attempt, as the kernel does where memory ends."""
    mark = folder / str(number)
    if number == 3 and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_long(folder: Path) -> None:
    (folder / str(os.getpid())).write_text("")
    time.sleep(600)


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_task_is_given_with_its_result(jobs: int) -> None:
    tasks = [Task(f"square {n}", square, (n,)) for n in range(7)]
    found = {task.name: result for task, result in LocalEngine(jobs).run(tasks)}
    assert found == {f"square {n}": n * n for n in range(7)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_a_task_is_raised_as_it_is(jobs: int) -> None:
    with pytest.raises(DataError, match=r"^expected so, got otherwise; correct it$"):
        list(LocalEngine(jobs).run([Task("refuse", refuse)]))


def test_the_task_of_a_killed_process_runs_again(tmp_path: Path) -> None:
    tasks = [Task(f"n {n}", die_once, (tmp_path, n)) for n in range(6)]
    assert sorted(result for _, result in LocalEngine(2).run(tasks)) == list(range(6))
    assert (tmp_path / "3").exists()


def test_a_task_that_always_kills_its_process_is_told_in_one_line() -> None:
    words = r"expected the worker processes to finish.* die "
    with pytest.raises(EngineError, match=words) as error:
        list(LocalEngine(2).run([Task("die", die)]))
    assert "\n" not in str(error.value)


def gone(process: int) -> bool:
    """Whether a process has ended (one that nobody has buried yet has)."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_process_that_started_them(
    tmp_path: Path, end: signal.Signals
) -> None:
    code = (
        "import pathlib, sys\n"
        "from aoi_tl.engine import LocalEngine, Task\n"
        "from tests.test_engine import sleep_long\n"
        "tasks = [Task(str(n), sleep_long, (pathlib.Path(sys.argv[1]),)) for n in range(2)]\n"
        "list(LocalEngine(2).run(tasks))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    driver = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(file.name) for file in tmp_path.iterdir()]
    assert len(workers) == 2
    driver.send_signal(end)
    driver.wait(30)
    while not all(map(gone, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(gone, workers))


@pytest.mark.parametrize(
    ("name", "address", "words"),
    [("rey", None, "local, ray"), ("local", "10.0.0.1:6379", "--engine ray")],
)
def test_an_engine_that_cannot_be_is_told(name: str, address: str | None, words: str) -> None:
    with pytest.raises(EngineError, match=words), open_engine(name, address):
        pass


def test_jobs_are_of_this_machine() -> None:
    with pytest.raises(EngineError, match="--engine local"), open_engine("ray", jobs=2):
        pass


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"pip install 'aoi-tl\[ray\]'"), open_engine("ray"):
        pass


def test_an_address_without_a_cluster_is_one_line() -> None:
    for address in ("127.0.0.1:1", "localhost:port"):
        with pytest.raises(EngineError, match=f"expected a Ray cluster at {address}") as error:
            RayEngine(address)
        assert "\n" not in str(error.value)


@pytest.mark.alone
def test_ray_without_an_address_is_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with open_engine("ray") as engine:
        assert [result for _, result in engine.run([Task("square", square, (3,))])] == [9]
        assert len(ray.nodes()) == 1
    assert not ray.is_initialized()
