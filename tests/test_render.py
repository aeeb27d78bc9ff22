"""Renderings of a small folder of sound: pure, the same by any worker, flat in memory, whole or not there."""

import os
import resource
import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import ROOT, BadInput, effects
from lib.clips import ClipConfig, Clips, level
from lib.render import BLOCK, RenderConfig, render
from lib.spectrograms import SpectrogramConfig, spectrogram

RATE_HZ = 8000
PICTURE = SpectrogramConfig(sample_rate_hz=RATE_HZ, n_fft=512, hop_length=256, n_mels=16)


def _sound(seed: int, seconds: float = 4.0) -> np.ndarray:
    """A buzz of its own pitch with noise, (sample,)."""
    rng, t = np.random.default_rng(seed), np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * (100 + 20 * seed) * k * t) / k for k in range(1, 9))
    return (0.1 * buzz * (1.2 + np.sin(2 * np.pi * 3 * t)) + 0.01 * rng.normal(size=t.size)).astype(np.float32)


def _folder(path, groups: int = 4):
    for group in range(groups):
        (path / f"person{group}").mkdir(parents=True)
        soundfile.write(path / f"person{group}" / "a.wav", _sound(group), RATE_HZ, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return _folder(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts"


def _config(sounds, clips_per_effect=20, names=("clean", "delay", "overdrive"), seed=0, **fields) -> RenderConfig:
    split = fields.pop("split", "train")
    clips = ClipConfig(corpus=f"folder:{sounds}", split=split, clip_s=0.5, sample_rate_hz=RATE_HZ, seed=seed)
    fields = {"spectrogram": PICTURE} | fields
    return RenderConfig(clips=clips, effects=names, clips_per_effect=clips_per_effect, **fields)


def _bytes(rendered) -> list[bytes]:
    return [(rendered.folder / name).read_bytes() for name in ("spectrograms.npy", "table.parquet")]


def _final(folder):
    return [path for path in folder.glob("render/*") if path.is_dir()]  # glob's * takes hidden folders too


def test_pictures_and_table_are_those_of_each_clip(sounds):
    config = _config(sounds)
    done = render(config)
    pictures, table = done.spectrograms, done.table
    assert isinstance(pictures, np.memmap) and pictures.dtype == np.float16 and pictures.shape == (60, 16, 16)
    assert table["index"].tolist() == list(range(60))
    assert table.effect.tolist() == ["clean"] * 20 + ["delay"] * 20 + ["overdrive"] * 20
    assert len(table[["recording", "start_s"]].drop_duplicates()) == 60  # classes share no clip
    clips = Clips(config.clips)
    for index in (0, 19, 20, 37, 59):
        dry, info = clips.clip(index)
        row = table.iloc[index]
        assert (row.recording, row.group, row.start_s) == (info["recording"], info["group"], info["start_s"])
        np.testing.assert_array_equal(done.dry(index), dry)
        names = [parameter.name for parameter in effects.EFFECTS[row.effect].parameters]
        values = effects.denormalise(row.effect, {name: row[f"{row.effect}.{name}"] for name in names})
        wet = effects.EFFECTS[row.effect].apply(dry, RATE_HZ, **values)  # again from the table's settings
        np.testing.assert_allclose(level(wet, RATE_HZ, -23.0), done.wet(index), atol=1e-4)
        np.testing.assert_allclose(spectrogram(done.wet(index), PICTURE), pictures[index], atol=0.05)  # float16
    others = table.loc[table.effect != "delay", [name for name in table if name.startswith("delay.")]]
    assert others.shape[1] == 3 and others.isna().all(axis=None)
    assert table.loc[table.effect == "delay", "delay.mix"].between(0, 1).all()


def test_the_report_s_stft_lies_on_disk_as_it_is_computed(sounds):
    picture = SpectrogramConfig(kind="stft", sample_rate_hz=RATE_HZ, n_fft=512, hop_length=128)
    done = render(_config(sounds, 2, ("clean",), spectrogram=picture))
    for index in (0, 1):
        np.testing.assert_allclose(done.spectrograms[index], spectrogram(done.wet(index), picture), atol=5e-3)


def test_dry_pictures_are_those_of_a_clean_rendering(sounds):
    """Clips depend on their index alone, so the same indices under "clean" are the oracle."""
    done = render(_config(sounds, 5, ("delay", "overdrive"), dry=True))
    clean = render(_config(sounds, 10, ("clean",)))
    assert isinstance(done.dry_spectrograms, np.memmap) and done.dry_spectrograms.dtype == np.float16
    np.testing.assert_array_equal(done.dry_spectrograms, clean.spectrograms)
    assert not np.array_equal(done.spectrograms, done.dry_spectrograms)
    plain = render(_config(sounds, 5, ("delay", "overdrive")))
    np.testing.assert_array_equal(plain.spectrograms, done.spectrograms)
    with pytest.raises(BadInput, match="dry=True"):
        _ = plain.dry_spectrograms


def test_same_seed_same_bytes_with_any_number_of_workers(sounds, monkeypatch, tmp_path):
    config, results = _config(sounds, clips_per_effect=BLOCK), []
    for place, workers in (("one", 1), ("again", 1), ("two", 2)):
        monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / place))
        results.append(_bytes(render(config, workers=workers)))
    assert results[0] == results[1] == results[2]
    other = render(_config(sounds, clips_per_effect=BLOCK, seed=1))
    assert _bytes(other)[0] != results[0][0]


@settings(max_examples=6, deadline=None)
@given(clips_per_effect=st.integers(1, 2 * BLOCK + 1))
def test_a_smaller_rendering_is_the_beginning_of_a_larger_one(sounds, tmp_path_factory, clips_per_effect):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARTIFACTS_DIR", str(tmp_path_factory.getbasetemp() / "shared"))
        small = render(_config(sounds, clips_per_effect, names=("flanger",)))
        large = render(_config(sounds, 2 * BLOCK + 1, names=("flanger",)))
    np.testing.assert_array_equal(small.spectrograms, large.spectrograms[:clips_per_effect])
    assert small.table.equals(large.table[:clips_per_effect])


def test_splits_share_no_person(sounds):
    people = [set(render(_config(sounds, 8, ("clean",), split=split)).table.group) for split in ("train", "test")]
    assert people[0] and people[1] and not people[0] & people[1]


def test_a_rendering_is_found_again_until_a_file_of_its_corpus_changes(tmp_path):
    sounds = _folder(tmp_path / "sounds")
    first = render(_config(sounds, 4))
    assert render(_config(sounds, 4)).folder == first.folder
    soundfile.write(sounds / "person0" / "a.wav", _sound(9, seconds=5), RATE_HZ, subtype="FLOAT")
    assert render(_config(sounds, 4)).folder != first.folder


def test_progress_sees_every_block_and_only_when_something_is_computed(sounds):
    seen = []

    def progress(iterable, total, label):
        seen.append((total, label))
        yield from iterable

    for _ in range(2):
        render(_config(sounds, 2 * BLOCK, ("clean",)), progress=progress)
    assert len(seen) == 1 and seen[0][0] == 2 and "train" in seen[0][1]


def test_memory_does_not_grow_with_the_number_of_clips(sounds, tmp_path):
    code = """
import resource, sys
from lib.clips import ClipConfig
from lib.render import RenderConfig, render
from lib.spectrograms import SpectrogramConfig
clips = ClipConfig(corpus=f"folder:{sys.argv[1]}", split="train", clip_s=0.5, sample_rate_hz=8000)
picture = SpectrogramConfig(kind="stft", sample_rate_hz=8000, n_fft=2048, hop_length=64)  # 129 kB a clip
peaks = []
for count in (50, 500):
    render(RenderConfig(clips=clips, spectrogram=picture, clips_per_effect=count))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
print(peaks[1] - peaks[0])
"""
    environment = os.environ | {"ARTIFACTS_DIR": str(tmp_path / "child"), "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code, str(sounds)], env=environment, capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 30  # MB; 450 clips more are 58 MB


def test_a_rendering_that_is_stopped_half_way_leaves_nothing(sounds, folder):
    def stop(iterable, total, label):
        yield next(iter(iterable))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(_config(sounds, 2 * BLOCK), progress=stop)
    assert _final(folder) == []


def test_a_full_disk_is_told_and_leaves_nothing(sounds, folder):
    config = _config(sounds, 2 * BLOCK)  # 98 kB
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(BadInput, match="File too large while stage 'render'"):
            render(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _final(folder) == []
    assert len(render(config).table) == 6 * BLOCK


def test_a_broken_file_among_good_ones_is_left_out_with_one_warning(tmp_path):
    sounds = _folder(tmp_path / "sounds")
    for group in range(4):
        soundfile.write(sounds / f"person{group}" / "nan.wav", _sound(group) * np.nan, RATE_HZ, subtype="FLOAT")
    (sounds / "person0" / "empty.wav").touch()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = render(_config(sounds, 16, ("clean",)))
    told = [str(warning.message) for warning in caught]
    assert len(told) == 2 and "empty.wav" in told[0] and "1 of 9" in told[0]  # at listing, then at reading
    assert "2 recordings skipped" in told[1] and "nan.wav" in told[1]  # two persons are in the training split
    assert np.isfinite(done.spectrograms).all() and set(done.table.recording) <= {f"person{g}/a.wav" for g in range(4)}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_corpus_of_silence_is_an_error_and_leaves_nothing(tmp_path, folder, workers):
    sounds = _folder(tmp_path / "sounds")
    for path in sounds.glob("*/*.wav"):
        soundfile.write(path, np.zeros(4 * RATE_HZ), RATE_HZ)
    with pytest.raises(BadInput, match="2 of 2 recordings are of no use.*silent"):
        render(_config(sounds, 8), workers=workers)
    assert _final(folder) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clips_per_effect": 0}, "clips_per_effect = 0: no clips for clean, delay"),
        ({"clips_per_effect": "many"}, "clips_per_effect = 'many'"),
        ({"names": ()}, "effects = ()"),
        ({"names": ("clean", "clean")}, "twice"),
        ({"names": ("flangr",)}, "did you mean 'flanger'"),
        ({"settings": "wild"}, "settings = 'wild'"),
        ({"effcts": ("clean",)}, "effcts.*Fields: clips, spectrogram, effects"),
        ({"spectrogram": SpectrogramConfig()}, "sample_rate_hz = 8000 of clips, 24000 of spectrogram"),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_name(sounds, fields, message):
    with pytest.raises(BadInput, match=message.replace("()", r"\(\)")):
        _config(sounds, **fields)


def test_what_cannot_be_rendered_is_refused_and_leaves_nothing(sounds, folder, monkeypatch):
    with pytest.raises(BadInput, match="workers = 0"):
        render(_config(sounds), workers=0)
    with pytest.raises(BadInput, match="n_fft=16384 needs at least 8193"):
        render(_config(sounds, spectrogram=SpectrogramConfig(sample_rate_hz=RATE_HZ, n_fft=16384)))
    with monkeypatch.context() as patch:
        patch.setattr("lib.render.spectrogram", lambda audio, config: 1e4 * spectrogram(audio, config))
        with pytest.raises(BadInput, match="power = 0.3: values above 65504"):
            render(_config(sounds))
    assert _final(folder) == []
    with pytest.raises(BadInput, match="rows 0 to 59"):
        render(_config(sounds)).wet(60)
