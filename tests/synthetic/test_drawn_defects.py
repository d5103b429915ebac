from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.synthetic.demo_datasets import STYLES, demo_counts
from aoi_tl.synthetic.drawn_defects import DRAWN_DEFECTS, FAINTEST, draw_defect


@pytest.mark.parametrize("name", DRAWN_DEFECTS)
def test_a_mark_is_cut_to_its_changed_pixels_and_strong_enough_to_see(name):
    for seed in range(12):
        patch = draw_defect(name, np.random.default_rng(seed), 1.0)
        changed = patch != 0
        assert (np.abs(patch[changed]) >= FAINTEST).all()
        assert np.abs(patch).max() > 30
        assert changed[0].any()
        assert changed[-1].any()
        assert changed[:, 0].any()
        assert changed[:, -1].any()
        assert changed.sum() >= 40
        assert min(patch.shape) >= 7
        assert max(patch.shape) <= 115


@pytest.mark.parametrize("name", DRAWN_DEFECTS)
def test_a_mark_grows_with_the_tile(name):
    small = np.mean([draw_defect(name, np.random.default_rng(k), 1.0).shape for k in range(20)], 0)
    large = np.mean([draw_defect(name, np.random.default_rng(k), 2.0).shape for k in range(20)], 0)
    assert (large / small > 1.6).all()
    assert (large / small < 2.3).all()


def test_every_published_class_is_drawn_and_no_other():
    published = {label for counts in demo_counts().values() for label in counts}
    assert published == set(DRAWN_DEFECTS)
    assert len(STYLES) == 11


def test_no_two_classes_look_alike():
    """Mean patch statistics separate the classes: polarity, fill, aspect, sharpness."""
    described = {}
    for name in DRAWN_DEFECTS:
        rows = []
        for seed in range(24):
            patch = draw_defect(name, np.random.default_rng(seed), 1.0)
            changed = patch != 0
            height, width = patch.shape
            steep = np.abs(np.diff(patch, axis=0)).mean() + np.abs(np.diff(patch, axis=1)).mean()
            bent = np.abs(np.diff(patch, 2, axis=0)).max()
            rows.append(
                [
                    patch[changed].mean() / 50,
                    patch[changed].std() / 25,
                    changed.mean() * 2,
                    np.log(max(height, width) / min(height, width)),
                    np.sqrt(height * width) / 15,
                    steep / 15,
                    bent / 40,
                ]
            )
        described[name] = np.mean(rows, 0)
    names = list(described)
    table = np.array([described[name] for name in names])
    apart = np.linalg.norm(table[:, None] - table[None], axis=-1)
    apart[np.diag_indices(len(names))] = np.inf
    closest = np.unravel_index(apart.argmin(), apart.shape)
    assert apart.min() > 0.3, (names[closest[0]], names[closest[1]], apart.min())
