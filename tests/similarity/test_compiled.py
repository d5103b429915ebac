"""Each compiled loop by itself, on arrays small enough to work out by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from aoi_tl.similarity import compiled


def inertia_of(values, weights):
    mean = np.average(values, axis=0, weights=weights)
    return float(np.sum(weights * np.sum((values - mean) ** 2, axis=-1)))


def packed(rows):
    """Coordinates and weights as `lloyd` wants them: an axis a row."""
    points = compiled.packed(4, len(rows))
    points[:, : len(rows)] = np.asarray(rows, dtype=np.float32).T
    return points


@pytest.mark.parametrize("n", range(9))
def test_every_pixel_is_counted_once(n):
    values = np.array([3, 3, 7, 255, 3, 0, 7, 7, 255], dtype=np.uint8)[:n]
    counts = np.zeros((4, 256), dtype=np.int64)
    compiled.count_levels(values, counts)
    np.testing.assert_array_equal(counts.sum(axis=0), np.bincount(values, minlength=256))
    levels, often = compiled.take_levels(counts, 0.5)
    expected = np.unique(values, return_counts=True)
    np.testing.assert_array_equal(levels, expected[0] * 0.5)
    np.testing.assert_array_equal(often, expected[1])


def test_bits_of_three_axes_alternate():
    # 0b101101 with two free places behind each bit
    assert compiled.interleaved(0b101101) == 0b001000001001000001
    full = compiled.interleaved(63)
    assert full << 2 | full << 1 | full == 2**18 - 1


def test_few_levels_get_a_cell_each():
    share = np.zeros(256)
    share[[3, 100, 101, 250]] = 1.0
    cells = compiled.cells_of_levels(share, 8)
    assert cells[[3, 100, 101, 250]].tolist() == [0, 1, 2, 3]
    assert cells[0] == 0
    assert cells[255] == 3


def test_cells_are_narrow_where_many_pixels_are_and_none_is_without():
    share = np.zeros(256)
    share[:64] = 100.0
    cells = compiled.cells_of_levels(share, 56)
    assert cells[0] == 0
    assert cells[-1] == 55
    assert np.isin(np.diff(cells), (0, 1)).all()
    seen, unseen = len(set(cells[:64])), len(set(cells[64:]))
    # Cube roots of 100.5 and 0.5: 64 * 4.65 of 56 cells against 192 * 0.79.
    assert abs(seen - 56 * 297.4 / 449.8) <= 1.5
    assert abs(unseen - 56 * 152.4 / 449.8) <= 1.5


def test_cells_of_each_channel_are_its_own():
    chance = np.random.default_rng(0)
    sample = chance.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    sample[..., 1] = 7  # one level: one cell
    low, shift = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    cells = compiled.cells_of_channels(sample, 256, low, shift)
    assert cells.shape == (3, 256)
    assert cells.dtype == np.uint32
    assert not cells[1].any()
    for channel in (0, 2):
        numbers = compiled.cells_of_levels(
            np.bincount(sample[..., channel].ravel(), minlength=256).astype(float), 56
        )
        expected = [sum((int(k) >> b & 1) << 3 * b for b in range(6)) << channel for k in numbers]
        assert cells[channel].tolist() == expected


@pytest.mark.parametrize("deep", [False, True])
def test_colours_are_counted_in_their_cells_and_the_table_is_left_empty(deep):
    chance = np.random.default_rng(1)
    kind = np.uint16 if deep else np.uint8
    pixels = np.concatenate([
        chance.integers(0, 256, (300, 3)), np.tile([255, 255, 255], (5, 1)), [[0, 0, 0]]
    ]).astype(kind)
    low, shift = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    cells = compiled.cells_of_channels(pixels[None], 256, low, shift)
    size = 2**18
    held = np.zeros(size // 8, dtype=np.uint8)
    if deep:
        table = np.zeros((size, 4), dtype=np.uint64)
        compiled.count_deep_colours(pixels, cells, table, held)
        seen = table
    else:
        table = np.zeros((size, 2), dtype=np.uint64)
        compiled.count_colours(pixels, cells, table, held)
        seen = table.view(np.uint32)
    numbers = cells[0][pixels[:, 0]] | cells[1][pixels[:, 1]] | cells[2][pixels[:, 2]]
    expected = np.unique(numbers)
    assert set(np.flatnonzero(held)) == set(expected >> 3)
    colours, counts = np.empty((size, 3)), np.empty(size)
    found = np.empty(size, dtype=np.uint32)
    n = compiled.take_colours(seen, held, colours, counts, found)
    np.testing.assert_array_equal(found[:n], expected)
    np.testing.assert_array_equal(counts[:n], [np.sum(numbers == cell) for cell in expected])
    means = [pixels[numbers == cell].mean(axis=0, dtype=float) for cell in expected]
    np.testing.assert_allclose(colours[:n], means, rtol=1e-12)
    assert not table.any()
    assert not held.any()


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_clusters_on_a_line_are_the_best_of_all_cuts(k):
    chance = np.random.default_rng(k)
    values, weights = np.sort(chance.normal(50, 20, 7)), chance.uniform(0.1, 3, 7)
    centroids, masses, inertia = compiled.cluster_line(values, weights, k)
    best = min(
        sum(inertia_of(values[a:b, None], weights[a:b])
            for a, b in zip((0, *cut), (*cut, 7), strict=True))
        for cut in combinations(range(1, 7), k - 1)
    )
    assert inertia == pytest.approx(best, rel=1e-12, abs=1e-12)
    assert masses.sum() == pytest.approx(weights.sum())
    assert (np.diff(centroids) > 0).all()


def test_rows_begin_a_cache_line_and_are_empty():
    for n in (1, 16, 17):
        room = compiled.packed(3, n)
        assert room.shape == (3, -(-n // 16) * 16)
        assert not room.any()
        assert all(row.ctypes.data % 64 == 0 for row in room)


@pytest.mark.parametrize(
    ("cells", "merged"), [([0, 1, 8, 16], [0, 1, 2]), ([0, 8, 9, 10], [0, 1]), ([5], [0])]
)
def test_eight_cells_become_one_at_their_mean(cells, merged):
    rows = [(i, 2 * i, -i, i + 1) for i in range(len(cells))]
    # The buffer goes on with a further cell, which is none of theirs.
    room = np.array([*cells, 800], dtype=np.uint32)
    means, found = compiled.merge_runs(packed(rows), room[: len(cells)])
    assert found.tolist() == merged
    for column, cell in enumerate(merged):
        mine = np.array([row for row, c in zip(rows, cells, strict=True) if c >> 3 == cell])
        np.testing.assert_allclose(
            means[:3, column], np.average(mine[:, :3], axis=0, weights=mine[:, 3]), rtol=1e-6
        )
        assert means[3, column] == mine[:, 3].sum()
    assert not means[:, len(merged):].any()


def test_a_cell_without_weight_keeps_no_place():
    means, _ = compiled.merge_runs(packed([(1, 1, 1, 0), (2, 2, 2, 3)]),
                                   np.array([0, 8], dtype=np.uint32))
    assert means[:, 0].tolist() == [0, 0, 0, 0]
    assert means[:, 1].tolist() == [2, 2, 2, 3]


def test_the_best_candidate_starts_each_cluster():
    rows = [(0, 0, 0, 1), (1, 0, 0, 1), (10, 0, 0, 1), (11, 0, 0, 1), (0, 20, 0, 1)]
    draws = np.full((3, 2), [0.1, 0.5])
    centroids = np.empty((3, 3))
    compiled.draw_centroids(packed(rows), 5, draws, centroids)
    # First, of points 0 and 2, the one with less inertia: 0 + 1 + 100 + 121 + 400 = 622 against
    # 100 + 81 + 0 + 1 + 500 = 682. Then, by shares 0, 1, 100, 121, 400 of 622, points 2 (62.2) and
    # 4 (311): 1 + 1 + 400 against 1 + 100 + 121. Then of 0, 1, 100, 121, 0: 2 (22.2), 3 (111).
    assert centroids[:2].tolist() == [[0, 0, 0], [0, 20, 0]]
    assert centroids[2].tolist() == [10, 0, 0]


@pytest.mark.parametrize("passed", [0.0, 2.5, 63.5, 64.5, 129.5, 199.5, 500.0])
def test_the_point_at_a_share_is_the_first_above_it(passed):
    share = np.ones(200, dtype=np.float32)
    assert compiled._point_at(share, np.float32(passed)) == min(int(passed), 199)


def test_each_point_goes_to_the_nearest_centroid_and_of_several_to_the_first():
    x = np.array([0, 1, 2, 3, 4], dtype=np.float32)
    y, z = np.zeros(5, dtype=np.float32), np.full(5, 2, dtype=np.float32)
    best, label = np.empty(5, dtype=np.float32), np.empty(5, dtype=np.int32)
    centroids = np.array([[0.0, 0, 2], [4.0, 0, 2], [4.0, 0, 9]])
    compiled.label_nearest(x, y, z, centroids, best, label)
    assert label.tolist() == [0, 0, 0, 1, 1]


def test_lloyd_ends_at_the_means_with_their_gain():
    rows = np.array([(-3.0, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, 2), (2, 0, 0, 2), (-1, 0, 0, 4)])
    rows[:, :3] -= np.average(rows[:, :3], axis=0, weights=rows[:, 3])
    centroids = rows[[0, 3], :3].copy()
    gain = compiled.lloyd(packed(rows), centroids, 300, 1e-9)
    groups = [rows[[0, 1, 4]], rows[[2, 3]]]
    means = [np.average(g[:, :3], axis=0, weights=g[:, 3]) for g in groups]
    np.testing.assert_allclose(centroids, means, atol=1e-6)
    left = sum(inertia_of(g[:, :3], g[:, 3]) for g in groups)
    assert gain == pytest.approx(inertia_of(rows[:, :3], rows[:, 3]) - left, rel=1e-5)


def test_one_step_goes_to_the_means_and_an_empty_cluster_stays():
    rows = [(-1, 0, 0, 1), (1, 0, 0, 1)]
    centroids = np.array([[0.5, 0, 0], [9.0, 9, 9]])
    gain = compiled.lloyd(packed(rows), centroids, 1, 0.0)
    assert centroids.tolist() == [[0, 0, 0], [9, 9, 9]]
    assert gain == 0


def test_many_points_are_summed_over_all_blocks():
    rows = np.zeros((1300, 4))
    rows[:, 0] = np.where(np.arange(1300) % 2, 1.0, -1.0)
    rows[:, 3] = 1
    centroids = np.array([[-0.5, 0, 0], [0.5, 0, 0]])
    assert compiled.lloyd(packed(rows), centroids, 2, 0.0) == pytest.approx(1300)
    assert centroids.tolist() == [[-1, 0, 0], [1, 0, 0]]


def test_the_best_ends_are_kept_each_once():
    rows = [(-11, 0, 0, 1), (-9, 0, 0, 1), (9, 0, 0, 1), (11, 0, 0, 1), (0, 0, 0, 0)]
    good, bad = [[-10.0, 0, 0], [10.0, 0, 0]], [[-11.0, 0, 0], [-9.0, 50, 0]]
    starts = np.array([bad, good, good[::-1], bad])
    kept = compiled.follow(packed(rows), starts, 1, 0.0, 3)
    assert kept.shape[1:] == (2, 3)
    assert 1 <= len(kept) <= 2
    np.testing.assert_allclose(kept[0], good, atol=1e-6)


def test_clusters_in_space_are_the_best_of_all_partitions():
    chance = np.random.default_rng(5)
    points = np.concatenate([chance.normal(c, 3, (8, 3)) for c in (40, 90, 200)])
    weights = chance.uniform(0.5, 2, 24)
    cells = np.arange(24, dtype=np.uint32) * 8
    centroids, masses, inertia = compiled.cluster_space(
        points, weights, cells, chance.random((8, 3, 4))
    )
    groups = [slice(0, 8), slice(8, 16), slice(16, 24)]
    order = np.argsort(centroids[:, 0])
    means = [np.average(points[g], axis=0, weights=weights[g]) for g in groups]
    np.testing.assert_allclose(centroids[order], means, rtol=1e-9)
    np.testing.assert_allclose(masses[order], [weights[g].sum() for g in groups], rtol=1e-9)
    assert inertia == pytest.approx(sum(inertia_of(points[g], weights[g]) for g in groups),
                                    rel=1e-9)
