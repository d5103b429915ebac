"""The arms: each a chain of trainings, with every seed, weighed once on the target's test split.

An arm with one seed is a task of its own, done wherever the engine finds room. It writes into its
own stage folders alone; the tables are put together here, in one order whatever ended first.
"""

from __future__ import annotations

import io
import math
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.data.dataset import Dataset
from aoi_tl.engine import Engine, Task, granted_gpus
from aoi_tl.errors import EngineError
from aoi_tl.experiment.detection import Experiment
from aoi_tl.files.run_folder import RunFolder, file_hash
from aoi_tl.workflows.progress import Tell

if TYPE_CHECKING:
    import pandas

    from aoi_tl.transfer.chain import Stage
    from aoi_tl.transfer.detectors import SourceDetector


#: Epochs that a joint training is cut into: each sees other augmentations, and the rate falls.
JOINT_EPOCHS = 10


@dataclass(frozen=True)
class Chain:
    """One arm from one source: what it begins with, which data it sees, how it ends.

    Attributes
    ----------
    arm : str
        Its name in the tables.
    modules : str
        Which tensors each stage hands on, see `aoi_tl.transfer.chain.STARTS`.
    source : str or None
        The source's name, or ``union``.
    source_data, target_data : Path or None
        The ``data.yaml`` of its stages; without one there is no such stage.
    images : int or None
        How many of the target's training images it may see; None for all.
    detector : SourceDetector or None
        The source's detector that it begins with, in place of a stage on the source.
    mixed : bool
        Whether the target's images are mixed with the sources' in its training.
    averaged : bool
        Whether it ends with the average of the source's and the fine-tuned weights.
    longer : float
        How many times the target's epochs it trains for.
    """

    arm: str
    modules: str
    source: str | None = None
    source_data: Path | None = None
    target_data: Path | None = None
    images: int | None = None
    detector: SourceDetector | None = None
    mixed: bool = False
    averaged: bool = False
    longer: float = 1.0


@dataclass(frozen=True)
class Work:
    """One chain with one seed: all that a worker on any machine needs to train and weigh it.

    Attributes
    ----------
    run : Path
        The run folder.
    claim : str
        SHA-256 of its ``fingerprint.json``: what tells it from another folder of that name.
    experiment : Experiment
        Training arguments and device.
    chain : Chain
    seed : int
    checkpoint : Path
        Where the chain begins.
    test_data : Path
        The target's ``data.yaml`` in the run folder.
    threads : int
        Threads of a training on CPU.
    """

    run: Path
    claim: str
    experiment: Experiment
    chain: Chain
    seed: int
    checkpoint: Path
    test_data: Path
    threads: int

    @property
    def name(self) -> str:
        """How its stages' folders begin."""
        return _stage_name(self.chain.arm, self.chain.images, self.seed)

    @property
    def tuned(self) -> str:
        """How the folder begins that holds its training: an average shares the plain chain's."""
        arm = self.chain.arm.replace("-soup", "-chain").replace("chain-chain", "chain")
        return _stage_name(arm if self.chain.averaged else self.chain.arm, self.chain.images,
                           self.seed)


def _stage_name(arm: str, images: int | None, seed: int) -> str:
    return f"{arm}-s{seed}" if images is None else f"{arm}-n{images}-s{seed}"


@dataclass
class Arms:
    """The arms of one run, and what is known of them so far.

    Attributes
    ----------
    run : RunFolder
        Gets ``arms.csv``, ``per_class.csv`` and ``timings.csv``.
    works : tuple of Work
        In the order of the tables' rows.
    results : dict
        What `finished` gives, by the name of the work.
    """

    run: RunFolder
    works: tuple[Work, ...]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def counts_images(self) -> bool:
        """Whether the arms differ in how many of the target's images they see."""
        return any(work.chain.images is not None for work in self.works)

    @property
    def is_done(self) -> bool:
        """Whether every arm is weighed with every seed."""
        return len(self.results) == len(self.works)

    def tasks(self) -> list[Task]:
        """Give a task for each work that is not done."""
        return [
            Task(f"{work.run}/stages/{work.name}", train_and_weigh, (work,), *asks(work))
            for work in self.works if work.name not in self.results
        ]

    def keep(self, work: Work, result: dict[str, Any]) -> None:
        """Write the tables again with one more result."""
        self.results[work.name] = result
        self.write()

    def write(self) -> pandas.DataFrame:
        """Write the tables of what is known; give the rows of ``arms.csv``."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        per_class: list[dict[str, Any]] = []
        timings: dict[str, dict[str, Any]] = {}
        for work in self.works:
            if (found := self.results.get(work.name)) is None:
                continue
            key: dict[str, Any] = {"arm": work.chain.arm, "seed": work.seed}
            if self.counts_images:
                key["images"] = work.chain.images or "all"
            rows.append({**key, **found["scores"], "source": work.chain.source or "",
                         "notes": found["notes"]})
            per_class += [{**key, **classes} for classes in found["classes"]]
            timings |= {row["stage"]: row for row in found["timings"]}  # stages may be shared
        for name, lines in (
            ("arms", rows), ("per_class", per_class), ("timings", list(timings.values())),
        ):
            self.run.write_table(f"{name}.csv", pd.DataFrame(lines))
        return pd.DataFrame(rows)


def plan_arms(
    run: RunFolder,
    experiment: Experiment,
    target: Dataset,
    chains: Mapping[int, Sequence[Chain]],
    weights: Path,
) -> Arms:
    """Lay out every arm with every seed, with the results that an earlier attempt left.

    Parameters
    ----------
    run : RunFolder
        Stages lie under ``stages/``.
    experiment : Experiment
        Its training arguments, seeds and device.
    target : Dataset
        Whose test split every arm is weighed on.
    chains : mapping of int to sequence of Chain
        For each seed what each arm learns from.
    weights : Path
        Where every chain but ``scratch`` begins.

    Returns
    -------
    Arms
    """
    from aoi_tl.transfer.arguments import training_threads

    if not weights.is_file():
        weights = _random_checkpoint(run, experiment, weights, target.names)
    claim, threads = file_hash(run.path / "fingerprint.json"), training_threads()
    test_data = run.path / "data" / target.name / "data.yaml"
    works = tuple(
        Work(run.path, claim, experiment, chain, seed, weights.absolute(), test_data, threads)
        for seed in experiment.seeds for chain in chains[seed]
    )
    left = {work.name: finished(work) for work in works}
    return Arms(run, works, {name: result for name, result in left.items() if result})


def train_arms(runs: Sequence[Arms], engine: Engine, tell: Tell) -> Iterator[Arms]:
    """Train and weigh what is left of the arms of some runs.

    Parameters
    ----------
    runs : sequence of Arms
        What is left of them makes one list of tasks.
    engine : Engine
        Where they are done.
    tell : callable
        Told how many are done.

    Yields
    ------
    Arms
        Those of one run, as soon as the last of them is weighed.

    Raises
    ------
    EngineError
        When a worker does not see the run's files, or none can be had.
    """
    owners = {task.name: arms for arms in runs for task in arms.tasks()}
    total = sum(len(arms.works) for arms in runs)
    done = total - len(owners)
    yield from (arms for arms in runs if arms.is_done)
    tell("training", done, total)
    for task, result in engine.run(task for arms in runs for task in arms.tasks()):
        arms = owners[task.name]
        arms.keep(task.arguments[0], result)
        done += 1
        tell("training", done, total)
        if arms.is_done:
            yield arms


def asks(work: Work) -> tuple[int, int]:
    """Give the CPUs and GPUs that a work keeps busy.

    Returns
    -------
    tuple of int
        On CPU as many cores as the training has threads; else a GPU for each that ``device``
        names, and a core to feed each.
    """
    device = work.experiment.device
    gpus = len(re.findall(r"\d+", device)) or int(device.startswith("cuda"))
    return gpus or work.threads, gpus


def train_and_weigh(work: Work) -> dict[str, Any]:
    """Train the stages of one chain with one seed and test the last: the task of a worker.

    What an earlier attempt finished is taken as it is, and a broken stage goes on from its last
    epoch. An attempt that is still at work, its machine cut off from us, is waited for.

    Parameters
    ----------
    work : Work

    Returns
    -------
    dict
        As `finished` gives it.

    Raises
    ------
    EngineError
        When this machine does not see the run's files.
    """
    from aoi_tl.transfer.arguments import training_threads
    from aoi_tl.transfer.chain import train_stage

    check_sight(work)
    run = RunFolder(work.run)
    device = granted_gpus() or work.experiment.device
    work = replace(work, experiment=work.experiment.model_copy(update={"device": device}))
    training_threads(work.threads)
    start, notes = begin_with(run, work), []
    with run.alone(f"stages/.{work.tuned}.lock"):
        best = start
        for stage in stages_of(work):
            if work.chain.mixed and not stage.data.is_file():
                mix_data(work, stage.data)
            trained = train_stage(replace(stage, start=best), resume=True)
            best = trained.best
            notes += [f"{stage.folder.name}: {note}" for note in trained.notes]
        if finished(work) is None:
            weigh(run, work, end_with(run, work, start, best), "; ".join(notes))
    result = finished(work)
    assert result is not None
    return result


def begin_with(run: RunFolder, work: Work) -> Path:
    """Give the checkpoint that a work begins with: COCO's, or its source's detector.

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
    kept = keep_detector(detector)
    with run.alone(".detectors.lock"):
        known = run.read_json("detectors.json") or {}
        if detector.name not in known:
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


def end_with(run: RunFolder, work: Work, start: Path, best: Path) -> Path:
    """Give the checkpoint that a work is tested with.

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
    from aoi_tl.transfer.chain import begin
    from aoi_tl.transfer.data_yaml import data_names
    from aoi_tl.transfer.label_space import express, rows_not_learned

    chain, folder = work.chain, run.path / f"stages/{work.name}-target/weights"
    if chain.detector is None:
        return best
    names = data_names(work.test_data)
    if chain.averaged:
        _, ledger = begin(start, names, "all", work.seed)
        tuned_stage = run.path / f"stages/{work.tuned}-target"
        return average_checkpoints(
            tuned_stage / "initial.pt", best, folder / "best.pt",
            work.experiment.transfer.soup, rows_not_learned(ledger),
        )
    if chain.mixed or chain.target_data is None:
        return express(best, names, folder / "expressed.pt")
    return best


def finished(work: Work) -> dict[str, Any] | None:
    """Read what a work came to.

    Parameters
    ----------
    work : Work

    Returns
    -------
    dict or None
        ``scores``, ``classes`` and ``notes`` as in the target stage's ``test.json``, and
        ``timings`` of the stages; None where it has not been weighed.
    """
    run = RunFolder(work.run)
    found = run.read_json(f"stages/{work.name}-target/test.json")
    if found is None or "notes" not in found:
        return None
    timings = [
        {"stage": stage.folder.name, "seconds": done["seconds"], "epochs": done["epochs"]}
        for stage in stages_of(work) if (done := run.read_json(f"stages/{stage.folder.name}/done"))
    ]
    return {**found, "timings": timings}


def check_sight(work: Work) -> None:
    """Check that the machine this runs on sees all that the work needs, the images included.

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


def _random_checkpoint(
    run: RunFolder, experiment: Experiment, architecture: Path, names: Sequence[str]
) -> Path:
    from aoi_tl.transfer.detector import new_model, save_checkpoint

    file = run.path / "weights" / f"random-{architecture.stem}.pt"
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        save_checkpoint(new_model(str(architecture), names, experiment.seeds[0]), file)
    return file


def stages_of(work: Work) -> Iterator[Stage]:
    """Give the stages of one chain and seed, source (where it has one) before target.

    Where a stage begins is filled in when the one before it has ended.
    """
    from aoi_tl.transfer.chain import Stage

    experiment, chain = work.experiment, work.chain
    for which, data in (("source", chain.source_data), ("target", chain.target_data)):
        if data is None:
            continue
        arguments = experiment.train.arguments("source" if which == "source" else "target")
        if which == "target" and chain.longer != 1:
            arguments["epochs"] = math.ceil(arguments["epochs"] * chain.longer)
        if chain.detector is not None:
            arguments |= gentle(arguments, experiment.transfer.rate, data)
        if chain.mixed:
            data = work.run / "data" / f"{work.name}-mix" / "data.yaml"
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
        )


def gentle(arguments: Mapping[str, Any], rate: float, data: Path) -> dict[str, Any]:
    """Give the optimiser and the learning rate of a stage that shall not destroy what it was given.

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


def weigh(run: RunFolder, work: Work, best: Path, notes: str) -> None:
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
        What changed the protocol of its trainings.
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
