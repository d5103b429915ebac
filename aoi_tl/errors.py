"""The errors that a user can correct: each is shown as one line, without a traceback."""

from __future__ import annotations

_LONGEST = 1800


class AoiTlError(Exception):
    """An unusable input: the message gives the expectation, the finding and the cure.

    The message is one line that a terminal can show: line breaks
    and control characters are written as escapes, and what is too long is cut in the middle.

    Examples
    --------
    >>> print(AoiTlError("expected a class name, got 'dent\\nhole'; correct it"))
    expected a class name, got 'dent\\nhole'; correct it
    """

    def __init__(self, message: object = "") -> None:
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(message))
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST * 2 // 3]} ... {text[-_LONGEST // 3:]}"
        super().__init__(text)


class DataError(AoiTlError):
    """A dataset, a label file or an image that cannot be used."""


class ExperimentError(AoiTlError):
    """An experiment file or a command-line setting that cannot be used."""


class CheckpointError(AoiTlError):
    """A checkpoint that is missing, damaged, untrusted or of another architecture."""


class RunError(AoiTlError):
    """A run folder that cannot be written, is in use, or belongs to another experiment."""


class EngineError(AoiTlError):
    """An engine that is missing, cannot be reached, or cannot do what a task asks for."""
