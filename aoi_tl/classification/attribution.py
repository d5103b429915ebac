"""Attribution maps: Grad-CAM for convolutions, a gradient map for transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aoi_tl.classification.classifier import Classifier
from aoi_tl.errors import ExperimentError

if TYPE_CHECKING:
    import torch
    from torch import nn

PATCH = 16  # side of a ViT's patch in pixels


def attribution_maps(
    classifier: Classifier, images: torch.Tensor, labels: torch.Tensor, layer: nn.Module | None
) -> np.ndarray:
    """Compute the contribution of each position of an image to a class.

    Parameters
    ----------
    classifier : Classifier
        Of the target domain; put in evaluation mode.
    images : tensor of shape (n, 3, height, width)
        In 0..1.
    labels : tensor of shape (n,)
        The class that is asked about, for every image.
    layer : torch.nn.Module or None
        The encoder's ``map_layer``: Grad-CAM there; for None the size of the gradient at the
        pixels, taken together over patches.

    Returns
    -------
    ndarray of float64, shape (n, height, width)
        Each map in 0..1; all 0 where nothing speaks for the class.

    Raises
    ------
    ExperimentError
        When Captum is not installed.

    References
    ----------
    .. [1] Selvaraju et al. "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
       Localization." ICCV 2017.
    .. [2] Simonyan, Vedaldi, Zisserman. "Deep Inside Convolutional Networks." 2013.
    """
    try:
        from captum.attr import LayerGradCam, Saliency
    except ModuleNotFoundError:
        raise ExperimentError(
            "expected Captum for attribution, got none installed; pip install 'aoi-tl[classify]'"
        ) from None
    from torch.nn.functional import avg_pool2d, interpolate

    classifier.module.eval()
    if layer is not None:
        # As in the paper of Grad-CAM, what speaks against the class is left out.
        maps = LayerGradCam(classifier.logits, layer).attribute(
            images, target=labels, relu_attributions=True
        )
    else:
        gradient = Saliency(classifier.logits).attribute(
            images.clone().requires_grad_(), target=labels
        )
        maps = avg_pool2d(gradient.sum(dim=1, keepdim=True), min(PATCH, images.shape[-1]))
    grown = interpolate(
        maps.detach().double(), size=images.shape[-2:], mode="bilinear", align_corners=False
    )[:, 0].cpu().numpy()
    peak = grown.max(axis=(1, 2), keepdims=True)
    return np.divide(grown, peak, out=np.zeros_like(grown), where=peak > 0)
