"""How long does training wait for its images?

One CDG epoch (a pass over 1080 steel-like images in whole cycles of 50 source and 10 target steps)
at 224 px, batch 16, from pixels in memory and from a mapped file, with flips and rotation. The
share of the time spent on making batches has to stay under 15 %. The smaller the encoder, the
harder that is: a YOLOv8n backbone computes a batch in half a second on one core.

    python benchmarks/classification_speed.py
    python benchmarks/classification_speed.py --share 0.2       # a fifth of an epoch
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

import tempfile
from pathlib import Path

import torch

from aoi_tl.classification.batches import BatchStream, cache_pixels
from aoi_tl.classification.cdg import Cycle, arm_steps, count_cycles
from aoi_tl.classification.classifier import build_classifier
from aoi_tl.classification.encoders import build_encoder
from aoi_tl.classification.folders import read_image_folders
from aoi_tl.classification.training import train
from aoi_tl.synthetic.surfaces import LITHIUM_COUNTS, STEEL, write_surfaces

LIMIT = 0.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of an epoch")
    parser.add_argument("--encoders", nargs="+", default=["yolov8n.yaml", "resnet18"])
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(f"{arguments.size} px, batch {arguments.batch}, {torch.get_num_threads()} threads of "
          f"{os.cpu_count()} cores; limit {LIMIT:.0%}")
    print("| encoder | pixels | steps | ms a step | of them waiting | share |")
    print("|---|---|---|---|---|---|")
    worst = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        target = read_image_folders(write_surfaces(
            folder / "lithium", "lithium", {"train": LITHIUM_COUNTS["train"]}, 200))
        source = read_image_folders(write_surfaces(
            folder / "steel", "steel", {"train": dict.fromkeys(STEEL, 180)}, 200))
        cycle = Cycle()
        steps = arm_steps("cdg", count_cycles(len(source), arguments.batch, 1, cycle), cycle)
        steps = steps[-max(1, round(arguments.share * len(steps))):]
        for name in arguments.encoders:
            for where, cache in (("memory", None), ("mapped file", folder / "cache")):
                classifier = build_classifier(build_encoder(name, "random"), 5, 6)
                history = train(classifier, steps, {
                    "target": BatchStream(cache_pixels(target, arguments.size, cache),
                                          arguments.batch),
                    "source": BatchStream(cache_pixels(source, arguments.size, cache),
                                          arguments.batch),
                })
                worst = max(worst, history.waiting_share)
                print(f"| {name} | {where} | {len(steps)} | "
                      f"{1000 * history.seconds / len(steps):.0f} | "
                      f"{1000 * history.waiting / len(steps):.1f} | "
                      f"{history.waiting_share:.1%} |", flush=True)
    if worst >= LIMIT:
        raise SystemExit(f"expected to wait less than {LIMIT:.0%} of the time, got {worst:.1%}")


if __name__ == "__main__":
    main()
