"""Ultralytics set up safely: restricted loading, no installs, no network."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from aoi_tl.errors import RunError
from aoi_tl.files.cache_folder import cache_folder

#: The trackers of experiments that a user may have turned on in Ultralytics' settings.
TRACKERS = ("mlflow", "tensorboard", "wandb")


def prepare_ultralytics() -> None:
    """Set Ultralytics up safely: restricted loading, no installs, no network, no events.

    Sets environment variables before its first import (multi-GPU workers inherit them) and, where
    it was imported before, the same switches in memory. Its settings are kept in our own cache
    folder, or where ``YOLO_CONFIG_DIR`` says.

    Raises
    ------
    RunError
        If the package is not installed.
    """
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "1"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    on = trackers_on()
    if on:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("YOLO_CONFIG_DIR", str(_own_settings()))
    Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    fresh = "ultralytics" not in sys.modules
    verbose = os.environ.get("YOLO_VERBOSE")
    if fresh:  # its import announces the settings file it makes
        os.environ["YOLO_VERBOSE"] = "false"
    try:
        from ultralytics import utils
    except ImportError as error:
        raise RunError(
            f"expected the package ultralytics, got none ({error}); install it: pip install aoi-tl"
        ) from error
    from ultralytics.nn import tasks
    from ultralytics.utils import checks, events

    if fresh:
        utils.VERBOSE = True  # our own switch is the logger's level
        del os.environ["YOLO_VERBOSE"]
        if verbose is not None:
            os.environ["YOLO_VERBOSE"] = verbose
    tasks.SAFE_LOAD = True
    utils.ONLINE = checks.ONLINE = events.ONLINE = False
    utils.AUTOINSTALL = checks.AUTOINSTALL = False
    events.events.enabled = False
    # Past the manager's own setter, which would write the user's settings file.
    off = (
        "sync",
        "clearml",
        "comet",
        "dvc",
        "raytune",
        "vscode_msg",
    )
    dict.update(utils.SETTINGS, dict.fromkeys(off, False))
    dict.update(utils.SETTINGS, {tracker: tracker in on for tracker in TRACKERS})


def trackers_on() -> tuple[str, ...]:
    """Read which trackers the user has turned on: ``yolo settings mlflow=True``.

    Returns
    -------
    tuple of str
        Of `TRACKERS`, those that are installed and on in the user's own settings of Ultralytics,
        which are only read. None where there are no settings.
    """
    try:
        told = json.loads((_users_settings() / "Ultralytics/settings.json").read_bytes())
        return tuple(
            tracker for tracker in TRACKERS
            if told.get(tracker) is True and importlib.util.find_spec(tracker) is not None
        )
    except (OSError, ValueError, AttributeError):
        return ()


def _own_settings() -> Path:
    return cache_folder() / "ultralytics"


def _users_settings() -> Path:
    """Where Ultralytics keeps its settings when it is left alone."""
    given = os.environ.get("YOLO_CONFIG_DIR")
    if given and Path(given) != _own_settings():  # else ours, told to this process by another
        return Path(given).expanduser()
    if sys.platform == "win32":
        return Path.home() / "AppData/Roaming"
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support"
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))


@contextmanager
def quiet_ultralytics(verbose: bool = False) -> Iterator[None]:
    """Show only Ultralytics' errors; its progress bars depend on the same level.

    Parameters
    ----------
    verbose : bool
        Show all lines and bars.
    """
    import logging

    from ultralytics.utils import LOGGER

    level = LOGGER.level
    LOGGER.setLevel(logging.INFO if verbose else logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(level)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Let Ultralytics seed Python, NumPy and torch, and put their random states back afterwards.

    The number of torch's threads, which it sets as well, is put back too.
    """
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        torch.set_num_threads(threads)
