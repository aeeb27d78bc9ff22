"""One look for every figure: style, colours of the effects, spectrograms, grids and scatters.

Introduced by chapter 01 (spectrograms), 03 (reconstruction grid) and 09 (UMAP panels). A colour is
never alone: every effect has its own marker too. What is compared shares one colour scale.
"""

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure
from PIL import Image

from lib import BadInput
from lib.audio.spectrograms import SpectrogramConfig, frequencies_hz, times_s

# After Okabe and Ito (2008) and Tol's "muted", adjusted: every pair differs for protan and deutan
# eyes, which a test measures.
EFFECT_COLOURS = {
    "clean": "#222222",
    "delay": "#0072B2",
    "overdrive": "#D55E00",
    "multiband": "#009E73",
    "ambience": "#EE99CC",
    "flanger": "#E69F00",
    "compressor": "#56B4E9",
    "ring_modulator": "#332288",
    "chorus": "#882255",
    "phaser": "#DDCC77",
    "bitcrush": "#44AA99",
    "combo": "#BB33AA",
}
EFFECT_MARKERS = dict(zip(EFFECT_COLOURS, "os^DvPX<>*ph", strict=True))
DPI = 100
STYLE = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.constrained_layout.use": True,
    "figure.figsize": (7.0, 3.0),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "image.aspect": "auto",
    "image.interpolation": "nearest",
    "figure.max_open_warning": 0,
}
TICKS_HZ = {"log_mel": (500, 1000, 2000, 4000, 8000, 16000), "stft": range(0, 24001, 2000)}
LAYERS = 8  # parts of each class that umap_panel draws in turns


def use_style() -> None:
    """Set the one style of the book; every chapter begins with it."""
    shell = get_ipython()
    if shell is not None:
        # A first figure lets pyplot choose its backend now. Later it would undo our formatter.
        plt.close(plt.figure())
        shell.display_formatter.formatters["image/png"].for_type(Figure, png)
    sns.set_theme(context="paper", style="ticks", palette="colorblind", font_scale=1.1)
    mpl.rcParams.update(STYLE)


def png(figure: Figure) -> bytes:
    """The figure as PNG with a palette of 256 colours: a third of the usual size.

    A "$" in a text, such as a song's name, stands for itself, except in what a log axis writes.
    """
    for ax in figure.axes:
        ax.get_xticklabels()  # matplotlib would write these texts only when it draws.
        ax.get_yticklabels()
    for text in figure.findobj(mpl.text.Text):
        words = text.get_text()
        text.set_parse_math("$" not in words or r"\mathdefault" in words)
    image = Image.open(io.BytesIO(print_figure(figure, "png", dpi=DPI))).convert("RGB")
    file = io.BytesIO()
    image.quantize(256).save(file, "png", optimize=True)
    return file.getvalue()


def tiles(pictures: np.ndarray, columns: int, low: float, high: float, colours: str) -> Image.Image:
    """Pictures (n, row, column) side by side, `columns` in a row, as one image with a palette.

    low, high: the ends of the colour scale; colours: a colour map of matplotlib. Empty places in
    the last row have the lowest colour.
    """
    n, height, width = pictures.shape
    rows = -(-n // columns)
    grid = np.full((rows * columns, height, width), low)
    grid[:n] = pictures
    grid = grid.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    levels = np.rint(255 * ((grid - low) / (high - low)).clip(0, 1)).astype(np.uint8)
    image = Image.fromarray(levels.reshape(rows * height, columns * width), "P")
    palette = 255 * mpl.colormaps[colours](np.arange(256))[:, :3]
    image.putpalette(palette.round().astype(np.uint8).ravel().tolist())
    return image


def limits(values: np.ndarray) -> tuple[float, float]:
    """Both ends of a colour scale for an array: its percentiles 0.5 and 99.5."""
    low, high = np.percentile(np.asarray(values, np.float32), (0.5, 99.5))
    return float(low), float(high if high > low else low + 1)


def show_spectrogram(
    ax: plt.Axes,
    values: np.ndarray,
    config: SpectrogramConfig,
    vmin: float | None = None,
    vmax: float | None = None,
    title: str = "",
    cmap: str = "magma",
) -> mpl.image.AxesImage:
    """Draw one spectrogram (bin, frame) over s and Hz; returns the image for `colour_bar`.

    Mel bands stand at equal distances, so the ticks in Hz do not: they are interpolated between the
    centres of bands. vmin, vmax: the colour scale, in the unit of the values; cmap: the colours,
    by default of rising lightness, readable in grey and by the colour-blind.
    """
    values = np.asarray(values, np.float32)
    bins, frames = values.shape
    hz = frequencies_hz(config)
    left_s, right_s = times_s(config, frames)[[0, -1]]
    half_s = config.hop_length / config.sample_rate_hz / 2
    extent = (left_s - half_s, right_s + half_s, -0.5, bins - 0.5)
    image = ax.imshow(values, origin="lower", extent=extent, vmin=vmin, vmax=vmax, cmap=cmap)
    ticks = [tick for tick in TICKS_HZ[config.kind] if hz[0] <= tick <= hz[-1]]
    labels = [f"{tick:,}".replace(",", " ") for tick in ticks]
    ax.set_yticks(np.interp(ticks, hz, np.arange(bins)), labels)
    ax.set(title=title, xlabel="time / s", ylabel="frequency / Hz")
    return image


def colour_bar(figure: Figure, image: mpl.image.AxesImage, axes: object, label: str) -> None:
    """One narrow colour bar for all `axes` on the scale of `image`; label: quantity and unit."""
    figure.colorbar(image, ax=axes, label=label, fraction=0.03, pad=0.01, aspect=30)


def reconstruction_grid(
    originals: np.ndarray,
    reconstructions: np.ndarray | dict[str, np.ndarray],
    config: SpectrogramConfig | None = None,
    titles: list[str] | None = None,
    label: str = "",
) -> Figure:
    """Originals above their reconstructions, the mean squared error in every title, one scale.

    originals: (n, bin, frame); reconstructions: the same shape, or several by the names of their
    rows. Without a config they are digits, grey from 0 to 1. With one they are spectrograms over s
    and Hz, on the scale of the originals, beside a colour bar named `label`. titles: n of them,
    above the originals.
    """
    if not isinstance(reconstructions, dict):
        reconstructions = {"reconstruction": reconstructions}
    rows = {"original": np.asarray(originals, np.float32)}
    for name, row in reconstructions.items():
        rows[name] = np.asarray(row, np.float32)
    originals = rows["original"]
    count = len(originals)
    width, height = (1.0, 1.25) if config is None else (1.9, 1.8)
    size = (max(width * count + 0.9, 3.0), height * len(rows))
    figure, axes = plt.subplots(len(rows), count, squeeze=False, figsize=size)
    scale = (0.0, 1.0) if config is None else limits(originals)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for c, ax in enumerate(line):
            image = _show(ax, row[c], config, scale)
            error = np.mean((row[c] - originals[c]) ** 2, dtype=np.float64)
            ax.set_title(f"MSE {error:.3g}")
        line[0].set_ylabel(name if config is None else f"{name}\nfrequency / Hz")
    for c, ax in enumerate(axes[0]):
        ax.set_title(titles[c] if titles else "")
    if config is not None:
        for ax in axes.flat:
            ax.label_outer()
        colour_bar(figure, image, axes, label)
    return figure


def _show(ax, picture, config, scale):
    """One picture of a grid: a spectrogram, or a digit when there is no config."""
    if config is not None:
        return show_spectrogram(ax, picture, config, *scale)
    ax.set(xticks=[], yticks=[])
    sns.despine(ax=ax, left=True, bottom=True)
    return ax.imshow(picture, cmap="gray", vmin=scale[0], vmax=scale[1], aspect="equal")


def umap_panel(
    ax: plt.Axes,
    points: np.ndarray,
    labels: np.ndarray,
    text: str = "",
    title: str = "",
    most: int = 500,
) -> None:
    """Scatter of a 2-D embedding, one colour and marker per effect, its metrics as `text` under it.

    points: (n, 2); labels: (n,) effect names. We draw at most `most` points per effect, a seeded
    sample, so that dense panels stay readable and small, and in layers, so that no class hides
    another. BadInput for an unknown effect.
    """
    points, labels = np.asarray(points), np.asarray(labels)
    for name in set(labels) - EFFECT_COLOURS.keys():
        known = ", ".join(EFFECT_COLOURS)
        raise BadInput(f"labels: unknown effect {str(name)!r}; known are {known}")
    rng = np.random.default_rng(0)
    samples, looks = {}, {}
    for name in EFFECT_COLOURS:
        if name in labels:
            samples[name] = rng.permutation(np.flatnonzero(labels == name))[:most]
            looks[name] = {"c": EFFECT_COLOURS[name], "marker": EFFECT_MARKERS[name]}
            ax.scatter([], [], s=18, label=name.replace("_", " "), **looks[name])
    for layer in range(LAYERS):
        for name, sample in samples.items():
            part = points[sample[layer::LAYERS]]
            ax.scatter(part[:, 0], part[:, 1], s=7, linewidths=0, **looks[name])
    ax.set(xticks=[], yticks=[], xlabel=text, title=title)
    sns.despine(ax=ax, left=True, bottom=True)


def effect_legend(figure: Figure, axes: np.ndarray) -> None:
    """One legend under the figure for all panels: every effect once, in the fixed order."""
    handles = {}
    for ax in np.ravel(axes):
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            handles[name] = handle
    names = [name.replace("_", " ") for name in EFFECT_COLOURS]
    order = [name for name in names if name in handles]
    figure.legend(
        [handles[name] for name in order],
        order,
        loc="outside lower center",
        ncols=min(len(order), int(figure.get_size_inches()[0] / 1.4)),
        frameon=False,
    )
