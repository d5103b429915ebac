"""The arms of a run: every chain with every seed, evaluated once on the target's test split.

Each arm and seed is one task of the engine. A task writes into its own stage folders only. The
tables are assembled here, in an order that does not depend on which task ends first.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoi_tl.data.dataset import Dataset
from aoi_tl.engine import Engine, Task
from aoi_tl.experiment.detection import Experiment
from aoi_tl.files.run_folder import RunFolder, file_hash, folder_name, stage_name
from aoi_tl.workflows.auto import choose_and_train, chosen
from aoi_tl.workflows.chain import Chain, Work
from aoi_tl.workflows.progress import Progress, View, watched
from aoi_tl.workflows.training import read_result, train_and_evaluate

if TYPE_CHECKING:
    import pandas


@dataclass
class Arms:
    """The arms of one run, with the results so far.

    Attributes
    ----------
    run : RunFolder
        Gets ``arms.csv``, ``per_class.csv``, ``timings.csv``, and ``operating.csv`` where
        thresholds are wanted.
    works : tuple of Work
        In the order of the tables' rows.
    results : dict
        What `read_result` gives, by the name of the work.
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
        """Whether every arm is evaluated with every seed."""
        return len(self.results) == len(self.works)

    def tasks(self) -> list[Task]:
        """Give a task for each work that is not done."""
        return [
            Task(
                f"{work.run}/stages/{work.name}",
                choose_and_train if work.chain.candidates else train_and_evaluate, (work,),
                *requested_resources(work),
            )
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
        operating: list[dict[str, Any]] = []
        timings: dict[str, dict[str, Any]] = {}
        for work in self.works:
            if (found := self.results.get(work.name)) is None:
                continue
            key: dict[str, Any] = {"arm": work.chain.arm, "seed": work.seed}
            if self.counts_images:
                key["images"] = work.chain.images or "all"
            rows.append({**key, **found["scores"], "source": work.chain.source or "",
                         "notes": found["notes"]})
            # There `images` are the test images of a class; the target's own go by another name.
            mine = {"labelled" if name == "images" else name: value for name, value in key.items()}
            per_class += [{**mine, **classes} for classes in found["classes"]]
            operating += [{**key, **line} for line in found.get("operating", ())]
            timings |= {row["stage"]: row for row in found["timings"]}  # stages may be shared
        for name, lines in (
            ("arms", rows), ("per_class", per_class), ("timings", list(timings.values())),
        ):
            self.run.write_table(f"{name}.csv", pd.DataFrame(lines))
        if operating:
            self.run.write_table("operating.csv", pd.DataFrame(operating))
        return pd.DataFrame(rows)


def plan_arms(
    run: RunFolder,
    experiment: Experiment,
    target: Dataset,
    chains: Mapping[int, Sequence[Chain]],
    weights: Path,
) -> Arms:
    """List every arm with every seed, with the results of an earlier attempt.

    Parameters
    ----------
    run : RunFolder
        Stages are under ``stages/``.
    experiment : Experiment
        Its training arguments, seeds and device.
    target : Dataset
        Whose test split every arm is evaluated on.
    chains : mapping of int to sequence of Chain
        For each seed the chain of each arm.
    weights : Path
        The checkpoint that every chain but ``scratch`` starts from.

    Returns
    -------
    Arms
    """
    from aoi_tl.transfer.arguments import training_threads

    if not weights.is_file():
        weights = _random_checkpoint(run, experiment, weights, target.names)
    claim, threads = file_hash(run.path / "fingerprint.json"), training_threads()
    test_data = run.path / "data" / folder_name(target.name) / "data.yaml"
    works = tuple(
        Work(run.path, claim, experiment, chain, seed, weights.absolute(), test_data, threads)
        for seed in experiment.seeds for chain in chains[seed]
    )
    _keep_what_stays(run, works)
    left = {work.name: read_result(chosen(work) or work) for work in works}
    return Arms(run, works, {name: result for name, result in left.items() if result})


def _keep_what_stays(run: RunFolder, works: Sequence[Work]) -> None:
    """Remove the results of arms whose definition changed when the run was extended.

    With more sources another one may be picked, a union holds more, and the longest chain, which
    stock-long is as long as, may be longer.
    """
    before = run.read_json("plan.json")
    plans = {work.name: _plan(run, work.chain) for work in works}
    if before == plans:
        return
    anew: list[str] = []
    for work in works if before is not None or (run.path / "arms.csv").is_file() else ():
        if before is None:  # of a version that kept no plan
            is_same = work.chain.source is None and work.chain.longer == 1
        else:
            is_same = before.get(work.name) in (None, plans[work.name])
        if is_same:
            continue
        anew.append(work.chain.arm)
        arms = [work.chain.trained_as or work.chain.arm, work.chain.arm]
        arms += [f"{arm}-fold{n}" for arm in arms for n in range(len(work.chain.folds))]
        for name in {f"{stage_name(arm, work.seed, work.chain.images)}-" for arm in arms}:
            for folder in [*run.path.glob("stages/*"), run.path / "data" / f"{name}mix"]:
                if folder.name.startswith(name):
                    shutil.rmtree(folder, ignore_errors=True)
    if anew:
        run.write_json("notes.json", [
            *(run.read_json("notes.json") or ()),
            f"{', '.join(dict.fromkeys(anew))}: trained anew, since the run has grown and they "
            "learn from other sources or for longer now",
        ])
    run.write_json("plan.json", plans)


def _plan(run: RunFolder, chain: Chain) -> dict[str, Any]:
    """What the result of an arm depends on, apart from what is fixed for the run."""
    detector = chain.detector
    return {
        "source": chain.source, "longer": round(chain.longer, 9),
        "detector": detector and {
            "contents": list(detector.contents), "times": [times for _, times in detector.data],
            "given": detector.checkpoint and file_hash(detector.checkpoint),
        },
    }


def train_arms(runs: Sequence[Arms], engine: Engine, progress: Progress) -> Iterator[Arms]:
    """Train and evaluate the remaining arms of some runs.

    Parameters
    ----------
    runs : sequence of Arms
        Their remaining arms make one list of tasks.
    engine : Engine
        Runs the tasks.
    progress : callable
        Called with how many are done.

    Yields
    ------
    Arms
        Those of one run, as soon as the last of them is evaluated.

    Raises
    ------
    EngineError
        When a worker does not see the run's files, or none can be had.
    """
    owners = {task.name: arms for arms in runs for task in arms.tasks()}
    total = sum(len(arms.works) for arms in runs)
    done = total - len(owners)
    yield from (arms for arms in runs if arms.is_done)
    if done and isinstance(progress, View):
        progress.reused(f"{done} of {total} arms with one seed, evaluated before")
    with watched([arms.run.path for arms in runs], progress):
        progress("training", done, total)
        for task, result in engine.run(task for arms in runs for task in arms.tasks()):
            arms = owners[task.name]
            arms.keep(task.arguments[0], result)
            done += 1
            progress("training", done, total)
            if arms.is_done:
                yield arms


def requested_resources(work: Work) -> tuple[int, int]:
    """Give the CPUs and GPUs that a unit of work occupies.

    Returns
    -------
    tuple of int
        On CPU as many cores as the training has threads; else a GPU for each that ``device``
        names, and a core to feed each.
    """
    device = work.experiment.device
    gpus = len(re.findall(r"\d+", device)) or int(device.startswith("cuda"))
    return gpus or work.threads, gpus


def _random_checkpoint(
    run: RunFolder, experiment: Experiment, architecture: Path, names: Sequence[str]
) -> Path:
    from aoi_tl.transfer.detector import new_model, save_checkpoint

    file = run.path / "weights" / f"random-{architecture.stem}.pt"
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        save_checkpoint(new_model(str(architecture), names, experiment.seeds[0]), file)
    return file
