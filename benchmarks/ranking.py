"""Does the order of the sources pay? Every measure held against the trainings of evidence.csv.

    python benchmarks/ranking.py measure --shared DATA --work FOLDER --weights WEIGHTS
    python benchmarks/ranking.py report

``measure`` takes the measures of each target and source that ``results/evidence.csv`` has a row
for, from ten labelled images of the target, and adds it to ``results/ranking_measures.csv``; what
is there is not measured again. ``FOLDER`` is that of the trainings. ``report`` fits the weights of
``auto``, and prints the tables of ``results/ranking.md``, every figure of ``auto`` by weights that
were fitted without its target, and then without its family. Nothing is ever fitted on the rows of
`FRESH`, which came after the form of the estimate was chosen.

A user's own shelf is measured by ``aoi-tl benchmark``, which shares all but the fitting.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aoi_tl.ranking.measures import directions
from aoi_tl.workflows.benchmark import MEASURED, as_csv, pairs_of, read_rows

RESULTS = Path(__file__).parent / "results"
EVIDENCE, MEASURES = RESULTS / "evidence.csv", RESULTS / "ranking_measures.csv"
ARM, IMAGES = "chain-soup", "10"
#: Families that neither the form nor the weights of the estimate have seen.
FRESH = ("mt-lines",)


def of_evidence() -> list[dict[str, Any]]:
    """The rows that were trained with ten images, by a single source, several or none."""
    rows = [row for row in read_rows(EVIDENCE) if row["images"] == IMAGES]
    usual = {row["settings"] for row in rows if row["arm"] == "union-chain"}
    return [row for row in rows if row["arm"] in (ARM, "stock")
            or (row["arm"] == "union-soup" and row["settings"] in usual)]


def measure(shared: Path, work: Path, weights: Path) -> None:
    """Take the measures that are not there yet."""
    from evidence import data_files

    from aoi_tl.adaptation.few_labels import nested_subsets
    from aoi_tl.caches.signature_cache import SignatureCache
    from aoi_tl.data.yolo.read import load_dataset
    from aoi_tl.ranking.measures import MEASURES as EVERY
    from aoi_tl.transfer.detectors import find_kept
    from aoi_tl.workflows.benchmark import measure_pairs
    from aoi_tl.workflows.kept_detectors import content_of

    files, trained, measured = data_files(shared, work), of_evidence(), read_rows(MEASURES)
    for target in dict.fromkeys(row["target"] for row in trained):
        mine = {row["sources"] for row in trained if row["target"] == target and row["sources"]}
        known = {(row["source"], row["measure"]) for row in measured if row["target"] == target}
        singles = sorted(s for s in mine if "+" not in s)
        sets = [s.split("+") for s in mine if "+" in s and set(s.split("+")) <= set(singles)]
        if known >= {(s, m) for s in singles for m in EVERY} | {("+".join(s), "fused")
                                                                for s in sets}:
            continue
        few = nested_subsets(load_dataset(files[target]), [int(IMAGES)], 0)[int(IMAGES)]
        sources = [replace(load_dataset(files[name]), name=name) for name in singles]
        with SignatureCache() as cache:
            kept = {name: found for name, source in zip(singles, sources, strict=True)
                    if (found := find_kept([content_of(source, cache)],
                                           work / "cache" / "detectors"))}
            rows = measure_pairs(
                few, sources, list(EVERY), kept, weights, cache, sets, 5,
            )
        measured = [row for row in measured if row["target"] != target]
        measured += [{"target": target, "images": IMAGES, **row} for row in rows]
        MEASURES.write_text(as_csv(MEASURED, measured), encoding="utf-8")
        print(target, len(singles), len(sets), flush=True)


def leaving_out(pairs: Any, groups: list[str]) -> tuple[Any, dict[str, Any]]:
    """Put estimates by weights fitted without the row's group in the place of the package's.

    The rows of `FRESH` get those of weights that were fitted on all others.
    """
    from aoi_tl.ranking.expected_gain import INPUTS, fit_leaving_group_out, is_unrelated

    pairs = pairs.copy()
    group = np.array(groups)
    single = ~pairs["sources"].str.contains("+", regex=False).to_numpy()
    fresh = pairs["family"].isin(FRESH).to_numpy()
    fitted = {}
    for name, kind in (("auto", "detector"), ("auto-data", "data")):
        known = ["overlap", "zero-shot"] if kind == "detector" else ["overlap"]
        apart = np.array([is_unrelated(row) for row in pairs[known].to_dict("records")])
        pairs.loc[~single, name] = np.nan
        for rows, inputs in ((single & ~apart, list(INPUTS[kind])), (single & apart, [])):
            estimator, estimates = fit_leaving_group_out(
                pairs.loc[rows & ~fresh, inputs].to_numpy(float),
                pairs.loc[rows & ~fresh, "gain"].to_numpy(), group[rows & ~fresh].tolist(),
            )
            pairs.loc[rows & ~fresh, name] = estimates
            pairs.loc[rows & fresh, name] = [
                estimator.gain(row) for row in pairs.loc[rows & fresh, inputs].to_numpy(float)
            ]
            fitted.setdefault(name, estimator)
            if kind == "detector" and not inputs:
                fitted["unrelated"] = estimator
    slope = fitted["auto"].weights[1]
    for at in pairs.index[~single]:
        row = pairs.loc[at]
        mine = pairs[single & (pairs["target"] == row["target"])
                     & pairs["sources"].isin(row["sources"].split("+"))]
        if len(mine) < len(row["sources"].split("+")):
            continue  # a member was not measured
        best = mine.sort_values("auto").iloc[-1]
        pairs.loc[at, "auto"] = best["auto"]
        if best["overlap"] > 0:
            pairs.loc[at, "auto"] += slope * (row["fused"] - best["fused"]) + bonus(
                pairs, slope, without=group[pairs.index.get_loc(at)], groups=group
            )
    return pairs, fitted


def bonus(pairs: Any, slope: float, without: str | None, groups: Any) -> float:
    """What a union brought over its best member beyond what the fused detectors let expect."""
    found = []
    for place, (_, row) in enumerate(pairs.iterrows()):
        names = row["sources"].split("+")
        if len(names) == 1 or groups[place] == without or row["family"] in FRESH:
            continue
        mine = pairs[(pairs["target"] == row["target"]) & pairs["sources"].isin(names)
                     & (pairs["overlap"] > 0)]
        if len(mine):
            best = mine.sort_values("zero-shot").iloc[-1]
            found.append(row["gain"] - best["gain"] - slope * (row["fused"] - best["fused"]))
    return float(np.mean(found)) if found else 0.0


def none_right(pairs: Any, estimate: str) -> str:
    """How often nothing was chosen where only sources without a shared class are offered."""
    strangers = pairs[pairs["overlap"] == 0]
    best = strangers.groupby("target")[[estimate, "gain"]].max()
    worse = best[best["gain"] <= 0]
    return f"{(worse[estimate] <= 0).sum()} of {len(worse)}"


def with_proxies(pairs: Any) -> Any:
    """Those targets of which every source that shares a class has a proxy."""
    related = pairs[(pairs["overlap"] > 0) & ~pairs["sources"].str.contains("+", regex=False)]
    whole = related.groupby("target")["proxy"].apply(lambda values: values.notna().all())
    return pairs[pairs["target"].isin(whole.index[whole])]


def report() -> None:
    """Print the tables of ``results/ranking.md``; draw its plots."""
    from aoi_tl.ranking.evaluation import agreement, calibration, choices_made
    from aoi_tl.report.benchmark import (
        agreement_table,
        calibration_table,
        choices_table,
        draw_gains,
    )

    pairs = pairs_of(of_evidence(), read_rows(MEASURES), ARM)
    single = pairs[~pairs["sources"].str.contains("+", regex=False)]
    print(single.groupby("family").agg(pairs=("gain", "size"), targets=("target", "nunique")))
    for by in ("target", "family"):
        groups = pairs[by].tolist()
        if len(set(groups)) < 2:
            continue
        table, fitted = leaving_out(pairs, groups)
        print(f"\n## auto fitted without the {by}\n")
        print("bonus of a union", round(bonus(pairs, fitted["auto"].weights[1], None,
                                             np.array(groups)), 1))
        for name, estimator in fitted.items():
            print(name, [round(w, 2) for w in estimator.weights], f"margin {estimator.margin:.1f}")
        for name in ("auto", "auto-data"):
            print(name, "none right where all are unrelated:", none_right(table, name))
        parts = {
            "all": table, "all but those nothing was fitted on": table[~table["family"].isin(FRESH)]
        } | {str(f): rows for f, rows in table.groupby("family")}
        parts = {part: rows.drop(columns="proxy") for part, rows in parts.items()}
        parts["targets with proxies"] = with_proxies(table)
        for part, rows in parts.items():
            generator = np.random.default_rng(0)
            print(f"\n{part}\n")
            print(agreement_table(agreement(rows, directions(rows), generator)).to_markdown())
            print(calibration_table({
                name: calibration(rows[rows["overlap"] > 0], name, fitted[name].margin, generator)
                for name in ("auto", "auto-data")
            }).to_markdown())
        print(choices_table(table, choices_made(table, "auto")).to_markdown())
        if by == "family":
            for name in ("auto", "zero-shot", "paper", "size"):
                (RESULTS / f"ranking_{name}.svg").write_text(
                    draw_gains(table, name, directions(table)[name]), encoding="utf-8"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("step", choices=("measure", "report"))
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--weights", type=Path)
    asked = parser.parse_args()
    if asked.step == "measure":
        measure(asked.shared, asked.work, asked.weights)
    else:
        report()


if __name__ == "__main__":
    main()
