"""Training, validation and test examples of digits, of dry sound or of wet and dry pairs. For stories 05, 06 and 08.

Digits are scaled to [0, 1]; sound is standardised by two constants of its training set, as in the report. Persons and
songs of validation and test are not those of training.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lib import corpora
from lib.batches import ArrayDataset
from lib.clips import ClipConfig
from lib.render import RenderConfig, Rendered, render
from lib.spectrograms import SpectrogramConfig, Standardiser, spectrogram

SMALL = SpectrogramConfig(n_mels=48, hop_length=1024)  # 48 x 48 values of a clip of 2.03 s


def load(
    corpus: str, train: int, held_out: int, progress: Callable[..., Any] | None = None,
    layout: SpectrogramConfig = SMALL, seed: int = 0,
) -> tuple[dict[str, ArrayDataset], dict[str, Any]]:
    """The data sets "train", "validation" and "test" of a corpus, and what identifies them for `training.fit`.

    train: training examples; held_out: clips of sound for validation, and as many for test, 0 for none (digits: always
    the last 2,000 training images and the 10,000 test images); layout, seed: of the spectrograms and clips of sound.
    """
    if corpus == "digits":
        x_train, x_test = corpora.digits("train")[0], corpora.digits("test")[0]
        arrays = {"train": x_train[:train], "validation": x_train[-2000:], "test": x_test}
        return {split: ArrayDataset(array, scale=1 / 255) for split, array in arrays.items()}, {"digits": train}
    parts = {}
    for split, count in {"train": train, "validation": held_out, "test": held_out}.items():
        if count:
            chosen = ClipConfig(corpus=corpus, split=split, seed=seed)
            config = RenderConfig(clips=chosen, spectrogram=layout, effects=("clean",), clips_per_effect=count)
            parts[split] = render(config, progress=progress)
    standardiser = Standardiser("constants").fit(parts["train"].spectrograms)
    sets = {split: ArrayDataset(part.spectrograms, standardiser=standardiser) for split, part in parts.items()}
    return sets, {split: part.folder.name for split, part in parts.items()}


@dataclass(frozen=True)
class Pairs:
    """Clips under effects, with their dry clips, as pictures of SMALL's layout; values below floor_db are set to it."""

    parts: tuple[Rendered, ...]  # one for each corpus
    floor_db: float
    standardiser: Standardiser | None  # None: fitted on the wet pictures

    @cached_property
    def table(self) -> pd.DataFrame:
        return pd.concat([part.table for part in self.parts], ignore_index=True)

    @cached_property
    def data(self) -> ArrayDataset:
        """The examples, (clip, 2 bin, frame): the wet picture's bins, then the dry one's."""
        wet, dry = (np.concatenate([getattr(part, kind) for part in self.parts])
                    for kind in ("spectrograms", "dry_spectrograms"))
        both = np.concatenate([wet, dry], 1).astype(np.float32).clip(self.floor_db)
        return ArrayDataset(both, standardiser=self.standardiser or Standardiser().fit(both[:, : SMALL.n_mels]))

    @cached_property
    def x(self) -> tuple[Tensor, Tensor]:
        """Wet and dry pictures, standardised, (clip, 1, bin, frame) each."""
        return self.data.__getitems__(np.arange(len(self.data))).chunk(2, 2)

    def picture(self, audio: np.ndarray) -> Tensor:
        """The picture (1, 1, bin, frame) of one more clip (sample,), prepared like these."""
        return self.data.prepare(spectrogram(audio, SMALL).numpy()[None].clip(self.floor_db))[None]


def pairs(
    corpora: tuple[str, ...], split: str, names: tuple[str, ...], count: int, seed: int, floor_db: float,
    standardiser: Standardiser | None = None, progress: Callable[..., Any] | None = None,
) -> Pairs:
    """Pairs of a split: count clips of each corpus under each effect of names, by random settings."""
    configs = [RenderConfig(clips=ClipConfig(corpus=corpus, split=split, seed=seed), spectrogram=SMALL, effects=names,
                            clips_per_effect=count, dry=True) for corpus in corpora]
    return Pairs(tuple(render(config, progress=progress) for config in configs), floor_db, standardiser)
