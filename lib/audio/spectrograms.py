"""Spectrograms of sound: the report's STFT and the log-mel spectrogram. Introduced by chapter 01.

Both follow librosa's conventions (periodic Hann window, centred frames, reflected edges, Slaney's
mel bands) and are tested against it. They are computed in float32: the error is below 1e-6 of a
clip's largest value, and below 0.05 dB in the bands of speech and music. Beside a pure tone, bands
that are 140 dB below it are off by up to 1 dB.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_array

from lib import BadInput
from lib.config import Config

FLOOR = 1e-8  # added to a magnitude before the power law: keeps its slope finite at silence
FLOOR_POWER = 1e-10  # added to a mel power before the logarithm: -100 dB


class SpectrogramConfig(Config):
    """What a spectrogram is. Only "stft" uses `power`, only "log_mel" uses `n_mels`."""

    kind: Literal["log_mel", "stft"] = "log_mel"
    sample_rate_hz: int = Field(24000, ge=1000)
    n_fft: int = Field(2048, ge=16, multiple_of=2)  # length of the window, samples
    hop_length: int = Field(512, ge=1)  # the distance of two frames, samples
    n_mels: int = Field(96, ge=1)
    power: float = Field(0.3, gt=0, le=2)  # exponent of the magnitude


REPORT_STFT = SpectrogramConfig(kind="stft", n_fft=4096, hop_length=2048)  # 2,049 x 65 of 5.46 s


@lru_cache(maxsize=16)
def _window(n_fft: int) -> torch.Tensor:
    """Periodic Hann window (sample,), rounded to float32 once."""
    return torch.hann_window(n_fft, dtype=torch.float64).float()


def stft(audio: np.ndarray, config: SpectrogramConfig) -> np.ndarray:
    """Short-time Fourier transform of audio (..., sample): complex64 (..., frequency, frame).

    BadInput: the audio is shorter than half a window.
    """
    half = config.n_fft // 2
    if audio.shape[-1] <= half:  # reflection at the edges needs half a window and one sample
        raise BadInput(
            f"audio of {audio.shape[-1]} samples: n_fft={config.n_fft} needs at least {half + 1}; "
            "use a longer clip_s or a smaller n_fft"
        )
    edges = [(0, 0)] * (audio.ndim - 1) + [(half, half)]
    padded = np.pad(np.asarray(audio, np.float32), edges, mode="reflect")
    frames = torch.from_numpy(padded).unfold(-1, config.n_fft, config.hop_length)  # no copy
    x = torch.fft.rfft(frames * _window(config.n_fft))  # (..., frame, frequency)
    return x.transpose(-2, -1).numpy()


@lru_cache(maxsize=16)
def mel_bands(config: SpectrogramConfig, dtype: type = np.float32) -> csr_array:
    """Slaney's mel bands, triangles of unit area: sparse (band, frequency).

    BadInput: a band falls between two frequencies.
    """
    edges = _mel_edges_hz(config)[:, None]
    width = np.diff(edges, axis=0)
    hz = np.fft.rfftfreq(config.n_fft, 1 / config.sample_rate_hz)
    rising = (hz - edges[:-2]) / width[:-1]
    falling = (edges[2:] - hz) / width[1:]
    bands = np.minimum(rising, falling).clip(0) * 2 / (edges[2:] - edges[:-2])
    if not bands.any(axis=1).all():
        raise BadInput(
            f"n_mels={config.n_mels}: some bands fall between the bins of n_fft={config.n_fft} at "
            f"{config.sample_rate_hz} Hz; use fewer n_mels or a larger n_fft"
        )
    return csr_array(bands.astype(dtype))


def _mel_edges_hz(config: SpectrogramConfig) -> np.ndarray:
    """Edges of the mel bands (band + 2,), Hz: a band rises from one edge to the next, then falls.

    Slaney's scale is linear to 1 kHz, with 3 mel per 200 Hz, then has 27 mel per factor of 6.4.
    """
    top_hz = config.sample_rate_hz / 2
    top_mel = top_hz * 3 / 200
    if top_hz > 1000:
        top_mel = 15 + 27 * np.log(top_hz / 1000) / np.log(6.4)
    mel = np.linspace(0, top_mel, config.n_mels + 2)
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def power_of(x: np.ndarray) -> np.ndarray:
    """|x|^2 of complex x, without the square root of np.abs."""
    return x.real**2 + x.imag**2


def log_mel(x: np.ndarray, config: SpectrogramConfig) -> np.ndarray:
    """Power of an STFT (..., frequency, frame) in mel bands, (..., band, frame) dB."""
    power = np.moveaxis(power_of(x), -2, 0)  # (frequency, ..., frame)
    bands = mel_bands(config) @ power.reshape(len(power), -1)
    bands = bands.reshape(-1, *power.shape[1:])
    return 10 * np.log10(np.moveaxis(bands, 0, -2) + FLOOR_POWER)


def spectrogram(audio: np.ndarray, config: SpectrogramConfig) -> np.ndarray:
    """Spectrogram of one or many clips (..., sample) of equal length: float32 (..., bin, frame).

    "stft" gives (|X| + 1e-8)^power, "log_mel" gives 10 log10(mel power + 1e-10), in dB.
    BadInput: the audio is shorter than half a window.
    """
    x = stft(audio, config)
    if config.kind == "log_mel":
        return log_mel(x, config)
    return (np.abs(x) + FLOOR) ** config.power


def frequencies_hz(config: SpectrogramConfig) -> np.ndarray:
    """Centre frequency of each bin, (bin,) Hz."""
    if config.kind == "log_mel":
        return _mel_edges_hz(config)[1:-1]
    return np.fft.rfftfreq(config.n_fft, 1 / config.sample_rate_hz)


def times_s(config: SpectrogramConfig, frames: int) -> np.ndarray:
    """Centre of each frame, (frame,) s."""
    return np.arange(frames) * config.hop_length / config.sample_rate_hz
