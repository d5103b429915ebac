"""Take the pictures of the demo's reports: ``make pictures``, after ``make demo``.

The pictures of ``demo-classify`` and ``benchmark`` are taken where these runs are there too.
"""

from __future__ import annotations

import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent / "images"
DESKTOP, PHONE = (1280, 1000), (390, 844)


@dataclass(frozen=True)
class Picture:
    """A part of a run's page.

    Attributes
    ----------
    name : str
        Of the file below ``images/``.
    run : str
        The folder of the run below ``runs/``.
    size : tuple of int
        Width and height of the window, in CSS pixels.
    section : str
        The id of the section at the top of the window; empty for the top of the page.
    is_dark : bool
        Whether the reader's system asks for dark colours.
    """

    name: str
    run: str
    size: tuple[int, int]
    section: str = ""
    is_dark: bool = False


PICTURES = (
    Picture("report.png", "demo", DESKTOP),
    Picture("report-phone.png", "demo", PHONE),
    Picture("report-likeness.webp", "demo", DESKTOP, "likeness"),
    Picture("report-changes.webp", "demo", DESKTOP, "adaptation"),
    Picture("report-arms.webp", "demo", DESKTOP, "arms"),
    Picture("report-arms-phone.webp", "demo", PHONE, "arms", is_dark=True),
    Picture("report-failures.webp", "demo", DESKTOP, "failures"),
    Picture("report-failures-phone.webp", "demo", PHONE, "failures"),
    Picture("report-classify.webp", "demo-classify", DESKTOP),
    Picture("report-classify-phone.webp", "demo-classify", PHONE, "classified", is_dark=True),
    Picture("report-benchmark.webp", "benchmark", DESKTOP),
    Picture("report-benchmark-phone.webp", "benchmark", PHONE, "gains"),
)


def main(runs: Path) -> None:
    """Write them beside the documents."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("expected a browser, found none: apt-get install chromium")
    if not (runs / "demo" / "report.html").is_file():
        sys.exit(f"expected the demo's report in {runs / 'demo'}, got nothing there: run make demo")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        for picture in PICTURES:
            page = runs / picture.run / "report.html"
            if page.is_file():
                take(browser, page, picture)
            else:
                print(f"not taken: {picture.name}, there is no {page}")
        browser.close()


def take(browser: Browser, page: Path, picture: Picture) -> None:
    """Write one picture, when all images in sight are drawn."""
    width, height = picture.size
    tab = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if picture.is_dark else "light", reduced_motion="reduce",
    )
    tab.goto(page.absolute().as_uri() + (f"#{picture.section}" if picture.section else ""))
    tab.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
    tab.wait_for_timeout(500)  # the gallery is drawn when it comes into sight
    tab.evaluate("""() => Promise.all(
        [...document.images].filter(i => !i.hidden).map(i => i.decode())).then(Boolean)""")
    shot = tab.screenshot()
    tab.close()
    file = HERE / picture.name
    if file.suffix == ".webp":
        Image.open(io.BytesIO(shot)).save(file, quality=82, method=6)
    else:
        file.write_bytes(shot)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
