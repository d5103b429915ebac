"""Batches of images: decoded and resized once, augmented as whole batches."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from aoi_tl.classification.image_set import ImageSet
from aoi_tl.classification.imbalance import epoch_order
from aoi_tl.data.images import read_image, to_8_bits
from aoi_tl.files.run_folder import UNFINISHED

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Pixels:
    """The images of a set, decoded and resized.

    Attributes
    ----------
    values : ndarray of uint8, shape (n, channels, size, size)
        RGB, or one channel where all images are grey; in memory or mapped from a file.
    labels : ndarray of int64, shape (n,)
        The class of every image.
    """

    values: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, places: np.ndarray) -> torch.Tensor:
        """Give images as floats in 0..1, of shape (len(places), channels, size, size)."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(self.values[places])).float().div_(255)


def cache_pixels(images: ImageSet, size: int, folder: Path | None = None) -> Pixels:
    """Decode and resize every image of a set once.

    Parameters
    ----------
    images : ImageSet
        The set.
    size : int
        Side of the square that every image is resized to, in pixels. As in the paper the
        proportions of an oblong image are not kept.
    folder : Path, optional
        Where to keep the result as a file that is mapped into memory, for sets larger than the
        memory and for resumed runs; without it the pixels stay in memory.

    Returns
    -------
    Pixels
        One row per image, in the order of the set.

    Raises
    ------
    DataError
        When an image cannot be read.
    """
    if folder is None:
        return Pixels(_decode(images, size, None), images.labels)
    file = folder / f"{_key(images, size)}.npy"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as temporary:
            part = Path(temporary) / "pixels.npy"
            _decode(images, size, part)
            part.replace(file)
    return Pixels(np.load(file, mmap_mode="r"), images.labels)


def _key(images: ImageSet, size: int) -> str:
    """What the cached pixels depend on: the files as they are now, the size, and the depth."""
    digest = hashlib.sha256(f"{size} {images.depth}".encode())
    for image in images.images:
        stat = image.stat()
        digest.update(f"{image}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def _decode(images: ImageSet, size: int, file: Path | None, channels: int = 1) -> np.ndarray:
    shape = (len(images), channels, size, size)
    values = (
        np.empty(shape, np.uint8) if file is None
        else np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    )
    if file is not None and hasattr(os, "posix_fallocate"):
        with file.open("r+b") as place:  # a full disk met through the map would kill the process
            os.posix_fallocate(place.fileno(), 0, file.stat().st_size)
    for row, path in zip(values, images.images, strict=True):
        image = read_image(path, images.depth)
        if image.ndim == 3 and channels == 1:
            return _decode(images, size, file, channels=3)
        image = to_8_bits(image)
        shrinks = image.shape[0] * image.shape[1] > size * size
        resized = cv2.resize(
            image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        row[:] = resized if resized.ndim == 2 else resized.transpose(2, 0, 1)
    if isinstance(values, np.memmap):
        values.flush()
    return values


def turn_images(
    images: torch.Tensor, degrees: np.ndarray, mirror: np.ndarray | None = None
) -> torch.Tensor:
    """Rotate square images, with the corners filled by reflection.

    Parameters
    ----------
    images : tensor of shape (n, channels, size, size)
        In 0..1.
    degrees : ndarray of shape (n,)
        How far, counter-clockwise.
    mirror : ndarray of shape (n,), optional
        -1 for those to be mirrored as well, else 1.

    Returns
    -------
    tensor of shape (n, channels, size, size)
        Bilinear between the pixels.
    """
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    angle = np.radians(degrees)
    sign = np.ones(len(images)) if mirror is None else mirror
    # Rows of the 2 x 3 matrix that takes an output place to its input place.
    theta = np.zeros((len(images), 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = sign * np.cos(angle), -sign * np.sin(angle)
    theta[:, 1, 0], theta[:, 1, 1] = np.sin(angle), np.cos(angle)
    grid = affine_grid(
        torch.from_numpy(theta).to(images.device), list(images.shape), align_corners=False
    )
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image.

    Attributes
    ----------
    flip : bool
        Mirror left to right, half of the time.
    rotation : float
        Turn by up to this many degrees either way; the corners are filled by reflection.
    """

    flip: bool = True
    rotation: float = 15.0

    def __call__(self, images: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """Change a batch of shape (n, channels, size, size)."""
        import torch

        n = len(images)
        mirror = np.where(generator.random(n) < 0.5, -1.0, 1.0) if self.flip else np.ones(n)
        degrees = generator.uniform(-self.rotation, self.rotation, n)
        if self.rotation == 0:
            chosen = torch.from_numpy(mirror < 0)[:, None, None, None]
            return torch.where(chosen, images.flip(-1), images)
        return turn_images(images, degrees, mirror)


@dataclass(frozen=True, eq=False)
class BatchStream:
    """An endless stream of training batches; each depends only on its step.

    Epochs follow each other without a gap, so that every batch is full and every image comes
    equally often (or as often as ``factors`` ask), and a resumed training goes on with the very
    batches it would have had.

    Attributes
    ----------
    pixels : Pixels
        The training images.
    batch : int
        Images a batch.
    seed : int
        Of the order and the augmentation.
    augmentation : Augmentation or None
        None leaves the images as they are.
    factors : mapping of class index to float
        Oversampling, see ``imbalance.epoch_order``.
    """

    pixels: Pixels
    batch: int = 16
    seed: int = 0
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    factors: Mapping[int, float] = field(default_factory=dict)

    def places(self, step: int) -> np.ndarray:
        """Which images step number ``step`` (from 0) takes."""
        first, last = step * self.batch, (step + 1) * self.batch
        length = len(self.epoch(0))
        order = np.concatenate(
            [self.epoch(number) for number in range(first // length, (last - 1) // length + 1)]
        )
        start = first - first // length * length
        return order[start : start + self.batch]

    def epoch(self, number: int) -> np.ndarray:
        """The order of one epoch."""
        generator = np.random.default_rng((self.seed, 0, number))
        return epoch_order(self.pixels.labels, self.factors, generator)

    def at(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch of one step: images (batch, 3, size, size) in 0..1, labels (batch,)."""
        import torch

        places = self.places(step)
        images = self.pixels.batch(places)
        if self.augmentation is not None:
            images = self.augmentation(images, np.random.default_rng((self.seed, 1, step)))
        # Grey is turned as one channel and then seen as three: a third of the work.
        return images.expand(-1, 3, -1, -1), torch.from_numpy(self.pixels.labels[places])
