"""The site builds without a warning, its links lead somewhere, and its reference has no gap."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pydantic import BaseModel

from aoi_tl.experiment.benchmark import Benchmark
from aoi_tl.experiment.classification import ClassificationExperiment
from aoi_tl.experiment.detection import Experiment
from aoi_tl.files.contents import CONTENTS, describe
from tests.working_folder import COMMAND, REPOSITORY

DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", "-d", folder / "trees",
         DOCS, folder / "html"], capture_output=True, text=True,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    return folder / "html"


class Links(HTMLParser):
    """What a page links to, and the places that may be linked to in it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.places.add(value)


def test_links_inside_lead_somewhere_and_nothing_is_fetched_from_outside(site: Path) -> None:
    pages = {}
    for page in (p for p in site.rglob("*.html") if "_static" not in p.parts):
        pages[page.resolve()] = links = Links()
        links.feed(page.read_text(encoding="utf-8"))
    outside = set()
    for page, links in pages.items():
        for link in links.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                outside.add(link)
                continue
            there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert there.exists(), f"{page.name}: {link}"
            if parts.fragment and there in pages:
                assert unquote(parts.fragment) in pages[there].places, f"{page.name}: {link}"
    # Collected, not asked: the tests need no network.
    assert all(urlsplit(link).scheme == "https" for link in outside), outside


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_links_of_the_repository_lead_somewhere(name: str) -> None:
    page = REPOSITORY / name
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not urlsplit(link).scheme:
            assert (page.parent / link.partition("#")[0]).exists(), link


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    shown = text_of(site / "reference/commands.html")
    for name, command in COMMAND.commands.items():  # type: ignore[attr-defined]
        assert f"aoi-tl {name} " in shown, name
        for parameter in command.params:
            for option in (parameter.opts if parameter.param_type_name == "option" else ()):
                assert option in shown, (name, option)


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        found.append(prefix + name)
        inner = re.findall(r"aoi_tl\.experiment\.\w+\.(\w+)", str(field.annotation))
        for other in {one for one in inner if one}:
            module = sys.modules[model.__module__]
            found += keys(getattr(module, other), f"{prefix}{name}.")
    return found


@pytest.mark.parametrize(
    ("page", "model"),
    [("experiment", Experiment), ("experiment", Benchmark),
     ("classification", ClassificationExperiment)],
)
def test_every_key_is_in_the_reference_and_described(
    site: Path, page: str, model: type[BaseModel]
) -> None:
    shown = (site / f"reference/{page}.html").read_text(encoding="utf-8")
    rows = re.findall(r"<tr.*?</tr>", shown, re.S)
    cells = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in
              re.findall(r"<td.*?</td>", row, re.S)] for row in rows]
    meanings = {cell[0]: all(other[-1] for other in cells if other and other[0] == cell[0])
                for cell in cells if cell}
    wanted = keys(model)
    assert len(wanted) > 10
    for key in wanted:
        assert meanings.get(key), key


def written_names() -> set[str]:
    """The names that the workflows write into a run folder, where the code spells them out."""
    names = set()
    for file in (REPOSITORY / "aoi_tl").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and (
                node.func.attr in ("write_json", "write_table")
            ) and node.args and isinstance(node.args[0], ast.Constant):
                names.add(str(node.args[0].value))
    return names


def test_every_file_that_is_written_is_in_the_reference(site: Path) -> None:
    assert len(written_names()) > 15
    for name in written_names():
        assert describe(name), name
    shown = text_of(site / "reference/files.html")
    for content in CONTENTS.values():
        assert all(name in shown for name in content)


def test_every_public_name_is_documented(site: Path) -> None:
    import aoi_tl

    shown = (site / "reference/python.html").read_text(encoding="utf-8")
    for name in aoi_tl.__all__:
        assert f'id="aoi_tl.{name}"' in shown, name


def test_the_readme_is_one_screen_with_a_picture_and_links_into_the_docs() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "docs/index.md" in text
    for page in ("tutorial", "how-to", "method", "measures"):
        assert f"docs/{page}.md" in text
    assert (REPOSITORY / "docs/images/report.png").is_file()
