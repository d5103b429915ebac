from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from aoi_tl.checkpoints.opening import refuse_packed
from aoi_tl.errors import CheckpointError
from tests.one_line import one_line

LIST = b"PK\1\2"


def parts(archive: bytes) -> tuple[bytes, bytes, int]:
    """The records of an archive, the list of them, and how many there are."""
    end = archive.rindex(b"PK\5\6")
    number, size, offset = struct.unpack_from("<H2I", archive, end + 10)
    return archive[:offset], archive[offset : offset + size], number


def innocent(size: int) -> bytes:
    """A list, of a given size, of one member that holds nothing."""
    filler = bytes(size - 47)
    return LIST + struct.pack(
        "<6H3I5H2I", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, len(filler), 0, 0, 0, 0, 0
    ) + b"a" + filler


def end(number: int, size: int, offset: int) -> bytes:
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, number, number, size, offset, 0)


def long_end(number: int, size: int, offset: int) -> bytes:
    return struct.pack(
        "<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, number, number, size, offset
    )


def of_a_later_version(archive: bytes) -> bytes:
    records, names, number = parts(archive)
    later = LIST + LIST.join(
        each[:2] + b"\x46" + each[3:] for each in names.removeprefix(LIST).split(LIST)
    )
    return records + later + end(number, len(later), len(records))


def behind_a_second_list(archive: bytes) -> bytes:
    records, names, number = parts(archive)
    return records + names + innocent(len(names)) + end(number, len(names), len(records))


def behind_a_second_long_end(archive: bytes) -> bytes:
    records, names, number = parts(archive)
    start = records + names + long_end(number, len(names), len(records))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(records) + len(names), 1)
    near = innocent(60) + long_end(1, 60, len(start))
    return start + near + locator + end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def in_a_long_end_out_of_the_way(archive: bytes) -> bytes:
    records, names, number = parts(archive)
    start = records + names + long_end(number, len(names), len(records))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(records) + len(names), 1)
    return start + innocent(60) + locator + end(1, 60, len(start))


@pytest.mark.parametrize("disguise", [
    bytes, of_a_later_version, behind_a_second_list, behind_a_second_long_end,
    in_a_long_end_out_of_the_way,
])
def test_what_torch_would_unpack_is_refused(
    disguise: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    plain, packed = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.zeros(1_000_000)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    file = tmp_path / "packed.pt"
    file.write_bytes(disguise(packed.getvalue()))
    assert file.stat().st_size < 10_000
    assert torch.load(file, weights_only=True)["a"].shape == (1_000_000,)  # a bomb of 4 MB
    with pytest.raises(CheckpointError) as error:
        refuse_packed(file)
    one_line(error)


@pytest.mark.parametrize("as_zip", [True, False])
def test_what_torch_writes_is_not(as_zip: bool, tmp_path: Path) -> None:
    file = tmp_path / "plain.pt"
    torch.save({"a": torch.zeros(1000)}, file, _use_new_zipfile_serialization=as_zip)
    refuse_packed(file)


def test_the_real_checkpoints_are_not(shared: Path) -> None:
    for file in (shared / "weights").glob("*.pt"):
        refuse_packed(file)
