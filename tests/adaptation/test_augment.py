from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.adaptation import augment as room
from aoi_tl.adaptation.augment import augment

KINDS = [
    pytest.param(dtype, channels, id=f"{np.dtype(dtype).name}-{channels}")
    for dtype in (np.uint8, np.uint16)
    for channels in (1, 3, 4)
]


def drawn(dtype, channels, top, bottom, left, right, shape=(90, 130)):
    """A plain image with a bright mark, and the mark's box."""
    full = np.iinfo(dtype).max
    image = np.full(shape if channels == 1 else (*shape, channels), full // 4, dtype)
    image[top:bottom, left:right] = full * 3 // 4
    height, width = shape
    box = [(left + right) / 2 / width, (top + bottom) / 2 / height]
    return image, np.array([[*box, (right - left) / width, (bottom - top) / height]])


def marked(pixels):
    """Where the mark is: brighter than half between plain and mark; alpha is left out."""
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    return grey > np.iinfo(pixels.dtype).max / 2


def pixel_corners(box, shape):
    height, width = shape[:2]
    x, y, w, h = box
    return (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height


@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_the_mark_lies_in_its_moved_box_after_every_transform(dtype, channels):
    places = np.random.default_rng(5)
    for seed in range(60):
        height, width = places.integers(6, 30, 2)
        top, left = places.integers(2, 88 - height), places.integers(2, 128 - width)
        image, boxes = drawn(dtype, channels, top, top + height, left, left + width)
        pixels, moved = augment(image, boxes, np.random.default_rng(seed))
        rows, columns = np.nonzero(marked(pixels))
        x1, y1, x2, y2 = pixel_corners(moved[0], pixels.shape)
        assert columns.min() >= x1 - 1
        assert columns.max() + 1 <= x2 + 1
        assert rows.min() >= y1 - 1
        assert rows.max() + 1 <= y2 + 1
        # Nothing of the mark is lost, and the box holds little else.
        assert len(rows) >= 0.85 * height * width
        growth = (x2 - x1) * (y2 - y1) / (height * width)
        assert 0.89 <= growth <= room._MAX_GROWTH + 0.01


def test_flips_and_quarter_turns_are_exact():
    image, boxes = drawn(np.uint8, 1, 10, 30, 20, 75)
    corners = room._to_corners(boxes)
    seen = set()
    for seed in range(60):
        chance = np.random.default_rng(seed)
        pixels, moved = room._run(room._turns(), image, corners, chance)
        rows, columns = np.nonzero(marked(pixels))
        x1, y1, x2, y2 = pixel_corners(room._to_centres(moved)[0], pixels.shape)
        expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (x1, y1, x2, y2) == pytest.approx(expected, abs=1e-4)
        assert marked(pixels).sum() == 20 * 55
        seen.add((pixels.shape, round(x1), round(y1)))
    assert len(seen) == 8


def test_a_box_at_the_border_is_never_rotated():
    image, boxes = drawn(np.uint8, 1, 0, 20, 30, 60)
    for seed in range(40):
        pixels, moved = augment(image, boxes, np.random.default_rng(seed))
        x1, y1, x2, y2 = pixel_corners(moved[0], pixels.shape)
        assert (x2 - x1) * (y2 - y1) == pytest.approx(600, abs=0.01)
        inside = marked(pixels)[round(y1) : round(y2), round(x1) : round(x2)]
        assert inside.all()
        assert marked(pixels).sum() == 600


def test_long_thin_boxes_stay_tight():
    image, boxes = drawn(np.uint8, 1, 40, 44, 10, 120)
    for seed in range(40):
        pixels, moved = augment(image, boxes, np.random.default_rng(seed))
        x1, y1, x2, y2 = pixel_corners(moved[0], pixels.shape)
        assert (x2 - x1) * (y2 - y1) <= room._MAX_GROWTH * 440 + 0.01


@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_type_channels_and_alpha_are_kept(dtype, channels):
    image, boxes = drawn(dtype, channels, 20, 40, 30, 60)
    if channels == 4:
        image[..., 3] = np.iinfo(dtype).max
    before = image.copy()
    for seed in range(10):
        pixels, moved = augment(image, boxes, np.random.default_rng(seed))
        assert pixels.dtype == image.dtype
        assert pixels.ndim == image.ndim
        assert sorted(pixels.shape[:2]) == [90, 130]
        assert moved.shape == (1, 4)
        assert (image == before).all()
        if channels > 1:
            # Grey colours stay grey: neither contrast nor noise touches one channel alone.
            assert (pixels[..., 0] == pixels[..., 1]).all()
            assert pixels.shape[2] == channels
        if channels == 4:
            assert (pixels[..., 3] == np.iinfo(dtype).max).all()


def test_a_narrow_range_gets_little_noise():
    """Ten-bit values in a 16-bit file must not drown in noise meant for the full range."""
    image, boxes = drawn(np.uint16, 1, 20, 40, 30, 60)
    image = (image // 256).astype(np.uint16)
    for seed in range(10):
        pixels, _ = augment(image, boxes, np.random.default_rng(seed))
        plain = pixels[pixels < np.median(pixels) + 20]
        assert plain.std() < 10
        assert pixels.max() < 300


def test_the_mean_grey_level_hardly_moves():
    """Signatures compare domains by their grey levels; new samples must not shift them."""
    rng = np.random.default_rng(0)
    image = rng.integers(60, 140, (80, 80), dtype=np.uint8)
    for seed in range(20):
        pixels, _ = augment(image, np.zeros((0, 4)), np.random.default_rng(seed))
        assert abs(pixels.mean() - image.mean()) < 3


def test_no_boxes_and_several_boxes_keep_their_order():
    image = np.full((60, 60), 50, np.uint8)
    image[10:20, 10:20], image[30:50, 30:50] = 150, 250
    boxes = np.array([[0.25, 0.25, 1 / 6, 1 / 6], [2 / 3, 2 / 3, 1 / 3, 1 / 3]])
    for seed in range(30):
        pixels, moved = augment(image, boxes, np.random.default_rng(seed))
        for box, low in zip(moved, (100, 200), strict=True):
            x, y = (box[:2] * [pixels.shape[1], pixels.shape[0]]).astype(int)
            assert low < pixels[y, x]
            assert (pixels[y, x] < 200) == (low == 100)


def test_the_same_seed_gives_the_same_sample():
    image, boxes = drawn(np.uint8, 3, 20, 40, 30, 60)
    first = augment(image, boxes, np.random.default_rng(3))
    augment(image, boxes, np.random.default_rng(4))
    second = augment(image, boxes, np.random.default_rng(3))
    assert (first[0] == second[0]).all()
    assert (first[1] == second[1]).all()
    other = augment(image, boxes, np.random.default_rng(4))
    assert first[0].shape != other[0].shape or (first[0] != other[0]).any()
