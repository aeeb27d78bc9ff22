"""Rendering: clips through effects to spectrograms on disk, with labels. Introduced by story 04, used by 06 and 07.

A rendering is a stage: `spectrograms.npy`, float16 (clip, bin, frame), for a memory map, and `table.parquet`, one row a
clip, written as a stream, so that memory does not grow. A clip is a pure function of (config, index), whatever the
number of workers. A large rendering is gathered from shards, stages too, which any process or machine may make.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lib import BadInput
from lib.audio import cepstra, effects
from lib.audio.spectrograms import SpectrogramConfig, spectrogram, spectrogram_shape
from lib.config import Config
from lib.data import corpora
from lib.data.clips import ClipConfig, Clips
from lib.data.recordings import warn_skipped
from lib.runtime import stages as artifacts

BLOCK = 32  # clips that a worker computes at a time
SHARD = 512  # clips of a shard; a rendering of more is made of several
ROW_GROUP = 4096  # rows of the table that are held before they are written


class RenderConfig(Config):
    """What decides a rendering. Row i is clip i under effect number i // clips_per_effect: classes share no clip."""

    clips: ClipConfig
    spectrogram: SpectrogramConfig = SpectrogramConfig()
    effects: tuple[str, ...] = ("clean",)
    settings: Literal["fixed", "random"] = "random"
    clips_per_effect: int
    prints: bool = False  # also of each clip and its dry clip, see lib.audio.cepstra
    dry: bool = False  # also the spectrogram of each dry clip

    def __init__(self, **fields) -> None:
        super().__init__(**fields)
        if not self.effects:
            raise BadInput(
                f"effects = (): a rendering needs at least one effect of {', '.join(effects.EFFECTS)}"
            )
        for name in self.effects:
            effects.find_effect(name)
        if len(set(self.effects)) < len(self.effects):
            raise BadInput(
                f"effects = {self.effects}: an effect stands there twice; name each once"
            )
        if self.clips_per_effect < 1:
            classes = ", ".join(self.effects)
            raise BadInput(
                f"clips_per_effect = {self.clips_per_effect}: no clips for {classes}; give 1 or more"
            )
        rates = self.clips.sample_rate_hz, self.spectrogram.sample_rate_hz
        if len(set(rates)) > 1:
            raise BadInput(
                f"sample_rate_hz = {rates[0]} of clips, {rates[1]} of spectrogram: they must be equal"
            )

    @property
    def count(self) -> int:
        """Clips in all."""
        return len(self.effects) * self.clips_per_effect


@dataclass(frozen=True)
class Rendered:
    """A finished rendering: what is on disk, and each clip's sound computed again. `recordings` is their hash."""

    folder: Path
    config: RenderConfig
    recordings: str

    @cached_property
    def spectrograms(self) -> np.ndarray:
        """Memory map, float16 (clip, bin, frame), not standardised."""
        return np.load(self.folder / "spectrograms.npy", mmap_mode="r")

    @cached_property
    def prints(self) -> np.ndarray:
        """Memory map, float32 (clip, row, value), see `lib.audio.cepstra`; BadInput where the config asked for none."""
        if not self.config.prints:
            raise BadInput(f"{self.folder}: rendered without prints; ask for them by prints=True")
        return np.load(self.folder / "prints.npy", mmap_mode="r")

    @cached_property
    def dry_spectrograms(self) -> np.ndarray:
        """Memory map, float16 (clip, bin, frame), of the clips before their effects; BadInput where none were asked."""
        if not self.config.dry:
            raise BadInput(
                f"{self.folder}: rendered without dry spectrograms; ask for them by dry=True"
            )
        return np.load(self.folder / "dry.npy", mmap_mode="r")

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a clip: index, clip (number of the dry one), effect, group, recording, start_s, pitch_semitones, tempo.

        And `effect.parameter` in [0, 1] for each parameter of each effect, NaN in the rows of the others.
        """
        return pd.read_parquet(self.folder / "table.parquet")

    def dry(self, index: int) -> np.ndarray:
        """The clip of a row before its effect, float32 (sample,)."""
        return _clip(self.config, self._checked(index), self.recordings)[0]

    def wet(self, index: int) -> np.ndarray:
        """The clip of a row after its effect, float32 (sample,): what its spectrogram shows."""
        return _clip(self.config, self._checked(index), self.recordings)[1]

    def _checked(self, index: int) -> int:
        if not 0 <= index < self.config.count:
            raise BadInput(
                f"row {index} of {self.folder}: it has rows 0 to {self.config.count - 1}"
            )
        return int(index)


def render(
    config: RenderConfig,
    workers: int = 1,
    progress: Callable[[Iterable, int, str], Iterable] | None = None,
) -> Rendered:
    """The rendering of a config, computed unless it is there.

    workers: processes; progress: called as progress(iterable, total, label), yields what the iterable does.
    A recording that turns out to be silent or broken is left out, with one warning for all of them. BadInput: no clip
    can be drawn, an effect fails (`effects.draw_wet`), values that float16 cannot hold, no space.
    """
    if workers < 1:
        raise BadInput(f"workers = {workers}: give 1 or more")
    fingerprint, skipped, made = corpora.fingerprint(config.clips.corpus), {}, []
    clips = _clips(config.clips, fingerprint)
    known = set(clips.skipped)  # too short: told; too few groups: refused

    def build(folder: Path) -> None:
        make, parts = (
            (shard, shards(config, SHARD))
            if config.count > SHARD
            else (_block, shards(config, BLOCK))
        )
        parallel = joblib.Parallel(
            workers, return_as="generator", pre_dispatch="2 * n_jobs", batch_size=1
        )
        blocks = parallel(joblib.delayed(make)(config, part, fingerprint) for part in parts)
        if progress:
            blocks = progress(
                blocks, len(parts), f"render {config.clips.corpus} {config.clips.split}"
            )
        schema, arrays, rows = _schema(config), _arrays(config), []
        # plain files and no map: a full disk is then an error and no bus error, and written pages are not held
        with ExitStack() as stack, pq.ParquetWriter(folder / "table.parquet", schema) as table:
            files = {
                name: stack.enter_context(open(folder / f"{name}.npy", "wb")) for name in arrays
            }
            for name, (kind, size) in arrays.items():
                header = {"descr": kind, "fortran_order": False, "shape": (config.count, *size)}
                np.lib.format.write_array_header_1_0(files[name], header)
            for block in blocks:
                made.extend([block] * (make is shard))
                found, new_rows, new_skipped = _stored(block) if make is shard else block
                for name, file in files.items():
                    file.write(found[name].data)
                skipped.update(new_skipped)
                rows += new_rows
                if len(rows) >= ROW_GROUP:
                    table.write_table(pa.Table.from_pylist(rows, schema))
                    rows = []
            if rows:
                table.write_table(pa.Table.from_pylist(rows, schema))

    whole = {"render": config.model_dump(mode="json"), "recordings": fingerprint}
    folder = artifacts.stage("render", whole, build, __name__)
    for part in made:  # not earlier: until the rendering is whole, a killed run goes on with them
        shutil.rmtree(part, ignore_errors=True)
    new = {name: why for name, why in skipped.items() if name not in known}
    warn_skipped(f"corpus {config.clips.corpus!r}", "recordings", new, len(clips.recordings))
    return Rendered(folder, config, fingerprint)


def shards(config: RenderConfig, size: int) -> list[range]:
    """The rows of a rendering, `size` at a time."""
    return [range(config.count)[start : start + size] for start in range(0, config.count, size)]


def shard(config: RenderConfig, rows: range, recordings: str) -> Path:
    """The folder of one of `shards`: a stage "shard", computed unless it is there; `render` gathers and removes it.

    recordings: hash of those of the corpus, `Rendered.recordings`. BadInput: as for `render`.
    """

    def build(folder: Path) -> None:
        arrays, *rest = _block(config, rows, recordings)
        for name, array in arrays.items():
            (folder / f"{name}.bytes").write_bytes(
                array.data
            )  # of a full disk, np.save makes an error without number
        artifacts.write_json(folder / "rows.json", rest)

    part = {
        "render": config.model_dump(mode="json"),
        "recordings": recordings,
        "rows": [rows.start, rows.stop],
    }
    return artifacts.stage("shard", part, build, __name__)


def _stored(folder: Path) -> tuple:
    """What `_block` returned for a finished shard, its arrays as bytes that stay on disk."""
    arrays = {path.stem: np.memmap(path, mode="r") for path in folder.glob("*.bytes")}
    return arrays, *json.loads((folder / "rows.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=8)
def _clips(config: ClipConfig, fingerprint: str) -> Clips:
    """The clips of a config, opened once per process and state of the corpus."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "(folder|vctk|musdb18) .*skipped"
        )  # told when the fingerprint was taken
        if (
            corpora.fingerprint(config.corpus) != fingerprint
        ):  # else other clips would pass for these
            raise BadInput(
                f"corpus {config.corpus!r}: its files changed while it was rendered; run again"
            )
        return Clips(config)


def _clip(
    config: RenderConfig, index: int, fingerprint: str
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Dry and wet audio (sample,) and the table's row of a clip: a pure function of (config, index)."""
    source, effect = config.clips, config.effects[index // config.clips_per_effect]
    dry, info = _clips(source, fingerprint).clip(index)
    rng = np.random.default_rng(
        [source.seed, index, 2]
    )  # clips draw from [seed, index] and [seed, index, 1]
    wet, unit = effects.draw_wet(
        effect, dry, source.sample_rate_hz, config.settings, rng, source.loudness_lufs
    )
    row = {"index": index, "clip": index, "effect": effect, **info}
    return dry, wet, row | {f"{effect}.{name}": value for name, value in unit.items()}


def _block(
    config: RenderConfig, rows: range, fingerprint: str
) -> tuple[dict[str, np.ndarray], list[dict], dict]:
    """What is kept of each of these clips, by file, their rows of the table, and recordings that were left out."""
    threads, told, layout = torch.get_num_threads(), [], config.spectrogram
    block = {
        name: np.empty((len(rows), *size), kind) for name, (kind, size) in _arrays(config).items()
    }
    pictures = [name for name in block if name != "prints"]
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.filterwarnings(
                "ignore", "corpus .*skipped"
            )  # gathered: one warning for all workers
            for place, index in enumerate(rows):
                dry, wet, row = _clip(config, index, fingerprint)
                clip = {"spectrograms": wet, "dry": dry}
                fields = {
                    name: cepstra.fields(audio) for name, audio in clip.items() if config.prints
                }
                if fields:
                    block["prints"][place] = cepstra.cepstral_features(*fields.values())
                for name in (
                    pictures
                ):  # one at a time: a batch leaves the cache; a print has made the same one
                    x = (
                        fields[name].log_mel
                        if fields and layout == cepstra.ANALYSIS
                        else spectrogram(clip[name], layout)
                    )
                    block[name][place] = np.float32(x)
                told.append(row)
    finally:
        torch.set_num_threads(threads)
    if not all(np.isfinite([block[name].min(), block[name].max()]).all() for name in pictures):
        raise BadInput(
            f"spectrogram.power = {layout.power}: values above 65504 do not fit float16; give a smaller one"
        )
    return block, told, dict(_clips(config.clips, fingerprint).skipped)


def _arrays(config: RenderConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of what is kept of a clip, by file."""
    samples = round(config.clips.clip_s * config.clips.sample_rate_hz)
    arrays = {
        name: ("<f2", spectrogram_shape(config.spectrogram, samples))
        for name in ["spectrograms"] + ["dry"] * config.dry
    }
    return arrays | ({"prints": ("<f4", cepstra.feature_shape(samples))} if config.prints else {})


def _schema(config: RenderConfig) -> pa.Schema:
    """Columns of the table: the same for every row, so that it can be written as a stream."""
    numbers = ["start_s", "pitch_semitones", "tempo"]
    numbers += [
        f"{name}.{parameter.name}"
        for name in config.effects
        for parameter in effects.find_effect(name).parameters
    ]
    fields = [(n, pa.int64()) for n in ("index", "clip")] + [
        (n, pa.string()) for n in ("effect", "group", "recording")
    ]
    return pa.schema(fields + [(name, pa.float64()) for name in numbers])
