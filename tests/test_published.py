"""VCTK and MUSDB18: miniatures in their layouts are listed as by torchaudio, faults are named."""

import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hostile import write_aac

from lib import BadInput
from lib.data import published
from lib.data.corpora import load_corpus
from lib.data.recordings import Recording, read_stretch

RATE = 44100
STEMS = {"mixture": 200, "drums": 400, "bass": 600, "other": 800, "vocals": 1000}  # Hz
SONGS = {
    "train": ["A Band - One", "A Band - Two: Again", "B [live] - Three", "C - Four", "D. - Five"],
    "test": ["E - Six", "F & G - Seven's"],
}
INFO = """ID  AGE  GENDER  ACCENTS  REGION COMMENTS
p225  23  F    English    Southern  England
p280  25  F    Unknown    France   (mic2 files unavailable)
p315  18  M    American   New England (Text and mic2 files unavailable)
s5    21  M    British
"""
SPOKEN = {"p225": 3, "p280": 2, "p315": 2, "p362": 3, "s5": 1}


def touch(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def speak(path: Path, seconds: float = 0.2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.1 * np.sin(np.arange(round(seconds * 48000)) / 20)
    soundfile.write(path, tone, 48000, subtype="PCM_16")


def vctk_092(top: Path) -> Path:
    """As in the real one, p315 has no texts, p280 no second microphone, and p362 lacks files."""
    sounds = top / "wav48_silence_trimmed"
    for person, count in SPOKEN.items():
        for number in range(1, count + 1):
            for mic in (1, 2):
                speak(sounds / person / f"{person}_{number:03}_mic{mic}.flac", number / 10)
            touch(top / "txt" / person / f"{person}_{number:03}.txt")
    shutil.rmtree(top / "txt/p315")
    for path in (sounds / "p280").glob("*mic2*"):
        path.unlink()
    (sounds / "p362/p362_002_mic1.flac").unlink()
    (sounds / "p362/p362_003_mic2.flac").unlink()
    touch(sounds / "log.txt")
    touch(sounds / "p225/._p225_001_mic1.flac")
    touch(top / "speaker-info.txt", INFO)
    return top


def vctk_080(top: Path) -> Path:
    for person in ("p225", "p226", "p280"):
        for number in (1, 2):
            speak(top / "wav48" / person / f"{person}_{number:03}.wav")
            touch(top / "txt" / person / f"{person}_{number:03}.txt")
    touch(top / "speaker-info.txt", "ID  AGE\n225  23  F\n226  22  M\n")
    return top


def tone(stem: str, seconds: float, seed: int = 0) -> np.ndarray:
    """(2, sample): its frequency, louder on the left, and a little noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    noise = 0.002 * np.random.default_rng(seed).standard_normal((2, t.size))
    sine = np.sin(2 * np.pi * STEMS[stem] * t)
    return (np.array([[0.2], [0.1]]) * sine + noise).astype(np.float32)


def write_mp4(path: Path, stems: list[np.ndarray], **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aac(str(path), stems, **options)
    return path


@pytest.fixture(scope="module")
def stems_mp4(tmp_path_factory) -> Path:
    """MUSDB18, songs of different lengths."""
    top = tmp_path_factory.mktemp("musdb") / "musdb18"
    for part, songs in SONGS.items():
        for number, song in enumerate(songs):
            stems = [tone(stem, 0.7 + number / 100, number) for stem in STEMS]
            write_mp4(top / part / f"{song}.stem.mp4", stems)
    return top


def musdb_hq(top: Path) -> Path:
    for part, songs in SONGS.items():
        for song in songs:
            (top / part / song).mkdir(parents=True)
            for stem in STEMS:
                path = top / part / song / f"{stem}.wav"
                soundfile.write(path, tone(stem, 0.6).T, RATE, subtype="PCM_16")
    return top


def quiet(corpus: str) -> list[Recording]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*skipped")
        return load_corpus(corpus)


@pytest.mark.parametrize("mic", [1, 2])
def test_vctk_092_is_listed_as_by_torchaudio_with_p315_whose_texts_are_lost(tmp_path, mic) -> None:
    from torchaudio.datasets import VCTK_092

    top = vctk_092(tmp_path / "VCTK-Corpus-0.92")
    oracle = VCTK_092(str(tmp_path), mic_id=f"mic{mic}")._sample_ids
    expected = {f"{p}/{p}_{n}_mic{mic}.flac" for p, n in oracle}
    recordings = quiet(f"vctk:{top}?mic={mic}")
    assert {r.name for r in recordings if r.group != "p315"} == expected
    assert [r.seconds for r in recordings if r.group == "p315"] == pytest.approx([0.1, 0.2])
    for r in recordings:
        assert r.paths == (top / "wav48_silence_trimmed" / r.name,)
        assert (r.group, r.rate_hz, r.split) == (r.name.split("/")[0], 48000, None)
    if mic == 1:
        assert [r.name for r in recordings] == [r.name for r in quiet(f"vctk:{top}/")]


def test_persons_and_utterances_without_sound_are_named(tmp_path, monkeypatch) -> None:
    top = vctk_092(tmp_path / "VCTK-Corpus-0.92")
    touch(top / "txt/p226/p226_001.txt")
    with pytest.warns(UserWarning) as caught:
        load_corpus(f"vctk:{top}?mic=2")
    where = f"vctk {top}: VCTK 0.92: skipped"
    assert [str(each.message) for each in caught] == [
        f"{where} 106 of 110 persons: p226 (no sound in wav48_silence_trimmed/p226), "
        "p280 (no p280_001_mic2.flac), 104 that are not there",
        f"{where} 1 of 9 utterances: p362_003 (no p362_003_mic2.flac)",
    ]
    monkeypatch.setitem(published.PERSONS, "VCTK 0.80", 3)
    top = vctk_080(tmp_path / "VCTK-Corpus")
    assert len(load_corpus(f"vctk:{top}")) == 6  # all are there: a warning would be an error


@pytest.mark.parametrize("part", ["train", "test"])
def test_musdb18_hq_is_listed_as_by_torchaudio(tmp_path, part) -> None:
    from torchaudio.datasets import MUSDB_HQ

    top = musdb_hq(tmp_path / "what?/musdb18hq")
    oracle = MUSDB_HQ(str(top.parent), part, download=False).names
    recordings = quiet(f"musdb18:{top}")
    assert sorted(oracle) == [r.group for r in recordings if r.split == part]
    assert len(recordings) == 7


@pytest.mark.parametrize("stem", STEMS)
def test_a_stem_is_that_stem_in_both_versions(tmp_path, stems_mp4, stem) -> None:
    for top in (stems_mp4, musdb_hq(tmp_path / "musdb18hq")):
        recordings = quiet(f"musdb18:{top}?stem={stem}")
        assert len(recordings) == 7
        for recording in recordings:
            audio = read_stretch(recording, 0.2, 0.35, 24000)
            power = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
            pitch_hz = power.argmax() * 24000 / len(audio)
            assert pitch_hz == pytest.approx(STEMS[stem], abs=3)
            assert audio.max() == pytest.approx(0.15, abs=0.02)
        if stem == "mixture":
            assert [r.paths for r in quiet(f"musdb18:{top}")] == [r.paths for r in recordings]


def test_a_stretch_of_a_stream_is_that_of_the_stream_decoded_from_its_start(stems_mp4) -> None:
    recording = quiet(f"musdb18:{stems_mp4}?stem=other")[-1]
    with av.open(str(recording.paths[0])) as file:
        frames = [frame.to_ndarray() for frame in file.decode(audio=3)]
    whole = np.concatenate(frames, axis=1).mean(axis=0)
    length = round(recording.seconds * RATE)
    assert recording.seconds == pytest.approx(0.74, abs=1e-4) and recording.split == "train"
    original = tone("other", recording.seconds, 4).mean(axis=0)
    assert np.abs(whole[:length] - original).max() < 0.02
    for start in (0, 1, 1023, 1024, 2048, 2049, 5000, 20000, length - 4100):
        part = read_stretch(recording, start / RATE, 4000 / RATE, RATE)
        assert np.abs(part - whole[start : start + 4000]).max() < 1e-6, start
    tail = read_stretch(recording, recording.seconds - 0.1, 0.2, RATE)
    assert np.abs(tail[:4410] - whole[length - 4410 : length]).max() < 1e-6
    assert not tail[4411:].any()


def test_a_stretch_with_the_decoders_noise_is_the_same_at_every_reading(tmp_path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
    path = write_mp4(tmp_path / "x.stem.mp4", [noise], pns=True)
    recording = Recording("musdb18:x", "x", (path,), RATE, 1.0, "x")
    first, other, again = (read_stretch(recording, start, 0.3, 24000) for start in (0.5, 0.2, 0.5))
    assert np.array_equal(first, again) and first.std() == pytest.approx(other.std(), rel=0.1)


def test_broken_and_missing_songs_are_named(tmp_path, stems_mp4) -> None:
    top = tmp_path / "musdb18"
    shutil.copytree(stems_mp4, top)
    one, two, three = (top / "train" / f"{song}.stem.mp4" for song in SONGS["train"][:3])
    write_mp4(one, [tone(stem, 0.5) for stem in STEMS], first=True)
    for path in (one, two):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    write_mp4(three, [tone("mixture", 0.3)] * 2)
    touch(top / "train/._Zeno - Signs.stem.mp4")
    with pytest.warns(UserWarning) as caught:
        assert len(load_corpus(f"musdb18:{top}?stem=vocals")) == 4
    for part in (
        f"musdb18 {top}: MUSDB18: skipped 146 of 150 songs: ",
        "train/A Band - One (A Band - One.stem.mp4: cut off, ",
        "Again (A Band - Two: Again.stem.mp4: not decodable: Invalid data",
        "2 audio streams with content, number 5",
        "143 that are not there",
    ):
        assert part in str(caught[0].message)


def unfinished(folder: Path) -> Path:
    (folder / ".gone.download").mkdir(parents=True)
    return folder / "gone"


def half(folder: Path) -> Path:
    touch(folder / "speaker-info.txt")
    return folder


def texts(folder: Path) -> Path:
    (folder / "wav48").mkdir(parents=True)
    touch(folder / "txt/p9/p9_1.txt")
    return folder


def no_test(folder: Path) -> Path:
    shutil.rmtree(musdb_hq(folder) / "test")
    return folder


def archive(folder: Path) -> Path:
    folder.mkdir()
    zipfile.ZipFile(folder / "VCTK-Corpus-0.92.zip", "w").close()
    return folder


def copied(*names: str) -> Callable[[Path], Path]:
    """A maker of a folder that holds these sounds."""

    def make(folder: Path) -> Path:
        for name in names:
            speak(folder / name)
        return folder

    return make


FAULTS = {  # what is there: its maker, the corpus with its path as TOP, the message
    "nothing": (
        lambda f: f,
        "vctk:TOP",
        "No such file.*wav48_silence_trimmed.*spectrogram download vctk",
    ),
    "a download": (unfinished, "vctk:TOP", "run `average-spectrogram download vctk --to .*again"),
    "zip": (archive, "vctk:TOP", "holds VCTK-.*.zip, and lacks.*unpack .*0.92.zip and give"),
    "hq as vctk": (musdb_hq, "vctk:TOP", "18-HQ is in TOP; write musdb18:TOP"),
    "below": (lambda f: vctk_080(f) / "wav48", "vctk:TOP", "VCTK 0.80 is in .*; write vctk:"),
    "half": (half, "vctk:TOP", "holds speaker-info.txt, and lacks"),
    "texts only": (texts, "vctk:TOP", "has usable sound: p9 .no sound"),
    "flat": (copied("p9/a.wav"), "vctk:TOP", "moved, read it as folder:TOP$"),
    "another rate": (copied("wav16/p9/a.wav"), "vctk:TOP", "moved, read it as folder:TOP/wav16$"),
    "0.80 as flac": (copied("wav48/p9/a.flac"), "vctk:TOP", "no a.wav.*as folder:TOP/wav48$"),
    "0.92 as wav": (
        copied("wav48_silence_trimmed/p9/a_mic1.wav"),
        "vctk:TOP",
        "no a_mic1.flac.*read it as folder:TOP/wav48_silence_trimmed$",
    ),
    "songs as flac": (copied("train/x/a.flac"), "musdb18:TOP", "as folder:TOP/train$"),
    "no test": (no_test, "musdb18:TOP", "of test no song can be used: it has none; unpack it ag"),
    "microphone 3": (vctk_092, "vctk:TOP?mic=3", r"mic=3.*is not known; write \?mic="),
    "one microphone": (vctk_080, "vctk:TOP?mic=1", "0.80 has one microphone; write vctk:TOP$"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_and_its_remedy_are_named(tmp_path, case) -> None:
    make, corpus, message = FAULTS[case]
    top = str(make(tmp_path / "here"))
    with pytest.raises(BadInput, match=message.replace("TOP", top)):
        load_corpus(corpus.replace("TOP", top))
