"""A working folder as the documents mean it, in which any command line can be run cheaply."""

from __future__ import annotations

import glob
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

REPOSITORY = Path(__file__).parents[1]
COMMAND = typer.main.get_command(app)
SHORT = ["train={epochs: 1, batch: 4, imgsz: 64, nbs: 4, workers: 0}", "seeds=[0]",
         "score.n_clusters=3", "weights=yolov8n.yaml", "device=cpu"]
SHORT_CLASSIFY = [
    "train.epochs=1", "train.image_size=32", "train.batch=4", "train.blocks.source=45",
    "train.blocks.target=1", "seeds=[0]", "arms=[cdg]", "report.robustness=[]", "report.maps=0",
    "report.samples=2", "encoder=yolov8n.yaml", "weights=random",
]


def make_place(folder: Path) -> Path:
    """Draw the datasets that the documents name."""
    for number, name in enumerate((
        "datasets/dc-1", "datasets/lc-101", "new", "shelf/one", "shelf/two", "raw", "new-product",
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


def shorten(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut trainings short, and nothing else; work in the folder."""
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


def run(example: str) -> str:
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
    return said.getvalue()
