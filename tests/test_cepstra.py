"""Cepstral features: echoes where they are, pairs that show the effect alone, standardisation."""

import numpy as np
import pytest
import torch

from lib.audio import cepstra
from lib.audio.effects import delay

RATE_HZ = cepstra.ANALYSIS.sample_rate_hz


def clip(seed: int = 0, samples: int = 48720) -> np.ndarray:
    """Noise that comes and goes, with a slope in its spectrum."""
    rng = np.random.default_rng(seed)
    noise = np.convolve(rng.standard_normal(samples + 63), np.exp(-np.arange(64) / 9), "valid")
    return (0.05 * noise * (1.2 + np.sin(np.arange(samples) / 3000))).astype(np.float32)


def features(wet: np.ndarray, dry: np.ndarray) -> np.ndarray:
    return cepstra.cepstral_features(cepstra.fields(wet), cepstra.fields(dry))


@pytest.mark.parametrize("delay_ms", [60.0, 137.0, 410.0])
def test_an_echo_is_a_peak_at_its_quefrency(delay_ms):
    """Bogert, Healy and Tukey 1963: log |1 + a exp(-i w d)|^2 peaks at d."""
    wet = delay(clip(), RATE_HZ, delay_ms=delay_ms, feedback=0.0, mix=0.4)
    trace = (cepstra.fields(wet) - cepstra.fields(clip())).whole
    lags = np.arange(round(0.02 * RATE_HZ), round(0.7 * RATE_HZ))
    assert abs(lags[np.abs(trace[lags]).argmax()] - delay_ms / 1000 * RATE_HZ) <= 1.5


def test_a_short_echo_is_a_peak_of_the_short_time_cepstra():
    wet = delay(clip(), RATE_HZ, delay_ms=5.0, feedback=0.0, mix=0.4)
    trace = (cepstra.fields(wet) - cepstra.fields(clip())).short.mean(0)
    assert abs(np.abs(trace[24:]).argmax() + 24 - 120) <= 1  # samples


def test_the_pair_of_a_clip_with_itself_says_nothing():
    wet, dry, pair = features(clip(), clip())
    assert np.array_equal(wet, dry) and not np.array_equal(wet, pair)
    echoes = 3 * (len(np.unique(np.round(cepstra.RANGES_S * RATE_HZ).astype(int))) - 1)
    assert np.abs(pair[: echoes + 2 * cepstra.LAGS]).max() == 0  # no trace in any cepstrum


def test_the_wet_row_does_not_depend_on_the_dry_clip():
    one, other = features(clip(0), clip(1)), features(clip(0), clip(2))
    assert np.array_equal(one[cepstra.WET], other[cepstra.WET])
    assert not np.array_equal(one[cepstra.PAIR], other[cepstra.PAIR])


def test_gain_moves_the_level_and_no_cepstrum():
    quiet, loud = cepstra.fields(0.5 * clip()), cepstra.fields(clip())
    assert np.allclose(quiet.whole[1:], loud.whole[1:], atol=1e-3)  # quefrency 0 holds the level
    assert np.allclose((loud - quiet).log_mel, 20 * np.log10(2), atol=0.1)


@pytest.mark.parametrize("samples", [48720, 131072, 33601])
def test_silence_has_the_shape_of_sound_and_gives_finite_numbers(samples):
    dry = clip(samples=samples)
    x = features(np.zeros(samples, np.float32), dry)
    assert x.shape == features(dry, dry).shape and np.isfinite(x).all()


def test_rows_are_standardised_by_the_wet_clips_and_by_the_pairs():
    mean, std = [[1.0], [5.0], [3.0]], [[2.0], [1.0], [0.5]]
    array = np.random.default_rng(0).normal(mean, std, (4000, 3, 8)).astype(np.float32)
    standardiser = cepstra.FeatureStandardiser(array)
    x = standardiser.apply(torch.from_numpy(array))
    for row in (cepstra.WET, cepstra.PAIR):
        assert torch.allclose(x[:, row].mean(0), torch.zeros(8), atol=1e-3)
        assert torch.allclose(x[:, row].std(0), torch.ones(8), atol=1e-2)
    dry_mean = x[:, cepstra.DRY].mean(0)  # (5 - 1) / 2 in the wet clips' unit
    assert torch.allclose(dry_mean, torch.full((8,), 2.0), atol=0.15)
    assert standardiser.apply(torch.full((1, 3, 8), 1e9)).max() == 6
