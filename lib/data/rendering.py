"""Rendering: clips through effects to spectrograms on disk, with labels. From chapter 04 on.

A rendering is a stage: `spectrograms.npy`, float16 (clip, bin, frame), for a memory map, and
`table.parquet` with one row per clip. Both are written as a stream, so memory does not grow with
the number of clips. A clip is a pure function of (config, row).
"""

import warnings
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from lib import BadInput
from lib.audio.cepstra import cepstral_features, fields
from lib.audio.effects import EFFECTS, draw_wet, find_effect
from lib.audio.spectrograms import SpectrogramConfig, spectrogram
from lib.config import Config
from lib.data.clips import ClipConfig, Clips
from lib.data.corpora import fingerprint, load_corpus
from lib.runtime.progress import progress
from lib.runtime.stages import stage

ROW_GROUP = 4096  # rows of the table that are held before they are written


class RenderConfig(Config):
    """All that decides a rendering: `clips_per_effect` rows of one effect, then of the next.

    Clip k of an effect follows from the seed and the effect alone: it is the same whatever other
    effects are rendered, and however many clips. No two effects share a draw.
    """

    clips: ClipConfig
    spectrogram: SpectrogramConfig = SpectrogramConfig()
    effects: tuple[str, ...] = Field(("clean",), min_length=1)
    settings: Literal["fixed", "random"] = "random"
    clips_per_effect: int = Field(ge=1)
    features: bool = False  # also the cepstral features of each clip and its dry clip
    dry: bool = False  # also the spectrogram of each dry clip

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        for name in self.effects:
            find_effect(name)
        if len(set(self.effects)) < len(self.effects):
            raise BadInput(
                f"effects = {self.effects}: an effect stands there twice; name each once"
            )
        if self.clips.sample_rate_hz != self.spectrogram.sample_rate_hz:
            raise BadInput(
                f"sample_rate_hz = {self.clips.sample_rate_hz} of clips, "
                f"{self.spectrogram.sample_rate_hz} of spectrogram: they must be equal"
            )

    @property
    def count(self) -> int:
        """Number of clips in all."""
        return len(self.effects) * self.clips_per_effect


@dataclass(frozen=True)
class Rendering:
    """A finished rendering: arrays and table on disk, and the sound of each clip, drawn anew."""

    folder: Path
    config: RenderConfig
    clips: Clips

    @cached_property
    def spectrograms(self) -> np.ndarray:
        """Memory map, float16 (clip, bin, frame), not standardised."""
        return self._array("spectrograms", True)

    @cached_property
    def dry_spectrograms(self) -> np.ndarray:
        """Memory map, float16 (clip, bin, frame), of the clips before their effects."""
        return self._array("dry", self.config.dry)

    @cached_property
    def features(self) -> np.ndarray:
        """Memory map, float32 (clip, row, value) of cepstral features, see `lib.audio.cepstra`."""
        return self._array("features", self.config.features)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per clip: clip (its number among those of its effect), effect, and where it is cut.

        That is group, recording, start_s, pitch_semitones and tempo. For each parameter of each
        effect there is `effect.parameter` in [0, 1], NaN in the rows of other effects.
        """
        return pd.read_parquet(self.folder / "table.parquet")

    def dry(self, row: int) -> np.ndarray:
        """The clip of a row before its effect, float32 (sample,)."""
        return self._audio(row)[0]

    def wet(self, row: int) -> np.ndarray:
        """The clip of a row after its effect, float32 (sample,): its spectrogram is on disk."""
        return self._audio(row)[1]

    def _array(self, name: str, rendered: bool) -> np.ndarray:
        if not rendered:
            raise BadInput(f"{self.folder}: rendered without {name}; ask for it by {name}=True")
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")

    def _audio(self, row: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        if not 0 <= row < self.config.count:
            last = self.config.count - 1
            raise BadInput(f"row {row} of {self.folder}: it has rows 0 to {last}")
        return _draw(self.config, self.clips, int(row))


@dataclass(frozen=True)
class ClipSet:
    """Clips under effects from one or more renderings, as one set."""

    parts: tuple[Rendering, ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        return pd.concat([part.table for part in self.parts], ignore_index=True)

    @cached_property
    def spectrograms(self) -> np.ndarray:
        """Not standardised, float16 (clip, bin, frame)."""
        return np.concatenate([part.spectrograms for part in self.parts])

    @cached_property
    def features(self) -> np.ndarray:
        """Cepstral features, float32 (clip, row, value)."""
        return np.concatenate([part.features for part in self.parts])

    @property
    def effects(self) -> np.ndarray:
        """Name of the effect of each clip."""
        return self.table["effect"].to_numpy()

    @property
    def groups(self) -> np.ndarray:
        """Person or song of each clip."""
        return self.table["group"].to_numpy()

    @property
    def key(self) -> list[str]:
        """Identifies the clips in the name of a stage."""
        return [part.folder.name for part in self.parts]


def render_set(
    corpus: str,
    effects: tuple[str, ...],
    clips_per_effect: int,
    seed: int,
    settings: Literal["fixed", "random"] = "random",
) -> ClipSet:
    """Clips of all groups of a corpus, with cepstral features: a rendering per effect.

    An effect is therefore rendered once, whichever sets it is a part of.
    """
    clips = ClipConfig(corpus=corpus, split="all", seed=seed)
    parts = []
    for effect in effects:
        config = RenderConfig(
            clips=clips,
            effects=(effect,),
            settings=settings,
            clips_per_effect=clips_per_effect,
            features=True,
        )
        parts.append(render(config))
    return ClipSet(tuple(parts))


def render(config: RenderConfig) -> Rendering:
    """The rendering of a config, computed unless it is on disk.

    A recording that turns out to be silent or broken is left out, with one warning for all of
    them. BadInput: no clip can be drawn, an effect fails (`effects.draw_wet`), float16 cannot hold
    a value, the disk is full.
    """
    recordings = load_corpus(config.clips.corpus)
    clips = Clips(config.clips, recordings)
    identity = {
        "render": config.model_dump(mode="json"),
        "recordings": fingerprint(config.clips.corpus, recordings),
    }
    skipped = {}

    def build(folder: Path) -> None:
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.filterwarnings("ignore", "corpus .*skipped")  # one warning follows for all
            drawn = Clips(config.clips, recordings)
            _write(folder, config, drawn)
        skipped.update(drawn.skipped)

    folder = stage("render", identity, build, __name__)
    clips.leave_out(skipped)
    return Rendering(folder, config, clips)


def effect_seed(seed: int, effect: str) -> int:
    """The seed of an effect's clips. That of "clean" is `seed` itself."""
    if effect in EFFECTS:
        return seed + 1000 * list(EFFECTS).index(effect)
    return seed + 1000 * (len(EFFECTS) + zlib.crc32(effect.encode()))  # a plug-in


def _draw(
    config: RenderConfig, clips: Clips, row: int
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Dry and wet audio (sample,) of a row, and its row of the table."""
    effect = config.effects[row // config.clips_per_effect]
    index = row % config.clips_per_effect
    clips = clips.with_seed(effect_seed(config.clips.seed, effect))
    dry, info = clips[index]
    rng = np.random.default_rng([clips.config.seed, index, 2])  # a clip takes [seed, index(, 1)]
    rate_hz = clips.config.sample_rate_hz
    wet, unit = draw_wet(effect, dry, rate_hz, config.settings, rng, clips.config.loudness_lufs)
    record = {"clip": index, "effect": effect, **info}
    for name, value in unit.items():
        record[f"{effect}.{name}"] = value
    return dry, wet, record


def _write(folder: Path, config: RenderConfig, clips: Clips) -> None:
    """Draw the clips, and write arrays and table as they come.

    The files are no memory maps: a full disk then raises OSError instead of killing the process,
    and pages that are written do not stay in memory.
    """
    schema = _schema(config)
    records = []
    label = f"render {config.clips.corpus} {config.clips.split}"
    with ExitStack() as stack:
        table = stack.enter_context(pq.ParquetWriter(folder / "table.parquet", schema))
        files = {}
        for row in progress(range(config.count), label=label):
            dry, wet, record = _draw(config, clips, row)
            for name, array in _arrays(config, dry, wet).items():
                if row == 0:
                    files[name] = stack.enter_context((folder / f"{name}.npy").open("wb"))
                    shape = (config.count, *array.shape)
                    header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(files[name], header)
                files[name].write(array.tobytes())
            records.append(record)
            if len(records) == ROW_GROUP:
                table.write_table(pa.Table.from_pylist(records, schema))
                records = []
        table.write_table(pa.Table.from_pylist(records, schema))


def _arrays(config: RenderConfig, dry: np.ndarray, wet: np.ndarray) -> dict[str, np.ndarray]:
    """What the files hold of a clip, by the name of the file."""
    arrays = {"spectrograms": spectrogram(wet, config.spectrogram).astype(np.float16)}
    if config.dry:
        arrays["dry"] = spectrogram(dry, config.spectrogram).astype(np.float16)
    for array in arrays.values():
        if not np.isfinite(array).all():
            raise BadInput(
                f"spectrogram.power = {config.spectrogram.power}: values above 65504 do not fit "
                "float16; give a smaller one"
            )
    if config.features:
        arrays["features"] = cepstral_features(fields(wet), fields(dry))
    return arrays


def _schema(config: RenderConfig) -> pa.Schema:
    """Columns of the table, the same for every row, so that it can be written as a stream."""
    columns = {"clip": pa.int64()}
    for name in ("effect", "group", "recording"):
        columns[name] = pa.string()
    for name in ("start_s", "pitch_semitones", "tempo"):
        columns[name] = pa.float64()
    for effect in config.effects:
        for parameter in find_effect(effect).parameters:
            columns[f"{effect}.{parameter.name}"] = pa.float64()
    return pa.schema(columns)
