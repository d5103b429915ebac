"""Reading a user's file without waiting on a pipe or drowning in it."""

from __future__ import annotations

import errno
import os
import stat


def open_ordinary(path: str | os.PathLike[str], flags: int) -> int:
    """Open an ordinary file; the ``opener`` of ``open``.

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
    >>> open(os.devnull, "rb", opener=open_ordinary)
    Traceback (most recent call last):
    ...
    OSError: [Errno 22] no ordinary file: '/dev/null'
    """
    # Opening a pipe would wait for whoever writes into it.
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        code, text = (
            (errno.EISDIR, "a folder") if stat.S_ISDIR(kind) else (errno.EINVAL, "no ordinary file")
        )
        raise OSError(code, text, os.fspath(path))
    return descriptor


def read_ordinary(path: str | os.PathLike[str], at_most: int) -> bytes:
    """Read an ordinary file of a bounded size.

    Parameters
    ----------
    path : path-like
        A file, or a link to one.
    at_most : int
        Bytes.

    Returns
    -------
    bytes

    Raises
    ------
    OSError
        The file is larger, no ordinary file, or cannot be read; ``strerror`` says so.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"12345"), file.flush()
    ...     read_ordinary(file.name, 5)
    b'12345'
    """
    with open(path, "rb", opener=open_ordinary) as file:
        size = os.fstat(file.fileno()).st_size
        # Asked for all that is allowed, Python would set aside as much memory for every file.
        content = file.read(size + 1) if size <= at_most else b""
        while size < len(content) <= at_most and (more := file.read(1 << 20)):  # it grows
            content += more
        if max(size, len(content)) > at_most:
            raise OSError(errno.EFBIG, f"{size} bytes where {at_most} are the most", str(path))
    return content
