"""The content security policy of the pages, in a real browser: nothing foreign is loaded or run."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import publish
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, BrowserContext

from lib import ROOT

WATCH = """window.violations = [];
document.addEventListener("securitypolicyviolation", event => violations.push(
    `${event.effectiveDirective}: ${event.blockedURI}`));"""
TRY = """async foreign => {
  const add = (tag, attributes) => new Promise(done => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.onload = element.onerror = element.onloadedmetadata = done;
    document.body.append(element);
    setTimeout(done, 2000);
  });
  await add("script", {src: `${foreign}/script.js`});
  await add("img", {src: `${foreign}/img.png`});
  await add("link", {rel: "stylesheet", href: `${foreign}/style.css`});
  await add("iframe", {src: `${foreign}/frame.html`});
  await add("audio", {src: `${foreign}/audio.mp3`});
  await fetch(`${foreign}/fetch`).catch(() => {});
  await new Promise(done => setTimeout(() => {
    try { eval("window.evaluated = true"); } catch {}
    done();
  }));
  return [!!window.foreign, !!window.evaluated];
}"""
TRIED = ["/audio.mp3", "/fetch", "/frame.html", "/img.png", "/script.js", "/style.css"]
KINDS = {"connect", "frame", "img", "media", "script", "style"}


class Site(SimpleHTTPRequestHandler):
    """Serves a folder to everybody, and notes what is requested."""

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], ThreadingHTTPServer]]:
    """A server of a folder, with its address in `url` and the paths in `requests`."""
    servers = []

    def start(folder: Path) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=folder))
        server.requests, server.url = [], f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[BrowserContext]:
    """Pages that note what their policy refuses."""
    context = browser.new_context()
    context.set_default_timeout(120_000)  # the machine may be busy
    context.add_init_script(WATCH)
    yield context
    context.close()


@pytest.fixture
def foreign(serve, tmp_path: Path) -> ThreadingHTTPServer:
    """Another server, which gives whatever is requested."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    for name in TRIED:
        (folder / name[1:]).write_text("window.foreign = true;" if name.endswith("js") else "")
    return serve(folder)


def test_every_page_has_the_policy_before_anything_that_it_loads(published: Path) -> None:
    policies = set()
    for name in (*publish.toc(), "search", "genindex"):
        text = (published / f"{name}.html").read_text(encoding="utf-8")
        head = BeautifulSoup(text, "html.parser").find("head")
        policy = head.find("meta", {"http-equiv": "Content-Security-Policy"})
        assert policy and not policy.find_previous(["script", "link", "style", "base"]), name
        policies.add(policy["content"])
        assert str(ROOT) not in text and str(published.parents[2]) not in text, name
    (policy,) = policies
    assert policy.startswith("default-src 'none'; ")
    assert "eval" not in policy and "http" not in policy


@pytest.mark.parametrize("by", ["file", "server"])
def test_nothing_foreign_is_loaded_or_run(by, published, watched, serve, foreign) -> None:
    address = f"{published.as_uri()}/notation.html"
    if by == "server":
        address = f"{serve(published).url}/notation.html"
    page = watched.new_page()
    page.goto(address)
    page.wait_for_timeout(500)
    assert page.evaluate("violations") == []
    assert page.evaluate(TRY, foreign.url) == [False, False]
    page.wait_for_function("new Set(violations.map(text => text.split('-')[0])).size >= 6")
    assert {text.split("-")[0] for text in page.evaluate("violations")} == KINDS
    assert foreign.requests == []


def test_the_search_finds(published: Path, watched) -> None:
    page = watched.new_page()
    page.goto(f"{published.as_uri()}/search.html?q=collapse")
    page.wait_for_selector("#search-results li a")
    assert page.evaluate("violations") == []
