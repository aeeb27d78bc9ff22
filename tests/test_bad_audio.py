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
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hostile import mp4

from lib import ROOT, BadInput
from lib.data import recordings, sandbox
from lib.data.corpora import load_corpus
from lib.data.recordings import read_stretch

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
    "nowhere.ogg": (
        lambda path: path.symlink_to("missing.ogg"),
        "a link to a file that is not there",
    ),
    "pointer.wav": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "lfs pull",
    ),
    "x.wma": (lambda path: path.write_bytes(bytes(99)), "ffmpeg -i x.wma x.wav"),
    "cut.m4a": (lambda path: path.write_bytes(mp4()[:-300]), "cut off|not decodable"),
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


def resized(size: int, cut_to: float = 1.0):
    """Maker of a WAV whose header tells so many bytes more, or such a size, of its sound."""

    def make(path: Path) -> None:
        content = bytearray(written(path, subtype="PCM_16").read_bytes())
        at = content.index(b"data") + 4
        told = size if size >= 2**30 or size == 0 else 2 * len(TONE) + size
        content[at : at + 4] = struct.pack("<I", told)
        path.write_bytes(content[: int(len(content) * cut_to)])

    return make


def unmarked(path: Path) -> None:
    """An Ogg stream that ends with a whole page, which is not marked as the last."""
    content = written(path, NOISE).read_bytes()
    path.write_bytes(content[: content.rindex(b"OggS")])


def unknown_flac(path: Path) -> None:
    content = bytearray(written(path).read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)


def without_table(path: Path) -> None:
    """An MP3 of varying bit rate without its Xing header."""
    written(path, np.concatenate([NOISE, 0 * NOISE, NOISE / 99]), bitrate_mode="VARIABLE")
    content = path.read_bytes()
    path.write_bytes(content[content.index(content[:2], 10) :])


def joined(path: Path) -> None:
    path.write_bytes(2 * written(path, NOISE).read_bytes())


def half(path: Path, **options) -> None:
    content = written(path, **options).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def joined_kinds(path: Path) -> None:
    """An MP3 of one channel, one of two at another rate."""
    content = written(path, NOISE).read_bytes()
    path.write_bytes(content + written(path, np.stack([NOISE, NOISE], 1), 48000).read_bytes())


READ = {  # maker of a file; seconds that are read, and what is said about the rest
    "header_44.wav": (resized(44), 2, ""),
    "header_16.wav": (resized(16), 2, ""),
    "doubled.wav": (resized(2 * len(TONE)), 2, "promises 4.00 s, 2.00 s are there"),
    "sox.wav": (resized(0x7FFFF000), 2, ""),
    "arecord.wav": (resized(0x80000000), 2, ""),
    "pipe.wav": (resized(0xFFFFFFFF), 2, ""),
    "zero.wav": (resized(0), 2, ""),
    "half.wav": (resized(1, 0.5), 1, "promises 2.00 s, 1.00 s are there"),
    "gsm.wav": (lambda path: written(path, subtype="GSM610"), 2, ""),
    "g721.wav": (lambda path: written(path, subtype="G721_32"), 2, ""),
    "half.flac": (lambda path: cut(path, 0.5), 1, "promises 2.00 s"),
    "half_gsm.wav": (lambda path: half(path, subtype="GSM610"), 1, "promises 2.0"),
    "half_g721.wav": (lambda path: half(path, subtype="G721_32"), 1, "promises 2.0"),
    "half.aiff": (half, 1, "promises 2.0"),
    "half.au": (half, 1, "promises 2.0"),
    "half.w64": (half, 1, "promises 2.0"),
    "half.rf64": (half, 1, "promises 2.0"),
    "unknown.flac": (unknown_flac, 2, ""),
    "half.mp3": (lambda path: cut(path, 0.5), 1, "promises 2.00 s"),
    "varying.mp3": (without_table, 9, ""),
    "joined.mp3": (joined, 6, ""),
    "kinds.mp3": (joined_kinds, 4.5, ""),
    "unmarked.ogg": (unmarked, 3, "no end mark"),
    "sound.m4a": (lambda path: path.write_bytes(mp4()), 1, ""),
    "sound.aiff": (written, 2, ""),
}


@pytest.mark.parametrize("name", READ)
def test_what_the_decoder_reads_is_used_and_what_is_missing_is_said(tmp_path, name, capfd) -> None:
    make, seconds, words = READ[name]
    path = tmp_path / "p" / name
    path.parent.mkdir()
    make(path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        (recording,) = load_corpus(f"folder:{tmp_path}")
    assert recording.seconds == pytest.approx(seconds, abs=0.4 if words else 0.2)
    assert [words in str(each.message) for each in told] == [True] * bool(words)
    end = read_stretch(recording, recording.seconds - 0.3, 0.2, RATE)
    assert np.abs(end).max() > 1e-3
    assert capfd.readouterr() == ("", "")


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
    for number, name in enumerate(("a", *names, "z")):
        written(harmful / f"{name}.wav", TONE[number:])
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
    for number, each in enumerate((name, "x", "y")):
        written(harmful / f"{each}.wav", TONE[number:])
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
