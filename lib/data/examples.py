"""Training, validation and test examples of digits or of dry sound, ready for a net. Introduced by chapter 05.

Digits are scaled to [0, 1]. Sound is standardised by two constants of its training set, as in the report. The persons
and songs of validation and test are not those of training.
"""

from lib.audio.spectrograms import SpectrogramConfig
from lib.data.batches import ArrayDataset, Splits
from lib.data.clips import ClipConfig
from lib.data.digits import load_digits
from lib.data.rendering import RenderConfig, render
from lib.data.standardiser import Standardiser

SMALL = SpectrogramConfig(n_mels=48, hop_length=1024)  # a clip of 2.03 s has 48 x 48 values


def load_examples(
    corpus: str, train: int, held_out: int, layout: SpectrogramConfig = SMALL, seed: int = 0
) -> Splits:
    """Examples of a corpus, split into training, validation and test.

    train: number of training examples. held_out: clips of sound for validation, and as many for test; with 0 both are
    None. Digits have always the last 2,000 training images and the 10,000 test images. layout, seed: spectrograms of
    sound, and the draw of its clips.
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
