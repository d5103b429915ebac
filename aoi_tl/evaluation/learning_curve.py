"""Learning curves: the score by the number of labelled images, and how many an arm needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


def learning_curve(summary: pandas.DataFrame, metric: str, baseline: str) -> pandas.DataFrame:
    """Tabulate each arm's score by the number of labelled images, and how many it needs.

    Parameters
    ----------
    summary : DataFrame
        As ``summary.csv`` holds it: columns ``metric, arm, images, mean``; images are numbers, or
        ``all``.
    metric : str
        Which of its metrics.
    baseline : str
        The arm whose score with the most images the others are to reach.

    Returns
    -------
    DataFrame
        A row per arm: its mean under the number of images, and ``needs``: the smallest of these
        numbers with which it reaches the baseline's score with the most images; empty where it
        does not.

    Examples
    --------
    >>> import pandas as pd
    >>> summary = pd.DataFrame({"metric": "map50", "arm": ["stock", "stock", "chain", "chain"],
    ...                         "images": ["all", "10", "10", "all"], "mean": [0.6, 0.3, 0.7, 0.8]})
    >>> learning_curve(summary, "map50", "stock").to_dict("records")
    [{'arm': 'stock', '10': 0.3, 'all': 0.6, 'needs': 'all'}, \
{'arm': 'chain', '10': 0.7, 'all': 0.8, 'needs': '10'}]
    """
    import pandas as pd

    kept = summary[summary["metric"] == metric]
    sizes = sorted(dict.fromkeys(kept["images"].astype(str)), key=_size)
    table = kept.assign(images=kept["images"].astype(str)).pivot_table(
        index="arm", columns="images", values="mean", sort=False
    )[sizes]
    level = table.loc[baseline, sizes[-1]]
    needs = [
        next((size for size in sizes if row[size] >= level), "")
        for row in table.to_dict("records")
    ]
    found: pd.DataFrame = table.assign(needs=needs).reset_index()
    found.columns.name = None
    return found


def _size(images: str) -> float:
    return float("inf") if images == "all" else float(images)
