"""Clips, the unit of every experiment: cut from recordings, levelled, faded. For chapter 01 on.

A clip is a pure function of (config, index): the same in any order, process or machine. Persons and
songs are balanced: each is drawn equally often, whatever the length of its recordings.
"""

import copy
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pedalboard import time_stretch
from pydantic import Field

from lib import BadInput
from lib.audio.levels import BLOCK_S, block_energies, gated, level, own_loudness
from lib.config import Config
from lib.data.corpora import load_corpus
from lib.data.recordings import Recording, listed, pieces, read_stretch, silence, warn_skipped
from lib.data.splits import split_groups

SILENT = 1e-5  # mean square of a half of a clip at -23 LUFS: the report's bound
SILENT_LU = -30.0  # a clip is silent so far below its recording
FLOOR_LUFS = -80.0  # a recording below it is silent, whatever its gain was
LOUD_LUFS = 3.0  # no recording within full scale is louder
DRAWS = 100  # positions that are tried before a clip is given up
SPARE_S = 0.02  # read beyond a stretched clip, so that its end is filled


class ClipConfig(Config):
    """All that decides a clip, beside its index."""

    corpus: str = "speech"
    split: Literal["train", "validation", "test", "all"]
    clip_s: float = Field(2.03, ge=0.5, le=60)
    sample_rate_hz: int = Field(24000, ge=8000, le=192000)
    loudness_lufs: float = Field(-23.0, ge=-40, le=-10)
    fade_ms: float = Field(20, ge=0, le=200)
    augment: bool = False
    split_seed: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        if self.augment and self.split != "train":
            raise BadInput(
                f"clips: augment = True with split = {self.split!r}; "
                "only training clips are augmented"
            )


class Clips:
    """Clips of one split of one corpus by index: `audio, info = Clips(config)[7]`.

    recordings: those of the whole corpus; they are listed where none are given. A recording that is
    shorter than a clip, silent or broken is left out with a warning, and `skipped` says why.
    BadInput: none is left.
    """

    def __init__(self, config: ClipConfig, recordings: Sequence[Recording] | None = None) -> None:
        if recordings is None:
            recordings = load_corpus(config.corpus)
        if config.split != "all":
            recordings = split_groups(recordings, config.split_seed)[config.split]
        self.config = config
        self.recordings = sorted(recordings, key=lambda r: (r.group, r.name))
        self.skipped: dict[str, str] = {}
        self._loudness: dict[str, float] = {}
        self._usable = []
        short = {}
        for recording in self.recordings:
            if recording.seconds >= config.clip_s:
                self._usable.append(recording)
            else:
                short[recording.name] = f"{recording.seconds:.2f} s, shorter than {config.clip_s} s"
        self._groups = self._grouped(set())
        self.leave_out(short, none_left=not self._usable)

    @property
    def samples(self) -> int:
        """Length of a clip in samples."""
        return round(self.config.clip_s * self.config.sample_rate_hz)

    def with_seed(self, seed: int) -> "Clips":
        """Other clips of the same recordings; both share what they find out about these."""
        other = copy.copy(self)
        other.config = self.config.model_copy(update={"seed": seed})
        return other

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Clip number `index` >= 0: audio float32 (sample,), and where it comes from.

        The second has recording, group, start_s, pitch_semitones and tempo. A position is drawn
        again where the clip is silent: more than 30 LU below the loudness of its recording, or,
        levelled to -23 LUFS, with a half whose mean square is below 1e-5. So the gain of a
        recording does not matter, down to a loudness of -80 LUFS: below it a recording is silent.
        Fades come next, the level last. With `augment`, half of the clips are shifted by up to 2
        semitones and half are played at 0.8 to 1.2 times the tempo. BadInput: no recording is
        usable, or 100 positions were silent.
        """
        if index < 0:
            raise BadInput(f"clip index {index}: an index is 0 or more")
        config = self.config
        rng = np.random.default_rng([config.seed, index])
        shifted, stretched, height, pace = np.random.default_rng([config.seed, index, 1]).random(4)
        pitch = 4 * height - 2 if config.augment and shifted < 0.5 else 0.0
        failed = set()  # for this clip alone: other clips must not depend on it
        group, silent = "", 0
        while silent < DRAWS:
            recording = self._draw_recording(rng, failed, group)
            tempo = 1.0
            if config.augment and stretched < 0.5:
                fastest = min(1.2, recording.seconds / config.clip_s)
                tempo = 0.8 + (fastest - 0.8) * pace
            start_s = rng.random() * (recording.seconds - config.clip_s * tempo)
            try:
                audio = self._cut(recording, start_s, pitch, tempo)
                if audio is None and self._loudness_of(recording) < FLOOR_LUFS:
                    raise BadInput(silence(recording))
            except BadInput as error:
                failed.add(recording.name)
                group = recording.group  # a bad file does not lessen the share of its group
                none_left = len(failed) == len(self._usable)
                self.leave_out({recording.name: str(error)}, none_left)
                continue
            if audio is not None:
                return audio, {
                    "recording": recording.name,
                    "group": recording.group,
                    "start_s": start_s,
                    "pitch_semitones": pitch,
                    "tempo": tempo,
                }
            silent += 1
            group = ""
        raise BadInput(
            f"{self._name}: clip {index} has a silent half at each of {DRAWS} positions; "
            f"give clips shorter than {config.clip_s} s, or recordings with fewer pauses"
        )

    @property
    def _name(self) -> str:
        return f"corpus {self.config.corpus!r}, split {self.config.split!r}"

    def _grouped(self, failed: set[str]) -> dict[str, tuple[list[Recording], np.ndarray]]:
        """Recordings of each group that did not fail, and the running sum of their seconds."""
        members = defaultdict(list)
        for recording in self._usable:
            if recording.name not in failed:
                members[recording.group].append(recording)
        groups = {}
        for name, recordings in members.items():
            groups[name] = recordings, np.cumsum([r.seconds for r in recordings])
        return groups

    def _draw_recording(self, rng: np.random.Generator, failed: set[str], group: str) -> Recording:
        """Draw from this group if it has any left, else from one of all with equal chance.

        Within a group, the chance of a recording is proportional to its seconds.
        """
        groups = self._grouped(failed) if failed else self._groups
        if group not in groups:
            group = list(groups)[rng.integers(len(groups))]
        recordings, ends_s = groups[group]
        place = np.searchsorted(ends_s, rng.random() * ends_s[-1], side="right")
        return recordings[min(place, len(recordings) - 1)]

    def _cut(
        self, recording: Recording, start_s: float, pitch: float, tempo: float
    ) -> np.ndarray | None:
        """The clip float32 (sample,) at a position, or None where it is silent."""
        rate_hz = self.config.sample_rate_hz
        changed = pitch != 0 or tempo != 1
        seconds = self.config.clip_s * tempo + SPARE_S * changed
        audio = read_stretch(recording, start_s, seconds, rate_hz)
        energies = block_energies(audio, rate_hz)
        if not gated(energies) >= LOUD_LUFS + SILENT_LU:  # above, any recording's clip is loud
            own = self._loudness_of(recording)
            raised = energies * 10 ** ((-23.0 - own) / 10) if own >= FLOOR_LUFS else energies[:0]
            if not gated(raised) >= -23.0 + SILENT_LU:
                return None
        if changed:
            (audio,) = time_stretch(
                audio, rate_hz, stretch_factor=tempo, pitch_shift_in_semitones=pitch
            )
            audio = np.pad(audio, (0, max(0, self.samples - audio.size)))[: self.samples]
            energies = block_energies(audio, rate_hz)
        for half in np.array_split(level(audio, rate_hz, -23.0, energies), 2):
            if np.square(half).mean() < SILENT:
                return None
        fade = round(self.config.fade_ms / 1000 * rate_hz)
        ramp = np.linspace(0, 1, fade, endpoint=False, dtype=np.float32)
        audio[:fade] *= ramp
        audio[audio.size - fade :] *= ramp[::-1]
        return level(audio, rate_hz, self.config.loudness_lufs)

    def _loudness_of(self, recording: Recording) -> float:
        if recording.name not in self._loudness:
            energies = _energies(recording, self.config.sample_rate_hz)
            self._loudness[recording.name] = own_loudness(energies)
        return self._loudness[recording.name]

    def leave_out(self, reasons: dict[str, str], none_left: bool = False) -> None:
        """Note why recordings are left out, and warn of new ones. BadInput: none is left."""
        new = {name: why for name, why in reasons.items() if name not in self.skipped}
        self.skipped.update(new)
        total = len(self.recordings)
        if none_left:
            raise BadInput(
                f"{self._name}: no recording to cut clips from; {len(self.skipped)} of {total} "
                f"recordings are of no use: {listed(self.skipped)}"
            )
        warn_skipped(self._name, "recordings", new, total)


def _energies(recording: Recording, rate_hz: int) -> np.ndarray:
    """The block energies of a recording (block,), in pieces."""
    energies = [np.zeros(0)]
    for start_s, seconds in pieces(recording):
        piece = read_stretch(recording, start_s, seconds, rate_hz)
        if piece.size >= BLOCK_S * rate_hz + 1:
            energies.append(block_energies(piece, rate_hz))
    return np.concatenate(energies)
