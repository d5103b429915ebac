from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aoi_tl.data.dataset import Sample
from aoi_tl.data.images import write_image
from aoi_tl.ranking.choices import (
    NONE,
    TOGETHER,
    TOLERANCE,
    UNION_BONUS,
    estimate_together,
    greedy_set,
    list_choices,
)
from aoi_tl.ranking.detector_measures import zero_shot_map
from aoi_tl.ranking.domain import Domain, pool
from aoi_tl.ranking.expected_gain import FITTED, estimate
from aoi_tl.similarity.signature import Signature
from aoi_tl.transfer.viewing import View, fuse_views

GREY = Signature([[99, 99, 99]], [1.0])
NAMES = ("dent", "crack")


def labelled(*boxes_of_images):
    """Samples of dents (0) and cracks (1) at the centres given, a tenth of the image large."""
    return tuple(
        Sample(f"{i}.png", "train", np.array([c for c, _ in found]),
               np.array([[x, x, 0.1, 0.1] for _, x in found]))
        for i, found in enumerate(boxes_of_images)
    )


def seen(*found, names=NAMES):
    """A view of (image, class, centre, confidence)."""
    table = np.array(found, dtype=float).reshape(-1, 4)
    centre = table[:, 2:3]
    nothing = np.empty((0, 0))
    return View(
        names, table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 3],
        np.hstack([centre - 0.05, centre - 0.05, centre + 0.05, centre + 0.05]), nothing, nothing,
        nothing,
    )


@pytest.fixture
def target():
    samples = labelled([(0, 0.2), (1, 0.7)], [(0, 0.4)], [(1, 0.6)])
    return Domain("t", {"dent": 2, "crack": 2}, 3, GREY, names=NAMES, samples=samples)


def source(name, target, view, counts=None):
    """A source whose kept detector sees what is given."""
    made = Domain(name, counts or {"dent": 5, "crack": 5}, 5, GREY, names=NAMES, detector="best.pt")
    made._views[id(target)] = view
    return made


def test_a_set_is_what_its_detectors_see_together(target):
    dents = source("dents", target, seen((0, 0, 0.2, 0.9), (1, 0, 0.4, 0.8)))
    cracks = source("cracks", target, seen((0, 1, 0.7, 0.9), (2, 1, 0.6, 0.8)))
    assert zero_shot_map(target, dents) == pytest.approx(0.4975, abs=0.01)
    assert zero_shot_map(target, pool([dents, cracks])) == pytest.approx(0.995, abs=0.01)
    alone = {dents: (15.0, (5.0, 25.0)), cracks: (14.0, (4.0, 24.0))}
    gain, (low, high) = estimate_together(target, alone)
    assert gain == pytest.approx(15 + UNION_BONUS + FITTED["detector"].weights[1] * 0.4975, abs=0.5)
    assert (high - gain, gain - low) == (pytest.approx(10), pytest.approx(10))


def test_what_shares_no_class_adds_nothing(target):
    strangers = [Domain(name, {"stain": 3}, 3, GREY, names=("stain",)) for name in "ab"]
    for stranger in strangers:
        object.__setattr__(stranger, "detector", "best.pt")
        stranger._views[id(target)] = seen((0, 0, 0.2, 0.9), names=("stain",))
    gain, _ = estimate_together(target, dict.fromkeys(strangers, (-30.0, (-40.0, -20.0))))
    assert gain == -30


def test_what_several_see_is_fused():
    both = fuse_views([seen((0, 0, 0.2, 0.6), (1, 1, 0.5, 0.8)),
                       seen((0, 0, 0.21, 0.9), (0, 1, 0.2, 0.5), names=NAMES[::-1])])
    found = {(i, c): (conf, box) for i, c, conf, box in
             zip(both.image, both.class_id, both.confidence, both.box, strict=True)}
    # The second calls class 0 what the first calls 1.
    assert {key: conf for key, (conf, _) in found.items()} == pytest.approx(
        {(0, 0): (0.6 + 0.5) / 2, (0, 1): 0.9 / 2, (1, 1): 0.8 / 2}
    )
    assert found[0, 0][1][0] == pytest.approx(0.15)
    alone = fuse_views([seen((0, 0, 0.2, 0.6), (0, 0, 0.21, 0.2))])
    assert alone.confidence.tolist() == [0.6]
    assert alone.box[0, 0] == pytest.approx((0.6 * 0.15 + 0.2 * 0.16) / 0.8)


def test_a_pool_counts_and_labels_as_its_members_do():
    one = Domain("a", {"dent": 1}, 1, GREY, names=("dent",), samples=labelled([(0, 0.2)]))
    other = Domain("b", {"crack": 2, "dent": 1}, 2, GREY, names=("crack", "dent"),
                   samples=labelled([(0, 0.2), (1, 0.5)]))
    both = pool([one, other])
    assert both.counts == {"dent": 2, "crack": 2}
    assert both.box_classes == ("dent", "crack", "dent")
    assert not both.has_detector
    assert len(both.shapes) == 0  # no such files


def test_the_set_grows_until_one_more_costs():
    worth = {"a": 9.0, "b": 5.0, "c": 4.0, "off": -3.0}

    def estimated(names):
        return (9.0 + 2.0 * ("c" in names) - (TOLERANCE + 0.1) * ("b" in names), (0.0, 0.0))

    assert greedy_set(worth, estimated) == ("a", "c")
    assert greedy_set({"off": -3.0}, estimated) == ()
    assert greedy_set(worth, lambda names: None) == ("a",)


def test_every_list_holds_none_and_all_together(target):
    good = source("good", target, seen((0, 0, 0.2, 0.9), (1, 0, 0.4, 0.8), (0, 1, 0.7, 0.9)))
    off = source("off", target, seen((0, 0, 0.8, 0.99), (1, 1, 0.1, 0.9), (2, 0, 0.1, 0.95)))
    listed = list_choices(target, [good, off], {"good": (20.0, (0, 40)), "off": (-20.0, (-40, 0))})
    assert {choice.name for choice in listed} == {NONE, TOGETHER, "good", "off"}
    assert listed[0].sources == ("good",)  # the other is not expected to help
    assert set(next(c for c in listed if c.name == TOGETHER).sources) == {"good", "off"}


def test_nothing_that_helps_means_none(target):
    a, b = (Domain(name, {"stain": 3}, 3, GREY, names=("stain",)) for name in "ab")
    listed = list_choices(target, [a, b], {"a": (-30.0, (-40, -20)), "b": (-20.0, (-30, -10))})
    assert (listed[0].name, listed[0].sources, listed[0].estimated_gain) == (NONE, (), 0.0)


def test_what_cannot_be_estimated_stands_last(target):
    listed = list_choices(target, [Domain("a", {"dent": 1}, 1, GREY, names=("dent",))], {"a": None})
    assert [choice.name for choice in listed] == [NONE, "a"]


def test_the_best_detector_of_a_set_may_find_nothing(target):
    stranger = Domain("s", {"stain": 3}, 3, GREY, names=("stain",), detector="best.pt")
    stranger._views[id(target)] = seen(names=("stain",))
    dents = source("dents", target, seen((0, 0, 0.2, 0.9), (1, 0, 0.4, 0.8)))
    gain, _ = estimate_together(target, {stranger: (9.0, (0.0, 18.0)), dents: (5.0, (0.0, 10.0))})
    found = zero_shot_map(target, pool([stranger, dents]))
    assert gain == pytest.approx(9 + UNION_BONUS + FITTED["detector"].weights[1] * found)


def on_disk(folder, target):
    """The target with images that are there: shapes of boxes need their sizes."""
    file = folder / "a.png"
    write_image(file, np.zeros((8, 8), dtype=np.uint8))
    samples = tuple(replace(sample, image=file) for sample in target.samples)
    return replace(target, samples=samples)


@pytest.mark.parametrize("lacking", ["a detector", "an estimate", "labels"])
def test_a_set_is_estimated_by_its_data_where_something_lacks(target, tmp_path, lacking):
    target = on_disk(tmp_path, target)
    one, other = (Domain(n, {"dent": 5, "crack": 5}, 5, GREY, names=NAMES, samples=target.samples,
                         detector=None if lacking == "a detector" else "best.pt") for n in "ab")
    ours = replace(target, samples=()) if lacking == "labels" else target
    known = {one: (50.0, (40.0, 60.0)),
             other: None if lacking == "an estimate" else (50.0, (40.0, 60.0))}
    found = estimate_together(ours, known)
    if lacking == "labels":
        assert found is None  # neither detectors nor boxes can be compared
    else:  # boxes alike: the highest gain that data alone promise
        expected, (low, _) = estimate({"overlap": 1.0, "box": 0.0})
        assert found[0] == pytest.approx(expected + UNION_BONUS)
        assert found[1][0] == pytest.approx(low + UNION_BONUS)
