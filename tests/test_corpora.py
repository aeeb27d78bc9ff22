"""Corpora: embedded files are those of the manifest, folders are listed right, reading is exact."""

import gzip
import hashlib
import importlib.util
import math
import os
import shutil
import sys

import numpy as np
import pytest
import soundfile

from lib import ROOT, BadInput
from lib.data import corpora, digits
from lib.data.corpora import load_corpus
from lib.data.digits import load_digits
from lib.data.recordings import Recording, read_stretch

RATE = 24000
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.fixture(scope="module")
def build_data():
    """tools/build_data.py as a module."""
    spec = importlib.util.spec_from_file_location("build_data", ROOT / "tools/build_data.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_data"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["build_data"]


def test_every_file_is_that_of_the_manifest_with_origin_and_licence() -> None:
    texts = {path.stem for path in (corpora.DATA / "LICENSES").iterdir()}
    rows = corpora.manifest()
    for row in rows:
        content = (corpora.DATA / row["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"], row["file"]
        assert row["package"] and row["version"] and row["author"], row
        assert row["licence"] in {"CC-BY-SA-3.0", "CC-BY-3.0", "GPL-2", "MIT"}, row
        asterisk = row["package"].startswith("asterisk")
        assert ("asterisk-core-sounds" if asterisk else row["package"]) in texts, row
        if row["corpus"] != "digits":
            info = soundfile.info(corpora.DATA / row["file"])
            assert int(row["sample_rate_hz"]) == info.samplerate, row["file"]
            assert float(row["seconds"]) == pytest.approx(info.duration, abs=6e-4), row["file"]
    folders = [corpora.DATA / name for name in ("digits", "speech", "music")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(corpora.DATA).as_posix() for path in files}
    assert names == {row["file"] for row in rows}
    assert 35e6 < sum(path.stat().st_size for path in files) < 45e6


def test_music_is_eight_songs_with_two_stems_and_sixteen_pieces() -> None:
    music = load_corpus("music")
    songs = [r for r in music if len(r.paths) == 2]
    assert len(songs) == 8 and len(music) == len({r.group for r in music}) == 24
    for song in songs:
        stems = [soundfile.read(path, dtype="float32", frames=RATE * 20)[0] for path in song.paths]
        mixture = read_stretch(song, 0, 20, RATE)
        assert np.array_equal(mixture, stems[0] + stems[1])
        assert abs(np.corrcoef(*stems)[0, 1]) < 0.5 and np.abs(mixture).max() <= 1, song.name


@pytest.mark.parametrize("corpus", ["speech", "music"])
def test_recordings_are_sorted_repeatable_and_can_be_heard(corpus) -> None:
    recordings = load_corpus(corpus)
    names = [r.name for r in recordings]
    assert names == sorted(set(names)) and recordings == load_corpus(corpus)
    for recording in recordings[:: max(1, len(recordings) // 24)]:
        audio = read_stretch(recording, recording.seconds / 4, recording.seconds / 2, RATE)
        assert np.sqrt(np.mean(audio**2)) > 10 ** (-50 / 20), recording.name


def test_mnist_is_the_known_one() -> None:
    for name, md5 in MNIST_MD5.items():
        content = gzip.decompress((digits.FOLDER / f"{name}.gz").read_bytes())
        assert hashlib.md5(content).hexdigest() == md5
    images, labels = load_digits("train")
    assert images.shape == (60000, 28, 28) and images.dtype == labels.dtype == np.uint8
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert images.mean() / 255 == pytest.approx(0.13066, abs=5e-6)
    assert load_digits("test")[0].shape == (10000, 28, 28)


def test_digits_say_what_is_wrong(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(digits, "FOLDER", tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for content in (None, b"no gzip", gzip.compress(bytes(99))):
        if content:
            path.write_bytes(content)
        with pytest.raises(BadInput, match=f"{path}.*git checkout"):
            load_digits("train")


def test_an_unknown_or_incomplete_corpus_is_named(tmp_path, monkeypatch) -> None:
    with pytest.raises(BadInput, match="speech, music, folder"):
        load_corpus("digits")
    monkeypatch.setattr(corpora, "DATA", tmp_path)
    with pytest.raises(BadInput, match="manifest.csv: cannot be read"):
        load_corpus("speech")
    (tmp_path / "manifest.csv").write_bytes((ROOT / "data/manifest.csv").read_bytes())
    with pytest.raises(BadInput, match=r"speech/.*: missing, with 716 other files .*git checkout"):
        load_corpus("speech")


def written(path, audio, rate, **options) -> Recording:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, **options)
    return Recording("folder:x", "g", (path,), rate, len(audio) / rate, path.name)


@pytest.mark.parametrize("rate", [8000, 24000, 44100, 192000])
def test_a_tone_keeps_its_pitch_level_and_place_at_any_rate(tmp_path, rate) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate)
    recording = written(tmp_path / "tone.wav", tone, rate, subtype="FLOAT")
    audio = read_stretch(recording, 0.5, 1.0, RATE)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * (np.arange(RATE) / RATE + 0.5))
    assert audio.dtype == np.float32 and np.abs(audio - expected).max() < 2e-3


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_channels_are_averaged_and_silence_follows_the_end(tmp_path, channels) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (2400, channels)).astype(np.float32)
    recording = written(tmp_path / "short.wav", noise, RATE, subtype="FLOAT")
    audio = read_stretch(recording, 0.05, 0.2, RATE)
    assert np.allclose(audio[:1200], noise[1200:].mean(axis=1), atol=1e-7)
    assert len(audio) == 4800 and not audio[1200:].any()
    for start_s, seconds in ((0.1, 1), (-0.1, 1), (0, 0), (math.nan, 1)):
        with pytest.raises(BadInput, match=r"short.wav: cannot read .* it lasts 0.100 s"):
            read_stretch(recording, start_s, seconds, RATE)


@pytest.mark.parametrize(
    ("name", "rate"), [("a.wav", 8000), ("b.ogg", 22050), ("C.FLAC", 44100), ("d.mp3", 48000)]
)
def test_a_stretch_of_a_file_of_each_kind_is_that_of_the_whole_file(tmp_path, name, rate) -> None:
    written(tmp_path / "someone" / name, 0.1 * np.sin(np.arange(8 * rate) / 9), rate)
    (recording,) = load_corpus(f"folder:{tmp_path}")
    assert (recording.group, recording.name) == ("someone", f"someone/{name}")
    assert recording.rate_hz == rate and recording.seconds == pytest.approx(8)
    whole = read_stretch(recording, 0, 8, RATE)
    assert whole.std() == pytest.approx(0.1 / math.sqrt(2), rel=0.05)
    for start_s in (0, 0.01, 1.234, 3.3, 6.6, 7):
        first = round(start_s * RATE)
        part = read_stretch(recording, start_s, 1, RATE)
        assert np.abs(part - whole[first : first + RATE]).max() < 1e-4


def sounds(top, *names) -> None:
    """A file of each name below a folder, no two alike."""
    for number, name in enumerate(names):
        written(top / name, np.full(2400 + number, 0.5), RATE)


def test_groups_are_sub_folders_and_links_out_of_the_folder_are_not_followed(tmp_path) -> None:
    top, outside = tmp_path / "top", tmp_path / "outside/secret.wav"
    names = ["x.wav", "p1/a.wav", "p1/deep/er/b.wav", "p2/a.wav"]
    sounds(top, *names, "p2/.hidden.wav", ".git/annex/c.wav")
    sounds(outside.parent, outside.name)
    (top / "p2/notes.txt").touch()
    groups = {r.name: r.group for r in load_corpus(f"folder:{top}")}
    assert list(groups) == sorted(names)
    assert list(groups.values()) == ["p1", "p1", "p2", "."]
    (top / "p2/out.wav").symlink_to(outside)
    with pytest.warns(UserWarning, match=r"1 of 5 files: p2/out.wav \(a link that leaves"):
        assert len(load_corpus(f"folder:{top}")) == 4


def test_a_content_is_taken_once_however_it_is_reached(tmp_path) -> None:
    """Links into a hidden folder as git-annex has them, a hard link, a copy, a link beside it."""
    sounds(tmp_path / ".git/annex/objects", "1.wav", "2.wav", "3.wav")
    for person, number in (("p1", 1), ("p2", 2), ("p3", 3), ("p4", 1)):
        (tmp_path / person).mkdir()
        (tmp_path / person / "a.wav").symlink_to(f"../.git/annex/objects/{number}.wav")
    os.link(tmp_path / ".git/annex/objects/2.wav", tmp_path / "p3/hard.wav")
    shutil.copy(tmp_path / "p3/a.wav", tmp_path / "p1/copy.wav")
    with pytest.warns(UserWarning, match="skipped 3 of 6 files.*p4/a.wav .the same sound as p1/a"):
        recordings = load_corpus(f"folder:{tmp_path}")
    assert [r.name for r in recordings] == ["p1/a.wav", "p1/copy.wav", "p2/a.wav"]
    assert len({path.read_bytes() for r in recordings for path in r.paths}) == 3


def test_a_file_that_is_not_taken_is_named_with_its_remedy(tmp_path) -> None:
    sounds(tmp_path, "p1/a.wav")
    (tmp_path / "p2").mkdir()
    (tmp_path / "p2/gone.wav").symlink_to("../.git/annex/objects/gone.wav")
    (tmp_path / "p2/unlocked.wav").write_text("/annex/objects/SHA256E-s9--0.wav\n")
    (tmp_path / "p2/my talk.m4b").write_bytes(b"x" * 99)
    with pytest.warns(UserWarning, match="skipped 3 of 4 files") as caught:
        load_corpus(f"folder:{tmp_path}")
    words = str(caught[0].message)
    assert "gone.wav (a link to a file that is not there; in git-annex, `git annex get`" in words
    assert "unlocked.wav (a pointer and no sound: run `git annex get`)" in words
    assert "ffmpeg -i 'my talk.m4b' 'my talk.wav'" in words


@pytest.mark.parametrize(
    ("ending", "format"), [("aifc", "AIFF"), ("snd", "AU"), ("voc", "VOC"), ("wave", "WAV")]
)
def test_an_ending_of_what_libsndfile_reads_is_taken(tmp_path, ending, format) -> None:
    written(tmp_path / f"p/a.{ending}", np.full(2400, 0.5), RATE, format=format, subtype="PCM_16")
    (recording,) = load_corpus(f"folder:{tmp_path}")
    assert read_stretch(recording, 0, 0.1, RATE) == pytest.approx(0.5, abs=1e-3)


def test_one_name_in_two_spellings_is_one_person(tmp_path) -> None:
    sounds(tmp_path, "Zo\u00eb/a.wav", "Zoe\u0308/b.wav")
    assert {r.group for r in load_corpus(f"folder:{tmp_path}")} == {"Zo\u00eb"}


def test_linked_folders_are_followed_when_asked_without_loops_or_doubles(tmp_path) -> None:
    sounds(tmp_path / "far", "p1/a.wav", "p2/a.wav")
    top = tmp_path / "top"
    top.mkdir()
    for person in ("p1", "p2"):
        (top / person).symlink_to(tmp_path / "far" / person)
    with pytest.raises(BadInput, match=r"not followed: p1, p2; write folder:.*\?links=follow"):
        load_corpus(f"folder:{top}")
    (tmp_path / "far/p1/loop").symlink_to(top)
    (top / "twice").symlink_to(tmp_path / "far/p1")
    found = load_corpus(f"folder:{top}?links=follow")
    assert [r.name for r in found] == ["p1/a.wav", "p2/a.wav"]
    sounds(top, "own/b.wav")
    with pytest.warns(UserWarning, match=r"3 linked folders are not followed: p1, p2, twice"):
        assert [r.name for r in load_corpus(f"folder:{top}")] == ["own/b.wav"]


def test_the_data_card_says_what_was_measured_and_what_the_script_does(build_data) -> None:
    page = (ROOT / "book/data_card.md").read_text(encoding="utf-8")
    for table in build_data.card(corpora.DATA):
        remedy = "run `python tools/build_data.py --card`"
        assert table in page, f"book/data_card.md: {remedy}, expected\n{table}"
    versions = {row["package"]: row["version"] for row in corpora.manifest()}
    assert versions == build_data.PACKAGES


def test_the_licence_names_the_modules_that_import_pedalboard() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    for path in (ROOT / "lib").rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        if "import pedalboard" in code or "from pedalboard" in code:
            assert path.relative_to(ROOT).as_posix() in text, path
