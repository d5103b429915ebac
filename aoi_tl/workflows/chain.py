"""One arm as a chain of trainings, and one chain with one seed as a unit of work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aoi_tl.experiment.detection import Experiment
from aoi_tl.files.run_folder import folder_name, stage_name

if TYPE_CHECKING:
    from aoi_tl.transfer.detectors import SourceDetector


@dataclass(frozen=True)
class Chain:
    """One arm from one source: its initial weights, its data, and its final checkpoint.

    Attributes
    ----------
    arm : str
        Its name in the tables.
    modules : str
        Which tensors each stage hands on, see `aoi_tl.transfer.stage.STARTS`.
    source : str or None
        The source's name, or ``union``.
    source_data, target_data : Path or None
        The ``data.yaml`` of its stages; without one there is no such stage.
    images : int or None
        How many of the target's training images it may see; None for all.
    detector : SourceDetector or None
        The source's detector that it begins with, in place of a stage on the source.
    mixed : bool
        Whether the target's images are mixed with the sources' in its training.
    averaged : bool
        Whether its final weights are the average of the source's and the fine-tuned ones.
    longer : float
        How many times the target's epochs it trains for.
    trained_as : str
        The arm whose training it shares: an average uses the training of the plain chain. Its
        own unless given.
    candidates : tuple of Chain
        For the arm ``auto``: its candidates.
    labelled : Path or None
        The target's labelled images that thresholds are chosen on; None where none are wanted.
    folds : tuple of Path
        Where they are too few to validate on: the target's data without a part of its training
        images, which is its test split; trained on once more for each part.
    """

    arm: str
    modules: str
    source: str | None = None
    source_data: Path | None = None
    target_data: Path | None = None
    images: int | None = None
    detector: SourceDetector | None = None
    mixed: bool = False
    averaged: bool = False
    longer: float = 1.0
    trained_as: str = ""
    candidates: tuple[Chain, ...] = ()
    labelled: Path | None = None
    folds: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Work:
    """One chain with one seed: all that a worker on any machine needs to train and evaluate it.

    Attributes
    ----------
    run : Path
        The run folder.
    claim : str
        SHA-256 of its ``fingerprint.json``, which identifies the run.
    experiment : Experiment
        Training arguments and device.
    chain : Chain
    seed : int
    checkpoint : Path
        The checkpoint that the chain starts from.
    test_data : Path
        The target's ``data.yaml`` in the run folder.
    threads : int
        Threads of a training on CPU.
    notes : tuple of str
        Notes that are known before it starts.
    """

    run: Path
    claim: str
    experiment: Experiment
    chain: Chain
    seed: int
    checkpoint: Path
    test_data: Path
    threads: int
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How its stages' folders begin."""
        return stage_name(self.chain.arm, self.seed, self.chain.images)

    def stage_title(self, stage: str) -> str:
        """What a stage is called to whoever watches: ``<experiment>/<arm>/<seed>/<stage>``."""
        named = self.experiment.folder is not None  # else it was made in Python or by options
        experiment = self.experiment.name if named else self.run.name
        arm = self.chain.arm if self.chain.images is None else (
            f"{self.chain.arm}-n{self.chain.images}"
        )
        return f"{experiment}/{folder_name(arm)}/{self.seed}/{stage}"

    @property
    def tuned(self) -> str:
        """How the folder begins that holds its training."""
        chain = self.chain
        return stage_name(chain.trained_as or chain.arm, self.seed, chain.images)
