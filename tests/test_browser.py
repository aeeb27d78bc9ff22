"""The published book in a browser, from files: every page, every widget by mouse and keyboard.

The widgets' numbers are held against lib.theory, `lib.predict` on the data, and results.json.
"""

import json
import re
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import publish
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from bs4 import BeautifulSoup
from playwright.sync_api import Locator, Page

from lib import ROOT, predict
from lib.data.digits import load_digits
from lib.theory import collapse

pytestmark = pytest.mark.usefixtures("browser")  # conftest.py: without chromium nothing is tested
NUMBERS = json.loads((ROOT / "book/results.json").read_text(encoding="utf-8"))
MOST, MOST_WITH_MAP = 3_000_000, 6_000_000  # bytes of a page with all it loads
FEW = (
    "intro",
    "chapters/02_audio_effects",
    "chapters/14_explorer",
    "the_answer",
)  # one of each kind
REDUCTIONS = list(collapse.REDUCTIONS)
# The article is ours; menus, search and buttons around it are the theme's. `serious` and `critical`
# stop a reader. docutils gives entries of a bibliography a role that ARIA 1.3 no longer has.
AXE = """async () => (await axe.run("article.bd-article", {
    preload: false, resultTypes: ["violations"],
    rules: {"aria-required-children": {enabled: false}}})).violations
  .filter(found => ["serious", "critical"].includes(found.impact))
  .map(found => [found.id, ...found.nodes.slice(0, 5)
    .map(node => `${node.target}: ${node.any[0]?.message}`)])"""


# Pages


def show(page: Page, theme: str, width: int) -> None:
    """As a reader with this theme and screen sees it, once the theme's scripts have answered."""
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(300)


@pytest.mark.parametrize("name", publish.toc())
def test_every_page_loads_from_files_and_fits_a_phone(name: str, published, visit, loaded):
    """The fixture `visit` fails at any request to a network and at any error of a script."""
    page = visit(published / f"{name}.html")
    paths = loaded(page) | {published / f"{name}.html"}
    assert len(paths) > 10, "resources are not counted"
    most = MOST_WITH_MAP if page.locator(".latent-explorer").count() else MOST
    assert sum(path.stat().st_size for path in paths) <= most
    for image in page.locator("article img").all():
        assert image.evaluate("one => one.decode().then(() => one.naturalWidth > 0)")
    show(page, "light", 360)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360, "the page scrolls sideways"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", FEW)
def test_no_barrier_for_anybody_in_both_themes(name: str, theme: str, published, visit) -> None:
    page = visit(published / f"{name}.html")
    page.evaluate(AXE_SCRIPT)
    show(page, theme, 1280)
    assert page.evaluate(AXE) == []


def test_axe_finds_barriers(visit, tmp_path: Path) -> None:
    """Grey on grey, a picture without words, a control without a name."""
    (tmp_path / "page.html").write_text(
        '<!doctype html><html lang="en"><title>Barriers</title><link rel="icon" href="data:,">'
        '<article class="bd-article"><p style="color:#aaa;background:#bbb">grey</p>'
        '<img src="data:,"><input></article>'
    )
    page = visit(tmp_path / "page.html")
    page.evaluate(AXE_SCRIPT)
    assert {each[0] for each in page.evaluate(AXE)} == {"color-contrast", "image-alt", "label"}


def test_every_link_inside_the_book_leads_somewhere(published: Path) -> None:
    soups = {}
    for path in published.resolve().rglob("*.html"):
        soups[path] = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    anchors = {}
    for path, soup in soups.items():
        anchors[path] = {each.get("id") or each.get("name") for each in soup.find_all(True)}
    for path, soup in soups.items():
        for address in {each["href"] for each in soup.find_all("a", href=True)}:
            parts = urlsplit(address)
            if not (parts.scheme or parts.netloc):
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                assert target.exists(), (path.name, address)
                anchor = unquote(parts.fragment)
                assert not anchor or anchor in anchors.get(target, ()), (path.name, address)


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_players_start_and_only_one_sounds(by: str, published: Path, visit) -> None:
    page = visit(published / "chapters/02_audio_effects.html")
    players = page.locator("figure.player audio")
    players.evaluate_all("all => all.forEach(audio => { audio.loop = true })")

    def press(i: int) -> None:
        half = players.nth(i).bounding_box()["height"] / 2
        if by == "mouse":
            players.nth(i).click(position={"x": half, "y": half})  # the round button at the left
        else:
            players.nth(i).press(" ")

    def only(wanted: list[int]) -> None:
        page.wait_for_function(
            """wanted => JSON.stringify(wanted) === JSON.stringify(
            [...document.querySelectorAll("audio")].flatMap(
              (audio, i) => audio.paused ? [] : [i]))""",
            arg=wanted,
        )

    for i in (0, 1, 5):
        press(i)
        only([i])
    press(5)
    only([])


def test_on_paper_folds_are_open_and_controls_gone(published: Path, visit) -> None:
    page = visit(published / "chapters/02_audio_effects.html")
    page.emulate_media(media="print")
    assert page.locator(".admonition.dropdown p:not(.admonition-title)").first.is_visible()
    controls = page.locator("audio, nav, .bd-header, .toggle-button, .copybtn, .bd-sidebar")
    assert not [each for each in controls.all() if each.is_visible()]


# The calculator


def payload(widget: Locator) -> dict:
    return json.loads(widget.locator("script").first.text_content())


def field(widget: Locator, name: str) -> Locator:
    return widget.locator(f"[name={name}]")


def outputs(widget: Locator) -> dict[str, float | None]:
    """The full numbers of a widget's outputs, by name."""
    texts = widget.locator("output[data-value]").evaluate_all(
        "all => Object.fromEntries(all.map(one => [one.name, one.dataset.value]))"
    )
    return {name: float(text) if text else None for name, text in texts.items()}


def write(widget: Locator, name: str, text: object) -> None:
    """By the keyboard: into the field, select what is there, type."""
    field(widget, name).press("Control+a")
    field(widget, name).press_sequentially(str(text))


def choose(widget: Locator, name: str, value: str) -> None:
    """By the keyboard: from the first option down to the one that is wanted."""
    control = field(widget, name)
    values = control.locator("option").evaluate_all("all => all.map(one => one.value)")
    control.press("Home")
    for _ in range(values.index(value)):
        control.press("ArrowDown")
    assert control.input_value() == value


def click(control: Locator, share: float) -> None:
    """With the mouse, so far along a range."""
    control.scroll_into_view_if_needed()
    box, handle = control.bounding_box(), 16  # Chromium's, pixels
    across = handle / 2 + share * (box["width"] - handle)
    control.click(position={"x": across, "y": box["height"] / 2})


def check(widget: Locator, data: dict, reduction: str, weight: float, latents: int) -> None:
    """Every number on the page is Python's, to 1e-9."""
    n, values, total = data["n_values"], np.array(data["eigenvalues"]), data["total"]
    sigma2 = collapse.sigma2_of(reduction, weight, n, latents)
    predicted = collapse.predict(values, total, n, latents, sigma2)
    calibrated = collapse.calibrated_sigma2(values, total, n, latents)
    wanted = {
        "sigma2": sigma2,
        "active": predicted.active,
        "kl_nats": predicted.kl_nats,
        "mse_sampled": predicted.mse_sampled,
        "mse_mu": predicted.mse_mu,
        "edge": collapse.weight_of(reduction, values[0], n, latents),
        "calibrated_beta": collapse.weight_of(reduction, calibrated, n, latents),
    }
    assert outputs(widget) == pytest.approx(wanted, rel=1e-9, abs=1e-12 * total)
    verdict, active = field(widget, "verdict").inner_text(), predicted.active
    words = f"Keeps {active} of {latents} units" if active else "Collapses completely"
    assert verdict.startswith(words), verdict
    assert widget.locator("svg circle.active").count() == active


@pytest.fixture
def calculator(published: Path, visit) -> Locator:
    page = visit(published / "chapters/05_the_loss_question.html")
    return page.locator(".collapse-calculator").first


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_calculator_by_keyboard_says_what_theory_says(reduction: str, calculator: Locator):
    choose(calculator, "reduction", reduction)
    for data in payload(calculator)["datasets"]:
        choose(calculator, "dataset", data["key"])
        for weight, latents in ((0.01, 16), (3e-4, 64), (2.0, 8), (1e-9, 1)):
            write(calculator, "beta", weight)
            write(calculator, "latents", latents)
            check(calculator, data, reduction, weight, latents)


def test_the_calculator_by_mouse_agrees_with_lib_predict_and_the_run(
    calculator: Locator, tmp_path: Path
) -> None:
    content = payload(calculator)
    (data,) = [each for each in content["datasets"] if each["key"] == "digits"]
    np.save(tmp_path / "digits.npy", load_digits("train")[0][: data["examples"]])
    latents = content["defaults"]["latents"]
    field(calculator, "dataset").select_option("digits")
    field(calculator, "reduction").select_option("mean-sum")
    for share in (0.9, 0.45):  # the edge lies near 5/9
        click(field(calculator, "slider"), share)
        weight = float(field(calculator, "beta").input_value())
        check(calculator, data, "mean-sum", weight, latents)
        report = predict.predict_data(str(tmp_path / "digits.npy"), latents, weight, "mean-sum")
        for name in ("sigma2", "active", "kl_nats", "mse_sampled", "mse_mu", "edge"):
            assert outputs(calculator)[name] == pytest.approx(report[name], rel=1e-5, abs=1e-9), (
                name
            )
    losses = pd.read_csv(ROOT / "data/losses.csv").drop_duplicates(
        ["reduction", "weight", "kl_factor"]
    )
    for loss in losses.itertuples():
        field(calculator, "reduction").select_option(loss.reduction)
        write(calculator, "beta", repr(loss.weight * loss.kl_factor))
        published = NUMBERS[f"decoder.{loss.key}.kl_predicted"]
        assert outputs(calculator)["kl_nats"] == pytest.approx(published, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("name", "text"), [("beta", "-1"), ("beta", "x"), ("latents", "0")])
def test_the_calculator_answers_bad_input_beside_its_field(
    name: str, text: str, calculator
) -> None:
    write(calculator, name, text)
    assert field(calculator, name).get_attribute("aria-invalid") == "true"
    assert not re.search("NaN|undefined|Infinity", calculator.inner_text())


# The slider


def test_the_slider_by_mouse_and_keyboard_shows_what_the_grid_measured(published, visit) -> None:
    page = visit(published / "chapters/06_beta_ablation.html")
    slider = page.locator(".collapse-slider").first
    control = field(slider, "slider")
    for data in payload(slider)["datasets"]:
        slider.get_by_role("radio", name=data["name"], exact=True).click()
        corpus, stops, pictures = data["key"], data["stops"], set()
        control.press("Home")
        for index, stop in enumerate(stops):
            if index:
                control.press("ArrowRight")
            values = outputs(slider)
            for name in ("beta", "kl", "active_units", "mse"):
                assert values[name] == pytest.approx(stop[name], rel=1e-9), (corpus, index, name)
            sigma2 = stop["beta"] * data["n_values"] / 2
            level = slider.locator("[data-chart=spectrum]").get_attribute("data-level")
            assert float(level) == pytest.approx(sigma2, rel=1e-9)
            pictures.add(slider.locator("[data-picture=reconstructions]").get_attribute("src"))
            assert "nats" in control.get_attribute("aria-valuetext")
        assert len(pictures) == len(stops)
        edge = values["beta"] / values["distance"]
        # the neighbour story may have trained on other examples
        assert edge == pytest.approx(NUMBERS[f"theory.{corpus}.edge_predicted"], rel=0.15)
        smallest = NUMBERS[f"ablation.{corpus}.smallest_beta.kl"]  # the mean over seeds
        assert stops[0]["kl"] == pytest.approx(smallest, rel=0.2)
        click(control, 0.0)
        assert outputs(slider)["beta"] == stops[0]["beta"]


# The explorer


def measure(value: float, unit: str) -> str:
    """Three digits, as JavaScript rounds: a tie goes up, where Python's goes to the even digit."""
    three = Context(prec=3, rounding=ROUND_HALF_UP).create_decimal(Decimal(value))
    number = np.format_float_positional(float(three), trim="-")
    return number + (unit if not unit or unit.startswith(":") else f" {unit}")


def check_point(page: Page, content: dict, i: int) -> None:
    """The panel is about point i: effect, group, split and settings with their units."""
    columns = content["columns"]
    effect = content["effects"][columns["effect"][i]]
    assert page.locator(".explorer-details").get_attribute("data-point") == str(i)
    assert page.locator(".explorer-title").inner_text() == effect["label"]
    rows = page.locator(".explorer-about").evaluate("""about => Object.fromEntries(
      [...about.querySelectorAll("dl > div")].map(
        row => [...row.children].map(part => part.innerText)))""")
    assert columns["group"][i] in rows.values() and rows["Split"] == columns["split"][i]
    for name, value in columns["settings"][i].items():
        assert rows[name] == measure(value, effect["parameters"][name]["unit"]), (i, name)


def playing(page: Page, file: str) -> None:
    """Exactly one audio element of the page plays, and it plays this file."""
    page.wait_for_function(
        """file => {
      const sounding = [...document.querySelectorAll("audio")].filter(audio => !audio.paused);
      return sounding.length === 1 && sounding[0].currentSrc.endsWith(`/${file}`);
    }""",
        arg=file,
    )


@pytest.fixture
def explorer(published: Path, visit) -> Page:
    page = visit(published / "chapters/14_explorer.html")
    page.locator("[role=option]").last.wait_for(state="attached")
    return page


def test_the_explorer_by_mouse_shows_and_plays_what_lies_there(explorer: Page) -> None:
    content = payload(explorer.locator(".latent-explorer"))
    columns, number = content["columns"], int(NUMBERS["explorer.points"])
    assert explorer.locator("[role=option]").count() == len(columns["x"]) == number >= 300
    places = np.array(
        explorer.locator(".latent-explorer").evaluate("""root =>
      [...root.querySelectorAll("[role=option]")].sort((a, b) => a.dataset.point - b.dataset.point)
      .map(path => path.getAttribute("transform").match(/[-\\d.]+/g).slice(0, 2).map(Number))""")
    )
    distances = np.hypot(*(places[:, None] - places[None]).T) + 1e3 * np.eye(number)
    lonely_last = np.argsort(distances.min(1))
    plot = explorer.locator(".explorer-place svg").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    for i in {columns["effect"][i]: int(i) for i in lonely_last}.values():
        explorer.mouse.move(box["x"] + places[i, 0], box["y"] + places[i, 1])
        check_point(explorer, content, i)
    explorer.mouse.down()
    explorer.mouse.up()
    playing(explorer, content["sounds"]["wet"].format(i=i))


def test_the_explorer_by_keyboard_walks_plays_filters_and_stops(explorer: Page) -> None:
    content = payload(explorer.locator(".latent-explorer"))
    explorer.locator("[role=option][tabindex='0']").focus()
    for key, i in (("Home", 0), ("PageDown", 1), ("PageDown", 2), ("PageUp", 1)):
        explorer.keyboard.press(key)
        check_point(explorer, content, i)
    for key, kind in (("Enter", "wet"), ("d", "dry"), ("r", "reconstruction")):
        explorer.keyboard.press(key)
        sound = content["sounds"][kind].format(i=1, clip=content["columns"]["clip"][1])
        playing(explorer, sound)
    explorer.keyboard.press("Escape")
    assert explorer.evaluate("[...document.querySelectorAll('audio')].every(one => one.paused)")
    effect = content["columns"]["effect"]
    explorer.locator("input[name=effect][value=delay]").press(" ")
    left = f"{len(effect) - effect.count('delay')} of {len(effect)} points"
    assert explorer.locator("output[name=count]").inner_text() == left


@pytest.mark.parametrize("name", ["calculator", "slider", "explorer"])
def test_a_broken_payload_gets_a_sentence(name: str, published: Path, visit) -> None:
    chapters = {
        "calculator": "05_the_loss_question",
        "slider": "06_beta_ablation",
        "explorer": "14_explorer",
    }
    classes = {
        "calculator": "collapse-calculator",
        "slider": "collapse-slider",
        "explorer": "latent-explorer",
    }
    path = published / f"chapters/{chapters[name]}.html"
    html = path.read_text(encoding="utf-8")
    pattern = rf'(class="{classes[name]}".*?<script type="application/json">)'
    broken = re.sub(pattern, r"\1[1, 2", html, count=1, flags=re.S)
    assert broken != html
    other = path.with_name(f"broken_{name}.html")
    other.write_text(broken, encoding="utf-8")
    text = visit(other).locator(f".{classes[name]}").first.inner_text()
    assert "cannot be shown" in text
