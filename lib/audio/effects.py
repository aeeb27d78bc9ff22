"""Audio effects: the twelve classes whose traces the embeddings are asked to show. Introduced by story 02.

Built from pedalboard's processors, and from numpy or scipy where it has none (ring modulator, crossover, hold). Ranges
keep every draw audible, extreme ones too: no mix is below 0.3. Drives and thresholds expect clips at about -23 LUFS.
`find_effect` also gives the effects of plug-ins, see `lib.audio.plugins`.
"""

import difflib
from typing import Literal

import numpy as np
import pandas as pd
import pedalboard as pb
from scipy.signal import butter, sosfilt

from lib import BadInput
from lib.audio.controls import Effect, Parameter
from lib.audio.levels import level, loudness
from lib.audio.plugins import MDA, load_plugin

EQUAL = 1e-3  # root mean square of the difference over that of the dry clip, below which wet counts as dry
DRAWS = 10  # random settings tried before an effect is given up


def _run(audio: np.ndarray, rate_hz: int, *plugins: pb.Plugin) -> np.ndarray:
    """Audio float32 (sample,) through new processors: no tail and no phase is left from a call before."""
    return pb.Pedalboard(plugins)(audio, rate_hz, reset=True)


def clean(audio: np.ndarray, rate_hz: int) -> np.ndarray:
    """The dry audio itself."""
    return audio.copy()


def delay(
    audio: np.ndarray, rate_hz: int, delay_ms: float, feedback: float, mix: float
) -> np.ndarray:
    """Echoes: y = (1 - mix) x + mix w, where w[n] = x[n - d] + feedback w[n - d]."""
    return _run(audio, rate_hz, pb.Delay(delay_ms / 1000, feedback, mix))


def overdrive(audio: np.ndarray, rate_hz: int, drive_db: float, muffle_hz: float) -> np.ndarray:
    """tanh of the amplified input, then a low pass of first order."""
    return _run(
        audio, rate_hz, pb.Distortion(drive_db), pb.LowpassFilter(min(muffle_hz, 0.45 * rate_hz))
    )


def crossover(audio: np.ndarray, rate_hz: int, low_hz: float, high_hz: float) -> list[np.ndarray]:
    """Three bands (sample,) float64 whose sum has the magnitude of the input: Linkwitz-Riley filters of fourth order.

    The two sides of such a filter add up to an all-pass, so the upper side is the all-pass less the lower side. The
    lowest band passes the all-pass of the second crossover, so that all bands stay in phase.
    """

    def sections(frequency_hz: float) -> tuple[np.ndarray, np.ndarray]:
        low = butter(2, min(frequency_hz, 0.45 * rate_hz), fs=rate_hz, output="sos")
        return np.vstack([low, low]), np.hstack(
            [low[:, :2:-1], low[:, 3:]]
        )  # numerator of an all-pass: poles reversed

    (low_1, all_1), (low_2, all_2) = sections(low_hz), sections(high_hz)
    low = sosfilt(low_1, audio.astype(np.float64))
    rest = sosfilt(all_1, audio.astype(np.float64)) - low
    middle = sosfilt(low_2, rest)
    return [sosfilt(all_2, low), middle, sosfilt(all_2, rest) - middle]


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
    """Three bands, each compressed alone, the outer two with a gain, summed."""
    bands = [band.astype(np.float32) for band in crossover(audio, rate_hz, low_hz, high_hz)]
    low, middle, high = (
        compressor(band, rate_hz, threshold_db, ratio, attack_ms, release_ms) for band in bands
    )
    return 10 ** (low_gain_db / 20) * low + middle + 10 ** (high_gain_db / 20) * high


def ambience(
    audio: np.ndarray, rate_hz: int, room_size: float, damping: float, mix: float
) -> np.ndarray:
    """A room: Freeverb; wet and dry have the same loudness before they are mixed."""
    wet = _run(audio, rate_hz, pb.Reverb(room_size, damping, wet_level=1.0, dry_level=0.0))
    return (1 - mix) * audio + mix * level(wet, rate_hz, loudness(audio, rate_hz))


def chorus(
    audio: np.ndarray,
    rate_hz: int,
    sweep_hz: float,
    depth: float,
    centre_delay_ms: float,
    feedback: float,
    mix: float,
) -> np.ndarray:
    """The input and a copy with a swept delay; the flanger is the same with a delay of a few ms and with feedback."""
    return _run(audio, rate_hz, pb.Chorus(sweep_hz, depth, centre_delay_ms, feedback, mix))


def compressor(
    audio: np.ndarray,
    rate_hz: int,
    threshold_db: float,
    ratio: float,
    attack_ms: float,
    release_ms: float,
) -> np.ndarray:
    """A compressor of the whole band."""
    return _run(audio, rate_hz, pb.Compressor(threshold_db, ratio, attack_ms, release_ms))


def ring_modulator(audio: np.ndarray, rate_hz: int, frequency_hz: float, mix: float) -> np.ndarray:
    """y = (1 - mix) x + mix x sin(2 pi f t): a frequency g moves to g - f and g + f."""
    carrier = np.sin(2 * np.pi * frequency_hz / rate_hz * np.arange(audio.size))
    return audio * (1 - mix + mix * carrier)


def phaser(
    audio: np.ndarray,
    rate_hz: int,
    sweep_hz: float,
    depth: float,
    centre_hz: float,
    feedback: float,
    mix: float,
) -> np.ndarray:
    """The input and a copy through swept all-passes: notches that move."""
    return _run(audio, rate_hz, pb.Phaser(sweep_hz, depth, centre_hz, feedback, mix))


def bitcrush(audio: np.ndarray, rate_hz: int, hold_hz: float, bits: float) -> np.ndarray:
    """Sample-and-hold at a low rate, without a filter against aliasing, then rounding to a few bits."""
    step = max(1.0, rate_hz / hold_hz)
    held = audio[(np.floor(np.arange(audio.size) / step) * step).astype(int)]
    return _run(held, rate_hz, pb.Bitcrush(bits))


def combo(
    audio: np.ndarray,
    rate_hz: int,
    low_cut_hz: float,
    drive_db: float,
    bias: float,
    bell_db: float,
    cabinet_hz: float,
) -> np.ndarray:
    """A guitar amplifier: high pass, a lopsided tanh, a bell at 800 Hz, and a cabinet that ends at a few kHz."""
    driven = _run(audio, rate_hz, pb.HighpassFilter(low_cut_hz), pb.Gain(drive_db))
    bent = np.tanh(driven + np.float32(bias)) - np.tanh(np.float32(bias))
    cabinet = pb.LadderFilter(pb.LadderFilter.Mode.LPF24, min(cabinet_hz, 0.45 * rate_hz))
    return _run(bent, rate_hz, pb.PeakFilter(800, bell_db), cabinet, pb.HighpassFilter(low_cut_hz))


P, LOG = Parameter, "log"
MIX = P("mix", 0.3, 0.8, "")
DYNAMICS = (
    P("ratio", 4, 20, ":1", LOG),
    P("attack_ms", 0.5, 20, "ms", LOG),
    P("release_ms", 30, 300, "ms", LOG),
)
EFFECTS: dict[str, Effect] = {
    effect.name: effect
    for effect in (
        Effect("clean", "Clean", (), clean),
        Effect(
            "delay",
            "Delay",
            (P("delay_ms", 60, 600, "ms", LOG), P("feedback", 0, 0.8, ""), MIX),
            delay,
        ),
        Effect(
            "overdrive",
            "Overdrive",
            (P("drive_db", 15, 45, "dB"), P("muffle_hz", 2000, 10000, "Hz", LOG)),
            overdrive,
        ),
        Effect(
            "multiband",
            "MultiBand",
            (
                P("low_hz", 120, 500, "Hz", LOG),
                P("high_hz", 1500, 5000, "Hz", LOG),
                P("threshold_db", -60, -42, "dB"),
                *DYNAMICS,
                P("low_gain_db", -6, 6, "dB"),
                P("high_gain_db", -6, 6, "dB"),
            ),
            multiband,
        ),
        Effect(
            "ambience",
            "Ambience",
            (P("room_size", 0.2, 0.95, ""), P("damping", 0, 0.9, ""), MIX),
            ambience,
        ),
        Effect(
            "flanger",
            "Flanger",
            (
                P("sweep_hz", 0.1, 2, "Hz", LOG),
                P("depth", 0.05, 0.3, ""),
                P("centre_delay_ms", 2, 6, "ms"),
                P("feedback", 0.3, 0.85, ""),
                P("mix", 0.35, 0.65, ""),
            ),
            chorus,
        ),
        Effect(
            "compressor", "Compressor", (P("threshold_db", -55, -35, "dB"), *DYNAMICS), compressor
        ),
        Effect(
            "ring_modulator",
            "RingMod",
            (P("frequency_hz", 40, 2000, "Hz", LOG), P("mix", 0.5, 1, "")),
            ring_modulator,
        ),
        Effect(
            "chorus",
            "Chorus",
            (
                P("sweep_hz", 0.3, 3, "Hz", LOG),
                P("depth", 0.1, 0.6, ""),
                P("centre_delay_ms", 12, 30, "ms"),
                P("feedback", 0, 0.2, ""),
                P("mix", 0.3, 0.7, ""),
            ),
            chorus,
        ),
        Effect(
            "phaser",
            "Phaser",
            (
                P("sweep_hz", 0.2, 4, "Hz", LOG),
                P("depth", 0.3, 1, ""),
                P("centre_hz", 400, 3000, "Hz", LOG),
                P("feedback", 0, 0.7, ""),
                P("mix", 0.3, 0.7, ""),
            ),
            phaser,
        ),
        Effect(
            "bitcrush",
            "Bitcrush",
            (P("hold_hz", 2000, 10000, "Hz", LOG), P("bits", 4, 8, "bit")),
            bitcrush,
        ),
        Effect(
            "combo",
            "Combo",
            (
                P("low_cut_hz", 60, 300, "Hz", LOG),
                P("drive_db", 12, 40, "dB"),
                P("bias", 0.1, 0.6, ""),
                P("bell_db", -8, 8, "dB"),
                P("cabinet_hz", 2500, 6000, "Hz", LOG),
            ),
            combo,
        ),
    )
}
REPORT_ORDER = ("delay", "overdrive", "multiband", "ambience", "flanger")  # of Table 1


def controls_table() -> pd.DataFrame:
    """Every parameter of every effect: effect, parameter, low, high, unit, scale."""
    rows = [
        {"effect": e.name, "parameter": p.name} | vars(p)
        for e in EFFECTS.values()
        for p in e.parameters
    ]
    return pd.DataFrame(rows).drop(columns="name")


def find_effect(effect_name: str) -> Effect:
    """An effect by name: a built-in one, `mda:NAME` or `vst3:PATH`; BadInput with the nearest name if there is none."""
    name = str(effect_name)
    if name in MDA or name.startswith("vst3:"):
        return load_plugin(name)
    if name not in EFFECTS:
        near = difflib.get_close_matches(name, [*EFFECTS, *MDA], 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = ", ".join([*EFFECTS, *MDA, "vst3:PATH"])
        raise BadInput(f"effect {effect_name!r} is unknown; {hint}known are {known}")
    return EFFECTS[name]


def _convert(effect_name: str, given: dict[str, float], to_values: bool) -> dict[str, float]:
    """Positions to values or back; BadInput unless every parameter is given, within its range."""
    parameters = {p.name: p for p in find_effect(effect_name).parameters}
    if given.keys() != parameters.keys():
        raise BadInput(
            f"effect {effect_name!r} has the parameters {sorted(parameters)}, given were {sorted(given)}"
        )
    for name, p in parameters.items():
        low, high = (0, 1) if to_values else (p.low, p.high)
        if not low - 1e-9 * abs(low) <= given[name] <= high + 1e-9 * abs(high):
            raise BadInput(
                f"effect {effect_name!r}: {name} = {given[name]!r} is outside {low:g} to {high:g}"
            )
    return {
        n: p.denormalise(given[n]) if to_values else p.normalise(given[n])
        for n, p in parameters.items()
    }


def denormalise(effect_name: str, unit: dict[str, float]) -> dict[str, float]:
    """Values in their units for positions in [0, 1], by parameter."""
    return _convert(effect_name, unit, to_values=True)


def normalise(effect_name: str, values: dict[str, float]) -> dict[str, float]:
    """Positions in [0, 1] for values in their units, by parameter."""
    return _convert(effect_name, values, to_values=False)


def apply_at(effect_name: str, audio: np.ndarray, rate_hz: int, **unit: float) -> np.ndarray:
    """Wet audio (sample,), as loud as the dry one; unit: positions of parameters in [0, 1], 0.5 where not given."""
    values = denormalise(
        effect_name, {p.name: 0.5 for p in find_effect(effect_name).parameters} | unit
    )
    wet = np.asarray(find_effect(effect_name).apply(audio, rate_hz, **values), np.float32)
    return level(wet, rate_hz, loudness(audio, rate_hz))


def draw_wet(
    effect_name: str,
    audio: np.ndarray,
    rate_hz: int,
    settings: Literal["fixed", "random"],
    rng: np.random.Generator,
    loudness_lufs: float | None = None,
) -> tuple[np.ndarray, dict[str, float]]:
    """Wet audio float32 (sample,), as long and as loud as the dry audio, and the settings as positions in [0, 1].

    fixed: all 0.5; random: uniform. A draw that is silent, not finite or equal to the dry clip (relative difference
    below 1e-3 at equal loudness) is rejected. After ten random draws, or the one that fixed settings give, BadInput
    names effect and settings. Dry audio never stands under an effect's label; "clean" alone returns it.
    loudness_lufs: of the dry audio, where it is known; else it is measured.
    """
    effect = find_effect(effect_name)
    if settings not in ("fixed", "random"):
        raise BadInput(
            f"settings = {settings!r} is unknown; right are 'fixed' (all 0.5) and 'random' (uniform)"
        )
    audio = np.ascontiguousarray(audio, np.float32)
    loud = loudness(audio, rate_hz) if loudness_lufs is None else loudness_lufs
    if not np.isfinite(loud):
        raise BadInput(
            f"effect {effect.name!r}: the dry clip is silent or not finite; give audio with sound in it"
        )
    if not effect.parameters:
        return effect.apply(audio, rate_hz), {}
    for _ in range(DRAWS if settings == "random" else 1):
        unit = {
            p.name: float(rng.random()) if settings == "random" else 0.5 for p in effect.parameters
        }
        values = denormalise(effect.name, unit)
        try:
            wet = level(
                np.asarray(effect.apply(audio, rate_hz, **values), np.float32), rate_hz, loud
            )
        except BadInput as error:  # no level for it
            why = str(error)
            continue
        difference = np.sqrt(np.square(wet - audio).mean() / np.square(audio).mean())
        if difference >= EQUAL:
            return wet, unit
        why = f"equal to the dry clip (relative difference {difference:.1g})"
    raise BadInput(
        f"effect {effect.name!r} with {settings} settings: {why}, at last with {values}; give other audio"
    )
