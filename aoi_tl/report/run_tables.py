"""What a run folder holds, read when a section asks for it."""

from __future__ import annotations

import json
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aoi_tl.errors import RunError

if TYPE_CHECKING:
    import pandas

Kind = Literal["score", "matrix", "run", "classify", "benchmark"]

#: The tables that tell the kinds of run apart, and the command that leaves them.
_NEEDED = "scores.json (aoi-tl score), arms.csv (run, classify) or benchmark.json (benchmark)"


class RunTables:
    """The tables of one run folder. Nothing is written, and nothing outside the folder is read.

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
            raise RunError(f"expected a run folder at {path}, got nothing there; mend the path")
        _ = self.kind

    @cached_property
    def kind(self) -> Kind:
        """Which command the run is of."""
        scores = self.json("scores.json")
        if (self.path / "benchmark.json").is_file():
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
        """Whether the run left this file, with something in it."""
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

    def needed(self, name: str) -> pandas.DataFrame:
        """Read a table that this kind of run cannot be shown without.

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

    @cached_property
    def arms(self) -> list[str]:
        """The arms of a run, in the order of its tables."""
        found = self.table("arms.csv")
        return [] if found is None else list(dict.fromkeys(found["arm"].astype(str)))

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds of a run."""
        found = self.table("arms.csv")
        return [] if found is None else [int(s) for s in dict.fromkeys(found["seed"])]
