"""Experiment files for classification."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from aoi_tl.errors import ExperimentError
from aoi_tl.experiment.base import BaseExperiment
from aoi_tl.experiment.settings import Settings, Texts, as_tuple, did_you_mean

FROZEN = ("nearest-mean", "probe", "patch-probe")
DEFAULT_ARMS = {
    "cdg": (*FROZEN, "plain", "pretrained", "multi-task", "cdg"),
    "two-stage": (*FROZEN, "pretraining-only", "fine-tuning-only", "two-stage"),
}
#: Begun by a probe, or ended by one.
PROBED = {"cdg": ("lp-ft", "probe+source", "probe+multi-task", "probe+cdg"),
          "two-stage": ("lp-ft", "probe+source")}
ARMS = {method: (*arms, *PROBED[method]) for method, arms in DEFAULT_ARMS.items()}
CHANGES = ("noise", "blur", "brightness", "contrast", "jpeg", "rotation", "fgsm", "pgd")


class Images(Settings):
    """A labelled image set: a folder with a folder per class, or a CSV table."""

    path: str
    image: str = "image"
    class_columns: Texts = ("class",)
    split: str = "split"
    group: str | None = None
    pattern: str = "{}"
    classes: Texts = ()
    shots: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    test_share: Annotated[float, Field(gt=0, le=0.5)] | None = None


class Blocks(Settings):
    """Steps of one CDG cycle."""

    source: Annotated[int, Field(ge=0)] = 50
    target: Annotated[int, Field(ge=0)] = 10
    joint: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _both_domains(self) -> Blocks:
        if self.source + self.joint == 0 or self.target + self.joint == 0:
            raise ValueError(
                "expected a cycle that touches both domains, got none of one; set source and "
                "target, or joint, above 0"
            )
        return self


class Train(Settings):
    """How every arm is trained."""

    epochs: Annotated[int, Field(ge=1)] = 10
    target_epochs: Annotated[int, Field(ge=1)] = 10
    batch: Annotated[int, Field(ge=2)] = 16
    image_size: Annotated[int, Field(ge=32, le=1024)] = 224
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    encoder_rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    frozen_statistics: bool = False
    alpha: Annotated[float, Field(ge=0)] = 1.0
    beta: Annotated[float, Field(ge=0)] = 1.0
    blocks: Blocks = Blocks()
    count: Literal["total", "target"] = "total"
    head: Literal["separate", "joint"] = "separate"
    statistics: Literal["running", "target"] = "running"
    flip: bool = True
    rotation: Annotated[float, Field(ge=0, le=180)] = 15.0
    adversarial: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Imbalance(Settings):
    """What is done about classes of unequal size."""

    treatment: Literal["none", "oversample", "weighted", "both"] = "none"
    oversample: dict[str, Annotated[float, Field(ge=1)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named_classes(self) -> Imbalance:
        if (self.treatment in {"oversample", "both"}) != bool(self.oversample):
            raise ValueError(
                "expected oversample: {class: factor} together with treatment oversample or both, "
                f"got treatment {self.treatment} and {len(self.oversample)} classes"
            )
        return self


class Report(Settings):
    """What is measured and drawn besides accuracy."""

    robustness: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = CHANGES
    maps: Annotated[int, Field(ge=0, le=64)] = 10
    reject: Annotated[float, Field(ge=0, lt=1)] = 0.0
    samples: Annotated[int, Field(ge=0, le=64)] = 20

    @field_validator("robustness")
    @classmethod
    def _known_changes(cls, changes: tuple[str, ...]) -> tuple[str, ...]:
        for change in changes:
            if change not in CHANGES:
                raise ValueError(f"expected changes out of {', '.join(CHANGES)}, got {change!r}"
                                 + did_you_mean(change, CHANGES))
        return changes


class ClassificationExperiment(BaseExperiment):
    """A target with few images, a source with many, and the arms to hold against each other.

    Examples
    --------
    >>> experiment = ClassificationExperiment(method="cdg", target={"path": "lithium"},
    ...                                       source={"path": "steel"})
    >>> experiment.arms, experiment.train.blocks.source
    (('nearest-mean', 'probe', 'patch-probe', 'plain', 'pretrained', 'multi-task', 'cdg'), 50)
    """

    command: ClassVar[str] = "classify"

    method: Literal["cdg", "two-stage"]
    target: Images
    source: Images
    encoder: str = "resnet18"
    weights: str = "hub"
    train: Train = Train()
    imbalance: Imbalance = Imbalance()
    shifted_classes: Texts = ()
    arms: Texts = Field((), validate_default=True)
    report: Report = Report()

    @field_validator("arms")
    @classmethod
    def _arms_of_the_method(cls, arms: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        method = info.data.get("method")
        if method is None:  # itself refused, which is told first
            return arms
        for arm in arms:
            if arm not in ARMS[method]:
                raise ValueError(f"expected arms out of {', '.join(ARMS[method])} for {method}, "
                                 f"got {arm!r}" + did_you_mean(arm, ARMS[method]))
        return tuple(dict.fromkeys(arms)) or DEFAULT_ARMS[method]


def locate_images(
    experiment: ClassificationExperiment, data_root: str | Path | None = None
) -> ClassificationExperiment:
    """Make the paths of an experiment absolute.

    Parameters
    ----------
    experiment : ClassificationExperiment
        Paths are relative to its file, or to the working folder where it has none.
    data_root : str or Path, optional
        The folder that stands for a leading ``../datasets/`` of target and source.

    Returns
    -------
    ClassificationExperiment
        With absolute paths of target, source, and encoder and weights where these are files.

    Raises
    ------
    ExperimentError
        When target or source does not exist, or both are the same.
    """
    base = experiment.folder or Path()
    found: dict[str, Path] = {}
    for key, images in (("target", experiment.target), ("source", experiment.source)):
        moves = Path(images.path).parts[:2] == ("..", "datasets")
        path = experiment.data_path(images.path, data_root if moves else None)
        if not os.path.exists(path):
            raise ExperimentError(
                f"{experiment.where(key, 'path')}: expected a folder or a CSV table at {path}, "
                "got nothing there; correct the path, or point --data-root to the data (what it "
                "has to look like is in datasets/)"
            )
        found[key] = path.absolute()
    if found["target"].samefile(found["source"]):
        raise ExperimentError(
            f"{experiment.where('source', 'path')}: expected a source other than the target, got "
            f"{found['source']} for both; name another folder"
        )
    return experiment.model_copy(
        update={
            "target": experiment.target.model_copy(update={"path": str(found["target"])}),
            "source": experiment.source.model_copy(update={"path": str(found["source"])}),
            "encoder": _locate_file(experiment.encoder, base),
            "weights": _locate_file(experiment.weights, base),
        }
    )


def _locate_file(name: str, base: Path) -> str:
    """Look for a file in the working folder's ``weights``, beside the experiment and above it."""
    for folder in (Path("weights"), base, base.parent / "weights", Path()):
        file = folder / name
        if os.path.isfile(file):
            return str(file.absolute())
    return name
