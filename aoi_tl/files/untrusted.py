"""Reading an untrusted file: regular files only, of bounded size."""

from __future__ import annotations

import codecs
import errno
import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from aoi_tl.files.remote import is_remote, open_remote, read_remote, url_of

_MAX_LISTING = 64 * 1024 * 1024  # bytes that a zip's list of members may have
_LOCATOR = struct.Struct("<4sIQI")  # of a zip64 end record: signature, disk, place, disks
_ZIP64_RECORD = 56  # bytes


def open_regular_file(path: str | os.PathLike[str], flags: int) -> int:
    """Open a regular file; the ``opener`` of ``open``.

    Parameters
    ----------
    path : path-like
        A file, or a link to one.
    flags : int
        As ``os.open`` takes them.

    Returns
    -------
    int
        The file descriptor.

    Raises
    ------
    OSError
        The path is a pipe, a socket, a device or a folder, or cannot be opened.

    Examples
    --------
    >>> open(os.devnull, "rb", opener=open_regular_file)
    Traceback (most recent call last):
    ...
    OSError: [Errno 22] not a regular file: '/dev/null'
    """
    # Opening a pipe would wait for whoever writes into it.
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        code, text = (
            (errno.EISDIR, "a folder") if stat.S_ISDIR(kind)
            else (errno.EINVAL, "not a regular file")
        )
        raise OSError(code, text, os.fspath(path))
    return descriptor


def read_regular_file(path: str | os.PathLike[str], at_most: int) -> bytes:
    """Read a regular file, or an object behind a URL, of a bounded size.

    Parameters
    ----------
    path : path-like
        A file, a link to one, or what stands for a URL.
    at_most : int
        Bytes.

    Returns
    -------
    bytes

    Raises
    ------
    OSError
        The file is larger, is not a regular file, or cannot be read; ``strerror`` says so.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"12345"), file.flush()
    ...     read_regular_file(file.name, 5)
    b'12345'
    """
    if is_remote(path):
        return read_remote(path, at_most)
    with open(path, "rb", opener=open_regular_file) as file:
        size = os.fstat(file.fileno()).st_size
        # Asked for all that is allowed, Python would set aside as much memory for every file.
        content = file.read(size + 1) if size <= at_most else b""
        while size < len(content) <= at_most and (more := file.read(1 << 20)):  # it grows
            content += more
        if max(size, len(content)) > at_most:
            raise OSError(errno.EFBIG, f"{size} bytes where {at_most} are the most", str(path))
    return content


def open_binary(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file, or an object behind a URL, to read parts of it.

    Raises
    ------
    OSError
        As `open_regular_file`.
    """
    return open_remote(path) if is_remote(path) else open(path, "rb", opener=open_regular_file)


def real_path(path: str | os.PathLike[str]) -> str:
    """Resolve the links of a file's path; a URL is kept."""
    return url_of(path) if is_remote(path) else os.path.realpath(path)


@contextmanager
def open_zip(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """Open a .zip whose list of members fits into memory.

    Parameters
    ----------
    path : path-like
        A file, or a link to one.

    Yields
    ------
    zipfile.ZipFile
        Open for reading.

    Raises
    ------
    OSError
        Not a regular file, one that cannot be read, or one with an endless list of members.
    zipfile.BadZipFile
        No .zip, or a broken one.
    """
    with open(path, "rb", opener=open_regular_file) as file:
        # ZipFile reads the whole list before it can be asked how long it is.
        last: Any = getattr(zipfile, "_EndRecData")(file)  # noqa: B009 - typeshed does not know it
        if last and last[5] > _MAX_LISTING:  # _ECD_SIZE
            raise OSError(errno.EFBIG, f"a list of members of {last[5]} bytes", os.fspath(path))
        with zipfile.ZipFile(file) as opened:
            yield opened


def unpacked_size(path: str | os.PathLike[str]) -> int:
    """Compute the unpacked size of a file in bytes.

    Parameters
    ----------
    path : path-like
        A regular file; a .zip or not.

    Returns
    -------
    int
        Bytes: the sum of what a .zip's members say of themselves, else the file's own.

    Raises
    ------
    OSError
        As `open_zip`; and for a .zip whose list of members another reader could find elsewhere, or
        read where this one cannot.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
    ...         archive.writestr("zeros", bytes(1000000))
    ...     unpacked_size(file.name), os.path.getsize(file.name) < 2000
    (1000000, True)
    """
    with open(path, "rb", opener=open_regular_file) as file:
        if file.read(4) != b"PK\3\4":
            return os.path.getsize(path)
    try:
        with open_zip(path) as opened:
            if opened.fp and _has_one_list(opened.fp):
                return sum(member.file_size for member in opened.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):  # the last: of a later version
        pass
    raise OSError(errno.EINVAL, "a damaged .zip", os.fspath(path))


def _has_one_list(file: IO[bytes]) -> bool:
    """Whether the list of a .zip's members ends where its end record begins, as all records say.

    Readers differ in what they believe where it does not: zipfile takes the list before the end
    record and the zip64 record before its locator, torch takes what lies where these point to.
    """
    last: Any = getattr(zipfile, "_EndRecData")(file)  # noqa: B009 - typeshed does not know it
    size, offset, end = last[5], last[6], last[9]  # _ECD_SIZE, _ECD_OFFSET, _ECD_LOCATION
    file.seek(max(0, end - _LOCATOR.size))
    found = file.read(_LOCATOR.size)
    if found.startswith(b"PK\6\7"):
        _, _, end, _ = _LOCATOR.unpack(found)
        if end != last[9] - _LOCATOR.size - _ZIP64_RECORD or last[0] != b"PK\6\6":
            return False
    return bool(offset + size == end)


def decode_text(content: bytes) -> str:
    """Decode UTF-8, with or without a byte-order mark, or UTF-16 with one.

    Parameters
    ----------
    content : bytes
        Of a text file.

    Returns
    -------
    str

    Raises
    ------
    UnicodeDecodeError
        It is neither.

    Examples
    --------
    >>> decode_text("Riß".encode("utf-16")), decode_text(b"dent")
    ('Riß', 'dent')
    """
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf_16 else "utf-8-sig")
