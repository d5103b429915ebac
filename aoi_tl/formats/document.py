"""Annotation files as parsed values: JSON and XML of bounded size, nothing in them followed."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoi_tl.errors import DataError
from aoi_tl.files.untrusted import read_ordinary

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES = 1024**3
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_text(path: Path) -> str:
    """Read UTF-8 text of at most ``MAX_BYTES``.

    Raises
    ------
    DataError
        Missing, too large or not UTF-8.
    """
    try:
        return _content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} at "
            f"{error.start}; save the file as UTF-8"
        ) from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    DataError
        Missing, too large, not UTF-8, or broken; the line is told.
    """
    text = read_text(path)
    try:
        value = json.loads(text)
        if _HALF.search(text):  # escaped halves of characters; whole ones have been joined
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} line {error.lineno}: expected valid JSON, got: {error.msg}; correct the file"
        ) from error
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: expected valid JSON, got half of a character; correct the file"
        ) from error
    except (RecursionError, ValueError) as error:
        raise DataError(
            f"{path}: expected valid JSON, got values too deep or too long; correct the file"
        ) from error


def read_xml(path: Path) -> Element:
    """Read an XML file, refusing entities and external references.

    Raises
    ------
    DataError
        Missing, too large, broken, or hostile.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    content = _content(path)
    try:
        return fromstring(content)
    except ParseError as error:
        line, _ = error.position
        reason = str(error).split(":")[0]
        raise DataError(
            f"{path} line {line}: expected valid XML, got: {reason}; correct the file"
        ) from error
    except DefusedXmlException as error:
        raise DataError(
            f"{path}: expected XML without entities, got {type(error).__name__}; remove the "
            "declarations at the top"
        ) from error
    except (ValueError, LookupError, RecursionError) as error:  # an unknown encoding
        reason = " ".join(str(error).split())[:80]
        raise DataError(f"{path}: expected valid XML, got: {reason}; correct the file") from error


def number(value: object) -> float | None:
    """Return a finite number for a number or its text, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def _content(path: Path) -> bytes:
    try:
        return read_ordinary(path, MAX_BYTES)
    except OSError as error:
        raise DataError(
            f"{path}: expected an annotation file, got {error.strerror}; check the path"
        ) from error
