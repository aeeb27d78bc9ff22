"""Wet and dry pictures of clips, one above the other, for nets that are told the dry clip. Introduced by story 08."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lib.audio import inversion
from lib.audio.levels import level
from lib.audio.spectrograms import spectrogram
from lib.book.parameters import BetweenEffects
from lib.data.batches import ArrayDataset, Splits
from lib.data.clips import ClipConfig
from lib.data.examples import SMALL
from lib.data.rendering import RenderConfig, Rendered, render
from lib.data.standardiser import Standardiser
from lib.vae.checkpoints import Run
from lib.vae.config import TrainingConfig
from lib.vae.training import train


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
        wet, dry = (
            np.concatenate([getattr(part, kind) for part in self.parts])
            for kind in ("spectrograms", "dry_spectrograms")
        )
        both = np.concatenate([wet, dry], 1).astype(np.float32).clip(self.floor_db)
        return ArrayDataset(
            both, standardiser=self.standardiser or Standardiser().fit(both[:, : SMALL.n_mels])
        )

    @cached_property
    def x(self) -> tuple[Tensor, Tensor]:
        """Wet and dry pictures, standardised, (clip, 1, bin, frame) each."""
        return self.data.__getitems__(np.arange(len(self.data))).chunk(2, 2)

    def picture(self, audio: np.ndarray) -> Tensor:
        """The picture (1, 1, bin, frame) of one more clip (sample,), prepared like these."""
        return self.data.prepare(spectrogram(audio, SMALL)[None].clip(self.floor_db))[None]

    def heard(self, values: Tensor, dry: np.ndarray, loudness_lufs: float = -23.0) -> np.ndarray:
        """Sound (sample,) of one standardised picture (1, bin, frame), with the phase of its dry clip (sample,)."""
        phase, db = inversion.phase(dry, SMALL), self.data.standardiser.invert(values)[0]
        return level(
            inversion.to_audio(db, SMALL, phase, samples=len(dry)),
            SMALL.sample_rate_hz,
            loudness_lufs,
        )


def pairs(
    corpora: tuple[str, ...],
    split: str,
    names: tuple[str, ...],
    count: int,
    seed: int,
    floor_db: float,
    standardiser: Standardiser | None = None,
    progress: Callable[..., Any] | None = None,
) -> Pairs:
    """Pairs of a split: count clips of each corpus under each effect of names, by random settings."""
    configs = [
        RenderConfig(
            clips=ClipConfig(corpus=corpus, split=split, seed=seed),
            spectrogram=SMALL,
            effects=names,
            clips_per_effect=count,
            dry=True,
        )
        for corpus in corpora
    ]
    return Pairs(
        tuple(render(config, progress=progress) for config in configs), floor_db, standardiser
    )


def fit(
    parameters: BetweenEffects, names: tuple[str, ...], progress: Callable[..., Any] | None = None
) -> tuple[dict[str, Pairs], Run]:
    """The pairs of a story by split, and the calibrated told picture VAE of its settings, trained on them."""
    found, few, scale = {}, parameters.test_clips, None
    for split, count in {
        "train": parameters.train_clips,
        "validation": few // 3,
        "test": few,
    }.items():
        found[split] = pairs(
            parameters.corpora,
            split,
            names,
            count,
            parameters.seed,
            parameters.floor_db,
            scale,
            progress,
        )
        scale = found["train"].data.standardiser
    preset = "conditional_spectrogram_paired" if parameters.paired else "conditional_spectrogram"
    config = TrainingConfig(
        preset=preset,
        latent=parameters.latent,
        epochs=parameters.epochs,
        loss="calibrated",
        learning_rate=6e-3,
        batch_size=16,
        seed=parameters.seed,
    )
    return found, train(config, splits(found))


def splits(pairs_of: dict[str, Pairs]) -> Splits:
    """Training, validation and test pairs of one floor, as a training takes them."""
    sets = {split: part.data for split, part in pairs_of.items()}
    folders = [rendering.folder.name for part in pairs_of.values() for rendering in part.parts]
    return Splits(**sets, key={"pairs": folders, "floor_db": pairs_of["train"].floor_db})
