"""One look for every figure: style, colours of the effects, spectrograms with axes in Hz and s, grids and scatters.

Introduced by story 01 (spectrograms), 03 (reconstruction grid) and 07 (UMAP panels). A colour is never alone: every
effect has a marker of its own too, and what is compared shares one colour scale.
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

# After Okabe and Ito (2008) and Tol's "muted", adjusted: every pair differs for protan and deutan eyes (tested).
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
EFFECT_MARKERS = dict(
    zip(EFFECT_COLOURS, ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h"), strict=True)
)
SPECTROGRAM_COLOURS = "magma"  # rising lightness: readable in grey and by the colour-blind
DPI = 100
TICKS_HZ = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)


def use_style() -> None:
    """Set the one style of the book (seaborn, its colour-blind palette); called at the start of every story."""
    shell = get_ipython()
    if shell is not None:
        plt.close(
            plt.figure()
        )  # pyplot settles on its backend now, else it would undo the next line later
        shell.display_formatter.formatters["image/png"].for_type(Figure, png)
    sns.set_theme(context="paper", style="ticks", palette="colorblind", font_scale=1.1)
    mpl.rcParams.update(
        {
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
    )


def png(figure: Figure) -> bytes:
    """The figure as PNG with a palette of 256 colours: a third of the usual size, which keeps pages light.

    Texts are taken as they are, a "$" in a song's name for itself: mathematics is only what a log axis writes.
    """
    for ax in figure.axes:
        (
            ax.get_xticklabels(),
            ax.get_yticklabels(),
        )  # which are written now, else when they are drawn
    for text in figure.findobj(mpl.text.Text):
        text.set_parse_math("$" not in (words := text.get_text()) or r"\mathdefault" in words)
    full = Image.open(io.BytesIO(print_figure(figure, "png", dpi=DPI))).convert("RGB")
    small = io.BytesIO()
    full.quantize(256).save(small, "png", optimize=True)
    return small.getvalue()


def tiles(pictures: np.ndarray, columns: int, low: float, high: float, colours: str) -> Image.Image:
    """Pictures (n, row, column) side by side, `columns` in a row, on one colour scale: a palette image.

    colours: a colour map of matplotlib. What is missing in the last row has the lowest colour.
    """
    rows = -(-len(pictures) // columns)
    whole = np.full((rows * columns, *pictures.shape[1:]), low)
    whole[: len(pictures)] = pictures
    whole = whole.reshape(rows, columns, *pictures.shape[1:]).transpose(0, 2, 1, 3)
    levels = np.rint(255 * ((whole - low) / (high - low)).clip(0, 1)).astype(np.uint8)
    image = Image.fromarray(levels.reshape(rows * pictures.shape[1], -1), "P")
    image.putpalette(
        (255 * mpl.colormaps[colours](np.arange(256))[:, :3])
        .round()
        .astype(np.uint8)
        .ravel()
        .tolist()
    )
    return image


def limits(*arrays: np.ndarray, tail: float = 0.5) -> tuple[float, float]:
    """Lower and upper end of one colour scale for all arrays: their common percentiles `tail` and 100 - `tail`."""
    values = np.concatenate([np.asarray(array, np.float32).ravel() for array in arrays])
    low, high = np.percentile(values, (tail, 100 - tail))
    return float(low), float(high if high > low else low + 1)


def show_spectrogram(
    ax: plt.Axes,
    values: np.ndarray,
    config: SpectrogramConfig,
    vmin: float | None = None,
    vmax: float | None = None,
    title: str = "",
    cmap: str = SPECTROGRAM_COLOURS,
    labels: bool = True,
) -> mpl.image.AxesImage:
    """Draw one spectrogram (bin, frame) with time in s and frequency in Hz; returns the image for `colour_bar`.

    Mel bands stand at equal distances, so their Hz ticks do not: the ticks are placed by the bands' centres.
    vmin, vmax: the colour scale, in the unit of the values; labels=False leaves the axis names out (inner panels).
    """
    values = np.asarray(values, np.float32)
    if values.ndim != 2:
        raise BadInput(f"values: shape {values.shape}; a spectrogram has the two axes (bin, frame)")
    hz, seconds = np.asarray(frequencies_hz(config)), np.asarray(times_s(config, values.shape[1]))
    if len(hz) != values.shape[0]:
        raise BadInput(
            f"values: {values.shape[0]} bins, but {config.kind} has {len(hz)}; pass their own config"
        )
    step = (seconds[1] - seconds[0]) if len(seconds) > 1 else 1.0
    extent = (seconds[0] - step / 2, seconds[-1] + step / 2, -0.5, len(hz) - 0.5)
    image = ax.imshow(values, origin="lower", extent=extent, vmin=vmin, vmax=vmax, cmap=cmap)
    shown = [
        tick
        for tick in (TICKS_HZ if config.kind == "log_mel" else range(0, int(hz[-1]) + 1, 2000))
        if hz[0] <= tick <= hz[-1] and (config.kind == "stft" or tick >= 500)
    ]
    ax.set_yticks(
        np.interp(shown, hz, np.arange(len(hz))), [f"{tick:,}".replace(",", " ") for tick in shown]
    )
    ax.set_title(title)
    if labels:
        ax.set_xlabel("time / s")
        ax.set_ylabel("frequency / Hz")
    else:
        ax.tick_params(labelleft=False, labelbottom=False)
    return image


def colour_bar(figure: Figure, image: mpl.image.AxesImage, axes: object, label: str) -> None:
    """One narrow colour bar for all `axes` that share the scale of `image`; label: the quantity and its unit."""
    figure.colorbar(image, ax=axes, label=label, fraction=0.03, pad=0.01, aspect=30)


def reconstruction_grid(
    originals: np.ndarray,
    reconstructions: np.ndarray | dict[str, np.ndarray],
    config: SpectrogramConfig | None = None,
    titles: list[str] | None = None,
    label: str = "",
    scale: tuple[float, float] | None = None,
) -> Figure:
    """Originals above their reconstructions, the mean squared error in every title, one colour scale.

    originals: (n, bin, frame); reconstructions: the same shape, or several by row name ({"beta = 1": ..., ...}).
    config None: digits, grey from 0 to 1, no axes. Otherwise spectrograms in Hz and s with one colour bar named
    `label`, scaled by the originals unless `scale` (low, high) is given. titles: n, above the originals.
    """
    originals = np.asarray(originals, np.float32)
    rows = (
        reconstructions
        if isinstance(reconstructions, dict)
        else {"reconstruction": reconstructions}
    )
    rows = {name: np.asarray(row, np.float32) for name, row in rows.items()}
    for name, row in rows.items():
        if row.shape != originals.shape or originals.ndim != 3:
            raise BadInput(
                f"{name}: shape {row.shape}, originals {originals.shape}; both must be (n, bin, frame)"
            )
    if titles is not None and len(titles) != len(originals):
        raise BadInput(
            f"titles: {len(titles)} for {len(originals)} originals; give one each, or None"
        )
    low, high = scale or ((0.0, 1.0) if config is None else limits(originals))
    count, width, height = len(originals), *((1.0, 1.25) if config is None else (1.9, 1.8))
    figure, axes = plt.subplots(
        len(rows) + 1,
        count,
        squeeze=False,
        figsize=(max(width * count + 0.9, 3.0), height * (len(rows) + 1)),
    )
    for r, (name, row) in enumerate({"original": originals, **rows}.items()):
        for c, ax in enumerate(axes[r]):
            error = float(np.mean((row[c] - originals[c]) ** 2, dtype=np.float64))
            title = (titles[c] if titles else "") if r == 0 else f"MSE {error:.3g}"
            if config is None:
                image = ax.imshow(row[c], cmap="gray", vmin=low, vmax=high, aspect="equal")
                ax.set(xticks=[], yticks=[], title=title)
                sns.despine(ax=ax, left=True, bottom=True)
            else:
                image = show_spectrogram(ax, row[c], config, low, high, title, labels=False)
                ax.tick_params(labelleft=c == 0, labelbottom=r == len(rows))
                ax.set_xlabel("time / s" if r == len(rows) else "")
            if c == 0:
                ax.set_ylabel(name if config is None else f"{name}\nfrequency / Hz")
    if config is not None:
        colour_bar(figure, image, axes, label)
    return figure


def umap_panel(
    ax: plt.Axes,
    points: np.ndarray,
    labels: np.ndarray,
    text: str = "",
    title: str = "",
    most: int = 500,
    seed: int = 0,
) -> None:
    """Scatter of a 2-D embedding, one colour and marker per effect, its metrics as `text` under it.

    points: (n, 2); labels: (n,) effect names; at most `most` points per effect are drawn (a seeded sample, so that
    dense panels stay readable and small), in mixed order, so that no class hides another.
    """
    points, labels = np.asarray(points), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(labels):
        raise BadInput(
            f"points: shape {points.shape} with {len(labels)} labels; wanted (n, 2) with n labels"
        )
    unknown = sorted(set(labels) - set(EFFECT_COLOURS))
    if unknown:
        raise BadInput(
            f"labels: unknown effect {unknown[0]!r}; known are {', '.join(EFFECT_COLOURS)}"
        )
    rng = np.random.default_rng(seed)
    pieces = []
    for name in (name for name in EFFECT_COLOURS if name in set(labels)):
        chosen = rng.permutation(np.flatnonzero(labels == name))[:most]
        pieces += [
            (name, chosen[part::8]) for part in range(8)
        ]  # eight layers of each class, interleaved
        ax.scatter(
            [],
            [],
            s=18,
            c=EFFECT_COLOURS[name],
            marker=EFFECT_MARKERS[name],
            label=name.replace("_", " "),
        )
    for i in np.argsort([i % 8 for i in range(len(pieces))], kind="stable"):
        name, chosen = pieces[i]
        ax.scatter(
            *points[chosen].T,
            s=7,
            c=EFFECT_COLOURS[name],
            marker=EFFECT_MARKERS[name],
            linewidths=0,
        )
    ax.set(xticks=[], yticks=[], xlabel=text, title=title)
    sns.despine(ax=ax, left=True, bottom=True)


def effect_legend(figure: Figure, axes: np.ndarray) -> None:
    """One legend under the figure for all panels: every effect once, in the fixed order."""
    found = {}
    for ax in np.ravel(axes):
        found |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    order = [name.replace("_", " ") for name in EFFECT_COLOURS if name.replace("_", " ") in found]
    columns = min(len(order), int(figure.get_size_inches()[0] / 1.4))
    figure.legend(
        [found[name] for name in order],
        order,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
    )
