"""Where sound and digits come from: embedded corpora and any folder, behind one small interface (all stories).

`load(corpus)` lists recordings without decoding them, `read(recording, ...)` decodes the stretch that is asked for.
The split unit, a person or a song, is `Recording.group`. A new corpus is one more function in `LOADERS`.
"""

import csv
import difflib
import gzip
import math
import os
import re
import struct
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from lib import ROOT, BadInput

DATA = ROOT / "data"
EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")
MARGIN_S = 0.05  # decoded on both sides of a stretch, so that the resampler's edges fall outside it
MP3_MARGIN_S = 1.0  # the same for MP3, whose decoder is wrong for up to 0.3 s after a seek
MP3_SLACK_S = 0.1  # an MP3 may end that much before its header says, which is an estimate


@dataclass(frozen=True)
class Recording:
    """One recording: the sum of the files in `paths`, heard from their common start.

    group: person or song, the unit of a split; name: stable and unique within the corpus; split: the corpus's own
    split where it has one ("train", "validation", "test"), else None.
    """

    corpus: str
    group: str
    paths: tuple[Path, ...]
    rate_hz: int
    seconds: float
    name: str
    split: str | None = None


def load(corpus: str) -> list[Recording]:
    """The recordings of a corpus, sorted by name: "speech", "music" or "folder:<path>".

    Raises BadInput for an unknown corpus, for a file that the manifest names and data/ lacks, and for a folder that is
    missing, unreadable or holds no usable audio. One bad file among many in a folder is skipped, with one warning.
    """
    kind, colon, argument = str(corpus).partition(":")
    if kind not in LOADERS:
        near = difflib.get_close_matches(kind, LOADERS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise BadInput(f'corpus {corpus!r} is not known; {hint}choose "speech", "music" or "folder:<path>"')
    if kind == "folder" and not argument:
        raise BadInput(f'corpus {corpus!r} names no folder; write "folder:" and a path, like "folder:recordings"')
    if kind != "folder" and colon:
        raise BadInput(f"corpus {corpus!r}: {kind!r} takes nothing after a colon; write {kind!r}")
    return sorted(LOADERS[kind](argument), key=lambda recording: recording.name)


def read(recording: Recording, start_s: float, seconds: float, sample_rate_hz: int) -> np.ndarray:
    """A stretch of a recording as mono float32 (sample,): mean of the channels, sum of the files, resampled (soxr HQ).

    Always round(seconds * sample_rate_hz) samples; what lies beyond a file's end is zero. Two stretches that overlap
    agree where they do: a stretch is a slice of the whole recording resampled. Raises BadInput for a stretch that does
    not start within the recording, and for content that cannot be decoded or is not finite.
    """
    if not (0 <= start_s < recording.seconds and seconds > 0 and sample_rate_hz > 0):
        asked = f"{seconds} s from {start_s} s at {sample_rate_hz} Hz"
        raise BadInput(f"{recording.name}: cannot read {asked}; it lasts {recording.seconds:.3f} s")
    count = round(seconds * sample_rate_hz)
    audio = np.zeros(count, dtype=np.float32)
    for path in recording.paths:
        part = _stretch(path, round(start_s * sample_rate_hz), count, sample_rate_hz)
        audio[: len(part)] += part
    return audio


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """MNIST (LeCun et al. 1998): images uint8 (n, 28, 28) and labels uint8 (n,); split is "train" or "test"."""
    prefixes = {"train": "train", "test": "t10k"}
    if split not in prefixes:
        raise BadInput(f'split {split!r} of the digits is not known; choose "train" or "test"')
    images = _idx(DATA / "digits" / f"{prefixes[split]}-images-idx3-ubyte.gz", 3)
    labels = _idx(DATA / "digits" / f"{prefixes[split]}-labels-idx1-ubyte.gz", 1)
    if len(images) != len(labels) or images.shape[1:] != (28, 28):
        raise BadInput(f"{DATA / 'digits'}: images {images.shape} and labels {labels.shape} do not belong together")
    return images, labels


def manifest() -> list[dict[str, str]]:
    """The rows of data/manifest.csv, one a file: corpus, group, voice, stem, rate, length, hash, origin, licence."""
    path = DATA / "manifest.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); restore it with `git checkout data`") from None


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """A gzipped IDX file of bytes: magic number, sizes, content; http://yann.lecun.com/exdb/mnist, "File formats"."""
    try:
        content = gzip.decompress(path.read_bytes())
        magic, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
    except (OSError, EOFError, struct.error) as error:
        raise BadInput(f"{path}: not a readable IDX file ({error}); restore it with `git checkout data`") from None
    if magic != 0x0800 + dimensions or len(content) - 4 * (1 + dimensions) != math.prod(shape):
        what = f"magic number {magic} with sizes {shape} does not fit {len(content)} bytes"
        raise BadInput(f"{path}: {what}; restore it with `git checkout data`")
    return np.frombuffer(content, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)


def _embedded(corpus: str) -> list[Recording]:
    """An embedded corpus; files of one song that are stems of one another are one recording."""
    files = defaultdict(list)
    for row in manifest():
        if row["corpus"] == corpus:
            together = row["group"] if corpus == "music" else Path(row["file"]).relative_to(corpus).as_posix()
            files[together].append(row)
    missing = [row["file"] for rows in files.values() for row in rows if not (DATA / row["file"]).is_file()]
    if missing:
        what = f"missing, with {len(missing) - 1} other files of data/manifest.csv"
        raise BadInput(f"{DATA / missing[0]}: {what}; restore them with `git checkout data`")
    return [
        Recording(
            corpus=corpus, group=rows[0]["group"], paths=tuple(DATA / row["file"] for row in rows), name=name,
            rate_hz=int(rows[0]["sample_rate_hz"]), seconds=min(float(row["seconds"]) for row in rows),
        )
        for name, rows in files.items()
    ]


def _folder(argument: str) -> list[Recording]:
    """Every wav, flac, ogg and mp3 file below a folder; the sub-folder of the first level is the group, "." the top."""
    top = Path(argument).expanduser()
    try:
        os.listdir(top)
    except OSError as error:
        raise BadInput(f"folder {top}: {error.strerror}; give the path of a folder that you may read") from None
    recordings, bad = [], []
    for path, problem in _walk(top):
        name = path.relative_to(top).as_posix()
        try:
            if problem:
                raise BadInput(problem)
            rate_hz, seconds = _header(path)
        except BadInput as error:
            bad.append(f"{name} ({error})")
        else:
            group = name.partition("/")[0] if "/" in name else "."
            recordings.append(Recording(f"folder:{argument}", group, (path,), rate_hz, seconds, name))
    listed = ", ".join(bad[:5]) + (", ..." if len(bad) > 5 else "")
    if not recordings:
        what = f"none of its {len(bad)} audio files can be used: {listed}" if bad else "no audio files in it"
        wanted = f"wanted are {', '.join(EXTENSIONS)} files, one sub-folder per person or song"
        raise BadInput(f"folder {top}: {what}; {wanted}")
    if bad:
        warnings.warn(f"folder {top}: skipped {len(bad)} of {len(bad) + len(recordings)} files: {listed}", stacklevel=3)
    return recordings


def _walk(top: Path) -> list[tuple[Path, str]]:
    """Audio files below a folder, each with what is wrong with it or ""; no hidden files, no linked folders."""
    found, inside = [], top.resolve()

    def unreadable(error: OSError) -> None:
        found.append((Path(error.filename), f"folder cannot be read: {error.strerror}"))

    for folder, _, names in os.walk(top, onerror=unreadable):
        for path in (Path(folder, name) for name in names):
            if path.suffix.lower() in EXTENSIONS and not path.name.startswith("."):
                leaves = path.is_symlink() and not path.resolve().is_relative_to(inside)
                found.append((path, "a link that leaves the folder" if leaves else ""))
    return sorted(found)


def _header(path: Path) -> tuple[int, float]:
    """Sample rate in Hz and length in s, without decoding the content; BadInput says what is wrong with the file."""
    try:
        if path.stat().st_size == 0:
            raise BadInput("zero bytes")
        with soundfile.SoundFile(path) as file:
            if _cut(path, file):
                raise BadInput("truncated")
            if file.channels < 1 or file.frames < 2:
                raise BadInput(f"{file.channels} channels, {file.frames} samples")
            return file.samplerate, file.frames / file.samplerate
    except (OSError, soundfile.SoundFileError) as error:
        raise BadInput(f"not decodable: {str(error).rpartition(': ')[2]}") from None


def _cut(path: Path, file: soundfile.SoundFile) -> bool:
    """Whether a file ends before its content does: by the size in a WAV header, the last Ogg page, the last sample."""
    sizes = re.search(r"data : (\d+) \(should be (\d+)\)", file.extra_info)
    if sizes and int(sizes[2]) < int(sizes[1]) < 2**32 - 1:  # a pipe writes the largest number: length unknown
        return True
    if file.format == "OGG":
        with path.open("rb") as raw:
            raw.seek(max(0, path.stat().st_size - 65307))  # the largest page of RFC 3533
            tail = raw.read()
        page = tail[max(0, tail.rfind(b"OggS")) :]
        return len(page) < 27 or not page[5] & 4 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])
    slack = int(MP3_SLACK_S * file.samplerate) if file.format == "MP3" else 0
    try:
        file.seek(max(0, file.frames - 1 - slack))
        return len(file.read(1)) < min(1, file.frames)
    except soundfile.SoundFileError:
        return True


def _stretch(path: Path, start: int, count: int, sample_rate_hz: int) -> np.ndarray:
    """Samples start to start + count of a file resampled to sample_rate_hz; shorter where the file ends."""
    mp3 = path.suffix.lower() == ".mp3"
    margin = sample_rate_hz * (MP3_MARGIN_S if mp3 else MARGIN_S)
    try:
        with soundfile.SoundFile(path) as file:
            common = math.gcd(file.samplerate, sample_rate_hz)
            step_in, step_out = file.samplerate // common, sample_rate_hz // common
            block = max(0, math.floor((start - margin) / step_out))  # both rates meet at block edges
            first = block * step_in
            wanted = math.ceil((start + count + margin) / step_out) * step_in - first
            wanted = max(0, min(wanted, file.frames - first))
            file.seek(min(first, file.frames))
            audio = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)  # (sample,)
            rate_hz, lacking = file.samplerate, wanted - len(audio)
    except (OSError, soundfile.SoundFileError) as error:
        raise BadInput(f"{path}: cannot be decoded ({error}); replace or remove the file") from None
    if lacking > mp3 * MP3_SLACK_S * rate_hz:
        raise BadInput(f"{path}: truncated, {lacking} samples of {wanted} are missing; replace or remove the file")
    if not np.isfinite(audio).all():
        raise BadInput(f"{path}: holds NaN or infinite samples; replace or remove the file")
    if rate_hz != sample_rate_hz:
        audio = soxr.resample(audio, rate_hz, sample_rate_hz)
    offset = start - block * step_out
    return audio[offset : offset + count]


LOADERS: dict[str, Callable[[str], list[Recording]]] = {
    "speech": lambda _: _embedded("speech"),
    "music": lambda _: _embedded("music"),
    "folder": _folder,
}
