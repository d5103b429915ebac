from __future__ import annotations

import pytest

from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.engine import LocalEngine
from aoi_tl.errors import DataError
from aoi_tl.ranking import scoring
from aoi_tl.ranking.indexed import index_datasets, score_index
from aoi_tl.ranking.measure import Measured
from aoi_tl.ranking.race import Race
from aoi_tl.ranking.scoring import score_sources
from tests.drawn import draw_dataset


@pytest.fixture
def shelf(tmp_path):
    """A target and five sources, two of them without a defined score."""
    kinds = [
        ("t", 100, {"dent": 2, "crack": 1}),
        ("a", 110, {"dent": 3, "crack": 1}),
        ("b", 140, {"dent": 1, "crack": 4, "stain": 1}),
        ("c", 60, {"dent": 4, "crack": 2}),
        ("one", 100, {"dent": 2}),
        ("none", 100, {"stain": 2}),
    ]
    made = [
        draw_dataset(tmp_path / name, classes, ground=ground, size=48, seed=i)
        for i, (name, ground, classes) in enumerate(kinds)
    ]
    return [load_dataset(file) for file in made]


@pytest.fixture
def cache(tmp_path):
    with SignatureCache(tmp_path / "cache", LocalEngine(1)) as cache:
        yield cache


def test_finds_what_scoring_finds(tmp_path, shelf, cache):
    target, *sources = shelf
    file = tmp_path / "shelf.index"
    assert index_datasets(file, shelf[:3], n_clusters=4, cache=cache) == 3
    assert index_datasets(file, shelf, cache=cache) == 6  # the number of clusters is the index's
    found = score_index(target, file, top=10, cache=cache)
    expected = score_sources(target, sources, n_clusters=4, cache=cache)
    defined = [row for row in expected.sources if row.rank]
    assert [row.name for row in found.sources] == [row.name for row in defined] != []
    for got, row in zip(found.sources, defined, strict=True):
        assert got.discrepancy == pytest.approx(row.discrepancy, rel=1e-6)
        assert got.shared_classes == row.shared_classes
        assert (got.rank, got.images, got.instances) == (row.rank, row.images, row.instances)
    assert found.selected == expected.selected
    assert found.n_clusters == 4
    assert "3 sources with a defined score" in found.notes[-1]
    nearest = score_index(target, file, top=1, cache=cache)
    assert [row.name for row in nearest.sources] == [defined[0].name]


@pytest.mark.parametrize("method", ["emd", "size", "overlap", "box", "random"])
def test_those_found_can_be_ordered_by_another_measure(tmp_path, shelf, cache, method):
    target, *sources = shelf
    file = tmp_path / "shelf.index"
    index_datasets(file, shelf, n_clusters=4, cache=cache)
    found = score_index(target, file, cache=cache, method=method)
    expected = score_sources(target, sources, n_clusters=4, cache=cache, method=method)
    known = {row.name: row.measures[method] for row in expected.sources}
    assert found.method == method
    assert len(found.sources) == 3
    badness = [row.measures[method].badness for row in found.sources]
    assert badness == sorted(badness)
    for row in found.sources:
        assert row.measures[method].value == pytest.approx(known[row.name].value, rel=1e-6)


def test_those_found_can_race(tmp_path, shelf, cache, monkeypatch):
    values = {"a": 0.1, "b": 0.3, "c": 0.2}

    def race(target, sources, order, seconds, folder, doing):
        assert sorted(order) == ["a", "b", "c"]
        return Race(tuple(sources), {n: Measured(v, "higher") for n, v in values.items()}, ("ran",))

    monkeypatch.setattr(scoring, "race", race)
    index_datasets(tmp_path / "shelf.index", shelf, n_clusters=4, cache=cache)
    found = score_index(shelf[0], tmp_path / "shelf.index", cache=cache, method="proxy", budget=60,
                        weights=tmp_path / "coco.pt")
    assert [row.name for row in found.sources] == ["b", "c", "a"]
    assert found.notes[-1] == "ran"


def test_refuses(tmp_path, shelf, cache):
    with pytest.raises(DataError, match="got none"):
        score_index(shelf[0], tmp_path / "absent.index", cache=cache)
    with pytest.raises(DataError, match="at least one dataset"):
        index_datasets(tmp_path / "a.index", [], cache=cache)
    assert not (tmp_path / "a.index").exists()
    index_datasets(tmp_path / "a.index", shelf[1:], cache=cache)
    with pytest.raises(DataError, match="top"):
        score_index(shelf[0], tmp_path / "a.index", top=0, cache=cache)


def test_those_found_can_be_looked_at_through_their_detectors(tmp_path, shelf, cache, monkeypatch):
    import numpy as np

    from aoi_tl.transfer import viewing

    seen = []

    def view(checkpoint, samples, size=None):
        seen.append(checkpoint.parent.name)
        nothing = np.empty((0, 0))
        return viewing.View(("dent",), np.zeros(0, int), np.zeros(0, int), np.zeros(0),
                            np.zeros((0, 4)), nothing, nothing, nothing)

    monkeypatch.setattr(viewing, "view_images", view)
    file = tmp_path / "shelf.index"
    index_datasets(file, shelf, n_clusters=4, cache=cache)
    found = score_index(
        shelf[0], file, cache=cache, method="zero-shot",
        detector_of=lambda source: None if source.name == "b" else source.path.parent / "best.pt",
    )
    assert sorted(seen) == ["a", "c"]
    assert {row.name: row.measures["zero-shot"].value for row in found.sources} == {
        "a": 0.0, "b": None, "c": 0.0,
    }
