from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize

from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.ranking.detector_measures import (
    h_score,
    log_me,
    nearest_neighbours,
    predictions_of,
    regions_of,
)
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.measures import MEASURES
from aoi_tl.similarity.signature import Signature
from aoi_tl.transfer.detector import new_model, save_checkpoint
from aoi_tl.transfer.detectors import find_kept
from aoi_tl.transfer.viewing import View, view_images
from tests.drawn import draw_dataset

pytestmark = pytest.mark.slow

GREY = Signature([[99, 99, 99]], [1])


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("target")
    dataset = load_dataset(draw_dataset(folder, {"dent": 2, "crack": 2}, ("train",)))
    return Domain("t", dataset.counts, 5, GREY, 0, dataset.names, dataset.samples)


def view(target, names, boxes):
    """A view with these (image, class, confidence, box) and features without meaning."""
    n = len(target.box_classes)
    image, class_id, confidence, box = zip(*boxes, strict=True)
    return View(
        names, np.array(image), np.array(class_id), np.array(confidence, float),
        np.array(box, float), np.eye(n), np.zeros((2, n)), np.zeros((5, n)),
    )


def truth(target):
    found = []
    for number, sample in enumerate(target.labelled):
        x, y, w, h = sample.boxes[0]
        box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        found.append((number, int(sample.classes[0]), 0.9, box))
    return found


def test_a_perfect_detector_scores_one_by_name_whatever_the_order_of_classes(target):
    boxes = [(i, 1 - c, conf, box) for i, c, conf, box in truth(target)]
    found = predictions_of(target, view(target, (" CRACK", "Dent"), boxes))
    assert found.correct.all()
    assert found.class_id.tolist() == [c for _, c, _, _ in truth(target)]


def test_classes_of_no_interest_go_unless_blind(target):
    seen = view(target, ("burr",), [(i, 0, conf, box) for i, _, conf, box in truth(target)])
    assert len(predictions_of(target, seen).class_id) == 0
    assert predictions_of(target, seen, blind=True).correct.all()


def test_blind_counts_two_classes_of_one_place_once(target):
    boxes = [(i, c, conf - 0.1 * c, box) for i, _, conf, box in truth(target) for c in (0, 1)]
    found = predictions_of(target, view(target, ("a", "b"), boxes), blind=True)
    assert found.correct[:, 0].sum() == len(target.box_classes)


def test_regions_count_background_as_a_class(target):
    features, classes = regions_of(target, view(target, ("dent",), truth(target)[:1]))
    assert len(features) == len(target.box_classes) + 2
    assert sorted(set(classes.tolist())) == [0, 1, 2]


def test_log_me_is_the_maximum_of_the_evidence():
    chance = np.random.default_rng(0)
    features = chance.normal(size=(12, 3))
    classes = (features[:, 0] + 0.3 * chance.normal(size=12) > 0).astype(int)

    def evidence(logs, y):
        alpha, beta = np.exp(logs)
        covariance = np.eye(12) / beta + features @ features.T / alpha
        _, log_determinant = np.linalg.slogdet(covariance)
        return 0.5 * (12 * np.log(2 * np.pi) + log_determinant
                      + y @ np.linalg.solve(covariance, y)) / 12

    best = [-minimize(evidence, [0, 0], args=((classes == c).astype(float),)).fun for c in (0, 1)]
    assert log_me(features, classes) == pytest.approx(np.mean(best), abs=1e-5)


def test_h_score_and_neighbours_tell_apart_from_mixed():
    chance = np.random.default_rng(0)
    classes = np.repeat([0, 1], 40)
    apart = chance.normal(size=(80, 4)) + 8 * classes[:, None]
    mixed = chance.normal(size=(80, 4))
    assert 0.8 < h_score(apart, classes) <= 1
    assert h_score(mixed, classes) < 0.2
    turned = np.column_stack([np.where(classes, 1, -1), chance.normal(scale=0.1, size=80)])
    assert nearest_neighbours(turned, classes) == 1
    assert nearest_neighbours(mixed, classes) < 0.75


def test_one_look_gives_every_measure(target, tmp_path):
    checkpoint = tmp_path / "detector.pt"
    save_checkpoint(new_model("yolov8n.yaml", ["dent", "burr"], 0), checkpoint)
    seen = view_images(checkpoint, target.labelled, 64)
    assert seen.regions.shape[0] == len(target.box_classes)
    assert seen.whole.shape == (len(target.labelled), seen.regions.shape[1])
    assert ((seen.box >= 0) & (seen.box <= 1)).all()
    source = Domain("s", {"dent": 1}, 1, GREY, detector=checkpoint)
    source._views[id(target)] = seen
    for name in ("zero-shot", "zero-shot-f1", "class-blind", "logme", "h-score", "knn", "energy"):
        found = MEASURES[name](target, source)
        assert found.undefined is None
        assert np.isfinite(found.value)
        assert found.low <= found.high  # over the images
    assert "of your 4 labelled defects" in MEASURES["zero-shot"](target, source).words


def test_says_why_there_is_no_value(target, tmp_path):
    found = MEASURES["zero-shot"](target, Domain("s", {"dent": 1}, 1, GREY))
    assert found.undefined == "no detector of this source is kept"
    source = Domain("s", {"dent": 1}, 1, GREY, detector=tmp_path / "d.pt")
    source._views[id(target)] = view(target, ("burr",), [(0, 0, 0.5, (0, 0, 1, 1))])
    assert "none of your classes" in str(MEASURES["zero-shot"](target, source).undefined)
    bare = Domain("t", {"dent": 1}, 1, GREY)
    assert "no labelled training image" in str(MEASURES["knn"](bare, source).undefined)


def test_a_kept_detector_is_found_by_its_data(tmp_path):
    for number, contents in enumerate((["a"], ["a", "b"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "best.pt").touch()
        (folder / "detector.json").write_text(json.dumps({"contents": contents}))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "detector.json").write_text("{")
    assert find_kept(["a"], tmp_path) == tmp_path / "0" / "best.pt"
    assert find_kept(["b", "a"], tmp_path) == tmp_path / "1" / "best.pt"
    assert find_kept(["c"], tmp_path) is None


def test_no_sample_is_its_own_neighbour():
    # Of three samples the two others decide: 0 and 1 tie, which the lower class wins.
    assert nearest_neighbours(np.eye(3) + 1, [0, 1, 1]) == 0
