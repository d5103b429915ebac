from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.errors import DataError
from aoi_tl.synthetic.demo_datasets import demo_counts
from aoi_tl.synthetic.drawn_defects import DRAWN_DEFECTS
from aoi_tl.synthetic.tiles import BRIGHTEST, DARKEST, STYLES, draw_surface, draw_tile


@pytest.mark.parametrize("name", STYLES)
def test_a_box_is_exactly_around_the_pixels_that_its_mark_changed(name):
    classes = list(demo_counts(1)[name])
    for seed, exposure in enumerate(np.linspace(-1, 1, 2 * len(classes))):
        chance = np.random.default_rng(seed)
        held = [classes[seed % len(classes)]]
        plane = [label for label in classes if DRAWN_DEFECTS[label].place == "plane"]
        held += [plane[int(k)] for k in chance.integers(len(plane), size=seed % 3)]
        drawing = draw_tile(name, held, chance, float(exposure), 160)
        changed = drawing.image != drawing.bare
        inside = np.zeros_like(changed)
        for x0, y0, x1, y1 in drawing.boxes:
            assert not inside[y0:y1, x0:x1].any(), "boxes do not overlap"
            inside[y0:y1, x0:x1] = True
            here = changed[y0:y1, x0:x1]
            assert here[0].any()
            assert here[-1].any()
            assert here[:, 0].any()
            assert here[:, -1].any()
            # Visible on dark and on bright tiles alike, not only changed.
            difference = np.abs(drawing.image.astype(int) - drawing.bare)[y0:y1, x0:x1]
            assert difference.max() >= 25
        assert not (changed & ~inside).any()


@pytest.mark.parametrize("size", [96, 160, 320, 640])
def test_a_tile_is_drawn_at_any_size(size):
    drawing = draw_tile("xh-3", ["bump", "standard chipping"], np.random.default_rng(1), 0.3, size)
    assert drawing.image.shape == (size, size)
    assert drawing.image.dtype == np.uint8
    assert drawing.classes == ("bump", "standard chipping")
    sides = (drawing.boxes[:, 2:] - drawing.boxes[:, :2]) / size
    assert (sides > 0.04).all()
    assert (sides < 0.7).all()


@pytest.mark.parametrize("name", STYLES)
def test_a_bare_tile_stands_out_from_its_background_and_keeps_in_range(name):
    surface, (left, top, right, bottom) = draw_surface(
        STYLES[name], np.random.default_rng(2), 0.0, 160, 0
    )
    assert surface.min() >= DARKEST
    assert surface.max() <= BRIGHTEST
    inside = surface[top + 12 : bottom - 12, left + 12 : right - 12]
    outside = np.concatenate([surface[: top - 1].ravel(), surface[:, : left - 1].ravel()])
    assert inside.mean() > outside.mean() + 5


@pytest.mark.parametrize("name", STYLES)
def test_a_brighter_exposure_is_brighter(name):
    dark, bright = (
        draw_surface(STYLES[name], np.random.default_rng(2), exposure, 160, 0)[0].mean()
        for exposure in (-1.0, 1.0)
    )
    assert bright > dark + STYLES[name].exposure


def test_edge_and_corner_marks_touch_the_tiles_outline():
    for seed in range(40):
        for label in ("standard chipping", "contour chipping", "chipping", "chamfer"):
            chance = np.random.default_rng(seed)
            drawing = draw_tile("jy-381-2", [label], chance, 0.0, 160)
            _, tile = draw_surface(STYLES["jy-381-2"], np.random.default_rng(seed), 0.0, 160, 0)
            touching = np.array(drawing.boxes[0]) == np.array(tile)
            assert touching.sum() >= (2 if label == "chamfer" else 1), label


def test_a_tile_that_is_too_small_says_so():
    with pytest.raises(DataError, match="expected room for"):
        draw_tile("dc-1", ["crack"] * 40, np.random.default_rng(0), 0.0, 96)
