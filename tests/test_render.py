"""Renderings of a folder of sound: pure, the same by any worker, flat in memory, whole."""

import os
import resource
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import lib.data.rendering
from lib import ROOT, BadInput
from lib.audio import effects
from lib.audio.cepstra import cepstral_features, fields
from lib.audio.levels import level
from lib.audio.spectrograms import SpectrogramConfig, spectrogram
from lib.data.clips import ClipConfig, Clips
from lib.data.rendering import RenderConfig, Rendering, effect_seed, render, render_set

RATE_HZ = 8000
PICTURE = SpectrogramConfig(sample_rate_hz=RATE_HZ, n_fft=512, hop_length=256, n_mels=16)


def _sound(seed: int, seconds: float = 4.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A buzz of its own pitch with noise, (sample,)."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    buzz = sum(np.sin(2 * np.pi * (100 + 20 * seed) * k * t) / k for k in range(1, 9))
    sound = 0.1 * buzz * (1.2 + np.sin(2 * np.pi * 3 * t)) + 0.01 * rng.normal(size=t.size)
    return sound.astype(np.float32)


def _write(path: Path, sound: np.ndarray, rate_hz: int = RATE_HZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate_hz, subtype="FLOAT")


def persons(path: Path, rate_hz: int = RATE_HZ, count: int = 4) -> Path:
    """A folder of one recording each of so many persons."""
    for group in range(count):
        _write(path / f"person{group}" / "a.wav", _sound(group, rate_hz=rate_hz), rate_hz)
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    return persons(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts"


def _config(sounds, count=20, names=("clean", "delay", "overdrive"), seed=0, **more):
    split = more.pop("split", "train")
    corpus = f"folder:{sounds}"
    clips = ClipConfig(corpus=corpus, split=split, clip_s=0.5, sample_rate_hz=RATE_HZ, seed=seed)
    more = {"spectrogram": PICTURE} | more
    return RenderConfig(clips=clips, effects=names, clips_per_effect=count, **more)


def _files(rendering: Rendering) -> dict[str, bytes]:
    """Everything but the card, which tells times."""
    files = rendering.folder.iterdir()
    return {path.name: path.read_bytes() for path in files if path.name != "card.json"}


def _finished(folder: Path) -> list[Path]:
    return [path for path in folder.glob("render/*") if path.is_dir() and path.name[0] != "."]


def test_pictures_and_table_are_those_of_each_clip(sounds):
    config = _config(sounds, dry=True)
    done = render(config)
    table = done.table
    assert isinstance(done.spectrograms, np.memmap) and done.spectrograms.dtype == np.float16
    assert done.spectrograms.shape == done.dry_spectrograms.shape == (60, 16, 16)
    assert table.effect.tolist() == ["clean"] * 20 + ["delay"] * 20 + ["overdrive"] * 20
    assert table["clip"].tolist() == 3 * list(range(20))
    assert len(table[["recording", "start_s"]].drop_duplicates()) == 60  # effects share no draw
    for row in (0, 19, 20, 37, 59):
        at = table.iloc[row]
        clips = Clips(config.clips.model_copy(update={"seed": effect_seed(0, at.effect)}))
        dry, info = clips[row % 20]
        assert at[list(info)].to_dict() == info
        np.testing.assert_array_equal(done.dry(row), dry)
        effect = effects.EFFECTS[at.effect]
        unit = {each.name: at[f"{at.effect}.{each.name}"] for each in effect.parameters}
        wet = effect.apply(dry, RATE_HZ, **effects.denormalise(at.effect, unit))
        np.testing.assert_allclose(level(wet, RATE_HZ, -23.0), done.wet(row), atol=1e-4)
        for audio, picture in [(done.wet(row), done.spectrograms), (dry, done.dry_spectrograms)]:
            expected = spectrogram(audio, PICTURE).astype(np.float16)
            np.testing.assert_array_equal(picture[row], expected)
    others = table.loc[table.effect != "delay"].filter(like="delay.")
    assert others.shape[1] == 3 and others.isna().all(axis=None)
    assert table.loc[table.effect == "delay", "delay.mix"].between(0, 1).all()
    with pytest.raises(BadInput, match="rows 0 to 59"):
        done.wet(60)
    with pytest.raises(BadInput, match="features=True"):
        _ = done.features


@settings(max_examples=5, deadline=None)
@given(count=st.integers(1, 2 * 32 + 1), names=st.permutations(["delay", "flanger", "clean"]))
def test_a_clip_depends_on_its_seed_effect_and_number_alone(sounds, tmp_path_factory, count, names):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARTIFACTS_DIR", str(tmp_path_factory.getbasetemp() / "shared"))
        alone = render(_config(sounds, 2 * 32 + 1, ("flanger",)))
        among = render(_config(sounds, count, tuple(names[:2]) + ("combo",)))
        if "flanger" not in names[:2]:
            return
    rows = np.flatnonzero(among.table.effect == "flanger")
    np.testing.assert_array_equal(among.spectrograms[rows], alone.spectrograms[:count])
    columns = list(alone.table)
    assert among.table.loc[rows, columns].reset_index(drop=True).equals(alone.table[:count])


def test_no_two_effects_share_a_seed_and_clean_has_the_config_s():
    names = [*effects.EFFECTS, "mda:Combo", "mda:Overdrive"]
    assert len({effect_seed(5, name) for name in names}) == len(names)
    assert effect_seed(5, "clean") == 5


def test_a_set_is_its_renderings_one_after_another_with_features():
    clips = render_set("speech", ("delay", "clean"), 3, seed=1)
    delay, clean = clips.parts
    assert clips.spectrograms.shape == (6, 96, 96) and len(clips.table) == 6
    assert clips.effects.tolist() == ["delay"] * 3 + ["clean"] * 3
    assert clips.key == [delay.folder.name, clean.folder.name]
    for row in range(3):
        expected = cepstral_features(fields(delay.wet(row)), fields(delay.dry(row)))
        assert np.array_equal(clips.features[row], expected)
        assert np.array_equal(clips.features[3 + row], clean.features[row])


def test_same_seed_same_bytes(sounds, monkeypatch, tmp_path):
    config = _config(sounds, 32, dry=True)
    results = []
    for place in ("one", "again"):
        monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / place))
        results.append(_files(render(config)))
    assert results[0] == results[1]
    assert set(results[0]) == {"spectrograms.npy", "dry.npy", "table.parquet"}
    other = _files(render(_config(sounds, 32, seed=1, dry=True)))
    assert other["spectrograms.npy"] != results[0]["spectrograms.npy"]


def test_a_rendering_is_found_again_until_a_file_of_its_corpus_changes(tmp_path):
    sounds = persons(tmp_path / "sounds")
    first = render(_config(sounds, 4))
    assert render(_config(sounds, 4)).folder == first.folder
    _write(sounds / "person0" / "a.wav", _sound(9, seconds=5))
    assert render(_config(sounds, 4)).folder != first.folder


def _child(code: str, *words: object) -> subprocess.Popen:
    """A process that runs code with these words and prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=environment, text=True, stdout=pipe, stderr=pipe, start_new_session=True
    )


GROWTH = """
import resource, sys
from lib.data.rendering import RenderConfig, render
peaks = []
for text in sys.argv[1:]:
    render(RenderConfig.model_validate_json(text))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_clips(sounds):
    picture = SpectrogramConfig(kind="stft", sample_rate_hz=RATE_HZ, n_fft=2048, hop_length=64)
    configs = [_config(sounds, count, ("clean",), spectrogram=picture) for count in (65, 650)]
    child = _child(GROWTH, *(config.model_dump_json() for config in configs))
    out, error = child.communicate(timeout=300)
    assert child.returncode == 0, error
    assert float(out) < 30  # MB; 585 clips more of 129 kB are 75 MB


KILLED = """
import sys, time
import lib.data.rendering as rendering
draw = rendering._draw

def slow(config, clips, row):
    if row == 70:
        print("at row 70", flush=True)
        time.sleep(600)
    return draw(config, clips, row)

rendering._draw = slow
rendering.render(rendering.RenderConfig.model_validate_json(sys.argv[1]))
"""


def test_a_killed_rendering_leaves_nothing_and_the_next_one_is_whole(sounds, monkeypatch, tmp_path):
    config, folder = _config(sounds, 50), tmp_path / "artifacts"
    child = _child(KILLED, config.model_dump_json())
    try:
        assert child.stdout.readline() == "at row 70\n", child.stderr.read()
    finally:
        os.killpg(child.pid, signal.SIGKILL)  # and the process that decodes its sound
        child.communicate()
    assert _finished(folder) == []
    done = _files(render(config))
    assert len(_finished(folder)) == 1
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "elsewhere"))
    assert _files(render(config)) == done


def test_a_full_disk_is_told_and_leaves_nothing(sounds, folder):
    config = _config(sounds, 2 * 32)  # 98 kB
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(BadInput, match="File too large while stage 'render'"):
            render(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _finished(folder) == []
    assert len(render(config).table) == 6 * 32


def test_a_broken_file_among_good_ones_is_left_out_with_one_warning(tmp_path):
    sounds = persons(tmp_path / "sounds")
    for group in range(4):
        _write(sounds / f"person{group}" / "nan.wav", _sound(group)[group:] * np.nan)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = render(_config(sounds, 2 * 32, ("clean",)))
    (message,) = [str(each.message) for each in caught if "skipped" in str(each.message)]
    assert "skipped 2 of 4 recordings" in message and "nan.wav" in message  # two persons train
    assert np.isfinite(done.spectrograms).all()
    assert set(done.table.recording) <= {f"person{group}/a.wav" for group in range(4)}


def test_what_cannot_be_rendered_is_refused_and_leaves_nothing(sounds, folder, monkeypatch):
    with pytest.raises(BadInput, match="n_fft=16384 needs at least 8193"):
        render(_config(sounds, spectrogram=SpectrogramConfig(sample_rate_hz=RATE_HZ, n_fft=16384)))
    loud = lambda audio, config: 1e4 * spectrogram(audio, config)  # noqa: E731
    monkeypatch.setattr(lib.data.rendering, "spectrogram", loud)
    with pytest.raises(BadInput, match="power = 0.3: values above 65504"):
        render(_config(sounds))
    assert _finished(folder) == []
