from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from aoi_tl.duplicates.pairs import CERTAIN, find_duplicates


def surface(seed: int, height: int = 300, width: int = 360) -> np.ndarray:
    chance = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(chance.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.5)
    return grain / grain.std()


def save(path: Path, pixels: np.ndarray) -> Path:
    cv2.imwrite(str(path), pixels.clip(0, 255).astype(np.uint8))
    return path


def test_exposures_and_crops_are_found_and_nothing_else(tmp_path):
    images, truth = [], []
    for part in range(12):
        ground = surface(part)
        noise = np.random.default_rng(100 + part)
        falloff = np.linspace(0, 60, ground.shape[1])
        for shot, (x, y, light, gain) in enumerate(
            [(0, 0, 60, 12), (6, 4, 150, 30), (120, 70, 110, 20)]
        ):
            crop = ground[y : y + 200, x : x + 200] * gain + light
            crop = crop + falloff[x : x + 200] + noise.normal(0, 2, (200, 200))
            images.append(save(tmp_path / f"{part}-{shot}.jpg", crop))
            truth.append(part)
    found = find_duplicates(images)
    groups: dict[int, set[int]] = {}
    for part, group in zip(truth, found.groups.tolist(), strict=True):
        groups.setdefault(group, set()).add(part)
    assert all(len(parts) == 1 for parts in groups.values())
    assert len(groups) == 12
    shares = {(p.first % 3, p.second % 3): p.share for p in found.overlaps if p.second < 3}
    assert shares[0, 1] == pytest.approx(194 * 196 / 200**2, abs=0.03)
    assert shares[0, 2] == pytest.approx(80 * 130 / 200**2, abs=0.03)


def test_equal_files_resized_and_deeper_copies(tmp_path):
    ground = surface(5) * 30 + 120
    first = save(tmp_path / "a.png", ground)
    (tmp_path / "b.png").write_bytes(first.read_bytes())
    save(tmp_path / "small.jpg", cv2.resize(ground, None, fx=0.6, fy=0.6,
                                            interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(tmp_path / "deep.png"), (ground.clip(0, 255) * 16).astype(np.uint16))
    save(tmp_path / "other.png", surface(6) * 30 + 120)
    names = ["a.png", "b.png", "small.jpg", "deep.png", "other.png"]
    found = find_duplicates([tmp_path / name for name in names])
    assert found.copy_of.tolist() == [0, 0, 2, 3, 4]
    assert len(set(found.groups[:4].tolist())) == 1
    assert found.groups[4] != found.groups[0]
    ours = np.array([False, True, False, False, False])
    assert found.between(ours, ~ours) == [(1, 0, 2.0)]
    assert found.between(np.array([0, 0, 0, 0, 1], bool), ours) == []


@pytest.mark.parametrize("turn", range(1, 8))
def test_mirrored_and_turned_copies(tmp_path, turn):
    ground = surface(1) * 25 + 120
    turned = ground.T if turn & 4 else ground
    turned = turned[::-1] if turn & 2 else turned
    turned = turned[:, ::-1] if turn & 1 else turned
    images = [save(tmp_path / "a.png", ground), save(tmp_path / "b.jpg", turned * 0.8 + 30),
              *(save(tmp_path / f"other{seed}.png", surface(seed) * 25 + 120)
                for seed in range(2, 6))]
    (pair,) = find_duplicates(images).overlaps
    assert (pair.first, pair.second, pair.share) == (0, 1, 1)
    assert pair.similarity > CERTAIN


def test_across_looks_only_between_the_marked_and_the_others(tmp_path):
    ground = surface(3) * 25 + 120
    images = [save(tmp_path / f"{number}.png", ground[number * 9 :, number * 7 :])
              for number in range(4)]
    marked = np.array([True, False, False, True])
    found = find_duplicates(images, across=marked)
    assert [(p.first, p.second) for p in found.overlaps] == [(0, 1), (0, 2), (1, 3), (2, 3)]
    assert len(find_duplicates(images).overlaps) == 6


def test_a_common_fixture_makes_no_duplicates(tmp_path):
    chance = np.random.default_rng(0)
    plate = np.zeros((240, 320))
    for _ in range(40):  # a printed layout: the same in every image
        x, y = (int(v) for v in chance.integers(0, (300, 220)))
        cv2.rectangle(plate, (x, y), (x + 25, y + 12), float(chance.uniform(60, 200)), 2)
    images = []
    for part in range(30):
        pixels = plate + 40 + surface(part, 240, 320) * 8
        images.append(save(tmp_path / f"{part:02}.png", pixels))
    again = plate + 45 + surface(3, 240, 320) * 8 + chance.normal(0, 1, (240, 320))
    images.append(save(tmp_path / "again.png", again))
    pairs = [(p.first, p.second) for p in find_duplicates(images).overlaps
             if p.similarity >= CERTAIN]
    assert pairs == [(3, 30)]


def test_what_cannot_be_compared_is_left_alone(tmp_path):
    flat = save(tmp_path / "flat.png", np.full((64, 64), 90))
    grey = save(tmp_path / "grey.png", np.full((64, 64), 91))
    speck = save(tmp_path / "speck.png", np.zeros((3, 3)))
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = [flat, grey, speck, tmp_path / "broken.png", tmp_path / "none.png"]
    told = []
    found = find_duplicates(images, progress=lambda done, total: told.append((done, total)))
    assert found.overlaps == ()
    assert found.copy_of.tolist() == [0, 1, 2, 3, 4]
    assert found.sizes.tolist() == [[64, 64], [64, 64], [3, 3], [0, 0], [0, 0]]
    assert found.blank.tolist() == [True, True, True, False, False]
    assert told[-1] == (5, 5)
    assert find_duplicates([]).groups.tolist() == []


def test_exposures_of_real_tiles(shared):
    rows = list(csv.DictReader((shared / "data" / "magnetic-tile" / "index.csv").open()))
    wanted = sorted({row["tile"] for row in rows})[::9]
    rows = [row for row in rows if row["tile"] in wanted]
    tiles = np.unique([row["tile"] for row in rows], return_inverse=True)[1]
    folder = shared / "data" / "magnetic-tile" / "images"
    found = find_duplicates([folder / row["image"] for row in rows])
    same = tiles[:, None] == tiles
    assert (same == (found.groups[:, None] == found.groups)).mean() > 0.999
    assert all(tiles[pair.first] == tiles[pair.second] for pair in found.overlaps)


def test_overlapping_crops_of_real_steel(shared):
    folder = shared / "data" / "neu-det" / "images"
    names = ["patches_101", "patches_105", "crazing_180", "crazing_181", "scratches_277",
             "scratches_278", "rolled-in_scale_133", "rolled-in_scale_134", "inclusion_177",
             "inclusion_180"]
    found = find_duplicates([folder / f"{name}.jpg" for name in names])
    assert found.copy_of[1] == 0
    assert [(p.first, p.second) for p in found.overlaps] == [(2, 3), (4, 5), (6, 7), (8, 9)]
