"""Lives of the command line that a test can end where it likes.

Importing all that a run needs takes longer than the smallest run. So one process imports it once,
and each life is a fork of that process that calls `aoi_tl.cli.main` with its own words.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
WRITES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.truncate",
          "sqlite3.connect"}


@dataclass(frozen=True)
class Trap:
    """What happens to a life, and when.

    Parameters
    ----------
    folder : Path
        Writes in it are counted: opening a file for writing, renaming, making and removing; not
        the links and label files of a dataset, which are more than all others.
    number : int
        At which of them; or
    at : str
        at the first whose path in the folder this regular expression finds, of those after
        `skip` such.
    do : str
        ``kill``; ``tear`` (killed within the next write that reaches `size` bytes); ``limit``
        (no file can grow beyond `size` bytes); ``full`` (from here on nothing can be written);
        ``move`` (`what` is moved away); or the name of a signal.
    """

    folder: Path
    number: int = 0
    at: str = ""
    skip: int = 0
    do: str = "kill"
    size: int = 0
    what: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Ended:
    """How a life ended: the exit status, negative for a signal, and what it said."""

    status: int
    out: str
    err: str


class Life:
    """One process at work."""

    def __init__(self, pid: int, place: Path, wait: Callable[[], int]) -> None:
        self.pid, self.place, self._wait = pid, place, wait

    def send(self, number: int) -> None:
        """Send a signal to the process alone."""
        os.kill(self.pid, number)

    def events(self) -> list[str]:
        """The writes so far, one ``event path`` each; of a life with a trap."""
        file = self.place / "events"
        return file.read_text().splitlines() if file.is_file() else []

    def end(self, within: float = 300) -> Ended:
        """Wait for the end; a life that lasts too long is killed."""
        clock = threading.Timer(within, lambda: os.kill(self.pid, signal.SIGKILL))
        clock.start()
        try:
            status = self._wait()
        finally:
            clock.cancel()
        out, err = (
            file.read_text() if file.is_file() else ""  # a killed life leaves none
            for file in (self.place / "out", self.place / "err")
        )
        return Ended(status, out, err)


class Nursery:
    """Where lives begin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._born = 0
        self._mother = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.lives"], cwd=REPOSITORY, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "AOI_TL_CACHE": str(folder / "mother"), "OMP_NUM_THREADS": "1"},
        )

    def begin(
        self, *words: object, trap: Trap | None = None, env: Mapping[str, str] | None = None
    ) -> Life:
        """Begin a life with everything imported."""
        place = self._place()
        pid = self._ask(
            words=[str(word) for word in words], place=str(place), env=dict(env or {}),
            trap=None if trap is None else {**vars(trap), "folder": str(trap.folder)},
        )
        return Life(pid, place, lambda: os.waitstatus_to_exitcode(self._ask(wait=pid)))

    def begin_cold(self, *words: object, env: Mapping[str, str] | None = None) -> Life:
        """Begin a life as a user does: a new process that has imported nothing."""
        place = self._place()
        with open(place / "out", "w") as out, open(place / "err", "w") as err:
            process = subprocess.Popen(
                [sys.executable, "-c", "from aoi_tl.cli import main; main()", *map(str, words)],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY),
                     **(env or {})},
            )
        return Life(process.pid, place, process.wait)

    def close(self) -> None:
        """Let the mother go."""
        self._mother.communicate("")

    def _place(self) -> Path:
        self._born += 1
        place = self.folder / f"life{self._born}"
        place.mkdir(parents=True)
        return place

    def _ask(self, **question: Any) -> int:
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        print(json.dumps(question), file=self._mother.stdin, flush=True)
        return int(self._mother.stdout.readline())


@contextmanager
def nursery_in(folder: Path) -> Iterator[Nursery]:
    """Open a nursery for a while."""
    nursery = Nursery(folder)
    try:
        yield nursery
    finally:
        nursery.close()


# ------------------------------------------------------------------------------ within the mother


def _mother() -> None:
    import matplotlib.pyplot  # noqa: F401
    import sklearn.cluster  # noqa: F401

    import aoi_tl.cli
    import aoi_tl.evaluation.comparison
    import aoi_tl.formats
    import aoi_tl.report.page
    import aoi_tl.transfer.trainer
    import aoi_tl.workflows.classify
    import aoi_tl.workflows.score
    import aoi_tl.workflows.transfer  # noqa: F401

    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            answer = os.waitpid(question["wait"], 0)[1]
        else:
            answer = os.fork()
            if not answer:
                _live(**question)
        print(answer, flush=True)


def _live(words: list[str], place: str, env: dict[str, str], trap: dict[str, Any] | None) -> None:
    from aoi_tl.cli import main

    os.setsid()
    os.environ.update(env)
    os.chdir(Path(place).parent)
    said = [os.pipe(), os.pipe()]  # a limit on the size of files is not to reach these
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, (_, write) in enumerate(said, 1):
        os.dup2(write, number)
        os.close(write)
    if trap is not None:
        _set(Trap(**trap), os.open(f"{place}/events", os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    sys.argv = ["aoi-tl", *words]
    status = 0
    try:
        main()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for number, (read, _) in enumerate(said, 1):
        os.close(number)
        Path(place, ("out", "err")[number - 1]).write_bytes(os.read(read, 1 << 20))
    os._exit(status)


def _set(trap: Trap, events: int) -> None:
    root, count, matched, sprung, full = str(trap.folder), 0, 0, False, False

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count, matched, sprung, full
        if event == "open":
            flags = arguments[2]
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event not in WRITES:
            return
        path = arguments[1] if event in {"os.rename", "os.symlink"} else arguments[0]
        if not isinstance(path, str | os.PathLike) or not str(path).startswith(root):
            return
        inside = os.path.relpath(str(path), root)
        os.write(events, f"{event} {inside}\n".encode())
        if re.search(r"/(images|labels)/", inside):
            return  # links and label files, so many that they would hide all else
        count += 1
        if full and event in {"open", "os.rename", "os.mkdir"}:
            raise OSError(28, "No space left on device", str(path))
        matched += bool(trap.at and re.search(trap.at, inside))
        if sprung or (count != trap.number and matched <= trap.skip):
            return
        sprung = True
        if trap.do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif trap.do in {"tear", "limit"}:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (trap.size, resource.RLIM_INFINITY))
            signal.signal(
                signal.SIGXFSZ, signal.SIG_DFL if trap.do == "tear" else signal.SIG_IGN
            )
        elif trap.do == "full":
            full = True
            raise OSError(28, "No space left on device", str(path))
        elif trap.do == "move":
            shutil.move(*trap.what)
        else:
            os.kill(os.getpid(), getattr(signal, trap.do))
            time.sleep(0.01)  # the handler runs before the next line

    sys.addaudithook(watch)


if __name__ == "__main__":
    _mother()
