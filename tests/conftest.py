"""Tests share a browser, the published book, built once, and an environment without a network."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from lib import ROOT

# Kernels and commands ignore what pyproject.toml ignores: Lightning warns where SLURM is installed.
os.environ.setdefault("PYTHONWARNINGS", "ignore:The `srun` command is available on your system")
CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]
THEME_COMPLAINS = (
    "Identifier 'THEBE_JS_URL' has already been declared",
    "Got invalid theme mode: . Resetting to auto.",
)


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of commands without a network: who tries is refused, and fails the test."""
    log = tmp_path / "asked.log"
    log.touch()
    paths = [str(ROOT / "tests/offline"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    yield {"PYTHONPATH": os.pathsep.join(paths), "OFFLINE_LOG": str(log)}
    assert log.read_text() == ""


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """A training flushes denormal numbers to zero; the next test has them again."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("no chromium here: pages are not tested (apt-get install chromium)")
    assert CHROMIUM, "CI needs chromium: .ci/run installs it"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a file. A request to the network or an error of a script fails the test.

    excused: words of a complaint that the test provokes.
    """
    asked, complaints, excuses = [], [], list(THEME_COMPLAINS)

    def only_files(route) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    def heard(message) -> None:
        if message.type == "error":
            complaints.append(message.text)

    context = browser.new_context()
    context.set_default_timeout(120_000)  # the machine may be busy
    context.route("**/*", only_files)

    def opened(path: Path, width: int = 1280, excused: str = "") -> Page:
        if excused:
            excuses.append(excused)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(path.as_uri())
        return page

    yield opened
    context.close()
    unexpected = [text for text in complaints if not any(words in text for words in excuses)]
    assert asked == [] and unexpected == []


@pytest.fixture
def loaded() -> Callable[[Page], set[Path]]:
    """The files that a page asks for when it is opened anew."""

    def files(page: Page) -> set[Path]:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        page.wait_for_load_state("networkidle")
        return {Path(unquote(urlsplit(url).path)) for url in asked if url.startswith("file:")}

    return files


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Path:
    """The folder of the published book's pages, built here."""
    folder = tmp_path_factory.mktemp("published") / "book"
    shutil.copytree(ROOT / "book", folder, ignore=shutil.ignore_patterns("_build"))  # follows links
    command = [Path(sys.executable).with_name("jupyter-book"), "build", folder]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and "WARNING" not in done.stdout, done.stdout[-4000:]
    return folder / "_build/html"
