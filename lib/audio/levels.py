"""Loudness by ITU-R BS.1770-4, and levels set by it. Introduced by story 01."""

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import sosfilt

from lib import BadInput

BLOCK_S, STEP_S = 0.4, 0.1  # of the loudness measure


@lru_cache
def _k_weighting(rate_hz: int) -> np.ndarray:
    """Second-order sections (2, 6) of the K-weighting, by the Audio EQ Cookbook and torchaudio's corner values."""
    w, a = 2 * np.pi * 1500 / rate_hz, 10 ** (4 / 40)  # high shelf, +4 dB, Q = 1/sqrt(2)
    root, cos = np.sqrt(2 * a) * np.sin(w), np.cos(w)  # root = 2 sqrt(a) alpha
    shelf = [
        a * (a + 1 + (a - 1) * cos + root),
        -2 * a * (a - 1 + (a + 1) * cos),
        a * (a + 1 + (a - 1) * cos - root),
        a + 1 - (a - 1) * cos + root,
        2 * (a - 1 - (a + 1) * cos),
        a + 1 - (a - 1) * cos - root,
    ]
    w = 2 * np.pi * 38 / rate_hz  # high pass, Q = 1/2
    alpha, cos = np.sin(w), np.cos(w)
    high_pass = [(1 + cos) / 2, -1 - cos, (1 + cos) / 2, 1 + alpha, -2 * cos, 1 - alpha]
    return np.array([np.array(section) / section[3] for section in (shelf, high_pass)])


def block_energies(audio: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mean square of the K-weighted audio in blocks of 0.4 s, every 0.1 s: (block,)."""
    size = round(BLOCK_S * rate_hz)
    if audio.ndim != 1 or audio.size < size:
        raise BadInput(
            f"audio of shape {audio.shape} at {rate_hz} Hz: loudness needs one channel, {BLOCK_S} s or more"
        )
    if not np.isfinite(audio).all():
        return np.array([np.nan])
    squares = np.square(sosfilt(_k_weighting(rate_hz), audio.astype(np.float64)))
    return sliding_window_view(squares, size)[:: round(STEP_S * rate_hz)].mean(1)


def gated(energies: np.ndarray) -> float:
    """Gated loudness in LUFS of block energies; -inf when no block is above -70 LUFS."""
    loud = -0.691 + 10 * np.log10(np.maximum(energies, 1e-30))
    kept = loud > -70
    if not kept.any():
        return float("-inf")
    kept &= loud > -0.691 + 10 * np.log10(energies[kept].mean()) - 10
    return float(-0.691 + 10 * np.log10(energies[kept].mean()))


def loudness(audio: np.ndarray, rate_hz: int) -> float:
    """Integrated loudness of mono audio (sample,), LUFS, ITU-R BS.1770-4; -inf for silence, and when not finite.

    The filters and gates of `torchaudio.functional.loudness`, in a third of its time and without its clamp to [-1, 1].
    """
    return gated(block_energies(np.asarray(audio), rate_hz))


def level(
    audio: np.ndarray, rate_hz: int, loudness_lufs: float, energies: np.ndarray | None = None
) -> np.ndarray:
    """Audio (sample,) float32 scaled to a loudness; energies: of its blocks, if known; BadInput: silent, not finite."""
    energies, gain_db = (
        block_energies(np.asarray(audio), rate_hz) if energies is None else energies,
        0.0,
    )
    for _ in range(8):  # the gates may let other blocks through after a change of level
        change = loudness_lufs - gated(energies * 10 ** (gain_db / 10))
        if not np.isfinite(change):
            raise BadInput(
                "audio is silent or not finite: there is no gain that gives it a loudness"
            )
        gain_db += change
        if abs(change) < 1e-6:
            break
    return (audio * 10 ** (gain_db / 20)).astype(np.float32)
