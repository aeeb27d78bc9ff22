"""Clips: level, fades, balance, augmentation; purity in (config, index); bad recordings."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lib import BadInput
from lib.audio.levels import loudness
from lib.data.clips import ClipConfig, Clips
from lib.data.recordings import Recording, read_stretch, silence

RATE_HZ = 24000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise with a slow swell, so that a place in it can be told from another."""
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE_HZ)
    swell = 0.05 + 0.05 * rng.random() * np.sin(np.arange(count) / RATE_HZ)
    return swell * rng.standard_normal(count)


def write(folder: Path, group: str, name: str, audio: np.ndarray) -> Recording:
    path = folder / group / f"{name}.wav"
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, audio, RATE_HZ, subtype="FLOAT")
    seconds = len(audio) / RATE_HZ
    return Recording(f"folder:{folder}", group, (path,), RATE_HZ, seconds, f"{group}/{name}.wav")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> list[Recording]:
    """Four groups with two recordings of 3 and 6 s each; none has a pause."""
    folder = tmp_path_factory.mktemp("corpus")
    made = [(group, seconds) for group in "abcd" for seconds in (3, 6)]
    return [write(folder, group, f"{s}s", noise(s, seed)) for seed, (group, s) in enumerate(made)]


def config(**fields) -> ClipConfig:
    return ClipConfig(**{"corpus": "made", "split": "all", "clip_s": 1.0} | fields)


@pytest.mark.parametrize("gain_db", [-40, -20, 10])
def test_the_gain_of_a_recording_does_not_matter(tmp_path, gain_db):
    """Of a swell, a near silence of -35 dB and digital silence; other clips are cut nowhere."""
    audio = np.concatenate([noise(4), noise(3) / 56, np.zeros(RATE_HZ)])
    louder = write(tmp_path, "a", "x", audio * 10 ** (gain_db / 20))
    own = Clips(config(), [write(tmp_path, "b", "x", audio)])
    for index in range(30):
        clip, info = Clips(config(), [louder])[index]
        expected, told = own[index]
        assert info["start_s"] == told["start_s"]
        np.testing.assert_allclose(clip, expected, atol=1e-6)


@pytest.mark.parametrize("gain_db", [-40, 0])
@pytest.mark.parametrize("pause_s", [0, 40])
def test_channels_that_cancel_are_no_silence(tmp_path, gain_db, pause_s):
    audio = np.pad(noise(2), (pause_s * RATE_HZ, 0)) * 10 ** (gain_db / 20)
    recording = write(tmp_path, "a", "x", np.stack([audio, -audio], axis=1))
    with pytest.raises(BadInput, match="its channels cancel each other"):
        Clips(config(), [recording])[0]


def test_an_offset_is_silence_and_cancels_nothing(tmp_path):
    recording = write(tmp_path, "a", "x", np.full(2 * RATE_HZ, 0.1))
    assert silence(recording) == "silent"


def test_a_clip_has_its_length_level_fades_and_place(recordings):
    clips = Clips(config(loudness_lufs=-30), recordings)
    by_name = {recording.name: recording for recording in recordings}
    for index in range(5):
        audio, info = clips[index]
        assert audio.shape == (clips.samples,) == (RATE_HZ,) and audio.dtype == np.float32
        assert loudness(audio, RATE_HZ) == pytest.approx(-30, abs=0.01)
        recording = by_name[info["recording"]]
        assert recording.group == info["group"] and 0 <= info["start_s"] <= recording.seconds - 1
        whole = read_stretch(recording, info["start_s"], 1.0, RATE_HZ)
        ramp, middle = np.arange(480) / 480, slice(480, -480)  # 20 ms
        gain = np.dot(audio[middle], whole[middle]) / np.dot(whole[middle], whole[middle])
        whole[:480], whole[-480:] = whole[:480] * ramp, whole[-480:] * ramp[::-1]
        np.testing.assert_allclose(audio, gain * whole, atol=1e-6)


def test_positions_reach_from_end_to_end(recordings):
    clips = Clips(config(), recordings)
    seconds = {recording.name: recording.seconds for recording in recordings}
    infos = [clips[index][1] for index in range(60)]
    places = [info["start_s"] / (seconds[info["recording"]] - 1) for info in infos]
    assert 0 <= min(places) < 0.1 and 0.9 < max(places) <= 1


@pytest.mark.parametrize("augment", [False, True])
def test_a_clip_is_the_same_in_any_order_and_object(recordings, augment):
    fields = {"split": "train", "augment": augment}
    first = Clips(config(seed=3, **fields), recordings)
    second = Clips(config(seed=9, **fields), recordings[::-1]).with_seed(3)
    forward = [first[i] for i in range(6)]
    backward = [second[i] for i in reversed(range(6))][::-1]
    for (a, info_a), (b, info_b) in zip(forward, backward, strict=True):
        assert a.tobytes() == b.tobytes() and info_a == info_b
    assert len({info["start_s"] for _, info in forward}) == 6
    assert first.with_seed(4)[0][1] != forward[0][1] == first[0][1]


def test_groups_are_balanced_and_recordings_weighted_by_seconds(tmp_path):
    made = [write(tmp_path, "few", "x", noise(3)), write(tmp_path, "many", "long", noise(18))]
    made += [write(tmp_path, "many", f"{i}", noise(3)) for i in range(6)]
    clips = Clips(config(clip_s=0.5), made)
    names = [clips[i][1]["recording"] for i in range(400)]
    assert names.count("few/x.wav") == pytest.approx(200, abs=50)  # 5 standard deviations
    assert names.count("many/long.wav") == pytest.approx(100, abs=44)


def test_augmentation_changes_half_of_the_training_clips(recordings):
    plain = Clips(config(split="train"), recordings)
    clips = Clips(config(split="train", augment=True), recordings)
    infos = []
    for index in range(12):
        audio, info = clips[index]
        dry, dry_info = plain[index]
        infos.append(info)
        assert audio.shape == (clips.samples,)
        assert loudness(audio, RATE_HZ) == pytest.approx(-23, abs=0.01)
        untouched = info["pitch_semitones"] == 0 and info["tempo"] == 1
        assert dry_info["recording"] == info["recording"]
        assert np.array_equal(dry, audio) == untouched
    pitches = [info["pitch_semitones"] for info in infos]
    tempos = [info["tempo"] for info in infos]
    assert max(map(abs, pitches)) <= 2 and min(tempos) >= 0.8 and max(tempos) <= 1.2
    assert 2 <= pitches.count(0) <= 10 and 2 <= tempos.count(1) <= 10


def test_pitch_shift_moves_a_tone_by_what_it_says(tmp_path):
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(6 * RATE_HZ) / RATE_HZ)
    made = [write(tmp_path, group, "tone", tone) for group in "abc"]
    clips = Clips(config(split="train", augment=True), made)
    audio, info = next(clip for clip in map(clips.__getitem__, range(50)) if _shifted(clip))
    peak_hz = np.argmax(np.abs(np.fft.rfft(audio * np.hanning(audio.size))))  # 1 s: 1 Hz a bin
    assert peak_hz == pytest.approx(440 * 2 ** (info["pitch_semitones"] / 12), rel=0.01)


def _shifted(clip: tuple[np.ndarray, dict]) -> bool:
    return abs(clip[1]["pitch_semitones"]) > 1


def test_tempo_changes_the_pace_by_what_it_says_and_the_end_is_filled(tmp_path):
    t = np.arange(10 * RATE_HZ) / RATE_HZ
    steady = np.random.default_rng(0).standard_normal(t.size)
    beats = 0.1 * steady * (1.1 - np.cos(2 * np.pi * 8 * t))
    made = [write(tmp_path, group, "beats", beats) for group in "abc"]
    clips = Clips(config(split="train", augment=True, clip_s=4.0), made)
    tempos = set()
    for audio, info in map(clips.__getitem__, range(12)):
        assert info["start_s"] + 4 * info["tempo"] <= 10
        assert np.abs(audio[-720:-480]).max() > 0.01
        envelope = np.abs(audio) - np.abs(audio).mean()
        beats_hz = np.argmax(np.abs(np.fft.rfft(envelope, 10 * audio.size))[120:600]) / 40 + 3
        assert beats_hz == pytest.approx(8 * info["tempo"], abs=0.15)
        tempos.add(info["tempo"])
    assert len(tempos) > 3


def test_positions_with_a_silent_half_are_drawn_again(tmp_path):
    audio = noise(8)
    audio[2 * RATE_HZ : 6 * RATE_HZ] *= 1e-4
    clips = Clips(config(), [write(tmp_path, "a", "pause", audio)])
    for index in range(20):
        clip, info = clips[index]
        assert not 1.5 <= info["start_s"] <= 5.5
        assert all(np.square(half).mean() >= 1e-5 for half in np.split(clip, 2))


def test_clips_that_are_silent_everywhere_end_in_an_error(tmp_path):
    audio = np.zeros(20 * RATE_HZ)
    audio[: RATE_HZ // 4] = noise(0.25)
    clips = Clips(config(clip_s=5), [write(tmp_path, "a", "click", audio)])
    with pytest.raises(BadInput, match="silent half at each of 100 positions; give clips shorter"):
        clips[0]


@pytest.fixture
def bad(tmp_path) -> dict[str, Recording]:
    """One recording for each way of being bad."""
    made = {
        "short": write(tmp_path, "b", "short", noise(0.5)),
        "silent": write(tmp_path, "b", "silent", np.zeros(65 * RATE_HZ)),
        "nan": write(tmp_path, "b", "nan", np.full(5 * RATE_HZ, np.nan)),
        "truncated": write(tmp_path, "b", "truncated", noise(5)),
    }
    path = made["truncated"].paths[0]
    path.write_bytes(path.read_bytes()[:20])
    return made


@pytest.mark.parametrize("kind", ["short", "silent", "nan", "truncated"])
def test_a_bad_recording_is_left_out_with_one_warning_and_alone_is_an_error(kind, bad, tmp_path):
    good = write(tmp_path, "a", "good", noise(5))
    with pytest.warns(UserWarning, match=rf"skipped 1 of 2 recordings: b/{kind}\.wav \(") as caught:
        clips = Clips(config(), [good, bad[kind]])
        names = {clips[index][1]["recording"] for index in range(8)}
    assert len(caught) == 1 and names == {"a/good.wav"} and set(clips.skipped) == {f"b/{kind}.wav"}
    with pytest.raises(BadInput, match=rf"1 of 1 recordings are of no use: b/{kind}\.wav \("):
        Clips(config(), [bad[kind]])[0]


def test_a_clip_does_not_depend_on_the_bad_recordings_that_others_met(bad, tmp_path):
    made = [write(tmp_path, group, "good", noise(5, seed)) for seed, group in enumerate("ac")]
    made += bad.values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clips = Clips(config(), made)
        after = [clips[index][1] for index in range(12)]
        alone = [Clips(config(), made)[index][1] for index in range(12)]
    assert after == alone and len(clips.skipped) == 4
