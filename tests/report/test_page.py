from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from aoi_tl.errors import RunError
from aoi_tl.report.page import SECTIONS, write_comparison, write_page
from aoi_tl.report.run_tables import RunTables
from tests.one_line import one_line
from tests.report.made_runs import (
    make_benchmark,
    make_classification,
    make_matrix,
    make_run,
    make_score,
)

HOSTILE = "<script>alert(1)</script>"
HOLLOW = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta"}


class Outline(HTMLParser):
    """The tags of a page, which must close in order, its ids and its headings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [str(value) for name, value in attrs if name == "id"]
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(tag)
        if tag not in HOLLOW:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [str(value) for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag, tag


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_page(run).read_text(encoding="utf-8")


def test_every_question_is_answered_in_order(page: str) -> None:
    found = re.findall(r"<h2[^>]*>([^<]+)</h2>", page)
    assert found == [
        "What should I do?", "Which source, and why?", "How alike do they look?",
        "What was changed?", "What moved?", "Did it help?", "Where does it fail?",
        "What threshold do I run?", "Can I repeat it?",
    ]


def test_the_page_is_well_formed_and_its_ids_are_its_own(page: str) -> None:
    outline = Outline(page)
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.headings.count("h1") == 1
    levels = [int(tag[1]) for tag in outline.headings]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for tag, attributes in outline.tags:
        if tag == "img" and "hidden" not in attributes:
            assert attributes.get("alt"), attributes
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")


def test_nothing_is_asked_of_a_network(page: str) -> None:
    for tag, attributes in Outline(page).tags:
        for name in ("src", "href", "xlink:href", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    assert "connect-src" not in page
    assert "default-src 'none'" in page


def test_names_are_shown_as_text(tmp_path: Path) -> None:
    hostile = make_run(
        tmp_path / "run", classes=(HOSTILE, "a & b"), sources=(f"near {HOSTILE}", "far"),
        target=f"new {HOSTILE}".replace("/", "-"),
    )
    page = write_page(hostile).read_text(encoding="utf-8")
    outline = Outline(page)
    assert "alert(1)" in page
    assert HOSTILE not in page
    assert sum(tag == "script" for tag, _ in outline.tags) == 3  # the page's own, and its data


def test_names_of_a_benchmark_are_shown_as_text(tmp_path: Path) -> None:
    page = write_page(make_benchmark(
        tmp_path / "b", targets=(f"new {HOSTILE}", "other"), sources=(f"near {HOSTILE}", "far"),
    )).read_text(encoding="utf-8")
    outline = Outline(page)
    assert "alert(1)" in page
    assert HOSTILE not in page
    assert sum(tag == "script" for tag, _ in outline.tags) == 1
    assert len(outline.ids) == len(set(outline.ids))


def test_the_main_metric_comes_first_and_classes_are_by_arm(page: str) -> None:
    assert page.index("mAP50 on the target") < page.index("mAP50-95 on the target")
    assert ", 4 images" not in page  # test images of a class are not labelled images


def test_equal_runs_give_equal_pages(run: Path, page: str) -> None:
    assert write_page(run).read_text(encoding="utf-8") == page


def test_pictures_are_webp_and_wait(page: str) -> None:
    images = [a for tag, a in Outline(page).tags if tag == "img" and "hidden" not in a]
    assert len(images) >= 12
    for attributes in images:
        assert str(attributes["src"]).startswith("data:image/webp;base64,")
        assert attributes["loading"] == "lazy"
        assert attributes["decoding"] == "async"


def test_every_chart_carries_its_numbers(page: str) -> None:
    charts = page.count('<figure class="chart">')
    assert charts >= 9
    assert page.count('href="data:text/csv;base64,') >= charts


def test_a_run_of_before_this_page_is_shown_too(tmp_path: Path) -> None:
    import shutil

    old = make_run(tmp_path / "run")
    shutil.rmtree(old / "appearance")
    for file in old.rglob("predictions.npz"):
        file.unlink()
    page = write_page(old).read_text(encoding="utf-8")
    assert "Did it help?" in page
    assert "Where does it fail?" not in page
    assert "How alike do they look?" not in page


def test_every_kind_of_run_has_its_own_sections(run: Path, tmp_path: Path) -> None:
    said = {
        "score": "No detector was trained here", "matrix": "Which pairs are close?",
        "classify": "What moved?", "benchmark": "Which measure foretold the gain?",
    }
    folders = {
        "score": make_score(tmp_path / "score", run),
        "matrix": make_matrix(tmp_path / "matrix", run),
        "classify": make_classification(tmp_path / "classify"),
        "benchmark": make_benchmark(tmp_path / "benchmark"),
    }
    for kind, folder in folders.items():
        assert RunTables(folder).kind == kind
        assert said[kind] in write_page(folder).read_text("utf-8")
    assert set(SECTIONS) == {"run", *folders}


def test_numbers_of_labelled_images_are_told_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    arms, both = pd.read_csv(run / "arms.csv"), []
    for images in ("10", "all"):
        both.append(arms.assign(images=images))
        for stage in list((run / "stages").glob("*-s?-*")):
            if images != "all" and "-n10-" not in stage.name:
                arm, rest = stage.name.rsplit("-s", 1)
                stage.with_name(f"{arm}-n10-s{rest}").symlink_to(stage)
    pd.concat(both).to_csv(run / "arms.csv", index=False)
    summary = pd.read_csv(run / "summary.csv")
    pd.concat([summary.assign(images=n) for n in ("10", "all")]).to_csv(
        run / "summary.csv", index=False)
    page = write_page(run).read_text("utf-8")
    assert "With 10 labelled images:" in page
    assert "stock, all images" in page
    assert "over the number of labelled images" in page


def test_several_runs_are_put_side_by_side(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", sources=("near", "third"))
    page = write_comparison([run, other], tmp_path / "both.html").read_text("utf-8")
    Outline(page)
    assert "2 runs side by side" in page
    assert "third" in page
    with pytest.raises(RunError) as error:
        write_comparison([run, run], tmp_path / "both.html")
    assert "twice" in one_line(error)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(RunError) as error:
            write_page(folder)
        one_line(error)
