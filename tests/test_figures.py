"""Figures: colours that the colour-blind can tell apart, axes in the right units, one scale, small files."""

import io
from itertools import combinations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from lib import BadInput
from lib.audio.spectrograms import REPORT_STFT, SpectrogramConfig, spectrogram, spectrogram_shape
from lib.book import figures

REPORT = ("clean", "delay", "overdrive", "multiband", "ambience", "flanger")
VISIONS = {  # Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.fixture(autouse=True)
def style():
    figures.use_style()
    yield
    plt.close("all")


def lab(colour: str, vision: str) -> np.ndarray:
    """CIELAB (D65) of a colour as somebody with that vision sees it."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    linear = np.clip(np.array(VISIONS[vision]) @ linear, 0, 1)
    xyz = (
        np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        @ linear
    )
    t = xyz / (0.9505, 1.0, 1.089)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISIONS)
def test_effects_can_be_told_apart(vision: str) -> None:
    seen = {name: lab(colour, vision) for name, colour in figures.EFFECT_COLOURS.items()}
    distances = {
        pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in combinations(seen, 2)
    }
    assert (
        min(d for pair, d in distances.items() if set(pair) <= set(REPORT)) > 15
    )  # 2.3 is just noticeable
    assert min(distances.values()) > 10
    assert len(set(figures.EFFECT_MARKERS.values())) == len(figures.EFFECT_COLOURS)


def test_every_effect_has_its_colour() -> None:
    from lib.audio.effects import EFFECTS

    assert list(figures.EFFECT_COLOURS) == list(EFFECTS) == list(figures.EFFECT_MARKERS)


@pytest.mark.parametrize("config", [SpectrogramConfig(), REPORT_STFT], ids=["log_mel", "stft"])
def test_a_tone_stands_where_the_axes_say(config: SpectrogramConfig) -> None:
    """2 kHz from 1 s on: the brightest pixel lies beside the 2,000 Hz tick, right of 1 s."""
    samples = np.arange(3 * 24000)
    tone = np.where(samples >= 24000, 0.1 * np.sin(2 * np.pi * 2000 * samples / 24000), 0).astype(
        np.float32
    )
    values = spectrogram(tone, config)
    _, ax = plt.subplots()
    image = figures.show_spectrogram(ax, values, config)
    left, right, bottom, top = image.get_extent()
    tick = dict(
        zip([text.get_text() for text in ax.get_yticklabels()], ax.get_yticks(), strict=True)
    )["2 000"]
    row = (
        bottom
        + (values[:, values.shape[1] * 2 // 3].argmax() + 0.5) * (top - bottom) / values.shape[0]
    )
    assert row == pytest.approx(tick, abs=1.0)
    energy = values.max(0)
    onset = (
        left
        + (np.argmax(energy > (energy.max() + energy.min()) / 2) + 0.5)
        * (right - left)
        / values.shape[1]
    )
    assert onset == pytest.approx(1.0, abs=config.n_fft / 24000)
    assert ax.get_xlabel() == "time / s" and ax.get_ylabel() == "frequency / Hz"


def test_grid_titles_are_the_errors_and_the_scale_is_one() -> None:
    config = SpectrogramConfig()
    originals = (
        np.random.default_rng(0)
        .normal(-40, 10, (3, *spectrogram_shape(config, 12000)))
        .astype(np.float32)
    )
    rows = {"a": originals + 2, "b": originals * 0}
    figure = figures.reconstruction_grid(originals, rows, config, list("xyz"), label="dB")
    axes = np.array(figure.axes[:9]).reshape(3, 3)
    assert [ax.get_title() for ax in axes[0]] == ["x", "y", "z"]
    assert [ax.get_title() for ax in axes[1]] == ["MSE 4"] * 3
    assert axes[2, 1].get_title() == f"MSE {np.mean(originals[1].astype(float) ** 2):.3g}"
    assert len({ax.images[0].get_clim() for ax in axes.flat}) == 1
    assert len(figure.axes) == 10 and figure.axes[9].get_ylabel() == "dB"


def test_digits_are_grey_from_0_to_1() -> None:
    digits = np.random.default_rng(0).random((4, 28, 28)) * 0.5
    figure = figures.reconstruction_grid(digits, digits)
    assert len(figure.axes) == 8  # no colour bar
    assert {(ax.images[0].get_cmap().name, ax.images[0].get_clim()) for ax in figure.axes} == {
        ("gray", (0.0, 1.0))
    }


def test_umap_panels_share_one_legend_and_hide_no_class() -> None:
    rng = np.random.default_rng(0)
    figure, axes = plt.subplots(1, 2, figsize=(8, 4))
    labels = np.repeat(["overdrive", "delay"], 900)
    figures.umap_panel(axes[0], rng.normal(size=(1800, 2)), labels, "5-NN 0.5", most=100)
    figures.umap_panel(axes[1], rng.normal(size=(4, 2)), np.array(["ring_modulator"] * 4))
    figures.effect_legend(figure, axes)
    assert sum(len(c.get_offsets()) for c in axes[0].collections) == 200  # `most` each
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "delay",
        "overdrive",
        "ring modulator",
    ]
    assert axes[0].get_xlabel() == "5-NN 0.5"


@pytest.mark.parametrize(
    "order", [["overdrive", "delay", "flanger"], ["flanger", "delay", "overdrive"]]
)
def test_a_class_keeps_its_colour_and_marker_in_any_order(order: list[str]) -> None:
    """Each class at a place of its own: what is drawn there looks as the legend says beside its name."""
    figure, axes = plt.subplots(1, 1, squeeze=False)
    places = {"delay": 1.0, "overdrive": 2.0, "flanger": 3.0}
    labels = np.repeat(order, 10)
    figures.umap_panel(axes[0, 0], np.array([[places[name]] * 2 for name in labels]), labels)
    figures.effect_legend(figure, axes)
    (legend,) = figure.legends
    told = {
        text.get_text(): handle
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    assert told.keys() == places.keys()
    for name, place in places.items():
        drawn = [each for each in axes[0, 0].collections if place in each.get_offsets()[:, 0]]
        assert drawn
        for each in drawn:
            assert set(each.get_offsets()[:, 0]) == {place} and len(each.get_facecolor()) == 1
            np.testing.assert_allclose(each.get_facecolor(), told[name].get_facecolor())
            np.testing.assert_allclose(
                each.get_paths()[0].vertices, told[name].get_paths()[0].vertices
            )


def test_png_is_small_and_looks_the_same() -> None:
    config = SpectrogramConfig()
    noise = np.random.default_rng(0).normal(0, 0.05, (10, 48720)) * np.linspace(0, 1, 48720)
    noise = spectrogram(noise, config)  # noise is the worst case
    figure = figures.reconstruction_grid(noise[:5], noise[5:], config, label="dB")
    small = figures.png(figure)
    full = io.BytesIO()
    figure.savefig(full, format="png", dpi=figures.DPI, bbox_inches="tight")
    assert len(small) < 150_000 < len(full.getvalue())
    a, b = (
        np.asarray(Image.open(io.BytesIO(x)).convert("RGB"), float)
        for x in (small, full.getvalue())
    )
    assert np.abs(a - b).mean() < 3  # of 255


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda ax: figures.show_spectrogram(ax, np.zeros(5), SpectrogramConfig()),
            r"shape \(5,\)",
        ),
        (lambda ax: figures.show_spectrogram(ax, np.zeros((5, 5)), SpectrogramConfig()), "5 bins"),
        (
            lambda ax: figures.reconstruction_grid(np.zeros((2, 4, 4)), np.zeros((3, 4, 4))),
            "reconstruction: shape",
        ),
        (
            lambda ax: figures.reconstruction_grid(
                np.zeros((2, 4, 4)), np.zeros((2, 4, 4)), titles=["a"]
            ),
            "titles: 1",
        ),
        (lambda ax: figures.umap_panel(ax, np.zeros((4, 3)), ["delay"] * 4), "wanted"),
        (lambda ax: figures.umap_panel(ax, np.zeros((4, 2)), ["dealy"] * 4), "dealy"),
    ],
)
def test_mistakes_are_named(call, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        call(plt.subplots()[1])


def test_tiles_stand_in_reading_order_on_one_scale() -> None:
    pictures = np.stack([np.full((2, 3), level) for level in (0.0, 0.5, 1.0, 2.0, -1.0)])
    image = figures.tiles(pictures, 3, 0.0, 1.0, "gray")
    assert image.size == (9, 4)
    shown = np.array(image.convert("L"))[::2, ::3]
    assert shown.tolist() == [
        [0, 128, 255],
        [255, 0, 0],
    ]  # cut off at both ends; the last place is empty
