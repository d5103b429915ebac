"""Does CDG help where the lithium paper says it does? Its protocol, on real magnetic tiles.

Free, blowhole, break, crack and uneven tiles stand for the five classes of lithium surfaces: 14, 2,
2, 1 and 1 training images, each of another tile, drawn anew for every draw; tested on all images of
those classes from tiles never seen. The source is NEU-CLS, the training split of NEU-DET by groups.
Every arm of one encoder and draw starts from the same weights and takes the same number of steps.
With --frozen and --trained every arm is measured by the number of training images, 20, 50 and 100,
in about the same proportions. What patch-probe is made of was chosen on draws 0 to 4 alone; draws
5 to 9 are reported apart.

    python benchmarks/classification_lithium.py ../shared                    # the main table
    python benchmarks/classification_lithium.py ../shared --settings equal-target milder
    python benchmarks/classification_lithium.py ../shared --frozen           # probe, nearest-mean
    python benchmarks/classification_lithium.py ../shared --trained 3        # the others, 3 draws
    python benchmarks/classification_lithium.py ../shared --table            # print, train nothing

Every training is one line of benchmarks/results/classification_lithium.csv, appended when it is
done; lines that are there are not trained again, so that a run can be broken off and gone on with.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from classification_few import run_frozen, run_trained, write_few
from classification_rows import (
    BATCH,
    LITE,
    RESULTS,
    SOURCE,
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
from aoi_tl.classification.classifier import build_classifier, predict, recalibrate
from aoi_tl.classification.image_set import ImageSet
from aoi_tl.classification.training import train
from aoi_tl.evaluation.comparison import summarise

ENCODERS = ("yolo26n-cls.pt", "yolov8n.pt")
SIZE, DRAWS = 96, 5
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
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the folder that holds data/ and weights/")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["paper"])
    parser.add_argument("--frozen", nargs="*", metavar="ENCODER",
                        help="fit the arms on frozen features, of Lite0 unless others are named")
    parser.add_argument("--trained", type=int, metavar="DRAWS",
                        help="train every arm on 20, 50 and 100 images, so many draws")
    parser.add_argument("--kept", type=Path, default=Path("runs/lithium-features"),
                        help="folder that keeps their features")
    parser.add_argument("--table", action="store_true", help="print the table and train nothing")
    arguments = parser.parse_args()
    file = RESULTS / "classification_lithium.csv"
    if arguments.frozen is not None:
        run_frozen(arguments.shared, file, arguments.kept, arguments.frozen or [LITE])
    elif arguments.trained:
        run_trained(arguments.shared, file, arguments.trained)
    elif not arguments.table:
        run(arguments.shared, arguments.settings, file)
    table(file)
    write_few(pd.read_csv(file), read_tiles(arguments.shared))


def run(shared: Path, names: list[str], file: Path) -> None:
    """Train what is not in the file yet, draw by draw, so that a part of it is balanced too."""
    import torch

    torch.set_num_threads(1)
    tiles = read_tiles(shared)
    steel = read_steel(shared)
    done = read_done(file)
    for name in names:
        setting = SETTINGS[name]
        test = cache_pixels(tiles.split("test"), setting.size)
        source = cache_pixels(steel.split("train"), setting.size)
        for draw in range(setting.first_draw, setting.first_draw + setting.draws):
            drawn = draw_tiles(tiles, 20, draw)
            few = cache_pixels(drawn.split("train"), setting.size)
            for encoder in setting.encoders:
                for arm in setting.arms:
                    if (name, encoder, arm, draw) not in done:
                        rows_ = measure(shared / "weights", encoder, setting, arm, draw, tiles,
                                        few, source, test)
                        append(file, [{"setting": name, "encoder": encoder, "arm": arm,
                                       "draw": draw, **row} for row in rows_])
                        table(file)


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
            "seconds": round(time.perf_counter() - started, 1), "images": 20,
        })
    print(f"{encoder} {arm} draw {draw}: " + ", ".join(
        f"{row['statistics']} {row['accuracy']:.3f}" for row in rows
    ) + f", {rows[-1]['seconds']} s, waiting {history.waiting_share:.1%}", flush=True)
    return rows


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


if __name__ == "__main__":
    main()
