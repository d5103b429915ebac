from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.experiment.detection import Experiment, locate
from aoi_tl.experiment.settings import validate
from aoi_tl.workflows import shelf
from aoi_tl.workflows.shelf import read_data, without_overlap
from tests.drawn import draw_dataset, tree_hash

Change = Callable[[np.ndarray], np.ndarray]
COPIES: dict[str, tuple[str, Change]] = {
    "re-encoded": (".jpg", lambda x: x),
    "resized": (".png", lambda x: cv2.resize(x, None, fx=0.7, fy=0.7,
                                             interpolation=cv2.INTER_AREA)),
    "enlarged": (".png", lambda x: cv2.resize(x, None, fx=1.4, fy=1.4)),
    "relit": (".png", lambda x: (x * 0.7 + 40).clip(0, 255).astype(np.uint8)),
    "cropped": (".png", lambda x: x[x.shape[0] // 4 :, : x.shape[1] * 3 // 4]),
    "mirrored": (".png", lambda x: x[:, ::-1]),
    "turned": (".png", lambda x: np.rot90(x)),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AOI_TL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def asking(overlap: str) -> Experiment:
    return validate({"target": "t.yaml", "sources": ["s.yaml"], "overlap": overlap}, Experiment)


def dataset(name: str, **splits: list[Path]) -> Dataset:
    return Dataset(name, Path(f"{name}.yaml"), ("dent",), tuple(
        Sample(image, split, np.zeros(0), np.zeros((0, 4)))
        for split, images in splits.items() for image in images
    ))


def surface(file: Path, seed: int) -> Path:
    chance = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(chance.normal(0, 1, (240, 200)).astype(np.float32), (0, 0), 1.5)
    file.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(file), (grain / grain.std() * 25 + 110).clip(0, 255).astype(np.uint8))
    return file


def surfaces(folder: Path, first: int, count: int) -> list[Path]:
    return [surface(folder / f"{seed}.png", seed) for seed in range(first, first + count)]


def copied(image: Path, folder: Path, how: str) -> Path:
    suffix, change = COPIES[how]
    file = folder / f"{image.stem}-{how}{suffix}"
    pixels = np.ascontiguousarray(change(cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)))
    cv2.imwrite(str(file), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return file


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_test_image_is_refused_or_dropped(tmp_path: Path, how: str) -> None:
    target = dataset("new", train=surfaces(tmp_path / "new", 0, 3),
                     test=surfaces(tmp_path / "new", 3, 3))
    own = surfaces(tmp_path / "old", 10, 4)
    leak = copied(target.samples[4].image, tmp_path / "old", how)
    before = tree_hash(tmp_path)
    source = dataset("old", train=[*own, leak])
    with pytest.raises(DataError, match=r"old: 1 of 5 images are also .* of new \(0 as equal"):
        without_overlap(target, [source], asking("refuse"))
    kept, notes = without_overlap(target, [source], asking("drop"))
    assert [sample.image for sample in kept[0].samples] == own
    assert len(notes) == 1
    assert "left out" in notes[0]
    kept, notes = without_overlap(target, [source], asking("keep"))
    assert kept == [source]
    assert "no result of a source arm can be trusted" in notes[0]
    after = tree_hash(tmp_path)
    assert {file: after[file] for file in before} == before


def test_a_copy_of_a_training_image_is_no_matter(tmp_path: Path) -> None:
    target = dataset("new", train=surfaces(tmp_path / "new", 0, 3),
                     val=surfaces(tmp_path / "new", 3, 3))
    source = dataset("old", train=[copied(target.samples[0].image, tmp_path, "relit")])
    assert without_overlap(target, [source], asking("refuse")) == ([source], [])


def test_what_was_searched_once_is_looked_up(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = dataset("new", train=[], test=surfaces(tmp_path / "new", 0, 3))
    clean = dataset("clean", train=surfaces(tmp_path / "clean", 20, 3))
    leaky = dataset("leaky", train=[copied(target.samples[0].image, tmp_path, "mirrored")])
    searched: list[list[str]] = []
    real = shelf.unseen_images_in

    def spy(target: Dataset, sources: list[Dataset], **rest: object) -> object:
        searched.append([source.name for source in sources])
        return real(target, sources, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(shelf, "unseen_images_in", spy)
    first = without_overlap(target, [clean, leaky], asking("drop"))
    again = without_overlap(target, [clean, leaky], asking("drop"))
    assert first[1] == again[1]
    assert len(first[1]) == 1
    assert searched == [["clean", "leaky"]]
    more = dataset("clean", train=[*(s.image for s in clean.samples),
                                   surface(tmp_path / "more" / "30.png", 30)])
    without_overlap(target, [more, leaky], asking("drop"))
    assert searched[1:] == [["clean"]]
    for file in (cache / "overlaps").iterdir():
        file.write_text("[broken")
    assert without_overlap(target, [clean, leaky], asking("drop"))[1] == first[1]
    monkeypatch.setenv("AOI_TL_CACHE", str(tmp_path / "new" / "0.png"))  # no folder can be made
    assert without_overlap(target, [clean, leaky], asking("drop"))[1] == first[1]


def test_other_tiles_of_one_product_are_no_copies(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "magnetic-tile"
    target = load_dataset(data / "mt-exp1.yaml")
    others = dataset("other", train=[
        sample.image for sample in load_dataset(data / "mt.yaml").split("train").samples[:200]
    ])
    assert without_overlap(target, [others], asking("refuse")) == ([others], [])
    tests = target.split("test").samples
    leaks = [copied(sample.image, tmp_path, how)
             for sample, how in zip(tests[:: len(tests) // 6], COPIES, strict=False)]
    source = dataset("leaky", train=[*(s.image for s in others.samples), *leaks])
    kept, notes = without_overlap(target, [source], asking("drop"))
    assert [s.image for s in kept[0].samples] == [s.image for s in others.samples]
    assert notes == [
        f"leaky: {len(leaks)} of {200 + len(leaks)} images are also in the validation or test "
        f"split of mt-exp1 (0 as equal files, {len(leaks)} in another exposure, encoding or crop), "
        "and were left out"
    ]


def named(shelf: Path, *sources: object) -> list[str]:
    found = validate({
        "target": str(shelf / "new" / "data.yaml"), "sources": list(sources),
    }, Experiment)
    target, kept, _ = read_data(locate(found))
    return [target.name, *(source.name for source in kept)]


def test_sources_of_one_name_are_told_apart(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "new", {"dent": 1})
    files = [str(draw_dataset(tmp_path / line / "dataset", {"dent": 1}, seed=n))
             for n, line in enumerate(("lineA", "lineB"), 1)]
    assert named(tmp_path, *files) == ["new", "lineA/dataset", "lineB/dataset"]
    assert named(tmp_path, str(tmp_path / "*" / "dataset" / "data.yaml")) == [
        "new", "lineA/dataset", "lineB/dataset"]
    assert named(tmp_path, files[0], {"data": files[1], "name": "old line"}) == [
        "new", "dataset", "old line"]
    for first, second in (("x", "x"), ("a/b", "a+b")):
        with pytest.raises(ExperimentError, match=r"different names, got .* twice; give"):
            named(tmp_path, {"data": files[0], "name": first}, {"data": files[1], "name": second})
    for name in ("", "../x", "/x", " "):
        with pytest.raises(ExperimentError, match=r"sources\.name"):
            named(tmp_path, {"data": files[0], "name": name})
    with pytest.raises(ExperimentError, match="expected one dataset for a name"):
        named(tmp_path, {"data": str(tmp_path / "*" / "dataset" / "data.yaml"), "name": "x"})
