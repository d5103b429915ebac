"""Results as plain tables for the terminal, Markdown files and the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


# The displayed names of the columns of arms.csv.
METRIC_NAMES = {
    "map50": "mAP50", "map50_95": "mAP50-95", "f1": "F1", "accuracy": "accuracy",
    "macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy",
    "shifted_f1": "F1 of the shifted classes",
}


@dataclass(frozen=True)
class Table:
    """Rows of text under headings.

    Attributes
    ----------
    title : str
    headings : tuple of str
    rows : tuple of tuple of str
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """Give the table in Markdown."""
        lines = [self.headings, tuple("---" for _ in self.headings), *self.rows]
        return "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        ) + "\n"


def ranking_table(scores: Mapping[str, Any]) -> Table:
    """Show the sources in their order.

    Parameters
    ----------
    scores : mapping
        The content of ``scores.json``.

    Returns
    -------
    Table
        For ``paper`` rank, source, EMD, Gini, shared classes, discrepancy and size, undefined
        scores with why; for ``auto`` all that can be done with its estimated gain; for any other
        measure its values. Each source with its sentence.
    """
    if scores.get("choices"):
        return _choices_table(scores)
    if scores["method"] != "paper":
        return _measure_table(scores)
    rows = []
    for row in scores["sources"]:
        value = row["discrepancy"]
        rows.append((
            "" if row["rank"] is None else str(row["rank"]), row["name"], f"{row['emd']:.2f}",
            f"{row['gini']:.4f}", str(len(row["shared_classes"])),
            "undefined" if value is None else f"{value:.4f}",
            str(row["images"]), str(row["instances"]),
            _remark(row, row["name"] == scores["selected"], row["undefined"]),
        ))
    return Table(
        f"Sources for {scores['target']}, the closest first",
        ("rank", "source", "EMD", "Gini", "shared", "discrepancy", "images", "instances", ""),
        tuple(rows),
    )


def _choices_table(scores: Mapping[str, Any]) -> Table:
    by_name = {row["name"]: row for row in scores["sources"]}
    rows = []
    for place, choice in enumerate(scores["choices"], start=1):
        gain, row = choice["estimated_gain"], by_name.get(choice["name"])
        why = None if row is None else row["measures"]["box"]["undefined"]
        picked = place == 1 and gain is not None
        said = _remark(row, picked, why) if row else "; ".join(
            filter(None, ("picked" if picked else "", ", ".join(choice["sources"]))))
        rows.append((
            "" if gain is None else str(place), choice["name"],
            "unknown" if gain is None else _with_ends(gain, choice["interval"], "+.1f"),
            said,
        ))
    return Table(
        f"What {scores['target']} may learn from, the best first",
        ("rank", "sources", "estimated gain, points of mAP50", ""), tuple(rows),
    )


def _measure_table(scores: Mapping[str, Any]) -> Table:
    rows = []
    for row in scores["sources"]:
        found = row["measures"][scores["method"]]
        rows.append((
            "" if row["rank"] is None else str(row["rank"]), row["name"],
            "undefined" if found["value"] is None
            else _with_ends(found["value"], found["interval"], ".4g"),
            _remark(row, row["name"] == scores["selected"], found["undefined"]),
        ))
    return Table(f"Sources for {scores['target']}, the best first",
                 ("rank", "source", scores["method"], ""), tuple(rows))


def _remark(row: Mapping[str, Any], picked: bool, why: str | None) -> str:
    """The remark on a source beside its figures."""
    parts = ["picked"] if picked else []
    low, high = row.get("places") or (1, 1)
    if row.get("tied"):
        parts.append("within noise of the first")
    elif low < high:
        parts.append(f"within noise of places {low} to {high}")
    return "; ".join([*parts, *filter(None, (why, row.get("note"), row.get("explanation")))])


def _with_ends(value: float, interval: Sequence[float] | None, form: str) -> str:
    ends = "" if interval is None else f" [{interval[0]:{form}}, {interval[1]:{form}}]"
    return f"{value:{form}}{ends}"


def matrix_table(rows: Sequence[Mapping[str, Any]], quantity: str) -> Table:
    """Show one quantity of every source for every target.

    Parameters
    ----------
    rows : sequence of mapping
        The content of ``scores.json``, one for each target.
    quantity : {"discrepancy", "emd", "gini"}

    Returns
    -------
    Table
        Rows are targets, columns sources; a dash where it is undefined or the dataset itself.
    """
    names = [row["target"] for row in rows]
    cells = {
        (row["target"], source["name"]): source[quantity]
        for row in rows for source in row["sources"]
    }
    return Table(
        f"{quantity}: rows are targets, columns sources",
        ("target", *names),
        tuple(
            (target, *("–" if cells.get((target, name)) is None
                       else f"{cells[target, name]:.4f}" for name in names))
            for target in names
        ),
    )


def arms_table(summary: pandas.DataFrame, metric: str, baselines: Sequence[str]) -> Table:
    """Show the arms with intervals and paired differences.

    Parameters
    ----------
    summary : DataFrame
        As ``evaluation.comparison.summarise`` returns it.
    metric : str
        Which of its metrics.
    baselines : sequence of str
        The arms compared with, where they were trained.

    Returns
    -------
    Table
    """
    kept = summary[summary["metric"] == metric]
    known = [name for name in baselines if f"minus_{name}" in kept]
    budgets, resampled = "images" in kept, "boot_low" in kept
    rows = []
    for _, row in kept.iterrows():
        cells = [str(row["arm"]), *([str(row["images"])] if budgets else []), str(row["n"]),
                 _with_intervals(row), _number(row["sd"])]
        cells += [_with_intervals(row, f"minus_{name}") for name in known]
        rows.append(tuple(cells))
    name = METRIC_NAMES.get(metric, metric)
    return Table(
        f"{name} on the target's test split, mean [95 % interval] over seeds"
        + (" (over test images and seeds)" if resampled else ""),
        ("arm", *(["images"] if budgets else []), "seeds", name, "sd",
         *(f"minus {arm}" for arm in known)),
        tuple(rows),
    )


def baselines_of(summary: pandas.DataFrame) -> list[str]:
    """Name the arms that a summary compares the others with.

    Parameters
    ----------
    summary : DataFrame
        As ``evaluation.comparison.summarise`` returns it.

    Returns
    -------
    list of str
        In the order of its columns ``minus_<arm>_n``.
    """
    return [name.removeprefix("minus_").removesuffix("_n") for name in map(str, summary)
            if name.startswith("minus_") and name.endswith("_n")]


def plain_table(title: str, frame: pandas.DataFrame) -> Table:
    """Show a DataFrame as it is, numbers to four places."""
    rows = tuple(tuple(_cell(value) for value in row) for row in frame.itertuples(index=False))
    return Table(title, tuple(map(str, frame.columns)), rows)


def verdict(summary: pandas.DataFrame, metric: str, arm: str, baseline: str) -> str:
    """State in one sentence if an arm is better than a baseline, within what was measured.

    Parameters
    ----------
    summary : DataFrame
        As ``evaluation.comparison.summarise`` returns it.
    metric, arm, baseline : str
        What is compared.

    Returns
    -------
    str
        "better" or "worse" only where the wider of the two 95 % intervals of the paired difference
        (over the seeds; over test images and seeds) excludes 0.
    """
    from aoi_tl.evaluation.comparison import wider_interval

    row = summary[(summary["metric"] == metric) & (summary["arm"] == arm)].iloc[0]
    mean, n = row[f"minus_{baseline}"], int(row[f"minus_{baseline}_n"])
    low, high = wider_interval(row, f"minus_{baseline}")
    metric = METRIC_NAMES.get(metric, metric)
    if n == 0 or math.isnan(mean):
        return f"{arm} and {baseline} share no seed: they cannot be compared."
    if n == 1:
        return f"{arm} minus {baseline}: {mean:+.3f} {metric} on one seed, which shows nothing yet."
    if math.isnan(low):
        return f"{arm} minus {baseline}: {mean:+.3f} {metric} over {n} seeds, too few to compare."
    span = f"{mean:+.3f} {metric} [{low:+.3f}, {high:+.3f}] over {n} seeds"
    if low > 0:
        return f"{arm} is better than {baseline}: {span}."
    if high < 0:
        return f"{arm} is worse than {baseline}: {span}."
    return f"No difference is shown between {arm} and {baseline}: {span}."


def verdicts(summary: pandas.DataFrame, metric: str, baselines: Sequence[str]) -> list[str]:
    """State for every arm if it is better than each baseline, by the number of labelled images.

    Parameters
    ----------
    summary : DataFrame
        As ``evaluation.comparison.summarise`` returns it, with a column ``images`` where the arms
        saw different numbers of the target's images.
    metric : str
        Which of its metrics.
    baselines : sequence of str
        The last comes first.

    Returns
    -------
    list of str
        A sentence each, see `verdict`.
    """
    if "images" in summary:
        return [
            f"With {images} labelled images: {said}"
            for images, part in summary.groupby("images", sort=False)
            for said in verdicts(part.drop(columns="images"), metric, baselines)
        ]
    arms = list(dict.fromkeys(summary["arm"]))
    return [
        verdict(summary, metric, arm, baseline)
        for baseline in reversed(baselines) if baseline in arms
        for arm in arms if arm not in (*baselines, "scratch")
    ]


def verdicts_over_targets(
    summaries: Sequence[pandas.DataFrame], metric: str, baselines: Sequence[str]
) -> list[str]:
    """State for every arm its difference from each baseline over several targets.

    Parameters
    ----------
    summaries : sequence of DataFrame
        One for each target, as for `verdicts`.
    metric : str
        Which of its metrics.
    baselines : sequence of str
        The last comes first.

    Returns
    -------
    list of str
        A sentence for each arm, baseline and number of labelled images that two targets or more
        have an interval of.
    """
    import pandas as pd

    from aoi_tl.evaluation.bootstrap import Interval
    from aoi_tl.evaluation.comparison import wider_interval
    from aoi_tl.evaluation.targets import summarise_targets

    rows = pd.concat(summaries, ignore_index=True)
    rows = rows[rows["metric"] == metric]
    groups = [(None, rows)] if "images" not in rows else list(
        rows.groupby(rows["images"].astype(str), sort=False)
    )
    said = []
    for images, part in groups:
        for baseline in reversed(baselines):
            for arm in dict.fromkeys(part["arm"]):
                key = f"minus_{baseline}"
                if arm in baselines or key not in part:
                    continue
                found = [
                    Interval(row[key], *wider_interval(row, key))
                    for _, row in part[part["arm"] == arm].iterrows() if not math.isnan(row[key])
                ]
                found = [one for one in found if not math.isnan(one.low)]
                if len(found) > 1:
                    name = METRIC_NAMES.get(metric, metric)
                    with_images = f"With {images} labelled images: " if images else ""
                    said.append(f"{with_images}{arm} minus {baseline}, {name}: "
                                f"{summarise_targets(found)}.")
    return said


def _number(value: float, sign: str = "") -> str:
    return "" if math.isnan(value) else f"{value:{sign}.3f}"


def _with_intervals(row: pandas.Series, difference: str = "") -> str:
    """Show a mean or a difference with the intervals that it has."""
    mean, sign = row[difference or "mean"], "+" if difference else ""
    start = f"{difference}_" if difference else ""
    if math.isnan(mean):
        return ""
    shown = _number(mean, sign)
    for kind, ends in (("", "[]"), ("boot_", "()")):
        low, high = row.get(f"{start}{kind}low", math.nan), row.get(f"{start}{kind}high", math.nan)
        if not math.isnan(low):
            shown += f" {ends[0]}{_number(low, sign)}, {_number(high, sign)}{ends[1]}"
    return shown


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}".rstrip("0").rstrip(".")
    return str(value)
