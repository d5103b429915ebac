"""Parsing annotation files: JSON and XML of bounded size, without following references."""

from __future__ import annotations

import codecs
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoi_tl.errors import DataError
from aoi_tl.files.untrusted import read_regular_file

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES = 1024**3
#: Encodings by the names that files declare, each with all that it is taken to hold.
_WIDER = {
    "gbk": "gb18030", "gb2312": "gb18030", "gb18030": "gb18030", "cp936": "gb18030",
    "big5": "big5hkscs", "big5-hkscs": "big5hkscs", "cp950": "big5hkscs",
    "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "windows-31j": "cp932",
}
#: The commonest characters of each national standard, in two bytes.
_FIRST_LEVEL = {
    "gb18030": (b"\xb0\xa1", b"\xd7\xf9"), "big5hkscs": (b"\xa4\x40", b"\xc6\x7e"),
    "cp932": (b"\x88\x9f", b"\x98\x72"),
}
_DECLARED = re.compile(
    rb"(\s*<\?xml[^>]{0,200}?)\s+encoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})[\"']"
)
_DECLARED_TEXT = re.compile(r"(^\s*<\?xml[^>]{0,200}?)\s+encoding\s*=\s*[\"'][^\"'>]{1,40}[\"']")
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
        Missing, too large, not UTF-8, or broken; the message names the line.
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

    content = _decoded(_content(path))
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


def _decoded(content: bytes) -> str | bytes:
    """Decode XML by its mark, its declaration or its bytes; what is no text stays as it is.

    The parser itself knows no encoding of several bytes but Unicode's.
    """
    marks = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"),
             (codecs.BOM_UTF16_BE, "utf-16-be"), (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
    marked = [encoding for mark, encoding in marks if content.startswith(mark)]
    declaration = _DECLARED.match(content)
    declared = declaration[2].decode("ascii").lower() if declaration else "utf-8"
    for encoding in (*marked, _WIDER.get(declared, declared)):
        try:
            text = content.decode(encoding).removeprefix("\ufeff")
        except (UnicodeError, LookupError):
            continue
        return _DECLARED_TEXT.sub(r"\1", text, count=1)
    if declared not in ("utf-8", "utf8", *_WIDER):
        return content
    found = [
        (_commonness(content, encoding), -place, encoding)
        for place, encoding in enumerate(("gb18030", "big5hkscs", "cp932"))
    ]
    best, _, encoding = max(found)
    if best < 0:
        return content
    return _DECLARED_TEXT.sub(r"\1", content.decode(encoding), count=1)


def _commonness(content: bytes, encoding: str) -> float:
    """The share of the characters beyond ASCII that are common; -1 where it is no such text.

    Common are the characters of the first level of each national standard, kana and punctuation:
    text read in a wrong encoding gives rare ones.
    """
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return -1.0
    first, last = _FIRST_LEVEL[encoding]
    others = [character for character in text if character > "\x7f"]
    common = 0
    for character in others:
        code = character.encode(encoding)
        common += (len(code) == 2 and first <= code <= last) or "\u3000" <= character <= "\u30ff"
    return common / max(1, len(others))


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
        return read_regular_file(path, MAX_BYTES)
    except OSError as error:
        raise DataError(
            f"{path}: expected an annotation file, got {error.strerror}; check the path"
        ) from error
