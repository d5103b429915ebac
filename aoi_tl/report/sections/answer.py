"""Section "What should I do?": one paragraph, and the figures behind it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from aoi_tl.report.run_tables import RunTables, label_arms
from aoi_tl.report.section import Section
from aoi_tl.report.tables import METRIC_NAMES, baselines_of, verdict
from aoi_tl.report.wording import counted, duration, gain, listed, picked_names

if TYPE_CHECKING:
    import pandas

#: Boxes in a test split below which one box more or less moves mAP50 by points.
_FEW_BOXES = 100
#: Targets below which an interval over them says little.
_FEW_TARGETS = 6
#: Arms that are compared with the baseline here, the best first; the table has all of them.
_VERDICTS = 3


def title(tables: RunTables) -> tuple[str, str]:
    """Give the page's heading and the line below it.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    heading, lead : str
    """
    scores, arms = tables.scores, tables.arms
    if tables.kind == "score" and scores:
        return (f"{scores['target']}: which source to learn from first",
                f"{len(scores['sources'])} sources ranked for one target.")
    if tables.kind == "matrix":
        rows = tables.json("scores.json")
        return "Every dataset against every other", f"{len(rows)} datasets, each once the target."
    if tables.kind == "run" and scores:
        return (f"{scores['target']}: which source to learn from, and did it pay?",
                f"{len(scores['sources'])} sources, {counted(len(arms), 'arm')}, "
                f"{counted(len(tables.seeds), 'seed')}.")
    if tables.kind == "classify":
        return ("Does the source help the target's classifier?",
                f"{counted(len(arms), 'arm')}, {counted(len(tables.seeds), 'seed')}.")
    if tables.kind == "benchmark":
        pairs = tables.required("pairs.csv")
        return ("Does the order of the sources pay on this shelf?",
                f"{counted(pairs['target'].nunique(), 'target')}, "
                f"{counted(len(pairs), 'pair')} of a target and what it learned from.")
    raise AssertionError(tables.kind)


def build(tables: RunTables) -> Section | None:
    """Give the advice, the gain and cost behind it, and what the run does not show.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section
    """
    said: dict[str, Any] = {"lines": [], "facts": [], "not_shown": [], "notes": []}
    said["notes"] = tables.json("notes.json") or []
    if tables.kind == "matrix":
        said["lines"] = _matrix_lines(tables.json("scores.json"))
    elif tables.kind == "classify":
        _say_classification(tables, said)
    elif tables.kind == "benchmark":
        _say_benchmark(tables, said)
    else:
        _say_pick(tables, said)
        if tables.kind == "run":
            _say_gain(tables, said)
    return Section("answer", "What should I do?", said)


# ------------------------------------------------------------------------------------ detection


def _say_pick(tables: RunTables, said: dict[str, Any]) -> None:
    scores = tables.scores
    assert scores is not None
    rows, picked = {row["name"]: row for row in scores["sources"]}, picked_names(scores)
    choice = (scores.get("choices") or [None])[0]
    if not picked:
        reasons = sorted({row["undefined"] for row in rows.values() if row.get("undefined")})
        why = "no source is expected to help" if choice else "the ranking picks no source" + (
            f" ({'; '.join(reasons)})" if reasons else "")
        said["lines"].append(f"Fine-tune the COCO checkpoint on {scores['target']}: {why}.")
    else:
        together = listed(picked) + (" together" if len(picked) > 1 else "")
        said["lines"].append(f"The ranking says: learn from {together} first.")
        if scores.get("method", "paper") == "paper":
            said["lines"].append(
                "Of the three sources with the lowest discrepancy it has the most boxes."
            )
        if choice:
            ends = choice.get("interval")
            said["lines"].append(f"Expected gain over plain fine-tuning: {gain(choice)}." + (
                " The interval includes 0: a loss is possible."
                if ends and ends[0] < 0 < ends[1] else ""))
        said["lines"] += [
            f"{name}: {rows[name]['explanation'].rstrip('.')}." for name in picked
            if name in rows and rows[name].get("explanation")
        ]
    if tables.kind == "score":
        said["not_shown"].append(
            "No detector was trained here: whether the pick pays is measured by aoi-tl transfer."
        )
        if scores.get("method") == "paper":
            said["not_shown"].append(
                "The published score sees colours and counts of boxes, not what a defect looks "
                "like."
            )
    said["facts"] += [
        ("Sources compared", str(len(rows)), f"{sum(r['instances'] for r in rows.values())} boxes"),
        ("Picked", ", ".join(picked) or "none", ""),
    ]


def _say_gain(tables: RunTables, said: dict[str, Any]) -> None:
    arms, summary = tables.required("arms.csv"), tables.required("summary.csv")
    learned = [
        "several sources together" if name == "union" else str(name)
        for name in dict.fromkeys(arms["source"].dropna())
    ] if "source" in arms else []
    picked = picked_names(tables.scores or {})
    if learned and learned != picked:
        said["lines"].append(f"The arms of this run learned from {listed(learned)}.")
    baselines = baselines_of(summary)
    held_against = next((b for b in ("stock-long", "stock", "coco") if b in baselines), None)
    if held_against:
        said["lines"] += _best_verdicts(summary, held_against, baselines)
    best = label_arms(summary[summary["metric"] == "map50"]).sort_values(
        "mean", ascending=False).iloc[0]
    images, boxes = _test_size(tables)
    said["facts"] += [
        ("Best mean mAP50", f"{best['mean']:.3f}", str(best["arm"])),
        ("Tested on", f"{boxes} boxes", f"{images} images" if images else ""),
        ("Trainings", str(len(arms)), f"{counted(len(tables.seeds), 'seed')} an arm"),
    ]
    said["facts"] += _cost(tables)
    if len(tables.seeds) == 1:
        said["not_shown"].append(
            "One seed was trained: a difference may be chance in training, and has no interval."
        )
    if not any(str(name).startswith("boot_") for name in summary.columns):
        said["not_shown"].append(
            "The intervals cover chance in training (seeds), not the choice of test images."
        )
    if not tables.has("operating.csv"):
        said["not_shown"].append(
            "No thresholds were chosen, so it is not known how many defective images escape and "
            "how many good ones are rejected: add operate: {escape: 0.01} to the experiment."
        )
    if boxes < _FEW_BOXES:
        said["not_shown"].append(
            f"The test split holds {counted(boxes, 'box', 'boxes')}: a difference of a few boxes "
            "is noise, whatever an interval says."
        )


def _best_verdicts(
    summary: pandas.DataFrame, held_against: str, baselines: list[str]
) -> list[str]:
    """Compare the best arm of each number of labelled images with a baseline."""
    own = summary[summary["metric"] == "map50"].sort_values("mean", ascending=False, kind="stable")
    own = own[~own["arm"].isin([*baselines, "scratch"])]
    if "images" not in own:
        return [verdict(summary, "map50", arm, held_against) for arm in own["arm"].head(_VERDICTS)]
    said = []
    for images in dict.fromkeys(summary["images"]):
        best = own[own["images"] == images]["arm"].head(1)
        part = summary[summary["images"] == images]
        said += [f"With {images} labelled images: {verdict(part, 'map50', arm, held_against)}"
                 for arm in best]
    return said


def _test_size(tables: RunTables) -> tuple[int, int]:
    """Give the images and boxes of the target's test split; 0 images where they are not known."""
    per_class = tables.required("per_class.csv")
    boxes = int(per_class.drop_duplicates("class")["instances"].sum())
    target = (tables.scores or {}).get("target", "")
    folder = tables.path / "data" / str(target) / "images" / "test"
    return (sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0), boxes


def _cost(tables: RunTables) -> list[tuple[str, str, str]]:
    timings = tables.table("timings.csv")
    if timings is None or "seconds" not in timings:
        return []
    return [("Cost", duration(float(timings["seconds"].sum())), "of training, all arms and seeds")]


# ----------------------------------------------------------------------------------- the others


def _matrix_lines(rankings: list[dict[str, Any]]) -> list[str]:
    picked = {r["target"]: picked_names(r) for r in rankings}
    none = [target for target, names in picked.items() if not names]
    lines = [
        f"For {len(picked) - len(none)} of {len(picked)} targets the ranking picks a source; click "
        "a cell of the heat map for the pair behind it."
    ]
    if none:
        lines.append(f"No source is picked for {', '.join(none[:12])}"
                     + (f" and {len(none) - 12} more." if len(none) > 12 else "."))
    return lines


def _say_classification(tables: RunTables, said: dict[str, Any]) -> None:
    arms, summary = tables.required("arms.csv"), tables.required("summary.csv")
    baselines = baselines_of(summary)
    main = next((arm for arm in ("cdg", "two-stage", "probe") if arm in tables.arms),
                tables.arms[-1])
    metric = "balanced_accuracy" if "balanced_accuracy" in set(summary["metric"]) else "accuracy"
    means = summary[summary["metric"] == metric].set_index("arm")["mean"]
    best = str(means.idxmax())
    said["lines"].append(
        f"{best} has the highest mean {METRIC_NAMES.get(metric, metric)}, {means[best]:.3f}."
    )
    said["lines"] += [verdict(summary, metric, main, name) for name in baselines if name != main]
    majority = float(arms["majority_share"].iloc[0]) if "majority_share" in arms else math.nan
    if not math.isnan(majority):
        said["lines"].append(
            f"Always naming the largest class would be right for {100 * majority:.1f} % of the "
            "test images."
        )
    counts = tables.table("counts.csv")
    if counts is not None:
        tested = counts[(counts["domain"] == "target") & (counts["split"] == "test")]["images"]
        said["facts"].append(("Tested on", f"{int(tested.sum())} images",
                              f"{int((tested > 0).sum())} classes"))
        if (tested[tested > 0] < 20).any():
            said["not_shown"].append(
                f"The smallest class has {int(tested[tested > 0].min())} test images: there one "
                "image is many points."
            )
    said["facts"] += [("Trainings", str(len(arms)), f"{counted(len(tables.seeds), 'seed')} an arm")]
    said["facts"] += _cost(tables)
    said["not_shown"].append(
        "The intervals cover the spread over seeds, not the choice of test images."
    )


def _say_benchmark(tables: RunTables, said: dict[str, Any]) -> None:
    pairs, found = tables.required("pairs.csv"), tables.required("ranking.csv")
    best = pairs.groupby("target", sort=False)["gain"].max()
    paid = int((best > 0).sum())
    order = found.sort_values("top1_regret", kind="stable")
    first = order.iloc[0]
    if not paid:
        said["lines"].append(
            "Fine-tune the COCO checkpoint: no source gained anything on any target."
        )
    else:
        said["lines"].append(
            f"Learning from a source can pay on {paid} of {counted(len(best), 'target')}: the best "
            f"that was trained gained {best.min():+.1f} to {best.max():+.1f} points of mAP50 over "
            "plain fine-tuning."
        )
        said["lines"].append(
            f"Rank by {first['measure']}: its first choice lost {_points(first, 'top1_regret')} "
            "against the best, the least of all measures" + _near(order) + "."
        )
    auto = found[found["measure"] == "auto"]
    if len(auto) and paid and first["measure"] != "auto":
        said["lines"].append(
            f"auto, the default, lost {_points(auto.iloc[0], 'top1_regret')}."
        )
    evidence = tables.table("evidence.csv")
    said["facts"] += [
        ("Targets", str(len(best)), f"{counted(int(pairs['sources'].nunique()), 'source')}"
         " and sets of sources"),
        ("Pairs that gained", f"{int((pairs['gain'] > 0).sum())} of {len(pairs)}", ""),
        ("Least regret", f"{first['top1_regret']:.1f} points", str(first["measure"])),
    ]
    if evidence is not None:
        tested = evidence.drop_duplicates("target")
        said["facts"] += [
            ("Tested on", f"{int(tested['test_boxes'].sum())} boxes",
             f"{int(tested['test_images'].sum())} images of all targets"),
            ("Trainings", str(len(evidence)),
             f"{duration(float(evidence['seconds'].sum()))} of training on the targets"),
        ]
        if evidence["seed"].nunique() == 1:
            said["not_shown"].append(
                "One seed was trained: each gain holds the chance of two trainings."
            )
        if (tested["test_boxes"] < _FEW_BOXES).any():
            said["not_shown"].append(
                f"The smallest test split holds {int(tested['test_boxes'].min())} boxes: there a "
                "few boxes are points of mAP50."
            )
    said["not_shown"].append(
        "The intervals are over targets" + (
            f", and {counted(len(best), 'target')} are few: another shelf may rank the measures "
            "otherwise." if len(best) < _FEW_TARGETS else "."
        )
    )


def _points(row: pandas.Series, name: str) -> str:
    return (f"{row[name]:.1f} points of mAP50 [{row[f'{name}_low']:.1f}, "
            f"{row[f'{name}_high']:.1f}]")


def _near(order: pandas.DataFrame) -> str:
    """Name the measures whose intervals do not separate them from the first."""
    first, others = order.iloc[0], order.iloc[1:]
    near = others[others["top1_regret_low"] <= first["top1_regret_high"]]["measure"]
    if near.empty:
        return ""
    more = f" and {len(near) - 4} more" if len(near) > 4 else ""
    return "; within noise of it: " + ", ".join(map(str, near.head(4))) + more
