"""Loudness by ITU-R BS.1770-4, and audio scaled to a loudness. Introduced by chapter 01."""

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import sosfilt

from lib import BadInput

BLOCK_S = 0.4
STEP_S = 0.1  # from the start of a block to the start of the next
ABSOLUTE_GATE_LUFS = -70
RELATIVE_GATE_LU = -10
QUIETEST = 1e-30  # mean square that counts as digital silence


@lru_cache
def _k_weighting(rate_hz: int) -> np.ndarray:
    """K-weighting as second-order sections (2, 6): a high shelf, then a high pass.

    The formulas are those of the Audio EQ Cookbook, the corner frequencies those of torchaudio.
    """
    w = 2 * np.pi * 1500 / rate_hz  # high shelf, +4 dB, Q = 1/sqrt(2)
    a = 10 ** (4 / 40)
    root = np.sqrt(2 * a) * np.sin(w)  # 2 sqrt(a) alpha
    cos = np.cos(w)
    shelf = [
        a * (a + 1 + (a - 1) * cos + root),
        -2 * a * (a - 1 + (a + 1) * cos),
        a * (a + 1 + (a - 1) * cos - root),
        a + 1 - (a - 1) * cos + root,
        2 * (a - 1 - (a + 1) * cos),
        a + 1 - (a - 1) * cos - root,
    ]
    w = 2 * np.pi * 38 / rate_hz  # high pass, Q = 1/2
    alpha = np.sin(w)
    cos = np.cos(w)
    high_pass = [(1 + cos) / 2, -1 - cos, (1 + cos) / 2, 1 + alpha, -2 * cos, 1 - alpha]
    return np.array([np.array(section) / section[3] for section in (shelf, high_pass)])


def block_energies(audio: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mean squares (block,) of the K-weighted audio (sample,) in blocks of 0.4 s, one every 0.1 s.

    One block of NaN stands for audio that is not finite. BadInput: two channels, less than a block.
    """
    size = round(BLOCK_S * rate_hz)
    if audio.ndim != 1 or audio.size < size:
        raise BadInput(
            f"audio of shape {audio.shape} at {rate_hz} Hz: "
            f"loudness needs one channel, {BLOCK_S} s or more"
        )
    if not np.isfinite(audio).all():
        return np.array([np.nan])
    squares = np.square(sosfilt(_k_weighting(rate_hz), audio.astype(np.float64)))
    return sliding_window_view(squares, size)[:: round(STEP_S * rate_hz)].mean(1)


def _lufs(energy: np.ndarray) -> np.ndarray:
    """Loudness of K-weighted mean squares."""
    return -0.691 + 10 * np.log10(energy)


def gated(energies: np.ndarray) -> float:
    """Gated loudness of block energies (block,), LUFS; -inf if no block is above -70 LUFS."""
    block_lufs = _lufs(np.maximum(energies, 1e-30))
    passed = block_lufs > ABSOLUTE_GATE_LUFS
    if not passed.any():
        return float("-inf")
    passed &= block_lufs > _lufs(energies[passed].mean()) + RELATIVE_GATE_LU
    return float(_lufs(energies[passed].mean()))


def own_loudness(energies: np.ndarray) -> float:
    """Gated loudness of block energies, LUFS, whose first gate is 70 LU below the loudest block.

    So it follows any gain exactly. It is -inf for digital silence, and NaN if audio is not finite.
    """
    peak = energies.max(initial=0.0)
    if peak <= QUIETEST:
        return float("-inf")
    return gated(energies / peak) + float(10 * np.log10(peak))


def loudness(audio: np.ndarray, rate_hz: int) -> float:
    """Integrated loudness of audio (sample,), LUFS; -inf if it is silent or not finite.

    Unlike `torchaudio.functional.loudness`, this does not clamp at full scale, and takes a third
    of its time.
    """
    return gated(block_energies(np.asarray(audio), rate_hz))


def level(
    audio: np.ndarray, rate_hz: int, loudness_lufs: float, energies: np.ndarray | None = None
) -> np.ndarray:
    """Audio (sample,) scaled to a loudness, float32.

    energies: the `block_energies` of the audio, if the caller knows them.
    BadInput: the audio is silent or not finite.
    """
    if energies is None:
        energies = block_energies(np.asarray(audio), rate_hz)
    gain_db, peak = 0.0, energies.max(initial=0.0)
    if peak > QUIETEST and gated(energies) == float("-inf"):  # as quiet as the gate itself
        gain_db = loudness_lufs - float(_lufs(peak))
    for _ in range(8):  # after a change of level, other blocks may pass the absolute gate
        change_db = loudness_lufs - gated(energies * 10 ** (gain_db / 10))
        if not np.isfinite(change_db):
            raise BadInput(
                "audio is silent or not finite: there is no gain that gives it a loudness"
            )
        gain_db += change_db
        if abs(change_db) < 1e-6:
            break
    return (audio * 10 ** (gain_db / 20)).astype(np.float32)
