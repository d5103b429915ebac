"""Being nobody in particular: the tests may run as root, whom no read-only folder stops."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

# https://man7.org/linux/man-pages/man7/capabilities.7.html
_PASS_OVER_RIGHTS = sum(1 << bit for bit in (1, 2, 3))  # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
_VERSION_3 = 0x20080522


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Let files' rights hold for this thread, root's or not."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    before, less = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, before) == 0
    less[:] = list(before)
    less[0] &= ~_PASS_OVER_RIGHTS & 0xFFFFFFFF  # effective; what is permitted stays
    assert libc.capset(head, less) == 0
    try:
        yield
    finally:
        assert libc.capset(head, before) == 0
