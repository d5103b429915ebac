"""Every arm by the number of training images: the runs and the table."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from classification_rows import (
    BATCH,
    CLASSES,
    LITE,
    RESULTS,
    SHOTS,
    TESTED,
    append,
    draw_tiles,
    interval,
    open_encoder,
    read_done,
    read_steel,
    read_tiles,
    scored,
)

from aoi_tl.classification import cdg
from aoi_tl.classification.batches import BatchStream, Pixels, cache_pixels
from aoi_tl.classification.classifier import (
    Classifier,
    Domain,
    build_classifier,
    predict,
    recalibrate,
    start_from_probe,
)
from aoi_tl.classification.features import AS_IT_IS, VIEWS, cache_features, compute_features
from aoi_tl.classification.image_set import ImageSet
from aoi_tl.classification.patches import build_patch_encoder, fit_patch_probe
from aoi_tl.classification.probe import fit_nearest_mean, fit_probe
from aoi_tl.classification.training import train
from aoi_tl.evaluation.bootstrap import Interval
from aoi_tl.evaluation.comparison import estimate
from aoi_tl.evaluation.per_class import bootstrap_classes, bootstrap_difference

DRAWS, CHOSEN = 10, 5  # draws, and those that settings were chosen on
FROZEN, FROZEN_SIZE = ("nearest-mean", "probe", "patch-probe"), 224
ENCODERS = ("yolo26n-cls.pt", LITE, "yolov8n.pt")
TRAINED_SIZE, EPOCHS, RATE, AFTER_PROBE = 128, 2, 0.001, 0.1
CYCLE = cdg.Cycle(50, 10)
#: A slow encoder: a tenth of the heads' rate, statistics of batch normalisation kept.
SLOW, SLOW_RATE = " slow", 0.1
#: What is trained, in this order, and the probe that is fitted on the encoder it leaves.
GROUPS = {
    "lp-ft": None, "cdg" + SLOW: "probe+cdg" + SLOW,
    "pretrained" + SLOW: "probe+source" + SLOW, "cdg": "probe+cdg", "plain": None,
    "multi-task": "probe+multi-task", "pretrained": "probe+source",
}


def run_frozen(shared: Path, file: Path, kept: Path, encoders: Sequence[str]) -> None:
    """Fit the arms on frozen features, ten draws of each number of images."""
    import torch

    torch.set_num_threads(1)
    tiles, done = read_tiles(shared), read_done(file)
    drawn = {(images, draw): draw_tiles(tiles, images, draw).split("train")
             for images in SHOTS for draw in range(DRAWS)}
    train_tiles = tiles.split("train")
    place = {path: number for number, path in enumerate(train_tiles.images)}
    train_pixels = cache_pixels(train_tiles, FROZEN_SIZE)
    test = cache_pixels(tiles.split("test"), FROZEN_SIZE)
    for name in encoders:
        encoder = open_encoder(shared / "weights", name)
        patches = build_patch_encoder(encoder, FROZEN_SIZE)
        for arm in FROZEN:
            if all((f"few-{images}", name, arm, draw) in done for images, draw in drawn):
                continue
            module = (patches.encoder if arm == "patch-probe" else encoder).module
            views = AS_IT_IS if arm == "patch-probe" else VIEWS
            seen = cache_features(module, train_pixels, kept, views)
            tested = cache_features(module, test, kept)[:, 0]
            for (images, draw), few in drawn.items():
                if (f"few-{images}", name, arm, draw) in done:
                    continue
                started = time.perf_counter()
                rows = seen[[place[path] for path in few.images]]
                if arm == "patch-probe":
                    fitted = fit_patch_probe(rows[:, 0], few.labels, len(CLASSES), patches, draw)
                    chances = fitted.probabilities(tested)
                else:
                    fit = fit_probe if arm == "probe" else fit_nearest_mean
                    chances = fit(rows, few.labels, len(CLASSES), draw).probabilities(tested)
                append(file, [{
                    "setting": f"few-{images}", "encoder": name, "arm": arm, "draw": draw,
                    "statistics": "running", **scored(chances, test.labels, tiles.classes),
                    "steps": 0, "target_steps": 0, "source_steps": 0, "waiting_share": 0.0,
                    "seconds": round(time.perf_counter() - started, 2), "images": images,
                }])
            print(f"{name} {arm}: {len(drawn)} draws", flush=True)


@dataclass(frozen=True, eq=False)
class Material:
    """What all trainings share: images of both domains, and where a source stage is kept."""

    weights: Path
    classes: Sequence[str]
    source: Pixels
    test: Pixels
    probed_test: Pixels
    stage: Path


def run_trained(shared: Path, file: Path, draws: int) -> None:
    """Train what is not in the file yet: every arm and encoder once, then once more, and so on."""
    import torch

    torch.set_num_threads(1)
    tiles, done = read_tiles(shared), read_done(file)
    test = tiles.split("test")
    with tempfile.TemporaryDirectory() as folder:
        have = Material(
            shared / "weights", tiles.classes,
            cache_pixels(read_steel(shared).split("train"), TRAINED_SIZE),
            cache_pixels(test, TRAINED_SIZE), cache_pixels(test, FROZEN_SIZE),
            Path(folder) / "source.pt",
        )
        for draw, encoder, arm in itertools.product(range(draws), ENCODERS, GROUPS):
            have.stage.unlink(missing_ok=True)
            for images in SHOTS:
                setting = f"few-{images}"
                missing = {name for name in {arm, GROUPS[arm] or arm}
                           if (setting, encoder, name, draw) not in done}
                if not missing:
                    continue
                drawn = draw_tiles(tiles, images, draw).split("train")
                rows = [row for row in measure_arm(have, encoder, arm, draw, drawn)
                        if row["arm"] in missing]
                append(file, [{"setting": setting, "encoder": encoder, "draw": draw,
                               "images": images, **row} for row in rows])
                for row in rows:
                    print(setting, encoder, row["arm"], draw, row["statistics"],
                          row["balanced_accuracy"], row["seconds"], flush=True)


def measure_arm(
    have: Material, name: str, arm: str, draw: int, drawn: ImageSet
) -> Iterator[dict[str, Any]]:
    """Train one arm and test it; fit a probe on the encoder that it leaves, and test that."""
    import torch

    started = time.perf_counter()
    few = cache_pixels(drawn, TRAINED_SIZE)
    classifier = build(have, name, draw)
    if arm == "lp-ft":
        features = compute_features(classifier.encoder, few, VIEWS)
        probe = fit_probe(features, few.labels, len(have.classes), draw)
        start_from_probe(classifier.heads["target"], probe, classifier.slices["target"])
    classifier.module.to(memory_format=torch.channels_last)  # the same sums in less time
    kind, is_slow, probed = arm.removesuffix(SLOW), arm.endswith(SLOW), GROUPS[arm]
    cycles = cdg.count_cycles(len(have.source), BATCH, EPOCHS, CYCLE)
    steps = cdg.arm_steps("plain" if kind == "lp-ft" else kind, cycles, CYCLE)
    source_steps = sum(step != "target" for step in steps)
    streams: dict[Domain, BatchStream] = {
        "target": BatchStream(few, BATCH, draw),
        "source": BatchStream(have.source, BATCH, draw),
    }
    keeps = is_slow or kind == "lp-ft"
    history = train(
        classifier, steps, streams, learning_rate=RATE * (AFTER_PROBE if kind == "lp-ft" else 1),
        encoder_rate=SLOW_RATE if is_slow else 1, frozen_statistics=keeps,
        # The source stage of a draw is the same whatever the target: it is gone on from.
        checkpoint=have.stage if kind == "pretrained" else None, every=source_steps or 1,
    )
    told = {"steps": len(steps), "target_steps": sum(step != "source" for step in steps),
            "source_steps": source_steps, "waiting_share": round(history.waiting_share, 4)}
    if probed:
        left, spent = classifier, told
        if kind == "pretrained":  # the probe comes in the place of the target's steps
            left = build(have, name, draw)
            left.module.load_state_dict(torch.load(have.stage, weights_only=True)["module"])
            spent = {**told, "steps": source_steps, "target_steps": 0}
        pixels = cache_pixels(drawn, FROZEN_SIZE)
        probe = fit_probe(compute_features(left.encoder, pixels, VIEWS), pixels.labels,
                          len(have.classes), draw)
        chances = probe.probabilities(compute_features(left.encoder, have.probed_test)[:, 0])
        yield {"arm": probed, "statistics": "running",
               **scored(chances, have.test.labels, have.classes), **spent,
               "seconds": round(time.perf_counter() - started, 1)}
    for statistics in ("running",) if keeps else ("running", "target"):
        if statistics == "target":
            recalibrate(classifier, streams["target"])
        yield {"arm": arm, "statistics": statistics,
               **scored(predict(classifier, have.test), have.test.labels, have.classes), **told,
               "seconds": round(time.perf_counter() - started, 1)}


def build(have: Material, name: str, draw: int) -> Classifier:
    """Put new heads on an encoder."""
    return build_classifier(open_encoder(have.weights, name), len(have.classes),
                            int(have.source.labels.max()) + 1, seed=draw)


def write_few(rows: pd.DataFrame, tiles: ImageSet) -> None:
    """Write the table of all arms by training images, with intervals over test tiles and draws."""
    test = tiles.split("test")
    lines = [
        "# Arms by the number of training images", "",
        f"Magnetic tiles in place of lithium: {', '.join(CLASSES)}. Training images "
        + "; ".join(f"{n}: {'/'.join(str(k) for k in SHOTS[n])}" for n in SHOTS)
        + f". Tested on {TESTED} images of {len(set(test.groups))} tiles never seen. 95 % "
        "intervals by bootstrap over test tiles and draws; *above* is accuracy less that of always "
        "saying free. Draws 0 to 4 chose what patch-probe is made of; *fresh* is the balanced "
        "accuracy of draws 5 to 9 alone.", "",
        f"Frozen arms: {FROZEN_SIZE} px. Trained arms: {TRAINED_SIZE} px, {EPOCHS} passes over the "
        f"source, a learning rate of {RATE}; *slow*: the encoder's rate is {SLOW_RATE} of it, "
        "statistics of batch normalisation kept. *probe+X* is the probe, at "
        f"{FROZEN_SIZE} px, on the encoder that X leaves (source: trained on the source alone). "
        "Statistics of batch normalisation are as training left them (running).", "",
        "    python benchmarks/classification_lithium.py ../shared --frozen "
        "tf_efficientnet_lite0 yolo26n-cls.pt yolov8n.pt",
        "    python benchmarks/classification_lithium.py ../shared --trained 10", "",
        "| images | encoder | arm | draws | accuracy | above | balanced accuracy | fresh | "
        "macro F1 | ECE |", "|---|---|---|---|---|---|---|---|---|---|",
    ]
    classes, coverage, differences = [], [], []
    shown = rows[rows["setting"].str.startswith("few-") & (rows["statistics"] == "running")]
    arms = [*FROZEN, *(name for arm, probed in GROUPS.items() for name in (arm, probed) if name)]
    for images, encoder in itertools.product(SHOTS, ENCODERS):
        here = shown[(shown["images"] == images) & (shown["encoder"] == encoder)]
        given = {arm: _predicted(part) for arm in arms
                 if len(part := here[here["arm"] == arm].sort_values("draw"))}
        for arm, told in given.items():
            part = here[here["arm"] == arm].sort_values("draw")
            found = bootstrap_classes(test.labels, told.to_numpy(), CLASSES, test.groups)
            fresh = part[part["draw"] >= CHOSEN]["balanced_accuracy"]
            lines.append(
                f"| {images} | {encoder} | {arm} | {len(part)} | {_told(found.accuracy)} | "
                f"{_told(found.above_majority, '+')} | {_told(found.balanced_accuracy)} | "
                f"{f'{fresh.mean():.3f}' if len(fresh) else ''} | {part['macro_f1'].mean():.3f} | "
                f"{part['ece'].mean():.3f} |"
            )
            if arm != "probe":
                both = told.index.intersection(given["probe"].index)
                less = bootstrap_difference(
                    test.labels, told.loc[both].to_numpy(), given["probe"].loc[both].to_numpy(),
                    CLASSES, test.groups,
                )
                differences.append(
                    f"| {images} | {encoder} | {arm} | {len(both)} | "
                    f"{_told(less['accuracy'], '+')} | {_told(less['balanced_accuracy'], '+')} |"
                )
            if encoder == LITE and arm in FROZEN:
                classes += [f"| {images} | {arm} | {name} | {_told(found.precision[name])} | "
                            f"{_told(found.recall[name])} |" for name in CLASSES]
                shares = _surest(part, told, test)
                coverage.append(f"| {images} | {arm} | "
                                + " | ".join(f"{share:.3f}" for share in shares) + " |")
    lines += ["", "## Trained arms of the paper's settings less the probe, paired by draw", "",
              "20 images, the same draws; 95 % intervals over the draws (Student's t). Settings: "
              "[classification_lithium.md](classification_lithium.md).", "",
              "| settings | encoder | arm | draws | accuracy | balanced accuracy |",
              "|---|---|---|---|---|---|", *_less_probe(rows),
              "", "## Less the probe, paired by test tile and draw", "",
              "| images | encoder | arm | draws | accuracy | balanced accuracy |",
              "|---|---|---|---|---|---|", *differences, "",
              f"## Accuracy on the surest share of the test images, {LITE}", "",
              "| images | arm | 25 % | 50 % | 75 % | all |", "|---|---|---|---|---|---|", *coverage,
              "", f"## By class, {LITE}", "", "| images | arm | class | precision | recall |",
              "|---|---|---|---|---|", *classes]
    (RESULTS / "classification_few.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _less_probe(rows: pd.DataFrame) -> list[str]:
    """Hold the arms of the paper's settings against the probe, which saw the same images."""
    probes = rows[(rows["setting"] == "few-20") & (rows["arm"] == "probe")]
    lines = []
    for name, settings in {"paper": ("paper", "fresh-draws"), "milder": ("milder",),
                           "in full": ("in-full",)}.items():
        trained = rows[rows["setting"].isin(settings) & (rows["statistics"] == "running")]
        joined = trained.merge(probes, on=["encoder", "draw"], suffixes=("", "_probe"))
        for (encoder, arm), part in joined.groupby(["encoder", "arm"], sort=False):
            told = []
            for metric in ("accuracy", "balanced_accuracy"):
                less = estimate(part[metric] - part[f"{metric}_probe"])
                told.append(interval(less.mean, less.low, less.high, "+"))
            lines.append(f"| {name} | {encoder} | {arm} | {len(part)} | {' | '.join(told)} |")
    return lines


def _predicted(part: pd.DataFrame) -> pd.DataFrame:
    """What was said of every test image, a row a draw."""
    return pd.DataFrame([list(map(int, text[1:])) for text in part["predicted"]],
                        index=part["draw"])


def _surest(part: pd.DataFrame, given: pd.DataFrame, test: ImageSet) -> list[float]:
    """Accuracy on the surest quarter, half, three quarters, and on all images."""
    sure = np.array([[int(text[i : i + 2]) for i in range(1, len(text), 2)]
                     for text in part["confidence"]])
    order = np.argsort(-sure, axis=1, kind="stable")
    right = np.take_along_axis(given.to_numpy() == test.labels, order, axis=1)
    return [float(right[:, : round(share * len(test))].mean()) for share in (0.25, 0.5, 0.75, 1)]


def _told(score: Interval, sign: str = "") -> str:
    return interval(score.value, score.low, score.high, sign)
