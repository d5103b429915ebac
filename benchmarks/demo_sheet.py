"""The contact sheet of the drawn datasets that the README shows.

python benchmarks/demo_sheet.py docs/images/demo-datasets.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from aoi_tl.synthetic.demo_datasets import demo_counts
from aoi_tl.synthetic.drawn_defects import DRAWN_DEFECTS
from aoi_tl.synthetic.tiles import STYLES, draw_tile

COLUMNS = 5
TILE, GAP, MARGIN = 112, 6, 14
TITLE, CAPTION, HEAD = 96, 15, 40
PAPER, INK, FAINT = 255, 45, 115
STEP = 5  # grey levels told apart: fewer make a smaller file
BOX = (255, 150, 40)  # red, green, blue


def choose() -> dict[str, list[str]]:
    """Classes to show per set: the most common first, all twenty somewhere on the sheet."""
    counts = demo_counts(1)
    chosen: dict[str, list[str]] = {name: [] for name in STYLES}
    held = {label: [name for name in STYLES if label in counts[name]] for label in DRAWN_DEFECTS}
    for label in sorted(DRAWN_DEFECTS, key=lambda label: len(held[label])):
        fewest = min(len(chosen[name]) for name in held[label])
        roomy = [name for name in held[label] if len(chosen[name]) == fewest]
        chosen[max(roomy, key=lambda name: counts[name][label])].append(label)
    for name, labels in chosen.items():
        common = sorted(counts[name], key=lambda label: -counts[name][label])
        labels += [label for label in common if label not in labels]
        labels[:] = sorted(labels[:COLUMNS], key=lambda label: -counts[name][label])
    return chosen


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images/demo-datasets.png")
    width = MARGIN * 2 + TITLE + COLUMNS * (TILE + GAP)
    height = HEAD + len(STYLES) * (TILE + CAPTION + GAP) + MARGIN
    sheet = np.full((height, width), PAPER, np.uint8)
    boxes = np.zeros((height, width), np.uint8)

    def write(text: str, x: int, y: int, grey: int, size: float) -> None:
        cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_DUPLEX, size, grey, 1, cv2.LINE_AA)

    write("Eleven drawn datasets, twenty defects", MARGIN, 27, INK, 0.6)
    counts = demo_counts(1)
    for row, (name, labels) in enumerate(choose().items()):
        top = HEAD + row * (TILE + CAPTION + GAP)
        write(name, MARGIN, top + 24, INK, 0.52)
        write(f"{sum(counts[name].values())} boxes", MARGIN, top + 44, FAINT, 0.36)
        write(f"{len(counts[name])} classes", MARGIN, top + 60, FAINT, 0.36)
        for column, label in enumerate(labels):
            exposure = (column + 0.5) / COLUMNS * 1.7 - 0.85
            chance = np.random.default_rng([row, column, 4])
            drawing = draw_tile(name, [label], chance, exposure, 160)
            left = MARGIN + TITLE + column * (TILE + GAP)
            small = cv2.resize(drawing.image, (TILE, TILE), interpolation=cv2.INTER_AREA)
            sheet[top : top + TILE, left : left + TILE] = small
            x0, y0, x1, y1 = (round(float(v)) for v in drawing.boxes[0] * TILE / 160)
            corners = (left + x0 - 2, top + y0 - 2), (left + x1 + 1, top + y1 + 1)
            cv2.rectangle(boxes, *corners, 1, 1)
            write(label, left, top + TILE + 11, FAINT, 0.33)

    levels = np.arange(0, 256 + STEP, STEP).clip(0, 255)
    indices = np.where(boxes, len(levels), (sheet.astype(int) + STEP // 2) // STEP)
    picture = Image.fromarray(indices.astype(np.uint8), mode="P")
    picture.putpalette([int(v) for grey in levels for v in (grey, grey, grey)] + list(BOX))
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1024:.0f} kB, {picture.width} x {picture.height} px")


if __name__ == "__main__":
    main()
