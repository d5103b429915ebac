from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoi_tl.errors import ExperimentError
from aoi_tl.experiment.detection import Experiment, locate
from aoi_tl.experiment.settings import read_settings

GOOD = """\
target: t.yaml
sources: [a.yaml]
train:
  epochs: 3
  lr0: 1e-3
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "x.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults_and_stage_arguments(tmp_path: Path) -> None:
    text = GOOD + "  source: {epochs: 9}\n"
    experiment = read_settings(write(tmp_path, text), Experiment)
    assert experiment.train.arguments("source")["epochs"] == 9
    assert experiment.train.arguments("target") == {
        "epochs": 3, "batch": 16, "imgsz": 640, "lr0": 0.001,
    }
    assert experiment.arms == ("stock", "stock-long", "auto")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("target: t\nsources: [a]\nepoch: 3\n", ["line 3", "'epoch'"], id="unknown"),
        pytest.param("target: t\nsources: [a]\nscore: {n_cluster: 3}\n",
                     ["line 3", "did you mean 'n_clusters'"], id="unknown inside"),
        pytest.param("target: t\nsources: [a]\nseeds: [0, x]\n",
                     ["line 3", "a whole number", "'x'"], id="type"),
        pytest.param("target: t\nsources: [a]\nscore: {solver: slsq}\n",
                     ["line 3", "did you mean 'slsqp'"], id="choice"),
        pytest.param("target: t\nsources: [a]\nscore: {n_clusters: 0}\n",
                     ["line 3", "'auto' or at least 1", "got 0"], id="union"),
        pytest.param("target: t\nsources: [a]\narms: [coco, methd]\n",
                     ["line 3", "did you mean 'method'"], id="arm"),
        pytest.param("sources: [a]\n", ["'target'"], id="missing"),
        pytest.param("target: t\nsources: []\n", ["line 2", "at least 1"], id="empty"),
        pytest.param("target: t\ntarget: u\nsources: [a]\n", ["line 2", "each key once"],
                     id="twice"),
        pytest.param("target: [t\n", ["line 2", "YAML"], id="broken"),
        pytest.param("- a\n- b\n", ["keys and values"], id="list"),
        pytest.param("", ["keys and values", "nothing"], id="empty file"),
        pytest.param("target: t\nsources: [a]\nseeds: [1, 1]\n", ["line 3", "distinct"],
                     id="seeds"),
        pytest.param("target: t\nsources: [a]\nseeds: [-1]\n", ["line 3", "0..4294967295"],
                     id="seed below zero"),
        pytest.param("target: t\nsources: [a]\nseeds: [4294967296]\n", ["line 3", "0..4294967295"],
                     id="seed of 33 bits"),
        pytest.param("target: t\nsources: [a]\ntrain: 3\n", ["line 3", "further keys"],
                     id="group"),
    ],
)
def test_a_fault_is_one_line_with_its_place(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ExperimentError) as caught:
        read_settings(write(tmp_path, text), Experiment)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(ExperimentError, match=r"did you mean 'x\.yaml'"):
        read_settings(tmp_path / "xx.yaml", Experiment)


def test_overrides(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    experiment = read_settings(file, Experiment, ["train.epochs=5", "score.sample=10"])
    assert experiment.train.epochs == 5
    assert experiment.score.sample == 10
    for bad in ("train.epochs", "target.x=1", "score.solver=[", "=3"):
        with pytest.raises(ExperimentError, match="--set"):
            read_settings(file, Experiment, [bad])


def test_paths_globs_and_data_root(tmp_path: Path) -> None:
    for name in ("dc-1", "lc-101", "nj-101"):
        (tmp_path / "datasets" / name).mkdir(parents=True)
        (tmp_path / "datasets" / name / "data.yaml").touch()
    (tmp_path / "experiments").mkdir()
    file = tmp_path / "experiments" / "e.yaml"
    file.write_text("target: ../datasets/dc-1/data.yaml\nsources: ../datasets/*/data.yaml\n")
    found = locate(read_settings(file, Experiment))
    assert [Path(source).parent.name for source in found.sources] == ["lc-101", "nj-101"]
    assert Path(found.target).is_absolute()
    (tmp_path / "datasets").rename(tmp_path / "elsewhere")
    again = locate(read_settings(file, Experiment), tmp_path / "elsewhere")
    assert Path(again.target).parent == tmp_path / "elsewhere" / "dc-1"
    with pytest.raises(ExperimentError, match="line 1, target: expected a file"):
        locate(read_settings(file, Experiment))


def test_a_target_alone_has_no_source(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").touch()
    experiment = Experiment(target=str(tmp_path / "t.yaml"), sources=(str(tmp_path / "*.yaml"),))
    with pytest.raises(ExperimentError, match="other than the target"):
        locate(experiment)


@given(st.text(max_size=200))
def test_only_our_error_comes_out(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "x.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ExperimentError):
        read_settings(file, Experiment)
