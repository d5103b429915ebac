"""Does it pay? Every arm on real families of datasets, one appended row for each training.

    python benchmarks/evidence.py --shared DATA --weights WEIGHTS --work FOLDER [--jobs 2]

``DATA`` holds ``deeppcb/``, ``neu-det/``, ``kolektor-sdd/``, ``aluminum/`` and ``magnetic-tile/``.
Rows that ``results/evidence.csv`` has already, with the same settings, are not trained again. The
rows come in the order of `plans`: stop it whenever you like, and go on later.

Settings were chosen on the targets of `DEVELOPMENT` alone, a choice that was written down before
the first training; the others are reported apart.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROWS = Path(__file__).parent / "results" / "evidence.csv"
COLUMNS = (
    "family", "half", "target", "images", "arm", "sources", "seed", "map50", "map50_95", "f1",
    "test_images", "test_boxes", "seconds", "settings",
)
#: Targets that settings may be chosen on, and nothing else.
DEVELOPMENT = (
    "group00041", "group12300", "group20085", "mt-exp1", "mt-exp2", "mt-exp3", "mt-line-a",
    "neu-part-a",
)
BOARDS = ("group00041", "group12100", "group12300", "group13000", "group20085", "group92000")
TRAIN = {
    "imgsz": 256, "batch": 8, "nbs": 8, "optimizer": "AdamW", "lr0": 0.001, "cos_lr": True,
    "val": False, "workers": 0, "warmup_epochs": 1,
}
#: Epochs on the target by its number of images: some 100 steps for ten.
TARGET_EPOCHS = {10: 50, 25: 40, "all": 20}


@dataclass(frozen=True)
class Plan:
    """One row to be."""

    family: str
    target: str
    images: int | str
    arm: str
    sources: tuple[str, ...]
    seed: int
    source_epochs: int = 4
    transfer: tuple[tuple[str, Any], ...] = ()
    train: tuple[tuple[str, Any], ...] = field(default=tuple(sorted(TRAIN.items())))

    @property
    def half(self) -> str:
        return "development" if self.target in DEVELOPMENT else "reported"

    @property
    def settings(self) -> str:
        """A hash of all that decides the row's figures besides the data."""
        words = {
            "train": dict(self.train), "source_epochs": self.source_epochs if self.sources else 0,
            "target_epochs": TARGET_EPOCHS[self.images], "transfer": dict(self.transfer),
        }
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def key(self) -> tuple[str, ...]:
        """What tells a row from the others."""
        return (self.family, self.target, str(self.images), self.arm, "+".join(self.sources),
                str(self.seed), self.settings)


def data_files(shared: Path) -> dict[str, Path]:
    """The datasets by name."""
    tile = shared / "magnetic-tile"
    return {board: shared / "deeppcb" / board / "data.yaml" for board in BOARDS} | {
        "neu-det": shared / "neu-det" / "neu-det.yaml",
        "kolektor-sdd": shared / "kolektor-sdd" / "kolektor-sdd.yaml",
        "aluminum": shared / "aluminum" / "aluminum.yaml",
        "magnetic-tile": tile / "mt.yaml",
        **{f"mt-exp{i}": tile / f"mt-exp{i}.yaml" for i in range(1, 7)},
        **{f"mt-line-{line}": tile / f"mt-line-{line}.yaml" for line in "abc"},
    }


def plans() -> Iterator[Plan]:
    """All rows, the most wanted first."""
    for seed in (0, 1, 2):
        for target in BOARDS:
            others = tuple(b for b in BOARDS if b != target)
            if seed == 0:
                yield Plan("deeppcb", target, 10, "union", others, 0)
            for arm in ("stock", "union-chain", "union-soup", "union-joint"):
                yield Plan("deeppcb", target, 10, arm,
                           others if arm.startswith("union") else (), seed)
        for target in BOARDS:
            others = tuple(b for b in BOARDS if b != target)
            yield Plan("deeppcb", target, 10, "stock-long", others, seed)


def rows_there() -> set[tuple[str, ...]]:
    """The keys of the rows that are trained already."""
    if not ROWS.is_file():
        return set()
    with ROWS.open(encoding="utf-8", newline="") as file:
        return {tuple(row[c] for c in ("family", "target", "images", "arm", "sources", "seed",
                                       "settings")) for row in csv.DictReader(file)}


def append(row: dict[str, Any]) -> None:
    """Append one row, whoever else appends at the same time."""
    ROWS.parent.mkdir(exist_ok=True)
    with ROWS.open("a", encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def train_row(plan: Plan, files: dict[str, Path], weights: Path, work: Path) -> None:
    """Train and test one row through the package's own arms, and append it."""
    from aoi_tl.data.yolo.read import load_dataset
    from aoi_tl.evaluation.predictions import read_predictions
    from aoi_tl.experiment.detection import Experiment
    from aoi_tl.files.run_folder import RunFolder
    from aoi_tl.workflows.adapted import AdaptedData
    from aoi_tl.workflows.arms import plan_arms, train_and_weigh
    from aoi_tl.workflows.transfer import chains_of, detectors_of

    began = time.monotonic()
    needed = ("union-chain",) if plan.arm == "stock-long" else ()  # what it is as long as
    experiment = Experiment(
        target=str(files[plan.target]),
        sources=[str(files[name]) for name in plan.sources or ("aluminum",)],
        weights=str(weights), arms=[plan.arm, *needed], seeds=[plan.seed],
        target_images=[plan.images], transfer=dict(plan.transfer),
        train={**dict(plan.train), "source": {"epochs": plan.source_epochs},
               "target": {"epochs": TARGET_EPOCHS[plan.images]}},
    )
    folder = work / f"{plan.target}-{plan.settings}"
    folder.mkdir(parents=True, exist_ok=True)
    run = RunFolder(folder)
    target = load_dataset(files[plan.target])
    sources = [load_dataset(files[name]) for name in plan.sources]
    with run.alone(".data.lock"):
        if not (folder / "fingerprint.json").is_file():
            run.write_json("fingerprint.json", {"target": plan.target, "settings": plan.settings})
        data = AdaptedData(run, experiment, target.split("train", "val").label_space,
                           lambda *_: None)
        detectors = detectors_of(experiment, data, sources, sources, weights, seed=0)
        labelled = (data.whole(target) if plan.images == "all"
                    else data.few(target, plan.images, plan.seed))
        data.whole(target)
        single = sources[:1] if not plan.arm.startswith(("union", "stock")) else []
        chains = [
            replace(chain, images=None if plan.images == "all" else plan.images)
            for chain in chains_of(experiment, data, detectors, single, labelled)
            if chain.arm == plan.arm
        ]
    if plan.sources and single:
        chains = [replace(chain, arm=f"{chain.arm}@{plan.sources[0]}") for chain in chains]
    [work_] = plan_arms(run, experiment, target, {plan.seed: chains}, weights).works
    result = train_and_weigh(replace(work_, threads=1))
    kept = read_predictions(
        (folder / "stages" / f"{work_.name}-target" / "predictions.npz").read_bytes()
    )
    scores = result["scores"]
    append({
        "family": plan.family, "half": plan.half, "target": plan.target, "images": plan.images,
        "arm": plan.arm, "sources": "+".join(plan.sources), "seed": plan.seed,
        **{name: round(scores[name], 5) for name in ("map50", "map50_95", "f1")},
        "test_images": len(kept.images), "test_boxes": len(kept.truth_class),
        "seconds": round(time.monotonic() - began, 1), "settings": plan.settings,
    })


def _worker(tasks: Any, files: dict[str, Path], weights: Path, work: Path) -> None:
    while (plan := tasks.get()) is not None:
        try:
            train_row(plan, files, weights, work)
        except Exception as error:  # one row that fails must not end the others
            print(f"{plan.key}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        else:
            print(*plan.key, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, default=None, help="so many rows, then end")
    asked = parser.parse_args()
    os.environ.setdefault("AOI_TL_CACHE", str(asked.work.absolute() / "cache"))
    there = rows_there()
    wanted = [plan for plan in plans() if plan.key not in there][: asked.only]
    print(f"{len(wanted)} rows to train", flush=True)
    tasks: Any = multiprocessing.Queue()
    for plan in [*wanted, *[None] * asked.jobs]:
        tasks.put(plan)
    workers = [
        multiprocessing.Process(
            target=_worker,
            args=(tasks, data_files(asked.shared), asked.weights.absolute(),
                  asked.work.absolute()),
        )
        for _ in range(asked.jobs)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
