"""Which images a piece of work opens, as Python itself reports it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

IMAGES = (".png", ".jpg")


@dataclass
class Work:
    """One training, validation or prediction, and the images that were opened for it.

    Parameters
    ----------
    kind : {"train", "validate", "predict"}
    stage : str
        The stage's name; empty for predictions.
    opened : set of str
        ``dataset/split`` paths relative to the watched folder, links resolved.
    """

    kind: str
    stage: str
    opened: set[str] = field(default_factory=set)


_UNDER_WAY: list[tuple[Path, Work]] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _UNDER_WAY and isinstance(arguments[0], str | bytes | os.PathLike):
        name = os.fsdecode(arguments[0])
        if name.endswith(IMAGES):
            folder, work = _UNDER_WAY[-1]
            real = Path(os.path.realpath(name))
            if real.is_relative_to(folder):
                work.opened.add(str(real.relative_to(folder)))


sys.addaudithook(_note)  # for the life of the process: it has no removal


@contextmanager
def watched(folder: Path) -> Iterator[list[Work]]:
    """Collect every training, validation and prediction of detectors in this process, in order."""
    from aoi_tl.transfer import detectors, inspector, stage, validation

    folder, done = folder.resolve(), []
    names = {
        (stage, "train_stage"): lambda asked, *_, **__: ("train", asked.folder.name),
        (detectors, "train_stage"): lambda asked, *_, **__: ("train", asked.folder.name),
        (validation, "validate_detector"):
            lambda checkpoint, data, out, *_, **__: ("validate", out.parent.name),
        (inspector, "predict_samples"): lambda *_: ("predict", ""),
    }
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), describe in names.items():
            patch.setattr(module, name, _watch(getattr(module, name), describe, folder, done))
        yield done


def _watch(function: Any, describe: Any, folder: Path, done: list[Work]) -> Any:
    def watching(*arguments: Any, **settings: Any) -> Any:
        work = Work(*describe(*arguments, **settings))
        done.append(work)
        _UNDER_WAY.append((folder, work))
        try:
            return function(*arguments, **settings)
        finally:
            _UNDER_WAY.pop()

    return watching
