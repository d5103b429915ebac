"""How long does training wait for its images, and what do frozen features and a probe cost?

One CDG epoch (a pass over 1080 steel-like images in whole cycles of 50 source and 10 target steps)
at 224 px, batch 16, from pixels in memory and from a mapped file, with flips and rotation. The
share of the time spent on making batches has to stay under 15 %. The smaller the encoder, the
harder that is: a YOLOv8n backbone computes a batch in half a second on one core.

``--frozen`` holds features against the encoder's bare forward passes on the same images, in turns
in the same run (bound: 1.1 times), and times a probe on 1,000 images' features, its test included
(bound: 5 s). Both are processor time of one core, which other work on the machine changes least.

    python benchmarks/classification_speed.py
    python benchmarks/classification_speed.py --frozen
    python benchmarks/classification_speed.py --share 0.2       # a fifth of an epoch
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from aoi_tl.classification.batches import BatchStream, Pixels, cache_pixels
from aoi_tl.classification.cdg import Cycle, arm_steps, count_cycles
from aoi_tl.classification.classifier import build_classifier
from aoi_tl.classification.encoders import build_encoder
from aoi_tl.classification.features import compute_features
from aoi_tl.classification.folders import read_image_folders
from aoi_tl.classification.probe import fit_probe
from aoi_tl.classification.training import train
from aoi_tl.synthetic.surfaces import LITHIUM_COUNTS, STEEL, write_surfaces

LIMIT = 0.15
FEATURES, PROBE = 1.1, 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of an epoch")
    parser.add_argument("--encoders", nargs="+", default=["yolov8n.yaml", "resnet18"])
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--frozen", action="store_true", help="features and probe only")
    arguments = parser.parse_args()
    if arguments.frozen:
        measure_frozen(arguments.size)
        return
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


def measure_frozen(size: int, images: int = 96, turns: int = 5) -> None:
    """Hold features against bare forward passes, and time the probe; both on one core."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    encoder = build_encoder("tf_efficientnet_lite0", "random").module.eval()
    pixels = Pixels(generator.integers(0, 256, (images, 1, size, size), dtype=np.uint8),
                    np.zeros(images, np.int64))
    ready = [pixels.batch(np.arange(first, first + 32)).expand(-1, 3, -1, -1).contiguous()
             for first in range(0, images, 32)]
    bare, whole = [], []
    for _ in range(turns):
        started = time.process_time()
        with torch.inference_mode():
            for batch in ready:
                encoder(batch)
        bare.append(time.process_time() - started)
        started = time.process_time()
        compute_features(encoder, pixels)
        whole.append(time.process_time() - started)
    ratio = float(np.median(np.divide(whole, bare)))
    print(f"features: {1000 * min(whole) / images:.1f} ms an image, bare forward passes "
          f"{1000 * min(bare) / images:.1f} ms; median ratio of {turns} turns {ratio:.3f} "
          f"(bound {FEATURES})")
    labels = generator.integers(0, 5, 1000)
    features = generator.normal(size=(1000, 1, 1280)) + labels[:, None, None] * 0.05
    started = time.process_time()
    fit_probe(features, labels, 5).probabilities(features[:, 0])
    took = time.process_time() - started
    print(f"probe on 1,000 images of 1,280 features, trained and tested: {took:.2f} s "
          f"(bound {PROBE:.0f} s)")
    if ratio > FEATURES or took > PROBE:
        raise SystemExit(
            f"expected at most {FEATURES} and {PROBE} s, got {ratio:.3f} and {took:.2f} s"
        )


if __name__ == "__main__":
    main()
