"""Clips: splits that share nobody, purity in (config, index), and bad recordings."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import ROOT, BadInput
from lib.audio import levels
from lib.data import clips, corpora
from lib.data.clips import ClipConfig, Clips
from lib.data.recordings import Recording, read_stretch

RATE_HZ = 24000


def noise(seconds: float, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Noise with a slow swell, so that a place in it can be told from another."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate_hz)
    return (0.05 + 0.05 * rng.random() * np.sin(np.arange(count) / rate_hz)) * rng.standard_normal(
        count
    )


def write(
    folder: Path, group: str, name: str, audio: np.ndarray, rate_hz: int = RATE_HZ
) -> Recording:
    path = folder / group / f"{name}.wav"
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, audio, rate_hz, subtype="FLOAT")
    return Recording(
        f"folder:{folder}", group, (path,), rate_hz, len(audio) / rate_hz, f"{group}/{name}.wav"
    )


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> list[Recording]:
    """Four groups with two recordings of 3 and 6 s each; none has a pause."""
    folder = tmp_path_factory.mktemp("corpus")
    made = [(group, seconds) for group in "abcd" for seconds in (3, 6)]
    return [write(folder, group, f"{s}s", noise(s, seed)) for seed, (group, s) in enumerate(made)]


def config(**fields) -> ClipConfig:
    return ClipConfig(**{"corpus": "made", "split": "all", "clip_s": 1.0} | fields)


def listed(groups: dict[str, str | None]) -> list[Recording]:
    return [
        Recording("made", g, (), RATE_HZ, 5.0, f"{g}/{n}", split)
        for g, split in groups.items()
        for n in range(3)
    ]


@settings(max_examples=25, deadline=None)
@given(count=st.integers(3, 120), seed=st.integers(0, 2**32))
def test_splits_are_disjoint_and_complete(count, seed):
    made = listed({f"g{i}": None for i in range(count)})
    split = clips.split_groups(made, seed)
    groups = [{r.group for r in split[name]} for name in ("train", "validation", "test")]
    assert all(groups) and sum(map(len, groups)) == count == len(set.union(*groups))
    assert sorted(r.name for side in split.values() for r in side) == sorted(r.name for r in made)
    again = clips.split_groups(made[::-1], seed)  # the order of the list does not matter
    assert [{r.group for r in again[name]} for name in ("train", "validation", "test")] == groups


@pytest.mark.parametrize(
    ("count", "sizes"), [(3, [1, 1, 1]), (8, [5, 1, 2]), (24, [16, 3, 5]), (110, [75, 13, 22])]
)
def test_split_sizes(count, sizes):
    split = clips.split_groups(listed({f"g{i}": None for i in range(count)}), 0)
    assert [
        len({r.group for r in split[name]}) for name in ("train", "validation", "test")
    ] == sizes


def test_split_changes_with_its_seed():
    made = listed({f"g{i}": None for i in range(24)})
    tests = {
        tuple(sorted({r.group for r in clips.split_groups(made, seed)["test"]}))
        for seed in range(5)
    }
    assert len(tests) == 5


def test_clips_are_of_the_split_that_the_config_names():
    made = listed({f"g{i}": None for i in range(24)})
    for seed in (0, 7):
        found = Clips(config(split="test", split_seed=seed), made).recordings
        assert {r.group for r in found} == {r.group for r in clips.split_groups(made, seed)["test"]}


def test_an_unknown_split_of_a_corpus_is_an_error():
    with pytest.raises(BadInput) as caught:
        clips.split_groups(listed({"a": "test", "b": "trian", "c": "zest"}), 0)
    assert (
        str(caught.value)
        == "split 'trian' of a recording is unknown; known are train, validation, test"
    )


def test_a_corpus_keeps_its_own_split_and_lends_validation_from_training():
    own = {f"g{i}": "test" if i < 4 else "train" for i in range(12)}
    split = clips.split_groups(listed(own), 0)
    assert {r.group for r in split["test"]} == {g for g, s in own.items() if s == "test"}
    assert {r.group for r in split["validation"]} and {r.group for r in split["validation"]} < set(
        list(own)[4:]
    )


def test_embedded_corpora_share_no_person_and_no_song():
    for corpus in ("speech", "music"):
        sides = clips.split_groups(corpora.load_corpus(corpus), 0)
        files = [{path for r in side for path in r.paths} for side in sides.values()]
        assert all(files) and sum(map(len, files)) == len(set.union(*files))
    people = {r.group for r in corpora.load_corpus("speech")}
    assert sum("allison" in person for person in people) == 1  # one person, in English and Spanish


@pytest.mark.parametrize(
    "groups", [{}, {"a": None}, {"a": None, "b": None}, {"a": "test", "b": "test", "c": "test"}]
)
def test_fewer_groups_than_splits_is_an_error(groups):
    said = (
        rf"^{len(groups)} group\(s\) \[('.'(, )?)*\] cannot fill the splits train, validation, test: "
        r"\w+ would be empty; give at least three persons, songs or sub-folders$"
    )
    with pytest.raises(BadInput, match=said):
        clips.split_groups(listed(groups), 0)


def test_a_group_in_two_splits_is_an_error():
    with pytest.raises(BadInput, match="'a' stands in two splits"):
        clips.split_groups(listed({"a": "train"}) + listed({"a": "test"}), 0)


def test_a_clip_has_its_length_level_fades_and_place(recordings):
    made = Clips(config(loudness_lufs=-30), recordings)
    for index in range(5):
        audio, info = made.clip(index)
        assert audio.shape == (made.samples,) == (RATE_HZ,) and audio.dtype == np.float32
        assert levels.loudness(audio, RATE_HZ) == pytest.approx(-30, abs=0.01)
        assert audio[0] == 0 and abs(audio[-1]) < abs(audio[:-480]).max() / 100
        recording = next(r for r in recordings if r.name == info["recording"])
        assert recording.group == info["group"] and 0 <= info["start_s"] <= recording.seconds - 1
        whole = read_stretch(recording, info["start_s"], 1.0, RATE_HZ)
        ramp, middle = np.arange(480) / 480, slice(480, -480)  # 20 ms
        gain = np.dot(audio[middle], whole[middle]) / np.dot(whole[middle], whole[middle])
        whole[:480], whole[-480:] = whole[:480] * ramp, whole[-480:] * ramp[::-1]
        np.testing.assert_allclose(audio, gain * whole, atol=1e-6)


def test_positions_reach_from_end_to_end(recordings):
    made = Clips(config(), recordings)
    lengths = {recording.name: recording.seconds for recording in recordings}
    told = [made.clip(index)[1] for index in range(60)]
    places = [info["start_s"] / (lengths[info["recording"]] - 1) for info in told]
    assert 0 <= min(places) < 0.1 and 0.9 < max(places) <= 1


@pytest.mark.parametrize("augment", [False, True])
def test_a_clip_is_the_same_in_any_order_and_object(recordings, augment):
    fields = {"split": "train", "augment": augment}
    first, second = (
        Clips(config(seed=3, **fields), made) for made in (recordings, recordings[::-1])
    )
    forward = [first.clip(i) for i in range(6)]
    backward = [second.clip(i) for i in reversed(range(6))][::-1]
    for (a, told_a), (b, told_b) in zip(forward, backward, strict=True):
        assert a.tobytes() == b.tobytes() and told_a == told_b
    assert len({told["start_s"] for _, told in forward}) == 6
    assert Clips(config(seed=4, **fields), recordings).clip(0)[1] != forward[0][1]


def test_a_clip_is_the_same_in_another_process():
    code = (
        "import hashlib\nfrom lib.data.clips import *\n"
        "print(hashlib.sha256(Clips(ClipConfig(split='train', seed=1, augment=True)).clip(7)[0].tobytes()).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert len(runs[0].stdout) == 65 and runs[0].stdout == runs[1].stdout, runs[0].stderr


def test_groups_are_balanced_and_recordings_weighted_by_seconds(tmp_path):
    made = [
        write(tmp_path, "few", "x", noise(3)),
        *(write(tmp_path, "many", f"{i}", noise(3)) for i in range(6)),
    ]
    made.append(write(tmp_path, "many", "long", noise(18)))
    told = [Clips(config(clip_s=0.5), made).clip(i)[1] for i in range(400)]
    assert sum(t["group"] == "few" for t in told) == pytest.approx(
        200, abs=50
    )  # 5 standard deviations
    assert sum(t["recording"] == "many/long.wav" for t in told) == pytest.approx(100, abs=44)


def test_augmentation_changes_half_of_the_training_clips(recordings):
    made, plain = (
        Clips(config(split="train", augment=True), recordings),
        Clips(config(split="train"), recordings),
    )
    told = []
    for index in range(12):
        audio, info = made.clip(index)
        told.append(info)
        assert audio.shape == (made.samples,) and levels.loudness(audio, RATE_HZ) == pytest.approx(
            -23, abs=0.01
        )
        dry = plain.clip(index)
        untouched = info["pitch_semitones"] == 0 and info["tempo"] == 1
        assert (
            dry[1]["recording"] == info["recording"] and np.array_equal(dry[0], audio) == untouched
        )
    assert all(abs(t["pitch_semitones"]) <= 2 and 0.8 <= t["tempo"] <= 1.2 for t in told)
    assert (
        2 <= sum(t["pitch_semitones"] != 0 for t in told) <= 10
        and 2 <= sum(t["tempo"] != 1 for t in told) <= 10
    )


def test_pitch_shift_moves_a_tone_by_what_it_says(tmp_path):
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(6 * RATE_HZ) / RATE_HZ)
    made = Clips(
        config(split="train", augment=True), [write(tmp_path, g, "tone", tone) for g in "abc"]
    )
    index = next(i for i in range(50) if abs(made.clip(i)[1]["pitch_semitones"]) > 1)
    audio, info = made.clip(index)
    peak_hz = np.argmax(np.abs(np.fft.rfft(audio * np.hanning(audio.size))))  # 1 s: 1 Hz a bin
    assert peak_hz == pytest.approx(440 * 2 ** (info["pitch_semitones"] / 12), rel=0.01)


def test_positions_with_a_silent_half_are_redrawn(tmp_path):
    audio = noise(8)
    audio[2 * RATE_HZ : 6 * RATE_HZ] *= 1e-4
    made = Clips(config(), [write(tmp_path, "a", "pause", audio)])
    for index in range(20):
        clip, info = made.clip(index)
        assert not 1.5 <= info["start_s"] <= 5.5
        assert all(np.square(half).mean() >= 1e-5 for half in np.split(clip, 2))


def test_clips_that_are_silent_everywhere_end_in_an_error(tmp_path):
    audio = np.zeros(20 * RATE_HZ)
    audio[: RATE_HZ // 4] = noise(0.25)
    made = Clips(config(clip_s=5), [write(tmp_path, "a", "click", audio)])
    with pytest.raises(
        BadInput, match="silent half at each of 100 positions; give clips shorter than 5.0 s"
    ):
        made.clip(0)


@pytest.fixture
def bad(tmp_path) -> dict[str, Recording]:
    """One recording for each way of being bad."""
    made = {
        "short": write(tmp_path, "b", "short", noise(0.5)),
        "silent": write(tmp_path, "b", "silent", np.zeros(5 * RATE_HZ)),
        "nan": write(tmp_path, "b", "nan", np.full(5 * RATE_HZ, np.nan)),
        "infinite": write(tmp_path, "b", "infinite", np.full(5 * RATE_HZ, np.inf)),
        "truncated": write(tmp_path, "b", "truncated", noise(5)),
    }
    path = made["truncated"].paths[0]
    path.write_bytes(path.read_bytes()[:20])
    return made


@pytest.mark.parametrize("kind", ["short", "silent", "nan", "infinite", "truncated"])
def test_a_bad_recording_is_skipped_with_one_warning_and_alone_is_an_error(kind, bad, tmp_path):
    good = write(tmp_path, "a", "good", noise(5))
    with pytest.warns(UserWarning, match=rf"1 of 2 recordings skipped: b/{kind}\.wav: ") as caught:
        made = Clips(config(), [good, bad[kind]])
        told = [made.clip(i)[1]["recording"] for i in range(8)]
    assert (
        len(caught) == 1 and set(told) == {"a/good.wav"} and set(made.skipped) == {f"b/{kind}.wav"}
    )
    with pytest.raises(BadInput, match=rf"1 of 1 recordings are of no use: b/{kind}\.wav: "):
        Clips(config(), [bad[kind]]).clip(0)


@pytest.mark.parametrize(("count", "more"), [(5, ""), (7, "; and 2 more")])
def test_of_many_bad_recordings_the_last_five_are_named(count, more):
    good = Recording("made", "a", (), RATE_HZ, 5.0, "a/good")
    short = [Recording("made", "b", (), RATE_HZ, 0.5, f"b/{n}") for n in range(count)]
    with pytest.warns(UserWarning) as caught:
        Clips(config(), [good, *short])
    named = "; ".join(f"b/{n}: 0.50 s, shorter than 1.0 s" for n in range(count - 5, count))
    assert [str(each.message) for each in caught] == [
        f"corpus 'made', split 'all': {count} of {count + 1} recordings skipped: {named}{more}"
    ]


def test_tempo_changes_the_pace_by_what_it_says_and_the_end_is_filled(tmp_path):
    t = np.arange(10 * RATE_HZ) / RATE_HZ
    audio = (
        0.1 * np.random.default_rng(0).standard_normal(t.size) * (1.1 - np.cos(2 * np.pi * 8 * t))
    )
    made = Clips(
        config(split="train", augment=True, clip_s=4.0),
        [write(tmp_path, g, "beats", audio) for g in "abc"],
    )
    found = [made.clip(index) for index in range(12)]
    for clip, info in found:
        assert info["start_s"] + 4 * info["tempo"] <= 10
        assert np.abs(clip[-720:-480]).max() > 0.01
        envelope = np.abs(clip) - np.abs(clip).mean()
        beats_hz = np.argmax(np.abs(np.fft.rfft(envelope, 10 * clip.size))[120:600]) / 40 + 3
        assert beats_hz == pytest.approx(8 * info["tempo"], abs=0.15)
    assert len({info["tempo"] for _, info in found}) > 3


def test_what_other_clips_met_does_not_change_a_clip(bad, tmp_path):
    made = [write(tmp_path, g, "good", noise(5, seed)) for seed, g in enumerate("ac")] + list(
        bad.values()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        used = Clips(config(), made)
        after = [used.clip(i)[1] for i in range(12)]
        alone = [Clips(config(), made).clip(i)[1] for i in range(12)]
    assert after == alone and len(used.skipped) == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "test", "augment": True}, "only training clips are augmented"),
        ({"split": "all", "augment": True}, "only training clips are augmented"),
        ({"split": "tain"}, "split.*'tain'.*'train'"),
        ({"clip_s": 0.1}, "clip_s.*0.1.*greater than or equal to 0.5"),
        ({"clip_s": float("nan")}, "clip_s"),
        ({"sample_rate_hz": 4000}, "sample_rate_hz.*4000.*8000"),
        ({"seed": -1}, "seed.*-1"),
        ({"clip_seconds": 2}, "clip_seconds.*not permitted.*clip_s"),
    ],
)
def test_a_wrong_config_names_field_value_and_remedy(fields, message):
    with pytest.raises(BadInput, match=message):
        config(**fields)


def test_a_negative_index_is_an_error(recordings):
    with pytest.raises(BadInput, match="index -1"):
        Clips(config(), recordings).clip(-1)
