"""The page in a real browser: it shows all it holds, works by keyboard, asks for nothing, prints.

The browser is Debian's ``chromium``; without one these tests are skipped.
"""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from aoi_tl.report.page import write_comparison, write_page
from tests.report.made_runs import (
    make_benchmark,
    make_classification,
    make_matrix,
    make_run,
    make_score,
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
KINDS = {
    "run": ["answer", "sources", "likeness", "adaptation", "ledger", "arms", "failures",
            "operating", "repeat"],
    "score": ["answer", "sources", "likeness", "repeat"],
    "matrix": ["answer", "matrix", "likeness", "repeat"],
    "classify": ["answer", "arms", "classified", "ledger", "repeat"],
    "benchmark": ["answer", "agreement", "gains", "repeat"],
    "comparison": ["runs"],
}
#: A busy machine is slow; only a page that never answers is a failure.
PATIENCE = 600_000


@dataclass
class Opened:
    """A page, with what it said and what it asked for since it was opened."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no browser found: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    run = make_run(folder / "run", sources=("near", "far", "other"))
    found = {
        "run": write_page(run), "score": write_page(make_score(folder / "score", run)),
        "matrix": write_page(make_matrix(folder / "matrix", run)),
        "classify": write_page(make_classification(folder / "classify")),
        "benchmark": write_page(make_benchmark(folder / "benchmark")),
    }
    return found | {"comparison": write_comparison(
        [run, folder / "score", folder / "classify"], folder / "comparison.html")}


@pytest.fixture
def opened(browser: Browser, files: dict[str, Path]) -> Iterator[Open]:
    contexts = []

    def open_page(kind: str, width: int = 1280, scheme: str = "light") -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.on("dialog", lambda dialog: found.said.append(dialog.message))
        found.page.on("request", lambda request: found.asked.append(request.url))
        found.page.goto(files[kind].as_uri())
        return found

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_section_shows_and_nothing_leaves_the_file(
    kind: str, opened: Open, files: dict[str, Path]
) -> None:
    found = opened(kind)
    page = found.page
    assert page.eval_on_selector_all("main > section", "all => all.map(s => s.id)") == KINDS[kind]
    for section in KINDS[kind]:
        page.locator(f"#{section}").scroll_into_view_if_needed()
        assert page.locator(f"#{section} h2").is_visible()
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
    page.evaluate("""() => Promise.all(  // an image that cannot be decoded fails it
        [...document.images].filter(i => !i.hidden).map(i => i.decode())).then(Boolean)""")
    sizes = page.eval_on_selector_all(
        ".chart svg", "all => all.map(s => s.getBoundingClientRect()).map(r => r.width * r.height)"
    )
    assert all(size > 10_000 for size in sizes)
    assert found.said == []
    outside = [url for url in found.asked if not url.startswith(("data:", files[kind].as_uri()))]
    assert outside == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_width_scrolls_sideways(kind: str, opened: Open) -> None:
    page = opened(kind, width=390).page
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")  # draws the gallery
    for width in (390, 768, 1180, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing_serious(kind: str, scheme: str, opened: Open) -> None:
    page = opened(kind, scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    found = Axe().run(page).response["violations"]
    assert [
        (one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in found if one["impact"] in ("serious", "critical")
    ] == []


def test_dark_mode_is_dark(opened: Open) -> None:
    def lightness(scheme: str) -> int:
        colour = opened("run", scheme=scheme).page.evaluate(
            "getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert lightness("light") == 3 * 255
    assert lightness("dark") < 3 * 60


def test_keys_go_through_the_page_in_its_order(opened: Open) -> None:
    page = opened("run").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.evaluate("window.before = document.activeElement")
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate("""() => {
            const now = document.activeElement, earlier = window.before;
            window.before = now;
            return Boolean(earlier.compareDocumentPosition(now) & Node.DOCUMENT_POSITION_FOLLOWING)
                && getComputedStyle(now).outlineStyle === "solid";
        }""")


def test_the_map_shows_an_image_by_mouse_and_by_arrow_key(opened: Open) -> None:
    page = opened("run").page
    words, image = page.locator("#image-map figcaption"), page.locator("#image-map img")
    assert image.is_hidden()
    page.locator("#image-map [data-place='3']").dispatch_event("pointerover", {"bubbles": True})
    first = words.inner_text()
    assert image.is_visible()
    page.locator("#image-map").focus()
    page.keyboard.press("ArrowRight")
    if words.inner_text() == first:  # the mark furthest right was the first
        page.keyboard.press("ArrowLeft")
    assert words.inner_text() != first
    assert image.get_attribute("alt") == words.inner_text()


def test_a_cell_of_the_heat_map_says_what_is_behind_it(opened: Open) -> None:
    page = opened("matrix").page
    detail = page.locator("#heat-detail")
    page.locator("#heat td[data-i='1'][data-j='0']").click()
    assert detail.inner_text().startswith("new for near: EMD 6.0")
    page.keyboard.press("ArrowDown")
    assert detail.inner_text().startswith("new for far: EMD 7.0")
    assert page.locator("#heat td[aria-selected='true']").count() == 1
    page.locator("#heat-quantity").select_option("emd")
    assert page.locator("#heat td[data-i='1'][data-j='0']").inner_text() == "6.0"


def test_the_gallery_is_filtered_and_sorted(opened: Open) -> None:
    page = opened("run").page
    page.locator("#gallery-controls").scroll_into_view_if_needed()
    cards = page.locator("#gallery > li")
    cards.first.wait_for()

    def shown(name: str) -> list[str]:
        return [str(card.get_attribute(f"data-{name}")) for card in cards.all()]

    page.locator("#gallery-arm").select_option("coco")
    confidence = list(map(float, shown("confidence")))
    assert confidence == sorted(confidence, reverse=True)
    page.locator("#gallery-kind").select_option("miss")
    assert set(shown("kind")) == {"miss"}
    assert f"{cards.count()} mistakes of coco" in page.locator("#gallery-count").inner_text()
    page.locator("#gallery-class").select_option("dent")
    assert set(shown("label")) == {"dent"}
    page.locator("#gallery-sort").select_option("small")
    sizes = list(map(float, shown("size")))
    assert sizes == sorted(sizes)
    page.locator("#gallery-other").select_option("method-all")
    assert cards.first.locator("img").count() == 2
    page.locator("#gallery-other").select_option("")
    assert cards.first.locator("img").count() == 1
    assert cards.first.locator("rect.missed").count() >= 1


def test_a_card_of_the_gallery_shows_the_box_that_it_is_about(opened: Open) -> None:
    page = opened("run").page
    page.locator("#gallery-controls").scroll_into_view_if_needed()
    page.locator("#gallery > li").first.wait_for()
    page.locator("#gallery-other").select_option("")
    for arm in ("coco", "method-all"):
        page.locator("#gallery-arm").select_option(arm)
        cards = page.eval_on_selector_all("#gallery > li", """all => all.map(card => ({
            kind: card.dataset.kind, size: Number(card.dataset.size),
            shown: [...card.querySelectorAll("rect.shown")].map(r => [r.classList[0],
                Math.sqrt(r.getAttribute("width") * r.getAttribute("height")) / 100]),
        }))""")
        assert {card["kind"] for card in cards} == {"miss", "false alarm", "confusion"}
        for card in cards:
            wanted = {"miss": ["missed"], "false alarm": ["wrong"],
                      "confusion": ["missed", "wrong"]}[card["kind"]]
            assert [kind for kind, _ in card["shown"]] == wanted
            assert card["shown"][0][1] == pytest.approx(card["size"], abs=0.002)


def test_a_benchmark_says_how_to_rank_and_what_each_source_gained(opened: Open) -> None:
    page = opened("benchmark").page
    assert "Rank by auto: its first choice lost" in page.locator("#answer").inner_text()
    assert page.locator(".gains td.up").count() == 6  # two targets: near, far and together
    assert page.locator(".gains td.down").count() == 2
    text = base64.b64decode(str(page.locator("#gains .csv").first.get_attribute("href"))
                            .split(",")[1]).decode()
    assert text.startswith("target,sources,auto,gain\nnew,near,")


def test_the_experiment_can_be_copied(opened: Open) -> None:
    page = opened("run").page
    button = page.locator("#repeat .copy").first
    button.click()
    button.get_by_text("Copied").wait_for()


def test_a_chart_gives_its_numbers(opened: Open) -> None:
    link = opened("run").page.locator("#arms .csv").first
    text = base64.b64decode(str(link.get_attribute("href")).split(",")[1]).decode()
    assert text.startswith("arm,seed,map50\ncoco,0,")
    assert link.get_attribute("download") == "arms-map50.csv"


def test_it_prints(opened: Open) -> None:
    page = opened("run").page
    printed = page.pdf()
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 3
    assert page.locator("#gallery > li").count() > 0  # drawn though nobody scrolled there


@pytest.mark.slow
def test_a_large_run_is_sampled_and_says_so(browser: Browser, tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", [f"class {k}" for k in range(500)], [f"source {k}" for k in range(100)],
        images=200, boxes=100,
    )
    file = write_page(run)
    assert file.stat().st_size < 8e6
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert "A sample: 60 of the" in page.locator("#failures").inner_text()
    assert page.locator("#sources .card").count() == 100
    page.close()
