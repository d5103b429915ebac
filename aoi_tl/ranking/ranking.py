"""The sources in rank order for one target: what ``scores.json`` holds."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from aoi_tl.ranking.selection import SourceScore

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Ranking:
    """Sources in rank order for one target; what ``scores.json`` holds.

    Attributes
    ----------
    target : str
        The target's name.
    n_clusters : int
        Clusters of every signature of this comparison.
    method : str
        How the score is made up; "paper".
    sources : tuple of SourceScore
        The closest first, undefined scores last.
    selected : str or None
        The source to learn from; None where no score is defined.
    notes : tuple of str
        What concerns the target or the whole comparison.
    """

    target: str
    n_clusters: int
    method: str
    sources: tuple[SourceScore, ...]
    selected: str | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the content of ``scores.json``."""
        rows = [{f.name: getattr(row, f.name) for f in fields(row)} for row in self.sources]
        return {
            "target": self.target,
            "n_clusters": self.n_clusters,
            "method": self.method,
            "sources": [{**row, "shared_classes": list(row["shared_classes"])} for row in rows],
            "selected": self.selected,
        }

    def to_json(self) -> str:
        """Give the text of ``scores.json``."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_frame(self) -> pandas.DataFrame:
        """Give the rows of ``scores.csv``."""
        import pandas

        rows = [
            {**row, "shared_classes": ";".join(row["shared_classes"])}
            for row in self.to_dict()["sources"]
        ]
        table = pandas.DataFrame(rows, columns=[f.name for f in fields(SourceScore)])
        return table.astype({"rank": "Int64"})
