"""Features of a frozen encoder: computed once, cached, augmented by changes that keep a label."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aoi_tl.classification.batches import Pixels
from aoi_tl.files.run_folder import write_atomically

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class View:
    """A change of an image that keeps its label.

    Attributes
    ----------
    turns : int
        Quarter turns, counter-clockwise.
    mirror : bool
        Mirrored left to right, before it is turned.
    brightness : float
        Factor on every pixel; what is above 1 is cut.
    """

    turns: int = 0
    mirror: bool = False
    brightness: float = 1.0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Change a batch of shape (n, channels, size, size) in 0..1."""
        import torch

        seen = images.flip(-1) if self.mirror else images
        seen = torch.rot90(seen, self.turns, (-2, -1))
        return seen if self.brightness == 1 else (seen * self.brightness).clamp(0, 1)


#: The image as it is; what a classifier is tested on.
AS_IT_IS = (View(),)
#: Flips, quarter turns and two brightnesses, the image as it is first.
VIEWS = (
    *(View(turns, mirror) for mirror in (False, True) for turns in range(4)),
    View(brightness=0.8), View(brightness=1.25),
)
#: Training images above which every image is seen as it is alone: changes teach little then.
MOST_VIEWED = 200


def choose_views(pixels: Pixels) -> tuple[View, ...]:
    """Choose what is made of every training image of a probe.

    Parameters
    ----------
    pixels : Pixels
        The training images.

    Returns
    -------
    tuple of View
        `VIEWS` for up to `MOST_VIEWED` images, `AS_IT_IS` for more.
    """
    return AS_IT_IS if len(pixels) > MOST_VIEWED else VIEWS


def compute_features(
    encoder: nn.Module,
    pixels: Pixels,
    views: Sequence[View] = AS_IT_IS,
    batch: int = 32,
    progress: Callable[[int], object] = lambda done: None,
) -> np.ndarray:
    """Pass images through an encoder that is not trained.

    Parameters
    ----------
    encoder : torch.nn.Module
        Takes images of shape (n, 3, size, size) in 0..1. Its mode is the same afterwards.
    pixels : Pixels
        The images.
    views : sequence of View
        What is made of every image.
    batch : int
        Images at a time.
    progress : callable
        Called with the number of images done, all views counted.

    Returns
    -------
    ndarray of float32, shape (n, views, features)
        Without augmentation by chance: the same images have the same features.
    """
    import torch

    device = next(encoder.parameters()).device
    was_training = encoder.training
    encoder.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch):
            places = np.arange(start, min(start + batch, len(pixels)))
            images = pixels.batch(places)
            rows = []
            for view in views:
                # Grey is changed as one channel and then seen as three.
                seen = view(images).expand(-1, 3, -1, -1).to(device)
                rows.append(encoder(seen).float().cpu().numpy())
                progress(start * len(views) + len(rows) * len(places))
            found.append(np.stack(rows, axis=1))
    encoder.train(was_training)
    return np.concatenate(found)


def cache_features(
    encoder: nn.Module,
    pixels: Pixels,
    folder: Path,
    views: Sequence[View] = AS_IT_IS,
    progress: Callable[[int], object] = lambda done: None,
) -> np.ndarray:
    """Give the features of images, from the cache or computed.

    Parameters
    ----------
    encoder : torch.nn.Module
        As for `compute_features`.
    pixels : Pixels
        The images.
    folder : Path
        Keeps a file for each encoder, set of images and list of views.
    views : sequence of View
        What is made of every image.
    progress : callable
        Called with the number of images done.

    Returns
    -------
    ndarray of float32, shape (n, views, features)
        Equal to what `compute_features` gives. The file's name follows from the encoder's tensors,
        the pixels and the views, so that none of them can change unseen.
    """
    file = folder / f"features-{features_key(encoder, pixels, views)}.npy"
    if file.is_file():
        kept: np.ndarray = np.load(file, allow_pickle=False)
        return kept
    found = compute_features(encoder, pixels, views, progress=progress)
    stream = io.BytesIO()
    np.save(stream, found, allow_pickle=False)
    write_atomically(file, stream.getvalue())
    return found


def features_key(encoder: nn.Module, pixels: Pixels, views: Sequence[View] = AS_IT_IS) -> str:
    """Give the cache key of features.

    Parameters
    ----------
    encoder : torch.nn.Module
        Its tensors and layers count.
    pixels : Pixels
        Their values count, their labels do not.
    views : sequence of View
        In this order.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(repr((str(encoder), tuple(views), pixels.values.shape)).encode())
    for name, buffer in [*encoder.named_parameters(), *encoder.named_buffers()]:
        digest.update(name.encode())
        digest.update(buffer.detach().cpu().contiguous().numpy().tobytes())
    for row in pixels.values:
        digest.update(row.tobytes())
    return digest.hexdigest()[:16]
