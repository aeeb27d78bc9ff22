"""Where sound and digits come from: embedded corpora, VCTK, MUSDB18, any folder, behind one small interface.

`load(corpus)` lists recordings without decoding them, `read(recording, ...)` decodes the stretch that is asked for.
The split unit, a person or a song, is `Recording.group`. A new corpus is one more function in `LOADERS`.
"""

import csv
import difflib
import gzip
import hashlib
import math
import os
import struct
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lib import ROOT, BadInput
from lib.data import musdb18, vctk
from lib.data.recordings import Recording, header, read

__all__ = ["Recording", "digits", "fingerprint", "load", "manifest", "read"]

DATA = ROOT / "data"
EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")
KNOWN = '"speech", "music", "folder:<path>", "vctk:<path>" or "musdb18:<path>"'


def load(corpus: str) -> list[Recording]:
    """The recordings of a corpus, sorted by name: "speech", "music", "folder:<path>", "vctk:<path>", "musdb18:<path>".

    Raises BadInput for an unknown corpus, for a file that the manifest names and data/ lacks, and for a folder that is
    missing, unreadable, holds no usable audio or another corpus (`lib.data.layouts`). What cannot be used among much that
    can is skipped, with one warning that counts and names it.
    """
    kind, colon, argument = str(corpus).partition(":")
    if kind not in LOADERS:
        near = difflib.get_close_matches(kind, LOADERS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise BadInput(f"corpus {corpus!r} is not known; {hint}choose {KNOWN}")
    embedded = kind in ("speech", "music")
    if not embedded and not argument:
        raise BadInput(
            f'corpus {corpus!r} names no folder; write "{kind}:" and a path, like "{kind}:recordings"'
        )
    if embedded and colon:
        raise BadInput(f"corpus {corpus!r}: {kind!r} takes nothing after a colon; write {kind!r}")
    return sorted(LOADERS[kind](argument), key=lambda recording: recording.name)


def fingerprint(corpus: str) -> str:
    """Hash of the recordings of a corpus: names, groups, and size and time of every file, as make looks at them.

    The embedded files carry hashes of their own, and a checkout gives them new times: their sizes are enough.
    """
    digest = hashlib.sha256()
    for recording in load(corpus):
        embedded = recording.corpus in ("speech", "music")
        files = [
            (path.stat().st_size, 0 if embedded else path.stat().st_mtime_ns)
            for path in recording.paths
        ]
        digest.update(repr((recording.name, recording.group, recording.split, files)).encode())
    return digest.hexdigest()[:16]


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """MNIST (LeCun et al. 1998): images uint8 (n, 28, 28) and labels uint8 (n,); split is "train" or "test"."""
    prefixes = {"train": "train", "test": "t10k"}
    if split not in prefixes:
        raise BadInput(f'split {split!r} of the digits is not known; choose "train" or "test"')
    images = _idx(DATA / "digits" / f"{prefixes[split]}-images-idx3-ubyte.gz", 3)
    labels = _idx(DATA / "digits" / f"{prefixes[split]}-labels-idx1-ubyte.gz", 1)
    if len(images) != len(labels) or images.shape[1:] != (28, 28):
        raise BadInput(
            f"{DATA / 'digits'}: images {images.shape} and labels {labels.shape} do not belong together"
        )
    return images, labels


def manifest() -> list[dict[str, str]]:
    """The rows of data/manifest.csv, one a file: corpus, group, voice, stem, rate, length, hash, origin, licence."""
    path = DATA / "manifest.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror}); restore it with `git checkout data`"
        ) from None


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """A gzipped IDX file of bytes: magic number, sizes, content; http://yann.lecun.com/exdb/mnist, "File formats"."""
    try:
        with gzip.open(path) as file:
            content = file.read(2**26)  # the largest of the four has 47 MB
        magic, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise BadInput(
            f"{path}: not a readable IDX file ({error}); restore it with `git checkout data`"
        ) from None
    if magic != 0x0800 + dimensions or len(content) - 4 * (1 + dimensions) != math.prod(shape):
        what = f"magic number {magic} with sizes {shape} does not fit {len(content)} bytes"
        raise BadInput(f"{path}: {what}; restore it with `git checkout data`")
    return np.frombuffer(content, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)


def _embedded(corpus: str) -> list[Recording]:
    """An embedded corpus; files of one song that are stems of one another are one recording."""
    files = defaultdict(list)
    for row in manifest():
        if row["corpus"] == corpus:
            together = (
                row["group"]
                if corpus == "music"
                else Path(row["file"]).relative_to(corpus).as_posix()
            )
            files[together].append(row)
    missing = [
        row["file"] for rows in files.values() for row in rows if not (DATA / row["file"]).is_file()
    ]
    if missing:
        what = f"missing, with {len(missing) - 1} other files of data/manifest.csv"
        raise BadInput(f"{DATA / missing[0]}: {what}; restore them with `git checkout data`")
    return [
        Recording(
            corpus=corpus,
            group=rows[0]["group"],
            paths=tuple(DATA / row["file"] for row in rows),
            name=name,
            rate_hz=int(rows[0]["sample_rate_hz"]),
            seconds=min(float(row["seconds"]) for row in rows),
        )
        for name, rows in files.items()
    ]


def _folder(argument: str) -> list[Recording]:
    """Every wav, flac, ogg and mp3 file below a folder; the sub-folder of the first level is the group, "." the top."""
    top = Path(os.path.expanduser(argument))
    try:
        os.listdir(top)
    except (
        OSError,
        ValueError,
    ) as error:  # ValueError: no path holds a zero byte or half a character
        reason = getattr(error, "strerror", error)
        raise BadInput(
            f"folder {top}: {reason}; give the path of a folder that you may read"
        ) from None
    recordings, bad = [], []
    try:
        files = _walk(top)
    except RecursionError:  # of os.walk, before Python 3.12
        raise BadInput(
            f"folder {top}: holds folders in folders, too deep to be looked through"
        ) from None
    for path, problem in files:
        name = path.relative_to(top).as_posix()
        try:
            if problem:
                raise BadInput(problem)
            rate_hz, seconds = header(path)
        except BadInput as error:
            bad.append(f"{name if name.isprintable() else repr(name)} ({error})")
        else:
            group = name.partition("/")[0] if "/" in name else "."
            recordings.append(
                Recording(f"folder:{argument}", group, (path,), rate_hz, seconds, name)
            )
    listed = ", ".join(bad[:5]) + (", ..." if len(bad) > 5 else "")
    if not recordings:
        what = (
            f"none of its {len(bad)} audio files can be used: {listed}"
            if bad
            else "no audio files in it"
        )
        wanted = f"wanted are {', '.join(EXTENSIONS)} files, one sub-folder per person or song"
        raise BadInput(f"folder {top}: {what}; {wanted}")
    if bad:
        warnings.warn(
            f"folder {top}: skipped {len(bad)} of {len(bad) + len(recordings)} files: {listed}",
            stacklevel=3,
        )
    return recordings


def _walk(top: Path) -> list[tuple[Path, str]]:
    """Audio files below a folder, each with what is wrong with it or ""; no hidden files, no linked folders."""
    found, inside = [], top.resolve()

    def unreadable(error: OSError) -> None:
        found.append((Path(error.filename), f"folder cannot be read: {error.strerror}"))

    for folder, _, names in os.walk(top, onerror=unreadable):
        for path in (Path(folder, name) for name in names):
            if path.suffix.lower() in EXTENSIONS and not path.name.startswith("."):
                leaves = path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(
                    inside
                )
                found.append((path, "a link that leaves the folder" if leaves else ""))
    return sorted(found)


LOADERS: dict[str, Callable[[str], list[Recording]]] = {
    "speech": lambda _: _embedded("speech"),
    "music": lambda _: _embedded("music"),
    "folder": _folder,
    "vctk": vctk.load,
    "musdb18": musdb18.load,
}
