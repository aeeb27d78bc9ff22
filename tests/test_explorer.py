"""The map with sound on the page (book/_static/explorer.js), in a real browser from a file, without the book."""

import io
import json
import re
import shutil
from decimal import ROUND_HALF_UP, Context, Decimal
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from lib import ROOT
from lib.audio.effects import EFFECTS, denormalise
from lib.book.figures import EFFECT_COLOURS, EFFECT_MARKERS
from lib.book.players import mp3

pytestmark = pytest.mark.usefixtures("browser")
COUNT, CLIPS, TILE, ACROSS = (
    300,
    7,
    48,
    24,
)  # points, dry clips, side of a picture in pixels, pictures in a row
KINDS = {"wet": "wet-{i}.mp3", "dry": "dry-{clip}.mp3", "reconstruction": "drawn-{i}.mp3"}
THEME = """html { background: #fff; color: #222 } body { margin: 8px; font: 16px sans-serif }
html[data-theme=dark] { background: #14181e; color: #ced6dd; --pst-color-background: #14181e }"""
LETTERS = {"wet": "w", "dry": "d", "reconstruction": "r"}


def synthetic(count: int = COUNT) -> dict:
    """A payload of points on a shaken grid: no two lie so close that a pointer could mean either."""
    rng = np.random.default_rng(0)
    cells = rng.permutation(20 * int(np.ceil(count / 20)))[:count]
    x, y = (
        cells % 20 + rng.uniform(-0.25, 0.25, count),
        cells // 20 + rng.uniform(-0.25, 0.25, count),
    )
    names = [list(EFFECTS)[k] for k in rng.integers(0, len(EFFECTS), count)]
    corpora = rng.choice(["speech", "music"], count).tolist()
    settings = [
        denormalise(name, {p.name: float(rng.uniform()) for p in EFFECTS[name].parameters})
        for name in names
    ]
    return {
        "columns": {
            "x": x.round(3).tolist(),
            "y": y.round(3).tolist(),
            "effect": names,
            "corpus": corpora,
            "group": [
                f"{'voice' if corpus == 'speech' else 'song'} {rng.integers(5)}"
                for corpus in corpora
            ],
            "split": rng.choice(["training", "never heard"], count).tolist(),
            "clip": rng.integers(0, CLIPS, count).tolist(),
            "settings": settings,
        },
        "effects": {
            name: {
                "label": effect.label,
                "colour": EFFECT_COLOURS[name],
                "marker": EFFECT_MARKERS[name],
                "parameters": {
                    p.name: {"low": p.low, "high": p.high, "unit": p.unit, "scale": p.scale}
                    for p in effect.parameters
                },
            }
            for name, effect in EFFECTS.items()
        },
        "thumbnails": {"file": "thumbnails.webp", "tile": [TILE, TILE], "columns": ACROSS},
        "sounds": KINDS,
        "words": "Every mark is one clip with an effect.",
    }


def shade(tile: int) -> int:
    """The grey of a tile in the synthetic thumbnails."""
    return 20 + tile * 37 % 200


def div(text: str) -> str:
    return (
        '<div class="latent-explorer" data-folder="../_static/explorer"><script type="application/json">'
        f"{text}</script></div>\n"
    )


def write(root: Path, name: str, body: str) -> Path:
    """A page of a book that holds nothing but the explorer's files; `root` is that book's HTML."""
    path = root / "chapters" / f"{name}.html"
    path.write_text(
        '<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Map</title>'
        '<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">'
        '<link rel="stylesheet" href="../_static/explorer.css">'
        '<script src="../_static/explorer.js"></script>'
        f"<style>{THEME}</style></head>"
        f"<body><main><h1>Map</h1>{body}</main></body></html>",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def payload() -> dict:
    return synthetic()


@pytest.fixture(scope="module")
def book(payload: dict, tmp_path_factory) -> Path:
    """The HTML of a book with one page, "page", that holds one explorer, and all the files it can ask for."""
    root = tmp_path_factory.mktemp("explorer") / "html"
    folder = root / "_static/explorer"
    folder.mkdir(parents=True)
    (root / "chapters").mkdir()
    for name in ("explorer.js", "explorer.css"):
        shutil.copy(ROOT / "book/_static" / name, root / "_static")
    shutil.copytree(ROOT / "book/_extra/vendor", root / "vendor")
    sheet = np.zeros((-(-2 * COUNT // ACROSS), TILE, ACROSS, TILE), np.uint8)
    for tile in range(2 * COUNT):
        sheet[tile // ACROSS, :, tile % ACROSS] = shade(tile)
    Image.fromarray(sheet.reshape(-1, ACROSS * TILE)).save(
        folder / "thumbnails.webp", lossless=True
    )
    sound = root / "sound.mp3"  # long enough not to end before a slow machine has looked
    sound.write_bytes(mp3(0.1 * np.sin(2 * np.pi * 220 * np.arange(40 * 8000) / 8000), 8000))
    for name in {
        template.format(i=i, clip=i % CLIPS) for template in KINDS.values() for i in range(COUNT)
    }:
        (folder / name).hardlink_to(sound)
    write(root, "page", div(json.dumps(payload)))
    return root


@pytest.fixture
def opened(book: Path, visit) -> Page:
    """The page with the explorer, drawn."""
    page = visit(book / "chapters/page.html")
    points(page).last.wait_for(state="attached")
    return page


def points(page: Page) -> Locator:
    return page.locator(".latent-explorer [role=option]")


def point(page: Page, i: int) -> Locator:
    return page.locator(f".latent-explorer [data-point='{i}'][role=option]")


def active(page: Page) -> int:
    """The point that has the focus."""
    return int(page.evaluate("document.activeElement.dataset.point"))


def places(page: Page) -> np.ndarray:
    """Where the first map's points lie in it, in pixels (point, 2), in the payload's order; nan where one is hidden."""
    found = page.locator(".latent-explorer").first.evaluate("""root => {
      const all = [...root.querySelectorAll("[role=option]")].map(path => {
        const [x, y] = path.getAttribute("transform").match(/[-\\d.]+/g).map(Number);
        return [Number(path.dataset.point), ...path.style.display === "none" ? [NaN, NaN] : [x, y]];
      });
      return all.sort((a, b) => a[0] - b[0]).map(([, x, y]) => [x, y]);
    }""")
    return np.array(found, float)


def shown(page: Page) -> int:
    return int(np.isfinite(places(page)[:, 0]).sum())


def rows(page: Page) -> dict[str, str]:
    """What the panel tells of a point."""
    return page.locator(
        ".explorer-about"
    ).evaluate("""about => Object.fromEntries(
      [...about.querySelectorAll("dl > div")].map(row => [...row.children].map(part => part.innerText)))""")


def measure(value: float, unit: str) -> str:
    """Three digits, as JavaScript rounds: a tie goes up, where Python's goes to the even digit."""
    three = Context(prec=3, rounding=ROUND_HALF_UP).create_decimal(Decimal(value))
    number = np.format_float_positional(float(three), trim="-")
    return number + ("" if not unit else unit if unit.startswith(":") else f" {unit}")


def check_details(page: Page, payload: dict, i: int) -> None:
    """The panel is about point i: its settings with their units, its clip, its two pictures."""
    columns = payload["columns"]
    effect = payload["effects"][columns["effect"][i]]
    assert page.locator(".explorer-title").inner_text() == effect["label"]
    told = rows(page)
    for name, value in columns["settings"][i].items():
        assert told.pop(name) == measure(value, effect["parameters"][name]["unit"]), (i, name)
    assert told.pop("Corpus") == columns["corpus"][i] and told.pop("Split") == columns["split"][i]
    assert (
        told.pop({"speech": "Person", "music": "Song"}[columns["corpus"][i]]) == columns["group"][i]
    )
    assert told == ({} if columns["settings"][i] else {"settings": "none"})
    for kind, tile in (("wet", i), ("reconstruction", COUNT + i)):
        canvas = page.locator(f"canvas[data-picture={kind}]")
        assert kind in canvas.get_attribute("aria-label") and columns["group"][
            i
        ] in canvas.get_attribute("aria-label")
        picture = np.array(Image.open(io.BytesIO(canvas.screenshot())).convert("L"))
        assert abs(int(picture[len(picture) // 2, picture.shape[1] // 2]) - shade(tile)) <= 2, (
            kind,
            i,
        )


def hover(page: Page, i: int) -> None:
    """The mouse on the middle of point i, as d3 placed it."""
    plot = page.locator(".explorer-place svg").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    x, y = places(page)[i]
    page.mouse.move(box["x"] + x, box["y"] + y)


def playing(page: Page, file: str) -> None:
    """Exactly one audio element of the page plays, and it plays this file."""
    page.wait_for_function(
        """file => {
      const sounding = [...document.querySelectorAll("audio")].filter(audio => !audio.paused);
      return sounding.length === 1 && sounding[0].currentTime > 0 && sounding[0].currentSrc.endsWith(`/${file}`);
    }""",
        arg=file,
        timeout=10_000,
    )


def file_of(payload: dict, kind: str, i: int) -> str:
    return KINDS[kind].format(i=i, clip=payload["columns"]["clip"][i])


def said(page: Page) -> Locator:
    return page.locator(".explorer-said")


def count(page: Page) -> Locator:
    return page.locator(".latent-explorer output[name=count]")


def test_every_point_is_drawn_and_named(payload: dict, opened: Page) -> None:
    assert points(opened).count() == shown(opened) == COUNT
    assert count(opened).inner_text() == f"{COUNT} of {COUNT} points"
    columns = payload["columns"]
    at = places(opened)
    assert np.all(np.diff(at[np.argsort(columns["x"]), 0]) > -0.011)  # to the right, and upwards
    assert np.all(np.diff(at[np.argsort(columns["y"]), 1]) < 0.011)
    for i in (0, 17, COUNT - 1):
        name = ", ".join(
            [
                payload["effects"][columns["effect"][i]]["label"],
                columns["corpus"][i],
                columns["group"][i],
                columns["split"][i],
            ]
        )
        assert point(opened, i).get_attribute("aria-label") == name
    assert opened.locator(".explorer-axis-name").all_text_contents() == ["UMAP 1", "UMAP 2"]
    assert opened.locator(".explorer-words").inner_text().startswith(payload["words"])
    assert "no unit" in opened.locator(".explorer-words").inner_text()


def test_effects_differ_in_colour_and_shape(payload: dict, opened: Page) -> None:
    found = points(opened).evaluate_all("""all => all.map(path => {
      const turn = path.getAttribute("transform").split(")")[1];
      return [Number(path.dataset.point), getComputedStyle(path).fill, path.getAttribute("d") + turn];
    })""")
    looks = {}
    for i, fill, shape in found:
        looks.setdefault(payload["columns"]["effect"][i], set()).add((fill, shape))
    assert all(len(look) == 1 for look in looks.values())
    fills, shapes = zip(*(look.pop() for look in looks.values()), strict=True)
    assert len(set(fills)) == len(set(shapes)) == len(looks) == len(EFFECTS)
    wanted = {
        f"rgb({int(c[1:3], 16)}, {int(c[3:5], 16)}, {int(c[5:], 16)})"
        for c in EFFECT_COLOURS.values()
    }
    assert set(fills) == wanted


def test_the_mouse_shows_a_point_in_silence(payload: dict, opened: Page) -> None:
    assert (
        opened.locator(".explorer-hint").is_visible()
        and opened.locator(".explorer-details").is_hidden()
    )
    for i in (5, 123, 287, payload["columns"]["effect"].index("clean")):
        hover(opened, i)
        check_details(opened, payload, i)
        assert opened.locator(".explorer-about").get_attribute("aria-live") == "off"
    assert said(opened).inner_text() == ""
    assert opened.evaluate("document.querySelector('audio').currentSrc") == ""


def test_the_focus_shows_a_point_aloud(payload: dict, opened: Page) -> None:
    point(opened, 42).focus()
    check_details(opened, payload, 42)
    assert opened.locator(".explorer-about").get_attribute("aria-live") == "polite"
    assert opened.locator(".explorer-focus").is_visible()
    hover(opened, 7)
    check_details(opened, payload, 7)
    opened.mouse.move(2, 2)  # a glance: what was chosen comes back
    check_details(opened, payload, 42)


def test_a_click_plays_and_all_else_falls_silent(payload: dict, book: Path, visit) -> None:
    others = '<audio id="other" src="../_static/explorer/dry-0.mp3"></audio>'
    page = visit(write(book, "two", others + 2 * div(json.dumps(payload))))
    first, second = page.locator(".latent-explorer").all()
    second.locator("[role=option]").last.wait_for(state="attached")
    page.evaluate("document.querySelector('#other').play()")
    playing(page, "dry-0.mp3")
    hover(page, 60)
    page.mouse.down()
    page.mouse.up()
    playing(page, file_of(payload, "wet", 60))
    assert active(page) == 60
    expect(said(page).first).to_have_text(re.compile("^Playing wet: "))
    second.locator("[data-point='8'][role=option]").focus()
    page.keyboard.press("d")
    playing(page, file_of(payload, "dry", 8))
    expect(said(page).first).to_have_text("Stopped.")
    page.evaluate("document.querySelector('#other').play()")
    playing(page, "dry-0.mp3")
    expect(said(page).nth(1)).to_have_text("Stopped.")


@pytest.mark.parametrize("key", ["Enter", " "])
def test_keys_play_and_stop(key: str, payload: dict, opened: Page) -> None:
    point(opened, 31).focus()
    opened.keyboard.press(key)
    playing(opened, file_of(payload, "wet", 31))
    for kind, letter in LETTERS.items():
        for pressed in (letter, letter.upper()):
            opened.keyboard.press(pressed)
            playing(opened, file_of(payload, kind, 31))
        expect(said(opened)).to_have_text(re.compile(f"^Playing {kind}: "))
        assert opened.locator(".explorer-playing").get_attribute("name") == kind
    opened.evaluate("""() => {
      window.starts = 0;
      document.querySelector("audio").addEventListener("playing", () => window.starts++);
    }""")
    opened.keyboard.press("r")  # once more: from the beginning
    opened.wait_for_function("window.starts === 1")
    playing(opened, file_of(payload, "reconstruction", 31))
    opened.keyboard.press("Escape")
    assert opened.evaluate("document.querySelector('audio').paused")
    expect(said(opened)).to_have_text("Stopped.")


def test_buttons_play_and_stop(payload: dict, opened: Page) -> None:
    hover(opened, 99)
    for kind in KINDS:
        opened.locator(f".latent-explorer button[name={kind}]").click()
        hover(opened, 99)  # the way back from the button passed over other points
        opened.locator(f".latent-explorer button[name={kind}]").press("Enter")
        playing(opened, file_of(payload, kind, 99))
    opened.get_by_role("button", name="Stop").click()
    assert opened.evaluate("document.querySelector('audio').paused")


def test_no_sound_and_no_picture_is_fetched_before_it_is_wanted(
    payload: dict, opened: Page
) -> None:
    asked = []
    opened.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[1]))
    opened.reload()
    points(opened).last.wait_for(state="attached")
    assert sorted(asked) == ["d3.min.js", "explorer.css", "explorer.js", "page.html"]
    with opened.expect_request("**/thumbnails.webp"):
        hover(opened, 3)
    check_details(opened, payload, 3)
    assert len(asked) == 5
    opened.locator(".latent-explorer button[name=dry]").press("Enter")
    playing(opened, file_of(payload, "dry", 3))
    assert set(asked[5:]) == {file_of(payload, "dry", 3)}


def tick(page: Page, column: str, value: str) -> None:
    """By the keyboard: the box of one value, ticked or not."""
    page.locator(f".latent-explorer input[name={column}][value='{value}']").press(" ")


def test_filters_hide_points_and_count_the_rest(payload: dict, opened: Page) -> None:
    columns = {name: np.array(payload["columns"][name]) for name in ("effect", "corpus", "split")}
    kept = np.ones(COUNT, bool)
    for column, value in (
        ("effect", "delay"),
        ("corpus", "music"),
        ("split", "training"),
        ("effect", "clean"),
    ):
        tick(opened, column, value)
        kept &= columns[column] != value
        assert np.array_equal(np.isfinite(places(opened)[:, 0]), kept)
        assert count(opened).inner_text() == f"{kept.sum()} of {COUNT} points"
    assert opened.locator("[role=option][tabindex='0']").count() == 1
    assert kept[int(opened.locator("[role=option][tabindex='0']").get_attribute("data-point"))]
    opened.get_by_role("button", name="Tick none of the effects").click()
    assert count(opened).inner_text() == f"0 of {COUNT} points" and shown(opened) == 0
    opened.get_by_role("button", name="Tick all effects").click()
    tick(opened, "corpus", "music")
    tick(opened, "split", "training")
    assert count(opened).inner_text() == f"{COUNT} of {COUNT} points" and shown(opened) == COUNT


def test_a_hidden_point_leaves_the_panel(payload: dict, opened: Page) -> None:
    i = payload["columns"]["effect"].index("delay")
    point(opened, i).focus()
    tick(opened, "effect", "delay")
    assert (
        opened.locator(".explorer-hint").is_visible()
        and opened.locator(".explorer-details").is_hidden()
    )
    opened.keyboard.press("w")  # nothing is chosen: nothing plays
    assert opened.evaluate("document.querySelector('audio').currentSrc") == ""


def test_colour_by_a_parameter(payload: dict, opened: Page) -> None:
    """Lighter is higher; other effects are grey; a colour bar says from where to where."""
    columns = payload["columns"]
    opened.get_by_label("Colour by").select_option("delay.delay_ms")
    found = dict(
        points(opened).evaluate_all(
            "all => all.map(path => [Number(path.dataset.point), getComputedStyle(path).fill])"
        )
    )
    lightness = {
        i: np.dot([int(part) for part in re.findall(r"\d+", fill)[:3]], [0.299, 0.587, 0.114])
        for i, fill in found.items()
    }
    own = [i for i in range(COUNT) if columns["effect"][i] == "delay"]
    assert {found[i] for i in range(COUNT) if i not in own} == {"rgb(153, 153, 153)"}
    order = sorted(own, key=lambda i: columns["settings"][i]["delay_ms"])
    assert (
        np.all(np.diff([lightness[i] for i in order]) >= -1)
        and np.ptp([lightness[i] for i in own]) > 80
    )
    bar = opened.locator(".explorer-bar")
    assert bar.inner_text().split("\n")[0].startswith("60 ms") and "600 ms" in bar.inner_text()
    assert opened.locator("option").count() == 1 + sum(
        len(effect.parameters) for effect in EFFECTS.values()
    )
    opened.get_by_label("Colour by").select_option("")
    assert bar.is_hidden() and opened.locator(".explorer-other").count() == 0
    order = points(opened).evaluate_all("all => all.map(path => Number(path.dataset.point))")
    assert order == list(range(COUNT))


@pytest.mark.parametrize(
    ("chosen", "told", "between"),
    [
        ("delay.delay_ms", ["60 ms", "600 ms", "log scale"], [100, 200]),
        ("flanger.sweep_hz", ["0.1 Hz", "2 Hz", "log scale"], [0.2, 0.5, 1]),
        ("delay.feedback", ["0", "0.8", ""], [0.2, 0.4, 0.6]),
    ],
)
def test_colours_and_their_bar_are_on_the_scale_of_the_parameter(
    chosen: str,
    told: list[str],
    between: list[float],
    payload: dict,
    opened: Page,
) -> None:
    """The colour of a point is viridis at the position that Python gives its setting; so are the bar's numbers."""
    columns, (effect, name) = payload["columns"], chosen.split(".")
    (parameter,) = [found for found in EFFECTS[effect].parameters if found.name == name]
    opened.get_by_label("Colour by").select_option(chosen)
    for i in np.flatnonzero(np.array(columns["effect"]) == effect):
        fill = point(opened, int(i)).evaluate("path => getComputedStyle(path).fill")
        wanted = 255 * np.array(
            mpl.colormaps["viridis"](parameter.normalise(columns["settings"][i][name]))[:3]
        )
        assert np.abs(np.array(re.findall(r"\d+", fill)[:3], float) - wanted).max() < 6, (i, fill)
    ticks = opened.locator(".explorer-tick")
    assert [float(text) for text in ticks.all_inner_texts()] == between
    places = ticks.evaluate_all(
        "all => all.map(tick => Number(tick.style.getPropertyValue('--at')))"
    )
    assert places == pytest.approx([parameter.normalise(value) for value in between], abs=1e-9)
    boxes = [
        opened.locator(".explorer-ramp").bounding_box(),
        *(tick.bounding_box() for tick in ticks.all()),
    ]
    middles = [
        (box["x"] + box["width"] / 2 - boxes[0]["x"]) / boxes[0]["width"] for box in boxes[1:]
    ]
    assert middles == pytest.approx(places, abs=0.02)
    assert all(left["x"] + left["width"] < right["x"] for left, right in pairwise(boxes[1:])), (
        "numbers touch"
    )
    ends = opened.locator(".explorer-bar > span:not(.explorer-scale)").all_inner_texts()
    assert ends == told
    assert ("logarithmic" in opened.locator(".explorer-ramp").get_attribute("aria-label")) == bool(
        told[2]
    )


def test_every_point_is_reached_by_keyboard(payload: dict, opened: Page) -> None:
    """One tab stop; Page Down walks through all, Page Up back; Home and End."""
    assert opened.locator("[role=option][tabindex='0']").count() == 1
    opened.get_by_role("button", name="Reset: the whole map").focus()
    opened.keyboard.press("Tab")
    reached = [active(opened)]
    for _ in range(COUNT - 1):
        opened.keyboard.press("PageDown")
        reached.append(active(opened))
    assert reached == list(range(COUNT))
    opened.keyboard.press("PageDown")
    assert active(opened) == COUNT - 1
    opened.keyboard.press("PageUp")
    assert active(opened) == COUNT - 2
    for key, place in (("Home", 0), ("End", COUNT - 1)):
        opened.keyboard.press(key)
        assert active(opened) == place
    check_details(opened, payload, COUNT - 1)
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.name") == "wet"
    opened.keyboard.press("Shift+Tab")
    assert active(opened) == COUNT - 1


def test_arrow_keys_go_to_the_nearest_point_in_their_direction(opened: Page) -> None:
    at = places(opened)
    ways = {"ArrowRight": (1, 0), "ArrowLeft": (-1, 0), "ArrowUp": (0, -1), "ArrowDown": (0, 1)}
    for start in (0, 77, 150, 222):
        for key, way in ways.items():
            point(opened, start).focus()
            opened.keyboard.press(key)
            steps = at - at[start]
            ahead, aside = steps @ way, np.abs(steps @ way[::-1])
            cone = np.flatnonzero((ahead > 0.01) & (aside <= ahead))
            if len(cone):
                assert active(opened) == cone[np.argmin(np.hypot(*steps[cone].T))], (start, key)
            else:
                assert active(opened) == start or steps[active(opened)] @ way > 0
    most = int(np.argmax(at[:, 0]))
    point(opened, most).focus()
    opened.keyboard.press("ArrowRight")
    assert active(opened) == most  # nothing further: it stays


def test_hidden_points_are_passed_over(payload: dict, opened: Page) -> None:
    opened.get_by_role("button", name="Tick none of the effects").click()
    tick(opened, "effect", "flanger")
    wanted = [i for i in range(COUNT) if payload["columns"]["effect"][i] == "flanger"]
    opened.locator("[role=option][tabindex='0']").focus()
    reached = [active(opened)]
    for _ in wanted[1:]:
        opened.keyboard.press("PageDown")
        reached.append(active(opened))
    assert reached == wanted
    for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown", "Home", "End"):
        opened.keyboard.press(key)
        assert active(opened) in wanted


def test_zoom_moves_the_map_and_the_wheel_alone_the_page(opened: Page) -> None:
    opened.emulate_media(reduced_motion="reduce")  # at once: no way in between
    before = places(opened)
    opened.get_by_role("button", name="Zoom in").click()
    zoomed = places(opened)
    assert np.nanmax(np.ptp(zoomed, axis=0) / np.ptp(before, axis=0)) == pytest.approx(
        1.6, rel=1e-3
    )
    point(opened, int(np.argmin(zoomed[:, 0]))).focus()  # outside the frame: it is brought into it
    x, y = places(opened)[active(opened)]
    box = opened.locator(".explorer-place svg").bounding_box()
    assert 20 < x < box["width"] and 0 < y < box["height"]
    opened.keyboard.press("0")
    assert np.allclose(places(opened), before)
    opened.set_viewport_size({"width": 1280, "height": 400})
    hover(opened, 150)
    scrolled = opened.evaluate("scrollY")
    opened.mouse.wheel(0, -40)
    opened.mouse.wheel(0, 80)
    opened.wait_for_function(f"scrollY > {scrolled} - 40")
    assert np.allclose(places(opened), before)
    opened.keyboard.down("Control")
    opened.mouse.wheel(0, -100)
    opened.keyboard.up("Control")
    assert np.ptp(places(opened)[:, 0]) > 1.2 * np.ptp(before[:, 0])
    opened.get_by_role("button", name="Reset: the whole map").click()
    assert np.allclose(places(opened), before)


def test_nothing_moves_by_itself_where_motion_is_not_wanted(opened: Page) -> None:
    opened.emulate_media(reduced_motion="reduce")
    assert (
        opened.evaluate("""() => {
      document.querySelector("[aria-label='Zoom in']").click();
      return document.getAnimations().length + document.querySelectorAll("animate").length;
    }""")
        == 0
    )
    zoomed = places(opened)
    opened.wait_for_timeout(300)
    assert np.allclose(places(opened), zoomed)
    for kind in (".explorer-here", ".explorer-mark", ".latent-explorer button"):
        durations = opened.locator(kind).first.evaluate(
            "one => getComputedStyle(one).transitionDuration"
        )
        assert durations == "0s", kind


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(width: int, payload: dict, book: Path, visit) -> None:
    page = visit(book / "chapters/page.html", width)
    longest = max(range(COUNT), key=lambda i: len(payload["columns"]["settings"][i]))
    for i in (0, longest):
        point(page, i).focus()
        page.keyboard.press("Enter")
        page.get_by_label("Colour by").select_option("multiband.threshold_db")
        page.locator(".explorer-help").evaluate("help => { help.open = true }")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".latent-explorer").evaluate(
            "div => div.scrollWidth <= div.clientWidth"
        )
    panel, plot = (page.locator(f".explorer-{part}").bounding_box() for part in ("panel", "map"))
    if width >= 768:
        assert panel["x"] >= plot["x"] + plot["width"]
    else:
        assert panel["y"] >= plot["y"] + plot["height"]


def test_a_finger_far_from_the_next_point_still_finds_it(payload: dict, book: Path, visit) -> None:
    page = visit(book / "chapters/page.html", 360)
    point(page, 12).dispatch_event("click")  # as a screen reader clicks: without a pointer
    assert active(page) == 12
    playing(page, file_of(payload, "wet", 12))
    hover(page, 200)
    page.mouse.move(0, 3)
    x, y = places(page)[200]
    page.locator(".explorer-place svg").click(position={"x": x + 1, "y": y - 1})
    assert active(page) == 200
    playing(page, file_of(payload, "wet", 200))


CONTRAST = """([text, kind]) => {
  const light = colour => colour.match(/[\\d.]+/g).map(Number).slice(0, 3).map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const chain = [];
  for (let one = text; one; one = one.parentElement) chain.unshift(getComputedStyle(one).backgroundColor);
  for (const colour of [...chain, getComputedStyle(text)[kind]]) {
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    text.past = [...text.past ?? [], `rgb(${paint.getImageData(0, 0, 1, 1).data})`];
  }
  const [ground, colour] = text.past.splice(0).slice(-2).map(light);
  return (Math.max(ground, colour) + 0.05) / (Math.min(ground, colour) + 0.05);
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_marks_can_be_seen_in_both_themes(theme: str, opened: Page) -> None:
    """Contrast 4.5 to 1 for text and 3 to 1 for the edges of marks and rings (WCAG 2.2, 1.4.3 and 1.4.11)."""
    opened.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    point(opened, 5).focus()
    opened.keyboard.press("Enter")
    opened.get_by_label("Colour by").select_option("delay.delay_ms")
    for kind in (
        "words",
        "hint",
        "said",
        "title",
        "about dt",
        "about dd",
        "pictures figcaption",
        "sounds button",
        "sounds kbd",
        "bar span",
        "filters label",
        "filters legend",
        "zoom button",
        "help summary",
        "head output",
    ):
        found = opened.locator(f".explorer-{kind}").first
        assert found.evaluate(f"one => ({CONTRAST})([one, 'color'])") >= 4.5, kind
    opened.get_by_label("Colour by").select_option("")
    for kind, part in (
        (".explorer-axis-name", "fill"),
        (".explorer-axis", "stroke"),
        (".explorer-here", "stroke"),
        (".explorer-focus", "stroke"),
    ):
        assert opened.locator(kind).first.evaluate(f"one => ({CONTRAST})([one, '{part}'])") >= 3, (
            kind
        )
    assert (
        min(points(opened).evaluate_all(f"all => all.map(one => ({CONTRAST})([one, 'stroke']))"))
        >= 3
    )


def test_on_paper_the_map_stands_without_controls(opened: Page) -> None:
    tick(opened, "effect", "delay")
    opened.emulate_media(media="print")
    assert opened.locator(".explorer-place svg").is_visible() and count(opened).is_visible()
    for kind in ("panel", "zoom", "help", "all", "colour", "filters input"):
        assert opened.locator(f".explorer-{kind}").first.is_hidden(), kind
    labels = opened.locator(".explorer-filters .explorer-effect label")
    assert labels.locator("visible=true").count() == len(EFFECTS) - 1  # what is shown has its key


BROKEN = {
    "none": ("", "its data are missing."),
    "cut": ("{", "its data are not valid JSON."),
    "null": ("null", "its data have no column “x”."),
    "column": ({"clip": None}, "its data have no column “clip”."),
    "uneven": ({"group": ["a"]}, f"its column “group” has 1 entries, but the column “x” {COUNT}."),
    "empty": (
        {name: [] for name in ("x", "y", "effect", "corpus", "group", "split", "clip", "settings")},
        "its data hold no point.",
    ),
    "nan": ({"y": [None] * COUNT}, "a coordinate is not a number."),
    "effect": ({"effect": ["echo"] * COUNT}, "the effect “echo” is not described."),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_payload_gets_a_sentence_and_spares_the_others(
    name: str, payload: dict, book: Path, visit
) -> None:
    change, words = BROKEN[name]
    text = (
        change
        if isinstance(change, str)
        else json.dumps(payload | {"columns": payload["columns"] | change})
    )
    broken = '<div class="latent-explorer"></div>' if name == "none" else div(text)
    page = visit(write(book, f"broken-{name}", broken + div(json.dumps(payload))))
    points(page).last.wait_for(state="attached")
    assert (
        page.locator(".latent-explorer")
        .first.inner_text()
        .strip()
        .endswith(f"This map cannot be shown: {words}")
    )
    assert points(page).count() == COUNT


@pytest.mark.parametrize("key", ["thumbnails", "sounds"])
def test_files_that_are_not_described_are_told_at_once(
    key: str, payload: dict, book: Path, visit
) -> None:
    page = visit(write(book, f"without-{key}", div(json.dumps(payload | {key: {}}))))
    expect(page.locator(".latent-explorer")).to_contain_text("This map cannot be shown: its ")


def test_missing_files_are_told(payload: dict, book: Path, visit) -> None:
    lost = payload | {
        "thumbnails": payload["thumbnails"] | {"file": "lost.webp"},
        "sounds": KINDS | {"wet": "no-{i}.mp3"},
    }
    page = visit(write(book, "lost", div(json.dumps(lost))), excused="ERR_FILE_NOT_FOUND")
    point(page, 4).focus()
    page.keyboard.press("Enter")
    expect(said(page)).to_have_text("The sound no-4.mp3 cannot be loaded or played.")
    expect(page.locator(".explorer-panel .explorer-message")).to_have_text(
        "The pictures (lost.webp) cannot be loaded."
    )
    page.keyboard.press("d")  # the others still sound
    playing(page, file_of(payload, "dry", 4))


def test_a_missing_library_is_told(payload: dict, book: Path, visit, tmp_path: Path) -> None:
    shutil.copytree(book, tmp_path / "html", ignore=shutil.ignore_patterns("vendor", "*.mp3"))
    page = visit(tmp_path / "html/chapters/page.html", excused="ERR_FILE_NOT_FOUND")
    expect(page.locator(".latent-explorer")).to_have_text(
        re.compile("This map cannot be shown: D3")
    )


def test_a_page_without_an_explorer_loads_nothing(book: Path, visit) -> None:
    page = visit(write(book, "plain", "<p>No map.</p>"))
    assert page.locator("script").count() == 1 and page.evaluate("typeof d3") == "undefined"


def test_the_first_interaction_comes_at_once(book: Path, visit) -> None:
    """600 points: little is built, and a point is shown by a handful of changes, whatever the number of points."""
    page = visit(write(book, "many", div(json.dumps(synthetic(600)))))
    page.add_init_script("""addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
      if (document.querySelector(".explorer-ready")) window.ready ??= performance.now();
    }).observe(document, { subtree: true, attributes: true, childList: true }))""")
    page.reload()
    points(page).last.wait_for(state="attached")
    assert points(page).count() == 600 and page.locator(".latent-explorer *").count() < 600 + 400
    changes = page.evaluate("""async () => {
      const watch = new MutationObserver(() => {});
      watch.observe(document, { subtree: true, attributes: true, childList: true });
      document.querySelector("[role=option]").focus();
      return watch.takeRecords().length;
    }""")
    assert page.locator(".explorer-details").is_visible() and changes < 60
    print(f"ready {page.evaluate('window.ready'):.0f} ms after navigation")  # shown by pytest -s


def test_vendored_library_keeps_its_licence() -> None:
    folder = ROOT / "book/_extra/vendor/d3"
    assert "Copyright" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert (folder / "d3.min.js").read_text(encoding="utf-8").startswith("// https://d3js.org v7.")
    assert not list((ROOT / "book/_static").rglob("d3*")), (
        "jupyter-book puts all of _static on every page"
    )


def test_the_published_map_has_every_sound_and_stays_light(published: Path, visit, loaded) -> None:
    """At least 300 points that can be heard; the page, what it loads and all its sounds weigh at most 6 MB."""
    page = visit(published / "chapters/14_explorer.html")
    points(page).last.wait_for(state="attached")
    count = points(page).count()
    folder = published / "_static/explorer"
    assert count >= 300
    assert all(
        (folder / f"{kind}-{i}.mp3").stat().st_size > 1000
        for kind in ("wet", "drawn")
        for i in range(count)
    )
    paths = loaded(page)
    assert len(paths) > 10
    paths |= {*folder.iterdir(), published / "chapters/14_explorer.html"}
    assert sum(path.stat().st_size for path in paths) <= 6_000_000
    points(page).first.press("Enter")  # by the keyboard: other marks may lie above it
    page.wait_for_function(
        "() => [...document.querySelectorAll('audio')].some(audio => audio.duration > 1.9)"
    )


def test_the_mouse_on_the_published_map_shows_and_plays_what_lies_there(
    published: Path, visit
) -> None:
    """As many points as the run recorded; each tells the effect, voice or song and settings that the run drew."""
    numbers = json.loads((ROOT / "book/results.json").read_text(encoding="utf-8"))
    page = visit(published / "chapters/14_explorer.html")
    points(page).last.wait_for(state="attached")
    told = json.loads(page.locator(".latent-explorer script").text_content())
    columns, number = told["columns"], int(numbers["explorer.points"])
    assert points(page).count() == len(columns["x"]) == number
    assert count(page).inner_text() == f"{number} of {number} points"
    at = places(page)
    apart = np.hypot(*(at[:, None] - at[None]).T) + 1e3 * np.eye(number)
    alone = np.argsort(-apart.min(1))  # points that no other lies close to
    by_effect = {columns["effect"][i]: int(i) for i in alone[::-1]}
    assert by_effect.keys() == told["effects"].keys()
    for effect, i in by_effect.items():
        hover(page, i)
        assert page.locator(".explorer-details").get_attribute("data-point") == str(i)
        assert page.locator(".explorer-title").inner_text() == told["effects"][effect]["label"]
        shown = rows(page)
        assert columns["group"][i] in shown.values() and shown["Split"] == columns["split"][i]
        for name, value in columns["settings"][i].items():
            assert shown[name] == measure(
                value, told["effects"][effect]["parameters"][name]["unit"]
            ), (effect, name)
    page.mouse.down()
    page.mouse.up()
    playing(page, told["sounds"]["wet"].format(i=i))


def test_only_a_page_with_a_map_loads_its_library(published: Path, visit) -> None:
    page = visit(published / "intro.html")
    assert (
        page.locator("script[src*='explorer.js']").count() == 1
        and page.locator("script[src*='d3']").count() == 0
    )
