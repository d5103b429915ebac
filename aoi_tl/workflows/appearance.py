"""The appearance of the datasets of a comparison: pictures and tables for the run's page.

They are kept in the run folder under ``appearance/``, so that the page can be made again without
the data: ``signatures.csv``, ``flows.csv``, ``boxes.csv``, ``images.csv``, ``labels.csv`` and
pictures as WebP. Of a target only the train and val splits are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.summary import Summary
from aoi_tl.files.run_folder import RunFolder
from aoi_tl.ranking.comparison import read_labelled
from aoi_tl.workflows.progress import Progress, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aoi_tl.similarity.signature import Signature

SOURCES = 100  # sources that are looked at, in rank order
SAMPLES = 4  # pictures of each dataset on its card
LOOKED_AT = 100  # images of each dataset whose labels are read for its box sizes
MAPPED = 40  # images of each dataset on the map
MAPPED_SOURCES = 3  # sources on the map, the picked one among them
SIDE = 240  # pixels of a kept picture's longer side


def keep_appearance(
    run: RunFolder,
    target: Dataset | Summary | None,
    sources: Sequence[Dataset | Summary],
    signatures: Mapping[str, Signature],
    picked: Iterable[str] = (),
    progress: Progress = silent,
) -> None:
    """Keep the pictures and tables that the page of a comparison shows of its datasets.

    Parameters
    ----------
    run : RunFolder
        Gets the folder ``appearance/``.
    target : Dataset or Summary or None
        None where every dataset is a target in turn.
    sources : sequence of the same
        In rank order; the first 100 are looked at.
    signatures : mapping of str to Signature
        Of the datasets, by name.
    picked : iterable of str
        Names of the sources that the ranking picks: they are on the map.
    progress : callable
        Progress callback.
    """
    import pandas as pd

    seen = [] if target is None else [target.split("train", "val")]
    chosen = list(picked)
    sources = sorted(sources, key=lambda source: source.name not in chosen)[:SOURCES]
    seen += sources
    signatures = {d.name: signatures[d.name] for d in seen if d.name in signatures}
    on_map = {dataset.name for dataset in seen[: MAPPED_SOURCES + 1]} if target else set()
    boxes: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    features: list[NDArray[np.float64] | None] = []
    for done, dataset in enumerate(seen):
        progress("keeping sample pictures", done, len(seen))
        looked_at = read_labelled(dataset, LOOKED_AT)
        boxes += _box_rows(dataset, looked_at)
        cards = set(map(id, _telling(looked_at, SAMPLES)))
        mapped = {id(s) for s in _spread(looked_at, MAPPED)} if dataset.name in on_map else set()
        for sample in looked_at:
            if id(sample) not in cards | mapped:
                continue
            name = f"{done:03d}-{len(images):05d}"
            pixels = _picture(run, name, sample)
            if pixels is None:
                continue
            features.append(_features(pixels) if id(sample) in mapped else None)
            images.append({
                "picture": name, "dataset": dataset.name, "image": sample.image.name,
                "split": sample.split, "sample": int(id(sample) in cards),
            })
            labels += [
                {"picture": name, "class": dataset.names[label], "x": x, "y": y, "width": w,
                 "height": h}
                for label, (x, y, w, h) in zip(sample.classes, sample.boxes.round(5).tolist(),
                                               strict=True)
            ]
    progress("keeping sample pictures", len(seen), len(seen))
    for row, place in zip(images, _places(features), strict=True):
        row |= {"map_x": place[0], "map_y": place[1]} if place else {"map_x": None, "map_y": None}
    for name, rows, columns in (
        ("signatures", _signature_rows(signatures),
         ["dataset", "cluster", "red", "green", "blue", "weight"]),
        ("flows", _flow_rows(signatures, target, sources),
         ["source", "cluster", "target_cluster", "amount", "distance"]),
        ("boxes", boxes, ["dataset", "class", "size", "aspect"]),
        ("labels", labels, ["picture", "class", "x", "y", "width", "height"]),
        ("images", images, ["picture", "dataset", "image", "split", "sample", "map_x", "map_y"]),
    ):
        run.write_table(f"appearance/{name}.csv", pd.DataFrame(rows, columns=columns))


def _spread(items: Sequence[Any], number: int) -> list[Any]:
    if number >= len(items):
        return list(items)
    return [items[i * len(items) // number] for i in range(number)]


def _telling(samples: Sequence[Sample], number: int) -> list[Sample]:
    """Choose samples that show as many classes as possible, those with boxes first."""
    chosen: list[Sample] = []
    left, shown = list(samples), set[int]()
    while left and len(chosen) < number:
        best = max(left, key=lambda s: (len(set(s.classes.tolist()) - shown), len(s.classes) > 0))
        chosen.append(best)
        shown |= set(best.classes.tolist())
        left = [sample for sample in left if sample is not best]
    return chosen


def _picture(run: RunFolder, name: str, sample: Sample) -> NDArray[np.uint8] | None:
    """Keep an image scaled down; None where it cannot be read."""
    from aoi_tl.data.images import read_image
    from aoi_tl.errors import DataError
    from aoi_tl.report.pictures import as_webp, shrink

    try:
        pixels = shrink(read_image(sample.image, sample.depth), SIDE)
    except (DataError, OSError):
        return None
    run.write(f"appearance/{name}.webp", as_webp(pixels, 70))
    return pixels


def _box_rows(dataset: Dataset | Summary, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Give size (root of the area's share) and aspect ratio of boxes, at most 300 of a dataset."""
    from aoi_tl.data.images import image_size
    from aoi_tl.errors import DataError

    rows: list[dict[str, Any]] = []
    for sample in samples:
        if not len(sample.classes) or len(rows) >= 300:
            continue
        try:
            height, width = image_size(sample.image)
        except (DataError, OSError):
            continue
        for label, (_, _, w, h) in zip(sample.classes, sample.boxes, strict=True):
            if w > 0 and h > 0:
                rows.append({
                    "dataset": dataset.name, "class": dataset.names[label],
                    "size": round(float(np.sqrt(w * h)), 5),
                    "aspect": round(float(w * width / (h * height)), 4),
                })
    return rows[:300]


def _features(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Describe an image by histograms: 24 brightness levels, and 8 edge directions in 4 x 4 fields.

    Returns
    -------
    float64 array of shape (152,)
        Square roots of shares, so that distances are Hellinger's.
    """
    import cv2

    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float64)
    levels = np.histogram(small, bins=24, range=(0, 256))[0] / small.size
    dy, dx = np.gradient(small)
    strength, angle = np.hypot(dx, dy), np.mod(np.arctan2(dy, dx), np.pi)
    direction = np.minimum((angle / np.pi * 8).astype(int), 7)
    field = np.add.outer(4 * (np.arange(64) // 16), np.arange(64) // 16)
    edges = np.bincount((8 * field + direction).ravel(), strength.ravel(), minlength=128)
    return np.sqrt(np.concatenate([levels, edges / max(edges.sum(), 1e-9)]))


def _places(features: Sequence[NDArray[np.float64] | None]) -> list[Any]:
    """Place the images that have features by their first two principal components."""
    table = [f for f in features if f is not None]
    if len(table) < 3:
        return [None] * len(features)
    centred = np.array(table) - np.mean(table, axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    # A principal axis has no sign of its own: its largest entry is made positive.
    axes = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    places = iter((centred @ axes.T).round(4).tolist())
    return [None if f is None else tuple(next(places)) for f in features]


def _signature_rows(signatures: Mapping[str, Signature]) -> list[dict[str, Any]]:
    return [
        {"dataset": name, "cluster": cluster, "red": red, "green": green, "blue": blue,
         "weight": round(float(weight), 6)}
        for name, signature in signatures.items()
        for cluster, ((red, green, blue), weight) in enumerate(zip(
            signature.centroids.round(2).tolist(), signature.weights, strict=True))
    ]


def _flow_rows(
    signatures: Mapping[str, Signature], target: Dataset | Summary | None,
    sources: Sequence[Dataset | Summary],
) -> list[dict[str, Any]]:
    """The flow from each colour of a source to each colour of the target, and its distance."""
    from aoi_tl.similarity.emd import earth_movers_distance

    if target is None or target.name not in signatures:
        return []
    rows, wanted = [], signatures[target.name]
    for source in sources:
        if source.name not in signatures:
            continue
        own = signatures[source.name]
        amount = earth_movers_distance(own, wanted, "exact").amount
        for i, j in np.argwhere(amount > 1e-9).tolist():
            rows.append({
                "source": source.name, "cluster": i, "target_cluster": j,
                "amount": round(float(amount[i, j]), 6),
                "distance": round(float(np.linalg.norm(own.centroids[i] - wanted.centroids[j])), 3),
            })
    return rows
