"""Section "Where does it fail?" of a detection: misses, false alarms, confusions on test images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.report.pictures import embed
from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.section import Section
from aoi_tl.report.tables import Table

if TYPE_CHECKING:
    from aoi_tl.evaluation.predictions import Predictions

#: Images of the gallery, at most; those that any arm fails on the most come first.
IMAGES = 60
#: Pixels of the longer side of a picture in the gallery.
_SIDE = 300
#: Boxes found that are drawn on one picture, the most confident first.
_MOST_BOXES = 60
_MATRIX = 25


@dataclass(frozen=True)
class Case:
    """One mistake of a detector.

    Attributes
    ----------
    kind : {"miss", "false alarm", "confusion"}
    image : int
        A position in the list of test images.
    label : str
        The true class; of a false alarm, the class found.
    taken_for : str
        Of a confusion, the class found.
    confidence : float
        Of the box found; 0 for a miss.
    size : float
        Root of the box's share of the image.
    true, given : int or None
        Positions of the true and of the given box among all predictions, where it has one.
    """

    kind: str
    image: int
    label: str
    taken_for: str
    confidence: float
    size: float
    true: int | None = None
    given: int | None = None


def build(tables: RunTables) -> Section | None:
    """Show the mistakes of every arm, of its first seed, at the confidence where its F1 peaks.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section or None
        None where the run kept no predictions, as one made by an earlier version.
    """
    found = {label: p for label, trained in tables.first_seed.items()
             if (p := tables.predictions(trained.stage)) is not None}
    if not found:
        return None
    seed = tables.seeds[0]
    thresholds = _thresholds(tables)
    cases = {arm: mistakes(p, thresholds.get(arm, 0.25)) for arm, p in found.items()}
    return Section("failures", "Where does it fail?", {
        "seed": seed, "arms": list(found),
        "first": next((arm for arm in reversed(found) if cases[arm]), next(iter(found))),
        "counts": _counts(cases, found, thresholds),
        "gallery": _gallery(tables, found, cases, thresholds),
        "confusion": _confusion(found, cases),
    })


def _thresholds(tables: RunTables) -> dict[str, float]:
    """The confidence where the F1 of every arm's first seed peaks."""
    arms = tables.labelled("arms.csv")
    if "f1_conf" not in arms:
        return {}
    rows = arms.drop_duplicates("arm")
    return {str(a): float(c) for a, c in zip(rows["arm"], rows["f1_conf"], strict=True) if c == c}


@dataclass(frozen=True)
class Matched:
    """The boxes of one test image, paired.

    Attributes
    ----------
    true, given : list of int
        Positions of the true and of the given boxes among all predictions.
    hits, confused : list of (int, int)
        Pairs of a true and a given box, of one class and of two.
    """

    true: list[int]
    given: list[int]
    hits: list[tuple[int, int]]
    confused: list[tuple[int, int]]


def match(predictions: Predictions, image: int, threshold: float) -> Matched:
    """Pair the boxes of one image at IoU 0.5, the most confident first.

    Parameters
    ----------
    predictions : Predictions
    image : int
        A position in its images.
    threshold : float
        Boxes of a lower confidence are not counted as found.

    Returns
    -------
    Matched
        Boxes of one class are paired before those of two.
    """
    from aoi_tl.evaluation.predictions import box_iou

    true = np.flatnonzero(predictions.truth_image == image)
    given = np.flatnonzero((predictions.image == image) & (predictions.confidence >= threshold))
    given = given[np.argsort(-predictions.confidence[given], kind="stable")]
    overlap = box_iou(predictions.truth_box[true], predictions.box[given])
    same = predictions.truth_class[true][:, None] == predictions.class_id[given][None]
    rows, columns = set(range(len(true))), set(range(len(given)))
    pairs: list[list[tuple[int, int]]] = [[], []]
    for found, allowed in zip(pairs, (same, ~same), strict=True):
        for j in sorted(columns):
            near = [i for i in sorted(rows) if allowed[i, j] and overlap[i, j] >= 0.5]
            if near:
                best = max(near, key=lambda i: overlap[i, j])
                rows.discard(best)
                columns.discard(j)
                found.append((int(true[best]), int(given[j])))
    return Matched(true.tolist(), given.tolist(), *pairs)


def mistakes(predictions: Predictions, threshold: float) -> list[Case]:
    """Find the misses, false alarms and confusions of a detector at IoU 0.5.

    Parameters
    ----------
    predictions : Predictions
    threshold : float
        Boxes of a lower confidence are not counted as found.

    Returns
    -------
    list of Case
        A true box that a box of another class overlaps by half is a confusion, any other true box
        without its match a miss; a box found without a match or a confusion is a false alarm.
    """
    p, names, cases = predictions, predictions.names, []
    for image in sorted({*p.truth_image.tolist(), *p.image[p.confidence >= threshold].tolist()}):
        matched = match(p, image, threshold)
        used = [*matched.hits, *matched.confused]
        missed = set(matched.true) - {i for i, _ in used}
        alarms = set(matched.given) - {j for _, j in used}
        cases += [
            Case("confusion", image, names[p.truth_class[i]], names[p.class_id[j]],
                 float(p.confidence[j]), _size(p.truth_box[i]), i, j) for i, j in matched.confused
        ]
        cases += [Case("miss", image, names[p.truth_class[i]], "", 0.0, _size(p.truth_box[i]), i)
                  for i in sorted(missed)]
        cases += [Case("false alarm", image, names[p.class_id[j]], "", float(p.confidence[j]),
                       _size(p.box[j]), None, j) for j in sorted(alarms)]
    return cases


def _size(box: np.ndarray) -> float:
    return float(np.sqrt(max(0.0, (box[2] - box[0]) * (box[3] - box[1]))))


def _counts(
    cases: dict[str, list[Case]], found: dict[str, Predictions], thresholds: dict[str, float]
) -> Table:
    rows = []
    for arm, mine in cases.items():
        kinds = Counter(case.kind for case in mine)
        rows.append((
            arm, f"{thresholds.get(arm, 0.25):.2f}", str(len(found[arm].truth_class)),
            *(str(kinds[kind]) for kind in ("miss", "confusion", "false alarm")),
        ))
    return Table(
        "Mistakes of every arm on the test images",
        ("arm", "confidence from", "true boxes", "missed", "taken for another class",
         "false alarms"), tuple(rows),
    )


def _gallery(
    tables: RunTables, found: dict[str, Predictions], cases: dict[str, list[Case]],
    thresholds: dict[str, float],
) -> dict[str, Any] | None:
    """Collect pictures, boxes and cases for the gallery of the page."""
    first = next(iter(found.values()))
    failing = Counter(case.image for mine in cases.values() for case in mine)
    target = str((tables.scores or {}).get("target", ""))
    folder = tables.path / "data" / target / "images" / "test"
    chosen = sorted(failing, key=lambda image: (-failing[image], image))[:IMAGES]
    pictures: list[dict[str, Any]] = []
    place: dict[int, int] = {}
    for image in chosen:
        picture = embed(folder / first.images[image], _SIDE, quality=55)
        if picture is not None:
            place[image] = len(pictures)
            pictures.append({
                "src": picture.src, "name": picture.name, "width": picture.width,
                "height": picture.height,
                "truth": _truth(first, image),
                "found": {arm: _found(p, match(p, image, thresholds.get(arm, 0.25)))
                          for arm, p in found.items()},
            })
    if not pictures:
        return None
    return {
        "names": list(first.names), "pictures": pictures, "failing": len(failing),
        "tested": len(first.images),
        "cases": {
            arm: [_case(c, found[arm], place[c.image]) for c in mine if c.image in place]
            for arm, mine in cases.items()
        },
    }


def _case(case: Case, predictions: Predictions, place: int) -> dict[str, Any]:
    """Give a mistake as the page's script takes it, with the boxes that it is about.

    ``true`` is a place in the picture's true boxes, ``box`` the box found.
    """
    p = predictions
    true = None if case.true is None else \
        int(np.searchsorted(np.flatnonzero(p.truth_image == case.image), case.true))
    return {
        "kind": case.kind, "at": place, "label": case.label, "as": case.taken_for,
        "confidence": round(case.confidence, 3), "size": round(case.size, 4), "true": true,
        "box": None if case.given is None else _given(p, case.given),
    }


def _given(predictions: Predictions, row: int) -> list[float]:
    """Give a box found as left, top, width and height in percent, class and confidence."""
    return [*_percent(predictions.box[row]), int(predictions.class_id[row]),
            round(float(predictions.confidence[row]), 2)]


def _truth(predictions: Predictions, image: int) -> list[list[float]]:
    """Give true boxes as left, top, width and height in percent, and class."""
    rows = np.flatnonzero(predictions.truth_image == image).tolist()
    return [[*_percent(predictions.truth_box[i]), int(predictions.truth_class[i])] for i in rows]


def _found(predictions: Predictions, matched: Matched) -> dict[str, Any]:
    """Give the boxes found, each with class, confidence and whether it is right, and the truth met.
    """
    right = {j for _, j in matched.hits}
    hit = {i for i, _ in matched.hits}
    return {
        "boxes": [
            [*_given(predictions, j), int(j in right)] for j in matched.given[:_MOST_BOXES]
        ],
        "met": [int(i in hit) for i in matched.true],
    }


def _percent(box: np.ndarray) -> list[float]:
    left, top, right, bottom = (100 * box).tolist()
    return [round(left, 1), round(top, 1), round(right - left, 1), round(bottom - top, 1)]


def _confusion(
    found: dict[str, Predictions], cases: dict[str, list[Case]]
) -> list[dict[str, Any]]:
    """Count true classes by the class found, with a column for missed and a row for nothing."""
    matrices = []
    for arm, p in found.items():
        counts = Counter[tuple[str, str]]()
        hits = Counter(p.names[label] for label in p.truth_class.tolist())
        for case in cases[arm]:
            if case.kind == "false alarm":
                counts["(nothing)", case.label] += 1
            else:
                counts[case.label, case.taken_for or "(missed)"] += 1
                hits[case.label] -= 1
        counts.update({(label, label): n for label, n in hits.items()})
        totals = Counter[str]()
        for (label, _), n in counts.items():
            totals[label] += n
        names = [n for n, _ in totals.most_common() if n != "(nothing)"][:_MATRIX]
        columns = [*names, "(missed)"]
        matrices.append({
            "arm": arm, "columns": columns,
            "rows": [
                {"name": row, "cells": [
                    {"n": counts[row, column], "share": counts[row, column] / max(1, totals[row])}
                    for column in columns]}
                for row in [*names, "(nothing)"]
            ],
        })
    return matrices
