"""The user's own MLflow, TensorBoard and W&B, turned on in Ultralytics' settings.

In processes of their own: Ultralytics turns its trackers off where it finds pytest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from aoi_tl.checkpoints.ultralytics_setup import trackers_on
from tests.drawn import draw_dataset
from tests.tiny_detector import tiny_detector

pytestmark = pytest.mark.slow

RUN = "import sys; from aoi_tl import run_experiment; run_experiment(sys.argv[1], sys.argv[2])"
#: Stands for W&B, which keeps its runs on the network: notes what a run is called.
WANDB = """
import json, os
__version__, run = "0", None

class Anything:
    id = "1"
    def __init__(self, *args, **kwargs): pass
    def __getattr__(self, name): return Anything()
    def __call__(self, *args, **kwargs): return Anything()

Artifact = Image = Anything

def init(**told):
    global run
    run = Anything()
    with open(os.environ["WANDB_TOLD"], "a") as file:
        print(json.dumps([told["project"], told["name"]]), file=file)

def finish(*args, **kwargs):
    global run
    run = None
"""
STAGES = ["parts/method-all/0/source", "parts/method-all/0/target", "parts/stock/0/target"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same experiment run without a tracker (`plain`) and with all three (`seen`)."""
    place = tmp_path_factory.mktemp("trackers")
    for number, name in enumerate(("new", "old")):
        draw_dataset(place / name, {"dent": 2, "stain": 3}, seed=number)
    tiny_detector(place / "tiny.pt", ["dent", "stain"])
    (place / "parts.yaml").write_text(yaml.safe_dump({
        "target": "new/data.yaml", "sources": "old/data.yaml", "weights": "tiny.pt",
        "arms": ["stock", "method-all"], "seeds": [0], "score": {"n_clusters": 3},
        "train": {"epochs": 2, "batch": 4, "imgsz": 64, "nbs": 4, "workers": 0},
    }))
    (place / "modules").mkdir()
    (place / "modules/wandb.py").write_text(WANDB)
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("YOLO_", "PYTEST_"))}
    environment |= {
        "XDG_CONFIG_HOME": str(place / "config"), "AOI_TL_CACHE": str(place / "cache"),
        "MLFLOW_TRACKING_URI": (place / "mlruns").as_uri(), "OMP_NUM_THREADS": "1",
        "MLFLOW_ALLOW_FILE_STORE": "true", "WANDB_TOLD": str(place / "wandb.txt"),
        "PYTHONPATH": f"{place / 'modules'}{os.pathsep}{Path(__file__).parents[2]}",
    }

    def run(*words: object) -> None:
        done = subprocess.run([str(word) for word in words], cwd=place, env=environment,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Failed" not in done.stdout + done.stderr

    run(sys.executable, "-c", RUN, "parts.yaml", "plain")
    assert not (place / "mlruns").exists()
    yolo = shutil.which("yolo", path=Path(sys.executable).parent) or "yolo"
    run(yolo, "settings", "mlflow=True", "tensorboard=True", "wandb=True")
    run(sys.executable, "-c", RUN, "parts.yaml", "seen")
    return place


def test_mlflow_sees_each_stage_by_its_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient((place / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("parts")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == STAGES
    assert all(run.info.status == "FINISHED" for run in runs)
    assert all("metrics/mAP50B" in run.data.metrics for run in runs)
    [stock] = [run for run in runs if "stock" in run.info.run_name]
    assert len(client.get_metric_history(stock.info.run_id, "metrics/mAP50B")) >= 2


def test_tensorboard_sees_each_stage_by_its_name(place: Path) -> None:
    board = place / "seen/tensorboard"
    assert sorted({
        file.parent.relative_to(board).as_posix() for file in board.rglob("events.out.*")
    }) == STAGES
    assert not list((place / "seen/stages").rglob("events.out.*"))


def test_wandb_sees_each_stage_by_its_name(place: Path) -> None:
    told = [json.loads(line) for line in (place / "wandb.txt").read_text().splitlines()]
    assert sorted(name for _, name in told) == STAGES
    assert {project for project, _ in told} == {"parts"}


def test_a_tracker_changes_no_weight_and_no_table(place: Path) -> None:
    for name in ("arms.csv", "per_class.csv", "summary.csv", "scores.csv", "counts.csv"):
        assert (place / "plain" / name).read_bytes() == (place / "seen" / name).read_bytes(), name
    for stage in ("stock-s0-target", "method-all-s0-source", "method-all-s0-target"):
        plain, seen = (
            torch.load(place / run / "stages" / stage / "weights/best.pt", weights_only=False)
            for run in ("plain", "seen")
        )
        plain, seen = (found["model"].state_dict() for found in (plain, seen))
        assert plain.keys() == seen.keys()
        assert all(torch.equal(value, seen[name]) for name, value in plain.items()), stage


def test_nothing_is_noted_where_no_tracker_is_on(place: Path) -> None:
    assert not list((place / "plain").rglob("tracked.json"))
    assert not (place / "plain/tensorboard").exists()


@pytest.mark.parametrize(
    ("settings", "on"),
    [('{"mlflow": true, "tensorboard": false}', ("mlflow",)), ('{"mlflow": "yes"}', ()),
     ('{"clearml": true}', ()), ("[]", ()), ("no JSON", ()), (None, ())],
)
def test_only_what_the_user_has_turned_on(
    settings: str | None, on: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    if settings is not None:
        (tmp_path / "Ultralytics").mkdir()
        (tmp_path / "Ultralytics/settings.json").write_text(settings)
    assert trackers_on() == on


def test_our_own_settings_are_not_taken_for_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child process is told where ours are: there Ultralytics has MLflow on by default."""
    monkeypatch.setenv("AOI_TL_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "ultralytics"))
    (tmp_path / "ultralytics/Ultralytics").mkdir(parents=True)
    (tmp_path / "ultralytics/Ultralytics/settings.json").write_text('{"mlflow": true}')
    assert trackers_on() == ()
