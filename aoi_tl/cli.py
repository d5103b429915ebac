"""The command line: arguments in, text out. The workflows do the work."""

from __future__ import annotations

import itertools
import json
import math
import signal
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from aoi_tl.errors import AoiTlError, ExperimentError
from aoi_tl.live import open_view

if TYPE_CHECKING:
    from aoi_tl.report.tables import Table
    from aoi_tl.workflows.classify import ClassificationOutcome
    from aoi_tl.workflows.transfer import Outcome

app = typer.Typer(
    name="aoi-tl",
    help="Which of your old defect datasets should the new detector learn from, and did it pay?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path, typer.Option(help="The run folder: new, or with --resume the one to "
                                        "continue.")]
OutByName = Annotated[Path | None, typer.Option("--out", help="The run folder; by default "
                                                              "runs/NAME.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in that folder.")]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the result as JSON.")]
Aliases = Annotated[Path | None, typer.Option(help="YAML that maps class names to common ones.")]
Clusters = Annotated[str, typer.Option("--clusters", help="Clusters per signature: auto (elbow) "
                                                          "or a number.")]
Solver = Annotated[str, typer.Option(help="slsqp (Russell's start, as published) or exact.")]
Method = Annotated[str, typer.Option(help="Ranking criterion: auto, paper, or a measure such as "
                                          "zero-shot, emd, size, overlap, box.")]
Sample = Annotated[str, typer.Option(help="Images per dataset: all or a number.")]
DepthOption = Annotated[int | None, typer.Option("--depth", help="Bits that 16-bit images really "
                                                 "use: 8, 10, 12, 14 or 16; found by default.")]
DataRoot = Annotated[Path | None, typer.Option(help="Replaces a leading ../datasets/ in the "
                                                    "experiment's paths.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: "
                                                             "train.epochs=3.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, only the result.")]
EngineName = Annotated[str | None, typer.Option("--engine", help="Where tasks run: local (this "
                                                "machine) or ray (a cluster).")]
Address = Annotated[str | None, typer.Option(help="The Ray cluster, host:port; by default "
                                                  "RAY_ADDRESS, or a new local cluster.")]
Jobs = Annotated[int, typer.Option(min=1, help="Number of parallel trainings on this machine.")]


class _Stopped(BaseException):
    """Ctrl-C or SIGTERM; not a KeyboardInterrupt, at which Typer would exit silently."""


def _stop(number: int, _: object) -> None:
    raise _Stopped(number)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 2."""
    endings = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
    for number in endings:
        signal.signal(number, _stop)
    try:
        app()
    except AoiTlError as error:
        typer.echo(f"aoi-tl: {error}", err=True)
        sys.exit(2)
    except _Stopped as stopped:
        for number in endings:
            signal.signal(number, signal.SIG_IGN)
        [number] = stopped.args
        typer.echo(f"aoi-tl: {endings[number]}; a run continues with --resume", err=True)
        sys.exit(128 + number)


@app.command(
    epilog="Example: aoi-tl score datasets/dc-1/data.yaml datasets/*/data.yaml --out runs/score"
)
def score(
    datasets: Annotated[list[Path], typer.Argument(metavar="TARGET.yaml SOURCE.yaml...",
                                                   show_default=False)],
    out: Out = Path("runs/score"),
    matrix: Annotated[bool, typer.Option("--matrix", help="Score every dataset against every "
                                                          "other.")] = False,
    method: Method = "auto",
    budget: Annotated[str | None, typer.Option(help="Time for short trainings, such as 10m, with "
                                               "auto and proxy; 0: read data alone.")] = None,
    weights: Annotated[str | None, typer.Option(help="The COCO checkpoint of the methods frechet, "
                                                "mmd and otdd, and of --budget.")] = None,
    clusters: Clusters = "auto",
    solver: Solver = "slsqp",
    sample: Sample = "all",
    aliases: Aliases = None,
    resume: Resume = False,
    engine: EngineName = None,
    address: Address = None,
    depth: DepthOption = None,
    index_file: Annotated[Path | None, typer.Option("--index", help="Rank the datasets of an "
                                                    "index (aoi-tl index) instead.")] = None,
    top: Annotated[int, typer.Option(help="With --index: the number of closest sources.")] = 10,
    quiet: Quiet = False,
    json_file: Json = None,
) -> None:
    """Rank the sources for a target, the closest first, and select one to learn from."""
    from aoi_tl.engine import open_engine
    from aoi_tl.report.tables import matrix_table, ranking_table
    from aoi_tl.workflows.score import (
        matrix_quantities,
        run_score,
        run_score_index,
        run_score_matrix,
    )

    settings: dict[str, Any] = {
        "n_clusters": _number(clusters), "method": method, "solver": solver,
        "sample": _number(sample),
    }
    seconds = None if budget is None else _seconds(budget)
    with open_view(quiet) as progress, open_engine(engine or "local", address) as where:
        if index_file is not None:
            rows: Any = run_score_index(datasets, index_file, top, out, settings, aliases, resume,
                                        progress, where, weights, seconds,
                                        _depth(depth))
        elif matrix:
            rows = run_score_matrix(datasets, out, settings, aliases, resume, progress, where,
                                    weights, seconds, _depth(depth))
        else:
            rows = run_score(datasets[0], datasets[1:], out, settings, aliases, resume, progress,
                             where, weights, seconds, _depth(depth))
    if matrix:
        for quantity in matrix_quantities(method):
            _show(matrix_table(rows, quantity))
    else:
        _show(ranking_table(rows))
        _say_picked(rows)
    _say_notes(out)
    _write_json(json_file, rows)
    typer.echo(f"written to {out}")


@app.command(
    epilog="Example: aoi-tl transfer datasets/dc-1/data.yaml datasets/*/data.yaml "
           "--weights yolo11n.pt --out runs/t1"
)
def transfer(
    target: Annotated[Path, typer.Argument(metavar="TARGET.yaml", show_default=False)],
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE.yaml...", show_default=False)],
    weights: Annotated[str, typer.Option(help="Checkpoint: a name or a path.")] = "yolo11n.pt",
    out: Out = Path("runs/transfer"),
    aliases: Aliases = None,
    set_: Set = None,
    resume: Resume = False,
    engine: EngineName = None,
    address: Address = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    json_file: Json = None,
) -> None:
    """Train a detector from the best source, and compare it with training without a source."""
    from aoi_tl.workflows.transfer import experiment_of, run_experiment

    experiment = experiment_of(target, sources, weights, aliases, _overrides(set_, engine))
    with open_view(quiet) as progress:
        outcome = run_experiment(
            experiment, out, resume=resume, progress=progress, address=address, jobs=jobs
        )
    _write_json(json_file, _show_outcome(outcome))


@app.command(epilog="Example: aoi-tl run experiments/dc-1.yaml --set train.epochs=3")
def run(
    experiments: Annotated[list[Path], typer.Argument(metavar="EXPERIMENT.yaml...",
                                                      show_default=False)],
    out: Annotated[Path | None, typer.Option(help="The run folder of a single experiment; "
                                                  "by default runs/NAME.")] = None,
    set_: Set = None,
    data_root: DataRoot = None,
    resume: Resume = False,
    engine: EngineName = None,
    address: Address = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    json_file: Json = None,
) -> None:
    """Run experiment files: score, adapt, train every arm with every seed, compare."""
    from aoi_tl.workflows.transfer import run_experiments

    outs = [out] if out else [Path("runs") / experiment.stem for experiment in experiments]
    if len(set(outs)) < len(experiments):
        raise ExperimentError(
            f"expected a run folder for each experiment, got {', '.join(map(str, outs))} for "
            f"{len(experiments)}; give the files different names, and leave --out out"
        )
    with open_view(quiet) as progress:
        outcomes = run_experiments(
            experiments, outs, resume=resume, data_root=data_root,
            overrides=_overrides(set_, engine), progress=progress, address=address, jobs=jobs,
        )
    shown = [_show_outcome(outcome) for outcome in outcomes]
    if len(outcomes) > 1:
        from aoi_tl.report.tables import verdicts_over_targets
        from aoi_tl.workflows.transfer import BASELINES

        _echo_all(verdicts_over_targets([o.summary for o in outcomes], "map50", BASELINES))
    _write_json(json_file, shown if len(shown) > 1 else shown[0])


@app.command(epilog="Example: aoi-tl benchmark experiments/demo-benchmark.yaml --data-root "
                    "datasets/demo --out runs/benchmark")
def benchmark(
    bench: Annotated[Path, typer.Argument(metavar="BENCH.yaml", show_default=False)],
    out: OutByName = None,
    set_: Set = None,
    data_root: DataRoot = None,
    resume: Resume = False,
    engine: EngineName = None,
    address: Address = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    json_file: Json = None,
) -> None:
    """Test the ranking on your shelf: train from every source and compare the orders."""
    from aoi_tl.report.benchmark import agreement_table, calibration_table
    from aoi_tl.workflows.benchmark import run_benchmark

    with open_view(quiet) as progress:
        found = run_benchmark(
            bench, out or Path("runs") / bench.stem, resume=resume, data_root=data_root,
            overrides=_overrides(set_, engine), progress=progress, address=address, jobs=jobs,
        )
    _show(agreement_table(found.agreement))
    _show(calibration_table(found.calibration))
    _write_json(json_file, {
        "agreement": json.loads(found.agreement.to_json(orient="records")),
        "calibration": found.calibration,
    })
    typer.echo(f"written to {found.folder}; open {found.folder / 'report.html'}")


@app.command(epilog="Example: aoi-tl classify experiments/lithium-cdg.yaml --data-root data")
def classify(
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", show_default=False)],
    out: OutByName = None,
    set_: Set = None,
    data_root: DataRoot = None,
    resume: Resume = False,
    quiet: Quiet = False,
    json_file: Json = None,
) -> None:
    """Train classifiers across two domains (CDG, two-stage), every arm with every seed."""
    from aoi_tl.workflows.classify import run_classification

    with open_view(quiet) as progress:
        outcome = run_classification(
            experiment, out or Path("runs") / experiment.stem, resume=resume, data_root=data_root,
            overrides=set_ or [], progress=progress,
        )
    _show_classification(outcome, json_file)


class Task(StrEnum):
    """The task of the demo."""

    DETECT = "detect"
    CLASSIFY = "classify"


@app.command(epilog="Example: aoi-tl demo, or aoi-tl demo --task classify")
def demo(
    task: Annotated[Task, typer.Option(help="Detection, or classification of surfaces.")] = (
        Task.DETECT
    ),
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/demo or "
                                                  "runs/demo-classify.")] = None,
    data: Annotated[Path | None, typer.Option(help="Where the drawn images go; datasets/demo or "
                                                   "datasets/demo-classify.")] = None,
    set_: Set = None,
    quiet: Quiet = False,
    json_file: Json = None,
) -> None:
    """Draw small datasets and run the complete workflow on them; needs no download."""
    name = "demo" if task is Task.DETECT else "demo-classify"
    out, data = out or Path("runs") / name, data or Path("datasets") / name
    if task is Task.DETECT:
        from aoi_tl.workflows.demo import run_demo

        with open_view(quiet) as progress:
            outcome, notes = run_demo(out, data, overrides=set_ or [], progress=progress)
        _echo_all(notes)
        _write_json(json_file, _show_outcome(outcome))
    else:
        from aoi_tl.workflows.demo import run_classification_demo

        with open_view(quiet) as progress:
            found, notes = run_classification_demo(
                out, data, overrides=set_ or [], progress=progress
            )
        _echo_all(notes)
        _show_classification(found, json_file)


@app.command(epilog="Example: aoi-tl index shelf.index shelf/*/data.yaml")
def index(
    file: Annotated[Path, typer.Argument(metavar="INDEX", show_default=False)],
    datasets: Annotated[list[Path], typer.Argument(metavar="DATA.yaml...", show_default=False)],
    clusters: Clusters = "auto",
    sample: Sample = "all",
    aliases: Aliases = None,
    engine: EngineName = None,
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Keep the signatures of many datasets in one file, for aoi-tl score --index."""
    from aoi_tl.caches.signature_cache import SignatureCache
    from aoi_tl.engine import open_engine
    from aoi_tl.ranking.indexed import index_datasets
    from aoi_tl.workflows.shelf import load_with_aliases

    loaded = load_with_aliases(datasets, aliases)
    with (
        open_view(quiet) as progress, open_engine(engine or "local", address) as where,
        SignatureCache(engine=where) as cache,
    ):
        n = index_datasets(file, loaded, _number(clusters), _number(sample),  # type: ignore[arg-type]
                           lambda done, total: progress("signatures", done, total), cache)
    typer.echo(f"{file} holds {n} datasets")


@app.command(epilog="Example: aoi-tl labels new/data.yaml shelf/*/data.yaml > aliases.yaml")
def labels(
    target: Annotated[Path, typer.Argument(metavar="TARGET.yaml", show_default=False)],
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE.yaml...", show_default=False)],
) -> None:
    """Propose aliases for source classes that the target has under another name."""
    from aoi_tl.data.synonyms import format_aliases, propose_aliases
    from aoi_tl.data.yolo.read import load_dataset

    proposals = propose_aliases(load_dataset(target), [load_dataset(file) for file in sources])
    typer.echo(format_aliases(proposals), nl=False)


class FailOn(StrEnum):
    """The lowest severity that makes `check` exit with status 1."""

    ERROR = "error"
    WARNING = "warning"
    NEVER = "never"


@app.command(epilog="Example: aoi-tl check new/data.yaml shelf/*/data.yaml. Exit status: 0 no "
                    "errors, 1 one or more.")
def check(
    datasets: Annotated[list[Path], typer.Argument(metavar="DATA.yaml...", show_default=False)],
    out: Annotated[Path, typer.Option(help="Gets a check.json for each dataset.")] = Path(
        "runs/check"
    ),
    pixels: Annotated[bool, typer.Option(help="Also read the images, to find broken ones "
                                              "and copies.")] = True,
    depth: DepthOption = None,
    fail_on: Annotated[FailOn, typer.Option(help="What makes the exit status 1.")] = FailOn.ERROR,
    quiet: Quiet = False,
    json_file: Json = None,
) -> None:
    """Look for faults in labels and images, and for copies within and across datasets."""
    from aoi_tl.workflows.check import run_check

    with open_view(quiet) as progress:
        checked = run_check(
            datasets, out, duplicates=pixels, progress=progress, depth=_depth(depth)
        )
    for found in checked:
        _show(found.to_table())
    _write_json(json_file, [found.to_json() for found in checked])
    typer.echo(f"written to {out}")
    grave = {FailOn.ERROR: {"error"}, FailOn.WARNING: {"error", "warning"}, FailOn.NEVER: set()}
    if any(f.severity in grave[fail_on] for found in checked for f in found.findings):
        raise typer.Exit(1)


class _SplitCommand(TyperCommand):
    """Accepts the shares as three words or as one word with commas."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--shares" in args:
            first = args.index("--shares") + 1
            given = list(itertools.takewhile(_is_number, args[first:]))
            if given:
                args = [*args[:first], ",".join(given), *args[first + len(given):]]
        return super().parse_args(ctx, args)


@app.command(cls=_SplitCommand,
             epilog="Example: aoi-tl split raw/data.yaml --out raw-split --groups parts.csv")
def split(
    dataset: Annotated[Path, typer.Argument(metavar="DATA.yaml", show_default=False)],
    out: Annotated[Path, typer.Option(help="The new dataset's folder.", show_default=False)],
    shares: Annotated[str, typer.Option(metavar="TRAIN,VAL,TEST",
                                        help="They sum to 1.")] = "0.6,0.2,0.2",
    groups: Annotated[Path | None, typer.Option(help="CSV with columns image and group; by "
                                                     "default copies are detected.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random split.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Split a dataset again; images of the same part stay together."""
    from aoi_tl.workflows.check import run_split

    wanted = [float(part) for part in shares.split(",") if _is_number(part)]
    if len(wanted) != 3 or len(wanted) != shares.count(",") + 1:
        raise ExperimentError(
            f"--shares: expected three numbers for train, val and test, such as 0.6,0.2,0.2, got "
            f"{shares!r}"
        )
    with open_view(quiet) as progress:
        file, table = run_split(dataset, out, wanted, groups, seed, progress)
    _show(table)
    typer.echo(f"written to {file}")


@app.command("import", epilog="Example: aoi-tl import voc annotations/ --images jpegs/ --out new")
def import_(
    given: Annotated[list[str], typer.Argument(
        metavar="[FORMAT] SOURCE", show_default=False,
        help="A file, a folder or a .zip. The format is detected, or given first: coco, voc, "
             "labelme, cvat, yolo, deeppcb, masks, folders or csv.")],
    out: Annotated[Path, typer.Option(help="The new dataset's folder.", show_default=False)],
    images: Annotated[Path | None, typer.Option(help="Where the images are.")] = None,
    split: Annotated[str | None, typer.Option(help="train, val or test for all images.")] = None,
    gap: Annotated[int, typer.Option(help="masks: join pieces up to this many px apart.")] = 4,
    area: Annotated[int, typer.Option(help="masks: drop pieces of fewer pixels.")] = 8,
    values: Annotated[str | None, typer.Option(
        metavar="VALUE: CLASS,...", help="masks: the class of each pixel value, such as "
                                         "'1: scratch, 2: dent'.")] = None,
    skip_faulty: Annotated[bool, typer.Option("--skip-faulty", help="Leave out unusable "
                                              "annotations, and report their number.")] = False,
    most_faulty: Annotated[float, typer.Option(help="--skip-faulty: the share of annotations "
                                               "that may be faulty.")] = 0.05,
) -> None:
    """Convert another tool's annotations to an Ultralytics dataset."""
    from aoi_tl.formats import import_dataset

    if len(given) > 2:
        raise ExperimentError(
            f"expected a format and a source, got {' '.join(given)!r}; name one source"
        )
    done = import_dataset(
        given[0] if len(given) > 1 else None, given[-1], out, images, split=split, gap=gap,
        area=area, values=_mask_values(values), skip_faulty=skip_faulty, most_faulty=most_faulty,
    )
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{done.path}: {len(done.dataset.samples)} images, {done.dataset.instances} boxes")


@app.command(epilog="Example: aoi-tl export coco new/data.yaml --out coco")
def export(
    format_: Annotated[str, typer.Argument(metavar="FORMAT", show_default=False,
                                           help="coco or voc")],
    dataset: Annotated[Path, typer.Argument(metavar="DATA.yaml", show_default=False)],
    out: Annotated[Path, typer.Option(help="The new folder.", show_default=False)],
) -> None:
    """Write a dataset in another tool's format."""
    from aoi_tl.data.yolo.read import load_dataset
    from aoi_tl.formats import export_dataset

    typer.echo(f"written to {export_dataset(load_dataset(dataset), format_, out)}")


@app.command(epilog="Example: aoi-tl inspect runs/dc-1/exported/method-all-s0.onnx parts/ --out "
                    "runs/inspect. Exit status: 0 all passed, 1 one or more not.")
def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", show_default=False,
                                          help="best.pt of a run with 'operate', or a file of "
                                               "export-model.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", show_default=False,
                                                 help="Files, folders or patterns.")],
    out: Annotated[Path, typer.Option(help="A new folder: verdicts and pictures.")] = Path(
        "runs/inspect"
    ),
    quiet: Quiet = False,
) -> None:
    """Pass or reject images with a detector and its thresholds."""
    from aoi_tl.workflows.inspect import Verdict, run_inspection

    def show(verdict: Verdict) -> None:
        boxes = ", ".join(f"{box['class']} {box['confidence']:.2f}" for box in verdict.boxes)
        typer.echo(f"{verdict.verdict}\t{verdict.image}" + (f"\t{boxes}" if boxes else ""))
        if verdict.fault:
            typer.echo(f"note: {verdict.fault}", err=True)

    # Where there is no terminal, the verdicts are all that the output may hold.
    with open_view(quiet or not sys.stderr.isatty()) as progress:
        verdicts = run_inspection(
            model, images, out, progress, show, lambda line: typer.echo(f"note: {line}", err=True)
        )
    kinds = [verdict.verdict for verdict in verdicts]
    counts = ", ".join(f"{kinds.count(kind)} {word}" for kind, word in (
        ("pass", "passed"), ("reject", "rejected"), ("unreadable", "unreadable"),
    ) if kind in kinds)
    typer.echo(f"{counts}; written to {out}")
    if set(kinds) != {"pass"}:
        raise typer.Exit(1)


@app.command("export-model", epilog="Example: aoi-tl export-model runs/dc-1 --format onnx")
def export_model(
    given: Annotated[Path, typer.Argument(metavar="RUN", show_default=False,
                                          help="A run with 'operate', or one best.pt in it.")],
    format_: Annotated[str, typer.Option("--format", help="onnx or openvino.")] = "onnx",
) -> None:
    """Export a detector with its thresholds, class names and image size."""
    from aoi_tl.workflows.export_model import run_export

    exported = run_export(given, format_)
    if exported.among > 1:
        typer.echo(f"Of {exported.among} detectors, {exported.checkpoint} is the best on held-out "
                   "images; to export another one, give its best.pt.")
    found = exported.parity
    typer.echo(f"Largest difference on {found.images} images with {found.boxes} boxes: "
               f"{found.confidence:.1e} of confidence, {found.shift:.1e} px.")
    typer.echo(f"written to {exported.file}")


@app.command(epilog="Example: aoi-tl report runs/dc-1 runs/t1 --out runs/both.html")
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", show_default=False,
                                               help="Run folders.")],
    out: Annotated[Path, typer.Option(help="The page that compares several runs.")]
    = Path("runs/comparison.html"),
) -> None:
    """Write the page of each run again from its tables; for several runs also a comparison."""
    from aoi_tl.report.page import write_comparison, write_page

    for folder in runs:
        typer.echo(f"written to {write_page(folder)}")
    if len(runs) > 1:
        typer.echo(f"written to {write_comparison(runs, out)}")


# ------------------------------------------------------------------------------------ words out


def _show_outcome(outcome: Outcome) -> dict[str, Any]:
    """Show the results of a run; give the content for --json."""
    from aoi_tl.report.tables import arms_table, ranking_table, verdicts
    from aoi_tl.workflows.transfer import BASELINES

    scores = json.loads((outcome.folder / "scores.json").read_text(encoding="utf-8"))
    _show(ranking_table(scores))
    _say_picked(scores, outcome.picked)
    _say_detectors(outcome.folder)
    for metric in ("map50", "f1"):
        _show(arms_table(outcome.summary, metric, BASELINES))
    _echo_all(verdicts(outcome.summary, "map50", BASELINES))
    _say_notes(outcome.folder)
    for note in filter(None, outcome.arms["notes"]):
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"The run is in {outcome.folder}; open {outcome.folder / 'report.html'}")
    return {
        "scores": scores,
        "arms": json.loads(outcome.arms.to_json(orient="records")),
        "summary": json.loads(outcome.summary.to_json(orient="records")),
    }


def _show_classification(outcome: ClassificationOutcome, json_file: Path | None) -> None:
    from aoi_tl.report.tables import arms_table

    baselines = [name.removeprefix("minus_") for name in map(str, outcome.summary)
                 if name.startswith("minus_") and name.count("_") == 1]
    for metric in ("accuracy", "macro_f1"):
        _show(arms_table(outcome.summary, metric, baselines))
    if (outcome.folder / "notes.json").is_file():
        _say_notes(outcome.folder)
    _write_json(json_file, {
        "arms": json.loads(outcome.arms.to_json(orient="records")),
        "summary": json.loads(outcome.summary.to_json(orient="records")),
    })
    typer.echo(f"The run is in {outcome.folder}; open {outcome.folder / 'report.html'}")


def _echo_all(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(line)


def _say_picked(scores: dict[str, Any], picked: tuple[str, ...] | None = None) -> None:
    if picked and picked != (scores["selected"],):
        typer.echo(f"Learned from: {', '.join(picked)} (the score picks {scores['selected']})")
    elif scores.get("choices"):
        typer.echo(_advice(scores["choices"]))
    elif scores["selected"] and scores["method"] != "paper":
        typer.echo(f"Picked source: {scores['selected']} (the first by {scores['method']})")
    elif scores["selected"]:
        typer.echo(f"Picked source: {scores['selected']} (of the three lowest scores, the one with "
                   "the most instances)")
    else:
        typer.echo("No source is picked: none has a defined score.")


def _say_detectors(folder: Path) -> None:
    """Report which source detectors were reused, and which are kept for later runs."""
    file = folder / "detectors.json"
    if file.is_file():
        for name, kept in json.loads(file.read_text(encoding="utf-8")).items():
            how = ("reused" if kept["reused"] else
                   f"trained in {kept['seconds']:.0f} s and kept for later runs")
            typer.echo(f"Source detector {name}: {how}")


def _advice(choices: Sequence[dict[str, Any]]) -> str:
    """The recommendation of auto in one line."""
    best = choices[0]
    if not best["sources"]:
        return "Advice: learn from none of these; fine-tune COCO."
    if best["estimated_gain"] is None:
        return "Advice: none; no gain can be estimated."
    low, high = best["interval"]
    return (f"Advice: learn from {', '.join(best['sources'])}; estimated gain "
            f"{best['estimated_gain']:+.1f} points of mAP50 [{low:+.1f}, {high:+.1f}]")


def _say_notes(folder: Path) -> None:
    """Print the notes on omitted or unusual data to stderr, apart from the results."""
    for note in json.loads((folder / "notes.json").read_text(encoding="utf-8")):
        typer.echo(f"note: {note}", err=True)


def _seconds(words: str) -> float:
    """The seconds of ``90s``, ``10m`` or ``1h``, or of a plain 0."""
    number, unit = words[:-1], {"s": 1, "m": 60, "h": 3600}.get(words[-1:])
    if words == "0":
        return 0.0
    if unit is None or not _is_number(number) or not 0 <= float(number) < math.inf:
        raise ExperimentError(
            f"--budget: expected a time such as 90s, 10m or 1h, or 0, got {words!r}"
        )
    return float(number) * unit


def _overrides(set_: list[str] | None, engine: str | None) -> list[str]:
    return [*(set_ or []), *([f"engine={engine}"] if engine else [])]


def _mask_values(words: str | None) -> dict[int, str] | None:
    """The classes by pixel value, as in ``1: scratch, 2: dent``."""
    if words is None:
        return None
    pairs = [part.partition(":") for part in words.strip("{} ").split(",")]
    found = {int(value): name.strip() for value, _, name in pairs if value.strip().isdecimal()}
    if len(found) < len(pairs) or not all(found.values()) or 0 in found:
        raise ExperimentError(
            f"--values: expected values above 0 with classes, such as '1: scratch, 2: dent', got "
            f"{words!r}"
        )
    return found


def _depth(given: int | None) -> int | None:
    from aoi_tl.data.depth import check_depth

    return None if given is None else check_depth(given, "--depth")


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _number(words: str) -> int | str:
    return int(words) if words.isdecimal() else words


def _show(table: Table) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    if not table.rows:
        typer.echo(table.title)
        return
    # A title on its own line is not wrapped to the width of a narrow table.
    typer.echo(f"\n{table.title}")
    shown = RichTable(*table.headings, box=box.SIMPLE_HEAD)
    for row in table.rows:
        shown.add_row(*row)
    # A pipe has no width: use one that cuts no cell.
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(shown)


def _write_json(file: Path | None, value: object) -> None:
    if file is not None:
        from aoi_tl.files.run_folder import write_atomically

        write_atomically(file, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
