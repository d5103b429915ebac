"""The ranked sources of one target: the content of ``scores.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from aoi_tl.ranking.choices import Choice
from aoi_tl.ranking.measure import Measured
from aoi_tl.ranking.selection import SourceScore, rank_sources, select_source

if TYPE_CHECKING:
    import pandas

    from aoi_tl.similarity.signature import Signature

_PLAIN = tuple(f.name for f in fields(SourceScore) if f.name not in ("measures", "interval"))


@dataclass(frozen=True)
class Ranking:
    """Sources in rank order for one target: the content of ``scores.json``.

    Attributes
    ----------
    target : str
        The target's name.
    n_clusters : int
        Clusters of every signature of this comparison.
    method : str
        The ranking criterion.
    sources : tuple of SourceScore
        The best first, undefined ones last.
    selected : str or None
        The source to learn from; None where the method is defined for none.
    notes : tuple of str
        Notes on the target or on the comparison.
    choices : tuple of Choice
        With ``auto``, all choices, the best first, with "none" and "all together".
    signatures : mapping of str to Signature
        Of the target and the sources, by name.
    """

    target: str
    n_clusters: int
    method: str
    sources: tuple[SourceScore, ...]
    selected: str | None
    notes: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    signatures: Mapping[str, Signature] = field(default_factory=dict, compare=False, repr=False)

    @property
    def chosen(self) -> tuple[str, ...] | None:
        """The sources that ``auto`` recommends; empty for "none", None with other methods."""
        return self.choices[0].sources if self.choices else None

    def to_dict(self) -> dict[str, Any]:
        """Give the content of ``scores.json``."""
        return {
            "target": self.target,
            "n_clusters": self.n_clusters,
            "method": self.method,
            "sources": [_row(row) for row in self.sources],
            "selected": self.selected,
        } | ({} if not self.choices else {
            "choices": [
                {"name": choice.name, "sources": list(choice.sources),
                 "estimated_gain": choice.estimated_gain,
                 "interval": None if choice.interval is None else list(choice.interval)}
                for choice in self.choices
            ],
        })

    def to_json(self) -> str:
        """Give the text of ``scores.json``."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_frame(self) -> pandas.DataFrame:
        """Give the rows of ``scores.csv``."""
        import pandas

        rows = []
        for row in self.sources:
            low, high = row.interval or (None, None)
            rows.append({
                **{name: getattr(row, name) for name in _PLAIN},
                "shared_classes": ";".join(row.shared_classes),
                "low": low, "high": high,
                "places": "" if row.places is None else f"{row.places[0]}-{row.places[1]}",
                **{name: found.value for name, found in row.measures.items()
                   if name not in ("paper", "emd")},
            })
        table = pandas.DataFrame(rows)
        return table.astype({"rank": "Int64"})


def rank_by(
    method: str, rows: Sequence[SourceScore]
) -> tuple[tuple[SourceScore, ...], str | None]:
    """Order sources by a measure, and select one.

    Parameters
    ----------
    method : str
        ``paper`` orders and picks as published; ``auto`` orders by the estimated gain and picks the
        first that shares a class with the target; any other orders by that measure and picks the
        first.
    rows : sequence of SourceScore
        With that measure.

    Returns
    -------
    rows : tuple of SourceScore
        In rank order; those within noise of the first are marked.
    selected : str or None

    Examples
    --------
    >>> from aoi_tl.ranking.measure import Measured
    >>> def row(name, size):
    ...     return SourceScore(name, 9.0, 0.5, ("a", "b"), 2.25, None, None, 10, 20,
    ...                        measures={"size": Measured(size, "higher")})
    >>> rows, selected = rank_by("size", [row("few", 9), row("many", 90)])
    >>> [(r.name, r.rank) for r in rows], selected
    ([('many', 1), ('few', 2)], 'many')
    """
    if method == "paper":
        ranked, selected = rank_sources(rows), select_source(rows)
    else:
        by = {row.name: _by(row, method) for row in rows}
        ordered = sorted(rows, key=lambda row: (by[row.name].badness, row.emd, row.name))
        ranked = tuple(
            replace(row, rank=None if by[row.name].value is None else place)
            for place, row in enumerate(ordered, start=1)
        )
        usable = [row for row in ranked if row.rank and (method != "auto" or row.shared_classes)]
        selected = usable[0].name if usable else None
    placed = [(row.rank, _by(row, method)) for row in ranked if row.rank is not None]

    def near(row: SourceScore) -> list[int]:
        """The ranks of those that cannot be distinguished from it, its own among them."""
        own = _by(row, method)
        return [rank for rank, other in placed if rank == row.rank or own.reaches(other)]

    return tuple(
        row if row.rank is None else replace(
            row, tied=place > 0 and 1 in near(row), places=(min(near(row)), max(near(row)))
        )
        for place, row in enumerate(ranked)
    ), selected


def _by(row: SourceScore, method: str) -> Measured:
    """The measure that orders a row."""
    if method == "auto":
        low, high = row.interval or (None, None)
        return Measured(row.estimated_gain, "higher", low, high)
    return row.measures.get(method) or Measured(row.discrepancy, "lower")


def _row(row: SourceScore) -> dict[str, Any]:
    plain = {f.name: getattr(row, f.name) for f in fields(row)}
    return {
        **plain,
        "shared_classes": list(row.shared_classes),
        "measures": {name: found.to_dict() for name, found in row.measures.items()},
        "interval": None if row.interval is None else list(row.interval),
        "places": None if row.places is None else list(row.places),
    }
