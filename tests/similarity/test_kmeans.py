from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aoi_tl.similarity.kmeans import inertias, merge_equal, weighted_kmeans


def brute_force(values, weights, k):
    """The least inertia of all ways to cut the sorted values into at most k runs."""
    order = np.argsort(values)
    values, weights = np.asarray(values, float)[order], np.asarray(weights, float)[order]
    n = len(values)
    best = np.inf
    for parts in range(1, min(k, n) + 1):
        for cuts in itertools.combinations(range(1, n), parts - 1):
            edges = [0, *cuts, n]
            total = 0.0
            for i, j in itertools.pairwise(edges):
                w = weights[i:j]
                if w.sum():
                    mean = (w @ values[i:j]) / w.sum()
                    total += w @ (values[i:j] - mean) ** 2
            best = min(best, total)
    return best


def inertia_of(points, weights, centroids):
    away = ((points[:, None] - centroids) ** 2).sum(axis=2)
    return float(weights @ away.min(axis=1))


LINES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=9).filter(
    lambda pairs: any(w for _, w in pairs)
)


@settings(deadline=None)  # the first call compiles
@given(LINES, st.integers(1, 5))
def test_line_is_the_optimum(pairs, k):
    values, weights = map(np.array, zip(*pairs, strict=True))
    clusters = weighted_kmeans(values, weights, k)
    best = brute_force(values, weights, k)
    assert clusters.inertia == pytest.approx(best, abs=1e-9)
    assert inertia_of(values[:, None], weights, clusters.centroids) == pytest.approx(best, abs=1e-9)
    assert inertias(values, weights, k)[-1] == pytest.approx(best, abs=1e-9)


def test_whole_table_against_the_plain_recursion():
    rng = np.random.default_rng(5)
    values, weights = np.arange(150.0), rng.integers(1, 90, 150).astype(float)

    def cost(i, j):
        w, v = weights[i:j], values[i:j]
        return w @ (v - (w @ v) / w.sum()) ** 2

    table = {(1, j): cost(0, j) for j in range(1, 151)}
    costs = {(i, j): cost(i, j) for i in range(150) for j in range(i + 1, 151)}
    for k in range(2, 7):
        for j in range(k, 151):
            table[k, j] = min(table[k - 1, i] + costs[i, j] for i in range(k - 1, j))
    got = inertias(values, weights, 6)
    np.testing.assert_allclose(got, [table[k, 150] for k in range(1, 7)], rtol=1e-10)
    assert weighted_kmeans(values, weights, 6).inertia == pytest.approx(table[6, 150], rel=1e-10)


def test_65536_values():
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 9, 65536)
    clusters = weighted_kmeans(np.arange(65536), weights, 4)
    assert clusters.weights.sum() == weights.sum()
    # Uniform weights on a line are cut into equal runs.
    np.testing.assert_allclose(clusters.centroids[:, 0] / 65536, [1 / 8, 3 / 8, 5 / 8, 7 / 8], 0.02)


def test_fewer_distinct_values_than_clusters():
    clusters = weighted_kmeans([3, 3, 1, 9], [1, 1, 2, 0], 5)
    assert clusters.centroids.ravel().tolist() == [1, 3]
    assert clusters.weights.tolist() == [2, 2]
    assert clusters.inertia == 0


def test_equal_columns_are_a_line():
    rng = np.random.default_rng(1)
    values, weights = rng.integers(0, 256, 90).astype(float), rng.random(90)
    line = weighted_kmeans(values, weights, 4)
    space = weighted_kmeans(np.repeat(values[:, None], 3, axis=1), weights, 4)
    np.testing.assert_allclose(space.centroids, np.repeat(line.centroids, 3, axis=1))
    assert space.inertia == pytest.approx(3 * line.inertia)


def test_one_varying_column_is_a_line():
    values = np.array([0.0, 1.0, 8.0, 9.0])
    points = np.stack([np.full(4, 7.0), values, np.full(4, 2.0)], axis=1)
    clusters = weighted_kmeans(points, np.ones(4), 2)
    assert clusters.centroids.tolist() == [[7, 0.5, 2], [7, 8.5, 2]]
    assert clusters.inertia == pytest.approx(1.0)


def test_well_separated_groups_in_space():
    rng = np.random.default_rng(2)
    centres = np.array([[10, 10, 10], [10, 200, 10], [200, 30, 60], [120, 120, 250]], dtype=float)
    points = np.concatenate([c + rng.normal(0, 4, (500, 3)) for c in centres])
    clusters = weighted_kmeans(points, np.ones(len(points)), 4)
    np.testing.assert_allclose(clusters.centroids, centres[np.lexsort(centres.T[::-1])], atol=1)
    assert clusters.weights.tolist() == [500] * 4
    labels = ((points[:, None] - clusters.centroids) ** 2).sum(axis=2)
    assert clusters.inertia == pytest.approx(labels.min(axis=1).sum())


@pytest.mark.parametrize("k", [3, 5, 8])
def test_space_against_scikit_learn(k):
    from sklearn.cluster import KMeans

    ratios = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        points = np.concatenate(
            [rng.normal(rng.uniform(0, 255, 3), rng.uniform(3, 40), (400, 3)) for _ in range(6)]
        )
        weights = rng.integers(1, 50, len(points)).astype(float)
        theirs = KMeans(k, n_init=10, random_state=0).fit(points, sample_weight=weights)
        ours = weighted_kmeans(points, weights, k)
        assert ours.inertia <= inertia_of(points, weights, ours.centroids) * (1 + 1e-3)
        ratios.append(inertia_of(points, weights, ours.centroids) / theirs.inertia_)
    assert np.mean(ratios) <= 1.001
    assert max(ratios) <= 1.02


@pytest.mark.parametrize("dimensions", [2, 5])
def test_flat_and_high_spaces(dimensions):
    rng = np.random.default_rng(6)
    centres = 100 * rng.permutation(np.eye(dimensions))[:2]
    points = np.concatenate([c + rng.normal(0, 1, (300, dimensions)) for c in centres])
    clusters = weighted_kmeans(points, np.full(600, 2.0), 2)
    np.testing.assert_allclose(clusters.centroids, sorted(centres.tolist()), atol=0.5)
    assert clusters.weights.tolist() == [600, 600]
    inertia = inertia_of(points, np.full(600, 2.0), clusters.centroids)
    assert clusters.inertia == pytest.approx(inertia)


def test_weights_and_places_of_any_size():
    rng = np.random.default_rng(7)
    points = np.concatenate([rng.normal(0, 1, (50, 3)), rng.normal(9, 1, (50, 3))])
    small = weighted_kmeans(points, np.ones(100), 2)
    vast = weighted_kmeans(points * 1e60, np.full(100, 1e100), 2)
    np.testing.assert_allclose(vast.centroids / 1e60, small.centroids)
    uneven = weighted_kmeans(points, np.where(np.arange(100) < 50, 1e-250, 1.0), 2)
    assert np.isfinite(uneven.centroids).all()
    assert uneven.weights.sum() == pytest.approx(50)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 4))
def test_order_of_points_changes_nothing(seed, k, dimensions):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 20, (60, dimensions)).astype(float)
    weights = rng.random(60)
    order = rng.permutation(60)
    one, two = (
        weighted_kmeans(points, weights, k),
        weighted_kmeans(points[order], weights[order], k),
    )
    assert np.array_equal(one.centroids, two.centroids)
    assert np.array_equal(one.weights, two.weights)
    assert one.weights.sum() == pytest.approx(weights.sum())


@pytest.mark.parametrize("dimensions", [1, 3])
def test_inertias_never_rise(dimensions):
    rng = np.random.default_rng(3)
    points = rng.normal(100, 30, (400, dimensions))
    curve = inertias(points, np.ones(400), 12)
    assert (np.diff(curve) <= 0).all()
    assert curve[0] == pytest.approx(((points - points.mean(axis=0)) ** 2).sum())


def test_merge_equal_sums_weights_and_sorts():
    points, weights = merge_equal(
        np.array([[2.0, 1.0], [1.0, 5.0], [2.0, 1.0], [1.0, 4.0]]), np.array([1.0, 2, 3, 4])
    )
    assert points.tolist() == [[1, 4], [1, 5], [2, 1]]
    assert weights.tolist() == [4, 2, 4]


@pytest.mark.parametrize(
    ("points", "weights", "k"),
    [
        ([1.0], [1.0], 0),
        ([1.0, 2.0], [1.0], 1),
        ([[[1.0]]], [1.0], 1),
        ([np.nan], [1.0], 1),
        ([1.0], [np.inf], 1),
        ([1.0, 2.0], [1.0, -1.0], 1),
        ([1.0], [0.0], 1),
        ([], [], 1),
    ],
)
def test_refuses(points, weights, k):
    with pytest.raises(ValueError, match="expected"):
        weighted_kmeans(points, weights, k)


def test_edits_nothing():
    points, weights = np.array([[3.0], [1.0], [3.0]]), np.array([1.0, 0.0, 2.0])
    before = points.copy(), weights.copy()
    weighted_kmeans(points, weights, 2)
    assert np.array_equal(points, before[0])
    assert np.array_equal(weights, before[1])
