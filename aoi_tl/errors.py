"""The errors that a user can mend: each is shown as one line, without a traceback."""

from __future__ import annotations


class AoiTlError(Exception):
    """An input that cannot be used: the message says what was expected, what came and the cure."""


class DataError(AoiTlError):
    """A dataset, a label file or an image that cannot be used."""


class ExperimentError(AoiTlError):
    """An experiment file or a command-line setting that cannot be used."""


class CheckpointError(AoiTlError):
    """A checkpoint that is missing, damaged, untrusted or of another architecture."""


class RunError(AoiTlError):
    """A run folder that cannot be written, is in use, or belongs to another experiment."""
