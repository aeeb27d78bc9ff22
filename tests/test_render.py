"""Renderings of a small folder of sound: pure, the same by any worker, flat in memory, whole or not there."""

import json
import os
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import lib.data.rendering
from lib import ROOT, BadInput
from lib.audio import cepstra, effects
from lib.audio.levels import level
from lib.audio.spectrograms import SpectrogramConfig, spectrogram
from lib.data import corpora
from lib.data.clips import ClipConfig, Clips
from lib.data.rendering import BLOCK, ROW_GROUP, SHARD, RenderConfig, render, shard, shards

RATE_HZ = 8000
PICTURE = SpectrogramConfig(sample_rate_hz=RATE_HZ, n_fft=512, hop_length=256, n_mels=16)


def _sound(seed: int, seconds: float = 4.0) -> np.ndarray:
    """A buzz of its own pitch with noise, (sample,)."""
    rng, t = np.random.default_rng(seed), np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * (100 + 20 * seed) * k * t) / k for k in range(1, 9))
    return (0.1 * buzz * (1.2 + np.sin(2 * np.pi * 3 * t)) + 0.01 * rng.normal(size=t.size)).astype(
        np.float32
    )


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


def _config(
    sounds, clips_per_effect=20, names=("clean", "delay", "overdrive"), seed=0, **fields
) -> RenderConfig:
    split = fields.pop("split", "train")
    clips = ClipConfig(
        corpus=f"folder:{sounds}", split=split, clip_s=0.5, sample_rate_hz=RATE_HZ, seed=seed
    )
    fields = {"spectrogram": PICTURE} | fields
    return RenderConfig(clips=clips, effects=names, clips_per_effect=clips_per_effect, **fields)


def _bytes(rendered) -> list[bytes]:
    return [(rendered.folder / name).read_bytes() for name in ("spectrograms.npy", "table.parquet")]


def _final(folder):
    return [
        path for path in folder.glob("render/*") if path.is_dir()
    ]  # glob's * takes hidden folders too


def test_pictures_and_table_are_those_of_each_clip(sounds):
    config = _config(sounds)
    done = render(config)
    pictures, table = done.spectrograms, done.table
    assert (
        isinstance(pictures, np.memmap)
        and pictures.dtype == np.float16
        and pictures.shape == (60, 16, 16)
    )
    assert table["index"].tolist() == list(range(60))
    assert table.effect.tolist() == ["clean"] * 20 + ["delay"] * 20 + ["overdrive"] * 20
    assert len(table[["recording", "start_s"]].drop_duplicates()) == 60  # classes share no clip
    clips = Clips(config.clips)
    for index in (0, 19, 20, 37, 59):
        dry, info = clips.clip(index)
        row = table.iloc[index]
        assert (row.recording, row.group, row.start_s) == (
            info["recording"],
            info["group"],
            info["start_s"],
        )
        np.testing.assert_array_equal(done.dry(index), dry)
        names = [parameter.name for parameter in effects.EFFECTS[row.effect].parameters]
        values = effects.denormalise(
            row.effect, {name: row[f"{row.effect}.{name}"] for name in names}
        )
        wet = effects.EFFECTS[row.effect].apply(
            dry, RATE_HZ, **values
        )  # again from the table's settings
        np.testing.assert_allclose(level(wet, RATE_HZ, -23.0), done.wet(index), atol=1e-4)
        np.testing.assert_allclose(
            spectrogram(done.wet(index), PICTURE), pictures[index], atol=0.05
        )  # float16
    others = table.loc[
        table.effect != "delay", [name for name in table if name.startswith("delay.")]
    ]
    assert others.shape[1] == 3 and others.isna().all(axis=None)
    assert table.loc[table.effect == "delay", "delay.mix"].between(0, 1).all()


def test_the_report_s_stft_lies_on_disk_as_it_is_computed(sounds):
    picture = SpectrogramConfig(kind="stft", sample_rate_hz=RATE_HZ, n_fft=512, hop_length=128)
    done = render(_config(sounds, 2, ("clean",), spectrogram=picture))
    for index in (0, 1):
        np.testing.assert_allclose(
            done.spectrograms[index], spectrogram(done.wet(index), picture), atol=5e-3
        )


def test_dry_pictures_are_those_of_a_clean_rendering(sounds):
    """Clips depend on their index alone, so the same indices under "clean" are the oracle."""
    done = render(_config(sounds, 5, ("delay", "overdrive"), dry=True))
    clean = render(_config(sounds, 10, ("clean",)))
    assert (
        isinstance(done.dry_spectrograms, np.memmap) and done.dry_spectrograms.dtype == np.float16
    )
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
def test_a_smaller_rendering_is_the_beginning_of_a_larger_one(
    sounds, tmp_path_factory, clips_per_effect
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARTIFACTS_DIR", str(tmp_path_factory.getbasetemp() / "shared"))
        small = render(_config(sounds, clips_per_effect, names=("flanger",)))
        large = render(_config(sounds, 2 * BLOCK + 1, names=("flanger",)))
    np.testing.assert_array_equal(small.spectrograms, large.spectrograms[:clips_per_effect])
    assert small.table.equals(large.table[:clips_per_effect])


def test_splits_share_no_person(sounds):
    people = [
        set(render(_config(sounds, 8, ("clean",), split=split)).table.group)
        for split in ("train", "test")
    ]
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


def _child(code: str, *words: object, root=None) -> subprocess.Popen:
    """A process that runs code with these words and prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"ARTIFACTS_DIR": str(root)} if root else {}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _said(child: subprocess.Popen) -> str:
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    return out


GROWTH = """
import resource, sys
import lib.data.rendering
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig, render
from lib.audio.spectrograms import SpectrogramConfig
lib.data.rendering.SHARD = int(sys.argv[1])
picture = SpectrogramConfig(kind="stft", sample_rate_hz=8000, n_fft=2048, hop_length=64)  # 129 kB a clip
peaks = []
for place, count in ((sys.argv[2], sys.argv[4]), (sys.argv[3], sys.argv[5])):
    clips = ClipConfig(corpus=f"folder:{place}", split="train", clip_s=0.5, sample_rate_hz=8000)
    render(RenderConfig(clips=clips, spectrogram=picture, clips_per_effect=int(count)))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [10_000, 64])
def test_memory_does_not_grow_with_the_number_of_clips(sounds, size):
    """Ten times as many, as one rendering and in shards."""
    assert (
        float(_said(_child(GROWTH, size, sounds, sounds, 65, 650))) < 30
    )  # MB; 585 clips more are 75 MB


@pytest.mark.slow
def test_memory_hardly_grows_with_the_number_of_recordings(sounds, tmp_path):
    """Their names are kept and none of their sound; ten times as many, which are one file under many names."""
    for folder, count in (("few", 50), ("many", 500)):
        for group in range(4):
            (tmp_path / folder / f"person{group}").mkdir(parents=True)
            for number in range(count):
                os.link(
                    sounds / f"person{group}" / "a.wav",
                    tmp_path / folder / f"person{group}" / f"{number}.wav",
                )
    grown = float(_said(_child(GROWTH, 64, tmp_path / "few", tmp_path / "many", 200, 200)))
    assert grown < 18  # MB, 10 kB a recording; as float32 the sound of 1,800 is 230 MB


def _in_shards(monkeypatch, root, config, workers=1):
    """A rendering in shards of 32 clips, in an artifact folder of its own."""
    monkeypatch.setenv("ARTIFACTS_DIR", str(root))
    monkeypatch.setattr(lib.data.rendering, "SHARD", 32)
    return render(config, workers=workers)


def _files(done) -> dict[str, bytes]:
    """Everything but the card, which tells times."""
    return {
        path.name: path.read_bytes() for path in done.folder.iterdir() if path.name != "card.json"
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_shards_change_no_byte_and_do_not_stay(sounds, monkeypatch, tmp_path, workers):
    monkeypatch.setattr(lib.data.rendering, "ROW_GROUP", 64)
    config = _config(sounds, 35, dry=True)
    whole = _files(render(config))
    done = _in_shards(monkeypatch, tmp_path / "shards", config, workers)
    assert _files(done) == whole and set(whole) == {"spectrograms.npy", "dry.npy", "table.parquet"}
    made = tmp_path / "shards" / "shard"
    if workers == 1:  # processes that are kept for the next call may have an earlier test's folder
        assert len(list(made.glob("*.lock"))) == 4
    assert not [path for path in made.glob("*") if path.is_dir()]
    assert ROW_GROUP % SHARD == SHARD % BLOCK == 0  # so that groups of rows are the same too


def test_prints_come_through_shards(monkeypatch, tmp_path):
    clips = ClipConfig(corpus="speech", split="all", clip_s=1.5)
    config = RenderConfig(clips=clips, effects=("delay",), clips_per_effect=40, prints=True)
    whole = _files(render(config))
    assert (
        _files(_in_shards(monkeypatch, tmp_path / "shards", config)) == whole
        and "prints.npy" in whole
    )


@pytest.mark.parametrize("layout", [{}, {"kind": "stft"}])
def test_a_print_leaves_pictures_as_they_are(layout):
    """It makes the log-mel spectrogram of both clips, which is then taken from it; another kind is not."""
    config = RenderConfig(
        clips=ClipConfig(corpus="speech", split="all"),
        spectrogram=SpectrogramConfig(**layout),
        effects=("delay",),
        clips_per_effect=3,
        dry=True,
    )
    alone, beside = render(config), render(config.model_copy(update={"prints": True}))
    assert np.array_equal(alone.spectrograms, beside.spectrograms)
    assert np.array_equal(alone.dry_spectrograms, beside.dry_spectrograms)
    for row in range(3):
        found = cepstra.cepstral_features(
            cepstra.fields(beside.wet(row)), cepstra.fields(beside.dry(row))
        )
        assert np.array_equal(beside.prints[row], found)


KILLED = """
import sys, time
import lib.data.rendering
from lib.data.rendering import RenderConfig, render
lib.data.rendering.SHARD, clip = 32, lib.data.rendering._clip

def slow(config, index, fingerprint):
    if index == 70:
        print("in the third shard", flush=True)
        time.sleep(600)
    return clip(config, index, fingerprint)

lib.data.rendering._clip = slow
render(RenderConfig.model_validate_json(sys.argv[1]))
"""


def test_a_killed_rendering_goes_on_with_its_finished_shards(sounds, monkeypatch, folder, tmp_path):
    config, computed, block = _config(sounds, 50), [], lib.data.rendering._block
    child = _child(KILLED, config.model_dump_json())
    try:
        assert child.stdout.readline() == "in the third shard\n", child.stderr.read()
    finally:
        child.kill()
        child.communicate()
    kept = {
        path: path.stat().st_mtime_ns
        for path in folder.glob("shard/*/card.json")
        if path.parent.name[0] != "."
    }
    assert len(kept) == 2 and not list(folder.glob("render/*/card.json"))
    monkeypatch.setattr(
        lib.data.rendering, "_block", lambda *asked: computed.append(asked[1]) or block(*asked)
    )
    done = _in_shards(monkeypatch, folder, config)
    assert computed == [range(64, 96), range(96, 128), range(128, 150)]
    assert not [path for path in folder.glob("shard/*") if path.is_dir()] and _final(folder) == [
        done.folder
    ]
    monkeypatch.undo()
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "whole"))
    assert _files(render(config)) == _files(done)


SHARED = """
import sys, time
from pathlib import Path
from lib.data.rendering import RenderConfig, shard
config = RenderConfig.model_validate_json(sys.argv[1])
Path(sys.argv[3]).touch()
while not Path(sys.argv[4]).exists():
    time.sleep(0.01)
print(shard(config, range(100, 150), sys.argv[2]))
"""


@pytest.mark.slow
def test_processes_and_machines_may_render_one_shard_at_once(sounds, monkeypatch, tmp_path):
    """Two on one disk, one on another: one folder on each, of the same name and with the same bytes."""
    config, recordings = _config(sounds, 50), corpora.fingerprint(f"folder:{sounds}")
    roots = [tmp_path / "one", tmp_path / "one", tmp_path / "other"]
    words = config.model_dump_json(), recordings
    children = [
        _child(SHARED, *words, tmp_path / f"ready{place}", tmp_path / "go", root=root)
        for place, root in enumerate(roots)
    ]
    while len(list(tmp_path.glob("ready*"))) < 3 and all(
        child.poll() is None for child in children
    ):
        time.sleep(0.05)
    (tmp_path / "go").touch()
    found = [_said(child).strip() for child in children]
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "here"))
    expected = shard(config, range(100, 150), recordings)
    assert {*found} == {str(root / "shard" / expected.name) for root in roots}
    for root in roots:
        (made,) = [
            path for path in (root / "shard").iterdir() if path.is_dir()
        ]  # nothing half made beside it
        assert {path.name for path in made.iterdir()} == {
            "card.json",
            "rows.json",
            "spectrograms.bytes",
        }
        for name in ("rows.json", "spectrograms.bytes"):
            assert (made / name).read_bytes() == (expected / name).read_bytes(), name
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "whole"))
    done = render(config)
    assert (expected / "spectrograms.bytes").read_bytes() == done.spectrograms[100:150].tobytes()
    rows, skipped = json.loads((expected / "rows.json").read_text())
    assert [row["index"] for row in rows] == list(range(100, 150)) and skipped == {}


def test_a_rendering_is_made_of_whole_shards_and_a_rest(sounds):
    assert shards(_config(sounds, 30), 32) == [range(0, 32), range(32, 64), range(64, 90)]
    assert shards(_config(sounds, 1, ("clean",)), 32) == [range(1)]


def test_what_shards_left_out_is_told_once_for_all(tmp_path, monkeypatch):
    sounds = _folder(tmp_path / "sounds")
    for group in range(4):
        soundfile.write(
            sounds / f"person{group}" / "nan.wav", _sound(group) * np.nan, RATE_HZ, subtype="FLOAT"
        )
    config = _config(sounds, 70, ("clean",))
    for rows in shards(config, 32)[:2]:  # by another process, say
        shard(config, rows, corpora.fingerprint(f"folder:{sounds}"))
    lib.data.rendering._clips.cache_clear()
    with pytest.warns(UserWarning, match="skipped 2 of 4 recordings") as told:
        _in_shards(monkeypatch, os.environ["ARTIFACTS_DIR"], config)
    assert len(told) == 1


def test_a_damaged_shard_is_named_and_made_again(sounds, monkeypatch, folder, tmp_path):
    config = _config(sounds, 30)
    made = shard(config, range(32, 64), corpora.fingerprint(f"folder:{sounds}"))
    content = (made / "spectrograms.bytes").read_bytes()
    (made / "spectrograms.bytes").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.warns(
        UserWarning, match=f"{made}/spectrograms.bytes: .*; stage 'shard' is computed again"
    ):
        done = _in_shards(monkeypatch, folder, config)
    monkeypatch.undo()
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "whole"))
    assert _files(render(config)) == _files(done)


def test_a_rendering_that_is_stopped_half_way_leaves_nothing(sounds, folder):
    def stop(iterable, total, label):
        yield next(iter(iterable))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(_config(sounds, 2 * BLOCK), progress=stop)
    assert _final(folder) == []


@pytest.mark.parametrize(("size", "stage"), [(10_000, "render"), (160, "shard"), (64, "render")])
def test_a_full_disk_is_told_and_leaves_nothing(sounds, folder, monkeypatch, size, stage):
    """Of a rendering of 98 kB: in one piece, in shards of 82 kB, and while shards of 33 kB are gathered."""
    config = _config(sounds, 2 * BLOCK)
    monkeypatch.setattr(lib.data.rendering, "SHARD", size)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(BadInput, match=f"File too large while stage '{stage}'"):
            render(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _final(folder) == []
    assert len(render(config).table) == 6 * BLOCK


def test_a_broken_file_among_good_ones_is_left_out_with_one_warning(tmp_path):
    sounds = _folder(tmp_path / "sounds")
    for group in range(4):
        soundfile.write(
            sounds / f"person{group}" / "nan.wav", _sound(group) * np.nan, RATE_HZ, subtype="FLOAT"
        )
    (sounds / "person0" / "empty.wav").touch()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = render(_config(sounds, 16, ("clean",)))
    told = [str(warning.message) for warning in caught]
    assert (
        len(told) == 2 and "empty.wav" in told[0] and "1 of 9" in told[0]
    )  # at listing, then at reading
    assert (
        "skipped 2 of 4 recordings" in told[1] and "nan.wav" in told[1]
    )  # two persons are in the training split
    assert np.isfinite(done.spectrograms).all() and set(done.table.recording) <= {
        f"person{g}/a.wav" for g in range(4)
    }


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
        ({"effcts": ("clean",)}, 'effcts.*did you mean "effects"'),
        (
            {"spectrogram": SpectrogramConfig()},
            "sample_rate_hz = 8000 of clips, 24000 of spectrogram",
        ),
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
        patch.setattr(
            "lib.data.rendering.spectrogram", lambda audio, config: 1e4 * spectrogram(audio, config)
        )
        with pytest.raises(BadInput, match="power = 0.3: values above 65504"):
            render(_config(sounds))
    assert _final(folder) == []
    with pytest.raises(BadInput, match="rows 0 to 59"):
        render(_config(sounds)).wet(60)
