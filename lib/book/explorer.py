"""The latent explorer of story 08: a map of clips that can be heard, for book/_static/explorer.js.

The sounds and pictures are a stage, whose files the tools of the book copy to `_static/explorer`; the page itself holds
places, settings and names only. Every dry clip stands under each effect, so its sound is needed once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import display
from PIL import Image

from lib.audio import effects, levels
from lib.book import figures, players, widgets
from lib.data.clips import ClipConfig, Clips
from lib.data.examples import SMALL, PairSet
from lib.embeddings import maps as embeddings
from lib.runtime import stages as artifacts
from lib.vae.train import Fitted

COLUMNS = 24  # tiles in a row of the picture of all thumbnails
SPLITS = {"train": "training", "test": "never heard"}
SOUNDS = {"dry": "dry-{clip}.mp3", "wet": "wet-{i}.mp3", "reconstruction": "drawn-{i}.mp3"}
LOUDNESS_LUFS = -23.0


def explore(
    fitted: Fitted,
    like: PairSet,
    corpora: tuple[str, ...],
    names: tuple[str, ...],
    shown: int,
    seed: int,
    progress: Callable[..., Any] | None = None,
) -> Path:
    """A stage "explorer": `shown` dry clips of each corpus and split under each effect, their sounds, and the map.

    fitted: a told picture VAE; like: pairs whose standardiser and floor it was trained with; names: effects. Files: an
    MP3 for each dry clip, wet clip and reconstruction, thumbnails.webp, and points.parquet: x and y of the UMAP of mu,
    effect, corpus, group, split, clip and `effect.parameter` in its unit.
    """

    def build(folder: Path) -> None:
        model, rate_hz = fitted.model(), SMALL.sample_rate_hz
        sides = [
            Clips(ClipConfig(corpus=corpus, split=split, seed=seed))
            for corpus in corpora
            for split in SPLITS
        ]
        sources = [side for side in sides for _ in range(shown)]
        rows, wet_pictures, mus, drawn = [], [], [], []
        for clip, side in enumerate(
            progress(sources, len(sources), "sounds") if progress else sources
        ):
            dry, info = side[clip]
            (folder / SOUNDS["dry"].format(clip=clip)).write_bytes(_small(dry))
            rng = np.random.default_rng([seed, clip])
            versions = [effects.draw_wet(effect, dry, rate_hz, "random", rng) for effect in names]
            x_dry, x_wet = like.picture(dry), torch.cat([like.picture(wet) for wet, _ in versions])
            with torch.inference_mode():
                mu, _ = model.encode(torch.cat([x_wet, x_dry.expand_as(x_wet)], 2))
                x_hat = model.decode(mu, x_dry.expand_as(x_wet))
            for effect, (wet, unit), picture in zip(names, versions, x_hat, strict=True):
                (folder / SOUNDS["wet"].format(i=len(rows))).write_bytes(_small(wet))
                (folder / SOUNDS["reconstruction"].format(i=len(rows))).write_bytes(
                    _small(like.to_audio(picture, dry))
                )
                values = {
                    f"{effect}.{name}": value
                    for name, value in effects.denormalise(effect, unit).items()
                }
                rows.append(
                    {
                        "effect": effect,
                        "corpus": side.config.corpus,
                        "group": info["group"],
                        "split": SPLITS[side.config.split],
                        "clip": clip,
                    }
                    | values
                )
            wet_pictures.append(x_wet[:, 0])
            mus.append(mu)
            drawn.append(x_hat[:, 0])
        table = pd.DataFrame(rows)
        table[["x", "y"]] = embeddings.umap_2d(torch.cat(mus).numpy(), seed)
        table.to_parquet(folder / "points.parquet", index=False)
        pictures = torch.cat(wet_pictures + drawn).numpy()[:, ::-1]  # low frequencies below
        tiles = figures.tiles(pictures, COLUMNS, *figures.limits(pictures), "magma")
        tiles.convert("RGB").save(folder / "thumbnails.webp", quality=60)

    identity = {
        "train": fitted.folder.name,
        "corpora": corpora,
        "effects": names,
        "shown": shown,
        "seed": seed,
    }
    return artifacts.stage("explorer", identity, build, __name__)


def _small(audio: np.ndarray) -> bytes:
    """MP3 of 24 kbit/s, 6 kB for 2 s, at the common loudness."""
    audio = levels.level(audio, SMALL.sample_rate_hz, LOUDNESS_LUFS)
    return players.mp3(audio, SMALL.sample_rate_hz, compression=0.9, mode="CONSTANT")


def show(folder: Path, words: str) -> None:
    """Print the explorer of a stage on the page. words: a sentence on what the map shows."""
    table = pd.read_parquet(folder / "points.parquet")
    columns = {
        name: table[name].tolist() for name in ("effect", "corpus", "group", "split", "clip")
    }
    columns |= {name: [round(float(value), 3) for value in table[name]] for name in ("x", "y")}
    settings = table.filter(like=".")
    columns["settings"] = [
        {name.partition(".")[2]: float(f"{value:.4g}") for name, value in row.dropna().items()}
        for _, row in settings.iterrows()
    ]
    known = {}
    for effect in table["effect"].unique():
        found = effects.find_effect(effect)
        ranges = {
            p.name: {"low": p.low, "high": p.high, "unit": p.unit, "scale": p.scale}
            for p in found.parameters
        }
        look = {"colour": figures.EFFECT_COLOURS[effect], "marker": figures.EFFECT_MARKERS[effect]}
        known[effect] = {"label": found.label, **look, "parameters": ranges}
    with Image.open(folder / "thumbnails.webp") as picture:
        side = picture.width // COLUMNS
    payload = {
        "columns": columns,
        "effects": known,
        "sounds": SOUNDS,
        "words": words,
        "thumbnails": {"file": "thumbnails.webp", "tile": [side, side], "columns": COLUMNS},
    }
    page = widgets.div("latent-explorer", payload, folder="../_static/explorer")
    assets = {"name": "explorer", "folder": folder.relative_to(artifacts.root()).as_posix()}
    bundle = {"text/html": page, "text/plain": f"a map of {len(table)} clips, which the book shows"}
    display(bundle, raw=True, metadata={"average_spectrogram_assets": assets})
