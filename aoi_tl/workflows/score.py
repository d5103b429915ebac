"""Scoring sources, given or from an index, for a target, into a run folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoi_tl.caches.dataset_cache import read_summaries
from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.caches.signature_index import SignatureIndex
from aoi_tl.checkpoints.finding import find_checkpoint
from aoi_tl.data.dataset import Dataset
from aoi_tl.data.labels import load_aliases
from aoi_tl.data.summary import Summary
from aoi_tl.errors import ExperimentError
from aoi_tl.experiment.detection import Score
from aoi_tl.experiment.settings import SettingsFile, validate
from aoi_tl.files.run_folder import environment, open_run
from aoi_tl.ranking.comparison import ImagesDone
from aoi_tl.ranking.indexed import score_index
from aoi_tl.ranking.measures import looks_through_detectors, measures_of
from aoi_tl.ranking.ranking import Ranking
from aoi_tl.ranking.scoring import score_matrix, score_sources
from aoi_tl.workflows.kept_detectors import kept_detectors
from aoi_tl.workflows.progress import Progress, silent
from aoi_tl.workflows.shelf import sum_up_with_aliases

if TYPE_CHECKING:
    import pandas

    from aoi_tl.engine import Engine
    from aoi_tl.files.run_folder import RunFolder


def run_score(
    target: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    aliases: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    engine: Engine | None = None,
    weights: str | None = None,
    budget: float | None = None,
    depth: int | None = None,
) -> dict[str, Any]:
    """Score sources for a target into a run folder.

    Parameters
    ----------
    target : str or Path
        The target's ``data.yaml``.
    sources : sequence of str or Path
        Those of the sources; the target and repeated files among them are skipped.
    out : str or Path
        The run folder; gets ``scores.json``, ``scores.csv``, ``environment.json``, ``notes.json``.
    settings : mapping, optional
        ``n_clusters``, ``method``, ``solver``, ``sample``, as under ``score`` in an experiment.
    aliases : str or Path, optional
        YAML that maps class names to common ones.
    resume : bool, default False
        Whether the folder may hold this run already.
    progress : callable, optional
        Progress callback.
    engine : Engine, optional
        Where signatures are measured; on every core of this machine unless given.
    weights : str, optional
        The COCO checkpoint of the measures that compare features, and of short trainings: a name
        or a path.
    budget : float, optional
        Seconds for short trainings, see `aoi_tl.ranking.scoring.make_ranking`; 0: read data alone.
    depth : int, optional
        How many bits the images use where their files store 16; else found for each dataset.

    Returns
    -------
    dict
        The content of ``scores.json``.

    Raises
    ------
    AoiTlError
        When settings, data or folder cannot be used.
    """
    chosen = _checked(settings)
    check_budget(chosen["method"], budget)
    checkpoint = _weights(chosen["method"], budget, weights)
    with SignatureCache(engine=engine) as cache:
        loaded = sum_up_with_aliases(
            _different([target, *sources]), aliases, cache, depth
        )

        def rank(images_done: ImagesDone) -> list[Ranking]:
            return [score_sources(
                loaded[0], loaded[1:], **chosen, progress=images_done, cache=cache,
                detectors=_detectors(loaded[1:], chosen["method"], budget, cache),
                weights=checkpoint, budget=budget, doing=progress,
            )]

        said = _said_of(loaded, chosen, budget, matrix=False)
        return _run(rank, loaded, said, out, resume, progress)[0].to_dict()


def run_score_matrix(
    datasets: Sequence[str | Path],
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    aliases: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    engine: Engine | None = None,
    weights: str | None = None,
    budget: float | None = None,
    depth: int | None = None,
) -> list[dict[str, Any]]:
    """Score every dataset against every other into a run folder.

    Parameters
    ----------
    datasets : sequence of str or Path
        At least two ``data.yaml`` files.
    out, settings, aliases, resume, progress, engine, weights, budget, depth
        As for `run_score`, the budget 0 or none; ``scores.json`` holds a list, ``scores.csv`` a
        column ``target`` too.

    Returns
    -------
    list of dict
        The content of ``scores.json``: one ranking per target.

    Raises
    ------
    AoiTlError
        When settings, data or folder cannot be used.
    """
    chosen = _checked(settings)
    check_budget(chosen["method"], budget)
    if budget:
        raise ExperimentError(
            "expected --matrix without a --budget for trainings, got both; score one target at a "
            "time with it, or give --budget 0"
        )
    checkpoint = _weights(chosen["method"], budget, weights)
    with SignatureCache(engine=engine) as cache:
        loaded = sum_up_with_aliases(_different(datasets), aliases, cache, depth)

        def rank(images_done: ImagesDone) -> list[Ranking]:
            return list(score_matrix(
                loaded, **chosen, progress=images_done, cache=cache,
                detectors=_detectors(loaded, chosen["method"], budget, cache),
                weights=checkpoint, budget=budget, doing=progress,
            ))

        said = _said_of(loaded, chosen, budget, matrix=True)
        return [ranking.to_dict() for ranking in _run(rank, loaded, said, out, resume, progress)]


def run_score_index(
    targets: Sequence[str | Path],
    file: str | Path,
    top: int,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    aliases: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    engine: Engine | None = None,
    weights: str | None = None,
    budget: float | None = None,
    depth: int | None = None,
) -> dict[str, Any]:
    """Rank the datasets of an index for a target, into a run folder.

    Parameters
    ----------
    targets : sequence of str or Path
        The target's ``data.yaml`` alone: the sources are in the index.
    file : str or Path
        The index, from `index_datasets`.
    top : int
        The number of sources to rank.
    out : str or Path
        The run folder; gets the same files as that of `run_score`.
    settings : mapping, optional
        ``method``, ``solver`` and ``sample``, as under ``score`` in an experiment.
    aliases : str or Path, optional
        YAML that maps class names to common ones; the index keeps those it was made with.
    resume, progress, engine, weights, budget, depth
        As for `run_score`.

    Returns
    -------
    dict
        The content of ``scores.json``.

    Raises
    ------
    AoiTlError
        When settings, data, index or folder cannot be used.
    """
    if len(targets) != 1:
        raise ExperimentError(
            f"expected the target alone with --index, got {len(targets)} datasets; add sources to "
            "the index with aoi-tl index"
        )
    chosen = _checked(settings)
    check_budget(chosen["method"], budget)
    checkpoint = _weights(chosen["method"], budget, weights)
    with SignatureCache(engine=engine) as cache:
        common = {} if aliases is None else load_aliases(aliases)
        # One map serves the index and its targets, so names already mapped in the index are known.
        with SignatureIndex(file) as index:
            indexed = index.class_names()
        known = [name for name, label in common.items() if label in indexed]
        [target] = read_summaries(targets, common, cache, known, depth)

        def rank(images_done: ImagesDone) -> list[Ranking]:
            solver, sample = chosen["solver"], chosen["sample"]

            def detector_of(source: Dataset) -> Path | None:
                return _detectors([source], chosen["method"], budget, cache).get(source.name)

            return [score_index(target, file, top, solver, sample, images_done, cache,
                                chosen["method"], detector_of, checkpoint, budget, progress)]

        said = {"score": chosen, "top": top, "target": target.fingerprint, **_asked(budget)}
        return _run(rank, [target], said, out, resume, progress)[0].to_dict()


def _checked(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings under ``score``, checked and complete."""

    class Asked(SettingsFile):
        score: Score

    words = {key: int(v) if str(v).isdecimal() else v for key, v in (settings or {}).items()}
    return validate({"score": words}, Asked).score.model_dump(mode="json")


def check_budget(method: str, budget: float | None) -> None:
    """Refuse a method and a budget that do not go together.

    Parameters
    ----------
    method : str
        One of `aoi_tl.ranking.measures.METHODS`.
    budget : float or None
        Seconds for short trainings.

    Raises
    ------
    ExperimentError
        When the method trains or looks through detectors and must not, or does neither and has
        time for it.
    """
    if budget is None and method == "proxy":
        raise ExperimentError(
            "expected a time for the short trainings of --method proxy, got none; give such as "
            "--budget 10m"
        )
    if budget == 0 and method != "auto" and looks_through_detectors(method):
        raise ExperimentError(
            f"expected a method that looks through no detector with --budget 0, got {method}; "
            "choose such as auto or box, or leave --budget out"
        )
    if budget and not looks_through_detectors(method):
        raise ExperimentError(
            f"expected a method that may train with --budget, such as auto or proxy, got {method}; "
            "leave --budget out"
        )


def _weights(method: str, budget: float | None, weights: str | None) -> Path | None:
    """The checkpoint that features are taken of or trainings begin with; None without either."""
    compares = any(measure.needs == "features" for measure in measures_of(method))
    if not compares and not budget:
        return None
    if weights is None:
        why = ("--budget, whose short trainings begin with it" if budget
               else f"{method}, which compares its features")
        raise ExperimentError(
            f"expected a COCO checkpoint for {why}, got none; name one with --weights"
        )
    return find_checkpoint(weights, [Path("weights")], {})


def _detectors(
    sources: Sequence[Dataset | Summary], method: str, budget: float | None, cache: SignatureCache
) -> dict[str, Path]:
    """The kept detectors of sources; none where data alone is to be read."""
    return {} if budget == 0 else kept_detectors(sources, method, cache)


def _asked(budget: float | None) -> dict[str, float]:
    return {} if budget is None else {"budget": budget}


def _said_of(
    datasets: Sequence[Summary], chosen: dict[str, Any], budget: float | None, matrix: bool
) -> dict[str, Any]:
    """The settings and data that a resumed run must share."""
    data = {dataset.name: dataset.fingerprint for dataset in datasets}
    return {"score": chosen, "matrix": matrix, "data": data, **_asked(budget)}


def _run(
    rank: Callable[[ImagesDone], list[Ranking]],
    datasets: Sequence[Summary],
    fingerprint: dict[str, Any],
    out: str | Path,
    resume: bool,
    progress: Progress,
) -> list[Ranking]:
    """Rank, and write the results to the run folder."""
    matrix = bool(fingerprint.get("matrix"))
    with open_run(out, fingerprint, resume) as run:
        found = rank(lambda done, total: progress("signatures", done, total))
        notes = [f"{dataset.name}: {note}" for dataset in datasets for note in dataset.notes]
        run.write_json("environment.json", environment(**fingerprint))
        run.write_json("notes.json", notes + list(dict.fromkeys(n for r in found for n in r.notes)))
        run.write_table("scores.csv", _joined(found) if matrix else found[0].to_frame())
        for quantity in matrix_quantities(found[0].method) if matrix else ():
            run.write_table(f"{quantity}.csv", _square(found, quantity))
        run.write_json(
            "scores.json", [r.to_dict() for r in found] if matrix else found[0].to_dict()
        )
        _show(run, datasets, found, matrix, progress)
        run.mark_done()
    return found


def _show(
    run: RunFolder, datasets: Sequence[Summary], rankings: Sequence[Ranking], matrix: bool,
    progress: Progress,
) -> None:
    """Keep the appearance of the datasets, and write the page."""
    from aoi_tl.report.page import write_page
    from aoi_tl.workflows.appearance import keep_appearance

    if matrix:
        signatures = {name: own for r in rankings for name, own in r.signatures.items()}
        keep_appearance(run, None, datasets, signatures, progress=progress)
    else:
        by_name, [ranking] = {dataset.name: dataset for dataset in datasets}, rankings
        ranked = [by_name[row.name] for row in ranking.sources if row.name in by_name]
        keep_appearance(run, by_name[ranking.target], ranked, ranking.signatures,
                        [ranking.selected] if ranking.selected else [], progress)
    write_page(run.path)


def matrix_quantities(method: str) -> tuple[str, ...]:
    """Give the quantities of a matrix that get a table each."""
    return ("discrepancy", "emd", "gini", *(("estimated_gain",) if method == "auto" else ()))


def _joined(rankings: Sequence[Ranking]) -> pandas.DataFrame:
    import pandas

    tables = [ranking.to_frame() for ranking in rankings]
    for table, ranking in zip(tables, rankings, strict=True):
        table.insert(0, "target", ranking.target)
    return pandas.concat(tables, ignore_index=True)


def _square(rankings: Sequence[Ranking], quantity: str) -> pandas.DataFrame:
    """One quantity of every source (columns) for every target (rows); blank where undefined."""
    import pandas

    rows = [
        {"target": r.target} | {row.name: getattr(row, quantity) for row in r.sources}
        for r in rankings
    ]
    return pandas.DataFrame(rows, columns=["target", *(r.target for r in rankings)])


def _different(paths: Sequence[str | Path]) -> list[Path]:
    """The paths, each file once."""
    kept: dict[str, Path] = {}
    for path in paths:
        kept.setdefault(os.path.realpath(path), Path(path))
    return list(kept.values())
