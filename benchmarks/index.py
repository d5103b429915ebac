"""How long does it take to find the ten closest of 100,000 datasets?

Random signatures of five clusters around a random colour (grey and colour), five classes of twenty
each; found from an index on disk against a plain scan of all distances in memory, and held to the
same answer. Also: scoring 100 unchanged sources of 2,000 images a second time, into a run folder of
its own, against a plain `os.stat` of all their files.

    python benchmarks/index.py
    python benchmarks/index.py --datasets 20000 --sources 20        # a brief run
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from figures import Figure, paired_seconds, show, wall_seconds

from aoi_tl.caches.signature_index import IndexRow, SignatureIndex
from aoi_tl.engine import LocalEngine
from aoi_tl.similarity.emd_batch import SignatureTable, emd_pairs
from aoi_tl.similarity.signature import Signature
from aoi_tl.workflows.score import run_score

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
            warm, scan = paired_seconds(
                lambda i=index, t=target: i.search(t, CLASSES[:7]),
                lambda s=table, t=target: np.argsort(emd_pairs(s, SignatureTable.of([t])))[:10],
            )
            every = index.search(target, CLASSES[:7], top=number)
            same = [row.path for row in every.rows[:10]] == [row.path for row in found.rows]
            size = file.stat().st_size / 2**20
        pruned = 1 - found.solved / found.searched
        figures += [
            Figure(f"ten closest of {number:,}, {kind}, warm", f"{warm * 1e3:.1f} ms",
                   f"a plain scan of all distances {scan * 1e3:.1f} ms", warm / scan, "<= 1"),
            Figure(f"the same, {kind}", f"{warm * 1e3:.1f} ms", "100 ms", warm / 0.1, "<= 1"),
            Figure(f"pruned, {kind}", f"{found.searched - found.solved:,}", f"{found.searched:,}",
                   pruned, ">= 0.9"),
            Figure(f"same ten as all sources scored, {kind}", "yes" if same else "no", "yes",
                   float(same), ">= 1"),
        ]  # fmt: skip
        print(f"{kind}: first search of a process {cold:.2f} s, file {size:.0f} MiB")
    return figures


# The high-water mark of this very program: the one of getrusage is inherited from the parent.
_FIRST = """
import sys, time
import numpy as np
from aoi_tl.engine import LocalEngine
from aoi_tl.workflows.score import run_score
import pandas, scipy.optimize, scipy.stats, aoi_tl.caches.dataset_cache, aoi_tl.similarity.compiled
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
before, started = peak(), time.process_time()
run_score(sys.argv[1], sys.argv[3:], sys.argv[2], engine=LocalEngine(1))
print(peak() - before, time.process_time() - started)
"""


def first_score(paths: list[Path], run: Path) -> tuple[float, float]:
    """Score in a process of its own; the memory above that of its imports, MiB, and CPU seconds."""
    command = [sys.executable, "-c", _FIRST, paths[0], run, *paths[1:]]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    memory, seconds = map(float, said.split())
    return memory, seconds


def rescore_figures(sources: int, images: int, folder: Path) -> list[Figure]:
    """Score datasets a second time: the same few pixels in every image, only looking is measured.

    Counted is time on the clock, from the paths of the ``data.yaml`` files to the finished run
    folder; not the start of Python and the imports, which are in the line printed for the whole
    command. The reference is a plain `os.stat` of the same files, images and labels, in one
    process: what no way of noticing every change can do without.
    """
    _, picture = cv2.imencode(".png", np.full((8, 8), 99, dtype=np.uint8))
    paths, folders = [], []
    for number in range(sources + 1):
        here = folder / f"set{number}"
        for kind in ("images", "labels"):
            folders.append(here / kind / "train")
            folders[-1].mkdir(parents=True)
        for i in range(images):
            (here / f"images/train/{i}.png").write_bytes(picture.tobytes())
            (here / f"labels/train/{i}.txt").write_text(f"{i % 2} 0.5 0.5 0.2 0.2\n")
        paths.append(here / "data.yaml")
        paths[-1].write_text("train: images/train\nval: images/train\nnames: [dent, scab]\n")
    os.environ["AOI_TL_CACHE"] = str(folder / "cache")
    time.sleep(3)  # what is younger than two seconds is not trusted to stay as it is
    runs = iter(range(100))

    def score() -> object:
        return run_score(paths[0], paths[1:], folder / f"run{next(runs)}", engine=LocalEngine(1))

    def ask() -> None:
        for place in folders:
            opened = os.open(place, os.O_RDONLY)
            for name in os.listdir(opened):
                os.stat(name, dir_fd=opened)
            os.close(opened)

    peak, first = first_score(paths, folder / "run")
    seconds, floor = paired_seconds(score, ask, clock=wall_seconds)
    code = "import sys; from aoi_tl.cli import main; sys.argv[0] = 'aoi-tl'; main()"
    command = [sys.executable, "-c", code, "score", *map(str, paths), "--out", folder / "command"]
    whole = wall_seconds(lambda: subprocess.run(command, check=True, capture_output=True), 1)
    print(
        f"{sources} sources of {images:,} images: {first:.1f} s of CPU the first time, "
        f"{seconds:.2f} s the second; the whole command with start and imports {whole:.2f} s"
    )
    what = f"{sources} unchanged sources of {images:,} images scored again"
    return [
        Figure(what, f"{seconds:.2f} s", f"os.stat of all files {floor:.2f} s", seconds / floor,
               "<= 1.5"),
        Figure(f"peak memory, {sources} sources of {images:,} images scored", f"{peak:.0f} MiB",
               "400 MB", peak * 1.048576 / 400, "<= 1"),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=100_000)
    parser.add_argument("--sources", type=int, default=100)
    parser.add_argument("--images", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = search_figures(arguments.datasets, Path(folder))
        figures += rescore_figures(arguments.sources, arguments.images, Path(folder))
    show(figures)


if __name__ == "__main__":
    main()
