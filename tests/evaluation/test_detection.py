from __future__ import annotations

import numpy as np
import pytest
import torch

from aoi_tl.evaluation.detection import detection_scores, f1_curve, smooth

GRID = np.linspace(0, 1, 1000)


def scores_of(precision: np.ndarray, recall: np.ndarray, ap: np.ndarray):
    k = len(precision)
    names = [f"class {i}" for i in range(k)]
    return detection_scores(GRID, precision, recall, ap, names, [3] * k, [2] * k)


def test_flat_curves_by_hand() -> None:
    """Precision 0.5 and recall 1 everywhere: F1 2/3, the first confidence is the peak."""
    scores = scores_of(np.full((1, 1000), 0.5), np.ones((1, 1000)), np.full((1, 10), 0.3))
    assert scores.f1 == pytest.approx(2 / 3)
    assert (scores.precision, scores.recall) == (0.5, 1.0)
    assert (scores.map50, scores.map50_95) == pytest.approx((0.3, 0.3))
    only = scores.per_class[0]
    assert (only.name, only.images, only.instances) == ("class 0", 2, 3)
    assert only.f1 == pytest.approx(2 / 3)


def test_the_peak_is_that_of_the_class_mean() -> None:
    """One class peaks at 0.2, the other, higher, at 0.7: the mean's peak is the second's."""
    recall = np.ones((2, 1000))
    precision = np.stack(
        [0.4 * np.exp(-(((GRID - at) / 0.05) ** 2)) * height for at, height in ((0.2, 1), (0.7, 2))]
    )
    ap = np.stack([np.linspace(0.9, 0.0, 10), np.zeros(10)])
    scores = scores_of(precision, recall, ap)
    assert scores.f1_conf == pytest.approx(0.7, abs=0.002)
    peak = int(np.argmin(abs(GRID - scores.f1_conf)))
    assert scores.precision == pytest.approx(precision[:, peak].mean())
    assert scores.f1 < f1_curve(precision, recall).mean(axis=0).max()  # smoothed
    assert scores.map50 == pytest.approx(0.45)
    assert scores.map50_95 == pytest.approx(0.225)
    assert [row.map50 for row in scores.per_class] == [0.9, 0.0]


def test_a_lone_spike_does_not_make_the_peak() -> None:
    precision = np.full((1, 1000), 0.5)
    precision[0, 900] = 1.0
    precision[0, 300:500] = 0.6
    scores = scores_of(precision, np.full((1, 1000), 0.5), np.zeros((1, 10)))
    assert 0.3 < scores.f1_conf < 0.5


def test_no_class_and_nothing_found() -> None:
    nothing = detection_scores(GRID, np.zeros((0, 1000)), np.zeros((0, 1000)), [], [], [], [])
    assert (nothing.f1, nothing.map50, nothing.per_class) == (0.0, 0.0, ())
    blind = scores_of(np.zeros((2, 1000)), np.zeros((2, 1000)), np.zeros((2, 10)))
    assert (blind.f1, blind.recall, blind.map50_95) == (0.0, 0.0, 0.0)


def test_shapes_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 1000\).*got \(1, 999\)"):
        detection_scores(GRID, np.zeros((1, 999)), np.zeros((1, 999)), np.zeros((1, 10)),
                         ["a"], [1], [1])
    with pytest.raises(ValueError, match=r"\(1, 10\)"):
        scores_of(np.zeros((1, 1000)), np.zeros((1, 1000)), np.zeros((1, 5)))


def test_smoothing_keeps_length_and_constants() -> None:
    rng = np.random.default_rng(0)
    curve = rng.random(1000)
    assert smooth(curve).shape == (1000,)
    assert np.allclose(smooth(np.full(1000, 0.3)), 0.3)
    assert smooth(curve).std() < curve.std() / 5
    # The same window as the F1 plots of Ultralytics.
    from ultralytics.utils.metrics import smooth as theirs

    assert np.array_equal(smooth(curve), theirs(curve, 0.1))


def boxes_around(rng: np.random.Generator, truth: torch.Tensor, blur: float) -> torch.Tensor:
    return truth + torch.from_numpy(rng.normal(0, blur, truth.shape)).float()


def test_map_agrees_with_torchmetrics() -> None:
    """Second opinion on 40 images of boxes found roughly, missed and made up.

    The two integrate the precision-recall curve differently (trapezoids over 101 recalls, against
    the mean of 101 precisions), hence the tolerance.
    """
    from torchmetrics.detection import MeanAveragePrecision
    from ultralytics.models.yolo.detect import DetectionValidator
    from ultralytics.utils.metrics import ap_per_class, box_iou

    rng = np.random.default_rng(3)
    matcher = DetectionValidator.__new__(DetectionValidator)
    matcher.iouv = torch.linspace(0.5, 0.95, 10)
    opinion = MeanAveragePrecision(iou_type="bbox", max_detection_thresholds=[1, 10, 100])
    rows: dict[str, list[np.ndarray]] = {"tp": [], "conf": [], "pred": [], "target": []}
    for _ in range(40):
        n = int(rng.integers(1, 6))
        corner = torch.from_numpy(rng.uniform(0, 200, (n, 2))).float()
        size = torch.from_numpy(rng.uniform(30, 60, (n, 2))).float()
        truth = torch.cat([corner, corner + size], 1)
        classes = torch.from_numpy(rng.integers(0, 3, n))
        found = torch.from_numpy(rng.random(n) < 0.8)
        boxes = torch.cat([boxes_around(rng, truth[found], 4.0), boxes_around(rng, truth, 25.0)])
        labels = torch.cat([classes[found], classes])
        conf = torch.from_numpy(rng.permutation(len(boxes)) / len(boxes) * 0.5).float()
        conf[: int(found.sum())] += 0.4
        conf += torch.from_numpy(rng.random(len(boxes)) * 0.01).float()
        order = conf.argsort(descending=True)
        boxes, labels, conf = boxes[order], labels[order], conf[order]
        matched = matcher.match_predictions(labels, classes, box_iou(truth, boxes))
        for key, value in zip(rows, (matched, conf, labels, classes), strict=True):
            rows[key].append(value.numpy())
        opinion.update(
            [{"boxes": boxes, "scores": conf, "labels": labels}],
            [{"boxes": truth, "labels": classes}],
        )
    joined = [np.concatenate(value) for value in rows.values()]
    _, _, _, _, _, ap, index, precision, recall, _, grid, _ = ap_per_class(*joined)
    scores = detection_scores(
        grid, precision, recall, ap, [str(i) for i in index], np.bincount(joined[3]), [1] * 3
    )
    second = opinion.compute()
    assert 0.3 < scores.map50 < 0.95
    assert scores.map50 == pytest.approx(float(second["map_50"]), abs=0.01)
    assert scores.map50_95 == pytest.approx(float(second["map"]), abs=0.01)
