"""Take the pictures of the demo's report: ``make pictures``, after ``make demo``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent / "images"
SHOTS = {"report.png": (1280, 1000), "report-phone.png": (390, 844)}


def main(page: Path) -> None:
    """Write them beside the documents."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("expected a browser, found none: apt-get install chromium")
    if not page.is_file():
        sys.exit(f"expected the demo's report at {page}, got nothing there: run make demo")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        for name, (width, height) in SHOTS.items():
            tab = browser.new_page(viewport={"width": width, "height": height})
            tab.goto(page.absolute().as_uri())
            tab.screenshot(path=HERE / name)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
