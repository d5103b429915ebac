from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from aoi_tl.classification.batches import Pixels
from aoi_tl.classification.encoders import Encoder
from aoi_tl.classification.features import (
    AS_IT_IS,
    VIEWS,
    View,
    cache_features,
    compute_features,
    features_key,
)


def some_pixels(n: int = 5, seed: int = 0) -> Pixels:
    generator = np.random.default_rng(seed)
    return Pixels(generator.integers(0, 256, (n, 1, 12, 12), dtype=np.uint8),
                  np.arange(n, dtype=np.int64) % 2)


def test_views_by_hand() -> None:
    image = torch.tensor([[[[0.0, 0.2], [0.4, 1.0]]]])
    assert View()(image).tolist() == image.tolist()
    assert View(turns=1)(image)[0, 0].tolist() == torch.tensor([[0.2, 1.0], [0.0, 0.4]]).tolist()
    assert View(mirror=True)(image)[0, 0].tolist() == torch.tensor(
        [[0.2, 0.0], [1.0, 0.4]]).tolist()
    bright = View(brightness=2.0)(image)[0, 0]
    torch.testing.assert_close(bright, torch.tensor([[0.0, 0.4], [0.8, 1.0]]))
    seen = {str(view(torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(1))))
            for view in VIEWS}
    assert len(seen) == len(VIEWS) == 10
    assert VIEWS[0] == AS_IT_IS[0] == View()


def test_features_are_what_the_encoder_gives_in_evaluation(
    make_encoder: Callable[..., Encoder]
) -> None:
    module, pixels = make_encoder().module, some_pixels()
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    found = compute_features(module, pixels, VIEWS, batch=2)
    assert module.training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert found.shape == (5, len(VIEWS), 6)
    module.eval()
    with torch.no_grad():
        expected = module(VIEWS[5](pixels.batch(np.arange(5))).expand(-1, 3, -1, -1))
    np.testing.assert_allclose(found[:, 5], expected.numpy(), atol=1e-6)


def test_cached_features_equal_fresh_ones_and_follow_what_they_depend_on(
    make_encoder: Callable[..., Encoder], tmp_path: Path
) -> None:
    module, pixels = make_encoder().module, some_pixels()
    first = cache_features(module, pixels, tmp_path)
    np.testing.assert_array_equal(first, compute_features(module, pixels))
    [file] = tmp_path.iterdir()
    told: list[int] = []
    again = cache_features(module, pixels, tmp_path, progress=told.append)
    np.testing.assert_array_equal(again, first)
    assert told == [], "computed again"
    assert list(tmp_path.iterdir()) == [file]
    key = features_key(module, pixels)
    assert key in file.name
    changed = [
        features_key(make_encoder(seed=1).module, pixels),
        features_key(module, some_pixels(seed=1)),
        features_key(module, pixels, VIEWS),
    ]
    with torch.no_grad():
        module[1].running_mean += 1  # a buffer is as much part of an encoder as a parameter
    changed.append(features_key(module, pixels))
    assert len({key, *changed}) == 5
