"""Sound from spectrograms."""

import numpy as np
import torch
from torch import Tensor

from lib.audio.spectrograms import FLOOR, FLOOR_POWER, SpectrogramConfig, transform


def phase(audio: Tensor | np.ndarray, config: SpectrogramConfig) -> Tensor:
    """Phase of the STFT of audio (..., sample), (..., frequency, frame) rad."""
    audio = torch.as_tensor(audio, dtype=torch.float32)
    return transform(config, str(audio.device)).stft(audio).angle()


def magnitude(spectrogram: Tensor | np.ndarray, config: SpectrogramConfig) -> Tensor:
    """STFT magnitude (..., frequency, frame) behind a spectrogram (..., bin, frame), float64.

    Exact for "stft". For "log_mel" 96 bands do not determine 1,025 frequencies: the multiplicative updates of Lee and
    Seung (2001) find powers that are never negative and fill each band to a thousandth of a dB. Least squares, cut
    off at zero, as torchaudio does it, misses the bands of speech by 3 dB.
    """
    x = torch.as_tensor(spectrogram).double()
    if config.kind == "stft":
        return (x.clamp(min=0) ** (1 / config.power) - FLOOR).clamp(min=0)
    mel = transform(config, str(x.device)).mel
    wanted = (10 ** (x / 10) - FLOOR_POWER).clamp(min=0)
    weight = mel.sum(0)[:, None].clamp(min=FLOOR_POWER)  # (frequency, 1)
    power = mel.T @ (wanted / mel.sum(1, keepdim=True)) / weight
    for _ in range(100):
        power = power * (mel.T @ (wanted / (mel @ power + FLOOR_POWER * 1e-3))) / weight
    return power.sqrt()


def to_audio(
    spectrogram: Tensor | np.ndarray,
    config: SpectrogramConfig,
    phase: Tensor | np.ndarray | None = None,
    iterations: int = 32,
    seed: int = 0,
    samples: int | None = None,
) -> np.ndarray:
    """Sound whose spectrogram is the given one, as nearly as its phase is known.

    spectrogram: (bin, frame), not standardised. phase: (frequency, frame) rad, of the original sound where there is
    one; else found by fast Griffin-Lim (Perraudin et al. 2013, momentum 0.99) from random angles drawn by seed.
    samples: length wanted; by default hop_length * (frame - 1). Returns float32 (sample,).
    """
    from torchaudio.functional import griffinlim

    x = magnitude(torch.as_tensor(spectrogram).detach().cpu(), config)
    samples = samples or config.hop_length * (x.shape[-1] - 1)
    window = transform(config).window
    if phase is not None:
        x = torch.polar(x, torch.as_tensor(phase).double().cpu())
        return (
            torch.istft(x, config.n_fft, config.hop_length, window=window, length=samples)
            .float()
            .numpy()
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return (
            griffinlim(
                x,
                window,
                config.n_fft,
                config.hop_length,
                config.n_fft,
                power=1.0,
                n_iter=iterations,
                momentum=0.99,
                length=samples,
                rand_init=True,
            )
            .float()
            .numpy()
        )
