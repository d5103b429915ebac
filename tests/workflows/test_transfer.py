from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from aoi_tl import Experiment, run_experiment
from aoi_tl.errors import AoiTlError
from aoi_tl.transfer.arguments import DRIVERS
from tests.drawn import draw_dataset, tree_hash

pytestmark = pytest.mark.slow

TRAIN = {"epochs": 1, "batch": 4, "imgsz": 64, "nbs": 4, "workers": 0}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    draw_dataset(folder / "new", {"dent": 3, "stain": 1}, seed=1)
    draw_dataset(folder / "near", {"stain": 2, "dent": 5, "burr": 2}, seed=2, ground=125)
    draw_dataset(folder / "far", {"dent": 2, "stain": 1}, seed=3, ground=40)
    draw_dataset(folder / "alone", {"burr": 2}, seed=4)
    return folder


def experiment(shelf: Path, **settings: object) -> Experiment:
    defaults = {
        "target": str(shelf / "new" / "data.yaml"),
        "sources": [str(shelf / name / "data.yaml") for name in ("near", "far", "alone")],
        "weights": "yolov8n.yaml",
        "train": TRAIN,
        "arms": ["coco", "method-all"],
        "seeds": [0],
        "score": {"n_clusters": 3, "method": "paper"},
    }
    return Experiment.model_validate({**defaults, **settings})


@pytest.fixture(scope="module")
def outcome(shelf: Path, tmp_path_factory: pytest.TempPathFactory):
    before = tree_hash(shelf)
    found = run_experiment(experiment(shelf), tmp_path_factory.mktemp("runs") / "r")
    assert tree_hash(shelf) == before
    return found


def test_every_promised_file_is_there(outcome) -> None:
    for name in (
        "experiment.yaml", "environment.json", "scores.json", "scores.csv", "counts.csv",
        "arms.csv", "per_class.csv", "summary.csv", "timings.csv", "report.html", "pr_curves.png",
        "f1_curves.png", "arms.png", "done", "stages/coco-s0-target/ledger.csv",
        "stages/method-all-s0-source/ledger.csv", "stages/method-all-s0-target/weights/best.pt",
    ):
        assert (outcome.folder / name).is_file(), name


def test_the_picked_source_follows_the_rule(outcome) -> None:
    scores = json.loads((outcome.folder / "scores.json").read_text())
    rows = {row["name"]: row for row in scores["sources"]}
    assert scores["selected"] == "near"
    assert outcome.picked == ("near",)
    assert rows["alone"]["discrepancy"] is None
    assert rows["alone"]["rank"] is None
    assert rows["near"]["shared_classes"] == ["dent", "stain"]
    # Sources are seen with all their splits: three times what one split holds.
    assert rows["near"]["instances"] == 27


def test_counts_show_each_step_of_the_adaptation(outcome) -> None:
    counts = pd.read_csv(outcome.folder / "counts.csv").set_index(["dataset", "class"])
    assert counts.loc[("near", "burr"), "before"] == 2
    assert pd.isna(counts.loc[("near", "burr"), "balanced"]) or (
        counts.loc[("near", "burr"), "balanced"] == 0
    )
    assert counts.loc[("near", "stain"), "subset"] == 2
    assert counts.loc[("near", "stain"), "balanced"] >= 3
    assert counts.loc[("new", "stain"), "balanced"] >= 2


def test_ledgers_show_the_chain(outcome) -> None:
    stages = outcome.folder / "stages"
    ledgers = {
        name: pd.read_csv(stages / name / "ledger.csv")
        for name in ("coco-s0-target", "method-all-s0-target")
    }
    coco = ledgers["coco-s0-target"]
    copied = coco[coco["origin"].str.contains("copied")]
    assert set(copied["group"]) == {"backbone"}
    assert ledgers["method-all-s0-target"]["origin"].str.contains("copied").all()


def test_the_same_experiment_gives_the_same_arms(outcome, shelf: Path, tmp_path: Path) -> None:
    again = run_experiment(outcome.folder / "experiment.yaml", tmp_path / "again")
    for name in ("arms.csv", "per_class.csv", "summary.csv", "counts.csv", "scores.json"):
        assert (again.folder / name).read_bytes() == (outcome.folder / name).read_bytes(), name


def test_a_done_run_is_shown_and_not_repeated(outcome) -> None:
    before = {file: file.stat().st_mtime_ns for file in outcome.folder.rglob("*.pt")}
    again = run_experiment(outcome.folder / "experiment.yaml", outcome.folder, resume=True)
    assert again.arms.equals(outcome.arms) or again.arms.round(9).equals(outcome.arms.round(9))
    assert {file: file.stat().st_mtime_ns for file in outcome.folder.rglob("*.pt")} == before


def test_killed_and_resumed_ends_the_same(outcome, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    code = ("import sys; from aoi_tl import run_experiment; "
            "run_experiment(sys.argv[1], sys.argv[2], resume=True)")
    command = [sys.executable, "-c", code, str(outcome.folder / "experiment.yaml"), str(out)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # Kill in the middle of the second arm's first stage: one arm is done, the rest is not.
    marker = out / "stages" / "method-all-s0-source" / "initial.pt"
    deadline = time.monotonic() + 600
    while not marker.exists() and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert marker.exists()
    assert not (out / "done").exists()
    again = run_experiment(outcome.folder / "experiment.yaml", out, resume=True)
    assert (out / "done").is_file()
    assert (again.folder / "arms.csv").read_bytes() == (outcome.folder / "arms.csv").read_bytes()


def remove_split(file: Path, split: str) -> None:
    kept = [line for line in file.read_text().splitlines() if not line.startswith(split)]
    file.write_text("\n".join(kept) + "\n")


def spoil(kind: str, folder: Path) -> dict[str, object]:
    """Spoil a copy of the shelf; give the settings of an experiment that meets it."""
    target = folder / "new"
    label = target / "labels" / "train" / "train0.txt"
    if kind == "class id":
        label.write_text("7 0.5 0.5 0.1 0.1\n")
    elif kind == "nan":
        label.write_text("0 nan 0.5 0.1 0.1\n")
    elif kind == "no labels":
        for file in (target / "labels").rglob("*.txt"):
            file.unlink()
    elif kind == "no boxes":
        for file in (target / "labels").rglob("*.txt"):
            file.write_text("")
    elif kind == "no names":
        text = (target / "data.yaml").read_text()
        (target / "data.yaml").write_text(text[:text.index("names")] + "nc: 2\n")
    elif kind == "no test":
        remove_split(target / "data.yaml", "test")
    elif kind == "leak":
        image = "images/test/test0.png"
        (folder / "near" / "images" / "train" / "leak.png").write_bytes(
            (target / image).read_bytes()
        )
    elif kind == "no shared class":
        return {"sources": [str(folder / "alone" / "data.yaml")]}
    elif kind == "unknown pick":
        return {"pick": ["naer"]}
    elif kind == "training argument":
        return {"train": {**TRAIN, "epoch": 3}}
    elif kind == "optimizer":
        return {"train": {**TRAIN, "optimizer": "AdamWW"}}
    elif kind == "device":
        return {"device": "77"}
    elif kind == "weights":
        return {"weights": str(folder / "nothing.pt")}
    return {}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("class id", ["train0.txt", "7"]),
        ("nan", ["train0.txt", "nan"]),
        ("no labels", ["label"]),
        ("no boxes", ["expected boxes in the train split"]),
        ("no names", ["names"]),
        ("no test", ["expected a test split"]),
        ("leak", ["near: 1 of", "overlap: drop"]),
        ("no shared class", ["defined score", "alone"]),
        ("unknown pick", ["did you mean 'near'"]),
        ("training argument", ["train.epoch:", "'epochs'"]),
        ("optimizer", ["train.optimizer", "AdamW,", "'AdamWW'"]),
        ("device", ["device", "'77'"]),
        ("weights", ["nothing.pt"]),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing_half(
    shelf: Path, tmp_path: Path, kind: str, words: list[str]
) -> None:
    import shutil

    copy = tmp_path / "shelf"
    shutil.copytree(shelf, copy)
    settings = spoil(kind, copy)
    before = tree_hash(copy)
    with pytest.raises(AoiTlError) as caught:
        run_experiment(experiment(copy, **settings), tmp_path / "run")
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert tree_hash(copy) == before
    assert not (tmp_path / "run" / "done").exists()
    assert not (tmp_path / "run" / "stages").exists()


#: Runs the command line in this process; prints what it said and whether torch was imported.
REFUSED = """
import contextlib, io, sys
from aoi_tl.cli import main
said = io.StringIO()
with contextlib.redirect_stderr(said):
    try:
        main()
    except SystemExit as ended:
        print(ended.code, "torch" in sys.modules, said.getvalue(), end="")
"""


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["nothing.yaml"], "got nothing there"),
        (["near/data.yaml", "--weights", "none/yolo11n.pt"], "got no such file"),
        (["near/data.yaml", "--weights", "{weights}"], "expected an Ultralytics checkpoint"),
        pytest.param(
            ["near/data.yaml", "--weights", "yolov8n.yaml", "--set", "device=77"], "device: ",
            marks=pytest.mark.skipif(
                sys.platform != "linux" or any(map(os.path.exists, DRIVERS)),
                reason="a GPU's driver is here: only torch knows how many there are",
            ),
        ),
        pytest.param(
            ["near/data.yaml", "--weights", "yolov8n.yaml", "--set", "device=mps"], "device: ",
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="a Mac may have one"),
        ),
    ],
    ids=["no dataset", "no checkpoint", "wrong checkpoint", "no GPU", "no mps"],
)
def test_a_refusal_does_not_wait_for_torch(
    shelf: Path, tmp_path: Path, words: list[str], refusal: str
) -> None:
    wrong = tmp_path / "wrong.pt"
    wrong.write_bytes(b"not a checkpoint")
    words = [word.format(weights=wrong) for word in words]
    answer = subprocess.run(
        [sys.executable, "-c", REFUSED, "transfer", "new/data.yaml", *words, "--out",
         str(tmp_path / "run")], cwd=shelf, capture_output=True, text=True, check=True,
    )
    status, torch_was_imported, said = answer.stdout.split(" ", 2)
    assert (status, torch_was_imported) == ("2", "False")
    assert refusal in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_shared_images_are_dropped_when_told(shelf: Path, tmp_path: Path) -> None:
    import shutil

    from aoi_tl.workflows.shelf import read_data

    copy = tmp_path / "shelf"
    shutil.copytree(shelf, copy)
    spoil("leak", copy)
    _, sources, notes = read_data(experiment(copy, overlap="drop"))
    near = next(source for source in sources if source.name == "near")
    assert all(sample.image.name != "leak.png" for sample in near.samples)
    assert any("near: 1 of" in note and "left out" in note for note in notes)


def test_the_environment_names_what_a_repetition_needs(outcome) -> None:
    found = json.loads((outcome.folder / "environment.json").read_text())
    assert found["seeds"] == [0]
    assert found["device"] == "cpu"
    assert {"ultralytics", "torch", "numpy"} <= set(found["packages"])
    assert set(found["data"]) == {"new", "near", "far", "alone"}
    assert str(os.getpid()) not in json.dumps(found["machine"])
