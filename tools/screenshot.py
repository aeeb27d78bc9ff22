"""The screenshot of README.md: the map of the built book with a chosen point. `make screenshot`.

A headless Chromium opens the page from its file, as readers do; the picture is kept small by a palette.
"""

import io
import shutil
import sys
from pathlib import Path

import pdf
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from lib import ROOT, BadInput

STORY, POINT = (
    "chapters/14_explorer",
    10,
)  # page, and the point whose pictures and settings are shown
WIDTH, HEIGHT = 1180, 800  # of the window, pixels


def take(page: Page, html: Path, target: Path) -> None:
    """Write the picture as PNG. page: an empty one; html: folder of a built book."""
    path = html.resolve() / f"{STORY}.html"
    if not path.exists():
        raise BadInput(f"{path}: missing; run `jupyter-book build book` first")
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(path.as_uri())
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    with page.expect_request_finished(lambda request: request.url.endswith("thumbnails.webp")):
        page.locator(f"[data-point='{POINT}'][role=option]").focus()
    page.locator(".latent-explorer").evaluate(
        "map => scrollTo(0, map.getBoundingClientRect().top + scrollY - 60)"
    )
    page.wait_for_timeout(
        1000
    )  # until the pictures are drawn: they come from files, so no script may look into them
    full = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    full.quantize(128).save(target, "png", optimize=True)


if __name__ == "__main__":
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium: not found; apt-get install chromium")
    try:
        with sync_playwright() as playwright:
            page = playwright.chromium.launch(executable_path=chromium, args=pdf.FLAGS).new_page()
            take(page, ROOT / "book/_build/html", ROOT / "book/explorer.png")
    except BadInput as error:
        sys.exit(str(error))
