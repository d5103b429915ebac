"""Files on object storage: named by URLs, read through fsspec.

A URL is kept as a ``Path``, so that the same code handles local and remote files. Pathlib writes
``s3://bucket/a.png`` as ``s3:/bucket/a.png``; the slash is restored when the file is opened.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from aoi_tl.errors import DataError

SCHEMES = ("s3", "gs", "memory")
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
_BLOCK = 64 * 1024  # bytes fetched at a time where only parts of a file are looked at
_URL = re.compile(r"([a-z][a-z0-9+.:-]+):+/", re.IGNORECASE)  # one letter would be a drive


def parse_location(text: str, where: str) -> Path | None:
    """Read a place as a URL.

    Parameters
    ----------
    text : str
        As a dataset's YAML has it.
    where : str
        Where it stands, for the message.

    Returns
    -------
    Path or None
        A local path for ``file://``; None where the text is no URL.

    Raises
    ------
    DataError
        For any other kind of URL: what a data set from a stranger names would be asked for from
        inside your network.

    Examples
    --------
    >>> [str(parse_location(text, "")) for text in ("images/train", "s3://shelf/dc-1", "file:///data/a")]
    ['None', 's3:/shelf/dc-1', '/data/a']
    """
    found = _URL.match(text)
    if found is None:
        return None
    if text.startswith("file://"):
        return Path("/" + text.removeprefix("file://").lstrip("/"))
    if found[1] not in SCHEMES:
        raise DataError(
            f"{where}: expected a folder, or a URL of {', '.join(SCHEMES)} or file, got {text!r}; "
            "copy the data to one of them"
        )
    return Path(text)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path represents a URL."""
    found = _URL.match(os.fspath(path))
    return found is not None and found[1] in SCHEMES


def url_of(path: str | os.PathLike[str]) -> str:
    """Give the URL that a path represents.

    Examples
    --------
    >>> url_of(Path("s3://shelf/dc-1") / "images")
    's3://shelf/dc-1/images'
    """
    scheme, _, rest = Path(path).as_posix().partition(":")
    return f"{scheme}://{rest.lstrip('/')}"


def read_remote(path: str | os.PathLike[str], at_most: int) -> bytes:
    """Read an object of a bounded size.

    Raises
    ------
    OSError
        It is larger, is not there, or cannot be read; ``strerror`` says so.
    """
    with _asking(path) as (files, url):
        size = int(files.info(url)["size"] or 0)
        if size > at_most:
            raise OSError(errno.EFBIG, f"{size} bytes where {at_most} are the most", url)
        return bytes(files.cat_file(url))


def open_remote(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open an object to read parts of it; raises as `read_remote` does."""
    with _asking(path) as (files, url):
        opened: IO[bytes] = files.open(url, "rb", block_size=_BLOCK)
        return opened


def remote_kind(path: str | os.PathLike[str]) -> str | None:
    """Give the kind of a URL: "file", "directory" or None; raises as `read_remote`."""
    try:
        with _asking(path) as (files, url):
            return str(files.info(url)["type"])
    except FileNotFoundError:
        return None


def list_remote(path: str | os.PathLike[str]) -> list[Path]:
    """List all objects below a folder as they are now; raises as `read_remote` does."""
    with _asking(path) as (files, url):
        files.invalidate_cache()
        scheme = url.partition(":")[0]
        return [Path(f"{scheme}://{key.lstrip('/')}") for key in files.find(url)]


def remote_stamp(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Give a stamp that changes with an object, without reading it.

    Returns
    -------
    tuple of int or None
        Its size, and a number made of its tag or time; None where it is not there.
    """
    try:
        with _asking(path) as (files, url):
            info = files.info(url)
            tag = info.get("ETag") or info.get("etag")
            if tag is None:
                try:
                    tag = files.modified(url)
                except NotImplementedError:
                    tag = files.ukey(url)
    except OSError:
        return None
    digest = hashlib.sha256(str(tag).encode()).digest()
    return int(info["size"] or 0), int.from_bytes(digest[:8], "big", signed=True)


@contextmanager
def _asking(path: str | os.PathLike[str]) -> Iterator[tuple[Any, str]]:
    """Give the file system and the URL; any error of a storage becomes an OSError."""
    import fsspec

    url = url_of(path)
    scheme = url.partition(":")[0]
    try:
        files = fsspec.filesystem(scheme)
    except ImportError as error:
        package = _PACKAGES.get(scheme, "fsspec")
        raise DataError(
            f"expected the package {package} to read {url}, got none; install it: "
            "pip install 'aoi-tl[cloud]'"
        ) from error
    try:
        yield files, url
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url) from error
    except Exception as error:  # each storage's library has kinds of its own
        if isinstance(error, OSError) and error.strerror:
            raise
        words = str(error).strip().splitlines() or [""]
        raise OSError(errno.EIO, f"{type(error).__name__}: {words[0]}", url) from error
