"""Sound to picture and back: the report's STFT and a log-mel spectrogram, their standardisation, and sound from them.

Introduced by story 01 (what a clip looks like); stories 04 and 08 go back to sound. Both kinds follow librosa's
conventions (periodic Hann window, centred frames, reflected edges, Slaney mel bands) and are tested against it.
"""

import warnings
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from lib import BadInput
from lib.config import Config

FLOOR = 1e-8  # added to a magnitude before the power law: keeps its slope finite at silence
FLOOR_POWER = 1e-10  # added to a mel power before the logarithm: -100 dB


class SpectrogramConfig(Config):
    """What a spectrogram is. `power` is used by "stft" only, `n_mels` by "log_mel" only."""

    kind: Literal["log_mel", "stft"] = "log_mel"
    sample_rate_hz: int = Field(24000, ge=1000)
    n_fft: int = Field(2048, ge=16, multiple_of=2)  # window length, samples
    hop_length: int = Field(512, ge=1)  # from frame to frame, samples
    n_mels: int = Field(96, ge=1)
    power: float = Field(0.3, gt=0, le=2)  # of the magnitude


REPORT_STFT = SpectrogramConfig(
    kind="stft", n_fft=4096, hop_length=2048
)  # 131,072 samples: 65 frames, 2,049 bins


class Transform(nn.Module):
    """(..., sample) to (..., bin, frame), in float64: beside a pure tone, float32 is a third of a dB off in quiet bins.

    Window and mel bands are plain buffers: nothing here is trained or saved.
    """

    def __init__(self, config: SpectrogramConfig):
        super().__init__()
        self.config = config
        window = torch.hann_window(config.n_fft, dtype=torch.float64)  # (sample,)
        self.register_buffer("window", window, persistent=False)
        mel = _mel_bands(config) if config.kind == "log_mel" else None
        self.register_buffer("mel", mel, persistent=False)  # (bin, frequency)

    def stft(self, audio: Tensor) -> Tensor:
        """Complex short-time Fourier transform, (..., frequency, frame)."""
        needed = self.config.n_fft // 2 + 1  # reflection at the edges needs that many
        if audio.shape[-1] < needed:
            raise BadInput(
                f"audio of {audio.shape[-1]} samples: n_fft={self.config.n_fft} needs at least {needed}; "
                "use a longer clip_s or a smaller n_fft"
            )
        flat = audio.double().reshape(-1, audio.shape[-1])  # (clip, sample)
        out = torch.stft(
            flat,
            self.config.n_fft,
            self.config.hop_length,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        return out.reshape(*audio.shape[:-1], *out.shape[1:])

    def forward(self, audio: Tensor) -> Tensor:
        x = self.stft(audio)
        if self.config.kind == "stft":
            return ((x.abs() + FLOOR) ** self.config.power).float()
        return (10 * torch.log10(self.mel @ (x.real**2 + x.imag**2) + FLOOR_POWER)).float()


def _mel_bands(config: SpectrogramConfig) -> Tensor:
    """Slaney's mel bands with unit area, as librosa's default, (bin, frequency)."""
    from torchaudio.functional import melscale_fbanks

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # the one way to have the bands made in it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of empty bands: refused below
            bands = melscale_fbanks(
                config.n_fft // 2 + 1,
                0.0,
                config.sample_rate_hz / 2,
                config.n_mels,
                config.sample_rate_hz,
                norm="slaney",
                mel_scale="slaney",
            )
    finally:
        torch.set_default_dtype(before)
    if (bands.amax(0) == 0).any():
        raise BadInput(
            f"n_mels={config.n_mels}: some bands fall between the bins of n_fft={config.n_fft} at "
            f"{config.sample_rate_hz} Hz; use fewer n_mels or a larger n_fft"
        )
    return bands.T.contiguous()


@lru_cache(maxsize=16)
def transform(config: SpectrogramConfig, device: str = "cpu") -> Transform:
    """The transform of a config, made once per device."""
    return Transform(config).to(device)


def spectrogram(audio: Tensor | np.ndarray, config: SpectrogramConfig) -> np.ndarray:
    """Spectrogram of one or many clips of equal length.

    audio: (..., sample), amplitude. Returns (..., bin, frame) float32:
    "stft": (|X| + 1e-8)^power; "log_mel": 10 log10(mel power + 1e-10), dB. BadInput when shorter than half a window.
    """
    audio = torch.as_tensor(audio, dtype=torch.float32)
    return transform(config, str(audio.device))(audio).cpu().numpy()


def spectrogram_shape(config: SpectrogramConfig, samples: int) -> tuple[int, int]:
    """(bin, frame) of a clip of so many samples."""
    bins = config.n_mels if config.kind == "log_mel" else config.n_fft // 2 + 1
    return bins, 1 + samples // config.hop_length


def frequencies_hz(config: SpectrogramConfig) -> np.ndarray:
    """Centre frequency of every bin, (bin,) Hz."""
    if config.kind == "stft":
        return np.fft.rfftfreq(config.n_fft, 1 / config.sample_rate_hz)
    top = (
        config.sample_rate_hz / 2
    )  # Slaney's scale: 3 mel per 200 Hz to 1 kHz, then 27 mel per factor of 6.4
    top_mel = 15 + 27 * np.log(top / 1000) / np.log(6.4) if top > 1000 else top * 3 / 200
    mel = np.linspace(0, top_mel, config.n_mels + 2)[1:-1]
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def times_s(config: SpectrogramConfig, frames: int) -> np.ndarray:
    """Centre of every frame, (frame,) s."""
    return np.arange(frames) * config.hop_length / config.sample_rate_hz
