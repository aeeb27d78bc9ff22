"""Effects from plug-ins: `mda:NAME`, as in the report, and `vst3:PATH`, any VST3. See chapter 02.

The mda plug-ins come from the Debian package mda-lv2 (GPL-3 or later), which we load and do not
ship. The small host for them follows the C interface of LV2 (lv2plug.in/ns/lv2core, lv2.h);
pedalboard hosts VST3. A plug-in hears the clip on both channels, and we average what it returns.
Every control goes from 0 to 1.
"""

import os
import re
from collections.abc import Callable
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    Structure,
    addressof,
    c_char_p,
    c_double,
    c_uint32,
    c_void_p,
)
from functools import cache, partial
from pathlib import Path

import numpy as np
import pedalboard as pb

from lib import BadInput
from lib.audio.controls import Effect, Parameter

_NAMES = (  # tests hold each of them bit-equal to two other hosts
    "Ambience Bandisto Combo Delay DubDelay Dynamics Leslie Limiter MultiBand Overdrive "
    "RePsycho RingMod SubSynth ThruZero Transient"
)
MDA = tuple(f"mda:{name}" for name in _NAMES.split())
BLOCK = 512  # samples per call, as in most hosts: one at a time, Leslie turns 16 times faster
M_PERTURB = -6  # the option of malloc.h that sets what new memory is filled with


class Descriptor(Structure):
    """LV2_Descriptor of lv2.h, without its last field, which we do not call."""

    _fields_ = [
        ("uri", c_char_p),
        # handle = instantiate(descriptor, sample rate, path of the bundle, features)
        ("instantiate", CFUNCTYPE(c_void_p, c_void_p, c_double, c_char_p, c_void_p)),
        ("connect_port", CFUNCTYPE(None, c_void_p, c_uint32, c_void_p)),
        ("activate", CFUNCTYPE(None, c_void_p)),
        ("run", CFUNCTYPE(None, c_void_p, c_uint32)),
        ("deactivate", CFUNCTYPE(None, c_void_p)),
        ("cleanup", CFUNCTYPE(None, c_void_p)),
    ]


@cache
def load_plugin(effect_name: str) -> Effect:
    """The effect `mda:NAME`, or `vst3:PATH` with its automatable numbers as parameters.

    BadInput: the package mda-lv2 is not installed, or PATH is no VST3 effect.
    """
    kind, _, name = effect_name.partition(":")
    if kind == "mda":
        label, controls, apply = _load_mda(name)
    else:
        label, controls, apply = _load_vst3(name)
    parameters = tuple(Parameter(control, 0, 1) for control in controls)
    return Effect(effect_name, label, parameters, apply)


def _load_mda(name: str) -> tuple[str, list[str], Callable[..., np.ndarray]]:
    """Label, symbols of the controls, and function of a plug-in of mda-lv2."""
    folders = os.environ.get("LV2_PATH") or "/usr/lib/lv2:/usr/local/lib/lv2"
    for folder in folders.split(":"):
        library = Path(folder, "mda.lv2", f"{name}.so").expanduser()
        if library.is_file():
            break
    else:
        raise BadInput(
            f"effect 'mda:{name}': no mda.lv2/{name}.so in {folders}; install the package mda-lv2 "
            "(Debian, Ubuntu: apt-get install mda-lv2) or set LV2_PATH; "
            "the built-in effects work without it"
        )
    text = library.with_suffix(".ttl").read_text(encoding="utf-8")
    pattern = r'lv2:(In|Out)putPort ,\s+lv2:(\w+)Port ;\s+lv2:index (\d+) ;.*?lv2:symbol "(\w+)"'
    ports = re.findall(pattern, text, re.S)
    ports.sort(key=lambda port: int(port[2]))
    kinds = [direction if kind == "Audio" else kind for direction, kind, _, _ in ports]
    controls = [symbol for _, kind, _, symbol in ports if kind == "Control"]
    return name, controls, partial(_run_lv2, library, np.array(kinds), controls)


def _run_lv2(
    library: Path,
    kinds: np.ndarray,
    controls: list[str],
    audio: np.ndarray,
    rate_hz: int,
    **values: float,
) -> np.ndarray:
    """Audio float32 (sample,) through a new instance, which remembers nothing of earlier calls.

    kinds: "In", "Out" or "Control" for each port (port,); controls: their names in this order.
    """
    describe = CDLL(str(library)).lv2_descriptor
    describe.restype = POINTER(Descriptor)
    plugin = describe(0).contents
    data = np.zeros((len(kinds), BLOCK), np.float32)  # (port, sample)
    data[kinds == "Control", 0] = [values[name] for name in controls]  # it reads one sample
    no_features = (c_void_p * 1)()
    CDLL(None).mallopt(M_PERTURB, 0xFF)  # zeros: Delay reads memory that it never wrote
    instance = plugin.instantiate(
        addressof(plugin), rate_hz, f"{library.parent}/".encode(), no_features
    )
    CDLL(None).mallopt(M_PERTURB, 0)
    if not instance:
        raise BadInput(
            f"rate_hz = {rate_hz}: {library} does not start at this sample rate; give another"
        )
    for port, row in enumerate(data):
        plugin.connect_port(instance, port, row.ctypes.data)
    if plugin.activate:  # a plug-in may lack activate and deactivate
        plugin.activate(instance)
    wet = np.empty(audio.size, np.float32)
    for start in range(0, audio.size, BLOCK):
        block = audio[start : start + BLOCK]
        data[kinds == "In", : block.size] = block
        plugin.run(instance, block.size)
        wet[start : start + block.size] = data[kinds == "Out", : block.size].mean(axis=0)
    if plugin.deactivate:
        plugin.deactivate(instance)
    plugin.cleanup(instance)
    return wet


def _load_vst3(path: str) -> tuple[str, list[str], Callable[..., np.ndarray]]:
    """Label, names of the automatable numbers, and function of a VST3 effect."""
    try:
        plugin = pb.load_plugin(path)
    except (ImportError, ValueError) as error:  # no such file, no plug-in; several plug-ins
        reason = " ".join(str(error).split())
        raise BadInput(
            f"effect 'vst3:{path}': {reason}; give the path of a VST3 effect for this system"
        ) from None

    def apply(audio: np.ndarray, rate_hz: int, **values: float) -> np.ndarray:
        for name, value in values.items():
            plugin.parameters[name].raw_value = value
        return plugin(np.stack([audio, audio]), rate_hz, reset=True).mean(axis=0)

    controls = []
    for name, parameter in plugin.parameters.items():
        if parameter.type is float and parameter.is_automatable:
            controls.append(name)
    return plugin.name, controls, apply
