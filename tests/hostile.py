"""Makers of hostile and broken inputs, for tests/test_hostile.py and tests/fuzz.py."""

import io
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np

RATE = 24000
CANARY = Path(f"/tmp/canary-{os.getuid()}")  # exists if code in an input was run
SHELL = f"touch {CANARY}"
EFFECTS = {"corpus": "speech", "clip_s": 2.03, "settings": "fixed", "seed": 0}
RUN = "stories:\n  02_audio_effects: {{corpus: {}, clip_s: 2.03, settings: fixed, seed: 0}}\n"


def write(path: Path, content) -> None:
    """The file at a path: its text, its bytes, or what makes it there."""
    if callable(content):
        content(path)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8", errors="surrogatepass")
    else:
        path.write_bytes(content)


class Canary:
    """An object whose unpickling touches a file."""

    def __reduce__(self) -> tuple:
        return os.system, (SHELL,)


def wav(
    data: bytes = bytes(60_000),
    channels: int = 1,
    rate_hz: int = RATE,
    kind: int = 1,
    bits: int = 16,
    size: int | None = None,
) -> bytes:
    """A WAV file whose header says what it is told; kind: 1 for integers, 3 for floats."""
    block = channels * bits // 8 % 2**16
    header = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * block % 2**32, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data"
    body += struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def floats(value: float, dtype: str = "<f4") -> bytes:
    data = np.full(30_000, value, dtype)
    return wav(data.tobytes(), kind=3, bits=8 * data.itemsize)


def encoded(kind: str, seconds: float = 1.0) -> bytes:
    """A tone."""
    import soundfile

    file = io.BytesIO()
    audio = 0.3 * np.sin(np.arange(round(seconds * RATE)) / 7)
    soundfile.write(file, audio, RATE, format=kind)
    return file.getvalue()


def flac(frames: int, rate_hz: int = RATE) -> bytes:
    """A second of FLAC whose header promises so many samples of such a rate."""
    body = bytearray(encoded("FLAC"))
    rest = int.from_bytes(body[18:26], "big") & (2**44 - 1) & ~(2**36 - 1)
    body[18:26] = (rest | rate_hz << 44 | frames).to_bytes(8, "big")
    return bytes(body)


def mp3(hours: float, promised_frames: int = 0) -> bytes:
    """Silence at 8 kHz."""
    frame = b"\xff\xe3\x18\xc0" + bytes(68)
    tag = frame[:13] + b"Xing" + struct.pack(">II", 1, promised_frames)
    return tag.ljust(72, b"\0") * bool(promised_frames) + frame * round(hours * 50_000)


def write_aac(file, stems: list[np.ndarray], pns: bool = False, first: bool = False) -> None:
    """A stereo AAC stream per stem (2, sample); pns: the encoder may put noise; first: index."""
    import av

    rate_hz = 44100
    muxer = {"movflags": "+faststart"} if first else {}
    coder = {"aac_pns": str(int(pns)), "aac_coder": "fast"}
    with av.open(file, "w", format="mp4", options=muxer) as packed:
        streams = [packed.add_stream("aac", rate_hz, coder, layout="stereo") for _ in stems]
        for at in range(0, stems[0].shape[1], 1024):
            for stream, stem in zip(streams, stems, strict=True):
                block = np.ascontiguousarray(stem[:, at : at + 1024])
                frame = av.AudioFrame.from_ndarray(block, "fltp", "stereo")
                frame.sample_rate, frame.pts = rate_hz, at
                packed.mux(stream.encode(frame))
        for stream in streams:
            packed.mux(stream.encode(None))


def mp4() -> bytes:
    """A second of AAC."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 44 * 1024)).astype(np.float32)
    write_aac(file, [noise])
    return file.getvalue()


def patched_mp4(box: str, offset: int, value: int) -> bytes:
    """That .mp4 with a 32-bit number of a box replaced."""
    body = bytearray(mp4())
    at = body.rindex(box.encode()) + 4 + offset
    body[at : at + 4] = struct.pack(">I", value)
    return bytes(body)


def npy(header: str, data: bytes = bytes(64), version: int = 1) -> bytes:
    """An .npy file of any header."""
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


def shaped(shape: str, dtype: str = "'<f8'", data: bytes = bytes(64)) -> bytes:
    return npy(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}", data)


def idx(kind: int, *shape: int, data: bytes = b"", axes: int | None = None) -> bytes:
    axes = len(shape) if axes is None else axes
    return struct.pack(f">HBB{len(shape)}I", 0, kind, axes, *shape) + data


def laughs() -> str:
    """Nine levels of nine: 400 million words when written out."""
    lines = ["a: &a [lol, lol, lol]"]
    for a, b in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]")
    return "\n".join(lines) + "\n" + RUN.format("*i")


def signed(fields: dict) -> str:
    """A card of these fields, with the right checksum of itself."""
    from lib.runtime import stages

    return json.dumps(fields | {"sum": stages.json_hash(fields)})


def zipped_weights(content: bytes) -> bytes:
    """A checkpoint in the form of torch.save around any pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("archive/data.pkl", content)
        packed.writestr("archive/version", "3\n")
        packed.writestr("archive/byteorder", "little")
    return file.getvalue()


def bomb_weights() -> bytes:
    """Weights of 64 MB in 64 kB: torch.save packs nothing, torch.load unpacks it."""
    import torch

    file, packed = io.BytesIO(), io.BytesIO()
    torch.save({"x": torch.zeros(2**20 // 4)}, file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            with new.open(name, "w", force_zip64=True) as part:
                if not name.endswith("data/0"):
                    part.write(old.read(name))
                    continue
                for _ in range(64):
                    part.write(bytes(2**20))
    return packed.getvalue()
