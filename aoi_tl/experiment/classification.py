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
    """A folder with a folder per class (below ``train/`` and ``test/``), or a CSV table."""
    image: str = "image"
    """Of a table: the column with the images' names."""
    class_columns: Texts = ("class",)
    """Of a table: the columns with the class; several make one name."""
    split: str = "split"
    """Of a table: the column with ``train`` or ``test``."""
    group: str | None = None
    """Of a table: the column with the part that an image shows."""
    pattern: str = "{}"
    """Of a table: makes a name a path, such as ``images/{}.jpg``."""
    classes: Texts = ()
    """The classes to keep, in this order; all unless given."""
    shots: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """``{class: n}``: training images drawn for each seed, each of another group; all images unless
    given."""
    test_share: Annotated[float, Field(gt=0, le=0.5)] | None = None
    """Holds out a test split where there is none, groups kept together."""


class Blocks(Settings):
    """Steps of one CDG cycle."""

    source: Annotated[int, Field(ge=0)] = 50
    """Steps on the source in one cycle of CDG."""
    target: Annotated[int, Field(ge=0)] = 10
    """Steps on the target in one cycle of CDG."""
    joint: Annotated[int, Field(ge=0)] = 0
    """Steps on both in one cycle of CDG."""

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
    """Passes over the source."""
    target_epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the target in the second stage of ``two-stage``."""
    batch: Annotated[int, Field(ge=2)] = 16
    """Images at once."""
    image_size: Annotated[int, Field(ge=32, le=1024)] = 224
    """Side of the images in pixels."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Of Adam; the paper's value."""
    encoder_rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The encoder's learning rate as a share of the heads'; 0 freezes it."""
    frozen_statistics: bool = False
    """``true`` keeps the statistics of batch normalisation as they are in training."""
    alpha: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the target's loss."""
    beta: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the source's loss."""
    blocks: Blocks = Blocks()
    """Steps of one cycle of CDG."""
    count: Literal["total", "target"] = "total"
    """``target`` gives all arms the same number of target steps instead of the same number of
    steps."""
    head: Literal["separate", "joint"] = "separate"
    """A head per domain, or ``joint``: one over the classes of both."""
    statistics: Literal["running", "target"] = "running"
    """``target`` measures the statistics of batch normalisation again on the target's training
    images before testing."""
    flip: bool = True
    """Images are mirrored half of the time."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Images are turned by up to so many degrees."""
    adversarial: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Trains half of every batch on FGSM images of this radius (images in 0..1)."""


class Imbalance(Settings):
    """The treatment of classes of unequal size."""

    treatment: Literal["none", "oversample", "weighted", "both"] = "none"
    """The treatment of classes of unequal size."""
    oversample: dict[str, Annotated[float, Field(ge=1)]] = Field(default_factory=dict)
    """``{class: factor}``: how often its images come in an epoch."""

    @model_validator(mode="after")
    def _named_classes(self) -> Imbalance:
        if (self.treatment in {"oversample", "both"}) != bool(self.oversample):
            raise ValueError(
                "expected oversample: {class: factor} together with treatment oversample or both, "
                f"got treatment {self.treatment} and {len(self.oversample)} classes"
            )
        return self


class Report(Settings):
    """Measurements and figures besides accuracy."""

    robustness: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = CHANGES
    """The changes of the test images that accuracy is measured under."""
    maps: Annotated[int, Field(ge=0, le=64)] = 10
    """How many images get a map of what the decision rests on."""
    reject: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Images whose probability is below it are left to a person: ``arms.csv`` gets ``coverage`` and
    ``decided_accuracy``."""
    samples: Annotated[int, Field(ge=0, le=64)] = 20
    """How many test images the page shows."""

    @field_validator("robustness")
    @classmethod
    def _known_changes(cls, changes: tuple[str, ...]) -> tuple[str, ...]:
        for change in changes:
            if change not in CHANGES:
                raise ValueError(f"expected changes out of {', '.join(CHANGES)}, got {change!r}"
                                 + did_you_mean(change, CHANGES))
        return changes


class ClassificationExperiment(BaseExperiment):
    """A target with few images, a source with many, and the arms to compare.

    Examples
    --------
    >>> experiment = ClassificationExperiment(method="cdg", target={"path": "lithium"},
    ...                                       source={"path": "steel"})
    >>> experiment.arms, experiment.train.blocks.source
    (('nearest-mean', 'probe', 'patch-probe', 'plain', 'pretrained', 'multi-task', 'cdg'), 50)
    """

    command: ClassVar[str] = "classify"

    method: Literal["cdg", "two-stage"]
    """Cross-domain generalisation, or two-stage transfer."""
    target: Images
    """The images that are learned for."""
    source: Images
    """The images that are learned from first."""
    encoder: str = "resnet18"
    """Any name of timm's (``tf_efficientnet_lite0``, ``resnet18.a1_in1k``), short for theirs:
    ``resnet18``, ``resnet50``, ``mobilenetv2``, ``vit``, ``vit-tiny``, ``efficientnet-b0``; an
    Ultralytics classifier or detector (``.pt``, of which the backbone is taken), also one that
    ``aoi-tl run`` trained; or an architecture (``yolov8n.yaml``)."""
    weights: str = "hub"
    """Of a timm encoder: ``hub`` (ImageNet), a hub name (``owner/model``), a local
    ``.safetensors``, ``.pth`` or ``.pt``, or ``random``."""
    train: Train = Train()
    """How every arm is trained."""
    imbalance: Imbalance = Imbalance()
    """The treatment of classes of unequal size."""
    shifted_classes: Texts = ()
    """Classes whose mean F1 is reported on its own."""
    arms: Texts = Field((), validate_default=True)
    """What is trained and compared; the method's arms unless given."""
    report: Report = Report()
    """Measurements and figures besides accuracy."""

    @field_validator("arms")
    @classmethod
    def _arms_of_the_method(cls, arms: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        method = info.data.get("method")
        if method is None:  # itself refused, which is reported first
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
