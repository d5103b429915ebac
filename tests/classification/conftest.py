from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from aoi_tl.classification.batches import Augmentation, BatchStream, Pixels
from aoi_tl.classification.classifier import Classifier, build_classifier
from aoi_tl.classification.encoders import Encoder, Loaded


@pytest.fixture
def make_encoder() -> Callable[..., Encoder]:
    """A network of one convolution, for tests of what is built around an encoder."""
    import torch
    from torch import nn

    def make(seed: int = 0, normalise: bool = True) -> Encoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = [nn.Conv2d(3, 6, 3, padding=1)]
            if normalise:
                layers.append(nn.BatchNorm2d(6))
            module = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        names = tuple(module.state_dict())
        return Encoder("tiny", module, 6, Loaded("random", (), names, ()), module[0])

    return make


@pytest.fixture
def make_classifier(make_encoder: Callable[..., Encoder]) -> Callable[..., Classifier]:
    """Four target classes and three source classes on the tiny encoder."""

    def make(head: str = "separate", n_source: int = 3, **arguments: object) -> Classifier:
        return build_classifier(make_encoder(**arguments), 4, n_source, head)

    return make


@pytest.fixture
def make_stream() -> Callable[..., BatchStream]:
    """Random images of random classes, all classes there."""

    def make(n_classes: int, n: int = 12, batch: int = 6, **arguments: object) -> BatchStream:
        generator = np.random.default_rng(n_classes)
        labels = np.arange(n, dtype=np.int64) % n_classes
        # Each class has its own brightness, so that there is something to learn.
        values = generator.integers(0, 40, (n, 1, 16, 16)) + 50 * labels[:, None, None, None]
        pixels = Pixels(values.astype(np.uint8), labels)
        return BatchStream(pixels, batch, augmentation=Augmentation(rotation=5), **arguments)

    return make
