"""Every code block of the documents works: commands are run, settings are read, Python is executed.

Trainings are cut short (`tests.working_folder`). Not run, but checked as far as said there: what
needs a cluster, a GPU of its own or the network, and what another test runs (`CHECKED`).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tomllib
import warnings
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
import yaml

from aoi_tl.data.labels import load_aliases
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.experiment.benchmark import Benchmark
from aoi_tl.experiment.classification import ClassificationExperiment
from aoi_tl.experiment.detection import Experiment
from aoi_tl.experiment.settings import read_settings, validate
from tests.drawn import draw_dataset
from tests.test_examples import EXAMPLES, ON_TRAINED_RUNS
from tests.working_folder import COMMAND, REPOSITORY, make_place, run, shorten

pytestmark = pytest.mark.slow

PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md",
         *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.M | re.S)
LANGUAGES = {"sh", "yaml", "python", "text"}


def blocks(page: Path, *languages: str) -> list[str]:
    return [body for _, language, body in BLOCK.findall(page.read_text(encoding="utf-8"))
            if language in languages]


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks, without comments, continued lines joined."""
    lines = []
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = re.sub(r"(^|\s+)#.*", "", line).strip()
            lines += [part.strip() for part in words.split(" && ") if part.strip()]
    return lines


def given(language: str) -> list:
    return [pytest.param(page, id=str(page.relative_to(REPOSITORY)))
            for page in PAGES if blocks(page, language)]


def test_no_code_escapes() -> None:
    """A language that no test here knows, or commands that are only indented."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = re.findall(r"^ *```(\S*)\n", text, re.M)
        unknown = {fence for fence in fences if fence and not fence.startswith("{")} - LANGUAGES
        assert not unknown, page
        outside = BLOCK.sub("", text)
        assert not re.search(r"^ {4,}(\.venv/bin/)?(aoi-tl|python|pip|make|ray) ", outside, re.M), (
            page
        )


# ------------------------------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_place(tmp_path_factory.mktemp("work"))
    for number, name in enumerate(("dc-1", "lc-101", "nj-101")):
        draw_dataset(folder / "datasets/demo" / name, {"dent": 2, "stain": 2}, seed=number)
    (folder / "shelf/aliases.yaml").write_text("stain: [dent]\n")
    for name in ("new-product", "line-2"):
        (folder / f"experiments/{name}.yaml").write_text(yaml.safe_dump(
            {"target": "../new-product/data.yaml", "sources": "../shelf/*/data.yaml"}
        ))
    shutil.copy(REPOSITORY / "experiments/demo.yaml", folder / "experiments")
    return folder


@pytest.fixture(autouse=True)
def short_trainings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(place, monkeypatch)


#: What trains, or needs what was trained.
LONG = ("run", "transfer", "classify", "benchmark", "demo", "inspect", "export-model")


def is_run_elsewhere(words: str) -> bool:
    """Whether `tests/test_examples.py` runs the very line."""
    examples = {example for examples in EXAMPLES.values() for example in examples}
    return words.split()[0] in LONG and words in examples | set(ON_TRAINED_RUNS)


def is_too_long(words: str) -> bool:
    """Whether a line is only parsed, its settings with it: another one of its command is run.

    It needs a GPU, a cluster or real data, or trains classifiers, proxies or a whole benchmark.
    """
    name = words.split()[0]
    return name in ("demo", "classify", "benchmark") or any(
        word in words for word in ("device=0", "--engine ray", "--method proxy", "mt-backbone")
    )


def check_parsed(words: str) -> None:
    """Check a command line as far as the parser does, and the settings it overrides."""
    name, *rest = shlex.split(words)
    context = COMMAND.commands[name].make_context(name, rest)  # type: ignore[attr-defined]
    settings = context.params.get("set_") or []
    schema = {"classify": ClassificationExperiment, "benchmark": Benchmark}.get(name, Experiment)
    for file in context.params.get("experiments") or [context.params.get("experiment")]:
        if file and "*" not in str(file):
            read_settings(REPOSITORY / file, schema, settings)


def check_pip(words: str) -> None:
    """The extras that are named exist; the network is not asked."""
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for extra in re.findall(r"aoi-tl\[(\w+)\]", words):
        assert extra in extras["optional-dependencies"], words
    from pip._internal.commands import create_command

    _, verb, *rest = shlex.split(words)
    create_command(verb).parse_args(rest)
    for file in re.findall(r"--constraint (\S+)", words):
        assert (REPOSITORY / file).is_file()


def check_ray(words: str) -> None:
    """Needs a cluster (tests/workflows/test_engines.py has one): parsed by Ray alone."""
    with warnings.catch_warnings(action="ignore"):
        from ray.scripts.scripts import cli

    _, name, *rest = shlex.split(words)
    cli.commands[name].make_context(name, rest)


def check_make(words: str) -> None:
    """The targets exist; they install, and run this test itself."""
    targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.M)
    assert set(words.split()[1:]) <= set(targets), words


def check_files(words: str) -> None:
    """The files and folders that it names exist: they are tests and benchmarks themselves."""
    for word in words.split():
        if re.match(r"(tests|benchmarks|docs)/", word):
            assert (REPOSITORY / word).exists(), words


def check_settings(words: str) -> None:
    """`tests/transfer/test_trackers.py` runs it."""
    assert words == "yolo settings mlflow=True"


#: What is not run, by its first word, and what is checked of it instead.
CHECKED = {
    "pip": check_pip, ".venv/bin/pip": check_pip, "ray": check_ray, "make": check_make,
    "pytest": check_files, "python": check_files, "yolo": check_settings,
    ".venv/bin/python": check_files, "HYPOTHESIS_PROFILE=long": check_files,
    "python3": lambda words: None,  # python3 -m venv
    ".": lambda words: None,  # activates it
    ".ci/run": lambda words: None,  # runs this test itself
}


@pytest.mark.parametrize("page", given("sh"))
def test_commands(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in commands(page):
        program, _, words = line.partition(" ")
        if program not in ("aoi-tl", ".venv/bin/aoi-tl"):
            CHECKED[program](line)
        elif is_too_long(words):
            check_parsed(words)
        elif words.startswith("import "):
            with monkeypatch.context() as elsewhere, TemporaryDirectory() as empty:
                elsewhere.chdir(empty)
                annotate(shlex.split(words))
                run(words)
        elif not is_run_elsewhere(words) and words not in DONE:
            prepare(words)
            run(words)
            if words.startswith("run "):
                DONE.add(words)


#: Trainings that were done for a page before.
DONE: set[str] = set()


def prepare(words: str) -> None:
    """Make what a line needs, and clear what a former one has left where a user has nothing yet."""
    name, *rest = shlex.split(words)
    if not Path("new/data.yaml").is_file():
        shutil.rmtree("new", ignore_errors=True)
        draw_dataset(Path("new"), {"dent": 1, "stain": 2}, empty=2)
    if "--aliases" in rest:
        Path(rest[rest.index("--aliases") + 1]).write_text("stain: [dent]\n")
    if name == "report":
        for word in (word for word in rest if word.startswith("runs/") and "." not in word):
            if not Path(word, "done").is_file():
                run(f"run experiments/{Path(word).name}.yaml")
    if "--resume" not in rest and name not in ("index", "report", "labels"):
        folders = [rest[rest.index("--out") + 1]] if "--out" in rest else [
            f"runs/{Path(word).stem}" for word in rest if word.startswith("experiments/")
        ]
        for folder in folders or [f"runs/{name}"]:
            shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------- annotations of other tools, a few of each


def annotate(words: list[str]) -> None:
    """Make what a line with `import` is given."""
    kind = words[1] if words[1] in ANNOTATED else None
    source = Path(words[2 if kind else 1])
    images = Path(words[words.index("--images") + 1]) if "--images" in words else source
    if source.suffix == ".zip":
        ANNOTATED[kind or "voc"](Path("inside"), Path("inside"), False)
        with zipfile.ZipFile(source, "w") as archive:
            for file in Path("inside").rglob("*.*"):
                archive.write(file)
    else:
        ANNOTATED[kind or "labelme"](source, images, "--values" in words)


def drawn(folder: Path, names: tuple[str, ...] = ("a.png", "b.png")) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((60, 80), 90, np.uint8))


def voc(source: Path, images: Path, values: bool) -> None:
    drawn(images)
    source.mkdir(exist_ok=True)
    for name in ("a", "b"):
        (source / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.png</filename><size><width>80</width>"
            "<height>60</height></size><object><name>dent</name><bndbox><xmin>5</xmin>"
            "<ymin>5</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>"
        )


def coco(source: Path, images: Path, values: bool) -> None:
    drawn(images)
    source.mkdir()
    for name, file in (("train", "a.png"), ("val", "b.png")):
        (source / f"{name}.json").write_text(json.dumps({
            "images": [{"id": 1, "file_name": file, "width": 80, "height": 60}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 15, 10]}],
            "categories": [{"id": 1, "name": "dent"}],
        }))


def labelme(source: Path, images: Path, values: bool) -> None:
    drawn(images)
    source.mkdir(exist_ok=True)
    for name in ("a", "b"):
        (source / f"{name}.json").write_text(json.dumps({
            "imagePath": f"{name}.png", "imageWidth": 80, "imageHeight": 60,
            "shapes": [{"label": "dent", "shape_type": "rectangle",
                        "points": [[30, 40], [10, 20]]}],
        }))


def cvat(source: Path, images: Path, values: bool) -> None:
    drawn(images)
    source.write_text(
        '<annotations><version>1.1</version><meta><task><labels><label><name>dent</name></label>'
        '</labels></task></meta><image id="0" name="a.png" width="80" height="60">'
        '<box label="dent" xtl="1" ytl="2" xbr="11" ybr="22"/></image></annotations>'
    )


def masks(source: Path, images: Path, values: bool) -> None:
    drawn(images if images != source else Path("images"), ("a.png",))
    source.mkdir()
    mask = np.zeros((60, 80), np.uint8)
    mask[10:20, 10:20], mask[30:40, 30:50] = (1, 2) if values else (255, 255)
    cv2.imwrite(str(source / "a.png"), mask)


def folders(source: Path, images: Path, values: bool) -> None:
    drawn(source, ("train/dent/a.png", "train/good/b.png", "test/dent/c.png"))


def table(source: Path, images: Path, values: bool) -> None:
    drawn(images)
    source.write_text(
        "ImageId,ClassId,EncodedPixels\na.png,3,1 10 61 10\nb.png,1,31 5 91 5\n"
        if source.name == "train.csv" else
        "filename,class,xmin,ymin,xmax,ymax\na.png,dent,1,2,11,22\nb.png,dent,5,5,20,20\n"
    )


def yolo(source: Path, images: Path, values: bool) -> None:
    drawn(source / "images")
    (source / "labels").mkdir()
    for name in ("a", "b"):
        (source / f"labels/{name}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (source / "classes.txt").write_text("dent\n")


def deeppcb(source: Path, images: Path, values: bool) -> None:
    shutil.rmtree(source, ignore_errors=True)
    stem = "group00041/00041/00041000"
    drawn(source, (f"{stem}_test.png", f"{stem}_temp.png"))
    (source / "group00041/00041_not").mkdir()
    (source / "group00041/00041_not/00041000.txt").write_text("10 20 30 40 3\n")
    (source / "trainval.txt").write_text(f"{stem}.jpg group00041/00041_not/00041000.txt\n")


ANNOTATED = {
    "voc": voc, "coco": coco, "labelme": labelme, "cvat": cvat,
    "masks": masks, "folders": folders, "csv": table, "yolo": yolo, "deeppcb": deeppcb,
}


# ------------------------------------------------------------------------------ settings, Python


@pytest.mark.parametrize("page", given("yaml"))
def test_settings(page: Path, tmp_path: Path) -> None:
    """An experiment or a part of one, an alias map, or a `data.yaml`."""
    experiment, classification = set(Experiment.model_fields), set(
        ClassificationExperiment.model_fields
    )
    for block in blocks(page, "yaml"):
        # A commented line such as `# operate: {overkill: 0.05}` is another way to say the same.
        spare = re.findall(r"^# (\w+: \{.*\})", block, re.M)
        for text in (block, *spare):
            content = yaml.safe_load(text)
            if set(content) <= experiment:
                validate({"target": "t.yaml", "sources": ["s.yaml"], **content}, Experiment)
            elif set(content) <= classification:
                validate({"method": "cdg", "target": {"path": "t"}, "source": {"path": "s"},
                          **content}, ClassificationExperiment)
            elif set(content) <= {"path", "train", "val", "test", "names"}:
                draw_dataset(tmp_path / "set", dict.fromkeys(content["names"], 1))
                content["path"] = (tmp_path / "set").as_uri()
                (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
                assert len(load_dataset(tmp_path / "data.yaml").samples) == 6
            else:
                (tmp_path / "aliases.yaml").write_text(text, encoding="utf-8")
                assert load_aliases(tmp_path / "aliases.yaml")


@pytest.mark.parametrize("page", given("python"))
def test_python(page: Path, place: Path) -> None:
    from aoi_tl.transfer.detector import new_model, save_checkpoint

    if not Path("new/data.yaml").is_file():
        shutil.rmtree("new", ignore_errors=True)
        draw_dataset(Path("new"), {"dent": 1, "stain": 2}, empty=2)
    if not os.path.exists("best.pt"):
        save_checkpoint(new_model("yolov8n.yaml", ["dent"], 0), Path("best.pt"))
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), {})
