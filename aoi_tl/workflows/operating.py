"""Thresholds of each arm: chosen on labelled images, then applied unchanged to the test images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import DataError
from aoi_tl.evaluation.operating import OperatingPoint, Rates, choose_thresholds, measure_rates
from aoi_tl.experiment.detection import Operate
from aoi_tl.files.run_folder import RunFolder
from aoi_tl.workflows.adapted_data import AdaptedData, Prepared
from aoi_tl.workflows.chain import Chain, Work
from aoi_tl.workflows.parts import parts_of

if TYPE_CHECKING:
    from aoi_tl.evaluation.predictions import Predictions

#: Validation images with a defect below which training images are cross-validated besides.
SMALL = 30
#: The trainings that this takes.
FOLDS = 5


def with_thresholds(
    chains: Sequence[Chain], data: AdaptedData, labelled: Prepared
) -> list[Chain]:
    """Set the labelled images on which each chain's thresholds are chosen.

    Parameters
    ----------
    chains : sequence of Chain
        That learn from `labelled`, as it is or balanced, or from none of the target's images.
    data : AdaptedData
        Makes the data of the cross-validation.
    labelled : Prepared
        The target's labelled images.

    Returns
    -------
    list of Chain
    """
    shown = sum(len(s.classes) > 0 for s in validation_images(labelled.dataset).samples)
    folds: tuple[Prepared, ...] = ()
    if shown < SMALL:
        parts = parts_of(labelled.dataset)
        train = labelled.dataset.split("train").samples
        number = min(FOLDS, len({parts[s.image] for s in train if len(s.classes)}))
        folds = data.folds(labelled, number, parts) if number > 1 else ()

    def planned(chain: Chain) -> Chain:
        if chain.target_data is None:
            held_out: tuple[Prepared, ...] = ()
        elif chain.target_data == labelled.dataset.path:
            held_out = folds
        else:
            held_out = tuple(data.balanced(fold) for fold in folds)
        return replace(
            chain, labelled=labelled.dataset.path,
            folds=tuple(Path(fold.dataset.path) for fold in held_out),
            candidates=tuple(planned(candidate) for candidate in chain.candidates),
        )

    return [planned(chain) for chain in chains]


def validation_images(dataset: Dataset) -> Dataset:
    """Give the validation split, empty where it is the training images again."""
    from aoi_tl.transfer.data_yaml import has_own_val

    if has_own_val(dataset.path):
        return dataset.split("val")
    return replace(dataset, samples=())


def set_thresholds(
    run: RunFolder, work: Work, tested: Path, train: Callable[[Work], Path]
) -> None:
    """Choose a detector's thresholds, keep them with it, and measure them on the test images.

    Parameters
    ----------
    run : RunFolder
        Gets ``operating.json`` in the target stage's folder, and ``thresholds.json`` beside the
        checkpoint there.
    work : Work
    tested : Path
        The detector.
    train : callable
        Trains another work, and gives the checkpoint to test.

    Raises
    ------
    DataError
        If there are no images to choose on: none with a defect, or none without where the aim needs
        them.
    """
    from aoi_tl.transfer.inspector import Inspector, predict_samples
    from aoi_tl.transfer.thresholds import Thresholds, keep_thresholds

    assert work.chain.labelled is not None
    assert work.experiment.operate is not None
    folder = run.path / "stages" / f"{work.name}-target"
    size = work.experiment.train.arguments("target")["imgsz"]
    inspector = Inspector(tested, size, work.experiment.device)
    seen = held_out_predictions(run, work, tested, train)
    try:
        point = choose_thresholds(seen, **aim_of(work.experiment.operate))
    except ValueError as error:
        raise DataError(
            f"{work.chain.labelled}: {error} (validation images, and cross-validated training "
            "images where these are few); label more images, or leave 'operate' out"
        ) from error
    test = load_dataset(work.test_data).split("test")
    out = tested if tested.parent == folder / "weights" else folder / "weights" / "best.pt"
    aim = json.loads(work.experiment.operate.model_dump_json(exclude_none=True))
    keep_thresholds(tested, Thresholds(
        dict(zip(inspector.names, point.thresholds, strict=True)), size, out.name, aim,
        {"data": str(work.chain.labelled.relative_to(run.path)), "images": len(seen.images),
         **_described(point)},
        None if test.depth == 16 else test.depth,
    ), out)
    rates = measure_rates(predict_samples(inspector, test.samples), point.thresholds)
    run.write_json(f"stages/{work.name}-target/operating.json", [
        {"aim": json.dumps(aim), **_row(one), **_prefixed("chosen_", _described(point))}
        for one in rates
    ])
    for fold in range(len(work.chain.folds)):  # what they were trained for is known now
        name = _without(work, fold).tuned
        for left in (*run.path.glob(f"stages/{name}-*"), run.path / "data" / f"{name}-mix"):
            shutil.rmtree(left, ignore_errors=True)


def held_out_predictions(
    run: RunFolder, work: Work, tested: Path, train: Callable[[Work], Path]
) -> Predictions:
    """Predict labelled images that the detector was not trained on.

    These are the validation images, with the training images of an arm that never saw them, or with
    each part of the training images by a detector that was trained without it.
    """
    from aoi_tl.evaluation.predictions import join_predictions
    from aoi_tl.transfer.inspector import Inspector, predict_samples

    assert work.chain.labelled is not None
    size, device = work.experiment.train.arguments("target")["imgsz"], work.experiment.device
    labelled = load_dataset(work.chain.labelled)
    unseen = list(validation_images(labelled).samples)
    if work.chain.target_data is None:
        unseen += labelled.split("train").samples
    parts = [predict_samples(Inspector(tested, size, device), unseen)]
    for number, data in enumerate(work.chain.folds):
        best = train(_without(work, number))
        held_out = load_dataset(data).split("test").samples
        parts.append(predict_samples(Inspector(best, size, device), held_out))
    return join_predictions(parts)


def _without(work: Work, number: int) -> Work:
    """The same work without a part of the target's images; what it did on a source is kept."""
    chain, fold = work.chain, f"-fold{number}"
    source = work.run / "stages" / f"{work.tuned}-source" / "weights" / "best.pt"
    return replace(work, checkpoint=source if chain.source_data else work.checkpoint, chain=replace(
        chain, arm=f"{chain.arm}{fold}", trained_as=f"{chain.trained_as or chain.arm}{fold}",
        source_data=None, target_data=chain.folds[number], labelled=None, folds=(),
    ))


def aim_of(operate: Operate) -> dict[str, Any]:
    """Give the arguments of `choose_thresholds`."""
    cost = operate.cost
    return {
        "escape": operate.escape, "overkill": operate.overkill,
        "cost": (cost.escape, cost.overkill) if cost else None,
    }


def _described(point: OperatingPoint) -> dict[str, Any]:
    found = {name: value for name, value in asdict(point).items() if name != "thresholds"}
    return {
        **found, "escape": point.escape, "escape_at_most": point.escape_at_most,
        "overkill": point.overkill,
    }


def _row(rates: Rates) -> dict[str, Any]:
    row: dict[str, Any] = {
        "scope": "image" if rates.name is None else "class", "class": rates.name or "",
        "threshold": rates.threshold, "defective": rates.defective, "good": rates.good,
    }
    for name, interval in (("escape", rates.escape), ("overkill", rates.overkill)):
        row[name] = interval.value if interval else None
        row[f"{name}_low"] = interval.low if interval else None
        row[f"{name}_high"] = interval.high if interval else None
    return row


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}
