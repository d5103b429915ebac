from __future__ import annotations

import os
import shutil
import sqlite3
import weakref

import numpy as np
import pytest

from aoi_tl.caches import dataset_cache as room
from aoi_tl.caches import signature_cache
from aoi_tl.caches.dataset_cache import read_summaries
from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.data import summary
from aoi_tl.data.images import write_image
from aoi_tl.data.labels import apply_aliases
from aoi_tl.data.yolo.read import DatasetReader, load_dataset
from aoi_tl.errors import DataError


def draw(image, grey, side=16):
    image.parent.mkdir(parents=True, exist_ok=True)
    write_image(image, np.full((side, side), grey, dtype=np.uint8))


def mark(image, *rows):
    label = image.parents[2] / "labels" / image.parent.name / f"{image.stem}.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text("".join(f"{row} 0.5 0.5 0.2 0.2\n" for row in rows))


@pytest.fixture
def folder(tmp_path):
    """Two splits of BMP files: their size is that of their pixels, whatever these are."""
    folder = tmp_path / "line-1"
    for split in ("train", "val"):
        for i in range(4):
            image = folder / "images" / split / f"{i}.bmp"
            draw(image, 20 * i)
            mark(image, i % 2, 0)
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [dent, scab]\n")
    return folder


@pytest.fixture
def old(monkeypatch):
    """Files count as old, however young they are."""
    for module in (room, signature_cache):
        monkeypatch.setattr(module, "SETTLED_NS", -(10**18))


@pytest.fixture
def loaded(monkeypatch):
    """The datasets that were really read."""
    paths = []

    def counting(path, aliases, **others):
        paths.append(path)
        return DatasetReader(path, aliases, **others)

    monkeypatch.setattr(room, "DatasetReader", counting)
    return paths


def look(tmp_path, path, aliases=None):
    """What the cache says of a dataset, held against what is on disk."""
    with SignatureCache(tmp_path / "cache") as cache:
        [found] = read_summaries([path], aliases or {}, cache)
    truth = apply_aliases(load_dataset(path), aliases or {})
    assert (found.name, found.path, found.names) == (truth.name, truth.path, truth.names)
    assert (found.splits, found.counts, found.notes) == (truth.splits, truth.counts, truth.notes)
    assert found.images == tuple(map(str, truth.images))
    assert found.label_space == truth.label_space
    assert found.fingerprint == truth.fingerprint()
    for split in truth.splits:
        part = truth.split(split)
        assert found.split(split).counts == part.counts
        assert found.split(split).images == tuple(map(str, part.images))
    return found


def test_what_did_not_change_is_not_read_again(tmp_path, folder, old, loaded):
    first = look(tmp_path, folder / "data.yaml")
    assert look(tmp_path, folder / "data.yaml").state == first.state != ""
    assert len(loaded) == 1


def same_size(folder):
    image = folder / "images/train/1.bmp"
    before = os.stat(image)
    draw(image, 200)
    assert os.stat(image).st_size == before.st_size
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def time_set_back(folder):
    image = folder / "images/train/1.bmp"
    before = os.stat(image)
    while os.stat(image).st_ctime_ns == before.st_ctime_ns:
        draw(image, 200)
        os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(image).st_mtime_ns == before.st_mtime_ns


def other_size(folder):
    draw(folder / "images/train/1.bmp", 200, side=20)


def added(folder):
    draw(folder / "images/val/9.bmp", 200)
    mark(folder / "images/val/9.bmp", 1)


def added_below(folder):
    draw(folder / "images/train/new/9.bmp", 200)


def removed(folder):
    (folder / "images/train/1.bmp").unlink()


def renamed(folder):
    (folder / "images/train/1.bmp").rename(folder / "images/train/8.bmp")


def moved_to_val(folder):
    (folder / "images/train/1.bmp").rename(folder / "images/val/7.bmp")


def broken(folder):
    (folder / "images/train/1.bmp").write_bytes(b"no image")


def label_changed(folder):
    label = folder / "labels/train/1.txt"
    before = os.stat(label)
    label.write_text(label.read_text().replace("1 ", "0 ", 1))
    os.utime(label, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def label_added(folder):
    (folder / "labels/train/1.txt").write_text("1 0.5 0.5 0.1 0.1\n" * 9)


def label_removed(folder):
    (folder / "labels/train/1.txt").unlink()


def labels_removed(folder):
    shutil.rmtree(folder / "labels/val")


def names_changed(folder):
    text = (folder / "data.yaml").read_text()
    (folder / "data.yaml").write_text(text.replace("scab", "scar"))


def split_dropped(folder):
    text = (folder / "data.yaml").read_text()
    (folder / "data.yaml").write_text(text.replace("val: images/val\n", ""))


@pytest.mark.parametrize("change", [
    same_size, time_set_back, other_size, added, added_below, removed, renamed, moved_to_val,
    broken, label_changed, label_added, label_removed, labels_removed, names_changed, split_dropped,
])  # fmt: skip
def test_every_change_is_noticed(tmp_path, folder, old, loaded, change):
    first = look(tmp_path, folder / "data.yaml")
    change(folder)
    changed = look(tmp_path, folder / "data.yaml")
    assert (changed.fingerprint, changed.images) != (first.fingerprint, first.images)
    assert changed.state != first.state
    assert look(tmp_path, folder / "data.yaml").fingerprint == changed.fingerprint
    assert len(loaded) == 2


@pytest.mark.parametrize("file", ["images/train/1.bmp", "labels/train/1.txt", "data.yaml"])
def test_touched_but_equal_is_the_same(tmp_path, folder, old, loaded, file):
    first = look(tmp_path, folder / "data.yaml")
    os.utime(folder / file, (1, 1))
    touched = look(tmp_path, folder / "data.yaml")
    assert touched.fingerprint == first.fingerprint
    assert touched.state != first.state
    assert len(loaded) == 2


def test_lists_are_followed(tmp_path, folder, old, loaded):
    (folder / "lists").mkdir()
    names = folder / "lists" / "train.txt"
    names.write_text("images/train/0.bmp\nimages/train/1.bmp\nmore/images/train/5.bmp\n")
    (folder / "data.yaml").write_text("train: lists/train.txt\nnames: [dent, scab]\n")
    seen = [look(tmp_path, folder / "data.yaml").images]
    names.write_text(names.read_text() + "images/train/2.bmp\n")
    seen.append(look(tmp_path, folder / "data.yaml").images)
    draw(folder / "lists/more/images/train/5.bmp", 90)  # beside the list
    seen.append(look(tmp_path, folder / "data.yaml").images)
    draw(folder / "more/images/train/5.bmp", 90)  # below the root, which goes first
    seen.append(look(tmp_path, folder / "data.yaml").images)
    assert [len(images) for images in seen] == [2, 3, 4, 4]
    assert len(set(map(tuple, seen))) == len(loaded) == 4
    assert look(tmp_path, folder / "data.yaml").images == seen[-1]
    assert len(loaded) == 4


def test_links_are_followed(tmp_path, folder, old, loaded):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    draw(other / "images/train/1.bmp", 250)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf/now").symlink_to(folder)
    (tmp_path / "shelf/data.yaml").write_text(
        "path: now\ntrain: images/train\nval: images/val\nnames: [dent, scab]\n"
    )
    first = look(tmp_path, tmp_path / "shelf/data.yaml")
    (tmp_path / "shelf/now").unlink()
    (tmp_path / "shelf/now").symlink_to(other)
    assert look(tmp_path, tmp_path / "shelf/data.yaml").fingerprint != first.fingerprint
    image = other / "images/train/2.bmp"  # a link to an image, which changes elsewhere
    image.rename(tmp_path / "2.bmp")
    image.symlink_to(tmp_path / "2.bmp")
    before = look(tmp_path, tmp_path / "shelf/data.yaml")
    draw(tmp_path / "2.bmp", 7, side=20)
    assert look(tmp_path, tmp_path / "shelf/data.yaml").fingerprint != before.fingerprint
    image.unlink()
    image.symlink_to("nowhere.bmp")
    [note] = look(tmp_path, tmp_path / "shelf/data.yaml").notes
    assert "1 images left out: no such file" in note
    assert len(loaded) == 5


def test_the_working_folder_counts_where_the_path_is_relative_to_it(
    tmp_path, folder, old, loaded, monkeypatch
):
    other = tmp_path / "other" / "line-1"
    shutil.copytree(folder, other)
    draw(other / "images/train/1.bmp", 250)
    file = tmp_path / "yaml" / "shelf.yaml"
    file.parent.mkdir()
    file.write_text("path: line-1\ntrain: images/train\nval: images/val\nnames: [dent, scab]\n")
    monkeypatch.chdir(tmp_path)
    first = look(tmp_path, file)
    monkeypatch.chdir(other.parent)
    assert look(tmp_path, file).fingerprint != first.fingerprint
    shutil.copytree(folder, file.parent / "line-1")  # beside the YAML goes first
    assert look(tmp_path, file).images[0].startswith(str(file.parent))
    assert len(loaded) == 3


def test_aliases_have_their_own_summary(tmp_path, folder, old, loaded):
    path = folder / "data.yaml"
    merged = look(tmp_path, path, {"scab": "dent"})
    assert merged.counts == {"dent": 16}
    assert look(tmp_path, path).counts == {"dent": 12, "scab": 4}
    assert look(tmp_path, path, {"scab": "scar"}).counts == {"dent": 12, "scar": 4}
    assert look(tmp_path, path, {"scab": "dent"}).fingerprint == merged.fingerprint
    assert len(loaded) == 3
    for _ in range(2):  # known or not
        with SignatureCache(tmp_path / "cache") as cache, pytest.raises(DataError, match="scrab"):
            read_summaries([path], {"scrab": "dent"}, cache)


def test_what_is_young_is_read_again(tmp_path, folder, loaded):
    for _ in range(2):
        assert look(tmp_path, folder / "data.yaml").state == ""
    assert len(loaded) == 2


def test_a_change_while_it_is_read_is_noticed(tmp_path, folder, old, monkeypatch):
    class Changed(DatasetReader):
        def samples(self):
            yield from super().samples()
            added(folder)

    with monkeypatch.context() as during, SignatureCache(tmp_path / "cache") as cache:
        during.setattr(room, "DatasetReader", Changed)
        [before] = read_summaries([folder / "data.yaml"], {}, cache)
    assert len(look(tmp_path, folder / "data.yaml").images) == len(before.images) + 1


def test_a_dataset_that_became_useless_says_so(tmp_path, folder, old):
    look(tmp_path, folder / "data.yaml")
    (folder / "labels/train/1.txt").write_text("7 0.5 0.5 0.2 0.2\n")
    with SignatureCache(tmp_path / "cache") as cache:
        with pytest.raises(DataError, match="line 1"):
            read_summaries([folder / "data.yaml"], {}, cache)
        shutil.rmtree(folder)
        with pytest.raises(DataError, match="no such file"):
            read_summaries([folder / "data.yaml"], {}, cache)


@pytest.mark.parametrize("damage", [
    lambda row: b"", lambda row: b"{}", lambda row: row[:-1],
    lambda row: row[:40] + b"1" + row[41:],
    lambda row: row.replace(b"dent", b"bent"), lambda row: row[32:],
])  # fmt: skip
def test_damaged_rows_are_passed_over(tmp_path, folder, old, loaded, damage):
    path = folder / "data.yaml"
    look(tmp_path, path)
    with SignatureCache(tmp_path / "cache") as cache:
        [row] = cache.recall([room._key(path, {})]).values()
        assert damage(row) != row
        cache.keep(room._key(path, {}), damage(row))
    look(tmp_path, path)
    assert len(loaded) == 2


def test_a_cache_damaged_inside_is_said_and_survived(tmp_path, folder, old):
    look(tmp_path, folder / "data.yaml")
    file = tmp_path / "cache" / "signatures.sqlite"
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(content)
    with SignatureCache(tmp_path / "cache") as cache:
        [found] = read_summaries([folder / "data.yaml"], {}, cache)
        assert "delete it" in str(cache.note)
    assert found.fingerprint == load_dataset(folder / "data.yaml").fingerprint()
    with pytest.raises(sqlite3.DatabaseError), sqlite3.connect(file) as database:
        database.execute("SELECT * FROM measures").fetchall()


def test_few_samples_are_in_memory_at_a_time(tmp_path, monkeypatch):
    for i in range(100):
        image = tmp_path / f"line-1/images/train/{i:03}.bmp"
        draw(image, i)
        mark(image, 0)
    (tmp_path / "line-1/data.yaml").write_text(
        "train: images/train\nval: images/train\nnames: [dent]\n"
    )
    alive, most = weakref.WeakSet(), []

    class Watched(DatasetReader):
        def samples(self):
            for sample in super().samples():
                alive.add(sample)
                most.append(len(alive))
                yield sample

    monkeypatch.setattr(room, "DatasetReader", Watched)
    monkeypatch.setattr(summary, "_TOGETHER", 5)
    assert look(tmp_path, tmp_path / "line-1/data.yaml").counts == {"dent": 100}
    assert len(most) == 100
    assert max(most) <= 11  # those of two handfuls, and the one that is read
