"""What scores share: which images and labels are opened, once each, and how many clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aoi_tl.caches.dataset_cache import read_summaries
from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.ranking import comparison
from aoi_tl.ranking.comparison import Comparison, excluding, read_labelled
from aoi_tl.similarity.signature import Signature
from tests.drawn import draw_dataset

BOX = np.full((1, 4), 0.5)


def dataset(name, train=3, val=2, test=4, classes=(0,), folder=None):
    """A dataset of images that need not exist; `classes` are those of every image."""
    samples = tuple(
        Sample(Path(f"{name}/{split}{i}.png"), split, np.array(classes, dtype=np.int64),
               np.full((len(classes), 4), 0.5))
        for split, n in (("train", train), ("val", val), ("test", test)) for i in range(n)
    )
    return Dataset(name, Path(folder or name, "data.yaml"), ("dent", "crack"), samples)


class Cache:
    """Stands for the signature cache: it notes what it is asked for."""

    note = None

    def __init__(self, unreadable=(), curves=None):
        self.unreadable, self.given = unreadable, curves
        self.asked, self.curves_asked = [], []

    def datasets(self, datasets, n_clusters, merge, progress, states, depths):
        assert list(depths) == [16] * len(datasets)
        self.asked.append([[Path(image).as_posix() for image in images] for images in datasets])
        self.states, self.n_clusters = states, n_clusters
        for images in datasets:
            progress(len(images))
            name = Path(images[0]).parts[0]
            lost = name in self.unreadable
            yield None if lost else Signature([[9.0, 9, 9]], [1.0]), len(images) * lost

    def curves(self, images, depths):
        assert list(depths) == [16] * len(images)
        self.curves_asked.append([Path(image).as_posix() for image in images])
        return self.given(images) if self.given else [np.array([90.0, 10, 9, 8, 7])] * len(images)


def compare(targets, sources, cache=None, clusters=3, method="box", sample="all", done=None,
            **more):
    return Comparison(targets, sources, clusters, method, "exact", sample,
                      (lambda *n: None) if done is None else lambda *n: done.append(n),
                      cache or Cache(), **more)


def test_of_a_target_train_and_val_are_seen_and_train_labels_are_read():
    cache = Cache()
    found = compare([dataset("t")], [dataset("s")], cache).target(dataset("t"))
    assert cache.asked == [[
        [f"t/train{i}.png" for i in range(3)] + [f"t/val{i}.png" for i in range(2)],
        [f"s/{split}{i}.png" for split, n in (("train", 3), ("val", 2), ("test", 4))
         for i in range(n)],
    ]]
    assert (found.images, found.counts) == (5, {"dent": 5, "crack": 0})
    assert [sample.image.name for sample in found.samples] == ["train0.png", "train1.png",
                                                               "train2.png"]


def test_a_source_is_seen_with_all_splits_and_its_detector():
    cache = Cache()
    compared = compare([dataset("t")], [dataset("s"), dataset("u")], cache,
                       detectors={"s": Path("s.pt"), "t": Path("t.pt")}, weights=Path("coco.pt"))
    source, other = compared.source(dataset("s")), compared.source(dataset("u"))
    target = compared.target(dataset("t"))
    assert (source.images, source.instances, len(source.samples)) == (9, 9, 9)
    assert (source.detector, other.detector, target.detector) == (Path("s.pt"), None, None)
    assert source.weights == Path("coco.pt")
    assert source.solver == "exact"
    assert compared.source(dataset("s")) is source
    assert len(cache.asked) == 1  # all are measured together, once


def test_one_dataset_is_another_thing_as_target_and_as_source():
    both = dataset("t")
    compared = compare([both], [both])
    assert compared.target(both).images == 5
    assert compared.source(both).images == 9


def test_no_label_is_read_where_no_measure_looks_at_them():
    found = compare([dataset("t")], [dataset("s")], method="paper")
    assert found.target(dataset("t")).samples == ()


def test_a_sample_is_spread_evenly():
    cache = Cache()
    compare([dataset("t", 10, 0, 0)], [dataset("s", 3, 0, 0)], cache, sample=4).target(
        dataset("t", 10, 0, 0)
    )
    assert cache.asked[0][0] == [f"t/train{i}.png" for i in (0, 2, 5, 7)]
    assert cache.asked[0][1] == [f"s/train{i}.png" for i in range(3)]


def test_progress_counts_images_of_all_datasets():
    done = []
    compare([dataset("t")], [dataset("s")], done=done).target(dataset("t"))
    assert done == [(5, 14), (14, 14)]


def test_clusters_are_chosen_on_a_small_sample_of_all():
    cache = Cache()
    compared = compare([dataset("t", 40, 0, 0)], [dataset("s", 2, 0, 0)], cache, clusters="auto")
    assert cache.curves_asked == [
        [f"t/train{i}.png" for i in range(0, 40, 5)] + ["s/train0.png", "s/train1.png"]
    ]
    assert compared.n_clusters == 2
    many = [dataset(f"s{i}", 9, 0, 0) for i in range(31)]
    compare([dataset("t", 9, 0, 0)], many, cache, clusters="auto")
    assert len(cache.curves_asked[-1]) == 64  # two of each of 32
    many += [dataset(f"u{i}", 9, 0, 0) for i in range(60)]
    compare([dataset("t", 9, 0, 0)], many, cache, clusters="auto")
    assert len(cache.curves_asked[-1]) == len(many) + 1  # one of each at the least


def test_a_broken_sample_is_replaced_by_all_images():
    readable = {"t/train3.png"}
    cache = Cache(curves=lambda images: [
        np.array([50.0, 20, 1, 0.9, 0.8]) if Path(i).as_posix() in readable else None
        for i in images
    ])
    compared = compare([dataset("t", 20, 0, 0)], [dataset("s", 1, 0, 0)], cache, clusters="auto")
    assert [len(asked) for asked in cache.curves_asked] == [9, 21]
    assert compared.n_clusters == 3
    readable.clear()
    with pytest.raises(DataError, match="got 21 that cannot be read"):
        compare([dataset("t", 20, 0, 0)], [dataset("s", 1, 0, 0)], cache, clusters="auto")


def test_a_dataset_without_a_readable_image_is_named():
    compared = compare([dataset("t")], [dataset("s")], Cache(unreadable=("s",)))
    assert compared.target(dataset("t")).unreadable == 0
    with pytest.raises(DataError, match=r"s/data\.yaml: expected readable images, got 9 that"):
        compared.source(dataset("s"))


def test_a_target_without_boxes_or_images_is_refused():
    bare = dataset("t", classes=())
    with pytest.raises(DataError, match=r"expected boxes in the target's train and val"):
        compare([bare], [dataset("s")]).target(bare)
    with pytest.raises(DataError, match=r"expected images to score"):
        compare([dataset("t", 0, 0, 4)], [dataset("s")])


def test_names_must_differ_but_one_dataset_may_have_both_parts():
    both = dataset("t")
    compare([both], [both])
    with pytest.raises(DataError, match="got 't' twice"):
        compare([both], [dataset("t", folder="elsewhere")])


@pytest.mark.parametrize(("setting", "value", "words"), [
    ("clusters", 0, "n_clusters to be auto or an integer >= 1, got 0"),
    ("clusters", "many", "n_clusters"), ("clusters", 2.5, "n_clusters"),
    ("method", "best", "method to be one of"), ("sample", 0, "sample to be all or an integer"),
    ("sample", "some", "sample"),
])
def test_settings_out_of_range_are_refused(setting, value, words):
    with pytest.raises(ExperimentError, match=words):
        compare([dataset("t")], [dataset("s")], **{setting: value})


def test_settings_at_the_end_of_their_range_are_not():
    compared = compare([dataset("t")], [dataset("s")], clusters=1, sample=1)
    assert compared.n_clusters == 1
    assert compared.total == 2
    with pytest.raises(ExperimentError, match="solver to be one of"):
        Comparison([dataset("t")], [dataset("s")], 1, "paper", "fast", "all", print, Cache())


def test_states_name_splits_and_sample_where_the_state_is_known(tmp_path):
    file = draw_dataset(tmp_path / "t", {"dent": 2, "crack": 1})
    with SignatureCache(tmp_path / "cache") as kept:
        [known] = read_summaries([file], {}, kept)
        # A state that is not settled is not known, and stands for nothing.
        states = compare([known], [known], Cache(), sample=2).states
    expected = {True: (f"{known.state}\0train\0val\x002",
                       f"{known.state}\0train\0val\0test\x002"), False: ("", "")}
    assert tuple(states.values()) == expected[bool(known.state)]
    assert set(compare([dataset("t")], [dataset("s")]).states.values()) == {""}


def test_labels_of_a_summary_are_those_of_its_dataset(tmp_path):
    file = draw_dataset(tmp_path / "t", {"dent": 4, "crack": 3})
    with SignatureCache(tmp_path / "cache") as kept:
        [known] = read_summaries([file], {}, kept)
    whole = load_dataset(file)
    for number in (5, 200):
        mine, theirs = read_labelled(known, number), read_labelled(whole, number)
        assert [s.image.name for s in mine] == [s.image.name for s in theirs]
        assert [s.split for s in mine] == [s.split for s in theirs]
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one.classes, other.classes)
            np.testing.assert_array_equal(one.boxes, other.boxes)
    assert len(read_labelled(known, 5)) == 5
    assert len({s.split for s in read_labelled(known, 5)}) == 3


def test_others_and_repetitions_are_excluded():
    one, two, three = dataset("a"), dataset("b"), dataset("c")
    assert excluding([one, two, one, three], [two]) == [one, three]
    assert excluding([one, dataset("x", folder="a/../a")], []) == [one]


def test_a_cache_that_was_given_stays_open():
    given = Cache()
    with comparison.open_cache(given) as used:
        assert used is given
    with comparison.open_cache(None) as own:
        assert isinstance(own, SignatureCache)
