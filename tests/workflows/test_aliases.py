"""One map of class names, proposed by a command, used wherever names are compared."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from aoi_tl.cli import app
from aoi_tl.data.labels import load_aliases
from aoi_tl.errors import DataError
from tests.drawn import draw_dataset
from tests.tiny_detector import tiny_detector

pytestmark = pytest.mark.slow

MAP = {"Scratches": "scratch", "GAS_HOLE": "gas hole", "气孔": "gas hole", "hua hen": "scratch"}
TRAIN = {"epochs": 1, "batch": 4, "imgsz": 32, "nbs": 4, "workers": 0}


def type_in(*words: object) -> str:
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    draw_dataset(folder / "new", {"gas hole": 2, "scratch": 3}, seed=1)
    draw_dataset(folder / "steel", {"Scratches": 4, "burr": 1, "GAS_HOLE": 2}, seed=2, ground=125)
    draw_dataset(folder / "tile", {"气孔": 2, "hua hen": 3}, seed=3, ground=40)
    every = [folder / name / "data.yaml" for name in ("new", "steel", "tile")]
    (folder / "aliases.yaml").write_text(type_in("labels", *every), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(shelf: Path) -> Path:
    tiny_detector(shelf / "tiny.pt", ("gas hole", "scratch"))
    (shelf / "new.yaml").write_text(yaml.safe_dump({
        "target": "new/data.yaml", "sources": ["steel/data.yaml", "tile/data.yaml"],
        "aliases": "aliases.yaml", "weights": "tiny.pt", "pick": "steel", "train": TRAIN,
        "arms": ["full-source-all", "subset-source-all"], "seeds": [0], "score": {"n_clusters": 2},
    }))
    type_in("run", shelf / "new.yaml", "--out", shelf / "run")
    return shelf / "run"


def test_the_proposal_is_a_map_that_can_be_used(shelf: Path) -> None:
    assert load_aliases(shelf / "aliases.yaml") == MAP


def test_the_score_uses_it(shelf: Path, tmp_path: Path) -> None:
    every = [shelf / name / "data.yaml" for name in ("new", "steel", "tile")]
    words = ("score", *every, "--clusters", 2)
    type_in(*words, "--out", tmp_path / "with", "--aliases", shelf / "aliases.yaml")
    type_in(*words, "--out", tmp_path / "without")
    found = {
        out: {row["name"]: row["shared_classes"] for row in json.loads(
            (tmp_path / out / "scores.json").read_text())["sources"]}
        for out in ("with", "without")
    }
    shared = ["gas hole", "scratch"]
    assert found == {"with": {"steel": shared, "tile": shared},
                     "without": {"steel": [], "tile": []}}


def test_the_subset_uses_it(run: Path) -> None:
    counts = pd.read_csv(run / "counts.csv").set_index(["dataset", "class"])
    assert counts.loc[("steel", "scratch"), "subset"] == 4
    assert counts.loc[("steel", "gas hole"), "subset"] == 2
    assert counts.loc[("steel", "burr"), "before"] == 1
    assert "Scratches" not in counts.index.get_level_values("class")
    [name] = {yaml.safe_load(file.read_text(encoding="utf-8"))["names"][0]
              for file in (run / "data").glob("new/data.yaml")}
    assert name == "gas hole"


def test_the_rows_of_the_head_use_it(run: Path) -> None:
    ledger = pd.read_csv(run / "stages" / "full-source-all-s0-target" / "ledger.csv")
    # All classes of the target are the source's, in another order and beside one more.
    told = "rows of same-named classes: gas hole, scratch"
    assert ledger["reason"].str.startswith(told).sum() >= 3
    assert not (ledger["origin"] == "initialised").any()


def test_one_map_serves_an_index_and_its_targets(shelf: Path, tmp_path: Path) -> None:
    map_ = shelf / "aliases.yaml"
    sources = [shelf / name / "data.yaml" for name in ("steel", "tile")]
    type_in("index", tmp_path / "i", *sources, shelf / "new" / "data.yaml", "--aliases", map_)
    type_in("score", shelf / "new" / "data.yaml", "--index", tmp_path / "i", "--aliases", map_,
            "--out", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert {row["name"]: row["shared_classes"] for row in found["sources"]} == {
        "steel": ["gas hole", "scratch"], "tile": ["gas hole", "scratch"],
    }
    typo = tmp_path / "typo.yaml"
    typo.write_text("scratchh: [Scratchess]\n", encoding="utf-8")
    with pytest.raises(DataError, match="'Scratchess'"):
        type_in("score", shelf / "new" / "data.yaml", "--index", tmp_path / "i", "--aliases", typo,
                "--out", tmp_path / "typo")


@pytest.mark.parametrize("command", ["score", "index", "transfer", "run"])
def test_a_name_that_no_dataset_has_is_an_error(command: str, run: Path, tmp_path: Path) -> None:
    shelf = run.parent
    every = [shelf / name / "data.yaml" for name in ("new", "steel", "tile")]
    aliases = tmp_path / "aliases.yaml"
    aliases.write_text("scratch: [Scratches, hua hem]\n", encoding="utf-8")
    words: dict[str, list[object]] = {
        "score": ["score", *every, "--aliases", aliases],
        "index": ["index", tmp_path / "i", *every, "--aliases", aliases],
        "transfer": ["transfer", *every, "--aliases", aliases, "--weights", "yolov8n.yaml"],
        "run": ["run", shelf / "new.yaml", "--set", f"aliases={aliases}"],
    }
    out = [] if command == "index" else ["--out", tmp_path / "out"]
    with pytest.raises(DataError, match="got 'hua hem'; did you mean 'hua hen'"):
        type_in(*words[command], *out)
    assert not (tmp_path / "out").exists()
