"""What cannot be is refused by a message that names the value and what would be right."""

import numpy as np
import pytest
from test_splits import corpus, unsplit

from lib import BadInput, theory, vae
from lib.audio import cepstra, effects
from lib.audio.levels import level, loudness
from lib.audio.spectrograms import SpectrogramConfig, spectrogram
from lib.book import page
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig
from lib.data.splits import split_groups
from lib.data.standardiser import Standardiser
from lib.embeddings import maps

RATE_HZ = 24000
ZEROS = np.zeros(48_000, np.float32)
SPECTRUM = np.array([5.0, 3.0, 1.5, 0.8, 0.2, 0.05])
X = np.random.default_rng(0).normal(size=(20, 2, 3))
POINTS, LABELS = X.reshape(60, 2), np.repeat(["a", "b"], 30)
SPEECH = {"corpus": "speech", "split": "train", "sample_rate_hz": 8000}
RNG = np.random.default_rng(0)
NO_BOUND = "must be above 0 and finite; at 0 the KL has no bound"


def rendering(**fields) -> RenderConfig:
    return RenderConfig(clips=SPEECH, clips_per_effect=1, **({"effects": ("clean",)} | fields))


CASES = [  # words of the message, the call
    # sound
    ("silent or not finite", lambda: level(ZEROS, RATE_HZ, -23)),
    ("silent or not finite", lambda: level(ZEROS + np.nan, RATE_HZ, -23)),
    ("one channel, 0.4 s or more", lambda: loudness(np.ones(100), RATE_HZ)),
    ("one channel, 0.4 s or more", lambda: loudness(np.zeros((2, RATE_HZ)), RATE_HZ)),
    (r"shape \(2, 48000\).*one channel, 1.4 s", lambda: cepstra.fields(np.stack([ZEROS] * 2))),
    ("of 100 samples: n_fft=2048 needs", lambda: spectrogram(ZEROS[:100], SpectrogramConfig())),
    ("n_mels=1000", lambda: spectrogram(ZEROS, SpectrogramConfig(n_mels=1000))),
    # effects
    ("'delai' is unknown; did you mean \"delay\"", lambda: effects.find_effect("delai")),
    ('did you mean "mda:Overdrive"', lambda: effects.find_effect("mda:overdrive")),
    ("give the path of a VST3 effect", lambda: effects.find_effect("vst3:/none.vst3")),
    ("dry clip is silent", lambda: effects.draw_wet("clean", ZEROS, RATE_HZ, "fixed", RNG)),
    (r"\['delay_ms', 'feedback', 'mix'\], given", lambda: effects.denormalise("delay", {"mix": 0})),
    ("bits = 1.5 is", lambda: effects.apply_at("bitcrush", ZEROS, RATE_HZ, bits=1.5)),
    ("bits = nan is", lambda: effects.apply_at("bitcrush", ZEROS, RATE_HZ, bits=np.nan)),
    # clips
    ("only training", lambda: ClipConfig(corpus="speech", split="test", augment=True)),
    ("twice", lambda: rendering(effects=("clean", "clean"))),
    ("= 8000 of clips, 24000 of spec", lambda: rendering(spectrogram=SpectrogramConfig())),
    ("'g0', 'g1'.* at least three persons", lambda: split_groups(unsplit(2), 0)),
    ("train would be empty", lambda: split_groups(corpus(dict.fromkeys("abc", "test")), 0)),
    ("split 'trian'", lambda: split_groups(corpus({"a": "test", "b": "trian"}), 0)),
    ("in two splits", lambda: split_groups(corpus({"a": "train"}) + corpus({"a": "test"}), 0)),
    ("training set", lambda: Standardiser().fit(np.ones((3, 2, 2)))),
    ("training set", lambda: Standardiser().fit(np.full((3, 2, 2), np.nan))),
    # theory
    ("sigma2 = 0: .* above 0", lambda: theory.predict(SPECTRUM, 11, 6, 4, 0)),
    ("too few for 7 latents", lambda: theory.predict(SPECTRUM, 11, 9, 7, 0.1)),
    ("latents = 6: must be below", lambda: theory.calibrated_sigma2(SPECTRUM, 11, 6, 6)),
    ("count = 9: .* allow 1 to 6", lambda: theory.pca(X, 9)),
    ("training set of 1: .* 2 or more", lambda: theory.separable_pca(X[:1], 1)),
    ("NaN", lambda: theory.pca(X + np.nan, 2)),
    ("components = 4", lambda: theory.pca(X, 3).mse(X, 4)),
    ('did you mean "mean-sum"', lambda: theory.sigma2_of("mean-sun", 1.0, 12, 3)),
    ("n_values = 0, latents = 3", lambda: theory.sigma2_of("mean-sum", 1.0, 0, 3)),
    (rf"\(beta\) = 0.0: {NO_BOUND}", lambda: theory.sigma2_of("mean-sum", 0.0, 12, 3)),
    (rf"\(beta\) = nan: {NO_BOUND}", lambda: theory.sigma2_of("mean-sum", np.nan, 12, 3)),
    # nets and maps
    ('did you mean "small"', lambda: vae.build("smal", (8, 8))),
    ("latent = 0", lambda: vae.build("repair", (8, 8), 0)),
    ("shape = ", lambda: vae.build("small", (0, 8))),
    ("shape = .*wet", lambda: vae.build("conditional_spectrogram", (9, 8))),
    ("shape = .*wet", lambda: vae.build("conditional", (2, 11))),
    ("n_neighbors: 90.* 2 to 59", lambda: maps.umap_2d(POINTS, 0, n_neighbors=90)),
    ("k: 5 .* 0 other", lambda: maps.knn_accuracy(POINTS, LABELS, groups=np.zeros(60))),
    # numbers of a page
    ("record", lambda: page.record("toy mse", 1.0)),
    ("record", lambda: page.record("toy.b", float("nan"))),
]


@pytest.mark.parametrize(("message", "call"), CASES)
def test_it_is_refused_by_name(message, call) -> None:
    with pytest.raises(BadInput, match=message):
        call()
