from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoi_tl.evaluation.predictions import (
    IOUS,
    Predictions,
    Scorer,
    match_boxes,
    read_predictions,
    score_split,
)


def made(
    truth: list[tuple[int, int]], found: list[tuple[int, int, float, bool]], n_images: int
) -> Predictions:
    """Truth as (image, class); predictions as (image, class, confidence, right)."""
    return Predictions(
        ("pit", "scratch"), tuple(f"{i}.png" for i in range(n_images)),
        np.array([t[0] for t in truth], np.int64), np.array([t[1] for t in truth], np.int64),
        np.tile([0.1, 0.1, 0.2, 0.2], (len(truth), 1)),
        np.array([f[0] for f in found], np.int64), np.array([f[1] for f in found], np.int64),
        np.array([f[2] for f in found], float), np.tile([0.1, 0.1, 0.2, 0.2], (len(found), 1)),
        np.repeat(np.array([f[3] for f in found], bool)[:, None], 10, axis=1).reshape(-1, 10),
    )


def test_average_precision_by_hand() -> None:
    # Right, wrong, right of two true boxes: precision 1 up to recall 1/2, then 2/3 up to 1.
    one = made([(0, 0), (1, 0)], [(0, 0, 0.9, True), (0, 0, 0.8, False), (1, 0, 0.7, True)], 2)
    # On the 101 recalls: fifty times 1, fifty times 2/3, and 0 at the very end.
    expected = (50 + 50 * 2 / 3 - 1 / 2) / 100
    assert score_split(one).map50 == pytest.approx(expected, abs=1e-12)
    assert score_split(one).map50 == score_split(one).map50_95


def test_a_class_without_predictions_counts_as_zero_and_one_without_truth_not_at_all() -> None:
    one = made([(0, 0), (0, 1)], [(0, 0, 0.9, True)], 1)
    assert score_split(one).map50 == pytest.approx(0.995 / 2)  # Ultralytics' perfect score is 0.995
    other = made([(0, 0)], [(0, 0, 0.9, True), (0, 1, 0.9, False)], 1)
    assert score_split(other).map50 == pytest.approx(0.995)


def test_nothing_there_is_zero() -> None:
    nothing = score_split(made([], [], 1))
    assert (nothing.f1, nothing.map50, nothing.map50_95) == (0.0, 0.0, 0.0)


def test_torchmetrics_agrees_on_overlapping_boxes() -> None:
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchmetrics.detection")
    rng = np.random.default_rng(3)
    truth, found, target, preds = [], [], [], []
    rows = []
    for image in range(12):
        corner = rng.uniform(0, 0.6, (4, 2))
        boxes = np.hstack([corner, corner + rng.uniform(0.1, 0.3, (4, 2))])
        classes = rng.integers(0, 2, 4)
        guess = boxes + rng.normal(0, 0.02, boxes.shape)
        confidence = rng.uniform(0.1, 1, 4)
        target.append({"boxes": torch.tensor(boxes), "labels": torch.tensor(classes)})
        preds.append({"boxes": torch.tensor(guess), "labels": torch.tensor(classes),
                      "scores": torch.tensor(confidence)})
        truth += [(image, c) for c in classes]
        found += [(image, c, s, False) for c, s in zip(classes, confidence, strict=True)]
        rows.append(match_boxes(classes, boxes, classes, guess))
    predictions = made(truth, found, 12)
    predictions.correct[:] = np.concatenate(rows)
    metric = detection.MeanAveragePrecision(iou_type="bbox")
    metric.update(preds, target)
    # COCO's interpolation takes steps where Ultralytics' takes a trapezoid.
    assert score_split(predictions).map50 == pytest.approx(float(metric.compute()["map_50"]),
                                                           abs=0.02)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4), st.integers(0, 99))
def test_a_multiplicity_is_the_split_with_its_images_repeated(times: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = [(int(i), int(c)) for i, c in rng.integers(0, [4, 2], (6, 2))]
    found = [(int(i), int(c), float(s), bool(s > 0.4))
             for (i, c), s in zip(rng.integers(0, [4, 2], (9, 2)),
                                  rng.permutation(np.linspace(0.1, 0.9, 9)), strict=True)]
    weighted = Scorer(made(truth, found, 4)).scores(times)
    place, n = {}, 0
    for image, count in enumerate(times):
        place[image] = range(n, n + count)
        n += count
    repeated = score_split(made(
        [(copy, c) for i, c in truth for copy in place[i]],
        [(copy, c, s, r) for i, c, s, r in found for copy in place[i]], n,
    ))
    # Repeated rows share a confidence: between them the curve has points that weights skip.
    assert weighted.map50 == pytest.approx(repeated.map50, abs=0.06)
    if set(times) <= {0, 1}:
        assert weighted.map50 == pytest.approx(repeated.map50, abs=1e-12)
        assert weighted.f1 == pytest.approx(repeated.f1, abs=1e-12)


def test_matching_takes_the_best_pair_first_and_no_box_twice() -> None:
    true, found = [[0, 0, 10, 10]], [[0, 0, 10, 6], [0, 0, 10, 9]]
    assert match_boxes([0], true, [0, 0], found, [0.5]).ravel().tolist() == [False, True]
    assert match_boxes([0], true, [1, 0], found[::-1], [0.5]).ravel().tolist() == [False, True]
    assert match_boxes([], [], [0], [[0, 0, 1, 1]]).tolist() == [[False] * len(IOUS)]


def test_predictions_survive_their_file() -> None:
    one = made([(0, 0), (1, 1)], [(0, 0, 0.9, True), (1, 1, 0.2, False)], 2)
    again = read_predictions(one.to_bytes())
    assert (again.names, again.images) == (one.names, one.images)
    assert np.array_equal(again.correct, one.correct)
    assert np.array_equal(again.box, one.box)
    with pytest.raises(ValueError, match="expected stored predictions"):
        read_predictions(b"no file")
