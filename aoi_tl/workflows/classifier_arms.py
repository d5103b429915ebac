"""One arm of a classification run: its steps, its training, its test."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.classification import cdg, two_stage
from aoi_tl.classification.batches import Augmentation, BatchStream, Pixels
from aoi_tl.classification.features import choose_views, compute_features
from aoi_tl.classification.image_set import ImageSet
from aoi_tl.classification.imbalance import class_weights, oversampled_counts
from aoi_tl.classification.probe import Probe, fit_probe
from aoi_tl.evaluation.calibration import measure_reliability
from aoi_tl.evaluation.classification import ClassificationScores, score_predictions
from aoi_tl.evaluation.rejection import measure_coverage
from aoi_tl.experiment.classification import ClassificationExperiment
from aoi_tl.files.run_folder import RunFolder
from aoi_tl.workflows.domains import Draw
from aoi_tl.workflows.progress import Progress

if TYPE_CHECKING:
    import torch

    from aoi_tl.classification.classifier import Classifier, Domain
    from aoi_tl.classification.encoders import Encoder
    from aoi_tl.classification.training import Step


#: Arms with a probe take the steps of an arm without, or the source's alone.
STEPS_OF = {
    ("cdg", "lp-ft"): "plain", ("two-stage", "lp-ft"): "fine-tuning-only",
    ("cdg", "probe+source"): "source", ("two-stage", "probe+source"): "pretraining-only",
    ("cdg", "probe+multi-task"): "multi-task", ("cdg", "probe+cdg"): "cdg",
}
#: The learning rate of ``lp-ft``, as a share of the other arms'.
AFTER_PROBE = 0.1


def plan_steps(experiment: ClassificationExperiment, draw: Draw, arm: str) -> tuple[Step, ...]:
    """Write out the steps of an arm.

    Parameters
    ----------
    experiment : ClassificationExperiment
        Method, epochs, batch and blocks.
    draw : Draw
        How many images there are.
    arm : str
        Which of the method's arms.

    Returns
    -------
    tuple of {"source", "target", "joint"}
        One entry an optimiser step.
    """
    train = experiment.train
    arm = STEPS_OF.get((experiment.method, arm), arm)
    if experiment.method == "cdg":
        cycle = cycle_of(experiment)
        cycles = cdg.count_cycles(len(draw.source_train), train.batch, train.epochs, cycle)
        steps = cdg.arm_steps(
            "pretrained" if arm == "source" else arm, cycles, cycle, train.count
        )
        return tuple(step for step in steps if step == "source") if arm == "source" else steps
    source, target = (
        two_stage.stage_steps(
            int(oversampled_counts(np.bincount(pixels.labels, minlength=len(images.classes)),
                                   _factors(experiment, images)).sum()),
            train.batch, epochs,
        )
        for pixels, images, epochs in (
            (draw.source_train, draw.source, train.epochs),
            (draw.target_train, draw.target, train.target_epochs),
        )
    )
    return two_stage.arm_steps(arm, source, target, train.count)


def cycle_of(experiment: ClassificationExperiment) -> cdg.Cycle:
    """Take the blocks of a cycle out of an experiment."""
    blocks = experiment.train.blocks
    return cdg.Cycle(blocks.source, blocks.target, blocks.joint)


def _factors(experiment: ClassificationExperiment, images: ImageSet) -> dict[int, float]:
    """Oversampling factors by label; only where the images know the class."""
    if experiment.imbalance.treatment not in {"oversample", "both"}:
        return {}
    return {
        images.classes.index(name): factor
        for name, factor in experiment.imbalance.oversample.items() if name in images.classes
    }


def _weights(
    experiment: ClassificationExperiment, draw: Draw
) -> dict[Domain, np.ndarray] | None:
    """Class weights of both domains, from the samples that an epoch really holds."""
    if experiment.imbalance.treatment not in {"weighted", "both"}:
        return None
    return {
        domain: class_weights(oversampled_counts(
            np.bincount(pixels.labels, minlength=len(images.classes)),
            _factors(experiment, images),
        ))
        for domain, pixels, images in _domains(draw)
    }


def _domains(draw: Draw) -> Iterator[tuple[Domain, Pixels, ImageSet]]:
    yield "target", draw.target_train, draw.target
    yield "source", draw.source_train, draw.source


def train_arm(
    run: RunFolder, experiment: ClassificationExperiment, draw: Draw, arm: str, progress: Progress
) -> None:
    """Train one arm on one seed's images, test it, and keep all of it as one stage.

    Parameters
    ----------
    run : RunFolder
        Gets ``stages/<arm>-s<seed>/``: ``ledger.json``, ``losses.csv``, ``cycles.csv``,
        ``predictions.csv``, ``robustness.csv``, ``model.pt``, and ``result.json`` last.
    experiment : ClassificationExperiment
        Its settings.
    draw : Draw
        On what.
    arm : str
        Which of the method's arms.
    progress : callable
        Called during the work.
    """
    import pandas as pd

    from aoi_tl.classification.classifier import (
        build_classifier,
        predict,
        probe_classifier,
        recalibrate,
        start_from_probe,
    )
    from aoi_tl.classification.encoders import build_encoder
    from aoi_tl.classification.robustness import adversarial_training
    from aoi_tl.classification.training import train

    settings, stage = experiment.train, f"stages/{arm}-s{draw.seed}"
    encoder = build_encoder(experiment.encoder, experiment.weights, draw.seed)
    write_ledger(run, stage, encoder)
    classifier = build_classifier(
        encoder, len(draw.target.classes), len(draw.source.classes),
        "shared" if experiment.method == "two-stage" else settings.head, draw.seed,
    )
    classifier.module.to(device_name(experiment.device))
    streams: dict[Domain, BatchStream] = {
        domain: BatchStream(
            pixels, settings.batch, draw.seed, Augmentation(settings.flip, settings.rotation),
            _factors(experiment, images),
        )
        for domain, pixels, images in _domains(draw)
    }
    steps, rate = plan_steps(experiment, draw, arm), settings.learning_rate
    if arm == "lp-ft":  # a head that is right already, so that the encoder need not move for it
        head = classifier.heads["target" if "target" in classifier.heads else "joint"]
        start_from_probe(head, _fit_probe(encoder, draw), classifier.slices["target"])
        rate *= AFTER_PROBE
    checkpoint = run.path / stage / "last.pt"
    started = time.perf_counter()
    history = train(
        classifier, steps, streams, alpha=settings.alpha, beta=settings.beta,
        learning_rate=rate, encoder_rate=settings.encoder_rate,
        frozen_statistics=settings.frozen_statistics or arm == "lp-ft",
        class_weights=_weights(experiment, draw),
        attack=adversarial_training(classifier, settings.adversarial)
        if settings.adversarial else None,
        checkpoint=checkpoint,
        progress=lambda done: progress(f"{arm}, seed {draw.seed}", done, len(steps)),
    )
    # An arm that never saw the target has no business with the target's statistics.
    if settings.statistics == "target" and set(steps) != {"source"}:
        recalibrate(classifier, streams["target"])
    is_probed = arm.startswith("probe+")
    if is_probed:
        classifier = probe_classifier(encoder, _fit_probe(encoder, draw))
    chances = predict(classifier, draw.target_test)
    run.write_table(f"{stage}/losses.csv", pd.DataFrame(
        {"step": history.step, "domain": history.domain, "loss": history.loss}
    ))
    if experiment.method == "cdg":
        length = len(cycle_of(experiment).steps)
        run.write_table(f"{stage}/cycles.csv", pd.DataFrame([
            vars(loss) for loss in cdg.cycle_losses(history, length, settings.alpha, settings.beta)
        ]))
    keep_tested(run, experiment, draw, arm, Tested(
        classifier, encoder, chances, steps, started, history.waiting_share,
        [] if is_probed else list(draw.source.classes),
    ), progress)
    checkpoint.unlink(missing_ok=True)


def _fit_probe(encoder: Encoder, draw: Draw) -> Probe:
    """Fit a probe on the target's training images, as an encoder sees them now."""
    features = compute_features(encoder.module, draw.target_train, choose_views(draw.target_train))
    return fit_probe(features, draw.target_train.labels, len(draw.target.classes), draw.seed)


@dataclass(frozen=True, eq=False)
class Tested:
    """A classifier that has been trained and tested.

    Attributes
    ----------
    classifier : Classifier
        With the heads of ``source_classes`` and of the target's classes.
    encoder : Encoder
        What it is built on.
    chances : ndarray of shape (n, classes)
        Probabilities of the target's test images.
    steps : sequence of {"source", "target", "joint"}
        What was spent on it.
    started : float
        When its training began, as `time.perf_counter` has it.
    waiting_share : float
        Share of the training spent on waiting for images.
    source_classes : list of str
        None where the source took no part.
    """

    classifier: Classifier
    encoder: Encoder
    chances: np.ndarray
    steps: Sequence[Step]
    started: float
    waiting_share: float
    source_classes: list[str]


def keep_tested(
    run: RunFolder, experiment: ClassificationExperiment, draw: Draw, arm: str, tested: Tested,
    progress: Progress,
) -> None:
    """Write the predictions of a trained classifier and its model; ``result.json`` comes last.

    Parameters
    ----------
    run : RunFolder
        Gets ``predictions.csv``, ``probabilities.csv``, ``coverage.csv``, ``robustness.csv``,
        ``model.pt``, maps of the first seed, and ``result.json`` in ``stages/<arm>-s<seed>/``.
    experiment, draw, arm
        What was trained, and on what.
    tested : Tested
        The classifier and its probabilities.
    progress : callable
        Called during the work.
    """
    import pandas as pd

    from aoi_tl.classification.classifier import save_classifier

    stage, given = f"stages/{arm}-s{draw.seed}", tested.chances.argmax(axis=1)
    scores = score_predictions(draw.target_test.labels, given, draw.target.classes)
    images = draw.target.split("test")
    run.write_table(f"{stage}/predictions.csv", pd.DataFrame({
        "image": [str(image) for image in images.images],
        "class": [images.classes[label] for label in images.labels],
        "predicted": [images.classes[label] for label in given],
        "probability": tested.chances.max(axis=1).round(6),
        "group": list(images.groups),
        **({"depth": images.depth} if images.depth != 16 else {}),
    }))
    curve = measure_coverage(tested.chances, images.labels)
    run.write_table(f"{stage}/coverage.csv", pd.DataFrame({
        "threshold": curve.threshold.round(6), "coverage": curve.coverage,
        "accuracy": curve.accuracy,
    }))
    run.write_table(f"{stage}/probabilities.csv", pd.DataFrame(
        tested.chances.round(6), columns=list(images.classes)
    ))
    save_classifier(
        tested.classifier, run.path / stage / "model.pt", encoder=experiment.encoder, arm=arm,
        classes=list(draw.target.classes), source_classes=tested.source_classes,
        image_size=experiment.train.image_size,
    )
    _measure_wear(run, experiment, draw, tested.classifier, stage, progress)
    if draw.seed == experiment.seeds[0]:
        _draw_maps(run, experiment, draw, tested.classifier, tested.encoder, stage)
    run.write_json(f"{stage}/result.json", {
        **result_row(experiment, scores, arm, draw.seed, tested.steps),
        "ece": measure_reliability(tested.chances, draw.target_test.labels).error,
        **_decided(tested.chances, draw.target_test.labels, experiment.report.reject),
        "confusion": scores.confusion.tolist(), "classes": list(scores.classes),
        "seconds": round(time.perf_counter() - tested.started, 3),
        "waiting_share": round(tested.waiting_share, 4),
    })


def _decided(chances: np.ndarray, labels: np.ndarray, reject: float) -> dict[str, float | None]:
    """Coverage, and the accuracy on decided images, if uncertain images are rejected."""
    if not reject:
        return {}
    decided = chances.max(axis=1) >= reject
    right = (chances.argmax(axis=1) == labels)[decided]
    return {"coverage": float(decided.mean()),
            "decided_accuracy": float(right.mean()) if len(right) else None}


def write_ledger(run: RunFolder, stage: str, encoder: Encoder) -> None:
    """Write which tensors of an encoder were loaded, and from where, to ``ledger.json``."""
    run.write_json(f"{stage}/ledger.json", {
        "encoder": encoder.name, "features": encoder.feature_size,
        "origin": encoder.loaded.origin, "loaded": list(encoder.loaded.loaded),
        "initialised": list(encoder.loaded.initialised), "left_out": list(encoder.loaded.unused),
    })


def result_row(
    experiment: ClassificationExperiment, scores: ClassificationScores, arm: str, seed: int,
    steps: Sequence[Step],
) -> dict[str, Any]:
    """Put the numbers of one arm and seed in one row.

    Parameters
    ----------
    experiment : ClassificationExperiment
        Says which classes have shifted.
    scores : ClassificationScores
        On the target's test images.
    arm, seed
        Whose they are.
    steps : sequence of {"source", "target", "joint"}
        What was spent.

    Returns
    -------
    dict
        A row of ``arms.csv``.
    """
    row: dict[str, Any] = {
        "arm": arm, "seed": seed, "accuracy": scores.accuracy, "macro_f1": scores.macro_f1,
        "balanced_accuracy": scores.balanced_accuracy, "majority_share": scores.majority_share,
    }
    if experiment.shifted_classes:
        row["shifted_f1"] = scores.f1_of(experiment.shifted_classes)
    for name, value in zip(scores.classes, scores.per_class, strict=True):
        row[f"accuracy {name}"] = None if math.isnan(value) else value
    return row | {
        "steps": len(steps),
        "target_steps": sum(step != "source" for step in steps),
        "source_steps": sum(step != "target" for step in steps),
    }


def device_name(device: str) -> str:
    """Give PyTorch's name of a device: ``0`` is a GPU here as it is for Ultralytics.

    Examples
    --------
    >>> device_name("0"), device_name("cpu")
    ('cuda:0', 'cpu')
    """
    return f"cuda:{device}" if device.isdigit() else device


def _measure_wear(
    run: RunFolder, experiment: ClassificationExperiment, draw: Draw, classifier: Classifier,
    stage: str, progress: Progress,
) -> None:
    import pandas as pd

    from aoi_tl.classification.robustness import STRENGTHS, measure_robustness

    if not experiment.report.robustness:
        return
    rows, total = [], 1 + sum(len(STRENGTHS[name]) for name in experiment.report.robustness)
    for row in measure_robustness(
        classifier, draw.target_test, experiment.report.robustness, draw.seed
    ):
        rows.append({"change": row.change, "strength": round(row.strength, 6),
                     "accuracy": row.accuracy})
        progress(f"{stage.removeprefix('stages/')}: robustness", len(rows), total)
    run.write_table(f"{stage}/robustness.csv", pd.DataFrame(rows))


def _draw_maps(
    run: RunFolder, experiment: ClassificationExperiment, draw: Draw, classifier: Classifier,
    encoder: Encoder, stage: str,
) -> None:
    """Draw where the classifier looks, in test images of every class in turn."""
    import torch

    from aoi_tl.classification.attribution import attribution_maps
    from aoi_tl.report.classification_figures import draw_maps

    places = spread_over_classes(draw.target_test.labels, experiment.report.maps)
    if not len(places):
        return
    images = draw.target_test.batch(places).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(draw.target_test.labels[places])
    device: torch.device = next(classifier.module.parameters()).device
    maps = attribution_maps(classifier, images.to(device), labels.to(device), encoder.map_layer)
    run.write(f"{stage}/maps.png", draw_maps(
        images.permute(0, 2, 3, 1).numpy(), maps,
        [draw.target.classes[label] for label in draw.target_test.labels[places]],
    ))


def spread_over_classes(labels: np.ndarray, count: int) -> np.ndarray:
    """Choose images of every class in turn.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        The class of every image.
    count : int
        How many at most.

    Returns
    -------
    ndarray of int64
        Places in ``labels``, ordered by class.

    Examples
    --------
    >>> spread_over_classes(np.array([0, 0, 0, 1, 2]), 4).tolist()
    [0, 1, 3, 4]
    """
    turns = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        turns[labels == label] = np.arange((labels == label).sum())
    chosen = np.lexsort((labels, turns))[:count]
    return chosen[np.lexsort((chosen, labels[chosen]))]
