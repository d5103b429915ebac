"""Running tasks: in processes of this machine, or on the machines of a Ray cluster.

A task is a module-level function with plain arguments, so any worker can import and run it. If a
worker is killed, its task runs again. A task must therefore resume or overwrite the results of an
earlier attempt.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

from aoi_tl.errors import EngineError

ENGINES = ("local", "ray")
RETRIES = 3  # how often a task runs again because its worker was killed


@dataclass(frozen=True)
class Task:
    """A task for any worker, with the CPUs and GPUs that it occupies.

    Parameters
    ----------
    name : str
        What messages call it.
    function : callable
        At the top level of a module.
    arguments : tuple
        Anything that can be pickled.
    cpus, gpus : int
        What it asks of the machine that it runs on.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    cpus: int = 1
    gpus: int = 0


class Engine(Protocol):
    """Runs tasks."""

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Run tasks, several at once; give each with its result as it ends.

        An error that a task raises is raised here, and what has not ended is dropped.
        """


class LocalEngine:
    """Runs tasks on this machine: one at a time in this process, several in separate processes.

    Parameters
    ----------
    jobs : int, optional
        Tasks at once; as many as there are cores unless given. With more than one, a script needs
        the ``if __name__ == "__main__":`` that every use of processes in Python needs.

    Examples
    --------
    >>> [(task.name, result) for task, result in LocalEngine(1).run([Task("add", sum, ([1, 2],))])]
    [('add', 3)]
    """

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs or available_cores()

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Run as many tasks at once as there are jobs; their CPUs and GPUs do not count."""
        if self.jobs == 1:
            for task in tasks:
                yield task, task.function(*task.arguments)
            return
        left = list(tasks)
        killed = 0
        while left:
            before = len(left)
            try:
                yield from self._in_processes(left)
            except BrokenProcessPool:
                killed = 1 if len(left) < before else killed + 1
                if killed > RETRIES:
                    raise EngineError(
                        f"expected the worker processes to finish, got one killed {killed} times "
                        f"while {left[0].name} or a task beside it was at work; free some memory, "
                        "or lower --jobs"
                    ) from None

    def _in_processes(self, left: list[Task]) -> Iterator[tuple[Task, Any]]:
        """Run the remaining tasks, and remove finished ones from the list."""
        context = get_context("spawn")  # OpenCV's and torch's threads do not survive a fork
        watched, lifeline = context.Pipe(duplex=False)
        with (
            watched, lifeline,
            ProcessPoolExecutor(self.jobs, context, _start_worker, (watched,)) as pool,
        ):
            try:
                with _deaf_children():
                    futures = {pool.submit(task.function, *task.arguments): task for task in left}
                for future in as_completed(futures):
                    task, result = futures.pop(future), future.result()
                    left.remove(task)
                    yield task, result
            except BaseException:
                lifeline.close()  # the pool itself would wait until every training has ended
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Start processes that ignore Ctrl-C; this process handles it and ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class RayEngine:
    """Runs tasks on the machines of a Ray cluster.

    A task whose worker or machine dies is run again by Ray, up to `RETRIES` times. Every machine
    needs aoi-tl in the same version, and must see the files that a task names.

    Parameters
    ----------
    address : str, optional
        ``host:port`` of the cluster, as ``ray start`` prints it; unless given, what ``RAY_ADDRESS``
        names, else a cluster of this machine alone that ends with `close`.

    Raises
    ------
    EngineError
        When ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, address: str | None = None) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when ray is imported
        try:
            import ray
        except ImportError as error:
            raise EngineError(
                f"expected the package ray, got none ({error}); install it: "
                "pip install 'aoi-tl[ray]'"
            ) from error
        self._ours = not ray.is_initialized()
        if not self._ours:
            return
        address = address or os.environ.get("RAY_ADDRESS") or "local"
        try:
            _knock(address)
            ray.init(
                address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise EngineError(
                f"expected a Ray cluster at {address}, got: {str(error).strip().splitlines()[0]}; "
                "start one (ray start --head), or name another --address"
            ) from error

    def close(self) -> None:
        """Disconnect from the cluster; stop it if it was started here."""
        import ray

        if self._ours:
            ray.shutdown()

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Run tasks wherever the cluster has the requested CPUs and GPUs."""
        import ray

        # Sums of floats depend on how many threads share them: tasks use as many as this process.
        threads = os.environ.get("OMP_NUM_THREADS", "1")
        remotes: dict[Callable[..., Any], Any] = {}
        waiting: dict[Any, Task] = {}
        fit: set[tuple[int, int]] = set()
        try:
            for task in tasks:
                if (task.cpus, task.gpus) not in fit:
                    _refuse_unfit(task)
                    fit.add((task.cpus, task.gpus))
                if task.function not in remotes:
                    remotes[task.function] = ray.remote(task.function)
                asked = remotes[task.function].options(
                    name=task.name, num_cpus=task.cpus, num_gpus=task.gpus, max_retries=RETRIES,
                    runtime_env={"env_vars": {"OMP_NUM_THREADS": threads}},
                )
                waiting[asked.remote(*task.arguments)] = task
            while waiting:
                [ended], _ = ray.wait(list(waiting))
                task = waiting.pop(ended)
                yield task, _result(ended, task)
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)


@contextmanager
def open_engine(
    name: str = "local", address: str | None = None, jobs: int | None = None
) -> Iterator[Engine]:
    """Open an engine by its name, and close it at the end.

    Parameters
    ----------
    name : {"local", "ray"}
    address : str, optional
        Of the Ray cluster.
    jobs : int, optional
        Tasks at once on this machine; as many as there are cores unless given.

    Yields
    ------
    Engine

    Raises
    ------
    EngineError
        When the engine cannot be used, or an option belongs to another engine.
    """
    if name not in ENGINES:
        raise EngineError(f"expected engine to be one of {', '.join(ENGINES)}, got {name!r}")
    if name == "local":
        if address is not None:
            raise EngineError(
                f"expected --address only with --engine ray, got --address {address} with local; "
                "add --engine ray, or leave --address out"
            )
        yield LocalEngine(jobs)
        return
    if jobs is not None and jobs > 1:
        raise EngineError(
            f"expected --jobs only with --engine local, got --jobs {jobs} with ray, which runs as "
            "many tasks as the cluster has room for; leave --jobs out"
        )
    engine = RayEngine(address)
    try:
        yield engine
    finally:
        engine.close()


def granted_gpus() -> str | None:
    """Name the GPUs that Ray assigned to this task, as ``device`` does: ``"3"``, ``"0,1"``.

    Returns
    -------
    str or None
        None outside Ray, and for a task that asked for none.
    """
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    return ",".join(ray.get_runtime_context().get_accelerator_ids()["GPU"]) or None


def _knock(address: str) -> None:
    """Check the address: Ray itself would end this process if nobody answers."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=10).close()


def _refuse_unfit(task: Task) -> None:
    """Refuse an impossible task: Ray itself would wait for ever."""
    import ray

    machines = [
        (int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)))
        for node in ray.nodes() if node["Alive"]
    ]
    if not any(cpus >= task.cpus and gpus >= task.gpus for cpus, gpus in machines):
        have = ", ".join(f"{cpus} CPUs and {gpus} GPUs" for cpus, gpus in machines)
        raise EngineError(
            f"expected a machine with {task.cpus} CPUs and {task.gpus} GPUs for {task.name}, got a "
            f"cluster of {have}; start such a machine (ray start), or set another 'device'"
        )


def _result(reference: Any, task: Task) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception):  # the task's own, without a traceback in its message
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        raise EngineError(
            f"expected the workers of {task.name} to finish, got them killed {RETRIES + 1} times "
            f"({type(error).__name__}); give them more memory, or look at the cluster's logs"
        ) from error


def _start_worker(watched: Connection) -> None:
    import cv2

    cv2.setNumThreads(1)  # one core each: the processes are the parallelism
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()


def _end_with(watched: Connection) -> None:
    # Nothing is ever sent: the pipe ends when who started this process lets go of it, or dies.
    watched.poll(None)
    os._exit(1)


def available_cores() -> int:
    """Count the cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
