"""Sources are measured, ordered and picked; each dataset of a matrix is a target once."""

from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.images import write_image
from aoi_tl.errors import DataError
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.expected_gain import estimate
from aoi_tl.ranking.measures import MEASURES
from aoi_tl.ranking.scoring import make_ranking, measure_source, score_matrix, score_sources
from aoi_tl.similarity.signature import Signature

GREY, WHITE = Signature([[99, 99, 99]], [1.0]), Signature([[255, 255, 255]], [1.0])


@pytest.fixture
def drawn(tmp_path):
    """Makes a dataset of flat grey images, of which some are damaged."""

    def make(name, grey, classes=(0, 0, 1), broken=0):
        samples = []
        for number in range(2 + broken):
            image = tmp_path / name / f"{number}.png"
            image.parent.mkdir(exist_ok=True)
            if number < 2:
                write_image(image, np.full((8, 8), grey, dtype=np.uint8))
            else:
                image.write_bytes(b"no image")
            labels = classes if number == 0 else ()
            samples.append(Sample(image, "train", np.array(labels, dtype=np.int64),
                                  np.full((len(labels), 4), 0.5)))
        return Dataset(name, tmp_path / name / "data.yaml", ("dent", "crack"), tuple(samples))

    return make


@pytest.fixture
def cache(tmp_path):
    with SignatureCache(tmp_path / "cache") as opened:
        yield opened


def test_the_discrepancy_of_each_source_by_hand(drawn, cache):
    target, far, near = drawn("t", 10), drawn("far", 100), drawn("near", 20)
    done = []
    found = score_sources(target, [far, near, target, near], n_clusters=1, cache=cache,
                          progress=lambda *n: done.append(n))
    # Greys 10 apart are 10 * sqrt 3 apart in RGB; counts 2 and 1 have a Gini of 1/6; two classes.
    assert [row.name for row in found.sources] == ["near", "far"]
    for row, distance in zip(found.sources, (10, 90), strict=True):
        assert row.emd == pytest.approx(distance * 3**0.5)
        assert row.gini == pytest.approx(1 / 6)
        assert row.discrepancy == pytest.approx(distance * 3**0.5 / 6 / 2)
    assert (found.target, found.n_clusters, found.method, found.selected) == ("t", 1, "paper",
                                                                              "near")
    assert set(found.signatures) == {"t", "far", "near"}
    assert found.choices == ()
    assert found.notes == ()
    assert done[-1] == (6, 6)


def test_every_dataset_of_a_matrix_is_a_target_once(drawn, cache):
    three = [drawn("a", 10), drawn("b", 30), drawn("c", 90)]
    found = score_matrix([*three, three[0]], n_clusters=1, cache=cache)
    assert [ranking.target for ranking in found] == ["a", "b", "c"]
    assert [[row.name for row in ranking.sources] for ranking in found] == [
        ["b", "c"], ["a", "c"], ["b", "a"]
    ]


def test_two_datasets_make_a_matrix(drawn, cache):
    found = score_matrix([drawn("a", 10), drawn("b", 30)], n_clusters=1, cache=cache)
    assert [(r.target, r.selected) for r in found] == [("a", "b"), ("b", "a")]


def test_what_is_not_enough_is_refused(drawn, cache):
    target = drawn("t", 10)
    with pytest.raises(DataError, match="at least one source besides t, got none"):
        score_sources(target, [target], cache=cache)
    with pytest.raises(DataError, match="at least two datasets, got 1"):
        score_matrix([target, target], cache=cache)


def test_unreadable_images_of_the_target_are_noted(drawn, cache):
    found = score_sources(drawn("t", 10, broken=1), [drawn("s", 20)], n_clusters=1, cache=cache)
    assert found.notes == ("t: 1 unreadable images left out",)


def test_a_damaged_cache_is_noted(drawn, tmp_path):
    folder = tmp_path / "spoilt"
    folder.mkdir()
    (folder / "signatures.sqlite").write_bytes(b"no database" * 100)
    with SignatureCache(folder) as spoilt:
        found = score_sources(drawn("t", 10), [drawn("s", 20)], n_clusters=1, cache=spoilt)
        assert found.notes == ((spoilt.note,) if spoilt.note else ())


def test_auto_alone_estimates_gains_and_lists_choices(tmp_path):
    image = tmp_path / "a.png"
    write_image(image, np.zeros((8, 8), dtype=np.uint8))

    def sample(*classes):
        return Sample(image, "train", np.array(classes), np.full((len(classes), 4), 0.5))

    names = ("dent", "crack")
    target = Domain("t", {"dent": 2, "crack": 1}, 1, GREY, 0, names, (sample(0, 0, 1),))
    sources = [Domain("near", {"dent": 5, "crack": 4}, 1, GREY, 0, names, (sample(0, 1),)),
               Domain("strange", {"burr": 5}, 1, WHITE, 0, ("burr",), (sample(0),))]
    auto = make_ranking("auto", target, sources, 3, ("a note",))
    assert [row.name for row in auto.sources] == ["near", "strange"]
    assert {choice.name for choice in auto.choices} >= {"near", "strange"}
    for row in auto.sources:
        values = {name: found.value for name, found in row.measures.items()}
        assert (row.estimated_gain, row.interval) == estimate(values)
        assert row.explanation
    assert auto.notes == ("a note",)
    assert auto.n_clusters == 3
    size = make_ranking("size", target, sources, 3)
    assert size.choices == ()
    assert [row.estimated_gain for row in size.sources] == [None, None]
    assert size.signatures == {"t": GREY, "near": GREY, "strange": WHITE}


def test_a_source_has_the_measures_of_its_method():
    target, source = (Domain(n, {"dent": 3, "crack": 1}, 2, GREY) for n in "ts")
    row = measure_source("emd", target, source)
    assert row.measures["emd"].value == MEASURES["emd"](target, source).value == 0
    assert row.rank is None
    assert row.emd == 0
    assert row.shared_classes == ("dent", "crack")
