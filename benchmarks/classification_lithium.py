"""Does CDG help where the lithium paper says it does? Its protocol, on real magnetic tiles.

Free, blowhole, break, crack and uneven tiles stand for the five classes of lithium surfaces: 14, 2,
2, 1 and 1 training images, each of another tile, drawn anew for every draw; tested on all images of
those classes from tiles never seen. The source is NEU-CLS, the training split of NEU-DET by groups.
Every arm of one encoder and draw starts from the same weights and takes the same number of steps.
The settings ``few-20``, ``few-50`` and ``few-100`` have so many training images in about the same
proportions. What the frozen arms are made of was chosen on draws 0 to 4 alone; draws 5 to 9 are
reported apart.

    python benchmarks/classification_lithium.py ../shared                    # the main table
    python benchmarks/classification_lithium.py ../shared --settings equal-target milder
    python benchmarks/classification_lithium.py ../shared --frozen           # probe, nearest-mean
    python benchmarks/classification_lithium.py ../shared --settings few-20  # trained arms
    python benchmarks/classification_lithium.py ../shared --table            # print, train nothing

Every training is one line of benchmarks/results/classification_lithium.csv, appended when it is
done; lines that are there are not trained again, so that a run can be broken off and gone on with.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aoi_tl.classification import cdg
from aoi_tl.classification.batches import BatchStream, Pixels, cache_pixels
from aoi_tl.classification.classifier import build_classifier, predict, recalibrate
from aoi_tl.classification.encoders import Encoder, build_encoder
from aoi_tl.classification.features import AS_IT_IS, VIEWS, cache_features
from aoi_tl.classification.folders import read_image_csv
from aoi_tl.classification.image_set import (
    ImageSet,
    check_source,
    check_target,
    draw_shots,
    keep_classes,
)
from aoi_tl.classification.patches import build_patch_encoder, fit_patch_probe
from aoi_tl.classification.probe import fit_nearest_mean, fit_probe
from aoi_tl.classification.training import train
from aoi_tl.evaluation.bootstrap import Interval
from aoi_tl.evaluation.calibration import measure_reliability
from aoi_tl.evaluation.classification import score_predictions
from aoi_tl.evaluation.comparison import summarise
from aoi_tl.evaluation.per_class import bootstrap_classes

RESULTS = Path(__file__).parent / "results"
CLASSES = ("free", "blowhole", "break", "crack", "uneven")
SHOTS = {20: (14, 2, 2, 1, 1), 50: (35, 5, 5, 2, 3), 100: (70, 10, 9, 5, 6)}
LITE = "tf_efficientnet_lite0"
ENCODERS = ("yolo26n-cls.pt", "yolov8n.pt")
SIZE, BATCH, DRAWS = 96, 16, 5
FROZEN, FROZEN_SIZE, FROZEN_DRAWS = ("nearest-mean", "probe", "patch-probe"), 224, 10
TESTED, SOURCE = 272, 1080
PAPER_CYCLE = cdg.Cycle(50, 10)


@dataclass(frozen=True)
class Setting:
    """How all arms are trained; what is not named is as in the paper."""

    why: str
    epochs: int = 4
    cycle: cdg.Cycle = PAPER_CYCLE
    count: str = "total"
    alpha: float = 1.0
    beta: float = 1.0
    learning_rate: float = 0.001
    encoders: tuple[str, ...] = ENCODERS
    arms: tuple[str, ...] = cdg.ARMS
    first_draw: int = 0
    draws: int = DRAWS
    size: int = SIZE
    images: int = 20


SETTINGS = {
    "paper": Setting("the paper's, but 4 epochs instead of 10 and 96 px instead of 224"),
    "equal-target": Setting(
        "every arm the same number of target steps, plain and multi-task no more", count="target",
        arms=("plain", "multi-task"),
    ),
    "short-blocks": Setting(
        "blocks of 10 source and 10 target steps", cycle=cdg.Cycle(10, 10), epochs=3,
    ),
    "milder": Setting("learning rate 0.0003", learning_rate=0.0003),
    "light-source": Setting("beta 0.3", beta=0.3, arms=("multi-task", "cdg")),
    "gentle": Setting("learning rate 0.0001", learning_rate=0.0001, encoders=ENCODERS[:1]),
    "in-full": Setting("the paper's in full: 10 epochs at 224 px", epochs=10, size=224,
                       encoders=ENCODERS[:1]),
    # Held to draws that no setting was chosen by.
    "fresh-draws": Setting("the paper's again, on five other draws", first_draw=DRAWS,
                           encoders=ENCODERS[:1]),
    **{f"few-{images}": Setting(
        f"{images} training images, 2 epochs at 128 px", epochs=2, size=128, images=images,
        encoders=(LITE, *ENCODERS), draws=3,
    ) for images in SHOTS},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the folder that holds data/ and weights/")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["paper"])
    parser.add_argument("--frozen", nargs="*", metavar="ENCODER",
                        help="fit the arms on frozen features, of Lite0 unless others are named")
    parser.add_argument("--kept", type=Path, default=Path("runs/lithium-features"),
                        help="folder that keeps their features")
    parser.add_argument("--table", action="store_true", help="print the table and train nothing")
    arguments = parser.parse_args()
    file = RESULTS / "classification_lithium.csv"
    if arguments.frozen is not None:
        run_frozen(arguments.shared, file, arguments.kept, arguments.frozen or [LITE])
    elif not arguments.table:
        run(arguments.shared, arguments.settings, file)
    table(file)
    write_few(pd.read_csv(file), read_tiles(arguments.shared))


def read_tiles(shared: Path) -> ImageSet:
    """The tiles of the five classes."""
    return check_target(keep_classes(read_image_csv(
        shared / "data/magnetic-tile/index.csv", group="tile", pattern="images/{}"
    ), list(CLASSES)))


def draw_tiles(tiles: ImageSet, images: int, draw: int) -> ImageSet:
    """The training images of one draw, with all other splits."""
    shots = dict(zip(CLASSES, SHOTS[images], strict=True))
    return draw_shots(tiles, shots, np.random.default_rng((draw, 7)))


def run(shared: Path, names: list[str], file: Path) -> None:
    """Train what is not in the file yet, draw by draw, so that a part of it is balanced too."""
    import torch

    torch.set_num_threads(1)
    tiles = read_tiles(shared)
    steel = check_source(read_image_csv(
        shared / "data/neu-det/index.csv", group="group", pattern="images/{}.jpg"
    ))
    done = read_done(file)
    for name in names:
        setting = SETTINGS[name]
        test = cache_pixels(tiles.split("test"), setting.size)
        source = cache_pixels(steel.split("train"), setting.size)
        for draw in range(setting.first_draw, setting.first_draw + setting.draws):
            drawn = draw_tiles(tiles, setting.images, draw)
            few = cache_pixels(drawn.split("train"), setting.size)
            for encoder in setting.encoders:
                for arm in setting.arms:
                    if (name, encoder, arm, draw) not in done:
                        rows_ = measure(shared / "weights", encoder, setting, arm, draw, tiles,
                                        few, source, test)
                        append(file, [{"setting": name, "encoder": encoder, "arm": arm,
                                       "draw": draw, **row} for row in rows_])
                        table(file)


def read_done(file: Path) -> set[tuple[str, str, str, int]]:
    """Setting, encoder, arm and draw of every line that is there."""
    if not file.is_file():
        return set()
    rows = pd.read_csv(file)
    return set(zip(rows["setting"], rows["encoder"], rows["arm"], rows["draw"], strict=True))


def run_frozen(shared: Path, file: Path, kept: Path, encoders: Sequence[str]) -> None:
    """Fit the arms on frozen features, ten draws of each number of images."""
    import torch

    torch.set_num_threads(1)
    tiles, done = read_tiles(shared), read_done(file)
    drawn = {(images, draw): draw_tiles(tiles, images, draw).split("train")
             for images in SHOTS for draw in range(FROZEN_DRAWS)}
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


def measure(
    weights: Path, encoder: str, setting: Setting, arm: str, draw: int, tiles: ImageSet,
    few: Pixels, source: Pixels, test: Pixels,
) -> list[dict[str, object]]:
    """One training, tested with the running statistics and with those of the target."""
    started = time.perf_counter()
    classifier = build_classifier(
        open_encoder(weights, encoder), len(tiles.classes), int(source.labels.max()) + 1, seed=draw
    )
    cycles = cdg.count_cycles(len(source), BATCH, setting.epochs, setting.cycle)
    steps = cdg.arm_steps(arm, cycles, setting.cycle, setting.count)
    streams = {"target": BatchStream(few, BATCH, draw), "source": BatchStream(source, BATCH, draw)}
    history = train(classifier, steps, streams, alpha=setting.alpha, beta=setting.beta,
                    learning_rate=setting.learning_rate)
    rows = []
    for statistics in ("running", "target"):
        if statistics == "target":
            recalibrate(classifier, streams["target"])
        rows.append({
            "statistics": statistics,
            **scored(predict(classifier, test), test.labels, tiles.classes),
            "steps": len(steps),
            "target_steps": sum(step != "source" for step in steps),
            "source_steps": sum(step != "target" for step in steps),
            "waiting_share": round(history.waiting_share, 4),
            "seconds": round(time.perf_counter() - started, 1), "images": setting.images,
        })
    print(f"{encoder} {arm} draw {draw}: " + ", ".join(
        f"{row['statistics']} {row['accuracy']:.3f}" for row in rows
    ) + f", {rows[-1]['seconds']} s, waiting {history.waiting_share:.1%}", flush=True)
    return rows


def open_encoder(weights: Path, name: str) -> Encoder:
    """An Ultralytics checkpoint, or a network of timm's with its file of tensors."""
    if name.endswith(".pt"):
        return build_encoder(str(weights / name))
    return build_encoder(name, str(weights / f"{name}.safetensors"))


def scored(
    chances: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, object]:
    """Scores, and what was said of every test image: a digit for its class, two for how sure."""
    scores = score_predictions(labels, chances.argmax(axis=1), classes)
    sure = np.minimum((100 * chances.max(axis=1)).astype(int), 99)
    return {
        "accuracy": round(scores.accuracy, 4),
        "balanced_accuracy": round(scores.balanced_accuracy, 4),
        "macro_f1": round(scores.macro_f1, 4), "majority_share": round(scores.majority_share, 4),
        **{f"accuracy_{label}": round(float(value), 4)
           for label, value in zip(scores.classes, scores.per_class, strict=True)},
        "ece": round(measure_reliability(chances, labels).error, 4),
        "predicted": "c" + "".join(str(label) for label in chances.argmax(axis=1)),
        "confidence": "p" + "".join(f"{value:02d}" for value in sure),
    }


def append(file: Path, rows: list[dict[str, object]]) -> None:
    """Add the lines of one training at once: a run broken off leaves whole trainings only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    is_new = not file.is_file()
    columns = list(rows[0]) if is_new else file.open(encoding="utf-8").readline().strip().split(",")
    with file.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)
        stream.flush()
        os.fsync(stream.fileno())


def table(file: Path) -> None:
    """Write the summary beside the lines, for those draws that have every arm of a setting."""
    rows = pd.read_csv(file)
    rows = rows[~rows["setting"].str.startswith("few-")]
    lines = [
        "# CDG on the lithium protocol, magnetic tiles in place of lithium", "",
        "Draws of 14/2/2/1/1 training tiles (free, blowhole, break, crack, uneven), "
        f"tested on {TESTED} images of tiles never seen, at {SIZE} px unless said; always saying "
        f"free is right for {rows['majority_share'].iloc[0]:.1%}. Source: NEU-CLS, {SOURCE} "
        "training images of 6 classes. Mean [95 % interval] over the draws; differences are paired "
        "by draw. With *running* statistics batch normalisation keeps what training left it; with "
        "*target* statistics it is measured anew on the 20 training images before testing.", "",
    ]
    held: list[str] = []
    for (name, encoder), part in rows.groupby(["setting", "encoder"], sort=False):
        setting = SETTINGS[name]
        if name != "paper":
            # Arms that a setting does not change are those of the paper's setting.
            plain = rows[(rows["setting"] == "paper") & (rows["encoder"] == encoder)
                         & ~rows["arm"].isin(setting.arms)]
            if setting.arms != cdg.ARMS:
                part = pd.concat([part, plain])
        for statistics, shown in part.groupby("statistics", sort=False):
            have = shown.groupby("draw")["arm"].nunique()
            whole = have[have == shown["arm"].nunique()].index
            if not len(whole):
                continue
            shown = shown[shown["draw"].isin(whole)].rename(columns={"draw": "seed"})
            means = shown.groupby("arm")[["accuracy", "balanced_accuracy", "macro_f1"]].mean()
            if "cdg" in means.index:
                at_least = means.loc["cdg"] >= means.drop(index="cdg").max()
                words = [metric.replace("_", " ") for metric in means.columns if at_least[metric]]
                held.append(f"| {name} | {encoder} | {statistics} | {len(whole)} | "
                            f"{', '.join(words) or 'none'} |")
            steps = shown.groupby("arm", sort=False)[["target_steps", "source_steps"]].first()
            summary = summarise(shown, ["accuracy", "balanced_accuracy", "macro_f1"],
                                ["plain", "pretrained"])
            lines += [
                f"## {name}: {encoder}, {statistics} statistics", "", setting.why + ".", "",
                "| arm | draws | steps on target + source | accuracy | minus plain | "
                "balanced accuracy | macro F1 |", "|---|---|---|---|---|---|---|",
            ]
            for arm in [arm for arm in cdg.ARMS if arm in steps.index]:
                by = summary[summary["arm"] == arm].set_index("metric")
                acc = by.loc["accuracy"]
                minus = "" if arm == "plain" or "minus_plain" not in acc else interval(
                    acc["minus_plain"], acc["minus_plain_low"], acc["minus_plain_high"], "+")
                lines.append(
                    f"| {arm} | {acc['n']} | {steps.loc[arm, 'target_steps']} + "
                    f"{steps.loc[arm, 'source_steps']} | "
                    f"{interval(acc['mean'], acc['low'], acc['high'])} | {minus} | "
                    f"{by.loc['balanced_accuracy', 'mean']:.3f} | "
                    f"{by.loc['macro_f1', 'mean']:.3f} |"
                )
            lines.append("")
    lines += [
        "## Where cdg is at least as good as every other arm", "",
        "By the mean over the draws; with five draws, an order of arms that are alike would put a "
        "given one first in one of four cells by chance.", "",
        "| setting | encoder | statistics | draws | by |", "|---|---|---|---|---|", *held, "",
    ]
    lines.append(f"Time spent on waiting for data: at most {rows['waiting_share'].max():.1%}.")
    (RESULTS / "classification_lithium.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


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
        "    python benchmarks/classification_lithium.py ../shared --frozen",
        "    python benchmarks/classification_lithium.py ../shared --settings few-20", "",
        "| images | encoder | arm | draws | accuracy | above | balanced accuracy | fresh | "
        "macro F1 | ECE |", "|---|---|---|---|---|---|---|---|---|---|",
    ]
    classes, coverage = [], []
    shown = rows[rows["setting"].str.startswith("few-") & (rows["statistics"] == "running")]
    for images in SHOTS:
        here = shown[shown["images"] == images]
        for (encoder, arm), part in here.groupby(["encoder", "arm"], sort=False):
            given = np.array([[int(digit) for digit in text[1:]] for text in part["predicted"]])
            found = bootstrap_classes(test.labels, given, CLASSES, test.groups)
            fresh = part[part["draw"] >= DRAWS]["balanced_accuracy"]
            lines.append(
                f"| {images} | {encoder} | {arm} | {len(part)} | {_told(found.accuracy)} | "
                f"{_told(found.above_majority, '+')} | {_told(found.balanced_accuracy)} | "
                f"{f'{fresh.mean():.3f}' if len(fresh) else ''} | {part['macro_f1'].mean():.3f} | "
                f"{part['ece'].mean():.3f} |"
            )
            if arm not in FROZEN:
                continue
            classes += [f"| {images} | {arm} | {name} | {_told(found.precision[name])} | "
                        f"{_told(found.recall[name])} |" for name in CLASSES]
            sure = np.array([[int(text[i : i + 2]) for i in range(1, len(text), 2)]
                             for text in part["confidence"]])
            order = np.argsort(-sure, axis=1, kind="stable")
            right = np.take_along_axis(given == test.labels, order, axis=1)
            shares = [right[:, : round(share * len(test))].mean()
                      for share in (0.25, 0.5, 0.75, 1)]
            coverage.append(f"| {images} | {arm} | "
                            + " | ".join(f"{share:.3f}" for share in shares) + " |")
    lines += ["", "## Accuracy on the surest share of the test images", "",
              "| images | arm | 25 % | 50 % | 75 % | all |", "|---|---|---|---|---|---|", *coverage,
              "", "## By class", "", "| images | arm | class | precision | recall |",
              "|---|---|---|---|---|", *classes]
    (RESULTS / "classification_few.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _told(score: Interval, sign: str = "") -> str:
    return interval(score.value, score.low, score.high, sign)


def interval(mean: float, low: float, high: float, sign: str = "") -> str:
    return f"{mean:{sign}.3f}" + ("" if np.isnan(low) else f" [{low:{sign}.3f}, {high:{sign}.3f}]")


if __name__ == "__main__":
    main()
