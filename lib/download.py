"""Fetch a corpus of the report's own size: `python -m lib.download vctk|musdb18-hq [--to FOLDER] [--yes]`.

It says what will be fetched, under which licence and how large, and asks. Everything happens in a hidden folder beside
the final one: the archive grows there, is checked, unpacked and renamed when it is complete, so a corpus that exists
under its name is whole. What was cut or killed goes on where it stopped; the archive is deleted at the end.
"""

import argparse
import logging
import os
import shutil
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pooch
import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from lib import BadInput, __version__
from lib.runtime.stages import FULL
from lib.unpack import unpack

TIMEOUT_S = (15, 60)  # to connect, and without a byte
TRIES, WAIT_S = (
    6,
    1.0,
)  # requests in a row that bring nothing new; before the next request, doubled for each such
BLOCK = 2**16  # bytes that are read at once, and lost at most when the connection is cut
FACTOR = 1.5  # an archive may unpack to that many times what is known


@dataclass(frozen=True)
class Corpus:
    """An archive and what it becomes.

    loader: its name in lib.data.corpora; size: of the archive, bytes, exact; unpacked: bytes, about; folder: its name under
    --to, as in runs/full.yml; sounds: sub-folders that have to be there; hash: "sha256:...", or None where none is
    known: then the size has to match, and the hash that was found is printed.
    """

    title: str
    licence: str
    loader: str
    url: str
    size: int
    unpacked: int
    folder: str
    sounds: tuple[str, ...]
    hash: str | None = None


CORPORA = {
    # https://datashare.ed.ac.uk/handle/10283/3443; its links with /bitstream/handle/ answer with a page of text. Hash:
    # torchaudio 2.11 (datasets/vctk.py) and, with the size, tensorflow_datasets (url_checksums/vctk.txt).
    "vctk": Corpus(
        title="VCTK, version 0.92: 110 speakers, 48 kHz",
        licence="CC-BY-4.0",
        loader="vctk",
        size=11_747_302_977,
        url="https://datashare.ed.ac.uk/server/api/core/bitstreams/535f4286-e54c-4038-838c-a02285e32cb2/content",
        folder="VCTK-Corpus-0.92",
        sounds=("wav48_silence_trimmed",),
        unpacked=12_500_000_000,  # FLAC hardly packs
        hash="sha256:f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c",
    ),
    # https://zenodo.org/records/3338373, with its size and md5, 12d4f2ecd55245a4688754dd76363103. Hash: torchaudio 2.11
    # (datasets/musdb_hq.py). Unpacked: ten hours, five files a song, 16 bits in stereo.
    "musdb18-hq": Corpus(
        title="MUSDB18-HQ, version 1.0.0: 150 songs with stems, 44.1 kHz",
        licence="for academic use only",
        loader="musdb18",
        url="https://zenodo.org/records/3338373/files/musdb18hq.zip",
        size=22_656_664_047,
        folder="musdb18hq",
        sounds=("train", "test"),
        unpacked=32_000_000_000,
        hash="sha256:baac80d0483c61d74b2e5f3be75fa557eec52898339e6aa45c1fa48833c5d21d",
    ),
}


def fetch(corpus: Corpus, to: Path, yes: bool = False) -> str:
    """Download and unpack a corpus into to / corpus.folder, after a question on the terminal unless `yes`.

    Returns what lib.data.corpora takes, "vctk:<path>"; nothing when the answer was no.
    BadInput, before anything is downloaded: no terminal to ask on, too little space, a target that holds something
    else; later: what `download` and `unpack` say, a target that cannot be written, a full disk.
    """
    to = Path(os.path.expanduser(to)).absolute()
    final, work = to / corpus.folder, to / f".{corpus.folder}.download"
    found = f"{corpus.loader}:{final}"
    try:
        if _whole(final, corpus):
            print(f"{final} is there already, nothing is downloaded")
            return found
        have = sum(
            path.stat().st_size for path in work.rglob("*") if path.is_file()
        )  # to go on from, or to delete
        need = max(0, corpus.size + corpus.unpacked - have)
        free = shutil.disk_usage(next(path for path in (to, *to.parents) if path.exists())).free
        print(
            f"{corpus.title}\nlicence   {corpus.licence}\nfrom      {corpus.url}\nto        {final}\n"
            f"download  {_gb(corpus.size)}, {_gb(have)} of it are there\nunpacked  about {_gb(corpus.unpacked)}\n"
            f"space     {_gb(need)} are needed, {_gb(free)} are free",
            flush=True,
        )
        if free < need:
            raise BadInput(
                f"{to}: {_gb(need)} are needed, {_gb(free)} are free; make space or choose another --to"
            )
        if not yes and not sys.stdin.isatty():
            raise BadInput(
                "standard input is not a terminal, so nobody can be asked; add --yes to download"
            )
        if not yes and input("Download it? [y/N] ").strip().lower() not in ("y", "yes"):
            return ""
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(work / "lock", timeout=0):
            if not _whole(final, corpus):  # else another process was faster
                _unpacked(download(corpus, work), corpus).rename(final)
            shutil.rmtree(work, ignore_errors=True)
    except Timeout:
        raise BadInput(f"{work}: another process downloads into it; wait for it to end") from None
    except OSError as error:
        full = error.errno in FULL
        remedy = (
            "make space and run again, it goes on from there"
            if full
            else "give --to a folder that you may write"
        )
        raise BadInput(f"{error.filename or to}: {error.strerror or error}; {remedy}") from error
    return found


def download(corpus: Corpus, work: Path) -> Path:
    """The checked archive, in the folder `work`; goes on with what an earlier call left there.

    BadInput: an HTTP error; no answer or a cut connection TRIES times without anything new (what came is kept); a file
    of another size, or with another hash (which is deleted). OSError: a full disk.
    """
    for left in work.glob(
        "tmp*"
    ):  # pooch's, of a process that was killed while it computed the hash
        left.replace(work / "part") if left.stat().st_size == corpus.size else left.unlink()
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        path = pooch.retrieve(
            corpus.url, corpus.hash, "archive", work, downloader=partial(_resume, size=corpus.size)
        )
    except BadInput:
        raise
    except ValueError as error:  # pooch names both hashes, and has deleted the file
        raise BadInput(f"{corpus.url}: {error} Run again to download it anew.") from None
    if not corpus.hash:
        print(
            f"sha256:{pooch.file_hash(path)} was found; the size matches, no hash is known to compare it with"
        )
    return Path(path)


def _whole(final: Path, corpus: Corpus) -> bool:
    """Whether the corpus is there; BadInput when something else is."""
    if all((final / name).is_dir() for name in corpus.sounds):
        return True
    if final.exists() or final.is_symlink():
        what = f"holds something else, it has no {' and '.join(corpus.sounds)}"
        raise BadInput(f"{final}: {what}; move it away or choose another --to")
    return False


def _unpacked(archive: Path, corpus: Corpus) -> Path:
    """The folder that holds `sounds`: what was unpacked, or the one folder in it."""
    into, sounds = archive.with_name("unpacked"), " and ".join(corpus.sounds)
    print("unpacking", flush=True)
    try:
        unpack(archive, into, FACTOR * corpus.unpacked)
        for top in (into, *into.iterdir()):
            if all((top / name).is_dir() for name in corpus.sounds):
                return top
        raise BadInput(f"{archive}: has no {sounds}")
    except BadInput as error:
        raise BadInput(
            f"{error}; delete {archive.parent} and run again, or unpack it by hand"
        ) from None


def _resume(url: str, output: str, _: object, size: int) -> None:
    """A downloader for pooch: `part` grows beside output and is moved there when it has `size` bytes."""
    part, tries, best, problem = Path(output).with_name("part"), TRIES, -1, ""
    while (have := part.stat().st_size if part.exists() else 0) != size:
        tries, best = (TRIES, have) if have > best else (tries - 1, best)
        if not tries:
            what = f"{problem}; {_gb(best)} of {_gb(size)} came, then {TRIES} requests brought nothing new"
            raise BadInput(f"{url}: {what}; run again later, it goes on from there")
        time.sleep(WAIT_S * 2 ** (TRIES - tries) if problem else 0)
        problem = "the connection was cut"
        try:
            _request(url, part, have if have < size else 0, size)
        except requests.RequestException as error:
            problem, answer = f"{type(error).__name__}: {error}", error.response
            if (
                answer is not None
                and answer.status_code < 500
                and answer.status_code not in (408, 429)
            ):
                raise BadInput(
                    f"{problem}; see with a browser whether the file has moved"
                ) from None
    part.replace(output)


def _request(url: str, part: Path, start: int, size: int) -> None:
    """One request for the bytes from start on, appended to part (RFC 9110, 13.1.5 and 14).

    From zero when the server ignores Range, or answers If-Range with another version of the file.
    """
    note = part.with_name("validator")
    seen = note.read_text() if start and note.exists() else ""
    headers = {"Accept-Encoding": "identity", "User-Agent": f"average-spectrogram/{__version__}"}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    headers |= {"If-Range": seen} if seen else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        etag, changed = answer.headers.get("ETag", "W/"), answer.headers.get("Last-Modified", "")
        validator = changed if etag.startswith("W/") else etag  # a weak one may not be sent
        if answer.status_code in (206, 416):
            rest = answer.headers.get("Content-Range") == f"bytes {start}-{size - 1}/{size}"
            if not rest or (seen and validator and seen != validator):
                return part.unlink(missing_ok=True)  # another file: the next request begins at zero
        answer.raise_for_status()
        start = start if answer.status_code == 206 else 0
        length = answer.headers.get("Content-Length", "an unknown number of")
        if length != str(size - start):  # part stays: this may be the page of a proxy
            raise BadInput(
                f"{url}: the server sends {length} bytes, not {size - start}; the file has changed or moved"
            )
        with (
            part.open("ab" if start else "wb") as file,
            tqdm(
                desc="download", total=size, initial=start, unit="B", unit_scale=True, disable=None
            ) as bar,
        ):
            note.write_text(validator or seen)
            for block in answer.iter_content(BLOCK):
                bar.update(file.write(block))


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def main(arguments: list[str] | None = None, corpora: dict[str, Corpus] = CORPORA) -> None:
    """The command; corpora: what can be asked for. Exit code 2 and one line on stderr when something is wrong, 1 after
    a no, 130 after an interrupt."""
    parser = argparse.ArgumentParser(
        "python -m lib.download", description=(__doc__ or "").partition("\n")[0]
    )
    parser.error = lambda message: parser.exit(
        2, " ".join(message.splitlines()) + "\n"
    )  # no usage before it
    parser.add_argument(
        "corpus", choices=corpora, help="their licences: CC-BY-4.0; for academic use only"
    )
    parser.add_argument(
        "--to",
        default="~/corpora",
        metavar="FOLDER",
        help="where it is unpacked (default ~/corpora)",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    given = parser.parse_args(arguments)
    try:
        found = fetch(corpora[given.corpus], Path(given.to), given.yes)
    except BadInput as error:
        parser.error(str(error))
    except (KeyboardInterrupt, EOFError):
        parser.exit(130, "\nstopped; run again, it goes on from there\n")
    if not found:
        parser.exit(1, "nothing was downloaded\n")
    print("what a story takes as corpus:", found, sep="\n")


if __name__ == "__main__":
    sys.exit(main())
