from __future__ import annotations

import copy
import multiprocessing
import os
import sqlite3
import weakref

import numpy as np
import pytest

from aoi_tl import engine
from aoi_tl.caches import signature_cache as room
from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.data.images import write_image
from aoi_tl.engine import LocalEngine
from aoi_tl.similarity.signature import dataset_signature, image_signature, inertia_curve


def draw(folder, number, seed=0):
    rng = np.random.default_rng(seed)
    paths = []
    for i in range(number):
        path = folder / f"{seed}-{i}.png"
        write_image(path, rng.normal(50 + 9 * i % 150, 10, (24, 20)).clip(0, 255).astype(np.uint8))
        paths.append(path)
    return paths


def expected(paths, k):
    from aoi_tl.data.images import read_image

    return [image_signature(read_image(path), k) for path in paths]


def merge(found):
    return dataset_signature(found, 4)


@pytest.fixture
def measured(monkeypatch):
    """Every file that is really measured (in this process), in order."""
    files = []
    real = room._measure

    def counting(work):
        files.extend(path for path, _ in work[0])
        return real(work)

    monkeypatch.setattr(room, "_measure", counting)
    return files


def test_measures_once(tmp_path, measured):
    paths = draw(tmp_path, 7)
    for _ in range(3):
        with SignatureCache(tmp_path / "cache") as cache:
            assert cache.signatures(paths, 4) == expected(paths, 4)
            assert cache.note is None
    assert len(measured) == 7


def test_each_number_of_clusters_is_kept_apart(tmp_path, measured):
    paths = draw(tmp_path, 2)
    with SignatureCache(tmp_path / "cache") as cache:
        for _ in range(2):
            assert cache.signatures(paths, 3) == expected(paths, 3)
            assert cache.signatures(paths, 5) == expected(paths, 5)
            np.testing.assert_allclose(
                cache.curves(paths), [inertia_curve(image) for image in map(read, paths)]
            )
    assert len(measured) == 6


def read(path):
    from aoi_tl.data.images import read_image

    return read_image(path)


def test_changed_added_and_removed_images_are_noticed(tmp_path, measured):
    paths = draw(tmp_path, 4)
    with SignatureCache(tmp_path / "cache") as cache:
        first = cache.datasets([paths], 4, merge)[0]
        assert cache.datasets([paths], 4, merge)[0] == first
        assert cache.datasets([paths[::-1]], 4, merge)[0] == first
        assert len(measured) == 4

        before = os.stat(paths[1])
        write_image(paths[1], np.full((24, 20), 255, dtype=np.uint8))
        os.utime(paths[1], ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        changed = cache.datasets([paths], 4, merge)[0]
        assert changed != first
        assert changed[0] == merge(expected(paths, 4))
        assert len(measured) == 5

        assert cache.datasets([paths[:-1]], 4, merge)[0][0] == merge(expected(paths[:-1], 4))
        more = [*paths, *draw(tmp_path, 1, seed=9)]
        assert cache.datasets([more], 4, merge)[0][0] == merge(expected(more, 4))
        assert len(measured) == 6


def test_sets_are_measured_as_one_list_and_kept_apart(tmp_path, measured, monkeypatch):
    monkeypatch.setattr(room, "_TOGETHER", 7)  # so that these sets are several lists
    sets = [draw(tmp_path, number, seed) for seed, number in enumerate((3, 4, 9, 2))]
    sets[1].append(tmp_path / "absent.png")
    done = []
    with SignatureCache(tmp_path / "cache") as cache:
        for _ in range(2):
            found = cache.datasets(sets, 4, merge, done.append)
            assert [unreadable for _, unreadable in found] == [0, 1, 0, 0]
            for (signature, _), paths in zip(found, sets, strict=True):
                assert signature == merge(expected([p for p in paths if p.exists()], 4))
    assert sum(done) == 2 * 19
    assert len(measured) == 18


def test_a_large_set_is_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_TOGETHER", 4)
    met, most = [], 0

    def count(signatures):
        nonlocal most
        for signature in signatures:
            met.append(weakref.ref(signature))
            most = max(most, sum(each() is not None for each in met))
            yield copy.copy(signature)

    paths = draw(tmp_path, 30)
    with SignatureCache(tmp_path / "cache") as cache:
        found = cache.datasets([paths], 4, lambda each: merge(count(each)))
        assert found == [(merge(expected(paths, 4)), 0)]
    assert len(met) == 30
    assert most <= 5


def test_same_content_elsewhere_or_touched_is_not_measured_again(tmp_path, measured):
    paths = draw(tmp_path, 3)
    with SignatureCache(tmp_path / "cache") as cache:
        cache.signatures(paths, 4)
        copies = [path.with_name("copy-" + path.name) for path in paths]
        for path, copy in zip(paths, copies, strict=True):
            copy.write_bytes(path.read_bytes())
            os.utime(path, (1, 1))
        assert cache.signatures([*paths, *copies], 4) == 2 * expected(paths, 4)
    assert len(measured) == 3


def test_unreadable_images_are_none_and_never_kept(tmp_path):
    paths = draw(tmp_path, 2)
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:40])
    absent = tmp_path / "absent.png"
    with SignatureCache(tmp_path / "cache") as cache:
        for _ in range(2):
            found = cache.signatures([broken, *paths, absent], 4)
            assert [signature is None for signature in found] == [True, False, False, True]
            signature, unreadable = cache.datasets([[broken, *paths, absent]], 4, merge)[0]
            assert (signature, unreadable) == (merge(expected(paths, 4)), 2)
        assert cache.datasets([[broken, absent]], 4, merge)[0] == (None, 2)
        broken.write_bytes(paths[0].read_bytes())
        assert cache.signatures([broken], 4) == expected(paths[:1], 4)


def test_workers_give_the_same(tmp_path, monkeypatch):
    paths = draw(tmp_path, 40)
    paths[30].write_bytes(b"no image")
    monkeypatch.setattr(room, "_TRIAL", 8)
    monkeypatch.setattr(room, "_SHARD", 16)
    monkeypatch.setattr(room, "_WORTH_WORKERS", 0.0)
    done = []
    with SignatureCache(tmp_path / "cache", LocalEngine(2)) as cache:
        found = cache.signatures(paths, 4, done.append)
    assert found.pop(30) is None
    assert found == expected(paths[:30] + paths[31:], 4)
    assert sum(done) == 40


def test_goes_on_alone_where_workers_die(tmp_path, monkeypatch):
    paths = draw(tmp_path, 40)
    monkeypatch.setattr(room, "_TRIAL", 8)
    monkeypatch.setattr(room, "_WORTH_WORKERS", 0.0)
    monkeypatch.setattr(engine, "_start_worker", _die)
    with SignatureCache(tmp_path / "cache", LocalEngine(2)) as cache:
        assert cache.signatures(paths, 4) == expected(paths, 4)
        assert "one after the other" in str(cache.note)


def _die(_):
    os._exit(1)


class BlindEngine:
    """Workers that see no files, as on a machine without the file system they lie on."""

    def run(self, tasks):
        for task in tasks:
            [(files, *_)] = task.arguments
            yield task, [(path, "", None) for path, _ in files]


def test_what_workers_do_not_see_is_measured_here_and_told(tmp_path, monkeypatch):
    paths = draw(tmp_path, 40)
    paths[30].write_bytes(b"no image")
    monkeypatch.setattr(room, "_TRIAL", 8)
    monkeypatch.setattr(room, "_WORTH_WORKERS", 0.0)
    done = []
    with SignatureCache(tmp_path / "cache", BlindEngine()) as cache:
        found = cache.signatures(paths, 4, done.append)
        assert "every machine sees" in str(cache.note)
    assert found.pop(30) is None
    assert found == expected(paths[:30] + paths[31:], 4)
    assert sum(done) == 40


def _fill(folder, paths, ready):
    ready.wait()
    with SignatureCache(folder) as cache:
        for path in paths:  # one write for each image
            cache.signatures([path], 4)


def test_two_writers(tmp_path):
    paths = draw(tmp_path, 30)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    writers = [
        context.Process(target=_fill, args=(tmp_path / "cache", order, ready))
        for order in (paths, paths[::-1])
    ]
    for writer in writers:
        writer.start()
    ready.set()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    with SignatureCache(tmp_path / "cache") as cache:
        assert cache.signatures(paths, 4) == expected(paths, 4)
    with sqlite3.connect(tmp_path / "cache" / "signatures.sqlite") as database:
        assert database.execute("SELECT COUNT(*) FROM measures").fetchone() == (30,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("fault", ["file in the way", "no database"])
def test_unusable_folder_is_said_and_survived(tmp_path, fault):
    paths = draw(tmp_path, 2)
    folder = tmp_path / "cache"
    if fault == "file in the way":
        folder.write_text("")
    else:
        folder.mkdir()
        (folder / "signatures.sqlite").write_text("no database at all, but long enough" * 40)
    with SignatureCache(folder) as cache:
        assert cache.signatures(paths, 4) == expected(paths, 4)
        assert "not kept" in str(cache.note)


def test_cache_of_another_format_is_emptied(tmp_path, measured, monkeypatch):
    paths = draw(tmp_path, 2)
    with SignatureCache(tmp_path / "cache") as cache:
        cache.signatures(paths, 4)
    monkeypatch.setattr(room, "_FORMAT", room._FORMAT + 1)
    with SignatureCache(tmp_path / "cache") as cache:
        assert cache.signatures(paths, 4) == expected(paths, 4)
    assert len(measured) == 4
