"""Run folders as the commands leave them, made without training: small, odd or large."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aoi_tl.data.images import write_image
from aoi_tl.evaluation.comparison import summarise
from aoi_tl.evaluation.predictions import Predictions, match_boxes
from aoi_tl.report.pictures import as_webp

ARMS = ("coco", "stock", "method-all")
SIDE = 64


def make_run(
    folder: Path,
    classes: Sequence[str] = ("dent", "stain"),
    sources: Sequence[str] = ("near", "far"),
    images: int = 6,
    boxes: int = 2,
    seeds: Sequence[int] = (0, 1),
    target: str = "new",
    side: int = SIDE,
) -> Path:
    """Leave what ``aoi-tl run`` would: ``boxes`` true boxes in each of ``images`` test images."""
    chance = np.random.default_rng(0)
    _write_scores(folder, classes, sources, target, chance)
    _write_appearance(folder, classes, [target, *sources], chance, side)
    tests = folder / "data" / target / "images" / "test"
    tests.mkdir(parents=True)
    names = tuple(f"t{number:05d}.png" for number in range(images))
    for name in names[:200]:
        write_image(tests / name, _ground(chance, side))
    truth = _truth(len(classes), images, boxes, chance)
    arms = []
    for seed in seeds:
        for place, arm in enumerate(ARMS):
            stage = folder / "stages" / f"{arm}-s{seed}-target"
            stage.mkdir(parents=True)
            found = _predicted(tuple(classes), names, truth, 0.3 + 0.25 * place, chance)
            (stage / "predictions.npz").write_bytes(found.to_bytes())
            grid = np.linspace(0, 1, 101)
            np.savez(stage / "curves.npz", recall_grid=grid, precision_mean=1 - grid ** (2 + place),
                     confidence=grid, f1_mean=grid * (1 - grid) * 2)
            _ledger(arm).to_csv(stage / "ledger.csv", index=False)
            if arm == "method-all":
                first = stage.with_name(f"{arm}-s{seed}-source")
                first.mkdir()
                _ledger("stock").to_csv(first / "ledger.csv", index=False)
            arms.append({
                "arm": arm, "seed": seed, "source": sources[0] if "method" in arm else None,
                "f1": 0.4 + place / 10, "f1_conf": 0.3,
                "map50": 0.4 + place / 10 + chance.normal(0, 0.02),
                "map50_95": 0.2 + place / 20, "notes": None,
            })
    table = pd.DataFrame(arms)
    table.to_csv(folder / "arms.csv", index=False)
    summarise(table, ["map50", "map50_95", "f1"], ["coco", "stock"]).to_csv(
        folder / "summary.csv", index=False)
    counted = np.bincount(truth[1], minlength=len(classes))
    pd.DataFrame([
        {"arm": arm, "seed": seed, "class": name, "images": 4, "instances": n,
         "ap50": 0.5}
        for arm in ARMS for seed in seeds for name, n in zip(classes, counted, strict=True)
    ]).to_csv(folder / "per_class.csv", index=False)
    _write_operating(folder, classes, seeds)
    _write_counts(folder, classes, [target, sources[0]])
    pd.DataFrame([{"arm": arm, "seed": seed, "seconds": 61.5} for arm in ARMS for seed in seeds]
                 ).to_csv(folder / "timings.csv", index=False)
    _write_words(folder, target)
    (folder / "done").write_text("")
    return folder


def _write_scores(
    folder: Path, classes: Sequence[str], sources: Sequence[str], target: str,
    chance: np.random.Generator,
) -> None:
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = [
        {"name": name, "emd": 5.0 + place, "gini": 0.5, "shared_classes": list(classes),
         "discrepancy": (5.0 + place) * 0.5 / len(classes), "undefined": None, "rank": place + 1,
         "tied": place == 1,
         "images": 40, "instances": 90 - place % 50, "note": None}
        for place, name in enumerate(sources)
    ]
    if len(rows) > 1:
        rows[-1] |= {"discrepancy": None, "rank": None, "shared_classes": list(classes[:1]),
                     "undefined": "one class is shared"}
    scores = {"target": target, "n_clusters": 3, "method": "paper", "sources": rows,
              "selected": sources[0]}
    (folder / "scores.json").write_text(json.dumps(scores, ensure_ascii=False), "utf-8")
    pd.DataFrame(rows).to_csv(folder / "scores.csv", index=False)


def _write_appearance(
    folder: Path, classes: Sequence[str], datasets: Sequence[str], chance: np.random.Generator,
    side: int,
) -> None:
    place = folder / "appearance"
    place.mkdir()
    images, labels, boxes, colours, flows = [], [], [], [], []
    for number, dataset in enumerate(datasets):
        mapped = 12 if number < 4 else 4
        for image in range(mapped):
            picture = f"{number:03d}-{len(images):05d}"
            (place / f"{picture}.webp").write_bytes(as_webp(_ground(chance, min(side, 240)), 70))
            images.append({"picture": picture, "dataset": dataset, "image": f"{image}.png",
                           "split": "train", "sample": int(image < 4),
                           "map_x": chance.normal(number), "map_y": chance.normal()})
            labels.append({"picture": picture, "class": classes[image % len(classes)], "x": 0.5,
                           "y": 0.5, "width": 0.4, "height": 0.2})
            boxes.append({"dataset": dataset, "class": classes[0], "size": chance.uniform(0.1, 0.5),
                          "aspect": chance.uniform(0.5, 2)})
        grey = chance.integers(0, 200)
        colours += [{"dataset": dataset, "cluster": k, "red": grey + 20 * k, "green": grey,
                     "blue": grey, "weight": share} for k, share in enumerate((0.5, 0.3, 0.2))]
        if number:
            flows += [{"source": dataset, "cluster": k, "target_cluster": k, "amount": share,
                       "distance": 9.0} for k, share in enumerate((0.5, 0.3, 0.2))]
    for name, rows in (("images", images), ("labels", labels), ("boxes", boxes),
                       ("signatures", colours), ("flows", flows)):
        pd.DataFrame(rows).to_csv(place / f"{name}.csv", index=False)


def _ground(chance: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """Draw a dark defect on a grained surface."""
    image = chance.normal(chance.integers(80, 180), 20, (side, side)).clip(0, 255).astype(np.uint8)
    image[side * 5 // 16: side // 2, side // 5: side * 5 // 8] = 20
    return image


def _truth(
    classes: int, images: int, boxes: int, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    corner = chance.uniform(0, 0.7, (images * boxes, 2))
    box = np.hstack([corner, corner + chance.uniform(0.1, 0.3, (images * boxes, 2))])
    return (np.repeat(np.arange(images), boxes),
            np.arange(images * boxes) % classes, box)


def _predicted(
    classes: tuple[str, ...], names: tuple[str, ...],
    truth: tuple[np.ndarray, np.ndarray, np.ndarray], skill: float, chance: np.random.Generator,
) -> Predictions:
    """Find a share of the true boxes, name some of them wrongly, invent others."""
    image, label, box = truth
    seen = chance.random(len(box)) < skill
    wrong = chance.random(len(box)) < 0.15
    given = np.where(wrong, (label + 1) % len(classes), label)[seen]
    invented = chance.random(len(box)) < 0.2
    places = np.concatenate([image[seen], image[invented]])
    ids = np.concatenate([given, label[invented]])
    moved = np.clip(box[invented][:, [1, 0, 3, 2]] * 0.5, 0, 1)
    boxes = np.concatenate([box[seen], moved])
    correct = np.zeros((len(boxes), 10), dtype=bool)
    for number in np.unique(places):
        mine, true = places == number, image == number
        correct[mine] = match_boxes(label[true], box[true], ids[mine], boxes[mine])
    return Predictions(classes, names, image, label, box, places, ids,
                       chance.uniform(0.25, 1, len(boxes)), boxes, correct)


def _ledger(arm: str) -> pd.DataFrame:
    rows = []
    for module, group in enumerate(["backbone"] * 4 + ["neck"] * 2 + ["head"]):
        copied = group == "backbone" or arm != "coco"
        rows.append({"tensor": f"model.{module}.weight", "module": module, "group": group,
                     "origin": "copied" if copied else "initialised"})
    return pd.DataFrame(rows)


def _write_counts(folder: Path, classes: Sequence[str], datasets: Sequence[str]) -> None:
    rows: list[dict[str, Any]] = []
    for dataset in datasets:
        rows += [{"dataset": dataset, "class": name, "before": 9 + place % 7,
                  "subset": 9 + place % 7, "balanced": 12} for place, name in enumerate(classes)]
        rows += [{"dataset": dataset, "class": "images", "before": 30, "subset": 28,
                  "balanced": 40},
                 {"dataset": dataset, "class": "gini", "before": 0.4, "subset": 0.4,
                  "balanced": 0.1}]
    pd.DataFrame(rows).to_csv(folder / "counts.csv", index=False)


def _write_operating(folder: Path, classes: Sequence[str], seeds: Sequence[int]) -> None:
    """Leave thresholds of every arm: the image as a whole, which has no good ones, and classes."""
    chosen = {"counted": "classes of images", "defective": 24, "good": 40, "escaped": 1,
              "rejected": 9, "is_met": False, "escape": 1 / 24, "escape_at_most": 0.2,
              "overkill": 9 / 40}
    pd.DataFrame([
        {"arm": arm, "seed": seed, "aim": '{"escape": 0.05}', "scope": scope, "class": name,
         "threshold": threshold, "defective": 10, "good": good, "escape": 0.1, "escape_low": 0.0,
         "escape_high": 0.4, "overkill": rejected, "overkill_low": rejected,
         "overkill_high": rejected, **{f"chosen_{key}": value for key, value in chosen.items()}}
        for arm in ARMS for seed in seeds
        for scope, name, threshold, good, rejected in (
            ("image", "", None, 0, None), *(("class", name, 0.25, 4, 0.25) for name in classes))
    ]).to_csv(folder / "operating.csv", index=False)


def _write_words(folder: Path, target: str) -> None:
    (folder / "experiment.yaml").write_text(f"target: {json.dumps(target)}\ntrain: {{epochs: 1}}\n")
    (folder / "notes.json").write_text(json.dumps(["near: 2 images left out"]))
    (folder / "environment.json").write_text(json.dumps({
        "python": "3.11", "packages": {"aoi-tl": "0"}, "device": "cpu", "seeds": [0],
        "machine": {"system": "Linux", "architecture": "x86_64"}, "data": {target: "ab12"},
        "repeat": "aoi-tl run experiment.yaml --out ANOTHER_FOLDER",
    }))


def make_classification(folder: Path, classes: Sequence[str] = ("good", "dent", "stain")) -> Path:
    """Leave what ``aoi-tl classify`` would: two seeds of a trained and of a frozen arm."""
    chance = np.random.default_rng(1)
    images = folder / "images"
    images.mkdir(parents=True)
    files = [images / f"{number:02d}.png" for number in range(12)]
    for file in files:
        write_image(file, _ground(chance))
    truth = np.arange(len(files)) % len(classes)
    arms, confusion, worn = [], [], []
    for seed in (0, 1):
        for arm, skill in (("pretrained", 0.4), ("probe", 0.6), ("cdg", 0.8)):
            stage = folder / "stages" / f"{arm}-s{seed}"
            stage.mkdir(parents=True)
            right = chance.random(len(files)) < skill
            given = np.where(right, truth, (truth + 1) % len(classes))
            pd.DataFrame({
                "image": [str(file) for file in files], "class": [classes[k] for k in truth],
                "predicted": [classes[k] for k in given],
                "probability": chance.uniform(0.4, 1, len(files)).round(3),
            }).to_csv(stage / "predictions.csv", index=False)
            if arm != "probe":
                pd.DataFrame([
                    {"step": step, "domain": domain, "loss": 1 / (1 + step)}
                    for step in range(20) for domain in ("source", "target")
                ]).to_csv(stage / "losses.csv", index=False)
            if seed == 0:
                write_image(stage / "maps.png", np.hstack([_ground(chance)] * 4))
            (stage / "ledger.json").write_text(json.dumps({
                "encoder": "tiny", "features": 64, "origin": "random", "loaded": [],
                "initialised": ["layer.weight"], "left_out": [],
            }))
            arms.append({
                "arm": arm, "seed": seed, "accuracy": float((given == truth).mean()),
                "balanced_accuracy": float((given == truth).mean()), "majority_share": 0.34,
                **{f"accuracy {name}": float((given == truth)[truth == k].mean())
                   for k, name in enumerate(classes)},
            })
            confusion += [
                {"arm": arm, "seed": seed, "class": name, "predicted": other,
                 "images": int(((truth == i) & (given == j)).sum())}
                for i, name in enumerate(classes) for j, other in enumerate(classes)
            ]
            worn += [{"arm": arm, "seed": seed, "change": "noise", "strength": s, "accuracy": 0.5}
                     for s in (0.02, 0.1)]
    table = pd.DataFrame(arms)
    table.to_csv(folder / "arms.csv", index=False)
    summarise(table, ["accuracy", "balanced_accuracy"], ["pretrained"]).to_csv(
        folder / "summary.csv", index=False)
    pd.DataFrame(confusion).to_csv(folder / "confusion.csv", index=False)
    pd.DataFrame(worn).to_csv(folder / "robustness.csv", index=False)
    pd.DataFrame([
        {"domain": "target", "class": name, "split": "test", "images": int((truth == k).sum())}
        for k, name in enumerate(classes)
    ]).to_csv(folder / "counts.csv", index=False)
    table[["arm", "seed"]].assign(seconds=12.5).to_csv(folder / "timings.csv", index=False)
    _write_words(folder, "surfaces")
    return folder


def make_score(folder: Path, run: Path) -> Path:
    """Leave what ``aoi-tl score`` would, from a made run."""
    folder.mkdir(parents=True)
    shutil.copy(run / "scores.json", folder)
    shutil.copytree(run / "appearance", folder / "appearance")
    return folder


def make_matrix(folder: Path, run: Path) -> Path:
    """Leave what ``aoi-tl score --matrix`` would, from a made run."""
    make_score(folder, run)
    scores = json.loads((run / "scores.json").read_text("utf-8"))
    [first, *_] = scores["sources"]
    names = [scores["target"], *(row["name"] for row in scores["sources"])]
    (folder / "scores.json").write_text(json.dumps([
        {**scores, "target": target, "selected": names[not place], "sources": [
            {**first, "name": name, "emd": 5.0 + abs(place - other), "rank": other + 1,
             "discrepancy": None if other == len(names) - 1 else float(abs(place - other))}
            for other, name in enumerate(names) if name != target]}
        for place, target in enumerate(names)
    ]), "utf-8")
    return folder


def make_benchmark(
    folder: Path, targets: Sequence[str] = ("new", "other"),
    sources: Sequence[str] = ("near", "far", "odd"),
) -> Path:
    """Leave what ``aoi-tl benchmark`` would: `auto` knows the gains, `emd` guesses."""
    from aoi_tl.ranking.evaluation import agreement, calibration
    from aoi_tl.ranking.measures import directions

    chance = np.random.default_rng(2)
    folder.mkdir(parents=True)
    pairs, evidence = [], []
    for target in targets:
        for place, source in enumerate([*sources, "+".join(sources)]):
            gain = float(12 - 9 * place + chance.normal()) if source in sources else 15.0
            pairs.append({
                "family": "", "target": target, "images": "10", "sources": source, "stock": 30.0,
                "gain": gain, "auto": gain + float(chance.normal()),
                "emd": None if "+" in source else float(chance.uniform(5, 90)),
            })
            evidence.append({
                "target": target, "images": "10", "arm": "chain-soup", "sources": source,
                "seed": 0, "map50": (30 + gain) / 100, "test_images": 20, "test_boxes": 60,
                "seconds": 61.5,
            })
    table = pd.DataFrame(pairs)
    table.to_csv(folder / "pairs.csv", index=False)
    pd.DataFrame(evidence).to_csv(folder / "evidence.csv", index=False)
    agreement(table, directions(table), chance).to_csv(folder / "ranking.csv", index=False)
    pd.DataFrame([{"estimate": "auto", **calibration(table, "auto", 2.0, chance)}]).to_csv(
        folder / "calibration.csv", index=False)
    _write_words(folder, "shelf")
    return folder
