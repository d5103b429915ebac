from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aoi_tl.similarity.signature import (
    Signature,
    choose_n_clusters,
    colour_counts,
    dataset_signature,
    image_signature,
)


def natural(seed, shape=(120, 160)):
    """A colour image of smooth hues and grain: tens of thousands of colours."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / 40
    waves = [np.sin(x * a + b) + np.cos(y * c) for a, b, c in rng.uniform(0.3, 2, (3, 3))]
    image = 128 + 55 * np.stack(waves, axis=2) + rng.normal(0, 9, (*shape, 3))
    return image.clip(0, 255).astype(np.uint8)


def inertia(image, centroids):
    pixels = image.reshape(-1, 3).astype(float)
    return sum_of_nearest(pixels, centroids)


def sum_of_nearest(pixels, centroids):
    nearest = np.full(len(pixels), np.inf)
    for centroid in centroids:
        np.minimum(nearest, ((pixels - centroid) ** 2).sum(axis=1), out=nearest)
    return nearest.sum()


def test_grey_by_hand():
    signature = image_signature(np.array([[0, 2, 100, 102]], dtype=np.uint8), 2)
    assert signature.centroids.tolist() == [[1, 1, 1], [101, 101, 101]]
    assert signature.weights.tolist() == [0.5, 0.5]


def test_grey_is_rgb_with_equal_channels():
    grey = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    one = image_signature(grey, 5)
    for same in (grey[:, :, None], np.repeat(grey[:, :, None], 3, axis=2)):
        assert image_signature(same, 5) == one
    alpha = np.concatenate([np.repeat(grey[:, :, None], 3, 2), grey[:, :, None] // 2], axis=2)
    assert image_signature(alpha, 5) == one


def test_grey_equals_scikit_learn_on_all_pixels():
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(1)
    image = np.concatenate([rng.normal(m, 12, 900) for m in (60, 120, 210)]).clip(0, 255)
    image = image.astype(np.uint8).reshape(54, 50)
    pixels = np.repeat(image.reshape(-1, 1), 3, axis=1).astype(float)
    theirs = KMeans(3, n_init=10, random_state=0).fit(pixels)
    ours = image_signature(image, 3)
    assert inertia(np.repeat(image[:, :, None], 3, 2), ours.centroids) <= theirs.inertia_ * (
        1 + 1e-12
    )
    np.testing.assert_allclose(ours.centroids, np.sort(theirs.cluster_centers_, axis=0), atol=0.5)


def test_16_bit_is_scaled():
    eight = np.random.default_rng(2).integers(0, 256, (40, 30), dtype=np.uint8)
    deep = eight.astype(np.uint16) * 257
    one, two = image_signature(eight, 4), image_signature(deep, 4)
    np.testing.assert_allclose(one.centroids, two.centroids, atol=1e-9)
    np.testing.assert_allclose(one.weights, two.weights)
    fine = np.random.default_rng(3).integers(0, 65536, (60, 60)).astype(np.uint16)
    assert image_signature(fine, 4).weights.sum() == pytest.approx(1)


def test_16_bit_colour():
    image = natural(4)
    noise = np.random.default_rng(4).integers(0, 257, image.shape)
    deep = (image.astype(np.int64) * 256 + noise).clip(0, 65535).astype(np.uint16)
    signature = image_signature(deep, 4)
    reference = image_signature((deep >> 8).astype(np.uint8), 4)
    scaled = deep.astype(float) * 255 / 65535
    ours = sum_of_nearest(scaled.reshape(-1, 3), signature.centroids)
    theirs = sum_of_nearest(scaled.reshape(-1, 3), reference.centroids)
    assert ours <= theirs * 1.002


@pytest.mark.parametrize("seed", range(6))
def test_colour_is_as_good_as_scikit_learn(seed):
    from sklearn.cluster import KMeans

    image = natural(seed)
    assert len(colour_counts(image)[0]) > 4096  # the binned path
    theirs = KMeans(5, n_init=10, random_state=0).fit(image.reshape(-1, 3).astype(float))
    assert inertia(image, image_signature(image, 5).centroids) <= theirs.inertia_ * 1.001


def test_few_colours_are_counted_exactly():
    rng = np.random.default_rng(5)
    palette = rng.integers(0, 256, (50, 3)).astype(np.uint8)
    index = rng.integers(0, 50, (70, 80))
    colours, counts = colour_counts(palette[index])
    assert sorted(map(tuple, colours.astype(int).tolist())) == sorted(map(tuple, palette.tolist()))
    assert counts.sum() == 70 * 80
    assert sorted(counts) == sorted(np.bincount(index.ravel(), minlength=50))


def test_channels_keep_their_order():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[:2] = (200, 100, 50)
    image[2:, :2] = (10, 20, 30)
    signature = image_signature(image, 3)
    assert signature.centroids.tolist() == [[0, 0, 0], [10, 20, 30], [200, 100, 50]]
    assert signature.weights.tolist() == [0.25, 0.25, 0.5]
    noisy = natural(7)
    noisy[:, :, 2] //= 4
    centroids = image_signature(noisy, 3).centroids
    assert (centroids[:, 2] < 64).all()


def test_flat_and_tiny_images():
    flat = image_signature(np.full((5, 5, 3), 9, dtype=np.uint8), 5)
    assert flat.centroids.tolist() == [[9, 9, 9]]
    assert flat.weights.tolist() == [1]
    assert len(image_signature(np.array([[3]], dtype=np.uint8), 5).weights) == 1


def test_strips_change_nothing(monkeypatch):
    from aoi_tl.similarity import signature as room

    grey = np.random.default_rng(8).integers(0, 256, (50, 40), dtype=np.uint8)
    deep = np.random.default_rng(8).integers(0, 65536, (50, 40)).astype(np.uint16)
    images = [grey, deep, natural(8), natural(8) // 16, natural(8).astype(np.uint16) * 200]
    whole = [image_signature(image, 4) for image in images]
    monkeypatch.setattr(room, "_STRIP", 300)
    assert [image_signature(image, 4) for image in images] == whole


def test_a_count_that_breaks_off_spoils_no_later_one(monkeypatch):
    from aoi_tl.similarity import compiled

    image, take = natural(3), compiled.take_colours
    before = image_signature(image, 4)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(compiled, "take_colours", stop)
    with pytest.raises(KeyboardInterrupt):
        image_signature(natural(5), 4)
    monkeypatch.setattr(compiled, "take_colours", take)
    assert image_signature(image, 4) == before


def test_image_is_not_edited_and_may_be_a_view():
    image = natural(9)
    before = image.copy()
    view = image[::2, 1::3]
    assert image_signature(view, 4) == image_signature(np.ascontiguousarray(view), 4)
    assert np.array_equal(image, before)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 2)),
        np.zeros((2, 2), dtype=np.int16),
        np.zeros(4, dtype=np.uint8),
        np.zeros((2, 2, 2), dtype=np.uint8),
        np.zeros((0, 2), dtype=np.uint8),
        [[1, 2]],
    ],
)
def test_refuses_what_is_no_image(image):
    with pytest.raises(ValueError, match="expected"):
        image_signature(image, 3)


def test_dataset_signature_weighs_centroids():
    one = Signature([[0, 0, 0], [100, 100, 100]], [0.9, 0.1])
    two = Signature([[10, 10, 10], [100, 100, 100]], [0.3, 0.7])
    merged = dataset_signature([one, two], 2)
    # (0 * 0.9 + 10 * 0.3) / 1.2 and 100; not the mean by index
    np.testing.assert_allclose(merged.centroids[:, 0], [2.5, 100])
    np.testing.assert_allclose(merged.weights, [0.6, 0.4])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_dataset_signature_ignores_order(seed, grey):
    rng = np.random.default_rng(seed)
    signatures = []
    for _ in range(25):
        centroids = rng.integers(0, 256, (5, 1 if grey else 3)) * np.ones((1, 3))
        weights = rng.random(5)
        signatures.append(Signature(centroids, weights / weights.sum()))
    merged = dataset_signature(signatures, 5)
    order = rng.permutation(25)
    assert dataset_signature([signatures[i] for i in order], 5) == merged
    assert merged.weights.sum() == pytest.approx(1, abs=1e-12)
    assert merged.centroids.shape == (5, 3)


@pytest.mark.parametrize("grey", [True, False])
def test_dataset_signature_of_more_than_memory_has_room_for(grey, monkeypatch):
    from aoi_tl.similarity import signature as room

    rng = np.random.default_rng(10)
    signatures = []
    for _ in range(400):
        centroids = rng.normal(rng.uniform(20, 230, (5, 1)), 9, (5, 3))
        centroids = centroids[:, :1] * np.ones((1, 3)) if grey else centroids
        signatures.append(Signature(centroids, rng.dirichlet(np.ones(5))))
    whole = dataset_signature(signatures, 5)
    monkeypatch.setattr(room, "_MOST_CENTROIDS", 500)
    monkeypatch.setattr(room, "_SEVERAL", 10)
    bounded = dataset_signature(iter(signatures), 5)
    assert bounded.weights.sum() == pytest.approx(1, abs=1e-12)
    mean = np.average(bounded.centroids, axis=0, weights=bounded.weights)
    np.testing.assert_allclose(mean, np.average(whole.centroids, axis=0, weights=whole.weights))
    points = np.concatenate([s.centroids for s in signatures])
    weights = np.concatenate([s.weights for s in signatures])
    inertias = [
        weights @ ((points[:, None] - s.centroids) ** 2).sum(axis=2).min(axis=1)
        for s in (whole, bounded)
    ]
    assert inertias[1] <= inertias[0] * 1.01


def test_dataset_signature_of_one_image_is_its_signature():
    one = image_signature(natural(3), 5)
    same = dataset_signature([one], 5)
    np.testing.assert_allclose(same.centroids, one.centroids)
    np.testing.assert_allclose(same.weights, one.weights)


def test_dataset_signature_refuses():
    with pytest.raises(ValueError, match="at least one"):
        dataset_signature([], 5)
    with pytest.raises(ValueError, match="dimension"):
        dataset_signature([Signature([[1.0]], [1]), Signature([[1.0, 2]], [1])], 2)


def test_elbow_finds_the_number_of_groups():
    rng = np.random.default_rng(0)
    for groups in (2, 3, 4):
        levels = np.linspace(20, 230, groups)
        image = rng.normal(rng.choice(levels, (80, 80)), 2).clip(0, 255).astype(np.uint8)
        assert choose_n_clusters([image, image.T]) == groups


def test_elbow_of_flat_images_is_one():
    assert choose_n_clusters([np.zeros((4, 4), dtype=np.uint8)]) == 1
    assert choose_n_clusters([np.arange(16, dtype=np.uint8).reshape(4, 4)], max_clusters=1) == 1
    with pytest.raises(ValueError, match="at least one"):
        choose_n_clusters([])


def test_elbow_mixes_grey_and_colour():
    assert 2 <= choose_n_clusters([natural(1), natural(2)[:, :, 0]]) <= 6


def test_signature_checks_freezes_and_pickles():
    signature = Signature([1, 2], [1, 3])
    assert signature.centroids.shape == (2, 1)
    assert pickle.loads(pickle.dumps(signature)) == signature
    assert signature != Signature([1, 2], [1, 1])
    with pytest.raises(ValueError, match="read-only"):
        signature.weights[0] = 2


@pytest.mark.parametrize(
    ("centroids", "weights"),
    [
        ([[1, 2, 3]], [1, 2]),
        ([], []),
        ([[np.nan]], [1]),
        ([[1]], [np.nan]),
        ([[1], [2]], [1, -1]),
        ([[1]], [0]),
    ],
)
def test_signature_refuses(centroids, weights):
    with pytest.raises(ValueError, match="expected"):
        Signature(centroids, weights)
