"""The explorer of chapter 14, a map of clips with their sounds, for book/_static/explorer.js.

Sounds and pictures are files of a stage. The tools of the book copy them to `_static/explorer`, so
the page itself holds places, settings and names only. Each dry clip stands under every effect, so
its sound is stored once.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import display
from PIL import Image

from lib.audio import effects, levels
from lib.book import figures, players, widgets
from lib.data.clips import ClipConfig, Clips
from lib.data.examples import SMALL, PairSet
from lib.embeddings import maps
from lib.runtime import stages
from lib.runtime.progress import progress
from lib.vae.checkpoints import Run

COLUMNS = 24  # thumbnails in a row of their common picture
SPLITS = {"train": "training", "test": "never heard"}
SOUNDS = {"dry": "dry-{clip}.mp3", "wet": "wet-{i}.mp3", "reconstruction": "drawn-{i}.mp3"}
LOUDNESS_LUFS = -23.0


def explore(
    run: Run,
    like: PairSet,
    corpora: tuple[str, ...],
    effect_names: tuple[str, ...],
    shown: int,
    seed: int,
) -> Path:
    """The folder of a stage "explorer": new clips under each effect, their sounds and their map.

    run: a trained conditional spectrogram VAE; like: pairs prepared as those it was trained on;
    shown: dry clips of each corpus and split. Files: an MP3 of each dry clip, wet clip and
    reconstruction; thumbnails.webp; and points.parquet, a row per wet clip: x and y (UMAP of mu),
    effect, corpus, group, split, clip, and `effect.parameter` in its unit.
    """
    sources = []
    for corpus in corpora:
        for split in SPLITS:
            sources += [Clips(ClipConfig(corpus=corpus, split=split, seed=seed))] * shown

    def build(folder: Path) -> None:
        _build(folder, run.model(), like, sources, effect_names, seed)

    config = {
        "train": run.folder.name,
        "corpora": corpora,
        "effects": effect_names,
        "shown": shown,
        "seed": seed,
    }
    return stages.stage("explorer", config, build, __name__)


def _build(folder, model, like, sources, effect_names, seed):
    rows, pictures, codes, decoded = [], [], [], []
    for clip, clips in enumerate(progress(sources, label="sounds")):
        dry, info = clips[clip]
        _write_mp3(folder / SOUNDS["dry"].format(clip=clip), dry)
        about = {
            "corpus": clips.config.corpus,
            "group": info["group"],
            "split": SPLITS[clips.config.split],
            "clip": clip,
        }
        wet, settings = _wet(dry, effect_names, np.random.default_rng([seed, clip]))
        x = torch.cat([like.picture(audio) for audio in wet])
        x_dry = like.picture(dry).expand_as(x)
        with torch.inference_mode():
            mu, _ = model.encode(torch.cat([x, x_dry], 2))
            x_hat = model.decode(mu, x_dry)
        for effect, audio, values, picture in zip(effect_names, wet, settings, x_hat, strict=True):
            i = len(rows)
            _write_mp3(folder / SOUNDS["wet"].format(i=i), audio)
            _write_mp3(folder / SOUNDS["reconstruction"].format(i=i), like.to_audio(picture, dry))
            rows.append({"effect": effect} | about | values)
        pictures.append(x[:, 0])
        codes.append(mu)
        decoded.append(x_hat[:, 0])
    table = pd.DataFrame(rows)
    table[["x", "y"]] = maps.umap_2d(torch.cat(codes).numpy(), seed)
    table.to_parquet(folder / "points.parquet", index=False)
    upright = torch.cat(pictures + decoded).numpy()[:, ::-1]  # low frequencies below
    tiles = figures.tiles(upright, COLUMNS, *figures.limits(upright), "magma")
    tiles.convert("RGB").save(folder / "thumbnails.webp", quality=60)


def _wet(dry, effect_names, rng):
    """The dry clip (sample,) under each effect, and a row of settings, each in its unit."""
    wet, settings = [], []
    for effect in effect_names:
        audio, unit = effects.draw_wet(effect, dry, SMALL.sample_rate_hz, "random", rng)
        values = effects.denormalise(effect, unit)
        wet.append(audio)
        settings.append({f"{effect}.{name}": value for name, value in values.items()})
    return wet, settings


def _write_mp3(path, audio):
    """An MP3 of 24 kbit/s, 6 kB for 2 s, at the common loudness."""
    audio = levels.level(audio, SMALL.sample_rate_hz, LOUDNESS_LUFS)
    coded = players.mp3(audio, SMALL.sample_rate_hz, compression=0.9, mode="CONSTANT")
    path.write_bytes(coded)


def show(folder: Path, words: str) -> None:
    """Put the explorer of a stage on the page. words: a sentence on what the map shows."""
    table = pd.read_parquet(folder / "points.parquet")
    places = table.astype({"x": float, "y": float}).round({"x": 3, "y": 3})
    columns = places[["effect", "corpus", "group", "split", "clip", "x", "y"]].to_dict("list")
    columns["settings"] = []
    for _, row in table.filter(like=".").iterrows():
        settings = row.dropna().items()
        values = {name.partition(".")[2]: float(f"{value:.4g}") for name, value in settings}
        columns["settings"].append(values)
    with Image.open(folder / "thumbnails.webp") as picture:
        side = picture.width // COLUMNS
    payload = {
        "columns": columns,
        "effects": {name: _about(name) for name in table["effect"].unique()},
        "sounds": SOUNDS,
        "words": words,
        "thumbnails": {"file": "thumbnails.webp", "tile": [side, side], "columns": COLUMNS},
    }
    page = widgets.div("latent-explorer", payload, folder="../_static/explorer")
    assets = {"name": "explorer", "folder": folder.relative_to(stages.root()).as_posix()}
    bundle = {"text/html": page, "text/plain": f"a map of {len(table)} clips, which the book shows"}
    display(bundle, raw=True, metadata={"average_spectrogram_assets": assets})


def _about(name):
    """How the page shows an effect: its label, colour, marker, and the range of each parameter."""
    effect, ranges = effects.find_effect(name), {}
    for p in effect.parameters:
        ranges[p.name] = {"low": p.low, "high": p.high, "unit": p.unit, "scale": p.scale}
    return {
        "label": effect.label,
        "colour": figures.EFFECT_COLOURS[name],
        "marker": figures.EFFECT_MARKERS[name],
        "parameters": ranges,
    }
