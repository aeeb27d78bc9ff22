"""Effects from plug-ins: mda against two other LV2 hosts, bit for bit; VST3 by path; what is missing is told."""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from test_effects import RATE_HZ, difference, tune

from lib import ROOT, BadInput
from lib.audio import effects, plugins
from lib.audio.levels import loudness
from lib.data.rendering import RenderConfig, render

BUNDLE = Path("/usr/lib/lv2/mda.lv2")
needs_mda = pytest.mark.skipif(
    not (BUNDLE.is_dir() or os.environ.get("CI")), reason="apt-get install mda-lv2"
)
AUDIO = tune(1.0) / 4  # quiet: lv2proc clips at 1; 24000 samples are no whole number of blocks
NAMES = [name.removeprefix("mda:") for name in plugins.MDA]
ENVIRONMENT = os.environ | {
    "LV2_PATH": "/usr/lib/lv2",
    "MALLOC_PERTURB_": "255",
}  # new memory is zero there too
HOSTS = {  # command, samples a block, channels it wants, how it is told a control
    "lv2apply": (["lv2apply"], 1, 1, lambda symbol, value: ["-c", symbol, value]),
    "lv2proc": (
        ["lv2proc", "-n", "512"],
        512,
        2,
        lambda symbol, value: ["-c", f"{symbol}:{value}"],
    ),
}


def dirty_heap() -> None:
    """Free memory of all sizes that is not zero, as after hours of work."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    for size in [*range(16, 2048, 16), *(2**power for power in range(11, 18))]:
        chunks = [libc.malloc(ctypes.c_size_t(size)) for _ in range(16)]
        for chunk in chunks:
            ctypes.memset(chunk, 0x3F, size)
            libc.free(ctypes.c_void_p(chunk))


def settings(name: str, count: int) -> list[dict[str, float]]:
    """The middle, then random positions that float32 holds."""
    names = [p.name for p in effects.find_effect(f"mda:{name}").parameters]
    rng = np.random.default_rng(NAMES.index(name))
    drawn = [
        dict(zip(names, map(float, rng.random(len(names), np.float32)), strict=True))
        for _ in range(count - 1)
    ]
    return [dict.fromkeys(names, 0.5), *drawn]


def test_the_effects_of_the_report_are_offered():
    report = {
        "Delay",
        "Overdrive",
        "MultiBand",
        "Ambience",
        "ThruZero",
        "RingMod",
        "Combo",
        "Dynamics",
        "Leslie",
    }
    assert report <= set(NAMES)
    assert not set(plugins.MDA) & set(effects.EFFECTS) and len(effects.EFFECTS) == 12


@pytest.mark.slow
@needs_mda
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", NAMES)
def test_bits_are_those_of_another_host(host, name, tmp_path, monkeypatch):
    """Both write float32. lv2apply hands over one sample at a time, so it is met with such blocks."""
    command, block, channels, told = HOSTS[host]
    if shutil.which(host) is None and not os.environ.get("CI"):
        pytest.skip(f"no {host} here: apt-get install lilv-utils lv2proc")
    monkeypatch.setattr(plugins, "BLOCK", block)
    dry, wet = tmp_path / "dry.wav", tmp_path / "wet.wav"
    soundfile.write(dry, np.stack([AUDIO] * channels, axis=1), RATE_HZ, subtype="FLOAT")
    for values in settings(name, 4):
        controls = [text for symbol, value in values.items() for text in told(symbol, repr(value))]
        uri = f"http://drobilla.net/plugins/mda/{name}"
        run = [*command, "-i", str(dry), "-o", str(wet), *controls, uri]
        said = subprocess.run(run, capture_output=True, text=True, env=ENVIRONMENT)
        assert said.returncode == 0 and "clipping" not in said.stderr, said.stderr
        assert soundfile.info(wet).subtype == "FLOAT"
        expected = soundfile.read(wet, dtype="float32")[0].mean(axis=1)
        dirty_heap()
        ours = effects.find_effect(f"mda:{name}").apply(AUDIO, RATE_HZ, **values)
        assert ours.dtype == np.float32 and np.array_equal(ours, expected), values


@needs_mda
@pytest.mark.parametrize("name", NAMES)
def test_controls_are_those_of_the_package(name):
    text = (BUNDLE / f"{name}.ttl").read_text(encoding="utf-8")
    effect = effects.find_effect(f"mda:{name}")
    assert (effect.name, effect.label) == (f"mda:{name}", name) and "requiredFeature" not in text
    assert (
        len(effect.parameters)
        == text.count("lv2:ControlPort")
        == len(re.findall(r"lv2:minimum 0\.0", text))
    )
    assert len(effect.parameters) == len(re.findall(r"lv2:maximum 1\.0", text))
    assert all(
        (p.low, p.high, p.unit, p.scale) == (0, 1, "", "linear") and p.name.isidentifier()
        for p in effect.parameters
    )
    unit = {p.name: 0.25 for p in effect.parameters}
    assert effects.denormalise(effect.name, unit) == effects.normalise(effect.name, unit) == unit


@needs_mda
@pytest.mark.parametrize("name", [name for name in NAMES if name != "MultiBand"])
def test_random_settings_are_level_matched_finite_and_audible(name):
    for seed in range(3):
        dry = tune(seed=seed)
        wet, unit = effects.draw_wet(
            f"mda:{name}", dry, RATE_HZ, "random", np.random.default_rng(seed)
        )
        assert wet.shape == dry.shape and wet.dtype == np.float32 and np.isfinite(wet).all()
        assert (
            loudness(wet, RATE_HZ) == pytest.approx(-23, abs=0.05)
            and difference(wet, dry) > effects.EQUAL
        )
        assert unit.keys() == {p.name for p in effects.find_effect(f"mda:{name}").parameters}


def all_bytes(names: list[str]) -> dict[str, str]:
    """Hash of every effect on the tune, computed in an order."""
    wet = {
        n: effects.find_effect(f"mda:{n}").apply(AUDIO, RATE_HZ, **settings(n, 2)[1]) for n in names
    }
    return {name: hashlib.sha256(samples.tobytes()).hexdigest() for name, samples in wet.items()}


@needs_mda
def test_same_bytes_twice_in_any_order_and_process():
    before, first = AUDIO.copy(), all_bytes(NAMES)
    assert all_bytes(NAMES[::-1]) == first and np.array_equal(AUDIO, before)
    code = "from test_plugins import *; print(*all_bytes(NAMES).values())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "tests",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.stdout.split() == list(first.values()), run.stderr


@needs_mda
def test_a_silent_plug_in_is_told():
    with pytest.raises(BadInput, match="'mda:MultiBand' with fixed settings: .*silent"):
        effects.draw_wet("mda:MultiBand", tune(), RATE_HZ, "fixed", np.random.default_rng(0))
    multiband = effects.find_effect(
        "mda:MultiBand"
    )  # it listens to a single band, silent in mono, unless listen is near 1
    values = dict.fromkeys((p.name for p in multiband.parameters), 0.5) | {"listen": 1.0}
    assert np.abs(multiband.apply(AUDIO, RATE_HZ, **values)).max() > 0.01


@needs_mda
def test_a_rendering_has_their_columns_from_any_worker(tmp_path, monkeypatch):
    for person in range(4):
        (tmp_path / f"sounds/{person}").mkdir(parents=True)
        soundfile.write(
            tmp_path / f"sounds/{person}/a.wav", tune(4.0, seed=person), RATE_HZ, subtype="FLOAT"
        )
    clips = {"corpus": f"folder:{tmp_path}/sounds", "split": "train", "clip_s": 0.5, "seed": 0}
    config = RenderConfig(clips=clips, effects=("clean", "mda:Overdrive"), clips_per_effect=20)
    made = []
    for workers in (1, 2):
        monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / str(workers)))
        made.append(render(config, workers=workers))
    columns = [column for column in made[0].table.columns if ":" in column]
    assert columns == [f"mda:Overdrive.{name}" for name in ("drive", "muffle", "output")]
    assert made[0].table[columns].notna().all(axis=1).tolist() == [False] * 20 + [True] * 20
    assert ":" not in made[0].folder.name
    assert made[0].table.equals(made[1].table) and np.array_equal(
        made[0].spectrograms, made[1].spectrograms
    )


def test_a_missing_package_is_told_and_the_rest_works(tmp_path, monkeypatch):
    plugins.load_plugin.cache_clear()
    monkeypatch.setenv("LV2_PATH", str(tmp_path))
    message = rf"'mda:Delay': no mda.lv2/Delay.so in {tmp_path}; install the package mda-lv2 .*built-in effects work"
    with pytest.raises(BadInput, match=message):
        effects.find_effect("mda:Delay")
    with pytest.raises(BadInput, match="install the package mda-lv2"):
        RenderConfig(
            clips={"corpus": "speech", "split": "train"}, effects=("mda:Delay",), clips_per_effect=1
        )
    assert effects.draw_wet("delay", tune(), RATE_HZ, "fixed", np.random.default_rng(0))[0].any()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mda:Overdriv", "mda:Overdrive"),
        ("mda:overdrive", "mda:Overdrive"),
        ("mda:Dither", "mda:"),
        ("delai", "delay"),
    ],
)
def test_an_unknown_name_gets_a_hint(name, hint):
    message = rf"effect '{name}' is unknown; did you mean \"{hint}"
    with pytest.raises(BadInput, match=message):
        effects.find_effect(name)


def test_a_vst3_that_is_none_is_told(tmp_path):
    (tmp_path / "text.vst3").write_text("no plug-in")
    for path, why in (
        (tmp_path / "none.vst3", "not found"),
        (tmp_path / "text.vst3", "unsupported plugin format"),
    ):
        with pytest.raises(
            BadInput, match=rf"effect 'vst3:{path}': .*{why}.*give the path of a VST3 effect"
        ):
            effects.find_effect(f"vst3:{path}")


def test_a_vst3_is_set_by_raw_values_of_its_automatable_numbers(monkeypatch):
    """With a stand-in for the plug-in, as no Debian package has a VST3."""

    class Plugin:
        name = "Gain"
        parameters = {
            "gain": SimpleNamespace(type=float, is_automatable=True, raw_value=0.0),
            "mode": SimpleNamespace(type=str, is_automatable=True, raw_value=0.0),
            "meter": SimpleNamespace(type=float, is_automatable=False, raw_value=0.0),
        }

        def __call__(self, audio, rate_hz, reset):
            assert audio.shape == (2, AUDIO.size) and rate_hz == RATE_HZ and reset
            return audio * np.float32([[self.parameters["gain"].raw_value], [0]])

    monkeypatch.setattr(plugins.pb, "load_plugin", lambda path: Plugin())
    effect = effects.find_effect("vst3:/any/Gain.vst3")
    assert effect.label == "Gain" and [(p.name, p.low, p.high) for p in effect.parameters] == [
        ("gain", 0, 1)
    ]
    assert np.array_equal(effect.apply(AUDIO, RATE_HZ, gain=0.5), AUDIO / 4)
    assert effects.find_effect("vst3:/any/Gain.vst3") is effect  # loaded once
    plugins.load_plugin.cache_clear()
