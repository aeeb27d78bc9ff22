"""Examples of digits, of dry sound, and of wet and dry sound in pairs, split and ready for a net.

Digits are scaled to [0, 1]. Sound is standardised by two constants of its training set, as in the
report. The persons and songs of validation and test are not those of training. Chapter 05
introduces the first two, chapter 12 the pairs.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from lib.audio import inversion
from lib.audio.levels import level
from lib.audio.spectrograms import SpectrogramConfig, spectrogram
from lib.data.batches import ArrayDataset, Splits
from lib.data.clips import ClipConfig
from lib.data.digits import load_digits
from lib.data.rendering import ClipSet, RenderConfig, render
from lib.data.standardiser import Standardiser

SMALL = SpectrogramConfig(n_mels=48, hop_length=1024)  # a clip of 2.03 s has 48 x 48 values


def load_examples(
    corpus: str, train: int, held_out: int, layout: SpectrogramConfig = SMALL, seed: int = 0
) -> Splits:
    """Examples of a corpus, split into training, validation and test.

    train: number of training examples. held_out: clips of sound for validation, and as many for
    test; with 0 both are None. Digits have always the last 2,000 training images and the 10,000
    test images. layout, seed: spectrograms of sound, and the draw of its clips.
    """
    if corpus == "digits":
        x_train = load_digits("train")[0]
        x_test = load_digits("test")[0]
        return Splits(
            ArrayDataset(x_train[:train], scale=1 / 255),
            ArrayDataset(x_train[-2000:], scale=1 / 255),
            ArrayDataset(x_test, scale=1 / 255),
            key={"digits": train},
        )
    counts = {"train": train}
    if held_out:
        counts |= {"validation": held_out, "test": held_out}
    renderings = {}
    for split, count in counts.items():
        clips = ClipConfig(corpus=corpus, split=split, seed=seed)
        config = RenderConfig(clips=clips, spectrogram=layout, clips_per_effect=count)
        renderings[split] = render(config)
    standardiser = Standardiser().fit(renderings["train"].spectrograms)
    sets = {"validation": None, "test": None}
    for split, rendering in renderings.items():
        sets[split] = ArrayDataset(rendering.spectrograms, standardiser=standardiser)
    key = {split: rendering.folder.name for split, rendering in renderings.items()}
    return Splits(**sets, key=key)


@dataclass(frozen=True)
class PairSet(ClipSet):
    """Clips under effects with their dry clips, as spectrograms of SMALL's layout.

    floor_db: values below it are set to it. standardiser: fitted on the wet spectrograms of this
    set where it is None.
    """

    floor_db: float
    standardiser: Standardiser | None = None

    @cached_property
    def data(self) -> ArrayDataset:
        """The examples (clip, 2 bin, frame): bins of the wet spectrogram, then of the dry one."""
        dry = np.concatenate([part.dry_spectrograms for part in self.parts])
        both = np.concatenate([self.spectrograms, dry], axis=1)
        both = both.astype(np.float32).clip(self.floor_db)
        standardiser = self.standardiser or Standardiser().fit(both[:, : SMALL.n_mels])
        return ArrayDataset(both, standardiser=standardiser)

    @cached_property
    def x(self) -> tuple[Tensor, Tensor]:
        """Wet and dry spectrograms, standardised, (clip, 1, bin, frame) each."""
        return self.data[np.arange(len(self.data))].chunk(2, dim=2)

    def picture(self, audio: np.ndarray) -> Tensor:
        """The spectrogram (1, 1, bin, frame) of audio (sample,), prepared like those of the set."""
        return self.data.prepare(spectrogram(audio, SMALL)[None].clip(self.floor_db))[None]

    def to_audio(self, x: Tensor, dry: np.ndarray, loudness_lufs: float = -23.0) -> np.ndarray:
        """Sound (sample,) of a standardised spectrogram (1, bin, frame).

        Its phase is that of the dry clip (sample,).
        """
        db = self.data.standardiser.invert(x)[0]
        phase = inversion.phase(dry, SMALL)
        audio = inversion.to_audio(db, SMALL, phase, samples=len(dry))
        return level(audio, SMALL.sample_rate_hz, loudness_lufs)


def render_pairs(
    corpora: tuple[str, ...],
    split: str,
    effects: tuple[str, ...],
    clips_per_effect: int,
    seed: int,
    floor_db: float,
    standardiser: Standardiser | None = None,
) -> PairSet:
    """Pairs of one split of several corpora, under random settings; a rendering per corpus."""
    parts = []
    for corpus in corpora:
        config = RenderConfig(
            clips=ClipConfig(corpus=corpus, split=split, seed=seed),
            spectrogram=SMALL,
            effects=effects,
            clips_per_effect=clips_per_effect,
            dry=True,
        )
        parts.append(render(config))
    return PairSet(tuple(parts), floor_db, standardiser)


def paired_splits(
    corpora: tuple[str, ...],
    effects: tuple[str, ...],
    train_clips: int,
    test_clips: int,
    seed: int,
    floor_db: float,
) -> tuple[dict[str, PairSet], Splits]:
    """Pairs by split ("train", "validation", "test"), and the same as data sets for a net.

    train_clips, test_clips: clips of each effect and corpus; validation has a third of test_clips.
    All are standardised by the wet training spectrograms.
    """
    pairs = {}
    standardiser = None
    counts = {"train": train_clips, "validation": test_clips // 3, "test": test_clips}
    for split, count in counts.items():
        pairs[split] = render_pairs(corpora, split, effects, count, seed, floor_db, standardiser)
        standardiser = pairs["train"].data.standardiser
    sets = {split: each.data for split, each in pairs.items()}
    folders = [folder for each in pairs.values() for folder in each.key]
    return pairs, Splits(**sets, key={"pairs": folders, "floor_db": floor_db})
