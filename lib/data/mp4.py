"""Audio streams of an .mp4 file, the form of MUSDB18's songs, decoded by PyAV, whose wheels bring FFmpeg's libraries.

`AudioStream` has what `lib.data.recordings` uses of `soundfile.SoundFile`, so that both are read in one way.
"""

from pathlib import Path

import av
import numpy as np

PRIMING = (
    2048  # samples decoded before those that are wanted: an AAC frame overlaps the one before it
)


class AudioStream:
    """One audio stream of a file, to be used in `with`; OSError when it cannot be opened or decoded.

    number: counted from 0 among the audio streams; samplerate: Hz; frames: length in samples, as the header says.
    """

    format, extra_info = "MP4", ""

    def __init__(self, path: Path, number: int) -> None:
        try:
            self._container = av.open(
                f"file:{path}", format="mp4", metadata_errors="replace"
            )  # never a playlist
        except av.FFmpegError as error:
            raise OSError(f"{path}: {error.strerror}") from None
        streams = self._container.streams.audio
        if number >= len(streams) or not streams[number].duration:
            self._container.close()
            raise OSError(
                f"{path}: {len(streams)} audio streams with content, number {number + 1} is wanted"
            )
        self._stream, self._first = streams[number], 0
        self.samplerate, self.channels = self._stream.rate, self._stream.channels
        self.frames = self._samples(self._stream.duration)

    def __enter__(self) -> "AudioStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def end_bytes(self) -> int:
        """Size that the file needs for this stream, as its table of samples says."""
        last = self._stream.index_entries[-1]
        return last.pos + last.size

    def seek(self, first: int) -> None:
        """Let `read` begin at this sample."""
        self._first = first

    def read(self, count: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """Samples from the place of `seek` on, float32 (sample, channel); fewer where the stream ends before."""
        first, end = self._first, min(self._first + count, self.frames)
        parts = [np.zeros((0, self.channels), np.float32)]
        try:
            ticks = (first - PRIMING) / self.samplerate / self._stream.time_base
            self._container.seek(int(ticks) + (self._stream.start_time or 0), stream=self._stream)
            for frame in self._container.decode(self._stream) if first < end else ():
                at = self._samples(frame.pts - (self._stream.start_time or 0))
                audio = (
                    frame.to_ndarray().reshape(self.channels, -1)
                    if frame.format.is_planar
                    else (frame.to_ndarray().reshape(-1, self.channels).T)
                )
                parts.append(audio[:, max(0, first - at) : max(0, end - at)].T.astype(np.float32))
                if at + frame.samples >= end:
                    break
        except (av.FFmpegError, ValueError) as error:
            raise OSError(f"{self._container.name}: {getattr(error, 'strerror', error)}") from None
        return np.concatenate(parts)

    def _samples(self, ticks: int) -> int:
        """A time in the stream's unit as a number of samples."""
        return round(ticks * self._stream.time_base * self.samplerate)
