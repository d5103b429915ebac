"""Run folders: their owner, their finished stages, and atomic writes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

from aoi_tl.errors import RunError

if TYPE_CHECKING:
    import pandas

PACKAGES = (
    "ultralytics", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "opencv-python",
    "albumentations", "pandas", "POT",
)

#: How the name of a file or folder begins that is not whole yet; a kill may leave it behind.
UNFINISHED = ".unfinished-"

#: What a write meets where there is no room, or no right to write any more.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}

_locks: set[IO[str]] = set()
# A lock belongs to all who hold the open file: without this, a data-loading process that outlives
# a killed run by seconds would keep the next one out.
os.register_at_fork(after_in_child=lambda: [lock.close() for lock in _locks])


class RunFolder:
    """A folder that belongs to one run.

    Opened by ``open_run``, which locks it; all that is written through it is written whole.

    Attributes
    ----------
    path : Path
        The folder, absolute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def is_done(self) -> bool:
        """Whether the run has ended: its marker is the last file written."""
        return (self.path / "done").is_file()

    def mark_done(self) -> None:
        """Write the marker, as the last file of the run."""
        write_atomically(self.path / "done", "")

    def write(self, name: str, content: str | bytes) -> Path:
        """Write one file of the run atomically."""
        return write_atomically(self.path / name, content)

    def write_json(self, name: str, value: object) -> Path:
        """Write a JSON file of the run."""
        return self.write(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run, or ``None`` where it has not been written."""
        file = self.path / name
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def write_table(self, name: str, table: pandas.DataFrame) -> Path:
        """Write a CSV table of the run."""
        return self.write(name, table.to_csv(index=False, lineterminator="\n"))

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Acquire this lock file of the run; wait if another process holds it."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _locks.add(lock)
            try:
                yield
            finally:
                _locks.discard(lock)


def folder_name(name: str) -> str:
    """Convert a user's name to a folder name.

    Examples
    --------
    >>> folder_name("lineA/dataset")
    'lineA+dataset'
    """
    return name.replace("/", "+").replace("\\", "+")


def stage_name(arm: str, seed: int, images: object = None) -> str:
    """The prefix of the folders of an arm's stages.

    Parameters
    ----------
    arm : str
    seed : int
    images : int or str, optional
        How many of the target's labelled images it saw; not given and ``all`` are one.

    Returns
    -------
    str

    Examples
    --------
    >>> stage_name("stock", 0), stage_name("stock", 0, 10)
    ('stock-s0', 'stock-n10-s0')
    """
    arm = folder_name(arm)  # it may name its source: chain@lineA/dataset
    return f"{arm}-s{seed}" if images in (None, "all") else f"{arm}-n{images}-s{seed}"


@contextmanager
def open_run(
    path: str | Path, fingerprint: Mapping[str, Any], resume: bool = False,
    may_grow: Mapping[str, bool] = MappingProxyType({}),
) -> Iterator[RunFolder]:
    """Open a run folder with an exclusive lock.

    Parameters
    ----------
    path : str or Path
        The folder; made where it does not exist.
    fingerprint : mapping
        What makes two runs the same: settings and data. Compared key by key on resuming.
    resume : bool
        Go on in a folder that already holds this run.
    may_grow : mapping of str to bool
        Lists and mappings of the fingerprint that may hold more on resuming, such as
        ``experiment.seeds``: all that was there stays. True where the first of a list stays first.

    Yields
    ------
    RunFolder
        Locked until the block ends, and free of what an earlier run had not finished writing.

    Raises
    ------
    RunError
        When the folder cannot be written, is in use, holds files and ``resume`` is not asked, or
        holds another experiment's run.
    """
    folder = Path(path).absolute()
    if folder.exists() and not folder.is_dir():
        raise RunError(f"expected a run folder at {folder}, got a file; choose another --out")
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise RunError(
            f"expected a new run folder, got {folder}, which holds files; add --resume to go on "
            "with that run, or choose another --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock: IO[str] = (folder / ".lock").open("a")
    except OSError as error:
        raise RunError(
            f"expected a folder that can be written at {folder}, got {error.strerror}; "
            "choose another --out or make room"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"expected {folder} to be free, got another run using it; wait for it to end, or "
                "choose another --out"
            ) from None
        _locks.add(lock)
        try:
            run = RunFolder(folder)
            _claim(run, json.loads(json.dumps(fingerprint)), may_grow)
            _sweep(folder)
            yield run
        except OSError as error:  # from a library: what we write ourselves says so itself
            inside = str(error.filename or "").startswith(str(folder))
            if inside or error.errno in NO_ROOM:
                raise _unwritable(error.filename or folder, error) from error
            raise
        finally:
            _locks.discard(lock)


def _claim(
    run: RunFolder, fingerprint: dict[str, Any], may_grow: Mapping[str, bool]
) -> None:
    before = run.read_json("fingerprint.json")
    if before is None:
        run.write_json("fingerprint.json", fingerprint)
        return
    there, here = _flat(before), _flat(fingerprint)
    differing = [key for key in there | here if there.get(key) != here.get(key)]
    changed = [key for key in differing if not _has_grown(key, there, here, may_grow)]
    if changed:
        differences = [
            f"{key.removeprefix('experiment.')}: {_brief(there.get(key))} there, "
            f"{_brief(here.get(key))} here" for key in changed[:3]
        ]
        more = f", and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise RunError(
            f"expected {run.path} to hold this run, got one that differs in "
            f"{', '.join(differences)}{more}; choose another --out"
        )
    if differing:
        (run.path / "done").unlink(missing_ok=True)  # there is more to do now
        run.write_json("fingerprint.json", fingerprint)


def _flat(value: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """The values of nested mappings by dotted keys."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{place}{key}.") if isinstance(inner, dict) else {
            f"{place}{key}": inner
        }
    return found


def _has_grown(
    key: str, there: Mapping[str, Any], here: Mapping[str, Any], may_grow: Mapping[str, bool]
) -> bool:
    old, new = there.get(key), here.get(key)
    if key not in may_grow:  # a new key of a mapping that may grow
        return old is None and any(key.startswith(f"{known}.") for known in may_grow)
    return (
        isinstance(old, list) and isinstance(new, list) and all(one in new for one in old)
        and (not may_grow[key] or old[:1] == new[:1])
    )


def _sweep(folder: Path) -> None:
    """Remove the unfinished files of a killed run."""
    for place, folders, files in os.walk(folder):
        for name in [name for name in (*folders, *files) if name.startswith(UNFINISHED)]:
            if name in folders:
                folders.remove(name)
                shutil.rmtree(os.path.join(place, name))
            else:
                os.unlink(os.path.join(place, name))


def _unwritable(path: str | Path, error: OSError) -> RunError:
    return RunError(
        f"expected to write {path}, got {error.strerror}; make room and try again (a run goes "
        "on with --resume)"
    )


def _brief(value: object) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{32,}", value):  # a hash
        return f"{value[:12]}..."
    return text if len(text) <= 60 else text[:57] + "..."


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write a file atomically: it is complete or absent.

    Parameters
    ----------
    path : Path
        Where; its folder is made where it does not exist.
    content : str or bytes
        Text is written as UTF-8.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    RunError
        When it cannot be written, as on a full disk.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder, "a.csv"), "arm,seed").read_text()
    'arm,seed'
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{UNFINISHED}{path.name}-")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise
    return path


def environment(**extra: object) -> dict[str, Any]:
    """Describe the machine and the versions of a run.

    Parameters
    ----------
    **extra
        Seeds, device, fingerprints of data and checkpoints.

    Returns
    -------
    dict
        Versions of Python and of the packages that matter, the machine, threads, and ``extra``;
        nothing in it changes between two equal runs on one machine.
    """
    import importlib.metadata
    import platform

    versions = {}
    for package in ("aoi-tl", *PACKAGES):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "packages": versions,
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
        **extra,
    }


def file_hash(path: Path) -> str:
    """Give the SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
