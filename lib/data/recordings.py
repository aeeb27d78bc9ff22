"""Recordings: their headers, and stretches of their sound. Chapter 01 introduces them.

Only a stretch and a margin on both sides are decoded, so a long recording takes no more memory than
a short one. Files of a corpus with a path are decoded in a worker process, where a file that
crashes its decoder does no harm.
"""

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from lib import BadInput
from lib.data import sandbox

MARGIN_S = 0.05  # keeps the resampler's edge effects outside of the stretch
MP3_MARGIN_S = 1.0  # an MP3 decoder is wrong for up to 0.3 s after a seek
MP3_SLACK_S = 0.1  # the header of an MP3 estimates the length, and may promise this much too much
EXPANSION = 8192  # samples per byte: no frame of FLAC, Vorbis, Opus, MP3 or AAC holds so many
VALUES_HZ = 2**23  # channels times rate: more would take gigabytes per half minute
SHOWN = 5  # files or persons that a message names


@dataclass(frozen=True)
class Recording:
    """One recording: the sum of the files in `paths`, from their common start.

    group: person or song, the unit of a split; name: stable and unique within the corpus; split:
    the corpus's own split if it has one ("train", "validation", "test"); stream: number of the
    audio stream in an .mp4.
    """

    corpus: str
    group: str
    paths: tuple[Path, ...]
    rate_hz: int
    seconds: float
    name: str
    split: str | None = None
    stream: int = 0

    @property
    def embedded(self) -> bool:
        """Whether its files are part of this checkout."""
        return ":" not in self.corpus


def read_stretch(recording: Recording, start_s: float, seconds: float, rate_hz: int) -> np.ndarray:
    """Decode a stretch as mono float32 (sample,): mean of channels, sum of files, soxr HQ.

    The result has round(seconds * rate_hz) samples, zeros beyond the end. It is a slice of the
    whole recording resampled: stretches that overlap agree (but for noise that an AAC decoder
    draws, which depends on the start). Raises BadInput if the stretch does not start within the
    recording, and if a file cannot be decoded, is not finite or crashes its decoder.
    """
    if not (0 <= start_s < recording.seconds and seconds > 0 and rate_hz > 0):
        stretch = f"{seconds} s from {start_s} s at {rate_hz} Hz"
        length = f"{recording.seconds:.3f} s"
        raise BadInput(f"{recording.name}: cannot read {stretch}; it lasts {length}")
    start, count = round(start_s * rate_hz), round(seconds * rate_hz)
    decode = _decode if recording.embedded else _sandboxed
    audio = np.zeros(count, np.float32)
    for path in recording.paths:
        try:
            part = decode(_stretch, path, recording.stream, start, count, rate_hz)
        except (BadInput, OSError) as error:
            raise BadInput(f"{path}: {error}; replace or remove the file") from None
        audio[: len(part)] += part
    return audio


def read_header(path: Path, stream: int = 0) -> tuple[int, float]:
    """Sample rate in Hz and length in s; BadInput says what is wrong with the file."""
    try:
        status = path.stat()
        str(path).encode()  # tables and cards hold names as UTF-8
    except (OSError, ValueError) as error:  # ValueError: half a character in a name
        raise BadInput(f"not decodable: {_reason(error)}") from None
    if status.st_size == 0:
        raise BadInput("zero bytes")
    return _cached_header(path, stream, status.st_size, status.st_mtime_ns)


@cache  # a chapter lists a corpus several times, and VCTK has 88,000 files
def _cached_header(path: Path, stream: int, size: int, modified_ns: int) -> tuple[int, float]:
    return _sandboxed(_header, path, stream, size)


_CRASHES: dict[tuple[Path, int], str] = {}  # files and times of change that are not tried again


def _sandboxed(function: Callable, path: Path, *arguments: int) -> Any:
    """Call `_decode` in the worker process."""
    version = path.absolute(), path.stat().st_mtime_ns
    if version in _CRASHES:
        raise BadInput(_CRASHES[version])
    try:
        return sandbox.run(_decode, function, version[0], *arguments)
    except sandbox.Crash as error:
        _CRASHES[version] = str(error)
        raise


def _decode(function: Callable, path: Path, stream: int, *arguments: int) -> Any:
    """Open a file and call `_header` or `_stretch` with it."""
    try:
        with _open(path, stream) as file:
            return function(file, *arguments)
    except (BadInput, MemoryError):
        raise
    except Exception as error:  # a hostile file makes a decoder raise anything
        raise BadInput(f"not decodable: {_reason(error)}") from None


def _open(path: Path, stream: int) -> Any:
    """A soundfile.SoundFile, or one audio stream of an .mp4 with the same interface."""
    if path.suffix.lower() != ".mp4":
        return soundfile.SoundFile(path)
    from lib.data.mp4 import AudioStream  # this loads the libraries of FFmpeg

    return AudioStream(path, stream)


def _reason(error: Exception) -> str:
    last = str(error).rpartition(": ")[2]
    return getattr(error, "strerror", None) or last or type(error).__name__


def _header(file: Any, size: int) -> tuple[int, float]:
    """Sample rate in Hz and length in s of a file of `size` bytes."""
    if _is_cut(file, size):
        raise BadInput("truncated")
    rate_hz, frames, channels = file.samplerate, file.frames, file.channels
    plausible = rate_hz >= 1000 and 1 <= channels <= VALUES_HZ / rate_hz
    if not (plausible and 2 <= frames <= EXPANSION * size):
        raise BadInput(f"{channels} channels, {frames} samples, {rate_hz} Hz in {size} bytes")
    return rate_hz, frames / rate_hz


def _is_cut(file: Any, size: int) -> bool:
    """Whether a file ends before its content does."""
    if file.format == "MP4":
        return size < file.end_bytes
    if file.format == "OGG":
        return _is_cut_ogg(file.name, size)
    sizes = re.search(r"data : (\d+) \(should be (\d+)\)", file.extra_info)
    if sizes and int(sizes[2]) < int(sizes[1]) < 2**32 - 1:  # a pipe, unsure, writes 2^32 - 1
        return True
    slack = int(MP3_SLACK_S * file.samplerate) if file.format == "MP3" else 0
    try:
        file.seek(max(0, file.frames - 1 - slack))
        return len(file.read(1)) < min(1, file.frames)
    except soundfile.SoundFileError:
        return True


def _is_cut_ogg(path: Path, size: int) -> bool:
    """Whether the last page of an Ogg file (RFC 3533) is incomplete or does not end the stream."""
    with open(path, "rb") as file:
        file.seek(max(0, size - 65307))  # size of the largest page
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27 or not page[5] & 4:  # 4: the last page of its stream
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _stretch(file: Any, start: int, count: int, rate_hz: int) -> np.ndarray:
    """Samples start to start + count of a file resampled to rate_hz; fewer at its end."""
    mp3 = file.format == "MP3"
    margin = rate_hz * (MP3_MARGIN_S if mp3 else MARGIN_S)
    common = math.gcd(file.samplerate, rate_hz)
    step_in, step_out = file.samplerate // common, rate_hz // common
    block = max(
        0, math.floor((start - margin) / step_out)
    )  # both rates meet at the edges of blocks
    first = min(block * step_in, file.frames)
    end = math.ceil((start + count + margin) / step_out) * step_in
    wanted = min(end, file.frames) - first
    file.seek(first)
    audio = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)  # (sample,)
    missing = wanted - len(audio)
    if missing > mp3 * MP3_SLACK_S * file.samplerate:
        raise BadInput(f"truncated, {missing} samples of {wanted} are missing")
    if not np.isfinite(audio).all():
        raise BadInput("holds NaN or infinite samples")
    if file.samplerate != rate_hz:
        audio = soxr.resample(audio, file.samplerate, rate_hz)
    offset = start - block * step_out
    return audio[offset : offset + count]


def warn_skipped(
    where: str, what: str, reasons: dict[str, str], total: int, unnamed: int = 0
) -> None:
    """Warn once of all that a corpus lacks: names with reasons, and `unnamed` more."""
    if not reasons and not unnamed:
        return
    message = f"{where}: skipped {len(reasons) + unnamed} of {total} {what}: {listed(reasons)}"
    if unnamed:
        message += ", " * bool(reasons) + f"{unnamed} that are not there"
    warnings.warn(message, stacklevel=4)


def listed(reasons: dict[str, str]) -> str:
    """The first SHOWN names with their reasons."""
    shown = []
    for name in list(reasons)[:SHOWN]:
        printable = name if name.isprintable() else repr(name)
        shown.append(f"{printable} ({reasons[name]})")
    if len(reasons) > SHOWN:
        shown.append("...")
    return ", ".join(shown)
