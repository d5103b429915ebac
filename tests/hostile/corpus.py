"""Datasets that mean harm, made by code: each has one hostile file in an ordinary dataset."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.drawn import draw_dataset


class Trap:
    """Unpickling this leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def png(width: int, height: int, data: bytes, bits: int = 8) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(
            ">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data)
            + chunk(b"IEND", b""))


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link(path: Path, to: str | Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(to)


def aliases() -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{n}: &{n} [{', '.join(['*' + p] * 9)}]" for p, n in zip("abcdefgh", "bcdefghi",
                                                                         strict=True)]
    return "\n".join([*lines, "train: *i", "names: *i", "path: *i"])


IMAGE, LABEL, YAML = "images/train/train0.png", "labels/train/train0.txt", "data.yaml"
HOSTILE: dict[str, Callable[[Path, Path], object]] = {
    "alias bomb": lambda d, m: (d / YAML).write_text(aliases()),
    "endless list": lambda d, m: (d / YAML).write_text("train: &t [*t]\nnames: &n [*n]"),
    "deep list": lambda d, m: (d / YAML).write_text("train: " + "[" * 20000),
    "python tag": lambda d, m: (d / YAML).write_text(
        f"train: !!python/object/apply:os.system ['touch {m}']\nnames: [a]"),
    "download": lambda d, m: (d / YAML).write_text(
        f"train: nowhere\nnames: [a]\ndownload: |\n  open({str(m)!r}, 'w')\n"),
    "huge yaml": lambda d, m: sparse(d / YAML, 5 << 30),
    "yaml is a pipe": lambda d, m: pipe(d / YAML),
    "yaml is a device": lambda d, m: link(d / YAML, "/dev/zero"),
    "yaml is a loop": lambda d, m: link(d / YAML, d / YAML),
    "huge labels": lambda d, m: sparse(d / LABEL, 5 << 30),
    "labels are a pipe": lambda d, m: pipe(d / LABEL),
    "labels are a device": lambda d, m: link(d / LABEL, "/dev/zero"),
    "labels are a loop": lambda d, m: link(d / LABEL, d / LABEL),
    "huge numbers": lambda d, m: (d / LABEL).write_text("9" * 100_000 + " 1e999 1 1 1\n"),
    "image is a pipe": lambda d, m: pipe(d / IMAGE),
    "image is a device": lambda d, m: link(d / IMAGE, "/dev/zero"),
    "image is a loop": lambda d, m: link(d / IMAGE, d / IMAGE),
    "huge image": lambda d, m: sparse(d / IMAGE, 5 << 30),
    "pixel bomb": lambda d, m: (d / IMAGE).write_bytes(
        png(40_000, 40_000, zlib.compress(bytes(40_001) * 2000))),
    "pixel lie": lambda d, m: (d / IMAGE).write_bytes(png(2**31 - 1, 2**31 - 1, b"")),
    "deep pixel bomb": lambda d, m: (d / IMAGE).write_bytes(
        png(30_000, 30_000, zlib.compress(bytes(60_001) * 1000), 16)),
    "deep pixel lie": lambda d, m: (d / IMAGE).write_bytes(png(2**31 - 1, 2**31 - 1, b"", 16)),
    "tags without an end": lambda d, m: (
        (d / IMAGE).unlink(),
        (d / IMAGE).with_suffix(".tif").write_bytes(
            b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 258, 3, 2**31, 8) * 65535)),
    "depth bomb": lambda d, m: (d / YAML).write_text(
        "train: images/train\nnames: [dent]\ndepth: &a [" + "12, " * 9000 + "*a]\n"),
    "folder loop": lambda d, m: link(d / "images" / "train" / "again", d / "images"),
    "list is a device": lambda d, m: (
        link(d / "list.txt", "/dev/zero"),
        (d / YAML).write_text("train: list.txt\nnames: [dent]")),
    "huge list": lambda d, m: (
        sparse(d / "list.txt", 5 << 30), (d / YAML).write_text("train: list.txt\nnames: [dent]")),
    "list climbs out": lambda d, m: (
        (d / "list.txt").write_text("./../../../../../../etc/passwd.png\n/etc/shadow.png\n"),
        (d / YAML).write_text("train: list.txt\nnames: [dent]")),
    "label cache": lambda d, m: (
        (d / "labels" / "train.cache").write_bytes(pickle.dumps(Trap(m))),
        np.save(d / "images" / "train" / "train0.npy", np.array([Trap(m)]), allow_pickle=True)),
}


def make(kind: str, folder: Path) -> tuple[Path, Path]:
    """Draw the dataset of one kind; return its YAML and the file that must never appear."""
    data = draw_dataset(folder / "data", {"dent": 2}, splits=("train", "test"))
    mark = folder / "sprung"
    HOSTILE[kind](data.parent, mark)
    return data, mark
