"""The collapse slider (book/_static/slider.js), in a real browser from a file, against lib/theory/collapse.py."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pages
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page

from lib import ROOT, theory

LATENTS, STATIC = 16, ROOT / "book/_static"
THEME = (
    "html { background: #fff; color: #222; --pst-color-background: #fff }"
    "html[data-theme=dark] { background: #121212; color: #ced6dd; --pst-color-background: #121212 }"
)


def png(colour: tuple[int, int, int], columns: int, rows: int, wide: int) -> str:
    """One row of tiles in one colour, by which a test knows the picture again."""
    file = io.BytesIO()
    Image.new("RGB", (columns * wide, rows), colour).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def data_set(
    key: str, name: str, values: np.ndarray, n_values: int, betas: list[float], hue: int
) -> dict:
    """Nets that keep a little less than theory predicts, and err a little more below the edge."""
    total, mean_mse, stops = float(values.sum() * 1.5), float(values.sum() * 1.5 / n_values), []
    for i, beta in enumerate(betas):
        found = theory.predict(values, total, n_values, LATENTS, beta * n_values / 2)
        stops.append(
            {
                "beta": beta,
                "kl": 0.9 * found.kl_nats,
                "active_units": max(found.active - 1, 0),
                "mse": found.mse_mu + 0.02 * (mean_mse - found.mse_mu),
                "src": png((hue, 10 * i, 90), 8, 7, 5),
                "predicted": {
                    "kl": found.kl_nats,
                    "active_units": found.active,
                    "mse": found.mse_mu,
                },
            }
        )
    return {
        "key": key,
        "name": name,
        "n_values": n_values,
        "total": total,
        "eigenvalues": values.tolist(),
        "edge": theory.edge_beta(values[0], n_values),
        "mean_mse": mean_mse,
        "tile": [7, 5],
        "columns": 8,
        "originals": {"src": png((hue, 255, 0), 8, 7, 5), "alt": f"eight pictures of {key}"},
        "stops": stops,
    }


@pytest.fixture(scope="module")
def payload() -> dict:
    digits = np.geomspace(5.1, 0.6, LATENTS)
    return {
        "report_beta": 1.0,
        "latents": LATENTS,
        "datasets": [
            data_set(
                "digits",
                "MNIST digits",
                digits,
                784,
                [1e-5, 1e-4, 5e-4, 2e-3, 3e-3, 5e-3, 1e-2, 0.05, 0.3, 1.0],
                40,
            ),
            data_set(
                "speech", "dry speech", np.geomspace(600, 20, 20), 2304, [1e-3, 0.1, 0.3, 3.0], 120
            ),
            data_set("quick", "a quick run", np.geomspace(30, 2, LATENTS), 100, [0.1, 0.5], 200),
        ],
    }


def div(text: str) -> str:
    return f'<div class="collapse-slider"><script type="application/json">{text}</script></div>\n'


def write(folder: Path, *divs: str) -> Path:
    """A page with these divs and nothing of the book but the files of the slider."""
    for name in ("slider.js", "slider.css"):
        shutil.copy(STATIC / name, folder)
    path = folder / "page.html"
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Slider</title>'
        f'<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">'
        f'<style>{THEME}</style><link rel="stylesheet" href="slider.css"><script src="slider.js"></script>'
        f"</head><body>{''.join(divs)}</body></html>",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def minimal(payload: dict, tmp_path: Path) -> Path:
    """Two sliders, a broken one between them; the second knows the quick run only."""
    return write(
        tmp_path,
        div(json.dumps(payload)),
        div("{"),
        div(json.dumps(payload | {"datasets": payload["datasets"][2:]})),
    )


def sliders(page: Page) -> Locator:
    return page.locator(".collapse-slider")


def control(slider: Locator) -> Locator:
    return slider.locator("[name=slider]")


def outputs(slider: Locator) -> dict[str, float]:
    return slider.locator("output[data-value]").evaluate_all(
        "all => Object.fromEntries(all.map(one => [one.name, Number(one.dataset.value)]))"
    )


def numbers(found: Locator, *names: str) -> np.ndarray:
    """Attributes of drawn elements, one row each."""
    read = "(all, names) => all.map(one => names.map(name => Number(one.getAttribute(name))))"
    return np.array(found.evaluate_all(read, list(names)), dtype=float).reshape(-1, len(names))


def colour(slider: Locator, picture: str) -> list[int]:
    """Of the pixel in the middle of the picture that is shown, once it is decoded."""
    return slider.locator(f"[data-picture={picture}]").evaluate("""async image => {
        await image.decode();
        const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
        canvas.width = canvas.height = 1;
        context.drawImage(image, image.naturalWidth / 2, image.naturalHeight / 2, 1, 1, 0, 0, 1, 1);
        return Array.from(context.getImageData(0, 0, 1, 1).data).slice(0, 3);
    }""")


def check(slider: Locator, data: dict, index: int, hue: int) -> None:
    """Everything shown is that of one stop, and the water and the lines are Python's."""
    stop, n_values = data["stops"][index], data["n_values"]
    values = np.array(data["eigenvalues"])
    sigma2 = stop["beta"] * n_values / 2
    found = theory.predict(values, data["total"], n_values, LATENTS, sigma2)
    assert control(slider).input_value() == str(index)
    assert colour(slider, "reconstructions") == [hue, 10 * index, 90] and colour(
        slider, "originals"
    ) == [hue, 255, 0]
    share = stop["mse"] / data["mean_mse"]
    alt = slider.locator("[data-picture=reconstructions]").get_attribute("alt")
    assert re.fullmatch(
        rf"reconstructions at beta [\d.]+: error [\d.]+, {100 * share:.0f}\xa0% of the mean picture’s",
        alt,
    )
    assert outputs(slider) == pytest.approx(
        {
            "beta": stop["beta"],
            "distance": stop["beta"] / theory.edge_beta(values[0], n_values),
            "kl": stop["kl"],
            "active_units": stop["active_units"],
            "mse": stop["mse"],
            "relative": share,
            "predicted_kl": found.kl_nats,
            "predicted_active_units": found.active,
            "predicted_mse": found.mse_mu,
            "predicted_relative": found.mse_mu * n_values / data["total"],
        },
        rel=1e-9,
    )
    told = control(slider).get_attribute("aria-valuetext")
    parts = re.fullmatch(
        r"beta ([\d.]+), ([\d.]+ times (beyond|below) the edge|at the edge): "
        rf"KL ([\d.]+) nats, (\d+) of {LATENTS} units active",
        told,
    )
    assert parts, told
    assert float(parts[1]) == stop["beta"] and int(parts[5]) == stop["active_units"]
    assert float(parts[4]) == pytest.approx(stop["kl"], rel=5e-3, abs=5e-3)
    assert parts[3] == ("beyond" if found.sigma2 > values[0] else "below")
    check_water(slider.locator("[data-chart=spectrum]"), values, found)
    for name in ("kl", "relative"):
        check_chart(slider.locator(f"[data-chart={name}]"), data, index, name)
    drawn = slider.locator("svg").evaluate_all("all => all.map(svg => svg.outerHTML).join()")
    assert not re.search("NaN|undefined|Infinity", slider.inner_text() + told + drawn)


def check_water(svg: Locator, values: np.ndarray, found: theory.Prediction) -> None:
    assert float(svg.get_attribute("data-level")) == pytest.approx(found.sigma2, rel=1e-12)
    assert f"{found.active} of {LATENTS} units stand above it" in svg.get_attribute("aria-label")
    assert (
        svg.locator("rect.active:not(.below)").count()
        == svg.locator("rect.active.below").count()
        == found.active
    )
    assert svg.locator("rect.drowned").count() == LATENTS - found.active
    ((surface, depth),) = numbers(svg.locator("rect.water"), "y", "height")
    poles = svg.locator("rect:is(.active:not(.below), .drowned, .unused)")
    tops = numbers(poles, "y")[:, 0]
    assert len(tops) == len(values) and np.all(np.diff(tops) > 0)
    slope, start = np.polyfit(np.log(values), tops, 1)  # the axis, from poles whose height is known
    assert np.allclose(slope * np.log(values) + start, tops, atol=1e-6)
    words, place = svg.locator("text.water").inner_html(), slope * np.log(found.sigma2) + start
    if words[0] in "↑↓":
        assert svg.locator("line.water").count() == 0 and (
            place < surface if words[0] == "↑" else place > surface
        )
    else:
        assert surface == pytest.approx(place, abs=1e-6)
        assert numbers(svg.locator("line.water"), "y1", "y2").tolist() == [[surface, surface]]
    assert float(words.split("=")[1]) == pytest.approx(found.sigma2, rel=5e-3)
    assert depth >= 0 and surface + depth == pytest.approx(
        numbers(svg.locator("line.axis"), "y1")[0, 0]
    )


def check_chart(svg: Locator, data: dict, index: int, name: str) -> None:
    betas = np.array([stop["beta"] for stop in data["stops"]])
    points = numbers(svg.locator("circle"), "cx", "cy", "data-value")
    unit = 1 if name == "kl" else data["mean_mse"]
    assert points[:, 2] * unit == pytest.approx(
        [stop["kl" if name == "kl" else "mse"] for stop in data["stops"]]
    )
    slope, start = np.polyfit(np.log(betas), points[:, 0], 1)
    assert np.allclose(slope * np.log(betas) + start, points[:, 0], atol=1e-6) and slope > 0
    assert numbers(svg.locator("circle.current"), "cx")[0, 0] == points[index, 0]
    assert numbers(svg.locator("line.cursor"), "x1", "x2").tolist() == [[points[index, 0]] * 2]
    for kind, beta in (("edge", data["edge"]), ("report", 1.0)):
        assert numbers(svg.locator(f"line.{kind}"), "x1")[0, 0] == pytest.approx(
            slope * np.log(beta) + start
        ), kind
    assert svg.locator("text:is(.edge, .report)").all_text_contents() == ["edge", "the report’s"]
    line = np.array(
        re.findall(r"[ML]([\d.]+) ([\d.]+)", svg.locator("path.theory").get_attribute("d")),
        dtype=float,
    )
    height, ground = np.polyfit(points[:, 2], points[:, 1], 1)
    for beta in betas:
        sigma2 = beta * data["n_values"] / 2
        found = theory.predict(
            data["eigenvalues"], data["total"], data["n_values"], LATENTS, sigma2
        )
        wanted = found.kl_nats if name == "kl" else found.mse_mu * data["n_values"] / data["total"]
        drawn = np.interp(slope * np.log(beta) + start, line[:, 0], line[:, 1])
        assert drawn == pytest.approx(height * wanted + ground, abs=1.0), beta


def test_arrow_keys_move_everything_together(payload: dict, minimal: Path, visit) -> None:
    slider, (digits, *_) = sliders(visit(minimal)).first, payload["datasets"]
    check(slider, digits, 9, 40)  # it opens at the report's beta
    levels = []
    for key, index in [
        ("Home", 0),
        *(("ArrowRight", i) for i in range(1, 10)),
        ("ArrowLeft", 8),
        ("End", 9),
    ]:
        control(slider).press(key)
        check(slider, digits, index, 40)
        levels.append(numbers(slider.locator("rect.water").first, "y")[0, 0])
    assert (
        levels[:8] == sorted(levels[:8], reverse=True) and levels[0] > levels[7]
    )  # the water rises
    control(slider).press("PageDown")
    assert int(control(slider).input_value()) < 9


def click(slider: Locator, index: int) -> None:
    """With the mouse on the range, above the mark of that stop."""
    control(slider).scroll_into_view_if_needed()
    box, mark = (
        control(slider).bounding_box(),
        slider.locator(".slider-axis line.tick").nth(index).bounding_box(),
    )
    control(slider).click(
        position={"x": mark["x"] + mark["width"] / 2 - box["x"], "y": box["height"] / 2}
    )


def test_a_click_on_the_range_goes_to_the_stop_whose_mark_lies_there(
    payload: dict, minimal: Path, visit
) -> None:
    slider, (digits, speech, _) = sliders(visit(minimal)).first, payload["datasets"]
    for index in (0, 4, 7, 9):
        click(slider, index)
        check(slider, digits, index, 40)
    slider.get_by_label("dry speech", exact=True).click()
    for index in (1, 3):
        click(slider, index)
        check(slider, speech, index, 120)


def test_the_data_set_is_switched_and_keeps_the_beta(payload: dict, minimal: Path, visit) -> None:
    slider, (digits, speech, quick) = sliders(visit(minimal)).first, payload["datasets"]
    control(slider).press("Home")
    for _ in range(5):
        control(slider).press("ArrowRight")
    radios = slider.get_by_role("radio")
    assert slider.get_by_role("group", name="Data set").count() == 1
    radios.first.press("ArrowRight")
    assert slider.get_by_label("dry speech", exact=True).is_checked()
    check(slider, speech, 0, 120)  # the stop nearest to 0.005
    control(slider).press("End")
    check(slider, speech, 3, 120)
    radios.nth(1).press("ArrowRight")
    check(slider, quick, 1, 200)
    radios.nth(2).press("ArrowRight")
    check(slider, digits, 8, 40)
    assert (
        slider.locator("[data-picture=originals]").get_attribute("alt")
        == "eight pictures of digits"
    )


def test_two_sliders_work_beside_a_broken_one(payload: dict, minimal: Path, visit) -> None:
    both = sliders(visit(minimal))
    control(both.nth(0)).press("Home")
    check(both.nth(0), payload["datasets"][0], 0, 40)
    check(both.nth(2), payload["datasets"][2], 1, 200)
    control(both.nth(2)).press("Home")
    check(both.nth(2), payload["datasets"][2], 0, 200)
    check(both.nth(0), payload["datasets"][0], 0, 40)
    assert (
        both.nth(2).get_by_role("radio").count() == 0 and "a quick run" in both.nth(2).inner_text()
    )


def test_the_report_and_the_edge_are_marked_under_the_slider(
    payload: dict, minimal: Path, visit
) -> None:
    slider = sliders(visit(minimal)).first
    axis, beside = slider.locator(".slider-axis"), slider.locator(".slider-outside")
    assert axis.locator("line.tick").count() == 10 and beside.inner_text() == ""
    assert axis.locator("text").all_text_contents() == ["0.00001", "1, the report’s", "edge 0.013"]
    ticks, (edge,) = (
        numbers(axis.locator("line.tick"), "x1")[:, 0],
        numbers(axis.locator("line.edge"), "x1")[:, 0],
    )
    assert (
        ticks[6] < edge < ticks[7] and numbers(axis.locator("line.report"), "x1")[0, 0] == ticks[9]
    )
    slider.get_by_label("dry speech").check()
    assert axis.locator("text").all_text_contents() == [
        "0.001",
        "3",
        "edge 0.521",
        "1, the report’s",
    ]
    ticks, (report,) = (
        numbers(axis.locator("line.tick"), "x1")[:, 0],
        numbers(axis.locator("line.report"), "x1")[:, 0],
    )
    way = np.log(1 / 0.3) / np.log(3 / 0.3)
    assert report == pytest.approx(ticks[2] + way * (ticks[3] - ticks[2]))
    slider.get_by_label("a quick run").check()
    assert axis.locator("text").all_text_contents() == ["0.1", "0.5"]
    assert beside.inner_text() == (
        "The report’s beta = 1 lies beyond the last stop, 0.5. "
        "The edge, beta = 0.6, lies beyond the last stop, 0.5."
    )


def test_the_sentence_is_made_of_the_numbers(payload: dict, tmp_path: Path, visit) -> None:
    changed = json.loads(json.dumps(payload))
    stops, mean = changed["datasets"][0]["stops"], changed["datasets"][0]["mean_mse"]
    stops[7] |= {"kl": 0.2, "active_units": 1, "mse": 0.9 * mean}  # alive beyond the edge
    stops[8] |= {"mse": 1.1 * mean}  # empty, but not the mean
    stops[6] |= {"kl": 0.001, "active_units": 0, "mse": mean}  # empty below the edge
    slider = sliders(visit(write(tmp_path, div(json.dumps(changed))))).first
    said = []
    for key in ["End"] + 9 * ["ArrowLeft"]:
        control(slider).press(key)
        said.append(slider.locator("[name=verdict]").inner_text().replace("\xa0", " "))
    assert said[0] == (
        "beta = 1 assumes noise of variance 392: 77 times the largest variance in the data, 5.1. "
        "No unit can pay for itself: the code is empty and every picture is the mean."
    )
    assert said[1].endswith(": the code is empty, and the error is 110 % of the mean picture’s.")
    assert said[2] == (
        "beta = 0.05 assumes noise of variance 19.6: 3.8 times the largest variance in the data, 5.1. "
        "No unit can pay for itself in linear theory. Yet in this net 1 of 16 units is active, the code "
        "carries 0.2 nats, and the error is 90 % of the mean picture’s."
    )
    assert said[3] == (
        "beta = 0.01 assumes noise of variance 3.92. 2 components have more variance than that, so in "
        "linear theory 2 of 16 units can pay for themselves. In this net the code is empty, and the "
        "error is 100 % of the mean picture’s."
    )
    assert said[9].startswith(
        "beta = 0.00001 assumes noise of variance 0.00392. All 16 units find a component"
    )
    assert len(set(said)) == 10


def test_errors_on_other_examples_are_told_apart(payload: dict, tmp_path: Path, visit) -> None:
    """Where the mean picture errs otherwise on the measured examples than in training, only the shares compare."""
    changed = json.loads(json.dumps(payload))
    changed["datasets"][1]["mean_mse"] *= 2
    slider = sliders(visit(write(tmp_path, div(json.dumps(changed))))).first
    assert "compare the shares" not in slider.inner_text()
    slider.get_by_label("dry speech").check()
    assert "compare the shares" in slider.inner_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda p: "", "JSON"),
        (lambda p: "[1, 2", "JSON"),
        (lambda p: "null", "there is no data set in it."),
        (lambda p: p | {"datasets": []}, "there is no data set in it."),
        (lambda p: p | {"report_beta": 0}, "report_beta and latents"),
        (
            lambda p: p["datasets"][1].update(mean_mse=None) or p,
            "in the data set “dry speech” n_values, total",
        ),
        (
            lambda p: p["datasets"][0].update(eigenvalues=[1, 2] * 8) or p,
            "eigenvalues must be 16 or more",
        ),
        (
            lambda p: p["datasets"][0].update(eigenvalues=[3, 2, 1]) or p,
            "eigenvalues must be 16 or more",
        ),
        (
            lambda p: p["datasets"][0].update(stops=p["datasets"][0]["stops"][:1]) or p,
            "two stops or more",
        ),
        (lambda p: p["datasets"][0]["stops"].reverse() or p, "must be above 0 and ascend"),
        (
            lambda p: p["datasets"][0]["stops"][2].pop("predicted") and p,
            "the stop at beta 0.0005 lacks a number",
        ),
        (
            lambda p: p["datasets"][0]["stops"][0].update(src="https://example.org/a.png") or p,
            "or its picture",
        ),
        (lambda p: p["datasets"][0].pop("tile") and p, "the originals need a picture"),
    ],
)
def test_a_broken_payload_is_answered_in_words(
    break_it, words: str, payload: dict, tmp_path: Path, visit
) -> None:
    broken = break_it(json.loads(json.dumps(payload)))
    text = broken if isinstance(broken, str) else json.dumps(broken)
    found = sliders(visit(write(tmp_path, div(text), div(json.dumps(payload)))))
    assert (
        found.nth(0).inner_text().startswith("This slider cannot be shown: ")
        and words in found.nth(0).inner_text()
    )
    assert control(found.nth(0)).count() == 0
    check(found.nth(1), payload["datasets"][0], 9, 40)


def test_a_div_without_data_says_so(tmp_path: Path, visit) -> None:
    page = visit(write(tmp_path, '<div class="collapse-slider"></div>'))
    assert sliders(page).inner_text() == "This slider cannot be shown: its data are missing."


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(width: int, payload: dict, minimal: Path, visit) -> None:
    page = visit(minimal, width)
    slider = sliders(page).first
    for data in payload["datasets"]:
        slider.get_by_label(data["name"]).check()
        for key in ["Home"] + (len(data["stops"]) - 1) * ["ArrowRight"]:
            control(slider).press(key)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert (
                slider.evaluate("""div => {
                const box = div.getBoundingClientRect();
                return [...div.querySelectorAll("text, img, td, output")].map(one => [one.getBoundingClientRect(), one])
                  .filter(([b]) => b.left < box.left - 1 || b.right > box.right + 1).map(([, one]) => one.outerHTML);
            }""")
                == []
            )


def test_labels_do_not_lie_on_each_other(payload: dict, minimal: Path, visit) -> None:
    for width in (360, 1280):
        slider = sliders(visit(minimal, width)).first
        for data in payload["datasets"]:
            slider.get_by_label(data["name"]).check()
            assert (
                slider.locator("svg").evaluate_all("""drawings => drawings.flatMap(svg => {
                const all = [...svg.querySelectorAll("text")]
                  .map(one => [one.getBoundingClientRect(), one.textContent]);
                const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 &&
                  b.top < a.bottom - 3;
                return all.flatMap(([a, words], i) => all.slice(i + 1).filter(([b]) => meet(a, b))
                  .map(([, other]) => [words, other]));
            })""")
                == []
            ), (width, data["key"])


def test_nothing_below_moves_with_the_stop(minimal: Path, visit) -> None:
    for width in (360, 1280):
        slider = sliders(visit(minimal, width)).first
        heights = set()
        for key in ["Home"] + 9 * ["ArrowRight"]:
            control(slider).press(key)
            heights.add(
                slider.evaluate("""div => {
                const [outer, inner] = [div, div.querySelector("[data-chart=relative]")];
                return inner.getBoundingClientRect().bottom - outer.getBoundingClientRect().top;
            }""")
            )
        assert len(heights) == 1, width


def test_the_keyboard_reaches_the_choice_and_the_slider(minimal: Path, visit) -> None:
    page = visit(minimal)
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.type"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == ["radio", "range", "range"]
    assert sliders(page).first.get_by_label("beta, weight of the KL:").count() == 1
    assert sliders(page).first.locator("[name=verdict]").get_attribute("aria-live") == "polite"


CONTRAST = """(one, ground) => {
  const light = colour => colour.match(/[\\d.]+/g).map(Number).slice(0, 3).map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const style = getComputedStyle(one), own = one.tagName === "text" ? style.fill : style.color;
  const [a, b] = [own, getComputedStyle(document.documentElement).backgroundColor].map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_can_be_read_in_both_themes(theme: str, payload: dict, minimal: Path, visit) -> None:
    """Contrast 4.5 to 1 for every text (WCAG 2.2, 1.4.3)."""
    page = visit(minimal)
    slider = sliders(page).first
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    for words in slider.locator("label, legend, output, figcaption, th, td, p, text").all():
        assert words.evaluate(CONTRAST) >= 4.5, words.evaluate("one => one.outerHTML")
    control(slider).press("Home")
    fills = {
        kind: slider.locator(f"circle.{kind}:not(.current)").first.evaluate(
            "one => getComputedStyle(one).fill"
        )
        for kind in ("active", "drowned")
    }
    blue, ground = {
        "light": ("rgb(0, 114, 178)", "rgb(255, 255, 255)"),
        "dark": ("rgb(86, 180, 233)", "rgb(18, 18, 18)"),
    }[theme]
    assert fills == {"active": blue, "drowned": ground}
    assert (
        slider.locator(".slider-control").evaluate("one => getComputedStyle(one).backgroundColor")
        == ground
    )
    check(slider, payload["datasets"][0], 0, 40)


def test_print_shows_the_current_state(payload: dict, minimal: Path, visit) -> None:
    page = visit(minimal)
    slider = sliders(page).first
    control(slider).press("Home")
    page.emulate_media(media="print")
    assert (
        slider.locator(".slider-control").evaluate("one => getComputedStyle(one).position")
        == "static"
    )
    check(slider, payload["datasets"][0], 0, 40)


def test_a_page_without_a_slider_is_left_alone(tmp_path: Path, visit) -> None:
    page = visit(write(tmp_path, "<p>Text.</p>"))
    assert page.locator("body").inner_text() == "Text." and page.locator("[class]").count() == 0


def test_the_published_slider_shows_what_the_grid_measured(published: Path, visit) -> None:
    page = visit(published / "chapters/06_beta_ablation.html")
    text = page.locator(".collapse-slider script").first.text_content()  # the widget keeps it
    sets = {one["key"]: one for one in json.loads(text)["datasets"]}
    numbers = json.loads((ROOT / "book/results.json").read_text(encoding="utf-8"))
    assert {"digits", "speech"} <= sets.keys()
    for key in ("digits", "speech"):
        stops = sets[key]["stops"]
        assert len(stops) >= 8 and stops[-1]["beta"] >= 1 and sets[key]["edge"] > 0
        assert (
            stops[-1]["kl"] < 0.05 < stops[0]["kl"]
        )  # of the first seed; the record is the mean over seeds
        assert stops[0]["kl"] == pytest.approx(numbers[f"ablation.{key}.smallest_beta.kl"], rel=0.1)
    control = page.locator(".collapse-slider input[type=range]").first
    control.focus()
    first = page.locator(".collapse-slider img").last.get_attribute("src")
    page.keyboard.press("Home")
    assert page.locator(".collapse-slider img").last.get_attribute("src") != first
    assert "nats" in control.get_attribute("aria-valuetext")


def test_the_published_slider_by_mouse_agrees_with_the_numbers_of_the_run(
    published: Path, visit
) -> None:
    """Edge and largest variance are those that its neighbour story computed on the same examples, or, where the run
    gave the two stories different ones, a sampling error apart: 15 % is above it, and far below a mistake."""
    slider = sliders(visit(published / "chapters/06_beta_ablation.html")).first
    sets = json.loads(slider.locator("script").text_content())["datasets"]
    numbers = json.loads((ROOT / "book/results.json").read_text(encoding="utf-8"))
    grid, search = (
        pages.parameters(pages.read(ROOT / f"book/chapters/{name}.ipynb"))
        for name in ("06_beta_ablation", "07_edge_of_collapse")
    )
    for data in sets:
        corpus = data["key"]
        slider.get_by_role("radio", name=data["name"], exact=True).click()
        size = "train_images" if corpus == "digits" else "train_clips"
        near = 1e-6 if grid[size] == search[size] else 0.15
        assert data["eigenvalues"][0] == pytest.approx(
            numbers[f"theory.{corpus}.lambda1"], rel=near
        )
        click(slider, len(data["stops"]) - 1)
        last = outputs(slider)
        edge = last["beta"] / last["distance"]
        assert edge == pytest.approx(numbers[f"theory.{corpus}.edge_predicted"], rel=near)
        assert float(
            slider.locator("[data-chart=spectrum]").get_attribute("data-level")
        ) == pytest.approx(last["beta"] * data["n_values"] / 2, rel=1e-9)
        verdict = slider.locator("[name=verdict]").inner_text()
        said = re.search(r"the largest variance in the data, ([\d.]+)\. ", verdict)
        assert last["distance"] > 1 and said, verdict
        assert float(said[1]) == pytest.approx(
            numbers[f"theory.{corpus}.lambda1"], rel=near + 5e-3
        )  # three digits
        click(slider, 0)
        assert (
            outputs(slider)["beta"]
            == data["stops"][0]["beta"]
            == min(grid["betas" if corpus == "digits" else "sound_betas"])
        )
