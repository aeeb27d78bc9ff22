"""Fetching a corpus: a server that cuts and lies, hostile archives, kills, full disks, command."""

import hashlib
import io
import os
import pty
import random
import re
import select
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torchaudio.datasets
from filelock import FileLock

from lib import ROOT, BadInput, download
from lib.data import corpora
from lib.download import CORPORA, Corpus, fetch

WAV = next((ROOT / "data").glob("*/**/*.ogg")).read_bytes()
NOISE = random.Random(0).randbytes(300_000)
FILES = {"wav48/p225/p225_001.wav": WAV, "wav48/p226/p226_001.wav": WAV, "n": NOISE}


def zipped(files: dict) -> bytes:
    """A zip of contents by name or ZipInfo."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return file.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `body` and notes every Range; the attributes say how it misbehaves."""

    daemon_threads = True
    ranges = True  # it understands Range
    cuts: tuple = ()  # bytes after which the next answers break off
    statuses: tuple = ()  # of the next answers

    def __init__(self, body: bytes) -> None:
        self.body, self.starts = body, []
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, *_) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        start = int(self.headers["Range"][6:-1])
        server.starts.append(start)
        cut, *server.cuts = server.cuts or [None]
        status, *server.statuses = server.statuses or [206 if server.ranges else 200]
        body = server.body[start if server.ranges else 0 :] if status < 300 else b"no"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "WAITS_S", [0] * 6)
    monkeypatch.setattr(download, "BLOCK", 1000)
    server = Server(zipped(FILES))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def tiny(server: Server, **changes) -> Corpus:
    """What the server serves, as a corpus."""
    url = f"http://127.0.0.1:{server.server_port}/corpus.zip"
    sha256, size = hashlib.sha256(server.body).hexdigest(), len(server.body)
    corpus = Corpus("VCTK 0.80", "Tiny, version 3", "CC0", url, sha256, size, 400_000, "Tiny-3")
    return corpus._replace(**changes)


def tree(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_hashes_are_those_of_torchaudio_and_folders_those_of_the_full_run() -> None:
    text = (ROOT / "runs/full.yml").read_text()
    for name, module in (("vctk", "vctk"), ("musdb18-hq", "musdb_hq")):
        source = (Path(torchaudio.datasets.__file__).parent / f"{module}.py").read_text()
        assert re.findall(r'"([0-9a-f]{64})"', source) == [CORPORA[name].sha256]
        assert f":/corpora/{CORPORA[name].folder}" in text


def test_what_was_fetched_is_a_corpus(server, tmp_path) -> None:
    corpus = fetch(tiny(server), tmp_path / "new/place", yes=True)
    assert corpus == f"vctk:{tmp_path}/new/place/Tiny-3"
    with pytest.warns(UserWarning, match="skipped 107 of 109 persons"):
        assert len(corpora.load_corpus(corpus)) == 2
    assert tree(tmp_path / "new/place") == {f"Tiny-3/{name}": FILES[name] for name in FILES}
    assert fetch(tiny(server), tmp_path / "new/place") == corpus and server.starts == [0]


@pytest.mark.parametrize(
    ("ranges", "cuts", "statuses", "starts"),
    [
        (True, [100_000, 1000], [], [0, 100_000, 101_000]),
        (False, [100_000, 50_000], [], [0, 100_000, 50_000]),
        (True, [], [429, 503], [0, 0, 0]),
    ],
    ids=["cut", "a server that knows no ranges", "busy"],
)
def test_a_download_goes_on_with_what_is_missing(server, tmp_path, ranges, cuts, statuses, starts):
    server.ranges, server.cuts, server.statuses = ranges, cuts, statuses
    fetch(tiny(server), tmp_path, yes=True)
    assert server.starts == starts and tree(tmp_path / "Tiny-3") == FILES


def test_a_second_call_goes_on_and_no_page_of_a_proxy_costs_what_came(server, tmp_path) -> None:
    corpus, body = tiny(server), server.body
    server.cuts, server.statuses = [200_000], [206] + [503] * 5
    with pytest.raises(BadInput, match="HTTPError: 503 .*; run again, it goes on from there"):
        fetch(corpus, tmp_path, yes=True)
    server.body, server.ranges = b"<html>Please log in</html>", False
    with pytest.raises(BadInput, match=f"sends 26 bytes, not {corpus.size}; .* changed or moved"):
        fetch(corpus, tmp_path, yes=True)
    server.body, server.ranges = body, True
    fetch(corpus, tmp_path, yes=True)
    assert server.starts[-1] == 200_000 and tree(tmp_path / "Tiny-3") == FILES


def test_what_cannot_be_fetched_is_an_error(server, tmp_path) -> None:
    server.statuses = [404]
    with pytest.raises(BadInput, match="404 .*corpus.zip; see with a browser"):
        fetch(tiny(server), tmp_path, yes=True)
    assert server.starts == [0]
    with pytest.raises(BadInput, match="http://127.0.0.1:1/x: ConnectionError.*; run again"):
        fetch(tiny(server, url="http://127.0.0.1:1/x"), tmp_path, yes=True)


def test_another_hash_is_named_and_leaves_nothing(server, tmp_path) -> None:
    right, corpus = server.body, tiny(server)
    server.body = right[:-9] + b"!" + right[-8:]
    other = hashlib.sha256(server.body).hexdigest()
    message = f"{corpus.url}: .*{corpus.sha256} but got {other}.* Run again to download it anew"
    with pytest.raises(BadInput, match=message):
        fetch(corpus, tmp_path, yes=True)
    assert tree(tmp_path) == {".Tiny-3.download/lock": b""}
    server.body = right
    fetch(corpus, tmp_path, yes=True)
    assert tree(tmp_path / "Tiny-3") == FILES


def member(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    """A member whose name zipfile does not correct."""
    info = zipfile.ZipInfo("x")
    info.filename, info.create_system, info.external_attr = name, 3, mode << 16
    return info


@pytest.mark.parametrize(
    "name", ["../../../out", "a/../../../out/x", member("/tmp/out"), member("out", 0o120777)]
)
def test_a_hostile_archive_leaves_nothing_outside(server, tmp_path, name) -> None:
    server.body = zipped({name: b"/etc/passwd"})
    with pytest.raises(BadInput, match="holds no VCTK 0.80; delete it and run again"):
        fetch(tiny(server), tmp_path / "a/b", yes=True)
    assert os.listdir(tmp_path / "a/b") == [".Tiny-3.download"]
    assert all("unpacked" in path.parts and not path.is_symlink() for path in tmp_path.rglob("out"))
    assert not Path("/tmp/out").exists()


def test_bad_targets(server, tmp_path) -> None:
    (tmp_path / ".Tiny-3.download").mkdir()
    with FileLock(tmp_path / ".Tiny-3.download/lock"):
        with pytest.raises(BadInput, match="another process downloads into it"):
            fetch(tiny(server), tmp_path, yes=True)
    with pytest.raises(BadInput, match=rf"{tmp_path}: 9000000.0 GB are needed, [\d.]+ GB are free"):
        fetch(tiny(server, unpacked=9 * 10**15), tmp_path, yes=True)
    (tmp_path / "Tiny-3/mine").mkdir(parents=True)
    with pytest.raises(BadInput, match="Tiny-3: holds something else than VCTK 0.80; move it"):
        fetch(tiny(server), tmp_path, yes=True)
    assert server.starts == []


def program(corpus: Corpus, to: Path, *options: str) -> list[str]:
    arguments = ["tiny", "--to", str(to), *options]
    code = f"from lib.download import *; main({arguments!r}, {{'tiny': {corpus!r}}})"
    return [sys.executable, "-c", code]


def run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )


def test_killed_while_it_unpacks(server, tmp_path) -> None:
    command = program(tiny(server), tmp_path, "--yes")
    slow = "import time, zipfile; real = zipfile.ZipFile._extract_member; "
    slow += "zipfile.ZipFile._extract_member = lambda *a: (real(*a), time.sleep(99)); "
    command[2] = slow + command[2]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    half = tmp_path / ".Tiny-3.download/unpacked" / next(iter(FILES))
    while not half.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "Tiny-3").exists()
    (half.parent / "stranger").touch()
    fetch(tiny(server), tmp_path, yes=True)
    assert server.starts == [0] and tree(tmp_path / "Tiny-3") == FILES


def test_a_full_disk(server, tmp_path) -> None:
    """No file of this process may grow beyond 100,000 bytes; then it may, and goes on."""
    command = program(tiny(server), tmp_path, "--yes")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    command[2] = limit + command[2]
    done = run(command)
    assert done.returncode == 2 and "File too large; make space" in done.stderr, done.stderr
    fetch(tiny(server), tmp_path, yes=True)
    assert server.starts[-1] > 0 and tree(tmp_path / "Tiny-3") == FILES


def test_the_command_end_to_end(server, tmp_path) -> None:
    done = run(program(tiny(server), tmp_path))
    assert done.returncode == 2 and "add --yes" in done.stderr
    for words in ("Tiny, version 3", "licence   CC0", tiny(server).url, "0.0 GB", "are free"):
        assert words in done.stdout
    assert server.starts == [] and os.listdir(tmp_path) == []
    done = run(program(tiny(server), tmp_path, "--yes"))
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["what a story takes as corpus:", f"vctk:{tmp_path}/Tiny-3"]
    done = run(program(tiny(server), tmp_path))
    assert done.returncode == 0 and "is there already" in done.stdout
    done = run([sys.executable, "-m", "lib.download", "vctk80"])
    assert done.returncode == 2 and "'vctk', 'musdb18-hq'" in done.stderr


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 1), ("\4", 130)])
def test_on_a_terminal_it_asks(server, tmp_path, answer, code) -> None:
    ours, theirs = pty.openpty()
    command = program(tiny(server), tmp_path)
    process = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
        if b"[y/N]" in shown and answer:
            answer = answer[os.write(ours, answer.encode()) :]
    os.close(ours)
    assert process.wait(60) == code and (tmp_path / "Tiny-3").exists() == (code == 0), shown
