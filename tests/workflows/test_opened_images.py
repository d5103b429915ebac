"""Which images each training, choice and evaluation opens, of datasets whose splits all differ."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from aoi_tl import Experiment, load_dataset, run_experiment
from aoi_tl.evaluation.predictions import read_predictions
from tests.drawn import draw_dataset
from tests.opened import Work, watched
from tests.tiny_detector import tiny_detector

pytestmark = pytest.mark.slow

ARMS = ("stock", "method-all", "zero-shot", "joint", "auto")
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    draw_dataset(folder / "new", {"dent": 3, "stain": 2}, seed=1)
    draw_dataset(folder / "near", {"stain": 2, "dent": 5}, seed=2, ground=125)
    draw_dataset(folder / "far", {"dent": 4, "stain": 1}, seed=3, ground=40)
    # Fewer of each, so that no number of one split is the number of another.
    for split, spare in (("val", 1), ("test", 2)):
        for number in range(spare):
            (folder / f"new/images/{split}/{split}{number}.png").unlink()
            (folder / f"new/labels/{split}/{split}{number}.txt").unlink()
    tiny_detector(folder / "tiny.pt", ("dent", "stain"))
    return folder


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AOI_TL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def experiment(shelf: Path, **settings: object) -> Experiment:
    return Experiment.model_validate({
        "target": str(shelf / "new/data.yaml"),
        "sources": [str(shelf / name / "data.yaml") for name in ("near", "far")],
        "weights": str(shelf / "tiny.pt"), "seeds": [0],
        "score": {"n_clusters": 3, "method": "paper"}, "pick": ["near"],
        "train": {"epochs": 1, "batch": 4, "imgsz": 64, "nbs": 4, "workers": 0}, **settings,
    })


@pytest.fixture(scope="module")
def run(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Work]]:
    out = tmp_path_factory.mktemp("runs") / "arms"
    with watched(shelf) as done:
        run_experiment(experiment(shelf, arms=list(ARMS)), out)
    return out, done


@pytest.fixture(scope="module")
def with_thresholds(
    shelf: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Work]]:
    out = tmp_path_factory.mktemp("runs") / "thresholds"
    with watched(shelf) as done:
        run_experiment(experiment(shelf, arms=["stock"], operate={"escape": 0.3}), out)
    return out, done


def images(shelf: Path, name: str, *splits: str) -> set[str]:
    return {str(file.relative_to(shelf)) for split in splits
            for file in (shelf / name / "images" / split).iterdir()}


def opened(done: list[Work], kind: str, stage: str) -> set[str]:
    """What a stage opened; one that is asked for again opens nothing the second time."""
    [found] = [work.opened for work in done if (work.kind, work.stage) == (kind, stage)
               and work.opened]
    return found


def test_the_splits_differ(shelf: Path) -> None:
    assert [len(images(shelf, "new", split)) for split in SPLITS] == [6, 5, 4]


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_evaluated_on_the_test_images(
    shelf: Path, run: tuple[Path, list[Work]], arm: str
) -> None:
    folder, done = run
    stage = f"{arm}-s0-target"
    tested = load_dataset(shelf / "new/data.yaml").split("test")
    if arm != "auto" or any(work.stage == stage for work in done):
        assert opened(done, "validate", stage) == images(shelf, "new", "test")
    found = read_predictions((folder / "stages" / stage / "predictions.npz").read_bytes())
    assert set(found.images) == {sample.image.name for sample in tested.samples}
    per_class = pd.read_csv(folder / "per_class.csv")
    rows = per_class[per_class["arm"] == arm].set_index("class")
    assert rows["instances"].to_dict() == tested.counts


@pytest.mark.parametrize(("stage", "source", "target"), [
    ("stock-s0-target", (), SPLITS[:2]),
    ("method-all-s0-source", SPLITS[:2], ()),
    ("method-all-s0-target", (), SPLITS[:2]),
    ("joint-s0-target", SPLITS[:1], SPLITS[:1]),
])
def test_a_training_opens_what_it_learns_from(
    shelf: Path, run: tuple[Path, list[Work]], stage: str, source: tuple[str, ...],
    target: tuple[str, ...],
) -> None:
    """And the validation images of a plain training, which Ultralytics looks through."""
    found = opened(run[1], "train", stage)
    assert found <= images(shelf, "near", *source) | images(shelf, "new", *target)
    assert found >= images(shelf, "new", *target[:1])
    assert bool(source) == bool(found & images(shelf, "near", *source))


def test_no_training_or_choice_opens_a_test_image(
    shelf: Path, run: tuple[Path, list[Work]]
) -> None:
    tests = images(shelf, "new", "test")
    for work in run[1]:
        if (work.kind, work.stage) not in {("validate", f"{arm}-s0-target") for arm in ARMS}:
            assert not work.opened & tests, work.stage


def test_auto_chooses_on_training_images(shelf: Path, run: tuple[Path, list[Work]]) -> None:
    trials = [work for work in run[1]
              if work.kind == "validate" and work.stage.startswith("auto-s0-")
              and work.stage != "auto-s0-target"]
    assert trials
    for work in trials:
        assert work.opened
        assert work.opened <= images(shelf, "new", "train")


def test_kept_source_detectors_learn_from_training_images(
    shelf: Path, run: tuple[Path, list[Work]]
) -> None:
    near, far = images(shelf, "near", "train"), images(shelf, "far", "train")
    learned = [work.opened for work in run[1] if (work.kind, work.stage) == ("train", "training")]
    assert sorted(learned, key=len) == [near, near | far]


def test_thresholds_are_chosen_on_images_that_were_not_learned_from(
    shelf: Path, with_thresholds: tuple[Path, list[Work]]
) -> None:
    done = with_thresholds[1]
    chosen, *folds, measured = (work.opened for work in done if work.kind == "predict")
    assert chosen == images(shelf, "new", "val")
    assert measured == images(shelf, "new", "test")
    train = images(shelf, "new", "train")
    assert len(folds) > 1
    assert sorted(image for fold in folds for image in fold) == sorted(train)
    for number, held_out in enumerate(folds):
        learned = opened(done, "train", f"stock-fold{number}-s0-target")
        assert learned & train == train - held_out
        assert not learned & images(shelf, "new", "test")
