"""The settings common to detection and classification experiments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, field_validator

from aoi_tl.experiment.settings import SettingsFile, read_settings


class BaseExperiment(SettingsFile):
    """A target, the initial weights, the seeds and the device.

    Attributes
    ----------
    target : object
        The data that is learned for; a subclass says of which form.
    weights : str
        The weights that training starts from: a name or a path.
    weights_may_run_code : bool
        Open the weights without restriction, once, because the user trusts the file.
    seeds : tuple of int
        Every arm is trained once with each.
    device : str
        ``cpu``, ``cuda`` or the numbers of GPUs.
    depth : int or None
        How many bits the images of every dataset use where their files store 16; else found for
        each.
    """

    target: object
    weights: str
    weights_may_run_code: bool = False
    """``true`` opens a checkpoint that is refused for what it would run, and lets it run that: see
    [reliability](../reliability.md)."""
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    """Every arm is trained once with each."""
    device: str = "cpu"
    """``cpu``, ``0``, ``0,1``, as Ultralytics has it."""
    depth: Literal[8, 10, 12, 14, 16] | None = None
    """How many bits the images use where their files store 16: 8, 10, 12, 14 or 16, the same for
    every dataset; found for each unless given."""

    @field_validator("seeds", mode="before")
    @classmethod
    def _no_number_of_seeds(cls, seeds: object) -> object:
        # One number may mean how many, or which one.
        if isinstance(seeds, int) and not isinstance(seeds, bool):
            words = {2: "two", 3: "three", 4: "four", 5: "five", 10: "ten"}
            several = f"{list(range(seeds))} for {words[seeds]}, " if seeds in words else ""
            raise ValueError(
                f"expected a list of seeds, got {seeds}; write seeds: {several}[{seeds}] for seed "
                f"{seeds}"
            )
        return seeds

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
            raise ValueError(f"expected distinct seeds in 0..{2**32 - 1}, got {list(seeds)}")
        return seeds

    @field_validator("device", mode="before")
    @classmethod
    def _device_as_text(cls, device: object) -> object:
        # Ultralytics writes one GPU as 0 and several as 0,1 or [0, 1]; here all are text.
        if isinstance(device, list | tuple):
            return ",".join(map(str, device))
        return str(device) if isinstance(device, int) else device

    def data_path(self, text: str, data_root: str | Path | None = None) -> Path:
        """Resolve a path of the experiment.

        Parameters
        ----------
        text : str
            The path as the file has it.
        data_root : str or Path, optional
            The folder that stands for a leading ``../datasets/`` and that other relative paths
            start from.

        Returns
        -------
        Path
            Relative to the file's folder, or to the working folder where there is no file.
        """
        path = Path(os.path.expanduser(text))  # a home that nobody has stays a name
        if path.is_absolute():
            return path
        if data_root is None:
            return (self.folder or Path()) / path
        parts = path.parts
        if parts[:2] == ("..", "datasets"):
            parts = parts[2:]
        return Path(data_root).expanduser().joinpath(*parts)


AnyExperiment = TypeVar("AnyExperiment", bound=BaseExperiment)


def as_experiment(
    given: AnyExperiment | str | Path, schema: type[AnyExperiment], overrides: Sequence[str] = ()
) -> AnyExperiment:
    """Read an experiment's file; an experiment stays as it is.

    Parameters
    ----------
    given : BaseExperiment, str or Path
        The experiment, or its YAML file.
    schema : type
        The subclass of ``BaseExperiment`` to read it as.
    overrides : sequence of str
        ``"train.epochs=3"`` and the like, applied over the file.

    Returns
    -------
    BaseExperiment
        Its paths are as the file has them.

    Raises
    ------
    ExperimentError
        As `read_settings` does.
    """
    if isinstance(given, str | Path):
        return read_settings(given, schema, overrides)
    return given
