"""The sentences for a source, by hand."""

from pathlib import Path

import numpy as np
import pytest

from aoi_tl.data.dataset import Sample
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.explanation import explain
from aoi_tl.ranking.measures import MEASURES
from aoi_tl.similarity.signature import Signature


def grey(*levels: float) -> Signature:
    return Signature([[level] * 3 for level in levels], [1 / len(levels)] * len(levels))


GREY = grey(99)


def domain(counts: dict[str, int], signature: Signature = GREY, side: float = 0.0) -> Domain:
    """Squares of a side, as a share of the image, where there is one."""
    samples = tuple(
        Sample(Path(f"{number}.png"), "train", np.array([0]), np.array([[0.5, 0.5, side, side]]))
        for number in range(4)
    ) if side else ()
    return Domain("d", counts, 4, signature, names=tuple(counts), samples=samples)


@pytest.mark.parametrize(("target", "source", "words"), [
    ("a", "a", "your class"),
    ("ab", "ab", "all of your 2 classes"),
    ("ab", "abc", "all of your 2 classes"),
    ("ab", "b", "one of your 2 classes (b)"),
    ("abc", "ab", "2 of your 3 classes (a, b)"),
    ("abcd", "abc", "3 of your 4 classes (a, b, c)"),
    ("abcde", "abcd", "4 of your 5 classes (a, b, c, ...)"),
    ("ab", "c", "none of your classes"),
])
def test_the_shared_classes(target: str, source: str, words: str) -> None:
    told = explain(domain(dict.fromkeys(target, 1)), domain(dict.fromkeys(source, 2)), {})
    assert told.split("; ")[0] == words
    assert told.split("; ")[-1] == f"{2 * len(source)} boxes in 4 images"


@pytest.mark.parametrize(("levels", "words"), [
    ((99,), "much the same colours"), ((110,), "much the same colours"),
    ((111,), "brighter images"), ((158,), "brighter images"), ((160,), "much brighter images"),
    ((87,), "darker images"), ((38,), "much darker images"),
    ((9, 189), "other colours or contrast"),
])
def test_the_colours(levels: tuple[float, ...], words: str) -> None:
    told = explain(domain({"a": 1}), domain({"a": 1}, grey(*levels)), {})
    assert told.split("; ")[1] == words


@pytest.mark.parametrize(("side", "words"), [
    (0.2, "boxes of about your size"), (0.246, "boxes of about your size"),
    (0.256, "boxes 1.3 times larger than yours"), (0.4, "boxes 2.0 times larger than yours"),
    (0.164, "boxes of about your size"), (0.156, "boxes 1.3 times smaller than yours"),
    (0.1, "boxes 2.0 times smaller than yours"),
])
def test_the_size_of_the_boxes(
    side: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aoi_tl.ranking import box_shapes

    monkeypatch.setattr(box_shapes, "image_size", lambda path: (64, 64))
    target, source = domain({"a": 4}, side=0.2), domain({"a": 4}, side=side)
    told = explain(target, source, {"box": MEASURES["box"](target, source)})
    assert told.split("; ")[1] == words
