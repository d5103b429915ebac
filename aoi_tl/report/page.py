"""The page of a run: one HTML file that holds everything it shows."""

from __future__ import annotations

import base64
import io
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from aoi_tl.errors import RunError
from aoi_tl.files.run_folder import RunFolder, stage_name
from aoi_tl.report.figures import draw_arms, draw_curves
from aoi_tl.report.tables import arms_table, plain_table, ranking_table, verdicts

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from numpy.typing import NDArray

METRICS = ("map50", "map50_95", "f1")
BASELINES = ("coco", "stock", "stock-long")


def write_page(run: RunFolder) -> Path:
    """Write ``report.html`` and its figures from what the run folder holds.

    Parameters
    ----------
    run : RunFolder
        With scores, counts, arms, summary and the arms' curves.

    Returns
    -------
    Path
        The page; ``pr_curves.png``, ``f1_curves.png`` and ``arms.png`` lie beside it.

    Raises
    ------
    RunError
        When the folder holds no results yet.
    """
    import jinja2

    arms, summary = _read(run, "arms.csv"), _read(run, "summary.csv")
    curves: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
    for row, label in zip(arms.to_dict("records"), _labelled(arms)["arm"], strict=True):
        stage = stage_name(row["arm"], row["seed"], row.get("images"))
        curves.setdefault(label, []).append(_load_curves(run, stage))
    figures = {
        "arms.png": draw_arms(_labelled(arms), _labelled(summary), "map50"),
        "pr_curves.png": draw_curves(
            {arm: [(c["recall_grid"], c["precision_mean"]) for c in found]
             for arm, found in curves.items()}, "recall", "precision (mean over classes, IoU 0.5)",
        ),
        "f1_curves.png": draw_curves(
            {arm: [(c["confidence"], c["f1_mean"]) for c in found]
             for arm, found in curves.items()}, "confidence", "F1 (mean over classes, IoU 0.5)",
        ),
    }
    for name, png in figures.items():
        run.write(name, png)
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        resources.files("aoi_tl.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    scores = run.read_json("scores.json")
    per_class = _read(run, "per_class.csv")
    page = template.render(
        scores=scores,
        verdicts=verdicts(summary, "map50", BASELINES),
        ranking=ranking_table(scores),
        arms=[arms_table(summary, metric, BASELINES) for metric in METRICS],
        classes=plain_table("AP50 per class, mean over seeds", _class_means(_labelled(per_class))),
        counts=plain_table("Training instances before and after adaptation",
                           _read(run, "counts.csv")),
        rows=plain_table("Every arm and seed", arms),
        learned_from=list(dict.fromkeys(arms["source"].dropna())),
        seeds=int(arms["seed"].nunique()),
        test_instances=_test_instances(per_class),
        notes=run.read_json("notes.json") or [],
        environment=run.read_json("environment.json"),
        figures={name: base64.b64encode(png).decode() for name, png in figures.items()},
        experiment=(run.path / "experiment.yaml").read_text(encoding="utf-8"),
    )
    return run.write("report.html", page)


def _class_means(per_class: pandas.DataFrame) -> pandas.DataFrame:
    table = per_class.pivot_table(index=["class", "instances"], columns="arm", values="ap50",
                                  sort=False)
    return table[list(dict.fromkeys(per_class["arm"]))].reset_index()


def _test_instances(per_class: pandas.DataFrame) -> int:
    return int(per_class.drop_duplicates("class")["instances"].sum())


def _read(run: RunFolder, name: str) -> pandas.DataFrame:
    import pandas as pd

    file = run.path / name
    if not file.is_file():
        raise RunError(
            f"expected a finished run in {run.path}, got no {name}; end the run with --resume first"
        )
    return pd.read_csv(file, keep_default_na=False, na_values=[""])


def _labelled(table: pandas.DataFrame) -> pandas.DataFrame:
    """Tell arms that saw different numbers of labelled images apart by their names."""
    if "images" not in table:
        return table
    return table.assign(arm=table["arm"] + ", " + table["images"].astype(str) + " images")


def _load_curves(run: RunFolder, stage: str) -> dict[str, NDArray[np.float64]]:
    import numpy as np

    file = run.path / "stages" / f"{stage}-target" / "curves.npz"
    with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}
