"""Corpora: the embedded files are those of the manifest, recordings are what the pages say, reading is exact."""

import gzip
import hashlib
import importlib.util
import math
import sys
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import ROOT, BadInput
from lib.data import corpora
from lib.data.corpora import Recording

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.fixture(scope="module")
def build_data():
    """tools/build_data.py as a module."""
    spec = importlib.util.spec_from_file_location("build_data", ROOT / "tools" / "build_data.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_data"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["build_data"]


def test_every_file_has_the_hash_of_the_manifest_and_no_other_file_lies_beside_them():
    rows = corpora.manifest()
    for row in rows:
        assert (
            hashlib.sha256((corpora.DATA / row["file"]).read_bytes()).hexdigest() == row["sha256"]
        ), row["file"]
    on_disk = {
        p.relative_to(corpora.DATA).as_posix()
        for name in ("digits", "speech", "music")
        for p in (corpora.DATA / name).rglob("*")
        if p.is_file()
    }
    assert on_disk == {row["file"] for row in rows}


def test_every_row_names_origin_author_and_a_licence_whose_text_is_there():
    texts = {p.stem for p in (corpora.DATA / "LICENSES").iterdir()}
    for row in corpora.manifest():
        assert row["package"] and row["version"] and row["author"], row
        assert row["licence"] in {"CC-BY-SA-3.0", "CC-BY-3.0", "GPL-2", "MIT"}, row
        kind = "asterisk-core-sounds" if row["package"].startswith("asterisk") else row["package"]
        assert kind in texts, row
        assert row["licence"] != "GPL-2" or "GPL-2" in texts


def test_the_manifest_has_the_true_rate_and_length_of_every_sound():
    for row in corpora.manifest():
        if row["corpus"] != "digits":
            info = soundfile.info(corpora.DATA / row["file"])
            assert int(row["sample_rate_hz"]) == info.samplerate, row["file"]
            assert float(row["seconds"]) == pytest.approx(info.duration, abs=6e-4), row["file"]


def test_the_embedded_corpora_take_about_40_mb():
    size = sum(p.stat().st_size for p in corpora.DATA.rglob("*") if p.is_file())
    assert 35e6 < size < 45e6


def test_speech_is_nine_voices_of_eight_persons_six_minutes_each():
    rows = [row for row in corpora.manifest() if row["corpus"] == "speech"]
    voices = {row["voice"]: row["group"] for row in rows}
    assert set(voices) == {"en", "es", "fr", "it", "ru", "cs-m", "cs-v", "nl-m", "nl-v"}
    assert voices["en"] == voices["es"] == "allison-smith"
    assert len(set(voices.values())) == 8 == len({r.group for r in corpora.load_corpus("speech")})
    for voice in voices:
        lengths = [float(row["seconds"]) for row in rows if row["voice"] == voice]
        assert 360 <= sum(lengths) <= 380 and 2.69 <= min(lengths) and max(lengths) <= 20, voice


def test_music_is_eight_songs_with_two_stems_and_sixteen_pieces():
    music = corpora.load_corpus("music")
    assert len(music) == len({r.group for r in music}) == 24
    songs = [r for r in music if len(r.paths) == 2]
    assert len(songs) == 8
    assert all(
        {p.stem for p in r.paths} == {"guitar", "backing"} and r.seconds == pytest.approx(90)
        for r in songs
    )
    assert all(r.paths[0].stem == "mix" and r.seconds > 40 for r in music if len(r.paths) == 1)


def test_a_song_is_the_sum_of_its_stems_which_differ_and_stay_within_full_scale():
    for song in (r for r in corpora.load_corpus("music") if len(r.paths) == 2):
        stems = [soundfile.read(p, dtype="float32", frames=24000 * 20)[0] for p in song.paths]
        mixture = read_stretch(song, 0, 20, 24000)
        assert np.array_equal(mixture, stems[0] + stems[1])
        assert abs(np.corrcoef(*stems)[0, 1]) < 0.5 and np.abs(mixture).max() <= 1, song.name


@pytest.mark.parametrize("corpus", ["speech", "music"])
def test_loading_is_sorted_repeatable_and_its_recordings_can_be_heard(corpus):
    recordings = corpora.load_corpus(corpus)
    names = [r.name for r in recordings]
    assert names == sorted(set(names)) and recordings == corpora.load_corpus(corpus)
    for recording in recordings[:: max(1, len(recordings) // 24)]:
        audio = read_stretch(recording, recording.seconds / 4, recording.seconds / 2, 24000)
        assert np.isfinite(audio).all() and np.sqrt(np.mean(audio**2)) > 10 ** (-50 / 20), (
            recording.name
        )


def test_mnist_is_the_known_one():
    for name, md5 in MNIST_MD5.items():
        assert (
            hashlib.md5(
                gzip.decompress((corpora.DATA / "digits" / f"{name}.gz").read_bytes())
            ).hexdigest()
            == md5
        )
    images, labels = load_digits("train")
    assert images.shape == (60000, 28, 28) and images.dtype == labels.dtype == np.uint8
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(labels).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert images.mean() / 255 == pytest.approx(0.13066, abs=5e-6)
    assert images.std() / 255 == pytest.approx(0.30811, abs=5e-6)
    images, labels = load_digits("test")
    assert images.shape == (10000, 28, 28) and labels[:10].tolist() == [
        7,
        2,
        1,
        0,
        4,
        1,
        4,
        9,
        5,
        9,
    ]


def test_digits_say_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="'valid'.*train"):
        load_digits("valid")
    monkeypatch.setattr(corpora, "DATA", tmp_path)
    with pytest.raises(BadInput, match="train-images-idx3-ubyte.gz.*git checkout"):
        load_digits("train")
    (tmp_path / "digits").mkdir()
    path = tmp_path / "digits" / "train-images-idx3-ubyte.gz"
    for content in (b"", b"no gzip", gzip.compress(b"\0\0\x08\x03"), gzip.compress(bytes(99))):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="train-images-idx3-ubyte.gz"):
            load_digits("train")


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ("speach", "did you mean 'speech'"),
        ("", "choose"),
        ("vctk", "names no folder"),
        ("folder:", "folder:recordings"),
        ("musdb18:", "musdb18:recordings"),
        ("folder", "names no folder"),
        ("speech:en", "nothing after a colon"),
        (None, "choose"),
        (3, "choose"),
    ],
)
def test_an_unknown_corpus_is_an_error_that_says_what_would_be_right(corpus, message):
    with pytest.raises(BadInput, match=message):
        corpora.load_corpus(corpus)


def test_files_that_the_manifest_names_and_data_lacks_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "DATA", tmp_path)
    with pytest.raises(BadInput, match="manifest.csv: cannot be read"):
        corpora.load_corpus("speech")
    (tmp_path / "manifest.csv").write_bytes((ROOT / "data" / "manifest.csv").read_bytes())
    with pytest.raises(BadInput, match=r"speech/.*: missing, with 716 other files .*git checkout"):
        corpora.load_corpus("speech")


def _file(path, audio, rate):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype="FLOAT")
    return Recording("folder:x", "g", (path,), rate, len(audio) / rate, path.name)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 2.9), st.floats(0.01, 1.5), st.sampled_from([8000, 16000, 22050, 44100, 48000]))
def test_a_stretch_is_a_slice_of_the_whole_recording_resampled(
    tmp_path_factory, start_s, seconds, rate
):
    audio = np.random.default_rng(rate).standard_normal(3 * rate).astype(np.float32) * 0.1
    recording = _file(tmp_path_factory.mktemp("slice") / "noise.wav", audio, rate)
    whole = read_stretch(recording, 0, 5, 24000)
    part = read_stretch(recording, start_s, seconds, 24000)
    first = round(start_s * 24000)
    assert len(part) == round(seconds * 24000)
    assert np.abs(part - whole[first : first + len(part)]).max(initial=0) < 1e-4


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 192000])
def test_a_tone_keeps_its_pitch_level_and_place_at_any_rate(tmp_path, rate):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate)
    audio = read_stretch(_file(tmp_path / "tone.wav", tone, rate), 0.5, 1.0, 24000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * (np.arange(24000) / 24000 + 0.5))
    assert audio.dtype == np.float32 and np.abs(audio - expected).max() < 2e-3


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_channels_are_averaged(tmp_path, channels):
    audio = np.random.default_rng(0).uniform(-1, 1, (2400, channels)).astype(np.float32)
    read = read_stretch(_file(tmp_path / "many.wav", audio, 24000), 0, 0.1, 24000)
    assert np.allclose(read, audio.mean(axis=1), atol=1e-7)


def test_beyond_the_end_is_silence_and_a_start_beyond_it_is_an_error(tmp_path):
    recording = _file(tmp_path / "short.wav", np.full(2400, 0.5, np.float32), 24000)
    audio = read_stretch(recording, 0.05, 0.2, 24000)
    assert len(audio) == 4800 and (audio[:1200] == 0.5).all() and not audio[1200:].any()
    for start_s, seconds in ((0.1, 1), (-0.1, 1), (0, 0), (math.nan, 1)):
        with pytest.raises(BadInput, match=r"short.wav: cannot read .* it lasts 0.100 s"):
            read_stretch(recording, start_s, seconds, 24000)


@pytest.mark.parametrize("name", ["a.wav", "b.flac", "c.ogg", "d.mp3", "E.WAV"])
def test_a_folder_takes_wav_flac_ogg_and_mp3(tmp_path, name):
    (tmp_path / "someone").mkdir()
    soundfile.write(tmp_path / "someone" / name, 0.1 * np.sin(np.arange(48000) / 9), 24000)
    (recording,) = corpora.load_corpus(f"folder:{tmp_path}")
    assert (recording.group, recording.name) == ("someone", f"someone/{name}")
    assert recording.seconds == pytest.approx(2) and recording.rate_hz == 24000
    assert read_stretch(recording, 0.5, 1, 24000).std() == pytest.approx(
        0.1 / math.sqrt(2), rel=0.05
    )


@pytest.mark.parametrize(
    ("suffix", "rate"), [("ogg", 22050), ("flac", 44100), ("mp3", 16000), ("mp3", 44100)]
)
def test_a_stretch_of_a_compressed_file_is_that_of_the_whole_file(tmp_path, suffix, rate):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, 0.1 * np.sin(np.arange(8 * rate) / 9), rate)
    recording = Recording("folder:x", "g", (path,), rate, 8.0, path.name)
    whole = read_stretch(recording, 0, 8, 24000)
    for start_s in (0.01, 1.234, 3.3, 6.6):
        first = round(start_s * 24000)
        part = read_stretch(recording, start_s, 1, 24000)
        assert np.abs(part - whole[first : first + 24000]).max() < 1e-4


def test_the_first_sub_folder_is_the_group_and_files_at_the_top_are_one(tmp_path):
    for name in (
        "top.wav",
        "p1/a.wav",
        "p1/deep/er/b.wav",
        "p2/a.wav",
        "p2/.hidden.wav",
        "p2/notes.txt",
    ):
        _file(tmp_path / name, np.ones(2400), 24000) if name.endswith(".wav") else (
            tmp_path / name
        ).write_text("x")
    found = {r.name: r.group for r in corpora.load_corpus(f"folder:{tmp_path}")}
    assert found == {"top.wav": ".", "p1/a.wav": "p1", "p1/deep/er/b.wav": "p1", "p2/a.wav": "p2"}


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for path in (inside / "a" / "x.wav", outside / "secret.wav"):
        _file(path, np.ones(2400), 24000)
    (inside / "linked").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    (inside / "a" / "same.wav").symlink_to(inside / "a" / "x.wav")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [r.name for r in corpora.load_corpus(f"folder:{inside}")] == [
            "a/same.wav",
            "a/x.wav",
        ]
    (inside / "a" / "out.wav").symlink_to(outside / "secret.wav")
    with pytest.warns(
        UserWarning, match=r"skipped 1 of 3 files: a/out.wav \(a link that leaves the folder\)"
    ):
        assert len(corpora.load_corpus(f"folder:{inside}")) == 2


def test_a_new_serial_number_keeps_an_ogg_file_readable_and_its_bytes_repeatable(
    build_data, tmp_path
):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, 100_000).astype(np.float32)
    for name in ("one", "two"):
        build_data.encode(tmp_path / name / "music" / "song" / "mix.ogg", audio, 24000)
    one, two = (
        (tmp_path / name / "music" / "song" / "mix.ogg").read_bytes() for name in ("one", "two")
    )
    assert one == two
    other = tmp_path / "other.ogg"
    other.write_bytes(build_data.set_serial(one, 7))
    assert (
        build_data.set_serial(build_data.set_serial(one, 7), int.from_bytes(one[14:18], "little"))
        == one
    )
    assert len(soundfile.read(other)[0]) == len(audio)


def test_the_tables_of_the_data_card_are_the_measured_ones(build_data):
    page = (ROOT / "book" / "data_card.md").read_text(encoding="utf-8")
    for table in build_data.card(corpora.DATA):
        assert table in page, (
            f"book/data_card.md: run `python tools/build_data.py --card`, expected\n{table}"
        )


def test_the_studio_voices_hold_nothing_above_8_khz():
    for recording in [r for r in corpora.load_corpus("speech") if r.rate_hz == 16000][::40]:
        audio = read_stretch(recording, 0, recording.seconds, 24000)
        power = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
        frequencies_hz = np.fft.rfftfreq(len(audio), 1 / 24000)
        assert power[frequencies_hz > 8100].sum() < 1e-6 * power.sum(), recording.name


def test_the_data_card_repeats_what_the_script_does(build_data):
    page = " ".join((ROOT / "book" / "data_card.md").read_text(encoding="utf-8").split())
    for fact in (
        f"from {build_data.SHORTEST_S} s to {build_data.LONGEST_S:g} s",
        f"of each song {build_data.SONG_S} s",
        f"of each piece {build_data.PIECE_S} s",
        f"more than {build_data.PEAK} of full scale",
        f"quality of {build_data.QUALITY}",
    ):
        assert fact in page
    versions = {row["package"]: row["version"] for row in corpora.manifest()}
    assert versions == build_data.PACKAGES


def test_the_licence_names_the_modules_that_import_pedalboard():
    importing = {
        p.name
        for p in (ROOT / "lib").glob("*.py")
        if "import pedalboard" in p.read_text(encoding="utf-8")
        or "from pedalboard" in p.read_text(encoding="utf-8")
    }
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert importing == {
        name for name in importing | {"clips.py", "effects.py"} if f"lib/{name}" in text
    }
