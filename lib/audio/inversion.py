"""Sound from spectrograms, which chapters 04, 08 and 13 listen to."""

import numpy as np
import torch
from torch import Tensor

from lib.audio.spectrograms import FLOOR, FLOOR_POWER, SpectrogramConfig, mel_bands, stft

UPDATES = 100  # updates of the powers behind mel bands
STEPS = 32  # steps of Griffin-Lim


def phase(audio: np.ndarray, config: SpectrogramConfig) -> np.ndarray:
    """Phase of the STFT of audio (..., sample), (..., frequency, frame) rad."""
    return np.angle(stft(audio, config))


def magnitude(spectrogram: np.ndarray, config: SpectrogramConfig) -> np.ndarray:
    """STFT magnitude (frequency, frame) behind a spectrogram (bin, frame), float64.

    It is exact for "stft". The 96 bands of "log_mel" do not determine 1,025 frequencies: the
    multiplicative updates of Lee and Seung (2001) find powers that are never negative and fill
    each band to a thousandth of a dB on average. Least squares cut off at zero, as in
    torchaudio, misses the bands of speech by 3 dB.
    """
    x = np.asarray(spectrogram, np.float64)
    if config.kind == "stft":
        return (x.clip(0) ** (1 / config.power) - FLOOR).clip(0)
    mel = mel_bands(config, np.float64)
    bands = (10 ** (x / 10) - FLOOR_POWER).clip(0)
    weight = mel.sum(axis=0)[:, None].clip(FLOOR_POWER)  # (frequency, 1)
    power = mel.T @ (bands / mel.sum(axis=1)[:, None]) / weight
    for _ in range(UPDATES):
        power *= mel.T @ (bands / (mel @ power + FLOOR_POWER * 1e-3)) / weight
    return np.sqrt(power)


def to_audio(
    spectrogram: Tensor | np.ndarray,
    config: SpectrogramConfig,
    phase: np.ndarray | None = None,
    seed: int = 0,
    samples: int | None = None,
) -> np.ndarray:
    """Sound, float32 (sample,), whose spectrogram is the given one, as far as its phase is known.

    spectrogram: (bin, frame), not standardised.
    phase: (frequency, frame) rad, of the original sound. Without it, fast Griffin-Lim finds one
    (Perraudin et al. 2013, momentum 0.99), in STEPS steps from random angles drawn by seed.
    samples: length of the sound; by default hop_length * (frame - 1).
    """
    from torchaudio.functional import griffinlim

    x = torch.from_numpy(magnitude(torch.as_tensor(spectrogram).detach().cpu().numpy(), config))
    n_fft, hop_length = config.n_fft, config.hop_length
    window = torch.hann_window(n_fft, dtype=torch.float64)
    samples = samples or hop_length * (x.shape[-1] - 1)
    if phase is not None:
        x = torch.polar(x, torch.as_tensor(phase, dtype=torch.float64))
        return torch.istft(x, n_fft, hop_length, window=window, length=samples).float().numpy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        audio = griffinlim(
            x,
            window,
            n_fft,
            hop_length,
            n_fft,
            power=1.0,
            n_iter=STEPS,
            momentum=0.99,
            length=samples,
            rand_init=True,
        )
    return audio.float().numpy()
