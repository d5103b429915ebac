"""The tables of a run folder, read on demand."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aoi_tl.errors import RunError
from aoi_tl.files.run_folder import stage_name

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from numpy.typing import NDArray

    from aoi_tl.evaluation.predictions import Predictions

Kind = Literal["score", "matrix", "run", "classify", "benchmark"]

#: The tables that identify the kind of a run, and the command that writes them.
_NEEDED = ("scores.json (aoi-tl score), arms.csv (transfer, run, classify) or ranking.csv "
           "(benchmark)")


@dataclass(frozen=True)
class Trained:
    """One arm with one seed.

    Attributes
    ----------
    label : str
        The arm, with the number of labelled images where the run compares several.
    arm : str
    seed : int
    stage : str
        How the names of its stage folders begin.
    """

    label: str
    arm: str
    seed: int
    stage: str


class RunTables:
    """The tables of one run folder. Nothing is written.

    Parameters
    ----------
    path : Path
        The run folder.

    Raises
    ------
    RunError
        When the folder holds no result that a page could show.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.table = lru_cache(maxsize=None)(self._table)
        self.json = lru_cache(maxsize=None)(self._json)
        if not self.path.is_dir():
            raise RunError(f"expected a run folder at {path}, got nothing there; correct the path")
        _ = self.kind

    @cached_property
    def kind(self) -> Kind:
        """The command that made the run."""
        scores = self.json("scores.json")
        if self.has("ranking.csv") and self.has("pairs.csv"):
            return "benchmark"
        if self.has("arms.csv"):
            return "run" if scores is not None else "classify"
        if isinstance(scores, list):
            return "matrix"
        if scores is None or (self.path / "experiment.yaml").is_file():
            raise RunError(
                f"expected a finished run in {self.path}, got no arms.csv; end the run with "
                f"--resume first (a page is made from {_NEEDED})"
            )
        return "score"

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    def has(self, name: str) -> bool:
        """If the run has this file and it is not empty."""
        file = self.path / name
        return file.is_file() and file.stat().st_size > 1

    def _table(self, name: str) -> pandas.DataFrame | None:
        """Read a CSV table; None where the run has none. An empty cell is a missing value."""
        import pandas as pd

        if not self.has(name):
            return None
        return pd.read_csv(self.path / name, keep_default_na=False, na_values=[""])

    def _json(self, name: str) -> Any:
        """Read a JSON file; None where the run has none."""
        if not self.has(name):
            return None
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def text(self, name: str) -> str:
        """Read a text file; empty where the run has none."""
        return (self.path / name).read_text(encoding="utf-8") if self.has(name) else ""

    def curves(self, stage: str) -> dict[str, NDArray[np.float64]] | None:
        """Read the curves of one arm and seed on the test split; None where the run has none."""
        import numpy as np

        file = self.path / "stages" / f"{stage}-target" / "curves.npz"
        if not file.is_file():
            return None
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}

    def predictions(self, stage: str) -> Predictions | None:
        """Read what one arm and seed found on the test split; None where the run kept none."""
        from aoi_tl.evaluation.predictions import read_predictions

        file = self.path / "stages" / f"{stage}-target" / "predictions.npz"
        return read_predictions(file.read_bytes()) if file.is_file() else None

    def required(self, name: str) -> pandas.DataFrame:
        """Read a table that is required for the page of this kind of run.

        Raises
        ------
        RunError
            When the run has none.
        """
        found = self.table(name)
        if found is None:
            raise RunError(
                f"expected a finished run in {self.path}, got no {name}; end the run with --resume "
                "first"
            )
        return found

    @property
    def scores(self) -> dict[str, Any] | None:
        """The ranking of a run with one target."""
        found = self.json("scores.json")
        return found if isinstance(found, dict) else None

    def labelled(self, name: str) -> pandas.DataFrame:
        """Read a table of arms, with names that include the number of labelled images."""
        return label_arms(self.required(name))

    @cached_property
    def trained(self) -> list[Trained]:
        """Every arm and seed, in the order of the run's tables."""
        found = self.table("arms.csv")
        if found is None:
            return []
        images = found["images"] if "images" in found else [None] * len(found)
        return [
            Trained(str(label), str(arm), int(seed), stage_name(str(arm), int(seed), size))
            for label, arm, seed, size in zip(
                label_arms(found)["arm"], found["arm"], found["seed"], images, strict=True)
        ]

    @cached_property
    def arms(self) -> list[str]:
        """The labels of a run's arms, in the order of its tables."""
        return list(dict.fromkeys(t.label for t in self.trained))

    @property
    def first_seed(self) -> dict[str, Trained]:
        """The training of the first seed of every label."""
        found: dict[str, Trained] = {}
        for trained in self.trained:
            found.setdefault(trained.label, trained)
        return found

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds of a run."""
        found = self.table("arms.csv")
        return [] if found is None else [int(s) for s in dict.fromkeys(found["seed"])]


def label_arms(table: pandas.DataFrame) -> pandas.DataFrame:
    """Add the number of labelled images to the names of arms where a run compares several.

    Parameters
    ----------
    table : DataFrame
        With a column ``arm``, and ``images`` where a run compares several numbers.

    Returns
    -------
    DataFrame
    """
    if "images" not in table:
        return table
    return table.assign(arm=table["arm"] + ", " + table["images"].astype(str) + " images")
