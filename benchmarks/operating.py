"""What escapes and what is rejected for nothing, on real test images, by checkpoint and by ONNX.

    python -m benchmarks.operating --shared DATA --weights yolov8n.pt --out FOLDER

``DATA`` holds ``magnetic-tile/`` and ``deeppcb/``. Of each dataset a detector is trained, or taken
with ``--detector group20085=best.pt``. Its thresholds are chosen on the validation images for each
aim, fixed, and applied once to the test images. Then the detector is exported to ONNX, and both
files inspect the test images as ``aoi-tl inspect`` does. Prints the tables of
benchmarks/results/operating.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aoi_tl import Experiment, run_experiment
from aoi_tl.data.dataset import Dataset
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.evaluation.bootstrap import Interval
from aoi_tl.evaluation.operating import (
    OperatingPoint,
    Rates,
    choose_thresholds,
    image_scores,
    measure_rates,
    true_classes,
)
from aoi_tl.evaluation.predictions import Predictions
from aoi_tl.report.sections.operating import aim_words
from aoi_tl.transfer.exporting import Parity, export_detector
from aoi_tl.transfer.inspector import Inspector, predict_samples
from aoi_tl.transfer.thresholds import Thresholds, keep_thresholds
from aoi_tl.workflows.inspect import run_inspection

#: The boards' names are DeepPCB's; only the second has 30 validation images or more.
DATASETS = ("magnetic-tile", "group00041", "group20085")
AIMS: tuple[dict[str, Any], ...] = (
    {"escape": 0.05}, {"overkill": 0.05}, {"cost": {"escape": 10.0, "overkill": 1.0}},
)
SIZE = 256
TRAIN = {
    "imgsz": SIZE, "batch": 8, "nbs": 8, "optimizer": "AdamW", "lr0": 0.001, "cos_lr": True,
    "val": False, "workers": 0, "warmup_epochs": 1,
}
EPOCHS = {"magnetic-tile": 4, "group00041": 20, "group20085": 20}
EVEN_EPOCHS = 12


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--detector", action="append", default=[], metavar="DATASET=best.pt")
    parser.add_argument("--only", nargs="+", choices=DATASETS, default=DATASETS)
    given = parser.parse_args()
    detectors = {name: Path(file) for name, _, file in
                 (word.partition("=") for word in given.detector)}
    for name in given.only:
        data = data_file(given.shared, name)
        folder = given.out / name
        detector = detectors.get(name) or train(name, data, given.shared, given.weights, folder)
        print("\n".join(measured(name, load_dataset(data), detector, folder)), flush=True)


def data_file(shared: Path, name: str) -> Path:
    """The dataset's YAML file."""
    if name == "magnetic-tile":
        return shared / "magnetic-tile" / "mt.yaml"
    return shared / "deeppcb" / name / "data.yaml"


def train(name: str, data: Path, shared: Path, weights: Path, folder: Path) -> Path:
    """Fine-tune the COCO checkpoint on the training images of a dataset; give the detector.

    Seven in ten tiles have no defect: the detector learns from all of them, and then longer from
    those with a defect and as many others.
    """
    tuned = fine_tune(data, shared, weights, EPOCHS[name], folder / "run")
    if name != "magnetic-tile":
        return tuned
    even = with_fewer_good(load_dataset(data), folder / "even")
    return fine_tune(even, shared, tuned, EVEN_EPOCHS, folder / "run-even")


def fine_tune(data: Path, shared: Path, weights: Path, epochs: int, run: Path) -> Path:
    """Train the arm ``stock`` of an experiment; give its detector."""
    run_experiment(Experiment.model_validate({
        "target": str(data), "sources": str(data_file(shared, "group12300")),
        "weights": str(weights), "train": {**TRAIN, "epochs": epochs},
        "arms": ["stock"], "seeds": [0], "score": {"method": "paper", "n_clusters": 3},
    }), run, resume=run.is_dir())
    return run / "stages" / "stock-s0-target" / "weights" / "best.pt"


def with_fewer_good(dataset: Dataset, folder: Path) -> Path:
    """Write a dataset that trains on as many images without a box as with one."""
    import yaml

    lists: dict[str, list[str]] = {}
    for split in ("train", "val", "test"):
        samples = dataset.split(split).samples
        shown = [s for s in samples if len(s.classes)]
        good = [s for s in samples if not len(s.classes)]
        if split == "train":
            kept = np.linspace(0, len(good) - 1, min(len(good), len(shown))).round().astype(int)
            good = [good[place] for place in kept]
        lists[split] = [str(s.image.absolute()) for s in (*shown, *good)]
    folder.mkdir(parents=True, exist_ok=True)
    for split, images in lists.items():
        (folder / f"{split}.txt").write_text("".join(f"{image}\n" for image in images))
    file = folder / "data.yaml"
    file.write_text(yaml.safe_dump({
        **{split: f"{split}.txt" for split in lists}, "names": list(dataset.names),
    }, allow_unicode=True))
    return file


def measured(name: str, dataset: Dataset, detector: Path, folder: Path) -> Iterator[str]:
    """Choose, apply, export and inspect for every aim; give the lines of the tables."""
    inspector = Inspector(detector, SIZE)
    seen = predict_samples(inspector, dataset.split("val").samples)
    test = dataset.split("test")
    tested = predict_samples(inspector, test.samples)
    points = [choose_thresholds(seen, **arguments(aim)) for aim in AIMS]
    yield f"## {name}"
    yield ""
    yield (f"{len(seen.images)} validation images, {len(test.samples)} test images with "
           f"{test.instances} boxes. Chosen by counting {points[0].counted}: "
           f"{points[0].defective} defective, {points[0].good} good.")
    yield ""
    yield ("| aim | on validation, each image held out once: escaped, rejected | scope | threshold "
           "| test: defective | escape, % | test: good | overkill, % |")
    yield "|---|---|---|---|---|---|---|---|"
    for aim, point in zip(AIMS, points, strict=True):
        whole, *classes = measure_rates(tested, point.thresholds)
        for rates in (whole, pooled(tested, point.thresholds), *classes):
            yield row(aim, point, rates)
    yield ""
    yield ("| aim | largest difference of a confidence, of a side of a box, on ten images "
           "| test images | rejected by best.pt, by ONNX | same verdict | same boxes |")
    yield "|---|---|---|---|---|---|"
    for number, (aim, point) in enumerate(zip(AIMS, points, strict=True)):
        place = folder / f"aim{number}"
        thresholds = Thresholds(
            dict(zip(inspector.names, point.thresholds, strict=True)), SIZE, "best.pt", aim,
        )
        keep_thresholds(detector, thresholds, place / "best.pt")
        images = [s.image for s in dataset.split("val").samples]
        parity = export_detector(
            place / "best.pt", thresholds, "onnx", place / "best.onnx",
            [images[i] for i in np.linspace(0, len(images) - 1, 10).round().astype(int)],
        )
        yield compared(aim, parity, test.images, place)


def arguments(aim: dict[str, Any]) -> dict[str, Any]:
    """What `choose_thresholds` is asked for."""
    if "cost" in aim:
        return {"cost": (aim["cost"]["escape"], aim["cost"]["overkill"])}
    return aim


def pooled(tested: Predictions, thresholds: Sequence[float]) -> Rates:
    """Count each image once for each class, as where there are few good images to choose on.

    The intervals are of a bootstrap over images: the classes of an image go together.
    """
    from scipy.stats import binomtest

    held = true_classes(tested)
    found = image_scores(tested) >= np.asarray(thresholds)
    n = len(tested.images)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=1000)

    def share(counted: np.ndarray, among: np.ndarray) -> Interval:
        number, total = int((counted & among).sum()), int(among.sum())
        if number in (0, total):
            return Interval(number / total, *map(float, binomtest(number, total).proportion_ci()))
        shares = (drawn @ (counted & among).sum(axis=1)) / (drawn @ among.sum(axis=1))
        low, high = np.percentile(shares, [2.5, 97.5])
        return Interval(number / total, float(low), float(high))

    return Rates("all classes of images", None, int(held.sum()), int((~held).sum()),
                 share(~found, held), share(found, ~held))


def row(aim: dict[str, Any], point: OperatingPoint, rates: Rates) -> str:
    """One line of the rates: a whole image, or a class."""
    def shown(one: Interval | None) -> str:
        return "none tested" if one is None else \
            f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"

    whole = rates.name is None
    held_out = f"{point.escaped} of {point.defective}, {point.rejected} of {point.good}" + (
        "" if point.is_met else "; limit not kept")
    return "| " + " | ".join((
        f"`{json.dumps(aim)}`" if whole else "", held_out if whole else "",
        "**whole image**" if whole else str(rates.name),
        "" if rates.threshold is None else f"{rates.threshold:g}",
        str(rates.defective), shown(rates.escape), str(rates.good), shown(rates.overkill),
    )) + " |"


def compared(aim: dict[str, Any], parity: Parity, images: Sequence[Path], place: Path) -> str:
    """Inspect images with both files; give the line that says whether they agree."""
    one, other = (
        run_inspection(place / f"best.{kind}", images, place / f"by-{kind}")
        for kind in ("pt", "onnx")
    )
    rejected = [sum(verdict.verdict == "reject" for verdict in each) for each in (one, other)]
    pairs = list(zip(one, other, strict=True))
    same = sum(a.verdict == b.verdict for a, b in pairs)
    boxes = sum([x["class"] for x in a.boxes] == [x["class"] for x in b.boxes] for a, b in pairs)
    return (f"| {aim_words(aim)} | {parity.confidence:.1e}, {parity.shift:.1e} px | {len(images)} "
            f"| {rejected[0]}, {rejected[1]} | {same} | {boxes} |")


if __name__ == "__main__":
    main()
