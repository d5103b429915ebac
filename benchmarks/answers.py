"""How soon does the command line answer where there is nothing to compute?

``aoi-tl --help``, and transfers that are refused: a missing dataset, a missing checkpoint, a file
that is no checkpoint, a classifier's checkpoint, an absent device. Each runs in a process of its
own, the best of three. Processor time is held against the bound, because a busy machine stretches
time on the clock. The reference for a refusal is the import of torch and Ultralytics alone: it is
what an answer costs that does not come before it.

    python benchmarks/answers.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
from figures import Figure, show

COMMAND = "import sys; from aoi_tl.cli import main; sys.argv[0] = 'aoi-tl'; main()"


def draw_dataset(folder: Path) -> Path:
    for split in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        cv2.imwrite(str(folder / f"images/{split}/a.png"), np.full((32, 32), 99, np.uint8))
        (folder / f"labels/{split}/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    file = folder / "data.yaml"
    file.write_text("".join(f"{s}: images/{s}\n" for s in ("train", "val", "test"))
                    + "names: [dent]\n")
    return file


def classifier(file: Path) -> Path:
    """A .zip as torch writes it, whose pickle names a classifier of Ultralytics."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("best/data.pkl", b"\x80\x02cultralytics.nn.tasks\nClassificationModel\n.")
    return file


def answer(code: str, words: list[str], status: int) -> tuple[float, float]:
    """Processor seconds and seconds on the clock of a process, the best of three."""
    best = float("inf"), float("inf")
    for _ in range(3):
        before, began = os.times(), time.perf_counter()
        ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True,
                               check=False)
        after, seconds = os.times(), time.perf_counter() - began
        if ended.returncode != status:
            raise SystemExit(f"expected status {status}, got {ended.returncode}: {ended.stderr}")
        used = (after.children_user - before.children_user
                + after.children_system - before.children_system)
        best = min(best[0], used), min(best[1], seconds)
    return best


def main() -> None:
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        target, source = (str(draw_dataset(root / name)) for name in ("new", "old"))
        text = root / "text.pt"
        text.write_text("not a checkpoint")
        begin = ["transfer", target]
        out = ["--out", str(root / "run")]
        imports, _ = answer("import torch, ultralytics.nn.tasks", [], 0)
        used, seconds = answer(COMMAND, ["--help"], 0)
        figures.append(Figure("aoi-tl --help", f"{used:.2f} s, {seconds:.2f} s on the clock",
                              "0.25 s", used / 0.25, "<= 1"))
        for what, words in {
            "no such dataset": [str(root / "none.yaml")],
            "no such checkpoint": [source, "--weights", str(root / "none.pt")],
            "no checkpoint at all": [source, "--weights", str(text)],
            "a classifier": [source, "--weights", str(classifier(root / "classifier.pt"))],
            "no such device": [source, "--weights", "yolov8n.yaml", "--set", "device=99"],
        }.items():
            used, seconds = answer(COMMAND, [*begin, *words, *out], 2)
            figures.append(Figure(
                f"refused: {what}", f"{used:.2f} s, {seconds:.2f} s on the clock",
                f"importing torch and Ultralytics {imports:.2f} s", used / imports, "<= 0.5",
            ))
    show(figures)


if __name__ == "__main__":
    main()
