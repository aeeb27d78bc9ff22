"""Spectrograms against librosa and closed forms; the standardiser against numpy; the way back to sound."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import BadInput
from lib.audio.inversion import phase, to_audio
from lib.audio.spectrograms import (
    REPORT_STFT,
    SpectrogramConfig,
    frequencies_hz,
    spectrogram,
    spectrogram_shape,
    times_s,
    transform,
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
    assert spectrogram_shape(REPORT_STFT, 131072) == (2049, 65)
    assert spectrogram(np.zeros(131072), REPORT_STFT).shape == (2049, 65)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["log_mel", "stft"]),
    st.sampled_from([256, 512, 1024]),
    st.integers(30, 700),
    st.integers(600, 9000),
)
def test_shape_is_what_spectrogram_returns_alone_and_in_a_batch(kind, n_fft, hop_length, samples):
    config = SpectrogramConfig(kind=kind, n_fft=n_fft, hop_length=hop_length, n_mels=8)
    audio = np.random.default_rng(samples).normal(size=(2, 3, samples)).astype(np.float32)
    batch = spectrogram(audio, config)
    assert batch.shape == (2, 3, *spectrogram_shape(config, samples)) and batch.dtype == np.float32
    np.testing.assert_allclose(batch[1, 2], spectrogram(audio[1, 2], config), rtol=0, atol=1e-5)
    assert (
        len(frequencies_hz(config)) == batch.shape[-2]
        and len(times_s(config, batch.shape[-1])) == batch.shape[-1]
    )


def test_the_default_clip_is_96_by_96():
    assert spectrogram_shape(LOG_MEL, SAMPLES) == (96, 96)


def test_nothing_in_the_transform_is_trained_or_saved():
    module = transform(LOG_MEL)
    assert list(module.parameters()) == [] and module.state_dict() == {}
    assert {name for name, _ in module.named_buffers()} == {"window", "mel"}
    assert not module.window.requires_grad and not module.mel.requires_grad
    np.testing.assert_allclose(module.window, np.hanning(2049)[:-1], atol=1e-12)  # Hann, periodic


def test_axes_are_librosas():
    np.testing.assert_allclose(
        frequencies_hz(LOG_MEL), librosa.mel_frequencies(98, fmin=0, fmax=12000)[1:-1]
    )
    np.testing.assert_allclose(
        frequencies_hz(REPORT_STFT), librosa.fft_frequencies(sr=RATE_HZ, n_fft=4096)
    )
    np.testing.assert_allclose(
        times_s(LOG_MEL, 96), librosa.times_like(96, sr=RATE_HZ, hop_length=512)
    )


def test_a_tone_stands_in_the_bin_of_its_frequency():
    for config in (LOG_MEL, REPORT_STFT):
        picture = spectrogram(SOUNDS["tone"], config)
        spacing_hz = np.diff(frequencies_hz(config)).max()
        middle = picture[:, picture.shape[1] // 2]
        assert abs(frequencies_hz(config)[middle.argmax()] - 1003) < spacing_hz


def test_original_phase_gives_the_original_sound():
    audio = SOUNDS["voice"]
    picture = spectrogram(audio, REPORT_STFT)
    back = to_audio(picture, REPORT_STFT, phase=phase(audio, REPORT_STFT), samples=SAMPLES)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, audio, rtol=0, atol=1e-4)
    np.testing.assert_allclose(spectrogram(back, REPORT_STFT), picture, rtol=0, atol=1e-3)


def test_griffin_lim_reaches_the_picture_it_is_given():
    for config, bound in (
        (LOG_MEL, 1.0),
        (REPORT_STFT, 0.05),
    ):  # mean absolute error: dB; magnitude to the 0.3
        picture = spectrogram(SOUNDS["voice"], config)
        error = {}
        for count in (1, 32):
            back = to_audio(picture, config, iterations=count, samples=SAMPLES)
            error[count] = np.abs(spectrogram(back, config) - picture).mean()
        assert error[32] < bound and error[32] < 0.8 * error[1]


def test_griffin_lim_is_decided_by_its_seed_and_leaves_torchs_alone():
    picture = spectrogram(SOUNDS["voice"], LOG_MEL)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second, other = (
        to_audio(picture, LOG_MEL, iterations=2, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(3), expected)
    assert first.tobytes() == second.tobytes() != other.tobytes()
    assert first.shape == (512 * 95,)


def test_silence_comes_back_as_silence():
    assert np.abs(to_audio(spectrogram(SOUNDS["silence"], LOG_MEL), LOG_MEL)).max() < 1e-4


def test_a_users_mistakes_are_named():
    with pytest.raises(BadInput, match="audio of 100 samples: n_fft=2048 needs at least 1025"):
        spectrogram(np.zeros(100, np.float32), LOG_MEL)
    with pytest.raises(BadInput, match="n_mels=1000"):
        spectrogram(np.zeros(4000, np.float32), SpectrogramConfig(n_mels=1000))
    for wrong in ({"kind": "mel"}, {"n_fft": 0}, {"hop_length": 0}, {"power": 0}, {"n_mel": 96}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            SpectrogramConfig(**wrong)
