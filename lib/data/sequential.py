"""Sound that cannot be sought, read from its start. For `lib.data.recordings`.

Some files tell no length, or a wrong one, and some codecs cannot jump: FLAC and WAV that a pipe
wrote, MP3 without a table of its length, two MP3 files joined, GSM and G.721 in WAV. A
`Sequential` has what `recordings` uses of `soundfile.SoundFile`, and its length is what it holds.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

UNKNOWN = 2**60  # samples: so many are no length
BLOCK = 2**16  # samples that are read at a time
SLACK_BYTES = 2**12  # tags at the end of an MP3
SHIFTS = (21, 14, 7, 0)


class Sequential:
    """Blocks of samples (sample, channel) as a file, for use in `with`."""

    format = "SEQUENTIAL"
    frames = UNKNOWN

    def __init__(self, file: soundfile.SoundFile, path: Path) -> None:
        self.name = path
        self.samplerate, self.channels = file.samplerate, file.channels
        self.extra_info = file.extra_info
        self.promised = file.frames if file.seekable() and file.frames else UNKNOWN
        self._file = file
        self._first = 0

    def __enter__(self) -> "Sequential":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def seek(self, first: int) -> None:
        """Let `read` begin at this sample."""
        self._first = first

    def read(self, count: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """Samples from the place of `seek` on, float32 (sample, channel); fewer at the end."""
        parts = [np.zeros((0, self.channels), np.float32)]
        at, end = 0, self._first + count
        for block in self.blocks():
            parts.append(block[max(0, self._first - at) : max(0, end - at)])
            at += len(block)
            if at >= end:
                break
        return np.concatenate(parts)

    def count(self) -> int:
        """How many samples there are."""
        return sum(map(len, self.blocks()))

    def blocks(self) -> Iterator[np.ndarray]:
        """All samples; a file that breaks off ends there."""
        if not self._file.seekable():
            while len(block := self._file.read(BLOCK, dtype="float32", always_2d=True)):
                yield block
            return
        import av  # this loads the libraries of FFmpeg

        kind = {"MPEG": "mp3", "WAVEX": "wav"}.get(self._file.format, self._file.format.lower())
        with av.open(f"file:{self.name}", format=kind, metadata_errors="replace") as container:
            layout, kind = container.streams.audio[0].layout.name, None
            try:
                for frame in container.decode(audio=0):
                    if kind != (kind := (frame.sample_rate, frame.layout.name)):  # joined files
                        resampler = av.AudioResampler("flt", layout, self.samplerate)
                    for same in resampler.resample(frame):
                        yield same.to_ndarray().reshape(-1, self.channels)
            except av.FFmpegError:  # the end of what can be decoded
                return


def needs_start(file: soundfile.SoundFile, path: Path, size: int) -> bool:
    """Whether the length that libsndfile tells of a file of `size` bytes cannot be trusted."""
    if not file.seekable() or file.frames >= UNKNOWN:
        return True
    if file.format in ("WAV", "WAVEX") and file.frames == 0:
        return size > 1000
    if file.format in ("MP3", "MPEG"):
        return _tells_no_length(path, size)
    return file.format == "FLAC" and _breaks_off(file)


def _breaks_off(file: soundfile.SoundFile) -> bool:
    try:
        file.seek(max(0, file.frames - 1))
        return len(file.read(1)) < min(1, file.frames)
    except soundfile.SoundFileError:
        return True


def _tells_no_length(path: Path, size: int) -> bool:
    """Whether an MP3 has no table of its length, or one for another size of the file.

    The tables are those of Xing (or Info) and of Fraunhofer (VBRI), in the first frame.
    """
    with path.open("rb") as file:
        head = file.read(10)
        start = 0
        if head[:3] == b"ID3":  # four bytes of seven bits
            start = 10 + sum(byte << shift for byte, shift in zip(head[6:], SHIFTS, strict=True))
        file.seek(start)
        data = file.read(400)
    table = max(data[:200].find(name) for name in (b"Xing", b"Info", b"VBRI"))
    if table < 0 or data[table:].startswith(b"VBRI"):
        return table < 0
    flags, _, promised = (int.from_bytes(data[table + at :][:4], "big") for at in (4, 8, 12))
    more = size - start - promised
    return flags & 3 == 3 and (more > max(SLACK_BYTES, size // 50) or more < -size // 50)
