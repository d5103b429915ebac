"""Classification with little data: CDG for lithium surfaces, two-stage transfer for SEM images."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.classification import cdg, two_stage
from aoi_tl.classification.batches import Augmentation, BatchStream, Pixels, cache_pixels
from aoi_tl.classification.folders import (
    ImageSet,
    check_files,
    check_source,
    check_target,
    draw_shots,
    hold_out,
    keep_classes,
    read_image_csv,
    read_image_folders,
)
from aoi_tl.classification.imbalance import class_weights, oversampled_counts
from aoi_tl.classification_experiment import (
    ClassificationExperiment,
    Images,
    locate_images,
)
from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.evaluation.classification import ClassificationScores, score_predictions
from aoi_tl.evaluation.comparison import summarise
from aoi_tl.runs import RunFolder, environment, file_hash, open_run
from aoi_tl.settings import did_you_mean, read_settings
from aoi_tl.workflows.progress import Tell, silent

if TYPE_CHECKING:
    import pandas
    import torch

    from aoi_tl.classification.classifier import Classifier, Domain
    from aoi_tl.classification.encoders import Encoder
    from aoi_tl.classification.training import Step

BASELINES = {"cdg": ("plain", "pretrained"), "two-stage": ("pretraining-only", "fine-tuning-only")}


@dataclass(frozen=True)
class ClassificationOutcome:
    """What a classification run came to.

    Attributes
    ----------
    folder : Path
        The run folder.
    arms : DataFrame
        A row per arm and seed, as in ``arms.csv``.
    summary : DataFrame
        Means, deviations, intervals and paired differences, as in ``summary.csv``.
    """

    folder: Path
    arms: pandas.DataFrame
    summary: pandas.DataFrame


@dataclass(frozen=True, eq=False)
class Draw:
    """What one seed trains and tests on."""

    seed: int
    target: ImageSet
    source: ImageSet
    target_train: Pixels
    target_test: Pixels
    source_train: Pixels


def run_classification(
    experiment: ClassificationExperiment | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    data_root: str | Path | None = None,
    overrides: Sequence[str] = (),
    tell: Tell = silent,
) -> ClassificationOutcome:
    """Train every arm of a classification system for every seed, and hold them against each other.

    Parameters
    ----------
    experiment : ClassificationExperiment, str or Path
        What is to be done, or the YAML file that says so.
    out : str or Path
        The run folder: new, or the one to go on with.
    resume : bool
        Go on from the last finished arm, and within an arm from its last cycle.
    data_root : str or Path, optional
        The folder that a leading ``../datasets/`` of the experiment's paths stands for.
    overrides : sequence of str
        ``"train.epochs=3"`` and the like, for an experiment given as a file.
    tell : callable
        Told ``(what, done, total)`` as the work goes on.

    Returns
    -------
    ClassificationOutcome
        Also written in the run folder, with confusion matrices, losses, figures and a report.

    Raises
    ------
    AoiTlError
        For settings, data, checkpoints or folders that cannot be used.

    Examples
    --------
    >>> outcome = run_classification("experiments/lithium-cdg.yaml",
    ...                              "runs/lithium")  # doctest: +SKIP
    """
    if not isinstance(experiment, ClassificationExperiment):
        experiment = read_settings(experiment, ClassificationExperiment, overrides)
    experiment = find_encoder(locate_images(experiment, data_root))
    target, source = read_domains(experiment)
    check_named_classes(experiment, target)
    weights = {
        key: file_hash(Path(value)) if Path(value).is_file() else value
        for key, value in (("encoder", experiment.encoder), ("weights", experiment.weights))
    }
    fingerprint = {
        "experiment": experiment.model_dump(
            mode="json", exclude={"encoder": True, "weights": True, "report": True,
                                  "target": {"path"}, "source": {"path"}}
        ),
        "data": {"target": target.fingerprint(), "source": source.fingerprint()},
        **weights,
    }
    with open_run(out, fingerprint, resume) as run:
        record(run, experiment, fingerprint, target, source)
        rows = []
        for seed in experiment.seeds:
            missing = [arm for arm in experiment.arms if _stage(run, arm, seed) is None]
            if missing:
                tell("decoding images", 0, 1)
                draw = draw_seed(run, experiment, target, source, seed)
                for arm in missing:
                    train_arm(run, experiment, draw, arm, tell)
            rows += [_read_stage(run, arm, seed) for arm in experiment.arms]
        arms, summary = compare(run, experiment, rows)
        run.mark_done()
    return ClassificationOutcome(run.path, arms, summary)


# ------------------------------------------------------------------------------- what comes in


def find_encoder(experiment: ClassificationExperiment) -> ClassificationExperiment:
    """Find the encoder's file where it is one, and see that it can be used, before any work.

    Parameters
    ----------
    experiment : ClassificationExperiment
        Names an encoder: a network, a checkpoint's name or a checkpoint's path.

    Returns
    -------
    ClassificationExperiment
        A ``.pt`` with its path; it is looked for in ``weights`` and then downloaded.

    Raises
    ------
    CheckpointError, ExperimentError
        When there is no such encoder, or its weights are of another architecture.
    """
    from aoi_tl.classification.encoders import build_encoder

    if experiment.encoder.endswith(".pt"):
        from aoi_tl.transfer.yolo import find_checkpoint

        found = find_checkpoint(experiment.encoder, [Path("weights")])
        experiment = experiment.model_copy(update={"encoder": str(found)})
    build_encoder(experiment.encoder, experiment.weights)
    return experiment


def read_images(images: Images) -> ImageSet:
    """Read one domain as its settings say.

    Parameters
    ----------
    images : Images
        With an absolute path.

    Returns
    -------
    ImageSet
        With the classes that are asked for, in that order.

    Raises
    ------
    DataError
        When it cannot be read.
    """
    path = Path(images.path)
    found = (
        read_image_folders(path) if path.is_dir()
        else read_image_csv(path, images.image, images.class_columns, images.split, images.group,
                            images.pattern)
    )
    return keep_classes(found, images.classes) if images.classes else found


def read_domains(experiment: ClassificationExperiment) -> tuple[ImageSet, ImageSet]:
    """Read and check both domains.

    Parameters
    ----------
    experiment : ClassificationExperiment
        With absolute paths.

    Returns
    -------
    target, source : ImageSet
        Of two-stage transfer, both with the source's classes.

    Raises
    ------
    DataError, ExperimentError
        When one of them cannot be read or used.
    """
    target, source = read_images(experiment.target), read_images(experiment.source)
    if experiment.target.test_share is not None:
        if "test" in target.splits:
            raise ExperimentError(
                f"{experiment.where('target', 'test_share')}: expected a target without a test "
                "split to hold images out of, got one that has it; leave test_share out"
            )
        # The test images are the same for every seed, which draws other training images only.
        target = hold_out(target, experiment.target.test_share, np.random.default_rng(0))
    check_files(check_target(target))
    check_files(check_source(source))
    for domain, images, shots in (
        ("target", target, experiment.target.shots), ("source", source, experiment.source.shots)
    ):
        if shots and set(shots) != set(images.classes):
            raise ExperimentError(
                f"{experiment.where(domain, 'shots')}: expected a number for each class of "
                f"{images.name} ({', '.join(images.classes)}), got {', '.join(shots)}; name them "
                "all, or leave the others out with classes"
            )
    if experiment.method == "two-stage":
        try:
            classes = two_stage.join_classes(source.classes, target.classes)
        except ValueError as error:
            raise DataError(
                f"{error}; name them alike, or leave the others out with target.classes"
            ) from None
        place = np.array([classes.index(name) for name in target.classes])
        target = replace(target, classes=classes, labels=place[target.labels])
    return target, source


def check_named_classes(experiment: ClassificationExperiment, target: ImageSet) -> None:
    """Check that the classes which the settings name are the target's."""
    for keys, names in (
        (("imbalance", "oversample"), experiment.imbalance.oversample),
        (("shifted_classes",), experiment.shifted_classes),
    ):
        for name in names:
            if name not in target.classes:
                raise ExperimentError(
                    f"{experiment.where(*keys)}: expected classes of {target.name} "
                    f"({', '.join(target.classes)}), got {name!r}"
                    + did_you_mean(name, target.classes)
                )


def record(
    run: RunFolder, experiment: ClassificationExperiment, fingerprint: Mapping[str, Any],
    target: ImageSet, source: ImageSet,
) -> None:
    """Write down the resolved experiment, the counts, and all that a repetition needs."""
    import pandas as pd
    import yaml

    resolved = experiment.model_dump(mode="json")
    run.write("experiment.yaml", yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))
    run.write_json(
        "environment.json",
        environment(
            device=experiment.device, seeds=list(experiment.seeds), data=fingerprint["data"],
            weights={"name": experiment.encoder, "sha256": fingerprint["encoder"]},
            repeat="aoi-tl classify experiment.yaml --out ANOTHER_FOLDER",
        ),
    )
    run.write_table("counts.csv", pd.DataFrame([
        {"domain": domain, "class": name, "split": split, "images": count}
        for domain, images in (("target", target), ("source", source))
        for split in dict.fromkeys(images.splits)
        for name, count in images.split(split).counts.items()
    ]))


def draw_seed(
    run: RunFolder, experiment: ClassificationExperiment, target: ImageSet, source: ImageSet,
    seed: int,
) -> Draw:
    """Draw a seed's training images and make all pixels ready.

    Parameters
    ----------
    run : RunFolder
        Keeps the pixels as mapped files, decoded once for all seeds.
    experiment : ClassificationExperiment
        Says how many images to draw.
    target, source : ImageSet
        Both domains.
    seed : int
        Of the draw.

    Returns
    -------
    Draw
        The same for every arm.
    """
    if experiment.target.shots:
        target = draw_shots(target, experiment.target.shots, np.random.default_rng((seed, 7)))
    if experiment.source.shots:
        source = draw_shots(source, experiment.source.shots, np.random.default_rng((seed, 8)))
    size, cache = experiment.train.image_size, run.path / "cache"
    return Draw(
        seed, target, source,
        cache_pixels(target.split("train"), size, cache),
        cache_pixels(target.split("test"), size, cache),
        cache_pixels(source.split("train"), size, cache),
    )


# ------------------------------------------------------------------------------- train and test


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
    if experiment.method == "cdg":
        cycle = cycle_of(experiment)
        cycles = cdg.count_cycles(len(draw.source_train), train.batch, train.epochs, cycle)
        return cdg.arm_steps(arm, cycles, cycle, train.count)
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
    run: RunFolder, experiment: ClassificationExperiment, draw: Draw, arm: str, tell: Tell
) -> None:
    """Train one arm on one seed's images, test it, and keep all of it as one stage.

    Parameters
    ----------
    run : RunFolder
        Gets ``stages/<arm>-s<seed>/``: ``ledger.json``, ``losses.csv``, ``cycles.csv``,
        ``predictions.csv``, ``robustness.csv``, ``model.pt``, and ``result.json`` last.
    experiment : ClassificationExperiment
        How.
    draw : Draw
        On what.
    arm : str
        Which of the method's arms.
    tell : callable
        Told how far it is.
    """
    import pandas as pd

    from aoi_tl.classification.classifier import (
        build_classifier,
        predict,
        recalibrate,
        save_classifier,
    )
    from aoi_tl.classification.encoders import build_encoder
    from aoi_tl.classification.robustness import adversarial_training
    from aoi_tl.classification.training import train

    settings, stage = experiment.train, f"stages/{arm}-s{draw.seed}"
    encoder = build_encoder(experiment.encoder, experiment.weights, draw.seed)
    run.write_json(f"{stage}/ledger.json", {
        "encoder": encoder.name, "features": encoder.feature_size,
        "origin": encoder.loaded.origin, "loaded": list(encoder.loaded.loaded),
        "initialised": list(encoder.loaded.initialised), "left_out": list(encoder.loaded.unused),
    })
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
    steps = plan_steps(experiment, draw, arm)
    checkpoint = run.path / stage / "last.pt"
    started = time.perf_counter()
    history = train(
        classifier, steps, streams, alpha=settings.alpha, beta=settings.beta,
        learning_rate=settings.learning_rate, class_weights=_weights(experiment, draw),
        attack=adversarial_training(classifier, settings.adversarial)
        if settings.adversarial else None,
        checkpoint=checkpoint,
        progress=lambda done: tell(f"{arm}, seed {draw.seed}", done, len(steps)),
    )
    # An arm that never saw the target has no business with the target's statistics.
    if settings.statistics == "target" and set(steps) != {"source"}:
        recalibrate(classifier, streams["target"])
    chances = predict(classifier, draw.target_test)
    scores = score_predictions(
        draw.target_test.labels, chances.argmax(axis=1), draw.target.classes
    )
    run.write_table(f"{stage}/losses.csv", pd.DataFrame(
        {"step": history.step, "domain": history.domain, "loss": history.loss}
    ))
    if experiment.method == "cdg":
        length = len(cycle_of(experiment).steps)
        run.write_table(f"{stage}/cycles.csv", pd.DataFrame([
            vars(loss) for loss in cdg.cycle_losses(history, length, settings.alpha, settings.beta)
        ]))
    tested = draw.target.split("test")
    run.write_table(f"{stage}/predictions.csv", pd.DataFrame({
        "image": [str(image) for image in tested.images],
        "class": [tested.classes[label] for label in tested.labels],
        "predicted": [tested.classes[label] for label in chances.argmax(axis=1)],
        "probability": chances.max(axis=1).round(6),
    }))
    save_classifier(
        classifier, run.path / stage / "model.pt", encoder=experiment.encoder, arm=arm,
        classes=list(draw.target.classes), source_classes=list(draw.source.classes),
        image_size=settings.image_size,
    )
    _measure_wear(run, experiment, draw, classifier, stage, tell)
    if draw.seed == experiment.seeds[0]:
        _draw_maps(run, experiment, draw, classifier, encoder, stage)
    run.write_json(f"{stage}/result.json", {
        **result_row(experiment, scores, arm, draw.seed, steps),
        "confusion": scores.confusion.tolist(), "classes": list(scores.classes),
        "seconds": round(time.perf_counter() - started, 3),
        "waiting_share": round(history.waiting_share, 4),
    })
    checkpoint.unlink(missing_ok=True)


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
    stage: str, tell: Tell,
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
        tell(f"{stage.removeprefix('stages/')}: robustness", len(rows), total)
    run.write_table(f"{stage}/robustness.csv", pd.DataFrame(rows))


def _draw_maps(
    run: RunFolder, experiment: ClassificationExperiment, draw: Draw, classifier: Classifier,
    encoder: Encoder, stage: str,
) -> None:
    """Draw where the classifier looks, in test images of every class in turn."""
    import torch

    from aoi_tl.classification.attribution import attribution_maps
    from aoi_tl.report.classification import draw_maps

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


# ------------------------------------------------------------------------------- compare and show


def compare(
    run: RunFolder, experiment: ClassificationExperiment, rows: Sequence[Mapping[str, Any]]
) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Hold the arms against each other, and write tables, figures and page.

    Parameters
    ----------
    run : RunFolder
        With every stage done.
    experiment : ClassificationExperiment
        Names the method and its baselines.
    rows : sequence of mapping
        The stages' results.

    Returns
    -------
    arms, summary : DataFrame
        As in ``arms.csv`` and ``summary.csv``.
    """
    import pandas as pd

    from aoi_tl.report.classification import write_classification_page

    apart = {"confusion", "classes", "seconds", "waiting_share"}
    arms = pd.DataFrame([{key: value for key, value in row.items() if key not in apart}
                         for row in rows])
    metrics = [name for name in ("accuracy", "macro_f1", "balanced_accuracy", "shifted_f1")
               if name in arms]
    summary = summarise(arms, metrics, BASELINES[experiment.method])
    run.write_table("arms.csv", arms)
    run.write_table("summary.csv", summary)
    run.write_table("timings.csv", pd.DataFrame([
        {key: row[key] for key in ("arm", "seed", "seconds", "waiting_share")} for row in rows
    ]))
    run.write_table("confusion.csv", pd.DataFrame([
        {"arm": row["arm"], "seed": row["seed"], "class": name, "predicted": other,
         "images": row["confusion"][i][j]}
        for row in rows
        for i, name in enumerate(row["classes"]) for j, other in enumerate(row["classes"])
    ]))
    wear = []
    for row in rows:
        file = run.path / f"stages/{row['arm']}-s{row['seed']}/robustness.csv"
        if file.is_file():
            table = pd.read_csv(file)
            wear.append(table.assign(arm=row["arm"], seed=row["seed"]))
    if wear:
        run.write_table("robustness.csv", pd.concat(wear)[
            ["arm", "seed", "change", "strength", "accuracy"]
        ])
    write_classification_page(run, experiment.report.samples)
    return arms, summary


def _stage(run: RunFolder, arm: str, seed: int) -> Path | None:
    file = run.path / f"stages/{arm}-s{seed}/result.json"
    return file if file.is_file() else None


def _read_stage(run: RunFolder, arm: str, seed: int) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(
        (run.path / f"stages/{arm}-s{seed}/result.json").read_text(encoding="utf-8")
    )
    return row
