"""Clips: the unit of every experiment, cut from recordings, levelled, faded; and the splits. Introduced by story 01.

A clip is a pure function of (config, index): the same in any order, process or machine. Groups (persons, songs) are
balanced, and no group stands on two sides of a split.
"""

import warnings
from collections.abc import Sequence
from itertools import groupby
from typing import Literal

import numpy as np
from pedalboard import time_stretch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib import BadInput
from lib.audio.levels import block_energies, gated, level
from lib.data import corpora
from lib.data.recordings import Recording, read_stretch

SPLITS = ("train", "validation", "test")
SHARES = {
    "test": 0.2,
    "validation": 0.12,
}  # of the groups: 8 persons give 5, 1, 2; 24 songs give 16, 3, 5
SILENT = 1e-5  # mean square, full scale 1: the report's bound
SILENT_LUFS = -50.0  # as recorded; a steady sound of this loudness has about the mean square above
DRAWS = 100  # positions tried before a clip is given up


class ClipConfig(BaseModel):
    """What decides a clip, beside its index. BadInput names the field, the value and what would be right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str = "speech"
    split: Literal["train", "validation", "test", "all"]
    clip_s: float = Field(2.03, ge=0.5, le=60)
    sample_rate_hz: int = Field(24000, ge=8000, le=192000)
    loudness_lufs: float = Field(-23.0, ge=-40, le=-10)
    fade_ms: float = Field(20, ge=0, le=200)
    augment: bool = False
    split_seed: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)

    def __init__(self, **fields) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            wrong = [
                f"{'.'.join(map(str, e['loc']))} (given: {e['input']!r}): {e['msg']}"
                for e in error.errors()
            ]
            raise BadInput(
                f"clips: {'; '.join(wrong)}. Fields: {', '.join(type(self).model_fields)}"
            ) from None
        if self.augment and self.split != "train":
            raise BadInput(
                f"clips: augment = True with split = {self.split!r}; only training clips are augmented"
            )


def split_groups(recordings: Sequence[Recording], split_seed: int) -> dict[str, list[Recording]]:
    """Recordings of each split, {"train": [...], "validation": [...], "test": [...]}, no group in two of them.

    Of the groups 20 % are for test and 12 % for validation, at least one each. A split that the corpus itself gives
    is kept; what it does not give is taken from groups without one, else from its training groups.
    BadInput: fewer groups than splits, or a group that the corpus puts in two splits.
    """
    own = {}
    for recording in recordings:
        if own.setdefault(recording.group, recording.split) != recording.split:
            raise BadInput(
                f"group {recording.group!r} stands in two splits of its corpus; a group must be in one"
            )
    unknown = sorted({split for split in own.values() if split not in (None, *SPLITS)})
    if unknown:
        raise BadInput(
            f"split {unknown[0]!r} of a recording is unknown; known are {', '.join(SPLITS)}"
        )
    side = {group: split for group, split in own.items() if split}
    order = np.random.default_rng(split_seed).permutation(sorted(own)).tolist()
    for name, share in SHARES.items():
        if name not in own.values():
            free = [g for g in order if g not in side] or [g for g in order if side[g] == "train"]
            side |= dict.fromkeys(free[: max(1, round(share * len(own)))], name)
    side = {group: side.get(group, "train") for group in own}
    empty = [name for name in SPLITS if name not in side.values()]
    if empty:
        raise BadInput(
            f"{len(own)} group(s) {sorted(own)[:5]} cannot fill the splits {', '.join(SPLITS)}: {empty[0]} "
            "would be empty; give at least three persons, songs or sub-folders"
        )
    return {name: [r for r in recordings if side[r.group] == name] for name in SPLITS}


class Clips:
    """Clips of one split of one corpus, by index: `Clips(config).clip(7)`.

    recordings: of the whole corpus, by default its own. One that is shorter than a clip, silent or broken is left out:
    a warning tells it when it is met, `skipped` says why. BadInput: none left.
    """

    def __init__(self, config: ClipConfig, recordings: Sequence[Recording] | None = None) -> None:
        self.config = config
        recordings = list(corpora.load_corpus(config.corpus) if recordings is None else recordings)
        if config.split != "all":
            recordings = split_groups(recordings, config.split_seed)[config.split]
        self.recordings = sorted(recordings, key=lambda r: (r.group, r.name))
        self.skipped: dict[str, str] = {}
        self._where = f"corpus {config.corpus!r}, split {config.split!r}"
        self._silent: dict[str, bool] = {}
        self._long = [r for r in self.recordings if r.seconds >= config.clip_s]
        self._all = self._groups(set())
        short = [r for r in self.recordings if r.seconds < config.clip_s]
        self._skip(
            {r.name: f"{r.seconds:.2f} s, shorter than {config.clip_s} s" for r in short},
            fatal=not self._long,
        )

    @property
    def samples(self) -> int:
        """Length of a clip in samples."""
        return round(self.config.clip_s * self.config.sample_rate_hz)

    def clip(self, index: int) -> tuple[np.ndarray, dict]:
        """Clip number `index` >= 0: audio float32 (sample,), and recording, group, start_s, pitch_semitones, tempo.

        A position is redrawn where the clip is silent: below -50 LUFS as recorded, or, levelled to -23 LUFS, with a
        half whose mean square is below 1e-5. Fades come next, the level last. With `augment`, half of the clips are
        shifted by up to 2 semitones and half are played at 0.8 to 1.2 times the tempo. BadInput when no recording is
        of use, or when 100 positions were silent.
        """
        if index < 0:
            raise BadInput(f"clip index {index}: an index is 0 or more")
        config, rng = self.config, np.random.default_rng([self.config.seed, index])
        shifted, stretched, height, pace = np.random.default_rng([config.seed, index, 1]).random(4)
        pitch = 4 * height - 2 if config.augment and shifted < 0.5 else 0.0
        failed, silent, group = (
            set(),
            0,
            "",
        )  # kept for this clip alone: what other clips met does not change it
        while silent < DRAWS:
            recording = self._choose(rng, failed, group)
            fastest = min(1.2, recording.seconds / config.clip_s)
            tempo = 0.8 + (fastest - 0.8) * pace if config.augment and stretched < 0.5 else 1.0
            start_s = rng.random() * (recording.seconds - config.clip_s * tempo)
            try:
                audio = self._cut(recording, start_s, pitch, tempo)
                if audio is None and self._is_silent(recording):
                    raise BadInput("silent")
            except BadInput as error:
                failed, group = (
                    failed | {recording.name},
                    recording.group,
                )  # whose share a bad file leaves as it is
                self._skip({recording.name: str(error)}, fatal=len(failed) == len(self._long))
                continue
            if audio is not None:
                info = {"recording": recording.name, "group": recording.group, "start_s": start_s}
                return audio, info | {"pitch_semitones": pitch, "tempo": tempo}
            silent, group = silent + 1, ""
        raise BadInput(
            f"{self._where}: clip {index} has a silent half at each of {DRAWS} positions; give clips "
            f"shorter than {config.clip_s} s, or recordings with fewer pauses"
        )

    def _groups(self, failed: set[str]) -> list[tuple[list[Recording], np.ndarray]]:
        """Recordings of each group, and where each one ends in the sum of their seconds."""
        groups = groupby((r for r in self._long if r.name not in failed), key=lambda r: r.group)
        return [
            (inside, np.cumsum([r.seconds for r in inside]))
            for inside in (list(found) for _, found in groups)
        ]

    def _choose(self, rng: np.random.Generator, failed: set[str], group: str) -> Recording:
        """This group if anything is left of it, else one with equal chance; a recording in it by its seconds."""
        groups = (
            self._groups(failed) if failed else self._all
        )  # so that a clip of a large corpus costs no more
        inside, ends = (
            next((g for g in groups if g[0][0].group == group), None)
            or groups[rng.integers(len(groups))]
        )
        return inside[
            min(np.searchsorted(ends, rng.random() * ends[-1], side="right"), len(inside) - 1)
        ]

    def _cut(
        self, recording: Recording, start_s: float, pitch: float, tempo: float
    ) -> np.ndarray | None:
        """The clip float32 (sample,) from a position, or None where it is silent."""
        rate_hz, changed = self.config.sample_rate_hz, pitch != 0 or tempo != 1
        seconds = self.config.clip_s * tempo + (0.02 if changed else 0)  # so that its end is filled
        audio = read_stretch(recording, start_s, seconds, rate_hz)
        energies = block_energies(audio, rate_hz)
        if not gated(energies) >= SILENT_LUFS:
            return None
        if changed:
            audio = time_stretch(
                audio, rate_hz, stretch_factor=tempo, pitch_shift_in_semitones=pitch
            )[0]
            audio = np.pad(audio, (0, max(0, self.samples - audio.size)))[: self.samples]
            energies = block_energies(audio, rate_hz)
        if any(
            np.square(half).mean() < SILENT
            for half in np.array_split(level(audio, rate_hz, -23.0, energies), 2)
        ):
            return None
        ramp = np.linspace(
            0, 1, round(self.config.fade_ms / 1000 * rate_hz), endpoint=False, dtype=np.float32
        )
        audio[: ramp.size] *= ramp
        audio[audio.size - ramp.size :] *= ramp[::-1]
        return level(audio, rate_hz, self.config.loudness_lufs)

    def _is_silent(self, recording: Recording) -> bool:
        """Whether no tenth of a second of a recording, of an hour in 120 pieces at most, reaches the report's bound."""
        if recording.name not in self._silent:
            rate_hz, starts = (
                self.config.sample_rate_hz,
                np.arange(0, end := recording.seconds, max(30.0, end / 120)),
            )
            pieces = (read_stretch(recording, s, min(30.0, end - s), rate_hz) for s in starts)
            blocks = (
                np.array_split(piece, max(1, piece.size * 10 // rate_hz))
                for piece in pieces
                if piece.size
            )
            self._silent[recording.name] = all(
                np.square(b).mean() < SILENT for piece in blocks for b in piece
            )
        return self._silent[recording.name]

    def _skip(self, reasons: dict[str, str], fatal: bool) -> None:
        """Note recordings that are left out; warn when one is new, BadInput when none is left."""
        new = reasons.keys() - self.skipped.keys()
        self.skipped |= reasons
        told = "; ".join(f"{name}: {reason}" for name, reason in list(self.skipped.items())[-5:])
        more = f"; and {len(self.skipped) - 5} more" if len(self.skipped) > 5 else ""
        count = f"{len(self.skipped)} of {len(self.recordings)} recordings"
        if fatal:
            raise BadInput(
                f"{self._where}: no recording to cut clips from; {count} are of no use: {told}{more}"
            )
        if new:
            warnings.warn(f"{self._where}: {count} skipped: {told}{more}", stacklevel=3)
