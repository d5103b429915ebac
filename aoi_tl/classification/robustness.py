"""Robustness: accuracy on degraded images and under adversarial attacks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from aoi_tl.classification.batches import Pixels, turn_images
from aoi_tl.classification.classifier import Classifier, Domain
from aoi_tl.errors import ExperimentError

if TYPE_CHECKING:
    import torch

    Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# Three strengths each, from what is hardly seen to what a bad camera gives.
STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "noise": (0.02, 0.05, 0.1),  # standard deviation, images in 0..1
    "blur": (0.5, 1.0, 2.0),  # standard deviation in pixels
    "brightness": (0.8, 1.25, 1.5),  # factor
    "contrast": (0.75, 0.5, 1.5),  # factor
    "jpeg": (70, 40, 15),  # quality
    "rotation": (5, 15, 45),  # degrees
    "fgsm": (1 / 255, 2 / 255, 4 / 255),  # L-infinity radius, images in 0..1
    "pgd": (1 / 255, 2 / 255, 4 / 255),
}
PGD_STEPS = 10


@dataclass(frozen=True)
class Robustness:
    """Accuracy under one change of the images.

    Attributes
    ----------
    change : str
        ``none`` or one of ``STRENGTHS``.
    strength : float
        In the units of ``STRENGTHS``; 0 for ``none``.
    accuracy : float
        Share of the images that are still given their own class.
    """

    change: str
    strength: float
    accuracy: float


def measure_robustness(
    classifier: Classifier,
    pixels: Pixels,
    changes: Sequence[str] = tuple(STRENGTHS),
    seed: int = 0,
    batch: int = 64,
) -> Iterator[Robustness]:
    """Test a classifier on changed images, one row at a time.

    Parameters
    ----------
    classifier : Classifier
        Of the target domain.
    pixels : Pixels
        The test images.
    changes : sequence of str
        Out of ``STRENGTHS``.
    seed : int
        Of the noise.
    batch : int
        Images at a time.

    Yields
    ------
    Robustness
        First without a change, then each change at its three strengths. FGSM and PGD are given
        the true classes and work against this very classifier.
    """
    import torch

    module = classifier.module
    module.eval()
    device = next(module.parameters()).device
    rows = [("none", 0.0)] + [(name, value) for name in changes for value in STRENGTHS[name]]
    for name, strength in rows:
        change = _change(name, strength, classifier, np.random.default_rng((seed, len(pixels))))
        right = 0
        for start in range(0, len(pixels), batch):
            places = np.arange(start, min(start + batch, len(pixels)))
            images = pixels.batch(places).expand(-1, 3, -1, -1).contiguous().to(device)
            labels = torch.from_numpy(pixels.labels[places]).to(device)
            changed = change(images, labels)
            with torch.inference_mode():
                right += int((classifier.logits(changed).argmax(dim=1) == labels).sum())
        yield Robustness(name, float(strength), right / len(pixels))


def _change(
    name: str, strength: float, classifier: Classifier, generator: np.random.Generator
) -> Change:
    import torch
    from torchvision.transforms.v2 import functional

    def noise(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        drawn = generator.normal(0, strength, images.shape).astype(np.float32)
        return (images + torch.from_numpy(drawn).to(images.device)).clamp(0, 1)

    def blur(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        # Three deviations either side.
        width = 2 * int(np.ceil(3 * strength)) + 1
        return functional.gaussian_blur(images, [width, width], [strength, strength])

    def jpeg(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        pixels = (images.cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        coded = []
        for image in pixels:
            # OpenCV takes the channels for blue, green and red: turned there and back again.
            encoded = cv2.imencode(".jpg", image[..., ::-1],
                                   [cv2.IMWRITE_JPEG_QUALITY, int(strength)])[1]
            decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
            coded.append(decoded[..., ::-1].copy())
        return torch.from_numpy(np.stack(coded)).permute(0, 3, 1, 2).float().div(255).to(
            images.device
        )

    simple: dict[str, Change] = {
        "none": lambda images, _: images,
        "noise": noise,
        "blur": blur,
        "brightness": lambda images, _: functional.adjust_brightness(images, strength),
        "contrast": lambda images, _: functional.adjust_contrast(images, strength),
        "jpeg": jpeg,
        # Corners filled as in training: black ones would be another change.
        "rotation": lambda images, _: turn_images(images, np.full(len(images), strength)),
        "fgsm": lambda images, labels: attack_images(
            classifier, images, labels, "target", strength, steps=1
        ),
        "pgd": lambda images, labels: attack_images(
            classifier, images, labels, "target", strength, steps=PGD_STEPS
        ),
    }
    return simple[name]


def attack_images(
    classifier: Classifier,
    images: torch.Tensor,
    labels: torch.Tensor,
    domain: Domain,
    radius: float,
    steps: int = 1,
) -> torch.Tensor:
    """Change images within a radius so that the classifier is wrong.

    Parameters
    ----------
    classifier : Classifier
        What is attacked; its mode, parameters and gradients stay as they are.
    images : tensor of shape (n, 3, height, width)
        In 0..1.
    labels : tensor of shape (n,)
        Their true classes.
    domain : {"source", "target"}
        Whose head is attacked.
    radius : float
        The most that a pixel may change.
    steps : int
        1 is FGSM; more are PGD, of steps of ``2.5 radius / steps``.

    Returns
    -------
    tensor of shape (n, 3, height, width)
        In 0..1, detached.

    Raises
    ------
    ExperimentError
        When Captum is not installed.

    References
    ----------
    .. [1] Goodfellow, Shlens, Szegedy. "Explaining and Harnessing Adversarial Examples." 2014.
    .. [2] Madry et al. "Towards Deep Learning Models Resistant to Adversarial Attacks." 2017.
    """
    from torch.nn.functional import cross_entropy

    try:
        from captum.robust import FGSM, PGD
    except ModuleNotFoundError:
        raise ExperimentError(
            "expected Captum for FGSM and PGD, got none installed; pip install 'aoi-tl[classify]'"
        ) from None

    encoder, head = classifier.encoder, classifier.head(domain)
    training = encoder.training
    # Else every attack of an adversarial training would move the batch statistics.
    encoder.eval()
    parameters = [*encoder.parameters(), *head.parameters()]
    wanted = [parameter.requires_grad for parameter in parameters]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        arguments = {
            "loss_func": lambda logits, target: cross_entropy(logits, target, reduction="none"),
            "lower_bound": 0.0,
            "upper_bound": 1.0,
        }

        def logits(batch: torch.Tensor) -> torch.Tensor:
            return classifier.logits(batch, domain)

        with warnings.catch_warnings():
            # It asks for the images' gradient itself, and says so each time.
            warnings.filterwarnings("ignore", message="Input Tensor 0 did not already require")
            if steps == 1:
                found = FGSM(logits, **arguments).perturb(images, epsilon=radius, target=labels)
            else:
                found = PGD(logits, **arguments).perturb(
                    images, radius=radius, step_size=2.5 * radius / steps, step_num=steps,
                    target=labels,
                )
    finally:
        for parameter, flag in zip(parameters, wanted, strict=True):
            parameter.requires_grad_(flag)
        encoder.train(training)
    changed: torch.Tensor = found.detach().clone()
    return changed


def adversarial_training(
    classifier: Classifier, radius: float
) -> Callable[[torch.Tensor, torch.Tensor, Domain], torch.Tensor]:
    """Make every other image of a training batch harder, by FGSM.

    Parameters
    ----------
    classifier : Classifier
        What is trained.
    radius : float
        The most that a pixel may change, images in 0..1.

    Returns
    -------
    callable
        For ``training.train``: images, labels and domain in, images out.
    """

    def harden(
        images: torch.Tensor, labels: torch.Tensor, domain: Domain
    ) -> torch.Tensor:
        mixed = images.clone()
        mixed[::2] = attack_images(
            classifier, images[::2].contiguous(), labels[::2], domain, radius
        )
        return mixed

    return harden
