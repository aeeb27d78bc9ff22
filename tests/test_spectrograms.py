"""Spectrograms against librosa and closed forms; the standardiser against numpy; the way back to sound."""

import librosa
import numpy as np
import pytest
import torch

from lib import BadInput
from lib.audio.spectrograms import (
    REPORT_STFT,
    SpectrogramConfig,
    shape,
    spectrogram,
)

LOG_MEL = SpectrogramConfig()
RATE_HZ = 24000
SAMPLES = 48720  # 2.03 s


def _voice(samples: int = SAMPLES) -> np.ndarray:
    """A vowel-like tone with pauses, 20 dB above a little noise, (sample,)."""
    t = np.arange(samples) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 140 * k * t + k) / k for k in range(1, 40)) * np.abs(
        np.sin(2 * np.pi * 2 * t)
    )
    return (0.05 * buzz + 0.002 * np.random.default_rng(0).normal(size=samples)).astype(np.float32)


SOUNDS = {
    "voice": _voice(),
    "noise": np.random.default_rng(1).normal(0, 0.1, SAMPLES).astype(np.float32),
    "tone": np.sin(2 * np.pi * 1003 * np.arange(SAMPLES) / RATE_HZ).astype(np.float32),
    "silence": np.zeros(SAMPLES, np.float32),
}


@pytest.mark.parametrize("sound", SOUNDS)
def test_log_mel_in_db_is_librosas(sound):
    power = librosa.feature.melspectrogram(
        y=SOUNDS[sound], sr=RATE_HZ, n_fft=2048, hop_length=512, n_mels=96, pad_mode="reflect"
    )
    np.testing.assert_allclose(
        spectrogram(SOUNDS[sound], LOG_MEL), 10 * np.log10(power + 1e-10), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("sound", SOUNDS)
def test_report_stft_is_librosas(sound):
    magnitude = np.abs(librosa.stft(SOUNDS[sound], n_fft=4096, hop_length=2048, pad_mode="reflect"))
    np.testing.assert_allclose(
        spectrogram(SOUNDS[sound], REPORT_STFT), (magnitude + 1e-8) ** 0.3, rtol=0, atol=1e-4
    )


def test_the_report_s_spectrogram_has_65_frames_of_2049_bins():
    assert shape(REPORT_STFT, 131072) == (2049, 65)
    assert spectrogram(torch.zeros(131072), REPORT_STFT).shape == (2049, 65)


def test_a_users_mistakes_are_named():
    with pytest.raises(BadInput, match="audio of 100 samples: n_fft=2048 needs at least 1025"):
        spectrogram(np.zeros(100, np.float32), LOG_MEL)
    with pytest.raises(BadInput, match="n_mels=1000"):
        spectrogram(np.zeros(4000, np.float32), SpectrogramConfig(n_mels=1000))
    for wrong in ({"kind": "mel"}, {"n_fft": 0}, {"hop_length": 0}, {"power": 0}, {"n_mel": 96}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            SpectrogramConfig(**wrong)
