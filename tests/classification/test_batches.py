from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from aoi_tl.classification.batches import Augmentation, BatchStream, Pixels, cache_pixels
from aoi_tl.classification.folders import read_image_folders
from aoi_tl.classification.image_set import ImageSet
from aoi_tl.errors import DataError


@pytest.fixture
def grey_set(tmp_path: Path) -> ImageSet:
    for name in ("a", "b"):
        folder = tmp_path / "set" / name
        folder.mkdir(parents=True)
        for number in range(3):
            cv2.imwrite(str(folder / f"{number}.png"), np.full((20, 30), 40 * number, np.uint8))
    return read_image_folders(tmp_path / "set")


def test_grey_images_take_one_channel(grey_set: ImageSet) -> None:
    pixels = cache_pixels(grey_set, 16)
    assert pixels.values.shape == (6, 1, 16, 16)
    assert pixels.values[:, 0, 0, 0].tolist() == [0, 40, 80] * 2


def test_one_colour_image_makes_three_channels_in_rgb_order(grey_set: ImageSet) -> None:
    cv2.imwrite(str(grey_set.images[5]), np.full((20, 30, 3), (0, 0, 200), np.uint8))  # red
    pixels = cache_pixels(grey_set, 16)
    assert pixels.values.shape == (6, 3, 16, 16)
    assert pixels.values[5, :, 0, 0].tolist() == [200, 0, 0]
    assert pixels.values[1, :, 0, 0].tolist() == [40, 40, 40]


def test_deep_images_are_scaled(grey_set: ImageSet) -> None:
    cv2.imwrite(str(grey_set.images[0]), np.full((20, 30), 65535, np.uint16))
    assert cache_pixels(grey_set, 8).values[0].max() == 255


def test_mapped_file_is_used_again_and_made_anew_when_an_image_changes(
    grey_set: ImageSet, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first = cache_pixels(grey_set, 16, cache)
    assert isinstance(first.values, np.memmap)
    [file] = cache.iterdir()
    stamp = file.stat().st_mtime_ns
    assert np.array_equal(cache_pixels(grey_set, 16, cache).values, cache_pixels(grey_set,
                                                                                 16).values)
    assert file.stat().st_mtime_ns == stamp
    cv2.imwrite(str(grey_set.images[0]), np.full((25, 30), 99, np.uint8))
    assert cache_pixels(grey_set, 16, cache).values[0].max() == 99
    cache_pixels(grey_set, 8, cache)
    assert len(list(cache.iterdir())) == 3


def test_unreadable_image_is_named(grey_set: ImageSet, tmp_path: Path) -> None:
    grey_set.images[4].write_bytes(b"no image")
    with pytest.raises(DataError, match=str(grey_set.images[4])):
        cache_pixels(grey_set, 16, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def make_stream(n: int, batch: int, **arguments: object) -> BatchStream:
    labels = np.arange(n, dtype=np.int64) % 2
    values = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8)
    return BatchStream(Pixels(values, labels), batch, **arguments)


@pytest.mark.parametrize(("n", "batch"), [(20, 16), (5, 16), (16, 16), (33, 4)])
def test_every_image_comes_once_an_epoch_and_every_batch_is_full(n: int, batch: int) -> None:
    stream = make_stream(n, batch)
    places = np.concatenate([stream.places(step) for step in range(n)])
    assert len(places) == n * batch
    for epoch in places.reshape(batch, n):
        assert sorted(epoch.tolist()) == list(range(n))


def test_a_batch_depends_on_the_step_and_the_seed_alone() -> None:
    one, other = make_stream(20, 16, seed=3), make_stream(20, 16, seed=3)
    other.at(0)
    assert torch.equal(one.at(5)[0], other.at(5)[0])
    assert not torch.equal(one.at(5)[0], make_stream(20, 16, seed=4).at(5)[0])


def test_batch_has_three_channels_in_zero_to_one_and_its_own_labels() -> None:
    stream = make_stream(20, 16, augmentation=None)
    images, labels = stream.at(0)
    assert images.shape == (16, 3, 8, 8)
    shown = (images[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(shown % 2, labels)
    assert torch.equal(images[:, 0], images[:, 2])


def test_flip_without_rotation_is_exact() -> None:
    images = torch.arange(2 * 64, dtype=torch.float32).view(2, 1, 8, 8)
    for seed in range(6):
        found = Augmentation(flip=True, rotation=0)(images, np.random.default_rng(seed))
        for image, before in zip(found, images, strict=True):
            assert torch.equal(image, before) or torch.equal(image, before.flip(-1))


def test_rotation_by_a_quarter_turn_is_a_quarter_turn() -> None:
    class Quarter(np.random.Generator):
        def uniform(self, low, high, size):  # type: ignore[no-untyped-def]
            return np.full(size, high)

    images = torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    found = Augmentation(flip=False, rotation=90)(images, Quarter(np.random.PCG64(0)))
    torch.testing.assert_close(found, torch.rot90(images, 1, (2, 3)), atol=1e-4, rtol=0)


def test_rotation_keeps_range_and_size() -> None:
    images = torch.rand(16, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    found = Augmentation(rotation=15)(images, np.random.default_rng(0))
    assert found.shape == images.shape
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert not torch.equal(found, images)
