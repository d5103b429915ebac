"""What does a distance between two signatures cost, and is it right?

Random colour and grey signatures of five clusters, in batches, against OpenCV and POT on the same
pairs; single flows with their certificates against HiGHS and POT on the same linear programmes. All
on one core, in CPU time, the references measured in turn with ours.

    python benchmarks/transport.py
    python benchmarks/transport.py --curve       # 10 to 1,000,000 pairs
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import ot
from figures import Figure, cpu_seconds, machine, paired_seconds, show
from scipy.optimize import linprog

from aoi_tl.similarity.emd import earth_movers_distance
from aoi_tl.similarity.emd_batch import SignatureTable, emd_pairs
from aoi_tl.similarity.signature import Signature


def draw(number: int, grey: bool, k: int = 5, seed: int = 0) -> SignatureTable:
    rng = np.random.default_rng(seed)
    centroids = rng.uniform(0, 255, (number, k, 3))
    if grey:
        centroids = np.repeat(centroids[:, :, :1], 3, axis=2)
    return SignatureTable(centroids, rng.dirichlet(np.ones(k), number))


def highs(source: SignatureTable, target: SignatureTable, row: int) -> float:
    a, b = source.centroids[row], target.centroids[row]
    ground = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))
    m, n = ground.shape
    result = linprog(
        ground.ravel(),
        A_eq=np.concatenate([np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))])[:-1],
        b_eq=np.concatenate([source.weights[row], target.weights[row]])[:-1],
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    return float(result.fun)


def cv2_emd(source: SignatureTable, target: SignatureTable) -> float:
    """OpenCV's EMD of every pair, one at a time; returns the last."""
    first, second = (
        np.concatenate([table.weights[..., None], table.centroids], axis=2).astype(np.float32)
        for table in (source, target)
    )
    distance = 0.0
    for one, other in zip(first, second, strict=True):
        distance, _, _ = cv2.EMD(one, other, cv2.DIST_L2)
    return float(distance)


def pot_emd(source: SignatureTable, target: SignatureTable, grey: bool = False) -> float:
    """POT's exact EMD of every pair, one at a time; grey ones in one dimension; returns the last.

    In one dimension the distance of two greys is sqrt(3) times the difference of one channel.
    """
    distance = 0.0
    for a, b, u, v in zip(source.centroids, target.centroids, source.weights, target.weights,
                          strict=True):
        if grey:
            distance = 3**0.5 * float(ot.wasserstein_1d(a[:, 0], b[:, 0], u, v, p=1))
        else:
            distance = float(ot.emd2(u, v, ot.dist(a, b, metric="euclidean")))
    return distance


def some(table: SignatureTable, number: int) -> SignatureTable:
    """The first rows of a table."""
    return SignatureTable(table.centroids[:number], table.weights[:number])


def signatures(table: SignatureTable) -> list[Signature]:
    return [Signature(c, w) for c, w in zip(table.centroids, table.weights, strict=True)]


def batch_figures(grey: bool, number: int, tolerance: float) -> list[Figure]:
    """A batch of pairs at once, against libraries that take one pair at a time."""
    kind = "grey" if grey else "colour"
    sources, targets = draw(number, grey), draw(number, grey, seed=1)
    s, t = some(sources, 2000), some(targets, 2000)
    figures = []
    references: list[tuple[str, Callable[[], object], str]] = [
        ("cv2.EMD (single precision)", lambda: cv2_emd(s, t), ">= 5" if grey else ">= 0.5"),
        ("POT in one dimension" if grey else "POT", lambda: pot_emd(s, t, grey),
         ">= 20" if grey else ">= 5"),
    ]
    for name, reference, bound in references:
        ours, theirs = paired_seconds(lambda: emd_pairs(sources, targets), reference, 3)
        rate, plain = number / ours, 2000 / theirs
        figures.append(Figure(f"exact, {kind}, 5 x 5", f"{rate:,.0f} pairs/s",
                              f"{name} {plain:,.0f} pairs/s", rate / plain, bound))
    s, t = some(sources, 300), some(targets, 300)
    exact = np.array([highs(s, t, row) for row in range(300)])
    error = float((np.abs(emd_pairs(s, t) - exact) / exact).max())
    figures.append(Figure(f"error against HiGHS, {kind}", f"{error:.1e}",
                          f"tolerated {tolerance:.0e}", error / tolerance, "<= 1"))
    return figures


def single_figure(k: int, solver: str, bound: str, pairs: int, reference: str) -> Figure:
    """One flow at a time with its certificate, against one library on the same programmes."""
    left, right = draw(pairs, False, k), draw(pairs, False, k, seed=1)
    one, two = signatures(left), signatures(right)
    libraries: dict[str, Callable[[], object]] = {
        "HiGHS": lambda: [highs(left, right, row) for row in range(pairs)],
        "POT": lambda: pot_emd(left, right),
        "SLSQP": lambda: [earth_movers_distance(a, b) for a, b in zip(one, two, strict=True)],
    }
    ours, theirs = paired_seconds(
        lambda: [earth_movers_distance(a, b, solver) for a, b in zip(one, two, strict=True)],
        libraries[reference], 3,
    )
    return Figure(f"{solver}, K = {k}, with its certificate", f"{ours / pairs * 1e3:.2f} ms a pair",
                  f"{reference} {theirs / pairs * 1e3:.2f} ms", ours / theirs, bound)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curve", action="store_true", help="print the cost curve too")
    arguments = parser.parse_args()
    emd_pairs(draw(2, False), draw(2, False, seed=1))  # loads the solver
    figures = [
        *batch_figures(grey=False, number=100_000, tolerance=1e-6),
        *batch_figures(grey=True, number=1_000_000, tolerance=1e-9),
        single_figure(8, "slsqp", "<= 4", 100, "HiGHS"),
        single_figure(5, "auto", "<= 1", 8, "SLSQP"),
        single_figure(16, "auto", "<= 1", 8, "SLSQP"),
        single_figure(64, "auto", "<= 1", 8, "HiGHS"),
        single_figure(64, "auto", "<= 10", 8, "POT"),
    ]
    if arguments.curve:
        print("| pairs | colour, s | grey, s |\n| --- | --- | --- |")
        for number in (10, 100, 1000, 10_000, 100_000, 1_000_000):
            cost = []
            for grey in (False, True):
                pair = draw(number, grey), draw(number, grey, seed=1)
                repeats = 1 if number > 10_000 else 3
                cost.append(cpu_seconds(lambda p=pair: emd_pairs(*p), repeats))
            print(f"| {number} | {cost[0]:.5f} | {cost[1]:.5f} |")
        print(machine())
    show(figures)


if __name__ == "__main__":
    main()
