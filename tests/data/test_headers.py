from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from aoi_tl.data.headers import HEADER_BYTES, largest_by_tag, stored_bits
from aoi_tl.data.images import bits_of, look_at_image, read_image


def tiff(bits: int, data: bytes, side: int, order: str = "<", largest: int | None = None) -> bytes:
    """A grey TIFF of one strip."""
    tags = [(256, side), (257, side), (258, bits), (259, 1), (262, 1), (273, 0), (277, 1),
            (278, side), (279, len(data))]
    tags += [(281, largest)] if largest else []
    begin = 8 + 2 + 12 * len(tags) + 4
    made = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    for tag, value in tags:
        made += struct.pack(f"{order}HHIH2x", tag, 3, 1, begin if tag == 273 else value)
    return made + struct.pack(f"{order}I", 0) + data


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with a chunk behind its header."""
    chunk = struct.pack(">I", len(data)) + kind + data
    return png[:33] + chunk + struct.pack(">I", zlib.crc32(kind + data)) + png[33:]


def written(file: Path, pixels: np.ndarray, *settings: int) -> Path:
    assert cv2.imwrite(str(file), pixels, settings)
    return file


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".ppm", ".jp2"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_formats_say_how_many_bits_they_store(tmp_path: Path, suffix: str, dtype: type) -> None:
    for name, shape in (("grey", (64, 64)), ("colour", (64, 64, 3))):
        if (suffix, name) in ((".pgm", "colour"), (".ppm", "grey")):
            continue
        file = written(tmp_path / f"{name}{suffix}", np.full(shape, 77, dtype))
        assert bits_of(file) == np.iinfo(dtype).bits
        assert look_at_image(file).bits == np.iinfo(dtype).bits
        assert look_at_image(file).fault is None


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".webp"])
def test_other_formats_store_8(tmp_path: Path, suffix: str) -> None:
    assert bits_of(written(tmp_path / f"a{suffix}", np.full((9, 9, 3), 77, np.uint8))) == 8


def test_fewer_bits_count_as_8(tmp_path: Path) -> None:
    Image.fromarray(np.eye(9, dtype=bool)).save(tmp_path / "a.png")
    Image.fromarray(np.eye(9, dtype=bool)).save(tmp_path / "a.tif")
    Image.fromarray(np.eye(9, dtype=np.uint8)).convert("P").save(tmp_path / "b.png")
    for name in ("a.png", "a.tif", "b.png"):
        assert bits_of(tmp_path / name) == 8


def test_an_avif_of_ten_bits(tmp_path: Path) -> None:
    pixels = np.full((32, 32, 3), 700, np.uint16)
    try:
        file = written(tmp_path / "a.avif", pixels, cv2.IMWRITE_AVIF_DEPTH, 10)
    except (cv2.error, AssertionError):
        pytest.skip("this OpenCV writes no AVIF")
    assert bits_of(file) == 10


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_of_either_order(tmp_path: Path, order: str) -> None:
    values = (np.arange(64) * 60).astype(f"{order}u2")
    file = tmp_path / "a.tif"
    file.write_bytes(tiff(16, values.tobytes(), 8, order, 4095))
    assert bits_of(file) == 16
    assert largest_by_tag(file) == 4095
    assert (read_image(file).ravel() == values).all()


def test_a_tiff_with_packed_bits_fills_16(tmp_path: Path) -> None:
    text = "".join(f"{value:012b}" for value in range(64))
    file = tmp_path / "a.tif"
    file.write_bytes(tiff(12, bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8)), 8))
    assert bits_of(file) == 12
    assert (read_image(file).ravel() == np.arange(64) << 4).all()


def test_a_pgm_says_its_largest_value(tmp_path: Path) -> None:
    file = tmp_path / "a.pgm"
    values = np.arange(64, dtype=">u2").tobytes()
    file.write_bytes(b"P5\n# a comment\n8 8\n# another\n4095\n" + values)
    assert bits_of(file) == 12
    assert largest_by_tag(file) == 4095
    file.write_bytes(b"P5 8 8 65535 " + values)
    assert bits_of(file) == 16
    assert largest_by_tag(file) is None
    file.write_bytes(b"P5 8 8 200 " + values[:64])
    assert bits_of(file) == 8
    assert largest_by_tag(file) is None


def test_a_png_says_how_many_bits_matter(tmp_path: Path) -> None:
    file = written(tmp_path / "a.png", np.full((9, 9), 77, np.uint16))
    assert largest_by_tag(file) is None
    file.write_bytes(with_chunk(file.read_bytes(), b"sBIT", b"\x0c"))
    assert largest_by_tag(file) == 4095
    assert look_at_image(file).fault is None
    assert read_image(file).max() == 77


@pytest.mark.parametrize("content", [
    b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff",
    b"MM\0*\0\0\0\x08\0\x01", b"P5", b"P5 1 1", b"P5 8 8 " + b"9" * 600,
    b"\0\0\0\x0cjP  ihdr", b"\0\0\0\x20ftypavif pixi",
])  # fmt: skip
def test_broken_headers_say_nothing(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.tif"
    file.write_bytes(content)
    assert stored_bits(content[:HEADER_BYTES], file) == 8
    assert largest_by_tag(file) is None
    assert largest_by_tag(tmp_path / "none.png") is None
