"""Experiment files for detection: a target, its sources, and all settings.

Defaults live here and nowhere else.
"""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from aoi_tl.errors import ExperimentError
from aoi_tl.experiment.base import BaseExperiment
from aoi_tl.experiment.settings import Settings, Texts, as_tuple, did_you_mean, nearest_file

#: The papers' arms and their baselines; the last three have a stage on the source.
ARMS = ("scratch", "coco", "stock", "full-source", "subset-source", "method")
SOURCE_ARMS = ("full-source", "subset-source", "method")
#: Arms that begin with the detector of one source, and with that of several sources together.
#: ``auto`` chooses between plain fine-tuning and the latter.
DETECTOR_ARMS = ("zero-shot", "chain", "chain-soup", "joint")
UNION_ARMS = ("union", "union-chain", "union-soup", "union-joint")
EVERY_ARM = (*ARMS, *(f"{arm}-all" for arm in SOURCE_ARMS), "stock-long", *DETECTOR_ARMS,
             *UNION_ARMS, "auto")
#: Plain fine-tuning, the same for as long as a transfer takes, and the transfer that paid
#: (``benchmarks/results/evidence.md``). The papers' way is ``arms: method``.
DEFAULT_ARMS = ("stock", "stock-long", "auto")

#: What an order of sources is by; see `aoi_tl.ranking.measures`.
Method = Literal[
    "auto", "paper", "emd", "size", "overlap", "box", "random", "frechet", "mmd", "otdd",
    "zero-shot", "zero-shot-f1", "class-blind", "logme", "h-score", "knn", "energy",
    "proxy",
]


class Score(Settings):
    """How sources are scored for the target: clusters, formula, solver, sampled images."""

    n_clusters: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    """Clusters per signature; ``auto`` takes the elbow."""
    method: Method = "auto"
    """What the order of the sources is by, see [measures](../measures.md)."""
    solver: Literal["slsqp", "exact", "auto"] = "slsqp"
    """``slsqp`` from Russell's basis, ``exact`` (POT), or ``auto`` (the quicker)."""
    sample: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    """Images looked at per dataset."""


class Subset(Settings):
    """The treatment of source images with both shared and unshared classes."""

    mixed: Literal["keep", "drop", "paint"] = "keep"
    """Images with shared and unshared classes: ``keep`` their shared boxes, ``drop`` the image, or
    ``paint`` the unshared boxes over."""


class Minority(Settings):
    """How many samples a rare class is raised to: a share of the largest class, or a count."""

    to: Annotated[float, Field(ge=0)] = 0.5
    """Rare classes are raised to this share of the largest class, or from 2 on to this count; 0
    makes no new samples."""


class Majority(Settings):
    """How many samples a common class may keep: a share of the largest class, or a count."""

    at_most: Annotated[float, Field(gt=0)] = 1.0
    """Common classes are cut to this share of the largest class, or from 2 on to this count; 1.0
    cuts nothing."""


class Balance(Settings):
    """New samples for rare classes, fewer for common ones, on training splits only."""

    minority: Minority = Minority()
    """Classes with few boxes."""
    majority: Majority = Majority()
    """Classes with many boxes."""


class Transfer(Settings):
    """The tensors that a stage passes on, and how the target's stage trains them.

    ``modules`` and ``freeze`` are the papers' arms'. The arms that begin with a source's detector
    hand on every tensor: ``rate`` is their learning rate on the target as a share of the plain one,
    ``soup`` the weight of the fine-tuned tensors in an average, ``share`` that of the target's
    images in a joint training.
    """

    modules: Literal["backbone", "backbone+neck", "all"] = "backbone"
    """Tensors that the papers' arms hand on; ``all`` is every tensor whose shape fits, head rows of
    same-named classes too."""
    freeze: Annotated[int, Field(ge=0)] = 0
    """Modules that stay as handed on while the target is trained."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Learning rate on the target of the arms that begin with a source's detector, as a share of
    the plain one."""
    soup: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Weight of the fine-tuned tensors in ``chain-soup`` and ``union-soup``."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The target's share of the images in ``joint`` and ``union-joint``."""


class Union(Settings):
    """How several sources are combined in one detector.

    ``best`` takes so many sources of the ranking, all unless given; ``evenness`` 0 takes every
    image once, 1 takes all sources equally often.
    """

    best: Annotated[int, Field(ge=1)] | None = None
    """How many of the ranking's first sources make the union, all unless given; those without a
    shared class are left out."""
    evenness: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0: every image once; 1: every source equally often; between them the sources' sizes count
    less."""


class Cost(Settings):
    """What one passed defective image costs, and one good image rejected, in any unit."""

    escape: Annotated[float, Field(ge=0)]
    """What a passed defective image costs, in any unit."""
    overkill: Annotated[float, Field(ge=0)]
    """What a rejected good image costs, in the same unit."""


class Operate(Settings):
    """The aim of the confidence thresholds: a limit on one rate, or the lowest cost.

    ``escape`` is the share of defective images that are passed, ``overkill`` that of good images
    that are rejected.
    """

    escape: Annotated[float, Field(ge=0, lt=1)] | None = None
    """At most this share of the defective images is passed."""
    overkill: Annotated[float, Field(ge=0, lt=1)] | None = None
    """At most this share of the good images is rejected."""
    cost: Cost | None = None
    """The lowest cost: ``{escape: 100, overkill: 1}``."""

    @model_validator(mode="after")
    def _one_aim(self) -> Operate:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "expected one of escape, overkill and cost, got "
                f"{' and '.join(given) or 'none'}; write such as operate: {{escape: 0.01}}"
            )
        return self


class GivenSource(Settings):
    """A source with a name, or with an existing detector."""

    data: str
    """The source's ``data.yaml``."""
    checkpoint: str | None = None
    """A detector that was trained on it already."""
    name: Annotated[str, Field(pattern=r"^\w")] | None = None
    """What tables call it; its path names it unless given."""


# Distinguished by their form, so that a fault within a mapping is reported as such.
Source = Annotated[
    Annotated[str, Tag("path")] | Annotated[GivenSource, Tag("mapping")],
    Discriminator(lambda given: "mapping" if isinstance(given, dict | GivenSource) else "path"),
]


class Train(BaseModel):
    """Ultralytics training arguments; ``source`` and ``target`` override them for one stage."""

    model_config = ConfigDict(frozen=True, extra="allow")

    epochs: Annotated[int, Field(ge=1)] = 50
    """Passes over the training images. Beside these three keys, any training argument of
    Ultralytics can be given."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Images at once."""
    imgsz: Annotated[int, Field(ge=32)] = 640
    """Longer side of the images in pixels."""
    source: dict[str, Any] = Field(default_factory=dict)
    """Arguments for the stages on sources, over those of ``train``."""
    target: dict[str, Any] = Field(default_factory=dict)
    """Arguments for the stages on the target, over those of ``train``."""

    def arguments(self, stage: Literal["source", "target"]) -> dict[str, Any]:
        """All training arguments of one stage.

        Parameters
        ----------
        stage : {"source", "target"}
            Whose overrides apply.

        Returns
        -------
        dict
            Argument names and values, ready for Ultralytics.

        Examples
        --------
        >>> Train(epochs=50, source={"epochs": 9}).arguments("source")["epochs"]
        9
        """
        shared = self.model_dump(exclude={"source", "target"})
        return {**shared, **getattr(self, stage)}


class Experiment(BaseExperiment):
    """One target, a shelf of sources, and all settings.

    Examples
    --------
    >>> experiment = Experiment(target="t.yaml", sources=["a.yaml", "b.yaml"])
    >>> experiment.train.epochs, experiment.arms[0]
    (50, 'stock')
    """

    command: ClassVar[str] = "run"

    target: str
    """The ``data.yaml`` that is learned for; needs ``train``, ``val`` and ``test``."""
    sources: Annotated[tuple[Source, ...], BeforeValidator(as_tuple)] = Field(
        min_length=1
    )
    """Paths or globs of ``data.yaml`` files, or mappings with the keys below; the target is passed
    over among them."""
    aliases: str | None = None
    """A map of class names, see [aliases](../how-to/aliases.md)."""
    weights: str = "yolo11n.pt"
    """The checkpoint to begin with: a path; a name looked for in ``weights/``, then downloaded by
    Ultralytics; or an architecture such as ``yolov8n.yaml`` for random weights."""
    pick: Texts = ("auto",)
    """The source to learn from: ``auto`` (the ranking's), a name, or a list; then the arms are
    called ``method@name``."""
    overlap: Literal["refuse", "drop", "keep"] = "refuse"
    """Source images that the target is validated or tested on: ``refuse`` the source, ``drop`` or
    ``keep`` the images."""
    faulty: Literal["refuse", "skip"] = "refuse"
    """``skip`` leaves out label rows that cannot be used, and images of which no row is left, with
    a note for each kind; above 5 % of the rows it still refuses."""
    score: Score = Score()
    """How sources are measured."""
    subset: Subset = Subset()
    """What becomes of images with other classes."""
    balance: Balance = Balance()
    """New samples of rare classes, fewer of common ones."""
    transfer: Transfer = Transfer()
    """What a stage hands on."""
    union: Union = Union()
    """How several sources are combined in one detector."""
    train: Train = Train()
    """Training arguments of Ultralytics."""
    operate: Operate | None = None
    """What thresholds are chosen for, see [deploy](../how-to/deploy.md). No thresholds unless
    given."""
    target_images: Annotated[
        tuple[Annotated[int, Field(ge=1)] | Literal["all"], ...], BeforeValidator(as_tuple)
    ] = Field(("all",), min_length=1)
    """How many of the target's labelled training images the arms see; several make a learning
    curve. The sets are nested, and hold all copies of a part or none."""
    arms: Texts = DEFAULT_ARMS
    """What is trained and compared, see [arms](../measures.md)."""
    engine: Literal["local", "ray"] = "local"
    """Where the work is done: this machine, or a [Ray](../how-to/ray.md) cluster."""

    @field_validator("score")
    @classmethod
    def _trains_nothing(cls, score: Score) -> Score:
        if score.method == "proxy":
            raise ValueError(
                "expected a method that trains nothing before the arms, got proxy; rank with "
                "'aoi-tl score --method proxy --budget 10m', and name the source under 'pick'"
            )
        return score

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        for arm in arms:
            if arm not in EVERY_ARM:
                raise ValueError(f"expected arms out of {', '.join(EVERY_ARM)}, got {arm!r}"
                                 + did_you_mean(arm, EVERY_ARM))
        if not arms:
            raise ValueError(f"expected at least one arm out of {', '.join(EVERY_ARM)}, got none")
        return tuple(dict.fromkeys(arms))

    @property
    def source_files(self) -> tuple[str, ...]:
        """The ``data.yaml`` of each source."""
        return tuple(s if isinstance(s, str) else s.data for s in self.sources)

    @property
    def source_names(self) -> tuple[str | None, ...]:
        """The name of each source, None where its path names it."""
        return tuple(None if isinstance(s, str) else s.name for s in self.sources)

    @property
    def checkpoints(self) -> dict[str, str]:
        """The given detectors, by the ``data.yaml`` that they were trained on."""
        return {s.data: s.checkpoint for s in self.sources
                if not isinstance(s, str) and s.checkpoint is not None}

    @field_validator("target_images")
    @classmethod
    def _distinct_sizes(cls, sizes: tuple[int | str, ...]) -> tuple[int | str, ...]:
        return tuple(dict.fromkeys(sizes))


def locate(
    experiment: Experiment, data_root: str | Path | None = None
) -> Experiment:
    """Make the paths of an experiment absolute and its globs plain lists.

    Parameters
    ----------
    experiment : Experiment
        As ``read_settings`` returns it: paths are relative to its file, or to the working
        folder where it has none.
    data_root : str or Path, optional
        The folder that stands for a leading ``../datasets/`` of every dataset path, so that one
        file serves whoever keeps the data elsewhere.

    Returns
    -------
    Experiment
        With absolute paths; the target is skipped where it is repeated among the sources.

    Raises
    ------
    ExperimentError
        When a file does not exist or a glob finds none.
    """
    def find(text: str, *keys: str | int, root: str | Path | None = data_root) -> list[str]:
        pattern = experiment.data_path(text, root)
        if glob.has_magic(str(pattern)):
            found = sorted(glob.glob(str(pattern), recursive=True))
            if not found:
                raise ExperimentError(
                    f"{experiment.where(*keys)}: expected dataset files matching {pattern}, "
                    "got none; correct the pattern, or point --data-root to the data"
                )
            return [str(Path(file).absolute()) for file in found]
        if not os.path.isfile(pattern):
            raise ExperimentError(
                f"{experiment.where(*keys)}: expected a file at {pattern}, got "
                f"{'a folder' if os.path.isdir(pattern) else 'nothing there'}"
                f"{nearest_file(pattern)}; correct the path, or point --data-root to the data"
            )
        return [str(pattern.absolute())]

    [target] = find(experiment.target, "target")[:1]
    sources: dict[str, str | GivenSource] = {}
    for index, source in enumerate(experiment.sources):
        if isinstance(source, str):
            for file in find(source, "sources", index):
                sources.setdefault(file, file)
        else:
            files = find(source.data, "sources", index, "data")
            if len(files) > 1:
                raise ExperimentError(
                    f"{experiment.where('sources', index, 'data')}: expected one dataset for a "
                    f"name or a checkpoint, got {len(files)}; give the path of one"
                )
            checkpoint = source.checkpoint
            if checkpoint is not None:
                [checkpoint] = find(checkpoint, "sources", index, "checkpoint")
            sources[files[0]] = GivenSource(
                data=files[0], checkpoint=checkpoint, name=source.name
            )
    others = [source for file, source in sources.items() if not Path(file).samefile(target)]
    if not others:
        raise ExperimentError(
            f"{experiment.where('sources')}: expected at least one dataset other than the target, "
            f"got only {target}; add a source"
        )
    located = experiment.model_copy(
        update={
            "target": target,
            "sources": tuple(others),
            # Aliases belong to the experiment, not to the data: they stay where the file says.
            "aliases": find(experiment.aliases, "aliases", root=None)[0]
            if experiment.aliases
            else None,
        }
    )
    return located
