"""What does the chain cost beside plain Ultralytics training, and adapted data beside plain OpenCV?

A stage of a chain (its checkpoint made, every epoch kept so that it can go on exactly) is held
against the same training by hand, ``YOLO(checkpoint).train(...)`` with the same arguments, each in
a process of its own, turn and turn about; CPU seconds, so that other jobs count less. Balancing a
dataset is held against reading the same originals and writing as many PNGs with OpenCV alone.

    python benchmarks/training.py ../shared/data/aluminum/aluminum.yaml ../shared/weights/yolov8n.pt
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from figures import Figure, cpu_seconds, show

from aoi_tl.adaptation.balance import balance
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.data.yolo.write import write_dataset


def train_once(
    how: str, data: Path, weights: Path, folder: Path, arguments: dict[str, Any]
) -> float:
    """CPU seconds of one training in a process of its own, its workers included."""
    command = [sys.executable, __file__, str(data), str(weights), "--one", how,
               "--folder", str(folder), "--arguments", json.dumps(arguments)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(said.splitlines()[-1])


def train_here(
    how: str, data: Path, weights: Path, folder: Path, arguments: dict[str, Any]
) -> None:
    import torch

    torch.set_num_threads(1)
    if how == "chain":
        from aoi_tl.transfer.stage import Stage, train_stage

        train_stage(Stage(weights, data, folder, "backbone", 0, 0, arguments))
    else:
        from aoi_tl.transfer.detector import load_checkpoint

        load_checkpoint(weights)  # the quiet, restricted Ultralytics that the chain uses too
        from ultralytics import YOLO

        YOLO(str(weights)).train(
            **arguments, data=str(data), save_dir=str(folder), project=str(folder.parent),
            name=folder.name, exist_ok=True, plots=False, seed=0, verbose=False,
        )
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print("\n" + str(sum(u.ru_utime + u.ru_stime for u in used)))


def chain_figure(
    data: Path, weights: Path, folder: Path, arguments: dict[str, Any], repeats: int
) -> Figure:
    spent: dict[str, list[float]] = {"by hand": [], "chain": []}
    for repeat in range(repeats):
        for how, seconds in spent.items():
            place = folder / f"{how.replace(' ', '-')}-{repeat}"
            seconds.append(train_once(how, data, weights, place, arguments))
            print(f"{how}: {seconds[-1]:.1f} s", file=sys.stderr, flush=True)
    chain, hand = float(np.median(spent["chain"])), float(np.median(spent["by hand"]))
    return Figure(
        f"chain, {arguments['epochs']} epochs at {arguments['imgsz']} px, median of {repeats}",
        f"{chain:.1f} s", f"by hand {hand:.1f} s", chain / hand, "<= 1.03",
    )


def adapted_figures(data: Path, folder: Path) -> list[Figure]:
    dataset = load_dataset(data)
    tries: list[Any] = []

    def ours() -> None:
        tries.append(balance(dataset, folder / f"balanced-{len(tries)}", minority_to=1.0))

    seconds = cpu_seconds(ours)
    balanced = tries[-1]
    originals = {sample.image.stem: sample.image for sample in dataset.samples}
    new = [s for s in balanced.dataset.samples if s.image not in originals.values()]
    made_of = [originals[sample.image.stem.split("-", 1)[1]] for sample in new]  # NUMBER-STEM
    place = folder / "plain.png"

    made = [cv2.imread(str(sample.image), cv2.IMREAD_UNCHANGED) for sample in new]

    def plain() -> None:
        for original, pixels in zip(made_of, made, strict=True):
            cv2.imread(str(original), cv2.IMREAD_UNCHANGED)
            cv2.imwrite(str(place), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])

    reference = cpu_seconds(plain)
    written = write_dataset(balanced.dataset, folder / "written").parent
    links = [image for image in (written / "images").rglob("*") if image.is_symlink()]
    kept = sum(file.resolve() in set(originals.values()) for file in links)
    old = len(dataset.samples) - balanced.removed
    each = 1e3 / len(new)
    return [
        Figure(f"balancing, {len(new)} new images of {dataset.name}", f"{seconds * each:.2f} ms",
               f"OpenCV {reference * each:.2f} ms", reference / seconds, ">= 0.6"),
        Figure("images that did not change and were not written anew", str(kept), str(old),
               kept / old, ">= 1"),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a data.yaml")
    parser.add_argument("weights", type=Path, help="a YOLO detection checkpoint")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=320, help="pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--arguments", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        train_here(asked.one, asked.data, asked.weights, asked.folder, asked.arguments)
        return
    cv2.setNumThreads(1)
    arguments = {"epochs": asked.epochs, "imgsz": asked.size, "batch": 16, "nbs": 16, "workers": 0,
                 "optimizer": "AdamW", "lr0": 0.001, "device": "cpu", "val": True}
    folder = Path(tempfile.mkdtemp())
    try:
        figures = adapted_figures(asked.data, folder)
        # Links of our own, so that Ultralytics leaves the user's folders alone.
        data = write_dataset(load_dataset(asked.data), folder / "data")
        figures.append(chain_figure(data, asked.weights, folder, arguments, asked.repeats))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(figures)


if __name__ == "__main__":
    main()
