"""Effects from plug-ins: `mda:NAME`, those of the report's author, and `vst3:PATH`, any VST3. Introduced by story 02.

The mda plug-ins come from the Debian package mda-lv2 (GPL-3 or later), which is loaded here and not shipped. A small
host for them follows the C interface of LV2 (lv2plug.in/ns/lv2core, lv2.h); pedalboard hosts VST3. A plug-in gets the
clip on both its channels, and what comes back is averaged to one. Every control goes from 0 to 1.
"""

import ctypes
import os
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pedalboard as pb

from lib import BadInput
from lib.audio.controls import Effect, Parameter

MDA = tuple(
    f"mda:{name}"
    for name in (  # each held bit-equal to two other hosts
        "Ambience",
        "Bandisto",
        "Combo",
        "Delay",
        "DubDelay",
        "Dynamics",
        "Leslie",
        "Limiter",
        "MultiBand",
        "Overdrive",
        "RePsycho",
        "RingMod",
        "SubSynth",
        "ThruZero",
        "Transient",
    )
)
BLOCK = 512  # samples a plug-in gets at a time, as from most hosts; one by one, Leslie's rotor turns 16 times faster
M_PERTURB = -6  # of malloc.h: what new memory is filled with


class Descriptor(ctypes.Structure):
    """LV2_Descriptor of lv2.h: what a plug-in's library offers, as far as it is called here."""

    _fields_ = [("uri", ctypes.c_char_p)] + [
        (name, ctypes.CFUNCTYPE(*types))
        for name, *types in (
            (
                "instantiate",
                ctypes.c_void_p,
                ctypes.c_void_p,
                ctypes.c_double,
                ctypes.c_char_p,
                ctypes.c_void_p,
            ),
            ("connect_port", None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p),
            ("activate", None, ctypes.c_void_p),
            ("run", None, ctypes.c_void_p, ctypes.c_uint32),
            ("deactivate", None, ctypes.c_void_p),
            ("cleanup", None, ctypes.c_void_p),
        )
    ]


@cache
def load_plugin(effect_name: str) -> Effect:
    """The effect `mda:NAME` of MDA, or `vst3:PATH`, a VST3 file or bundle with its automatable numbers as parameters.

    Positions in [0, 1] are the values. BadInput: the package mda-lv2 is not here, no such file, no VST3.
    """
    kind, _, name = effect_name.partition(":")
    label, controls, apply = (_mda if kind == "mda" else _vst3)(name)
    return Effect(
        effect_name, label, tuple(Parameter(control, 0, 1, "") for control in controls), apply
    )


def _mda(name: str) -> tuple[str, list[str], Callable[..., np.ndarray]]:
    """Label, controls (the symbols of the package's .ttl) and function of a plug-in of mda-lv2."""
    folders = os.environ.get("LV2_PATH") or "/usr/lib/lv2:/usr/local/lib/lv2"
    libraries = [
        Path(folder, "mda.lv2", f"{name}.so").expanduser() for folder in folders.split(":")
    ]
    library = next(filter(Path.is_file, libraries), None)
    if library is None:
        raise BadInput(
            f"effect 'mda:{name}': no mda.lv2/{name}.so in {folders}; install the package mda-lv2 (Debian, "
            "Ubuntu: apt-get install mda-lv2) or set LV2_PATH; the built-in effects work without it"
        )
    text = library.with_suffix(".ttl").read_text(encoding="utf-8")
    found = re.findall(
        r'lv2:(In|Out)putPort ,\s+lv2:(\w+)Port ;\s+lv2:index (\d+) ;.*?lv2:symbol "(\w+)"',
        text,
        re.S,
    )
    found.sort(key=lambda port: int(port[2]))
    ports = [(way if kind == "Audio" else kind, symbol) for way, kind, _, symbol in found]
    return (
        name,
        [symbol for kind, symbol in ports if kind == "Control"],
        partial(_host, library, ports),
    )


def _host(
    library: Path, ports: list[tuple[str, str]], audio: np.ndarray, rate_hz: int, **values: float
) -> np.ndarray:
    """Audio float32 (sample,) through a new instance of an LV2 plug-in: nothing is left from a call before."""
    describe = ctypes.CDLL(str(library)).lv2_descriptor
    describe.restype = ctypes.POINTER(Descriptor)
    plugin, kinds = describe(0).contents, np.array([kind for kind, _ in ports])
    data = np.zeros(
        (len(ports), BLOCK), np.float32
    )  # (port, sample); a control is the first sample of its row
    data[kinds == "Control", 0] = [values[symbol] for kind, symbol in ports if kind == "Control"]
    no_features = (ctypes.c_void_p * 1)()
    ctypes.CDLL(None).mallopt(M_PERTURB, 0xFF)  # zeros: Delay reads memory that it never wrote
    instance = plugin.instantiate(
        ctypes.addressof(plugin), rate_hz, f"{library.parent}/".encode(), no_features
    )
    ctypes.CDLL(None).mallopt(M_PERTURB, 0)
    if not instance:
        raise BadInput(
            f"rate_hz = {rate_hz}: {library} does not start at this sample rate; give another"
        )
    for port, row in enumerate(data):
        plugin.connect_port(instance, port, row.ctypes.data)
    if plugin.activate:  # both are optional
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


def _vst3(path: str) -> tuple[str, list[str], Callable[..., np.ndarray]]:
    """Label, controls and function of a VST3 effect."""
    try:
        plugin = pb.load_plugin(path)
    except (
        ImportError,
        ValueError,
    ) as error:  # no such file, no plug-in; several plug-ins in one file
        why = " ".join(str(error).split())
        raise BadInput(
            f"effect 'vst3:{path}': {why}; give the path of a VST3 effect for this system"
        ) from None

    def apply(audio: np.ndarray, rate_hz: int, **values: float) -> np.ndarray:
        for control, value in values.items():
            plugin.parameters[control].raw_value = value
        return plugin(np.stack([audio, audio]), rate_hz, reset=True).mean(axis=0)

    return (
        plugin.name,
        [n for n, p in plugin.parameters.items() if p.type is float and p.is_automatable],
        apply,
    )
