"""The measures and the pick against the tables published with the method's paper."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from aoi_tl.ranking.selection import SourceScore, rank_sources, select_source
from aoi_tl.similarity.discrepancy import discrepancy
from aoi_tl.similarity.gini import gini

HERE = Path(__file__).parent


def table(name):
    """``{row: {column: float}}`` of one CSV file."""
    with (HERE / name).open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return {row[0]: dict(zip(header[1:], map(float, row[1:]), strict=True)) for row in rows}


COUNTS = table("table1_counts.csv")
TOTALS = table("table1_totals.csv")
EMD = table("emd.csv")
GINI = table("gini.csv")
DISCREPANCY = table("discrepancy.csv")
CELLS = [(target, source) for target in EMD for source in EMD[target]]


def shared_counts(target, source):
    return [row[source] for row in COUNTS.values() if row[source] and row[target]]


def rows_for(target):
    """What scoring would hand to the selection, from the published counts and EMDs."""
    rows = []
    for source, totals in TOTALS.items():
        if source == target:
            continue
        counts = shared_counts(target, source)
        delta = gini(counts)
        score = discrepancy(EMD[target][source], delta, len(counts))
        rows.append(
            SourceScore(
                source,
                EMD[target][source],
                delta,
                tuple(c for c, row in COUNTS.items() if row[source] and row[target]),
                score.value,
                score.undefined,
                None,
                int(totals["images"]),
                int(totals["samples"]),
            )
        )
    return rows


def test_there_are_121_cells():
    assert len(CELLS) == 121


@pytest.mark.parametrize(("target", "source"), CELLS)
def test_gini_cell(target, source):
    assert gini(shared_counts(target, source)) == pytest.approx(GINI[target][source], abs=1e-5)


@pytest.mark.parametrize(("target", "source"), CELLS)
def test_discrepancy_cell(target, source):
    counts = shared_counts(target, source)
    result = discrepancy(EMD[target][source], gini(counts), len(counts))
    if len(counts) == 1:  # published as 0.0, which would rank first
        assert DISCREPANCY[target][source] == 0
        assert result.value is None
    else:
        assert result.value == pytest.approx(DISCREPANCY[target][source], abs=1e-4)


@pytest.mark.parametrize(
    ("target", "picked"),
    [("dc-1", "lc-101"), ("jy-381-4", "lc-201"), ("nj-101", "lc-101"), ("xh-4", "nj-201")],
)
def test_selection(target, picked):
    assert select_source(rows_for(target)) == picked


@pytest.mark.parametrize(("target", "source"), [("dc-1", "jy-381-4"), ("jy-381-4", "dc-1")])
def test_single_shared_class_is_undefined_rather_than_first(target, source):
    ranking = rank_sources(rows_for(target))
    assert ranking[-1].name == source
    assert ranking[-1].rank is None
    assert "one class" in str(ranking[-1].undefined)
    assert ranking[0].rank == 1
