from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from aoi_tl.classification.robustness import (
    STRENGTHS,
    _change,
    adversarial_training,
    attack_images,
    measure_robustness,
)
from aoi_tl.classification.training import repeat, train


@pytest.fixture
def trained(make_classifier, make_stream):
    stream = make_stream(4, n=16, batch=8)
    classifier = make_classifier()
    train(classifier, repeat("target", 120), {"target": stream}, learning_rate=0.03)
    return classifier, stream.pixels


def test_table_has_a_row_without_change_and_three_strengths_of_each(trained) -> None:
    classifier, pixels = trained
    rows = list(measure_robustness(classifier, pixels))
    assert rows[0].change == "none"
    assert [(row.change, row.strength) for row in rows[1:]] == [
        (name, strength) for name, values in STRENGTHS.items() for strength in values
    ]
    assert all(0 <= row.accuracy <= 1 for row in rows)
    assert {len(values) for values in STRENGTHS.values()} == {3}


def test_table_is_the_same_twice(trained) -> None:
    classifier, pixels = trained
    first, second = (list(measure_robustness(classifier, pixels, ["noise", "pgd"]))
                     for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", [name for name in STRENGTHS if name not in {"fgsm", "pgd"}])
def test_changes_stay_in_range_and_grow_with_their_strength(name: str, trained) -> None:
    classifier, pixels = trained
    images = pixels.batch(np.arange(8)).expand(-1, 3, -1, -1).contiguous()
    sizes = []
    for strength in STRENGTHS[name]:
        changed = _change(name, strength, classifier, np.random.default_rng(0))(
            images, torch.zeros(8))
        assert changed.shape == images.shape
        assert float(changed.min()) >= 0
        assert float(changed.max()) <= 1
        sizes.append(float((changed - images).abs().mean()))
    assert min(sizes) > 0
    if name not in {"brightness", "contrast"}:  # these go both ways
        assert sizes == sorted(sizes)


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("radius", [1 / 255, 8 / 255])
def test_attack_stays_within_its_radius_and_raises_the_loss(
    trained, steps: int, radius: float
) -> None:
    classifier, pixels = trained
    classifier.module.eval()
    images = pixels.batch(np.arange(16)).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(pixels.labels)
    changed = attack_images(classifier, images, labels, "target", radius, steps)
    assert float((changed - images).abs().max()) <= radius + 1e-6
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    with torch.no_grad():
        before, after = (
            torch.nn.functional.cross_entropy(classifier.logits(batch), labels)
            for batch in (images, changed)
        )
    assert after > before


def test_fgsm_is_a_step_along_the_sign_of_the_gradient(trained) -> None:
    classifier, pixels = trained
    classifier.module.eval()
    images = (pixels.batch(np.arange(4)).expand(-1, 3, -1, -1) * 0.5 + 0.25).requires_grad_()
    labels = torch.from_numpy(pixels.labels[:4])
    torch.nn.functional.cross_entropy(classifier.logits(images), labels).backward()
    assert images.grad is not None
    expected = images + 0.01 * images.grad.sign()
    found = attack_images(classifier, images.detach(), labels, "target", 0.01)
    torch.testing.assert_close(found, expected.detach())


def test_attack_leaves_mode_gradients_and_statistics_alone_and_says_nothing(trained) -> None:
    classifier, pixels = trained
    classifier.module.train()
    classifier.module.zero_grad(set_to_none=True)
    before = {key: value.clone() for key, value in classifier.module.state_dict().items()}
    images = pixels.batch(np.arange(4)).expand(-1, 3, -1, -1).contiguous()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attack_images(classifier, images, torch.from_numpy(pixels.labels[:4]), "target", 0.1, 3)
    assert classifier.encoder.training
    assert all(p.requires_grad and p.grad is None for p in classifier.module.parameters())
    for key, value in classifier.module.state_dict().items():
        assert torch.equal(value, before[key])


def test_adversarial_training_changes_every_other_image(make_classifier, make_stream) -> None:
    classifier, stream = make_classifier(), make_stream(4)
    images, labels = stream.at(0)
    changed = adversarial_training(classifier, 0.1)(images, labels, "target")
    differs = (changed != images).flatten(1).any(dim=1)
    assert differs.tolist() == [True, False] * 3


def test_adversarial_training_withstands_more(make_classifier, make_stream) -> None:
    # One test of the purpose: the same training with and without, attacked alike.
    stream, accuracy = make_stream(4, n=16, batch=8), {}
    for radius in (0.0, 0.06):
        classifier = make_classifier()
        train(classifier, repeat("target", 200), {"target": stream}, learning_rate=0.02,
              attack=adversarial_training(classifier, radius) if radius else None)
        classifier.module.eval()
        images = stream.pixels.batch(np.arange(16)).expand(-1, 3, -1, -1).contiguous()
        labels = torch.from_numpy(stream.pixels.labels)
        changed = attack_images(classifier, images, labels, "target", 0.06, 10)
        with torch.no_grad():
            given = classifier.logits(changed).argmax(1)
        accuracy[radius] = float((given == labels).float().mean())
    assert accuracy[0.06] >= accuracy[0.0]
