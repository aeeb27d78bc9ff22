"""Spectrograms against librosa and closed forms; the standardiser against numpy; the way back to sound."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import BadInput
from lib.audio.spectrograms import (
    REPORT_STFT,
    SpectrogramConfig,
    frequencies_hz,
    phase,
    shape,
    spectrogram,
    times_s,
    to_audio,
    transform,
)
from lib.data.standardiser import Standardiser

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
    assert batch.shape == (2, 3, *shape(config, samples)) and batch.dtype == torch.float32
    torch.testing.assert_close(batch[1, 2], spectrogram(audio[1, 2], config), rtol=0, atol=1e-5)
    assert (
        len(frequencies_hz(config)) == batch.shape[-2]
        and len(times_s(config, batch.shape[-1])) == batch.shape[-1]
    )


def test_the_default_clip_is_96_by_96():
    assert shape(LOG_MEL, SAMPLES) == (96, 96)


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
        picture = spectrogram(SOUNDS["tone"], config).numpy()
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
        once = (
            (
                spectrogram(to_audio(picture, config, iterations=1, samples=SAMPLES), config)
                - picture
            )
            .abs()
            .mean()
        )
        often = (
            (
                spectrogram(to_audio(picture, config, iterations=32, samples=SAMPLES), config)
                - picture
            )
            .abs()
            .mean()
        )
        assert often < bound and often < 0.8 * once


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


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 17),
    st.floats(-90, 40),
    st.floats(0.1, 20),
    st.integers(0, 9),
)
def test_constants_are_numpys_moments_whatever_the_block(clips, block, mean, std, seed):
    x = np.random.default_rng(seed).normal(mean, std, (clips, 5, 4)).astype(np.float16)
    fitted = Standardiser("constants").fit(x, block=block)
    assert fitted.mean == pytest.approx(x.astype(np.float64).mean(), rel=1e-9, abs=1e-9)
    assert fitted.std == pytest.approx(x.astype(np.float64).std(), rel=1e-9)
    y = fitted.apply(x)
    assert y.dtype == torch.float32 and abs(y.mean()) < 1e-3 and abs(y.std(correction=0) - 1) < 1e-3
    torch.testing.assert_close(fitted.invert(y), torch.as_tensor(x).float(), rtol=1e-5, atol=1e-3)


def test_per_clip_gives_each_clip_mean_0_and_deviation_1_and_is_undone_by_the_original():
    x = np.random.default_rng(0).normal(-40, 12, (3, 1, 20, 30)).astype(np.float16)
    x[1] = -100  # a flat clip
    standardiser = Standardiser("per_clip").fit(x)
    y = standardiser.apply(x)
    np.testing.assert_allclose(y.mean((-2, -1)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((-2, -1), correction=0)[[0, 2]], 1, atol=1e-4)
    assert (y[1] == 0).all()
    torch.testing.assert_close(
        standardiser.invert(y, like=x), torch.as_tensor(x).float(), rtol=0, atol=1e-4
    )


def test_fit_reads_a_memmap_in_blocks(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float16, (9, 4, 4))
    x[:] = np.arange(9 * 16).reshape(9, 4, 4)
    assert Standardiser().fit(x, block=4).mean == pytest.approx(np.arange(9 * 16).mean())


def test_a_users_mistakes_are_named():
    with pytest.raises(BadInput, match="audio of 100 samples: n_fft=2048 needs at least 1025"):
        spectrogram(np.zeros(100, np.float32), LOG_MEL)
    with pytest.raises(BadInput, match="n_mels=1000"):
        spectrogram(np.zeros(4000, np.float32), SpectrogramConfig(n_mels=1000))
    with pytest.raises(BadInput, match="constants"):
        Standardiser("constants").apply(np.zeros((1, 2, 2)))
    with pytest.raises(BadInput, match="per_clip"):
        Standardiser("per_clip").invert(np.zeros((1, 2, 2)))
    for wrong in (np.zeros((0, 2, 2)), np.ones((3, 2, 2)), np.full((3, 2, 2), np.nan)):
        with pytest.raises(BadInput, match="training set"):
            Standardiser().fit(wrong)
    for wrong in ({"kind": "mel"}, {"n_fft": 0}, {"hop_length": 0}, {"power": 0}, {"n_mel": 96}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            SpectrogramConfig(**wrong)
