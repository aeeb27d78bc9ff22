"""One recording: what its header says, and the stretch of its sound that is asked for. Introduced by story 01.

Nothing but a stretch and a margin is decoded: what a recording takes in memory does not depend on how long it is. The
sound of a corpus with a path is decoded in a child process, so that a file that crashes a decoder is an error.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from lib import BadInput
from lib.data import apart

MARGIN_S = 0.05  # decoded on both sides of a stretch, so that the resampler's edges fall outside it
MP3_MARGIN_S = 1.0  # the same for MP3, whose decoder is wrong for up to 0.3 s after a seek
MP3_SLACK_S = 0.1  # an MP3 may end that much before its header says, which is an estimate
EXPANSION = 8192  # samples of a channel in a byte: no frame of FLAC, Vorbis, Opus, MP3 or AAC holds so much silence
VALUES_HZ = 2**23  # channels times rate: more would take gigabytes for half a minute


@dataclass(frozen=True)
class Recording:
    """One recording: the sum of the files in `paths`, heard from their common start.

    group: person or song, the unit of a split; name: stable and unique within the corpus; split: the corpus's own
    split where it has one ("train", "validation", "test"), else None; stream: of an .mp4, which of its audio streams.
    """

    corpus: str
    group: str
    paths: tuple[Path, ...]
    rate_hz: int
    seconds: float
    name: str
    split: str | None = None
    stream: int = 0


def read(recording: Recording, start_s: float, seconds: float, sample_rate_hz: int) -> np.ndarray:
    """A stretch of a recording as mono float32 (sample,): mean of the channels, sum of the files, resampled (soxr HQ).

    Always round(seconds * sample_rate_hz) samples; what lies beyond a file's end is zero. Two stretches that overlap
    agree where they do: a stretch is a slice of the whole recording resampled. (But for the noise that an AAC decoder
    may draw: there each stretch has its own, the same at every reading.) Raises BadInput for a stretch that does
    not start within the recording, and for content that cannot be decoded, is not finite, or crashes its decoder.
    """
    if not (0 <= start_s < recording.seconds and seconds > 0 and sample_rate_hz > 0):
        asked = f"{seconds} s from {start_s} s at {sample_rate_hz} Hz"
        raise BadInput(f"{recording.name}: cannot read {asked}; it lasts {recording.seconds:.3f} s")
    count = round(seconds * sample_rate_hz)
    audio = np.zeros(count, dtype=np.float32)
    for path in recording.paths:
        asked = recording.stream, round(start_s * sample_rate_hz), count, sample_rate_hz
        try:
            own = ":" not in recording.corpus  # files of this checkout
            part = (
                _stretch(path, *asked)
                if own
                else _apart(_stretch, path, *asked, kind="<f4", most=count)
            )
        except BadInput as error:
            raise BadInput(f"{path}: {error}; replace or remove the file") from None
        audio[: len(part)] += part
    return audio


def header(path: Path, stream: int = 0) -> tuple[int, float]:
    """Sample rate in Hz and length in s, without decoding the content; BadInput says what is wrong with the file."""
    try:
        status = path.stat()
        if status.st_size == 0:
            raise BadInput("zero bytes")
        str(path).encode()  # tables and cards hold names as UTF-8
        return _listed(path, stream, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError, OverflowError) as error:  # ValueError: half a character in a name
        raise (
            error if isinstance(error, BadInput) else BadInput(f"not decodable: {_reason(error)}")
        ) from None


@cache  # a corpus is listed several times in a process, and may have 90,000 files
def _listed(path: Path, stream: int, size: int, modified: int) -> tuple[int, float]:
    rate_hz, seconds = _apart(_header, path, stream, size, kind="<f8", most=2)
    return int(rate_hz), float(seconds)


_ENDED: dict[
    tuple[str, int], str
] = {}  # files that ended the child, as they were then, and how: not asked of it again


def _apart(
    function: Callable[..., np.ndarray], path: Path, *arguments: int, kind: str, most: int
) -> np.ndarray:
    """What `_header` or `_stretch` returns, from the child process."""
    try:
        file = str(path.absolute()), path.stat().st_mtime_ns
        if file in _ENDED:
            raise BadInput(_ENDED[file])
        return apart.ask(
            "lib.data.recordings", function.__name__, file[0], *arguments, kind=kind, most=most
        )
    except apart.Ended as error:
        _ENDED[file] = str(error)
        raise
    except OSError as error:
        raise BadInput(f"cannot be decoded ({error})") from None


def _reason(error: Exception) -> str:
    return (
        getattr(error, "strerror", None) or str(error).rpartition(": ")[2] or type(error).__name__
    )


def _header(path: str, stream: int, size: int) -> np.ndarray:
    """(2,): sample rate in Hz and length in s."""
    try:
        with _opened(Path(path), stream) as file:
            if _cut(Path(path), size, file):
                raise BadInput("truncated")
            rate_hz, sound = file.samplerate, 2 <= file.frames <= EXPANSION * size
            if not (sound and rate_hz >= 1000 and 1 <= file.channels <= VALUES_HZ / rate_hz):
                raise BadInput(
                    f"{file.channels} channels, {file.frames} samples, {rate_hz} Hz in {size} bytes"
                )
            return np.array([rate_hz, file.frames / rate_hz])
    except (BadInput, MemoryError):
        raise
    except Exception as error:  # whatever a decoder makes of a hostile file
        raise BadInput(f"not decodable: {_reason(error)}") from None


def _opened(path: Path, stream: int) -> Any:
    """A soundfile.SoundFile, or what does the same for one audio stream of an .mp4."""
    if path.suffix.lower() != ".mp4":
        return soundfile.SoundFile(path)
    from lib.data.mp4 import AudioStream  # loads the libraries of FFmpeg

    return AudioStream(path, stream)


def _cut(path: Path, size: int, file: Any) -> bool:
    """Whether a file ends before its content does: by the sizes in its header, the last Ogg page, the last sample."""
    if file.format == "MP4":
        return size < file.end_bytes
    sizes = re.search(r"data : (\d+) \(should be (\d+)\)", file.extra_info)
    if (
        sizes and int(sizes[2]) < int(sizes[1]) < 2**32 - 1
    ):  # a pipe writes the largest number: length unknown
        return True
    if file.format == "OGG":
        with path.open("rb") as raw:
            raw.seek(max(0, size - 65307))  # the largest page of RFC 3533
            tail = raw.read()
        page = tail[max(0, tail.rfind(b"OggS")) :]
        return (
            len(page) < 27
            or not page[5] & 4
            or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])
        )
    slack = int(MP3_SLACK_S * file.samplerate) if file.format == "MP3" else 0
    try:
        file.seek(max(0, file.frames - 1 - slack))
        return len(file.read(1)) < min(1, file.frames)
    except soundfile.SoundFileError:
        return True


def _stretch(
    path: str | Path, stream: int, start: int, count: int, sample_rate_hz: int
) -> np.ndarray:
    """Samples start to start + count of a file resampled to sample_rate_hz; shorter where the file ends."""
    path = Path(path)
    mp3 = path.suffix.lower() == ".mp3"
    margin = sample_rate_hz * (MP3_MARGIN_S if mp3 else MARGIN_S)
    try:
        with _opened(path, stream) as file:
            common = math.gcd(file.samplerate, sample_rate_hz)
            step_in, step_out = file.samplerate // common, sample_rate_hz // common
            block = max(
                0, math.floor((start - margin) / step_out)
            )  # both rates meet at block edges
            first = block * step_in
            wanted = math.ceil((start + count + margin) / step_out) * step_in - first
            wanted = max(0, min(wanted, file.frames - first))
            file.seek(min(first, file.frames))
            audio = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)  # (sample,)
            rate_hz, lacking = file.samplerate, wanted - len(audio)
    except MemoryError:
        raise
    except Exception as error:  # whatever a decoder makes of a hostile file
        raise BadInput(f"cannot be decoded ({error})") from None
    if lacking > mp3 * MP3_SLACK_S * rate_hz:
        raise BadInput(f"truncated, {lacking} samples of {wanted} are missing")
    if not np.isfinite(audio).all():
        raise BadInput("holds NaN or infinite samples")
    if rate_hz != sample_rate_hz:
        audio = soxr.resample(audio, rate_hz, sample_rate_hz)
    offset = start - block * step_out
    return audio[offset : offset + count]


if __name__ == "__main__":
    apart.serve(_header, _stretch)
