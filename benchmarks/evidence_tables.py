# ruff: noqa: E501 (text of the page)
"""What the rows of evidence say: intervals, tables and learning curves.

    python benchmarks/evidence_tables.py --work FOLDER     (intervals from the stored predictions)
    python benchmarks/evidence_tables.py                   (tables and plots from both CSV files)

Writes ``results/evidence_intervals.csv`` (only with ``--work``: the folder that `evidence.py` trained
in), ``results/evidence.md`` and the plots beside it.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from evidence import BOARDS, DECOYS, DEVELOPMENT, EXPOSURES, LINES, PARTS, ROWS, Plan, plans

from aoi_tl.evaluation.bootstrap import Interval, bootstrap_arms
from aoi_tl.evaluation.predictions import Predictions, read_predictions
from aoi_tl.evaluation.targets import summarise_targets
from aoi_tl.files.run_folder import stage_name

INTERVALS = ROWS.with_name("evidence_intervals.csv")
PAGE = ROWS.with_name("evidence.md")
FAMILIES = {
    "deeppcb": "DeepPCB boards", "neu-parts": "NEU-DET parts, three cameras",
    "mt-lines": "magnetic-tile lines", "mt-exposures": "magnetic-tile exposures",
}
ARMS = ("stock", "stock-long", "union", "union-chain", "union-soup", "union-joint", "auto")
BASELINES = ("stock", "stock-long")
KEY = ["family", "target", "images", "arm", "sources", "seed", "settings"]


def shelf(plan: Plan) -> str:
    """What there was to learn from, in a word."""
    if not plan.sources or plan.arm.startswith("stock"):
        return ""
    unrelated = set(plan.sources) & set(DECOYS)
    if plan.arm == "chain-soup":
        return f"one: {plan.sources[0]}"
    if unrelated:
        return "unrelated" if unrelated == set(plan.sources) else "related and unrelated"
    return "related"


def rows() -> pd.DataFrame:
    """The rows of evidence, each with its plan."""
    table = pd.read_csv(ROWS, keep_default_na=False, dtype={"images": str, "seed": str})
    known = {plan.key: plan for plan in plans()}
    table["plan"] = [known.get(tuple(str(row[c]) for c in KEY)) for _, row in table.iterrows()]
    table = table[table["plan"].notna()].copy()
    table["seed"] = table["seed"].astype(int)
    table["shelf"] = [shelf(plan) for plan in table["plan"]]
    table["setting"] = [", ".join(f"{k} {v:g}" for k, v in plan.transfer)
                        for plan in table["plan"]]
    return table


def name_of(row: pd.Series) -> str:
    """An arm's name that tells shelves and settings apart."""
    extra = [part for part in (row["shelf"] if row["shelf"] != "related" else "", row["setting"])
             if part]
    return row["arm"] + (f" ({'; '.join(extra)})" if extra else "")


def fingerprint(part: pd.DataFrame) -> str:
    """What tells whether the intervals of some rows are those of the same rows."""
    keys = sorted("|".join(str(row[c]) for c in (*KEY, "map50")) for _, row in part.iterrows())
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:12]


def intervals(table: pd.DataFrame, work: Path, known: pd.DataFrame) -> pd.DataFrame:
    """Resample test images and seeds for every target and number of images that has new rows.

    Single sources have one seed each, and are left out.
    """
    table = table[table["arm"] != "chain-soup"]
    found: list[dict[str, object]] = []
    for (family, target, images), part in table.groupby(["family", "target", "images"], sort=False):
        rows_ = fingerprint(part)
        if len(kept := known[known["rows"] == rows_]):
            found += kept.to_dict("records")
            continue
        arms: dict[str, dict[int, Predictions]] = defaultdict(dict)
        for _, row in part.iterrows():
            plan = row["plan"]
            stage = stage_name(plan.arm, plan.seed, plan.images)
            file = work / plan.folder / "stages" / f"{stage}-target" / "predictions.npz"
            arms[name_of(row)][plan.seed] = read_predictions(file.read_bytes())
        resampled = bootstrap_arms(arms, BASELINES)
        for (metric, arm, baseline), interval in resampled.items():
            seeds = set(arms[arm]) & set(arms[baseline]) if baseline else set(arms[arm])
            found.append({
                "family": family, "target": target, "images": images, "arm": arm,
                "metric": metric, "minus": baseline or "", "seeds": len(seeds), "rows": rows_,
                **{name: round(getattr(interval, name), 5) for name in ("value", "low", "high")},
            })
        print(family, target, images, flush=True)
    return pd.DataFrame(found)


def read_intervals() -> pd.DataFrame:
    """The intervals that were computed before."""
    return pd.read_csv(INTERVALS, keep_default_na=False, dtype={"images": str})


def half_of(target: str) -> str:
    """The half that a target belongs to."""
    return "development" if target in DEVELOPMENT else "reported"


def points(value: float) -> str:
    """A share as points, signed."""
    return f"{100 * value:+.1f}"


def differences_table(found: pd.DataFrame, images: str) -> str:
    """Arms against both baselines, by family and half."""
    lines = ["| family | half | arm | minus stock | minus stock-long | won / not told apart / lost "
             "against stock-long |", "|---|---|---|---|---|---|"]
    kept = found[(found["images"] == images) & (found["metric"] == "map50")]
    groups = {name: [family] for family, name in FAMILIES.items()}
    if {"deeppcb", "neu-parts"} <= set(kept["family"]):
        groups["boards and NEU-DET parts together"] = ["deeppcb", "neu-parts"]
    for name, families in groups.items():
        for half in ("development", "reported", "all targets"):
            for arm in ARMS:
                part = kept[kept["family"].isin(families) & (kept["arm"] == arm)]
                if half != "all targets":
                    part = part[part["target"].map(half_of) == half]
                cells = {}
                for baseline in BASELINES:
                    rows_ = part[part["minus"] == baseline]
                    ends = [Interval(r.value, r.low, r.high) for r in rows_.itertuples()]
                    cells[baseline] = summarise_targets(ends) if ends else None
                if arm == "stock" or not any(cells.values()):
                    continue
                shown = [f"{points(c.mean)} [{points(c.low)}, {points(c.high)}]" if c else ""
                         for c in cells.values()]
                last = cells["stock-long"]
                lines.append(f"| {name} | {half} | {arm} | {shown[0]} | {shown[1]} | "
                             + (f"{last.wins} / {last.ties} / {last.losses} |" if last else "|"))
    return "\n".join(lines)


def targets_table(table: pd.DataFrame, images: str, names: tuple[str, ...]) -> str:
    """Mean mAP50 over the seeds, a row per target."""
    part = table[(table["images"] == images) & table["target"].isin(names)
                 & (table["setting"] == "") & table["shelf"].isin(["", "related"])]
    arms = [arm for arm in ARMS if arm in set(part["arm"])]
    lines = ["| target | half | test boxes | " + " | ".join(arms) + " |",
             "|" + "---|" * (3 + len(arms))]
    for target in names:
        own = part[part["target"] == target]
        if own.empty:
            continue
        cells = []
        for arm in arms:
            values = own.loc[own["arm"] == arm, "map50"]
            cells.append(f"{values.mean():.3f} ({len(values)})" if len(values) else "")
        lines.append(f"| {target} | {half_of(target)} | {own['test_boxes'].iloc[0]} | "
                     + " | ".join(cells) + " |")
    return "\n".join(lines)


def sources_table(table: pd.DataFrame, targets: tuple[str, ...]) -> str:
    """One source at a time: chain-soup, ten images, one seed."""
    part = table[(table["arm"] == "chain-soup") & (table["images"] == "10")
                 & table["target"].isin(targets)]
    sources = list(dict.fromkeys([*targets, *sorted(part["sources"])]))
    stock = table[(table["arm"] == "stock") & (table["images"] == "10")].groupby("target")["map50"]
    lines = ["| target | stock | " + " | ".join(sources) + " |", "|" + "---|" * (2 + len(sources))]
    for target in targets:
        own = part[part["target"] == target].set_index("sources")["map50"]
        if own.empty:
            continue
        cells = [f"{own[name]:.3f}" if name in own else "" for name in sources]
        lines.append(f"| {target} | {stock.mean()[target]:.3f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shelves_table(table: pd.DataFrame) -> str:
    """Union-soup from related, unrelated and mixed shelves, and auto from unrelated ones."""
    part = table[(table["family"] == "deeppcb") & (table["images"] == "10")
                 & (table["setting"] == "")]
    kinds = {"stock": part["arm"] == "stock"} | {
        kind: (part["arm"] == "union-soup") & (part["shelf"] == kind)
        for kind in ("related", "unrelated", "related and unrelated")
    }
    kinds["unrelated, by auto"] = (part["arm"] == "auto") & (part["shelf"] == "unrelated")
    kinds = {kind: which for kind, which in kinds.items() if which.any()}
    lines = ["| target | " + " | ".join(kinds) + " |", "|" + "---|" * (1 + len(kinds))]
    for target in BOARDS:
        means = [part.loc[which & (part["target"] == target), "map50"].mean()
                 for which in kinds.values()]
        lines.append(f"| {target} | " + " | ".join(f"{m:.3f}" if m == m else "" for m in means)
                     + " |")
    return "\n".join(lines)


def settings_table(table: pd.DataFrame) -> str:
    """What the settings do on the development half, first seed."""
    part = table[(table["family"] == "deeppcb") & table["target"].map(half_of).eq("development")
                 & (table["seed"] == 0) & table["shelf"].isin(["", "related"])
                 & table["arm"].ne("chain-soup")]
    wide = part.pivot_table(index=["images", "arm", "setting"], columns="target", values="map50")
    targets = list(wide.columns)
    lines = ["| images | arm | setting | " + " | ".join(targets) + " | mean |",
             "|" + "---|" * (4 + len(targets))]
    for (images, arm, setting), row in wide.iterrows():
        if row.isna().any():
            continue
        lines.append(f"| {images} | {arm} | {setting or 'default'} | "
                     + " | ".join(f"{row[t]:.3f}" for t in targets) + f" | {row.mean():.3f} |")
    return "\n".join(lines)


def rate_table(table: pd.DataFrame) -> str:
    """Union-soup at the gentle and at the plain rate on the development half, ten images."""
    part = table[(table["arm"] == "union-soup") & (table["images"] == "10")
                 & (table["shelf"] == "related") & table["setting"].isin(["", "rate 1"])]
    wide = part.pivot_table(index="target", columns="setting", values="map50")
    wide = wide[wide.index.map(half_of) == "development"].dropna()
    lines = ["| target | gentle rate (0.3) | plain rate (1) | difference |", "|---|---|---|---|"]
    for target, row in wide.iterrows():
        lines.append(f"| {target} | {row['']:.3f} | {row['rate 1']:.3f} | "
                     f"{points(row['rate 1'] - row[''])} |")
    mean = wide.mean()
    lines.append(f"| mean | {mean['']:.3f} | {mean['rate 1']:.3f} | "
                 f"{points(mean['rate 1'] - mean[''])} |")
    return "\n".join(lines)


def cost_table(table: pd.DataFrame) -> str:
    """Minutes of one training with its test, one thread."""
    part = table[table["setting"] == ""]
    wide = part.pivot_table(index="arm", columns="images", values="seconds", aggfunc="median") / 60
    sizes = [size for size in ("10", "25", "all") if size in wide]
    lines = ["| arm | " + " | ".join(f"{size} images" for size in sizes) + " |",
             "|" + "---|" * (1 + len(sizes))]
    for arm in (*ARMS, "chain-soup"):
        if arm in wide.index:
            lines.append(f"| {arm} | " + " | ".join(
                "" if np.isnan(wide.loc[arm, size]) else f"{wide.loc[arm, size]:.1f}"
                for size in sizes) + " |")
    return "\n".join(lines)


def draw_learning_curves(table: pd.DataFrame, file: Path) -> None:
    """Mean mAP50 of the boards over the number of labelled images."""
    from matplotlib.figure import Figure

    part = table[(table["family"] == "deeppcb") & (table["setting"] == "")
                 & table["shelf"].isin(["", "related"]) & table["arm"].ne("chain-soup")]
    sizes = [size for size in ("10", "25", "all") if size in set(part["images"])]
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.subplots(2, 3, sharey=True).ravel()
    colours = dict(zip(ARMS, ("#555555", "#999999", "#d8b365", "#5ab4ac", "#01665e", "#c51b7d",
                              "#2166ac"), strict=True))
    for place, target in zip(axes, BOARDS, strict=True):
        own = part[part["target"] == target]
        for arm in ARMS:
            means = own[own["arm"] == arm].groupby("images")["map50"].mean()
            seen = [size for size in sizes if size in means]
            if len(seen) > 1:
                place.plot([sizes.index(size) for size in seen], [means[size] for size in seen],
                           marker="o", markersize=4, color=colours[arm], label=arm)
        place.set_xticks(range(len(sizes)), sizes)
        place.set_title(f"{target} ({half_of(target)})", fontsize=9)
        place.grid(alpha=0.25)
    figure.supxlabel("labelled images of the target")
    figure.supylabel("mAP50, mean over the seeds")
    handles = {}
    for place in axes:
        handles |= dict(zip(*reversed(place.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    figure.savefig(file, metadata={"Date": None})


TEXT = """# Does it pay? Arms on real families of datasets

    python benchmarks/evidence.py --shared DATA --weights WEIGHTS/yolov8n.pt --work FOLDER
    python benchmarks/evidence_tables.py --work FOLDER

YOLOv8n from COCO, 256 px, AdamW at 0.001 with a cosine, batches of 8, on one CPU thread. Ten labelled
images train for 50 epochs, 25 for 40, all for 20; a union of sources for 4 epochs (tile lines 20, exposures 10).
`stock-long` takes as many optimiser steps as source and target stage together. Every training is a row
of [evidence.csv](evidence.csv) ({n} rows; settings by their hash); intervals come from the stored
predictions of every test image ([evidence_intervals.csv](evidence_intervals.csv)).

Settings were chosen on the development half alone, which was written down before the first training:
DeepPCB groups 00041, 12300, 20085; magnetic-tile line a and exposures 1 to 3; NEU-DET part a. The other half is reported
apart.

## Ten labelled images: differences in points of mAP50

Mean over targets with its 95 % interval (test images, seeds and targets resampled; with fewer than four
targets it says little about further ones).

{ten}

## Each target, ten images: mAP50, mean over the seeds (their number)

{ten_targets}

## More images

{more}

![mAP50 over the number of labelled images](evidence_learning_curves.svg)

## One source at a time: `chain-soup`, ten images, one seed

{sources}

## What the shelf holds: `union-soup`, ten images

{shelves}

## Settings, on the development half (first seed)

{settings}

The learning rate of `union-soup` on the target, ten images, mean over the seeds:

{rates}

## Cost: minutes of one training and its test (median)

{cost}

{words}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--work", type=Path, default=None)
    work = parser.parse_args().work
    table = rows()
    if work is not None:
        intervals(table, work.absolute(), read_intervals()).to_csv(
            INTERVALS, index=False, lineterminator="\n"
        )
    found = read_intervals()
    draw_learning_curves(table, ROWS.with_name("evidence_learning_curves.svg"))
    more = []
    for images in ("25", "all"):
        if (table["images"] == images).any():
            more += [f"### {images} images", differences_table(found, images),
                     targets_table(table, images, BOARDS)]
    words = ROWS.with_name("evidence_words.md").read_text(encoding="utf-8")
    PAGE.write_text(TEXT.format(
        n=len(table), ten=differences_table(found, "10"),
        ten_targets="\n\n".join(
            targets_table(table, "10", names) for names in (BOARDS, PARTS, LINES, EXPOSURES)
            if table["target"].isin(names).any()
        ),
        more="\n\n".join(more),
        sources="\n\n".join(sources_table(table, names) for names in (BOARDS, PARTS, LINES)), shelves=shelves_table(table),
        settings=settings_table(table), rates=rate_table(table), cost=cost_table(table), words=words,
    ), encoding="utf-8")


if __name__ == "__main__":
    main()
