from __future__ import annotations

import csv
import hashlib
import json
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from scipy.stats import spearmanr

from aoi_tl.errors import DataError
from aoi_tl.similarity.emd import earth_movers_distance
from aoi_tl.similarity.gini import gini
from aoi_tl.similarity.signature import dataset_signature, image_signature
from aoi_tl.synthetic import demo_datasets as synthetic
from aoi_tl.synthetic.demo_datasets import (
    SHARES,
    demo_counts,
    demo_images,
    draw_demo,
    published_distances,
)
from aoi_tl.synthetic.tiles import STYLES

pytestmark = pytest.mark.slow

FACTOR = 1 / 80


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    # A folder no ASCII-only program can open: 磁砖 is "magnetic tile".
    return draw_demo(tmp_path_factory.mktemp("磁砖 é"), factor=FACTOR)


def _labels(folder: Path) -> dict[str, list[list[float]]]:
    return {
        path.relative_to(folder / "labels").with_suffix("").as_posix(): [
            [float(value) for value in row.split()] for row in path.read_text().splitlines()
        ]
        for path in sorted(folder.glob("labels/*/*.txt"))
    }


def _digest(folder: Path) -> str:
    every = sorted(path for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in every:
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def test_counts_are_the_published_ones_scaled_with_every_class_kept():
    table = files("aoi_tl.synthetic") / "seed_counts.csv"
    with table.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    counts = demo_counts(1 / 8)
    for row in rows:
        for name in STYLES:
            published = int(row[name])
            if published:
                assert counts[name][row["category"]] == max(1, round(published / 8))
            else:
                assert row["category"] not in counts[name]
    assert demo_counts(1)["lc-101"]["standard chipping"] == 3875
    assert demo_images(1)["dc-1"] == 252


@pytest.mark.parametrize("factor", [1 / 8, 1 / 80])
def test_the_order_of_the_sets_by_instances_is_kept(factor):
    sizes = [sum(demo_counts(factor)[name].values()) for name in STYLES]
    published = [sum(demo_counts(1)[name].values()) for name in STYLES]
    assert spearmanr(sizes, published).statistic > 0.97


def test_the_files_hold_the_counts_asked_for(drawn):
    for path in drawn:
        name = path.parent.name
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
        labels = _labels(path.parent)
        counts: dict[str, int] = dict.fromkeys(description["names"].values(), 0)
        for rows in labels.values():
            assert rows, "every published image has a defect"
            for row in rows:
                counts[description["names"][int(row[0])]] += 1
        assert counts == demo_counts(FACTOR)[name]
        assert len(labels) == demo_images(FACTOR)[name]
        images = {
            image.relative_to(path.parent / "images").with_suffix("").as_posix()
            for image in path.parent.glob("images/*/*.jpg")
        }
        assert images == set(labels)


def test_the_files_load_as_an_ordinary_dataset(drawn):
    from aoi_tl.data.yolo.read import load_dataset

    for path in drawn:
        dataset = load_dataset(path)
        assert dataset.name == path.parent.name
        assert dataset.counts == demo_counts(FACTOR)[dataset.name]
        if dataset.name != "dc-1":  # of its three images none is left to validate on
            assert dataset.splits == ("train", "val", "test")
            assert dataset.notes == ()


def test_images_are_small_grey_jpegs_of_the_size_asked_for(drawn):
    for path in drawn:
        image = next(path.parent.glob("images/train/*.jpg"))
        content = image.read_bytes()
        assert content.endswith(b"\xff\xd9")
        assert len(content) < 16_000
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert pixels.shape == (160, 160)


def test_a_box_in_the_file_lies_where_the_picture_shows_its_mark(drawn):
    """White crack and gas hole stand out so far that the JPEG itself shows where they are."""
    path = next(path for path in drawn if path.parent.name == "xh-4")
    label = next(
        k for k, name in yaml.safe_load(path.read_text())["names"].items() if name == "gas hole"
    )
    for stem, rows in _labels(path.parent).items():
        for row in rows:
            if row[0] == label:
                image = cv2.imread(str(path.parent / "images" / f"{stem}.jpg"), 0).astype(int)
                x, y, width, height = np.array(row[1:]) * 160
                centre = image[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].mean()
                left = image[int(y - height / 2) - 3, int(x - width / 2) : int(x + width / 2)]
                assert centre < left.mean() - 20
                return
    pytest.fail("no gas hole was drawn")


def test_single_instances_train_and_rarer_classes_reach_the_test_split():
    for name in STYLES:
        counts = demo_counts(1 / 8)[name]
        chance = np.random.default_rng(5)
        held = synthetic._share_out(counts, demo_images(1 / 8)[name], chance)
        splits = synthetic._split(held, chance)
        seen = {split: set() for split in SHARES}
        for names, split in zip(held, splits, strict=True):
            seen[split].update(names)
        assert seen["train"] == set(counts)
        for label, count in counts.items():
            if count >= 4:
                assert label in seen["test"], (name, label, count)
        shares = {split: splits.count(split) / len(splits) for split in SHARES}
        for split, share in SHARES.items():
            assert abs(shares[split] - share) < 0.1, (name, shares)


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(tmp_path):
    first = draw_demo(tmp_path / "a", factor=1 / 800)
    again = draw_demo(tmp_path / "b", factor=1 / 800, workers=2)
    other = draw_demo(tmp_path / "c", factor=1 / 800, seed=1)
    assert [_digest(path.parent) for path in first] == [_digest(path.parent) for path in again]
    for one, two in zip(first, other, strict=True):
        one_image = next(iter(sorted(one.parent.glob("images/train/*.jpg"))))
        two_image = next(iter(sorted(two.parent.glob("images/train/*.jpg"))))
        assert one_image.read_bytes() != two_image.read_bytes()


@pytest.fixture(scope="module")
def greys(tmp_path_factory: pytest.TempPathFactory) -> list[list[np.ndarray]]:
    """The pixels of the eleven sets, a fortieth of the published number."""
    return [
        [
            cv2.imdecode(np.frombuffer(image.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
            for image in sorted(path.parent.glob("images/*/*.jpg"))
        ]
        for path in draw_demo(tmp_path_factory.mktemp("shelf"), factor=1 / 40)
    ]


def _pooled(greys: list[list[np.ndarray]]) -> np.ndarray:
    """Exact distances of the pooled grey levels, without any clustering."""
    curves = []
    for images in greys:
        histogram = np.bincount(np.concatenate([image.ravel() for image in images]), minlength=256)
        curves.append(np.cumsum(histogram / histogram.sum()))
    levels = np.array(curves)  # (11, 256)
    return np.sqrt(3) * np.abs(levels[:, None] - levels[None]).sum(-1)


def _by_signatures(greys: list[list[np.ndarray]], n_clusters: int) -> np.ndarray:
    signatures = [
        dataset_signature([image_signature(image, n_clusters) for image in images], n_clusters)
        for images in greys
    ]
    return np.array(
        [[earth_movers_distance(one, two).distance for two in signatures] for one in signatures]
    )


@pytest.mark.parametrize("n_clusters", [None, 3, 5, 8])
def test_distances_order_as_published_and_the_four_picks_come_out(greys, n_clusters):
    distances = _by_signatures(greys, n_clusters) if n_clusters else _pooled(greys)
    names, published = published_distances()
    pairs = np.triu_indices(len(names), 1)
    assert spearmanr(distances[pairs], published[pairs]).statistic >= 0.97

    counts = demo_counts(1 / 8)
    expected = {"dc-1": "lc-101", "jy-381-4": "lc-201", "nj-101": "lc-101", "xh-4": "nj-201"}
    for target, pick in expected.items():
        rows = []
        for source in names:
            shared = [counts[source][k] for k in counts[source] if k in counts[target]]
            if source == target or len(shared) < 2:
                continue
            distance = distances[names.index(target), names.index(source)]
            rows.append((distance * gini(shared) / len(shared), source))
        top = [source for _, source in sorted(rows)[:3]]
        assert max(top, key=lambda source: sum(counts[source].values())) == pick


def test_what_is_drawn_already_is_kept(tmp_path):
    calls: list[tuple[int, int]] = []
    paths = draw_demo(tmp_path, factor=1 / 2000, size=96, progress=lambda *c: calls.append(c))
    assert calls[-1][0] == calls[-1][1] == sum(demo_images(1 / 2000).values())
    times = {path: path.stat().st_mtime_ns for path in paths}
    inodes = {path: path.stat().st_ino for path in paths}
    draw_demo(tmp_path, factor=1 / 2000, size=96)
    assert {path: path.stat().st_mtime_ns for path in paths} == times
    # A set that lost an image, or was drawn otherwise, is drawn again; the others stay.
    next(paths[0].parent.glob("images/*/*.jpg")).unlink()
    draw_demo(tmp_path, factor=1 / 2000, size=96)
    assert (
        paths[0].stat().st_ino != inodes[paths[0]] or paths[0].stat().st_mtime_ns != times[paths[0]]
    )
    assert paths[1].stat().st_mtime_ns == times[paths[1]]
    draw_demo(tmp_path, factor=1 / 2000, size=128)
    assert json.loads((paths[1].parent / "drawn.json").read_text())["size"] == 128
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(STYLES)


def test_somebody_elses_folder_in_the_way_is_left_alone(tmp_path):
    mine = tmp_path / "lc-101" / "precious.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(DataError, match="name another folder"):
        draw_demo(tmp_path, factor=1 / 2000, size=96)
    assert mine.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["lc-101"]


def test_an_interrupted_drawing_leaves_nothing_half_written(tmp_path, monkeypatch):
    draw, done = synthetic.draw_tile, []

    def stop(*arguments):
        done.append(1)
        if len(done) > 8:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(synthetic, "draw_tile", stop)
    with pytest.raises(KeyboardInterrupt):
        draw_demo(tmp_path, factor=1 / 800, size=96)
    for folder in tmp_path.iterdir():
        assert not folder.name.startswith(".")
        assert (folder / "data.yaml").is_file()
    monkeypatch.undo()
    assert len(draw_demo(tmp_path, factor=1 / 800, size=96)) == 11


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"factor": 0}, "factor above 0"), ({"factor": 2}, "at most 1"), ({"size": 32}, "96 pixels")],
)
def test_settings_out_of_range_are_refused_in_one_line(tmp_path, settings, words):
    with pytest.raises(DataError, match=words) as error:
        draw_demo(tmp_path / "x", **settings)
    assert "\n" not in str(error.value)
    assert "got" in str(error.value)
