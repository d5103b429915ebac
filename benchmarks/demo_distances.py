"""Are the drawn datasets as far from each other as the published ones?

Draws the eleven sets, measures the exact earth mover's distance between their pooled grey levels
and holds it against the published table. With --fit, finds the brightness and exposure of each
style anew and prints them for STYLES in aoi_tl/data/tiles.py.

    python benchmarks/demo_distances.py
    python benchmarks/demo_distances.py --fit
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import minimize
from scipy.stats import spearmanr

from aoi_tl.synthetic.demo_datasets import FACTOR, draw_demo, published_distances
from aoi_tl.synthetic.tiles import BRIGHTEST, DARKEST, STYLES, draw_surface

NAMES, PUBLISHED = published_distances()
PAIRS = np.triu_indices(len(NAMES), 1)
SHARE = 0.7  # of the published distances: all of it would need more than 256 grey levels
#: These decide the pick for jy-381-4, which coarse signatures (three clusters) would otherwise
#: turn: they are fitted more closely, with a goal a little to the safe side.
CLOSE = {
    ("jy-381-4", "lc-101"): 1.05,
    ("jy-381-4", "lc-201"): 1.0,
    ("jy-381-4", "xh-1"): 0.93,
}


def measured(paths: list[Path]) -> np.ndarray:
    """Exact distances between pooled grey levels, (11, 11), as three equal channels."""
    curves = []
    for path in paths:
        histogram = np.zeros(256)
        for image in path.parent.glob("images/*/*.jpg"):
            pixels = np.frombuffer(image.read_bytes(), np.uint8)
            grey = cv2.imdecode(pixels, cv2.IMREAD_GRAYSCALE)
            histogram += np.bincount(grey.ravel(), minlength=256)
        curves.append(np.cumsum(histogram / histogram.sum()))
    levels = np.array(curves)
    return np.sqrt(3) * np.abs(levels[:, None] - levels[None]).sum(-1)


def fit(pictures: int = 64) -> None:
    """Print the means and exposures whose distances come closest to the published ones."""
    textures = {}  # in units of contrast, (pictures, 100) quantiles of bare surfaces
    for name, style in STYLES.items():
        plain = replace(style, mean=128.0, exposure=0.0)
        rows = []
        for k in range(pictures):
            chance, sheet = np.random.default_rng([5, k]), zlib.crc32(name.encode())
            surface, _ = draw_surface(plain, chance, 0.0, 160, sheet)
            rows.append(
                np.quantile((surface - 128) / plain.contrast, np.linspace(0.005, 0.995, 100))
            )
        textures[name] = np.array(rows)
    steps = (np.arange(pictures) + 0.5) / pictures * 2 - 1
    shares = (np.arange(400) + 0.5) / 400
    pairs = [(NAMES[i], NAMES[j]) for i, j in zip(*PAIRS, strict=True)]
    weights = np.array([8.0 if pair in CLOSE else 1.0 for pair in pairs])
    goal = SHARE * PUBLISHED[PAIRS] * np.array([CLOSE.get(pair, 1.0) for pair in pairs])

    def distances(values: np.ndarray) -> np.ndarray:
        curves = []
        for k, name in enumerate(NAMES):
            style = replace(STYLES[name], mean=values[k], exposure=max(values[k + 11], 0))
            grey = style.mean + style.exposure * steps[:, None] + style.contrast * textures[name]
            grey = np.clip(grey, DARKEST, BRIGHTEST)
            curves.append(np.quantile(grey, shares))
        every = np.array(curves)
        return np.sqrt(3) * np.abs(every[:, None] - every[None]).mean(-1)

    def loss(values: np.ndarray) -> float:
        mean, exposure = values[:11], values[11:]
        outside = np.maximum(0, 45 - mean + exposure) ** 2
        outside += np.maximum(0, mean + exposure - 212) ** 2
        wrong = (weights * (distances(values)[PAIRS] - goal) ** 2).sum() / goal.sum()
        return float(wrong + 0.02 * outside.sum() + (np.minimum(exposure, 0) ** 2).sum())

    values = np.array([s.mean for s in STYLES.values()] + [s.exposure for s in STYLES.values()])
    for _ in range(3):
        options = {"maxiter": 4, "xtol": 0.05, "ftol": 1e-4}
        values = minimize(loss, values, method="Powell", options=options).x
    for k, name in enumerate(NAMES):
        print(f"{name:10} mean {values[k]:6.1f}  exposure {max(values[k + 11], 0):5.1f}")
    print(f"rank correlation {spearmanr(distances(values)[PAIRS], PUBLISHED[PAIRS]).statistic:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--factor", type=float, default=FACTOR)
    arguments = parser.parse_args()
    if arguments.fit:
        fit()
        return
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        paths = draw_demo(Path(folder), factor=arguments.factor)
        seconds = time.perf_counter() - start
        distances = measured(paths)
    print("drawn / published x", SHARE)
    print(" " * 10 + "".join(f"{name:>14}" for name in NAMES))
    for k, name in enumerate(NAMES):
        cells = (
            f"{drawn:6.1f} /{table:6.1f}"
            for drawn, table in zip(distances[k], SHARE * PUBLISHED[k], strict=True)
        )
        print(f"{name:10}" + "".join(f"{cell:>14}" for cell in cells))
    rank = spearmanr(distances[PAIRS], PUBLISHED[PAIRS]).statistic
    print(f"\ndrawn in {seconds:.1f} s; rank correlation {rank:.4f} (at least 0.97 is asked for)")


if __name__ == "__main__":
    main()
