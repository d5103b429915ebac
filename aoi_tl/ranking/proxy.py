"""The measure `proxy`: mAP50 of short fine-tunings on one half of the labels, on the other half."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aoi_tl.adaptation.few_labels import nested_subsets
from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.yolo.write import write_dataset
from aoi_tl.evaluation.predictions import Predictions, Scorer
from aoi_tl.files.run_folder import folder_name
from aoi_tl.ranking.detector_measures import predictions_of
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.measure import Measure, UndefinedMeasure, Value
from aoi_tl.transfer.viewing import View, join_views, view_images

#: Steps of the optimiser of the shortest proxy.
STEPS = 10
#: Steps on a source that has no kept detector: so many images, times `BATCH`, are seen.
SOURCE_STEPS = 125
#: Pixels of the images' longer side, at most.
SIZE = 320
BATCH = 8
RATE = 0.001
#: The learning rate of a start that knows the defects, as a share of the plain one.
GENTLE = 0.3
_SAMPLES = 200  # of the bootstrap
_TIMED = 4  # epochs of the training that is timed


def _proxy(target: Domain, source: Domain) -> Value:
    """Gain of mAP50 over plain fine-tuning, both for `STEPS` steps."""
    if target.weights is None:
        raise UndefinedMeasure("no COCO checkpoint was named to fine-tune beside it")
    if source.detector is None:
        raise UndefinedMeasure("no detector of this source is kept")
    size = proxy_size([source])
    found = fine_tune_shortly(target, source.detector, True, STEPS, size)
    return gain_over(found, plain_proxy(target, STEPS, size))


def proxy_size(sources: Sequence[Domain]) -> int:
    """Give the image size of proxies: that of the sources' detectors, at most `SIZE`.

    Parameters
    ----------
    sources : sequence of Domain

    Returns
    -------
    int
        Pixels of the longer side.
    """
    from aoi_tl.transfer.detector import load_checkpoint

    kept = [source.detector for source in sources if source.detector is not None]
    sizes = [int((getattr(load_checkpoint(file), "args", None) or {}).get("imgsz", SIZE))
             for file in kept]
    return min([*sizes, SIZE])


def plain_proxy(target: Domain, steps: int, size: int) -> Predictions:
    """Fine-tune the COCO checkpoint shortly; done once for each length and size.

    Parameters
    ----------
    target : Domain
        With `weights`.
    steps, size : int
        As for `fine_tune_shortly`.

    Returns
    -------
    Predictions
    """
    if (steps, size) not in target.plain_proxies:
        assert target.weights is not None
        target.plain_proxies[steps, size] = fine_tune_shortly(
            target, target.weights, False, steps, size
        )
    return target.plain_proxies[steps, size]


def train_shortly(source: Domain, size: int, folder: Path) -> Path:
    """Train a detector of a source for `SOURCE_STEPS` steps.

    Parameters
    ----------
    source : Domain
        With labelled samples, which it learns from, and the COCO checkpoint.
    size : int
        Pixels of the images' longer side.
    folder : Path
        Where it goes.

    Returns
    -------
    Path
        The checkpoint.
    """
    from aoi_tl.transfer.stage import Stage, train_stage

    assert source.weights is not None
    place = folder / folder_name(source.name)
    samples = tuple(replace(sample, split="train") for sample in source.samples)
    data = write_dataset(
        Dataset(source.name, Path("source", "data.yaml"), source.names, samples), place / "data"
    )
    return train_stage(Stage(
        source.weights, data, place / "stage", "all",
        arguments=arguments(len(samples), SOURCE_STEPS, size, RATE),
    )).best


def fine_tune_shortly(
    target: Domain, start: Path, gently: bool, steps: int, size: int
) -> Predictions:
    """Fine-tune a checkpoint on each half of the labelled images, and look at the other half.

    Parameters
    ----------
    target : Domain
        With at least two labelled images.
    start : Path
        A source's detector, or the COCO checkpoint.
    gently : bool
        Take every tensor over and train at `GENTLE` times the rate, as the arm ``chain``; else
        fine-tune as the arm ``stock``.
    steps : int
        Of the optimiser, for each half.
    size : int
        Pixels of the images' longer side.

    Returns
    -------
    Predictions
        Of all labelled images, each by the detector that had not learned from it.

    Raises
    ------
    UndefinedMeasure
        When fewer than two images are labelled.
    """
    from aoi_tl.transfer.stage import Stage, train_stage

    views: list[View] = []
    parts = halves(target)
    with tempfile.TemporaryDirectory(prefix="aoi-tl-proxy-") as folder:
        for fold, (train, held_out) in enumerate(parts):
            place = Path(folder, str(fold))
            data = write_dataset(_dataset(target, train), place / "data")
            trained = train_stage(Stage(
                start, data, place / "stage", "all" if gently else "stock",
                arguments=arguments(len(train), steps, size, RATE * (GENTLE if gently else 1.0)),
            ))
            views.append(view_images(trained.best, [target.labelled[i] for i in held_out], size))
    return predictions_of(target, join_views(views, [held_out for _, held_out in parts]))


def time_trial(target: Domain, size: int) -> tuple[float, float]:
    """Time a very short fine-tuning of the COCO checkpoint on one half of the labelled images.

    Parameters
    ----------
    target : Domain
        With `weights` and at least two labelled images.
    size : int
        Pixels of the images' longer side.

    Returns
    -------
    step, besides : float
        Seconds of one step of the optimiser, and of all else that a training takes.

    Raises
    ------
    UndefinedMeasure
        When fewer than two images are labelled.
    """
    import pandas as pd

    from aoi_tl.transfer.detector import load_checkpoint
    from aoi_tl.transfer.stage import Stage, train_stage

    (train, held_out), _ = halves(target)
    assert target.weights is not None
    load_checkpoint(target.weights)  # imports what a training needs
    with tempfile.TemporaryDirectory(prefix="aoi-tl-proxy-") as folder:
        began = time.monotonic()
        data = write_dataset(_dataset(target, train), Path(folder, "data"))
        trained = train_stage(Stage(
            target.weights, data, Path(folder, "stage"), "stock",
            arguments=arguments(len(train), _TIMED * _steps_an_epoch(len(train)), size, RATE),
        ))
        view_images(trained.best, [target.labelled[i] for i in held_out], size)
        took = time.monotonic() - began
        ends = pd.read_csv(Path(folder, "stage", "results.csv"))["time"].to_numpy()
    step = float(ends[-1] - ends[0]) / (_TIMED - 1) / _steps_an_epoch(len(train))
    return step, max(took - _TIMED * _steps_an_epoch(len(train)) * step, 0.0)


def halves(target: Domain) -> list[tuple[list[int], list[int]]]:
    """Give the two folds of the labelled images: positions to train on, positions held out.

    Parameters
    ----------
    target : Domain

    Returns
    -------
    list of (list of int, list of int)
        The classes are spread over both halves.

    Raises
    ------
    UndefinedMeasure
        When fewer than two images are labelled.
    """
    n = len(target.labelled)
    if n < 2:
        raise UndefinedMeasure(
            f"expected at least 2 labelled training images to fine-tune on one half, got {n}"
        )
    half = nested_subsets(_dataset(target, range(n)), [n // 2], 0)[n // 2]
    inside = {sample.image for sample in half.samples}
    one = [i for i, sample in enumerate(target.labelled) if sample.image in inside]
    other = [i for i, sample in enumerate(target.labelled) if sample.image not in inside]
    return [(one, other), (other, one)]


def arguments(n_images: int, steps: int, size: int, rate: float) -> dict[str, Any]:
    """Give the training arguments of so many steps of the optimiser on so few images.

    Parameters
    ----------
    n_images : int
    steps : int
    size : int
        Pixels of the images' longer side.
    rate : float
        The learning rate.

    Returns
    -------
    dict
        For Ultralytics. The number of epochs is such that at least `steps` steps are taken.
    """
    epochs = -(-steps // _steps_an_epoch(n_images))
    return {
        "epochs": epochs, "batch": BATCH, "nbs": BATCH, "imgsz": size, "optimizer": "AdamW",
        "lr0": rate, "cos_lr": True, "warmup_epochs": min(1, epochs / 10), "val": False,
        "workers": 0, "device": "cpu",
    }


def _steps_an_epoch(n_images: int) -> int:
    return -(-n_images // BATCH)


def gain_over(proxy: Predictions, plain: Predictions) -> Value:
    """Give by how much mAP50 is above that of plain fine-tuning, with its interval over images.

    Parameters
    ----------
    proxy, plain : Predictions
        Of the same images.

    Returns
    -------
    Value
        0 where both find as much; its 95 % interval is of a paired bootstrap over images.
    """
    ours, theirs, n = Scorer(proxy), Scorer(plain), len(proxy.images)
    times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=_SAMPLES)
    drawn = [ours.scores(row).map50 - theirs.scores(row).map50 for row in times]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Value(ours.scores().map50 - theirs.scores().map50, float(low), float(high))


def _dataset(target: Domain, places: Sequence[int]) -> Dataset:
    """Labelled images as a dataset to train on."""
    samples: list[Sample] = [replace(target.labelled[i], split="train") for i in places]
    return Dataset(target.name, Path("labelled", "data.yaml"), target.names, tuple(samples))


PROXY = Measure("proxy", "higher", "training", _proxy)
