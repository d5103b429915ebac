"""How long does it take to find the ten closest of 100,000 datasets?

Random signatures of five clusters around a random colour (grey and colour), five classes of twenty
each; found from an index on disk against scoring every source, and held to the same answer. Also:
scoring 100 unchanged sources of 2,000 images from the cache.

    python benchmarks/index.py
    python benchmarks/index.py --datasets 20000 --sources 20        # a brief run
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
from pathlib import Path

import cv2
import numpy as np
from figures import Figure, cpu_seconds, show, wall_seconds

from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.signature_cache import SignatureCache
from aoi_tl.data.signature_index import IndexRow, SignatureIndex
from aoi_tl.engine import LocalEngine
from aoi_tl.similarity.emd_batch import SignatureTable, emd_pairs
from aoi_tl.similarity.signature import Signature
from aoi_tl.workflows.score import score_sources

CLASSES = [f"class {i}" for i in range(20)]


def draw_rows(number: int, grey: bool, rng: np.random.Generator) -> list[IndexRow]:
    centroids = rng.uniform(20, 235, (number, 1, 3)) + rng.normal(0, 40, (number, 5, 3))
    centroids = centroids.clip(0, 255)
    if grey:
        centroids = np.repeat(centroids[:, :, :1], 3, axis=2)
    weights = rng.dirichlet(np.ones(5), number)
    rows = []
    for i in range(number):
        kinds = rng.choice(20, 5, replace=False)
        counts = {CLASSES[k]: int(n) for k, n in zip(kinds, rng.integers(1, 500, 5), strict=True)}
        rows.append(
            IndexRow(f"/{i}/data.yaml", f"{i:06}", 9, counts, Signature(centroids[i], weights[i]))
        )
    return rows


def search_figures(number: int, folder: Path) -> list[Figure]:
    figures = []
    for grey in (True, False):
        kind = "grey" if grey else "colour"
        rng = np.random.default_rng(grey)
        rows = draw_rows(number, grey, rng)
        file = folder / f"{kind}.index"
        with SignatureIndex(file, n_clusters=5) as index:
            index.add(rows)
        table = SignatureTable.of([row.signature for row in rows])
        with SignatureIndex(file) as index:
            target = draw_rows(1, grey, rng)[0].signature
            cold = wall_seconds(lambda i=index, t=target: i.search(t, CLASSES[:7]), 1)
            found = index.search(target, CLASSES[:7])
            warm = cpu_seconds(lambda i=index, t=target: i.search(t, CLASSES[:7]))
            every = index.search(target, CLASSES[:7], top=number)
            same = [row.path for row in every.rows[:10]] == [row.path for row in found.rows]
            brute = cpu_seconds(lambda s=table, t=target: emd_pairs(s, SignatureTable.of([t])), 1)
            size = file.stat().st_size / 2**20
        pruned = 1 - found.solved / found.searched
        figures += [
            Figure(f"ten closest of {number:,}, {kind}, warm", f"{warm * 1e3:.1f} ms", "100 ms",
                   warm / 0.1, "<= 1"),
            Figure(f"pruned, {kind}", f"{100 * pruned:.2f} % of {found.searched:,}",
                   f"all distances: {brute * 1e3:.0f} ms", pruned, ">= 0.9"),
            Figure(f"same ten as all sources scored, {kind}", "yes" if same else "no", "yes",
                   float(same), ">= 1"),
        ]  # fmt: skip
        print(f"{kind}: first search of a process {cold:.2f} s, file {size:.0f} MiB")
    return figures


def rescore_figure(sources: int, images: int, folder: Path) -> Figure:
    """The same few pixels under many names: only looking up is measured."""
    rng = np.random.default_rng(0)
    picture = folder / "picture.png"
    cv2.imwrite(str(picture), rng.integers(0, 256, (16, 16), dtype=np.uint8))
    datasets = []
    for number in range(sources + 1):
        place = folder / f"set{number}"
        place.mkdir()
        samples = []
        for i in range(images):
            os.link(picture, place / f"{i}.png")
            samples.append(Sample(place / f"{i}.png", "train", np.array([0, 0, 1]),
                                  np.full((3, 4), 0.5)))  # fmt: skip
        datasets.append(Dataset(place.name, place / "data.yaml", ("a", "b"), tuple(samples)))
    with SignatureCache(folder / "cache", LocalEngine(1)) as cache:
        score_sources(datasets[0], datasets[1:], cache=cache)
        seconds = cpu_seconds(lambda: score_sources(datasets[0], datasets[1:], cache=cache))
    return Figure(f"{sources} unchanged sources of {images:,} images", f"{seconds:.2f} s",
                  f"{sources / 100:.2f} s", seconds / (sources / 100), "<= 1")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=100_000)
    parser.add_argument("--sources", type=int, default=100)
    parser.add_argument("--images", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = search_figures(arguments.datasets, Path(folder))
        figures.append(rescore_figure(arguments.sources, arguments.images, Path(folder)))
    show(figures)


if __name__ == "__main__":
    main()
