"""VCTK and MUSDB18: miniatures in the exact layouts are read as torchaudio lists them, and what lacks is told."""

import shutil
import warnings
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from lib import BadInput
from lib.book.parameters import resolve
from lib.data import corpora, layouts, recordings
from lib.data.clips import ClipConfig, Clips
from lib.data.splits import split_groups

RATE = 44100
STEMS = {
    "mixture": 200,
    "drums": 400,
    "bass": 600,
    "other": 800,
    "vocals": 1000,
}  # name: Hz of its tone
SONGS = {
    "train": ["A Band - One", "A Band - Two: Again", "B [live] - Three", "C - Four", "D. - Five"],
    "test": ["E - Six", "F & G - Seven's"],
}
INFO = """ID  AGE  GENDER  ACCENTS  REGION COMMENTS
p225  23  F    English    Southern  England
p280  25  F    Unknown    France   (mic2 files unavailable)
p315  18  M    American   New England (Text and mic2 files unavailable)
p362  29  F    American
s5    21  M    British
"""
SPOKEN = {"p225": 3, "p280": 2, "p315": 2, "p362": 3, "s5": 1}


def touch(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def speak(path: Path, seconds: float = 0.2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(
        path, 0.1 * np.sin(np.arange(round(seconds * 48000)) / 20), 48000, subtype="PCM_16"
    )


def vctk_092(top: Path) -> Path:
    """Of p315 no texts, of p280 no second microphone, of p362 one utterance by each microphone only, as in the real."""
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
    touch(top / "README.txt")
    return top


def vctk_080(top: Path) -> Path:
    for person in ("p225", "p226", "p280"):
        for number in (1, 2):
            speak(top / "wav48" / person / f"{person}_{number:03}.wav")
            touch(top / "txt" / person / f"{person}_{number:03}.txt")
    touch(
        top / "speaker-info.txt",
        "ID  AGE  GENDER  ACCENTS  REGION  \n225  23  F    English\n226  22  M    Irish\n",
    )
    return top


def tone(stem: str, seconds: float, seed: int = 0) -> np.ndarray:
    """(2, sample): its frequency, louder on the left, and a little noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    noise = 0.002 * np.random.default_rng(seed).standard_normal((2, t.size))
    return (np.array([[0.2], [0.1]]) * np.sin(2 * np.pi * STEMS[stem] * t) + noise).astype(
        np.float32
    )


def write_mp4(path: Path, stems: list[np.ndarray], pns: bool = False, first: bool = False) -> Path:
    """One stereo AAC stream for each of stems (2, sample); pns: the encoder may put noise; first: the index too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    muxer, coder = (
        {"movflags": "+faststart"} if first else {},
        {"aac_pns": str(int(pns)), "aac_coder": "fast"},
    )
    with av.open(str(path), "w", format="mp4", options=muxer) as file:
        streams = [file.add_stream("aac", rate=RATE, layout="stereo", options=coder) for _ in stems]
        for at in range(0, stems[0].shape[1], 1024):
            for stream, stem in zip(streams, stems, strict=True):
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(stem[:, at : at + 1024]), "fltp", "stereo"
                )
                frame.sample_rate, frame.pts = RATE, at
                file.mux(stream.encode(frame))
        for stream in streams:
            file.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def stems_mp4(tmp_path_factory) -> Path:
    """MUSDB18: each song in its own file."""
    top = tmp_path_factory.mktemp("musdb") / "musdb18"
    for number, (part, song) in enumerate(
        (part, song) for part, songs in SONGS.items() for song in songs
    ):
        stems = [tone(stem, 0.7 + number / 100, number) for stem in STEMS]
        write_mp4(top / part / f"{song}.stem.mp4", stems)
    touch(top / "README.md")
    return top


def musdb_hq(top: Path) -> Path:
    for part, songs in SONGS.items():
        for song in songs:
            for stem in STEMS:
                (top / part / song).mkdir(parents=True, exist_ok=True)
                soundfile.write(
                    top / part / song / f"{stem}.wav", tone(stem, 0.6).T, RATE, subtype="PCM_16"
                )
    return top


def quiet(corpus: str) -> list[recordings.Recording]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*skipped")
        return corpora.load(corpus)


def pitch(audio: np.ndarray, rate_hz: int) -> float:
    return np.abs(np.fft.rfft(audio * np.hanning(len(audio)))).argmax() * rate_hz / len(audio)


@pytest.mark.parametrize("mic", [1, 2])
def test_vctk_092_is_what_torchaudio_lists_and_p315_whose_texts_alone_are_lost(
    tmp_path, mic
) -> None:
    top = vctk_092(tmp_path / "VCTK-Corpus-0.92")
    from torchaudio.datasets import VCTK_092

    listed = VCTK_092(str(tmp_path), mic_id=f"mic{mic}")._sample_ids
    found = quiet(f"vctk:{top}?mic={mic}")
    assert {r.name for r in found if r.group != "p315"} == {
        f"{p}/{p}_{n}_mic{mic}.flac" for p, n in listed
    }
    assert [r.name for r in found if r.group == "p315"] == [
        f"p315/p315_00{n}_mic{mic}.flac" for n in (1, 2)
    ]
    assert all(
        r.paths == (top / "wav48_silence_trimmed" / r.name,) and r.group == r.name.split("/")[0]
        for r in found
    )
    assert {(r.rate_hz, r.split) for r in found} == {(48000, None)}
    assert [r.seconds for r in found if r.group == "p315"] == pytest.approx([0.1, 0.2])
    default = {r.name for r in quiet(f"vctk:{top}/")}
    assert (default == {r.name for r in found}) == (mic == 1)


def test_of_vctk_092_every_person_and_utterance_that_lacks_is_told_once(tmp_path) -> None:
    top = vctk_092(tmp_path / "VCTK-Corpus-0.92")
    touch(top / "txt/p226/p226_001.txt")
    with pytest.warns(UserWarning) as told:
        corpora.load(f"vctk:{top}?mic=2")
    where = f"vctk {top}: VCTK 0.92: skipped"
    assert [str(each.message) for each in told] == [
        f"{where} 106 of 110 persons: p226 (no sound in wav48_silence_trimmed/p226), p280 (no p280_001_mic2.flac), "
        "104 that are not there",
        f"{where} 1 of 9 utterances: p362_003 (no p362_003_mic2.flac)",
    ]
    assert {each.filename for each in told} == {__file__}


def test_a_whole_vctk_is_silent_and_one_person_less_is_told(tmp_path, monkeypatch) -> None:
    from lib.data import vctk

    monkeypatch.setitem(vctk.PERSONS, "VCTK 0.80", 3)
    top = vctk_080(tmp_path / "VCTK-Corpus")
    found = corpora.load(f"vctk:{top}")  # a warning would be an error
    assert [r.name for r in found] == sorted(
        f"{p}/{p}_00{n}.wav" for p in ("p225", "p226", "p280") for n in (1, 2)
    )
    shutil.rmtree(top / "wav48/p226")
    shutil.rmtree(top / "txt/p226")
    with pytest.warns(
        UserWarning, match=r"0.80: skipped 1 of 3 persons: p226 \(no sound in wav48/p226\)$"
    ):
        corpora.load(f"vctk:{top}")
    touch(top / "speaker-info.txt", "")
    with pytest.warns(UserWarning, match="0.80: skipped 1 of 3 persons: 1 that are not there$"):
        assert {r.group for r in corpora.load(f"vctk:{top}")} == {"p225", "p280"}


def test_one_microphone_of_version_080(tmp_path) -> None:
    top = vctk_080(tmp_path / "VCTK-Corpus")
    with pytest.raises(BadInput, match=rf"mic=1: VCTK 0.80 has one microphone; write vctk:{top}$"):
        corpora.load(f"vctk:{top}?mic=1")


@pytest.mark.parametrize("part", ["train", "test"])
def test_musdb18_hq_is_what_torchaudio_lists(tmp_path, part) -> None:
    top = musdb_hq(tmp_path / "musdb18hq")
    from torchaudio.datasets import MUSDB_HQ

    listed = MUSDB_HQ(str(tmp_path), part, download=False).names
    found = quiet(f"musdb18:{top}")
    assert sorted(listed) == [r.group for r in found if r.split == part]
    assert {r.name for r in found} == {
        f"{part}/{song}" for part, songs in SONGS.items() for song in songs
    }


@pytest.mark.parametrize("stem", STEMS)
def test_a_stem_is_that_stem_in_both_versions_and_the_mixture_is_the_default(
    tmp_path, stems_mp4, stem
) -> None:
    for top in (stems_mp4, musdb_hq(tmp_path / "musdb18hq")):
        found = quiet(f"musdb18:{top}?stem={stem}")
        assert len(found) == 7
        for recording in found:
            audio = corpora.read(recording, 0.2, 0.35, 24000)
            assert pitch(audio, 24000) == pytest.approx(STEMS[stem], abs=3)
            assert audio.max() == pytest.approx(0.15, abs=0.02)
        default = quiet(f"musdb18:{top}")[0]
        same = np.array_equal(
            corpora.read(default, 0, 0.5, 24000), corpora.read(found[0], 0, 0.5, 24000)
        )
        assert same == (stem == "mixture")


def test_the_songs_of_stem_mp4_have_their_lengths_and_parts(stems_mp4) -> None:
    found = {r.group: r for r in quiet(f"musdb18:{stems_mp4}?stem=bass")}
    for number, (part, song) in enumerate(
        (part, song) for part, songs in SONGS.items() for song in songs
    ):
        assert (found[song].split, found[song].rate_hz) == (part, RATE)
        assert found[song].seconds == pytest.approx(0.7 + number / 100, abs=1e-4)


def decoded(path: Path, number: int) -> np.ndarray:
    """The oracle: a stream decoded from its first packet to the last, mean of the channels."""
    with av.open(str(path)) as file:
        return np.concatenate(
            [frame.to_ndarray() for frame in file.decode(audio=number)], axis=1
        ).mean(axis=0)


def test_a_stretch_of_a_stream_is_that_of_the_stream_decoded_from_its_start(stems_mp4) -> None:
    recording = quiet(f"musdb18:{stems_mp4}?stem=other")[-1]
    whole, original = (
        decoded(recording.paths[0], 3),
        tone("other", recording.seconds, 4).mean(axis=0),
    )
    assert np.abs(whole[: len(original)] - original).max() < 0.02
    for start in (0, 1, 1023, 1024, 2048, 2049, 5000, 20000, len(original) - 4100):
        part = corpora.read(recording, start / RATE, 4000 / RATE, RATE)
        assert np.abs(part - whole[start : start + 4000]).max() < 1e-6, start
    tail = corpora.read(recording, recording.seconds - 0.1, 0.2, RATE)
    assert (
        np.abs(tail[:4410] - whole[len(original) - 4410 : len(original)]).max() < 1e-6
        and not tail[4411:].any()
    )


def test_a_stretch_with_the_decoders_noise_is_the_same_at_every_reading(tmp_path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
    path = write_mp4(tmp_path / "x.stem.mp4", [noise], pns=True)
    recording = recordings.Recording("musdb18:x", "x", (path,), RATE, 1.0, "x")
    first, other, again = (corpora.read(recording, start, 0.3, 24000) for start in (0.5, 0.2, 0.5))
    assert np.array_equal(first, again) and first.std() == pytest.approx(other.std(), rel=0.1)


def test_listing_reads_headers_and_reading_only_its_stretch(tmp_path, stems_mp4) -> None:
    top = tmp_path / "musdb18"
    shutil.copytree(stems_mp4, top)
    whole = quiet(f"musdb18:{top}")
    before = corpora.read(whole[-1], 0.1, 0.2, 24000)
    for recording in whole:  # the second half of the sound is lost, the index behind it is not
        path = recording.paths[0]
        content = bytearray(path.read_bytes())
        index = content.rindex(b"moov") - 4
        content[index // 2 : index] = bytes(index - index // 2)
        path.write_bytes(content)
    assert quiet(f"musdb18:{top}") == whole
    assert np.array_equal(corpora.read(whole[-1], 0.1, 0.2, 24000), before)
    with pytest.raises(
        BadInput, match=r"Five.stem.mp4: (cannot be decoded|truncated).*replace or remove"
    ):
        corpora.read(whole[-1], 0.5, 0.2, 24000)


@pytest.mark.parametrize("seed", range(5))
def test_musdbs_own_test_songs_are_the_test_groups_and_its_training_songs_the_rest(
    stems_mp4, seed
) -> None:
    found = quiet(f"musdb18:{stems_mp4}")
    sides = {side: {r.group for r in part} for side, part in split_groups(found, seed).items()}
    assert sides["test"] == set(SONGS["test"]) and sides["train"] | sides["validation"] == set(
        SONGS["train"]
    )
    assert sides["validation"] and not sides["train"] & sides["validation"]


def test_broken_and_missing_songs_are_told(tmp_path, stems_mp4) -> None:
    top = tmp_path / "musdb18"
    shutil.copytree(stems_mp4, top)
    cut = top / "train" / f"{SONGS['train'][0]}.stem.mp4"
    write_mp4(cut, [tone(stem, 0.5) for stem in STEMS], first=True)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 9 // 10])
    end = top / "train" / f"{SONGS['train'][1]}.stem.mp4"
    end.write_bytes(end.read_bytes()[: end.stat().st_size * 9 // 10])
    write_mp4(top / "train" / f"{SONGS['train'][2]}.stem.mp4", [tone("mixture", 0.3)] * 2)
    touch(top / "train/._Zeno - Signs.stem.mp4")
    with pytest.warns(UserWarning) as told:
        assert len(corpora.load(f"musdb18:{top}?stem=vocals")) == 4
    (message,) = (str(each.message) for each in told)
    for part in (
        f"musdb18 {top}: MUSDB18: skipped 146 of 150 songs: ",
        "train/A Band - One (A Band - One.stem.mp4: truncated)",
        "Again (A Band - Two: Again.stem.mp4: not decodable: Invalid data",
        "2 audio streams with content, number 5",
        "143 that are not there",
    ):
        assert part in message
    hq = musdb_hq(tmp_path / "musdb18hq")
    (hq / "test/E - Six/drums.wav").unlink()
    with pytest.warns(
        UserWarning,
        match=r"skipped 144 of 150 songs: test/E - Six \(drums.wav: missing\), 143 that",
    ):
        assert len(corpora.load(f"musdb18:{hq}?stem=drums")) == 6
    assert len(quiet(f"musdb18:{hq}")) == 7


def hidden_download(folder: Path) -> Path:
    (folder / ".gone.download").mkdir(parents=True)
    return folder / "gone"


def only(*names: str):
    """A folder with these empty files, or folders where a name ends with /."""

    def make(folder: Path) -> Path:
        for name in names:
            (folder / name).mkdir(parents=True) if name.endswith("/") else touch(folder / name)
        return folder

    return make


def archive(folder: Path) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(folder / "VCTK-Corpus-0.92.zip", "w") as file:
        file.writestr("VCTK-Corpus-0.92/README.txt", "x")
    return folder


WRONG = {  # what is there: (maker, corpus with its path as TOP, what the message says)
    "nothing": (
        lambda folder: folder,
        "vctk:TOP",
        r"No such file.*wav48_silence_trimmed \(version 0.92\) or wav48",
    ),
    "no songs": (
        lambda folder: folder,
        "musdb18:TOP",
        "No such file.*- TITLE.stem.mp4.*lib.download musdb18-hq",
    ),
    "a download": (
        hidden_download,
        "vctk:TOP",
        "not finished: run `python -m lib.download vctk --to .*again",
    ),
    "zip": (
        archive,
        "vctk:TOP",
        "holds VCTK-Corpus-0.92.zip, and lacks.*unpack .*VCTK-Corpus-0.92.zip and give",
    ),
    "a zip": (
        lambda f: archive(f) / "VCTK-Corpus-0.92.zip",
        "vctk:TOP",
        "Not a directory; unpack .*0.92.zip and give",
    ),
    "hq as vctk": (
        musdb_hq,
        "vctk:TOP",
        "vctk TOP: is MUSDB18-HQ; write musdb18:TOP, or give the path of VCTK",
    ),
    "vctk as musdb": (vctk_092, "musdb18:TOP", "musdb18 TOP: is VCTK 0.92; write vctk:TOP"),
    "mp4 as vctk": (only("train/A - B.stem.mp4"), "vctk:TOP", "is MUSDB18; write musdb18:TOP"),
    "above": (
        only("c/wav48/p1/", "d/train/a/mixture.wav"),
        "vctk:TOP",
        "VCTK 0.80 is in TOP/c; write vctk:TOP/c$",
    ),
    "above both": (
        only("c/wav48/p1/", "d/train/a/mixture.wav"),
        "musdb18:TOP",
        "HQ is in TOP/d; write musdb18:TOP/d$",
    ),
    "below": (
        lambda f: vctk_080(f) / "wav48",
        "vctk:TOP",
        "wav48: VCTK 0.80 is in .*; write vctk:",
    ),
    "a part": (
        lambda f: musdb_hq(f) / "train",
        "musdb18:TOP",
        "train: MUSDB18-HQ is in .*; write musdb18:",
    ),
    "half vctk": (
        only("txt/p225/p225_001.txt", "speaker-info.txt"),
        "vctk:TOP",
        r"holds speaker-info.txt, txt \(it looks like VCTK, half unpacked\), and lacks.*wav48",
    ),
    "empty wav48": (
        only("wav48/log.txt"),
        "vctk:TOP",
        "VCTK 0.80, but nobody has usable sound: no persons; unpack",
    ),
    "texts only": (
        only("wav48/", "txt/p9/p9_1.txt"),
        "vctk:TOP",
        r"nobody has usable.*: p9 \(no sound in wav48/p9\)",
    ),
    "no test": (
        only("train/A - B/mixture.wav"),
        "musdb18:TOP",
        r"HQ, but of train no song.*A - B \(mixture.wav: not",
    ),
    "train without songs": (
        only("train/", "test/"),
        "musdb18:TOP",
        r"holds test, train \(it looks like MUSDB18, half",
    ),
    "anything": (
        only("a.wav", "b.txt"),
        "musdb18:TOP",
        "holds a.wav, b.txt, and lacks what makes MUSDB18, folders",
    ),
    "mic": (
        vctk_092,
        "vctk:TOP?mic=3",
        r"mic=3: setting 'mic=3' is not known; write \?mic= with one of 1, 2",
    ),
    "stem": (
        musdb_hq,
        "musdb18:TOP?stem=voice",
        r"'stem=voice' is not known; write \?stem= with one of mixture,",
    ),
    "a stem of vctk": (vctk_092, "vctk:TOP?stem=vocals", "setting 'stem=vocals' is not known"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_missing_and_what_is_there_instead_is_told(tmp_path, what) -> None:
    make, corpus, message = WRONG[what]
    top = str(make(tmp_path / "here"))
    with pytest.raises(BadInput, match=message.replace("TOP", top)):
        corpora.load(corpus.replace("TOP", top))


def test_musdb18_without_its_test_songs_is_an_error_since_others_would_take_their_place(
    tmp_path,
) -> None:
    top = musdb_hq(tmp_path / "musdb18hq")
    shutil.rmtree(top / "test")
    with pytest.raises(
        BadInput, match="MUSDB18-HQ, but of test no song can be used: it has none; unpack it again"
    ):
        corpora.load(f"musdb18:{top}")


def test_a_path_may_hold_a_question_mark(tmp_path) -> None:
    top = musdb_hq(tmp_path / "what?" / "is?this=here")
    assert len(quiet(f"musdb18:{top}")) == len(quiet(f"musdb18:{top}?stem=bass")) == 7


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("VCTK 0.92", vctk_092),
        ("VCTK 0.80", vctk_080),
        ("MUSDB18-HQ", musdb_hq),
        ("", only("wav/p1/", "train/x/notes.wav")),
    ],
)
def test_a_layout_is_recognised(tmp_path, name, make) -> None:
    assert layouts.recognise(make(tmp_path / "here")) == name


def test_clips_and_renderings_take_them(tmp_path, stems_mp4, monkeypatch) -> None:
    from lib.data.rendering import RenderConfig, render

    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    folders = set()
    for stem in ("vocals", "bass"):
        clips = ClipConfig(
            corpus=f"musdb18:{stems_mp4}?stem={stem}", split="test", clip_s=0.5, sample_rate_hz=8000
        )
        with pytest.warns(UserWarning) as told:
            made = render(
                RenderConfig(clips=clips, spectrogram={"sample_rate_hz": 8000}, clips_per_effect=3)
            )
        assert len(told) == 1 and "skipped 143 of 150 songs" in str(told[0].message)
        assert set(made.table["group"]) <= set(SONGS["test"])
        assert pitch(made.dry(0), 8000) == pytest.approx(STEMS[stem], abs=3)
        folders.add(made.folder)
    assert len(folders) == 2
    found = quiet(f"musdb18:{stems_mp4}")
    audio, about = Clips(ClipConfig(corpus="musdb18:x", split="train", clip_s=0.5), found)[5]
    assert about["group"] in SONGS["train"] and np.isfinite(audio).all()


@pytest.mark.parametrize("corpus", ["vctk:/x", "musdb18:/x?stem=vocals"])
def test_a_story_takes_them_as_parameters(corpus) -> None:
    values = {"corpus": corpus, "clip_s": 2.03, "settings": "fixed", "seed": 0}
    assert resolve("02_audio_effects", values).corpus == corpus
    with pytest.raises(BadInput, match="folder:PATH, vctk:PATH, musdb18:PATH"):
        resolve("02_audio_effects", values | {"corpus": corpus.partition("/")[0]})
