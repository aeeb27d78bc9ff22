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
from lib.data.sequential import UNKNOWN, Sequential, needs_start

MARGIN_S = 0.05  # keeps the resampler's edge effects outside of the stretch
MP3_MARGIN_S = 1.0  # an MP3 decoder is wrong for up to 0.3 s after a seek
MP3_SLACK_S = 0.1  # the header of an MP3 estimates the length, and may promise this much too much
PIECE_S = 30.0  # read at a time when a whole recording is looked at
UNSAID_S = 0.1  # less than this missing is not worth a word
AUDIBLE = 1e-8  # mean square of the quietest sound that counts as one: -80 dB
PIPE = 0x7FFF0000  # a pipe, which knows no size, writes this or more
SIZES = r"(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)"  # libsndfile says
EXPANSION = 8192  # samples per byte: no frame of FLAC, Vorbis, Opus, MP3 or AAC holds so many
VALUES_HZ = 2**23  # channels times rate: more would take gigabytes per half minute
POINTERS = {b"version https://git-lfs": "git lfs pull", b"/annex/objects/": "git annex get"}
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
            there = start_s + len(part) / rate_hz + MP3_SLACK_S
            if there < min(start_s + seconds, recording.seconds):
                raise BadInput(
                    f"breaks off at {there - MP3_SLACK_S:.2f} s, and did not when listed"
                )
        except (BadInput, OSError) as error:
            raise BadInput(f"{path}: {error}; replace or remove the file") from None
        audio[: len(part)] += part
    return audio


def silence(recording: Recording) -> str:
    """Why a recording without a sound has none."""
    for start_s, seconds in pieces(recording):
        start, count = round(start_s * recording.rate_hz), round(seconds * recording.rate_hz)
        for path in recording.paths:
            if _sandboxed(_cancels, path, recording.stream, start, count):
                return "its channels cancel each other: keep one of them, or invert one"
    return "silent"


def pieces(recording: Recording) -> list[tuple[float, float]]:
    """Start and length in s of pieces of a recording: at most 120, so an hour or more has gaps."""
    starts = np.arange(0, recording.seconds, max(PIECE_S, recording.seconds / 120))
    return [(start_s, min(PIECE_S, recording.seconds - start_s)) for start_s in starts]


def read_header(path: Path, stream: int = 0) -> tuple[int, float]:
    """Sample rate in Hz and length in s of what can be read; BadInput says why nothing can."""
    return _known_header(path, stream)[:2]


def shortfall(path: Path, stream: int = 0) -> str:
    """What a file promises and lacks, in words; "" for a whole one."""
    _, seconds, promised_s = _known_header(path, stream)
    if promised_s is None:
        return f"it has no end mark, {seconds:.2f} s are there"
    if promised_s - seconds > UNSAID_S:
        return f"its header promises {promised_s:.2f} s, {seconds:.2f} s are there"
    return ""


def _known_header(path: Path, stream: int) -> tuple[int, float, float | None]:
    try:
        status = path.stat()
        str(path).encode()  # tables and cards hold names as UTF-8
    except (OSError, ValueError) as error:  # ValueError: half a character in a name
        raise BadInput(f"not decodable: {_reason(error)}") from None
    if status.st_size == 0:
        raise BadInput("zero bytes")
    return _cached_header(path, stream, status.st_size, status.st_mtime_ns)


@cache  # a chapter lists a corpus several times, and VCTK has 88,000 files
def _cached_header(
    path: Path, stream: int, size: int, modified_ns: int
) -> tuple[int, float, float | None]:
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
        for head, command in POINTERS.items():
            if path.is_file() and _starts_with(path, head):
                raise BadInput(f"a pointer and no sound: run `{command}`") from None
        raise BadInput(f"not decodable: {_reason(error)}") from None


def _starts_with(path: Path, head: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(head)) == head


def _open(path: Path, stream: int) -> Any:
    """A soundfile.SoundFile, or what has its interface."""
    if path.suffix.lower() in (".mp4", ".m4a"):
        from lib.data.mp4 import AudioStream  # this loads the libraries of FFmpeg

        return AudioStream(path, stream)
    file = soundfile.SoundFile(path)
    if needs_start(file, path, path.stat().st_size):
        return Sequential(file, path)
    return file


def _reason(error: Exception) -> str:
    last = str(error).rpartition(": ")[2]
    return getattr(error, "strerror", None) or last or type(error).__name__


def _header(file: Any, size: int) -> tuple[int, float, float | None]:
    """Sample rate in Hz, length in s, and the length that the header promises.

    That is None for an Ogg stream without its end mark.
    """
    if file.format == "MP4" and size < file.end_bytes:
        reason = f"{size} of {file.end_bytes} bytes are there"
        raise BadInput(f"cut off, {reason}; copy it again")
    rate_hz, channels = file.samplerate, file.channels
    frames = file.count() if isinstance(file, Sequential) else file.frames
    plausible = rate_hz >= 1000 and 1 <= channels <= VALUES_HZ / rate_hz
    if not (plausible and 2 <= frames <= EXPANSION * size):
        raise BadInput(f"{channels} channels, {frames} samples, {rate_hz} Hz in {size} bytes")
    promised = frames
    if file.format == "OGG" and _has_no_end(file.name, size):
        return rate_hz, frames / rate_hz, None
    if isinstance(file, Sequential):
        promised = file.promised if file.promised < UNKNOWN else frames
    sizes = re.search(SIZES, file.extra_info)
    if sizes and int(sizes[1]) < PIPE:
        promised = round(frames * int(sizes[1]) / max(1, int(sizes[2])))
    return rate_hz, frames / rate_hz, promised / rate_hz


def _has_no_end(path: Path, size: int) -> bool:
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
    # both rates meet at the edges of blocks
    block = max(0, math.floor((start - margin) / step_out))
    first = min(block * step_in, file.frames)
    end = math.ceil((start + count + margin) / step_out) * step_in
    wanted = min(end, file.frames) - first
    file.seek(first)
    audio = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)  # (sample,)
    missing = wanted - len(audio)
    known = not isinstance(file, Sequential)
    if known and missing > mp3 * MP3_SLACK_S * file.samplerate:
        raise BadInput(f"truncated, {missing} samples of {wanted} are missing")
    if not np.isfinite(audio).all():
        raise BadInput("holds NaN or infinite samples")
    if file.samplerate != rate_hz:
        audio = soxr.resample(audio, file.samplerate, rate_hz)
    offset = start - block * step_out
    return audio[offset : offset + count]


def _cancels(file: Any, start: int, count: int) -> bool:
    """Whether a channel of a stretch is 20 dB louder than the mean of all, offsets aside."""
    file.seek(start)
    audio = file.read(count, dtype="float32", always_2d=True)
    return len(audio) > 0 and audio.var(0).max() > max(100 * audio.mean(1).var(), AUDIBLE)


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
