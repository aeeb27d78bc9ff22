"""Loudness against torchaudio and the recommendation; levels that hit their loudness."""

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.audio.levels import block_energies, level, loudness

RATE_HZ = 24000


def noise(seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Noise with a pause in its second half second, which the relative gate leaves out."""
    audio = 0.1 * np.random.default_rng(1).standard_normal(round(seconds * rate_hz))
    audio[rate_hz // 2 : rate_hz] *= 0.01
    return audio.astype(np.float32)


@pytest.mark.parametrize("rate_hz", [16000, 24000, 44100])
@pytest.mark.parametrize("gain", [0.01, 0.1, 1.0])
def test_loudness_equals_torchaudio(rate_hz, gain):
    audio = gain * noise(2.03, rate_hz)
    expected = torchaudio.functional.loudness(torch.from_numpy(audio)[None], rate_hz)
    assert loudness(audio, rate_hz) == pytest.approx(float(expected), abs=0.01)


def test_loudness_of_a_full_scale_sine_is_that_of_the_recommendation():
    sine = np.sin(2 * np.pi * 997 * np.arange(5 * 48000) / 48000)  # BS.1770-4, annex 1: -3.01 LKFS
    assert loudness(sine, 48000) == pytest.approx(-3.01, abs=0.1)


def test_loudness_is_not_clamped_above_full_scale():
    audio = noise(2)
    louder = loudness(1000 * audio, RATE_HZ)
    assert louder == pytest.approx(loudness(audio, RATE_HZ) + 60, abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(gain_db=st.floats(-40, 30), target=st.floats(-40, -10), pause=st.floats(0, 0.5))
def test_level_gives_the_loudness_asked_for(gain_db, target, pause):
    audio = noise(1.5) * 10 ** (gain_db / 20)
    audio[: int(pause * audio.size)] *= 1e-3
    levelled = level(audio, RATE_HZ, target)
    assert levelled.dtype == np.float32
    assert loudness(levelled, RATE_HZ) == pytest.approx(target, abs=0.01)
    known = level(audio, RATE_HZ, target, block_energies(audio, RATE_HZ))
    assert np.array_equal(known, levelled)
