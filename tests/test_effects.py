"""Effects: oracles in numpy, level and audibility, no dry clip under an effect's label."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import BadInput
from lib.audio import effects
from lib.audio.effects import EFFECTS, REPORT_ORDER
from lib.audio.levels import level, loudness

RATE_HZ = 24000
WET = [name for name in EFFECTS if name != "clean"]
T = np.arange(RATE_HZ) / RATE_HZ


def tune(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """A voice-like tone with a syllable rhythm and some noise, at -23 LUFS."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20))
    noise = 0.1 * np.random.default_rng(seed).standard_normal(t.size)
    return level((tone + noise) * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * t)), RATE_HZ, -23)


AUDIO = tune()


def difference(wet: np.ndarray, dry: np.ndarray) -> float:
    return float(np.sqrt(np.square(wet - dry).mean() / np.square(dry).mean()))


def draw(name: str, kind: str = "random", seed: int = 0, audio: np.ndarray = AUDIO, **known):
    return effects.draw_wet(name, audio, RATE_HZ, kind, np.random.default_rng(seed), **known)


def test_the_classes_and_their_controls():
    assert all(effect.name == name for name, effect in EFFECTS.items())
    assert REPORT_ORDER == tuple(EFFECTS)[1:6] and len(EFFECTS) == 12
    table = effects.controls_table()
    assert (table.low < table.high).all() and set(table.scale) == {"linear", "log"}
    assert (table.low[table.scale == "log"] > 0).all()


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(WET), data=st.data())
def test_values_lie_in_their_ranges_and_say_their_positions(name, data):
    unit = {p.name: data.draw(st.floats(0, 1)) for p in EFFECTS[name].parameters}
    values = effects.denormalise(name, unit)
    for p in EFFECTS[name].parameters:
        low, high, value = p.low, p.high, values[p.name]
        assert low - 1e-9 <= value <= high + 1e-9
        if p.scale == "log":
            low, high, value = np.log([low, high, value])
        assert (value - low) / (high - low) == pytest.approx(unit[p.name], abs=1e-9)


def test_delay_equals_numpy():
    wet = effects.delay(AUDIO, RATE_HZ, delay_ms=100, feedback=0.4, mix=0.3)
    line, d = np.zeros_like(AUDIO), 2400
    for n in range(d, AUDIO.size):
        line[n] = AUDIO[n - d] + 0.4 * line[n - d]
    np.testing.assert_allclose(wet, 0.7 * AUDIO + 0.3 * line, atol=1e-5)


def test_ring_modulator_moves_a_tone_to_both_sides():
    tone = np.sin(2 * np.pi * 1000 * T)
    wet = effects.ring_modulator(tone, RATE_HZ, frequency_hz=300, mix=1.0)
    np.testing.assert_allclose(wet, tone * np.sin(2 * np.pi * 300 * T), atol=1e-9)
    spectrum = np.abs(np.fft.rfft(wet)) / RATE_HZ
    assert set(np.flatnonzero(spectrum > 0.01)) == {700, 1300}


def test_overdrive_saturates_like_tanh():
    sine = 0.1 * np.sin(2 * np.pi * 20 * T).astype(np.float32)
    wet = effects.overdrive(sine, RATE_HZ, drive_db=40, muffle_hz=10000)
    np.testing.assert_allclose(wet, np.tanh(100 * sine), atol=0.06)  # the low pass rounds the edges


@settings(max_examples=10, deadline=None)
@given(low_hz=st.floats(120, 500), high_hz=st.floats(1500, 5000))
def test_bands_sum_to_the_magnitude_of_the_input(low_hz, high_hz):
    impulse = np.zeros(RATE_HZ)
    impulse[0] = 1
    bands = effects.crossover(impulse, RATE_HZ, low_hz, high_hz)
    np.testing.assert_allclose(np.abs(np.fft.rfft(sum(bands))), 1, atol=1e-3)
    low, middle, high = (np.abs(np.fft.rfft(band)) for band in bands)
    assert low[round(low_hz)] == pytest.approx(0.5, abs=0.05)  # -6 dB at the crossovers
    assert high[round(high_hz)] == pytest.approx(0.5, abs=0.05)
    assert low[-1] < 1e-4 and high[20] < 1e-4 and middle[round((low_hz * high_hz) ** 0.5)] > 0.8


def test_multiband_gives_the_outer_bands_their_gain():
    """The tones lie well inside the bands, and a ratio of 1 compresses nothing."""
    tones = {60: -6.0, 900: 0.0, 9000: 4.0}  # Hz: dB
    audio = sum(np.sin(2 * np.pi * hz * T) for hz in tones).astype(np.float32) / 10
    wet = effects.multiband(audio, RATE_HZ, 300.0, 2500.0, -20.0, 1.0, 1.0, 100.0, -6.0, 4.0)
    steady = slice(RATE_HZ // 2, None)  # the filters have settled; half a second is whole periods
    dry, changed = (np.abs(np.fft.rfft(x[steady])) for x in (audio, wet))
    for hz, gain_db in tones.items():
        assert 20 * np.log10(changed[hz // 2] / dry[hz // 2]) == pytest.approx(gain_db, abs=0.1)


def test_a_compressor_narrows_the_range_of_levels():
    steps = np.repeat([0.01, 0.3], 12000) * np.sin(2 * np.pi * 500 * T)
    wet = effects.compressor(steps.astype(np.float32), RATE_HZ, -40, 10, 1, 100)
    dry_db, wet_db = (20 * np.log10(x[20000:].std() / x[6000:12000].std()) for x in (steps, wet))
    assert dry_db == pytest.approx(29.5, abs=0.1) and wet_db < 6


def test_ambience_mixes_the_dry_clip_with_a_room_as_loud():
    dry, half, room = (effects.ambience(AUDIO, RATE_HZ, 0.5, 0.3, mix) for mix in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(dry, AUDIO)
    np.testing.assert_allclose(half, 0.5 * AUDIO + 0.5 * room, atol=1e-6)
    assert loudness(room, RATE_HZ) == pytest.approx(loudness(AUDIO, RATE_HZ), abs=0.01)
    start = slice(round(0.02 * RATE_HZ))  # the shortest way through Freeverb takes 25 ms
    assert AUDIO[start].any() and not room[start].any()


def test_bitcrush_leaves_few_values_and_holds_them():
    wet = effects.bitcrush(AUDIO, RATE_HZ, hold_hz=6000, bits=4)
    np.testing.assert_allclose(wet * 16, np.round(wet * 16), atol=1e-6)
    assert np.array_equal(wet.reshape(-1, 4), np.repeat(wet[::4, None], 4, axis=1))


def test_combo_bends_the_upper_half_of_a_wave():
    wave = (0.1 * np.sin(2 * np.pi * 400 * T)).astype(np.float32)
    wet = effects.combo(wave, RATE_HZ, 60.0, 20.0, 0.6, 0.0, 6000.0)[RATE_HZ // 2 :]
    assert np.mean((wet - wet.mean()) ** 3) < -0.1 * wet.std() ** 3  # skewed by the bias


@pytest.mark.parametrize("name", WET)
@pytest.mark.parametrize("kind", ["fixed", "random"])
def test_every_effect_is_level_matched_finite_and_audible(name, kind):
    for seed in range(3):
        dry = tune(seed=seed)
        before = dry.copy()
        wet, unit = draw(name, kind, seed, dry)
        assert wet.shape == dry.shape and wet.dtype == np.float32 and np.isfinite(wet).all()
        assert loudness(wet, RATE_HZ) == pytest.approx(-23, abs=0.05)
        assert difference(wet, dry) > 0.05 and np.array_equal(dry, before)
        assert list(unit) == [p.name for p in EFFECTS[name].parameters]
        random = list(np.random.default_rng(seed).random(len(unit)))
        assert list(unit.values()) == (random if kind == "random" else [0.5] * len(unit))
        given = unit if kind == "random" else {}  # what is not given stands in the middle
        np.testing.assert_array_equal(effects.apply_at(name, dry, RATE_HZ, **given), wet)


@pytest.mark.parametrize("lufs", [None, -30.0])
def test_a_known_loudness_takes_the_place_of_the_measured_one(lufs):
    measured, unit = draw("phaser")
    known, same = draw("phaser", loudness_lufs=lufs or loudness(AUDIO, RATE_HZ))
    assert same == unit and loudness(known, RATE_HZ) == pytest.approx(lufs or -23, abs=0.05)
    assert np.array_equal(known, measured) == (lufs is None)


@pytest.mark.parametrize("name", WET)
def test_extreme_settings_are_audible(name):
    names = [p.name for p in EFFECTS[name].parameters]
    corners = list(itertools.product((0.0, 1.0), repeat=len(names)))
    for corner in corners[:: max(1, len(corners) // 16)] + corners[-1:]:
        wet = effects.apply_at(name, AUDIO, RATE_HZ, **dict(zip(names, corner, strict=True)))
        assert difference(wet, AUDIO) > 0.05, corner


@pytest.mark.parametrize(
    ("name", "parameter"), [(e.name, p.name) for e in EFFECTS.values() for p in e.parameters]
)
def test_every_parameter_is_audible(name, parameter):
    low, high = (effects.apply_at(name, AUDIO, RATE_HZ, **{parameter: u}) for u in (0.1, 0.9))
    assert difference(low, high) > 2e-3


@pytest.mark.parametrize("name", WET)
def test_cut_offs_stay_below_half_a_low_rate(name):
    audio = level(np.random.default_rng(0).standard_normal(8000), 8000, -23)
    wet = effects.apply_at(name, audio, 8000, **{p.name: 1.0 for p in EFFECTS[name].parameters})
    assert np.isfinite(wet).all() and difference(wet, audio) > 1e-3


def test_clean_is_a_copy_of_the_dry_clip():
    wet, unit = draw("clean", audio=AUDIO.astype(np.float64))
    assert np.array_equal(wet, AUDIO) and wet.dtype == np.float32 and unit == {}
    assert not np.shares_memory(draw("clean")[0], AUDIO)


def test_same_bytes_in_any_order():
    first = {name: draw(name, seed=5)[0].tobytes() for name in EFFECTS}
    assert {name: draw(name, seed=5)[0].tobytes() for name in reversed(EFFECTS)} == first


def replace_delay(monkeypatch, function) -> list[dict]:
    """Let "delay" be a function of audio and the number of the call; returns the calls' values."""
    calls = []

    def apply(audio, rate_hz, **values):
        calls.append(values)
        return function(audio, len(calls))

    monkeypatch.setitem(EFFECTS, "delay", replace(EFFECTS["delay"], apply=apply))
    return calls


FAULTS = {
    "silent": lambda audio, call: 0 * audio,
    "not finite": lambda audio, call: np.nan * audio,
    "equal": lambda audio, call: audio / 2,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("kind", "draws"), [("random", 10), ("fixed", 1)])
def test_no_clean_or_silent_audio_under_an_effects_label(monkeypatch, fault, kind, draws):
    calls = replace_delay(monkeypatch, FAULTS[fault])
    message = rf"effect 'delay' with {kind} settings: .*{fault}.*'delay_ms': "
    with pytest.raises(BadInput, match=message):
        draw("delay", kind)
    assert len(calls) == draws


def test_a_rejected_draw_is_drawn_again(monkeypatch):
    calls = replace_delay(monkeypatch, lambda audio, call: audio if call < 4 else np.tanh(audio))
    wet, unit = draw("delay")
    assert len(calls) == 4 and effects.denormalise("delay", unit) == calls[-1]
    assert difference(wet, AUDIO) > effects.EQUAL


@pytest.mark.parametrize(("relative", "audible"), [(5e-4, False), (2e-3, True)])
def test_wet_counts_as_dry_below_a_thousandth(monkeypatch, relative, audible):
    noise = np.random.default_rng(1).standard_normal(AUDIO.size) * np.sqrt(np.square(AUDIO).mean())
    replace_delay(monkeypatch, lambda audio, call: audio + relative * noise)
    if audible:
        draw("delay", "fixed")
    else:
        with pytest.raises(BadInput, match=r"equal to the dry clip \(relative difference 0.0005\)"):
            draw("delay", "fixed")
