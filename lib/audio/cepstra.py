"""The print of an effect: what a clip sounds like, less what is said or played in it. Introduced by story 08.

A log-mel spectrogram blurs what delay lines leave behind: ripples in frequency, finer than a band. The cepstrum, the
Fourier transform of a log spectrum, turns them into peaks: an echo after d seconds is a peak at quefrency d (Bogert,
Healy and Tukey 1963). A print sums up three logarithmic fields over time: log-mel spectrogram, short-time cepstra and
the cepstrum of the whole clip. Effects that multiply a spectrum add to these fields, so a pair of wet and dry clip has
a print as well: that of the difference of their fields.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import fft

from lib import BadInput
from lib.audio.spectrograms import FLOOR_POWER, SpectrogramConfig, transform

ANALYSIS = SpectrogramConfig()  # 96 bands
BANDS = 24  # into which they are gathered
LAGS = 320  # of a short-time cepstrum that are kept: 13 ms at 24 kHz, the reach of a flanger
RANGES_S = np.geomspace(
    1e-3, 0.7, 60
)  # edges of the ranges of quefrency in the cepstrum of the whole clip
QUANTILES = (
    0.02,
    0.1,
    0.25,
    0.75,
    0.9,
    0.98,
)  # of the step from frame to frame: attacks and decays
MODULATIONS = 32  # bins of the modulation spectrum, two by two
WET, DRY, PAIR = range(3)  # rows of a print


@dataclass(frozen=True)
class Fields:
    """Of a clip: log_mel (band, frame) dB, short (frame, lag), whole (quefrency,), and which frames are not silent."""

    log_mel: np.ndarray
    short: np.ndarray
    whole: np.ndarray
    sounding: np.ndarray

    def __sub__(self, dry: "Fields") -> "Fields":
        return Fields(
            self.log_mel - dry.log_mel,
            self.short - dry.short,
            self.whole - dry.whole,
            self.sounding,
        )


def _power(x: torch.Tensor | np.ndarray) -> torch.Tensor | np.ndarray:
    """|x|^2 of complex x, without the root that abs takes."""
    return x.real**2 + x.imag**2


_hann = lru_cache(maxsize=8)(np.hanning)  # windows of few lengths, for many clips


def fields(audio: np.ndarray) -> Fields:
    """The three fields of a clip (sample,) at ANALYSIS's rate; BadInput below 1.4 s, too short for the last quefrency."""
    rate_hz = ANALYSIS.sample_rate_hz
    if audio.ndim != 1 or audio.size < 2 * RANGES_S[-1] * rate_hz:
        raise BadInput(
            f"audio of shape {audio.shape}: prints need one channel, {2 * RANGES_S[-1]:g} s at {rate_hz} Hz"
        )
    power = _power(fft.rfft(audio * _hann(audio.size), fft.next_fast_len(audio.size, real=True)))
    whole = fft.irfft(np.log(np.float32(power + 1e-9 * power.mean() + 1e-12)))
    made = transform(ANALYSIS)
    power = _power(made.stft(torch.from_numpy(audio)))  # (frequency, frame)
    log_mel = 10 * torch.log10(made.mel @ power + FLOOR_POWER)
    energy = power.mean(0)
    short = torch.fft.irfft(torch.log((power + 1e-6 * energy + FLOOR_POWER).float()), dim=0)[:LAGS]
    return Fields(log_mel.numpy(), short.T.numpy(), whole, (energy >= 0.01 * energy.max()).numpy())


def _summary(of: Fields) -> np.ndarray:
    """A print's row: moments and quantiles of the fields, float32 (value,)."""
    edges = np.unique(np.round(RANGES_S * ANALYSIS.sample_rate_hz).astype(int))
    reach, starts = of.whole[: edges[-1]], edges[:-1]
    sizes = np.add.reduceat(np.abs(reach), starts) / np.diff(edges)
    echoes = np.stack(
        [np.maximum.reduceat(reach, starts), np.minimum.reduceat(reach, starts), sizes], 1
    )
    short = of.short[of.sounding]
    bands = of.log_mel.reshape(BANDS, -1, of.log_mel.shape[1])  # (band, part of it, frame)
    steps = np.sort(np.diff(bands), axis=-1)
    places = np.round(np.array(QUANTILES) * (steps.shape[-1] - 1)).astype(int)
    gathered = bands.mean(1)
    centred = gathered - gathered.mean(1, keepdims=True)
    modulation = np.abs(fft.rfft(centred * _hann(centred.shape[1])))[:, 1 : MODULATIONS + 1]
    modulation = np.log(modulation + 0.1).reshape(BANDS, -1, 2).mean(2)
    repeats = fft.irfft(_power(fft.rfft(centred, 2 * centred.shape[1])))[:, :40]
    repeats = (repeats[:, 1:] / (repeats[:, :1] + 1e-6)).mean(0)
    parts = [
        echoes,
        short.mean(0),
        short.std(0),
        bands.std(2).mean(1),
        steps[..., places].mean(1),
        gathered.mean(1),
        modulation,
        repeats,
    ]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def cepstral_features(wet: Fields, dry: Fields) -> np.ndarray:
    """The print (row, value) float32 of a clip by its fields: rows WET (which knows nothing of the dry), DRY, PAIR."""
    return np.stack([_summary(wet), _summary(dry), _summary(wet - dry)])


@lru_cache(maxsize=8)
def feature_shape(samples: int) -> tuple[int, int]:
    """(row, value) of the print of a clip of so many samples."""
    noise = fields(np.random.default_rng(0).standard_normal(samples).astype(np.float32))
    return cepstral_features(noise, noise).shape


class FeatureStandardiser:
    """Standardises prints (..., row, value) value by value: wet and dry by the wet clips' moments, pairs by their own.

    What lies farther than `most` deviations is drawn in. Fitted on training prints (clip, row, value).
    """

    def __init__(self, array: np.ndarray, most: float = 6.0):
        moments = [
            np.stack([part(array[:, row], axis=0) for row in (WET, WET, PAIR)])
            for part in (np.mean, np.std)
        ]
        self.mean, self.std = (torch.from_numpy(moment).float() for moment in moments)
        self.most = most

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """(clip, row, value) -> the same shape."""
        return x.sub(self.mean).div_(self.std + 1e-6).clamp_(-self.most, self.most)
