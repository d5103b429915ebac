"""The task of a worker: training the stages of a chain with one seed, and evaluating the result."""

from __future__ import annotations

import io
import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.engine import granted_gpus
from aoi_tl.errors import EngineError
from aoi_tl.files.run_folder import RunFolder, file_hash
from aoi_tl.workflows.chain import Work
from aoi_tl.workflows.operating import set_thresholds
from aoi_tl.workflows.progress import note_reused, noted

if TYPE_CHECKING:
    from aoi_tl.transfer.stage import Stage
    from aoi_tl.transfer.trackers import Tracked


#: Epochs that a joint training is cut into: each sees other augmentations, and the rate falls.
JOINT_EPOCHS = 10


def train_and_evaluate(work: Work) -> dict[str, Any]:
    """Train the stages of one chain with one seed and test the last: the task of a worker.

    Finished stages of an earlier attempt are reused, and an interrupted stage resumes from its last
    epoch. If another attempt still holds the lock, this one waits for it.

    Parameters
    ----------
    work : Work

    Returns
    -------
    dict
        As `read_result` gives it.

    Raises
    ------
    EngineError
        When this machine does not see the run's files.
    """
    from aoi_tl.transfer.arguments import training_threads

    check_worker_files(work)
    run = RunFolder(work.run)
    device = granted_gpus() or work.experiment.device
    work = replace(work, experiment=work.experiment.model_copy(update={"device": device}))
    training_threads(work.threads)
    with run.lock(f"stages/.{work.tuned}.lock"):
        tested, notes = train(run, work)
        if run.read_json(f"stages/{work.name}-target/test.json") is None:
            evaluate(run, work, tested, "; ".join(notes))
        if read_result(work) is None:
            set_thresholds(run, work, tested, lambda fold: train(run, fold)[0])
    result = read_result(work)
    assert result is not None
    return result


def train(run: RunFolder, work: Work) -> tuple[Path, list[str]]:
    """Train the stages of a work, or take them as they are.

    Parameters
    ----------
    run : RunFolder
        Gets the stages' folders.
    work : Work

    Returns
    -------
    tuple of Path and list of str
        The checkpoint to test, and notes on changes of the protocol.
    """
    from aoi_tl.transfer.stage import train_stage

    best = start = starting_checkpoint(run, work)
    notes = list(work.notes)
    for stage in stages_of(work):
        if work.chain.mixed and not stage.data.is_file():
            mix_data(work, stage.data)
        assert stage.tracked is not None
        title = stage.tracked.name
        if (stage.folder / "done").is_file():
            note_reused(run.path, f"{title}, trained before")
        with noted(run.path, title, stage.folder, stage.arguments["epochs"]):
            trained = train_stage(replace(stage, start=best), resume=True)
        best = trained.best
        notes += [f"{stage.folder.name}: {note}" for note in trained.notes]
    return final_checkpoint(run, work, start, best), notes


def starting_checkpoint(run: RunFolder, work: Work) -> Path:
    """Give the checkpoint that a work starts from: COCO's, or its source's detector.

    Parameters
    ----------
    run : RunFolder
        Gets a line in ``detectors.json``: which detector, and whether it was there before.
    work : Work

    Returns
    -------
    Path
    """
    if work.chain.detector is None:
        return work.checkpoint
    from aoi_tl.transfer.detectors import keep_detector

    detector = replace(
        work.chain.detector,
        arguments={**work.chain.detector.arguments, "device": work.experiment.device},
    )
    tracked = _tracked(work, "source")
    training, epochs = detector.folder / "training", detector.arguments.get("epochs", 0)
    with noted(run.path, tracked.name, training, epochs):
        kept = keep_detector(detector, tracked)
    if kept.reused:
        note_reused(run.path, f"{tracked.name}, the kept detector of {detector.name}")
    with run.lock(".detectors.lock"):
        known = run.read_json("detectors.json") or {}
        if known.get(detector.name, {}).get("checkpoint") != str(kept.checkpoint):
            run.write_json("detectors.json", {**known, detector.name: {
                "checkpoint": str(kept.checkpoint), "seconds": kept.seconds, "reused": kept.reused,
            }})
    return kept.checkpoint


def mix_data(work: Work, file: Path) -> None:
    """Write the data of a joint training: the target's images among a sample of the sources'.

    An epoch holds as many images as makes the whole training as long as plain fine-tuning on the
    target, and the target makes up its share of it. The sources' images are drawn by the seed.

    Parameters
    ----------
    work : Work
        Its chain has a detector and the target's data.
    file : Path
        The new ``data.yaml``.
    """
    from aoi_tl.data.yolo.read import load_dataset
    from aoi_tl.transfer.mixing import Member, target_times, write_mix

    assert work.chain.detector is not None
    assert work.chain.target_data is not None
    target = load_dataset(work.chain.target_data).split("train")
    sources = [(load_dataset(path).split("train"), times)
               for path, times in work.chain.detector.data]
    passes = len(target.samples) * work.experiment.train.arguments("target")["epochs"]
    share = work.experiment.transfer.share
    wanted = max(1, round((1 - share) * passes / JOINT_EPOCHS))
    pool = [(number, place) for number, (source, times) in enumerate(sources)
            for place in range(len(source.samples)) for _ in range(times)]
    drawn = np.random.default_rng((work.seed, 13)).permutation(len(pool))[:wanted]
    kept = {pool[i] for i in drawn}
    members = [
        Member(replace(source, samples=tuple(
            sample for place, sample in enumerate(source.samples) if (number, place) in kept
        )))
        for number, (source, _) in enumerate(sources)
    ]
    times = target_times(len(target.samples), len(kept), share)
    write_mix([Member(target, times), *members], file.parent)


def final_checkpoint(run: RunFolder, work: Work, start: Path, best: Path) -> Path:
    """Give the checkpoint that is tested.

    Parameters
    ----------
    run : RunFolder
        Where a new checkpoint goes.
    work : Work
    start, best : Path
        What its last stage began with, and what it came to; equal where there is none.

    Returns
    -------
    Path
        `best`, the average of both, or either in the target's label space.
    """
    from aoi_tl.transfer.averaging import average_checkpoints
    from aoi_tl.transfer.data_yaml import data_names
    from aoi_tl.transfer.label_space import relabel_detector, rows_not_learned
    from aoi_tl.transfer.stage import build_start

    chain, folder = work.chain, run.path / f"stages/{work.name}-target/weights"
    if chain.detector is None:
        return best
    names = data_names(work.test_data)
    if chain.averaged:
        _, ledger = build_start(start, names, "all", work.seed)
        tuned_stage = run.path / f"stages/{work.tuned}-target"
        return average_checkpoints(
            tuned_stage / "initial.pt", best, folder / "best.pt",
            work.experiment.transfer.soup, rows_not_learned(ledger),
        )
    if chain.mixed or chain.target_data is None:
        return relabel_detector(best, names, folder / "expressed.pt")
    return best


def read_result(work: Work) -> dict[str, Any] | None:
    """Read the results of a work.

    Parameters
    ----------
    work : Work

    Returns
    -------
    dict or None
        ``scores``, ``classes`` and ``notes`` as in the target stage's ``test.json``, and
        ``timings`` of the stages; ``operating`` as in ``operating.json`` where thresholds are
        wanted. None where it has not been evaluated.
    """
    run, folder = RunFolder(work.run), f"stages/{work.name}-target"
    found = run.read_json(f"{folder}/test.json")
    if found is None or "notes" not in found:
        return None
    if work.chain.labelled is not None:
        operating = run.read_json(f"{folder}/operating.json")
        if operating is None:
            return None
        found = {**found, "operating": operating}
    timings = [
        {"stage": stage.folder.name, "seconds": done["seconds"], "epochs": done["epochs"]}
        for stage in stages_of(work) if (done := run.read_json(f"stages/{stage.folder.name}/done"))
    ]
    return {**found, "timings": timings}


def check_worker_files(work: Work) -> None:
    """Check that this machine can access all files of the work, images included.

    Raises
    ------
    EngineError
        Naming the machine and the first file that it does not see.
    """
    claim = work.run / "fingerprint.json"
    files: list[Path] = [work.checkpoint]
    given = [data for data in (work.chain.source_data, work.chain.target_data) if data is not None]
    if work.chain.detector is not None:
        given += [file for file, _ in work.chain.detector.data]
    for data in {work.test_data, *given}:
        files += sorted((data.parent / "images").rglob("*"))  # links to images elsewhere
    is_ours = claim.is_file() and file_hash(claim) == work.claim
    unseen = next((file for file in files if not file.exists()), None) if is_ours else work.run
    if unseen is not None:
        raise EngineError(
            f"expected the machine {platform.node()} to see {unseen}, as the machine that began "
            "the run does, got none or another one there; put data, weights and --out on a file "
            "system that all machines of the cluster share"
        )


def stages_of(work: Work) -> Iterator[Stage]:
    """Give the stages of one chain and seed, source (where it has one) before target.

    Where a stage begins is filled in when the one before it has ended.
    """
    from aoi_tl.transfer.stage import Stage

    experiment, chain = work.experiment, work.chain
    for which, data in (("source", chain.source_data), ("target", chain.target_data)):
        if data is None:
            continue
        arguments = experiment.train.arguments("source" if which == "source" else "target")
        if which == "target" and chain.longer != 1:
            arguments["epochs"] = math.ceil(arguments["epochs"] * chain.longer)
        if chain.detector is not None:
            arguments |= gentle_arguments(arguments, experiment.transfer.rate, data)
        if chain.mixed:
            data = work.run / "data" / f"{work.tuned}-mix" / "data.yaml"
            # The mosaic is closed for the same share of the training as in plain fine-tuning.
            closed = arguments.get("close_mosaic", 10) / arguments["epochs"]
            arguments |= {"epochs": JOINT_EPOCHS, "close_mosaic": round(JOINT_EPOCHS * closed)}
        yield Stage(
            start=Path(),
            data=data,
            folder=work.run / "stages" / f"{work.tuned}-{which}",
            modules=chain.modules,
            # The source is learned whole; only the target's training may be held back.
            freeze=experiment.transfer.freeze if which == "target" and not chain.detector else 0,
            seed=work.seed,
            arguments={**arguments, "device": experiment.device},
            tracked=_tracked(work, which),
        )


def _tracked(work: Work, stage: str) -> Tracked:
    from aoi_tl.transfer.trackers import Tracked

    return Tracked(work.stage_title(stage), work.run / "tensorboard")


def gentle_arguments(arguments: Mapping[str, Any], rate: float, data: Path) -> dict[str, Any]:
    """Give the optimiser and reduced learning rate of a stage that preserves its weights.

    Parameters
    ----------
    arguments : mapping
        The stage's training arguments.
    rate : float
        The share of the plain learning rate.
    data : Path
        The stage's ``data.yaml``.

    Returns
    -------
    dict
        ``lr0``, and ``optimizer`` where Ultralytics would choose both itself: then AdamW at a share
        of the rate that it would choose, which depends on the number of classes.
    """
    from aoi_tl.transfer.data_yaml import data_names

    if str(arguments.get("optimizer", "auto")).lower() != "auto":
        return {"lr0": rate * float(arguments.get("lr0", 0.01))}
    automatic = round(0.002 * 5 / (4 + len(data_names(data))), 6)
    return {"optimizer": "AdamW", "lr0": rate * automatic}


def evaluate(run: RunFolder, work: Work, best: Path, notes: str) -> None:
    """Test one trained detector on the target's test split; kept beside the stage.

    Parameters
    ----------
    run : RunFolder
        Gets ``test.json``, ``curves.npz`` and ``predictions.npz`` in the target stage's folder.
    work : Work
        Its image size, batch and device.
    best : Path
        The trained checkpoint.
    notes : str
        Notes on changes of the protocol.
    """
    from aoi_tl.evaluation.detection import detection_scores
    from aoi_tl.transfer.validation import validate_detector

    folder, arguments = f"stages/{work.name}-target", work.experiment.train.arguments("target")
    curves = validate_detector(
        best, work.test_data, run.path / folder / "test", "test",
        {"imgsz": arguments["imgsz"], "batch": arguments["batch"],
         "device": work.experiment.device},
    )
    names = [curves.names[index] for index in curves.class_index]
    scores = detection_scores(
        curves.confidence, curves.precision, curves.recall, curves.average_precision, names,
        curves.instances.tolist(), curves.images.tolist(),
    )
    packed = io.BytesIO()
    np.savez_compressed(
        packed, confidence=curves.confidence, f1_mean=curves.f1.mean(axis=0),
        recall_grid=curves.pr_recall, precision_mean=curves.pr_precision.mean(axis=0),
    )
    run.write(f"{folder}/curves.npz", packed.getvalue())
    run.write(f"{folder}/predictions.npz", curves.predictions.to_bytes())
    run.write_json(f"{folder}/test.json", {
        "scores": {name: getattr(scores, name) for name in
                   ("f1", "f1_conf", "map50", "map50_95", "precision", "recall")},
        "classes": [
            {"class": row.name, "images": row.images, "instances": row.instances,
             "ap50": row.map50, "ap50_95": row.map50_95, "f1": row.f1}
            for row in scores.per_class
        ],
        "notes": notes,
    })
