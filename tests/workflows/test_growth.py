"""A run that grows: more seeds, arms, sources and labelled images, with what is trained kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aoi_tl import Experiment, run_experiment
from aoi_tl.errors import RunError
from aoi_tl.files.run_folder import RunFolder
from aoi_tl.transfer.detectors import SourceDetector
from aoi_tl.workflows.arms import _keep_what_stays
from aoi_tl.workflows.chain import Chain, Work
from tests.drawn import draw_dataset

pytestmark = pytest.mark.slow

TRAIN = {"epochs": 1, "batch": 4, "imgsz": 64, "nbs": 4, "workers": 0}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    draw_dataset(folder / "new", {"dent": 3, "stain": 1}, seed=1)
    draw_dataset(folder / "near", {"stain": 2, "dent": 5}, seed=2, ground=125)
    draw_dataset(folder / "far", {"dent": 2, "stain": 1}, seed=3, ground=40)
    return folder


@pytest.fixture(autouse=True)
def cache(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AOI_TL_CACHE", str(shelf / "cache"))


def experiment(shelf: Path, **settings: object) -> Experiment:
    defaults: dict[str, Any] = {
        "target": str(shelf / "new" / "data.yaml"), "sources": [str(shelf / "far" / "data.yaml")],
        "weights": "yolov8n.yaml", "train": TRAIN, "arms": ["coco", "union"],
        "seeds": [0], "score": {"n_clusters": 3},
    }
    return Experiment.model_validate({**defaults, **settings})


def stamps(folder: Path) -> dict[str, int]:
    return {file.parents[1].name: file.stat().st_mtime_ns
            for file in folder.glob("stages/*/weights/best.pt")}


def test_a_run_grows_and_keeps_what_is_trained(shelf: Path, tmp_path: Path) -> None:
    run_experiment(experiment(shelf), tmp_path / "r")
    before, union = stamps(tmp_path / "r"), tmp_path / "r/stages/union-s0-target/test.json"
    evaluated = union.stat().st_mtime_ns
    both = [str(shelf / name / "data.yaml") for name in ("near", "far")]
    grown = experiment(shelf, sources=both, seeds=[0, 1])
    found = run_experiment(grown, tmp_path / "r", resume=True)
    assert len(found.arms) == 2 * 2
    assert (tmp_path / "r" / "done").is_file()
    after = stamps(tmp_path / "r")
    assert after["coco-s0-target"] == before["coco-s0-target"]
    assert union.stat().st_mtime_ns > evaluated  # it is made of both sources now
    assert any(note.startswith("union: trained anew") for note in
               json.loads((tmp_path / "r" / "notes.json").read_text()))
    anew = run_experiment(grown, tmp_path / "anew")
    for name in ("arms.csv", "summary.csv", "scores.json"):
        assert (found.folder / name).read_bytes() == (anew.folder / name).read_bytes(), name
    # Nothing is left to do; a smaller experiment is another one.
    run_experiment(grown, tmp_path / "r", resume=True)
    assert stamps(tmp_path / "r") == after
    with pytest.raises(RunError, match=r"seeds: \[0, 1\] there, \[0\] here"):
        run_experiment(experiment(shelf, sources=both, seeds=[0]), tmp_path / "r", resume=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": {**TRAIN, "epochs": 2}}, r"train\.epochs: 1 there, 2 here"),
        ({"train": {**TRAIN, "source": {"epochs": 3}}}, r"train\.source\.epochs: nothing there, 3"),
        ({"seeds": [1, 0]}, r"seeds: \[0\] there, \[1, 0\] here"),
        ({"arms": ["coco"]}, r'arms: \["coco", "union"\] there, \["coco"\] here'),
        ({"sources": ["near"]}, r"data\.far: \w{12}\.\.\. there, nothing here"),
        ({"operate": {"escape": 0.1}}, r"operate\.escape: nothing there, 0\.1 here"),
        ({"train": {**TRAIN, "epochs": 2}, "pick": "far", "overlap": "drop", "device": "cpu",
          "subset": {"mixed": "drop"}, "balance": {"minority": {"to": 0.1}}},
         r"and 2 more; choose"),
    ],
)
def test_any_other_change_is_refused_with_both_values(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any],
    words: str,
) -> None:
    class StopHere(Exception):
        pass

    def stop(*_: object) -> None:
        raise StopHere

    monkeypatch.setattr("aoi_tl.workflows.transfer.plan_arms", stop)
    with pytest.raises(StopHere):
        run_experiment(experiment(shelf), tmp_path / "r")
    if "sources" in settings:
        settings = {"sources": [str(shelf / "near" / "data.yaml")]}
    with pytest.raises(RunError, match=words) as caught:
        run_experiment(experiment(shelf, **settings), tmp_path / "r", resume=True)
    assert "\n" not in str(caught.value)


def work(run: Path, arm: str, **chain: Any) -> Work:
    folder = run / "stages" / f"{arm}-s0-target"
    folder.mkdir(parents=True, exist_ok=True)
    return Work(run, "", experiment(run), Chain(arm, "all", **chain), 0, Path(), Path(), 1)


def test_arms_that_mean_something_else_now_are_forgotten(tmp_path: Path) -> None:
    def detector(*contents: str) -> SourceDetector:
        return SourceDetector("union", tuple((Path(c), 1) for c in contents), contents, Path("w"))

    run = RunFolder(tmp_path)
    works = [
        work(tmp_path, "coco"), work(tmp_path, "method", source="far"),
        work(tmp_path, "stock-long", longer=2.0),
        work(tmp_path, "union-soup", detector=detector("a"), trained_as="union-chain"),
    ]
    for more in ("union-chain-s0-target", "method-s0-source", "method-s01-target"):
        (tmp_path / "stages" / more).mkdir()
    _keep_what_stays(run, works)
    everything = sorted(folder.name for folder in tmp_path.glob("stages/*"))
    assert len(everything) == 7
    _keep_what_stays(run, works)
    assert sorted(folder.name for folder in tmp_path.glob("stages/*")) == everything
    grown = [
        works[0], work(tmp_path, "method", source="near"), work(tmp_path, "stock-long", longer=3.0),
        work(tmp_path, "union-soup", detector=detector("a", "b"), trained_as="union-chain"),
    ]
    _keep_what_stays(run, grown)
    assert sorted(folder.name for folder in tmp_path.glob("stages/*")) == [
        "coco-s0-target", "method-s01-target"]
    assert "method, stock-long, union-soup: trained anew" in run.read_json("notes.json")[0]


def test_without_a_plan_what_learnt_from_a_source_is_forgotten(tmp_path: Path) -> None:
    """A run of a version that kept no plan cannot say what its arms learnt from."""
    works = [work(tmp_path, "coco"), work(tmp_path, "method", source="far")]
    (tmp_path / "arms.csv").touch()
    _keep_what_stays(RunFolder(tmp_path), works)
    assert [folder.name for folder in tmp_path.glob("stages/*")] == ["coco-s0-target"]
