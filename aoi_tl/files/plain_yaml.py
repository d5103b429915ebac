"""Untrusted YAML as plain values: nothing is executed, and nesting and aliases are bounded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

MAX_BYTES = 1024 * 1024  # of a file; the names of ten thousand classes take a quarter of it
MAX_DEPTH = 32
MAX_NODES = 200_000  # each alias counted with all that it stands for
_MAX_DIGITS = 100
_NUMBER = re.compile(r"[-+]?[0-9][0-9a-fA-FxXob_:.]*")
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class YamlFault(ValueError):
    """A fault in a text, with its line (from 1; None if it has no line)."""

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


def parse_plain(
    text: str, loader: Any = None, look: Callable[[Any], None] = lambda node: None
) -> Any:
    """Parse a YAML document.

    Parameters
    ----------
    text : str
        The document.
    loader : type, optional
        A subclass of ``yaml.SafeLoader``, which is the default.
    look : callable, optional
        Shown the document's root node (None for an empty text) before values are made of it.

    Returns
    -------
    Any
        Plain values: maps, lists, text, numbers, dates, None.

    Raises
    ------
    YamlFault
        Broken; nested more than ``MAX_DEPTH`` deep; of more than ``MAX_NODES`` values once every
        alias is unfolded; a number of more than a hundred digits; text that cannot be written.

    Examples
    --------
    >>> parse_plain("names: {0: dent}")
    {'names': {0: 'dent'}}
    >>> parse_plain("a: &a [*a]")
    Traceback (most recent call last):
    ...
    aoi_tl.files.plain_yaml.YamlFault: a value that contains itself
    """
    import yaml

    loader = loader or yaml.SafeLoader
    try:
        _refuse_bombs(yaml.parse(text, loader))
        opened = loader(text)
        try:
            node = opened.get_single_node()
            look(node)
            return None if node is None else opened.construct_document(node)
        finally:
            opened.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "it cannot be parsed"
        raise YamlFault(_one_line(reason), mark.line + 1 if mark else None) from error
    except YamlFault:
        raise
    # The constructors of PyYAML raise all of these for a text that does not fit its tag.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError,
            ArithmeticError) as error:
        raise YamlFault(_one_line(str(error) or type(error).__name__)) from error


def _refuse_bombs(events: Iterable[Any]) -> None:
    """Scan a text without building values."""
    import yaml

    anchors: dict[str, tuple[int, int] | None] = {}  # nodes and depth; None while it is open
    waiting: list[tuple[str | None, list[int]]] = []  # the open collections and theirs so far
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            if event.anchor:
                anchors[event.anchor] = None
            waiting.append((event.anchor, [1, 0]))
            nodes, depth = 0, 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, (nodes, depth) = waiting.pop()
            depth += 1
            if anchor:
                anchors[anchor] = nodes, depth
        elif isinstance(event, yaml.ScalarEvent):
            _refuse_scalar(event, line)
            nodes, depth = 1, 0
            if event.anchor:
                anchors[event.anchor] = nodes, depth
        elif isinstance(event, yaml.AliasEvent):
            # The composer reports an unknown one.
            found = anchors.get(event.anchor or "", (1, 0))
            if found is None:
                raise YamlFault("a value that contains itself", line)
            nodes, depth = found
        else:
            continue
        if len(waiting) + depth > MAX_DEPTH:
            raise YamlFault(f"values more than {MAX_DEPTH} deep", line)
        if waiting:
            inside = waiting[-1][1]
            inside[0] += nodes
            inside[1] = max(inside[1], depth)
            if inside[0] > MAX_NODES:
                raise YamlFault(f"more than {MAX_NODES} values, aliases unfolded", line)


def _refuse_scalar(event: Any, line: int) -> None:
    value = event.value
    if len(value) > _MAX_DIGITS and (
        event.tag in _NUMBER_TAGS or (event.implicit[0] and _NUMBER.fullmatch(value))
    ):
        raise YamlFault(f"a number of {len(value)} digits", line)
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise YamlFault("text with an invalid character", line)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:120]
