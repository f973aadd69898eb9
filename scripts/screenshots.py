"""The pictures of the tour, taken of the demo's workspace in a real browser.

    python scripts/screenshots.py [WORKSPACE]

Without a workspace the demo is run first, half a minute. Each picture is kept below 60 kB.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parents[1] / "docs" / "tutorial" / "tour"
MOST_BYTES = 60_000
WIDTH, HEIGHT = 1280, 800


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = sys.argv[1] if len(sys.argv) > 1 else f"{folder}/demo"
        if len(sys.argv) == 1:
            subprocess.run(
                [sys.executable, "-m", "trine.cli", "demo", workspace], check=True, stdout=subprocess.DEVNULL
            )
        names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
        chromium = next((path for name in names if name and (path := shutil.which(name))), None)
        FOLDER.mkdir(exist_ok=True)
        with serving(workspace) as base, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, base_url=base)
            for name in tour(context.new_page()):
                print(f"{name}  {(FOLDER / name).stat().st_size / 1e3:.0f} kB")
            browser.close()


@contextmanager
def serving(workspace: str) -> Generator[str]:
    command = [sys.executable, "-m", "trine.cli", "ui", "-w", workspace, "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield next(found[0] for line in process.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))
        finally:
            process.terminate()


def tour(page: Page) -> Iterator[str]:
    """From the first page to what is behind a number, as a reader of the tour goes."""
    page.goto("/")
    yield take(page, "loop")
    page.goto("/runs?experiment=year&pin=metric.looped.auc")
    yield take(page, "runs")
    page.goto("/data/flights")
    follow(page, "/data/flights/commits/")
    yield take(page, "commit")
    page.goto("/pipelines")
    follow(page, "/pipelines/")
    yield take(page, "pipeline")
    page.goto("/models/delays")
    follow(page, "/gates/")
    yield take(page, "gate")
    page.goto("/endpoints/delays")
    page.locator(".plot[data-drawn] canvas").first.wait_for()
    yield take(page, "endpoint")
    follow(page, "/predictions/")
    yield take(page, "prediction")
    page.goto("/alerts")
    follow(page, "/alerts/")
    follow(page, "/verdicts/")
    yield take(page, "verdict")
    page.goto("/lineage?node=model:delays@2&depth=2")
    page.locator("[data-graph][data-drawn] svg").wait_for()
    yield take(page, "lineage")
    page.goto("/metrics")
    yield take(page, "metrics")


def follow(page: Page, beginning: str) -> None:
    """Click the first link in the page's own part that leads to such an address."""
    page.locator(f'main a[href^="{beginning}"]').first.click()
    page.wait_for_load_state()


def take(page: Page, name: str) -> str:
    """What is on the screen, as small as it has to be."""
    page.evaluate("document.activeElement.blur()")
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        for quality in (85, 75, 65, 50, 35):
            body = io.BytesIO()
            picture.convert("RGB").save(body, "WEBP", quality=quality, method=6)
            if body.tell() <= MOST_BYTES:
                break
    (FOLDER / f"{name}.webp").write_bytes(body.getvalue())
    return f"{name}.webp"


if __name__ == "__main__":
    main()
