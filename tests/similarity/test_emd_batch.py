from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from aoi_tl.similarity.emd import earth_movers_distance, ground_distance
from aoi_tl.similarity.emd_batch import AXES, SignatureTable, emd_pairs, lower_bounds, sketch
from aoi_tl.similarity.signature import Signature


def draw(rng, grey):
    k = int(rng.integers(1, 9))
    if grey:
        centroids = np.repeat(rng.uniform(0, 255, (k, 1)), 3, axis=1)
    else:
        centroids = rng.uniform(0, 255, (k, 3))
    if rng.random() < 0.3:
        centroids = np.round(centroids / 64) * 64  # ties
    return Signature(centroids, rng.random(k) ** 3 + 1e-9)


def highs(source, target):
    m, n = len(source.weights), len(target.weights)
    result = linprog(
        ground_distance(source, target).ravel(),
        A_eq=np.concatenate([np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))])[:-1],
        b_eq=np.concatenate(
            [source.weights / source.weights.sum(), target.weights / target.weights.sum()]
        )[:-1],
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    assert result.success, result.message
    return result.fun


@pytest.mark.parametrize("grey", [True, False], ids=["grey", "colour"])
def test_pairs_against_highs(grey):
    rng = np.random.default_rng(1)
    sources, targets = ([draw(rng, grey) for _ in range(60)] for _ in range(2))
    batch = emd_pairs(SignatureTable.of(sources), SignatureTable.of(targets))
    reference = np.array([highs(*pair) for pair in zip(sources, targets, strict=True)])
    np.testing.assert_allclose(batch, reference, rtol=1e-9 if grey else 1e-6, atol=1e-7)


def test_mixed_pairs_and_one_target_agree_with_single_flows():
    rng = np.random.default_rng(2)
    sources = [draw(rng, i % 3 == 0) for i in range(60)]
    target = draw(rng, True)
    batch = emd_pairs(SignatureTable.of(sources), SignatureTable.of([target]))
    for source, distance in zip(sources, batch, strict=True):
        share = Signature(source.centroids, source.weights / source.weights.sum())
        other = Signature(target.centroids, target.weights / target.weights.sum())
        assert distance == pytest.approx(
            earth_movers_distance(share, other, "exact").distance, rel=1e-9, abs=1e-9
        )


def test_long_batches_are_cut_without_a_seam(monkeypatch):
    from aoi_tl.similarity import emd_batch as room

    rng = np.random.default_rng(3)
    tables = [SignatureTable.of([draw(rng, i % 2 == 0) for i in range(50)]) for _ in range(2)]
    whole = emd_pairs(*tables)
    monkeypatch.setattr(room, "_PAIRS", 7)
    np.testing.assert_array_equal(emd_pairs(*tables), whole)
    one = SignatureTable(tables[1].centroids[:1], tables[1].weights[:1])
    monkeypatch.setattr(room, "_PAIRS", 8192)
    np.testing.assert_allclose(emd_pairs(tables[0], one)[0], whole[0])


@pytest.mark.parametrize("grey", [True, False], ids=["grey", "colour"])
def test_bounds_stay_below_and_are_close(grey):
    rng = np.random.default_rng(4)
    table = SignatureTable.of([draw(rng, grey) for _ in range(3000)])
    target = SignatureTable.of([draw(rng, grey)])
    exact = emd_pairs(table, target)
    bounds = lower_bounds(sketch(table), sketch(target))
    assert (bounds <= exact).all()
    assert (bounds >= 0).all()
    far = exact > 20
    assert np.median(bounds[far] / exact[far]) > (0.97 if grey else 0.7)
    means = [np.einsum("nk,nkd->nd", t.weights, t.centroids) for t in (table, target)]
    by_means = np.linalg.norm(means[0] - means[1], axis=1)
    assert (bounds >= by_means * (1 - 1e-4) - 2e-3).all()  # never looser than the mean colours


def test_bound_of_a_signature_to_itself_is_zero():
    table = SignatureTable.of([draw(np.random.default_rng(5), False)])
    assert lower_bounds(sketch(table), sketch(table)) == 0


def test_axes_are_perpendicular_and_of_length_one():
    np.testing.assert_allclose(AXES @ AXES.T, np.eye(3), atol=1e-15)


def test_table_pads_and_takes():
    table = SignatureTable.of(
        [Signature([[1, 1, 1]], [4]), Signature([[2, 2, 2], [3, 3, 3]], [1, 3])]
    )
    assert table.weights.tolist() == [[1, 0], [0.25, 0.75]]
    assert table.centroids[0].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert table.take(np.array([1])).weights.tolist() == [[0.25, 0.75]]


def test_refuses():
    one = SignatureTable.of([Signature([[1, 1, 1]], [1])])
    three = SignatureTable.of([Signature([[1, 1, 1]], [1])] * 3)
    with pytest.raises(ValueError, match="targets"):
        emd_pairs(one, three)
    with pytest.raises(ValueError, match="three dimensions"):
        SignatureTable.of([Signature([1.0], [1])])
    with pytest.raises(ValueError, match="at least one"):
        SignatureTable.of([])
