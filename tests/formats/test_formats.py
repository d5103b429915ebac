"""What holds for all formats: round trips, notes, faults, hostile files."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.images import content_hash, image_size
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import DataError
from aoi_tl.formats import export_dataset, import_dataset

from .conftest import edges, random_dataset


def tree_hash(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole.update(f"{path.relative_to(folder)} {path.stat().st_mtime_ns}".encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()


@pytest.mark.parametrize(
    ("format", "first_pixel", "within"), [("coco", 0, 1e-3), ("voc", 0, 0.5), ("voc", 1, 0.5)]
)
@pytest.mark.parametrize("seed", range(3))
def test_round_trips_keep_every_box(tmp_path, format, first_pixel, within, seed):
    dataset = random_dataset(tmp_path / "user", seed)
    before = tree_hash(tmp_path / "user")
    written = export_dataset(dataset, format, tmp_path / "out", first_pixel=first_pixel)
    done = import_dataset(
        format, written, tmp_path / "back", names=dataset.names, first_pixel=first_pixel
    )
    assert done.notes == ()
    assert done.dataset.names == dataset.names
    assert done.dataset.counts == dataset.counts
    assert tree_hash(tmp_path / "user") == before
    by_content = {(content_hash(s.image), s.split): s for s in done.dataset.samples}
    assert len(by_content) == len(dataset.samples)
    for sample in dataset.samples:
        twin = by_content[content_hash(sample.image), sample.split]
        height, width = image_size(sample.image)
        assert twin.classes.tolist() == sample.classes.tolist()
        for mine, theirs in zip(sample.boxes, twin.boxes, strict=True):
            for sign in (-0.5, 0.5):
                shift = mine[:2] + sign * mine[2:] - theirs[:2] - sign * theirs[2:]
                assert np.abs(shift * [width, height]).max() <= within + 1e-9


@st.composite
def boxes(draw):
    """Class, then centre and size of a box that lies inside its image and is a pixel or more."""
    width, height = (draw(st.floats(0.02, 1)) for _ in range(2))
    x, y = (draw(st.floats(size / 2, 1 - size / 2)) for size in (width, height))
    return draw(st.integers(0, 2)), (x, y, width, height)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    drawn=st.lists(boxes(), min_size=1, max_size=6),
    format=st.sampled_from(["coco", "voc"]),
    first_pixel=st.sampled_from([0, 1]),
)
def test_any_boxes_go_there_and_back_within_half_a_pixel(
    tmp_path, tmp_path_factory, picture, drawn, format, first_pixel
):
    image = tmp_path / "a.png"
    if not image.exists():
        picture("a.png")
    classes, shares = (np.array(column) for column in zip(*drawn, strict=True))
    dataset = Dataset("mine", tmp_path / "data.yaml", ("dent", "a b", "划痕"), (
        Sample(image, "train", classes, shares),
    ))
    folder = tmp_path_factory.mktemp("x")
    export_dataset(dataset, format, folder / "out", first_pixel=first_pixel)
    done = import_dataset(
        format, folder / "out", folder / "back", names=dataset.names, first_pixel=first_pixel
    )
    back = done.dataset.samples[0]
    near = [
        label == wanted and np.allclose(edges_in_pixels(box), edges_in_pixels(share), 0, 0.501)
        for label, share in zip(classes, shares, strict=True)
        for wanted, box in zip(back.classes, back.boxes, strict=True)
    ]
    table = np.array(near).reshape(len(classes), -1)
    assert table.any(axis=1).all(), "a box is lost or moved"
    assert table.any(axis=0).all(), "a box came from nowhere"


def edges_in_pixels(share):
    """Left, top, right, bottom on the pictures of 80 x 60."""
    x, y, width, height = share
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]) * [
        80, 60, 80, 60
    ]


@pytest.mark.parametrize("format", ["coco", "voc"])
def test_supervision_reads_what_is_exported(tmp_path, format):
    """A second opinion, which counts VOC pixels from 1."""
    import supervision

    dataset = random_dataset(tmp_path / "user").split("train")
    out = export_dataset(dataset, format, tmp_path / "out", first_pixel=1)
    if format == "coco":
        theirs = supervision.DetectionDataset.from_coco(
            str(out / "images"), str(out / "annotations" / "train.json")
        )
    else:
        theirs = supervision.DetectionDataset.from_pascal_voc(
            str(out / "JPEGImages"), str(out / "Annotations")
        )
    assert len(theirs) == len(dataset.samples)
    found = {Path(p).name: d for p, d in theirs.annotations.items()}
    for sample in dataset.samples:
        height, width = image_size(sample.image)
        their = found[sample.image.name]
        assert [theirs.classes[i] for i in their.class_id] == [
            dataset.names[i] for i in sample.classes
        ]
        low = (sample.boxes[:, :2] - sample.boxes[:, 2:] / 2) * [width, height]
        high = (sample.boxes[:, :2] + sample.boxes[:, 2:] / 2) * [width, height]
        assert their.xyxy.reshape(-1, 4) == pytest.approx(np.hstack([low, high]), abs=0.51)


@pytest.mark.parametrize("format", ["coco", "voc"])
def test_what_supervision_writes_is_read(tmp_path, format):
    import supervision

    dataset = random_dataset(tmp_path / "user").split("train")
    images = {str(s.image): s for s in dataset.samples}
    annotations = {}
    for path, sample in images.items():
        height, width = image_size(path)
        low, high = sample.boxes[:, :2] - sample.boxes[:, 2:] / 2, None
        high = sample.boxes[:, :2] + sample.boxes[:, 2:] / 2
        annotations[path] = supervision.Detections(
            xyxy=np.hstack([low, high]) * [width, height, width, height], class_id=sample.classes
        )
    theirs = supervision.DetectionDataset(list(dataset.names), list(images), annotations)
    if format == "coco":
        theirs.as_coco(annotations_path=str(tmp_path / "a.json"))
        source = tmp_path / "a.json"
    else:
        theirs.as_pascal_voc(annotations_directory_path=str(tmp_path / "xml"))
        source = tmp_path / "xml"
    done = import_dataset(
        format, source, tmp_path / "new", images=tmp_path / "user" / "train", first_pixel=1
    )
    back = {content_hash(s.image): s for s in done.dataset.samples}
    for path, sample in images.items():
        twin = back[content_hash(path)]
        assert [done.dataset.names[i] for i in twin.classes] == [
            dataset.names[i] for i in sample.classes
        ]
        height, width = image_size(path)
        shift = np.abs(twin.boxes - sample.boxes) * [width, height, width, height]
        assert shift.max(initial=0) <= 1.01  # half a pixel at each edge


def test_copies_by_default_and_links_when_asked(tmp_path, picture, put):
    picture("a.png")
    table = put("t.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,dent,1,2,30,40\n")
    copied = import_dataset("csv", table, tmp_path / "copied").dataset
    assert not copied.samples[0].image.is_symlink()
    linked = import_dataset("csv", table, tmp_path / "linked", link=True).dataset
    assert linked.samples[0].image.is_symlink()
    assert edges(linked) == edges(copied) == {"a": [("dent", (1, 2, 30, 40))]}
    assert load_dataset(tmp_path / "copied" / "data.yaml").counts == {"dent": 1}


def test_sources_are_only_read(tmp_path, picture, put):
    picture("set/a.png"), picture("set/b.png")
    put(
        "set/a.xml",
        "<annotation><object><name>a</name><bndbox><xmin>1</xmin><ymin>2</ymin>"
        "<xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>",
    )
    before = tree_hash(tmp_path / "set")
    import_dataset("voc", tmp_path / "set", tmp_path / "linked", link=True)
    import_dataset("folders", tmp_path, tmp_path / "whole", link=True)
    assert tree_hash(tmp_path / "set") == before


def test_what_is_odd_is_mended_and_counted(tmp_path, picture, put):
    for name in ("a.png", "b.png", "extra.png"):
        picture(name)
    rows = (
        "a.png,dent,-3,2,30,40",  # clipped
        "a.png,dent,10,10,20,20",
        "a.png,dent,10,10,20,20",  # twice
        "b.png,dent,5,5,5,9",  # no area
        "b.png,dent,30,40,10,20",  # drawn from the lower right
        "gone.png,dent,1,1,2,2",
    )
    put("t.csv", "filename,class,xmin,ymin,xmax,ymax\n" + "\n".join(rows))
    done = import_dataset("csv", tmp_path / "t.csv", tmp_path / "new")
    assert edges(done.dataset) == {
        "a": [("dent", (0, 2, 30, 40)), ("dent", (10, 10, 20, 20))],
        "b": [("dent", (10, 20, 30, 40))],
    }
    assert [note.split(", the first")[0] for note in done.notes] == [
        "1 annotated images not found",
        "1 boxes clipped to their image",
        "1 boxes left out: given twice",
        "1 boxes left out: without area",
        "1 images without an annotation left out (1 in all)",
    ]


def test_the_settings_are_checked(tmp_path, put, refused):
    table = put("t.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,dent,1,2,30,40\n")
    assert "expected a format of coco, voc" in refused("pascal", table)
    assert "expected train, val or test" in refused("csv", table, split="dev")
    assert "expected first_pixel 0 or 1" in refused("csv", table, first_pixel=2)
    assert "got nothing there" in refused("csv", tmp_path / "none.csv")
    assert "name their folder as 'images'" in refused("csv", table)
    assert "expected a folder of images" in refused("csv", table, images=tmp_path / "none")


def test_faults_are_told_once_and_counted(picture, put, refused):
    picture("a.png")
    head = "filename,class,xmin,ymin,xmax,ymax,image_width,image_height\n"
    message = refused("csv", put("t.csv", f"{head}a.png,dent,1,2,300,400,80,60\n" * 1))
    assert "t.csv line 2: expected a box inside the image of 80 x 60 pixels" in message
    message = refused("csv", put("t.csv", f"{head}a.png,dent,1,2,30,40,81,60\n"))
    assert "expected an image of 81 x 60 pixels, got 80 x 60" in message
    bad = "a.png,,1,2,30,40,80,60\na.png,dent,1,2,x,40,80,60\n"
    message = refused("csv", put("t.csv", head + bad))
    assert "line 3: expected four numbers" in message
    assert "(and 1 more such faults)" in message
    message = refused("csv", put("t.csv", f"{head}a.png,dent,1,2,3,4,80,60\n"), names=["stain"])
    assert "expected the classes stain, got 'dent'" in message


def test_only_broken_or_no_images(tmp_path, picture, put, refused):
    path = picture("a.png")
    path.write_bytes(path.read_bytes()[:40])
    table = put("t.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,dent,1,2,30,40\n")
    assert "got none that can be used" in refused("csv", table)
    picture("b.png")
    with open(table, "a") as file:
        file.write("b.png,dent,1,2,3,4")
    done = import_dataset("csv", table, tmp_path / "new")
    assert len(done.dataset.samples) == 1
    assert "1 images left out: truncated" in done.notes[0]


def test_a_source_without_training_images_says_so(tmp_path, picture, put, refused):
    picture("a.png")
    table = put("t.csv", "filename,class,xmin,ymin,xmax,ymax,split\na.png,dent,1,2,30,40,test\n")
    assert "set split to 'train'" in refused("csv", table)
    assert import_dataset("csv", table, tmp_path / "new", split="train").dataset.splits == (
        "train",
    )


def test_export_refuses_what_it_cannot_do(tmp_path):
    dataset = random_dataset(tmp_path / "user")
    with pytest.raises(DataError, match="expected a format of coco, voc, got 'yolo'"):
        export_dataset(dataset, "yolo", tmp_path / "out")
    with pytest.raises(DataError, match="expected a new folder"):
        export_dataset(dataset, "coco", tmp_path / "user")
    with pytest.raises(DataError, match="expected images to write"):
        export_dataset(dataset.split(), "coco", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["user"]


numbers = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 90),
    st.floats(),
    st.text("0123456789e.-na", max_size=5),
)
values = st.recursive(
    numbers | st.sampled_from(["a.png", "dent", "../a.png"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "file_name",
                    "width",
                    "height",
                    "bbox",
                    "image_id",
                    "category_id",
                    "name",
                    "segmentation",
                    "label",
                    "points",
                    "shape_type",
                    "iscrowd",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)
coco_like = st.fixed_dictionaries(
    {
        "images": values | st.just([{"id": 1, "file_name": "a.png"}]),
        "annotations": values
        | st.lists(
            st.fixed_dictionaries(
                {
                    "image_id": st.just(1) | values,
                    "category_id": st.just(1) | values,
                    "bbox": values | st.lists(numbers, min_size=4, max_size=4),
                }
            ),
            max_size=3,
        ),
        "categories": values | st.just([{"id": 1, "name": "dent"}]),
    }
)
labelme_like = st.fixed_dictionaries(
    {
        "imagePath": values,
        "imageWidth": values,
        "imageHeight": values,
        "shapes": values
        | st.lists(
            st.fixed_dictionaries({"label": values, "points": values, "shape_type": values}),
            max_size=3,
        ),
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=st.binary(max_size=60) | values | coco_like | labelme_like,
    format=st.sampled_from(["coco", "labelme"]),
)
def test_any_json_is_imported_or_refused(tmp_path, tmp_path_factory, picture, put, content, format):
    if not (tmp_path / "a.png").exists():
        picture("a.png")
    told = ""
    try:
        import_dataset(format, put("a.json", content), tmp_path_factory.mktemp("x") / "new")
    except DataError as error:
        told = str(error)
    assert "\n" not in told


pieces = st.sampled_from(
    [
        "<annotation>",
        "</annotation>",
        "<annotations>",
        "</annotations>",
        "<object>",
        "</object>",
        "<name>dent</name>",
        "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>",
        "<xmin>nan</xmin>",
        "<size><width>80</width><height>x</height></size>",
        "<filename/>",
        "&lt;",
        "<image name='a.png' width='80' height='60'>",
        "</image>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]>",
        "&b;",
        "<box label='dent' xtl='1' ytl='2' xbr='9' ybr='8' rotation='9e999'/>",
        "<box/>",
        "<track/>",
        "<polygon label='dent' points='1,2;3,4;5'/>",
        "<ellipse label='a' cx='1' cy='1' rx='1' ry='1'/>",
        "<?xml version='1.0' encoding='utf-7'?>",
        "\x00",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=st.binary(max_size=60) | st.lists(pieces, max_size=9).map("".join),
    root=st.sampled_from(["", "annotation", "annotations"]),
    format=st.sampled_from(["voc", "cvat"]),
)
def test_any_xml_is_imported_or_refused(
    tmp_path, tmp_path_factory, picture, put, content, root, format
):
    if not (tmp_path / "a.png").exists():
        picture("a.png")
    if root and isinstance(content, str):
        content = f"<{root}>{content}</{root}>"
    told = ""
    try:
        import_dataset(format, put("a.xml", content), tmp_path_factory.mktemp("x") / "new")
    except DataError as error:
        told = str(error)
    assert "\n" not in told


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=st.binary(max_size=80)
    | st.text('a.png,;\t"xy12wh\n-e\0', max_size=80).map(lambda t: "image,label,x,y,w,h\n" + t)
)
def test_any_table_is_imported_or_refused(tmp_path, tmp_path_factory, picture, put, content):
    if not (tmp_path / "a.png").exists():
        picture("a.png")
    told = ""
    try:
        import_dataset("csv", put("a.csv", content), tmp_path_factory.mktemp("x") / "new")
    except DataError as error:
        told = str(error)
    assert "\n" not in told


# ------------------------------------------------------------------------------------- real data


def test_neu_det_voc_equals_its_yolo_labels(shared, tmp_path):
    folder = shared / "data" / "neu-det"
    done = import_dataset(
        "voc", folder / "voc", tmp_path / "neu", images=folder / "images", link=True
    )
    truth = {s.image.stem: s for s in load_dataset(folder / "neu-det.yaml").samples}
    assert len(done.dataset.samples) == len(truth) == 1800
    assert done.dataset.counts == load_dataset(folder / "neu-det.yaml").counts
    assert [note.split(", the")[0] for note in done.notes] == ["3 boxes left out: given twice"]
    for sample in done.dataset.samples:
        wanted = truth[sample.image.stem]
        assert Counter(sample.classes.tolist()) == Counter(wanted.classes.tolist())
        mine = sorted(np.column_stack([sample.classes, sample.boxes]).round(5).tolist())
        theirs = sorted(np.column_stack([wanted.classes, wanted.boxes]).round(5).tolist())
        assert np.abs(np.subtract(mine, theirs)).max(initial=0) * 200 < 0.01


def test_magnetic_tile_masks_equal_their_labels(shared, tmp_path):
    folder = shared / "data" / "magnetic-tile"
    truth = {s.image.stem: s for s in load_dataset(folder / "mt.yaml").samples}
    done = import_dataset("masks", folder / "masks", tmp_path / "mt", link=True)
    assert len(done.dataset.samples) == len(truth) == 1338
    assert done.dataset.counts == {"defect": 439}
    for sample in done.dataset.samples:
        wanted = truth[sample.image.stem]
        height, width = image_size(sample.image)
        order = [np.lexsort(b.round(5).T) for b in (sample.boxes, wanted.boxes)]
        shift = sample.boxes[order[0]] - wanted.boxes[order[1]]
        assert np.abs(shift * [width, height, width, height]).max(initial=0) < 0.5
