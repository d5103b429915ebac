from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aoi_tl.classification.batches import BatchStream
from aoi_tl.classification.classifier import Classifier
from aoi_tl.classification.training import repeat, train
from aoi_tl.errors import RunError


def test_weighted_loss_equals_the_value_by_hand(make_classifier, make_stream) -> None:
    weights = np.array([0.5, 1.0, 2.0, 4.0])
    stream = make_stream(4)
    classifier = make_classifier()
    images, labels = stream.at(0)
    with torch.no_grad():
        logits = classifier.logits(images)  # in training mode, as train sees them
    chances = np.exp(logits.numpy().astype(float))
    chances /= chances.sum(axis=1, keepdims=True)
    losses = -np.log(chances[np.arange(len(labels)), labels.numpy()])
    by_hand = (weights[labels] * losses).sum() / weights[labels].sum()
    history = train(make_classifier(), ["target"], {"target": stream},
                    class_weights={"target": weights})
    assert history.loss[0] == pytest.approx(by_hand, rel=1e-5)
    assert by_hand != pytest.approx(losses.mean(), rel=1e-3)


def test_joint_head_tells_the_domains_classes_apart_from_each_other(
    make_classifier, make_stream
) -> None:
    classifier = make_classifier("joint")
    assert classifier.heads["joint"].out_features == 7
    images, labels = make_stream(3).at(0)
    logits, first = classifier.training_logits(images, "source")
    assert (logits.shape[1], first) == (7, 4)
    assert classifier.logits(images, "target").shape[1] == 4
    history = train(classifier, ["source"], {"source": make_stream(3)},
                    class_weights={"source": np.ones(3)})
    expected = torch.nn.functional.cross_entropy(logits, labels + 4)
    assert history.loss[0] == pytest.approx(float(expected.detach()), rel=1e-5)


def test_training_learns_what_can_be_learnt(make_classifier, make_stream) -> None:
    history = train(make_classifier(), repeat("target", 150), {"target": make_stream(4)},
                    learning_rate=0.03)
    assert np.mean(history.loss[-10:]) < 0.5 * np.mean(history.loss[:10])


def test_history_names_every_step_and_joint_steps_twice(make_classifier, make_stream) -> None:
    history = train(make_classifier(), ["source", "joint", "target"],
                    {"target": make_stream(4), "source": make_stream(3)})
    assert history.step == (0, 1, 1, 2)
    assert history.domain == ("source", "target", "source", "target")
    assert 0 < history.waiting < history.seconds
    assert history.waiting_share == history.waiting / history.seconds


def test_broken_off_training_goes_on_to_the_same_weights(
    tmp_path: Path, make_classifier, make_stream
) -> None:
    steps = ["source", "source", "target", "joint"] * 3
    streams = {"target": make_stream(4), "source": make_stream(3)}
    whole = make_classifier()
    reference = train(whole, steps, streams)

    def stop_at_seven(done: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_classifier(), steps, streams, checkpoint=tmp_path / "last.pt", every=5,
              progress=stop_at_seven)
    resumed = make_classifier()
    seen: list[int] = []
    history = train(resumed, steps, streams, checkpoint=tmp_path / "last.pt", every=5,
                    progress=seen.append)
    assert seen[0] == 6  # five steps were kept
    assert history.loss == reference.loss
    for name, value in resumed.module.state_dict().items():
        assert torch.equal(value, whole.module.state_dict()[name]), name


def test_state_of_another_training_is_refused(
    tmp_path: Path, make_classifier, make_stream
) -> None:
    streams = {"target": make_stream(4)}
    train(make_classifier(), ["target"] * 2, streams, checkpoint=tmp_path / "last.pt", every=1)
    with pytest.raises(RunError, match="2 steps instead of 3"):
        train(make_classifier(), ["target"] * 3, streams, checkpoint=tmp_path / "last.pt")


def test_loss_that_is_no_number_stops_with_a_cure(make_classifier, make_stream) -> None:
    with pytest.raises(RunError, match="lower the learning rate"):
        train(make_classifier(normalise=False), ["target"] * 60, {"target": make_stream(4)},
              learning_rate=1e30)


def test_factors_of_the_stream_decide_what_is_trained_on(make_stream) -> None:
    stream = replace(make_stream(4), factors={3: 4})
    places = np.concatenate([stream.places(step) for step in range(7)])  # two epochs of 21
    labels = stream.pixels.labels[places]
    assert np.bincount(labels).tolist() == [6, 6, 6, 24]


@pytest.mark.parametrize("encoder_rate", [0.0, 0.01])
def test_an_encoder_is_frozen_or_slower(
    make_classifier: Callable[..., Classifier], make_stream: Callable[..., BatchStream],
    encoder_rate: float,
) -> None:
    classifier = make_classifier()
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    train(classifier, ("target",) * 3, {"target": make_stream(4)}, encoder_rate=encoder_rate)
    moved = {name: float((value - before[name]).abs().max())
             for name, value in classifier.module.state_dict().items()
             if name.endswith(("weight", "bias", "running_mean"))}
    assert moved["heads.target.weight"] > 1e-3
    if encoder_rate == 0:  # its statistics are kept as well
        assert all(change == 0 for name, change in moved.items() if name.startswith("encoder."))
    else:
        # Adam's steps are at most about the rate: 3 steps of 0.01 * 0.001.
        assert 0 < moved["encoder.0.weight"] < 5e-5


def test_statistics_are_kept_while_the_encoder_learns(
    make_classifier: Callable[..., Classifier], make_stream: Callable[..., BatchStream]
) -> None:
    classifier = make_classifier()
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    train(classifier, ("target",) * 2, {"target": make_stream(4)}, frozen_statistics=True)
    after = classifier.module.state_dict()
    assert torch.equal(after["encoder.1.running_mean"], before["encoder.1.running_mean"])
    assert torch.equal(after["encoder.1.running_var"], before["encoder.1.running_var"])
    assert not torch.equal(after["encoder.0.weight"], before["encoder.0.weight"])
