"""Cepstral features: what an effect does to a clip, with little of what is said or played in it.

A log-mel spectrogram blurs what delay lines leave behind: ripples in frequency that are finer than
a band. The cepstrum, the Fourier transform of a log spectrum, turns ripples into peaks: an echo
after d seconds is a peak at quefrency d (Bogert, Healy and Tukey 1963). The features of a clip sum
up three logarithmic fields over time: the log-mel spectrogram, short-time cepstra, and the cepstrum
of the whole clip. An effect that multiplies the spectrum adds to these fields. So the difference of
the fields of a wet clip and its dry clip describes the effect, and has features too.
Introduced by chapter 10.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import fft

from lib import BadInput
from lib.audio.spectrograms import FLOOR_POWER, SpectrogramConfig, log_mel, power_of, stft

ANALYSIS = SpectrogramConfig()  # 96 mel bands
BANDS = 24  # each sums up four mel bands
LAGS = 320  # a short-time cepstrum has so many: 13 ms at 24 kHz, the reach of a flanger
RANGES_S = np.geomspace(1e-3, 0.7, 60)  # edges of the ranges of quefrency in the whole cepstrum
# Quantiles of the steps in time describe attacks and decays.
QUANTILES = np.array([0.02, 0.1, 0.25, 0.75, 0.9, 0.98])
MODULATIONS = 32  # bins of the modulation spectrum, averaged two by two
REPEATS = 40  # lags of the autocorrelation of a band's level, frames
WET, DRY, PAIR = range(3)  # rows of the features


@dataclass(frozen=True)
class Fields:
    """Logarithmic fields of a clip, which a filter adds to."""

    log_mel: np.ndarray  # (band, frame) dB
    short: np.ndarray  # short-time cepstra (frame, lag)
    whole: np.ndarray  # cepstrum of the whole clip (quefrency,)
    sounding: np.ndarray  # True where a frame is not silent (frame,)

    def __sub__(self, dry: "Fields") -> "Fields":
        return Fields(
            self.log_mel - dry.log_mel,
            self.short - dry.short,
            self.whole - dry.whole,
            self.sounding,
        )


_hann = lru_cache(maxsize=8)(np.hanning)


def fields(audio: np.ndarray) -> Fields:
    """Fields of a clip (sample,) at the sample rate of ANALYSIS.

    BadInput: the clip is shorter than 1.4 s, twice the longest quefrency.
    """
    rate_hz = ANALYSIS.sample_rate_hz
    shortest_s = 2 * RANGES_S[-1]
    if audio.ndim != 1 or audio.size < shortest_s * rate_hz:
        raise BadInput(
            f"audio of shape {audio.shape}: cepstral features need one channel, "
            f"{shortest_s:g} s at {rate_hz} Hz"
        )
    size = fft.next_fast_len(audio.size, real=True)
    power = power_of(fft.rfft(audio * _hann(audio.size), size))
    whole = fft.irfft(np.log(np.float32(power + 1e-9 * power.mean() + 1e-12)))
    x = stft(audio, ANALYSIS)
    power = power_of(x).T  # (frame, frequency)
    energy = power.mean(1, keepdims=True)
    short = fft.irfft(np.log(power + 1e-6 * energy + FLOOR_POWER))[:, :LAGS]
    sounding = (energy >= 0.01 * energy.max())[:, 0]
    return Fields(log_mel(x, ANALYSIS), short, whole, sounding)


def _echoes(whole: np.ndarray) -> np.ndarray:
    """Largest, smallest and mean absolute value in each range of quefrency, (range, 3)."""
    edges = np.unique(np.round(RANGES_S * ANALYSIS.sample_rate_hz).astype(int))
    reach = whole[: edges[-1]]
    starts = edges[:-1]
    sizes = np.add.reduceat(np.abs(reach), starts) / np.diff(edges)
    peaks = np.maximum.reduceat(reach, starts)
    dips = np.minimum.reduceat(reach, starts)
    return np.stack([peaks, dips, sizes], 1)


def _summary(x: Fields) -> np.ndarray:
    """One row of the features: moments and quantiles of the fields, float32 (value,)."""
    short = x.short[x.sounding]
    bands = x.log_mel.reshape(BANDS, -1, x.log_mel.shape[1])  # (band, part of the band, frame)
    steps = np.sort(np.diff(bands), axis=-1)
    places = np.round(QUANTILES * (steps.shape[-1] - 1)).astype(int)
    level_db = bands.mean(1)  # (band, frame)
    centred = level_db - level_db.mean(1, keepdims=True)
    modulation = np.abs(fft.rfft(centred * _hann(centred.shape[1])))[:, 1 : MODULATIONS + 1]
    modulation = np.log(modulation + 0.1).reshape(BANDS, -1, 2).mean(2)
    correlation = fft.irfft(power_of(fft.rfft(centred, 2 * centred.shape[1])))[:, :REPEATS]
    repeats = correlation[:, 1:] / (correlation[:, :1] + 1e-6)
    parts = [
        _echoes(x.whole),
        short.mean(0),
        short.std(0),
        bands.std(2).mean(1),
        steps[..., places].mean(1),
        level_db.mean(1),
        modulation,
        repeats.mean(0),
    ]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def cepstral_features(wet: Fields, dry: Fields) -> np.ndarray:
    """Features float32 (row, value) of a clip and its dry clip.

    Row WET describes the wet clip alone, DRY the dry clip alone, PAIR the difference of both.
    """
    return np.stack([_summary(wet), _summary(dry), _summary(wet - dry)])


class FeatureStandardiser:
    """Standardise cepstral features (..., row, value), value by value, and clip them at 6 sigma.

    The rows WET and DRY are standardised by the wet clips' moments, the row PAIR by its own. The
    moments are those of training features (clip, row, value).
    """

    def __init__(self, array: np.ndarray) -> None:
        rows = array[:, [WET, WET, PAIR]]
        self.mean = torch.from_numpy(rows.mean(0))
        self.std = torch.from_numpy(rows.std(0))

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Standardised copy of features (..., row, value)."""
        return x.sub(self.mean).div_(self.std + 1e-6).clamp_(-6, 6)
