"""Training, validation and test examples of digits or of dry sound, ready for a net. For stories 05 and 06.

Digits are scaled to [0, 1]; sound is standardised by two constants of its training set, as in the report. Persons and
songs of validation and test are not those of training.
"""

from collections.abc import Callable
from typing import Any

from lib.audio.spectrograms import SpectrogramConfig, Standardiser
from lib.data import corpora
from lib.data.batches import ArrayDataset
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig, render

SMALL = SpectrogramConfig(n_mels=48, hop_length=1024)  # 48 x 48 values of a clip of 2.03 s


def load(
    corpus: str,
    train: int,
    held_out: int,
    progress: Callable[..., Any] | None = None,
    layout: SpectrogramConfig = SMALL,
    seed: int = 0,
) -> tuple[dict[str, ArrayDataset], dict[str, Any]]:
    """The data sets "train", "validation" and "test" of a corpus, and what identifies them for `training.fit`.

    train: training examples; held_out: clips of sound for validation, and as many for test, 0 for none (digits: always
    the last 2,000 training images and the 10,000 test images); layout, seed: of the spectrograms and clips of sound.
    """
    if corpus == "digits":
        x_train, x_test = corpora.digits("train")[0], corpora.digits("test")[0]
        arrays = {"train": x_train[:train], "validation": x_train[-2000:], "test": x_test}
        return {split: ArrayDataset(array, scale=1 / 255) for split, array in arrays.items()}, {
            "digits": train
        }
    parts = {}
    for split, count in {"train": train, "validation": held_out, "test": held_out}.items():
        if count:
            chosen = ClipConfig(corpus=corpus, split=split, seed=seed)
            config = RenderConfig(
                clips=chosen, spectrogram=layout, effects=("clean",), clips_per_effect=count
            )
            parts[split] = render(config, progress=progress)
    standardiser = Standardiser("constants").fit(parts["train"].spectrograms)
    sets = {
        split: ArrayDataset(part.spectrograms, standardiser=standardiser)
        for split, part in parts.items()
    }
    return sets, {split: part.folder.name for split, part in parts.items()}
