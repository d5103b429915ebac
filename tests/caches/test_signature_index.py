from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from aoi_tl.caches.signature_index import IndexRow, SignatureIndex
from aoi_tl.errors import DataError
from aoi_tl.similarity.discrepancy import discrepancy
from aoi_tl.similarity.emd_batch import SignatureTable, emd_pairs
from aoi_tl.similarity.gini import gini
from aoi_tl.similarity.signature import Signature

CLASSES = ("dent", "crack", "Fleck", "划痕", "hole", "chip")


def draw(rng, number, grey):
    k = int(rng.integers(1, 6))
    place = rng.uniform(20, 235, 3)
    centroids = (place + rng.normal(0, 40, (k, 3))).clip(0, 255)
    if grey:
        centroids = np.repeat(centroids[:, :1], 3, axis=1)
    kinds = rng.permutation(len(CLASSES))[: rng.integers(1, 6)]
    counts = {CLASSES[i]: int(rng.integers(0, 40)) for i in kinds}
    if number % 11 == 0:
        counts = dict.fromkeys(counts, 7)  # balanced: a score of 0 where several are shared
    weights = rng.random(k) + 0.01
    return IndexRow(
        f"/data/{number}/data.yaml", f"set-{number}", 9, counts,
        Signature(centroids, weights / weights.sum()),
    )  # fmt: skip


def score_all(rows, target, label_space):
    """Every source scored by the measures themselves: (score, emd, name) in order."""
    emds = emd_pairs(
        SignatureTable.of([row.signature for row in rows]), SignatureTable.of([target])
    )
    found = []
    for row, emd in zip(rows, emds, strict=True):
        shared = [row.counts[name] for name in label_space if row.counts.get(name)]
        delta = gini(shared) if shared else 0.0
        value = discrepancy(float(emd), delta, len(shared)).value
        if value is not None:
            found.append((value, float(emd), row.name))
    return sorted(found)


@pytest.mark.parametrize("grey", [True, False], ids=["grey", "colour"])
@pytest.mark.parametrize("top", [1, 3, 10])
def test_finds_what_scoring_every_source_finds(tmp_path, grey, top):
    rng = np.random.default_rng(top)
    rows = [draw(rng, i, grey) for i in range(3000)]
    with SignatureIndex(tmp_path / "a.index", n_clusters=5) as index:
        index.add(rows)
        for _ in range(4):
            target = draw(rng, 1, grey).signature
            label_space = tuple(rng.permutation(CLASSES)[: rng.integers(1, 6)])
            expected = score_all(rows, target, label_space)
            found = index.search(target, label_space, top)
            assert [row.name for row in found.rows] == [name for *_, name in expected[:top]]
            np.testing.assert_allclose(found.emds, [emd for _, emd, _ in expected[:top]])
            assert found.searched == len(expected)


def test_few_distances_are_worked_out(tmp_path):
    rng = np.random.default_rng(0)
    rows = [draw(rng, i + 1, False) for i in range(4000)]
    rows = [row for row in rows if len(set(row.counts.values())) > 2]  # without ties at 0
    with SignatureIndex(tmp_path / "a.index", n_clusters=5) as index:
        index.add(rows)
        found = index.search(draw(rng, 1, False).signature, CLASSES, 10)
    assert 10 <= found.solved < 0.5 * found.searched


def test_appends_replaces_and_removes(tmp_path):
    rng = np.random.default_rng(1)
    rows = [draw(rng, i, True) for i in range(30)]
    file = tmp_path / "deep" / "a.index"
    with SignatureIndex(file, n_clusters=5) as index:
        index.add(rows[:10])
        assert len(index) == 10
        index.search(rows[0].signature, CLASSES)
        index.add(rows[10:])  # seen by the next search of the same object
        with SignatureIndex(file) as other:
            expected = [name for *_, name in score_all(rows, rows[0].signature, CLASSES)]
            for reader in (index, other):
                found = reader.search(rows[0].signature, CLASSES, 30)
                assert [row.name for row in found.rows] == expected
            changed = IndexRow(
                rows[3].path, "renamed", 5, {"dent": 4, "crack": 1}, rows[0].signature
            )
            other.add([changed])
            assert len(other) == 30
            names = [row.name for row in index.search(rows[0].signature, CLASSES, 30).rows]
            assert "renamed" in names
            other.remove([rows[3].path, "unknown"])
            assert len(index) == 29
            names = [row.name for row in index.search(rows[0].signature, CLASSES, 30).rows]
            assert "renamed" not in names


def test_rows_come_back_as_they_went_in(tmp_path):
    rng = np.random.default_rng(2)
    rows = [draw(rng, i, False) for i in range(20)]
    with SignatureIndex(tmp_path / "a.index", n_clusters=5) as index:
        index.add(rows)
    with SignatureIndex(tmp_path / "a.index") as index:
        assert index.n_clusters == 5
        back = {row.path: row for row in index.rows()}
    for row in rows:
        got = back[row.path]
        assert (got.name, got.images) == (row.name, row.images)
        assert got.counts == {name: count for name, count in row.counts.items() if count}
        np.testing.assert_array_equal(got.signature.centroids, row.signature.centroids)
        np.testing.assert_allclose(got.signature.weights, row.signature.weights)


def test_passes_over_the_target_itself(tmp_path):
    rng = np.random.default_rng(3)
    rows = [draw(rng, i + 1, True) for i in range(20)]
    with SignatureIndex(tmp_path / "a.index", n_clusters=5) as index:
        index.add(rows)
        found = index.search(rows[4].signature, CLASSES, 20, [rows[4].path, "/not/there"])
    assert rows[4].path not in [row.path for row in found.rows]


def test_nothing_shared_finds_nothing(tmp_path):
    rng = np.random.default_rng(4)
    with SignatureIndex(tmp_path / "a.index", n_clusters=5) as index:
        assert index.search(draw(rng, 0, True).signature, ("dent",)).rows == ()  # still empty
        index.add([draw(rng, i, True) for i in range(5)])
        found = index.search(draw(rng, 0, True).signature, ("unheard of",))
        assert (found.rows, found.searched, found.solved) == ((), 0, 0)


def _fill(file, first):
    rng = np.random.default_rng(first)
    with SignatureIndex(file, n_clusters=5) as index:
        for number in range(first, first + 40):
            index.add([draw(rng, number, True)])


def test_two_writers(tmp_path):
    context = multiprocessing.get_context("spawn")
    file = tmp_path / "a.index"
    writers = [context.Process(target=_fill, args=(file, first)) for first in (0, 40)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    with SignatureIndex(file) as index:
        assert len(index) == 80
        assert {row.name for row in index.rows()} == {f"set-{i}" for i in range(80)}


def test_an_add_is_whole_or_not_at_all(tmp_path):
    rng = np.random.default_rng(5)
    good = draw(rng, 1, True)
    bad = IndexRow("/b", "b", 1, {"dent": 1}, Signature(np.arange(18).reshape(6, 3), np.ones(6)))
    with SignatureIndex(tmp_path / "a.index", n_clusters=5) as index:
        with pytest.raises(DataError, match="at most 5 clusters"):
            index.add([good, bad])
        assert len(index) == 0


def test_what_is_no_index_is_said(tmp_path):
    with pytest.raises(DataError, match="got none"):
        SignatureIndex(tmp_path / "absent.index")
    (tmp_path / "text").write_text("no index at all, but long enough to look at" * 50)
    with pytest.raises(DataError, match="expected a signature index"):
        SignatureIndex(tmp_path / "text", 5)
    SignatureIndex(tmp_path / "a.index", 5).close()
    with pytest.raises(DataError, match="expected 5 clusters"):
        SignatureIndex(tmp_path / "a.index", 6)
    with (
        SignatureIndex(tmp_path / "a.index") as index,
        pytest.raises(ValueError, match="top"),
    ):
        index.search(Signature([[1, 1, 1]], [1]), ("dent",), 0)
