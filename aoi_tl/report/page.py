"""The page of a run: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aoi_tl.errors import RunError
from aoi_tl.files.run_folder import write_atomically
from aoi_tl.report import classification_figures, figures
from aoi_tl.report.run_tables import Kind, RunTables
from aoi_tl.report.section import Section
from aoi_tl.report.sections import (
    adaptation,
    agreement,
    answer,
    arms,
    classified,
    failures,
    gains,
    ledger,
    likeness,
    matrix,
    operating,
    repeat,
    runs,
    sources,
)

Build = Callable[[RunTables], Section | None]

#: The sections of each kind of run, from top to bottom. One without anything to show is left out.
SECTIONS: dict[Kind, tuple[Build, ...]] = {
    "score": (answer.build, sources.build, likeness.build, repeat.build),
    "matrix": (answer.build, matrix.build, likeness.build, repeat.build),
    "run": (
        answer.build, sources.build, likeness.build, adaptation.build, ledger.build, arms.build,
        failures.build, operating.build, repeat.build,
    ),
    "classify": (answer.build, arms.build, classified.build, ledger.build, repeat.build),
    "benchmark": (answer.build, agreement.build, gains.build, repeat.build),
}


def write_page(folder: Path) -> Path:
    """Write ``report.html`` from what a run folder holds.

    Parameters
    ----------
    folder : Path
        Of a ``score``, ``transfer``, ``run``, ``classify`` or ``benchmark``.

    Returns
    -------
    Path
        The page. The figures of a run are beside it as PNG files.

    Raises
    ------
    RunError
        When the folder holds no results yet.
    """
    tables = RunTables(folder)
    if tables.kind == "run":
        figures.write_figures(tables)
    elif tables.kind == "classify":
        classification_figures.write_figures(tables)
    return write_atomically(tables.path / "report.html", render(tables))


def write_comparison(folders: Sequence[Path], file: Path) -> Path:
    """Write one page that puts several runs side by side.

    Parameters
    ----------
    folders : sequence of Path
        Two run folders or more.
    file : Path
        The page.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    RunError
        When a folder holds no results yet, or one comes twice.
    """
    found = [RunTables(folder) for folder in folders]
    paths = [tables.path for tables in found]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice:
        raise RunError(f"expected different run folders, got {twice} twice; name it once")
    heading = f"{len(found)} runs side by side"
    return write_atomically(file, _page(heading, "", [runs.build(found)]))


def render(tables: RunTables) -> str:
    """Give the page of one run as HTML.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    str
    """
    sections = [section for build in SECTIONS[tables.kind] if (section := build(tables))]
    return _page(*answer.title(tables), sections)


def _page(heading: str, lead: str, sections: Sequence[Section]) -> str:
    import jinja2
    from markupsafe import Markup

    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )

    def ours(name: str) -> Markup:
        """Style and script of this room: the only text that is not escaped, beside the charts."""
        return Markup((here / name).read_text(encoding="utf-8"))

    context: dict[str, Any] = {
        "heading": heading, "lead": lead, "sections": sections, "style": ours("style.css"),
        "script": ours("page.js"),
    }
    return environment.get_template("base.html").render(context)
