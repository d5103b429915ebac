from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drawn import draw_dataset, tree_hash

REPOSITORY = Path(__file__).parents[1]


def aoi_tl(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from aoi_tl.cli import main; main()", *map(str, words)],
        capture_output=True, text=True, cwd=cwd, env={**os.environ, "COLUMNS": "200"}, check=False,
    )


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    for number, name in enumerate(("new", "near", "far")):
        draw_dataset(folder / name, {"dent": 3 + number, "stain": 1}, seed=number,
                     ground=100 + 20 * number)
    return folder


def every(shelf: Path) -> list[Path]:
    return [shelf / name / "data.yaml" for name in ("new", "near", "far")]


@pytest.mark.parametrize("command", ["", "score", "transfer", "run", "demo", "report"])
def test_help_has_an_example(command: str) -> None:
    found = aoi_tl(*([command] if command else []), "--help")
    assert found.returncode == 0
    assert "Example" in found.stdout or not command


def test_score_ranks_writes_and_reads_only(shelf: Path, tmp_path: Path) -> None:
    before = tree_hash(shelf)
    out = tmp_path / "score"
    found = aoi_tl("score", *every(shelf), every(shelf)[0], "--out", out, "--json",
                   tmp_path / "s.json")
    assert found.returncode == 0, found.stderr
    scores = json.loads((out / "scores.json").read_text())
    assert json.loads((tmp_path / "s.json").read_text()) == scores
    assert {row["name"] for row in scores["sources"]} == {"near", "far"}
    assert scores["selected"] in found.stdout
    assert (out / "scores.csv").is_file()
    assert (out / "done").is_file()
    assert tree_hash(shelf) == before


def test_a_matrix_scores_each_against_each(shelf: Path, tmp_path: Path) -> None:
    found = aoi_tl("score", "--matrix", *every(shelf), "--out", tmp_path / "m", "--clusters", 3)
    assert found.returncode == 0, found.stderr
    scores = json.loads((tmp_path / "m" / "scores.json").read_text())
    assert [row["target"] for row in scores] == ["new", "near", "far"]
    for quantity in ("discrepancy", "emd", "gini"):
        assert (tmp_path / "m" / f"{quantity}.csv").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "nothing.yaml", "also.yaml"], "nothing.yaml"),
        (["score", "{new}"], "at least one source"),
        (["score", "{new}", "{near}", "--clusters", "few"], "'auto'"),
        (["score", "{new}", "{near}", "--solver", "slsq"], "slsqp"),
        (["run", "nothing.yaml"], "nothing.yaml"),
        (["run", "{new}"], "data.yaml, line"),
        (["transfer", "{new}", "{near}", "--set", "train.epoch=3"], "epochs"),
        (["transfer", "{new}", "{near}", "--set", "arm=3"], "did you mean 'arms'"),
        (["transfer", "{new}", "{near}", "--weights", "nothing/at/all.pt"], "all.pt"),
        (["report", "nothing"], "run folder"),
        (["report", "{shelf}"], "arms.csv"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    shelf: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    places = {"new": every(shelf)[0], "near": every(shelf)[1], "shelf": shelf}
    found = aoi_tl(*[word.format(**places) for word in words], cwd=tmp_path)
    assert found.returncode == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert "Traceback" not in found.stderr
    assert not list(tmp_path.rglob("stages"))


def test_the_experiments_of_this_repository_are_valid() -> None:
    from aoi_tl.experiment import Experiment
    from aoi_tl.settings import read_settings

    files = [file for file in (REPOSITORY / "experiments").glob("*.yaml")
             if "target:" in file.read_text() and "sources:" in file.read_text()]
    assert {"demo", "dc-1", "jy-381-4", "nj-101", "xh-4", "mt-line-a", "mt-line-b", "mt-line-c",
            "aluminum"} <= {file.stem for file in files}
    for file in files:
        assert read_settings(file, Experiment).name == file.stem
