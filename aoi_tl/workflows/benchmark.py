"""Benchmarking the ranking on a user's shelf: every measure against the trained results."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.adaptation.few_labels import nested_subsets
from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.data.dataset import Dataset
from aoi_tl.errors import ExperimentError
from aoi_tl.experiment.base import as_experiment
from aoi_tl.experiment.benchmark import Benchmark
from aoi_tl.experiment.detection import Experiment, locate
from aoi_tl.files.run_folder import RunFolder, open_run, stage_name
from aoi_tl.ranking.choices import estimate_together
from aoi_tl.ranking.comparison import Comparison
from aoi_tl.ranking.detector_measures import zero_shot_map
from aoi_tl.ranking.domain import pool
from aoi_tl.ranking.evaluation import agreement, calibration, choices_made
from aoi_tl.ranking.expected_gain import FITTED, estimate
from aoi_tl.ranking.measures import MEASURES, directions
from aoi_tl.report.benchmark import benchmark_page, draw_gains
from aoi_tl.workflows.kept_detectors import kept_detectors
from aoi_tl.workflows.progress import Progress, silent
from aoi_tl.workflows.record import record_experiment
from aoi_tl.workflows.shelf import load_with_aliases
from aoi_tl.workflows.transfer import find_weights, run_experiments

if TYPE_CHECKING:
    import pandas

#: The columns of ``evidence.csv``: one trained row each.
EVIDENCE = (
    "family", "half", "target", "images", "arm", "sources", "seed", "map50", "map50_95", "f1",
    "test_images", "test_boxes", "seconds", "settings",
)
#: The columns of ``measures.csv``.
MEASURED = ("target", "images", "source", "measure", "value", "low", "high", "seconds",
            "undefined")
UNION_OF = {"chain": "union-chain", "chain-soup": "union-soup", "joint": "union-joint"}


@dataclass(frozen=True)
class Benchmarked:
    """The results of a benchmark.

    Attributes
    ----------
    folder : Path
        The run folder.
    agreement : DataFrame
        As `aoi_tl.ranking.evaluation.agreement` gives it; also ``ranking.csv``.
    calibration : dict of str to dict
        For each estimate what `aoi_tl.ranking.evaluation.calibration` gives.
    """

    folder: Path
    agreement: pandas.DataFrame
    calibration: dict[str, dict[str, float]]


def run_benchmark(
    benchmark: Benchmark | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    data_root: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = silent,
    address: str | None = None,
    jobs: int = 1,
) -> Benchmarked:
    """Train from every source alone and from all together, and compare each measure with the gains.

    Parameters
    ----------
    benchmark : Benchmark, str or Path
        The experiment, or its YAML file.
    out : str or Path
        The run folder: gets ``evidence.csv``, ``measures.csv``, ``pairs.csv``, ``ranking.csv``,
        ``calibration.csv``, ``ranking.md``, plots, ``report.html``, and under ``targets/`` the run
        folder of each target.
    resume, data_root, overrides, progress, address, jobs
        As for `aoi_tl.workflows.transfer.run_experiment`.

    Returns
    -------
    Benchmarked

    Raises
    ------
    AoiTlError
        For settings, data, checkpoints or folders that cannot be used.
    """
    bench = as_experiment(benchmark, Benchmark, overrides)
    experiments = experiments_of(bench, data_root)
    names = [Path(e.target).parent.name for e in experiments]
    said = bench.model_dump(mode="json", exclude={"depth"})  # it shows in the data
    with open_run(out, {"benchmark": said}, resume) as run:
        folders = [run.path / "targets" / f"{i}-{name}" for i, name in enumerate(names)]
        run_experiments(
            experiments, folders, resume=True, progress=progress, address=address, jobs=jobs
        )
        _record(run, bench, experiments, folders, data_root)
        evidence, measured = [], read_rows(run.path / "measures.csv")
        for experiment, folder in zip(experiments, folders, strict=True):
            target, *sources = load_with_aliases(
                [experiment.target, *experiment.source_files], experiment.aliases,
                depth=experiment.depth,
            )
            together = [s.name for s in sources if _shares(s, target)] or [s.name for s in sources]
            evidence += _trained(experiment, folder, target.name, together)
            done = {(row["target"], row["images"]) for row in measured}
            for images in experiment.target_images:
                if (target.name, str(images)) not in done:
                    progress(f"measures for {target.name}", 0, 0)
                    measured += _of_budget(bench, experiment, target, sources, together, images)
                    run.write("measures.csv", as_csv(MEASURED, measured))
        run.write("evidence.csv", as_csv(EVIDENCE, evidence))
        result = _evaluate(run, evidence, measured, bench.arm)
        run.mark_done()
    return result


def experiments_of(bench: Benchmark, data_root: str | Path | None = None) -> list[Experiment]:
    """Give the experiment of each target, with absolute paths.

    Parameters
    ----------
    bench : Benchmark
        As ``read_settings`` returns it.
    data_root : str or Path, optional
        As for `aoi_tl.experiment.detection.locate`.

    Returns
    -------
    list of Experiment
        Each learns from every dataset but its target alone and from all together.

    Raises
    ------
    AoiTlError
        When a file does not exist, or nothing is left to learn from.
    """
    targets = []
    for index, text in enumerate(bench.target):
        pattern = str(bench.data_path(text, data_root))
        found = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
        if not found:
            raise ExperimentError(
                f"{bench.where('target', index)}: expected dataset files matching {pattern}, got "
                "none; correct the pattern, or point --data-root to the data"
            )
        targets += found
    shared = bench.model_dump(include={
        "weights", "weights_may_run_code", "seeds", "device", "depth", "target_images", "overlap",
        "transfer", "union", "train", "engine",
    })
    experiments = []
    for target in dict.fromkeys(targets):
        located = locate(Experiment.model_validate({
            **shared, "target": target,
            "sources": [str(bench.data_path(source, data_root)) for source in bench.sources],
            "aliases": bench.aliases and str(bench.data_path(bench.aliases)),
            "score": {"method": "paper"}, "arms": ["stock", bench.arm, UNION_OF[bench.arm]],
        }))
        names = [d.name for d in load_with_aliases(located.source_files, located.aliases)]
        experiments.append(located.model_copy(update={"pick": tuple(names)}))
    return experiments


def measure_pairs(
    target: Dataset,
    sources: Sequence[Dataset],
    measures: Sequence[str],
    detectors: Mapping[str, Path],
    weights: Path | None,
    cache: SignatureCache,
    sets: Sequence[Sequence[str]] = (),
    n_clusters: int | str = "auto",
) -> list[dict[str, Any]]:
    """Take measures of each source for a target, and what ``auto`` makes of them.

    Parameters
    ----------
    target : Dataset
        With the labelled images that measures may see as its train split.
    sources : sequence of Dataset
    measures : sequence of str
        Names out of `aoi_tl.ranking.measures.MEASURES`.
    detectors : mapping of str to Path
        Kept detectors by the name of their source.
    weights : Path or None
        The COCO checkpoint of the measures that compare features, and of ``proxy``.
    cache : SignatureCache
    sets : sequence of sequence of str
        Sources that are put together; their estimates are added.
    n_clusters : int or "auto"
        Clusters of each signature.

    Returns
    -------
    list of dict
        ``source`` (of a set, its names joined by "+"), ``measure``, ``value``, ``low``, ``high``,
        ``seconds`` and ``undefined``. Beside the measures asked for: ``auto``; ``auto-data``, which
        knows nothing of detectors; and ``fused``, what the estimate of a set is made of.
    """
    comparison = Comparison(
        [target], sources, n_clusters, "zero-shot", "exact", "all",  # type: ignore[arg-type]
        lambda done, total: None, cache, detectors, weights,
    )
    wanted = comparison.target(target)
    rows, known = [], {}
    needed = tuple(dict.fromkeys([*measures, "overlap", "box", "zero-shot"]))
    for source in sources:
        domain = comparison.source(source)
        taken = {name: MEASURES[name](wanted, domain) for name in needed}
        rows += [{
            "source": source.name, "measure": name, "value": found.value, "low": found.low,
            "high": found.high, "seconds": round(found.seconds, 3), "undefined": found.undefined,
        } for name, found in taken.items()]
        values = {name: found.value for name, found in taken.items()}
        known[domain] = estimate(values)
        data_alone = {name: values[name] for name in ("overlap", "box")}
        rows += _estimates(source.name, known[domain], estimate(data_alone))
        rows.append(_plain(source.name, "fused", zero_shot_map(wanted, pool([domain]))))
    by_name = {domain.name: domain for domain in known}
    for names in sets:
        found = {by_name[name]: known[by_name[name]] for name in names}
        rows += _estimates("+".join(names), estimate_together(wanted, found), None)
        rows.append(_plain("+".join(names), "fused", zero_shot_map(wanted, pool(tuple(found)))))
    return rows


def pairs_of(
    evidence: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]], arm: str
) -> pandas.DataFrame:
    """Join the measures of each source with the gains that training showed.

    Parameters
    ----------
    evidence : sequence of mapping
        Rows with the columns `EVIDENCE`; of equal ones the first counts.
    measured : sequence of mapping
        Rows with the columns `MEASURED`.
    arm : str
        The arm of the single sources.

    Returns
    -------
    DataFrame
        As `aoi_tl.ranking.evaluation.agreement` takes it, with ``family``, ``images`` and ``stock``
        beside. The target's name carries the number of images where there are several. Means over
        seeds, each over the same target's ``stock``.
    """
    import pandas as pd

    trained = pd.DataFrame(evidence)
    trained = trained.drop_duplicates(["target", "images", "arm", "sources", "seed", "settings"])
    trained["points"] = 100 * trained["map50"].astype(float)
    trained["images"] = trained["images"].astype(str)
    key = ["target", "images"]
    stock = trained[trained["arm"] == "stock"].groupby(key)["points"].mean()
    kept = trained[trained["arm"].isin([arm, UNION_OF[arm]])]
    kept = kept.groupby(["family", *key, "sources"], sort=False)["points"].mean().reset_index()
    kept["stock"] = [stock[tuple(found)] for found in kept[key].to_numpy()]
    kept["gain"] = kept.pop("points") - kept["stock"]
    table = pd.DataFrame(measured).rename(columns={"source": "sources"})
    table["images"] = table["images"].astype(str)
    table["value"] = pd.to_numeric(table["value"])
    wide = table.pivot_table(index=[*key, "sources"], columns="measure", values="value",
                             dropna=False, observed=True).reset_index()
    pairs = kept.merge(wide, on=[*key, "sources"])
    if pairs["images"].nunique() > 1:
        pairs["target"] += ", " + pairs["images"] + " images"
    return pairs


def _estimates(name: str, *estimates: Any) -> list[dict[str, Any]]:
    rows = []
    for measure, found in zip(("auto", "auto-data"), estimates, strict=True):
        if found is not None:
            gain, (low, high) = found
            rows.append({**_plain(name, measure, gain), "low": low, "high": high})
    return rows


def _plain(name: str, measure: str, value: float | None) -> dict[str, Any]:
    return {"source": name, "measure": measure, "value": value, "low": None, "high": None,
            "seconds": 0.0, "undefined": None if value is not None else "no detector is kept"}


def _of_budget(
    bench: Benchmark, experiment: Experiment, target: Dataset, sources: Sequence[Dataset],
    together: Sequence[str], images: int | str,
) -> list[dict[str, Any]]:
    """Take the measures of all sources by so many labelled images of the target."""
    sizes = [size for size in experiment.target_images if size != "all"]
    few = target if images == "all" else nested_subsets(target, sizes, bench.seeds[0])[int(images)]
    with SignatureCache() as cache:
        detectors = kept_detectors(sources, "zero-shot", cache)
        weights = find_weights(experiment)
        rows = measure_pairs(
            few, sources, bench.measures, detectors, weights if weights.is_file() else None, cache,
            [together] if len(together) > 1 else [],
        )
    return [{"target": target.name, "images": str(images), **row} for row in rows]


def _trained(
    experiment: Experiment, folder: Path, target: str, together: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows of ``evidence.csv`` that a target's run holds."""
    import pandas as pd

    from aoi_tl.evaluation.predictions import read_predictions

    run = RunFolder(folder)
    table = pd.read_csv(folder / "arms.csv", keep_default_na=False)
    timings = pd.read_csv(folder / "timings.csv").set_index("stage")["seconds"]
    words = json.dumps((run.read_json("fingerprint.json") or {}).get("experiment"), sort_keys=True)
    settings = hashlib.sha256(words.encode()).hexdigest()[:12]
    rows = []
    for row in table.to_dict("records"):
        arm, _, _ = str(row["arm"]).partition("@")
        images = str(row.get("images", "all"))
        stage = stage_name(str(row["arm"]), int(row["seed"]), None if images == "all" else images)
        file = folder / "stages" / f"{stage}-target" / "predictions.npz"
        kept = read_predictions(file.read_bytes())
        # An average shares the training of its plain arm.
        trained = stage.replace("union-soup", "union-chain").replace("chain-soup", "chain")
        rows.append({
            "family": "", "half": "", "target": target, "images": images, "arm": arm,
            "sources": "+".join(together) if arm.startswith("union") else row["source"],
            "seed": row["seed"], **{name: row[name] for name in ("map50", "map50_95", "f1")},
            "test_images": len(kept.images), "test_boxes": len(kept.truth_class),
            "seconds": float(timings[f"{trained}-target"]), "settings": settings,
        })
    return rows


def _evaluate(
    run: RunFolder, evidence: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]],
    arm: str,
) -> Benchmarked:
    """Write tables, pages and plots of what is known."""
    import pandas as pd

    from aoi_tl.report.page import write_page

    pairs = pairs_of(evidence, measured, arm)
    generator = np.random.default_rng(0)
    found = agreement(pairs, directions(pairs), generator)
    margins = {"auto": FITTED["detector"].margin, "auto-data": FITTED["data"].margin}
    calibrated = {
        name: calibration(pairs, name, margin, generator)
        for name, margin in margins.items() if name in pairs
    }
    run.write_table("pairs.csv", pairs)
    run.write_table("ranking.csv", found)
    for name, direction in directions(pairs).items():
        run.write(f"plots/{name}.svg", draw_gains(pairs, name, direction))
    if calibrated:
        rows = [{"estimate": name, **values} for name, values in calibrated.items()]
        run.write_table("calibration.csv", pd.DataFrame(rows))
    run.write("ranking.md", benchmark_page(pairs, found, calibrated, choices_made(pairs, "auto")))
    write_page(run.path)
    return Benchmarked(run.path, found, calibrated)


def _record(
    run: RunFolder, bench: Benchmark, experiments: Sequence[Experiment], folders: Sequence[Path],
    data_root: str | Path | None,
) -> None:
    """Keep what a repetition needs; paths become absolute, so that it works from anywhere."""
    data: dict[str, str] = {}
    for folder in folders:
        data |= (RunFolder(folder).read_json("environment.json") or {}).get("data", {})
    known = (RunFolder(folders[0]).read_json("fingerprint.json") or {}).get("weights", "")
    located = bench.model_copy(update={
        "target": tuple(experiment.target for experiment in experiments),
        "sources": tuple(str(bench.data_path(text, data_root).absolute())
                         for text in bench.sources),
        "aliases": experiments[0].aliases, "weights": experiments[0].weights,
    })
    record_experiment(run, located, data, located.weights, known, "benchmark")


def _shares(source: Dataset, target: Dataset) -> bool:
    known = set(target.split("train", "val").label_space)
    return bool(set(source.split("train").label_space) & known)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Give the rows of a table; none where there is no such file."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def as_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Give the text of a table."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
