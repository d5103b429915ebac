from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from aoi_tl.data import depth as room
from aoi_tl.data.depth import DEPTHS, check_depth, find_depth
from aoi_tl.data.images import read_image, read_stored, to_8_bits, write_image
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.data.yolo.write import write_dataset
from aoi_tl.errors import DataError
from aoi_tl.formats import export_dataset, import_dataset
from tests.data.test_headers import tiff, with_chunk
from tests.deepened import WAYS, deepen, deepened
from tests.drawn import draw_dataset, tree_hash

EVERY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def draw(folder: Path, largest: list[int]) -> list[Path]:
    files = []
    for number, value in enumerate(largest):
        files.append(folder / f"{number:03d}.png")
        write_image(files[-1], np.array([[0, value]], np.uint16))
    return files


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("depth", DEPTHS[1:])
def test_what_was_8_bits_becomes_what_it_was(depth: int, way: str) -> None:
    assert (to_8_bits(deepened(EVERY, depth, way), depth) == EVERY).all()
    assert to_8_bits(EVERY, depth) is not None
    assert (to_8_bits(EVERY, depth) == EVERY).all()


def test_values_beyond_the_depth_are_white_and_8_in_16_stay() -> None:
    assert to_8_bits(np.array([1023, 1024, 65535], np.uint16), 10).tolist() == [255] * 3
    assert to_8_bits(np.array([7, 255, 256], np.uint16), 8).tolist() == [7, 255, 255]


def test_readers_bring_fewer_bits_to_8_and_leave_16(tmp_path: Path) -> None:
    pixels = deepened(np.dstack([EVERY, EVERY.T, EVERY[::-1]]), 12)
    write_image(tmp_path / "a.png", pixels)
    assert read_image(tmp_path / "a.png").dtype == np.uint16
    assert (read_image(tmp_path / "a.png", 12)[..., 2] == EVERY).all()
    assert (read_stored(tmp_path / "a.png", 12)[..., 0] == EVERY).all()
    write_image(tmp_path / "b.png", EVERY)
    assert (read_image(tmp_path / "b.png", 12) == EVERY).all()


@pytest.mark.parametrize(("largest", "bits"), [
    ([1, 255], 8), ([256], 10), ([9, 1023], 10), ([1024], 12), ([4095, 300], 12), ([4096], 14),
    ([16383], 14), ([16384], 16), ([65535], 16),
])  # fmt: skip
def test_the_largest_value_decides(tmp_path: Path, largest: list[int], bits: int) -> None:
    found = find_depth(draw(tmp_path, largest))
    assert found.bits == bits
    assert f"largest value {max(largest):,} in {len(largest)} images" in found.note
    assert found.note.startswith(f"{bits} bits")


def test_a_sample_of_forty_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = draw(tmp_path, [3000] * 100)
    read: list[Path] = []
    monkeypatch.setattr(room, "read_image", lambda image: read.append(image) or read_image(image))
    found = find_depth(files)
    assert found.bits == 12
    assert len(set(read)) == 40
    assert min(read) == files[0]
    assert max(read) > files[95]


def test_a_tag_decides_where_all_is_dark(tmp_path: Path) -> None:
    values = np.full(64, 600, "<u2").tobytes()
    (tmp_path / "a.tif").write_bytes(tiff(16, values, 8, largest=4095))
    found = find_depth([tmp_path / "a.tif"])
    assert found.bits == 12
    assert "tag says 4,095" in found.note
    assert "600" in found.note
    [file] = draw(tmp_path, [900])
    file.write_bytes(with_chunk(file.read_bytes(), b"sBIT", b"\x0e"))
    assert find_depth([file]).bits == 14


def test_a_tag_below_the_values_counts_for_nothing(tmp_path: Path) -> None:
    # As the standard of PNG has it: 12 bits, spread over all 16.
    [file] = draw(tmp_path, [4095 << 4])
    file.write_bytes(with_chunk(file.read_bytes(), b"sBIT", b"\x0c"))
    assert find_depth([file]).bits == 16


def test_black_images_tell_nothing(tmp_path: Path) -> None:
    found = find_depth(draw(tmp_path, [0, 0]))
    assert found.bits == 16
    assert "2 images looked at are black" in found.note


def test_a_given_depth_is_taken_and_doubted(tmp_path: Path) -> None:
    files = draw(tmp_path, [3987])
    assert find_depth(files, 12).bits == 12
    assert "12 bits of 16, as set" in find_depth(files, 12).note
    found = find_depth(files, 10)
    assert found.bits == 10
    assert "3,987 in 1 images, above 1,023" in found.note


def test_mixed_depths_are_told(tmp_path: Path) -> None:
    deep = draw(tmp_path, [4000] * 3)
    assert find_depth(deep).mixed == ""
    write_image(tmp_path / "flat.png", EVERY)
    assert "3 images store more than 8 bits, 1 store 8" in find_depth([*deep, tmp_path / "flat.png"]
                                                                      ).mixed
    (tmp_path / "both").mkdir()
    both = draw(tmp_path / "both", [4000, 60000, 65535])
    assert "1 of 3 images have no value above 4,095" in find_depth(both).mixed
    for number, largest in enumerate((1023, 4095)):
        file = tmp_path / f"{number}.tif"
        file.write_bytes(tiff(16, np.full(64, 900, "<u2").tobytes(), 8, largest=largest))
    assert "tags say 10 and 12 bits" in find_depth([tmp_path / "0.tif", tmp_path / "1.tif"]).mixed


def test_images_of_8_bits_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = draw_dataset(tmp_path / "new", {"dent": 2})

    def never(image: Path) -> None:
        raise AssertionError(image)

    monkeypatch.setattr(room, "read_image", never)
    found = load_dataset(file)
    assert found.depth == 16
    assert found.notes == ()


@pytest.mark.parametrize("value", [11, 0, -8, 32, "12", 12.5, True, [12], "x" * 50])
def test_a_bad_depth_is_one_line(value: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a depth of 8, 10, 12, 14 or 16 bits, got"):
        check_depth(value, "a")
    file = draw_dataset(tmp_path / "new", {"dent": 1})
    file.write_text(file.read_text() + yaml.safe_dump({"depth": value}))
    with pytest.raises(DataError, match=r"data\.yaml: depth: expected"):
        load_dataset(file)


# --------------------------------------------------------------------------------- in a dataset


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf") / "new"
    draw_dataset(folder, {"dent": 2, "stain": 1})
    return folder


@pytest.mark.parametrize("depth", [10, 12, 14])
def test_all_splits_share_one_depth(shallow: Path, tmp_path: Path, depth: int) -> None:
    found = load_dataset(deepen(shallow, tmp_path / "deep", depth) / "data.yaml")
    assert {sample.depth for sample in found.samples} == {depth}
    assert found.depth == found.split("test").depth == depth
    assert any(f"{depth} bits of 16: largest value" in note and "sets it" in note
               for note in found.notes)


def test_a_depth_is_set_by_the_caller_before_the_yaml(shallow: Path, tmp_path: Path) -> None:
    file = deepen(shallow, tmp_path / "deep", 12) / "data.yaml"
    found = load_dataset(file).fingerprint()
    file.write_text(file.read_text() + "depth: 14\n")
    assert load_dataset(file).depth == 14
    assert load_dataset(file, depth=12).depth == 12
    assert load_dataset(file, depth=12).fingerprint() == found
    # What is trained with another depth is another thing.
    assert load_dataset(file).fingerprint() != found


def test_mixed_depths_are_a_note(shallow: Path, tmp_path: Path) -> None:
    folder = deepen(shallow, tmp_path / "deep", 12)
    cv2.imwrite(str(folder / "images" / "test" / "test0.png"), EVERY)
    notes = load_dataset(folder / "data.yaml").notes
    assert any("mixed depths: 11 images store more than 8 bits, 1 store 8" in n for n in notes)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_what_is_written_to_train_on_is_that_of_8_bits(
    shallow: Path, tmp_path: Path, suffix: str
) -> None:
    folder = deepen(shallow, tmp_path / "deep", 12, suffix=suffix)
    before = tree_hash(folder)
    written = write_dataset(load_dataset(folder / "data.yaml"), tmp_path / "out")
    assert tree_hash(folder) == before
    plain = load_dataset(write_dataset(load_dataset(shallow / "data.yaml"), tmp_path / "plain"))
    made = load_dataset(written)
    assert made.depth == 12  # is remembered, for images of the same camera
    assert made.notes == plain.notes
    for one, other in zip(made.samples, plain.samples, strict=True):
        assert one.image.name == other.image.name
        assert not one.image.is_symlink()
        seen = cv2.imread(str(one.image), cv2.IMREAD_UNCHANGED)
        assert seen.dtype == np.uint8
        assert (seen == cv2.imread(str(other.image), cv2.IMREAD_UNCHANGED)).all()


@pytest.mark.parametrize("depth", [8, 16])
def test_full_16_bits_are_seen_as_ultralytics_sees_them(
    shallow: Path, tmp_path: Path, depth: int
) -> None:
    folder = deepen(shallow, tmp_path / "deep", depth, "measured")
    made = load_dataset(write_dataset(load_dataset(folder / "data.yaml"), tmp_path / "out"))
    for sample in made.samples:
        assert sample.image.is_symlink() == (depth == 16)
        seen = cv2.imread(str(sample.image), cv2.IMREAD_COLOR)
        assert (seen[..., 0] == to_8_bits(read_image(sample.image), 16)).all()


def test_a_tiff_of_packed_bits_is_written_so_that_ultralytics_reads_it(tmp_path: Path) -> None:
    text = "".join(f"{value:012b}" for value in range(0, 4096, 4))
    data = bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8))
    file = draw_dataset(tmp_path / "new", {"dent": 0}, splits=["train"], size=32)
    (file.parent / "images/train/train0.png").unlink()
    (file.parent / "images/train/train0.tif").write_bytes(tiff(12, data, 32))
    made = load_dataset(write_dataset(load_dataset(file), tmp_path / "out"))
    seen = cv2.imread(str(made.images[0]), cv2.IMREAD_COLOR)
    assert (seen[..., 0].ravel() == np.arange(0, 4096, 4) >> 4).all()


def test_import_and_export_keep_files_as_they_are(shallow: Path, tmp_path: Path) -> None:
    folder = deepen(shallow, tmp_path / "deep", 12)
    data = load_dataset(folder / "data.yaml")
    out = export_dataset(data, "coco", tmp_path / "coco")
    kept = import_dataset("coco", out, tmp_path / "back")
    for images in (sorted(out.rglob("*.png")), [s.image for s in kept.dataset.samples]):
        assert len(images) == len(data.samples)
        for image in images:
            assert read_image(image).dtype == np.uint16
    assert kept.dataset.depth == 12
