from __future__ import annotations

import numpy as np
import torch

from aoi_tl.classification.attribution import attribution_maps
from aoi_tl.classification.classifier import Classifier, build_classifier
from aoi_tl.classification.encoders import build_encoder


def test_grad_cam_equals_the_value_by_hand(make_encoder, make_classifier) -> None:
    classifier: Classifier = make_classifier()
    images = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3, 1])
    classifier.module.eval()
    layer = classifier.encoder[0]
    maps = attribution_maps(classifier, images, labels, layer)
    with torch.enable_grad():
        activation = layer(images)
        features = activation
        for part in classifier.encoder[1:]:
            features = part(features)
        logits = classifier.heads["target"](features)
        [gradient] = torch.autograd.grad(
            logits[torch.arange(3), labels].sum(), activation
        )
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1).relu().detach().numpy()
    peak = cam.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(maps, cam / np.where(peak > 0, peak, 1), atol=1e-5)


def test_maps_of_convolutional_encoders_and_of_a_transformer() -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for name in ("resnet18", "mobilenetv2", "efficientnet-b0", "vit-tiny", "yolov8n.yaml"):
        encoder = build_encoder(name, "random")
        classifier = build_classifier(encoder, 3, 2)
        before = {key: value.clone() for key, value in classifier.module.state_dict().items()}
        maps = attribution_maps(classifier, images, torch.tensor([0, 2]), encoder.map_layer)
        assert maps.shape == (2, 64, 64)
        assert maps.min() >= 0
        assert set(maps.max(axis=(1, 2)).round(6)) <= {0.0, 1.0}
        for key, value in classifier.module.state_dict().items():
            assert torch.equal(value, before[key]), (name, key)


def test_gradient_map_finds_the_only_place_that_matters() -> None:
    encoder = build_encoder("vit-tiny", "random")

    class Corner(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, :, :16, :16].mean(dim=(2, 3))

    classifier = Classifier(
        Corner(), torch.nn.ModuleDict({"target": torch.nn.Linear(3, 2)}), {"target": slice(0, 2)}
    )
    assert encoder.map_layer is None
    [heat] = attribution_maps(classifier, torch.rand(1, 3, 64, 64), torch.tensor([1]), None)
    assert heat[:8, :8].min() == 1
    assert heat[32:, 32:].max() == 0
