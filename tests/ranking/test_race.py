from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.engine import LocalEngine
from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.ranking import proxy, race
from aoi_tl.ranking.comparison import read_labelled
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.halving import Pace
from aoi_tl.ranking.measures import MEASURES
from aoi_tl.ranking.scoring import score_sources
from aoi_tl.similarity.signature import Signature
from aoi_tl.transfer.viewing import View, join_views
from tests.drawn import draw_dataset
from tests.one_line import one_line
from tests.tiny_detector import tiny_detector

pytestmark = pytest.mark.slow

GREY = Signature([[99, 99, 99]], [1])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    for number, name in enumerate(("new", "near", "far")):
        draw_dataset(folder / name, {"dent": 2, "crack": 2}, ground=100 + 40 * number, seed=number,
                     splits=("train", "val"))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_detector(tmp_path_factory.mktemp("weights") / "tiny.pt", ["dent", "crack"])


def domain(shelf: Path, name: str, weights: Path | None = None, detector: Path | None = None):
    found = load_dataset(shelf / name / "data.yaml")
    return Domain(name, found.counts, len(found.images), GREY, 0, found.names,
                  read_labelled(found.split("train")), detector, weights)


def seen(target: Domain, found: int) -> View:
    """A view in which the first so many labelled boxes are seen exactly."""
    rows = [(i, int(c), x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            for i, s in enumerate(target.labelled)
            for c, (x, y, w, h) in zip(s.classes, s.boxes, strict=True)][:found]
    table = np.array(rows, dtype=float).reshape(-1, 6)
    none = np.empty((0, 0))
    return View(target.names, table[:, 0].astype(np.int64), table[:, 1].astype(np.int64),
                np.full(len(table), 0.9), table[:, 2:], none, none, none)


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch):
    """Fine-tunings that find as many boxes as their start's name says, and cost nothing."""
    tried: list[tuple[str, int]] = []

    def fine_tune(target, start, gently, steps, size):
        tried.append((start.stem, steps))
        return proxy.predictions_of(target, seen(target, int(start.stem[-1])))

    monkeypatch.setattr(race, "fine_tune_shortly", fine_tune)
    monkeypatch.setattr(proxy, "fine_tune_shortly", fine_tune)
    monkeypatch.setattr(race, "proxy_size", lambda sources: 32)
    monkeypatch.setattr(race, "measured_pace", lambda target, sources, size: Pace(
        0.1, 2, {s.name: 0.0 for s in sources}
    ))
    return tried


def test_the_start_that_finds_more_comes_first_and_none_stands_at_zero(shelf, faked, tmp_path):
    target = domain(shelf, "new", Path("coco1.pt"))
    sources = [domain(shelf, name, detector=Path(f"{name}{n}.pt"))
               for name, n in (("near", 3), ("far", 1))]
    found = race.race(target, sources, ["far", "near"], 60, tmp_path)
    assert list(found.proxies) == ["near", "far"]
    assert found.proxies["near"].value > 0
    assert found.proxies["far"].value == pytest.approx(0)
    assert found.proxies["near"].low <= found.proxies["near"].value <= found.proxies["near"].high
    assert "points over plain fine-tuning" in found.proxies["near"].words
    assert "2 of the 2 sources whose places are open" in found.notes[0]
    assert {steps for _, steps in faked} == {race.LONGEST}  # time for more, and no more is made


def test_a_budget_too_small_for_one_proxy_is_one_line(shelf, faked, tmp_path):
    target = domain(shelf, "new", Path("coco1.pt"))
    near = domain(shelf, "near", detector=Path("near3.pt"))
    with pytest.raises(ExperimentError) as error:
        race.race(target, [near], ["near"], 2, tmp_path)
    line = one_line(error)
    assert "expected --budget of at least 3 s" in line
    assert "got 2 s" in line
    assert "--budget 0" in line
    assert faked == []


def test_one_labelled_image_cannot_be_halved(shelf, tmp_path):
    whole = domain(shelf, "new", Path("coco1.pt"))
    one = Domain("new", {"dent": 1}, 1, GREY, 0, whole.names, whole.labelled[:1],
                 weights=Path("coco1.pt"))
    near = domain(shelf, "near", detector=Path("near3.pt"))
    with pytest.raises(DataError) as error:
        race.measured_pace(one, [near], 32)
    assert "at least 2 labelled training images" in one_line(error)


def test_each_image_is_looked_at_by_the_detector_that_did_not_learn_from_it(shelf):
    target = domain(shelf, "new")
    parts = proxy.halves(target)
    for train, held_out in parts:
        assert not set(train) & set(held_out)
    assert sorted(parts[0][1] + parts[1][1]) == list(range(len(target.labelled)))
    one, other = (View(("dent",), np.array([0, 1]), np.zeros(2, np.int64), np.array(c),
                       np.zeros((2, 4)), *[np.empty((0, 0))] * 3) for c in ([0.1, 0.2], [0.3, 0.4]))
    both = join_views([one, other], [[3, 1], [0, 2]])
    assert both.image.tolist() == [3, 1, 0, 2]
    assert both.confidence.tolist() == [0.1, 0.2, 0.3, 0.4]


def test_an_epoch_is_as_many_steps_as_its_images_fill_batches():
    assert proxy.arguments(5, 20, 64, 0.001)["epochs"] == 20
    assert proxy.arguments(17, 20, 64, 0.001)["epochs"] == 7  # three steps each


def test_a_real_race_trains_what_is_missing_and_the_ranking_holds_it(
    shelf, weights, tmp_path, monkeypatch
):
    for name, value in (("STEPS", 1), ("LONGEST", 1), ("SOURCE_STEPS", 1), ("SIZE", 32)):
        for module in (race, proxy):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    target, *sources = [load_dataset(shelf / n / "data.yaml") for n in ("new", "near", "far")]
    said = []
    with SignatureCache(tmp_path / "cache", LocalEngine(1)) as cache:
        ranking = score_sources(
            target, sources, 3, "auto", cache=cache, weights=weights, budget=600,
            doing=lambda what, done, total: said.append(what),
        )
    for row in ranking.sources:
        assert row.measures["proxy"].value is not None
        assert row.measures["proxy"].low <= row.measures["proxy"].high
        assert row.measures["zero-shot"].undefined is None  # by the short detector
        assert "plain fine-tuning" in row.explanation
    assert any(what.startswith("proxy of ") for what in said)
    assert "proxies of 2 of the 2 sources" in ranking.notes[-1]
    # The measure alone, by a kept detector, at the shortest length.
    near = domain(shelf, "near", weights, weights)
    alone = MEASURES["proxy"](domain(shelf, "new", weights), near)
    assert alone.undefined is None
    assert -1 <= alone.value <= 1


def test_a_budget_trains_missing_detectors_for_a_measure_that_needs_them(
    shelf, weights, tmp_path, monkeypatch
):
    monkeypatch.setattr(race, "measured_pace", lambda target, sources, size: Pace(
        0.1, 2, {s.name: 50.0 for s in sources}
    ))
    monkeypatch.setattr(race, "train_shortly", lambda source, size, folder: weights)
    target = domain(shelf, "new", weights)
    sources = [domain(shelf, name, weights) for name in ("near", "far")]
    found = race.train_missing(target, sources, 60, tmp_path)
    # The second is trained where the first was quicker than expected.
    assert [source.detector for source in found.sources] == [weights, weights]
    with pytest.raises(ExperimentError) as error:
        race.train_missing(target, sources, 20, tmp_path)
    assert "a short detector takes" in one_line(error)
