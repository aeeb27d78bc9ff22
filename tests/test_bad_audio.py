"""Bad audio files in a folder: all bad is an error, one among many is skipped with a warning; content counts too."""

import os
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lib import BadInput
from lib.data import apart, corpora, recordings
from lib.data import rendering as render
from lib.data.clips import ClipConfig

RATE = 24000
TONE = (0.3 * np.sin(np.arange(2 * RATE) / 7)).astype(np.float32)


def _written(path, audio=TONE, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, **options)
    return path


def _cut(path, share):
    _written(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def _no_channels(path):
    _written(path, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"fmt ") + 8
    content[at + 2 : at + 4] = struct.pack("<H", 0)
    path.write_bytes(content)


BAD = {  # name: (maker of the file, what the message says)
    "zero_bytes.wav": (lambda path: path.write_bytes(b""), "zero bytes"),
    "text.flac": (lambda path: path.write_text("not sound"), "not decodable"),
    "noise.mp3": (lambda path: path.write_bytes(bytes(range(256)) * 4), "not decodable"),
    "one_sample.wav": (lambda path: _written(path, TONE[:1]), "1 samples"),
    "no_samples.wav": (lambda path: _written(path, TONE[:0]), "0 samples"),
    "no_channels.wav": (_no_channels, "not decodable|0 channels"),
    "folder.wav.ogg": (lambda path: path.symlink_to("nowhere.ogg"), "not decodable"),
    "header_only.ogg": (lambda path: _cut(path, 0.01), "not decodable"),
    **{
        f"cut_{share}{suffix}": (lambda path, share=share: _cut(path, share), "truncated")
        for suffix in (".wav", ".flac", ".ogg")
        for share in (0.7, 0.99)
    },
    "cut.mp3": (lambda path: _cut(path, 0.7), "truncated"),
}


def _without_last_page(path):
    _written(path, np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE))
    path.write_bytes(path.read_bytes()[: path.read_bytes().rindex(b"OggS")])


BAD["whole_pages.ogg"] = (_without_last_page, "truncated")


@pytest.mark.parametrize("name", BAD)
def test_a_folder_of_bad_files_is_an_error_that_names_file_reason_and_remedy(tmp_path, name):
    make, reason = BAD[name]
    make(tmp_path / name)
    with pytest.raises(
        BadInput, match=rf"none of its 1 audio files can be used: {name} \(.*({reason}).*wanted are"
    ):
        corpora.load_corpus(f"folder:{tmp_path}")


def test_bad_files_among_good_ones_are_skipped_with_one_warning_that_counts_and_names_them(
    tmp_path,
):
    for person in ("p1", "p2"):
        _written(tmp_path / person / "good.wav")
    for name in ("zero_bytes.wav", "text.flac"):
        BAD[name][0](tmp_path / "p1" / name)
    with pytest.warns(UserWarning) as caught:
        found = corpora.load_corpus(f"folder:{tmp_path}")
    assert [r.name for r in found] == ["p1/good.wav", "p2/good.wav"]
    assert len(caught) == 1
    message = str(caught[0].message)
    for part in (
        "skipped 2 of 4 files",
        "p1/text.flac (not decodable",
        "p1/zero_bytes.wav (zero bytes)",
    ):
        assert part in message
    assert caught[0].filename == __file__


def test_a_long_list_of_bad_files_is_cut_short_but_counted(tmp_path):
    _written(tmp_path / "good.wav")
    for number in range(9):
        (tmp_path / f"bad{number}.wav").write_bytes(b"")
    with pytest.warns(
        UserWarning, match=r"skipped 9 of 10 files: bad0.wav .*bad4.wav \(zero bytes\), \.\.\.$"
    ):
        corpora.load_corpus(f"folder:{tmp_path}")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_or_infinite_content_is_an_error_that_names_the_file(tmp_path, value):
    audio = TONE.copy()
    audio[RATE // 2] = value
    _written(tmp_path / "p" / "broken.wav", audio, subtype="FLOAT")
    (recording,) = corpora.load_corpus(f"folder:{tmp_path}")
    with pytest.raises(
        BadInput, match=r"broken.wav: holds NaN or infinite samples; replace or remove"
    ):
        read_stretch(recording, 0, 1, RATE)
    assert np.isfinite(read_stretch(recording, 1, 0.5, RATE)).all()


def test_content_that_breaks_off_after_listing_is_an_error_that_names_the_file(tmp_path):
    path = _written(
        tmp_path / "p" / "later.flac", np.random.default_rng(0).uniform(-1, 1, 3 * RATE)
    )
    (recording,) = corpora.load_corpus(f"folder:{tmp_path}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match=r"later.flac: .*replace or remove"):
        read_stretch(recording, 2, 0.5, RATE)
    path.unlink()
    with pytest.raises(BadInput, match=r"later.flac: cannot be decoded"):
        read_stretch(recording, 0, 1, RATE)


@pytest.mark.parametrize("rate", [8000, 192000])
def test_low_and_high_rates_are_fine(tmp_path, rate):
    _written(tmp_path / "p" / "x.wav", np.sin(np.arange(rate) / 99), rate)
    (recording,) = corpora.load_corpus(f"folder:{tmp_path}")
    assert recording.rate_hz == rate and len(read_stretch(recording, 0, 1, RATE)) == RATE


def test_eight_channels_are_fine(tmp_path):
    _written(tmp_path / "p" / "x.wav", np.tile(TONE[:, None], 8), subtype="FLOAT")
    (recording,) = corpora.load_corpus(f"folder:{tmp_path}")
    assert np.allclose(read_stretch(recording, 0, 2, RATE), TONE, atol=1e-6)


def test_a_wav_of_unknown_length_as_pipes_write_it_is_read(tmp_path):
    content = bytearray(_written(tmp_path / "p.wav", subtype="PCM_16").read_bytes())
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff" * 4
    (tmp_path / "p.wav").write_bytes(content)
    (recording,) = corpora.load_corpus(f"folder:{tmp_path}")
    assert recording.seconds == 2.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda top: None, "No such file or directory; give the path"),
        (lambda top: top.write_text("x"), "Not a directory"),
        (lambda top: top.mkdir(), "no audio files in it; wanted are .wav"),
        (lambda top: (top / "p").mkdir(parents=True), "no audio files in it"),
    ],
    ids=["missing", "a file", "empty", "empty sub-folder"],
)
def test_a_folder_without_sound_is_an_error_that_names_it(tmp_path, make, message):
    make(tmp_path / "sounds")
    with pytest.raises(BadInput, match=rf"folder {tmp_path}/sounds: .*{message}"):
        corpora.load_corpus(f"folder:{tmp_path}/sounds")


def test_an_unreadable_folder_is_an_error_and_an_unreadable_sub_folder_a_warning(
    tmp_path, monkeypatch
):
    _written(tmp_path / "open" / "x.wav")
    _written(tmp_path / "shut" / "x.wav")
    scandir = os.scandir

    def deny(path="."):  # permissions do not bind root, so the refusal is made here
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.warns(UserWarning, match=r"shut \(folder cannot be read: Permission denied\)"):
        assert [r.name for r in corpora.load_corpus(f"folder:{tmp_path}")] == ["open/x.wav"]

    def refuse(path):
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(
        BadInput, match="Permission denied; give the path of a folder that you may read"
    ):
        corpora.load_corpus(f"folder:{tmp_path}")


def test_silence_is_listed_and_read_as_silence_which_clips_then_reject(tmp_path):
    _written(tmp_path / "p" / "silent.wav", np.zeros(RATE))
    (recording,) = corpora.load_corpus(f"folder:{tmp_path}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not read_stretch(recording, 0, 1, RATE).any()


# what a C library does to the process that it runs in -----------------------------------------------------------------

HARMS = {  # start of a file's name: (what its decoder does, what is said of it)
    "abort": ("os.abort()", "SIGABRT"),
    "crash": ("ctypes.string_at(0)", "SIGSEGV"),
    "exit": ("os._exit(3)", "status 3"),
    "fill": ("bytes(2**34)", "out of memory"),
    "spin": ("while True: pass", "SIGXCPU"),
    "wait": ("signal.alarm(1) > 60 or os._exit(4); time.sleep(600)", "SIGALRM"),
    "nonsense": ("os.write(3, b'[[[[[['); os.close(3); time.sleep(600)", "an answer that is none"),
    "much": ('os.write(3, b\'["<f8", 4611686018427387904, ""]\\n\' * 2)', "an answer that is none"),
}
DELAYED = {  # what a decoder does to the one that it reads next
    "leak": "kept.append(bytes(2**32 - 2**30)); kept.append(bytes(2**29))",
    "late": "kept.append(None)",
}
DECODER = """
import ctypes, importlib.util, os, signal, sys, time
from lib.data import apart
os.write(1, b"words of a library at its start\\n")
spec = importlib.util.spec_from_file_location("soundfile", {real!r})
module = sys.modules["soundfile"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
apart.CPU_S, apart.WALL_S = 1, 120  # s; a busy machine may need many for one of its processor
kept = []
class SoundFile(module.SoundFile):
    def __init__(self, path):
        os.write(1, b"a word of a library\\n")
        with open(os.path.join(os.path.dirname(path), "asked"), "a") as log:
            log.write(os.path.basename(path) + "\\n")
        if None in kept:
            ctypes.string_at(0)
        super().__init__(path)
        if not os.path.exists(os.path.join(os.path.dirname(path), "good")):
            harm(os.path.basename(path))
module.SoundFile = SoundFile
def harm(name):
"""


@pytest.fixture
def harmful(tmp_path, monkeypatch):
    """A folder of sound. Where it holds no file "good", its decoder does to a file what HARMS says of its name."""
    code = DECODER.format(real=soundfile.__file__)
    acts = (
        {name: act for name, (act, _) in HARMS.items()}
        | DELAYED
        | {"kill": "os.kill(os.getpid(), signal.SIGTERM)"}
    )
    code += "".join(
        f"    if name.startswith({name!r}):\n        {act}\n" for name, act in acts.items()
    )
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries/soundfile.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'libraries'}")
    child = apart._child("lib.data.recordings", os.getpid())
    child.end()
    yield tmp_path / "sounds"
    child.end()


def test_a_file_that_crashes_its_decoder_or_holds_it_is_named_and_the_others_are_taken(harmful):
    names = list(HARMS)[:5]  # of more than five that are left out, five are named
    for name in ("a", *names, "z"):
        _written(harmful / "p" / f"{name}.wav")
    with pytest.warns(UserWarning, match="skipped 5 of 7 files") as caught:
        found = corpora.load_corpus(f"folder:{harmful}")
    assert [r.name for r in found] == ["p/a.wav", "p/z.wav"]
    assert all(
        f"p/{name}.wav (ended its decoder: {HARMS[name][1]})" in str(caught[0].message)
        for name in names
    )
    assert len(read_stretch(found[1], 0, 1, RATE)) == RATE


@pytest.mark.parametrize("name", HARMS)
def test_a_file_that_harms_its_decoder_only_when_it_is_read_is_named_and_not_read_again(
    harmful, name
):
    path = _written(harmful / "p" / f"{name}.wav")
    _written(harmful / "p" / "x.wav")
    (harmful / "p/good").touch()
    found = {r.name: r for r in corpora.load_corpus(f"folder:{harmful}")}
    (harmful / "p/good").unlink()
    (harmful / "p/asked").unlink()
    for start_s in (0, 0.5):
        with pytest.raises(
            BadInput,
            match=rf"{path}: ended its decoder: {HARMS[name][1]}; replace or remove the file",
        ):
            read_stretch(found[f"p/{name}.wav"], start_s, 1, RATE)
    assert (
        harmful / "p/asked"
    ).read_text() == f"{name}.wav\n" * 2  # by a child that has read others, by a new one
    assert np.allclose(read_stretch(found["p/x.wav"], 0, 1, RATE), TONE[:RATE], atol=1e-4)
    os.utime(path, ns=(1, 1))  # another file, it seems
    (harmful / "p/good").touch()
    assert len(read_stretch(found[f"p/{name}.wav"], 0, 1, RATE)) == RATE


@pytest.mark.parametrize("name", DELAYED)
def test_a_file_is_not_blamed_for_what_the_one_before_it_did(harmful, name):
    for each in (name, "x", "y"):
        _written(harmful / "p" / f"{each}.wav")
    found = corpora.load_corpus(f"folder:{harmful}")
    assert [r.name for r in found] == [f"p/{name}.wav", "p/x.wav", "p/y.wav"]
    assert all(len(read_stretch(recording, 0, 1, RATE)) == RATE for recording in found)


def test_a_decoder_that_somebody_ends_again_and_again_is_an_error_and_no_fault_of_the_file(harmful):
    _written(harmful / "p" / "a.wav")
    _written(harmful / "p" / "kill.wav")
    with pytest.raises(
        RuntimeError, match="lib.data.recordings: its child process was ended by SIGTERM; run again"
    ):
        corpora.load_corpus(f"folder:{harmful}")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("import nothing_of_this_name", "ended at its start, by status 1"),
        (None, "cannot be started"),
    ],
)
def test_a_decoder_that_does_not_start_is_an_error_and_no_fault_of_the_files(
    harmful, monkeypatch, what, said
):
    _written(harmful / "p" / "a.wav")
    if what:
        (harmful.parent / "libraries/soundfile.py").write_text(what)
    else:
        monkeypatch.setattr(apart.sys, "executable", "/no/python")
    with pytest.raises(RuntimeError, match=said):
        corpora.load_corpus(f"folder:{harmful}")


def test_clips_of_other_recordings_do_not_pass_for_those_of_a_rendering(tmp_path):
    for group in "ab":
        _written(tmp_path / group / "x.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE))
    config = ClipConfig(corpus=f"folder:{tmp_path}", split="all", clip_s=0.5)
    recordings_then = corpora.fingerprint(config.corpus)
    _written(tmp_path / "c" / "x.wav")
    with pytest.raises(BadInput, match="its files changed while it was rendered; run again"):
        render.shard(
            render.RenderConfig(clips=config, clips_per_effect=2), range(2), recordings_then
        )


def test_a_decoder_that_somebody_else_ended_is_no_fault_of_the_file(tmp_path):
    _written(tmp_path / "p" / "x.wav")
    (recording,) = corpora.load_corpus(f"folder:{tmp_path}")
    child = apart._child("lib.data.recordings", os.getpid())
    before = child.process.pid
    child.process.kill()
    child.process.wait()
    assert len(read_stretch(recording, 0, 1, RATE)) == RATE and child.process.pid != before


def test_after_an_interrupt_no_answer_is_taken_for_that_of_another_question(tmp_path, monkeypatch):
    for name in ("x", "y"):
        _written(tmp_path / "p" / f"{name}.wav", TONE * (name == "x"))
    first, second = corpora.load_corpus(f"folder:{tmp_path}")

    def interrupted(_):
        raise KeyboardInterrupt

    child = apart._child("lib.data.recordings", os.getpid())
    with monkeypatch.context() as patch:
        patch.setattr(
            apart.json, "loads", interrupted
        )  # the question is asked, the answer is on its way
        with pytest.raises(KeyboardInterrupt):
            read_stretch(first, 0, 1, RATE)
    assert child.process is None and not read_stretch(second, 0, 1, RATE).any()


@pytest.mark.filterwarnings(
    "ignore:.*fork:DeprecationWarning"
)  # from Python 3.12 on: threads and forks do not mix
def test_threads_and_forks_get_each_its_own_answer(tmp_path):
    for number in range(4):
        _written(tmp_path / "p" / f"{number}.wav", np.full(2 * RATE, number / 8, np.float32))
    found = corpora.load_corpus(f"folder:{tmp_path}")
    means = {}

    def reads(number):
        means[number] = {
            round(float(read_stretch(found[number], 0.5, 0.5, RATE).mean()), 3) for _ in range(50)
        }

    threads = [threading.Thread(target=reads, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    if (pid := os.fork()) == 0:
        status = 1
        try:
            means.clear()
            reads(3)
            status = means != {3: {0.375}}
        finally:
            os._exit(status)
    for thread in threads:
        thread.join()
    assert means == {number: {number / 8} for number in range(4)}
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_decoder_says_numbers_and_nothing_else(tmp_path):
    """Of a child that a file took over, bytes come back, which are never unpickled."""
    path = _written(tmp_path / "x.wav")
    rate_hz, seconds = apart.ask(
        "lib.data.recordings", "_header", str(path), 0, path.stat().st_size, kind="<f8", most=2
    )
    assert (rate_hz, seconds) == recordings.header(path) == (RATE, 2.0)
    assert not any(
        word in Path(apart.__file__).read_text(encoding="utf-8")
        for word in ("pickle.", "eval(", "np.load")
    )


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_that_ends_ends_no_decoder_of_its_parent(tmp_path):
    _written(tmp_path / "p" / "x.wav")
    (recording,) = corpora.load_corpus(f"folder:{tmp_path}")
    child = apart._child("lib.data.recordings", os.getpid())
    before = child.process.pid
    if os.fork() == 0:
        child.end()
        os._exit(0)
    assert os.wait()[1] == 0
    assert len(read_stretch(recording, 0, 1, RATE)) == RATE and child.process.pid == before
