"""Does `check` find what is planted, find nothing else, and stay quick?

With the real data (AOI_TL_SHARED, else ../shared): precision and recall against the tiles of the
magnetic tiles, the groups of NEU-DET, the sixteen pairs of Kolektor. Where the index knows less
than was found, an exhaustive search (every shift, another filter) is the judge. With --images:
that many drawn images, five overlapping crops of each surface at changing exposure, timed.

    python benchmarks/check.py
    python benchmarks/check.py --images 20000
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from scipy import fft

from aoi_tl.data.duplicates import Duplicates, find_duplicates

SHARED = Path(os.environ.get("AOI_TL_SHARED", Path(__file__).parents[2] / "shared")) / "data"


def pairs_of(groups: np.ndarray) -> int:
    return sum(n * (n - 1) // 2 for n in Counter(groups.tolist()).values())


def both(one: np.ndarray, other: np.ndarray) -> int:
    return sum(n * (n - 1) // 2 for n in Counter(zip(one.tolist(), other.tolist(),
                                                     strict=True)).values())


def describe(name: str, images: list[Path], truth: np.ndarray) -> Duplicates:
    wall, cpu = time.perf_counter(), time.process_time()
    found = find_duplicates(images)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    direct = [(p.first, p.second) for p in found.overlaps]
    right = sum(truth[i] == truth[j] for i, j in direct)
    sizes = Counter(truth.tolist())
    paired = [i for i, group in enumerate(truth.tolist()) if sizes[group] > 1]
    partners = Counter(zip(truth.tolist(), found.groups.tolist(), strict=True))
    hit = sum(partners[int(truth[i]), int(found.groups[i])] > 1 for i in paired)
    copies = int((found.copy_of != np.arange(len(images))).sum())
    print(f"{name}: {len(images)} images, {wall:.0f} s ({cpu:.0f} s of processor)")
    print(f"  equal files {copies}; pairs laid over each other {len(direct)}, in one group of the "
          f"index {right} ({right / max(len(direct), 1):.3f})")
    print(f"  images with a partner in the index that are found: {hit} of {len(paired)} "
          f"({hit / max(len(paired), 1):.3f})")
    print(f"  pairs by group: recall {both(truth, found.groups) / max(pairs_of(truth), 1):.4f}, "
          f"precision {both(truth, found.groups) / max(pairs_of(found.groups), 1):.4f}")
    return found


def exhaustive(first: Path, second: Path) -> float:
    """The best correlation of all shifts with a quarter in common; another filter than ours."""
    maps = []
    for path in (first, second):
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32)
        fine = grey - cv2.GaussianBlur(grey, (0, 0), 6)
        maps.append(fine / (np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 10)) + 1))
    a, b = maps
    shape = [fft.next_fast_len(m + n, True) for m, n in zip(a.shape, b.shape, strict=True)]

    def spectrum(x: np.ndarray) -> np.ndarray:
        return fft.rfft2(x, shape)

    def across(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return fft.irfft2(x * y.conj(), shape)

    ones = spectrum(np.ones_like(a)), spectrum(np.ones_like(b))
    common = across(*ones)
    energy = across(spectrum(a * a), ones[1]) * across(ones[0], spectrum(b * b))
    score = across(spectrum(a), spectrum(b)) / np.sqrt(np.maximum(energy, 1))
    return float(score[common > 0.14 * min(a.size, b.size)].max())


def real() -> None:
    rows = list(csv.DictReader((SHARED / "magnetic-tile" / "index.csv").open()))
    images = [SHARED / "magnetic-tile" / "images" / row["image"] for row in rows]
    tiles = np.unique([row["tile"] for row in rows], return_inverse=True)[1]
    found = describe("magnetic tile, six exposures", images, tiles)
    test = np.random.default_rng(0).random(len(images)) < 0.2  # a shuffled split leaks
    leaks = {i for i in np.flatnonzero(test) if (tiles[~test] == tiles[i]).any()}
    told = {i for i, _, _ in found.between(test, ~test)}
    print(f"  shuffled split: {len(leaks)} of {test.sum()} test images have an exposure in train; "
          f"{len(told & leaks)} told, {len(told - leaks)} told wrongly")
    given = np.array([row["split"] == "test" for row in rows])
    print(f"  given split: {len(found.between(given, ~given))} test images told")

    rows = list(csv.DictReader((SHARED / "neu-det" / "index.csv").open()))
    images = [SHARED / "neu-det" / "images" / f"{row['image']}.jpg" for row in rows]
    groups = np.unique([row["group"] for row in rows], return_inverse=True)[1]
    found = describe("NEU-DET, overlapping crops", images, groups)
    extra = [(p.first, p.second) for p in found.overlaps if groups[p.first] != groups[p.second]]
    scores = np.array([exhaustive(images[i], images[j]) for i, j in extra])
    chance = np.random.default_rng(0)
    other = [chance.choice(len(images), 2, replace=False) for _ in range(200)]
    base = np.array([exhaustive(images[i], images[j]) for i, j in other
                     if found.groups[i] != found.groups[j]])
    print(f"  {len(extra)} pairs unknown to the index: exhaustive search gives "
          f"{np.quantile(scores, [0, 0.05, 0.5]).round(2).tolist()} (lowest, 5 %, median), for "
          f"unrelated pairs {np.quantile(base, [0.5, 0.95, 1]).round(2).tolist()} (median, 95 %, "
          f"highest); confirmed above 0.6: {(scores > 0.6).sum()}")
    split = np.array([row["split"] for row in rows])
    test = split == "test"
    told = found.between(test, split == "train")
    print(f"  given split: {len(told)} of {test.sum()} test images overlap a training image")
    names = [row["image"] for row in rows]
    one, two = names.index("patches_101"), names.index("patches_105")
    print(f"  patches_101 = patches_105: {found.copy_of[one] == found.copy_of[two]}")

    images = sorted((SHARED / "kolektor-sdd" / "images").iterdir())
    contents = [image.read_bytes() for image in images]
    truth = np.array([contents.index(content) for content in contents])
    describe("Kolektor, equal files (what goes beyond them was looked at: also one part)", images,
             truth)


def draw(folder: Path, count: int) -> tuple[list[Path], np.ndarray]:
    """Draw five crops, 224 x 224, of each of many surfaces; neighbours share half and more."""
    chance = np.random.default_rng(1)
    images = []
    for number in range(count):
        if number % 5 == 0:
            surface = cv2.GaussianBlur(chance.normal(0, 1, (320, 420)).astype(np.float32), (0, 0),
                                       float(chance.uniform(1, 3)))
            surface = surface / surface.std() + np.cumsum(chance.normal(0, 0.05, 420))
        x, y = number % 5 * 45 + int(chance.integers(10)), int(chance.integers(90))
        light = chance.uniform(60, 180), chance.uniform(12, 30)
        crop = surface[y : y + 224, x : x + 224] * light[1] + light[0] + chance.normal(
            0, 2, (224, 224))
        path = folder / f"{number:06}.jpg"
        cv2.imwrite(str(path), crop.clip(0, 255).astype(np.uint8))
        images.append(path)
    return images, np.arange(count) // 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--drawn-only", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if not arguments.drawn_only and SHARED.is_dir():
        real()
    if arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            images, groups = draw(Path(folder), arguments.images)
            describe("drawn crops", images, groups)


if __name__ == "__main__":
    main()
