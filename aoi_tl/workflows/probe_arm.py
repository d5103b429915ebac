"""An arm with a frozen encoder: compute features once, fit a linear classifier, test it."""

from __future__ import annotations

import time

from aoi_tl.classification.features import AS_IT_IS, cache_features, choose_views
from aoi_tl.classification.probe import fit_nearest_mean, fit_probe
from aoi_tl.experiment.classification import ClassificationExperiment
from aoi_tl.files.run_folder import RunFolder
from aoi_tl.workflows.classifier_arms import Tested, device_name, keep_tested, write_ledger
from aoi_tl.workflows.domains import Draw
from aoi_tl.workflows.progress import Progress

FITS = {"probe": fit_probe, "nearest-mean": fit_nearest_mean}


def probe_arm(
    run: RunFolder, experiment: ClassificationExperiment, draw: Draw, arm: str, progress: Progress
) -> None:
    """Fit one frozen arm on one seed's images, test it, and keep all of it as one stage.

    Parameters
    ----------
    run : RunFolder
        Gets ``stages/<arm>-s<seed>/`` as a trained arm leaves it, but for losses, and
        ``probe.json`` with what was chosen on held-out training images.
    experiment : ClassificationExperiment
        Names the encoder.
    draw : Draw
        On what.
    arm : str
        ``probe``, ``nearest-mean`` or ``patch-probe``.
    progress : callable
        Called during the work.
    """
    from aoi_tl.classification.classifier import probe_classifier
    from aoi_tl.classification.encoders import build_encoder
    from aoi_tl.classification.patches import (
        ARM,
        build_patch_encoder,
        fit_patch_probe,
        patch_classifier,
    )

    stage, cache = f"stages/{arm}-s{draw.seed}", run.path / "cache"
    encoder = build_encoder(experiment.encoder, experiment.weights, draw.seed)
    write_ledger(run, stage, encoder)
    encoder.module.to(device_name(experiment.device))
    by_patches = arm == ARM
    views = AS_IT_IS if by_patches else choose_views(draw.target_train)
    total = len(draw.target_train) * len(views) + len(draw.target_test)
    patches = build_patch_encoder(encoder, experiment.train.image_size) if by_patches else None
    if patches is not None:
        encoder = patches.encoder

    def report(done: int) -> None:
        progress(f"{arm}, seed {draw.seed}", done, total)

    # The arms see the same images, and all seeds the same test images: each is computed once.
    tested = cache_features(encoder.module, draw.target_test, cache, progress=report)
    features = cache_features(encoder.module, draw.target_train, cache, views, progress=report)
    started, classes = time.perf_counter(), len(draw.target.classes)
    if patches is None:
        probe = FITS[arm](features, draw.target_train.labels, classes, draw.seed)
        classifier, chances = probe_classifier(encoder, probe), probe.probabilities(tested[:, 0])
    else:
        fitted = fit_patch_probe(
            features[:, 0], draw.target_train.labels, classes, patches, draw.seed
        )
        probe, classifier = fitted.probe, patch_classifier(patches, fitted)
        chances = fitted.probabilities(tested[:, 0])
    run.write_json(f"{stage}/probe.json", {
        "strength": probe.strength, "temperature": probe.temperature, "held_out": probe.held_out,
        "images": len(features), "views": len(views), "features": probe.mean.size,
    })
    keep_tested(run, experiment, draw, arm, Tested(
        classifier, encoder, chances, (), started, 0.0, [],
    ), progress)
