"""Figures: colours for the colour-blind, axes in the right units, one scale, small files."""

import io
from itertools import combinations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from lib.audio.effects import EFFECTS, REPORT_ORDER
from lib.audio.spectrograms import REPORT_STFT, SpectrogramConfig, spectrogram
from lib.book import figures

VISIONS = {  # Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
    "normal": np.eye(3),
    "protan": np.array([0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216,
                        -0.003882, -0.048116, 1.051998]).reshape(3, 3),
    "deutan": np.array([0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413,
                        -0.011820, 0.042940, 0.968881]).reshape(3, 3),
}  # fmt: skip
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
CONFIG = SpectrogramConfig()


@pytest.fixture(autouse=True)
def style():
    figures.use_style()
    yield
    plt.close("all")


def lab(colour: str, vision: str) -> np.ndarray:
    """CIELAB (D65) of a colour as somebody with that vision sees it."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    linear = np.clip(VISIONS[vision] @ linear, 0, 1)
    t = np.array(TO_XYZ) @ linear / (0.9505, 1.0, 1.089)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISIONS)
def test_effects_can_be_distinguished(vision: str) -> None:
    seen = {name: lab(colour, vision) for name, colour in figures.EFFECT_COLOURS.items()}
    for a, b in combinations(seen, 2):
        both_in_report = {a, b} <= {"clean", *REPORT_ORDER}
        least = 15 if both_in_report else 10  # 2.3 is just noticeable.
        assert np.linalg.norm(seen[a] - seen[b]) > least, (a, b)
    assert len(set(figures.EFFECT_MARKERS.values())) == len(figures.EFFECT_COLOURS)
    assert list(figures.EFFECT_COLOURS) == list(EFFECTS) == list(figures.EFFECT_MARKERS)


@pytest.mark.parametrize("config", [CONFIG, REPORT_STFT], ids=["log_mel", "stft"])
def test_a_tone_stands_where_the_axes_say(config: SpectrogramConfig) -> None:
    """2 kHz from 1 s on: the brightest pixel lies beside the 2,000 Hz tick, right of 1 s."""
    samples = np.arange(3 * 24000)
    tone = np.where(samples >= 24000, 0.1 * np.sin(2 * np.pi * 2000 * samples / 24000), 0)
    values = spectrogram(tone.astype(np.float32), config)
    bins, frames = values.shape
    ax = plt.subplots()[1]
    left, right, bottom, top = figures.show_spectrogram(ax, values, config).get_extent()
    names = [text.get_text() for text in ax.get_yticklabels()]
    tick = ax.get_yticks()[names.index("2 000")]
    brightest = values[:, frames * 2 // 3].argmax() + 0.5
    assert bottom + brightest * (top - bottom) / bins == pytest.approx(tick, abs=1.0)
    energy = values.max(0)
    onset = np.argmax(energy > (energy.max() + energy.min()) / 2) + 0.5
    onset_s = left + onset * (right - left) / frames
    assert onset_s == pytest.approx(1.0, abs=config.n_fft / 24000)
    assert ax.get_xlabel() == "time / s" and ax.get_ylabel() == "frequency / Hz"


def test_grid_titles_are_the_errors_and_the_scale_is_one() -> None:
    shape = (3, *spectrogram(np.zeros(12000), CONFIG).shape)
    originals = np.random.default_rng(0).normal(-40, 10, shape).astype(np.float32)
    rows = {"a": originals + 2, "b": originals * 0}
    figure = figures.reconstruction_grid(originals, rows, CONFIG, list("xyz"), label="dB")
    axes = np.array(figure.axes[:9]).reshape(3, 3)
    assert [ax.get_title() for ax in axes[0]] == ["x", "y", "z"]
    assert [ax.get_title() for ax in axes[1]] == ["MSE 4"] * 3
    assert axes[2, 1].get_title() == f"MSE {np.mean(originals[1].astype(float) ** 2):.3g}"
    assert len({ax.images[0].get_clim() for ax in axes.flat}) == 1
    assert len(figure.axes) == 10 and figure.axes[9].get_ylabel() == "dB"


def test_umap_panels_share_one_legend_and_draw_no_more_than_most() -> None:
    figure, axes = plt.subplots(1, 2)
    labels = np.repeat(["overdrive", "delay"], 900)
    figures.umap_panel(axes[0], np.zeros((1800, 2)), labels, "5-NN 0.5", most=100)
    figures.umap_panel(axes[1], np.zeros((4, 2)), np.array(["ring_modulator"] * 4))
    figures.effect_legend(figure, axes)
    assert sum(len(c.get_offsets()) for c in axes[0].collections) == 200
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["delay", "overdrive", "ring modulator"]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_class_keeps_its_colour_and_marker_in_any_order(reverse: bool) -> None:
    """Each class at its own place: what is drawn there looks as the legend says beside its name."""
    figure, axes = plt.subplots(1, 1, squeeze=False)
    places = {"delay": 1.0, "overdrive": 2.0, "flanger": 3.0}
    labels = np.repeat(sorted(places, reverse=reverse), 10)
    points = np.array([[places[name]] * 2 for name in labels])
    figures.umap_panel(axes[0, 0], points, labels)
    figures.effect_legend(figure, axes)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert set(names) == set(places)
    for name, handle in zip(names, legend.legend_handles, strict=True):
        drawn = [c for c in axes[0, 0].collections if places[name] in c.get_offsets()[:, 0]]
        assert drawn
        for each in drawn:
            assert set(each.get_offsets()[:, 0]) == {places[name]}
            np.testing.assert_allclose(each.get_facecolor(), handle.get_facecolor())
            shape, expected = each.get_paths()[0], handle.get_paths()[0]
            np.testing.assert_allclose(shape.vertices, expected.vertices)


def test_png_is_small_and_looks_the_same() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, (10, 48720)) * np.linspace(0, 1, 48720)
    noise = spectrogram(noise, CONFIG)  # Noise is the worst case.
    figure = figures.reconstruction_grid(noise[:5], noise[5:], CONFIG, label="dB")
    small, full = io.BytesIO(figures.png(figure)), io.BytesIO()
    figure.savefig(full, format="png", dpi=figures.DPI, bbox_inches="tight")
    assert len(small.getvalue()) < 150_000 < len(full.getvalue())
    a, b = (np.asarray(Image.open(file).convert("RGB"), float) for file in (small, full))
    assert np.abs(a - b).mean() < 3  # of 255
