"""Rendering: clips through effects to spectrograms on disk, with labels. Introduced by story 04, used by 06 and 07.

A rendering is a stage: `spectrograms.npy`, float16 (clip, bin, frame), read at random through a memory map, and
`table.parquet`, one row a clip. Both are written as a stream, so memory does not grow with the number of clips, and
every clip is a pure function of (config, index), so the bytes do not depend on the number of workers.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator
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

from lib import BadInput, artifacts, corpora, effects, prints
from lib.clips import ClipConfig, Clips
from lib.spectrograms import SpectrogramConfig, shape, spectrogram

BLOCK = 32  # clips that a worker computes at a time
ROW_GROUP = 4096  # rows of the table that are held before they are written


class RenderConfig(artifacts.Config):
    """What decides a rendering. Row i is clip i under effect number i // clips_per_effect: classes share no clip."""

    clips: ClipConfig
    spectrogram: SpectrogramConfig = SpectrogramConfig()
    effects: tuple[str, ...] = ("clean",)
    settings: Literal["fixed", "random"] = "random"
    clips_per_effect: int
    prints: bool = False  # also of each clip and its dry clip, see lib.prints
    dry: bool = False  # also the spectrogram of each dry clip

    def __init__(self, **fields) -> None:
        super().__init__(**fields)
        if not self.effects:
            raise BadInput(f"effects = (): a rendering needs at least one effect of {', '.join(effects.EFFECTS)}")
        for name in self.effects:
            effects.find(name)
        if len(set(self.effects)) < len(self.effects):
            raise BadInput(f"effects = {self.effects}: an effect stands there twice; name each once")
        if self.clips_per_effect < 1:
            classes = ", ".join(self.effects)
            raise BadInput(f"clips_per_effect = {self.clips_per_effect}: no clips for {classes}; give 1 or more")
        rates = self.clips.sample_rate_hz, self.spectrogram.sample_rate_hz
        if len(set(rates)) > 1:
            raise BadInput(f"sample_rate_hz = {rates[0]} of clips, {rates[1]} of spectrogram: they must be equal")

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
        """Memory map, float32 (clip, row, value), see `lib.prints`; BadInput where the config asked for none."""
        if not self.config.prints:
            raise BadInput(f"{self.folder}: rendered without prints; ask for them by prints=True")
        return np.load(self.folder / "prints.npy", mmap_mode="r")

    @cached_property
    def dry_spectrograms(self) -> np.ndarray:
        """Memory map, float16 (clip, bin, frame), of the clips before their effects; BadInput where none were asked."""
        if not self.config.dry:
            raise BadInput(f"{self.folder}: rendered without dry spectrograms; ask for them by dry=True")
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
            raise BadInput(f"row {index} of {self.folder}: it has rows 0 to {self.config.count - 1}")
        return int(index)


def render(
    config: RenderConfig, workers: int = 1, progress: Callable[[Iterable, int, str], Iterable] | None = None
) -> Rendered:
    """The rendering of a config, computed unless it is there.

    workers: processes; progress: called as progress(iterable, total, label), yields what the iterable does.
    A recording that turns out to be silent or broken is left out, with one warning for all of them. BadInput: no clip
    can be drawn, an effect fails (`effects.draw`), values that float16 cannot hold, no space.
    """
    if workers < 1:
        raise BadInput(f"workers = {workers}: give 1 or more")
    fingerprint, skipped = _fingerprint(config.clips.corpus), {}
    known = set(_clips(config.clips, fingerprint).skipped)  # too short: told; too few groups: refused

    def build(folder: Path) -> None:
        starts = range(0, config.count, BLOCK)
        blocks = _blocks(config, starts, fingerprint, workers)
        if progress:
            blocks = progress(blocks, len(starts), f"render {config.clips.corpus} {config.clips.split}")
        schema, rows = _schema(config), []
        bins, frames = shape(config.spectrogram, round(config.clips.clip_s * config.clips.sample_rate_hz))
        arrays = {"spectrograms": ("<f2", (bins, frames))}
        if config.dry:
            arrays["dry"] = arrays["spectrograms"]
        if config.prints:
            arrays["prints"] = ("<f4", prints.shape(round(config.clips.clip_s * config.clips.sample_rate_hz)))
        # plain files and no map: a full disk is then an error and no bus error, and written pages are not held
        with ExitStack() as stack, pq.ParquetWriter(folder / "table.parquet", schema) as table:
            files = {name: stack.enter_context(open(folder / f"{name}.npy", "wb")) for name in arrays}
            for name, (kind, size) in arrays.items():
                header = {"descr": kind, "fortran_order": False, "shape": (config.count, *size)}
                np.lib.format.write_array_header_1_0(files[name], header)
            for found, new_rows, new_skipped in blocks:
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
    new = {name: why for name, why in skipped.items() if name not in known}
    if new:
        named = "; ".join(f"{name}: {why}" for name, why in sorted(new.items())[:5])
        more = f"; and {len(new) - 5} more" if len(new) > 5 else ""
        warnings.warn(f"corpus {config.clips.corpus!r}: {len(new)} recordings skipped: {named}{more}", stacklevel=2)
    return Rendered(folder, config, fingerprint)


def _fingerprint(corpus: str) -> str:
    """Hash of the recordings of a corpus: names, groups, and size and time of every file, as make looks at them.

    The embedded files carry hashes of their own, and a checkout gives them new times: their sizes are enough.
    """
    digest = hashlib.sha256()
    for recording in corpora.load(corpus):
        embedded = recording.corpus in ("speech", "music")
        files = [(path.stat().st_size, 0 if embedded else path.stat().st_mtime_ns) for path in recording.paths]
        digest.update(repr((recording.name, recording.group, recording.split, files)).encode())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=8)
def _clips(config: ClipConfig, fingerprint: str) -> Clips:
    """The clips of a config, opened once per process and state of the corpus."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(folder|vctk|musdb18) .*skipped")  # told when the fingerprint was taken
        return Clips(config)


def _clip(config: RenderConfig, index: int, fingerprint: str) -> tuple[np.ndarray, np.ndarray, dict]:
    """Dry and wet audio (sample,) and the table's row of a clip: a pure function of (config, index)."""
    effect = config.effects[index // config.clips_per_effect]
    dry, info = _clips(config.clips, fingerprint).clip(index)
    rng = np.random.default_rng([config.clips.seed, index, 2])  # clips draw from [seed, index] and [seed, index, 1]
    wet, unit = effects.draw(effect, dry, config.clips.sample_rate_hz, config.settings, rng)
    row = {"index": index, "clip": index, "effect": effect, **info}
    return dry, wet, row | {f"{effect}.{name}": value for name, value in unit.items()}


def _blocks(config: RenderConfig, starts: range, fingerprint: str, workers: int) -> Iterator[tuple]:
    """Blocks of clips in order, a few ahead of the one that is taken."""
    if workers == 1:
        return (_block(config, start, fingerprint) for start in starts)
    parallel = joblib.Parallel(workers, return_as="generator", pre_dispatch="2 * n_jobs", batch_size=1)
    return parallel(joblib.delayed(_block)(config, start, fingerprint) for start in starts)


def _block(
    config: RenderConfig, start: int, fingerprint: str
) -> tuple[dict[str, np.ndarray], list[dict], dict[str, str]]:
    """What is kept of each clip from start on, by file, rows, and recordings that were left out."""
    threads, rows, kept = torch.get_num_threads(), [], {}
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "corpus .*skipped")  # gathered: one warning for all workers
            for index in range(start, min(start + BLOCK, config.count)):
                dry, wet, row = _clip(config, index, fingerprint)
                for name, audio in {"spectrograms": wet, **({"dry": dry} if config.dry else {})}.items():
                    picture = spectrogram(audio, config.spectrogram).numpy()  # one at a time: a batch leaves the cache
                    with np.errstate(over="ignore"):
                        kept.setdefault(name, []).append(picture.astype("<f2", order="C"))
                if config.prints:
                    kept.setdefault("prints", []).append(prints.effect_print(wet, dry))
                rows.append(row)
            skipped = dict(_clips(config.clips, fingerprint).skipped)
    finally:
        torch.set_num_threads(threads)
    block = {name: np.stack(parts) for name, parts in kept.items()}
    if not all(np.isfinite(block[name]).all() for name in block if name != "prints"):
        power = config.spectrogram.power
        raise BadInput(f"spectrogram.power = {power}: values above 65504 do not fit into float16; give a smaller one")
    return block, rows, skipped


def _schema(config: RenderConfig) -> pa.Schema:
    """Columns of the table: the same for every row, so that it can be written as a stream."""
    numbers = ["start_s", "pitch_semitones", "tempo"]
    numbers += [f"{name}.{parameter.name}" for name in config.effects for parameter in effects.find(name).parameters]
    fields = [("index", pa.int64()), ("clip", pa.int64())]
    fields += [(name, pa.string()) for name in ("effect", "group", "recording")]
    return pa.schema(fields + [(name, pa.float64()) for name in numbers])
