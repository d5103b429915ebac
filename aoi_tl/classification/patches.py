"""Patch features: an image described by its patches that differ most from defect-free parts.

A defect of a few pixels is lost in the mean over an image, so patches are compared first. The
patches of the commonest class, usually the parts without a defect, give a mean and a covariance.
An image is described by its few patches that are farthest from that mean.

References
----------
.. [1] Defard, Setkov, Loesch, Audigier. "PaDiM: a Patch Distribution Modeling Framework for Anomaly
   Detection and Localization." ICPR 2021: Mahalanobis distances of patches' features.
.. [2] Roth et al. "Towards Total Recall in Industrial Anomaly Detection." CVPR 2022: features of
   the middle layers separate defects best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.classification.classifier import Classifier, probe_head
from aoi_tl.classification.encoders import Encoder
from aoi_tl.classification.probe import (
    FOLDS,
    Probe,
    check_labels,
    fit_strengths,
    hold_out_folds,
    spread_classes,
)
from aoi_tl.errors import ExperimentError
from aoi_tl.evaluation.calibration import fit_temperature

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike
    from torch import nn

ARM = "patch-probe"
STRIDE = 16  # pixels from patch to patch
#: Patches that describe an image, and the ranks whose distances do.
UNUSUAL, RANKS = 3, (1, 3, 10)
RIDGE = 0.05  # of the covariance's mean variance, added to its diagonal
STRENGTH = 0.4  # inverse strength of the penalty, divided by the number of features
#: Training images from which on the mean of the last map is used too.
WITH_MEAN = 50
BATCH = 64  # images described at a time


@dataclass(frozen=True, eq=False)
class PatchEncoder:
    """An encoder that gives its patches.

    Attributes
    ----------
    encoder : Encoder
        Gives rows of ``channels * patches + last`` features: a middle layer's map, channel by
        channel, then the mean of the last map. Every image is first brought to mean 0.5 and
        deviation 0.2, so that an exposure changes little.
    channels : int
        Features a patch.
    last : int
        Channels of the last map.
    """

    encoder: Encoder
    channels: int
    last: int


@dataclass(frozen=True, eq=False)
class PatchProbe:
    """A linear classifier on an image's unusual patches.

    Attributes
    ----------
    centre : ndarray of float32, shape (channels,)
        Mean of the commonest class's patches.
    whitening : ndarray of float32, shape (channels, channels)
        Makes them uncorrelated, of variance 1.
    last : int
        Channels of the encoder's last map.
    with_mean : bool
        Whether the mean of the last map is used.
    probe : Probe
        On what `describe` gives.
    """

    centre: np.ndarray
    whitening: np.ndarray
    last: int
    with_mean: bool
    probe: Probe

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of shape (n, classes) from rows of a `PatchEncoder`."""
        return self.probe.probabilities(self._describe(rows))

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """Logits of shape (n, classes) from rows of a `PatchEncoder`."""
        return self.probe.logits(self._describe(rows))

    def _describe(self, rows: np.ndarray) -> np.ndarray:
        return _describe_all(rows, self.centre, self.whitening, self.last, self.with_mean)


def build_patch_encoder(encoder: Encoder, size: int) -> PatchEncoder:
    """Make an encoder give its patches.

    Parameters
    ----------
    encoder : Encoder
        Of timm or of Ultralytics; its module is used, not copied.
    size : int
        Side of the images in pixels.

    Returns
    -------
    PatchEncoder
        With the last map that has a patch every 16 pixels; of a transformer, whose maps are all
        alike, the one in the middle.

    Raises
    ------
    ExperimentError
        When the encoder does not give its maps.
    """
    import torch
    from torch import nn

    normalise, body = _parts(encoder)

    class Patches(nn.Module):
        """Give the map of one layer and the mean of the last."""

        def __init__(self) -> None:
            super().__init__()
            self.normalise, self.body = normalise, body

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            mean = images.mean((1, 2, 3), keepdim=True)
            sd = images.std((1, 2, 3), keepdim=True).clamp_min(0.02)
            maps = _maps(self.body, self.normalise((images - mean) / sd * 0.2 + 0.5))
            chosen, last = maps[_middle(maps, images.shape[-1])], maps[-1]
            return torch.cat([chosen.flatten(1), last.mean((2, 3))], dim=1)

    module = Patches().eval()
    with torch.no_grad():
        maps = _maps(body, torch.zeros(1, 3, size, size, device=_device(module)))
    chosen, last = maps[_middle(maps, size)], maps[-1]
    features = chosen[0].numel() + last.shape[1]
    return PatchEncoder(replace(encoder, module=module, feature_size=features),
                        chosen.shape[1], last.shape[1])


def fit_patch_probe(
    rows: np.ndarray, labels: ArrayLike, n_classes: int, patches: PatchEncoder, seed: int = 0
) -> PatchProbe:
    """Fit logistic regression on the unusual patches of images.

    Parameters
    ----------
    rows : ndarray of shape (n, features)
        Of the training images, as ``patches.encoder`` gives them.
    labels : array_like of int, shape (n,)
        The class of every image.
    n_classes : int
        Classes; one without images is never given.
    patches : PatchEncoder
        What gave the rows.
    seed : int
        Of the folds that the temperature is fitted on; what is usual is learnt anew without each
        fold.

    Returns
    -------
    PatchProbe
        Classes count alike. The strength is not chosen: twenty images do not say it.

    Raises
    ------
    ValueError
        When fewer than two classes have images.
    """
    truth, present = check_labels(rows[:, None], labels, n_classes)
    truth = np.searchsorted(present, truth)
    with_mean = len(rows) >= WITH_MEAN
    folds = hold_out_folds(truth, FOLDS, np.random.default_rng(seed))
    held, logits = folds >= 0, np.zeros((len(truth), len(present)))
    for fold in range(folds.max() + 1):
        out = folds == fold
        found = _fit(rows[~out], truth[~out], patches, with_mean)
        logits[out] = found.logits(rows[out])
    found = _fit(rows, truth, patches, with_mean)
    temperature = fit_temperature(logits[held], truth[held]) if held.any() else 1.0
    probe = replace(found.probe, held_out=int(held.sum()), temperature=temperature)
    return replace(found, probe=spread_classes(probe, present, n_classes))


def patch_classifier(patches: PatchEncoder, fitted: PatchProbe) -> Classifier:
    """Put a patch probe on its encoder as the head of a classifier.

    Parameters
    ----------
    patches : PatchEncoder
        What gave the rows.
    fitted : PatchProbe
        Fitted on them.

    Returns
    -------
    Classifier
        In evaluation mode; without a source. Its probabilities are the probe's.
    """
    import torch
    from torch import nn

    class Head(nn.Module):
        """Describe the rows and classify the descriptions."""

        centre: torch.Tensor
        whitening: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("centre", torch.from_numpy(fitted.centre))
            self.register_buffer("whitening", torch.from_numpy(fitted.whitening))
            self.linear = probe_head(fitted.probe)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            described = describe(rows, self.centre, self.whitening, fitted.last, fitted.with_mean)
            found: torch.Tensor = self.linear(described)
            return found

    head = Head().to(_device(patches.encoder.module))
    classes = len(fitted.probe.intercepts)
    classifier = Classifier(patches.encoder.module, nn.ModuleDict({"target": head}),
                            {"target": slice(0, classes)})
    classifier.module.eval()
    return classifier


def describe(
    rows: torch.Tensor, centre: torch.Tensor, whitening: torch.Tensor, last: int, with_mean: bool
) -> torch.Tensor:
    """Describe images by their most unusual patches.

    Parameters
    ----------
    rows : tensor of shape (n, channels * patches + last)
        As a `PatchEncoder` gives them.
    centre : tensor of shape (channels,)
        The usual patch.
    whitening : tensor of shape (channels, channels)
        Of the usual patches.
    last : int
        Channels of the last map.
    with_mean : bool
        Whether its mean is taken along.

    Returns
    -------
    tensor of shape (n, channels + 4), with the mean (n, channels + 4 + last)
        The mean of the three farthest patches, whitened; the logarithms of the first, third, tenth
        and median squared distance, from the farthest on; the mean of the last map.
    """
    import torch

    maps, mean = rows[:, : rows.shape[1] - last], rows[:, rows.shape[1] - last :]
    patches = maps.unflatten(1, (len(centre), -1)).transpose(1, 2)  # (n, patches, channels)
    white = (patches - centre) @ whitening
    distances, order = (white**2).sum(2).sort(dim=1, descending=True)
    count = distances.shape[1]
    farthest = order[:, :UNUSUAL, None].expand(-1, -1, len(centre))
    ranks = [*(min(rank, count) - 1 for rank in RANKS), count // 2]
    described = [white.gather(1, farthest).mean(1), (distances[:, ranks] + 1e-6).log()]
    return torch.cat([*described, mean] if with_mean else described, dim=1)


def _fit(
    rows: np.ndarray, labels: np.ndarray, patches: PatchEncoder, with_mean: bool
) -> PatchProbe:
    """Fit the normal patches, then classify by the unusual ones; not calibrated."""
    usual = rows[labels == np.bincount(labels).argmax(), : rows.shape[1] - patches.last]
    maps = usual.reshape(len(usual), patches.channels, -1).transpose(0, 2, 1)
    seen = maps.reshape(-1, patches.channels).astype(np.float64)
    centre = seen.mean(axis=0)
    covariance = (seen - centre).T @ (seen - centre) / len(seen)
    covariance += (RIDGE * np.trace(covariance) / len(covariance) + 1e-9) * np.eye(len(covariance))
    variances, axes = np.linalg.eigh(covariance)
    whitening = (axes / np.sqrt(variances)).astype(np.float32)
    usually = (centre.astype(np.float32), whitening, patches.last, with_mean)
    described = _describe_all(rows, *usually)
    strength = STRENGTH / described.shape[1]
    probe = next(fit_strengths(described[:, None], labels, int(labels.max()) + 1, (strength,)))
    return PatchProbe(*usually, probe)


def _describe_all(
    rows: np.ndarray, centre: np.ndarray, whitening: np.ndarray, last: int, with_mean: bool
) -> np.ndarray:
    """Describe images of shape (n, features), some at a time."""
    import torch

    usual = (torch.from_numpy(centre), torch.from_numpy(whitening), last, with_mean)
    return np.concatenate([
        describe(torch.from_numpy(np.ascontiguousarray(rows[start : start + BATCH])),
                 *usual).numpy()
        for start in range(0, len(rows), BATCH)
    ])


def _parts(encoder: Encoder) -> tuple[nn.Module, Any]:
    """Split an encoder into its normalisation and its body."""
    parts = list(encoder.module.children())
    if len(parts) != 2 or not hasattr(parts[1], "forward_intermediates"):
        raise ExperimentError(
            f"expected an encoder that gives the maps of its layers for the arm patch-probe, got "
            f"{encoder.name!r}; name another encoder, or leave that arm out"
        )
    return parts[0], parts[1]


def _maps(body: Any, images: torch.Tensor) -> Sequence[torch.Tensor]:
    found: Sequence[torch.Tensor] = body.forward_intermediates(images, intermediates_only=True)
    return found


def _middle(maps: Sequence[torch.Tensor], size: int) -> int:
    """Choose the last map with a patch every 16 pixels, or the middle one where all have that."""
    sides = [found.shape[-1] for found in maps]
    if len(set(sides)) == 1:
        return len(maps) // 2
    return max(i for i, side in enumerate(sides) if side >= size // STRIDE or i == 0)


def _device(module: nn.Module) -> torch.device:
    found: torch.device = next(module.parameters()).device
    return found
