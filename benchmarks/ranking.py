"""Does the order of the sources pay? Every measure held against the trainings of evidence.csv.

    python benchmarks/ranking.py measure --shared DATA --weights WEIGHTS --detectors FOLDER
    python benchmarks/ranking.py report

``measure`` takes the measures of each (target, source) that ``results/evidence.csv`` has a
single-source row for, from ten labelled images of the target, and appends it to
``results/ranking_measures.csv``; what is there is not measured again. ``FOLDER`` holds the kept
detectors of those trainings. Without ``--features`` those that compare COCO's features, which take
longest, are left out. ``report`` prints the tables of ``results/ranking.md``.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
EVIDENCE, MEASURED = RESULTS / "evidence.csv", RESULTS / "ranking_measures.csv"
COLUMNS = ("target", "source", "measure", "value", "low", "high", "seconds", "undefined")
ARM, IMAGES = "chain-soup", "10"


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a table; none where it does not exist."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def pairs(evidence: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Each target with each source that was trained on alone."""
    found = [
        (row["target"], row["sources"]) for row in evidence
        if row["arm"] == ARM and row["images"] == IMAGES and "+" not in row["sources"]
    ]
    return list(dict.fromkeys(found))


def measure(
    evidence: Path, shared: Path, weights: Path, detectors: Path, features: bool
) -> None:
    """Take the measures that are not there yet."""
    from aoi_tl.adaptation.few_labels import nested_subsets
    from aoi_tl.caches.signature_cache import SignatureCache
    from aoi_tl.data.yolo.read import load_dataset
    from aoi_tl.ranking.comparison import Comparison
    from aoi_tl.ranking.measures import MEASURES
    from aoi_tl.transfer.detectors import find_kept

    wanted = pairs(read_rows(evidence))
    there = {(row["target"], row["source"]) for row in read_rows(MEASURED)}
    wanted = [pair for pair in wanted if pair not in there]
    if not wanted:
        return
    files = {
        "neu-det": shared / "neu-det" / "neu-det.yaml",
        "kolektor-sdd": shared / "kolektor-sdd" / "kolektor-sdd.yaml",
        "aluminum": shared / "aluminum" / "aluminum.yaml",
        "magnetic-tile": shared / "magnetic-tile" / "mt.yaml",
        **{file.parent.name: file for file in (shared / "deeppcb").glob("*/data.yaml")},
    }
    names = sorted({name for _, name in wanted})
    sources = {name: load_dataset(files[name]) for name in names}
    kept = {
        name: found for name, dataset in sources.items()
        if (found := find_kept([dataset.split("train").fingerprint()], detectors))
    }
    with SignatureCache() as cache:
        for target in dict.fromkeys(target for target, _ in wanted):
            whole = load_dataset(files[target])
            few = nested_subsets(whole, [int(IMAGES)], 0)[int(IMAGES)]
            mine = [source for t, source in wanted if t == target]
            comparison = Comparison(
                [few], [sources[name] for name in mine], 5, "zero-shot", "exact", "all",
                lambda done, total: None, cache, kept, weights,
            )
            seen = comparison.target(few)
            for name in mine:
                source = comparison.source(sources[name])
                taken = {key: one(seen, source) for key, one in MEASURES.items()
                         if features or one.needs != "features"}
                append([{
                    "target": target, "source": name, "measure": key, "value": found.value,
                    "low": found.low, "high": found.high, "seconds": round(found.seconds, 3),
                    "undefined": found.undefined,
                } for key, found in taken.items()])
                print(target, name, taken["zero-shot"].value, flush=True)


def append(rows: list[dict[str, object]]) -> None:
    """Append rows to the table of measures."""
    fresh = not MEASURED.is_file()
    with MEASURED.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerows(rows)


def table_of(evidence: list[dict[str, str]]) -> Any:
    """One row for each (target, source) with its gain over ``stock`` and its measures."""
    import pandas as pd

    at_ten = [row for row in evidence if row["images"] == IMAGES]
    stock: dict[str, list[float]] = {}
    for row in at_ten:
        if row["arm"] == "stock":
            stock.setdefault(row["target"], []).append(100 * float(row["map50"]))
    rows = []
    measured = pd.read_csv(MEASURED).pivot(index=["target", "source"], columns="measure",
                                           values="value")
    for row in at_ten:
        pair = row["target"], row["sources"]
        if row["arm"] == ARM and pair in measured.index:
            gain = 100 * float(row["map50"]) - np.mean(stock[row["target"]])
            rows.append({"target": pair[0], "source": pair[1], "gain": gain,
                         **measured.loc[pair].to_dict()})
    return pd.DataFrame(rows)


def add_auto(table: Any) -> dict[str, tuple[Any, Any]]:
    """Add the estimates of ``auto``, each by weights fitted without its target."""
    from aoi_tl.ranking.auto import fit_leaving_out

    found = {}
    inputs = {"auto": [table["zero-shot"].fillna(0)], "auto-data": [table["overlap"], table["box"]]}
    for name, columns in inputs.items():
        values = np.column_stack(columns)
        estimator, table[name] = fit_leaving_out(
            values, table["gain"].to_numpy(), table["target"].tolist()
        )
        found[name] = estimator, values
    return found


def by_measure(table: Any) -> Any:
    """Kendall's tau and regret of each measure within targets, with intervals over targets."""
    import pandas as pd
    from scipy.stats import kendalltau, weightedtau

    from aoi_tl.ranking.measures import MEASURES

    lower = {name for name, measure in MEASURES.items() if measure.direction == "lower"}
    skipped = ("target", "source", "gain")
    rows = []
    for name in (column for column in table if column not in skipped):
        sign = -1 if name in lower else 1
        each = []
        for _, mine in table.groupby("target"):
            value = (sign * mine[name]).fillna(-np.inf).rank().to_numpy()
            gain = mine["gain"].to_numpy()
            boards = mine["source"].str.startswith("group").to_numpy()
            order = np.argsort(-value, kind="stable")
            best = max(gain.max(), 0.0)
            offers = name.startswith("auto")  # only these may answer "none"
            first = gain[order[0]] if not offers or mine[name].max() > 0 else 0.0
            each.append([
                kendalltau(value, gain).statistic, weightedtau(value, gain).statistic,
                kendalltau(value[boards], gain[boards]).statistic, best - first,
                best - max(gain[order[:3]].max(), 0.0 if offers else -np.inf),
            ])
        values = np.nan_to_num(np.array(each))
        drawn = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
        low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5], axis=0)
        rows.append([name] + [
            f"{mean:.2f} [{lo:.2f}, {hi:.2f}]" if i < 3 else f"{mean:.1f} [{lo:.1f}, {hi:.1f}]"
            for i, (mean, lo, hi) in enumerate(zip(values.mean(axis=0), low, high, strict=True))
        ])
    return pd.DataFrame(rows, columns=[
        "measure", "tau", "weighted tau", "tau, boards alone", "top-1 regret", "top-3 regret",
    ])


def report(evidence: Path) -> None:
    """Print the tables of ``results/ranking.md``."""
    rows = read_rows(evidence)
    table = table_of(rows)
    fitted = add_auto(table)
    print(f"{len(table)} pairs, {table['target'].nunique()} targets")
    for name, (estimator, _) in fitted.items():
        error = table["gain"] - table[name]
        inside = (error.abs() <= estimator.margin).mean()
        print(name, [round(w, 2) for w in estimator.weights], f"margin {estimator.margin:.1f}",
              f"mean absolute error {error.abs().mean():.1f}, inside the interval {inside:.2f}")
    strangers = table[~table["source"].str.startswith("group")]
    for name in fitted:
        right = (strangers.groupby("target")[name].max() <= 0).sum()
        print(f"{name}: 'none' where all are unrelated: {right} of {table['target'].nunique()}")
    best = table[table["source"].str.startswith("group")].groupby("target")["gain"].max()
    stock: dict[str, list[float]] = {}
    unions: dict[str, list[float]] = {}
    for row in rows:
        if row["images"] == IMAGES and row["family"] == "deeppcb":
            if row["arm"] == "stock":
                stock.setdefault(row["target"], []).append(100 * float(row["map50"]))
            if row["arm"] == "union-soup" and row["sources"].count("group") == 5 \
                    and "neu" not in row["sources"]:
                unions.setdefault(row["target"], []).append(100 * float(row["map50"]))
    over = {t: np.mean(unions[t]) - np.mean(stock[t]) - best[t] for t in best.index}
    print("union over best single:", {t: round(v, 1) for t, v in over.items()},
          f"mean {np.mean(list(over.values())):.1f}")
    from aoi_tl.report.tables import plain_table

    print(plain_table("", by_measure(table)).to_markdown())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("step", choices=("measure", "report"))
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--detectors", type=Path)
    parser.add_argument("--features", action="store_true")
    parser.add_argument("--evidence", type=Path, default=EVIDENCE)
    asked = parser.parse_args()
    if asked.step == "measure":
        measure(asked.evidence, asked.shared, asked.weights, asked.detectors,
                asked.features)
    else:
        report(asked.evidence)


if __name__ == "__main__":
    main()
