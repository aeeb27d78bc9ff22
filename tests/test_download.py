"""Fetching a corpus: a server that cuts, changes and lies; hostile archives; kills, full disks, the command."""

import errno
import fcntl
import hashlib
import io
import os
import pty
import random
import re
import select
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import termios
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest
import torchaudio.datasets
from filelock import FileLock

from lib import ROOT, BadInput, download
from lib import unpack as unpacking
from lib.data import corpora
from lib.download import CORPORA, Corpus, fetch
from lib.unpack import unpack

WAV = next((ROOT / "data").glob("*/**/*.ogg")).read_bytes()
NOISE = random.Random(0).randbytes(300_000)
FILES = {
    "wav48/p225/p225_001.wav": WAV,
    "wav48/p226/p226_001.wav": WAV,
    "txt/p225/p225_001.txt": b"Please",
    "n": NOISE,
}


class Server(ThreadingHTTPServer):
    """Serves `body` and notes every request; the attributes say how it misbehaves."""

    daemon_threads = True
    etag, modified = '"one"', ""
    ranges, if_range, length = (
        True,
        True,
        True,
    )  # understands Range and If-Range, tells Content-Length
    cuts = ()  # bytes after which the next answers break off; None: whole
    statuses = ()  # of the next answers
    total = None  # in Content-Range, where it is not the length of the body

    def __init__(self, body: bytes) -> None:
        self.body, self.asked, self.sent = body, [], 0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/corpus.zip"

    def handle_error(self, *_) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        server, body = self.server, self.server.body
        asked = self.headers.get("Range")
        server.asked.append((asked, self.headers.get("If-Range")))
        assert self.headers["Accept-Encoding"] == "identity"
        cut, *server.cuts = server.cuts or [None]
        status, *server.statuses = server.statuses or [200]
        start = 0
        if status == 200 and asked and server.ranges:
            fits = not server.if_range or self.headers.get("If-Range") in (
                None,
                server.etag,
                server.modified,
            )
            start, status = (int(asked[6:-1]), 206) if fits else (0, 200)
        if start >= len(body):
            status = 416
        self.send_response(status)
        rest = body[start:] if status < 300 else b"no"
        if status == 206:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(body) - 1}/{server.total or len(body)}"
            )
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.modified:
            self.send_header("Last-Modified", server.modified)
        if server.length:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[:cut])
        server.sent += len(rest[:cut])


def zipped(files: dict) -> bytes:
    """A zip of names or ZipInfo and contents."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return file.getvalue()


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def tarred(members: list, mode: str = "w:gz") -> bytes:
    """A tar of TarInfo, or of pairs of a name and its content."""
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode=mode) as packed:
            for each in members:
                info = member(each[0], size=len(each[1])) if isinstance(each, tuple) else each
                packed.addfile(info, io.BytesIO(each[1] if isinstance(each, tuple) else b""))
        return file.getvalue()


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    """No waiting, and blocks so small that the bytes before a cut are kept to the last one."""
    monkeypatch.setattr(download, "WAIT_S", 0)
    monkeypatch.setattr(download, "BLOCK", 1000)


@pytest.fixture
def server():
    server = Server(zipped(FILES))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def tiny(server: Server, **changes) -> Corpus:
    """What the server serves, as a corpus."""
    known = {
        "title": "Tiny, version 3",
        "licence": "CC0",
        "loader": "vctk",
        "url": server.url,
        "size": len(server.body),
        "unpacked": 400_000,
        "folder": "Tiny-3",
        "sounds": ("wav48",),
        "hash": f"sha256:{hashlib.sha256(server.body).hexdigest()}",
    }
    return Corpus(**known | changes)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def part(to: Path) -> Path:
    return to / ".Tiny-3.download/part"


def test_the_hashes_are_those_of_torchaudio() -> None:
    """The source that the registry names, at the version in the lock."""
    for name, module in (("vctk", "vctk"), ("musdb18-hq", "musdb_hq")):
        source = (Path(torchaudio.datasets.__file__).parent / f"{module}.py").read_text()
        (published,) = set(re.findall(r'"([0-9a-f]{64})"', source))
        assert CORPORA[name].hash == f"sha256:{published}"


def test_folders_are_those_of_the_full_run() -> None:
    text = (ROOT / "runs/full.yml").read_text()
    for corpus in CORPORA.values():
        assert f"{corpus.loader}:/corpora/{corpus.folder}" in text


def test_what_was_fetched_is_a_corpus(server, tmp_path, capsys) -> None:
    found = fetch(tiny(server), tmp_path / "new/place", yes=True)
    assert found == f"vctk:{tmp_path}/new/place/Tiny-3"
    with pytest.warns(UserWarning, match="skipped 107 of 109 persons"):
        assert {recording.group for recording in corpora.load(found)} == {"p225", "p226"}
    assert tree(tmp_path / "new/place/Tiny-3") == FILES
    assert os.listdir(tmp_path / "new/place") == ["Tiny-3"]  # no archive, no lock
    out = capsys.readouterr().out
    for told in (
        "Tiny, version 3",
        "CC0",
        server.url,
        "0.0 GB",
        f"{tmp_path}/new/place/Tiny-3",
        "are free",
    ):
        assert told in out


def test_a_second_call_finds_it_done(server, tmp_path, capsys) -> None:
    found = fetch(tiny(server), tmp_path, yes=True)
    assert fetch(tiny(server), tmp_path) == found and len(server.asked) == 1
    assert "is there already" in capsys.readouterr().out


def test_one_folder_around_it_is_taken_off(server, tmp_path) -> None:
    server.body = zipped({f"around/{name}": content for name, content in FILES.items()})
    fetch(tiny(server), tmp_path, yes=True)
    assert tree(tmp_path / "Tiny-3") == FILES


def test_a_cut_download_goes_on_with_what_is_missing(server, tmp_path) -> None:
    """Within one call, as long as something new comes; nothing is sent twice."""
    server.cuts = [100_000, 1000, 150_000]
    fetch(tiny(server), tmp_path, yes=True)
    starts = [None, "bytes=100000-", "bytes=101000-", "bytes=251000-"]
    assert server.asked == [(start, start and '"one"') for start in starts]
    assert server.sent == len(server.body) and tree(tmp_path / "Tiny-3") == FILES


def test_a_second_call_goes_on_with_what_is_missing(server, tmp_path) -> None:
    server.cuts, server.statuses = [200_000], [200] + [503] * download.TRIES
    with pytest.raises(
        BadInput, match=r"corpus.zip: HTTPError: 503 .*; run again later, it goes on from there"
    ):
        fetch(tiny(server), tmp_path, yes=True)
    assert part(tmp_path).stat().st_size == 200_000 and not (tmp_path / "Tiny-3").exists()
    assert len(server.asked) == 1 + download.TRIES
    fetch(tiny(server), tmp_path, yes=True)
    assert server.asked[-1] == ("bytes=200000-", '"one"')
    assert server.sent == len(server.body) + 2 * download.TRIES  # and the bodies of the errors
    assert tree(tmp_path / "Tiny-3") == FILES


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_etag_the_date_or_the_hash_decides(server, tmp_path, etag) -> None:
    for modified in ("", "Wed, 21 Oct 2015 07:28:00 GMT"):
        server.etag, server.modified, server.cuts = etag, modified, [100_000]
        fetch(tiny(server), tmp_path / modified[:3], yes=True)
        assert server.asked[-1] == ("bytes=100000-", modified or None)


def test_a_server_that_ignores_range(server, tmp_path) -> None:
    server.ranges, server.cuts = False, [100_000, 50_000]
    fetch(tiny(server), tmp_path, yes=True)
    assert len(server.asked) == 3 and tree(tmp_path / "Tiny-3") == FILES


def test_a_server_that_ignores_range_and_always_cuts(server, tmp_path) -> None:
    server.ranges, server.cuts = False, [100_000] * 99
    with pytest.raises(
        BadInput, match="0.0 GB of 0.0 GB came, then 6 requests brought nothing new"
    ):
        fetch(tiny(server), tmp_path, yes=True)
    assert len(server.asked) == 1 + download.TRIES


@pytest.mark.parametrize("polite", [True, False], ids=["If-Range is heard", "If-Range is ignored"])
def test_a_file_that_changed_between_calls_begins_at_zero(server, tmp_path, polite) -> None:
    server.cuts, server.statuses = [200_000], [200] + [503] * download.TRIES
    with pytest.raises(BadInput, match="503"):
        fetch(tiny(server), tmp_path, yes=True)
    changed = {**FILES, "n": NOISE[::-1]}
    server.body, server.etag, server.if_range = zipped(changed), '"two"', polite
    fetch(tiny(server), tmp_path, yes=True)
    assert server.asked[1 + download.TRIES] == ("bytes=200000-", '"one"')
    assert (
        len(server.asked) == 1 + download.TRIES + (1 if polite else 2)
        and tree(tmp_path / "Tiny-3") == changed
    )


def test_another_size_than_known_is_refused_before_it_comes(server, tmp_path) -> None:
    with pytest.raises(
        BadInput, match=rf"sends {len(server.body)} bytes, not {len(server.body) + 1}; the file has"
    ):
        fetch(tiny(server, size=len(server.body) + 1), tmp_path, yes=True)
    assert not part(tmp_path).exists()


def test_the_page_of_a_proxy_does_not_cost_what_came(server, tmp_path) -> None:
    server.cuts, corpus = [200_000], tiny(server)
    proxied, server.statuses = server.body, [200] + [503] * download.TRIES
    with pytest.raises(BadInput, match="503"):
        fetch(corpus, tmp_path, yes=True)
    for known in (True, False):
        server.body, server.ranges, server.length = b"<html>Please log in</html>", False, known
        with pytest.raises(
            BadInput, match=f"sends {26 if known else 'an unknown number of'} bytes"
        ):
            fetch(corpus, tmp_path, yes=True)
    server.body, server.ranges, server.length = proxied, True, True
    fetch(corpus, tmp_path, yes=True)
    assert server.asked[-1][0] == "bytes=200000-"


@pytest.mark.parametrize("total", [9, 10**9])
def test_a_range_that_does_not_fit_is_not_appended(server, tmp_path, total) -> None:
    server.cuts, server.total = [100_000], total
    fetch(tiny(server), tmp_path, yes=True)
    assert [asked for asked, _ in server.asked] == [None, "bytes=100000-", None]


def test_a_part_that_is_too_long_is_fetched_anew(server, tmp_path) -> None:
    part(tmp_path).parent.mkdir()
    part(tmp_path).write_bytes(bytes(len(server.body) + 5))
    fetch(tiny(server), tmp_path, yes=True)
    assert server.asked == [(None, None)]


@pytest.mark.parametrize("status", [404, 403, 410])
def test_an_http_error_is_told_at_once(server, tmp_path, status) -> None:
    server.statuses = [status]
    with pytest.raises(BadInput, match=f"HTTPError: {status} .*{server.url}; see with a browser"):
        fetch(tiny(server), tmp_path, yes=True)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 408, 500, 503])
def test_an_http_error_that_may_pass_is_tried_again(server, tmp_path, status) -> None:
    server.statuses = [status] * 3
    fetch(tiny(server), tmp_path, yes=True)
    assert len(server.asked) == 4


def test_no_server(server, tmp_path) -> None:
    with pytest.raises(BadInput, match="http://127.0.0.1:1/x: ConnectionError.*; run again later"):
        fetch(tiny(server, url="http://127.0.0.1:1/x"), tmp_path, yes=True)


def test_waits_double(server, tmp_path, monkeypatch) -> None:
    waits = []
    monkeypatch.setattr(download, "WAIT_S", 1)
    monkeypatch.setattr(download.time, "sleep", waits.append)
    with pytest.raises(BadInput):
        fetch(tiny(server, url="http://127.0.0.1:1/x"), tmp_path, yes=True)
    assert waits == [0, 2, 4, 8, 16, 32]


def test_a_wrong_hash_names_both_and_leaves_no_garbage(server, tmp_path) -> None:
    right, corpus = server.body, tiny(server)
    server.body = right[:-9] + b"!" + right[-8:]
    found = hashlib.sha256(server.body).hexdigest()
    with pytest.raises(
        BadInput, match=rf"{server.url}: .*expected {corpus.hash} but got {found}.*Run again"
    ):
        fetch(corpus, tmp_path, yes=True)
    assert not part(tmp_path).exists() and not list(part(tmp_path).parent.glob("tmp*")) + list(
        tmp_path.glob("Tiny*")
    )
    server.body = right
    fetch(corpus, tmp_path, yes=True)
    assert server.asked[-1] == (None, None) and tree(tmp_path / "Tiny-3") == FILES


def test_an_unknown_hash_is_computed_and_told(server, tmp_path, capsys) -> None:
    fetch(tiny(server, hash=None), tmp_path, yes=True)
    assert f"sha256:{hashlib.sha256(server.body).hexdigest()} was found" in capsys.readouterr().out


def test_a_process_killed_while_it_checked_did_not_download_in_vain(server, tmp_path) -> None:
    part(tmp_path).parent.mkdir()
    part(tmp_path).with_name("tmp1234").write_bytes(server.body)
    part(tmp_path).with_name("tmp5678").write_bytes(b"")
    fetch(tiny(server), tmp_path, yes=True)
    assert server.asked == [] and tree(tmp_path / "Tiny-3") == FILES


def test_a_process_killed_while_it_unpacked(server, tmp_path) -> None:
    """It had the archive; what it left is cleaned, and unpacked anew without a request."""
    work = part(tmp_path).parent
    (work / "unpacked/wav48/p225").mkdir(parents=True)
    (work / "unpacked/wav48/p225/p225_001.wav").write_bytes(b"half")
    (work / "unpacked/stranger").write_bytes(b"old")
    (work / "archive").write_bytes(server.body)
    fetch(tiny(server), tmp_path, yes=True)
    assert (
        server.asked == []
        and tree(tmp_path / "Tiny-3") == FILES
        and os.listdir(tmp_path) == ["Tiny-3"]
    )


def test_killed_for_real_while_it_unpacked(server, tmp_path) -> None:
    """SIGKILL when the first file is there; the folder does not exist under its name, then it does."""
    stop = "import shutil, time; shutil.copyfileobj = lambda a, b, _: (b.write(a.read(9)), b.flush(), time.sleep(99)); "
    process = subprocess.Popen(
        [sys.executable, "-c", stop + program(tiny(server), tmp_path, "--yes")],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    half = part(tmp_path).with_name("unpacked") / next(iter(FILES))
    while not (half.exists() and half.stat().st_size == 9):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert half.exists() and not (tmp_path / "Tiny-3").exists()
    fetch(tiny(server), tmp_path, yes=True)
    assert (
        len(server.asked) == 1
        and tree(tmp_path / "Tiny-3") == FILES
        and os.listdir(tmp_path) == ["Tiny-3"]
    )


def test_an_interrupt_while_it_unpacks_leaves_the_archive_only(
    server, tmp_path, monkeypatch, capsys
) -> None:
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(unpacking.shutil, "copyfileobj", interrupted)
    with pytest.raises(SystemExit) as caught:
        download.main(["tiny", "--to", str(tmp_path), "--yes"], {"tiny": tiny(server)})
    assert caught.value.code == 130 and "it goes on from there" in capsys.readouterr().err
    assert "archive" in os.listdir(part(tmp_path).parent) and "unpacked" not in os.listdir(
        part(tmp_path).parent
    )


def test_two_at_once_do_not_meet(server, tmp_path) -> None:
    part(tmp_path).parent.mkdir()
    with FileLock(part(tmp_path).with_name("lock")):
        with pytest.raises(BadInput, match="another process downloads into it"):
            fetch(tiny(server), tmp_path, yes=True)
    fetch(tiny(server), tmp_path, yes=True)


def test_the_target_holds_something_else(server, tmp_path) -> None:
    (tmp_path / "Tiny-3/mine").mkdir(parents=True)
    with pytest.raises(
        BadInput, match=f"{tmp_path}/Tiny-3: holds something else, it has no wav48; move it away"
    ):
        fetch(tiny(server), tmp_path, yes=True)
    (tmp_path / "other").write_text("a file")
    with pytest.raises(
        BadInput, match=f"{tmp_path}/other.*; give --to a folder that you may write"
    ):
        fetch(tiny(server), tmp_path / "other", yes=True)
    assert server.asked == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_target_that_cannot_be_written(server, tmp_path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadInput, match="Permission denied; give --to"):
        fetch(tiny(server), tmp_path, yes=True)
    tmp_path.chmod(0o700)


def test_a_target_that_cannot_be_written_by_anybody(server) -> None:
    with pytest.raises(BadInput, match="/proc.*; give --to a folder that you may write"):
        fetch(replace(tiny(server), unpacked=0, size=0), Path("/proc/nobody"), yes=True)


def test_too_little_space_is_told_before_the_download(server, tmp_path, monkeypatch) -> None:
    with pytest.raises(BadInput, match=rf"{tmp_path}: 9000000.0 GB are needed, [\d.]+ GB are free"):
        fetch(tiny(server, unpacked=9 * 10**15), tmp_path, yes=True)
    assert server.asked == [] and os.listdir(tmp_path) == []
    need = len(server.body) + 400_000
    monkeypatch.setattr(
        download.shutil, "disk_usage", lambda _: type("", (), {"free": need - 1000})
    )
    with pytest.raises(BadInput, match="are needed"):
        fetch(tiny(server), tmp_path, yes=True)
    part(tmp_path).parent.mkdir()
    part(tmp_path).write_bytes(
        server.body[:1000]
    )  # is there already, so a thousand bytes fewer are needed
    fetch(tiny(server), tmp_path, yes=True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_while_it_unpacks(server, tmp_path, monkeypatch, code) -> None:
    real = unpacking.shutil.copyfileobj

    def full(packed, file, size):
        raise OSError(code, os.strerror(code), file.name)

    monkeypatch.setattr(unpacking.shutil, "copyfileobj", full)
    with pytest.raises(BadInput, match=f"{os.strerror(code)}; make space and run again"):
        fetch(tiny(server), tmp_path, yes=True)
    assert not (tmp_path / "Tiny-3").exists() and not part(tmp_path).with_name("unpacked").exists()
    monkeypatch.setattr(unpacking.shutil, "copyfileobj", real)
    fetch(tiny(server), tmp_path, yes=True)
    assert len(server.asked) == 1


def program(corpus: Corpus, to: Path, *options: str) -> str:
    arguments = ["tiny", "--to", str(to), *options]
    return f"from lib.download import *; main({arguments!r}, {{'tiny': {corpus!r}}})"


def run(code: str, **options) -> subprocess.CompletedProcess:
    run = [sys.executable, "-c", code]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=120, **options)


def test_a_full_disk_while_it_downloads(server, tmp_path) -> None:
    """A real one for the process: no file may grow beyond 100,000 bytes; then it may, and goes on."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    corpus = tiny(server)
    done = run(
        limit
        + "from lib import download; download.BLOCK = 10_000; "
        + program(corpus, tmp_path, "--yes")
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert re.search(
        r"File too large; make space and run again, it goes on from there$", done.stderr.strip()
    )
    assert part(tmp_path).stat().st_size == 100_000
    fetch(corpus, tmp_path, yes=True)
    assert server.asked[-1][0] == "bytes=100000-" and tree(tmp_path / "Tiny-3") == FILES


def test_the_command_end_to_end(server, tmp_path) -> None:
    done = run(program(tiny(server), tmp_path, "--yes"), stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["Tiny, version 3", "licence   CC0"]
    assert lines[-2:] == ["what a story takes as corpus:", f"vctk:{tmp_path}/Tiny-3"]
    assert tree(tmp_path / "Tiny-3") == FILES
    assert {
        stat.S_IMODE(path.stat().st_mode) & 0o111 for path in tmp_path.rglob("*") if path.is_file()
    } == {0}
    again = run(program(tiny(server), tmp_path), stdin=subprocess.DEVNULL)  # done: nothing to ask
    assert again.returncode == 0 and "is there already" in again.stdout and len(server.asked) == 1


def test_no_terminal_and_no_yes(server, tmp_path) -> None:
    done = run(program(tiny(server), tmp_path), stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "add --yes" in done.stderr
    assert "licence   CC0" in done.stdout and server.asked == [] and os.listdir(tmp_path) == []


ANSWERS = {
    "y\n": 0,
    "YES\n": 0,
    "\n": 1,
    "n\n": 1,
    "\4": 130,
    "\3": 130,
}  # the last two: Ctrl-D, Ctrl-C


@pytest.mark.parametrize(("answer", "code"), ANSWERS.items())
def test_on_a_terminal_it_asks_and_shows_progress(server, tmp_path, answer, code) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(
        theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0)
    )  # a bar needs some width
    process = subprocess.Popen(
        [sys.executable, "-c", program(tiny(server), tmp_path)],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    shown, told = b"", False
    try:
        while True:
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 4096)
            elif (
                answer == "\3" and b"stopped" not in shown
            ):  # between the question and the wait it is not noticed
                told = False
            if b"[y/N]" in shown and not told:
                told = bool(os.write(ours, answer.encode()))
    except OSError:  # the other end is closed
        os.close(ours)
    assert process.wait(60) == code, shown
    assert (
        (b"download: 100%" in shown and b"vctk:" in shown)
        == (code == 0)
        == (tmp_path / "Tiny-3").exists()
    )
    assert len(server.asked) == (code == 0) and (b"nothing was downloaded" in shown) == (code == 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vctk80"], "invalid choice: 'vctk80' .*vctk.*musdb18-hq"),
        ([], "corpus"),
        (["vctk", "--too"], "--too"),
        (["vctk", "--to", "{tmp}/file"], "{tmp}/file.*not a terminal"),
    ],
)
def test_bad_options_are_one_line(tmp_path, capsys, monkeypatch, arguments, message) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("", (), {"free": 10**14}))
    with pytest.raises(SystemExit) as caught:
        download.main([argument.format(tmp=tmp_path) for argument in arguments])
    out, err = capsys.readouterr()
    assert (caught.value.code, err.count("\n")) == (2, 1)
    assert re.search(message.partition(".*")[0].format(tmp=tmp_path), out + err)


def test_the_two_corpora_are_described(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("", (), {"free": 10**14}))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    told = {
        "vctk": [
            "VCTK, version 0.92",
            "CC-BY-4.0",
            "11.7 GB",
            "12.5 GB",
            "24.2 GB",
            "VCTK-Corpus-0.92",
        ],
        "musdb18-hq": [
            "MUSDB18-HQ",
            "academic use only",
            "22.7 GB",
            "32.0 GB",
            "54.7 GB",
            "musdb18hq",
        ],
    }
    for name, words in told.items():
        with pytest.raises(BadInput, match="--yes"):
            fetch(CORPORA[name], tmp_path)
        out = capsys.readouterr().out
        assert [word for word in words if word not in out] == []


# archives ------------------------------------------------------------------------------------------------------------


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def named(name: str) -> zipfile.ZipInfo:
    """A member whose name zipfile does not correct."""
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    return info


def patched(body: bytes, old: bytes, new: bytes) -> bytes:
    assert old in body and len(old) == len(new)
    return body.replace(old, new)


def twice() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate"), io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("a", "1")
            packed.writestr("a", "2")
        return file.getvalue()


HOSTILE = {
    "zip: ..": (lambda: zipped({"../out": b"x"}), "would leave"),
    "zip: .. inside": (lambda: zipped({"a/../../out": b"x"}), "would leave"),
    "zip: .. as folder": (lambda: zipped({"a/../../out/": b""}), "would leave"),
    "zip: absolute": (lambda: zipped({named("/tmp/out"): b"x"}), "would leave"),
    "zip: two slashes": (lambda: zipped({named("//host/out"): b"x"}), "would leave"),
    "zip: drive": (lambda: zipped({named("C:/out"): b"x"}), "would leave"),
    "zip: drive, relative": (lambda: zipped({named("c:out"): b"x"}), "would leave"),
    "zip: backslashes": (lambda: zipped({named("..\\..\\out"): b"x"}), "no name for a file"),
    "zip: newline": (lambda: zipped({"a\nb": b"x"}), r"'a\\nb' is no name"),
    "zip: escape": (lambda: zipped({"a\x1b[2Jb": b"x"}), "no name for a file"),
    "zip: right to left": (lambda: zipped({"a\u202egpj.exe": b"x"}), "no name for a file"),
    "zip: zero byte": (
        lambda: patched(zipped({"okay": b"x"}), b"okay", b"a\0.."),
        "no name for a file",
    ),
    "zip: empty name": (lambda: zipped({named(""): b"x"}), "no name for a file"),
    "zip: dot": (lambda: zipped({named("."): b"x"}), "no name for a file"),
    "zip: link": (
        lambda: zipped({special("a", 0o120777): b"/etc/passwd"}),
        "is a link or a device",
    ),
    "zip: link and a file through it": (
        lambda: zipped({special("a", 0o120777): b"/tmp", "a/out": b"x"}),
        "is a link",
    ),
    "zip: fifo": (lambda: zipped({special("a", 0o010644): b""}), "is a link or a device"),
    "zip: device": (lambda: zipped({special("a", 0o020644): b""}), "is a link or a device"),
    "zip: twice": (twice, "'a' stands twice"),
    "zip: twice, spelt otherwise": (
        lambda: zipped({"b/a": b"1", named("b/./a"): b"2"}),
        "'b/a' stands twice",
    ),
    "zip: file and folder": (lambda: zipped({"a": b"1", "a/b": b"2"}), "'a' stands twice"),
    "zip: folder and file": (lambda: zipped({"a/b": b"1", named("a"): b"2"}), "'a' stands twice"),
    "zip: long name": (lambda: zipped({"a" * 300: b"1"}), "File name too long"),
    "zip: bomb": (
        lambda: zipped({"a": bytes(10**6), "b": NOISE}),
        "unpacks to more than 500000 bytes",
    ),
    "zip: ratio": (lambda: zipped({"a": bytes(400_000)}), r"unpacks to more than \d{4} bytes"),
    "zip: many": (lambda: zipped({f"{n}": b"" for n in range(101)}), "or 100 members"),
    "zip: encrypted": (lambda: _encrypted(), "encrypted"),
    "zip: lies about its size": (lambda: _shrunk(), "CRC|bytes, its header says"),
    "zip: cut": (lambda: zipped({"a": NOISE})[:-30], "not a zip file|Truncated"),
    "zip: damaged": (lambda: patched(_stored(), NOISE[:9], bytes(9)), "Bad CRC-32"),
    "tar: ..": (lambda: tarred([("../out", b"x")]), "would leave"),
    "tar: absolute": (lambda: tarred([("/tmp/out", b"x")]), "would leave"),
    "tar: link out": (
        lambda: tarred([member("a", tarfile.SYMTYPE, "/etc/passwd")]),
        "is a link or a device",
    ),
    "tar: link and a file through it": (
        lambda: tarred([member("a", tarfile.SYMTYPE, ".."), ("a/out", b"x")]),
        "is a link or a device",
    ),
    "tar: hard link out": (
        lambda: tarred([member("a", tarfile.LNKTYPE, "../../out")]),
        "is a link or a device",
    ),
    "tar: hard link inside": (
        lambda: tarred([("b", b"x"), member("a", tarfile.LNKTYPE, "b")]),
        "'a' is a link",
    ),
    "tar: device": (lambda: tarred([member("a", tarfile.CHRTYPE)]), "is a link or a device"),
    "tar: fifo": (lambda: tarred([member("a", tarfile.FIFOTYPE)]), "is a link or a device"),
    "tar: twice": (lambda: tarred([("a", b"1"), ("a", b"2")]), "'a' stands twice"),
    "tar: newline": (lambda: tarred([("a\nb", b"1")]), "no name for a file"),
    "tar: backslash": (lambda: tarred([("..\\out", b"1")]), "no name for a file"),
    "tar: not UTF-8": (lambda: tarred([("a\udcff", b"1")]), "no name for a file"),
    "tar: many": (lambda: tarred([(f"{n}", b"") for n in range(101)]), "or 100 members"),
    "tar: bomb": (
        lambda: tarred([("a", bytes(10**6)), ("b", NOISE)]),
        "unpacks to more than 500000 bytes",
    ),
    "tar: bomb, bzip2": (
        lambda: tarred([("a", bytes(10**6)), ("b", NOISE)], "w:bz2"),
        "unpacks to more than",
    ),
    "tar: ratio": (lambda: tarred([("a", bytes(400_000))]), r"unpacks to more than \d+ bytes"),
    "tar: cut": (lambda: tarred([("a", NOISE)], "w")[:200_000], "unexpected end of data"),
    "tar: cut, gzip": (lambda: tarred([("a", NOISE)])[:200_000], "end-of-stream marker"),
    "tar: damaged gzip": (lambda: _flipped(tarred([("a", NOISE)])), "CRC check failed|Error -3"),
    "tar: cut, xz": (lambda: tarred([("a", NOISE)], "w:xz")[:200_000], "end-of-stream marker"),
    "text": (lambda: b"<html>" * 99, "could not be opened"),
    "empty": (lambda: b"", "empty file|could not be opened"),
}


def _encrypted() -> bytes:
    body = bytearray(_stored())
    body[6] |= 1  # flag bits of the member
    body[body.index(b"PK\1\2") + 8] |= 1
    return bytes(body)


def _flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 255]) + body[middle + 1 :]


def _stored() -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("a", NOISE)
        return file.getvalue()


def _shrunk() -> bytes:
    """A member that unpacks to a million bytes and says ten, which a count of promises would let through."""
    million, ten = (n.to_bytes(4, "little") for n in (1_000_000, 10))
    return patched(zipped({"a": bytes(10**6)}), million, ten)


@pytest.fixture
def outside(tmp_path):
    """Where an archive is unpacked, two folders deep; whatever happens, nothing around it may change."""
    (tmp_path / "deep/work").mkdir(parents=True)
    (tmp_path / "keep").write_text("kept")
    yield tmp_path / "deep/work"
    assert sorted(path.name for path in tmp_path.rglob("*") if "into" not in path.parts) == [
        "archive",
        "deep",
        "keep",
        "work",
    ]


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_and_damaged_archives(outside, monkeypatch, case) -> None:
    make, message = HOSTILE[case]
    monkeypatch.setattr(unpacking, "MEMBERS", 100)
    (outside / "archive").write_bytes(make())
    with pytest.raises(BadInput, match=f"{outside}/archive: .*({message})") as caught:
        unpack(outside / "archive", outside / "into", 500_000)
    assert not (outside / "into").exists() and "\n" not in str(caught.value)


def test_a_bomb_never_takes_more_than_it_may(outside, monkeypatch) -> None:
    written = []
    counted = lambda packed, file, _: written.append(file.write(packed.read()))  # noqa: E731
    monkeypatch.setattr(unpacking.shutil, "copyfileobj", counted)
    (outside / "archive").write_bytes(
        zipped({f"{n}": bytes(100_000) for n in range(50)} | {"b": NOISE})
    )
    with pytest.raises(BadInput, match="unpacks to more than 350000 bytes"):
        unpack(outside / "archive", outside / "into", 350_000)
    assert sum(written) == 300_000


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_an_honest_archive(outside, mode) -> None:
    """Folders named or not, names in other scripts, dots, spaces and brackets; no permissions are taken over."""
    names = {
        "./a/b.txt": b"1",
        "a/..b": b"2",
        "ä ö/[1] x & y.wav": NOISE[:9000],
        "empty": b"",
        "日本": b"3",
    }
    folder, suid = member("none/", tarfile.DIRTYPE), member("suid")
    suid.mode = 0o6777
    body = (
        zipped(names | {"none/": b"", special("suid", 0o106777): b""})
        if mode == "zip"
        else tarred([member(".", tarfile.DIRTYPE), *names.items(), folder, suid], mode)
    )
    (outside / "archive").write_bytes(body)
    unpack(outside / "archive", outside / "into", 10_000)
    wanted = {name.removeprefix("./"): content for name, content in names.items()} | {"suid": b""}
    assert tree(outside / "into") == wanted
    assert (outside / "into/none").is_dir() and not (outside / "into/suid").stat().st_mode & 0o6111


def test_any_damage_is_an_answer(outside) -> None:
    """Bytes changed anywhere: unpacked, or BadInput and nothing left."""
    rng = random.Random(1)
    whole = [
        zipped({"a/b": NOISE[:500], "c": bytes(300)}),
        *(
            tarred([("a/b", NOISE[:500]), ("c", bytes(300))], mode)
            for mode in ("w", "w:gz", "w:bz2", "w:xz")
        ),
    ]
    for _ in range(400):
        body = bytearray(rng.choice(whole))
        for _ in range(rng.randint(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        (outside / "archive").write_bytes(body[: rng.choice([len(body), rng.randrange(len(body))])])
        try:
            unpack(outside / "archive", outside / "into", 10**6)
        except BadInput:
            assert not (outside / "into").exists()


def test_an_archive_without_the_sounds(server, tmp_path) -> None:
    server.body = zipped({"readme": b"x"})
    with pytest.raises(BadInput, match="has no wav48; delete .*Tiny-3.download and run again"):
        fetch(tiny(server), tmp_path, yes=True)
    assert not (tmp_path / "Tiny-3").exists()


def test_a_hostile_archive_by_the_front_door(server, tmp_path) -> None:
    server.body = zipped(FILES | {"../../../out": b"x"})
    with pytest.raises(
        BadInput, match="'../../../out' would leave the folder; delete .* and run again, or unpack"
    ):
        fetch(tiny(server), tmp_path / "a/b", yes=True)
    assert not list(tmp_path.rglob("out")) and not list(tmp_path.rglob("wav48"))


def test_what_pooch_promises(tmp_path) -> None:
    """What lib.download relies on: output is an empty file tmp... in the final folder, and may be replaced."""

    def downloader(url, output, _) -> None:
        assert Path(output).parent == tmp_path and Path(output).name.startswith("tmp")
        assert Path(output).read_bytes() == b""
        (tmp_path / "part").write_bytes(b"x")
        (tmp_path / "part").replace(output)

    assert pooch.retrieve("http://x/y", None, "archive", tmp_path, downloader=downloader) == str(
        tmp_path / "archive"
    )
    assert tree(tmp_path) == {"archive": b"x"}
