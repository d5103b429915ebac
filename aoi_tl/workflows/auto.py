"""The arm ``auto``: choosing how to train on the target's labelled images, never on its test split.

With enough labelled images, the candidates are compared by cross-validation. With few, ``auto``
takes the arm that was best on other targets, unless the source detector finds none of the target's
defects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aoi_tl.adaptation.folds import folds
from aoi_tl.data.dataset import Dataset
from aoi_tl.data.synonyms import spelt_apart
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.data.yolo.write import write_dataset
from aoi_tl.files.run_folder import RunFolder
from aoi_tl.workflows.chain import Chain, Work
from aoi_tl.workflows.parts import parts_of
from aoi_tl.workflows.training import train_and_evaluate

#: Labelled images with boxes, copies of a part counted once, from which on the candidates are
#: cross-validated, in two folds.
ENOUGH = 20
#: The mAP50 that the source detector must reach on a few labelled images to be used.
FINDS_SOMETHING = 0.05
#: Weights of the fine-tuned tensors that are tried in cross-validation; ``union`` is 0, the plain
#: chain 1.
SOUPS = (0.25, 0.5, 0.75)
#: The learning rate that is tried beside the gentle one of ``transfer.rate``: the plain one, which
#: was better on the development half where many images are labelled.
PLAIN_RATE = 1.0
#: The arm that was best on other targets (``benchmarks/results/evidence.md``).
DEFAULT = "union-soup"


@dataclass(frozen=True)
class Choice:
    """The choice of ``auto``.

    Attributes
    ----------
    arm : str
        The arm that it trains.
    soup : float
        The weight of the fine-tuned tensors, where the arm averages.
    rate : float
        The learning rate on the target, as a share of the plain one.
    why : str
        The reason in one sentence.
    scores : dict of str to float
        mAP50 of each candidate on held-out labelled images.
    """

    arm: str
    soup: float
    rate: float
    why: str
    scores: dict[str, float]


def choose_and_train(work: Work) -> dict[str, Any]:
    """Choose an arm, train and evaluate it: the task of a worker.

    Parameters
    ----------
    work : Work
        Its chain has candidates.

    Returns
    -------
    dict
        As `aoi_tl.workflows.training.read_result` gives it.
    """
    run = RunFolder(work.run)
    if chosen(work) is None:
        choice = choose(work)
        run.write_json(f"stages/{work.name}-target/choice.json", choice.__dict__)
    found = chosen(work)
    assert found is not None
    return train_and_evaluate(found)


def chosen(work: Work) -> Work | None:
    """Give the work that ``auto`` chose.

    Parameters
    ----------
    work : Work

    Returns
    -------
    Work or None
        `work` itself if there is nothing to choose; None if the choice is not made yet.
    """
    if not work.chain.candidates:
        return work
    kept = RunFolder(work.run).read_json(f"stages/{work.name}-target/choice.json")
    if kept is None:
        return None
    [candidate] = [c for c in work.chain.candidates if c.arm == kept["arm"]]
    settings = work.experiment.transfer
    rate = kept.get("rate", settings.rate)
    # At another rate it is no training that an arm of its own shares.
    apart = f"-rate{rate:g}" if rate != settings.rate else ""
    return replace(
        _with_settings(work, kept["soup"], rate),
        chain=replace(
            candidate, arm=work.chain.arm, images=work.chain.images,
            trained_as=(candidate.trained_as or candidate.arm) + apart,
        ),
        notes=(f"auto: {kept['why']}",),
    )


def choose(work: Work) -> Choice:
    """Choose an arm on the labelled images of the target's train split.

    Parameters
    ----------
    work : Work
        Its chain has candidates and the target's labelled images.

    Returns
    -------
    Choice
    """
    assert work.chain.target_data is not None
    assert work.chain.detector is not None
    labelled = load_dataset(work.chain.target_data).split("train")
    soup, rate = work.experiment.transfer.soup, work.experiment.transfer.rate
    learned = {name for file, _ in work.chain.detector.data
               for name in load_dataset(file).split("train").label_space}
    if not learned & set(labelled.label_space):
        why = ("no source shares a class with the target, so the COCO checkpoint is fine-tuned",
               spelt_apart(labelled.label_space, learned))
        return Choice("stock", soup, rate, "; ".join(filter(None, why)), {})
    parts = parts_of(labelled)
    shown = len({parts[sample.image] for sample in labelled.samples if len(sample.classes)})
    if shown >= ENOUGH:
        return cross_validate(work, labelled, parts)
    to_find = tuple(replace(sample, split="test") for sample in labelled.samples)
    data = _written(work, "labelled", replace(labelled, samples=labelled.samples + to_find))
    found = _tried(work, Candidate("union", 0.0, rate), data, 1.0)
    if found < FINDS_SOMETHING:
        return Choice(
            "stock", soup, rate, "the sources' detector does not find the defects of "
            f"{shown} labelled images (mAP50 {found:.3f}), so the COCO checkpoint is fine-tuned",
            {"union": found},
        )
    return Choice(
        DEFAULT, soup, rate, f"{DEFAULT}, the best on other targets: {shown} labelled images are "
        f"too few to compare (the sources' detector finds mAP50 {found:.3f} on them)",
        {"union": found},
    )


def cross_validate(work: Work, labelled: Dataset, parts: Mapping[Path, str]) -> Choice:
    """Compare the candidates on two folds of the labelled images.

    Each fold's trainings take as many steps as one on all labelled images.

    Parameters
    ----------
    work : Work
        Its chain has candidates.
    labelled : Dataset
        The labelled images.
    parts : mapping of Path to str
        The part that each of them shows; images of one part are held out together.

    Returns
    -------
    Choice
        The candidate of the highest mean mAP50; the default among equals.
    """
    n = len(labelled.samples)
    tried: dict[Candidate, list[float]] = {}
    for number, fold in enumerate(folds(labelled, 2, work.seed, parts)):
        data = _written(work, f"fold{number}", fold)
        longer = n / len(fold.split("train").samples)
        for trial in candidates_of(work):
            tried.setdefault(trial, []).append(_tried(work, trial, data, longer))
    means = {trial: float(np.mean(found)) for trial, found in tried.items()}
    settings = work.experiment.transfer
    default = Candidate(DEFAULT, settings.soup, settings.rate)
    best = max(means, key=lambda trial: (means[trial], trial == default))
    return Choice(
        best.arm, best.soup, best.rate,
        f"{best}, the best of {len(means)} in cross-validation on {n} labelled images "
        f"(mAP50 {means[best]:.3f}; stock {means[Candidate('stock', 1.0, settings.rate)]:.3f})",
        {str(trial): round(mean, 5) for trial, mean in means.items()},
    )


@dataclass(frozen=True)
class Candidate:
    """A candidate of the cross-validation: an arm with its settings.

    Attributes
    ----------
    arm : str
    soup : float
        The weight of the fine-tuned tensors; 1 where the arm does not average.
    rate : float
        The learning rate on the target, as a share of the plain one; it means nothing to ``stock``
        and ``union``.
    """

    arm: str
    soup: float
    rate: float

    def __str__(self) -> str:
        """Name the arm and its settings."""
        averaged = f" with weight {self.soup:g}" if 0 < self.soup < 1 else ""
        gentle = self.arm in ("stock", "union") or self.rate != PLAIN_RATE
        plain = "" if gentle else " at the plain rate"
        return f"{self.arm}{averaged}{plain}"


def candidates_of(work: Work) -> list[Candidate]:
    """List the candidates; those with a reduced learning rate also at the plain rate.

    Parameters
    ----------
    work : Work
        Its chain has candidates.

    Returns
    -------
    list of Candidate
    """
    gentle = work.experiment.transfer.rate
    found = []
    for candidate in work.chain.candidates:
        rates = [gentle]
        if candidate.detector is not None and candidate.target_data is not None:
            rates = list(dict.fromkeys((gentle, PLAIN_RATE)))
        soups = SOUPS if candidate.averaged else (0.0 if candidate.arm == "union" else 1.0,)
        found += [Candidate(candidate.arm, soup, rate) for rate in rates for soup in soups]
    return found


def _written(work: Work, name: str, dataset: Dataset) -> Path:
    """Write labelled images as a dataset of which some are tested on."""
    folder = work.run / "data" / f"{work.name}-{name}"
    if (folder / "data.yaml").is_file():
        return folder / "data.yaml"
    return write_dataset(dataset, folder)


def _tried(work: Work, trial: Candidate, data: Path, longer: float) -> float:
    """Give the mAP50 that a candidate reaches on held-out labelled images."""
    [candidate] = [c for c in work.chain.candidates if c.arm == trial.arm]
    place = data.parent.name
    apart = f"-rate{trial.rate:g}" if trial.rate != work.experiment.transfer.rate else ""
    name = f"{place}-{trial.arm}" + (f"-{trial.soup:g}" if candidate.averaged else "") + apart
    chain: Chain = replace(
        candidate, arm=name, trained_as=f"{place}-{candidate.trained_as or candidate.arm}{apart}",
        target_data=data if candidate.target_data else None, longer=longer, labelled=None, folds=(),
    )
    tried = replace(_with_settings(work, trial.soup, trial.rate), chain=chain, test_data=data)
    return float(train_and_evaluate(tried)["scores"]["map50"])


def _with_settings(work: Work, soup: float, rate: float) -> Work:
    """Give the work with another weight in its average, and another rate on the target."""
    transfer = work.experiment.transfer
    changes = {"rate": rate, "soup": soup if 0 < soup < 1 else transfer.soup}
    return replace(work, experiment=work.experiment.model_copy(
        update={"transfer": transfer.model_copy(update=changes)}
    ))
