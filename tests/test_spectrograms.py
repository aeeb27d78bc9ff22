"""Spectrograms against librosa and float64, and the way back to sound."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.audio import inversion
from lib.audio.inversion import magnitude, phase, to_audio
from lib.audio.spectrograms import (
    REPORT_STFT,
    SpectrogramConfig,
    frequencies_hz,
    mel_bands,
    spectrogram,
    stft,
    times_s,
)

LOG_MEL = SpectrogramConfig()
RATE_HZ = 24000
SAMPLES = 48720  # 2.03 s


def _voice() -> np.ndarray:
    """A vowel-like tone with pauses, 20 dB above a little noise, (sample,)."""
    t = np.arange(SAMPLES) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 140 * k * t + k) / k for k in range(1, 40))
    noise = np.random.default_rng(0).normal(size=SAMPLES)
    return (0.05 * buzz * np.abs(np.sin(4 * np.pi * t)) + 0.002 * noise).astype(np.float32)


SOUNDS = {
    "voice": _voice(),
    "noise": np.random.default_rng(1).normal(0, 0.1, SAMPLES).astype(np.float32),
    "tone": np.sin(2 * np.pi * 1003 * np.arange(SAMPLES) / RATE_HZ).astype(np.float32),
    "silence": np.zeros(SAMPLES, np.float32),
}


@pytest.mark.parametrize("config", [LOG_MEL, REPORT_STFT], ids=["2048", "4096"])
@pytest.mark.parametrize("sound", SOUNDS)
def test_stft_is_librosas_in_float64(sound, config):
    expected = librosa.stft(
        SOUNDS[sound].astype(np.float64),
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        pad_mode="reflect",
    )
    x = stft(SOUNDS[sound], config)
    assert x.dtype == np.complex64 and expected.dtype == np.complex128
    assert np.abs(x - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("sound", "error_db"), [("voice", 0.01), ("noise", 1e-3), ("silence", 0), ("tone", 1.0)]
)
def test_log_mel_is_librosas(sound, error_db):
    """float32 is off by up to 1 dB in the quiet bands beside a pure tone only."""
    power = librosa.feature.melspectrogram(
        y=SOUNDS[sound].astype(np.float64), sr=RATE_HZ, n_mels=96, pad_mode="reflect"
    )
    expected = 10 * np.log10(power + 1e-10)
    x = spectrogram(SOUNDS[sound], LOG_MEL)
    np.testing.assert_allclose(x, expected, rtol=0, atol=error_db + 1e-5)
    loud = expected > expected.max() - 80
    np.testing.assert_allclose(x[loud], expected[loud], rtol=0, atol=2e-3)


@pytest.mark.parametrize("sound", ["voice", "noise", "silence"])
def test_the_reports_spectrogram_is_a_power_of_librosas_magnitude(sound):
    x = librosa.stft(SOUNDS[sound], n_fft=4096, hop_length=2048, pad_mode="reflect")
    expected = (np.abs(x) + 1e-8) ** 0.3
    np.testing.assert_allclose(spectrogram(SOUNDS[sound], REPORT_STFT), expected, atol=1e-4)


@pytest.mark.parametrize(("rate_hz", "bands"), [(24000, 96), (24000, 48), (44100, 128), (1500, 8)])
def test_mel_bands_are_librosas(rate_hz, bands):
    config = SpectrogramConfig(sample_rate_hz=rate_hz, n_mels=bands)
    expected = librosa.filters.mel(sr=rate_hz, n_fft=2048, n_mels=bands, dtype=np.float64)
    np.testing.assert_allclose(mel_bands(config, np.float64).toarray(), expected, atol=1e-12)
    assert mel_bands(config).dtype == np.float32


def test_axes_are_librosas():
    mel_hz = librosa.mel_frequencies(98, fmin=0, fmax=12000)[1:-1]
    np.testing.assert_allclose(frequencies_hz(LOG_MEL), mel_hz)
    stft_hz = librosa.fft_frequencies(sr=RATE_HZ, n_fft=4096)
    np.testing.assert_allclose(frequencies_hz(REPORT_STFT), stft_hz)
    frame_s = librosa.times_like(96, sr=RATE_HZ, hop_length=512)
    np.testing.assert_allclose(times_s(LOG_MEL, 96), frame_s)


def test_the_window_is_a_fixed_hann():
    """An impulse in the middle of a frame shows the window; nothing in it can be trained."""
    config = SpectrogramConfig(kind="stft", n_fft=16, hop_length=1, power=1)
    impulse = np.zeros(64, np.float32)
    impulse[32] = 1
    window = spectrogram(impulse, config)[0, 25:41]
    np.testing.assert_allclose(window, np.hanning(17)[-2::-1], atol=1e-6)
    assert isinstance(window, np.ndarray)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["log_mel", "stft"]),
    st.sampled_from([256, 512, 1024]),
    st.integers(30, 700),
    st.integers(600, 9000),
)
def test_a_batch_has_the_known_shape_and_the_values_of_its_clips(kind, n_fft, hop_length, samples):
    config = SpectrogramConfig(kind=kind, n_fft=n_fft, hop_length=hop_length, n_mels=8)
    audio = np.random.default_rng(samples).normal(size=(2, 3, samples)).astype(np.float32)
    batch = spectrogram(audio, config)
    bins = 8 if kind == "log_mel" else 1 + n_fft // 2
    assert batch.shape == (2, 3, bins, 1 + samples // hop_length) and batch.dtype == np.float32
    np.testing.assert_allclose(batch[1, 2], spectrogram(audio[1, 2], config), rtol=0, atol=1e-5)
    bins, frames = batch.shape[-2:]
    assert len(frequencies_hz(config)) == bins and len(times_s(config, frames)) == frames


def test_the_powers_behind_mel_bands_fill_the_bands():
    x = spectrogram(SOUNDS["voice"], LOG_MEL)
    power = magnitude(x, LOG_MEL) ** 2
    assert (power >= 0).all()
    again = 10 * np.log10(mel_bands(LOG_MEL, np.float64) @ power + 1e-10)
    error_db = np.abs(again - x)
    assert error_db.max() < 0.1 and error_db.mean() < 2e-3


def test_original_phase_gives_the_original_sound():
    audio = SOUNDS["voice"]
    x = spectrogram(audio, REPORT_STFT)
    back = to_audio(x, REPORT_STFT, phase=phase(audio, REPORT_STFT), samples=SAMPLES)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, audio, rtol=0, atol=1e-4)
    np.testing.assert_allclose(spectrogram(back, REPORT_STFT), x, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("config", "bound"), [(LOG_MEL, 1.0), (REPORT_STFT, 0.05)])
def test_griffin_lim_reaches_the_spectrogram_it_is_given(config, bound, monkeypatch):
    """The bound is a mean absolute error, in dB or in magnitude to the 0.3."""
    x = torch.from_numpy(spectrogram(SOUNDS["voice"], config)).requires_grad_()
    error = {}
    for steps in (1, 32):
        monkeypatch.setattr(inversion, "STEPS", steps)
        back = to_audio(x, config, samples=SAMPLES)
        error[steps] = np.abs(spectrogram(back, config) - x.detach().numpy()).mean()
    assert error[32] < bound and error[32] < 0.8 * error[1]


def test_griffin_lim_depends_on_its_seed_and_leaves_torchs_alone():
    x = spectrogram(SOUNDS["voice"], LOG_MEL)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second, other = (to_audio(x, LOG_MEL, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert first.tobytes() == second.tobytes() != other.tobytes()
    assert first.shape == (512 * 95,)
