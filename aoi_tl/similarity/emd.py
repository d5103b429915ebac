"""Earth mover's distance between two signatures, with a certificate of optimality per flow."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aoi_tl.similarity.signature import Signature

Floats = NDArray[np.float64]
Solver = Literal["slsqp", "exact", "auto"]

SOLVERS = ("slsqp", "exact", "auto")
GAP = 1e-6  # share of the distance by which a flow may miss the dual bound and still be kept
_NOISE = 1e-13  # share of the largest ground distance that is rounding, where the EMD is nearly 0


@dataclass(frozen=True, eq=False)
class Flow:
    """The flow between two signatures, with its distance and a bound on its error.

    Attributes
    ----------
    amount : ndarray of shape (k_source, k_target)
        Weight carried from each source centroid to each target centroid; its margins stay
        within the weights and it sums to the smaller of their totals.
    distance : float
        Mean ground distance travelled, in the centroids' units: the EMD.
    gap : float
        Distance minus the dual bound: the true optimum lies at most this far below.
    solver : str
        The solver whose flow this is: "slsqp" or "exact".
    note : str or None
        Why it is not the solver asked for.
    """

    amount: Floats
    distance: float
    gap: float
    solver: str
    note: str | None = None


def earth_movers_distance(source: Signature, target: Signature, solver: Solver = "slsqp") -> Flow:
    """Move one colour signature onto another at the least cost.

    Where the totals differ, the smaller is moved whole and the rest stays (partial match).
    "slsqp" starts from Russell's initial basis [2]_ and is optimised by sequential quadratic
    programming; where its flow misses the dual bound by more than a millionth of the distance,
    the exact solver takes over and `Flow.note` says so.

    Parameters
    ----------
    source, target : Signature
        ``centroids`` of shape (k, d), the same d; ``weights`` of shape (k,). The two k may differ.
    solver : {"slsqp", "exact", "auto"}, default "slsqp"
        "exact" is the network simplex of POT; "auto" takes the faster of the two, which is
        the exact one at every k.

    Returns
    -------
    Flow
        ``amount`` of shape (k_source, k_target), ``distance``, the mean ground distance
        travelled, in RGB units, and ``gap``.

    Raises
    ------
    ValueError
        When the dimensions differ or the solver is unknown.

    References
    ----------
    .. [1] Rubner, Tomasi, Guibas. "The Earth Mover's Distance as a Metric for Image Retrieval."
       IJCV 40(2), 2000.
    .. [2] Russell. "Extension of Dantzig's Algorithm to Finding an Initial Near-Optimal Basis
       for the Transportation Problem." Operations Research 17(1), 1969.

    Examples
    --------
    >>> black = Signature([[0, 0, 0]], [1.0])
    >>> white = Signature([[255, 255, 255]], [1.0])
    >>> round(earth_movers_distance(black, white).distance, 2)
    441.67
    """
    if solver not in SOLVERS:
        raise ValueError(f"expected solver to be one of {', '.join(SOLVERS)}, got {solver!r}")
    ground = ground_distance(source, target)
    # Zero weights carry nothing; they come back as rows and columns of zeros.
    rows, columns = np.flatnonzero(source.weights), np.flatnonzero(target.weights)
    supply, demand = source.weights[rows], target.weights[columns]
    inner = np.ascontiguousarray(ground[np.ix_(rows, columns)])
    cost, supply, demand = _balanced(inner, supply, demand)
    solve = _slsqp if solver == "slsqp" else _exact
    flow, gap = _certified(solve, cost, supply, demand)
    used, note = ("slsqp" if solver == "slsqp" else "exact"), None
    allowed = GAP * (flow * cost).sum() + _NOISE * cost.max() * supply.sum()
    if used == "slsqp" and not gap <= allowed:
        note = f"SLSQP missed the dual bound by {gap / flow.sum():.1e}; solved exactly instead"
        flow, gap = _certified(_exact, cost, supply, demand)
        used = "exact"
    amount = np.zeros(ground.shape)
    amount[np.ix_(rows, columns)] = flow[: len(rows), : len(columns)]
    moved = amount.sum()
    distance = float((amount * ground).sum() / moved)
    return Flow(amount, distance, float(gap / moved), used, note)


def ground_distance(source: Signature, target: Signature) -> Floats:
    """Euclidean distance between every two centroids.

    Parameters
    ----------
    source, target : Signature
        ``centroids`` of shape (k, d), the same d.

    Returns
    -------
    ndarray of shape (k_source, k_target)
        In the centroids' units.

    Raises
    ------
    ValueError
        When the dimensions differ.

    Examples
    --------
    >>> ground_distance(Signature([[0, 0]], [1]), Signature([[3, 4], [0, 1]], [1, 1])).tolist()
    [[5.0, 1.0]]
    """
    a, b = source.centroids, target.centroids
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"expected centroids of one dimension, got {a.shape[1]} and {b.shape[1]}")
    return np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2))


def russell_basis(ground: Floats, supply: Floats, demand: Floats) -> Floats:
    """Build a cheap feasible flow by Russell's method: ship over the best cell, strike, repeat.

    The cell taken has the most negative ``ground - max_row - max_col`` among the rows and
    columns not yet struck.

    Parameters
    ----------
    ground : ndarray of shape (m, n)
        Ground distances.
    supply : ndarray of shape (m,)
        Weights to ship, >= 0.
    demand : ndarray of shape (n,)
        Weights to receive, >= 0, of the same total.

    Returns
    -------
    ndarray of shape (m, n)
        A flow with these margins and at most m + n - 1 cells above zero.

    References
    ----------
    .. [1] Russell. "Extension of Dantzig's Algorithm to Finding an Initial Near-Optimal Basis
       for the Transportation Problem." Operations Research 17(1), 1969.

    Examples
    --------
    >>> two_one = np.array([2.0, 1.0])
    >>> russell_basis(np.array([[1.0, 9.0], [9.0, 1.0]]), two_one, two_one).tolist()
    [[2.0, 0.0], [0.0, 1.0]]
    """
    left, wanted = supply.astype(np.float64), demand.astype(np.float64)
    rows, columns = list(range(len(left))), list(range(len(wanted)))
    flow = np.zeros(ground.shape)
    while rows and columns:
        open_cells = ground[np.ix_(rows, columns)]
        merit = open_cells - open_cells.max(axis=1)[:, None] - open_cells.max(axis=0)
        at = divmod(int(merit.argmin()), len(columns))
        i, j = rows[at[0]], columns[at[1]]
        shipped = min(left[i], wanted[j])
        flow[i, j] += shipped
        left[i] -= shipped
        wanted[j] -= shipped
        # Strike one line only, so that the last rows and columns can still be served; of two
        # used up at once the column goes, unless it is the last.
        if (wanted[j] <= left[i] and len(columns) > 1) or len(rows) == 1:
            columns.pop(at[1])
        else:
            rows.pop(at[0])
    return flow


def _balanced(cost: Floats, supply: Floats, demand: Floats) -> tuple[Floats, Floats, Floats]:
    """Balance the totals: a row or column of zero cost absorbs the surplus."""
    total_supply, total_demand = supply.sum(), demand.sum()
    surplus = total_supply - total_demand
    if abs(surplus) <= 1e-12 * max(total_supply, total_demand):
        return cost, supply, demand * (total_supply / total_demand)
    if surplus > 0:
        wider = np.concatenate([cost, np.zeros((len(supply), 1))], axis=1)
        return wider, supply, np.append(demand, surplus)
    taller = np.concatenate([cost, np.zeros((1, len(demand)))], axis=0)
    return taller, np.append(supply, -surplus), demand


def _certified(
    solve: Callable[[Floats, Floats, Floats], Floats],
    cost: Floats,
    supply: Floats,
    demand: Floats,
) -> tuple[Floats, float]:
    """A feasible flow of equal totals and its gap to a dual bound, both in units of work."""
    if 1 in cost.shape:
        return supply[:, None] * demand[None, :] / supply.sum(), 0.0  # the only feasible flow
    flow = _feasible(solve(cost, supply, demand), supply, demand)
    return flow, max(float((flow * cost).sum()) - _dual_bound(cost, supply, demand, flow), 0.0)


def _feasible(flow: Floats, supply: Floats, demand: Floats) -> Floats:
    """The flow with exact margins: scaled down, with the remainder spread evenly."""
    flow = np.where(np.isfinite(flow), np.maximum(flow, 0.0), 0.0)
    for axis, weights in ((1, supply), (0, demand)):
        margin = flow.sum(axis=axis, keepdims=True)
        limit = np.expand_dims(weights, axis)
        flow = flow * np.where(margin > limit, limit / np.maximum(margin, 1e-300), 1.0)
    missing_supply = np.maximum(supply - flow.sum(axis=1), 0.0)
    missing_demand = np.maximum(demand - flow.sum(axis=0), 0.0)
    missing = missing_supply.sum()
    if missing > 0:
        flow = flow + np.outer(missing_supply, missing_demand / missing)
    return flow


def _dual_bound(cost: Floats, supply: Floats, demand: Floats, flow: Floats) -> float:
    """A lower bound on the work of every flow, tight where this one is optimal.

    Shortest paths in the graph of what could still be rerouted give the potentials; taking the
    smaller side (the c-transform) makes them feasible, so that the bound holds for any flow.
    """
    used = flow > 1e-9 * min(supply.max(), demand.max())
    back = np.where(used, cost, -np.inf)  # carried weight may go back and earn its cost
    from_row = np.zeros(len(supply))
    to_column = cost.min(axis=0)
    for _ in range(len(supply) + len(demand)):
        shorter = np.minimum(from_row, (to_column - back).min(axis=1))
        if np.array_equal(shorter, from_row):
            break
        from_row = shorter
        to_column = (from_row[:, None] + cost).min(axis=0)
    row = (cost - to_column).min(axis=1)
    column = (cost - row[:, None]).min(axis=0)
    return float(supply @ row + demand @ column)


def _slsqp(cost: Floats, supply: Floats, demand: Floats) -> Floats:
    """Russell's basis, optimised by SLSQP with exact Jacobians."""
    from scipy import optimize

    m, n = cost.shape
    total = float(supply.sum())
    scale = float(cost.max()) or 1.0
    start = russell_basis(cost, supply, demand) / total
    # Row sums and column sums; the last is implied by the others and would make them singular.
    margins = np.concatenate([np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))])[:-1]
    wanted = np.concatenate([supply, demand])[:-1] / total
    slope = (cost / scale).ravel()
    minimize: Any = optimize.minimize
    result = minimize(
        lambda f: float(slope @ f),
        start.ravel(),
        jac=lambda f: slope,
        method="SLSQP",
        bounds=[(0.0, None)] * (m * n),
        constraints={"type": "eq", "fun": lambda f: margins @ f - wanted, "jac": lambda f: margins},
        options={"ftol": 1e-12, "maxiter": 200},
    )
    # Its flag says failure where the optimum is reached: the certificate judges instead.
    return np.asarray(result.x, dtype=np.float64).reshape(m, n) * total


def _exact(cost: Floats, supply: Floats, demand: Floats) -> Floats:
    """The network simplex of POT."""
    total = supply.sum()
    flow = network_simplex()(supply / total, demand / total, cost, 1_000_000, 1)[0]
    return np.asarray(flow) * total


_simplex: Callable[..., Any] | None = None


def network_simplex() -> Callable[..., Any]:
    """Give POT's compiled solver, imported on first use and without its deep-learning backends.

    Returns
    -------
    callable
        ``emd_c(supply, demand, cost, max_iterations, threads) -> (flow, ...)``: float64 arrays,
        both weights summing to 1.

    Examples
    --------
    >>> half = np.array([0.5, 0.5])
    >>> network_simplex()(half, half, np.array([[1.0, 9.0], [9.0, 1.0]]), 1000, 1)[0].tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    global _simplex
    if _simplex is None:
        # POT imports every array library it finds; scoring has to stay free of torch.
        flags = [f"POT_BACKEND_DISABLE_{name}" for name in ("PYTORCH", "TENSORFLOW", "JAX", "CUPY")]
        before = {flag: os.environ.get(flag) for flag in flags}
        os.environ.update(dict.fromkeys(flags, "1"))
        try:
            from ot.lp.emd_wrap import emd_c
        finally:
            for flag, value in before.items():
                if value is None:
                    os.environ.pop(flag, None)
                else:
                    os.environ[flag] = value
        _simplex = emd_c
    return _simplex
