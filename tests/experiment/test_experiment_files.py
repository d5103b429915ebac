"""The experiment files and dataset cards that come with the project fit the code and the data."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from aoi_tl.data.labels import load_aliases
from aoi_tl.experiment.classification import ClassificationExperiment
from aoi_tl.experiment.detection import Experiment, locate
from aoi_tl.experiment.settings import read_settings
from aoi_tl.synthetic.demo_datasets import demo_counts, demo_images, draw_demo

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(
    (path for path in (ROOT / "experiments").glob("*.yaml")
     # Those of the classification systems name their method, a benchmark has several targets: both
     # have a schema of their own.
     if "method" not in (content := yaml.safe_load(path.read_text(encoding="utf-8")))
     and not isinstance(content.get("target"), list)),
    key=lambda path: path.stem,
)
CARDS = sorted(path for path in (ROOT / "datasets").glob("*.yaml") if "." not in path.stem)
TABLE_3 = {
    "dc-1": {"nj-101", "jy-381-2", "lc-101", "xh-1"},
    "jy-381-4": {"jy-381-2", "lc-201", "nj-201"},
    "nj-101": {"xh-1", "lc-101"},
    "xh-4": {"lc-201", "nj-201", "xh-3"},
}
REAL = ["mt-line-a", "mt-line-b", "mt-line-c", "aluminum"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_demo(folder, factor=1 / 2000, size=96)
    return folder


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_file_is_read(path):
    experiment = read_settings(path, Experiment)
    assert experiment.name == path.stem
    assert experiment.target not in experiment.sources


def test_the_chain_and_the_classifier_of_one_file_fit_each_other():
    path = ROOT / "experiments" / "mt-backbone.yaml"
    chain = read_settings(path, Experiment)
    classifier = read_settings(path, ClassificationExperiment)
    stage = f"runs/mt-backbone/stages/{chain.arms[-1]}-s{chain.seeds[0]}-target"
    assert classifier.encoder == f"{stage}/weights/best.pt"
    assert {"probe", "probe+source"} <= set(classifier.arms)


@pytest.mark.parametrize("name", TABLE_3)
def test_the_papers_targets_run_on_the_drawn_sets(name, drawn):
    experiment = read_settings(ROOT / "experiments" / f"{name}.yaml", Experiment)
    located = locate(experiment, data_root=drawn)
    assert Path(located.target).parent.name == name
    assert {Path(source).parent.name for source in located.sources} == set(demo_counts()) - {name}
    assert set(experiment.pick) == TABLE_3[name] | {"auto"}
    assert experiment.train.batch == 11
    assert experiment.train.epochs == 50
    assert experiment.weights.startswith("yolov5")
    assert experiment.arms == ("coco", "stock", "full-source", "method", "method-all")
    assert len(experiment.seeds) == 3


@pytest.mark.parametrize("name", REAL)
def test_the_real_targets_find_their_data(name, shared):
    experiment = read_settings(ROOT / "experiments" / f"{name}.yaml", Experiment)
    located = locate(experiment, data_root=shared / "data")
    assert Path(located.target).stem == name
    assert len(located.sources) >= 3
    assert located.aliases is not None
    assert load_aliases(located.aliases)
    assert {"scratch", "coco", "stock", "full-source", "method", "method-all"} <= set(
        experiment.arms
    )
    assert len(experiment.seeds) >= 3
    # One optimiser step a batch: with few images the default makes one an epoch.
    assert experiment.train.arguments("target")["nbs"] == experiment.train.batch


def test_the_demo_of_the_package_is_the_one_shown_among_the_experiments():
    shown = (ROOT / "experiments" / "demo.yaml").read_text(encoding="utf-8")
    assert (files("aoi_tl.workflows") / "demo.yaml").read_text(encoding="utf-8") == shown


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_tells_origin_licence_classes_and_aliases(path):
    card = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert card["name"] == path.stem
    for key in ("title", "origin", "licence"):
        assert card[key].strip()
    assert all(isinstance(boxes, int) and boxes > 0 for boxes in card["classes"].values())
    if card["aliases"]:
        assert load_aliases(path.parent / card["aliases"])


def test_the_seed_card_repeats_the_published_tables():
    card = yaml.safe_load((ROOT / "datasets" / "magnetic-tile-seed.yaml").read_text("utf-8"))
    counts = demo_counts(1)
    assert {name: row["boxes"] for name, row in card["sets"].items()} == {
        name: sum(row.values()) for name, row in counts.items()
    }
    assert {name: row["images"] for name, row in card["sets"].items()} == demo_images(1)
    for label, boxes in card["classes"].items():
        assert boxes == sum(row.get(label, 0) for row in counts.values()), label


@pytest.mark.parametrize(
    ("card", "data"),
    [
        ("magnetic-tile", "magnetic-tile/mt.yaml"),
        ("neu-det", "neu-det/neu-det.yaml"),
        ("aluminum", "aluminum/aluminum.yaml"),
        ("kolektor-sdd", "kolektor-sdd/kolektor-sdd.yaml"),
    ],
)
def test_a_real_card_counts_what_the_dataset_holds(card, data, shared):
    from aoi_tl.data.yolo.read import load_dataset

    dataset = load_dataset(shared / "data" / data)
    told = yaml.safe_load((ROOT / "datasets" / f"{card}.yaml").read_text(encoding="utf-8"))
    assert told["classes"] == dataset.counts
    assert told["images"]["count"] == len(dataset.samples)
