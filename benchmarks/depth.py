"""How far are equal pictures of 8 and of 10, 12 or 14 bits apart? On real data.

    python benchmarks/depth.py

The shared data has to lie in AOI_TL_SHARED/data. A copy of each dataset is written with more bits
in the lower end of 16, with noise below the 8 that were there, as a camera would store them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.ranking.scoring import score_sources

SHARED = Path(os.environ.get("AOI_TL_SHARED", "shared")) / "data"
DATASETS = ("magnetic-tile/mt-exp1.yaml", "neu-det/neu-det.yaml")
IMAGES = 60  # of a dataset


def copied(samples: tuple[Sample, ...], folder: Path, depth: int) -> Path:
    """Write images at a depth; those of 8 bits as they are. Give the data.yaml."""
    chance = np.random.default_rng(0)
    images, labels = folder / "images", folder / "labels"
    images.mkdir(parents=True)
    labels.mkdir()
    for number, sample in enumerate(samples):
        pixels = cv2.imread(str(sample.image), cv2.IMREAD_UNCHANGED)
        if depth > 8:
            room = 1 << (depth - 8)
            pixels = pixels.astype(np.uint16) * room + chance.integers(
                0, room, pixels.shape, dtype=np.uint16)
        cv2.imwrite(str(images / f"{number}.png"), pixels)
        (labels / f"{number}.txt").write_text("0 .5 .5 .2 .2\n")
    (folder / "data.yaml").write_text("train: images\nnames: [defect]\n")
    return folder / "data.yaml"


def distance(target: Dataset, source: Dataset) -> float:
    found = score_sources(target, [source], n_clusters=5, method="emd")
    return float(found.sources[0].emd)


def main() -> None:
    print("| dataset | images | bits | found | EMD to the 8-bit copy | the same read as 16 bits |\n"
          "| --- | --- | --- | --- | --- | --- |")
    for name in DATASETS:
        samples = load_dataset(SHARED / name).samples
        samples = samples[:: max(1, len(samples) // IMAGES)][:IMAGES]
        with tempfile.TemporaryDirectory() as folder:
            plain = load_dataset(copied(samples, Path(folder, "8"), 8))
            for depth in (10, 12, 14, 16):
                file = copied(samples, Path(folder, str(depth)), depth)
                found = load_dataset(file)
                dark = distance(plain, load_dataset(file, depth=16))
                print(f"| {Path(name).parts[-2]} | {len(samples)} | {depth} | {found.depth} | "
                      f"{distance(plain, found):.2f} | {dark:.1f} |", flush=True)


if __name__ == "__main__":
    main()
