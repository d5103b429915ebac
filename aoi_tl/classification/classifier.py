"""Classifiers: a shared encoder with one head per domain, ``logits = C(E(x))``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aoi_tl.checkpoints.writing import save_state
from aoi_tl.classification.batches import BatchStream, Pixels
from aoi_tl.classification.encoders import Encoder
from aoi_tl.classification.probe import Probe

if TYPE_CHECKING:
    import torch
    from torch import nn

Domain = Literal["source", "target"]
Head = Literal["separate", "joint", "shared"]


@dataclass(frozen=True, eq=False)
class Classifier:
    """An encoder with its heads.

    Attributes
    ----------
    encoder : torch.nn.Module
        Shared by the domains.
    heads : torch.nn.ModuleDict
        ``source`` and ``target``, or ``joint`` where one head knows the classes of both.
    slices : mapping of domain to slice
        Where a domain's classes lie among its head's logits.
    """

    encoder: nn.Module
    heads: nn.ModuleDict
    slices: Mapping[str, slice]

    def head(self, domain: Domain) -> nn.Module:
        """The head that reads this domain."""
        return self.heads[domain if domain in self.heads else "joint"]

    def training_logits(self, images: torch.Tensor, domain: Domain) -> tuple[torch.Tensor, int]:
        """Logits over all of a head's classes, and the place of the domain's first one."""
        return self.head(domain)(self.encoder(images)), self.slices[domain].start

    def logits(self, images: torch.Tensor, domain: Domain = "target") -> torch.Tensor:
        """Logits over the domain's own classes, of shape (n, classes)."""
        found: torch.Tensor = self.head(domain)(self.encoder(images))[:, self.slices[domain]]
        return found

    @property
    def module(self) -> nn.Module:
        """Encoder and heads as one module: its parameters, state and mode."""
        from torch import nn

        return nn.ModuleDict({"encoder": self.encoder, "heads": self.heads})


def build_classifier(
    encoder: Encoder, n_target: int, n_source: int, head: Head = "separate", seed: int = 0
) -> Classifier:
    """Put new heads on an encoder.

    Parameters
    ----------
    encoder : Encoder
        Is trained in place.
    n_target, n_source : int
        Classes of each domain.
    head : {"separate", "joint", "shared"}
        A head per domain; one head over the classes of both, trained against each other in
        training; or one head for two domains with the same classes.
    seed : int
        Of the heads' random weights.

    Returns
    -------
    Classifier
        In training mode.

    Raises
    ------
    ValueError
        When a shared head is asked for and the numbers of classes differ.
    """
    import torch
    from torch import nn

    size = encoder.feature_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if head == "separate":
            # The target first, so that its head is the same whatever the source is.
            heads = {"target": nn.Linear(size, n_target), "source": nn.Linear(size, n_source)}
            slices = {"target": slice(0, n_target), "source": slice(0, n_source)}
        elif head == "joint":
            heads = {"joint": nn.Linear(size, n_target + n_source)}
            slices = {"target": slice(0, n_target),
                      "source": slice(n_target, n_target + n_source)}
        else:
            if n_target != n_source:
                raise ValueError(
                    f"expected as many source as target classes for a shared head, got "
                    f"{n_source} and {n_target}"
                )
            heads = {"joint": nn.Linear(size, n_target)}
            slices = {"target": slice(0, n_target), "source": slice(0, n_target)}
    classifier = Classifier(encoder.module, nn.ModuleDict(heads), slices)
    classifier.module.train()
    return classifier


def predict(classifier: Classifier, pixels: Pixels, batch: int = 64) -> np.ndarray:
    """Classify images of the target domain.

    Parameters
    ----------
    classifier : Classifier
        Its mode is the same afterwards.
    pixels : Pixels
        The images, not augmented.
    batch : int
        Images at a time.

    Returns
    -------
    ndarray of float32, shape (n, classes)
        Probabilities.
    """
    import torch

    module = classifier.module
    was_training = classifier.encoder.training
    module.eval()
    device = next(module.parameters()).device
    found = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch):
            places = np.arange(start, min(start + batch, len(pixels)))
            images = pixels.batch(places).expand(-1, 3, -1, -1).to(device)
            found.append(classifier.logits(images).softmax(dim=1).cpu().numpy())
    module.train(was_training)
    return np.concatenate(found)


def recalibrate(classifier: Classifier, stream: BatchStream, batches: int = 20) -> None:
    """Measure the statistics of batch normalisation again, on the target's training images.

    A shared encoder's running means and variances are those of whichever domain it saw last, and
    they lag: after 10 target steps a momentum of 0.03 has taken in a quarter of the target.

    Parameters
    ----------
    classifier : Classifier
        Changed in place; no parameter is touched.
    stream : BatchStream
        The target's training batches.
    batches : int
        How many of them.

    References
    ----------
    .. [1] Li et al. "Revisiting Batch Normalization For Practical Domain Adaptation."
       arXiv:1603.04779, 2016.
    """
    import torch
    from torch.optim.swa_utils import update_bn

    device = next(classifier.encoder.parameters()).device
    with torch.no_grad():
        update_bn((stream.at(step)[0] for step in range(batches)), classifier.encoder, device)


def save_classifier(classifier: Classifier, path: Path, **about: Any) -> None:
    """Write tensors with their metadata, readable without running code.

    Parameters
    ----------
    classifier : Classifier
        What to keep.
    path : Path
        The file, written atomically.
    **about
        Plain values: the encoder's name, classes, image size.
    """
    save_state({"state": classifier.module.state_dict(), **about}, path)


def probe_classifier(encoder: Encoder, probe: Probe) -> Classifier:
    """Put a probe on its encoder as the head of a classifier.

    Parameters
    ----------
    encoder : Encoder
        The one whose features the probe was fitted on.
    probe : Probe
        Its standardisation and temperature become part of the head.

    Returns
    -------
    Classifier
        In evaluation mode; without a source. Its probabilities are the probe's.
    """
    from torch import nn

    head = probe_head(probe).to(next(encoder.module.parameters()).device)
    classifier = Classifier(
        encoder.module, nn.ModuleDict({"target": head}),
        {"target": slice(0, len(probe.intercepts))},
    )
    classifier.module.eval()
    return classifier


def start_from_probe(head: nn.Module, probe: Probe, places: slice) -> None:
    """Give a head the weights of a probe, in place.

    Parameters
    ----------
    head : torch.nn.Module
        A linear layer.
    probe : Probe
        On the features of the head's encoder.
    places : slice
        Where the probe's classes lie among the head's.

    References
    ----------
    .. [1] Kumar et al. "Fine-Tuning can Distort Pretrained Features and Underperform
       Out-of-Distribution." ICLR 2022: first the linear probe, then fine-tuning.
    """
    import torch

    found = probe_head(probe)
    with torch.no_grad():
        head.get_parameter("weight")[places].copy_(found.weight)
        head.get_parameter("bias")[places].copy_(found.bias)


def probe_head(probe: Probe) -> nn.Linear:
    """Make a probe a layer: its standardisation and temperature go into weights and biases.

    Parameters
    ----------
    probe : Probe
        Any.

    Returns
    -------
    torch.nn.Linear
        From features to logits, on the CPU.
    """
    import torch
    from torch import nn

    weight = probe.coefficients / probe.sd / probe.temperature
    head = nn.Linear(weight.shape[1], len(weight))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(probe.intercepts / probe.temperature
                                         - weight @ probe.mean))
    return head
