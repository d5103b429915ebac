"""The eleven magnetic-tile datasets of the seed paper, drawn in miniature.

The originals are not public; their class counts and the distances between their grey levels are.
Each drawn set keeps both: the counts scaled down by one factor with every class kept, and a
brightness and contrast of its own, so that the earth mover's distances between the sets order as
the published ones do.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from aoi_tl.data.marks import MARKS, draw_mark
from aoi_tl.errors import DataError

#: One drawn image or box stands for this many published ones, inverted.
FACTOR = 1 / 8
#: Width and height of a drawn image in pixels.
SIZE = 160
#: Shares of a set's images per split.
SHARES = {"train": 0.5, "val": 0.2, "test": 0.3}

_DARKEST, _BRIGHTEST = 30.0, 225.0  # room for a mark to be seen at either end
_MOST = 3  # defects on one tile
_RECORD = "drawn.json"


@dataclass(frozen=True)
class Style:
    """What a production line's pictures look like, apart from their defects.

    ``mean`` is the grey level, ``exposure`` its half-range from picture to picture and
    ``contrast`` the grey levels per unit of the surface's texture. ``streak`` is the width and
    height of a grain in pixels, ``blotch`` the share of slow stains in it, ``bow`` the falloff
    across the tile's curvature, and ``margin`` the background left on the four sides (x, y).
    """

    mean: float
    exposure: float
    streak: tuple[float, float]
    blotch: float
    bow: float
    margin: tuple[float, float]

    @property
    def contrast(self) -> float:
        """Grey levels per unit of texture: harsher light shows more of it."""
        return 8.0 + 0.17 * self.exposure


#: mean and exposure are fitted to ``seed_emd.csv`` (benchmarks/demo_distances.py --fit).
STYLES = {
    "dc-1": Style(135.5, 4.1, (9.0, 0.7), 0.3, 0.5, (7, 9)),
    "jy-381-2": Style(149.9, 49.8, (0.8, 6.0), 0.2, 1.2, (12, 5)),
    "jy-381-4": Style(135.1, 55.3, (0.8, 12.0), 0.4, 1.0, (14, 6)),
    "lc-101": Style(122.5, 3.8, (7.0, 0.7), 0.5, 0.7, (6, 10)),
    "lc-201": Style(143.8, 49.9, (5.0, 0.8), 0.2, 1.1, (8, 12)),
    "nj-101": Style(126.8, 10.8, (12.0, 0.8), 0.4, 0.6, (6, 8)),
    "nj-201": Style(107.2, 37.0, (1.6, 1.6), 0.5, 0.8, (9, 9)),
    "xh-1": Style(114.4, 25.4, (3.0, 0.8), 0.6, 0.9, (10, 6)),
    "xh-2": Style(107.0, 52.6, (1.0, 1.0), 0.7, 0.8, (7, 7)),
    "xh-3": Style(107.2, 26.0, (2.4, 0.9), 0.8, 0.9, (11, 7)),
    "xh-4": Style(101.6, 49.7, (0.9, 3.0), 0.6, 1.0, (8, 11)),
}


class Drawing(NamedTuple):
    """One drawn picture: ``image`` (size, size) uint8, class names and the boxes around them.

    ``boxes`` is (n, 4) int64: the first and one past the last changed column and row, as
    x0, y0, x1, y1. ``bare`` is the same surface without its defects.
    """

    image: np.ndarray
    classes: tuple[str, ...]
    boxes: np.ndarray
    bare: np.ndarray


def demo_counts(factor: float = FACTOR) -> dict[str, dict[str, int]]:
    """Instances per dataset and class, scaled down with every published class kept.

    Parameters
    ----------
    factor : float, default 1/8
        Share of the published counts, above 0 and at most 1.

    Returns
    -------
    dict of str to dict of str to int
        Dataset -> class -> instances; classes a set does not have are left out.

    Examples
    --------
    >>> demo_counts(0.1)["dc-1"]["standard crack"], demo_counts(0.1)["dc-1"]["ambiguity"]
    (35, 1)
    """
    if not 0 < factor <= 1:
        raise DataError(f"expected a factor above 0 and at most 1, got {factor}; try {FACTOR}")
    return {
        name: {
            row["category"]: max(1, round(int(row[name]) * factor))
            for row in _table("seed_counts.csv")
            if int(row[name])
        }
        for name in STYLES
    }


def demo_images(factor: float = FACTOR) -> dict[str, int]:
    """Images per dataset, scaled down by the same factor as the instances.

    Examples
    --------
    >>> demo_images(0.125)["dc-1"]
    32
    """
    counts = demo_counts(factor)
    published = {row["dataset"]: int(row["images"]) for row in _table("seed_totals.csv")}
    return {
        # No image is without a defect, and none has to hold more than fit on a tile.
        name: min(max(-(-total // _MOST), round(published[name] * factor)), total)
        for name, total in ((name, sum(counts[name].values())) for name in STYLES)
    }


def published_distances() -> tuple[tuple[str, ...], np.ndarray]:
    """The published earth mover's distances between the eleven datasets.

    Returns
    -------
    names : tuple of str
        The datasets in the table's order.
    distances : numpy.ndarray
        (11, 11) float64, symmetric, in RGB units.

    Examples
    --------
    >>> names, distances = published_distances()
    >>> names[0], round(float(distances[0, 1]), 2)
    ('dc-1', 58.27)
    """
    rows = _table("seed_emd.csv")
    names = tuple(row["target"] for row in rows)
    return names, np.array([[float(row[name]) for name in names] for row in rows])


def draw_demo(
    folder: Path,
    factor: float = FACTOR,
    size: int = SIZE,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> list[Path]:
    """Draw the eleven datasets as ordinary Ultralytics datasets, or find them drawn.

    Parameters
    ----------
    folder : Path
        Where ``<name>/data.yaml``, ``<name>/images`` and ``<name>/labels`` go. A set that is
        there already and was drawn with the same settings is kept as it is.
    factor : float, default 1/8
        Share of the published instances and images.
    size : int, default 160
        Width and height of the images in pixels, at least 96.
    seed : int, default 0
        The same seed draws the same pixels.
    progress : callable, optional
        Called with (images done, images in all) after each batch of work.
    workers : int, default 1
        Processes to draw with.

    Returns
    -------
    list of Path
        The eleven ``data.yaml``, absolute, in the order of the published table.

    Raises
    ------
    DataError
        If a setting is out of range, or a folder in the way was not drawn by this function.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = draw_demo(Path(folder), factor=1 / 2000, size=96)
    ...     len(paths), paths[0].parent.name
    (11, 'dc-1')
    """
    if size < 96:
        raise DataError(f"expected a size of at least 96 pixels, got {size}; try {SIZE}")
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    images = demo_images(factor)
    total, done = sum(images.values()), 0
    missing = []
    for name in STYLES:
        if _is_drawn(folder / name, _fingerprint(name, factor, size, seed)):
            done += images[name]
        else:
            missing.append(name)

    def report(name: str) -> None:
        nonlocal done
        done += images[name]
        if progress:
            progress(done, total)

    if progress:
        progress(done, total)
    jobs = [(folder, name, factor, size, seed) for name in missing]
    if workers > 1 and len(jobs) > 1:
        jobs.sort(key=lambda job: -images[job[1]])  # the longest first: no worker waits at the end
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for job, _ in zip(jobs, pool.map(_write_set, jobs), strict=True):
                report(job[1])
    else:
        for job in jobs:
            _write_set(job)
            report(job[1])
    return [folder / name / "data.yaml" for name in STYLES]


def draw_tile(
    name: str, classes: Sequence[str], chance: np.random.Generator, exposure: float, size: int
) -> Drawing:
    """Draw one tile of a dataset's style with the given defects.

    Parameters
    ----------
    name : str
        A key of :data:`STYLES`.
    classes : sequence of str
        The defects, keys of ``MARKS``; a class may come more than once.
    chance : numpy.random.Generator
        Everything random in the picture.
    exposure : float
        -1 (the darkest picture of the set) to 1 (the brightest).
    size : int
        Width and height in pixels.

    Returns
    -------
    Drawing
        The picture, its classes in the order given, their boxes, and the surface underneath.

    Examples
    --------
    >>> drawn = draw_tile("dc-1", ["gas hole"], np.random.default_rng(0), 0.0, 160)
    >>> drawn.image.shape, drawn.boxes.shape
    ((160, 160), (1, 4))
    """
    style, unit = STYLES[name], size / 160
    surface, tile = _surface(style, chance, exposure, size, zlib.crc32(name.encode()))
    bare = np.round(surface).astype(np.uint8)
    taken = np.zeros((size, size), bool)
    boxes = np.empty((len(classes), 4), np.int64)
    # The large ones first, while there is room; boxes come out in the order asked for.
    for index in sorted(range(len(classes)), key=lambda i: MARKS[classes[i]].place == "plane"):
        patch, left, top = _place(classes[index], chance, unit, tile, taken)
        height, width = patch.shape
        surface[top : top + height, left : left + width] += patch
        taken[max(0, top - 2) : top + height + 2, max(0, left - 2) : left + width + 2] = True
        boxes[index] = left, top, left + width, top + height
    image = np.round(np.clip(surface, 0, 255)).astype(np.uint8)
    return Drawing(image, tuple(classes), boxes, bare)


# --- one picture ----------------------------------------------------------------------------


@cache
def _grain(streak: tuple[float, float], blotch: float, seed: int) -> np.ndarray:
    """A large sheet of ground metal, (512, 512) float32 of mean 0 and deviation 1."""
    chance = np.random.default_rng([seed, 7])
    fine = cv2.GaussianBlur(
        chance.standard_normal((512, 512), np.float32), (0, 0), streak[0], sigmaY=streak[1]
    )
    slow = cv2.GaussianBlur(chance.standard_normal((512, 512), np.float32), (0, 0), 9.0)
    sheet = fine / fine.std() + blotch * slow / slow.std()
    return (sheet / sheet.std()).astype(np.float32)


def _surface(
    style: Style, chance: np.random.Generator, exposure: float, size: int, seed: int
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A tile without defects, and where it lies: left, top, right, bottom."""
    unit = size / 160
    left, right = np.round(style.margin[0] * unit + chance.uniform(-2, 3, 2) * unit).astype(int)
    top, bottom = np.round(style.margin[1] * unit + chance.uniform(-2, 3, 2) * unit).astype(int)
    tile = (int(left), int(top), int(size - right), int(size - bottom))
    x = np.arange(size, dtype=np.float32)
    across, down = (x - size / 2) / (size / 2), ((x - size / 2) / (size / 2))[:, None]

    # How deep inside the rounded outline each pixel lies; negative on the background.
    radius = 9 * unit
    dx = np.abs(x + 0.5 - (tile[0] + tile[2]) / 2) - ((tile[2] - tile[0]) / 2 - radius)
    dy = np.abs(x + 0.5 - (tile[1] + tile[3]) / 2) - ((tile[3] - tile[1]) / 2 - radius)
    dx, dy = dx.astype(np.float32), dy.astype(np.float32)[:, None]
    outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
    depth = radius - outside - np.minimum(np.maximum(dx, dy), 0)

    offset = chance.integers(0, 512 - size, 2) if size < 512 else (0, 0)
    sheet = _grain(style.streak, style.blotch, seed)
    if size > 512:
        sheet = np.tile(sheet, (size // 512 + 1,) * 2)
    grain = sheet[offset[0] : offset[0] + size, offset[1] : offset[1] + size]
    slope, tilt = chance.uniform(-0.7, 0.7, 2)
    light = style.bow * (0.55 - 1.5 * (across - 0.3 * slope) ** 2) + slope * across + tilt * down
    field = light.astype(np.float32) + 0.62 * grain
    # The rounded edge: a lit line on the upper left, shade on the lower right, then the drop.
    rim = np.exp(-np.square((depth - 3.2 * unit) / (1.6 * unit)))
    field += rim * np.where(across + down < 0, 1.5, -1.1).astype(np.float32)
    within = np.clip(depth / unit + 0.5, 0, 1)
    field = within * field + (1 - within) * np.float32(-2.3)
    field += 0.28 * chance.standard_normal((size, size), np.float32)  # the sensor's noise
    grey = style.mean + style.exposure * exposure + style.contrast * field
    return np.clip(grey, _DARKEST, _BRIGHTEST).astype(np.float32), tile


def _place(
    name: str,
    chance: np.random.Generator,
    unit: float,
    tile: tuple[int, int, int, int],
    taken: np.ndarray,
) -> tuple[np.ndarray, int, int]:
    """A mark and a free place for it: the patch, its left column and its top row."""
    left, top, right, bottom = tile
    place = MARKS[name].place
    scale = 1.0
    for attempt in range(400):
        if attempt % 12 == 11:  # crowded: draw it smaller
            scale = max(0.4, scale * 0.9)
        patch = draw_mark(name, chance, unit * scale)
        if place == "plane":
            patch = np.flip(patch, axis=int(chance.integers(2)))
            inset = round(6 * unit)
            low, high = (left + inset, top + inset), (right - inset, bottom - inset)
        elif place == "edge":
            side = int(chance.integers(4))
            patch = np.rot90(patch, -side)
            low, high = _edge(side, tile, patch.shape, round(14 * unit))
        else:
            flip = int(chance.integers(4))
            patch = patch[:: -1 if flip & 1 else 1, :: -1 if flip & 2 else 1]
            low, high = _corner(flip, tile, patch.shape)
        room = (high[0] - low[0] - patch.shape[1], high[1] - low[1] - patch.shape[0])
        if min(room) < 0:
            continue
        x = low[0] + int(chance.integers(room[0] + 1))
        y = low[1] + int(chance.integers(room[1] + 1))
        if not taken[y : y + patch.shape[0], x : x + patch.shape[1]].any():
            return patch, x, y
    raise DataError(
        f"expected room for a '{name}' on a drawn tile, found none; use a larger size or fewer "
        "defects to an image"
    )


def _edge(
    side: int, tile: tuple[int, int, int, int], shape: tuple[int, ...], inset: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a mark may lie that hangs from side 0 top, 1 right, 2 bottom, 3 left."""
    left, top, right, bottom = tile
    height, width = shape
    if side == 0:
        return (left + inset, top), (right - inset, top + height)
    if side == 1:
        return (right - width, top + inset), (right, bottom - inset)
    if side == 2:
        return (left + inset, bottom - height), (right - inset, bottom)
    return (left, top + inset), (left + width, bottom - inset)


def _corner(
    flip: int, tile: tuple[int, int, int, int], shape: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a mark lies that fills a corner: flip 1 is down, 2 is right."""
    left, top, right, bottom = tile
    x = right - shape[1] if flip & 2 else left
    y = bottom - shape[0] if flip & 1 else top
    return (x, y), (x + shape[1], y + shape[0])


# --- one dataset ----------------------------------------------------------------------------


def _table(name: str) -> list[dict[str, str]]:
    text = (files("aoi_tl.data") / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _share_out(
    counts: dict[str, int], images: int, chance: np.random.Generator
) -> list[tuple[str, ...]]:
    """Which defects each image holds: at least one, the rest where it falls."""
    marks = [name for name, count in counts.items() for _ in range(count)]
    order = chance.permutation(len(marks))
    held: list[list[str]] = [[marks[k]] for k in order[:images]]
    for k in order[images:]:
        # At most one corner mark: two might want the same corner.
        corner = MARKS[marks[k]].place == "corner"
        open_ = [
            i
            for i, held_here in enumerate(held)
            if len(held_here) < _MOST
            and not (corner and any(MARKS[name].place == "corner" for name in held_here))
        ]
        pool = open_ or range(images)
        held[pool[int(chance.integers(len(pool)))]].append(marks[k])
    return [tuple(names) for names in held]


def _split(held: Sequence[tuple[str, ...]], chance: np.random.Generator) -> list[str]:
    """A split for each image: single instances train, rare classes reach the test split.

    Images are dealt class by class, the rarest first, each to the split that is furthest behind
    its share of that class.
    """
    count: dict[str, int] = {}
    for names in held:
        for name in names:
            count[name] = count.get(name, 0) + 1
    splits = [""] * len(held)
    for name in sorted(count, key=lambda name: (count[name], name)):
        have = dict.fromkeys(SHARES, 0)
        mine = [i for i, names in enumerate(held) if name in names]
        for i in mine:
            if splits[i]:
                have[splits[i]] += held[i].count(name)
        for i in chance.permutation(mine):
            if splits[i]:
                continue
            if not have["train"]:
                split = "train"  # what is not trained on cannot be found
            elif not have["test"]:
                split = "test"
            else:
                split = min(SHARES, key=lambda split: have[split] / SHARES[split])
            splits[i] = split
            have[split] += held[i].count(name)
    return splits


def _fingerprint(name: str, factor: float, size: int, seed: int) -> dict[str, object]:
    """What the pixels depend on: the settings and the code that draws."""
    code = hashlib.sha256()
    for part in ("synthetic.py", "marks.py", "seed_counts.csv", "seed_totals.csv"):
        code.update((files("aoi_tl.data") / part).read_bytes())
    return {
        "set": name,
        "factor": factor,
        "size": size,
        "seed": seed,
        "images": demo_images(factor)[name],
        "generator": code.hexdigest(),
    }


def _is_drawn(folder: Path, fingerprint: dict[str, object]) -> bool:
    """Whether a set lies there whole and as asked; anything not ours in the way is refused."""
    if not folder.exists():
        return False
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(
            f"expected a drawn dataset or nothing at {folder}, got a folder without {_RECORD}; "
            "name another folder for the drawn sets"
        ) from None
    images = sum(1 for _ in folder.glob("images/*/*.jpg"))
    return record == fingerprint and images == fingerprint["images"]


def _write_set(job: tuple[Path, str, float, int, int]) -> None:
    """Draw one dataset beside its place, then move it there in one step."""
    folder, name, factor, size, seed = job
    counts, images = demo_counts(factor)[name], demo_images(factor)[name]
    number = zlib.crc32(name.encode())
    chance = np.random.default_rng([seed, number])
    held = _share_out(counts, images, chance)
    splits = _split(held, chance)
    # Evenly spaced exposures in random order: a small set has the same histogram as a large one.
    exposures = chance.permutation((np.arange(images) + 0.5) / images * 2 - 1)
    ids = {label: k for k, label in enumerate(counts)}
    built = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    try:
        used = [split for split in SHARES if split in splits]
        for split in used:
            (built / "images" / split).mkdir(parents=True)
            (built / "labels" / split).mkdir(parents=True)
        for index, (names, split) in enumerate(zip(held, splits, strict=True)):
            drawn = draw_tile(
                name, names, np.random.default_rng([seed, number, index]), exposures[index], size
            )
            stem = f"{name}-{index + 1:05d}"
            # Encoded in memory: OpenCV's own writing does not take every path on every system.
            jpeg = cv2.imencode(".jpg", drawn.image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            (built / "images" / split / f"{stem}.jpg").write_bytes(jpeg.tobytes())
            rows = []
            for label, (x0, y0, x1, y1) in zip(drawn.classes, drawn.boxes / size, strict=True):
                rows.append(
                    f"{ids[label]} {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} "
                    f"{x1 - x0:.6f} {y1 - y0:.6f}\n"
                )
            (built / "labels" / split / f"{stem}.txt").write_text("".join(rows), encoding="utf-8")
        places = "".join(f"{split}: images/{split}\n" for split in used)
        if "val" not in used:  # too few images for one; Ultralytics wants the key
            places += "val: images/train  # no image left for validation\n"
        listing = "".join(f"  {k}: {label}\n" for label, k in ids.items())
        (built / "data.yaml").write_text(
            f"# {name} of the seed paper's Table 1 in miniature: drawn, not photographed.\n"
            f"{places}"
            f"names:\n{listing}",
            encoding="utf-8",
        )
        record = _fingerprint(name, factor, size, seed)
        (built / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        built.chmod(0o755)  # mkdtemp is private; a dataset is for everybody
        place = folder / name
        if place.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{name}-old-", dir=folder))
            place.replace(old / name)
            built.replace(place)
            shutil.rmtree(old)
        else:
            built.replace(place)
    except BaseException:
        shutil.rmtree(built, ignore_errors=True)
        raise
