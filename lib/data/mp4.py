"""Audio streams of .mp4 files, the form of MUSDB18 (chapter 01), decoded by PyAV.

`AudioStream` has what `lib.data.recordings` uses of `soundfile.SoundFile`, so that both are read in
one way.
"""

from pathlib import Path

import av
import numpy as np

PRIMING = 2048  # an AAC frame overlaps the one before it: decoding starts this many samples earlier


class AudioStream:
    """One audio stream of a file, for use in `with`.

    number counts the audio streams from 0; samplerate is in Hz; frames is the length in samples
    that the header tells. Raises OSError if the stream cannot be opened or decoded.
    """

    format, extra_info = "MP4", ""

    def __init__(self, path: Path, number: int) -> None:
        try:  # the format is given, since FFmpeg would follow a playlist to other files
            self._container = av.open(f"file:{path}", format="mp4", metadata_errors="replace")
        except av.FFmpegError as error:
            raise OSError(f"{path}: {error.strerror}") from None
        streams = self._container.streams.audio
        if number >= len(streams) or not streams[number].duration:
            self._container.close()
            there = f"{len(streams)} audio streams with content"
            raise OSError(f"{path}: {there}, number {number + 1} is wanted")
        self._stream = streams[number]
        self._start = self._stream.start_time or 0
        self._first = 0
        self.samplerate, self.channels = self._stream.rate, self._stream.channels
        self.frames = self._samples(self._stream.duration)

    def __enter__(self) -> "AudioStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def end_bytes(self) -> int:
        """Size that the file needs for this stream, by its table of samples."""
        last = self._stream.index_entries[-1]
        return last.pos + last.size

    def seek(self, first: int) -> None:
        """Let `read` begin at this sample."""
        self._first = first

    def read(self, count: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """Samples from the place of `seek` on, float32 (sample, channel); fewer at the end."""
        first, end = self._first, min(self._first + count, self.frames)
        parts = [np.zeros((0, self.channels), np.float32)]
        if first >= end:
            return parts[0]
        ticks = (first - PRIMING) / self.samplerate / self._stream.time_base
        try:
            self._container.seek(int(ticks) + self._start, stream=self._stream)
            for frame in self._container.decode(self._stream):
                at = self._samples(frame.pts - self._start)
                audio = frame.to_ndarray().T  # (sample, channel) where the format is planar
                audio = audio.reshape(-1, self.channels)
                parts.append(audio[max(0, first - at) : max(0, end - at)].astype(np.float32))
                if at + frame.samples >= end:
                    break
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", error)
            raise OSError(f"{self._container.name}: {reason}") from None
        return np.concatenate(parts)

    def _samples(self, ticks: int) -> int:
        """A time in the stream's unit as a number of samples."""
        return round(ticks * self._stream.time_base * self.samplerate)
