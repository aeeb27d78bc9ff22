"""Corpora: embedded ones, VCTK, MUSDB18 and any folder. Chapter 01 introduces them.

`load_corpus` lists recordings without decoding them. A new corpus is one more loader in LOADERS.
"""

import csv
import filecmp
import hashlib
import os
import shlex
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from lib import ROOT, BadInput
from lib.config import CorpusName, parse_corpus
from lib.data.published import load_musdb18, load_vctk
from lib.data.recordings import Recording, listed, read_header, shortfall, warn_skipped

DATA = ROOT / "data"
EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".opus", ".aiff", ".aif")
EXTENSIONS += (".oga", ".au", ".caf", ".w64", ".rf64")  # libsndfile reads these too
EXTENSIONS += (".aifc", ".snd", ".voc", ".wave", ".mp2", ".mpga", ".mp4")
UNREAD = (".aac", ".wma", ".amr", ".ac3", ".ape", ".wv", ".mka", ".webm", ".dts", ".spx")
UNREAD += (".m4b", ".3gp", ".mkv", ".mov", ".ra", ".dsf", ".dff", ".tta", ".mpc", ".tak")
PROBE = 2**10  # bytes in the middle that tell most files of one size apart


def load_corpus(corpus: str) -> list[Recording]:
    """The recordings of "speech", "music", "folder:PATH", "vctk:PATH" or "musdb18:PATH", by name.

    Files that cannot be used are skipped, with one warning that counts and names them. Raises
    BadInput for an unknown corpus, for a file that the manifest names and data/ lacks, and for a
    folder that is missing or unreadable, holds no usable audio, or another corpus.
    """
    name = parse_corpus(corpus)
    if name.kind not in LOADERS:
        raise BadInput(f"corpus {corpus!r} has no recordings; choose one of {', '.join(LOADERS)}")
    recordings = LOADERS[name.kind](corpus, name)
    return sorted(recordings, key=lambda recording: recording.name)


def fingerprint(corpus: str, recordings: Sequence[Recording] | None = None) -> str:
    """Hash of the recordings of a corpus: names, groups, and size and time of change of every file.

    recordings: the corpus, if it is loaded already. A checkout gives embedded files new times:
    their sizes count.
    """
    digest = hashlib.sha256()
    for recording in load_corpus(corpus) if recordings is None else recordings:
        files = []
        for path in recording.paths:
            status = path.stat()
            files.append((status.st_size, 0 if recording.embedded else status.st_mtime_ns))
        entry = (recording.name, recording.group, recording.split, files)
        digest.update(repr(entry).encode())
    return digest.hexdigest()[:16]


def content_of(recording: Recording) -> str:
    """Hash of the bytes of a recording's files, whatever their names and times."""
    digest = hashlib.sha256()
    for path in recording.paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update(bytes([recording.stream]))
    return digest.hexdigest()


def manifest() -> list[dict[str, str]]:
    """The rows of data/manifest.csv, one per file."""
    path = DATA / "manifest.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise BadInput(f"{path}: {problem}; restore it with `git checkout data`") from None


def _load_embedded(corpus: str, _: CorpusName) -> list[Recording]:
    """An embedded corpus. In music, the stems of one song are one recording."""
    files = defaultdict(list)
    missing = []
    for row in manifest():
        if row["corpus"] != corpus:
            continue
        name = row["group"] if corpus == "music" else row["file"].removeprefix(f"{corpus}/")
        files[name].append(row)
        if not (DATA / row["file"]).is_file():
            missing.append(row["file"])
    if missing:
        others = f"missing, with {len(missing) - 1} other files of data/manifest.csv"
        remedy = "restore them with `git checkout data`"
        raise BadInput(f"{DATA / missing[0]}: {others}; {remedy}")
    recordings = []
    for name, rows in files.items():
        paths = tuple(DATA / row["file"] for row in rows)
        rate_hz = int(rows[0]["sample_rate_hz"])
        seconds = min(float(row["seconds"]) for row in rows)
        recordings.append(Recording(corpus, rows[0]["group"], paths, rate_hz, seconds, name))
    return recordings


def _load_folder(corpus: str, name: CorpusName) -> list[Recording]:
    """Every audio file below a folder; its group is the sub-folder of the first level, or ".".

    A file that is reached twice, by a link or as a copy, is taken once. What lies below a hidden
    folder is not taken, and neither are linked folders, unless the corpus ends in ?links=follow.
    """
    top = name.path
    recordings, problems, partly = [], {}, {}
    files, linked = _audio_files(top, name.options.get("links") == "follow")
    known: dict[tuple[int, bytes], list[Path]] = {}
    for path, problem in files:
        file = path.relative_to(top).as_posix()
        try:
            if problem:
                raise BadInput(problem)
            rate_hz, seconds = read_header(path)
            first = first_copy(path, known)
            if first:
                raise BadInput(f"the same sound as {first.relative_to(top).as_posix()}")
            if shortfall(path):
                partly[file] = shortfall(path)
        except BadInput as error:
            problems[file] = str(error)
        else:
            # one name may be spelled in two ways: with a letter and its accent, or with both in one
            group = unicodedata.normalize("NFC", file.split("/")[0]) if "/" in file else "."
            recordings.append(Recording(corpus, group, (path,), rate_hz, seconds, file))
    if not recordings:
        what = "no audio files in it"
        if problems:
            what = f"none of its {len(problems)} audio files can be used: {listed(problems)}"
        elif linked:
            what = f"links to folders, which are not followed: {', '.join(linked[:5])}"
            raise BadInput(f"folder {top}: {what}; write folder:{top}?links=follow to follow them")
        wanted = f"wanted are {', '.join(EXTENSIONS)} files, one sub-folder per person or song"
        raise BadInput(f"folder {top}: {what}; {wanted}")
    warn_skipped(f"folder {top}", "files", problems, len(problems) + len(recordings))
    if partly:
        count = f"of {len(partly)} of {len(recordings)} files only a part may be there"
        warnings.warn(f"folder {top}: {count}, and is used: {listed(partly)}", stacklevel=3)
    if linked:
        named = ", ".join(linked[:5])
        message = f"{len(linked)} linked folders are not followed: {named}; ?links=follow does"
        warnings.warn(f"folder {top}: {message}", stacklevel=3)
    return recordings


def first_copy(path: Path, known: dict[tuple[int, bytes], list[Path]]) -> Path | None:
    """The path among `known` with the same bytes, if any; else this one is added to them.

    known: paths by size and bytes in the middle, which tell most files apart.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size // 2 - PROBE // 2))
        alike = known.setdefault((size, file.read(PROBE)), [])
    for other in alike:
        if filecmp.cmp(path, other, shallow=False):
            return other
    alike.append(path)
    return None


def _audio_files(top: Path, follow: bool) -> tuple[list[tuple[Path, str]], list[str]]:
    """Audio files below a folder, each with its problem or "", and linked folders left aside."""
    files: list[tuple[Path, str]] = []
    linked: list[str] = []
    seen: set[str] = set()

    def unreadable(error: OSError) -> None:
        files.append((Path(error.filename), f"folder cannot be read: {error.strerror}"))

    try:
        os.listdir(top)
        for folder, folders, names in os.walk(top, onerror=unreadable, followlinks=follow):
            if follow and os.path.realpath(folder) in seen:  # a loop, or a second link
                folders.clear()
                continue
            seen.add(os.path.realpath(folder))
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            if not follow:
                links = [each for each in folders if Path(folder, each).is_symlink()]
                linked += [Path(folder, each).relative_to(top).as_posix() for each in links]
            for name in names:
                path = Path(folder, name)
                ending = path.suffix.lower()
                if ending in EXTENSIONS + UNREAD and not name.startswith("."):
                    files.append((path, _problem(path, top, follow)))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: half a character
        reason = getattr(error, "strerror", error)
        remedy = "give the path of a folder that you may read"
        raise BadInput(f"folder {top}: {reason}; {remedy}") from None
    return sorted(files), linked


def _problem(path: Path, top: Path, follow: bool) -> str:
    """What can be said against a file before it is opened."""
    if path.suffix.lower() in UNREAD:
        names = shlex.join([path.name, f"{path.stem}.wav"])
        return f"is not read here; convert it: ffmpeg -i {names}"
    outside = not Path(os.path.realpath(path)).is_relative_to(top.resolve())
    if outside and path.is_symlink():
        if not follow:
            return "a link that leaves the folder"
    if path.is_symlink() and not path.exists():
        return "a link to a file that is not there; in git-annex, `git annex get` fetches it"
    return ""


LOADERS: dict[str, Callable[[str, CorpusName], list[Recording]]] = {
    "speech": _load_embedded,
    "music": _load_embedded,
    "folder": _load_folder,
    "vctk": load_vctk,
    "musdb18": load_musdb18,
}
