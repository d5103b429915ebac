"""Every example of `--help` is run as it is printed; trainings are cut short, nothing else is."""

from __future__ import annotations

import glob
import os
import re
import shlex
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import typer
import yaml

from aoi_tl.cli import app
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.formats import export_dataset
from aoi_tl.synthetic.surfaces import write_surfaces
from tests.drawn import draw_dataset

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
COMMAND = typer.main.get_command(app)
EXAMPLES = {
    name: re.findall(r"aoi-tl (.+?)(?:, or (?=aoi-tl)|\. Exit status|$)", command.epilog)
    for name, command in COMMAND.commands.items()  # type: ignore[attr-defined]
}
SHORT = ["train={epochs: 1, batch: 4, imgsz: 64, nbs: 4, workers: 0}", "seeds=[0]",
         "score.n_clusters=3", "weights=yolov8n.yaml"]
SHORT_CLASSIFY = [
    "train.epochs=1", "train.image_size=32", "train.batch=4", "train.blocks.source=45",
    "train.blocks.target=1", "seeds=[0]", "arms=[cdg]", "report.robustness=[]", "report.maps=0",
    "report.samples=2", "encoder=yolov8n.yaml", "weights=random",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as the examples mean it."""
    folder = tmp_path_factory.mktemp("work")
    for number, name in enumerate((
        "datasets/dc-1", "datasets/lc-101", "new", "shelf/one", "shelf/two", "raw",
    )):
        draw_dataset(folder / name, {"dent": 1, "stain": 2 + number % 2}, seed=number, empty=2,
                     ground=100 + 5 * number)
    groups = "".join(f"{image.name},{image.stem}\n" for image in
                     load_dataset(folder / "raw" / "data.yaml").images)
    (folder / "parts.csv").write_text(f"image,group\n{groups}")
    export_dataset(load_dataset(folder / "new" / "data.yaml"), "voc", folder / "voc")
    (folder / "annotations").mkdir()
    (folder / "jpegs").mkdir()
    for file in (folder / "voc").rglob("*.*"):
        kind = "annotations" if file.suffix == ".xml" else "jpegs"
        if file.is_file() and file.suffix in (".xml", ".png"):
            shutil.copy(file, folder / kind / file.name)
    shutil.copytree(folder / "new" / "images" / "test", folder / "parts")
    few = {"No Defect": 2, "Over Melting": 1, "Damaged": 1, "End Recess": 1, "Inked": 1}
    write_surfaces(folder / "data/lithium-iesdc", "lithium", {"train": few, "test": few}, 32)
    write_surfaces(folder / "data/neu-cls", "steel", {"train": {"patches": 8, "scratches": 8}}, 32)
    (folder / "experiments").mkdir()
    shutil.copy(REPOSITORY / "experiments/lithium-cdg.yaml", folder / "experiments")
    (folder / "experiments/dc-1.yaml").write_text(yaml.safe_dump({
        "target": "../datasets/dc-1/data.yaml", "sources": "../datasets/*/data.yaml",
        "arms": ["method-all"], "operate": {"escape": 0.5}, "subset": {"mixed": "keep"},
    }))
    benchmark = yaml.safe_load((REPOSITORY / "experiments/demo-benchmark.yaml").read_text())
    (folder / "experiments/demo-benchmark.yaml").write_text(yaml.safe_dump({
        **benchmark, "weights": "yolov8n.yaml",
        "train": {**benchmark["train"], "epochs": 1, "imgsz": 64, "source": {"epochs": 1}},
    }))
    return folder


@pytest.fixture(autouse=True)
def short_trainings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import aoi_tl.workflows.classify as classify_room
    import aoi_tl.workflows.demo as demo_room
    import aoi_tl.workflows.transfer as transfer_room
    from aoi_tl.experiment.settings import apply_override, validate

    monkeypatch.chdir(place)
    monkeypatch.setenv("AOI_TL_CACHE", str(place / "cache"))
    read, read_demo, located = (
        classify_room.as_experiment, demo_room._read_demo, transfer_room.locate
    )

    def shortened(experiment, data_root=None):
        found = located(experiment, data_root)
        settings = found.model_dump(mode="json")
        for word in SHORT:
            apply_override(settings, word)
        if found.pick == ("auto",):  # a benchmark needs arms to compare
            settings["arms"] = settings["arms"][:1]
        return validate(settings, type(found))

    monkeypatch.setattr(transfer_room, "locate", shortened)
    monkeypatch.setattr(classify_room, "as_experiment", lambda given, schema, words: (
        read(given, schema, [*words, *SHORT_CLASSIFY]) if isinstance(given, str | Path) else given
    ))
    monkeypatch.setattr(demo_room, "_read_demo", lambda name, schema, words: read_demo(
        name, schema, SHORT_CLASSIFY if "classify" in name else words
    ))
    monkeypatch.setattr(demo_room, "STEEL_COUNTS", {"train": {"patches": 8, "scratches": 8}})
    monkeypatch.setattr(demo_room, "LITHIUM_COUNTS", {
        split: dict.fromkeys(("No Defect", "Over Melting", "Inked"), 2)
        for split in ("train", "test")
    })
    monkeypatch.setattr(demo_room, "draw_demo", lambda data, **_: [
        draw_dataset(data.absolute() / name, {"dent": 1, "stain": 2}, seed=number)
        for number, name in enumerate(("dc-1", "lc-101"))
    ])


def run(example: str) -> None:
    """Do what a shell does with a line: patterns, and a file for what is written out."""
    words, _, file = example.partition(" > ")
    given = [found for word in shlex.split(words)
             for found in (sorted(glob.glob(word)) if "*" in word else [word])]
    said = StringIO()
    with redirect_stdout(said):
        status = COMMAND.main(given, standalone_mode=False)
    assert status in (None, 0, 1), said.getvalue()  # 1: inspect did not pass every part
    if file:
        Path(file).write_text(said.getvalue())


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


def test_demos(place: Path) -> None:
    """Commands: demo."""
    shutil.rmtree("datasets/demo", ignore_errors=True)  # drawn for the benchmark
    run_all("demo")
    for file in ("runs/demo/report.html", "runs/demo-classify/done"):
        assert os.path.exists(file), file
