"""Sound that cannot be sought, read from its start. For `lib.data.recordings`.

Some files tell no length, or a wrong one, and some codecs cannot jump: FLAC and WAV that a pipe
wrote, MP3 of varying bit rate without a table, two MP3 files joined, GSM and G.721 in WAV. A
`Sequential` has what `recordings` uses of `soundfile.SoundFile`, and its length is what it holds.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

UNKNOWN = 2**60  # samples: so many are no length
BLOCK = 2**16  # samples that are read at a time
SCANNED = 2**20  # bytes of an MP3 whose frames are looked at: half a minute and more
SLACK_BYTES = 2**12  # tags at the end of an MP3
KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # MPEG 1, layer III
KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG 2 and 2.5
RATES_HZ = (44100, 48000, 32000)  # of MPEG 1; a half of them in 2, a quarter in 2.5


class Sequential:
    """Blocks of samples (sample, channel) as a file, for use in `with`."""

    format, extra_info = "SEQUENTIAL", ""
    frames = UNKNOWN

    def __init__(self, file: soundfile.SoundFile, path: Path) -> None:
        self.name = path
        self.samplerate, self.channels = file.samplerate, file.channels
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
        resampler = av.AudioResampler(format="flt", rate=self.samplerate)
        with av.open(f"file:{self.name}", format=kind, metadata_errors="replace") as container:
            try:
                for frame in container.decode(audio=0):
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
    if file.format == "FLAC":
        return _breaks_off(file)
    return False


def _breaks_off(file: soundfile.SoundFile) -> bool:
    try:
        file.seek(max(0, file.frames - 1))
        return len(file.read(1)) < min(1, file.frames)
    except soundfile.SoundFileError:
        return True


def _tells_no_length(path: Path, size: int) -> bool:
    """Whether an MP3 has a table of another length, or none and no constant bit rate.

    The tables are those of Xing (or Info) and of Fraunhofer (VBRI), in the first frame.
    """
    with path.open("rb") as file:
        head = file.read(10)
        start = 0
        if head[:3] == b"ID3":  # four bytes of seven bits
            start = 10 + sum(
                byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
            )
        file.seek(start)
        data = file.read(SCANNED)
    table = data[:200].find(b"VBRI")
    if table >= 0:
        return False
    table = max(data[:200].find(b"Xing"), data[:200].find(b"Info"))
    if table >= 0:
        flags, _, promised = (int.from_bytes(data[table + at :][:4], "big") for at in (4, 8, 12))
        more = size - start - promised
        return flags & 3 == 3 and (more > max(SLACK_BYTES, size // 50) or more < -size // 50)
    rates, at = set(), 0
    while len(frame := data[at : at + 4]) == 4 and frame[0] == 0xFF and frame[1] >= 0xE2:
        length, kbit = _frame(frame)
        if not length:
            break
        rates.add(kbit)
        at += length
    return len(rates) > 1


def _frame(header: bytes) -> tuple[int, int]:
    """Length in bytes and bit rate of an MP3 frame of layer III; 0 for another one."""
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    rate, kbit = header[2] >> 2 & 3, header[2] >> 4
    if layer != 1 or version == 1 or rate == 3 or kbit in (0, 15):
        return 0, 0
    kbits = (KBITS if version == 3 else KBITS_2)[kbit]
    hz = RATES_HZ[rate] // {3: 1, 2: 2, 0: 4}[version]
    return (144 if version == 3 else 72) * 1000 * kbits // hz + (header[2] >> 1 & 1), kbits
