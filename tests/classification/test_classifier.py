from __future__ import annotations

import numpy as np
import pytest
import torch

from aoi_tl.classification.batches import Pixels
from aoi_tl.classification.classifier import build_classifier, predict, recalibrate, save_classifier


def test_target_head_starts_the_same_whatever_the_source_is(make_classifier) -> None:
    one, other = make_classifier(n_source=3), make_classifier(n_source=9)
    assert torch.equal(one.heads["target"].weight, other.heads["target"].weight)


def test_shared_head_reads_both_domains_and_needs_the_same_classes(make_encoder) -> None:
    classifier = build_classifier(make_encoder(), 4, 4, "shared")
    assert classifier.head("source") is classifier.head("target")
    with pytest.raises(ValueError, match="as many source as target classes"):
        build_classifier(make_encoder(), 4, 3, "shared")


def test_prediction_sums_to_one_in_batches_of_any_size_and_leaves_the_mode(make_classifier) -> None:
    classifier = make_classifier()
    values = np.random.default_rng(0).integers(0, 255, (7, 1, 16, 16)).astype(np.uint8)
    pixels = Pixels(values, np.zeros(7, np.int64))
    chances = predict(classifier, pixels, batch=3)
    assert chances.shape == (7, 4)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(chances, predict(classifier, pixels, batch=64), rtol=1e-5)
    assert classifier.encoder.training


def test_recalibration_measures_the_target_and_touches_no_parameter(
    make_classifier, make_stream
) -> None:
    classifier, stream = make_classifier(), make_stream(4)
    parameters = [p.detach().clone() for p in classifier.module.parameters()]
    recalibrate(classifier, stream, batches=4)
    with torch.no_grad():
        seen = [classifier.encoder[0](stream.at(step)[0]) for step in range(4)]
    expected = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in seen]).mean(dim=0)
    torch.testing.assert_close(classifier.encoder[1].running_mean, expected)
    for before, after in zip(parameters, classifier.module.parameters(), strict=True):
        assert torch.equal(before, after)
    assert classifier.encoder[1].momentum == 0.1


def test_kept_classifier_is_plain_tensors(tmp_path, make_classifier) -> None:
    classifier = make_classifier()
    save_classifier(classifier, tmp_path / "model.pt", classes=["a", "b", "c", "d"], image_size=16)
    found = torch.load(tmp_path / "model.pt", weights_only=True)
    assert found["classes"] == ["a", "b", "c", "d"]
    other = make_classifier()
    other.module.load_state_dict(found["state"])
    assert torch.equal(other.heads["target"].weight, classifier.heads["target"].weight)
