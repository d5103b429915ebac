"""Wording of results: numbers, gains, durations and names as text."""

from __future__ import annotations

from typing import Any


def picked_names(scores: dict[str, Any]) -> list[str]:
    """Name the sources that a ranking picks: none, one, or several.

    Examples
    --------
    >>> picked_names({"selected": "line-1"}), picked_names({"selected": None})
    (['line-1'], [])
    """
    if scores.get("choices"):
        return [str(name) for name in scores["choices"][0]["sources"]]
    chosen = scores.get("selected")
    return [chosen] if isinstance(chosen, str) else [str(name) for name in chosen or []]


def gain(row: dict[str, Any]) -> str:
    """Format an estimated gain in points with its interval.

    Examples
    --------
    >>> gain({"estimated_gain": 4.25, "interval": [1, 7.5]})
    '+4.2 points of mAP50 [+1.0, +7.5]'
    """
    low, high = row.get("interval") or (None, None)
    span = f" [{low:+.1f}, {high:+.1f}]" if low is not None and high is not None else ""
    return f"{row['estimated_gain']:+.1f} points of mAP50{span}"


def sentence(text: str) -> str:
    """Capitalise a text and end it with a full stop.

    Examples
    --------
    >>> sentence("same six classes")
    'Same six classes.'
    """
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def listed(names: list[str]) -> str:
    """Join names as a sentence has them.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours.

    Examples
    --------
    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def counted(n: int, one: str, many: str = "") -> str:
    """Format a count with its unit in singular or plural.

    Examples
    --------
    >>> counted(1, "seed"), counted(2, "box", "boxes")
    ('1 seed', '2 boxes')
    """
    return f"{n} {one if n == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """Format a share in percent.

    Examples
    --------
    >>> percent(0.01), percent(0.125), percent(1)
    ('1 %', '12.5 %', '100 %')
    """
    return f"{round(100 * share, 1):g} %"
