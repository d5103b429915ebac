"""Two-stage transfer over a real shift of domain: exposures 1 to 3 of magnetic tiles, then 4 to 6.

Source: all images at exposures 1 to 3 of most tiles of the training and validation splits, as
unequal as they come. Target: exposures 4 to 6 of other tiles, 5 images a class (cracks from three
tiles, the other classes from five). Tested on exposures 4 to 6 of the test tiles. Rare classes of
the source are left as they are, oversampled until all are alike, or weighted in the loss. Every arm
of one encoder and draw starts from the same weights; all take as many steps as ``two-stage``, but
``pretraining-only`` and the probe on it, which are what the first stage leaves.

    python benchmarks/classification_exposure.py ../shared --draws 3
    python benchmarks/classification_exposure.py ../shared --table       # print, train nothing

Every line of benchmarks/results/classification_exposure.csv is appended when it is measured; what
is there is not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from classification_rows import CLASSES, RESULTS, append, interval, open_encoder, scored

from aoi_tl.classification.batches import BatchStream, Pixels, cache_pixels
from aoi_tl.classification.classifier import (
    Classifier,
    Domain,
    build_classifier,
    predict,
    recalibrate,
)
from aoi_tl.classification.features import VIEWS, compute_features
from aoi_tl.classification.folders import read_image_csv
from aoi_tl.classification.image_set import ImageSet, check_groups, keep_classes
from aoi_tl.classification.imbalance import class_weights
from aoi_tl.classification.probe import fit_probe
from aoi_tl.classification.training import train
from aoi_tl.classification.two_stage import arm_steps, stage_steps
from aoi_tl.evaluation.per_class import bootstrap_classes, bootstrap_difference

SOURCE, TARGET = (1, 2, 3), (4, 5, 6)
SHOTS, TILES = 5, 5  # target images a class, and the tiles they come from at most
TREATMENTS = ("none", "oversample", "weighted")
#: The encoder learns as fast as the head, or at a tenth with batch normalisation's statistics kept.
RATES, SLOW_RATE = ("full", "slow"), 0.1
ENCODERS = ("yolo26n-cls.pt", "tf_efficientnet_lite0")
KINDS = ("full", "full, anew", "slow")
COMPARED = (
    (("two-stage", "oversample"), ("two-stage", "none")),
    (("two-stage", "weighted"), ("two-stage", "none")),
    (("two-stage", "oversample"), ("two-stage", "weighted")),
    (("two-stage", "none"), ("fine-tuning-only", "target alone")),
    (("two-stage", "none"), ("pretraining-only", "none")),
    (("two-stage", "none"), ("probe", "target alone")),
    (("probe+source", "none"), ("probe", "target alone")),
)
SIZE, BATCH, EPOCHS, TARGET_EPOCHS = 128, 16, 4, 10


@dataclass(frozen=True, eq=False)
class Domains:
    """Images of one draw."""

    source: Pixels
    target: Pixels
    test: Pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the folder that holds data/ and weights/")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    parser.add_argument("--table", action="store_true", help="print the table and train nothing")
    arguments = parser.parse_args()
    file = RESULTS / "classification_exposure.csv"
    tiles, exposures = read_exposures(arguments.shared)
    if not arguments.table:
        run(arguments.shared / "weights", tiles, exposures, file, arguments.encoders,
            arguments.draws)
    table(file, tiles, exposures)


def read_exposures(shared: Path) -> tuple[ImageSet, np.ndarray]:
    """The tiles of the five classes, training and validation split as one, and their exposures."""
    place = shared / "data/magnetic-tile/index.csv"
    tiles = keep_classes(read_image_csv(place, group="tile", pattern="images/{}"), list(CLASSES))
    tiles = replace(tiles, splits=tuple("test" if split == "test" else "train"
                                        for split in tiles.splits))
    exposure = pd.read_csv(place).set_index("image")["exposure"]
    return tiles, exposure.loc[[path.name for path in tiles.images]].to_numpy()


def draw_domains(
    tiles: ImageSet, exposures: np.ndarray, draw: int
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Give source, target and test images; no tile is in two of them."""
    generator = np.random.default_rng((draw, 13))
    trained = np.array([split == "train" for split in tiles.splits])
    groups = np.array(tiles.groups)
    chosen: list[int] = []
    target_tiles: set[str] = set()
    for label in range(len(CLASSES)):
        here = trained & (tiles.labels == label) & np.isin(exposures, TARGET)
        names = generator.permutation(np.unique(groups[here]))
        names = names[: min(TILES, len(names) // 2)]
        target_tiles |= set(names)
        # Tile by tile in turn, so that the images are of as many tiles as can be.
        turns = [generator.permutation(np.flatnonzero(here & (groups == name))) for name in names]
        dealt = [int(turn[i]) for i in range(len(TARGET)) for turn in turns if i < len(turn)]
        chosen += dealt[:SHOTS]
    source = np.flatnonzero(trained & np.isin(exposures, SOURCE)
                            & ~np.isin(groups, list(target_tiles)))
    test = np.flatnonzero(~trained & np.isin(exposures, TARGET))
    domains = tiles.take(source), tiles.take(chosen), tiles.take(test)
    check_groups(replace(
        tiles.take([*source, *chosen, *test]),
        splits=tuple(name for name, part in zip(("train", "val", "test"), domains, strict=True)
                     for _ in range(len(part))),
    ))
    return domains


def run(
    weights: Path, tiles: ImageSet, exposures: np.ndarray, file: Path, encoders: Sequence[str],
    draws: int,
) -> None:
    """Measure what is not in the file yet, draw by draw."""
    import torch

    torch.set_num_threads(1)
    done: set[tuple[str, str, str, int]] = set()
    if file.is_file():
        rows = pd.read_csv(file, keep_default_na=False)
        done = set(zip(rows["encoder"], rows["treatment"], rows["rate"], rows["draw"], strict=True))
    for draw in range(draws):
        domains = Domains(*(cache_pixels(part, SIZE)
                            for part in draw_domains(tiles, exposures, draw)))
        for encoder in encoders:
            for rate, treatment in itertools.product(RATES, ("target alone", *TREATMENTS)):
                if (encoder, treatment, rate, draw) not in done:
                    measured = [
                        {"encoder": encoder, "treatment": treatment, "rate": rate, "draw": draw,
                         **row}
                        for row in measure(weights, encoder, treatment, rate, draw, domains)
                    ]
                    append(file, measured)
                    for row in measured:
                        print(encoder, treatment, rate, row["arm"], draw, row["statistics"],
                              row["balanced_accuracy"], flush=True)


def measure(
    weights: Path, name: str, treatment: str, rate: str, draw: int, domains: Domains
) -> Iterator[dict[str, Any]]:
    """Measure the arms of one treatment, or those that do without a source."""
    import torch

    def build() -> Classifier:
        found = build_classifier(open_encoder(weights, name), len(CLASSES), len(CLASSES), "shared",
                                 draw)
        found.module.to(memory_format=torch.channels_last)  # the same sums in less time
        return found

    def probe(classifier: Classifier) -> np.ndarray:
        fitted = fit_probe(compute_features(classifier.encoder, domains.target, VIEWS),
                           domains.target.labels, len(CLASSES), draw)
        found: np.ndarray = fitted.probabilities(
            compute_features(classifier.encoder, domains.test)[:, 0]
        )
        return found

    def told(arm: str, chances: np.ndarray, steps: int, statistics: str = "running"
             ) -> dict[str, Any]:
        return {"arm": arm, "statistics": statistics,
                **scored(chances, domains.test.labels, CLASSES), "steps": steps,
                "seconds": round(time.perf_counter() - started, 1)}

    def trained(arm: str, classifier: Classifier, steps: int, domain: Domain
                ) -> Iterator[dict[str, Any]]:
        """Test as training left it, then with statistics measured anew on what it saw last."""
        yield told(arm, predict(classifier, domains.test), steps)
        if rate == "slow":
            return
        recalibrate(classifier, streams[domain])
        yield told(arm, predict(classifier, domains.test), steps, "anew")

    started = time.perf_counter()
    counts = np.bincount(domains.source.labels, minlength=len(CLASSES))
    factors = ({label: counts.max() / count for label, count in enumerate(counts)}
               if treatment == "oversample" else {})
    first = stage_steps(len(domains.source), BATCH, EPOCHS)
    second = stage_steps(len(domains.target), BATCH, TARGET_EPOCHS)
    streams: dict[Domain, BatchStream] = {
        "source": BatchStream(domains.source, BATCH, draw, factors=factors),
        "target": BatchStream(domains.target, BATCH, draw),
    }
    weighted = {"source": class_weights(counts)} if treatment == "weighted" else None
    classifier = build()
    gently = {"encoder_rate": SLOW_RATE, "frozen_statistics": True} if rate == "slow" else {}
    if treatment == "target alone":
        if rate == "full":
            yield told("probe", probe(classifier), 0)
        steps = arm_steps("fine-tuning-only", first, second)
        train(classifier, steps, streams, **gently)
        yield from trained("fine-tuning-only", classifier, len(steps), "target")
        return
    with tempfile.TemporaryDirectory() as folder:
        stage, steps = Path(folder) / "source.pt", arm_steps("two-stage", first, second)
        train(classifier, steps, streams, class_weights=weighted, checkpoint=stage, every=first,
              **gently)
        yield from trained("two-stage", classifier, len(steps), "target")
        classifier = build()
        classifier.module.load_state_dict(torch.load(stage, weights_only=True)["module"])
    yield told("probe+source", probe(classifier), first)
    yield from trained("pretraining-only", classifier, first, "source")


def _kind(rows: pd.DataFrame) -> pd.Series:
    """How an encoder was trained and left, out of ``KINDS``."""
    return rows["rate"] + rows["statistics"].map({"running": "", "anew": ", anew"})


def table(file: Path, tiles: ImageSet, exposures: np.ndarray) -> None:
    """Write the summary beside the lines."""
    rows = pd.read_csv(file, keep_default_na=False)
    # A draw that is not done shows nothing yet.
    whole = rows.groupby(["encoder", "rate", "draw"])["treatment"].transform("nunique")
    rows = rows[whole == len(TREATMENTS) + 1]
    source, target, test = draw_domains(tiles, exposures, 0)
    lines = [
        "# Two-stage transfer over the exposures of magnetic tiles", "",
        f"Source: exposures 1 to 3, {len(source)} images in the first draw ("
        + ", ".join(f"{name} {count}" for name, count in source.counts.items())
        + f"). Target: exposures 4 to 6, {len(target)} images, {SHOTS} a class, of other tiles. "
        f"Tested on {len(test)} images of {len(set(test.groups))} tiles never seen, exposures 4 "
        f"to 6; always saying free is right for {rows['majority_share'].iloc[0]}. {SIZE} px, "
        f"{EPOCHS} passes over the source, {TARGET_EPOCHS} over the target. Rare classes of the "
        "source: *none* leaves them, *oversample* shows all classes equally often, *weighted* "
        "lets all count alike in the loss. The number of steps is the same. *full*: the "
        "encoder learns as fast as the head; *anew*: with batch normalisation's statistics then "
        "measured again on the training images of the last stage; *slow*: at a tenth of the rate, "
        "statistics kept. 95 % intervals by bootstrap over test tiles and draws.", "",
        "    python benchmarks/classification_exposure.py ../shared --draws "
        f"{rows['draw'].max() + 1} --encoders {' '.join(rows['encoder'].unique())}", "",
        "| encoder | arm | rare classes | trained | draws | accuracy | above | "
        "balanced accuracy | macro F1 | ECE |", "|---|---|---|---|---|---|---|---|---|---|",
    ]
    differences = []
    for encoder, mine in rows.groupby("encoder", sort=False):
        given: dict[tuple[str, str, str], pd.DataFrame] = {}
        for (arm, treatment, statistics), part in mine.assign(statistics=_kind(mine)).groupby(
            ["arm", "treatment", "statistics"], sort=False
        ):
            told = pd.DataFrame([list(map(int, text[1:])) for text in part["predicted"]],
                                index=part["draw"])
            found = bootstrap_classes(test.labels, told.to_numpy(), CLASSES, test.groups)
            given[arm, treatment, statistics] = told
            lines.append(
                f"| {encoder} | {arm} | {treatment} | "
                f"{'frozen' if arm == 'probe' else statistics} | {len(part)} | "
                + " | ".join(interval(score.value, score.low, score.high, sign) for score, sign in (
                    (found.accuracy, ""), (found.above_majority, "+"),
                    (found.balanced_accuracy, "")))
                + f" | {part['macro_f1'].mean():.3f} | {part['ece'].mean():.3f} |"
            )
        for one, other in COMPARED:
            for statistics in KINDS:
                # A probe has one kind, which both kinds are compared with.
                pair = [given.get((*arm, statistics), given.get((*arm, KINDS[0])))
                        for arm in (one, other)]
                is_same = all((*arm, statistics) not in given for arm in (one, other))
                if is_same or pair[0] is None or pair[1] is None:
                    continue
                both = pair[0].index.intersection(pair[1].index)
                less = bootstrap_difference(
                    test.labels, *(part.loc[both].to_numpy() for part in pair), CLASSES,
                    test.groups,
                )
                differences.append(
                    f"| {encoder} | {', '.join(one)} | {', '.join(other)} | {statistics} | "
                    f"{len(both)} | "
                    + " | ".join(interval(less[score].value, less[score].low, less[score].high, "+")
                                 for score in ("accuracy", "balanced_accuracy")) + " |"
                )
    lines += ["", "## Differences, paired by test tile and draw", "",
              "| encoder | arm | less | trained | draws | accuracy | balanced accuracy |",
              "|---|---|---|---|---|---|---|", *differences]
    (RESULTS / "classification_exposure.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
