"""What an image of one dataset says about the classes of another: nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from ultralytics.cfg import get_cfg

from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.transfer.detector import new_model
from aoi_tl.transfer.masking import MaskedClassLoss, PartlyAnnotatedDataset, mask_class_loss
from aoi_tl.transfer.mixing import ANNOTATED, Member, write_mix
from tests.drawn import draw_dataset

NAMES = ("dent", "stain", "burr")


def loss_and_gradient(annotated: Tensor | None, target: Tensor) -> tuple[Tensor, Tensor]:
    predicted = torch.linspace(-2, 2, target.numel()).reshape(target.shape).requires_grad_()
    masked = MaskedClassLoss(nn.BCEWithLogitsLoss(reduction="none"))
    masked.annotated = annotated
    found = masked(predicted, target)
    found.sum().backward()
    assert predicted.grad is not None
    return found.detach(), predicted.grad


def test_classes_that_an_image_does_not_annotate_have_no_gradient() -> None:
    target = torch.zeros(2, 4, 3)
    target[0, 1, 0] = 1.0  # a dent of the first image
    annotated = torch.tensor([[[True, True, False]], [[False, True, True]]])
    found, gradient = loss_and_gradient(annotated, target)
    plain, plain_gradient = loss_and_gradient(None, target)
    seen = annotated.expand_as(target)
    assert (gradient[~seen] == 0).all()
    assert (found[~seen] == 0).all()
    # Whatever is annotated learns exactly as it would without masks.
    assert torch.equal(gradient[seen], plain_gradient[seen])
    assert torch.equal(found[seen], plain[seen])


def test_a_box_that_came_in_with_another_image_still_counts() -> None:
    target = torch.zeros(1, 2, 3)
    target[0, 1, 2] = 0.8  # a burr in a mosaic whose images do not all annotate burrs
    found, gradient = loss_and_gradient(torch.tensor([[[True, True, False]]]), target)
    assert gradient[0, 1, 2] != 0
    assert gradient[0, 0, 2] == 0
    assert found[0, 0, 2] == 0


def test_where_everything_is_annotated_nothing_changes_by_a_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 5, 3, generator=generator)
    found, gradient = loss_and_gradient(torch.ones(2, 1, 3, dtype=torch.bool), target)
    plain, plain_gradient = loss_and_gradient(None, target)
    assert torch.equal(found, plain)
    assert torch.equal(gradient, plain_gradient)


def batch_of(n: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    return {
        "img": torch.rand(n, 3, 64, 64, generator=generator),
        "cls": torch.tensor([[0.0], [1.0]]), "batch_idx": torch.tensor([0.0, 1.0]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.4, 0.6, 0.3, 0.5]]),
    }


def detector() -> Any:
    model = new_model("yolov8n.yaml", NAMES, seed=0)
    model.args = get_cfg()
    return model.train()


def class_gradients(model: Any) -> Tensor:
    """The gradient of the last class layer's biases: (scales, classes)."""
    return torch.stack([branch[-1].bias.grad for branch in model.model[-1].cv3])


@pytest.mark.parametrize("everything", [True, False])
def test_gradients_of_a_whole_detector(everything: bool) -> None:
    gradients = []
    for masked in (False, True):
        model = detector()
        if masked:
            annotated = torch.ones(2, 1, 3, dtype=torch.bool)
            if not everything:
                annotated[..., 2] = False
            mask_class_loss(model, annotated)
        loss, _ = model.loss(batch_of(2))
        loss.sum().backward()
        gradients.append(class_gradients(model))
        if everything:
            gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()
                                        if p.grad is not None]))
    plain, *more = gradients
    if everything:
        assert torch.equal(plain, gradients[2])
        assert torch.equal(more[0], gradients[3])
    else:
        [found] = more
        assert (plain[:, 2] != 0).all()
        assert (found[:, 2] == 0).all()
        assert torch.equal(found[:, :2], plain[:, :2])


def test_the_masks_of_samples_are_those_of_the_images_in_them(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "a", {"dent": 2, "stain": 1}, splits=("train", "test"), empty=0)
    draw_dataset(tmp_path / "b", {"stain": 2, "burr": 1}, splits=("train", "test"), empty=0)
    file = write_mix(
        [Member(load_dataset(tmp_path / name / "data.yaml")) for name in "ab"], tmp_path / "mix"
    )
    data = {**_read(file), "channels": 3}

    def dataset(mosaic: float) -> PartlyAnnotatedDataset:
        hyp = get_cfg(overrides={"mosaic": mosaic, "imgsz": 64})
        return PartlyAnnotatedDataset(
            img_path=str(file.parent / "train.txt"), imgsz=64, augment=True, hyp=hyp, data=data,
            cache=False, batch_size=2,
        )

    plain = dataset(0.0)
    samples = [plain[i] for i in range(len(plain))]
    for i, sample in enumerate(samples):
        wanted = [True, True, False] if "/00/" in plain.im_files[i] else [False, True, True]
        assert sample[ANNOTATED].tolist() == [wanted]
    joined = PartlyAnnotatedDataset.collate_fn(samples)
    assert joined[ANNOTATED].shape == (6, 1, 3)
    assert joined[ANNOTATED].dtype == torch.bool

    four = dataset(1.0)
    for i in range(len(four)):
        sample = four[i]
        shown = {Path(four.im_files[k]).parent.name for k in four._drawn}
        spaces = {"00": [True, True, False], "01": [False, True, True]}
        both = [all(spaces[part][k] for part in shown) for k in range(3)]
        assert sample[ANNOTATED].tolist() == [both]
        assert len(four._drawn) == 4


def _read(file: Path) -> dict[str, Any]:
    import yaml

    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content
