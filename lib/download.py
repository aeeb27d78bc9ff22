"""Fetch a corpus of the report's size: `python -m lib.download vctk|musdb18-hq`.

It says what will be fetched, how large it is and under which licence, and asks. The archive grows
in a hidden folder beside the final one, where it is verified and unpacked. The result is renamed
when it is complete: a corpus that exists under its name is whole. Chapter 01 reads the corpora.
"""

import argparse
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pooch
import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from lib import BadInput
from lib.data.published import SIGNS, recognise

TIMEOUT_S = (15, 60)  # a connection and a pause between bytes may last so long
WAITS_S = (0, 1, 2, 4, 8, 16, 32, *[60] * 30)  # the waits before the requests of a call
BLOCK = 2**16  # bytes read at once, of which a cut loses those of the last block
AGAIN = "run again, it goes on from there"


class Corpus(NamedTuple):
    """An archive and what it becomes. Sizes are in bytes; `size` is exact, `unpacked` about."""

    version: str  # a key of lib.data.published.SIGNS
    title: str
    licence: str
    url: str
    sha256: str  # torchaudio states the same
    size: int
    unpacked: int
    folder: str


CORPORA = {
    "vctk": Corpus(  # https://datashare.ed.ac.uk/handle/10283/3443
        version="VCTK 0.92",
        title="VCTK, version 0.92: 110 speakers, 48 kHz",
        licence="CC-BY-4.0",
        url="https://datashare.ed.ac.uk/server/api/core/bitstreams"
        "/535f4286-e54c-4038-838c-a02285e32cb2/content",
        sha256="f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c",
        size=11_747_302_977,
        unpacked=12_500_000_000,  # FLAC hardly packs
        folder="VCTK-Corpus-0.92",
    ),
    "musdb18-hq": Corpus(  # https://zenodo.org/records/3338373
        version="MUSDB18-HQ",
        title="MUSDB18-HQ, version 1.0.0: 150 songs with stems, 44.1 kHz",
        licence="for academic use only",
        url="https://zenodo.org/records/3338373/files/musdb18hq.zip",
        sha256="baac80d0483c61d74b2e5f3be75fa557eec52898339e6aa45c1fa48833c5d21d",
        size=22_656_664_047,
        unpacked=32_000_000_000,  # ten hours, five files per song, 16 bits, stereo
        folder="musdb18hq",
    ),
}


def fetch(corpus: Corpus, to: Path, yes: bool = False) -> str:
    """Download and unpack a corpus into to / corpus.folder, and ask on the terminal unless `yes`.

    Returns the name that a chapter takes, "vctk:<path>", or "" if the answer was no. Raises
    BadInput if there is no terminal, too little space, another process at work, something else in
    the target, or if the download fails; OSError if the target cannot be written or is full.
    """
    to = Path(to).expanduser().absolute()
    final, work = to / corpus.folder, to / f".{corpus.folder}.download"
    name = f"{SIGNS[corpus.version][0]}:{final}"
    if final.exists():
        if recognise(final) != corpus.version:
            remedy = "move it away or choose another --to"
            raise BadInput(f"{final}: holds something else than {corpus.version}; {remedy}")
        print(f"{final} is there already, nothing is downloaded")
        return name
    _announce(corpus, final, work)
    if not yes and not sys.stdin.isatty():
        raise BadInput("there is no terminal to ask on; add --yes to download")
    if not yes and input("Download it? [y/N] ").strip().lower() not in ("y", "yes"):
        return ""
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / "lock", timeout=0):
            _retrieve(corpus, work).rename(final)
            shutil.rmtree(work)
    except Timeout:
        raise BadInput(f"{work}: another process downloads into it; wait for it to end") from None
    return name


def _announce(corpus: Corpus, final: Path, work: Path) -> None:
    """Print what a download brings and takes; BadInput if there is too little space."""
    there = sum(path.stat().st_size for path in work.rglob("*"))
    need = max(0, corpus.size + corpus.unpacked - there)
    free = shutil.disk_usage(next(folder for folder in final.parents if folder.is_dir())).free
    space = f"{need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
    print(f"{corpus.title}\nlicence   {corpus.licence}\nfrom      {corpus.url}\nto        {final}")
    print(f"download  {corpus.size / 1e9:.1f} GB, {there / 1e9:.1f} GB of it are there")
    print(f"unpacked  about {corpus.unpacked / 1e9:.1f} GB\nspace     {space}", flush=True)
    if free < need:
        raise BadInput(f"{final.parent}: {space}; make space or choose another --to")


def _retrieve(corpus: Corpus, work: Path) -> Path:
    """Download, verify and unpack the archive; returns the folder that holds the corpus."""
    folder = work / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)  # a process that was killed leaves a part
    known = f"sha256:{corpus.sha256}"
    unzip = pooch.Unzip(extract_dir=folder.name)  # no member can leave the folder
    try:
        pooch.retrieve(corpus.url, known, "archive.zip", work, unzip, partial(_download, corpus))
    except BadInput:
        raise
    except ValueError as error:  # another hash
        raise BadInput(f"{corpus.url}: {error} Run again to download it anew.") from None
    if recognise(folder) != corpus.version:
        raise BadInput(f"{work}: holds no {corpus.version}; delete it and run again")
    return folder


def _download(corpus: Corpus, url: str, output: str, _: object) -> None:
    """Downloader for pooch, which goes on where an earlier request or call stopped."""
    part = Path(output).with_name("part")
    part.touch()
    problem = ""
    for wait_s in WAITS_S:
        time.sleep(wait_s)
        try:
            _request(corpus, part)
            part.replace(output)
            return
        except requests.RequestException as error:
            problem = f"{type(error).__name__}: {error}"
            if getattr(error.response, "status_code", 0) in (401, 403, 404, 410):
                where = "see with a browser whether the file has moved"
                raise BadInput(f"{problem}; {where}") from None
    raise BadInput(f"{url}: {problem}; {AGAIN}")


def _request(corpus: Corpus, part: Path) -> None:
    """Append what is missing; all bytes anew if the server ignores the range."""
    start = part.stat().st_size
    if start == corpus.size:
        return
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-"}
    with requests.get(corpus.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        answer.raise_for_status()
        if answer.status_code != 206:
            start = 0
        length = answer.headers.get("Content-Length")
        if length != str(corpus.size - start):  # perhaps the page of a proxy: keep the part
            message = f"the server sends {length} bytes, not {corpus.size - start}"
            raise BadInput(f"{corpus.url}: {message}; the file has changed or moved")
        bar = tqdm(total=corpus.size, initial=start, unit="B", unit_scale=True, disable=None)
        with part.open("ab" if start else "wb") as file, bar:
            for block in answer.iter_content(BLOCK):
                bar.update(file.write(block))


def main(arguments: list[str] | None = None, corpora: dict[str, Corpus] = CORPORA) -> None:
    """Run the command. It exits with 2 and one line on an error, 1 after a no, 130 after Ctrl-C."""
    summary = "Fetch a corpus of the report's size."
    parser = argparse.ArgumentParser("average-spectrogram download", description=summary)
    parser.add_argument("corpus", choices=corpora)
    parser.add_argument("--to", type=Path, default="~/corpora", metavar="FOLDER")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    try:
        name = fetch(corpora[options.corpus], options.to, options.yes)
    except BadInput as error:
        parser.exit(2, f"{error}\n")
    except OSError as error:
        remedy = "make space, or give --to a folder that you may write"
        parser.exit(2, f"{error.filename or options.to}: {error.strerror}; {remedy}; {AGAIN}\n")
    except (KeyboardInterrupt, EOFError):
        parser.exit(130, f"\nstopped; {AGAIN}\n")
    if not name:
        parser.exit(1, "nothing was downloaded\n")
    print("what a story takes as corpus:", name, sep="\n")


if __name__ == "__main__":
    main()
