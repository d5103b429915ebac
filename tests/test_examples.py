"""Every example of `--help` is run as it is printed; trainings are cut short, nothing else is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from aoi_tl.files.contents import describe
from tests.drawn import draw_dataset
from tests.working_folder import COMMAND, make_place, run, shorten

pytestmark = pytest.mark.slow

EXAMPLES = {
    name: re.findall(r"aoi-tl (.+?)(?:, or (?=aoi-tl)|\. Exit status|$)", command.epilog)
    for name, command in COMMAND.commands.items()  # type: ignore[attr-defined]
}


#: Lines of the documents that need what the examples train; `tests/docs/test_blocks.py` leaves
#: them to this test.
ON_TRAINED_RUNS = (
    "inspect runs/dc-1/stages/method-all-s0-target/weights/best.pt parts/ --out runs/inspect",
    "inspect runs/dc-1/exported/method-all-s0.onnx parts/ --out runs/inspect-onnx",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as the examples mean it."""
    return make_place(tmp_path_factory.mktemp("work"))


@pytest.fixture(autouse=True)
def short_trainings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(place, monkeypatch)


def run_all(*commands: str) -> None:
    for command in commands:
        for example in EXAMPLES[command]:
            run(example)


def test_every_command_has_an_example_of_itself() -> None:
    for name, examples in EXAMPLES.items():
        assert examples, name
        assert all(shlex.split(example)[0] == name for example in examples), name
    tested = {name for function in (test_on_datasets, test_on_runs, test_demos)
              for name in function.__doc__.split(":")[1].replace(".", "").split()}
    assert tested == set(EXAMPLES)


def test_on_datasets(place: Path) -> None:
    """Commands: score index labels check split import export."""
    run_all("score", "index", "labels", "check", "split")
    shutil.move("new", "old")  # what is imported makes a new one
    run_all("import", "export")
    for file in ("runs/score/scores.json", "shelf.index", "aliases.yaml", "new/data.yaml",
                 "runs/check/new/check.json", "raw-split/groups.csv", "coco"):
        assert os.path.exists(file), file


def test_on_runs(place: Path) -> None:
    """Commands: run transfer report export-model inspect classify benchmark."""
    for number, name in enumerate(("dc-1", "nj-101", "xh-4")):
        draw_dataset(place / "datasets/demo" / name, {"dent": 3, "stain": 3}, seed=number)
    run_all("run", "transfer", "report", "export-model", "inspect", "classify", "benchmark")
    for file in ("runs/dc-1/report.html", "runs/t1/done", "runs/inspect/verdicts.csv",
                 "runs/both.html", "runs/lithium-cdg/done", "runs/benchmark/ranking.md"):
        assert os.path.exists(file), file
    shutil.rmtree("runs/inspect")
    for line in ON_TRAINED_RUNS:
        run(line)


def test_demos(place: Path) -> None:
    """Commands: demo."""
    shutil.rmtree("datasets/demo", ignore_errors=True)  # drawn for the benchmark
    run_all("demo")
    for file in ("runs/demo/report.html", "runs/demo-classify/done"):
        assert os.path.exists(file), file


def test_every_file_of_a_run_is_described(place: Path) -> None:
    """The reference of files has no gap: after all the commands above."""
    runs = [folder for folder in Path("runs").iterdir() if folder.is_dir()]
    assert {"dc-1", "score", "benchmark", "demo-classify", "inspect", "check"} <= {
        folder.name for folder in runs
    }
    unknown = {
        name for run in runs for file in run.rglob("*")
        if file.is_file() and not describe(name := file.relative_to(run).as_posix())
        and not file.name.startswith(".")
        and not re.match(r"data/[^/]+/(images|labels)/", name)
    }
    assert not unknown
