"""Hostile inputs of each kind are refused by name: no crash, no hang, no code of theirs runs.

Others have their tests elsewhere: archives in test_download.py, broken sound in test_bad_audio.py,
layouts of corpora in test_published.py, a foreign server in test_policy.py.
"""

import gzip
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import fuzz
import numpy as np
import pytest
import soundfile
import yaml
from bs4 import BeautifulSoup
from hostile import (
    CANARY,
    RUN,
    SHELL,
    Canary,
    bomb_weights,
    encoded,
    flac,
    floats,
    idx,
    laughs,
    mp3,
    mp4,
    npy,
    patched_mp4,
    shaped,
    signed,
    wav,
    write,
    zipped_weights,
)

from lib import ROOT, BadInput
from lib.book import widgets
from lib.data import sandbox
from lib.data.clips import ClipConfig, Clips
from lib.data.corpora import load_corpus
from lib.vae import checkpoints


@pytest.fixture(autouse=True)
def canary():
    """No test leaves this file behind: only code in an input makes it."""
    CANARY.unlink(missing_ok=True)
    yield
    assert not CANARY.exists()


# sound: lib decodes it in a worker process

SOUND = {  # what: name of the file, its content, the message
    "wav: rate 0": ("x.wav", wav(rate_hz=0), "not decodable"),
    "wav: rate 2^31 - 1": ("x.wav", wav(rate_hz=2**31 - 1), "1 channels, 30000 samples, 21474"),
    "wav: 1,024 channels": ("x.wav", wav(channels=1024), "1024 channels"),
    "wav: 65,535 bits": ("x.wav", wav(bits=65535), "not decodable"),
    "wav: 1e300": ("x.wav", floats(1e300, "<f8"), "NaN or infinite"),
    "wav: denormal numbers": ("x.wav", floats(1e-40), "silent"),
    "flac: 2^36 - 1 samples": ("x.flac", flac(2**36 - 1), "promises .* s, 1.00 s are there"),
    "mp3: half an hour of silence": ("x.mp3", mp3(0.5), "silent"),
    "mp3: promises 2^31 frames": ("x.mp3", mp3(0.1, 2**31 - 1), "truncated|samples"),
    "name: newline": ("a\nb.wav", b"x", r"'bad/a\\nb\.wav' \(not decodable"),
    "name: no UTF-8": (os.fsdecode(b"\xff.wav"), wav(), r"bad/\\udcff\.wav' \(not decodable"),
    "place: pipe": ("x.wav", os.mkfifo, "zero bytes"),
    "place: device": ("x.wav", lambda p: p.symlink_to("/dev/zero"), "link that leaves the folder"),
}


@pytest.mark.parametrize("what", SOUND)
def test_hostile_sound_beside_good_is_named(tmp_path, monkeypatch, what) -> None:
    name, content, message = SOUND[what]
    (tmp_path / "bad").mkdir()
    (tmp_path / "good").mkdir()
    (tmp_path / "good/good.wav").write_bytes(encoded("WAV"))
    monkeypatch.chdir(tmp_path / "bad")
    write(Path(name), content)
    messages = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for recording in load_corpus(f"folder:{tmp_path}"):
            config = ClipConfig(corpus=f"folder:{tmp_path}", split="all", clip_s=0.5)
            try:
                audio, _ = Clips(config, [recording])[0]
                messages.append(f"{recording.name} is taken")
                assert np.isfinite(audio).all()
            except BadInput as error:
                messages.append(str(error))
    assert "good/good.wav is taken" in messages
    assert re.search(message, "\n".join([*messages, *(str(each.message) for each in caught)]))


MP4 = {
    "playlist": (lambda: b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n", "not decodable"),
    "2^31 samples": (lambda: patched_mp4("stsz", 8, 2**31 - 1), "not decodable"),
    "content beyond the end": (lambda: patched_mp4("stco", 8, 2**32 - 1), "cut off"),
}


@pytest.mark.parametrize("what", MP4)
def test_a_hostile_song_beside_good_ones_is_named(tmp_path, what) -> None:
    make, message = MP4[what]
    for name in ("train/Good", "test/Good too", "train/Bad"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        content = make() if name == "train/Bad" else mp4()
        (tmp_path / f"{name}.stem.mp4").write_bytes(content)
    with pytest.warns(UserWarning, match=f"Bad.stem.mp4: .*({message})"):
        assert len(load_corpus(f"musdb18:{tmp_path}")) == 2


# files that Python reads: in a worker process of lib, within its limits


def npy_of_code() -> bytes:
    content = pickle.dumps(np.array([Canary()] * 4))
    return shaped("(2, 2)", "'|O'", content)


FILES = {
    "data": (fuzz.predict, "not readable"),
    "run.yml": (fuzz.run_file, r"run\.yml: "),
    "card.json": (fuzz.card, r"card\.json: "),
    "model.pt": (checkpoints.load, r"model\.pt: not a readable checkpoint.*delete"),
    "corpus": (fuzz.corpus, "corpus|folder|vctk"),
    "parameters": (fuzz.parameters, "02_audio_effects: "),
}
CASES = {  # what: name of the file, which says who reads it, and its content
    "npy: 2^64 values": ("data", shaped("(4294967296, 4294967296)", "'u1'")),
    "npy: -5 values": ("data", shaped("(-1, 5)")),
    "npy: objects that run code": ("data", npy_of_code()),
    "npy: a header that runs code": ("data", npy(f"__import__('os').system({SHELL!r})")),
    "npy: a header of minus signs": ("data", npy("-" * 9000 + "1")),
    "npy: a header of 20 MB": ("data", npy("[" * 20_000_000, version=2)),
    "idx: 2^64 values": ("data", idx(8, 2**31, 2**31, 4)),
    "idx: more axes than sizes": ("data", idx(8, 2, axes=200)),
    "idx: 2 GB as promised": ("data", gzip.compress(idx(8, 2, 2**30))),
    "data: a pipe": ("data", os.mkfifo),
    "data: a device": ("data", lambda path: path.symlink_to("/dev/zero")),
    "run: code by a tag": ("run.yml", f"stories: !!python/object/apply:os.system ['{SHELL}']"),
    "run: billion laughs": ("run.yml", laughs()),
    "run: a list in itself": ("run.yml", "a: &a [*a]\n" + RUN.format("*a")),
    "run: nested 1,000 times": ("run.yml", "[" * 1000),
    "run: a number of 5,000 digits": ("run.yml", RUN.format("1" * 5000)),
    "run: no UTF-8": ("run.yml", b"\xff\xfe\xfa"),
    "run: code as a parameter": ("run.yml", RUN.format(f"speech, 'seed=0;{SHELL}#': 1")),
    "run: a pipe": ("run.yml", os.mkfifo),
    "card: nested 100,000 times": ("card.json", "[" * 10**5),
    "card: a list": ("card.json", "[]"),
    "weights: pickled code": ("model.pt", pickle.dumps(Canary())),
    "weights: pickled code in a zip": ("model.pt", zipped_weights(pickle.dumps(Canary()))),
    "weights: nested 100,000 times": ("model.pt", b"(" * 10**5 + b"."),
    "weights: a bomb": ("model.pt", lambda path: path.write_bytes(bomb_weights())),
    "corpus: a zero byte": ("corpus", "vctk:a\0b"),
    "corpus: half a character": ("corpus", "folder:\ud800"),
    "corpus: a long name": ("corpus", "folder:" + "a" * 5000),
    "corpus: a device": ("corpus", "folder:/dev/zero"),
    "parameter: code": (
        "parameters",
        json.dumps({"clip_s": f"os.system({SHELL!r})"}),
    ),
    "parameter: brackets": ("parameters", json.dumps({"clip_s": "[" * 10**5})),
}


@pytest.mark.parametrize("what", CASES)
def test_a_hostile_file_is_refused_by_name(tmp_path, what) -> None:
    name, content = CASES[what]
    path = tmp_path / name
    write(path, content)
    act, message = FILES[name]
    with pytest.raises(BadInput, match=message) as caught:
        sandbox.run(act, path)
    assert not isinstance(caught.value, sandbox.Crash)


@pytest.mark.parametrize(
    "name", ["/dev/zero", "../" * 20 + "dev/zero", "../above", "pipe", "link", "a\0b", "\ud800", ""]
)
def test_a_card_names_no_file_outside_of_its_folder(tmp_path, name) -> None:
    stage = tmp_path / "stage"
    stage.mkdir()
    (tmp_path / "above").touch()
    os.mkfifo(stage / "pipe")
    (stage / "link").symlink_to("/dev/zero")
    (stage / "card.json").write_text(signed({"files": {name: "0" * 32}}))
    with pytest.raises(BadInput, match="not a file of this stage"):
        sandbox.run(fuzz.card, stage / "card.json")


@pytest.mark.parametrize("name", fuzz.PROPERTIES)
def test_made_up_input_is_an_answer_or_bad_input(name) -> None:
    fuzz.check(name, 60, derandomise=True)


def test_damaged_sound_is_named_or_read(tmp_path) -> None:
    fuzz.damaged_sound(tmp_path, seed=1, examples=150)


# pages

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
GROUPS = ["<script>alert(1)<\u2215script>", "quote\"'`b", "A$AP $\\x$", "n" * 250, "\u202egpj"]
FILE = "<img src=x onerror=alert(2)>.wav"


def test_scripts_and_widgets_of_the_book_write_text_and_no_html() -> None:
    for path in (ROOT / "book/_static").glob("*.js"):
        html = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write"
        assert not re.search(html, path.read_text(encoding="utf-8")), path
    page = widgets.div("latent-explorer", {"group": [EVIL]}, folder="x")
    soup = BeautifulSoup(page, "html.parser")
    (script,) = soup.find_all("script")
    assert not soup.find("img") and json.loads(script.string) == {"group": [EVIL]}


@pytest.mark.slow
def test_a_folder_of_hostile_names_makes_a_book_of_text(tmp_path) -> None:
    """Chapter 01 on such a folder, alone in a book: nothing but the theme's tags stands in it."""
    sounds = tmp_path / "<b>sounds$`|`"
    for number, group in enumerate(GROUPS):
        (sounds / group).mkdir(parents=True)
        noise = np.random.default_rng(number).normal(0, 0.1, 36_000)
        slope = np.convolve(noise, np.ones(number + 1) / (number + 1), "same")
        soundfile.write(sounds / group / "x.wav", slope, 24000)
        (sounds / group / "x.wav").rename(sounds / group / FILE)
    (sounds / GROUPS[0] / "<i>broken.wav").write_bytes(b"x")
    book = tmp_path / "book"
    book.mkdir()
    name = "01_dataset_preparation.ipynb"
    values = yaml.safe_dump({"corpora": [f"folder:{sounds}"], "clip_s": 0.5})
    command = [sys.executable, "-m", "papermill", f"notebooks/{name}", book / name, "-y", values]
    env = os.environ | {"ARTIFACTS_DIR": str(tmp_path / "artifacts"), "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, "--cwd", "notebooks", "-k", "python3"], cwd=ROOT, env=env, check=True)
    (book / "_config.yml").write_bytes((ROOT / "_config.yml").read_bytes())
    (book / "_toc.yml").write_text(f"format: jb-book\nroot: {name.removesuffix('.ipynb')}\n")
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    subprocess.run([jupyter_book, "build", book], env=env, check=True)
    html = (book / f"_build/html/{name.removesuffix('.ipynb')}.html").read_text(encoding="utf-8")
    article = BeautifulSoup(html, "html.parser").find("article")
    text = article.get_text()
    assert all(words in text for words in [GROUPS[0], FILE, "<i>broken.wav (not decodable"])
    assert sum(group in text for group in GROUPS) >= 4, "a player each of four of the groups"
    assert not article.find("i") and "alert" not in str(article.find_all("img"))
    assert not any("alert" in tag.text for tag in article.find_all("script"))
    assert not article.find(onerror=True)
