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
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from aoi_tl.errors import DataError
from aoi_tl.synthetic.drawn_defects import DRAWN_DEFECTS
from aoi_tl.synthetic.tiles import STYLES, draw_tile

#: One drawn image or box stands for this many published ones, inverted.
FACTOR = 1 / 8
#: Width and height of a drawn image in pixels.
SIZE = 160
#: Shares of a set's images per split.
SHARES = {"train": 0.5, "val": 0.2, "test": 0.3}

_MOST = 3  # defects on one tile
_RECORD = "drawn.json"


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
    """Draw the eleven datasets as plain Ultralytics datasets, or reuse drawn ones.

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
            try:
                for job, _ in zip(jobs, pool.map(_write_set, jobs), strict=True):
                    report(job[1])
            except BaseException:  # an interrupt too: draw no further sets before going
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    else:
        for job in jobs:
            _write_set(job)
            report(job[1])
    return [folder / name / "data.yaml" for name in STYLES]


# --- one dataset ----------------------------------------------------------------------------


def _table(name: str) -> list[dict[str, str]]:
    text = (files("aoi_tl.synthetic") / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _share_out(
    counts: dict[str, int], images: int, chance: np.random.Generator
) -> list[tuple[str, ...]]:
    """The defects of each image: at least one, the rest at random."""
    defects = [name for name, count in counts.items() for _ in range(count)]
    order = chance.permutation(len(defects))
    held: list[list[str]] = [[defects[k]] for k in order[:images]]
    for k in order[images:]:
        # At most one corner mark: two might want the same corner.
        corner = DRAWN_DEFECTS[defects[k]].place == "corner"
        open_ = [
            i
            for i, held_here in enumerate(held)
            if len(held_here) < _MOST
            and not (corner and any(DRAWN_DEFECTS[name].place == "corner" for name in held_here))
        ]
        pool = open_ or range(images)
        held[pool[int(chance.integers(len(pool)))]].append(defects[k])
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
    """A hash of everything the pixels depend on: the settings and the drawing code."""
    code = hashlib.sha256()
    for part in (
        "demo_datasets.py", "tiles.py", "drawn_defects.py", "seed_counts.csv", "seed_totals.csv",
    ):
        code.update((files("aoi_tl.synthetic") / part).read_bytes())
    return {
        "set": name,
        "factor": factor,
        "size": size,
        "seed": seed,
        "images": demo_images(factor)[name],
        "generator": code.hexdigest(),
    }


def _is_drawn(folder: Path, fingerprint: dict[str, object]) -> bool:
    """Whether a complete set with these settings exists; other files there are refused."""
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
    """Draw one dataset in a temporary folder, then move it in one step."""
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
            shutil.rmtree(old)
        try:
            built.replace(place)
        except OSError:
            if not _is_drawn(place, record):
                raise
            shutil.rmtree(built)  # another process drew the same meanwhile
    except BaseException:
        shutil.rmtree(built, ignore_errors=True)
        raise
