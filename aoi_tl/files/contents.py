"""What the files of a run are: their names, and what each holds."""

from __future__ import annotations

import re
from types import MappingProxyType

#: By the commands that write them. ``ARM``, ``SEED`` and ``NAME`` stand for what they say; a stage
#: that saw a part of the labelled images is called ``ARM-nIMAGES-sSEED``. The text is Markdown.
CONTENTS = MappingProxyType({
    "Every run": {
        "report.html": "Everything on one page.",
        "fingerprint.json": "What makes two runs the same: settings, and hashes of data and "
                            "weights. `--resume` compares it.",
        "environment.json": "Versions, device, seeds, fingerprints of the data, the command that "
                            "repeats the run.",
        "notes.json": "What was left out, looked odd or changed on the way.",
        "done": "Written last.",
    },
    "`score`, `transfer` and `run`": {
        "scores.json": "The ranking: `target`, `n_clusters`, `method`, `sources` with every "
                       "quantity and measure, `choices`, `selected`.",
        "scores.csv": "The same rows as a table.",
        "discrepancy.csv": "`score --matrix`: every dataset (rows) for every other.",
        "emd.csv": "`score --matrix`: the same of the EMD.",
        "gini.csv": "`score --matrix`: the same of the Gini coefficient.",
        "appearance/images.csv": "The pictures that the page shows: dataset, split, place on the "
                                 "map of image features.",
        "appearance/labels.csv": "Their boxes, as shares of the image.",
        "appearance/boxes.csv": "Sizes and aspect ratios of boxes.",
        "appearance/signatures.csv": "The colours of each dataset and their weights.",
        "appearance/flows.csv": "How much of which colour moves where, and how far.",
        "appearance/NAME.webp": "The pictures, scaled down. Of the target none is of its test "
                                "split.",
    },
    "`transfer` and `run`": {
        "experiment.yaml": "The experiment with every default filled in.",
        "arms.csv": "A row per arm and seed: `arm, seed, f1, f1_conf, map50, map50_95, precision, "
                    "recall, source, notes`, and `images` where `target_images` says several.",
        "summary.csv": "By arm and metric: `n, mean, sd, low, high`, and `minus_coco…`, "
                       "`minus_stock…`, `minus_stock-long…` (paired).",
        "per_class.csv": "AP50, AP50-95 and F1 per arm, seed and class.",
        "counts.csv": "Training boxes per class before and after each step, with the Gini "
                      "coefficient.",
        "learning_curve.csv": "With several `target_images`: how many images each arm needs.",
        "operating.csv": "With `operate`: thresholds, escape and overkill by arm, seed and class, "
                         "see [deploy](../how-to/deploy.md).",
        "timings.csv": "Seconds per stage: all that differs between two equal runs.",
        "detectors.json": "Which detectors of sources were reused or trained.",
        "score_detectors.json": "The kept detectors that the ranking looked through.",
        "plan.json": "What each arm learns from, so that a run that has grown knows what stays.",
        "arms.png": "What each arm came to.",
        "pr_curves.png": "Precision against recall, by arm.",
        "f1_curves.png": "F1 against confidence, by arm.",
        "data/NAME/data.yaml": "The datasets that the arms learn from: links to your images, and "
                               "labels. `NAME-subset` and `NAME-balanced` are the adapted ones.",
        "samples/NAME/FILE": "New and painted images.",
        "weights/NAME.pt": "A random checkpoint, or the tensors of one that you trust.",
        "exported/NAME": "What `export-model` wrote.",
        "tensorboard/FILE": "Events, where TensorBoard is on in Ultralytics' settings.",
        "stages/STAGE/args.yaml": "Of each stage, `ARM-sSEED-source` or `ARM-sSEED-target`: "
                                  "Ultralytics' training arguments.",
        "stages/STAGE/tracked.json": "What your tracker of experiments calls it, where one is on.",
        "stages/STAGE/ledger.csv": "Every tensor: copied, or initialised and why.",
        "stages/STAGE/initial.pt": "What its training began with.",
        "stages/STAGE/results.csv": "Ultralytics' losses and metrics by epoch.",
        "stages/STAGE/weights/best.pt": "The detector.",
        "stages/STAGE/weights/last.pt": "The same after the last epoch.",
        "stages/STAGE/weights/NAME.pt": "A detector in the target's classes; while it is trained, "
                                        "the state to go on from.",
        "stages/STAGE/weights/thresholds.json": "With `operate`: its thresholds. You may edit it.",
        "stages/STAGE/notes.txt": "What changed the protocol of its training.",
        "stages/STAGE/choice.json": "What `auto` chose, and why.",
        "stages/STAGE/test.json": "Its scores on the target's test split.",
        "stages/STAGE/curves.npz": "Its curves on the test split.",
        "stages/STAGE/predictions.npz": "Its boxes on the test split.",
        "stages/STAGE/operating.json": "With `operate`: its rows of `operating.csv`.",
        "stages/STAGE/done": "How long it took; written last.",
    },
    "`benchmark`": {
        "evidence.csv": "A row for each training.",
        "measures.csv": "What each measure says of each source.",
        "pairs.csv": "Target, source, measure, and the gain.",
        "ranking.csv": "By measure: Kendall's tau, regret, wins against `stock`, with intervals.",
        "calibration.csv": "By estimate: bias, error and coverage of the gain, with intervals.",
        "ranking.md": "The same to read, with the calibration of the estimated gain.",
        "plots/NAME.svg": "The gain against each measure.",
        "targets/NAME/": "The run of each target.",
    },
    "`classify`": {
        "experiment.yaml": "The experiment with every default filled in.",
        "notes.json": "What looked odd in the images, if anything did.",
        "arms.csv": "A row per arm and seed: accuracy, macro F1, balanced accuracy, expected "
                    "calibration error `ece`, steps on source and target.",
        "summary.csv": "Mean, deviation, interval, paired differences.",
        "per_class.csv": "Precision and recall by class with intervals; under the class `all` "
                         "accuracy, balanced accuracy and what is above always saying the "
                         "commonest class.",
        "counts.csv": "Images by domain, class and split.",
        "confusion.csv": "Images by class and predicted class.",
        "robustness.csv": "Accuracy under changed images, three strengths each.",
        "timings.csv": "Seconds, and the share spent on waiting for images.",
        "NAME.png": "The figures: `arms`, `classes`, `confusion`, `losses`, `samples`.",
        "cache/NAME.npy": "Features of a frozen encoder.",
        "weights/NAME": "The tensors of an encoder that you trust.",
        "stages/STAGE/ledger.json": "Of each stage, `ARM-sSEED`: what was loaded into the encoder.",
        "stages/STAGE/losses.csv": "Losses by step.",
        "stages/STAGE/cycles.csv": "Of CDG: the paper's L_total and L_overall.",
        "stages/STAGE/probe.json": "What a frozen arm's probe was fitted with.",
        "stages/STAGE/model.pt": "The classifier; tensors only.",
        "stages/STAGE/predictions.csv": "The class of each test image; its depth where that is "
                                        "below the 16 bits stored.",
        "stages/STAGE/probabilities.csv": "Its probabilities.",
        "stages/STAGE/coverage.csv": "Accuracy against the share of images decided.",
        "stages/STAGE/robustness.csv": "Its rows of `robustness.csv`.",
        "stages/STAGE/maps.png": "What its decisions rest on.",
        "stages/STAGE/result.json": "Its row of `arms.csv`; written last.",
    },
    "`check` and `inspect`": {
        "NAME/check.json": "`check`: findings of a dataset, all counted, up to 1,000 of a kind "
                           "listed.",
        "verdicts.csv": "`inspect`: `image,verdict,boxes,classes,confidence`.",
        "verdicts.jsonl": "`inspect`: the same with each box, one JSON object a line.",
        "pictures/FILE": "`inspect`: each image with its boxes and verdict.",
    },
})

#: What a word in capitals stands for; a folder's name ends with a slash and holds anything.
_WORDS = {"NAME": r"[^/]+", "STAGE": r"[^/]+", "FILE": r".+"}


def describe(name: str) -> str | None:
    """Say what a file of a run is.

    Parameters
    ----------
    name : str
        Its place in the run folder, with ``/`` between folders.

    Returns
    -------
    str or None
        None where no run is known to hold such a file.

    Examples
    --------
    >>> describe("stages/stock-s0-target/ledger.csv")
    'Every tensor: copied, or initialised and why.'
    >>> describe("stages/secret.txt") is None
    True
    """
    for files in CONTENTS.values():
        for pattern, text in files.items():
            spelt = re.sub(r"[A-Z]+", lambda word: _WORDS[word[0]], re.escape(pattern))
            if re.fullmatch(spelt + (".*" if pattern.endswith("/") else ""), name):
                return text
    return None
