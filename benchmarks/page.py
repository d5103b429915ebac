"""How large the page of a large run is, and how soon a browser shows it.

    python -m benchmarks.page --out FOLDER

The run is made without training: 100 sources, 500 classes, 20,000 true boxes in 4,000 test images,
three arms, two seeds. Prints a row of Markdown for benchmarks/results/page.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import time
from pathlib import Path

from aoi_tl.report.page import write_page
from tests.report.made_runs import make_run

FIRST_PAINT = """() => new Promise(seen => new PerformanceObserver(list => {
    for (const entry of list.getEntries()) {
        if (entry.name === "first-contentful-paint") seen(entry.startTime);
    }
}).observe({ type: "paint", buffered: true }))"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    run = given.out / "large"
    if not run.is_dir():
        make_run(
            run, [f"class {k}" for k in range(500)], [f"source {k}" for k in range(100)],
            images=4000, boxes=5, side=640,
        )
    started = time.process_time()
    page = write_page(run)
    written = time.process_time() - started
    paints = [first_paint(page) for _ in range(given.times)]
    print("| size, MB | written in, s of CPU | first paint, s: median (range) | machine |")
    print("|---|---|---|---|")
    print(f"| {page.stat().st_size / 1e6:.2f} | {written:.1f} | {statistics.median(paints):.2f} "
          f"({min(paints):.2f} to {max(paints):.2f}), {given.times} times | {os.cpu_count()} cores "
          f"of {platform.machine()}, load {os.getloadavg()[0]:.1f} |")


def first_paint(page: Path) -> float:
    """Open a page in a new browser; give the seconds until its first content is painted."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(page.absolute().as_uri(), wait_until="commit")
        seconds: float = tab.evaluate(FIRST_PAINT) / 1000
        browser.close()
    return seconds


if __name__ == "__main__":
    main()
