"""The training loop of all arms: an arm is a sequence of steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aoi_tl.checkpoints.writing import save_state
from aoi_tl.classification.batches import BatchStream
from aoi_tl.classification.classifier import Classifier, Domain
from aoi_tl.errors import RunError

if TYPE_CHECKING:
    import torch

Step = Literal["source", "target", "joint"]
Attack = Callable[["torch.Tensor", "torch.Tensor", Domain], "torch.Tensor"]


@dataclass(frozen=True)
class History:
    """The losses of every step of a training.

    Attributes
    ----------
    step : tuple of int
        Number of the step, from 0; a joint step is there twice, once a domain.
    domain : tuple of str
        ``source`` or ``target``.
    loss : tuple of float
        Cross entropy of the step's batch, before alpha or beta.
    seconds : float
        Time of all steps.
    waiting : float
        The part of it spent on making batches.
    """

    step: tuple[int, ...]
    domain: tuple[str, ...]
    loss: tuple[float, ...]
    seconds: float
    waiting: float

    @property
    def waiting_share(self) -> float:
        """The share of the time spent on waiting for data."""
        return self.waiting / self.seconds if self.seconds else 0.0


@dataclass
class _Record:
    """A growing history, and the number of finished steps."""

    done: int = 0
    rows: list[tuple[int, str, float]] = field(default_factory=list)
    seconds: float = 0.0
    waiting: float = 0.0


def train(
    classifier: Classifier,
    steps: Sequence[Step],
    streams: Mapping[Domain, BatchStream],
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    learning_rate: float = 0.001,
    encoder_rate: float = 1.0,
    frozen_statistics: bool = False,
    class_weights: Mapping[Domain, np.ndarray] | None = None,
    attack: Attack | None = None,
    checkpoint: Path | None = None,
    every: int = 60,
    progress: Callable[[int], object] = lambda done: None,
) -> History:
    """Train a classifier by Adam, one optimiser step for each of ``steps``.

    A source step minimises ``beta L_source``, a target step ``alpha L_target``, and a joint step
    ``L_total = alpha L_target + beta L_source`` over one batch of each domain.

    Parameters
    ----------
    classifier : Classifier
        Trained in place.
    steps : sequence of {"source", "target", "joint"}
        The arm.
    streams : mapping of domain to BatchStream
        Of every domain that the steps name.
    alpha, beta : float
        Weights of the target's and the source's loss.
    learning_rate : float
        Adam's, of the heads.
    encoder_rate : float
        The encoder's learning rate as a share of it; 0 leaves the encoder as it is.
    frozen_statistics : bool
        Keep the means and variances of batch normalisation as they are, in training too: those of
        few images are far from those of the test.
    class_weights : mapping of domain to array of shape (classes,), optional
        A weighted cross entropy, ``sum w_i l_i / sum w_i``.
    attack : callable, optional
        Takes images, labels and domain, gives images that are harder: adversarial training.
    checkpoint : Path, optional
        Where to keep the state; a training that finds one resumes from it.
    every : int
        Steps between two states.
    progress : callable
        Called with the number of steps done.

    Returns
    -------
    History
        Loss per domain and step, and the share of the time spent on waiting for data.

    Raises
    ------
    RunError
        When a loss is no longer a number, or the state is another training's.
    """
    import torch
    from torch.nn.functional import cross_entropy

    module = classifier.module
    device = next(module.parameters()).device
    classifier.encoder.requires_grad_(encoder_rate > 0)
    groups: list[dict[str, Any]] = [{"params": list(classifier.heads.parameters())}]
    if encoder_rate > 0:
        groups.append({"params": list(classifier.encoder.parameters()),
                       "lr": learning_rate * encoder_rate})
    optimiser = torch.optim.Adam(groups, lr=learning_rate)
    weights = {
        domain: torch.as_tensor(values, dtype=torch.float32, device=device)
        for domain, values in (class_weights or {}).items()
    }
    factor = {"target": alpha, "source": beta}
    record = _Record()
    if checkpoint is not None and checkpoint.is_file():
        record = _restore(checkpoint, module, optimiser, len(steps))
    drawn: dict[str, int] = {"source": 0, "target": 0}
    for kind in steps[: record.done]:
        for domain in domains_of(kind):
            drawn[domain] += 1
    module.train()
    if frozen_statistics or encoder_rate == 0:
        for part in classifier.encoder.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.eval()
    for number in range(record.done, len(steps)):
        started = time.perf_counter()
        batches = []
        for domain in domains_of(steps[number]):
            images, labels = streams[domain].at(drawn[domain])
            drawn[domain] += 1
            batches.append((domain, images.to(device), labels.to(device)))
        record.waiting += time.perf_counter() - started
        # Set to None, not to 0: Adam then leaves the other domain's head alone.
        optimiser.zero_grad(set_to_none=True)
        for domain, images, labels in batches:
            if attack is not None:
                images = attack(images, labels, domain)
            logits, first = classifier.training_logits(images, domain)
            loss = cross_entropy(logits, labels + first, weight=_spread(weights.get(domain),
                                                                        logits, first))
            (factor[domain] * loss).backward()
            record.rows.append((number, domain, float(loss.detach())))
            if not np.isfinite(record.rows[-1][2]):
                raise RunError(
                    f"expected a finite loss, got {record.rows[-1][2]} in the {domain} at step "
                    f"{number}; lower the learning rate ({learning_rate})"
                )
        optimiser.step()
        record.seconds += time.perf_counter() - started
        record.done = number + 1
        if checkpoint is not None and record.done % every == 0:
            _keep(checkpoint, module, optimiser, record, len(steps))
        progress(record.done)
    return History(
        tuple(row[0] for row in record.rows), tuple(row[1] for row in record.rows),
        tuple(row[2] for row in record.rows), record.seconds, record.waiting,
    )


def repeat(step: Step, count: int) -> tuple[Step, ...]:
    """Repeat the same step."""
    return (step,) * count


def domains_of(step: Step) -> tuple[Domain, ...]:
    """Give the domains whose batches a step takes."""
    if step == "joint":
        return ("target", "source")
    return (step,)


def _spread(
    weights: torch.Tensor | None, logits: torch.Tensor, first: int
) -> torch.Tensor | None:
    """Put a domain's class weights where its classes lie in a joint head."""
    if weights is None or len(weights) == logits.shape[1]:
        return weights
    spread = logits.new_ones(logits.shape[1])
    spread[first : first + len(weights)] = weights
    return spread


def _keep(
    path: Path, module: torch.nn.Module, optimiser: torch.optim.Optimizer, record: _Record,
    length: int,
) -> None:
    save_state(
        {"module": module.state_dict(), "optimiser": optimiser.state_dict(), "length": length,
         "record": vars(record)}, path,
    )


def _restore(
    path: Path, module: torch.nn.Module, optimiser: torch.optim.Optimizer, length: int
) -> _Record:
    import torch

    try:
        state = torch.load(path, weights_only=True)
        if state["length"] != length:
            raise ValueError(f"{state['length']} steps instead of {length}")
        module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        return _Record(**state["record"])
    except Exception as error:  # pickle, zip, shapes: each has its own
        raise RunError(
            f"expected the state of this training at {path}, got another ({error}); delete the "
            "file to train again"
        ) from error
