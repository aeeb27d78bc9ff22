"""Effects from plug-ins: mda bit-equal to two other LV2 hosts, VST3 by path, clear errors."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from test_effects import RATE_HZ, tune

from lib import BadInput
from lib.audio import effects, plugins

BUNDLE = Path("/usr/lib/lv2/mda.lv2")
needs_mda = pytest.mark.skipif(
    not (BUNDLE.is_dir() or os.environ.get("CI")), reason="apt-get install mda-lv2"
)
AUDIO = tune() / 4  # quiet: lv2proc clips at 1; 24000 samples are no whole number of blocks
NAMES = [name.removeprefix("mda:") for name in plugins.MDA]
# MALLOC_PERTURB_ lets new memory be zero in the other hosts, too.
ENVIRONMENT = os.environ | {"LV2_PATH": "/usr/lib/lv2", "MALLOC_PERTURB_": "255"}
HOSTS = {  # command, samples per block, channels, arguments that set a control
    "lv2apply": (["lv2apply"], 1, 1, "-c {} {}"),
    "lv2proc": (["lv2proc", "-n", "512"], 512, 2, "-c {}:{}"),
}


def dirty_heap() -> None:
    """Leave free memory of all sizes that is not zero, as after hours of work."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    for size in [*range(16, 2048, 16), *(2**power for power in range(11, 18))]:
        for chunk in [libc.malloc(ctypes.c_size_t(size)) for _ in range(16)]:
            ctypes.memset(chunk, 0x3F, size)
            libc.free(ctypes.c_void_p(chunk))


def settings(name: str, count: int) -> list[dict[str, float]]:
    """The middle, then random positions that float32 holds."""
    names = [p.name for p in effects.find_effect(f"mda:{name}").parameters]
    rng = np.random.default_rng(NAMES.index(name))
    rows = [map(float, rng.random(len(names), np.float32)) for _ in range(count - 1)]
    return [dict.fromkeys(names, 0.5), *(dict(zip(names, row, strict=True)) for row in rows)]


def test_the_effects_of_the_report_are_offered():
    report = "Delay Overdrive MultiBand Ambience ThruZero RingMod Combo Dynamics Leslie"
    assert set(report.split()) <= set(NAMES) and not set(plugins.MDA) & set(effects.EFFECTS)


@pytest.mark.slow
@needs_mda
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", NAMES)
def test_bits_are_those_of_another_host(host, name, tmp_path, monkeypatch):
    """Both write float32. lv2apply hands over one sample at a time, and so do we beside it."""
    command, block, channels, argument = HOSTS[host]
    if shutil.which(host) is None and not os.environ.get("CI"):
        pytest.skip(f"no {host} here: apt-get install lilv-utils lv2proc")
    monkeypatch.setattr(plugins, "BLOCK", block)
    dry, wet = tmp_path / "dry.wav", tmp_path / "wet.wav"
    soundfile.write(dry, np.stack([AUDIO] * channels, axis=1), RATE_HZ, subtype="FLOAT")
    for values in settings(name, 4):
        controls = " ".join(argument.format(*pair) for pair in values.items()).split()
        uri = f"http://drobilla.net/plugins/mda/{name}"
        arguments = [*command, "-i", str(dry), "-o", str(wet), *controls, uri]
        run = subprocess.run(arguments, capture_output=True, text=True, env=ENVIRONMENT)
        assert run.returncode == 0 and "clipping" not in run.stderr, run.stderr
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
    for mark in ("lv2:ControlPort", "lv2:minimum 0.0", "lv2:maximum 1.0"):
        assert text.count(mark) == len(effect.parameters)
    assert all((p.low, p.high, p.scale) == (0, 1, "linear") for p in effect.parameters)
    assert all(p.name.isidentifier() for p in effect.parameters)


@needs_mda
def test_same_bytes_in_any_order():
    def heard(names):
        found = {name: effects.find_effect(f"mda:{name}") for name in names}
        values = {name: settings(name, 2)[1] for name in names}
        return {n: found[n].apply(AUDIO, RATE_HZ, **values[n]).tobytes() for n in names}

    before = AUDIO.copy()
    assert heard(NAMES[::-1]) == heard(NAMES) and np.array_equal(AUDIO, before)


def test_a_missing_package_is_named_and_the_rest_works(tmp_path, monkeypatch):
    plugins.load_plugin.cache_clear()
    monkeypatch.setenv("LV2_PATH", str(tmp_path))
    message = rf"'mda:Delay': no mda.lv2/Delay.so in {tmp_path}; .*apt-get install mda.*built-in"
    with pytest.raises(BadInput, match=message):
        effects.find_effect("mda:Delay")
    assert effects.apply_at("delay", tune(), RATE_HZ).any()


def test_a_vst3_is_set_by_raw_values_of_its_automatable_numbers(monkeypatch):
    """A stand-in takes the place of the plug-in, as no Debian package has a VST3."""

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
    assert effect.label == "Gain"
    assert [(p.name, p.low, p.high) for p in effect.parameters] == [("gain", 0, 1)]
    assert np.array_equal(effect.apply(AUDIO, RATE_HZ, gain=0.5), AUDIO / 4)
    assert effects.find_effect("vst3:/any/Gain.vst3") is effect  # loaded once
    plugins.load_plugin.cache_clear()
