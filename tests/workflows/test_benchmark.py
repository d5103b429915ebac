from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from aoi_tl.errors import ExperimentError
from aoi_tl.experiment.benchmark import Benchmark
from aoi_tl.experiment.settings import read_settings
from aoi_tl.workflows.benchmark import experiments_of, pairs_of, run_benchmark
from tests.drawn import draw_dataset

TRAIN = {
    "epochs": 1, "imgsz": 32, "batch": 4, "nbs": 4, "optimizer": "AdamW", "lr0": 0.001,
    "workers": 0, "val": False,
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AOI_TL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    for number, name in enumerate(("new", "near", "far")):
        draw_dataset(folder / name, {"dent": 3, "crack": 2}, ground=100 + 40 * number, seed=number)
    return folder


def benchmark(shelf: Path, **settings: object) -> Benchmark:
    return Benchmark.model_validate({
        "target": [str(shelf / "new" / "data.yaml")], "sources": [str(shelf / "*" / "data.yaml")],
        "weights": "yolov8n.yaml", "train": TRAIN, "target_images": 4,
        "measures": ["paper", "size", "zero-shot"], **settings,
    })


@pytest.mark.slow
def test_a_shelf_is_trained_measured_and_compared(shelf: Path, tmp_path: Path) -> None:
    found = run_benchmark(benchmark(shelf), tmp_path / "b")
    evidence = pd.read_csv(tmp_path / "b" / "evidence.csv", keep_default_na=False)
    assert sorted(zip(evidence["arm"], evidence["sources"], strict=True)) == [
        ("chain-soup", "far"), ("chain-soup", "near"), ("stock", ""), ("union-soup", "far+near"),
    ]
    assert set(evidence["images"]) == {4}
    assert (evidence["test_images"] > 0).all()
    assert (evidence["seconds"] > 0).all()
    measured = pd.read_csv(tmp_path / "b" / "measures.csv")
    values = measured.set_index(["source", "measure"])["value"]
    assert values["near", "zero-shot"] >= 0  # the detectors of this run's own first stage
    assert values["far+near", "auto"] == pytest.approx(values["far+near", "auto"])
    assert {"paper", "size", "zero-shot", "auto", "auto-data"} <= set(found.agreement["measure"])
    assert "What auto chose" in (tmp_path / "b" / "ranking.md").read_text()
    assert (tmp_path / "b" / "plots" / "zero-shot.svg").read_text().startswith("<?xml")
    assert "Which measure foretold" in (tmp_path / "b" / "report.html").read_text("utf-8")
    again = yaml.safe_load((tmp_path / "b" / "experiment.yaml").read_text("utf-8"))
    assert experiments_of(Benchmark.model_validate(again)) == experiments_of(benchmark(shelf))
    before = {f.name: f.read_bytes() for f in (tmp_path / "b").glob("*.csv")}
    shutil.rmtree(tmp_path / "b" / "plots")
    run_benchmark(benchmark(shelf), tmp_path / "b", resume=True)
    assert {f.name: f.read_bytes() for f in (tmp_path / "b").glob("*.csv")} == before
    assert (tmp_path / "b" / "plots" / "zero-shot.svg").is_file()


def test_each_target_learns_from_all_others(shelf: Path) -> None:
    found = experiments_of(benchmark(shelf, target=[str(shelf / "*" / "data.yaml")]))
    assert [(Path(e.target).parent.name, e.pick) for e in found] == [
        ("far", ("near", "new")), ("near", ("far", "new")), ("new", ("far", "near")),
    ]
    assert {e.arms for e in found} == {("stock", "chain-soup", "union-soup")}


def test_a_benchmark_that_cannot_be_done_is_one_line(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="expected dataset files matching"):
        experiments_of(benchmark(shelf, target=[str(shelf / "nothing*" / "data.yaml")]))
    file = tmp_path / "bench.yaml"
    file.write_text("target: t.yaml\nsources: s.yaml\nmeasures: [zero-shoot]\n")
    with pytest.raises(ExperimentError, match=r"line 3.*zero-shoot.*zero-shot"):
        read_settings(file, Benchmark)


def test_gains_are_over_stock_with_the_same_images_and_repeated_rows_count_once() -> None:
    def row(images, arm, sources, map50, seed=0):
        return {"family": "", "target": "t", "images": images, "arm": arm, "sources": sources,
                "seed": seed, "map50": map50, "settings": "x"}

    evidence = [
        row(10, "stock", "", 0.2), row(10, "stock", "", 0.4, seed=1), row("all", "stock", "", 0.6),
        row(10, "chain-soup", "a", 0.5), row(10, "chain-soup", "a", 0.5),
        row("all", "chain-soup", "a", 0.5), row(10, "chain", "a", 0.9),
    ]
    measured = [{"target": "t", "images": images, "source": "a", "measure": "size", "value": "7"}
                for images in ("10", "all")]
    pairs = pairs_of(evidence, measured, "chain-soup")
    assert list(pairs["target"]) == ["t, 10 images", "t, all images"]
    assert pairs["gain"].tolist() == pytest.approx([20, -10])
    assert pairs["size"].tolist() == [7, 7]
