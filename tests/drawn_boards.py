"""One printed board design on many parts, each with defects of its own, drawn for the tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from aoi_tl.duplicates.parts import Defects

SIZE, DEFECT = 320, 14


def layout(seed: int = 0) -> np.ndarray:
    """A printed board: the same on all copies of it."""
    chance, plate = np.random.default_rng(seed), np.full((SIZE, SIZE), 30, np.uint8)
    for _ in range(60):
        points = np.cumsum(chance.integers(-80, 80, (3, 2)), axis=0) + chance.integers(0, SIZE, 2)
        cv2.polylines(plate, [points.astype(np.int32)], False, 220, int(chance.integers(4, 9)))
    return plate


def copy(number: int, defects: int = 3, design: int = 0) -> tuple[np.ndarray, Defects]:
    """One part of the design: its own defects, its own noise."""
    chance, pixels = np.random.default_rng(1000 + number), layout(design).astype(float)
    places = chance.integers(20, SIZE - 20, (defects, 2))
    for x, y in places.tolist():
        shade = 220.0 if pixels[y, x] < 125 else 30.0
        cv2.circle(pixels, (x, y), DEFECT // 2, shade, -1)
    boxes = np.column_stack([places, np.full((defects, 2), DEFECT)]) / SIZE
    pixels += chance.normal(0, 4, pixels.shape)
    return pixels.clip(0, 255), Defects(chance.integers(0, 3, defects), boxes)


def again(how: str, pixels: np.ndarray, defects: Defects) -> tuple[np.ndarray, Defects, int]:
    """The same part shot again: pixels, what is labelled there, JPEG quality."""
    if how == "re-encoded":
        return pixels, defects, 50
    if how == "relit":
        light = pixels * 0.5 + 60 + np.linspace(0, 30, SIZE)
        return light + np.random.default_rng(5).normal(0, 3, pixels.shape), defects, 90
    left, top, size = (5, 9, 300) if how == "shifted" else (60, 40, 220)
    centre = (defects.boxes[:, :2] * SIZE - (left, top)) / size
    inside = ((centre > 0.05) & (centre < 0.95)).all(axis=1)
    boxes = np.column_stack([centre, defects.boxes[:, 2:] * SIZE / size])[inside]
    return (pixels[top : top + size, left : left + size],
            Defects(defects.classes[inside], boxes), 90)


def write_boards(folder: Path, parts: int, start: int = 0) -> Path:
    """An Ultralytics dataset of so many parts of one design, 3 in 4 of them in train."""
    for number in range(start, start + parts):
        split = "val" if number % 4 == 3 else "train"
        pixels, marked = copy(number)
        image = folder / "images" / split / f"{number}.png"
        label = folder / "labels" / split / f"{number}.txt"
        for file in (image, label):
            file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), pixels.astype(np.uint8))
        rows = np.column_stack([marked.classes, marked.boxes])
        label.write_text("".join(f"{int(row[0])} {' '.join(map(str, row[1:]))}\n" for row in rows))
    data = folder / "data.yaml"
    data.write_text("train: images/train\nval: images/val\nnames: [open, short, spur]\n")
    return data
