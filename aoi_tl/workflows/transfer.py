"""COCO -> source -> target: rank the sources, adapt the best, train in chains, compare the arms."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.labels import load_aliases
from aoi_tl.engine import Engine, LocalEngine, open_engine
from aoi_tl.errors import CheckpointError, ExperimentError
from aoi_tl.experiment.base import as_experiment
from aoi_tl.experiment.detection import (
    DETECTOR_ARMS,
    SOURCE_ARMS,
    Experiment,
    locate,
)
from aoi_tl.experiment.settings import apply_override, did_you_mean, validate
from aoi_tl.files.run_folder import RunFolder, file_hash, open_run, stage_name
from aoi_tl.ranking.ranking import Ranking
from aoi_tl.ranking.scoring import score_sources
from aoi_tl.workflows.adapted_data import AdaptedData
from aoi_tl.workflows.arms import Arms, plan_arms, train_arms
from aoi_tl.workflows.chain import Chain
from aoi_tl.workflows.chain_planning import chains_of, source_detectors, sources_of
from aoi_tl.workflows.kept_detectors import kept_detectors
from aoi_tl.workflows.operating import with_thresholds
from aoi_tl.workflows.parts import parts_of
from aoi_tl.workflows.progress import Progress, silent
from aoi_tl.workflows.record import record_experiment
from aoi_tl.workflows.shelf import read_data

if TYPE_CHECKING:
    import pandas

    from aoi_tl.caches.signature_cache import SignatureCache
    from aoi_tl.evaluation.predictions import Predictions


METRICS = ("f1", "map50", "map50_95")
STAGES: tuple[Literal["source", "target"], ...] = ("source", "target")
BASELINES = ("coco", "stock", "stock-long")


#: Settings that may be extended when a run is resumed. The first seed stays: it balances the data.
GROWS = {"experiment.seeds": True, "experiment.arms": False, "experiment.target_images": False,
         "data": False, "detectors": False}


@dataclass(frozen=True)
class Outcome:
    """The results of a run.

    Attributes
    ----------
    folder : Path
        The run folder.
    ranking : Ranking
        Every source, scored.
    picked : tuple of str
        The sources that an arm learns from; ``auto`` may still decide to use none.
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


def run_experiment(
    experiment: Experiment | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    data_root: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = silent,
    address: str | None = None,
    jobs: int = 1,
) -> Outcome:
    """Rank the sources, train the target's detector from the best, and compare the arms.

    Parameters
    ----------
    experiment : Experiment, str or Path
        The experiment, or its YAML file.
    out : str or Path
        The run folder: new, or the one to resume.
    resume : bool
        Resume after the last finished stage, and within a stage after its last epoch.
    data_root : str or Path, optional
        The folder that replaces a leading ``../datasets/`` of the experiment's paths.
    overrides : sequence of str
        ``"train.epochs=3"`` and the like, for an experiment given as a file.
    progress : callable
        Called with ``(what, done, total)`` during the work.
    address : str, optional
        ``host:port`` of the Ray cluster, for ``engine: ray``.
    jobs : int
        Parallel trainings on this machine, for ``engine: local``.

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
    [outcome] = run_experiments(
        [experiment], [out], resume=resume, data_root=data_root, overrides=overrides,
        progress=progress, address=address, jobs=jobs,
    )
    return outcome


def run_experiments(
    experiments: Sequence[Experiment | str | Path],
    outs: Sequence[str | Path],
    *,
    resume: bool = False,
    data_root: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = silent,
    address: str | None = None,
    jobs: int = 1,
) -> list[Outcome]:
    """Run several experiments as one grid: the arms of all of them make one list of tasks.

    Parameters
    ----------
    experiments : sequence of Experiment, str or Path
        All are read before anything is written.
    outs : sequence of str or Path
        The run folder of each.
    resume, data_root, overrides, progress, address, jobs
        As for `run_experiment`.

    Returns
    -------
    list of Outcome
        In the order of the experiments.

    Raises
    ------
    AoiTlError
        For settings, data, checkpoints or folders that cannot be used.
    """
    located = [
        locate(as_experiment(experiment, Experiment, overrides), data_root)
        for experiment in experiments
    ]
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine(_one_engine(located), address, jobs))
        plans: dict[Path, tuple[Ranking, tuple[str, ...], Arms]] = {}
        for asked, out in zip([read(e, engine, progress) for e in located], outs, strict=True):
            experiment, target, sources = asked.experiment, asked.target, asked.sources
            run = stack.enter_context(open_run(out, asked.fingerprint, resume, GROWS))
            record_experiment(run, experiment, asked.fingerprint["data"], experiment.weights,
                              asked.fingerprint["weights"], "run")
            ranking = rank(run, experiment, target, sources, engine, progress)
            run.write_json("notes.json", [*asked.notes, *ranking.notes])
            picked = pick_sources(experiment, ranking, sources)
            show_datasets(run, target, sources, ranking, picked, progress)
            weights = trusted_weights(run, experiment, asked.weights)
            chains = adapt(run, experiment, ranking, target, sources, picked, weights, progress)
            learned = sources_of(chains[experiment.seeds[0]])
            plans[run.path] = ranking, learned, plan_arms(run, experiment, target, chains, weights)
        outcomes = {}
        for arms in train_arms([arms for *_, arms in plans.values()], engine, progress):
            ranking, learned, _ = plans[arms.run.path]
            table = arms.write()
            outcomes[arms.run.path] = Outcome(
                arms.run.path, ranking, learned, table, compare(arms.run, table)
            )
            arms.run.mark_done()
    return [outcomes[path] for path in plans]


def experiment_of(
    target: Path, sources: Sequence[Path], weights: str, aliases: Path | None,
    overrides: Sequence[str] = (),
) -> Experiment:
    """Make an experiment from command-line arguments, with the defaults of a file."""
    settings = {
        "target": str(target), "sources": [str(source) for source in sources], "weights": weights,
        "aliases": str(aliases) if aliases else None,
    }
    for override in overrides:
        apply_override(settings, override)
    return validate(settings, Experiment)


# ------------------------------------------------------------------------------- what comes in


@dataclass(frozen=True, eq=False)
class CheckedExperiment:
    """An experiment with its weights and datasets, read and checked."""

    experiment: Experiment
    weights: Path
    target: Dataset
    sources: list[Dataset]
    notes: list[str]
    fingerprint: dict[str, Any]


def read(experiment: Experiment, engine: Engine, progress: Progress = silent) -> CheckedExperiment:
    """Read the weights and datasets of an experiment; only the cache is written."""
    from aoi_tl.caches.signature_cache import SignatureCache

    try:
        weights = find_weights(experiment)
    except CheckpointError:
        train = experiment.train
        if train.model_extra or train.source or train.target:
            check_training(experiment, engine)  # a mistyped setting is reported first
        raise
    screen_checkpoints(experiment, weights)
    check_training(experiment, engine)
    check_weights(experiment, weights)
    target, sources, notes = read_data(experiment, progress)
    notes = [*ignored_settings(experiment), *notes]
    settings = experiment.model_dump(
        # Where the files lie and where the work is done makes no other run of it; what faulty rows
        # are left out shows in the data, and so does the depth.
        mode="json", exclude={"target", "sources", "aliases", "engine", "faulty", "depth"}
    )
    with SignatureCache() as cache:  # has the hashes of unchanged files
        data = {
            dataset.name: dataset.fingerprint(cache.contents(dataset.images).__getitem__)
            for dataset in (target, *sources)
        }
    fingerprint = {
        "experiment": settings,
        "data": data,
        "weights": file_hash(weights) if weights.is_file() else f"random {weights}",
    }
    if detectors := check_detectors(experiment, sources, weights):
        fingerprint["detectors"] = detectors
    return CheckedExperiment(experiment, weights, target, sources, notes, fingerprint)


def _one_engine(experiments: Sequence[Experiment]) -> str:
    engines = list(dict.fromkeys(experiment.engine for experiment in experiments))
    if len(engines) > 1:
        raise ExperimentError(
            f"expected experiments of one engine, got {' and '.join(engines)}; choose with --engine"
        )
    return engines[0]


def check_training(experiment: Experiment, engine: Engine) -> None:
    """Check the device and the training arguments."""
    from aoi_tl.transfer.arguments import check_device, check_train_arguments

    try:
        if isinstance(engine, LocalEngine):  # a cluster says itself whether it has such a machine
            check_device(experiment.device)
    except ExperimentError as error:
        raise ExperimentError(f"{experiment.where('device')}: {error}") from None
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


def ignored_settings(experiment: Experiment) -> list[str]:
    """List the training arguments of the experiment that Ultralytics will not use."""
    from aoi_tl.transfer.arguments import ignored_arguments

    found = dict.fromkeys(
        name for stage in STAGES
        for name in ignored_arguments(experiment.train.arguments(stage))
    )
    if not found:
        return []
    return [
        f"train: Ultralytics ignores {' and '.join(found)} under 'optimizer: auto', and chooses "
        "the optimizer with its rate and momentum itself; name one, such as 'optimizer: AdamW'"
    ]


def find_weights(experiment: Experiment) -> Path:
    """Find the checkpoint that every chain starts from; an architecture's name is kept as it is.

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
    from aoi_tl.checkpoints.finding import find_checkpoint, read_registry

    if Path(experiment.weights).suffix in (".yaml", ".yml"):
        return Path(experiment.weights)
    folders = [Path("weights")]
    if experiment.folder:
        folders += [experiment.folder, experiment.folder.parent / "weights"]
    registry = next((f / "registry.yaml" for f in folders if (f / "registry.yaml").is_file()), None)
    return find_checkpoint(experiment.weights, folders, read_registry(registry) if registry else {})


def screen_checkpoints(experiment: Experiment, weights: Path) -> None:
    """Refuse files that are visibly not detectors before anything heavy is imported."""
    from aoi_tl.checkpoints.screening import screen_detector

    if weights.is_file() and not experiment.weights_may_run_code:
        screen_detector(weights)
    for checkpoint in experiment.checkpoints.values():
        screen_detector(Path(checkpoint))


def check_weights(experiment: Experiment, weights: Path) -> None:
    """Refuse a checkpoint that cannot be used before any work is done; nothing in it runs."""
    from aoi_tl.transfer.detector import load_checkpoint

    if weights.is_file() and not experiment.weights_may_run_code:
        load_checkpoint(weights)


def check_detectors(
    experiment: Experiment, sources: Sequence[Dataset], weights: Path
) -> dict[str, str]:
    """Refuse given detectors that cannot be used; give the SHA-256 of the others by source."""
    from aoi_tl.transfer.detectors import check_given

    given = experiment.checkpoints
    aliases = load_aliases(experiment.aliases) if given and experiment.aliases else {}
    found = {}
    for source in sources:
        if (checkpoint := given.get(str(source.path))) is not None:
            check_given(Path(checkpoint), source, weights, aliases)
            found[source.name] = file_hash(Path(checkpoint))
    return found


def trusted_weights(run: RunFolder, experiment: Experiment, weights: Path) -> Path:
    """Give the checkpoint itself, or only its tensors if the user allowed it to run code."""
    from aoi_tl.checkpoints.trusted import rebuild_trusted

    if not (weights.is_file() and experiment.weights_may_run_code):
        return weights
    return rebuild_trusted(weights, run.path / "weights" / f"trusted-{weights.stem}.pt")


# ------------------------------------------------------------------------- score, pick and adapt


def rank(
    run: RunFolder,
    experiment: Experiment,
    target: Dataset,
    sources: Sequence[Dataset],
    engine: Engine,
    progress: Progress,
) -> Ranking:
    """Score every source against the target; kept as ``scores.json`` and ``scores.csv``."""
    from aoi_tl.caches.signature_cache import SignatureCache

    score, weights = experiment.score, find_weights(experiment)
    # On this machine every core measures, however few trainings there are at once.
    with SignatureCache(engine=None if isinstance(engine, LocalEngine) else engine) as cache:
        ranking = score_sources(
            target, sources, n_clusters=score.n_clusters, method=score.method, solver=score.solver,
            sample=score.sample, progress=lambda done, total: progress("signatures", done, total),
            cache=cache, detectors=_detectors_looked_through(run, experiment, sources, cache),
            weights=weights if weights.is_file() else None,
        )
    run.write("scores.json", ranking.to_json())
    run.write_table("scores.csv", ranking.to_frame())
    return ranking


def _detectors_looked_through(
    run: RunFolder, experiment: Experiment, sources: Sequence[Dataset], cache: SignatureCache
) -> dict[str, Path]:
    """The sources' detectors that are there before the run's first training.

    They are remembered, so that a resumed run ranks as it did before it kept detectors of its own.
    """
    known = run.read_json("score_detectors.json")
    if known is None:
        found = kept_detectors(sources, experiment.score.method, cache)
        known = {name: str(file) for name, file in found.items()}
        run.write_json("score_detectors.json", known)
    return {name: Path(file) for name, file in known.items() if Path(file).is_file()}


def pick_sources(
    experiment: Experiment, ranking: Ranking, sources: Sequence[Dataset]
) -> list[Dataset]:
    """Choose the sources to learn from: the selection rule's for ``auto``, or those named."""
    if not any(arm.removesuffix("-all") in (*SOURCE_ARMS, *DETECTOR_ARMS)
               for arm in experiment.arms):
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


def show_datasets(
    run: RunFolder, target: Dataset, sources: Sequence[Dataset], ranking: Ranking,
    picked: Sequence[Dataset], progress: Progress,
) -> None:
    """Keep what the page shows of the datasets under ``appearance/``; once."""
    from aoi_tl.workflows.appearance import keep_appearance

    if (run.path / "appearance" / "images.csv").is_file():
        return
    by_name = {source.name: source for source in sources}
    ranked = [by_name[row.name] for row in ranking.sources if row.name in by_name]
    keep_appearance(run, target, ranked, ranking.signatures, [d.name for d in picked], progress)


def adapt(
    run: RunFolder,
    experiment: Experiment,
    ranking: Ranking,
    target: Dataset,
    sources: Sequence[Dataset],
    picked: Sequence[Dataset],
    weights: Path,
    progress: Progress,
) -> dict[int, list[Chain]]:
    """Make the data that every arm learns from; kept under ``data/`` and in ``counts.csv``.

    Parameters
    ----------
    run : RunFolder
    experiment : Experiment
        Its arms, subset and balance settings.
    ranking : Ranking
    target : Dataset
    sources : sequence of Dataset
        All of them, for the arms that learn from several at once.
    picked : sequence of Dataset
        Those to learn from one by one.
    weights : Path
        The checkpoint that every chain begins with.
    progress : callable
        Called with what is being written.

    Returns
    -------
    dict of int to list of Chain
        For each seed one for each arm, source and number of the target's images.

    Raises
    ------
    DataError
        When a source has no training instance of the target's classes, or the target fewer
        training images than asked for.
    """
    draws = any(size != "all" for size in experiment.target_images)
    data = AdaptedData(
        run, experiment, target.split("train", "val").label_space, progress,
        parts_of(target, progress=progress) if draws else {},
    )
    data.whole(target)  # every arm is evaluated on its test split, however few images it sees
    detectors = source_detectors(experiment, ranking, data, sources, weights)
    chains: dict[int, list[Chain]] = {seed: [] for seed in experiment.seeds}
    for seed, found in chains.items():
        for size in experiment.target_images:
            labelled = data.whole(target) if size == "all" else data.few(target, size, seed)
            planned = chains_of(experiment, data, detectors, picked, labelled)
            if experiment.operate is not None:
                planned = with_thresholds(planned, data, labelled)
            found += [replace(chain, images=None if size == "all" else size) for chain in planned]
    run.write_table("counts.csv", data.counts())
    return chains


def compare(run: RunFolder, arms: pandas.DataFrame) -> pandas.DataFrame:
    """Compare the arms; kept as ``summary.csv``, curves and the report.

    Arms that saw the same number of the target's images are compared with each other. Where there
    are several numbers, ``learning_curve.csv`` says how many images each arm needs to reach what
    plain fine-tuning reaches with the most.
    """
    import pandas as pd

    from aoi_tl.evaluation.bootstrap import bootstrap_arms
    from aoi_tl.evaluation.comparison import summarise
    from aoi_tl.evaluation.learning_curve import learning_curve
    from aoi_tl.report.page import write_page

    parts = []
    for images, rows in _by_images(arms):
        found = bootstrap_arms(_predictions(run, rows, images), BASELINES)
        part = summarise(rows, METRICS, BASELINES, found)
        if images is not None:
            part.insert(2, "images", images)
        parts.append(part)
    summary = pd.concat(parts, ignore_index=True)
    run.write_table("summary.csv", summary)
    if "images" in summary and "stock" in set(summary["arm"]):
        run.write_table("learning_curve.csv", learning_curve(summary, "map50", "stock"))
    write_page(run.path)
    return summary


def _by_images(arms: pandas.DataFrame) -> list[tuple[str | None, pandas.DataFrame]]:
    if "images" not in arms:
        return [(None, arms)]
    return [(str(images), rows) for images, rows in arms.groupby("images", sort=False)]


def _predictions(
    run: RunFolder, rows: pandas.DataFrame, images: str | None
) -> dict[str, dict[int, Predictions]]:
    """Read the test predictions of each arm and seed."""
    from aoi_tl.evaluation.predictions import read_predictions

    found: dict[str, dict[int, Predictions]] = {}
    for arm, seed in zip(rows["arm"], rows["seed"], strict=True):
        file = run.path / "stages" / f"{stage_name(arm, seed, images)}-target" / "predictions.npz"
        found.setdefault(arm, {})[int(seed)] = read_predictions(file.read_bytes())
    return found
