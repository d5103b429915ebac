"""The two domains of a classification run: reading, checking, and drawing images per seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aoi_tl.classification import two_stage
from aoi_tl.classification.batches import Pixels, cache_pixels
from aoi_tl.classification.folders import read_image_csv, read_image_folders
from aoi_tl.classification.image_set import (
    ImageSet,
    check_files,
    check_source,
    check_target,
    draw_shots,
    hold_out,
    keep_classes,
)
from aoi_tl.data.depth import find_depth
from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.experiment.classification import ClassificationExperiment, Images
from aoi_tl.experiment.settings import did_you_mean
from aoi_tl.files.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class Draw:
    """The images that one seed trains and tests on."""

    seed: int
    target: ImageSet
    source: ImageSet
    target_train: Pixels
    target_test: Pixels
    source_train: Pixels


def find_encoder(experiment: ClassificationExperiment) -> ClassificationExperiment:
    """Find the encoder's file, if it has one, and check it before any work.

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
        When there is no such encoder, its weights are of another architecture, or it does not
        take images of the size that is asked for.
    """
    from aoi_tl.classification.encoders import build_encoder, check_image_size

    if experiment.encoder.endswith(".pt"):
        from aoi_tl.checkpoints.finding import find_checkpoint

        found = find_checkpoint(experiment.encoder, [Path("weights")])
        experiment = experiment.model_copy(update={"encoder": str(found)})
    if not experiment.weights_may_run_code:
        check_image_size(
            build_encoder(experiment.encoder, experiment.weights), experiment.train.image_size
        )
    return experiment


def trust_encoder(
    run: RunFolder, experiment: ClassificationExperiment
) -> ClassificationExperiment:
    """Open trusted files of an encoder, which may run code, and use their tensors from then on.

    Parameters
    ----------
    run : RunFolder
        Gets the tensors, as ``weights/trusted-*.pt``.
    experiment : ClassificationExperiment
        Its encoder is found.

    Returns
    -------
    ClassificationExperiment
        With the new files in the place of the old.

    Raises
    ------
    CheckpointError, ExperimentError
        When the encoder still cannot be used.
    """
    if not experiment.weights_may_run_code:
        return experiment
    from aoi_tl.checkpoints.trusted import rebuild_trusted, rebuild_trusted_state
    from aoi_tl.classification.encoders import build_encoder

    made = {}
    encoder, weights = Path(experiment.encoder), Path(experiment.weights)
    if encoder.is_file():
        clean = run.path / f"weights/trusted-encoder-{encoder.stem}.pt"
        made["encoder"] = str(rebuild_trusted(encoder, clean, ("classify", "detect")))
    if weights.is_file():
        clean = run.path / f"weights/trusted-weights-{weights.stem}.pt"
        made["weights"] = str(rebuild_trusted_state(weights, clean))
    trusted = experiment.model_copy(update=made)
    build_encoder(trusted.encoder, trusted.weights)
    return trusted


def read_images(images: Images, depth: int | None = None) -> ImageSet:
    """Read one domain according to its settings.

    Parameters
    ----------
    images : Images
        With an absolute path.
    depth : int, optional
        How many bits the images use where their files store 16; else found.

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
    known = find_depth(found.images, depth)
    notes = [known.note] if known.note else []
    notes += [f"mixed depths: {known.mixed}"] if known.mixed else []
    found = replace(found, depth=known.bits, notes=tuple(notes))
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
    target, source = (
        read_images(images, experiment.depth) for images in (experiment.target, experiment.source)
    )
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
