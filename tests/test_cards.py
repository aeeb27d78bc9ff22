"""What the cards of data and models say is what the code does."""

import math
import re

import numpy as np
import pytest

from lib import ROOT, vae
from lib.audio import cepstra, spectrograms
from lib.data import corpora
from lib.data.splits import split_groups
from lib.embeddings import classifier

MODELS = (ROOT / "book/model_card.md").read_text(encoding="utf-8")
DATA = (ROOT / "book/data_card.md").read_text(encoding="utf-8")
NOISE = np.random.default_rng(0).standard_normal(48_720).astype(np.float32)  # 2.03 s
LARGE = spectrograms.spectrogram(NOISE, spectrograms.SpectrogramConfig()).shape
PRINT = cepstra.cepstral_features(cepstra.fields(NOISE), cepstra.fields(NOISE)).shape
SPECTROGRAMS = "conditional_spectrogram_paired"


def size(net) -> str:
    return f"{sum(p.numel() for p in net.parameters()):,}"


def fixed(net) -> str:
    return f"{sum(b.numel() for b in net.buffers()):,}"


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("small VAE", [size(vae.build("small", (28, 28))), size(vae.build("small", LARGE))]),
        ("repaired VAE", [size(vae.build("repair", (28, 28)))]),
        ("refined VAE", [size(vae.build("refined", LARGE)), fixed(vae.build("refined", LARGE))]),
        ("conditional VAE", [size(vae.build("conditional", PRINT)), f"{PRINT[1]:,} values"]),
        ("paired conditional VAE", [size(vae.build("conditional_paired", PRINT, 128)), "128"]),
        ("conditional VAE of spectrograms, paired", [size(vae.build(SPECTROGRAMS, (96, 48)))]),
        ("supervised CNN, for reference", [size(classifier.convolutional_net(5))]),
    ],
)
def test_the_model_card_gives_sizes_as_built(words: str, numbers: list[str]) -> None:
    table = MODELS.split("## What they are for")[0]
    (row,) = re.findall(rf"^\| {re.escape(words)} \| .*chapters/.*$", table, re.M)
    assert all(re.search(rf"(?<![\d,]){number}(?!,?\d)", row) for number in numbers), (row, numbers)


@pytest.mark.parametrize("corpus", ["speech", "music"])
def test_the_data_card_gives_the_splits_as_drawn(corpus: str) -> None:
    for split, recordings in split_groups(corpora.load_corpus(corpus), 0).items():
        groups = sorted({r.group for r in recordings})
        seconds = math.fsum(r.seconds for r in recordings)
        told = ", ".join(groups) if len(groups) < 10 else f"{len(groups)} songs"
        assert f"| {corpus} | {split} | {told} | {seconds / 60:.1f} |" in DATA
