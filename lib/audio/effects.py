"""Audio effects: the twelve classes that the embeddings should tell apart. See chapter 02.

Each effect is a function of mono audio (sample,) with the table of its controls below it. Most are
processors of pedalboard; numpy and scipy make what it lacks (ring modulator, crossover, hold).
The ranges keep every setting audible, and no mix is below 0.3. Drives and thresholds expect clips
of about -23 LUFS.
"""

from dataclasses import asdict
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
import pedalboard as pb
from scipy.signal import butter, sosfilt

from lib import BadInput
from lib.audio.controls import Effect, Parameter
from lib.audio.levels import level, loudness
from lib.audio.plugins import MDA, load_plugin
from lib.config import did_you_mean

EQUAL = 1e-3  # a wet clip that differs by less counts as dry: rms of the difference over rms of dry
DRAWS = 10  # random settings tried before we give up

LOG = "log"
MIX = Parameter("mix", 0.3, 0.8)  # share of the processed sound


def _process(audio: np.ndarray, rate_hz: int, *processors: pb.Plugin) -> np.ndarray:
    """Audio (sample,) through new processors: an earlier call has left no tail and no phase."""
    return pb.Pedalboard(processors)(audio, rate_hz, reset=True)


def _through(
    processor: type[pb.Plugin],
    parameters: tuple[Parameter, ...],
    audio: np.ndarray,
    rate_hz: int,
    **values: float,
) -> np.ndarray:
    """Audio (sample,) through one processor, whose arguments are the parameters in their order."""
    arguments = [values[parameter.name] for parameter in parameters]
    return _process(audio, rate_hz, processor(*arguments))


def _below_half(frequency_hz: float, rate_hz: int) -> float:
    """A cut-off frequency that a filter at this sample rate can have."""
    return min(frequency_hz, 0.45 * rate_hz)


def clean(audio: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the dry audio itself: the class that has no trace."""
    return audio.copy()


def delay(
    audio: np.ndarray, rate_hz: int, delay_ms: float, feedback: float, mix: float
) -> np.ndarray:
    """Add echoes: y = (1 - mix) x + mix w, where w[n] = x[n - d] + feedback w[n - d]."""
    return _process(audio, rate_hz, pb.Delay(delay_ms / 1000, feedback, mix))


DELAY = (
    Parameter("delay_ms", 60, 600, "ms", LOG),  # the time between two echoes
    Parameter("feedback", 0, 0.8),  # the share of an echo that enters the next one
    MIX,
)


def overdrive(audio: np.ndarray, rate_hz: int, drive_db: float, muffle_hz: float) -> np.ndarray:
    """Saturate: tanh of the amplified input, then a low pass of first order."""
    low_pass = pb.LowpassFilter(_below_half(muffle_hz, rate_hz))
    return _process(audio, rate_hz, pb.Distortion(drive_db), low_pass)


OVERDRIVE = (
    Parameter("drive_db", 15, 45, "dB"),  # gain before the tanh
    Parameter("muffle_hz", 2000, 10000, "Hz", LOG),  # cut-off of the low pass
)


def compressor(
    audio: np.ndarray,
    rate_hz: int,
    threshold_db: float,
    ratio: float,
    attack_ms: float,
    release_ms: float,
) -> np.ndarray:
    """Even out the level: what is above the threshold rises by only 1/ratio."""
    return _process(audio, rate_hz, pb.Compressor(threshold_db, ratio, attack_ms, release_ms))


DYNAMICS = (
    Parameter("ratio", 4, 20, ":1", LOG),
    Parameter("attack_ms", 0.5, 20, "ms", LOG),  # the time to turn down
    Parameter("release_ms", 30, 300, "ms", LOG),  # the time to turn up again
)
COMPRESSOR = (Parameter("threshold_db", -55, -35, "dB"), *DYNAMICS)


def _split_at(
    audio: np.ndarray, rate_hz: int, frequency_hz: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower side and upper side of a Linkwitz-Riley crossover of fourth order, and its all-pass.

    Both sides add up to an all-pass. Its numerator is its denominator with reversed coefficients.
    """
    low = butter(2, _below_half(frequency_hz, rate_hz), fs=rate_hz, output="sos")
    all_pass = np.hstack([low[:, :2:-1], low[:, 3:]])
    lower = sosfilt(np.vstack([low, low]), audio)
    return lower, sosfilt(all_pass, audio) - lower, all_pass


def crossover(audio: np.ndarray, rate_hz: int, low_hz: float, high_hz: float) -> list[np.ndarray]:
    """Split audio into three bands (sample,) float64 whose sum has the magnitude of the input.

    The lowest band also passes the all-pass of the upper crossover, so all bands stay in phase.
    """
    low, rest, _ = _split_at(audio.astype(np.float64), rate_hz, low_hz)
    middle, high, all_pass = _split_at(rest, rate_hz, high_hz)
    return [sosfilt(all_pass, low), middle, high]


def multiband(
    audio: np.ndarray,
    rate_hz: int,
    low_hz: float,
    high_hz: float,
    threshold_db: float,
    ratio: float,
    attack_ms: float,
    release_ms: float,
    low_gain_db: float,
    high_gain_db: float,
) -> np.ndarray:
    """Compress three bands, each alone, and add them with a gain for the outer two."""
    compressed = []
    for band in crossover(audio, rate_hz, low_hz, high_hz):
        band = band.astype(np.float32)
        compressed.append(compressor(band, rate_hz, threshold_db, ratio, attack_ms, release_ms))
    low, middle, high = compressed
    return 10 ** (low_gain_db / 20) * low + middle + 10 ** (high_gain_db / 20) * high


MULTIBAND = (
    Parameter("low_hz", 120, 500, "Hz", LOG),  # lower crossover
    Parameter("high_hz", 1500, 5000, "Hz", LOG),  # upper crossover
    Parameter("threshold_db", -60, -42, "dB"),
    *DYNAMICS,
    Parameter("low_gain_db", -6, 6, "dB"),
    Parameter("high_gain_db", -6, 6, "dB"),
)


def ambience(
    audio: np.ndarray, rate_hz: int, room_size: float, damping: float, mix: float
) -> np.ndarray:
    """Put the sound into a room: Freeverb, levelled to the dry audio before the two are mixed."""
    room = _process(audio, rate_hz, pb.Reverb(room_size, damping, wet_level=1.0, dry_level=0.0))
    return (1 - mix) * audio + mix * level(room, rate_hz, loudness(audio, rate_hz))


AMBIENCE = (
    Parameter("room_size", 0.2, 0.95),  # a larger room decays more slowly
    Parameter("damping", 0, 0.9),  # high frequencies decay faster by this
    MIX,
)


# A chorus adds a copy with a swept delay. With a few ms of delay and with feedback it is a flanger.
FLANGER = (
    Parameter("sweep_hz", 0.1, 2, "Hz", LOG),  # rate of the sweep
    Parameter("depth", 0.05, 0.3),  # width of the sweep
    Parameter("centre_delay_ms", 2, 6, "ms"),
    Parameter("feedback", 0.3, 0.85),  # sharpens the notches
    Parameter("mix", 0.35, 0.65),
)
CHORUS = (
    Parameter("sweep_hz", 0.3, 3, "Hz", LOG),
    Parameter("depth", 0.1, 0.6),
    Parameter("centre_delay_ms", 12, 30, "ms"),
    Parameter("feedback", 0, 0.2),
    Parameter("mix", 0.3, 0.7),
)


def ring_modulator(audio: np.ndarray, rate_hz: int, frequency_hz: float, mix: float) -> np.ndarray:
    """Multiply by a sine: y = (1 - mix) x + mix x sin(2 pi f t) moves g to g - f and g + f."""
    carrier = np.sin(2 * np.pi * frequency_hz / rate_hz * np.arange(audio.size))
    return audio * (1 - mix + mix * carrier)


RING_MODULATOR = (
    Parameter("frequency_hz", 40, 2000, "Hz", LOG),
    Parameter("mix", 0.5, 1),
)


# A phaser adds a copy that went through swept all-passes: notches move across the spectrum.
PHASER = (
    Parameter("sweep_hz", 0.2, 4, "Hz", LOG),
    Parameter("depth", 0.3, 1),
    Parameter("centre_hz", 400, 3000, "Hz", LOG),  # the notches move about it
    Parameter("feedback", 0, 0.7),
    Parameter("mix", 0.3, 0.7),
)


def bitcrush(audio: np.ndarray, rate_hz: int, hold_hz: float, bits: float) -> np.ndarray:
    """Sample and hold at a low rate, with all its aliasing, then round to a few bits."""
    step = max(1.0, rate_hz / hold_hz)
    sampled_at = np.floor(np.arange(audio.size) / step) * step
    return _process(audio[sampled_at.astype(int)], rate_hz, pb.Bitcrush(bits))


BITCRUSH = (
    Parameter("hold_hz", 2000, 10000, "Hz", LOG),  # the low rate
    Parameter("bits", 4, 8, "bit"),
)


def combo(
    audio: np.ndarray,
    rate_hz: int,
    low_cut_hz: float,
    drive_db: float,
    bias: float,
    bell_db: float,
    cabinet_hz: float,
) -> np.ndarray:
    """Play through a guitar amplifier: high pass, lopsided tanh, bell at 800 Hz, dull cabinet."""
    driven = _process(audio, rate_hz, pb.HighpassFilter(low_cut_hz), pb.Gain(drive_db))
    saturated = np.tanh(driven + np.float32(bias)) - np.tanh(np.float32(bias))
    bell = pb.PeakFilter(800, bell_db)
    cabinet = pb.LadderFilter(pb.LadderFilter.Mode.LPF24, _below_half(cabinet_hz, rate_hz))
    return _process(saturated, rate_hz, bell, cabinet, pb.HighpassFilter(low_cut_hz))


COMBO = (
    Parameter("low_cut_hz", 60, 300, "Hz", LOG),  # removes bass before the tanh, and the bias after
    Parameter("drive_db", 12, 40, "dB"),  # gain before the tanh
    Parameter("bias", 0.1, 0.6),  # makes the tanh lopsided
    Parameter("bell_db", -8, 8, "dB"),
    Parameter("cabinet_hz", 2500, 6000, "Hz", LOG),  # the cabinet is silent above it
)

_EFFECTS = (  # seeds and colours depend on the order: new effects go to the end
    Effect("clean", "Clean", (), clean),
    Effect("delay", "Delay", DELAY, delay),
    Effect("overdrive", "Overdrive", OVERDRIVE, overdrive),
    Effect("multiband", "MultiBand", MULTIBAND, multiband),
    Effect("ambience", "Ambience", AMBIENCE, ambience),
    Effect("flanger", "Flanger", FLANGER, partial(_through, pb.Chorus, FLANGER)),
    Effect("compressor", "Compressor", COMPRESSOR, compressor),
    Effect("ring_modulator", "RingMod", RING_MODULATOR, ring_modulator),
    Effect("chorus", "Chorus", CHORUS, partial(_through, pb.Chorus, CHORUS)),
    Effect("phaser", "Phaser", PHASER, partial(_through, pb.Phaser, PHASER)),
    Effect("bitcrush", "Bitcrush", BITCRUSH, bitcrush),
    Effect("combo", "Combo", COMBO, combo),
)
EFFECTS: dict[str, Effect] = {effect.name: effect for effect in _EFFECTS}
REPORT_ORDER = (
    "delay",
    "overdrive",
    "multiband",
    "ambience",
    "flanger",
)  # the order of its Table 1


def find_effect(effect_name: str) -> Effect:
    """The effect of a name: a built-in one, `mda:NAME` or `vst3:PATH` (see `lib.audio.plugins`).

    BadInput: there is none of this name, or its plug-in is not installed.
    """
    if effect_name in MDA or effect_name.startswith("vst3:"):
        return load_plugin(effect_name)
    if effect_name not in EFFECTS:
        hint = did_you_mean(effect_name, [*EFFECTS, *MDA, "vst3:PATH"])
        raise BadInput(f"effect {effect_name!r} is unknown; {hint}")
    return EFFECTS[effect_name]


def controls_table() -> pd.DataFrame:
    """All controls, one a row: effect, parameter, low, high, unit, scale."""
    rows = [{"effect": e.name} | asdict(p) for e in EFFECTS.values() for p in e.parameters]
    return pd.DataFrame(rows).rename(columns={"name": "parameter"})


def denormalise(effect_name: str, unit: dict[str, float]) -> dict[str, float]:
    """Values in their units for positions in [0, 1], by name of parameter.

    BadInput: a parameter is missing, unknown or out of its range.
    """
    parameters = find_effect(effect_name).parameters
    names = {p.name for p in parameters}
    if unit.keys() != names:
        raise BadInput(
            f"effect {effect_name!r} has the parameters {sorted(names)}, given were {sorted(unit)}"
        )
    values = {}
    for p in parameters:
        position = unit[p.name]
        if not 0 <= position <= 1:
            raise BadInput(f"effect {effect_name!r}: {p.name} = {position!r} is outside 0 to 1")
        values[p.name] = p.denormalise(position)
    return values


def apply_at(effect_name: str, audio: np.ndarray, rate_hz: int, **unit: float) -> np.ndarray:
    """Wet audio (sample,), as loud as the dry audio.

    unit: positions of parameters in [0, 1]; those that are not given stand at 0.5.
    """
    effect = find_effect(effect_name)
    middle = {p.name: 0.5 for p in effect.parameters}
    values = denormalise(effect_name, middle | unit)
    wet = np.asarray(effect.apply(audio, rate_hz, **values), np.float32)
    return level(wet, rate_hz, loudness(audio, rate_hz))


def draw_wet(
    effect_name: str,
    audio: np.ndarray,
    rate_hz: int,
    settings: Literal["fixed", "random"],
    rng: np.random.Generator,
    loudness_lufs: float | None = None,
) -> tuple[np.ndarray, dict[str, float]]:
    """Wet audio float32 (sample,), as long and as loud as the dry audio, and its settings.

    settings: "fixed" puts all controls at 0.5, "random" draws each uniformly from [0, 1].
    loudness_lufs: loudness of the dry audio, if the caller knows it.

    Only "clean" returns dry audio: a draw that is silent, not finite or equal to the dry audio is
    drawn again. BadInput: the dry audio is silent, or all draws fail.
    """
    effect = find_effect(effect_name)
    audio = np.ascontiguousarray(audio, np.float32)
    if loudness_lufs is None:
        loudness_lufs = loudness(audio, rate_hz)
    if not np.isfinite(loudness_lufs):
        raise BadInput(
            f"effect {effect.name!r}: the dry clip is silent or not finite; give audible audio"
        )
    if not effect.parameters:
        return effect.apply(audio, rate_hz), {}
    for _ in range(DRAWS if settings == "random" else 1):
        unit = {p.name: 0.5 for p in effect.parameters}
        if settings == "random":
            unit = {name: float(rng.random()) for name in unit}
        values = denormalise(effect.name, unit)
        try:
            wet = np.asarray(effect.apply(audio, rate_hz, **values), np.float32)
            wet = level(wet, rate_hz, loudness_lufs)
        except BadInput as error:
            reason = str(error)
            continue
        difference = np.sqrt(np.square(wet - audio).mean() / np.square(audio).mean())
        if difference >= EQUAL:
            return wet, unit
        reason = f"equal to the dry clip (relative difference {difference:.1g})"
    raise BadInput(
        f"effect {effect.name!r} with {settings} settings: {reason}, "
        f"at last with {values}; give other audio"
    )
