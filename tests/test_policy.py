"""The content security policy of the pages, in a real browser: all that is the book's works, from files and from a
server; nothing of others is loaded, sent or run."""

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
document.addEventListener("securitypolicyviolation", found => violations.push(
    `${found.effectiveDirective}: ${found.blockedURI}`));"""
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
  await add("object", {data: `${foreign}/object.html`});
  await fetch(`${foreign}/fetch`).catch(() => {});
  await new Promise(done => setTimeout(() => { try { eval("window.evaluated = true"); } catch {} done(); }));
  document.head.append(Object.assign(document.createElement("base"), {href: foreign}));
  await add("script", {textContent: "window.inline = true"});
  return [!!window.foreign, !!window.evaluated, document.baseURI.startsWith(foreign), !!window.inline];
}"""
TRIED = [
    "/audio.mp3",
    "/fetch",
    "/frame.html",
    "/img.png",
    "/object.html",
    "/script.js",
    "/style.css",
]
KINDS = {
    "connect-src",
    "frame-src",
    "img-src",
    "media-src",
    "object-src",
    "script-src",
    "script-src-elem",
    "style-src-elem",
    "base-uri",
}


class Site(SimpleHTTPRequestHandler):
    """Serves a folder, to everybody; notes what is asked for."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], ThreadingHTTPServer]]:
    """A server of a folder, with its address in `url` and what was asked for in `asked`."""
    servers = []

    def started(folder: Path) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=folder))
        server.asked, server.url = [], f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[BrowserContext]:
    """Pages that write down what their policy refuses."""
    context = browser.new_context()
    context.set_default_timeout(120_000)  # the machine may be busy
    context.add_init_script(WATCH)
    yield context
    context.close()


@pytest.fixture
def foreign(serve, tmp_path: Path) -> ThreadingHTTPServer:
    """Another server, which gives whatever is asked of it."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    for name in TRIED:
        (folder / name[1:]).write_text("window.foreign = true;" if name.endswith("js") else "")
    return serve(folder)


def test_every_page_has_the_policy_before_anything_that_it_loads(published: Path) -> None:
    found = [path for path in published.rglob("*.html") if "_static" not in path.parts]
    assert {f"{name}.html" for name in (*publish.toc(), "search", "genindex")} < {
        path.relative_to(published).as_posix() for path in found
    }
    policies = set()
    for path in found:
        head = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        if path.name == "index.html":  # it does nothing but lead to the first page
            assert [tag.name for tag in head.find_all(True)] == ["meta"] and head.meta[
                "content"
            ] == "0; url=intro.html"
            continue
        policy = head.find("meta", {"http-equiv": "Content-Security-Policy"})
        assert policy and policy.parent.name == "head", path
        assert not policy.find_previous(["script", "link", "style", "base"]), path
        policies.add(policy["content"])
    (policy,) = policies
    assert (
        policy.startswith("default-src 'none'; ") and "eval" not in policy and "http" not in policy
    )


@pytest.mark.parametrize("by", ["file", "server"])
def test_what_is_foreign_is_neither_loaded_nor_run(
    by: str, published: Path, watched, serve, foreign
) -> None:
    """Whatever a page is made to ask of others; what stands in the page itself may run."""
    page = watched.new_page()
    page.goto(f"{published.as_uri() if by == 'file' else serve(published).url}/notation.html")
    page.wait_for_timeout(500)
    assert page.evaluate("violations") == []
    assert page.evaluate(TRY, foreign.url) == [False, False, False, True]
    page.evaluate(
        """async kinds => { // what is refused is told a little later
        const told = kind => violations.some(said => said.startsWith(`${kind}:`));
        for (let i = 0; i < 600 && !kinds.every(told); i++) await new Promise(done => setTimeout(done, 100)); }""",
        sorted(KINDS),
    )
    assert {said.split(":")[0] for said in page.evaluate("violations")} == KINDS
    place = page.url
    page.evaluate(
        """foreign => { const form = document.createElement("form");
        form.action = `${foreign}/form`; document.body.append(form); form.submit(); }""",
        foreign.url,
    )
    page.wait_for_function("violations.some(said => said.startsWith('form-action'))")
    assert page.url == place and foreign.asked == []


def test_without_the_policy_all_of_it_is_loaded_and_run(
    watched, serve, foreign, tmp_path: Path
) -> None:
    """What the test above is for: the same page without the line would ask the foreign server for everything."""
    (tmp_path / "page.html").write_text("<!doctype html><title>Open</title><body>")
    page = watched.new_page()
    page.goto(f"{serve(tmp_path).url}/page.html")
    assert page.evaluate(TRY, foreign.url) == [True, True, True, True]
    assert sorted(set(foreign.asked)) == TRIED and page.evaluate("violations") == []


@pytest.mark.slow
def test_from_a_server_every_page_has_all_that_is_its_own(published: Path, watched, serve) -> None:
    """Nothing is refused; from files, tests/test_pages.py holds the same: a refusal is an error of the console."""
    site, refused = serve(published), {}
    for name in (*publish.toc(), "genindex"):
        page = watched.new_page()
        page.goto(f"{site.url}/{name}.html", wait_until="load")
        page.wait_for_timeout(500)
        assert (
            page.evaluate(
                "getComputedStyle(document.documentElement).getPropertyValue('--pst-color-primary')"
            )
            != ""
        )
        refused |= {name: found} if (found := page.evaluate("violations")) else {}
        page.close()
    assert refused == {}


@pytest.mark.parametrize("by", ["file", "server"])
def test_the_search_finds(by: str, published: Path, watched, serve) -> None:
    """From a server it also shows where: the page asks for the text of what it found, from the same server."""
    page = watched.new_page()
    page.goto(
        f"{published.as_uri() if by == 'file' else serve(published).url}/search.html?q=collapse"
    )
    page.wait_for_selector("#search-results li a")
    if by == "server":
        page.wait_for_selector("#search-results p.context")
    assert page.evaluate("violations") == []


def test_a_built_page_names_no_folder_of_this_machine(published: Path) -> None:
    for path in published.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert str(ROOT) not in text and str(published.parents[2]) not in text, path
