from __future__ import annotations

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.sections import classified
from tests.report.made_runs import make_classification


def test_the_reliability_diagram_of_a_known_case(tmp_path: Path) -> None:
    run = make_classification(tmp_path / "run")
    tables = RunTables(run)
    # Of four images said with 0.8 two are right, of one said with 0.35 none: the error is
    # (4 * |0.5 - 0.8| + 1 * |0 - 0.35|) / 5.
    known = pd.DataFrame({"class": ["a", "a", "b", "b", "a"], "predicted": ["a"] * 4 + ["b"],
                          "probability": [0.8] * 4 + [0.35]})
    known.insert(0, "image", "none.png")
    for trained in tables.trained:
        known.to_csv(run / f"stages/{trained.stage}/predictions.csv", index=False)
    found = classified._reliability(RunTables(run))
    assert found is not None
    assert f"error {(4 * 0.3 + 0.35) / 5:.2f}" in found.svg
    table = pd.read_csv(StringIO(found.csv))
    seeds = len(tables.seeds)
    for _, rows in table.groupby("arm"):
        assert rows[["probability", "right", "images"]].to_numpy().tolist() == [
            pytest.approx([0.35, 0, seeds]), pytest.approx([0.8, 0.5, 4 * seeds])]
    assert set(table["arm"]) == set(tables.arms)
