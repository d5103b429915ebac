from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.faults import inspect_dataset
from aoi_tl.data.images import write_image
from aoi_tl.data.yolo.layout import label_path
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.data.yolo.write import write_dataset
from aoi_tl.errors import DataError

ROW = "0 0.5 0.5 0.25 0.25\n"


def tree_hash(folder: Path) -> str:
    """Names, kinds, contents and times of everything below a folder."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        whole.update(f"{path.relative_to(folder)} {stat.st_mode} {stat.st_mtime_ns}".encode())
        if path.is_file() and not path.is_symlink():
            whole.update(path.read_bytes())
    return whole.hexdigest()


def picture(path: Path, grey: int = 90, suffix_content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((32, 48), grey, np.uint8))
    path.write_bytes(path.read_bytes() + suffix_content)
    return path


def label(path: Path, rows: str = ROW) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rows, encoding="utf-8")
    return path


def dataset_folder(root: Path, train=("a", "b"), val=("c",), yaml_more="") -> Path:
    """An ordinary dataset with folders; its YAML."""
    for split, stems in (("train", train), ("val", val)):
        for number, stem in enumerate(stems):
            picture(root / "images" / split / f"{stem}.png", 60 + number)
            label(root / "labels" / split / f"{stem}.txt")
    file = root / "line-1.yaml"
    entries = "train: images/train\n" + ("val: images/val\n" if val else "")
    file.write_text(f"{entries}names: [dent, stain]\n{yaml_more}", encoding="utf-8")
    return file


def refused(path) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message
    return message


# ------------------------------------------------------------------------------- forms of data.yaml


def test_folders(tmp_path):
    dataset = load_dataset(dataset_folder(tmp_path))
    assert dataset.name == "line-1"
    assert dataset.names == ("dent", "stain")
    assert dataset.counts == {"dent": 3, "stain": 0}
    assert [s.split for s in dataset.samples] == ["train", "train", "val"]
    assert dataset.notes == ()


@pytest.mark.parametrize("stem", ["data", "dataset"])
def test_a_plain_file_name_gives_way_to_the_folders(tmp_path, stem):
    file = dataset_folder(tmp_path / "dc-1")
    file.rename(file.with_stem(stem))
    assert load_dataset(file.with_stem(stem)).name == "dc-1"


def test_names_as_a_map_in_any_order_and_script(tmp_path):
    file = dataset_folder(tmp_path)
    file.write_text("train: images/train\nnames: {1: 划痕, 0: ' Fläche '}\n", encoding="utf-8")
    assert load_dataset(file).names == ("Fläche", "划痕")


@pytest.mark.parametrize("entry", ["absolute", "relative", "working folder"])
def test_path_absolute_or_relative(tmp_path, entry, monkeypatch):
    dataset_folder(tmp_path / "data" / "set")
    monkeypatch.chdir(tmp_path)
    path = {"absolute": tmp_path / "data" / "set", "relative": "../data/set"}.get(entry, "data/set")
    (tmp_path / "yamls").mkdir()
    file = tmp_path / "yamls" / "x.yaml"
    file.write_text(f"path: {path}\ntrain: images/train\nval: images/val\nnames: [a]")
    assert load_dataset(file).counts == {"a": 3}


def test_a_path_from_another_machine_is_noted(tmp_path):
    file = dataset_folder(tmp_path, yaml_more="path: /home/somebody/else\n")
    dataset = load_dataset(file)
    assert len(dataset.samples) == 3
    assert "'path: /home/somebody/else' does not exist" in dataset.notes[0]


def test_lists_of_folders_and_lists_of_files(tmp_path):
    file = dataset_folder(tmp_path)
    file.write_text("train: [images/train, images/val]\nnames: [a]")
    assert load_dataset(file).counts == {"a": 3}
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "train.txt").write_text(
        f"./../images/train/a.png\n\nimages/train/b.png\n{tmp_path}/images/val/c.png\nREADME\n"
    )
    file.write_text("train: lists/train.txt\nnames: [a]")
    dataset = load_dataset(file)
    assert dataset.counts == {"a": 3}
    assert dataset.notes == ("1 lines of train.txt name no image and were skipped",)


def test_images_named_twice_are_taken_once(tmp_path):
    file = dataset_folder(tmp_path)
    file.write_text("train: [images/train, images/train]\nval: images/val\nnames: [a]")
    dataset = load_dataset(file)
    assert len(dataset.split("train").samples) == 2
    assert dataset.notes == ("2 images named more than once in train were used once",)


def test_a_split_that_repeats_another_is_noted(tmp_path):
    file = dataset_folder(tmp_path)
    file.write_text("train: images/train\nval: images/train\ntest: images/train\nnames: [a]")
    dataset = load_dataset(file)
    assert dataset.splits == ("train", "test")
    assert dataset.notes == (
        "'val' names the images of 'train'; it is treated as absent",
        "2 images are in both train and test",
    )


def test_labels_lie_where_ultralytics_looks(tmp_path):
    from ultralytics.data.utils import img2label_paths

    for path in ("/a/images/b/images/c/d.e.png", "/a/images.jpg", "/x/images/y.jpeg", "/x/y.png"):
        assert str(label_path(Path(path))) == img2label_paths([path])[0]


def test_nested_folders_capital_suffixes_and_hidden_files(tmp_path):
    file = dataset_folder(tmp_path)
    picture(tmp_path / "images" / "train" / "deep" / "划痕 1.PNG")
    label(tmp_path / "labels" / "train" / "deep" / "划痕 1.txt")
    picture(tmp_path / "images" / "train" / ".hidden.png")
    picture(tmp_path / "images" / "train" / ".thumbs" / "x.png")
    (tmp_path / "images" / "train" / "notes.md").write_text("")
    assert load_dataset(file).split("train").counts == {"dent": 3, "stain": 0}


def test_links_to_folders_are_followed_once(tmp_path):
    file = dataset_folder(tmp_path)
    (tmp_path / "images" / "train" / "again").symlink_to(tmp_path / "images" / "train")
    assert len(load_dataset(file).split("train").samples) == 2


def test_aliases_and_names_given_twice_merge(tmp_path):
    file = dataset_folder(tmp_path)
    label(tmp_path / "labels" / "train" / "a.txt", ROW + ROW.replace("0", "1", 1))
    assert load_dataset(file, {"stain": "dent"}).counts == {"dent": 4}
    file.write_text("train: images/train\nnames: [dent, dent]")
    dataset = load_dataset(file)
    assert dataset.counts == {"dent": 3}
    assert dataset.notes == ("1 class names given twice were merged",)


def test_a_roboflow_export_loads(tmp_path):
    file = dataset_folder(tmp_path)
    file.write_text("train: ../images/train\nval: ../images/val\nnc: 1\nnames: ['dent']")
    assert load_dataset(file).counts == {"dent": 3}


# ----------------------------------------------------------------------------- what may be left out


def test_negatives_are_images_and_missing_labels_are_counted(tmp_path):
    file = dataset_folder(tmp_path)
    label(tmp_path / "labels" / "train" / "a.txt", "")
    (tmp_path / "labels" / "val" / "c.txt").unlink()
    dataset = load_dataset(file)
    assert [len(s.classes) for s in dataset.samples] == [0, 1, 0]
    assert dataset.notes == ("1 images without a label file (val 1)",)


def test_broken_images_are_counted_and_left_out(tmp_path):
    file = dataset_folder(tmp_path, train=("a", "b", "d"))
    image = tmp_path / "images" / "train" / "a.png"
    image.write_bytes(image.read_bytes()[:60])
    write_image(tmp_path / "x.jpg", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    (tmp_path / "images" / "train" / "t.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:900])
    (tmp_path / "images" / "train" / "e.png").write_bytes(b"")
    dataset = load_dataset(file)
    assert [s.image.name for s in dataset.samples] == ["b.png", "d.png", "c.png"]
    assert len(dataset.notes) == 2
    assert dataset.notes[0].startswith("2 images left out: truncated (train), the first")
    assert dataset.notes[1].startswith("1 images left out: empty file (train), the first")


def test_some_missing_images_of_a_list_are_counted(tmp_path):
    file = dataset_folder(tmp_path, train=("a", "b"))
    (tmp_path / "train.txt").write_text("./images/train/a.png\n./images/train/none.png\n")
    file.write_text("train: train.txt\nnames: [a]")
    assert "1 images left out: no such file (train)" in load_dataset(file).notes[0]
    (tmp_path / "train.txt").write_text("./images/train/a.png\n./n1.png\n./n2.png\n")
    assert "expected the images of train, got 2 missing of 3" in refused(file)


def test_a_missing_test_split_is_noted(tmp_path):
    dataset = load_dataset(dataset_folder(tmp_path, yaml_more="test: images/test\n"))
    assert dataset.splits == ("train", "val")
    assert "'test: images/test' does not exist" in dataset.notes[0]


def test_one_image_and_no_boxes_load(tmp_path):
    file = dataset_folder(tmp_path, train=("a",), val=())
    label(tmp_path / "labels" / "train" / "a.txt", "")
    dataset = load_dataset(file)
    assert len(dataset.samples) == 1
    assert dataset.instances == 0
    assert dataset.label_space == ()


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a map with train, val and names, got nothing"),
        ("- a", "got a list"),
        ("hello", "got a str"),
        ("train: images/train", "expected class names, got no 'names'"),
        ("train: images/train\nnc: -2", "got no 'names'"),
        ("train: images/train\nnames: []", "expected class names, got nothing"),
        ("train: images/train\nnames: 3", "expected class names, got a int"),
        ("train: images/train\nnames: {a: 0}", "expected class ids as keys of names, got ['a']"),
        ("train: images/train\nnames: {2: a, 3: b}", "expected class ids 0 to 1 in names"),
        ("train: images/train\nnames: {1: a, 3: b}", "expected class ids 0 to 1 in names"),
        ("train: images/train\nnames: {1: a, 2: b}",
         "expected a class id from 1 to 2, got 0; correct the id, or number names from 0"),
        ("train: images/train\nnames: [a, [b]]", "expected every class name to be text"),
        ("train: images/train\nnames: [a, '']", "expected every class name to be text"),
        ("train: images/train\nnc: 3\nnames: [a]", "as many names as 'nc: 3', got 1"),
        ("val: images/val\nnames: [a]", "expected a train entry, got none"),
        ("train:\nnames: [a]", "expected a train entry, got none"),
        ("train: 3\nnames: [a]", "expected train to be a folder"),
        ("train: {a: b}\nnames: [a]", "expected train to be a folder"),
        ("train: images/trian\nnames: [a]", "got nothing at"),
        ("train: images/train\nval: nowhere\nnames: [a]", "list for val, got nothing at"),
        ("train: labels\nnames: [a]", "expected images for train, got none in 'labels'"),
        ("path: [a]\ntrain: images/train\nnames: [a]", "expected 'path' to be a folder"),
        ("path: nowhere\ntrain: images/x\nnames: [a]", "expected the folder 'path: nowhere'"),
        ("train: images/train\nnames: [a\nval: b", "line 3: expected valid YAML"),
    ],
)
def test_yaml_that_cannot_be_used(tmp_path, text, words):
    file = dataset_folder(tmp_path)
    file.write_text(text)
    assert words in refused(file)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2 .5 .5 .1 .1", "line 2: expected a class id from 0 to 1, got 2"),
        ("0 nan .5 .1 .1", "line 2: expected finite numbers"),
        ("0 .5 .5 1.2 .1", "line 2: expected a box inside the image"),
        ("0 .5 .5", "line 2: expected 5 columns"),
        ("dent .5 .5 .1 .1", "line 2: expected numbers"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_counted(tmp_path, row, words):
    file = dataset_folder(tmp_path)
    label(tmp_path / "labels" / "train" / "b.txt", f"{ROW}{row}\n")
    message = refused(file)
    assert str(tmp_path / "labels" / "train" / "b.txt") in message
    assert words in message
    label(tmp_path / "labels" / "val" / "c.txt", f"{row}\n{row}\n")
    assert "(and 2 more such rows, 2 files in all)" in refused(file)


def test_a_dataset_without_label_files_is_refused(tmp_path):
    file = dataset_folder(tmp_path)
    for path in (tmp_path / "labels").rglob("*.txt"):
        path.unlink()
    assert "expected label files beside the images, got none for 3 images" in refused(file)


def test_all_images_broken_is_refused(tmp_path):
    file = dataset_folder(tmp_path)
    for path in (tmp_path / "images" / "train").iterdir():
        path.write_bytes(b"x")
    assert "expected images for train, got none that can be read" in refused(file)


def test_a_download_entry_is_never_run(tmp_path):
    text = f"download: |\n  open({str(tmp_path / 'ran')!r}, 'w')\n"
    load_dataset(dataset_folder(tmp_path, yaml_more=text))
    file = tmp_path / "missing.yaml"
    file.write_text(f"train: nowhere\nval: nowhere\nnames: [a]\n{text}")
    refused(file)
    assert not (tmp_path / "ran").exists()


def test_label_caches_are_not_read(tmp_path):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    file = dataset_folder(tmp_path)
    np.save(tmp_path / "labels" / "train.npy", np.array([Bomb()]), allow_pickle=True)
    (tmp_path / "labels" / "train.npy").rename(tmp_path / "labels" / "train.cache")
    assert load_dataset(file).instances == 3
    assert not (tmp_path / "ran").exists()


words = st.text("abcnu01:\\\0[]{}'\"-", max_size=12)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(allow_nan=True),
    words,
    st.sampled_from(["images/train", "labels", "../images/train", "train.txt", "line-1.yaml", "."]),
    st.lists(words, max_size=3),
    st.dictionaries(st.integers(-1, 3) | words, words, max_size=3),
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.sampled_from(["path", "train", "val", "test", "names", "nc", "validation", "kpt_shape"]),
        values,
    )
)
def test_any_yaml_map_loads_or_is_refused(tmp_path, content):
    file = dataset_folder(tmp_path)
    (tmp_path / "train.txt").write_bytes(b"./images/train/a.png\nx.png\n")
    file.write_text(yaml.safe_dump({"names": ["a", "b"], **content}))
    told = ""
    try:
        load_dataset(file)
    except DataError as error:
        told = str(error)
    assert "\n" not in told


# -------------------------------------------------------------------------------------- writing


def messy_dataset(root: Path) -> Dataset:
    """Equal names in two folders, odd JPEGs, a format of OpenCV's alone, Unicode, negatives."""
    box = np.array([[0.5, 0.5, 1 / 3, 0.1]])
    images = [
        picture(root / "one" / "a.png", 10),
        picture(root / "two" / "a.png", 20),
        picture(root / "two" / "A.jpg", 30),
        picture(root / "two" / "padded.jpg", 40, b"\0" * 9),
        picture(root / "two" / "划痕 ü.jpg", 50),
        picture(root / "two" / "grey.pgm", 60),
        picture(root / "two" / "jpeg-inside.png", 70),
    ]
    # A JPEG under a wrong name is a JPEG to Ultralytics too.
    images[-1].write_bytes(picture(root / "two" / "tmp.jpg").read_bytes() + b"\0")
    samples = [
        Sample(image, "train" if number < 5 else "val", np.array([number % 2]), box)
        for number, image in enumerate(images)
    ]
    clean = Sample(picture(root / "one" / "clean.png", 80), "val", np.zeros(0), np.zeros((0, 4)))
    return Dataset("messy", root / "data.yaml", ("dent", "划痕: ü"), (*samples, clean))


def test_what_is_written_loads_again(tmp_path):
    dataset = messy_dataset(tmp_path / "user")
    before = tree_hash(tmp_path / "user")
    file = write_dataset(dataset, tmp_path / "run" / "messy")
    assert file == tmp_path / "run" / "messy" / "data.yaml"
    back = load_dataset(file)
    assert back.name == "messy"
    assert back.names == dataset.names
    assert back.counts == dataset.counts
    assert back.splits == dataset.splits
    assert len(back.samples) == len(dataset.samples)
    assert {s.boxes.tobytes() for s in back.samples} == {s.boxes.tobytes() for s in dataset.samples}
    assert tree_hash(tmp_path / "user") == before
    links = [s.image for s in back.samples if s.image.is_symlink()]
    assert len(links) == 5
    assert all(os.path.isabs(os.readlink(link)) for link in links)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["messy"]
    assert "5 links to the original images, 3 new image files" in file.read_text(encoding="utf-8")


def test_links_to_links_reach_the_original(tmp_path):
    dataset = load_dataset(dataset_folder(tmp_path / "user"))
    first = load_dataset(write_dataset(dataset, tmp_path / "first"))
    second = load_dataset(write_dataset(first, tmp_path / "second"))
    assert second.fingerprint() == dataset.fingerprint()
    originals = {s.image.resolve() for s in dataset.samples}
    assert {Path(os.readlink(s.image)) for s in second.samples} == originals


def test_splits_that_are_missing(tmp_path):
    dataset = load_dataset(dataset_folder(tmp_path / "user"))
    file = write_dataset(dataset.split("train"), tmp_path / "a")
    assert yaml.safe_load(file.read_text())["val"] == "images/train"
    assert "There is no val split" in file.read_text()
    assert load_dataset(file).splits == ("train",)
    file = write_dataset(dataset.split("val"), tmp_path / "b")
    assert "expected images for train, got none" in refused(file)


def test_a_written_folder_is_replaced_and_a_foreign_one_refused(tmp_path):
    dataset = load_dataset(dataset_folder(tmp_path / "user"))
    write_dataset(dataset, tmp_path / "out")
    write_dataset(dataset.split("train"), tmp_path / "out")
    assert len(load_dataset(tmp_path / "out" / "data.yaml").samples) == 2
    for foreign in (tmp_path / "user", tmp_path / "user" / "line-1.yaml"):
        before = tree_hash(tmp_path / "user")
        with pytest.raises(DataError, match="expected a new folder"):
            write_dataset(dataset, foreign)
        assert tree_hash(tmp_path / "user") == before


def test_nothing_is_left_behind_when_writing_fails(tmp_path):
    dataset = load_dataset(dataset_folder(tmp_path / "user"))
    (tmp_path / "user" / "images" / "train" / "b.png").unlink()
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError, match="expected the image, got no such file"):
        write_dataset(dataset, tmp_path / "run" / "out")
    assert list((tmp_path / "run").iterdir()) == []
    with pytest.raises(DataError, match="expected images to write, got none"):
        write_dataset(dataset.split("test"), tmp_path / "run" / "out")


def test_ultralytics_finds_every_image_and_label_and_writes_only_our_folder(tmp_path):
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    dataset = messy_dataset(tmp_path / "user")
    before = tree_hash(tmp_path / "user")
    file = write_dataset(dataset, tmp_path / "run" / "messy")
    ours = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    data = check_det_dataset(str(file), autodownload=False)
    assert tuple(data["names"].values()) == dataset.names
    for split in ("train", "val"):
        found = YOLODataset(img_path=data[split], data=data, task="detect", augment=False)
        mine = load_dataset(file).split(split).samples
        assert [Path(p) for p in found.im_files] == [s.image for s in mine]
        for theirs, sample in zip(found.labels, mine, strict=True):
            assert theirs["cls"].ravel().tolist() == sample.classes.tolist()
            assert theirs["bboxes"] == pytest.approx(sample.boxes, abs=1e-6)
        assert all(found.load_image(i)[0] is not None for i in range(len(found.labels)))
    assert tree_hash(tmp_path / "user") == before
    # Neither were our copies saved again: their pixels stay what the originals are.
    assert all(path.read_bytes() == content for path, content in ours.items())
    added = {p for p in (tmp_path / "run").rglob("*") if p.is_file()} - set(ours)
    assert {p.suffix for p in added} == {".cache"}


def test_loading_leaves_the_users_folders_alone(tmp_path):
    file = dataset_folder(tmp_path)
    before = tree_hash(tmp_path)
    load_dataset(file).fingerprint()
    assert tree_hash(tmp_path) == before


def test_seven_thousand_images_load_quickly(tmp_path):
    file = dataset_folder(tmp_path, train=("a",))
    image = (tmp_path / "images" / "train" / "a.png").read_bytes()
    for number in range(7000):
        (tmp_path / "images" / "train" / f"{number}.png").write_bytes(image)
        (tmp_path / "labels" / "train" / f"{number}.txt").write_text(ROW * 3)
    start = time.process_time()
    dataset = load_dataset(file)
    assert time.process_time() - start < 10
    assert dataset.instances == 21002


# ------------------------------------------------------------------------------------ real images

REAL = {
    "aluminum/aluminum": (100, [114, 67, 53, 35]),
    "kolektor-sdd/kolektor-sdd": (399, [53]),
    "magnetic-tile/mt": (1338, [115, 117, 70, 37, 100]),
    "neu-det/neu-det": (1800, [688, 1010, 880, 432, 628, 548]),
}


@pytest.mark.parametrize("name", REAL)
def test_real_datasets_count_as_their_readme_says(shared, name):
    dataset = load_dataset(shared / "data" / f"{name}.yaml")
    images, counts = REAL[name]
    assert len(dataset.samples) == images
    assert list(dataset.counts.values()) == counts
    assert dataset.splits == ("train", "val", "test")
    assert dataset.notes == ()


@pytest.mark.parametrize("line", "abc")
def test_the_lines_of_magnetic_tile(shared, line):
    dataset = load_dataset(shared / "data" / "magnetic-tile" / f"mt-line-{line}.yaml")
    train = dataset.split("train").samples
    images, with_boxes = {"a": (93, 29), "b": (86, 19), "c": (82, 22)}[line]
    assert len(train) == images
    assert sum(len(s.classes) > 0 for s in train) == with_boxes
    assert len(dataset.split("val").samples) == 273
    assert len(dataset.split("test").samples) == 278
    assert list(dataset.split("test").counts.values()) == [24, 24, 21, 6, 18]


def test_every_real_yaml_loads(shared):
    files = sorted((shared / "data").glob("*/*.yaml"))
    assert len(files) == 13
    assert all(load_dataset(file).instances for file in files)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    dataset = load_dataset(dataset_folder(tmp_path / "user"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="expected to write there, got"):
        write_dataset(dataset, tmp_path / "file" / "out")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_dataset(dataset, tmp_path / "run" / "out")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("form", ["[{}]", "{{0: {}}}", "\n- {}", "\n  0: {}"])
@pytest.mark.parametrize("name", ["on", "off", "yes", "no", "null", "1e3", "012", "1.0"])
def test_names_are_kept_as_they_are_written(tmp_path, form, name):
    file = dataset_folder(tmp_path)
    file.write_text(f"train: images/train\nval: images/val\nnames: {form.format(name)}\n")
    assert load_dataset(file).names == (name,)


def test_nc_without_names_numbers_the_classes(tmp_path):
    file = dataset_folder(tmp_path)
    file.write_text("train: images/train\nval: images/val\nnc: 2\n")
    dataset = load_dataset(file)
    assert dataset.names == ("class_0", "class_1")
    assert dataset.notes == ("no 'names': the 2 classes of 'nc' are class_0, class_1, ...",)
    file.write_text("train: images/train\nval: images/val\nnc: 0\n")
    assert "got no 'names'" in refused(file)


@pytest.mark.parametrize("form", [
    "{1: dent, 2: hole}", "{'1': dent, '2': hole}", "\n  2: hole\n  1: dent",
])
def test_names_from_1_are_read_with_labels_from_1(tmp_path, form):
    file = dataset_folder(tmp_path)
    for number, path in enumerate(sorted((tmp_path / "labels").rglob("*.txt"))):
        label(path, ROW.replace("0", "1" if number else "2", 1))
    file.write_text(f"train: images/train\nval: images/val\nnames: {form}\nnc: 2\n")
    dataset = load_dataset(file)
    assert dataset.names == ("dent", "hole")
    assert dataset.counts == {"dent": 2, "hole": 1}
    assert dataset.notes == ("'names' are numbered from 1: class id 1 is dent",)
    [finding] = inspect_dataset(file).findings
    assert (finding.kind, finding.severity) == ("data.yaml", "warning")


def test_a_yaml_and_a_list_in_utf_16(tmp_path):
    file = dataset_folder(tmp_path)
    (tmp_path / "train.txt").write_text("images/train/a.png\n", encoding="utf-16")
    file.write_text("train: train.txt\nval: images/val\nnames: [Riß]\n", encoding="utf-16")
    assert load_dataset(file).counts == {"Riß": 2}


@pytest.mark.parametrize("train", [
    "images\\train", "line-7/images/train", "line-7\\images\\train",
    "D:\\old\\line-7\\images\\train",
])
@pytest.mark.parametrize("path", ["", "path: .\\\n", "path: D:\\old\\line-7\n", "path: line-7\n"])
def test_paths_as_other_machines_write_them(tmp_path, train, path):
    file = dataset_folder(tmp_path / "line-7")
    file.write_text(f"{path}train: {train}\nval: images/val\nnames: [dent]\n")
    assert load_dataset(file).counts == {"dent": 3}


def test_lists_that_begin_with_a_folder_that_is_not_there(tmp_path):
    file = dataset_folder(tmp_path)
    (tmp_path / "train.txt").write_text(
        "data/old/images/train/gone.png\ndata/old/images/train/a.png\n"
        "data\\old\\images\\train\\b.png\n"
    )
    file.write_text("train: train.txt\nval: images/val\nnames: [dent]\n")
    dataset = load_dataset(file)
    assert [sample.image.name for sample in dataset.split("train").samples] == ["a.png", "b.png"]
    assert dataset.notes[0] == (
        "lines of train.txt begin with the folder data/old, which does not exist; it was skipped"
    )
