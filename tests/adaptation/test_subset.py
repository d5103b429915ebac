from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.adaptation.subset import paint_over, subset_to_label_space
from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.images import content_hash, read_stored, write_image
from aoi_tl.errors import DataError

LEFT, RIGHT = [0.25, 0.5, 0.2, 0.4], [0.75, 0.5, 0.2, 0.4]


def source(folder, dtype=np.uint8, channels=1):
    """Four images: both classes, one, the other, none."""
    rng = np.random.default_rng(0)
    full = np.iinfo(dtype).max
    shape = (40, 60) if channels == 1 else (40, 60, channels)
    samples = []
    for name, classes, boxes in (
        ("both", [0, 1], [LEFT, RIGHT]),
        ("dent", [0], [LEFT]),
        ("stain", [1, 1], [LEFT, RIGHT]),
        ("clean", [], []),
    ):
        pixels = rng.integers(full // 4, full // 3, shape).astype(dtype)
        for box in boxes:
            column = int(box[0] * 60)
            pixels[14:26, column - 5 : column + 5] = full
        write_image(folder / f"{name}.png", pixels)
        samples.append(Sample(folder / f"{name}.png", "train", np.array(classes), np.array(boxes)))
    return Dataset("old", folder / "data.yaml", ("dent", "stain"), tuple(samples))


def test_unshared_boxes_go_and_so_do_images_left_empty(tmp_path):
    done = subset_to_label_space(source(tmp_path), ["crack", "dent"])
    assert done.names == ("dent",)
    assert [s.image.stem for s in done.samples] == ["both", "dent", "clean"]
    assert done.counts == {"dent": 2}
    assert done.samples[0].boxes.tolist() == [LEFT]


def test_names_follow_the_label_space_and_boxes_their_names(tmp_path):
    done = subset_to_label_space(source(tmp_path), ["stain", "dent"])
    assert done.names == ("stain", "dent")
    assert done.samples[0].classes.tolist() == [1, 0]
    assert done.counts == {"stain": 3, "dent": 2}
    assert len(done.samples) == 4


def test_a_name_without_instances_is_not_shared(tmp_path):
    old = source(tmp_path)
    stains = Dataset(old.name, old.path, old.names, old.samples[2:])
    with pytest.raises(DataError, match=r"expected a class of the target \(dent\), got stain"):
        subset_to_label_space(stains, ["dent"])


def test_classes_that_differ_only_in_spelling_are_told_where_none_is_shared(tmp_path):
    with pytest.raises(DataError, match=(
        "got dent, stain; 'Dent' and 'dent' are two names: `aoi-tl labels` proposes the alias"
    )):
        subset_to_label_space(source(tmp_path), ["Dent"])


def test_mixed_images_can_be_dropped(tmp_path):
    done = subset_to_label_space(source(tmp_path), ["dent"], mixed="drop")
    assert [s.image.stem for s in done.samples] == ["dent", "clean"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_painting_hides_unshared_boxes_and_nothing_else(tmp_path, dtype, channels):
    old = source(tmp_path, dtype, channels)
    before = [content_hash(s.image) for s in old.samples]
    done = subset_to_label_space(old, ["dent"], mixed="paint", folder=tmp_path / "painted")
    assert [content_hash(s.image) for s in old.samples] == before
    assert done.counts == {"dent": 2}
    assert [s.image.parent == tmp_path for s in done.samples] == [False, True, True]
    original, painted = read_stored(old.samples[0].image), read_stored(done.samples[0].image)
    assert painted.dtype == original.dtype
    assert painted.shape == original.shape
    hidden = np.zeros((40, 60), bool)
    hidden[12:28, 39:51] = True  # the box of the right mark
    assert (painted[~hidden] == original[~hidden]).all()
    full = np.iinfo(dtype).max
    colours = painted[..., :3] if channels == 4 else painted
    assert colours[hidden].max() <= full * 0.4
    assert colours[hidden].min() >= full * 0.2
    if channels == 4:
        assert (painted[..., 3] == original[..., 3]).all()


def test_shared_pixels_win_where_boxes_overlap():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (40, 60), dtype=np.uint8)
    unshared, shared = np.array([[0.5, 0.5, 0.5, 0.5]]), np.array([[0.35, 0.5, 0.3, 0.9]])
    painted = paint_over(pixels, unshared, shared)
    changed = painted != pixels
    assert not changed[2:38, 12:30].any()
    assert changed[10:30, 30:45].mean() > 0.9
    assert not changed[:, 45:].any()


def test_a_defect_is_not_smeared_into_the_painted_area():
    pixels = np.full((40, 60), 80, np.uint8)
    pixels[10:30, 20:30] = 255  # shared, right beside the box to paint
    painted = paint_over(
        pixels, np.array([[37.5 / 60, 0.5, 15 / 60, 0.5]]), np.array([[25 / 60, 0.5, 10 / 60, 0.5]])
    )
    assert painted[10:30, 30:45].max() <= 90


def test_nothing_to_paint_from_is_counted(tmp_path):
    old = source(tmp_path)
    whole = Sample(
        old.samples[0].image,
        "train",
        np.array([0, 1]),
        np.array([LEFT, [0.5, 0.5, 1.0, 1.0]]),
    )
    done = subset_to_label_space(
        Dataset("old", old.path, old.names, (whole, old.samples[1])),
        ["dent"],
        mixed="paint",
        folder=tmp_path / "painted",
    )
    assert len(done.samples) == 1
    assert done.notes == ("1 images left out: unshared boxes leave nothing to paint from",)


def test_paint_needs_a_folder_and_mixed_a_known_word(tmp_path):
    with pytest.raises(ValueError, match="expected a folder"):
        subset_to_label_space(source(tmp_path), ["dent"], mixed="paint")
    with pytest.raises(ValueError, match="keep, drop or paint"):
        subset_to_label_space(source(tmp_path), ["dent"], mixed="blur")
