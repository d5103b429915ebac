"""Does it pay? Every arm on real families of datasets, one appended row for each training.

    python benchmarks/evidence.py --shared DATA --weights WEIGHTS --work FOLDER [--jobs 2]

Families: six board groups of DeepPCB; three lines of magnetic tile; three parts of NEU-DET, cut by
its groups of overlapping images, two of them taken again by other cameras (`camera.py`).
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
import shutil
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
LINES = ("mt-line-a", "mt-line-b", "mt-line-c")
EXPOSURES = tuple(f"mt-exp{i}" for i in range(1, 7))
PARTS = ("neu-part-a", "neu-part-b", "neu-part-c")
#: Datasets that have nothing to do with boards.
DECOYS = ("neu-det", "kolektor-sdd", "aluminum", "magnetic-tile")
#: Epochs on a source that is learned alone, 16 unless given: some 1,000 to 4,000 images in all.
SOURCE_EPOCHS = {
    "neu-det": 4, "kolektor-sdd": 8, "aluminum": 30, "magnetic-tile": 4,
    **dict.fromkeys(PARTS, 8), **dict.fromkeys(LINES, 30),
}
#: What the single sources of NEU parts and tile lines are held against: nothing of theirs.
STRANGERS = ("group12100", "aluminum")
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
        if self.arm == "auto":  # since it tries the plain rate too, by folds that hold parts whole
            words["auto"] = 3 if self.images == "all" else 2
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """The run folder, shared with other arms; a stage's name does not tell unions apart."""
        apart = self.arm.startswith("union") and set(self.sources) & set(DECOYS)
        shelf = f"-{len(self.sources)}-with-unrelated" if apart else ""
        return f"{self.target}-{self.settings}{shelf}"

    @property
    def key(self) -> tuple[str, ...]:
        """What tells a row from the others."""
        return (self.family, self.target, str(self.images), self.arm, "+".join(self.sources),
                str(self.seed), self.settings)


def data_files(shared: Path, work: Path) -> dict[str, Path]:
    """The datasets by name."""
    tile = shared / "magnetic-tile"
    return {board: shared / "deeppcb" / board / "data.yaml" for board in BOARDS} | {
        "neu-det": shared / "neu-det" / "neu-det.yaml",
        "kolektor-sdd": shared / "kolektor-sdd" / "kolektor-sdd.yaml",
        "aluminum": shared / "aluminum" / "aluminum.yaml",
        "magnetic-tile": tile / "mt.yaml",
        **{f"mt-exp{i}": tile / f"mt-exp{i}.yaml" for i in range(1, 7)},
        **{f"mt-line-{line}": tile / f"mt-line-{line}.yaml" for line in "abc"},
        **neu_parts(shared, work),
    }


def _others(family: tuple[str, ...], target: str) -> tuple[str, ...]:
    return tuple(name for name in family if name != target)


def plans() -> Iterator[Plan]:
    """All rows, the most wanted first."""
    for seed in (0, 1, 2):
        yield from ten_images("deeppcb", BOARDS, seed, 4)
    yield from one_source("deeppcb", BOARDS, DECOYS)
    yield from unrelated(0)
    yield from ten_images("neu-parts", PARTS, 0, 4)
    yield from ten_images("mt-lines", LINES, 0, 20)
    yield from more_images("all", 0, ("stock", "union-soup"))
    yield from other_settings()
    yield from plain_rate()
    yield from ten_images("neu-parts", PARTS, 1, 4)
    yield from more_images("all", 0, ("auto",))
    yield from one_source("neu-parts", PARTS, STRANGERS)
    yield from one_source("mt-lines", LINES, STRANGERS)
    for target in BOARDS:
        yield Plan("deeppcb", target, 10, "auto", DECOYS, 0)
    yield from more_images(25, 0, ("stock", "union-soup", "stock-long"))
    yield from more_images("all", 0, ("stock-long",))
    for seed in (1, 2):
        yield from ten_images("neu-parts", PARTS, seed, 4)
        yield from ten_images("mt-lines", LINES, seed, 20)
        yield from unrelated(seed)
    yield from ten_images("mt-exposures", EXPOSURES, 0, 10)
    for target in BOARDS:
        yield Plan("deeppcb", target, 10, "union-soup", (*_others(BOARDS, target), *DECOYS), 0)
    for seed in (1, 2):
        yield from more_images("all", seed, ("stock", "auto"))
        yield from more_images(25, seed, ("stock", "union-soup", "stock-long"))


def ten_images(family: str, names: tuple[str, ...], seed: int, epochs: int) -> Iterator[Plan]:
    """Each dataset of a family in turn the target with ten images, all others the sources."""
    for target in names:
        others = _others(names, target)
        if seed == 0:
            yield Plan(family, target, 10, "union", others, 0, epochs)
        for arm in ("stock", "union-chain", "union-soup", "union-joint"):
            yield Plan(family, target, 10, arm, others if arm != "stock" else (), seed, epochs)
    for target in names:
        yield Plan(family, target, 10, "stock-long", _others(names, target), seed, epochs)


def one_source(family: str, names: tuple[str, ...], unrelated: tuple[str, ...]) -> Iterator[Plan]:
    """Each other dataset of a family, and each of something else, as the only source."""
    for target in names:
        for source in (*_others(names, target), *unrelated):
            yield Plan(family, target, 10, "chain-soup", (source,), 0,
                       SOURCE_EPOCHS.get(source, 16))


def unrelated(seed: int) -> Iterator[Plan]:
    """All that there is to learn from is something else."""
    for target in BOARDS:
        yield Plan("deeppcb", target, 10, "union-soup", DECOYS, seed)


def more_images(images: int | str, seed: int, arms: tuple[str, ...]) -> Iterator[Plan]:
    """More of the boards' labelled images, up to all."""
    for arm in arms:
        for target in BOARDS:
            sources = _others(BOARDS, target) if arm != "stock" else ()
            yield Plan("deeppcb", target, images, arm, sources, seed)


def other_settings() -> Iterator[Plan]:
    """What the settings do, on the development half."""
    chosen = [board for board in BOARDS if board in DEVELOPMENT]
    asked: tuple[tuple[int | str, str, dict[str, float]], ...] = (
        ("all", "union-chain", {}), ("all", "union-chain", {"rate": 1.0}),
        (10, "union-soup", {"soup": 0.3}), (10, "union-soup", {"soup": 0.7}),
        (10, "union-soup", {"rate": 1.0}), (10, "union-joint", {"share": 0.25}),
    )
    for images, arm, transfer in asked:
        for target in chosen:
            yield Plan("deeppcb", target, images, arm, _others(BOARDS, target), 0,
                       transfer=tuple(transfer.items()))


def plain_rate() -> Iterator[Plan]:
    """`union-soup` at the plain learning rate, on every target of the development half.

    Written down before these rows were trained: if their mean at ten images lies above that of the
    gentle rate over the development half, the plain rate becomes the default of `union-soup` and
    is trained on the other half, whatever comes out there.
    """
    families = (("deeppcb", BOARDS, 4), ("neu-parts", PARTS, 4), ("mt-lines", LINES, 20))
    for family, names, epochs in families:
        for target in (name for name in names if name in DEVELOPMENT):
            for seed in (0, 1, 2):
                yield Plan(family, target, 10, "union-soup", _others(names, target), seed, epochs,
                           (("rate", 1.0),))
    for target in (board for board in BOARDS if board in DEVELOPMENT):
        yield Plan("deeppcb", target, 25, "union-soup", _others(BOARDS, target), 0,
                   transfer=(("rate", 1.0),))


def neu_parts(shared: Path, work: Path) -> dict[str, Path]:
    """Cut NEU-DET by its groups into three parts, two of them taken again by other cameras."""
    import cv2
    import numpy as np
    from camera import Camera, photograph

    from aoi_tl.data.yolo.read import load_dataset
    from aoi_tl.data.yolo.write import write_dataset

    cameras = {
        "neu-part-a": None,
        "neu-part-b": Camera(blur=0.8, vignetting=0.5, contrast=0.7, gamma=1.5, noise=6),
        "neu-part-c": Camera(blur=1.2, vignetting=0.3, contrast=1.2, gamma=0.6, noise=10),
    }
    with (shared / "neu-det" / "index.csv").open(encoding="utf-8", newline="") as file:
        groups = {row["image"]: row["group"] for row in csv.DictReader(file)}
    whole = load_dataset(shared / "neu-det" / "neu-det.yaml")
    order = np.random.default_rng(0).permutation(sorted(set(groups.values())))
    part_of = {group: PARTS[i % len(PARTS)] for i, group in enumerate(order)}
    made = {}
    for part, camera in cameras.items():
        made[part] = work / "parts" / part / "data.yaml"
        if made[part].is_file():
            continue
        samples = [s for s in whole.samples if part_of[groups[s.image.stem]] == part]
        if camera:
            folder = work / "parts" / f"{part}-images"
            folder.mkdir(parents=True, exist_ok=True)
            for number, sample in enumerate(samples):
                taken = photograph(cv2.imread(str(sample.image)), camera,
                                   np.random.default_rng((1, number)))
                cv2.imwrite(str(folder / f"{sample.image.stem}.png"), taken)
                samples[number] = replace(sample, image=folder / f"{sample.image.stem}.png")
        write_dataset(replace(whole, name=part, samples=tuple(samples)), made[part].parent)
    return made


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
    from aoi_tl.experiment.detection import DETECTOR_ARMS, Experiment
    from aoi_tl.files.run_folder import RunFolder
    from aoi_tl.workflows.adapted_data import AdaptedData
    from aoi_tl.workflows.arms import plan_arms
    from aoi_tl.workflows.auto import choose_and_train
    from aoi_tl.workflows.chain_planning import chains_of, detectors_of
    from aoi_tl.workflows.training import train_and_evaluate

    began = time.process_time()  # one thread: an idle machine's time
    needed = ("union-chain",) if plan.arm == "stock-long" else ()  # what it is as long as
    experiment = Experiment(
        target=str(files[plan.target]),
        sources=[str(files[name]) for name in plan.sources or ("aluminum",)],
        weights=str(weights), arms=[plan.arm, *needed], seeds=[plan.seed],
        target_images=[plan.images], transfer=dict(plan.transfer),
        train={**dict(plan.train), "source": {"epochs": plan.source_epochs},
               "target": {"epochs": TARGET_EPOCHS[plan.images]}},
    )
    folder = work / plan.folder
    folder.mkdir(parents=True, exist_ok=True)
    run = RunFolder(folder)
    if set(dict(plan.transfer)) == {"soup"}:  # only the average differs: its training is there
        tuned = f"stages/union-chain-n{plan.images}-s{plan.seed}-target"
        done = work / replace(plan, transfer=()).folder / tuned
        if done.is_dir() and not (folder / tuned).is_dir():
            shutil.copytree(done, folder / tuned)
    target = load_dataset(files[plan.target])
    sources = [load_dataset(files[name]) for name in plan.sources]
    with run.lock(".data.lock"):
        if not (folder / "fingerprint.json").is_file():
            run.write_json("fingerprint.json", {"target": plan.target, "settings": plan.settings})
        data = AdaptedData(run, experiment, target.split("train", "val").label_space,
                           lambda *_: None)
        detectors = detectors_of(experiment, data, sources, sources, weights, seed=0)
        labelled = (data.whole(target) if plan.images == "all"
                    else data.few(target, plan.images, plan.seed))
        data.whole(target)
        single = sources[:1] if plan.arm in DETECTOR_ARMS else []
        chains = [
            replace(chain, images=None if plan.images == "all" else plan.images)
            for chain in chains_of(experiment, data, detectors, single, labelled)
            if chain.arm == plan.arm
        ]
    if plan.sources and single:
        # Each source's training lies in a folder of its own, whatever else shares the run folder.
        chains = [
            replace(chain, **{name: f"{getattr(chain, name)}@{plan.sources[0]}"
                              for name in ("arm", "trained_as") if getattr(chain, name)})
            for chain in chains
        ]
    [work_] = plan_arms(run, experiment, target, {plan.seed: chains}, weights).works
    train = choose_and_train if work_.chain.candidates else train_and_evaluate
    result = train(replace(work_, threads=1))
    kept = read_predictions(
        (folder / "stages" / f"{work_.name}-target" / "predictions.npz").read_bytes()
    )
    scores = result["scores"]
    append({
        "family": plan.family, "half": plan.half, "target": plan.target, "images": plan.images,
        "arm": plan.arm, "sources": "+".join(plan.sources), "seed": plan.seed,
        **{name: round(scores[name], 5) for name in ("map50", "map50_95", "f1")},
        "test_images": len(kept.images), "test_boxes": len(kept.truth_class),
        "seconds": round(time.process_time() - began, 1), "settings": plan.settings,
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
    once = {plan.key: plan for plan in plans()}
    wanted = [plan for key, plan in once.items() if key not in there][: asked.only]
    print(f"{len(wanted)} rows to train", flush=True)
    tasks: Any = multiprocessing.Queue()
    for plan in [*wanted, *[None] * asked.jobs]:
        tasks.put(plan)
    workers = [
        multiprocessing.Process(
            target=_worker,
            args=(tasks, data_files(asked.shared, asked.work.absolute()), asked.weights.absolute(),
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
