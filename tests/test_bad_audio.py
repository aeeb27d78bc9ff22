"""Bad audio files: all bad is an error, one of many is skipped, no decoder harms its caller."""

import ctypes
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lib import ROOT, BadInput
from lib.data import recordings, sandbox
from lib.data.corpora import load_corpus
from lib.data.recordings import read_header, read_stretch

RATE = 24000
TONE = (0.3 * np.sin(np.arange(2 * RATE) / 7)).astype(np.float32)
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE)


def written(path: Path, audio=TONE, rate: int = RATE, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, **options)
    return path


def cut(path: Path, share: float) -> None:
    written(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def without_channels(path: Path) -> None:
    content = bytearray(written(path, subtype="PCM_16").read_bytes())
    at = content.index(b"fmt ") + 10
    content[at : at + 2] = struct.pack("<H", 0)
    path.write_bytes(content)


BAD = {  # name: maker of the file, the message
    "zero_bytes.wav": (lambda path: path.write_bytes(b""), "zero bytes"),
    "text.flac": (lambda path: path.write_text("not sound"), "not decodable"),
    "one_sample.wav": (lambda path: written(path, TONE[:1]), "1 samples"),
    "no_channels.wav": (without_channels, "not decodable|0 channels"),
    "nowhere.ogg": (lambda path: path.symlink_to("missing.ogg"), "not decodable: No such file"),
    "cut.mp3": (lambda path: cut(path, 0.7), "truncated"),
    "cut.ogg": (lambda path: cut(path, 0.99), "truncated"),
    "cut.wav": (lambda path: cut(path, 0.99), "truncated"),
    "cut.flac": (lambda path: cut(path, 0.99), "truncated"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_folder_of_bad_files_is_an_error_with_file_reason_and_remedy(tmp_path, name) -> None:
    make, reason = BAD[name]
    make(tmp_path / name)
    message = rf"none of its 1 audio files can be used: {name} \(.*({reason}).*wanted are"
    with pytest.raises(BadInput, match=message):
        load_corpus(f"folder:{tmp_path}")


def test_bad_files_among_good_ones_are_skipped_with_one_warning(tmp_path) -> None:
    written(tmp_path / "p/good.wav")
    BAD["text.flac"][0](tmp_path / "p/a.flac")
    for number in range(9):
        (tmp_path / f"p/bad{number}.wav").touch()
    with pytest.warns(UserWarning) as caught:
        assert [r.name for r in load_corpus(f"folder:{tmp_path}")] == ["p/good.wav"]
    (message,) = (str(each.message) for each in caught)
    assert "skipped 10 of 11 files: p/a.flac (not decodable" in message
    assert message.endswith("p/bad3.wav (zero bytes), ...")


def test_content_that_breaks_off_after_listing_is_an_error_that_names_the_file(tmp_path) -> None:
    path = written(tmp_path / "p/later.flac", NOISE)
    (recording,) = load_corpus(f"folder:{tmp_path}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match=r"later.flac: .*replace or remove"):
        read_stretch(recording, 2, 0.5, RATE)
    path.unlink()
    with pytest.raises(BadInput, match=r"later.flac: .*No such file.*replace or remove"):
        read_stretch(recording, 0, 1, RATE)


def test_a_wav_of_unknown_length_as_pipes_write_it_is_read(tmp_path) -> None:
    content = bytearray(written(tmp_path / "p.wav", subtype="PCM_16").read_bytes())
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff" * 4
    (tmp_path / "p.wav").write_bytes(content)
    assert read_header(tmp_path / "p.wav") == (RATE, 2.0)


def test_a_folder_without_sound_is_an_error_that_names_it(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    reasons = {"missing": "No such file or directory; give the path", "empty": "no audio files in"}
    for name, reason in reasons.items():
        with pytest.raises(BadInput, match=f"folder {tmp_path}/{name}: .*{reason}"):
            load_corpus(f"folder:{tmp_path}/{name}")


def test_an_unreadable_sub_folder_is_named(tmp_path, monkeypatch) -> None:
    written(tmp_path / "open/x.wav")
    written(tmp_path / "shut/x.wav")
    scandir = os.scandir

    def deny(path="."):  # permissions do not bind root
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.warns(UserWarning, match=r"shut \(folder cannot be read: Permission denied\)"):
        assert [r.name for r in load_corpus(f"folder:{tmp_path}")] == ["open/x.wav"]


# what a C library may do to the process that it runs in

KEPT: list = []


def spin() -> None:
    assert resource.getrlimit(resource.RLIMIT_CPU)[0] <= time.process_time() + sandbox.CPU_S
    sandbox._limit(resource.RLIMIT_CPU, int(time.process_time()) + 1)
    while True:
        pass


def wait() -> None:
    assert sandbox.WALL_S - 10 < signal.alarm(1) <= sandbox.WALL_S
    time.sleep(600)


HARMS = {  # name of a file: what its decoder does, the message
    "abort": (os.abort, "SIGABRT"),
    "crash": (lambda: ctypes.string_at(0), "SIGSEGV"),
    "exit": (lambda: os._exit(3), "status 3"),
    "fill": (lambda: bytes(2**34), "out of memory"),
    "spin": (spin, "SIGXCPU"),
    "wait": (wait, "SIGALRM"),
}
HARMS_OF_THE_NEXT = {
    "leak": lambda: KEPT.append(bytes(3 * 2**30)),
    "late": lambda: KEPT.append(None),
}


def harmful_decode(function, path: Path, *arguments: int):
    """In the worker: note the file, do what its name says, then decode it."""
    with open(path.parent / "requests", "a") as log:
        log.write(f"{path.stem}\n")
    if None in KEPT:
        ctypes.string_at(0)
    kept = bytes(2**30)
    if path.stem in HARMS and not (path.parent / "good").exists():
        HARMS[path.stem][0]()
    if path.stem in HARMS_OF_THE_NEXT:
        del kept
        HARMS_OF_THE_NEXT[path.stem]()
    if path.stem == "kill":
        os.kill(os.getpid(), signal.SIGTERM)
    return recordings._decode(function, path, *arguments)


@pytest.fixture
def harmful(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(recordings, "_decode", harmful_decode)
    return tmp_path / "p"


def test_files_that_harm_their_decoder_are_named_and_the_others_are_taken(harmful) -> None:
    names = list(HARMS)[:5]  # a warning names five
    for name in ("a", *names, "z"):
        written(harmful / f"{name}.wav")
    with pytest.warns(UserWarning, match="skipped 5 of 7 files") as caught:
        corpus = load_corpus(f"folder:{harmful.parent}")
    assert [r.name for r in corpus] == ["p/a.wav", "p/z.wav"]
    for name in names:
        assert f"{name}.wav (ended its decoder: {HARMS[name][1]})" in str(caught[0].message)


@pytest.mark.parametrize("name", HARMS)
def test_a_file_that_harms_its_decoder_is_not_read_again_until_it_changes(harmful, name) -> None:
    path = written(harmful / f"{name}.wav")
    (harmful / "good").touch()
    (recording,) = load_corpus(f"folder:{harmful.parent}")
    (harmful / "good").unlink()
    (harmful / "requests").unlink()
    message = f"{path}: ended its decoder: {HARMS[name][1]}; replace or remove the file"
    for start_s in (0, 0.5):
        with pytest.raises(BadInput, match=message):
            read_stretch(recording, start_s, 1, RATE)
    assert (harmful / "requests").read_text() == f"{name}\n" * 2  # by the old worker and a new one
    os.utime(path, ns=(1, 1))
    (harmful / "good").touch()
    assert len(read_stretch(recording, 0, 1, RATE)) == RATE


@pytest.mark.parametrize("name", HARMS_OF_THE_NEXT)
def test_a_file_is_not_blamed_for_what_the_one_before_it_did(harmful, name) -> None:
    for each in (name, "x", "y"):
        written(harmful / f"{each}.wav")
    corpus = load_corpus(f"folder:{harmful.parent}")
    assert [r.name for r in corpus] == [f"p/{name}.wav", "p/x.wav", "p/y.wav"]
    for recording in corpus:
        assert len(read_stretch(recording, 0, 1, RATE)) == RATE


def test_a_worker_that_somebody_ends_is_no_fault_of_the_file(harmful) -> None:
    written(harmful / "a.wav")
    (recording,) = load_corpus(f"folder:{harmful.parent}")
    process, _ = sandbox.IDLE[os.getpid()][-1]
    process.terminate()
    process.join()
    assert len(read_stretch(recording, 0, 1, RATE)) == RATE
    written(harmful / "kill.wav")
    with pytest.raises(RuntimeError, match="was ended by SIGTERM; run again"):
        load_corpus(f"folder:{harmful.parent}")


def test_a_worker_ends_with_a_caller_that_is_killed_during_a_request() -> None:
    code = "import time; from lib.data.sandbox import run; run(max, 1, 2)"
    code += "; print('sleeps', flush=True); run(time.sleep, 200)"
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert caller.stdout.readline() == b"sleeps\n"
    time.sleep(0.5)
    caller.kill()
    caller.communicate(timeout=60)  # no process is left that holds the output open


def test_after_an_interrupt_no_answer_is_taken_for_that_of_another_request(tmp_path) -> None:
    for name in ("x", "y"):
        written(tmp_path / "p" / f"{name}.wav", TONE * (name == "x"))
    first, second = load_corpus(f"folder:{tmp_path}")

    class Interrupted:
        send = staticmethod(sandbox.IDLE[os.getpid()][-1][1].send)

        def recv(self):
            raise KeyboardInterrupt

    process, connection = sandbox.IDLE[os.getpid()].pop()
    sandbox.IDLE[os.getpid()].append((process, Interrupted()))
    with pytest.raises(KeyboardInterrupt):
        read_stretch(first, 0, 1, RATE)
    assert not read_stretch(second, 0, 1, RATE).any()
    connection.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on
def test_threads_and_forks_get_each_its_own_answer(tmp_path) -> None:
    for number in range(4):
        written(tmp_path / f"p/{number}.wav", np.full(2 * RATE, number / 8, np.float32))
    corpus = load_corpus(f"folder:{tmp_path}")
    means: dict[int, set[float]] = {number: set() for number in range(4)}

    def read(number: int) -> None:
        for _ in range(50):
            means[number].add(round(float(read_stretch(corpus[number], 0.5, 0.5, RATE).mean()), 3))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [means[number] for number in range(3)] == [{number / 8} for number in range(3)]
    pid = os.fork()  # not beside the threads: a copy of their locks would stay locked
    if pid == 0:
        try:
            read(3)
        finally:
            os._exit(means[3] != {0.375})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
