"""The user's own trackers of experiments: MLflow, TensorBoard and W&B, where they are on.

Ultralytics itself reports to them. Here each stage gets its name there, and nothing else changes.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aoi_tl.files.run_folder import write_atomically

#: Beside the checkpoints, where the processes of a training on several GPUs find it too.
FILE = "tracked.json"


@dataclass(frozen=True)
class Tracked:
    """What a stage is called in a tracker.

    Parameters
    ----------
    name : str
        ``<experiment>/<arm>/<seed>/<stage>``.
    events : Path
        The folder of TensorBoard's events of the whole run; ``tensorboard --logdir`` shows its
        folders by `name`.
    """

    name: str
    events: Path

    def save(self, folder: Path) -> None:
        """Leave it in a stage's folder for its trainer."""
        write_atomically(folder / FILE, json.dumps(
            {"name": self.name, "events": str(self.events)}
        ) + "\n")


def read_tracked(folder: Path) -> Tracked | None:
    """Read what a stage is called; None where no tracker is on."""
    file = folder / FILE
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    return Tracked(found["name"], Path(found["events"]))


@contextmanager
def named_for_trackers(arguments: Any, tracked: Tracked | None) -> Iterator[None]:
    """Let Ultralytics' callbacks find a stage's name where they look for a run's.

    Parameters
    ----------
    arguments : namespace
        The trainer's: ``project`` and ``name`` are put back afterwards.
    tracked : Tracked or None
        Nothing is done for None.
    """
    if tracked is None:
        yield
        return
    from ultralytics.utils import LOGGER

    from aoi_tl.transfer.trainer import patched_attributes  # which imports this

    with ExitStack() as stack:
        # A tracker that cannot be reached says so in a warning, and is then left out.
        stack.callback(LOGGER.setLevel, LOGGER.level)
        LOGGER.setLevel(min(LOGGER.level, logging.WARNING))
        stack.enter_context(patched_attributes(
            arguments, project=tracked.name.partition("/")[0], name=tracked.name
        ))
        board: Any = sys.modules.get("ultralytics.utils.callbacks.tensorboard")
        if getattr(board, "SummaryWriter", None) is not None:
            writer, folder = board.SummaryWriter, tracked.events / tracked.name
            stack.enter_context(patched_attributes(
                board, SummaryWriter=lambda _: writer(str(folder))
            ))
        yield
