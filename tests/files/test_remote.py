"""Datasets on object storage: fsspec's in-memory one stands for S3 and its like."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import yaml

from aoi_tl import load_dataset, score_sources
from aoi_tl.caches import signature_cache
from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.data.images import content_hash, image_fault, image_size, read_image
from aoi_tl.data.yolo.write import write_dataset
from aoi_tl.errors import DataError
from aoi_tl.experiment.detection import Experiment
from aoi_tl.files.remote import is_remote, list_remote, parse_location, remote_stamp, url_of
from aoi_tl.files.run_folder import RunFolder
from aoi_tl.similarity.signature import dataset_signature
from aoi_tl.workflows.check import run_check
from aoi_tl.workflows.progress import silent
from aoi_tl.workflows.transfer import adapt
from tests.drawn import draw_dataset


@pytest.fixture
def bucket() -> Iterator[fsspec.AbstractFileSystem]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return draw_dataset(tmp_path / "local" / "line", {"dent": 3, "stain": 1}, seed=1)


def upload(files: fsspec.AbstractFileSystem, local: Path, name: str = "line") -> Path:
    """Copy a dataset to the bucket; give a ``data.yaml`` that names it there."""
    for file in local.parent.rglob("*"):
        if file.is_file() and file != local:
            key = f"/shelf/{name}/{file.relative_to(local.parent).as_posix()}"
            files.pipe_file(key, file.read_bytes())
    return renamed(local, f"memory://shelf/{name}", local.parents[2] / "remote" / name)


def renamed(local: Path, path: str, folder: Path) -> Path:
    folder.mkdir(parents=True)
    content = yaml.safe_load(local.read_text())
    (folder / "data.yaml").write_text(yaml.safe_dump({**content, "path": path}))
    return folder / "data.yaml"


def merge(found: list) -> object:
    return dataset_signature(found, 4)


def test_a_copy_on_object_storage_is_the_same_dataset(bucket, local: Path, tmp_path: Path) -> None:
    here, there = load_dataset(local), load_dataset(upload(bucket, local))
    assert all(is_remote(sample.image) for sample in there.samples)
    assert there.counts == here.counts
    assert there.fingerprint() == here.fingerprint()
    pairs = list(zip(here.samples, there.samples, strict=True))
    for ours, theirs in pairs:
        assert ours.split == theirs.split
        np.testing.assert_array_equal(read_image(ours.image), read_image(theirs.image))
        assert image_size(ours.image) == image_size(theirs.image)
        assert image_fault(theirs.image) is None
        assert content_hash(ours.image) == content_hash(theirs.image)
    with SignatureCache(tmp_path / "one") as one, SignatureCache(tmp_path / "two") as two:
        ours, theirs = zip(*pairs, strict=True)
        assert one.signatures([s.image for s in ours], 4) == two.signatures(
            [s.image for s in theirs], 4
        )


def test_file_urls_are_local_paths(local: Path, tmp_path: Path) -> None:
    there = load_dataset(renamed(local, f"file://{local.parent}", tmp_path / "other" / "line"))
    assert [s.image for s in there.samples] == [s.image for s in load_dataset(local).samples]


def test_lists_and_single_entries_may_be_urls(bucket, local: Path, tmp_path: Path) -> None:
    data = upload(bucket, local)
    images = sorted(f"images/train/{file.name}" for file in
                    (local.parent / "images" / "train").iterdir())
    bucket.pipe_file("/shelf/line/train.txt", "\n".join(
        [f"./{images[0]}", images[1], f"memory://shelf/line/{images[2]}", "images/train/none.png",
         *images[3:]]
    ).encode())
    content = yaml.safe_load(data.read_text())
    data.write_text(yaml.safe_dump({
        **content, "train": "train.txt", "val": "memory://shelf/line/images/val",
    }))
    found = load_dataset(data)
    assert found.fingerprint() == load_dataset(local).fingerprint()
    assert any("1 images left out: no such file (train)" in note for note in found.notes)


def test_what_is_changed_added_or_removed_is_noticed(
    bucket, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    real = signature_cache._measure
    monkeypatch.setattr(signature_cache, "_measure", lambda work: (
        measured.extend(path for path, _ in work[0]), real(work))[1])
    data = upload(bucket, local)
    images = [sample.image for sample in load_dataset(data).samples]
    with SignatureCache(tmp_path / "cache") as cache:
        first, _ = cache.datasets([images], 4, merge)[0]
        assert cache.datasets([images], 4, merge)[0] == (first, 0)
        assert len(measured) == len(images)

        changed = url_of(images[0]).removeprefix("memory:/")
        before = bucket.cat_file(changed)
        bucket.pipe_file(changed, bucket.cat_file(url_of(images[1])))
        assert cache.datasets([images], 4, merge)[0][0] != first
        assert len(measured) == len(images)  # its content is known under another name
        bucket.pipe_file(changed, before)
        assert cache.datasets([images], 4, merge)[0] == (first, 0)

        bucket.rm_file(changed)
        assert remote_stamp(images[0]) is None
        assert cache.datasets([images], 4, merge)[0][1] == 1
    assert len(load_dataset(data).samples) == len(images) - 1
    bucket.pipe_file(changed, before)
    bucket.pipe_file(changed.replace(".png", "-new.png"), before)
    assert len(load_dataset(data).samples) == len(images) + 1


def test_broken_objects_are_told_as_files_are(bucket, local: Path) -> None:
    train = sorted((local.parent / "images" / "train").iterdir())
    train[0].write_bytes(train[0].read_bytes()[:60])
    train[1].write_bytes(b"")
    (local.parent / "labels" / "val" / "val0.txt").unlink()
    here, there = load_dataset(local), load_dataset(upload(bucket, local))
    assert there.fingerprint() == here.fingerprint()
    assert [note.partition(", the first")[0] for note in there.notes] == [
        note.partition(", the first")[0] for note in here.notes
    ]


def test_scores_and_checks_are_those_of_the_local_copy(
    bucket, local: Path, tmp_path: Path
) -> None:
    source = draw_dataset(tmp_path / "local" / "near", {"dent": 5, "stain": 2}, seed=2, ground=130)
    here = [load_dataset(file) for file in (local, source)]
    files = [upload(bucket, local, "line"), upload(bucket, source, "near")]
    there = [load_dataset(file) for file in files]
    with SignatureCache(tmp_path / "one") as one, SignatureCache(tmp_path / "two") as two:
        assert score_sources(here[0], here[1:], cache=one) == score_sources(
            there[0], there[1:], cache=two
        )
    ours, theirs = run_check([local, source], None), run_check(files, None)
    assert [found.counts() for found in theirs] == [found.counts() for found in ours]
    assert [found.images for found in theirs] == [found.images for found in ours]


def test_training_gets_copies_of_the_objects(bucket, local: Path, tmp_path: Path) -> None:
    written = write_dataset(load_dataset(upload(bucket, local)), tmp_path / "written")
    copies = [sample.image for sample in load_dataset(written).samples]
    assert all(copy.is_file() and not copy.is_symlink() for copy in copies)
    assert load_dataset(written).fingerprint() == load_dataset(local).fingerprint()


def test_arms_learn_from_what_they_would_learn_from_locally(
    bucket, local: Path, tmp_path: Path
) -> None:
    source = draw_dataset(
        tmp_path / "local" / "near", {"dent": 5, "stain": 2, "burr": 2}, seed=2, ground=130
    )

    def adapted(target: Path, source: Path, name: str) -> Path:
        experiment = Experiment(target=str(target), sources=(str(source),), arms=("method",))
        (tmp_path / name).mkdir()
        old = [load_dataset(source)]
        new = load_dataset(target)
        ranking = score_sources(new, old, n_clusters=2)
        adapt(RunFolder(tmp_path / name), experiment, ranking, new, old, old,
              Path("yolov8n.yaml"), silent)
        return tmp_path / name / "data"

    def contents(data: Path) -> dict[str, bytes]:
        return {str(file.relative_to(data)): file.read_bytes() for file in data.rglob("*")
                if file.is_file() and file.name != "data.yaml"}

    here = adapted(local, source, "here")
    there = adapted(upload(bucket, local), upload(bucket, source, "near"), "there")
    assert contents(there) == contents(here)
    assert {folder.name for folder in there.iterdir()} >= {"line", "near", "near-subset"}
    # Each object is copied once: what is made of the copies links to them.
    assert not any(file.is_symlink() for file in (there / "near" / "images").rglob("*.png"))
    assert all(file.is_symlink() for file in (there / "near-subset" / "images").rglob("*.png"))


@pytest.mark.parametrize(("path", "words"), [
    ("http://169.254.169.254/latest/meta-data", "a URL of s3, gs, memory or file"),
    ("https://example.org/data", "a URL of s3, gs, memory or file"),
    ("ssh://host/data", "a URL of s3, gs, memory or file"),
    ("zip::s3://shelf/a.zip", "a URL of s3, gs, memory or file"),
    ("simplecache::memory://shelf/line", "a URL of s3, gs, memory or file"),
    ("memory://shelf/nowhere", "got nothing there"),
])
def test_what_cannot_be_read_from_is_one_line(
    bucket, local: Path, tmp_path: Path, path: str, words: str
) -> None:
    data = renamed(local, path, tmp_path / "other")
    with pytest.raises(DataError, match=words) as error:
        load_dataset(data)
    assert "\n" not in str(error.value)
    content = {**yaml.safe_load(local.read_text()), "path": str(local.parent), "train": path}
    data.write_text(yaml.safe_dump(content))
    with pytest.raises(DataError):
        load_dataset(data)


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_missing_package_is_named(
    local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str
) -> None:
    def missing(protocol: str) -> None:
        raise ImportError(f"Install {package} to access {protocol}")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    data = renamed(local, f"{scheme}://shelf/line", tmp_path / "other")
    with pytest.raises(DataError, match=rf"the package {package} .*pip install 'aoi-tl\[cloud\]'"):
        load_dataset(data)


def test_a_storage_that_refuses_is_one_line(
    bucket, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoCredentialsError(Exception):
        pass

    def refuse(*_: object, **__: object) -> None:
        raise NoCredentialsError("Unable to locate credentials\nand more")

    data = upload(bucket, local)
    monkeypatch.setattr(type(bucket), "info", refuse)
    with pytest.raises(DataError, match="NoCredentialsError: Unable to locate") as error:
        load_dataset(data)
    assert "\n" not in str(error.value)


def test_names_that_only_look_like_urls_stay_paths() -> None:
    for text in ("images/train", "/data/s3://x", "C:/data", "s3", "a:b/c"):
        assert parse_location(text, "") is None
        assert not is_remote(text)


def test_a_listing_is_fresh(bucket) -> None:
    bucket.pipe_file("/shelf/a.png", b"1")
    assert list_remote(Path("memory://shelf")) == [Path("memory://shelf/a.png")]
    bucket.pipe_file("/shelf/b.png", b"2")
    assert len(list_remote(Path("memory://shelf"))) == 2


def test_datasets_are_only_read(bucket, local: Path, tmp_path: Path) -> None:
    data = upload(bucket, local)
    before = {key: bytes(file.getvalue()) for key, file in bucket.store.items()}
    write_dataset(load_dataset(data), tmp_path / "written")
    shutil.rmtree(tmp_path / "written")
    assert {key: bytes(file.getvalue()) for key, file in bucket.store.items()} == before
