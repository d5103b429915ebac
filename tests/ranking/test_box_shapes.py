from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.data.dataset import Sample
from aoi_tl.data.images import write_image
from aoi_tl.ranking.box_shapes import BoxShapes, box_shapes, shape_distance, shape_interval


def sample(folder, name, height, width, boxes):
    write_image(folder / name, np.zeros((height, width), np.uint8))
    boxes = np.array([[0.5, 0.5, *sides] for sides in boxes], dtype=float).reshape(-1, 4)
    return Sample(folder / name, "train", np.zeros(len(boxes)), boxes)


def test_shapes_are_in_shares_of_the_longer_side(tmp_path):
    wide = sample(tmp_path, "a.png", 32, 64, [(0.5, 0.5)])  # 32 x 16 of 64 pixels
    shapes = box_shapes([wide, sample(tmp_path, "b.png", 8, 8, [])])
    assert len(shapes) == 1
    assert shapes.size[0] == pytest.approx([np.log2(np.sqrt(0.5 * 0.25))])
    assert shapes.aspect[0] == pytest.approx([1.0])


def test_an_image_that_cannot_be_read_is_passed_over(tmp_path):
    there = sample(tmp_path, "a.png", 8, 8, [(0.5, 0.5)])
    gone = sample(tmp_path, "b.png", 8, 8, [(0.5, 0.5)])
    gone.image.unlink()
    assert len(box_shapes([there, gone])) == 1


def test_twice_as_large_and_twice_as_wide_are_an_octave_each():
    one = BoxShapes((np.array([-4.0]), np.array([-3.0])), (np.zeros(1), np.zeros(1)))
    larger = BoxShapes(tuple(s + 1 for s in one.size), one.aspect)
    assert shape_distance(one, one) == 0
    assert shape_distance(one, larger) == pytest.approx(1)
    wider = BoxShapes(larger.size, tuple(a + 1 for a in one.aspect))
    assert shape_distance(one, wider) == shape_distance(wider, one) == pytest.approx(2)


def test_the_interval_holds_the_distance_of_many_images():
    chance = np.random.default_rng(1)
    one, other = (
        BoxShapes(tuple(chance.normal(mean, 1, 3) for _ in range(60)),
                  tuple(chance.normal(0, 1, 3) for _ in range(60)))
        for mean in (-4, -3)
    )
    low, high = shape_interval(one, other, np.random.default_rng(0))
    assert low < shape_distance(one, other) < high
    assert (low, high) == shape_interval(one, other, np.random.default_rng(0))
