"""Every page of the published book in a real browser: who can use it, what it loads and weighs, how it prints."""

import io
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pages
import pdf
import pytest
import screenshot
from axe_playwright_python.base import AXE_SCRIPT
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import Browser, Page
from pypdf import PdfReader

PAGES = pages.toc()
MOST, MOST_OF_EXPLORER = 3_000_000, 6_000_000  # bytes of a page with all it loads
FEW = (
    "intro",
    "chapters/03_mnist_sanity_check",
    "chapters/14_explorer",
    "the_answer",
)  # of each kind one
every_page = pytest.mark.parametrize("name", PAGES)
every_page_in_time = pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in PAGES]
)
# The article is ours; menus, search and buttons around it are the theme's. `serious` and `critical` stop a reader.
# One rule is off: docutils gives entries of a bibliography the role doc-biblioentry, which ARIA 1.3 no longer has.
AXE = """async ({colours}) => (await axe.run("article.bd-article", {
    preload: false, resultTypes: ["violations"],
    rules: {"aria-required-children": {enabled: false}, "color-contrast": {enabled: colours}}})).violations
  .filter(found => ["serious", "critical"].includes(found.impact))
  .map(found => [found.id, ...found.nodes.slice(0, 5).map(node => `${node.target}: ${node.any[0]?.message}`)])"""


def show(page: Page, theme: str, width: int) -> None:
    """As a reader with this theme and screen sees it, once the theme's scripts have answered the new width."""
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(500)


# What reaches over an edge of the article's column, or of a frame that hides it, where nobody can scroll to it.
CUT = """() => {
  const article = document.querySelector("article.bd-article"), column = article.parentElement.getBoundingClientRect();
  const around = (one, kinds) => { for (; one !== article; one = one.parentElement)
    if (kinds.includes(getComputedStyle(one).overflowX)) return one; };
  const over = (box, frame) => box.right > frame.right + 1 || box.left < frame.left - 1;
  return [...article.querySelectorAll("*")].filter(one => {
    const box = one.getBoundingClientRect(), hider = around(one.parentElement, ["hidden", "clip"]);
    return box.width > 1 && box.height > 1 && one.checkVisibility({ visibilityProperty: true, opacityProperty: true })
      && !around(one, ["auto", "scroll"]) && !one.closest("mjx-assistive-mml, .visually-hidden")
      && (over(box, column) || hider?.clientWidth > 1 && over(box, hider.getBoundingClientRect()));
  }).slice(0, 5).map(one => `${one.tagName} ${(one.textContent.trim() || one.alt || one.className).slice(0, 50)}`); }"""


@every_page_in_time
@pytest.mark.parametrize(
    ("theme", "phone"),
    [
        ("light", False),
        *(pytest.param(theme, True, marks=pytest.mark.slow) for theme in ("light", "dark")),
    ],
)
def test_no_barrier_for_anybody_in_both_themes_on_every_screen(
    theme: str, phone: bool, name: str, published: Path, visit
) -> None:
    """Barriers on a screen and on a phone; what does not fit, also on a tablet and on a wide screen.

    phone: whether its contrast is looked at too, which takes most of axe's time.
    """
    page = visit(published / f"{name}.html")
    page.evaluate(AXE_SCRIPT)
    for width in (1440, 1280, 768, 360) if theme == "light" else (1280, 360):
        show(page, theme, width)
        if width in (1280, 360):
            assert page.evaluate(AXE, {"colours": width == 1280 or phone}) == [], width
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (
            "the page scrolls sideways"
        )
        assert page.evaluate(CUT) == [], f"cut off at {width} px"


def test_what_is_cut_off_is_found(visit, tmp_path: Path) -> None:
    """MUST BE FOUND: what a frame hides, and what hangs over the right edge; what can be scrolled to is not."""
    wide = '<p style="width:1500px">{}</p>'
    (tmp_path / "page.html").write_text(
        '<!doctype html><html lang="en"><title>Cut</title><link rel="icon" href="data:,"><article class="bd-article">'
        f'<div style="overflow:hidden;width:300px">{wide.format("hidden")}</div>{wide.format("over")}'
        f'<div style="overflow-x:auto;width:300px">{wide.format("scrolled")}</div><p>fits</p></article>'
    )
    assert visit(tmp_path / "page.html").evaluate(CUT) == ["P hidden", "P over"]


def test_axe_finds_what_the_test_above_is_for(visit, tmp_path: Path) -> None:
    """MUST FAIL there: grey on grey, a picture without words, a control without a name."""
    (tmp_path / "page.html").write_text(
        '<!doctype html><html lang="en"><title>Barriers</title><link rel="icon" href="data:,">'
        '<article class="bd-article"><p style="color:#aaa;background:#bbb">grey</p><img src="data:,"><input></article>'
    )
    page = visit(tmp_path / "page.html")
    page.evaluate(AXE_SCRIPT)
    assert {found[0] for found in page.evaluate(AXE, {"colours": True})} == {
        "color-contrast",
        "image-alt",
        "label",
    }


@every_page
def test_a_page_is_light_and_asks_for_nothing_but_files(
    name: str, published: Path, visit, loaded
) -> None:
    """The fixture `visit` fails at any request to a network."""
    page = visit(published / f"{name}.html")
    paths = loaded(page)
    sizes = {path.name: path.stat().st_size for path in paths | {published / f"{name}.html"}}
    assert len(sizes) > 10, "resources are not counted"
    assert "fontawesome.js" not in sizes and ("tex-full.js" in sizes) == (
        page.locator(".math").count() > 0
    )
    most = MOST_OF_EXPLORER if page.locator(".latent-explorer").count() else MOST
    assert sum(sizes.values()) <= most, sorted(sizes.items(), key=lambda item: -item[1])[:8]


def test_the_screenshot_of_the_readme_shows_a_chosen_point(
    published: Path, browser: Browser, tmp_path: Path
) -> None:
    """The map, with colours of all its effects, and beside it the two pictures of a clip."""
    page = browser.new_page()
    screenshot.take(page, published, tmp_path / "shot.png")
    assert page.locator(".explorer-details").get_attribute("data-point") == str(screenshot.POINT)
    shot = Image.open(tmp_path / "shot.png").convert("RGB")
    assert shot.size == (screenshot.WIDTH, screenshot.HEIGHT)
    for part in (
        ".explorer-place svg",
        "canvas[data-picture=wet]",
        "canvas[data-picture=reconstruction]",
    ):
        box = page.locator(part).bounding_box()
        corners = [box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]]
        assert 0 <= min(corners) and corners[2] <= shot.width and corners[3] <= shot.height, part
        assert len(shot.crop([round(at) for at in corners]).getcolors(128)) > 16, part
    page.close()


BLANK = 0.995  # share of one colour above which a picture shows nothing


def blank(page: Page) -> list[str]:
    """Alt texts of the article's pictures that show nothing on the screen: one colour, but for a frame or a speck."""
    found = []
    page.wait_for_function(
        "[...document.querySelectorAll('article img')].every(one => one.complete)"
    )
    for picture in page.locator("article img").all():
        seen = Image.open(io.BytesIO(picture.screenshot())).convert("RGB")
        colours = sorted(
            (count for count, _ in seen.getcolors(seen.width * seen.height)), reverse=True
        )
        loaded = picture.evaluate("one => one.naturalWidth > 0")
        if not loaded or len(colours) < 16 or colours[0] > BLANK * seen.width * seen.height:
            found.append(picture.get_attribute("alt"))
    return found


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("chapters/")])
def test_every_figure_shows_something_in_both_themes(name: str, published: Path, visit) -> None:
    page = visit(published / f"{name}.html")
    assert (page.locator("article img").count() > 0) == (
        name != "chapters/14_explorer"
    )  # its map is no picture
    for theme in ("light", "dark"):
        show(page, theme, 1280)
        assert blank(page) == [], theme


def test_a_blank_figure_is_found(visit, tmp_path: Path) -> None:
    """MUST BE FOUND: a picture of one colour, one that is missing, and one that a style hides."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    for name, pixels in (("white", np.full_like(noise, 255)), ("noise", noise)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "page.html").write_text(
        '<!doctype html><html lang="en"><title>Blank</title><link rel="icon" href="data:,">'
        "<style>img { display: block }</style><article>"
        '<img alt="white" src="white.png"><img alt="missing" src="gone.png"><img alt="noise" src="noise.png">'
        '<img alt="hidden" src="noise.png" style="filter:brightness(0)"></article>'
    )
    page = visit(tmp_path / "page.html", excused="ERR_FILE_NOT_FOUND")
    assert blank(page) == ["white", "missing", "hidden"]


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_players_start_and_only_one_sounds(by: str, published: Path, visit) -> None:
    page = visit(published / "chapters/02_audio_effects.html")
    players = page.locator("figure.player audio")
    players.evaluate_all(
        "all => all.forEach(audio => { audio.loop = true })"
    )  # none ends before a slow machine looks

    def press(i: int) -> None:
        height = players.nth(i).bounding_box()["height"]
        if by == "mouse":
            players.nth(i).click(
                position={"x": height / 2, "y": height / 2}
            )  # the round button at the left
        else:
            players.nth(i).press(" ")

    def sounding(wanted: list[int]) -> None:
        page.wait_for_function(
            """wanted => JSON.stringify(wanted) === JSON.stringify(
            [...document.querySelectorAll("audio")].flatMap((audio, i) => audio.paused ? [] : [i]))""",
            arg=wanted,
        )
        for i in wanted:
            page.wait_for_function(
                "i => document.querySelectorAll('audio')[i].currentTime > 0", arg=i
            )

    sounding([])
    for i in (0, 1, 5):
        press(i)
        sounding([i])
    assert players.nth(0).evaluate("audio => audio.duration") == pytest.approx(2.03, abs=0.2)
    press(5)
    sounding([])


def dead_links(site: Path) -> list[tuple[str, str]]:
    """Page and address of each link inside a site whose file or anchor is not there."""
    soups = {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in site.rglob("*.html")
    }
    anchors = {
        path: {one.get("id") or one.get("name") for one in soup.find_all(["a", True])}
        for path, soup in soups.items()
    }
    dead = []
    for path, soup in soups.items():
        for address in {one["href"] for one in soup.find_all("a", href=True)}:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = target.exists() and (
                not parts.fragment or unquote(parts.fragment) in anchors.get(target, ())
            )
            dead += [] if there else [(path.name, address)]
    return dead


def test_every_link_inside_the_book_leads_somewhere(published: Path) -> None:
    assert dead_links(published.resolve()) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    links = "".join(f'<a href="{address}">x</a>' for address in ("#here", "#gone", "two.html"))
    (tmp_path / "one.html").write_text(f'<p id="here">{links}')
    assert sorted(dead_links(tmp_path.resolve())) == [
        ("one.html", "#gone"),
        ("one.html", "two.html"),
    ]


def test_what_has_the_focus_can_be_seen(published: Path, visit) -> None:
    """Tab goes through the page: each thing in the article that it meets has a ring; a player draws its own, inside."""
    page = visit(published / "chapters/01_dataset_preparation.html", 360)
    page.locator("article").evaluate("article => { article.tabIndex = -1; article.focus(); }")
    met = []
    for _ in range(25):
        page.keyboard.press("Tab")
        met.append(
            page.evaluate("""() => { const at = document.activeElement, style = getComputedStyle(at);
          return [at.tagName, !!at.closest("article"), style.outlineStyle, parseFloat(style.outlineWidth)]; }""")
        )
    inside = [found for found in met if found[1] and found[0] != "AUDIO"]
    assert {"A", "BUTTON", "PRE"} <= {tag for tag, *_ in inside}, met
    assert [found for found in inside if found[2] != "solid" or found[3] < 2] == []


def test_who_wants_no_motion_gets_none(published: Path, visit) -> None:
    page = visit(published / "intro.html")
    page.emulate_media(reduced_motion="reduce")
    longest = """() => Math.max(...[...document.querySelectorAll("*")].flatMap(element => {
      const style = getComputedStyle(element);
      return `${style.transitionDuration},${style.animationDuration}`.split(",").map(parseFloat); }))"""
    assert page.evaluate(longest) <= 0.001


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_paper_folds_are_open_and_text_is_dark(theme: str, published: Path, visit) -> None:
    page = visit(published / "chapters/02_audio_effects.html")
    show(page, theme, 1280)
    page.emulate_media(media="print")
    solution = page.locator(".admonition.dropdown p:not(.admonition-title)").first
    assert solution.is_visible() and solution.bounding_box()["height"] > 10
    shown = "all => all.filter(one => one.checkVisibility()).length"
    assert (
        page.locator("audio, nav, .bd-header, .toggle-button, .copybtn, .bd-sidebar").evaluate_all(
            shown
        )
        == 0
    )
    assert page.locator("figure.player figcaption").first.is_visible()
    bright = """all => all.filter(one => one.checkVisibility() && one.textContent.trim()).map(one => {
        const [r, g, b] = getComputedStyle(one).color.match(/[\\d.]+/g).map(part => (part / 255) ** 2.2);
        return [one.textContent, 1.05 / (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05)]; })
      .filter(([, contrast]) => contrast < 4.5)"""
    assert (
        page.locator("article :is(p, td, th, pre, pre span, a, figcaption)").evaluate_all(bright)
        == []
    )


def test_the_book_on_paper(published: Path, tmp_path: Path, browser: Browser) -> None:
    """Two pages: bookmarks, numbers through both, equations set, links inside, no folder of this machine."""
    names = ["notation", "glossary"]
    pdf.pdf(browser.new_page(), published, tmp_path / "book.pdf", names)
    found = PdfReader(tmp_path / "book.pdf")
    texts = [sheet.extract_text() for sheet in found.pages]
    assert [item.title for item in found.outline] == ["Notation", "Glossary"]
    assert found.get_destination_page_number(found.outline[1]) > 0
    for number, text in enumerate(texts, 1):
        assert f"{number} of {len(texts)}" in text
    assert "\\mathrm" not in "".join(texts) and "Units and conventions" in "".join(texts)
    assert b"file:" not in (tmp_path / "book.pdf").read_bytes()


def test_a_link_on_paper_leads_to_the_page_where_it_goes(tmp_path: Path, browser: Browser) -> None:
    (tmp_path / "deep").mkdir()
    links = '<a href="deep/two.html#x">two</a> <a href="gone.html">gone</a>'
    (tmp_path / "one.html").write_text(f"<title>One — Book</title>{links}")
    (tmp_path / "deep/two.html").write_text('<title>Two — Book</title><p id="x">Here</p>')
    pdf.pdf(browser.new_page(), tmp_path, tmp_path / "book.pdf", ["one", "deep/two"])
    found = PdfReader(tmp_path / "book.pdf")
    one, other = (link.get_object() for link in found.pages[0]["/Annots"])
    assert one["/Dest"][0] == found.pages[1].indirect_reference and "/Dest" not in other
    assert "/A" not in one and "/A" not in other
