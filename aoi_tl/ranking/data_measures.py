"""Measures computed from the data alone: classes, counts, colours, shapes of boxes."""

from __future__ import annotations

import hashlib

import numpy as np

from aoi_tl.ranking.box_shapes import shape_distance, shape_interval
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.measure import Measure, UndefinedMeasure, Value
from aoi_tl.similarity.discrepancy import discrepancy
from aoi_tl.similarity.gini import gini


def _paper(target: Domain, source: Domain) -> Value:
    """The published discrepancy: EMD times Gini over the number of shared classes."""
    shared = target.shared_classes(source)
    delta = gini([source.counts[label] for label in shared]) if shared else 0.0
    score = discrepancy(source.flow_to(target).distance, delta, len(shared))
    if score.value is None:
        raise UndefinedMeasure(str(score.undefined))
    return Value(score.value)


def _emd(target: Domain, source: Domain) -> Value:
    """Earth mover's distance between the colours, in RGB units."""
    return Value(source.flow_to(target).distance)


def _size(target: Domain, source: Domain) -> Value:
    """The boxes of the source."""
    return Value(float(source.instances))


def _overlap(target: Domain, source: Domain) -> Value:
    """The share of the target's boxes whose class the source has."""
    if not target.instances:
        raise UndefinedMeasure("the target has no labelled box")
    shared = target.shared_classes(source)
    return Value(sum(target.counts[label] for label in shared) / target.instances)


def _box(target: Domain, source: Domain) -> Value:
    """How far the boxes are apart in size, aspect and number, in octaves."""
    wanted, found = target.shapes, source.shapes
    for side, name in ((wanted, target.name), (found, source.name)):
        if not len(side):
            raise UndefinedMeasure(f"{name} has no labelled box in the images looked at")
    interval = shape_interval(wanted, found, np.random.default_rng(0))
    return Value(shape_distance(wanted, found), *interval)


def _random(target: Domain, source: Domain) -> Value:
    """A pseudo-random number in 0..1 from the two names, as a baseline for all measures."""
    digest = hashlib.sha256(f"{target.name}\0{source.name}".encode()).digest()
    return Value(int.from_bytes(digest[:6]) / 2**48)


PAPER = Measure("paper", "lower", "data", _paper)
EMD = Measure("emd", "lower", "data", _emd)
SIZE = Measure("size", "higher", "data", _size)
OVERLAP = Measure("overlap", "higher", "data", _overlap)
BOX = Measure("box", "lower", "labels", _box)
RANDOM = Measure("random", "lower", "data", _random)
