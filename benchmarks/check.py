"""Does `check` find what is planted, find nothing else, and stay quick?

With the real data (AOI_TL_SHARED, else ../shared), all four sets in one search, by pixels alone and
with the labels, which part one part from several of one design: precision and recall against the
tiles of the magnetic tiles, the groups of NEU-DET and the equal files of Kolektor. The groups of
NEU-DET know less than was found, so an exhaustive search of every pair of one class at every shift
is the judge as well; it looks at grain finer than what the detector sees.
With --images: that many 640 x 640 images made out of the real ones, timed.

    python benchmarks/check.py
    python benchmarks/check.py --images 20000 --made-only
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy import fft

from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.duplicates.agreement import OVERLAP
from aoi_tl.duplicates.pairs import CERTAIN, Duplicates, find_duplicates
from aoi_tl.duplicates.parts import Defects

SHARED = Path(os.environ.get("AOI_TL_SHARED", Path(__file__).parents[2] / "shared")) / "data"
SETS = {"magnetic-tile": "mt.yaml", "neu-det": "neu-det.yaml",
        "kolektor-sdd": "kolektor-sdd.yaml", "aluminum": "aluminum.yaml"}
HALF, PADDED = 100, 192  # pixels of a halved NEU-DET image, and of its spectrum
CANDIDATE, CONFIRMED = 0.35, 0.4


@dataclass(frozen=True)
class Spent:
    wall: float
    cpu: float


def timed(work: Callable[[], Duplicates]) -> tuple[Duplicates, Spent]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, Spent(time.perf_counter() - wall, time.process_time() - cpu)


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |")


def head(*cells: str) -> None:
    print()
    row(*cells)
    row(*["---"] * len(cells))


def part(many: int, of: int) -> str:
    return f"{many} of {of} ({many / of:.3f})" if of else "0 of 0"


def pairs_of(*groups: np.ndarray) -> int:
    """How many pairs have equal numbers in all of ``groups``."""
    members = Counter(zip(*(g.tolist() for g in groups), strict=True))
    return sum(n * (n - 1) // 2 for n in members.values())


# ------------------------------------------------------------------------------------- the judge


class Judge:
    """Whether two NEU-DET images show the same ground, by every shift and by their grain."""

    def __init__(self, images: list[Path]) -> None:
        greys = [cv2.imread(str(image), cv2.IMREAD_GRAYSCALE).astype(np.float32)
                 for image in images]
        coarse = np.stack([self._coarse(grey) for grey in greys])
        self.fine = [self._fine(grey) for grey in greys]
        self.strength = np.sqrt((coarse**2).mean(axis=(1, 2)))
        self.spectra = fft.rfft2(coarse, (PADDED, PADDED)).astype(np.complex64)
        ones = fft.rfft2(np.ones((HALF, HALF), np.float32), (PADDED, PADDED))
        common = fft.irfft2(ones * ones.conj(), (PADDED, PADDED))
        enough = common > 0.93 * OVERLAP * HALF**2
        self.per_pixel = np.where(enough, 1 / np.maximum(common, 1), 0).astype(np.float32)

    @staticmethod
    def _coarse(grey: np.ndarray) -> np.ndarray:
        flat = grey - cv2.GaussianBlur(grey, (0, 0), 6)
        flat = flat / (np.sqrt(cv2.GaussianBlur(flat * flat, (0, 0), 10)) + 1)
        small = cv2.resize(flat, (HALF, HALF), interpolation=cv2.INTER_AREA)
        return small - small.mean()

    @staticmethod
    def _fine(grey: np.ndarray) -> np.ndarray:
        # Grain: neither scratches nor machining marks, which look alike wherever they are laid.
        flat = cv2.GaussianBlur(grey, (0, 0), 0.7)
        flat = flat - cv2.blur(flat, (11, 1))
        flat = flat - cv2.blur(flat, (1, 11))
        return flat / (np.sqrt(cv2.GaussianBlur(flat * flat, (0, 0), 5)) + 0.5)

    def candidates(self, members: np.ndarray) -> Iterator[tuple[int, int]]:
        for place, one in enumerate(members):
            for start in range(place + 1, len(members), 64):
                others = members[start : start + 64]
                across = fft.irfft2(self.spectra[one] * self.spectra[others].conj(),
                                    (PADDED, PADDED)) * self.per_pixel
                best = across.reshape(len(others), -1).max(axis=1)
                best = best / (self.strength[one] * self.strength[others])
                yield from ((int(one), int(k)) for k in others[best > CANDIDATE])

    def weigh(self, one: int, other: int) -> tuple[float, float]:
        """Median local correlation of the grain at the best of three shifts; share in common."""
        across = fft.irfft2(self.spectra[one] * self.spectra[other].conj(), (PADDED, PADDED))
        across *= self.per_pixel
        best = -1.0, 0.0
        for _ in range(3):
            y, x = np.unravel_index(int(across.argmax()), across.shape)
            near = np.arange(-4, 5)
            across[np.ix_((y + near) % PADDED, (x + near) % PADDED)] = -9
            dy, dx = (2 * int(v - PADDED if v > PADDED // 2 else v) for v in (y, x))
            size = 2 * HALF
            top, left = max(dy, 0), max(dx, 0)
            bottom, right = min(dy + size, size), min(dx + size, size)
            if min(bottom - top, right - left) < 20:
                continue
            first = self.fine[one][top:bottom, left:right]
            second = self.fine[other][top - dy : bottom - dy, left - dx : right - dx][4:-4, 4:-4]
            scores = cv2.matchTemplate(first, np.ascontiguousarray(second), cv2.TM_CCORR_NORMED)
            down, right_by = np.unravel_index(int(scores.argmax()), scores.shape)
            first = first[down : down + second.shape[0], right_by : right_by + second.shape[1]]
            both, a, b = (cv2.blur(product, (16, 16))
                          for product in (first * second, first * first, second * second))
            local = (both / np.sqrt(a * b + 1e-6))[8::8, 8::8]
            share = (bottom - top) * (right - left) / size**2
            best = max(best, (float(np.median(local)), share))
        return best


# ---------------------------------------------------------------------------------- real images


def index(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((SHARED / name / "index.csv").open()))


def numbers(words: list[str]) -> np.ndarray:
    return np.unique(words, return_inverse=True)[1]


def labelled(images: list[Path]) -> list[Defects]:
    """What the four sets label on their images, classes numbered by their names."""
    known: dict[str, int] = {}
    found: dict[tuple[str, str], Defects] = {}
    for name, yaml in SETS.items():
        dataset = load_dataset(SHARED / name / yaml)
        ids = np.array([known.setdefault(word, len(known)) for word in dataset.names])
        for sample in dataset.samples:
            found[name, sample.image.stem] = Defects(ids[sample.classes], sample.boxes)
    return [found[image.parts[-3], image.stem] for image in images]


def real() -> None:
    tiles, steel = index("magnetic-tile"), index("neu-det")
    images = [SHARED / "magnetic-tile" / "images" / one["image"] for one in tiles]
    images += [SHARED / "neu-det" / "images" / f"{one['image']}.jpg" for one in steel]
    for name in list(SETS)[2:]:
        images += sorted((SHARED / name / "images").iterdir())
    owner = np.array([list(SETS).index(image.parts[-3]) for image in images])
    defects = labelled(images)
    now, spent = timed(lambda: find_duplicates(images, defects=defects))
    # Labels only part the pairs that agree: without them all of these show one part.
    before = replace(now, overlaps=(*now.overlaps, *now.designs), designs=())
    print(f"\n{len(images)} images of four sets in one search: {spent.cpu:.0f} s of processor "
          f"({spent.wall:.0f} s on the clock).")
    head("fact", "by pixels alone", "with the labels")
    truth = Grain(images, len(tiles), steel)
    columns = []
    for found in (before, now):
        direct = np.array([(p.first, p.second) for p in found.overlaps])
        apart = owner[direct[:, 0]] != owner[direct[:, 1]]
        columns.append([
            ("pairs told across two different sets (there should be none)", int(apart.sum())),
            *magnetic_tile(found, direct, owner == 0, tiles),
            *kolektor(found, direct, images, owner == 2),
            ("Aluminium: pairs told", int((owner[direct] == 3).all(axis=1).sum())),
            *neu_det(found, direct - truth.start, (owner[direct] == 1).all(axis=1), truth, steel),
        ])
    for (fact, one), (_, other) in zip(*columns, strict=True):
        row(fact, one, other)


Fact = tuple[str, object]


def magnetic_tile(
    found: Duplicates, direct: np.ndarray, ours: np.ndarray, rows: list[dict[str, str]]
) -> Iterator[Fact]:
    tile = numbers([one["tile"] for one in rows])
    groups = found.groups[ours]
    pairs = direct[ours[direct].all(axis=1)]
    right = tile[pairs[:, 0]] == tile[pairs[:, 1]]
    yield ("Magnetic tile: precision of the pairs told (both of one tile in index.csv)",
           part(int(right.sum()), len(right)))
    yield ("Magnetic tile: recall of all pairs of one tile (told, or held together by a third)",
           part(pairs_of(tile, groups), pairs_of(tile)))
    beyond = Counter(" and ".join(sorted({rows[one]["tile"], rows[other]["tile"]}))
                     for one, other in pairs[~right])
    yield ("Magnetic tile: told beyond index.csv",
           ", ".join(f"{tiles} ({count})" for tiles, count in beyond.items()) or "none")
    broken = [number for number in set(tile.tolist()) if len(set(groups[tile == number])) > 1]
    yield ("Magnetic tile: tiles that fall into several parts", part(len(broken), tile.max() + 1))
    n = len(rows)
    test = np.zeros(len(ours), bool)
    test[:n] = np.random.default_rng(0).random(n) < 0.2  # `ours` come first
    leaks = {i for i in np.flatnonzero(test) if (tile[~test[:n]] == tile[i]).any()}
    told = {i for i, _, _ in found.between(test, ours & ~test)}
    yield ("Magnetic tile, shuffled split: test images with an exposure of their tile in train",
           part(len(leaks), int(test.sum())))
    yield "... of these told", part(len(told & leaks), len(leaks))
    yield "... told without one in index.csv", len(told - leaks)
    split = np.array([one["split"] for one in rows] + [""] * (len(ours) - n))
    yield ("Magnetic tile, given split: test images told to be in train",
           len(found.between(split == "test", split == "train")))


def kolektor(
    found: Duplicates, direct: np.ndarray, images: list[Path], ours: np.ndarray
) -> Iterator[Fact]:
    start = int(np.flatnonzero(ours)[0])
    contents = [image.read_bytes() for image, own in zip(images, ours, strict=True) if own]
    truth = np.array([contents.index(content) for content in contents])
    copies = found.copy_of[ours] - start
    right = int(((copies == truth) & (truth != np.arange(len(truth)))).sum())
    yield "Kolektor: equal files told", part(right, pairs_of(truth))
    yield "Kolektor: pairs told beyond equal files", int(ours[direct].all(axis=1).sum())


class Grain:
    """The judge's pairs of NEU-DET that share grain; each pair is weighed once."""

    def __init__(self, images: list[Path], start: int, rows: list[dict[str, str]]) -> None:
        self.start = start
        classes = numbers([one["class"] for one in rows])
        self.judge = Judge(images[start : start + len(rows)])
        self.candidates = {
            pair for number in set(classes.tolist())
            for pair in self.judge.candidates(np.flatnonzero(classes == number))
        }
        self.weighed: dict[tuple[int, int], tuple[float, float]] = {}
        chance = np.random.default_rng(0)
        self.strangers = max(
            self.judge.weigh(*chance.choice(len(rows), 2, replace=False))[0] for _ in range(1000)
        )

    def of(self, pairs: set[tuple[int, int]]) -> dict[tuple[int, int], tuple[float, float]]:
        for pair in sorted(pairs - self.weighed.keys()):
            self.weighed[pair] = self.judge.weigh(*pair)
        return {pair: self.weighed[pair] for pair in pairs}


def neu_det(
    found: Duplicates, direct: np.ndarray, ours: np.ndarray, grain: Grain,
    rows: list[dict[str, str]],
) -> Iterator[Fact]:
    start = grain.start
    group = numbers([one["group"] for one in rows])
    split = np.array([one["split"] for one in rows])
    names = [one["image"] for one in rows]
    twins = [names.index(name) + start for name in ("patches_101", "patches_105")]
    yield ("NEU-DET: patches_101 = patches_105",
           "told" if found.copy_of[twins[0]] == found.copy_of[twins[1]] else "missed")
    told = {(int(one), int(other)) for one, other in direct[ours]}
    own = np.isin(np.arange(len(found.copy_of)), np.arange(start, start + len(rows)))
    own_groups = found.groups[own]
    sizes, met = Counter(group.tolist()), Counter(zip(group.tolist(), own_groups.tolist(),
                                                      strict=True))
    paired = [i for i, g in enumerate(group.tolist()) if sizes[g] > 1]
    hit = sum(met[int(group[i]), int(own_groups[i])] > 1 for i in paired)
    yield ("NEU-DET, index.csv: images with a partner in their group that are told with one",
           part(hit, len(paired)))
    several = [g for g, size in sizes.items() if size > 1]
    broken = [g for g in several if len(set(own_groups[group == g].tolist())) > 1]
    yield ("NEU-DET, index.csv: groups of several images that fall into several parts",
           part(len(broken), len(several)))
    same = {pair for pair in told if group[pair[0]] == group[pair[1]]}
    yield "NEU-DET, index.csv: pairs told that lie in one group", part(len(same), len(told))

    weighed = grain.of(grain.candidates | told)
    copies = {i for i in range(len(rows)) if found.copy_of[start + i] != start + i}
    true = {
        pair for pair, (score, share) in weighed.items()
        if score > CONFIRMED and share >= OVERLAP and not copies & set(pair)
    }
    sure = {(p.first - start, p.second - start) for p in found.overlaps
            if p.similarity >= CERTAIN} & told
    confirmed = {pair for pair in told if weighed[pair][0] > CONFIRMED}
    yield (f"Judge: pairs of one class that share grain (above {CONFIRMED}; 1000 pairs by chance "
           f"reach {grain.strangers:.2f})", len(true))
    yield ("Judge: these in one group of index.csv",
           part(sum(group[i] == group[j] for i, j in true), len(true)))
    yield "Judge: recall of the detector", part(len(true & told), len(true))
    yield "Judge: precision of the detector", part(len(confirmed), len(told))
    yield (f"Judge: precision where it is certain (similarity from {CERTAIN})",
           part(len(confirmed & sure), len(sure)))
    yield ("Judge: pairs told beyond index.csv that are confirmed",
           part(len(confirmed - same), len(told - same)))
    leaks = {
        i if split[i] == "test" else j for i, j in confirmed & told
        if {split[i], split[j]} == {"test", "train"}
    }
    yield ("NEU-DET, given split: test images that share confirmed ground with a training image",
           part(len(leaks), int((split == "test").sum())))


# ---------------------------------------------------------------------------------- made images


def make(folder: Path, count: int) -> np.ndarray:
    """Enlarge crops of the real images to 640 x 640, mirror, relight and add noise.

    Every tenth is the one before it again: shifted by up to 60 pixels, in another light, with
    noise of its own. JPEG of quality 90. Gives what each image is a copy of.
    """
    sources = [image for name in SETS for image in sorted((SHARED / name / "images").iterdir())]
    chance = np.random.default_rng(0)
    noise = chance.normal(0, 3, (1400, 1400)).astype(np.float32)
    copy_of = np.arange(count)
    number = 0
    while number < count:
        grey = cv2.imread(str(sources[chance.integers(len(sources))]), cv2.IMREAD_GRAYSCALE)
        scale = max(640 / min(grey.shape), 1) * chance.uniform(1.05, 1.6)
        grey = cv2.resize(grey.astype(np.float32), None, fx=scale, fy=scale,
                          interpolation=cv2.INTER_CUBIC)
        grey = grey[:: chance.choice([-1, 1]), :: chance.choice([-1, 1])]
        room = np.array(grey.shape) - 640
        corner = chance.integers(0, room + 1)
        for again in (False, True):
            if again:
                if number % 10 != 9 or number == count:
                    break
                copy_of[number] = number - 1
                corner = np.clip(corner + chance.integers(-60, 61, 2), 0, room)
            (y, x), (v, u) = corner, chance.integers(0, 700, 2)
            pixels = grey[y : y + 640, x : x + 640] * chance.uniform(0.6, 1.3)
            pixels = pixels + chance.uniform(-20, 40) + noise[v : v + 640, u : u + 640]
            cv2.imwrite(str(folder / f"{number:06}.jpg"), pixels.clip(0, 255).astype(np.uint8),
                        [cv2.IMWRITE_JPEG_QUALITY, 90])
            number += 1
    return copy_of


def made(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy_of = make(Path(folder), count)
        found, spent = timed(lambda: find_duplicates(sorted(Path(folder).iterdir())))
    planted = {(int(copy), i) for i, copy in enumerate(copy_of) if copy != i}
    told = {(p.first, p.second) for p in found.overlaps}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"\n{count} images, 640 x 640, made out of the real ones (see `make`).")
    head("fact", "measured")
    row("seconds of processor", f"{spent.cpu:.0f}")
    row("seconds on the clock", f"{spent.wall:.0f}")
    row("processes that wanted a core meanwhile (load, 5 minutes)", f"{os.getloadavg()[1]:.1f}")
    row("most memory, GiB", f"{memory:.1f}")
    row("planted copies told", part(len(planted & told), len(planted)))
    row("other pairs told (crops of one original at a like scale)", len(told - planted))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--made-only", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if not SHARED.is_dir():
        parser.error(f"expected the real data in {SHARED}; set AOI_TL_SHARED")
    if not arguments.made_only:
        real()
    if arguments.images:
        made(arguments.images)


if __name__ == "__main__":
    main()
