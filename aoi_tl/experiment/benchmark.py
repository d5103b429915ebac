"""Benchmark files: targets, a shelf of sources, and the numbers of labelled images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from aoi_tl.experiment.base import BaseExperiment
from aoi_tl.experiment.detection import Train, Transfer, Union
from aoi_tl.experiment.settings import Texts, as_tuple, did_you_mean

#: The measures that need neither trainings of their own nor COCO's features, which take longest.
USUAL_MEASURES = (
    "paper", "emd", "size", "overlap", "box", "random", "zero-shot", "zero-shot-f1", "class-blind",
    "logme", "h-score", "knn", "energy",
)
EVERY_MEASURE = (*USUAL_MEASURES, "frechet", "mmd", "otdd", "proxy")


class Benchmark(BaseExperiment):
    """A benchmark of the ranking on a shelf.

    ``target`` names one or several; every other dataset of ``sources`` is learned from alone, by
    ``arm``, and all that share a class with the target together.

    Examples
    --------
    >>> Benchmark(target=["a.yaml", "b.yaml"], sources=["*.yaml"]).target_images
    (10,)
    """

    target: Texts = Field(min_length=1)
    """One ``data.yaml`` or several; each is a target in turn."""
    sources: Texts = Field(min_length=1)
    """Paths or globs of ``data.yaml`` files."""
    aliases: str | None = None
    """A map of class names."""
    weights: str = "yolo11n.pt"
    """The checkpoint to begin with."""
    target_images: Annotated[
        tuple[Annotated[int, Field(ge=1)] | Literal["all"], ...], BeforeValidator(as_tuple)
    ] = Field((10,), min_length=1)
    """How many of the target's labelled training images are seen."""
    arm: Literal["chain", "chain-soup", "joint"] = "chain-soup"
    """The arm that is trained from each source."""
    measures: Texts = USUAL_MEASURES
    """The measures that are compared."""
    overlap: Literal["refuse", "drop", "keep"] = "refuse"
    """As in an experiment."""
    transfer: Transfer = Transfer()
    """As in an experiment."""
    union: Union = Union()
    """As in an experiment."""
    train: Train = Train()
    """As in an experiment."""
    seeds: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = Field((0,), min_length=1)
    """Every training is done once with each."""
    engine: Literal["local", "ray"] = "local"
    """As in an experiment."""

    @field_validator("measures")
    @classmethod
    def _known_measures(cls, measures: tuple[str, ...]) -> tuple[str, ...]:
        for name in measures:
            if name not in EVERY_MEASURE:
                raise ValueError(f"expected measures out of {', '.join(EVERY_MEASURE)}, got "
                                 f"{name!r}" + did_you_mean(name, EVERY_MEASURE))
        return tuple(dict.fromkeys(measures))
