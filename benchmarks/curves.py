"""How do time and memory grow with images, pairs and datasets? Draws the curves of docs/scale.md.

Images: distinct grey JPEGs of 256 x 256 pixels (one texture, cropped anew for each), measured into
an empty cache by all cores. Pairs: random signatures of five clusters, one core. Datasets: the ten
closest found in an index of random signatures, warm. Each size runs in a process of its own, whose
highest memory above that of the interpreter with its imports is told.

    python benchmarks/curves.py            # up to 100,000 images and datasets, 1,000,000 pairs
    python benchmarks/curves.py --most 10000
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from figures import machine

ROOT = Path(__file__).parent
SERIES = {
    "images, grey": 100_000, "pairs, grey": 1_000_000, "pairs, colour": 1_000_000,
    "pairs, SLSQP": 1_000, "datasets in an index": 100_000,
}  # fmt: skip


def draw_images(folder: Path, number: int, size: int = 256) -> list[Path]:
    """Grey JPEGs that differ in their pixels; a brushed texture with a few dark specks."""
    import cv2

    rng = np.random.default_rng(0)
    side = 1144 + size
    texture = cv2.blur(rng.normal(128, 60, (side, side)).astype(np.float32), (15, 1))
    for _ in range(400):
        centre = tuple(int(v) for v in rng.integers(0, side, 2))
        cv2.circle(texture, centre, int(rng.integers(1, 6)), float(rng.uniform(10, 60)), -1)
    texture = texture.clip(0, 255).astype(np.uint8)
    folder.mkdir()
    files = [folder / f"{i}.jpg" for i in range(number)]
    for i, file in enumerate(files):
        top, left = divmod(i * 11 % (1144 * 1144), 1144)
        cv2.imwrite(str(file), texture[top : top + size, left : left + size])
    return files


def memory() -> float:
    """The highest memory of this process so far, MiB."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def measure(series: str, size: int, images: Path) -> tuple[float, float]:
    """Seconds on the clock and MiB, in this process."""
    from index import draw_rows

    from aoi_tl.caches.signature_cache import SignatureCache
    from aoi_tl.caches.signature_index import SignatureIndex
    from aoi_tl.similarity.emd import earth_movers_distance
    from aoi_tl.similarity.emd_batch import SignatureTable, emd_pairs
    from aoi_tl.similarity.signature import dataset_signature

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        if series.startswith("images"):
            files = [images / f"{i}.jpg" for i in range(size)]
            with SignatureCache(place) as cache:
                merge = partial(dataset_signature, n_clusters=5)
                cache.datasets([files[:1]], 5, merge)  # compiled, imported
                before, started = memory(), time.perf_counter()
                cache.datasets([files], 5, merge)
                seconds = time.perf_counter() - started
        elif series.startswith("datasets"):
            with SignatureIndex(Path(place) / "i.index", n_clusters=5) as index:
                index.add(draw_rows(size, True, rng))
            target = draw_rows(1, True, rng)[0].signature
            before = memory()
            with SignatureIndex(Path(place) / "i.index") as index:
                index.search(target, ["class 1", "class 2"])
                started = time.perf_counter()
                index.search(target, ["class 1", "class 2"])
                seconds = time.perf_counter() - started
        else:
            several = min(size, 10_000)
            rows = [row.signature for row in draw_rows(several, "grey" in series, rng)]
            table = SignatureTable.of(rows)
            other = SignatureTable.of(rows[1:] + rows[:1])
            emd_pairs(table.take(np.arange(2)), other.take(np.arange(2)))
            before, started = memory(), time.perf_counter()
            if "SLSQP" in series:
                for one, two in zip(rows, rows[1:] + rows[:1], strict=True):
                    earth_movers_distance(one, two, "slsqp")
            else:
                for first in range(0, size, several):
                    many = np.arange(min(several, size - first))
                    emd_pairs(table.take(many), other.take(many))
            seconds = time.perf_counter() - started
        return seconds, memory() - before


def plot(rows: pd.DataFrame) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for series, part in rows.groupby("series", sort=False):
        axes[0].loglog(part["size"], part["seconds"], "o-", ms=3, label=str(series))
        axes[1].semilogx(part["size"], part["MiB"], "o-", ms=3, label=str(series))
    axes[0].set(xlabel="how many", ylabel="seconds", title="Time")
    axes[1].set(xlabel="how many", ylabel="MiB above the start", title="Memory", ylim=(0, None))
    axes[0].legend(fontsize=7, frameon=False)
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(ROOT.parent / "docs/images/cost-curves.png", dpi=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, help="leave out sizes above")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(*measure(asked.one[0], int(asked.one[1]), Path(asked.one[2])))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        draw_images(images, min(asked.most or SERIES["images, grey"], SERIES["images, grey"]))
        for series, most in SERIES.items():
            size = 100 if series.startswith(("images", "datasets")) else 10
            while size <= min(most, asked.most or most):
                command = [sys.executable, __file__, "--one", series, str(size), str(images)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                seconds, mib = map(float, done.stdout.split())
                rows.append({"series": series, "size": size, "seconds": round(seconds, 5),
                             "MiB": round(mib, 1)})
                print(rows[-1], flush=True)
                size *= 10
    table = pd.DataFrame(rows)
    if not asked.most:
        words = f"# {machine()}\n"
        (ROOT / "results/curves.csv").write_text(words + table.to_csv(index=False),
                                                 encoding="utf-8")
        plot(table)


if __name__ == "__main__":
    main()
