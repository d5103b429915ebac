"""COCO -> source -> target: rank the sources, adapt the best, train in a chain, weigh the arms."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.images import content_hash
from aoi_tl.data.labels import apply_aliases, check_aliases, load_aliases
from aoi_tl.data.yolo import load_dataset, write_dataset
from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.experiment import SOURCE_ARMS, Experiment, locate
from aoi_tl.runs import RunFolder, environment, file_hash, open_run
from aoi_tl.settings import apply_override, did_you_mean, read_settings, validate
from aoi_tl.workflows.score import Ranking, score_sources

if TYPE_CHECKING:
    import pandas

    from aoi_tl.transfer.chain import Stage, StageResult

METRICS = ("f1", "map50", "map50_95")
BASELINES = ("coco", "stock")

Tell = Callable[[str, int, int], None]
"""Told what is being done, how many steps are done, and of how many."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes
    ----------
    folder : Path
        The run folder.
    ranking : Ranking
        Every source, scored.
    picked : tuple of str
        The sources that were learned from.
    arms : DataFrame
        A row per arm and seed, as in ``arms.csv``.
    summary : DataFrame
        Means, intervals and paired differences, as in ``summary.csv``.
    """

    folder: Path
    ranking: Ranking
    picked: tuple[str, ...]
    arms: pandas.DataFrame
    summary: pandas.DataFrame


@dataclass(frozen=True)
class Chain:
    """One arm from one source: which data it sees and which tensors it hands on."""

    arm: str
    modules: str
    source: str | None = None
    source_data: Path | None = None
    target_data: Path | None = None


def run_experiment(
    experiment: Experiment | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    data_root: str | Path | None = None,
    overrides: Sequence[str] = (),
    tell: Tell = silent,
) -> Outcome:
    """Find out which source the target's detector should learn from, and whether it pays.

    Parameters
    ----------
    experiment : Experiment, str or Path
        What is to be done, or the YAML file that says so.
    out : str or Path
        The run folder: new, or the one to go on with.
    resume : bool
        Go on from the last finished stage, and within a stage from its last epoch.
    data_root : str or Path, optional
        The folder that a leading ``../datasets/`` of the experiment's paths stands for.
    overrides : sequence of str
        ``"train.epochs=3"`` and the like, for an experiment given as a file.
    tell : callable
        Told ``(what, done, total)`` as the work goes on.

    Returns
    -------
    Outcome
        Also written in the run folder, with curves, ledgers and a report.

    Raises
    ------
    AoiTlError
        For settings, data, checkpoints or folders that cannot be used.

    Examples
    --------
    >>> outcome = run_experiment("experiments/dc-1.yaml", "runs/dc-1")  # doctest: +SKIP
    >>> outcome.ranking.selected  # doctest: +SKIP
    'lc-101'
    """
    if not isinstance(experiment, Experiment):
        experiment = read_settings(experiment, Experiment, overrides)
    experiment = locate(experiment, data_root)
    check_training(experiment)
    weights = find_weights(experiment)
    target, sources, notes = read_data(experiment)
    fingerprint = {
        "experiment": experiment.model_dump(mode="json", exclude={"target", "sources", "aliases"}),
        "data": {dataset.name: dataset.fingerprint() for dataset in (target, *sources)},
        "weights": file_hash(weights) if weights.is_file() else f"random {weights}",
    }
    with open_run(out, fingerprint, resume) as run:
        record(run, experiment, fingerprint, notes)
        ranking = rank(run, experiment, target, sources, tell)
        picked = pick_sources(experiment, ranking, sources)
        chains = adapt(run, experiment, target, picked, tell)
        arms = train_arms(run, experiment, chains, weights, tell)
        summary = compare(run, arms)
        run.mark_done()
    return Outcome(run.path, ranking, tuple(source.name for source in picked), arms, summary)


def experiment_of(
    target: Path, sources: Sequence[Path], weights: str, aliases: Path | None,
    overrides: Sequence[str] = (),
) -> Experiment:
    """Make an experiment from what a command line says, with every default of a file."""
    settings = {
        "target": str(target), "sources": [str(source) for source in sources], "weights": weights,
        "aliases": str(aliases) if aliases else None,
    }
    for override in overrides:
        apply_override(settings, override)
    return validate(settings, Experiment)


# ------------------------------------------------------------------------------- what comes in


def read_data(experiment: Experiment) -> tuple[Dataset, list[Dataset], list[str]]:
    """Load target and sources under common class names, none holding another's test images.

    Parameters
    ----------
    experiment : Experiment
        With absolute paths.

    Returns
    -------
    target : Dataset
    sources : list of Dataset
        Without the target's validation and test images where ``overlap: drop`` says so.
    notes : list of str
        What was left out or looks odd, one line each.

    Raises
    ------
    DataError, ExperimentError
        When a dataset cannot be read or used.
    """
    target, *sources = load_with_aliases(
        [experiment.target, *experiment.sources], experiment.aliases
    )
    names = [target.name, *(source.name for source in sources)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ExperimentError(
            f"{experiment.where('sources')}: expected datasets of different names, got {twice!r} "
            "twice; rename one's YAML or folder"
        )
    notes = [f"{dataset.name}: {note}" for dataset in (target, *sources) for note in dataset.notes]
    for split, why in (("train", "to train on"), ("test", "to weigh the arms on")):
        found = target.split(split)
        if not found.samples:
            raise DataError(
                f"{target.path}: expected a {split} split {why}, got none; add '{split}:' to it"
            )
        if not found.instances:
            raise DataError(
                f"{target.path}: expected boxes in the {split} split {why}, got "
                f"{len(found.samples)} images without any; label some"
            )
    kept = []
    for source in sources:
        apart, note = without_overlap(target, source, experiment)
        notes += [note] if note else []
        kept.append(apart)
    return target, kept, notes


def load_with_aliases(paths: Sequence[str | Path], aliases: str | Path | None) -> list[Dataset]:
    """Load datasets and bring their class names under common ones."""
    datasets = [load_dataset(path) for path in paths]
    if aliases is None:
        return datasets
    common = load_aliases(aliases)
    check_aliases(common, [name for dataset in datasets for name in dataset.names])
    return [apply_aliases(dataset, common) for dataset in datasets]


def without_overlap(
    target: Dataset, source: Dataset, experiment: Experiment
) -> tuple[Dataset, str | None]:
    """Keep the images that the target is validated and tested on out of a source.

    Parameters
    ----------
    target, source : Dataset
        Compared by the content of their image files.
    experiment : Experiment
        Whose ``overlap`` says whether to refuse, drop or keep the shared images.

    Returns
    -------
    source : Dataset
    note : str or None
        What was found.

    Raises
    ------
    DataError
        When images are shared and ``overlap`` is ``refuse``.
    """
    unseen = {content_hash(sample.image) for sample in target.split("val", "test").samples}
    kept = tuple(s for s in source.samples if content_hash(s.image) not in unseen)
    n_shared = len(source.samples) - len(kept)
    if not n_shared:
        return source, None
    what = f"{source.name}: {n_shared} of {len(source.samples)} images are also in the " \
           f"validation or test split of {target.name}"
    if experiment.overlap == "refuse":
        raise DataError(
            f"expected sources without the target's validation and test images, got {what}; "
            "set 'overlap: drop' to leave them out (or 'keep', and trust no result)"
        )
    if experiment.overlap == "keep":
        return source, f"{what}, and were kept: no result of a source arm can be trusted"
    return replace(source, samples=kept), f"{what}, and were left out"


def check_training(experiment: Experiment) -> None:
    """Check the training arguments, which only the detection room can judge, before any work."""
    from aoi_tl.transfer.yolo import check_train_arguments

    train = experiment.train
    for keys, settings in (
        (("train",), train.model_dump(exclude={"source", "target"})),
        (("train", "source"), train.source),
        (("train", "target"), train.target),
    ):
        for name, value in settings.items():
            try:
                check_train_arguments({name: value})
            except ExperimentError as error:
                raise ExperimentError(f"{experiment.where(*keys, name)}: {error}") from None


def find_weights(experiment: Experiment) -> Path:
    """Find the checkpoint that every chain begins with; an architecture's name stands for itself.

    Parameters
    ----------
    experiment : Experiment
        Its ``weights`` is a path, the name of a file in ``weights/`` (of the working folder, or
        beside the experiment's folder), or one that Ultralytics can download.

    Returns
    -------
    Path
        A ``.pt`` file, or an architecture such as ``yolov8n.yaml`` for random weights.
    """
    from aoi_tl.transfer.yolo import find_checkpoint, read_registry

    if Path(experiment.weights).suffix in (".yaml", ".yml"):
        return Path(experiment.weights)
    folders = [Path("weights")]
    if experiment.folder:
        folders += [experiment.folder, experiment.folder.parent / "weights"]
    registry = next((f / "registry.yaml" for f in folders if (f / "registry.yaml").is_file()), None)
    return find_checkpoint(experiment.weights, folders, read_registry(registry) if registry else {})


def record(
    run: RunFolder, experiment: Experiment, fingerprint: Mapping[str, Any], notes: Sequence[str]
) -> None:
    """Write down the resolved experiment and all that a repetition needs."""
    import yaml

    resolved = experiment.model_dump(mode="json")
    run.write("experiment.yaml", yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))
    run.write_json(
        "environment.json",
        environment(
            device=experiment.device,
            seeds=list(experiment.seeds),
            data=fingerprint["data"],
            weights={"name": experiment.weights, "sha256": fingerprint["weights"]},
            repeat="aoi-tl run experiment.yaml --out ANOTHER_FOLDER",
        ),
    )
    run.write_json("notes.json", list(notes))


# ------------------------------------------------------------------------- score, pick and adapt


def rank(
    run: RunFolder, experiment: Experiment, target: Dataset, sources: Sequence[Dataset], tell: Tell
) -> Ranking:
    """Score every source against the target; kept as ``scores.json`` and ``scores.csv``."""
    score = experiment.score
    ranking = score_sources(
        target, sources, n_clusters=score.n_clusters, method=score.method, solver=score.solver,
        sample=score.sample, progress=lambda done, total: tell("signatures", done, total),
    )
    run.write("scores.json", ranking.to_json())
    run.write_table("scores.csv", ranking.to_frame())
    return ranking


def pick_sources(
    experiment: Experiment, ranking: Ranking, sources: Sequence[Dataset]
) -> list[Dataset]:
    """Choose the sources to learn from: the selection rule's for ``auto``, or those named."""
    if not any(arm.removesuffix("-all") in SOURCE_ARMS for arm in experiment.arms):
        return []
    by_name = {source.name: source for source in sources}
    picked = []
    for index, name in enumerate(experiment.pick):
        place = experiment.where("pick", index)
        if name == "auto":
            if ranking.selected is None:
                why = "; ".join(f"{row.name}: {row.undefined}" for row in ranking.sources)
                raise ExperimentError(
                    f"{place}: expected a source with a defined score, got none ({why}); map class "
                    "names with aliases, or name a source under 'pick'"
                )
            name = ranking.selected
        if name not in by_name:
            raise ExperimentError(
                f"{place}: expected 'auto' or a source's name out of {', '.join(by_name)}, got "
                f"{name!r}" + did_you_mean(name, list(by_name))
            )
        picked.append(by_name[name])
    return list(dict.fromkeys(picked))


def adapt(
    run: RunFolder,
    experiment: Experiment,
    target: Dataset,
    picked: Sequence[Dataset],
    tell: Tell,
) -> list[Chain]:
    """Write the data that every arm learns from; kept under ``data/`` and in ``counts.csv``.

    Parameters
    ----------
    run : RunFolder
        New images go to ``samples/``, the datasets (links and labels) to ``data/``.
    experiment : Experiment
        Its arms, subset and balance settings.
    target : Dataset
    picked : sequence of Dataset
        The sources to learn from.
    tell : callable
        Told what is being written.

    Returns
    -------
    list of Chain
        One for each arm and source.
    """
    from aoi_tl.adaptation.balance import balance
    from aoi_tl.adaptation.subset import subset_to_label_space

    seed = experiment.seeds[0]
    knobs = {
        "minority_to": experiment.balance.minority.to,
        "majority_at_most": experiment.balance.majority.at_most,
    }
    methods = {arm.removesuffix("-all") for arm in experiment.arms}
    label_space = target.split("train", "val").label_space
    steps: dict[str, dict[str, Dataset]] = {}

    def written(name: str, make: Callable[[Path], Dataset]) -> Path:
        tell(f"writing {name}", 0, 0)
        return _written(run, name, make)

    def step(dataset: str, what: str, file: Path) -> Path:
        steps.setdefault(dataset, {})[what] = load_dataset(file)
        return file

    raw = step(target.name, "before", written("target", lambda _: target))
    balanced = raw
    if "method" in methods:
        balanced = step(target.name, "balanced", written(
            "target-balanced", lambda folder: balance(target, folder, seed=seed, **knobs).dataset
        ))
    chains = []
    for arm in experiment.arms:
        method = arm.removesuffix("-all")
        if method not in SOURCE_ARMS:
            modules = {"scratch": "none", "stock": "stock"}.get(arm, experiment.transfer.modules)
            chains.append(Chain(arm, modules, target_data=raw))
            continue
        modules = "all" if arm.endswith("-all") else experiment.transfer.modules
        for source in picked:
            label = arm if len(picked) == 1 else f"{arm}@{source.name}"
            data = step(source.name, "before", written(
                f"source-{source.name}", lambda _, source=source: source
            ))
            if method in ("subset-source", "method"):
                def subset(folder: Path, source: Dataset = source) -> Dataset:
                    return subset_to_label_space(
                        source, label_space, mixed=experiment.subset.mixed, folder=folder
                    )

                data = step(source.name, "subset", written(f"source-{source.name}-subset", subset))
            if method == "method":
                whole = data
                data = step(source.name, "balanced", written(
                    f"source-{source.name}-balanced",
                    lambda folder, whole=whole: balance(
                        load_dataset(whole), folder, seed=seed, **knobs
                    ).dataset,
                ))
            _check_source(load_dataset(data), source)
            chains.append(Chain(
                label, modules, source.name, data, balanced if method == "method" else raw
            ))
    run.write_table("counts.csv", counts_table(steps))
    return chains


def _written(run: RunFolder, name: str, make: Callable[[Path], Dataset]) -> Path:
    file = run.path / "data" / name / "data.yaml"
    if not file.is_file():
        samples = run.path / "samples" / name
        # Left over from a run that was killed while it made them: nothing points to them yet.
        shutil.rmtree(samples, ignore_errors=True)
        write_dataset(make(samples), file.parent)
    return file


def _check_source(adapted: Dataset, source: Dataset) -> None:
    if not adapted.split("train").instances:
        raise DataError(
            f"{source.path}: expected boxes of the target's classes in its train split, got none; "
            "choose another source under 'pick', or map class names with aliases"
        )


def counts_table(steps: Mapping[str, Mapping[str, Dataset]]) -> pandas.DataFrame:
    """Count the training instances of every class before and after each step of adaptation.

    Parameters
    ----------
    steps : mapping of str to mapping of str to Dataset
        For each dataset, its state ``before`` and, where made, as ``subset`` and ``balanced``.

    Returns
    -------
    DataFrame
        ``dataset, class, before, subset, balanced``; a row per class, then ``images`` and
        ``gini`` (of the classes present at that step).
    """
    import pandas as pd

    from aoi_tl.similarity.gini import gini

    rows = []
    for dataset, states in steps.items():
        trains = {what: state.split("train") for what, state in states.items()}
        for name in states["before"].names:
            rows.append({"dataset": dataset, "class": name}
                        | {what: train.counts.get(name, 0) for what, train in trains.items()})
        rows.append({"dataset": dataset, "class": "images"}
                    | {what: len(train.samples) for what, train in trains.items()})
        rows.append({"dataset": dataset, "class": "gini"} | {
            what: round(gini([n for n in train.counts.values() if n]), 6)
            for what, train in trains.items()
        })
    table = pd.DataFrame(rows).reindex(columns=["dataset", "class", "before", "subset", "balanced"])
    return table.astype(object).where(table.notna(), "")


# -------------------------------------------------------------------------------- train and weigh


def train_arms(
    run: RunFolder,
    experiment: Experiment,
    chains: Sequence[Chain],
    weights: Path,
    tell: Tell,
) -> pandas.DataFrame:
    """Train every arm with every seed and test it once; kept as ``arms.csv``.

    Parameters
    ----------
    run : RunFolder
        Stages lie under ``stages/``.
    experiment : Experiment
        Its training arguments, seeds and device.
    chains : sequence of Chain
        What each arm learns from.
    weights : Path
        Where every chain but ``scratch`` begins.
    tell : callable
        Told which stage is at work.

    Returns
    -------
    DataFrame
        A row per arm and seed.
    """
    import pandas as pd

    checkpoint = weights if weights.is_file() else _random_checkpoint(run, experiment, weights)
    total = len(experiment.seeds) * sum(1 + (chain.source is not None) for chain in chains)
    done = 0
    rows, per_class = [], []
    for seed in experiment.seeds:
        for chain in chains:
            start, notes = checkpoint, []
            for stage in stages_of(run, experiment, chain, seed):
                tell(stage.folder.name, done, total)
                trained = train_once(run, replace(stage, start=start))
                start = trained.best
                notes += [f"{stage.folder.name}: {note}" for note in trained.notes]
                done += 1
            row, classes = weigh(run, experiment, chain, seed, start)
            rows.append({**row, "notes": "; ".join(notes)})
            per_class += classes
            run.write_table("arms.csv", pd.DataFrame(rows))
            run.write_table("per_class.csv", pd.DataFrame(per_class))
    tell("stages", total, total)
    return pd.DataFrame(rows)


def _random_checkpoint(run: RunFolder, experiment: Experiment, architecture: Path) -> Path:
    from aoi_tl.transfer.yolo import data_names, new_model, save_checkpoint

    file = run.path / "weights" / f"random-{architecture.stem}.pt"
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        names = data_names(run.path / "data" / "target" / "data.yaml")
        save_checkpoint(new_model(str(architecture), names, experiment.seeds[0]), file)
    return file


def stages_of(run: RunFolder, experiment: Experiment, chain: Chain, seed: int) -> Iterator[Stage]:
    """Give the stages of one arm and seed, source (where it has one) before target.

    Where a stage begins is filled in when the one before it has ended.
    """
    from aoi_tl.transfer.chain import Stage

    for which, data in (("source", chain.source_data), ("target", chain.target_data)):
        if data is None:
            continue
        arguments = experiment.train.arguments("source" if which == "source" else "target")
        yield Stage(
            start=Path(),
            data=data,
            folder=run.path / "stages" / f"{chain.arm}-s{seed}-{which}",
            modules=chain.modules,
            # The source is learned whole; only the target's training may be held back.
            freeze=experiment.transfer.freeze if which == "target" else 0,
            seed=seed,
            arguments={**arguments, "device": experiment.device},
        )


def train_once(run: RunFolder, stage: Stage) -> StageResult:
    """Train a stage, or take it as it is where it is done; its cost goes to ``timings.csv``."""
    import pandas as pd

    from aoi_tl.transfer.chain import train_stage

    was_done = (stage.folder / "done").is_file()
    began = time.monotonic()
    trained = train_stage(stage, resume=True)
    if not was_done:
        file = run.path / "timings.csv"
        table = pd.read_csv(file) if file.is_file() else pd.DataFrame()
        row = {"stage": stage.folder.name, "seconds": round(time.monotonic() - began, 1),
               "epochs": trained.epochs}
        run.write_table("timings.csv", pd.concat([table, pd.DataFrame([row])]))
    return trained


def weigh(
    run: RunFolder, experiment: Experiment, chain: Chain, seed: int, best: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Test one trained detector on the target's test split: its row, and a row per class.

    Parameters
    ----------
    run : RunFolder
        The result is kept beside the stage, so that it is tested once.
    experiment : Experiment
        Its image size, batch and device.
    chain : Chain
    seed : int
    best : Path
        The trained checkpoint.

    Returns
    -------
    row : dict
        ``arm, seed, f1, f1_conf, map50, map50_95, precision, recall, source``.
    classes : list of dict
        ``arm, seed, class, images, instances, ap50, ap50_95, f1``.
    """
    import numpy as np

    from aoi_tl.evaluation.detection import detection_scores
    from aoi_tl.transfer.yolo import validate_detector

    folder = f"stages/{chain.arm}-s{seed}-target"
    found = run.read_json(f"{folder}/test.json")
    if found is None:
        arguments = experiment.train.arguments("target")
        curves = validate_detector(
            best, run.path / "data" / "target" / "data.yaml", run.path / folder / "test", "test",
            {"imgsz": arguments["imgsz"], "batch": arguments["batch"],
             "device": experiment.device},
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
        found = {
            "scores": {name: getattr(scores, name) for name in
                       ("f1", "f1_conf", "map50", "map50_95", "precision", "recall")},
            "classes": [
                {"class": row.name, "images": row.images, "instances": row.instances,
                 "ap50": row.map50, "ap50_95": row.map50_95, "f1": row.f1}
                for row in scores.per_class
            ],
        }
        run.write_json(f"{folder}/test.json", found)
    key = {"arm": chain.arm, "seed": seed}
    row = {**key, **found["scores"], "source": chain.source or ""}
    return row, [{**key, **classes} for classes in found["classes"]]


def compare(run: RunFolder, arms: pandas.DataFrame) -> pandas.DataFrame:
    """Weigh the arms against each other; kept as ``summary.csv``, curves and the report."""
    from aoi_tl.evaluation.comparison import summarise
    from aoi_tl.report.page import write_page

    summary = summarise(arms, METRICS, BASELINES)
    run.write_table("summary.csv", summary)
    write_page(run)
    return summary
