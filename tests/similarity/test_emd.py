from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from aoi_tl.similarity import emd as room
from aoi_tl.similarity.emd import earth_movers_distance, ground_distance, russell_basis
from aoi_tl.similarity.signature import Signature

PAIRS = 1000


def random_pair(seed):
    """Pairs of every kind: K 2..12 or 1, 1-D and 3-D, ties, zero weights, unequal totals."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 13, 2)
    if seed % 10 == 0:
        sizes[rng.integers(2)] = 1
    dimensions = 1 if seed % 3 == 0 else 3
    sides = []
    for k in sizes:
        if seed % 4 == 1:  # ties: few places, few weights
            centroids = rng.integers(0, 4, (k, dimensions)) * 60.0
            weights = rng.integers(1, 4, k).astype(float)
        else:
            centroids = rng.uniform(0, 255, (k, dimensions))
            weights = rng.random(k) ** 2 + 1e-6
        if seed % 5 == 2 and k > 1:
            weights[rng.permutation(k)[: rng.integers(1, k)]] = 0.0
        sides.append((centroids, weights / weights.sum()))
    if seed % 2:
        sides[rng.integers(2)][1][:] *= rng.uniform(0.2, 3)
    return tuple(Signature(c, w) for c, w in sides)


def assert_feasible(flow, source, target):
    amount = flow.amount
    assert amount.min() >= 0
    assert (amount.sum(axis=1) <= source.weights + 1e-9).all()
    assert (amount.sum(axis=0) <= target.weights + 1e-9).all()
    total = min(source.weights.sum(), target.weights.sum())
    assert amount.sum() == pytest.approx(total, abs=1e-9)


def highs(source, target):
    """The same linear programme, as it is defined, by HiGHS."""
    m, n = len(source.weights), len(target.weights)
    total = min(source.weights.sum(), target.weights.sum())
    result = linprog(
        ground_distance(source, target).ravel(),
        A_ub=np.concatenate([np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))]),
        b_ub=np.concatenate([source.weights, target.weights]),
        A_eq=np.ones((1, m * n)),
        b_eq=[total],
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    assert result.success, result.message
    return result.fun / total


def pot(source, target):
    """POT's own front door, with the surplus as an extra place of zero cost."""
    import ot

    cost = ground_distance(source, target)
    supply, demand = source.weights, target.weights
    surplus = supply.sum() - demand.sum()
    if surplus > 0:
        cost, demand = np.pad(cost, ((0, 0), (0, 1))), np.append(demand, surplus)
    elif surplus < 0:
        cost, supply = np.pad(cost, ((0, 1), (0, 0))), np.append(supply, -surplus)
    total = min(source.weights.sum(), target.weights.sum())
    work = ot.emd2(supply, demand * (supply.sum() / demand.sum()), cost, check_marginals=False)
    return float(work) / total


def test_thousand_pairs_against_pot():
    taken_over = 0
    for seed in range(PAIRS):
        source, target = random_pair(seed)
        flow = earth_movers_distance(source, target, "slsqp")
        assert_feasible(flow, source, target)
        reference = pot(source, target)
        assert flow.distance == pytest.approx(reference, rel=1e-6, abs=1e-9), seed
        assert flow.gap <= 1e-6 * flow.distance + 1e-9
        taken_over += flow.solver == "exact"
        assert (flow.solver == "exact") == (flow.note is not None)
    print(f"the exact solver took over for {taken_over} of {PAIRS} pairs")
    assert taken_over <= PAIRS // 20  # SLSQP is the method: the exact solver is its safety net


@pytest.mark.parametrize("seed", range(0, 1000, 13))
def test_second_opinion_of_highs(seed):
    source, target = random_pair(seed)
    reference = highs(source, target)
    for solver in ("slsqp", "exact", "auto"):
        flow = earth_movers_distance(source, target, solver)
        assert_feasible(flow, source, target)
        assert flow.distance == pytest.approx(reference, rel=1e-6, abs=1e-8)


def test_one_dimension_in_closed_form():
    rng = np.random.default_rng(4)
    for _ in range(30):
        a, b = rng.uniform(0, 255, 6), rng.uniform(0, 255, 5)
        u, v = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(5))
        grid = np.sort(np.concatenate([a, b]))
        cumulative = [
            (w[None] * (x[None] <= grid[:, None])).sum(axis=1) for x, w in ((a, u), (b, v))
        ]
        closed = (np.abs(cumulative[0] - cumulative[1])[:-1] * np.diff(grid)).sum()
        assert earth_movers_distance(Signature(a, u), Signature(b, v)).distance == pytest.approx(
            closed, rel=1e-9
        )


def test_by_hand_partial_match():
    # 1 unit at 0; 0.4 wanted at 3 and 0.4 at 10: 0.8 moves, (0.4 * 3 + 0.4 * 10) / 0.8 = 6.5
    flow = earth_movers_distance(Signature([[0.0]], [1.0]), Signature([[3.0], [10]], [0.4, 0.4]))
    assert flow.distance == pytest.approx(6.5)
    np.testing.assert_allclose(flow.amount, [[0.4, 0.4]])
    # with a choice, the near half is taken: 0.5 of the 1 at distance 1
    flow = earth_movers_distance(Signature([[0.0], [9]], [0.5, 0.5]), Signature([[1.0]], [0.5]))
    assert flow.distance == pytest.approx(1.0)
    np.testing.assert_allclose(flow.amount, [[0.5], [0.0]], atol=1e-9)


def test_margins_equal_weights_for_equal_totals():
    source, target = random_pair(4)
    flow = earth_movers_distance(source, target)
    np.testing.assert_allclose(flow.amount.sum(axis=1), source.weights, atol=1e-12)
    np.testing.assert_allclose(flow.amount.sum(axis=0), target.weights, atol=1e-12)


def test_zero_weights_come_back_as_zero_rows():
    source = Signature([[0, 0, 0], [5, 5, 5], [9, 9, 9]], [0.5, 0.0, 0.5])
    flow = earth_movers_distance(source, Signature([[0, 0, 0], [1, 1, 1]], [0.0, 1.0]))
    assert flow.amount.shape == (3, 2)
    assert not flow.amount[1].any()
    assert not flow.amount[:, 0].any()


@pytest.mark.parametrize("broken", ["start", "nan", "zero", "huge"])
def test_certificate_catches_a_solver_that_fails(broken, monkeypatch):
    """Whatever SLSQP returns, the flow that comes out is feasible and optimal, and says so."""

    def bad(cost, supply, demand):
        start = russell_basis(cost, supply, demand)
        return {"start": start, "nan": start * np.nan, "zero": start * 0, "huge": start * 1e6}[
            broken
        ]

    monkeypatch.setattr(room, "_slsqp", bad)
    taken_over = 0
    for seed in range(40):
        source, target = random_pair(4 * seed)
        flow = earth_movers_distance(source, target)
        assert_feasible(flow, source, target)
        assert flow.distance == pytest.approx(pot(source, target), rel=1e-6, abs=1e-9)
        taken_over += flow.solver == "exact" and "SLSQP missed" in str(flow.note)
    assert taken_over > 5


def test_gap_bounds_the_error_of_any_flow():
    """The dual bound lies below the optimum for poor flows too."""
    for seed in range(0, 200, 4):
        source, target = random_pair(seed)
        cost = ground_distance(source, target)
        keep = np.ix_(source.weights > 0, target.weights > 0)
        supply, demand = source.weights[source.weights > 0], target.weights[target.weights > 0]
        demand = demand * (supply.sum() / demand.sum())
        poor = np.outer(supply, demand) / supply.sum()
        bound = room._dual_bound(cost[keep], supply, demand, poor)
        exact = earth_movers_distance(
            Signature(source.centroids[source.weights > 0], supply),
            Signature(target.centroids[target.weights > 0], demand),
            "exact",
        )
        assert bound / supply.sum() <= exact.distance * (1 + 1e-12) + 1e-9


def test_russell_by_hand():
    ground = np.array([[4.0, 8, 8], [16, 24, 16], [8, 16, 24]])
    supply, demand = np.array([76.0, 82, 77]), np.array([72.0, 102, 61])
    flow = russell_basis(ground, supply, demand)
    # First the cell with the most negative 16 - 24 - 24 = -32: row 1, column 2.
    assert flow[1, 2] == 61
    np.testing.assert_allclose(flow.sum(axis=1), supply)
    np.testing.assert_allclose(flow.sum(axis=0), demand)


@given(st.integers(0, 10_000))
def test_russell_is_a_feasible_basis(seed):
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 9, 2)
    supply = rng.integers(0, 5, m).astype(float)
    supply[0] += 1
    demand = np.bincount(rng.integers(0, n, int(supply.sum())), minlength=n).astype(float)
    flow = russell_basis(rng.integers(0, 4, (m, n)).astype(float), supply, demand)
    assert (flow >= 0).all()
    assert np.array_equal(flow.sum(axis=1), supply)
    assert np.array_equal(flow.sum(axis=0), demand)
    assert np.count_nonzero(flow) <= m + n - 1


COLOURS = st.lists(
    st.tuples(*[st.integers(0, 255)] * 3, st.integers(1, 20)), min_size=1, max_size=6
)


def signature(rows, total=1.0):
    table = np.array(rows, dtype=float)
    return Signature(table[:, :3], table[:, 3] / table[:, 3].sum() * total)


@settings(deadline=None)
@given(COLOURS, COLOURS, st.sampled_from([1.0, 0.6, 2.0]))
def test_symmetry(a, b, total):
    one, two = signature(a), signature(b, total)
    there, back = earth_movers_distance(one, two), earth_movers_distance(two, one)
    assert there.distance == pytest.approx(back.distance, rel=2e-6, abs=1e-7)


@settings(deadline=None)
@given(COLOURS)
def test_distance_to_itself_is_zero(a):
    assert earth_movers_distance(signature(a), signature(a)).distance == pytest.approx(0, abs=1e-9)


@settings(deadline=None)
@given(COLOURS, COLOURS, COLOURS)
def test_triangle_inequality_for_equal_totals(a, b, c):
    x, y, z = signature(a), signature(b), signature(c)
    direct = earth_movers_distance(x, z).distance
    detour = earth_movers_distance(x, y).distance + earth_movers_distance(y, z).distance
    assert direct <= detour * (1 + 3e-6) + 1e-7


@settings(deadline=None)
@given(COLOURS, COLOURS, st.floats(0.01, 100))
def test_scaling(a, b, factor):
    x, y = signature(a), signature(b)
    plain = earth_movers_distance(x, y).distance
    assume(plain > 1e-6)
    farther = earth_movers_distance(
        Signature(x.centroids * factor, x.weights), Signature(y.centroids * factor, y.weights)
    )
    assert farther.distance == pytest.approx(plain * factor, rel=3e-6)
    heavier = earth_movers_distance(
        Signature(x.centroids, x.weights * factor), Signature(y.centroids, y.weights * factor)
    )
    assert heavier.distance == pytest.approx(plain, rel=3e-6)


@settings(deadline=None)
@given(COLOURS, COLOURS)
def test_mean_colours_bound_it_from_below(a, b):
    x, y = signature(a), signature(b)
    means = np.linalg.norm(x.weights @ x.centroids - y.weights @ y.centroids)
    assert earth_movers_distance(x, y).distance >= means * (1 - 2e-6) - 1e-9


def test_no_torch_is_loaded():
    import subprocess
    import sys

    code = (
        "import sys, numpy as np\n"
        "from aoi_tl.similarity.emd import earth_movers_distance\n"
        "from aoi_tl.similarity.signature import Signature\n"
        "early = [m for m in ('scipy.optimize', 'ot') if m in sys.modules]\n"
        "a = Signature([[0, 0, 0], [9, 9, 9]], [1, 1])\n"
        "earth_movers_distance(a, a, 'exact')\n"
        "assert not early, early\n"
        "assert 'ot' in sys.modules\n"
        "assert not {'torch', 'ultralytics'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_refuses():
    one = Signature([[0.0]], [1])
    with pytest.raises(ValueError, match="one dimension"):
        earth_movers_distance(one, Signature([[0.0, 1.0]], [1]))
    with pytest.raises(ValueError, match="solver"):
        earth_movers_distance(one, one, "sinkhorn")
