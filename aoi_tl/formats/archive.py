"""Unpacking an untrusted .zip: inside its folder, and of bounded size."""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from aoi_tl.data.images import IMAGE_SUFFIXES
from aoi_tl.errors import DataError
from aoi_tl.files.untrusted import open_zip

MAX_ENTRIES = 500_000
MAX_BYTES = 64 * 1024**3
# Deflate reaches 1032 at most; blank masks come near it, but only while they are small.
MAX_RATIO = 200
_RATIO_FROM_BYTES = 64 * 1024**2
_SUFFIXES = IMAGE_SUFFIXES | {
    ".json", ".xml", ".csv", ".txt", ".tsv", ".data", ".names", ".labels",
}


def extract(archive: Path, folder: Path) -> int:
    """Unpack images and annotations; check all members before the first is written.

    Parameters
    ----------
    archive : Path
        A .zip file.
    folder : Path
        An existing, empty folder.

    Returns
    -------
    int
        How many members of other kinds were left in the archive.

    Raises
    ------
    DataError
        No .zip, broken or encrypted; a member climbs out of the folder, is a link or a device, or
        stands there twice; too many members, too large, or packed too tightly to be honest.
    """
    try:
        with open_zip(archive) as opened:
            members = _members(archive, opened)
            written = 0
            for info, target in members:
                path = folder / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(info) as packed, open(path, "xb") as file:
                    while block := packed.read(1024**2):
                        written += len(block)
                        if written > MAX_BYTES:
                            raise _refusal(archive, f"more than {MAX_BYTES} bytes", "split it")
                        file.write(block)
            others = sum(not info.is_dir() for info in opened.infolist()) - len(members)
            return others
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        NotImplementedError,
        RuntimeError,
        EOFError,
    ) as error:
        reason = " ".join(str(error).split())[:100]
        raise _refusal(
            archive, f"a broken or unknown archive ({reason})", "pack it again"
        ) from error
    except (OSError, ValueError, struct.error) as error:
        reason = " ".join(str(error).split())[:100]
        raise _refusal(archive, reason, "check the archive and the disk") from error


def _members(archive: Path, opened: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    infos = opened.infolist()
    if len(infos) > MAX_ENTRIES:
        raise _refusal(archive, f"{len(infos)} members, over {MAX_ENTRIES}", "split it")
    total = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if total > MAX_BYTES:
        raise _refusal(archive, f"{total} bytes unpacked, over {MAX_BYTES}", "split it")
    # Members may share their bytes in a hostile archive, so its own size counts as well.
    packed = min(packed, archive.stat().st_size)
    if total > _RATIO_FROM_BYTES and total > MAX_RATIO * max(packed, 1):
        raise _refusal(archive, f"{total} bytes unpacked from {packed}", "unpack it yourself")
    members: list[tuple[zipfile.ZipInfo, PurePosixPath]] = []
    taken: set[str] = set()
    for info in infos:
        name = _name(info)
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or ":" in name or "\0" in name:
            raise _refusal(archive, f"a member that leads out of it, {name!r}", "do not use it")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(archive, f"a link or device, {name!r}", "pack plain files")
        if info.flag_bits & 0x1:
            raise _refusal(archive, "encrypted members", "unpack it yourself")
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if info.is_dir() or hidden or PurePosixPath(name).suffix.lower() not in _SUFFIXES:
            continue
        if name in taken:
            raise _refusal(archive, f"two members {name!r}", "pack it again")
        taken.add(name)
        members.append((info, PurePosixPath(name)))
    return members


def _name(info: zipfile.ZipInfo) -> str:
    """Return the member's path, mending names whose encoding is not marked."""
    name = info.orig_filename if not info.flag_bits & 0x800 else info.filename
    if not info.flag_bits & 0x800 and not name.isascii():
        raw = name.encode("cp437", "replace")
        for encoding in ("utf-8", "gbk"):  # macOS and Chinese Windows
            try:
                name = raw.decode(encoding)
                break
            except UnicodeDecodeError:
                continue
    return name.replace("\\", "/")


def _refusal(archive: Path, got: str, cure: str) -> DataError:
    return DataError(f"{archive}: expected a .zip of images and annotations, got {got}; {cure}")
