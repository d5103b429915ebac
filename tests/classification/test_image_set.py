from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from aoi_tl.classification.folders import read_image_csv, read_image_folders
from aoi_tl.classification.image_set import (
    ImageSet,
    check_files,
    check_groups,
    check_source,
    check_target,
    draw_shots,
    hold_out,
    keep_classes,
)
from aoi_tl.errors import DataError


def fill(folder: Path, count: int = 2) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((8, 8), 9 * number, np.uint8))


def make_set(labels: list[int], splits: list[str], groups: list[str] | None = None) -> ImageSet:
    names = tuple("abcdef"[: max(labels) + 1])
    return ImageSet("made", names, tuple(Path(f"{i}.png") for i in range(len(labels))),
                    np.array(labels), tuple(splits),
                    tuple(groups or [str(i) for i in range(len(labels))]))


def test_class_missing_in_the_test_split() -> None:
    images = make_set([0, 1, 0], ["train", "train", "test"])
    with pytest.raises(DataError, match="test images of every class in made, got none of b"):
        check_target(images)


def test_class_missing_in_the_training_split() -> None:
    images = make_set([0, 1, 0], ["train", "test", "test"])
    with pytest.raises(DataError, match="train images of every class in made, got none of b"):
        check_target(images)


def test_one_class_only() -> None:
    with pytest.raises(DataError, match="two classes or more"):
        check_target(make_set([0, 0], ["train", "test"]))
    with pytest.raises(DataError, match="two classes or more"):
        check_source(make_set([0, 0], ["train", "train"]))


def test_thing_that_is_both_trained_on_and_tested() -> None:
    images = make_set([0, 1, 0, 1], ["train", "train", "test", "test"], ["x", "y", "x", "z"])
    with pytest.raises(DataError, match="'x' in train and test"):
        check_target(images)


def test_files_that_are_no_whole_images_are_counted(tmp_path: Path) -> None:
    fill(tmp_path / "a", 3)
    assert len(check_files(read_image_folders(tmp_path))) == 3
    (tmp_path / "a" / "1.png").write_bytes((tmp_path / "a" / "1.png").read_bytes()[:-9])
    (tmp_path / "a" / "2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1\.png \(and 1 more\); replace"):
        check_files(read_image_folders(tmp_path))


def test_kept_classes_are_numbered_anew() -> None:
    kept = keep_classes(make_set([0, 1, 2, 2], ["train"] * 4), ["c", "a"])
    assert kept.classes == ("c", "a")
    assert kept.labels.tolist() == [1, 0, 0]
    with pytest.raises(DataError, match="class 'z'"):
        keep_classes(kept, ["z"])


def test_shots_are_of_different_things_and_leave_the_test_alone() -> None:
    labels = [0] * 12 + [1] * 4 + [0, 1]
    groups = [f"g{i // 2}" for i in range(16)] + ["t0", "t1"]
    images = make_set(labels, ["train"] * 16 + ["test"] * 2, groups)
    for seed in range(20):
        drawn = draw_shots(images, {"a": 4, "b": 2}, np.random.default_rng(seed))
        train = drawn.split("train")
        assert train.counts == {"a": 4, "b": 2}
        assert len(set(train.groups)) == 6
        assert drawn.split("test").images == images.split("test").images
    with pytest.raises(DataError, match=r"expected 3 training images of 'b'.*got 2"):
        draw_shots(images, {"b": 3}, np.random.default_rng(0))


def test_shots_differ_between_seeds_and_repeat_for_one() -> None:
    images = make_set([0] * 30 + [1] * 30, ["train"] * 60)
    draws = [draw_shots(images, {"a": 3, "b": 3}, np.random.default_rng(s)).images
             for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_held_out_images_share_no_group_with_the_others() -> None:
    images = make_set([0, 1] * 50, ["train"] * 100, [f"g{i // 4}" for i in range(100)])
    found = check_groups(hold_out(images, 0.25, np.random.default_rng(0)))
    assert 15 <= len(found.split("test")) <= 35
    assert min(found.split("test").counts.values()) > 0


def test_fingerprint_sees_bytes_labels_and_splits(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "a")
    fill(tmp_path / "train" / "b")
    before = read_image_folders(tmp_path).fingerprint()
    assert read_image_folders(tmp_path).fingerprint() == before
    cv2.imwrite(str(tmp_path / "train" / "b" / "0.png"), np.full((8, 8), 77, np.uint8))
    assert read_image_folders(tmp_path).fingerprint() != before


def test_real_steel_and_tiles(shared: Path) -> None:
    steel = read_image_csv(shared / "data/neu-det/index.csv", group="group",
                           pattern="images/{}.jpg")
    assert check_source(steel).split("train").counts == dict.fromkeys(steel.classes, 180)
    tiles = keep_classes(
        read_image_csv(shared / "data/magnetic-tile/index.csv", group="tile",
                       pattern="images/{}"), ["free", "blowhole", "break", "crack", "uneven"])
    assert len(check_target(tiles).split("test")) == 272
