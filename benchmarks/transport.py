"""What does a distance between two signatures cost, and is it right?

Random colour and grey signatures of five clusters, in batches, against HiGHS on the same linear
programmes; single flows by SLSQP at eight clusters; all on one core, in CPU time.

    python benchmarks/transport.py
    python benchmarks/transport.py --curve       # 10 to 1,000,000 pairs
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from figures import Figure, cpu_seconds, machine, show
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curve", action="store_true", help="print the cost curve too")
    arguments = parser.parse_args()
    emd_pairs(draw(2, False), draw(2, False, seed=1))  # loads the solver
    figures = []
    for grey, number, least, tolerance in (
        (False, 100_000, 50_000, 1e-6),
        (True, 1_000_000, 1_000_000, 1e-9),
    ):
        kind = "grey" if grey else "colour"
        sources, targets = draw(number, grey), draw(number, grey, seed=1)
        seconds = cpu_seconds(lambda s=sources, t=targets: emd_pairs(s, t))
        rate = number / seconds
        figures.append(
            Figure(
                f"exact, {kind}, 5 x 5",
                f"{rate:,.0f} pairs/s",
                f"{least:,} pairs/s",
                rate / least,
                ">= 1",
            )
        )
        some = slice(0, 300)
        s = SignatureTable(sources.centroids[some], sources.weights[some])
        t = SignatureTable(targets.centroids[some], targets.weights[some])
        exact = np.array([highs(s, t, row) for row in range(300)])
        error = float((np.abs(emd_pairs(s, t) - exact) / exact).max())
        figures.append(
            Figure(
                f"error, {kind}",
                f"{error:.1e} of HiGHS",
                f"{tolerance:.0e}",
                error / tolerance,
                "<= 1",
            )
        )
    left, right = draw(100, False, 8), draw(100, False, 8, seed=1)
    pairs = [
        (
            Signature(left.centroids[i], left.weights[i]),
            Signature(right.centroids[i], right.weights[i]),
        )
        for i in range(100)
    ]
    earth_movers_distance(*pairs[0])
    seconds = cpu_seconds(lambda: [earth_movers_distance(*pair) for pair in pairs]) / 100
    figures.append(
        Figure(
            "SLSQP, K = 8, certificate included",
            f"{seconds * 1e3:.2f} ms a pair",
            "5 ms",
            seconds / 5e-3,
            "<= 1",
        )
    )
    for k in (5, 16, 64):
        left, right = draw(8, False, k), draw(8, False, k, seed=1)
        one = [Signature(c, w) for c, w in zip(left.centroids, left.weights, strict=True)]
        two = [Signature(c, w) for c, w in zip(right.centroids, right.weights, strict=True)]
        auto = cpu_seconds(
            lambda a=one, b=two: [earth_movers_distance(*p, "auto") for p in zip(a, b, strict=True)]
        )
        slsqp = float("inf")
        if k <= 16:
            slsqp = cpu_seconds(
                lambda a=one, b=two: [earth_movers_distance(*p) for p in zip(a, b, strict=True)], 1
            )
            figures.append(
                Figure(
                    f"auto, K = {k}",
                    f"{auto / 8 * 1e3:.2f} ms a pair",
                    f"SLSQP {slsqp / 8 * 1e3:.2f} ms",
                    auto / slsqp,
                    "<= 1",
                )
            )
        else:
            figures.append(
                Figure(
                    f"auto, K = {k} (SLSQP takes minutes)",
                    f"{auto / 8 * 1e3:.2f} ms a pair",
                    "SLSQP at K = 24: 524 ms",
                    auto / 8 / 0.524,
                    "<= 1",
                )
            )
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
