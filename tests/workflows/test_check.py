from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from aoi_tl.adaptation.few_labels import nested_subsets
from aoi_tl.data.faults import Finding
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.duplicates.pairs import CERTAIN
from aoi_tl.errors import DataError
from aoi_tl.formats import export_dataset
from aoi_tl.workflows.check import Checked, run_check, run_split, unseen_images_in
from aoi_tl.workflows.parts import parts_of
from tests.drawn import draw_dataset, tree_hash
from tests.drawn_boards import again, copy, write_boards


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return draw_dataset(tmp_path / "sound", {"dent": 3, "stain": 2}, size=96)


def kinds(file: Path) -> dict[str, int]:
    (checked,) = run_check([file])
    return checked.counts()


def test_a_sound_dataset_has_nothing_to_tell(sound: Path, tmp_path: Path) -> None:
    before = tree_hash(sound.parent)
    (checked,) = run_check([sound], tmp_path / "out")
    assert checked.findings == ()
    assert checked.is_sound
    assert (checked.images, checked.boxes) == (18, 15)
    assert checked.to_table().rows == ()
    written = json.loads((tmp_path / "out" / "sound" / "check.json").read_text())
    assert written["sound"] is True
    assert written["findings"] == []
    assert tree_hash(sound.parent) == before


def test_a_finding_is_written_with_its_split_where_it_has_one() -> None:
    checked = Checked("new", Path("new/data.yaml"), 3, 2, (
        Finding("blank image", "a.png", "one single grey level", "val"),
        Finding("class without instances", "burr", "no box in any split"),
    ))
    places = {found["kind"]: found["places"] for found in checked.to_json()["findings"]}
    assert places == {
        "blank image": [{"where": "a.png", "what": "one single grey level", "split": "val"}],
        "class without instances": [
            {"where": "burr", "what": "no box in any split", "split": None}
        ],
    }


def spoil(kind: str, folder: Path) -> None:
    images, labels = folder / "images" / "train", folder / "labels" / "train"
    label = labels / "train0.txt"
    row = label.read_text()
    if kind == "unreadable image":
        (images / "train0.png").write_bytes((images / "train0.png").read_bytes()[:200])
    elif kind == "empty file":
        (images / "train0.png").write_bytes(b"")
    elif kind == "tiny image":
        cv2.imwrite(str(images / "train5.png"), np.arange(64, dtype=np.uint8).reshape(8, 8))
    elif kind == "small image":
        cv2.imwrite(str(images / "train5.png"), np.arange(400, dtype=np.uint8).reshape(20, 20))
    elif kind == "blank image":
        cv2.imwrite(str(images / "train5.png"), np.full((96, 96), 7, np.uint8))
    elif kind == "label row":
        label.write_text(row + "9 .5 .5 .1 .1\n0 .5 .5 3 3\n0 x y 1 1\n")
    elif kind == "missing label":
        (labels / "train5.txt").unlink()
    elif kind == "orphan label":
        (labels / "nobody.txt").write_text(row)
        (labels / "classes.txt").write_text("dent\nstain\n")
    elif kind == "box without area":
        label.write_text(row + "0 .5 .5 0 .1\n")
    elif kind == "box under one pixel":
        label.write_text(row + "0 .5 .5 .005 .1\n")
    elif kind == "duplicate box":
        label.write_text(row + row)
    elif kind == "contradictory boxes":
        label.write_text(row + "1" + row[1:])
    elif kind == "contradictory copies":
        shutil.copy(images / "train0.png", images / "again.png")
        (labels / "again.txt").write_text("")
    elif kind == "copy":
        shutil.copy(images / "train0.png", images / "again.png")
        shutil.copy(label, labels / "again.txt")
    elif kind == "class without instances":
        text = (folder / "data.yaml").read_text()
        (folder / "data.yaml").write_text(text.replace("names:\n", "names:\n  2: burr\n"))
    elif kind == "class only outside train":
        for file in labels.iterdir():
            file.write_text("".join(r for r in file.open() if not r.startswith("1")))
    elif kind == "splits share an image":
        text = (folder / "data.yaml").read_text()
        text = text.replace("val: images/val", "val: [images/val, images/train/train0.png]")
        (folder / "data.yaml").write_text(text)
    elif kind == "splits share a copy":
        shutil.copy(images / "train0.png", folder / "images" / "test" / "leak.png")
        shutil.copy(label, folder / "labels" / "test" / "leak.txt")
    elif kind == "near-duplicate":
        pixels = cv2.imread(str(images / "train0.png"), 0)
        cv2.imwrite(str(images / "again.jpg"), pixels[:, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        shutil.copy(label, labels / "again.txt")
    elif kind == "splits may share a part":
        pixels = cv2.imread(str(images / "train0.png"), 0).astype(float)
        pixels += np.random.default_rng(5).normal(0, 10, pixels.shape)
        like = folder / "images" / "test" / "like.png"
        cv2.imwrite(str(like), pixels.clip(0, 255).astype(np.uint8))
        shutil.copy(label, folder / "labels" / "test" / "like.txt")
    elif kind == "splits share a near-duplicate":
        pixels = cv2.imread(str(images / "train0.png"), 0).astype(float)
        cv2.imwrite(str(folder / "images" / "test" / "leak.png"), (pixels * 0.7 + 50)[4:, 6:])
        shutil.copy(label, folder / "labels" / "test" / "leak.txt")
    elif kind == "missing image":
        lines = [f"./images/train/{file.name}" for file in images.iterdir()]
        (folder / "train.txt").write_text("\n".join([*lines, "./images/train/gone.png"]))
        text = (folder / "data.yaml").read_text().replace("train: images/train", "train: train.txt")
        (folder / "data.yaml").write_text(text)
    elif kind == "dataset":
        (folder / "data.yaml").write_text("train: [images\n")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("unreadable image", {"unreadable image": 1}),
        ("empty file", {"unreadable image": 1}),
        ("tiny image", {"tiny image": 1}),
        ("small image", {"small image": 1}),
        ("blank image", {"blank image": 1}),
        ("label row", {"label row": 3}),
        ("missing label", {"missing label": 1}),
        ("orphan label", {"orphan label": 1}),
        ("box without area", {"box without area": 1}),
        ("box under one pixel", {"box under one pixel": 1}),
        ("duplicate box", {"duplicate box": 1}),
        ("contradictory boxes", {"contradictory boxes": 1}),
        ("contradictory copies", {"contradictory copies": 1, "copy": 1}),
        ("copy", {"copy": 1}),
        ("class without instances", {"class without instances": 1}),
        ("class only outside train", {"class only outside train": 1}),
        ("splits share an image", {"splits share an image": 1}),
        ("splits share a copy", {"splits share a copy": 1, "copy": 1}),
        ("splits share a near-duplicate", {"splits share a near-duplicate": 1}),
        ("near-duplicate", {"near-duplicate": 1}),
        ("splits may share a part", {"splits may share a part": 1}),
        ("missing image", {"missing image": 1}),
        ("dataset", {"dataset": 1}),
    ],
)
def test_each_fault_is_found_and_no_other(
    sound: Path, kind: str, expected: dict[str, int]
) -> None:
    spoil(kind, sound.parent)
    assert kinds(sound) == expected


def test_a_source_that_shows_the_test_images_is_told(sound: Path, tmp_path: Path) -> None:
    source = draw_dataset(tmp_path / "source", {"dent": 3}, seed=5, size=96)
    target = load_dataset(sound)
    assert unseen_images_in(target, [load_dataset(source)]) == ([],)
    leaks = []
    for number, name in enumerate(("test0.png", "val1.png")):
        image = sound.parent / "images" / name[:-5] / name
        pixels = cv2.imread(str(image), 0)
        leak = source.parent / "images" / "train" / f"leak{number}.png"
        cv2.imwrite(str(leak), (pixels * 0.6 + 70)[:90, 5:].astype(np.uint8))
        (source.parent / "labels" / "train" / f"leak{number}.txt").write_text("")
        leaks.append((leak, image))
    clean = draw_dataset(tmp_path / "clean", {"dent": 3}, seed=8, size=96)
    none, found = unseen_images_in(target, [load_dataset(clean), load_dataset(source)])
    assert none == []
    assert all(likeness >= CERTAIN for *_, likeness in found)
    assert [(one.name, other.name) for one, other, _ in found] == [
        (one.name, other.name) for one, other in leaks
    ]
    checked = run_check([sound, source])
    assert [one.counts() for one in checked] == [
        {"shared with another dataset": 2}, {"training images shared": 2},
    ]
    assert not checked[0].is_sound


def test_a_likeness_in_doubt_is_a_warning(sound: Path, tmp_path: Path) -> None:
    source = draw_dataset(tmp_path / "source", {"dent": 3}, seed=5, size=96)
    pixels = cv2.imread(str(sound.parent / "images" / "test" / "test0.png"), 0).astype(float)
    pixels += np.random.default_rng(5).normal(0, 10, pixels.shape)
    like = source.parent / "images" / "train" / "train0.png"
    cv2.imwrite(str(like), pixels.clip(0, 255).astype(np.uint8))
    checked = run_check([sound, source])
    assert checked[0].counts() == {"may be shared with another dataset": 1}
    assert checked[0].is_sound


def test_one_dataset_twice_and_names_that_clash(sound: Path, tmp_path: Path) -> None:
    other = tmp_path / "else" / "sound"
    shutil.copytree(sound.parent, other)
    (one, two) = run_check([sound, other / "data.yaml", sound], tmp_path / "out")
    assert two.name == "else/sound"
    assert one.name == f"{sound.parent.parent.name}/sound"
    assert one.counts() == two.counts() == {
        "shared with another dataset": 12, "training images shared": 6,
    }
    assert (tmp_path / "out" / "else+sound" / "check.json").is_file()


def test_a_split_keeps_copies_together(sound: Path, tmp_path: Path) -> None:
    images = sound.parent / "images" / "train"
    for number in range(3):
        pixels = cv2.imread(str(images / "train0.png"), 0).astype(float)
        copy = images / f"again{number}.png"
        cv2.imwrite(str(copy), (pixels * 0.7 + 20 * number)[number:, :])
        shutil.copy(sound.parent / "labels" / "train" / "train0.txt",
                    sound.parent / "labels" / "train" / f"{copy.stem}.txt")
    before = tree_hash(sound.parent)
    written, table = run_split(sound, tmp_path / "anew", (0.5, 0.25, 0.25), seed=1)
    assert tree_hash(sound.parent) == before
    anew = load_dataset(written)
    assert len(anew.samples) == 21
    assert len({s.split for s in anew.samples if s.image.stem.startswith("again")
                or s.image.stem == "train0"}) == 1
    assert anew.counts == load_dataset(sound).counts
    assert [row[0] for row in table.rows] == ["train", "val", "test"]
    assert sum(int(row[1]) for row in table.rows) == 21
    assert kinds(written).get("splits share a near-duplicate") is None
    again, _ = run_split(sound, tmp_path / "twice", (0.5, 0.25, 0.25), seed=1)
    assert load_dataset(again).fingerprint() == anew.fingerprint()


def test_a_split_by_given_groups(sound: Path, tmp_path: Path) -> None:
    stems = [s.image.stem for s in load_dataset(sound).samples]
    rows = [f"{stem},g{number // 2}" for number, stem in enumerate(stems)]
    index = tmp_path / "index.csv"
    index.write_text("\n".join(["image,group", *rows]))
    written, _ = run_split(sound, tmp_path / "anew", groups=index)
    split = {s.image.stem: s.split for s in load_dataset(written).samples}
    assert all(split[a] == split[b] for a, b in zip(stems[::2], stems[1::2], strict=True))
    index.write_text("image,group\n")
    with pytest.raises(DataError, match="columns image and group"):
        run_split(sound, tmp_path / "more", groups=index)
    assert not (tmp_path / "more").exists()


def test_a_split_of_real_tiles_leaks_none_and_keeps_the_shares(
    shared: Path, tmp_path: Path
) -> None:
    data = shared / "data" / "magnetic-tile"
    shares = (0.6, 0.2, 0.2)
    with (data / "index.csv").open() as file:
        tile = {row["image"]: row["tile"] for row in csv.DictReader(file)}
    groups = tmp_path / "groups.csv"
    groups.write_text("\n".join(["image,group", *(f"{i},{t}" for i, t in tile.items())]))
    written, _ = run_split(data / "mt.yaml", tmp_path / "anew", shares, groups=groups)
    anew = load_dataset(written)
    seen: dict[str, set[str]] = {}
    for sample in anew.samples:
        seen.setdefault(tile[sample.image.name], set()).add(sample.split)
    assert len(seen) == 217
    assert all(len(splits) == 1 for splits in seen.values())
    for split, share in zip(("train", "val", "test"), shares, strict=True):
        part = anew.split(split)
        assert len(part.samples) / len(anew.samples) == pytest.approx(share, abs=0.02)
        for name, count in part.counts.items():
            assert count / anew.counts[name] == pytest.approx(share, abs=0.05), (split, name)


def test_one_design_on_many_parts_is_a_note_and_splits_freely(tmp_path: Path) -> None:
    board = write_boards(tmp_path / "board", 16)
    (checked,) = run_check([board])
    assert checked.counts() == {"repeated design": 1}
    assert checked.findings[0].what == (
        "one design, on several parts, makes 100% of the images (16 of 16)"
    )
    written, table = run_split(board, tmp_path / "anew", (0.5, 0.25, 0.25))
    assert table.title == "board, split by group"
    assert [row[1] for row in table.rows] == [row[2] for row in table.rows]  # as many groups
    assert [int(row[1]) for row in table.rows] == pytest.approx([8, 4, 4], abs=1.6)
    old = write_boards(tmp_path / "old", 8, start=50)
    target, source = load_dataset(written), load_dataset(old)
    assert unseen_images_in(target, [source]) == ([],)
    assert "it is also in old" in run_check([board, old])[0].findings[0].what
    seen = target.split("test").samples[0]
    leak = old.parent / "images" / "train" / "leak.jpg"
    pixels, marked, quality = again("shifted", *copy(int(seen.image.stem)))
    cv2.imwrite(str(leak), pixels.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    (old.parent / "labels" / "train" / "leak.txt").write_text("".join(
        f"{c} {x} {y} {w} {h}\n" for c, (x, y, w, h) in zip(
            marked.classes.tolist(), marked.boxes.tolist(), strict=True)
    ))
    ((found,),) = unseen_images_in(target, [load_dataset(old)])
    assert (found[0].name, found[1].name) == ("leak.jpg", seen.image.name)
    assert found[2] >= CERTAIN
    assert "shared with another dataset" in run_check([written, old])[0].counts()


def test_a_split_says_why_it_misses_its_shares(sound: Path, tmp_path: Path) -> None:
    rows = [f"{s.image.stem},{min(number // 14, 1) * (number - 12)}"
            for number, s in enumerate(load_dataset(sound).samples)]
    index = tmp_path / "index.csv"
    index.write_text("\n".join(["image,group", *rows]))
    _, table = run_split(sound, tmp_path / "anew", (0.5, 0.25, 0.25), groups=index)
    assert table.title.endswith("one group holds 14 of 18 images")
    assert "asked for 0.50 0.25 0.25 of the images, got 0.78" in table.title


def test_planted_facts_of_the_real_data(shared: Path) -> None:
    kolektor = shared / "data" / "kolektor-sdd" / "kolektor-sdd.yaml"
    (checked,) = run_check([kolektor])
    counts = checked.counts()
    assert counts["copy"] == 16
    assert counts["near-duplicate"] == 8
    assert not {kind for kind in counts if kind.startswith("splits share")}


def test_a_folder_is_checked_as_what_is_in_it(sound: Path, tmp_path: Path) -> None:
    [by_folder] = run_check([sound.parent], tmp_path / "out")
    assert (by_folder.name, by_folder.images) == ("sound", run_check([sound])[0].images)
    export_dataset(load_dataset(sound), "voc", tmp_path / "voc")
    (broken,) = sorted((tmp_path / "voc" / "Annotations").iterdir())[:1]
    broken.write_text(broken.read_text().replace("<xmin>", "<xmin>x"))
    before = tree_hash(tmp_path / "voc")
    for _ in range(2):  # what an earlier check imported is replaced
        [found] = run_check([tmp_path / "voc"], tmp_path / "out")
        [fault] = [finding for finding in found.findings if finding.kind == "annotation"]
        assert fault.where.endswith(f"{broken.name} object 1")
        assert fault.what.startswith("expected xmin")
        assert found.images >= by_folder.images - 1
    assert tree_hash(tmp_path / "voc") == before
    (tmp_path / "nothing").mkdir()
    [nothing] = run_check([tmp_path / "nothing"], tmp_path / "out")
    assert nothing.counts() == {"dataset": 1}


def test_few_labelled_images_hold_all_copies_of_a_part_or_none(tmp_path: Path) -> None:
    data = draw_dataset(tmp_path / "line", {"dent": 3, "stain": 3}, empty=0, size=128)
    train = tmp_path / "line" / "images" / "train"
    image = cv2.imread(str(train / "train0.png"))
    for number, quality in enumerate((60, 80)):  # the first part, photographed three times
        cv2.imwrite(str(train / f"again{number}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        labels = tmp_path / "line" / "labels" / "train"
        (labels / f"again{number}.txt").write_text((labels / "train0.txt").read_text())
    dataset = load_dataset(data)
    parts = parts_of(dataset)
    copies = {path for path in parts if path.stem in ("train0", "again0", "again1")}
    assert len({parts[path] for path in copies}) == 1
    assert len(set(parts.values())) == 6
    for seed in range(4):
        few = nested_subsets(dataset, [4], seed, parts)[4]
        held = {sample.image for sample in few.samples} & copies
        assert held in (copies, set())
