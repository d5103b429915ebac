from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from aoi_tl.data import images
from aoi_tl.data.images import (
    content_hash,
    image_fault,
    image_size,
    read_image,
    read_stored,
    write_image,
)
from aoi_tl.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(120), np.arange(160)).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_stays_grey_and_deep_stays_deep(tmp_path, suffix, dtype):
    pixels = GREY.astype(dtype) * (np.iinfo(dtype).max // 255)
    path = tmp_path / f"grey{suffix}"
    write_image(path, pixels)
    for read in (read_image, read_stored):
        assert read(path).dtype == dtype
        assert (read(path) == pixels).all()
    assert image_size(path) == (20, 30)
    assert image_fault(path) is None


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_comes_as_rgb(tmp_path, suffix, dtype):
    pixels = np.zeros((20, 30, 3), dtype)
    pixels[..., 0] = np.iinfo(dtype).max  # blue, in OpenCV's order
    path = tmp_path / f"blue{suffix}"
    write_image(path, pixels)
    assert read_image(path)[3, 3].tolist() == [0, 0, np.iinfo(dtype).max]
    assert (read_stored(path) == pixels).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_dropped_for_reading_and_kept_as_stored(tmp_path, dtype):
    pixels = np.dstack([COLOUR, GREY]).astype(dtype)
    write_image(tmp_path / "alpha.png", pixels)
    assert (read_image(tmp_path / "alpha.png") == pixels[..., 2::-1]).all()
    assert (read_stored(tmp_path / "alpha.png") == pixels).all()


def test_palette_grey_alpha_and_one_bit(tmp_path):
    Image.fromarray(COLOUR).quantize(16).save(tmp_path / "palette.png")
    expected = np.asarray(Image.open(tmp_path / "palette.png").convert("RGB"))
    assert (read_image(tmp_path / "palette.png") == expected).all()
    Image.fromarray(np.dstack([GREY, GREY]), "LA").save(tmp_path / "la.png")
    assert (read_image(tmp_path / "la.png")[..., 0] == GREY).all()
    Image.fromarray(GREY > 99).save(tmp_path / "bits.png")
    assert (read_image(tmp_path / "bits.png") == (GREY > 99) * 255).all()


def test_three_equal_channels_stay_three(tmp_path):
    Image.fromarray(np.dstack([GREY] * 3)).save(tmp_path / "three.png")
    assert read_image(tmp_path / "three.png").shape == (20, 30, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".webp", ".jp2", ".ras"])
def test_other_formats_of_opencv(tmp_path, suffix):
    path = tmp_path / f"smooth{suffix}"
    write_image(path, np.dstack([SMOOTH] * 3))
    assert read_image(path).shape == (120, 160, 3)
    assert image_size(path) == (120, 160)
    assert image_fault(path) is None


def test_unicode_paths(tmp_path):
    folder = tmp_path / "缺陷 Oberfläche"
    folder.mkdir()
    path = folder / "划痕 é.png"
    write_image(path, GREY)
    assert (read_image(path) == GREY).all()
    assert image_size(path) == (20, 30)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_images_are_read_upright(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(COLOUR).save(path, exif=exif)
    upright = read_image(path)
    assert upright.shape[:2] == ((30, 20) if orientation > 4 else (20, 30))
    assert (read_stored(path)[..., ::-1] == upright).all()
    assert image_size(path) == upright.shape[:2]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_images_are_told(tmp_path, suffix, share):
    write_image(tmp_path / f"whole{suffix}", RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    content = (tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    assert image_fault(path) is not None
    for read in (read_image, read_stored):
        with pytest.raises(DataError, match=f"cut{suffix}: expected a whole image, got"):
            read(path)


def test_a_jpeg_with_padding_behind_it_is_whole(tmp_path):
    write_image(tmp_path / "whole.jpg", SMOOTH)
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "padded.jpg").write_bytes(content + b"\0" * 64)
    assert image_fault(tmp_path / "padded.jpg") is None
    assert (read_image(tmp_path / "padded.jpg") == read_image(tmp_path / "whole.jpg")).all()


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"", "empty file"), (b"hello", "no image"), (b"\xff\xd8\xff\xe0", "truncated")],
)
def test_files_that_are_no_images(tmp_path, content, fault):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert fault in image_fault(path)
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=fault):
            read(path)


def test_missing_files_and_folders(tmp_path):
    assert image_fault(tmp_path / "none.png") == "no such file"
    assert image_fault(tmp_path) is not None
    for read in (read_image, image_size, content_hash):
        with pytest.raises(DataError, match="No such file"):
            read(tmp_path / "none.png")


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match="expected 8 or 16 bits a channel, got float32"):
        read_image(tmp_path / "f.tif")


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".bmp", np.uint16), (".png", np.float32), (".xyz", np.uint8)]
)
def test_nothing_is_squeezed_into_a_format(tmp_path, suffix, dtype):
    with pytest.raises(DataError, match=r"write a \.png"):
        write_image(tmp_path / f"a{suffix}", GREY.astype(dtype))
    assert not list(tmp_path.iterdir())


def test_content_hash_is_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert content_hash(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("kind", ["grey", "deep grey", "colour", "deep colour", "on its side"])
def test_large_images_are_read_as_small_ones_are(kind, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    pixels = pixels if "colour" in kind or "side" in kind else pixels[:, :, 0]
    file = tmp_path / "größe.png"
    if kind == "on its side":
        exif = Image.Exif()
        exif[274] = 6
        file = tmp_path / "a.jpg"
        Image.fromarray(pixels).save(file, exif=exif)
    else:
        write_image(file, pixels.astype(np.uint16) * 257 if "deep" in kind else pixels)
    small = read_image(file)
    monkeypatch.setattr(images, "_LARGE", 1)
    monkeypatch.setattr(images, "_LARGE_FILE", 1)
    large = read_image(file)
    assert large.dtype == small.dtype
    assert np.array_equal(large, small)
