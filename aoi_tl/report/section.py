"""One section of the page: its heading, its template and the template's view model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """A view model with the template that shows it.

    Attributes
    ----------
    anchor : str
        Its id in the page, and the stem of its template in ``sections/``.
    heading : str
        The question that the section answers.
    view : mapping
        The view model: plain values, tables and charts.
    """

    anchor: str
    heading: str
    view: Mapping[str, Any]

    @property
    def template(self) -> str:
        """The path of the template in this room."""
        return f"sections/{self.anchor}.html"
