"""Masked losses: training on images that are annotated for some of the classes only.

In a mix, a dataset does not annotate the classes of the other datasets: an image may show such a
defect without a box. The classification loss of these classes is therefore left out, unless another
image of the mosaic has a box of that class.

Importing this module imports Ultralytics and torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.data.dataset import YOLODataset

from aoi_tl.transfer.mixing import ANNOTATED


class PartlyAnnotatedDataset(YOLODataset):
    """An Ultralytics dataset whose ``data.yaml`` says which classes each folder annotates.

    A sample's mask holds the classes that *all* images in it annotate: a mosaic shows four.
    """

    _drawn: list[int]

    def get_image_and_label(self, index: int) -> dict[str, Any]:
        """Load an image, and remember that the sample at hand shows it."""
        self._drawn.append(index)
        return super().get_image_and_label(index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Give a sample with its mask, of shape (1, classes)."""
        self._drawn = []
        sample = super().__getitem__(index)
        annotated = torch.ones(1, len(self.data["names"]), dtype=torch.bool)
        for drawn in self._drawn:
            annotated &= self._annotated(drawn)
        return {**sample, ANNOTATED: annotated}

    def _annotated(self, index: int) -> Tensor:
        member = Path(self.im_files[index]).parent.name
        mask = torch.zeros(1, len(self.data["names"]), dtype=torch.bool)
        mask[0, self.data[ANNOTATED][member]] = True
        return mask

    @staticmethod
    def collate_fn(batch: list[dict[str, Any]]) -> dict[str, Any]:
        """Join samples; the masks become one tensor of shape (batch, 1, classes)."""
        joined = YOLODataset.collate_fn(batch)
        joined[ANNOTATED] = torch.stack(list(joined[ANNOTATED]))
        return joined


class MaskedClassLoss(nn.Module):
    """Binary cross-entropy without the classes that an image's dataset does not annotate.

    Parameters
    ----------
    loss : torch.nn.Module
        Unreduced loss of (predictions, targets), both of shape (batch, anchors, classes).
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.annotated: Tensor | None = None

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Give the loss, 0 where a class is neither annotated nor the target's."""
        found: Tensor = self.loss(predicted, target)
        if self.annotated is None:
            return found
        return found * (self.annotated.to(found.device) | (target > 0))


def mask_class_loss(model: Any, annotated: Tensor) -> None:
    """Set the masks of the batch that the model sees next.

    Parameters
    ----------
    model : DetectionModel
        In training; its criterion is made where there is none yet.
    annotated : bool tensor of shape (batch, 1, classes)
        Which classes each image's datasets annotate.
    """
    if getattr(model, "criterion", None) is None:
        model.criterion = model.init_criterion()
    criterion = model.criterion
    parts = [getattr(criterion, name, None) for name in ("one2many", "one2one")]
    for part in [part for part in parts if part is not None] or [criterion]:
        if not isinstance(part.bce, MaskedClassLoss):
            part.bce = MaskedClassLoss(part.bce)
        part.bce.annotated = annotated
