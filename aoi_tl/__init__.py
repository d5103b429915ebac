"""Transfer learning for automatic optical inspection around Ultralytics YOLO.

The public names are loaded when they are first used, so that ``aoi-tl --help`` is quick and a
ranking never waits for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aoi_tl.adaptation.balance import balance
    from aoi_tl.adaptation.subset import subset_to_label_space
    from aoi_tl.data.yolo.read import load_dataset
    from aoi_tl.errors import AoiTlError
    from aoi_tl.experiment.detection import Experiment
    from aoi_tl.ranking.scoring import score_sources
    from aoi_tl.ranking.selection import select_source
    from aoi_tl.similarity.discrepancy import discrepancy
    from aoi_tl.similarity.emd import Flow, earth_movers_distance
    from aoi_tl.similarity.gini import gini, lorenz_curve
    from aoi_tl.similarity.signature import (
        Signature,
        choose_n_clusters,
        dataset_signature,
        image_signature,
    )
    from aoi_tl.transfer.stage import transfer_backbone
    from aoi_tl.workflows.classify import run_classification
    from aoi_tl.workflows.transfer import run_experiment

_HOMES = {
    "AoiTlError": "errors",
    "Experiment": "experiment.detection",
    "Flow": "similarity.emd",
    "Signature": "similarity.signature",
    "balance": "adaptation.balance",
    "choose_n_clusters": "similarity.signature",
    "dataset_signature": "similarity.signature",
    "discrepancy": "similarity.discrepancy",
    "earth_movers_distance": "similarity.emd",
    "gini": "similarity.gini",
    "image_signature": "similarity.signature",
    "load_dataset": "data.yolo.read",
    "lorenz_curve": "similarity.gini",
    "run_classification": "workflows.classify",
    "run_experiment": "workflows.transfer",
    "score_sources": "ranking.scoring",
    "select_source": "ranking.selection",
    "subset_to_label_space": "adaptation.subset",
    "transfer_backbone": "transfer.stage",
}

__all__ = [
    "AoiTlError",
    "Experiment",
    "Flow",
    "Signature",
    "balance",
    "choose_n_clusters",
    "dataset_signature",
    "discrepancy",
    "earth_movers_distance",
    "gini",
    "image_signature",
    "load_dataset",
    "lorenz_curve",
    "run_classification",
    "run_experiment",
    "score_sources",
    "select_source",
    "subset_to_label_space",
    "transfer_backbone",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aoi_tl' has no attribute {name!r}")
    return getattr(importlib.import_module(f"aoi_tl.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
