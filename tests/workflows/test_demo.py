from __future__ import annotations

from pathlib import Path

import pytest

from aoi_tl.classification.folders import read_image_folders
from aoi_tl.errors import CheckpointError
from aoi_tl.experiment.classification import ClassificationExperiment
from aoi_tl.synthetic.surfaces import LITHIUM_COUNTS
from aoi_tl.workflows.demo import _read_demo, run_classification_demo

pytestmark = pytest.mark.slow

QUICK = ["train.epochs=1", "train.image_size=32", "train.batch=4", "train.blocks.source=45",
         "train.blocks.target=1", "seeds=[0]", "arms=[cdg]", "report.robustness=[]",
         "report.maps=0", "report.samples=5"]


def test_demo_needs_no_download_and_says_what_it_goes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aoi_tl.checkpoints.finding as room

    def offline(*_: object) -> Path:
        raise CheckpointError("expected yolov8n.pt, got no network")

    monkeypatch.setattr(room, "find_checkpoint", offline)
    monkeypatch.chdir(tmp_path)
    outcome, notes = run_classification_demo("run", "data", QUICK)
    drawn = read_image_folders(tmp_path / "data/lithium")
    assert drawn.split("train").counts == dict(sorted(LITHIUM_COUNTS["train"].items()))
    assert drawn.split("test").counts == dict(sorted(LITHIUM_COUNTS["test"].items()))
    assert len(read_image_folders(tmp_path / "data/steel")) == 360
    assert not [path for path in (tmp_path / "data").iterdir() if path.name.startswith(".")]
    assert "random weights of yolov8n.yaml" in notes[0]
    assert outcome.arms["arm"].tolist() == ["cdg"]
    assert (outcome.folder / "report.html").is_file()
    # A second demo goes on with what is there.
    stamp = (outcome.folder / "stages/cdg-s0/result.json").stat().st_mtime_ns
    again, _ = run_classification_demo("run", "data", QUICK)
    assert again.arms.equals(outcome.arms)
    assert (outcome.folder / "stages/cdg-s0/result.json").stat().st_mtime_ns == stamp


def test_the_demo_includes_the_frozen_arms() -> None:
    experiment = _read_demo("classify_demo.yaml", ClassificationExperiment, [])
    assert {"probe", "nearest-mean", "patch-probe"} <= set(experiment.arms)
