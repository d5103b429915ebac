from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from aoi_tl.classification.batches import Pixels
from aoi_tl.classification.classifier import predict
from aoi_tl.classification.encoders import Encoder, build_encoder
from aoi_tl.classification.features import compute_features
from aoi_tl.classification.patches import (
    WITH_MEAN,
    PatchEncoder,
    _fit,
    build_patch_encoder,
    describe,
    fit_patch_probe,
    patch_classifier,
)
from aoi_tl.errors import ExperimentError

COUNTS = (14, 2, 2, 1, 1)
CHANNELS, PATCHES, LAST = 6, 9, 2


@pytest.fixture
def patches(make_encoder: Callable[..., Encoder]) -> PatchEncoder:
    return PatchEncoder(make_encoder(), CHANNELS, LAST)


def surfaces(counts: tuple[int, ...] = COUNTS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of noise; every class but the first has one patch that is its own."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    maps = generator.normal(size=(len(labels), CHANNELS, PATCHES))
    for row, label in zip(maps, labels, strict=True):
        if label:
            row[label, generator.integers(PATCHES)] += 12
    means = generator.normal(size=(len(labels), LAST))
    return np.hstack([maps.reshape(len(labels), -1), means]).astype(np.float32), labels


def test_a_defect_of_one_patch_is_found(patches: PatchEncoder) -> None:
    rows, labels = surfaces()
    found = fit_patch_probe(rows, labels, 5, patches)
    fresh, truth = surfaces((30,) * 5, seed=1)
    assert (found.probabilities(fresh).argmax(axis=1) == truth).mean() > 0.9
    assert found.probe.held_out == 18  # the two classes with a single image are never held out
    np.testing.assert_allclose(found.probabilities(fresh).sum(axis=1), 1)


def test_described_by_hand() -> None:
    # Two channels, three patches (3, 0), (0, 1), (0, 0) and a last map of mean 7.
    rows = torch.tensor([[3.0, 0, 0, 0, 1, 0, 7]])
    found = describe(rows, torch.zeros(2), torch.eye(2), 1, True)[0]
    torch.testing.assert_close(found[:2], torch.tensor([1.0, 1 / 3]))  # three are all there are
    torch.testing.assert_close(found[2:5].exp(), torch.tensor([9.0, 0, 0]), atol=1e-5, rtol=1e-5)
    assert found[5].exp().item() == pytest.approx(1, abs=1e-5)  # the median's
    assert found[6] == 7


def test_the_usual_patch_is_the_commonest_class_and_whitened(patches: PatchEncoder) -> None:
    rows, labels = surfaces((200, 2, 2, 1, 1))
    found = _fit(rows, labels, patches, False)
    usual = rows[labels == 0, :-LAST].reshape(200, CHANNELS, PATCHES).transpose(0, 2, 1)
    usual = usual.reshape(-1, CHANNELS)
    np.testing.assert_allclose(found.centre, usual.mean(axis=0), atol=1e-5)
    white = (usual - found.centre) @ found.whitening
    # The ridge takes a twentieth off every variance of 1.
    np.testing.assert_allclose(np.cov(white.T), np.eye(CHANNELS) / 1.05, atol=0.02)


def test_nothing_held_out_says_what_is_usual(
    patches: PatchEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aoi_tl.classification.patches as room

    rows, labels = surfaces((6, 6))
    rows[:, -1] = np.arange(12)
    fitted, asked = [], []
    inner = room._fit

    def spy(some: np.ndarray, *rest: object) -> room.PatchProbe:
        fitted.append(set(some[:, -1].astype(int).tolist()))
        return inner(some, *rest)

    logits = room.PatchProbe.logits
    monkeypatch.setattr(room, "_fit", spy)
    monkeypatch.setattr(room.PatchProbe, "logits", lambda self, some: (
        asked.append(set(some[:, -1].astype(int).tolist())), logits(self, some))[1])
    room.fit_patch_probe(rows, labels, 2, patches)
    assert len(fitted) == len(asked) + 1
    for learnt, held in zip(fitted, asked, strict=False):
        assert not learnt & held
        assert learnt | held == set(range(12))


def test_from_fifty_images_on_the_last_map_is_used(patches: PatchEncoder) -> None:
    few, many = (fit_patch_probe(*surfaces((n, 2, 2, 2, 2)), 5, patches)
                 for n in (WITH_MEAN - 9, WITH_MEAN - 8))
    assert (few.with_mean, many.with_mean) == (False, True)
    assert many.probe.mean.size == few.probe.mean.size + LAST


def test_a_class_without_images_is_never_given(patches: PatchEncoder) -> None:
    rows, labels = surfaces((6, 6))
    chances = fit_patch_probe(rows, 2 * labels, 4, patches).probabilities(rows)
    assert (chances[:, [1, 3]] == 0).all()
    with pytest.raises(ValueError, match="two classes or more"):
        fit_patch_probe(rows[:6], labels[:6], 2, patches)


@pytest.mark.parametrize(("name", "channels"), [
    ("resnet18", 256), ("vit_tiny_patch16_224", 192), ("yolov8n.yaml", 128),
])
def test_encoders_give_a_patch_every_sixteen_pixels(name: str, channels: int) -> None:
    encoder = build_encoder(name, weights="random")
    patches = build_patch_encoder(encoder, 96)
    assert patches.channels == channels
    assert patches.encoder.feature_size == channels * 36 + patches.last
    pixels = Pixels(np.random.default_rng(0).integers(0, 256, (6, 1, 96, 96), dtype=np.uint8),
                    np.array([0, 0, 0, 0, 1, 1]))
    rows = compute_features(patches.encoder.module, pixels)[:, 0]
    assert rows.shape == (6, patches.encoder.feature_size)
    fitted = fit_patch_probe(rows, pixels.labels, 2, patches)
    found = predict(patch_classifier(patches, fitted), pixels)
    np.testing.assert_allclose(found, fitted.probabilities(rows), atol=1e-3)
    # Exposure changes little: half as bright is the same image.
    half = Pixels((pixels.values // 2).astype(np.uint8), pixels.labels)
    again = compute_features(patches.encoder.module, half)[:, 0]
    assert np.abs(again - rows).mean() < 0.1 * np.abs(rows).mean() + 0.01


def test_an_encoder_without_maps_is_refused(make_encoder: Callable[..., Encoder]) -> None:
    with pytest.raises(ExperimentError, match="leave that arm out"):
        build_patch_encoder(make_encoder(), 32)
