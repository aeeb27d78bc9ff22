"""Hostile and broken inputs, made here, and a child process for each: `python tests/hostile.py FOLDER` runs them all.

A case is made in a folder of its own. Then a fork of this process, with limits of memory, CPU and time, gives it to
lib. What came of it goes as JSON to FOLDER/found.json, for tests/test_hostile.py: how the fork ended, what lib said,
which files changed, and which processes, connections and writes Python saw.
"""

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import resource
import signal
import socket
import struct
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

MEMORY, CPU_S, WALL_S = (
    4 * 2**30,
    20,
    300,
)  # bytes beyond what the libraries have mapped; s, of waiting: s
GOOD_HZ, CANARY = 24000, "canary"
ROOT = Path(__file__).resolve().parents[1]  # where the child process of lib works
SHELL = f"touch {CANARY}"


class Case(NamedTuple):
    """make(folder) makes the input and returns what act takes; said: what lib has to say, "taken" if nothing."""

    make: Callable[[Path], Any]
    act: Callable[[Any], list[str]]
    said: str


class Canary:
    """An object whose unpickling touches a file."""

    def __reduce__(self) -> tuple:
        return os.system, (SHELL,)


# what lib does with it ------------------------------------------------------------------------------------------------


def listen(top: str) -> list[str]:
    """List a corpus beside whose hostile file there is a good one, and cut a clip from each recording."""
    from lib.data import corpora
    from lib.data.clips import ClipConfig, Clips

    told, recordings = [], corpora.load_corpus(top)
    for recording in recordings:
        config = ClipConfig(corpus=top, split="all", clip_s=0.5)
        with BadInputs(told):
            audio, about = Clips(config, [recording])[0]
            assert np.isfinite(audio).all() and about["recording"] == recording.name
            told.append(f"taken {recording.name}")
    return told


def read_whole(top: str) -> list[str]:
    """List a corpus and read every recording from its start to its end."""
    from lib.data import corpora
    from lib.data.recordings import read_stretch

    told = []
    for recording in corpora.load_corpus(top):
        with BadInputs(told):
            assert np.isfinite(read_stretch(recording, 0, recording.seconds, GOOD_HZ)).all()
            told.append(f"taken {recording.name}")
    return told


class BadInputs:
    """Notes a BadInput among what was told, and goes on."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: Exception | None, _: object) -> bool:
        from lib import BadInput

        self.told += [str(error)] * isinstance(error, BadInput)
        return isinstance(error, BadInput)


def predict(path: Path) -> list[str]:
    from lib.predict import predict_data

    json.dumps(predict_data(str(path), 1), allow_nan=False)
    return ["taken"]


def digits(folder: Path) -> list[str]:
    from lib.data import corpora
    from lib.data.digits import load_digits

    corpora.DATA = folder
    load_digits("test")
    return ["taken"]


def run_file(path: Path) -> list[str]:
    from lib.book.parameters import read_run

    read_run(path)
    return ["taken"]


def begin(values: dict[str, Any]) -> list[str]:
    """Parameters as a notebook has them: what `papermill -p` gave stands in its globals."""
    from lib.book import page as story

    story.begin("02_audio_effects", EFFECTS | values)
    return ["taken"]


def load(corpus: str) -> list[str]:
    from lib.data import corpora

    corpora.load_corpus(corpus)
    return ["taken"]


def card(folder: Path) -> list[str]:
    from lib.runtime import stages as artifacts

    artifacts.read_card(folder)
    return ["taken"]


def weights(path: Path) -> list[str]:
    from lib.vae.checkpoints import damaged

    return [f"{path}: not a readable checkpoint" if damaged(path) else "taken"]


def net(folder: Path) -> list[str]:
    """A finished training of somebody else, its card in order: its net, and its weights as a start."""
    from lib.vae import training
    from lib.vae.checkpoints import Run
    from lib.vae.checkpoints import net as untrained
    from lib.vae.config import TrainingConfig

    told: list[str] = []
    with BadInputs(told):
        Run(folder).model()
        told.append("taken")
    with BadInputs(told):
        start = TrainingConfig(start=folder.name, preset="mlp", latent=2)
        training._earlier(start, untrained(start, (28, 28)), (28, 28))
        told.append("taken")
    return told


def stage(_: Path) -> list[str]:
    from lib.runtime import stages as artifacts

    with mock.patch.object(
        artifacts, "commit", lambda: "unknown"
    ):  # which asks git: a process, and ours
        artifacts.stage(
            "table", {}, lambda folder: table(folder / "table.parquet"), "lib.data.vctk"
        )
    return ["taken"]


# sound ----------------------------------------------------------------------------------------------------------------


def wav(
    data: bytes = bytes(60_000),
    channels: int = 1,
    rate_hz: int = GOOD_HZ,
    bits: int = 16,
    kind: int = 1,
    size: int | None = None,
) -> bytes:
    """A WAV file whose header says what it is told; kind: 1 for integers, 3 for floats."""
    block = channels * bits // 8 % 2**16
    header = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * block % 2**32, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data"
    body += struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def rf64(frames: int) -> bytes:
    """A WAV file of 64-bit sizes that promises so many samples."""
    sizes = struct.pack("<QQQI", 2 * frames + 100, 2 * frames, frames, 0)
    return (
        b"RF64"
        + b"\xff" * 4
        + b"WAVEds64"
        + struct.pack("<I", len(sizes))
        + sizes
        + wav()[12:40]
        + b"\xff" * 4
        + (bytes(60_000))
    )


def floats(value: float, dtype: str = "<f4") -> bytes:
    return wav(np.full(30_000, value, dtype).tobytes(), kind=3, bits=8 * np.dtype(dtype).itemsize)


def tone(seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(np.arange(round(seconds * GOOD_HZ)) / 7)).astype(np.float32)


def encoded(kind: str, audio: np.ndarray | None = None, rate_hz: int = GOOD_HZ) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, tone() if audio is None else audio, rate_hz, format=kind)
    return file.getvalue()


def flac(total: int, rate_hz: int = GOOD_HZ) -> bytes:
    """A second of FLAC whose header promises so many samples of such a rate."""
    body = bytearray(encoded("FLAC"))
    told = int.from_bytes(body[18:26], "big") & (2**44 - 1) & ~(2**36 - 1) | rate_hz << 44 | total
    body[18:26] = told.to_bytes(8, "big")
    return bytes(body)


def crc(rows: np.ndarray, polynomial: int, bits: int) -> np.ndarray:
    """The checksum of each row of bytes, most significant bit first: (n,)."""
    top, mask = 1 << bits - 1, (1 << bits) - 1
    values = np.arange(256, dtype=np.int64) << bits - 8
    for _ in range(8):
        values = (values << 1 ^ np.where(values & top, polynomial, 0)) & mask
    found = np.zeros(len(rows), np.int64)
    for column in rows.T.astype(np.int64):
        found = (found << 8 & mask) ^ values[found >> bits - 8 ^ column]
    return found


def flac_bomb(hours: int, rate_hz: int = 8000) -> bytes:
    """Silence in the largest frames that FLAC has, 65,535 samples in 14 bytes."""
    count, frames = 65535, hours * 3600 * rate_hz // 65535
    told = struct.pack(">HH", count, count) + bytes(6)
    told += (rate_hz << 44 | 15 << 36 | count * frames).to_bytes(8, "big") + bytes(16)
    parts, numbers = [b"fLaC" + b"\x80" + len(told).to_bytes(3, "big") + told], np.arange(frames)
    for width, low, high in (
        (1, 0, 0x80),
        (2, 0x80, 0x800),
        (3, 0x800, 0x10000),
        (4, 0x10000, 0x200000),
    ):
        own = numbers[low:high]
        lead = {1: 0, 2: 0xC0, 3: 0xE0, 4: 0xF0}[width]
        utf8 = [own >> 6 * (width - 1) | lead] + [
            own >> 6 * at & 63 | 128 for at in range(width - 2, -1, -1)
        ]
        sync, size = (
            [np.full(len(own), byte) for byte in same]
            for same in ((0xFF, 0xF8, 0x70, 0), (255, 254))
        )
        rows = np.stack([*sync, *utf8, *size], 1).astype(np.uint8)
        rows = np.column_stack([rows, crc(rows, 0x07, 8), np.zeros((len(own), 3))]).astype(np.uint8)
        check = crc(rows, 0x8005, 16)
        parts.append(np.column_stack([rows, check >> 8, check & 255]).astype(np.uint8).tobytes())
    return b"".join(parts)


def ogg_pages(body: bytes) -> list[bytearray]:
    starts = [at for at in range(len(body)) if body.startswith(b"OggS", at)] + [len(body)]
    return [bytearray(body[a:b]) for a, b in zip(starts, starts[1:], strict=False)]


def ogg(pages: list[bytearray]) -> bytes:
    """Pages with right numbers and checksums."""
    for number, page in enumerate(pages):
        page[18:26] = struct.pack("<II", number, 0)
    for size in {len(page) for page in pages}:
        own = [page for page in pages if len(page) == size]
        sums = crc(np.frombuffer(b"".join(own), np.uint8).reshape(-1, size), 0x04C11DB7, 32)
        for page, value in zip(own, sums.tolist(), strict=True):
            page[22:26] = struct.pack("<I", value)
    return b"".join(pages)


def ogg_end(samples: int) -> bytes:
    """A second of Vorbis whose last page says that it ends at such a sample."""
    pages = ogg_pages(encoded("OGG"))
    pages[-1][6:14] = struct.pack("<q", samples)
    return ogg(pages)


def ogg_bomb(hours: int) -> bytes:
    """Silence: the same page of Vorbis again and again."""
    pages = ogg_pages(encoded("OGG", np.zeros(60 * 8000, np.float32), 8000))
    first, step = (
        pages[:-2],
        struct.unpack("<q", pages[-2][6:14])[0] - struct.unpack("<q", pages[-3][6:14])[0],
    )
    repeated = []
    for number in range(hours * 3600 * 8000 // step):
        page = bytearray(pages[-2])
        page[6:14] = struct.pack("<q", step * (number + 1))
        repeated.append(page)
    repeated[-1][5] |= 4  # the end of the stream
    return ogg(first[:2] + repeated)


MP3_FRAME = b"\xff\xe3\x18\xc0" + bytes(68)  # 72 ms of silence at 8 kHz and 8 kbit/s


def mp3_bomb(hours: float, told: int | None = None) -> bytes:
    """Silence; told: how many frames its first one promises."""
    tag = MP3_FRAME[:13] + b"Xing" + struct.pack(">II", 1, told or 0)
    return (tag.ljust(72, b"\0") if told else b"") + MP3_FRAME * round(hours * 50_000)


def beside(content: bytes, name: str | bytes = "x.wav") -> Callable[[Path], str]:
    """A folder with a good recording and a file of this content."""

    def make(folder: Path) -> str:
        for group in ("good", "bad"):
            (folder / "sounds" / group).mkdir(parents=True)
        (folder / "sounds/good/good.wav").write_bytes(encoded("WAV"))
        if content is not None:
            path = os.fsencode(folder / "sounds/bad") + b"/" + os.fsencode(name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content() if callable(content) else content)
        return f"folder:{folder}/sounds"

    return make


def placed(place: Callable[[Path], Any], name: str = "x.wav") -> Callable[[Path], str]:
    """A folder with a good recording, and what is no file under the name of one."""

    def make(folder: Path) -> str:
        top = beside(None)(folder)
        place(folder / "sounds/bad" / name)
        return top

    return make


def bound_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path may have 108 bytes
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(here)


# MUSDB18's .stem.mp4 --------------------------------------------------------------------------------------------------


def mp4(title: str = "abc") -> bytes:
    """A second of AAC."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        container.metadata["title"] = title
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        noise = np.random.default_rng(0).normal(0, 0.1, (2, 44100)).astype(np.float32)
        for at in range(0, 44100, 1024):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(noise[:, at : at + 1024]), "fltp", "stereo"
            )
            frame.sample_rate, frame.pts = 44100, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def patched(box: str, **at: int) -> Callable[[], bytes]:
    """That .mp4 with 32-bit numbers of a box replaced: offset_8=2**31 is the number 8 bytes behind its name."""

    def make() -> bytes:
        body = bytearray(mp4())
        start = body.rindex(box.encode()) + 4
        for offset, value in at.items():
            place = start + int(offset.removeprefix("offset_"))
            body[place : place + 4] = struct.pack(">I", value)
        return bytes(body)

    return make


def song(content: Any) -> Callable[[Path], str]:
    """MUSDB18 with a good song in each part, and one of this content."""

    def make(folder: Path) -> str:
        for name in ("train/Good", "test/Good too"):
            (folder / "musdb" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "musdb" / f"{name}.stem.mp4").write_bytes(mp4())
        path = folder / "musdb/train/Bad.stem.mp4"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif (
            made := content() if content is mp4 or content.__name__ == "make" else content(path)
        ) is not None:
            path.write_bytes(made)
        return f"musdb18:{folder}/musdb"

    return make


def vctk(info: Callable[[Path], Any]) -> Callable[[Path], str]:
    """VCTK with one utterance, and something as speaker-info.txt."""

    def make(folder: Path) -> str:
        (folder / "VCTK/wav48/p1").mkdir(parents=True)
        (folder / "VCTK/wav48/p1/p1_001.wav").write_bytes(encoded("WAV"))
        info(folder / "VCTK/speaker-info.txt")
        return f"vctk:{folder}/VCTK"

    return make


# data, run files, parameters, artifacts -------------------------------------------------------------------------------


def npy(header: str, data: bytes = bytes(64), version: int = 1) -> bytes:
    """An .npy file of any header."""
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


def shaped(shape: str, dtype: str = "'<f8'") -> bytes:
    return npy(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}")


def objects() -> bytes:
    return npy(
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }",
        pickle.dumps(np.array([Canary()] * 4)),
    )


def idx(kind: int, *shape: int, data: bytes = b"", axes: int | None = None) -> bytes:
    axes = len(shape) if axes is None else axes
    return struct.pack(f">HBB{len(shape)}I", 0, kind, axes, *shape) + data


def many_members(megabytes: int) -> bytes:
    """A gzip file of many members, each a megabyte of zeros."""
    return gzip.compress(idx(8, 3, 20, data=bytes(60))) + gzip.compress(bytes(2**20)) * megabytes


def file(content: Any, name: str = "x") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        body = content() if callable(content) else content
        path.write_bytes(body.encode() if isinstance(body, str) else body)
        return path

    return make


def special(place: Callable[[Path], Any], name: str = "x") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        place(folder / name)
        return folder / name

    return make


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def mnist(body: bytes) -> Callable[[Path], Path]:
    """A data folder whose digits are this file."""

    def make(folder: Path) -> Path:
        (folder / "digits").mkdir()
        (folder / "digits/t10k-images-idx3-ubyte.gz").write_bytes(body)
        return folder

    return make


EFFECTS = {"corpus": "speech", "clip_s": 2.03, "settings": "fixed", "seed": 0}
RUN = (
    "stories:\n  02_audio_effects: {{corpus: {}, clip_s: 2.03, settings: fixed, seed: 0}}\n".format
)


def laughs(item: str = "[*a, *a, *a, *a, *a, *a, *a, *a, *a]") -> bytes:
    """Nine levels of nine: 400 million words when written out."""
    lines = ["a: &a [lol, lol, lol]"]
    lines += [
        f"{b}: &{b} {item.replace('*a', f'*{a}')}"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    return ("\n".join(lines) + "\n" + RUN("*i")).encode()


DIGEST = "0" * 32  # a checksum of nothing that is there


def signed(fields: dict) -> str:
    """A card of these fields and of the format that lib reads, with the right checksum of itself."""
    from lib.runtime.code import json_hash
    from lib.runtime.stages import FORMAT

    card = {"format": FORMAT} | fields
    return json.dumps(card | {"sum": json_hash(card)})


def as_card(content: str | dict) -> Callable[[Path], Path]:
    """A stage that holds a pipe, a folder and a device, a file above it, and its card: a text, or a signed one."""

    def make(folder: Path) -> Path:
        stage = folder / "stage"
        (stage / "inner").mkdir(parents=True)
        (folder / "above").write_bytes(b"x")
        os.mkfifo(stage / "pipe")
        zeros(stage / "zeros")
        text = signed(content) if isinstance(content, dict) else content
        (stage / "card.json").write_text(text, encoding="utf-8")
        return stage

    return make


def zipped_weights(content: bytes) -> bytes:
    with io.BytesIO() as body:
        with zipfile.ZipFile(body, "w") as packed:
            packed.writestr("archive/data.pkl", content)
            packed.writestr("archive/version", "3\n")
            packed.writestr("archive/byteorder", "little")
        return body.getvalue()


def bomb() -> bytes:
    """Weights of 4 GB in 4 MB: torch.save packs nothing, torch.load unpacks it."""
    import torch

    file, zeros = io.BytesIO(), bytes(2**20)
    torch.save({"x": torch.zeros(2**20 // 4)}, file)
    packed = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            with new.open(name, "w", force_zip64=True) as part:
                for _ in range(4096 if name.endswith("data/0") else 0):
                    part.write(zeros)
                part.write(b"" if name.endswith("data/0") else old.read(name))
    return packed.getvalue()


def trained(weights: bytes) -> Callable[[Path], Path]:
    """A finished training with these weights, among the artifacts, every checksum in order."""

    def make(_: Path) -> Path:
        folder = Path(os.environ["ARTIFACTS_DIR"]) / "train" / ("0" * 16)
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(weights)
        config = {"training": {"preset": "mlp", "latent": 2}, "shape": [28, 28]}
        sums = {"model.pt": hashlib.blake2b(weights, digest_size=16).hexdigest()}
        (folder / "card.json").write_text(
            signed({"format": 2, "config": config, "files": sums}), encoding="utf-8"
        )
        return folder

    return make


def tarred_weights() -> bytes:
    with io.BytesIO() as body:
        with tarfile.open(fileobj=body, mode="w") as packed:
            for name in ("storages", "tensors", "pickle"):
                content, info = pickle.dumps(Canary()), tarfile.TarInfo(name)
                info.size = len(content)
                packed.addfile(info, io.BytesIO(content))
        return body.getvalue()


def table(path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"x": np.arange(1000)}).to_parquet(path)


def damaged_stage(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """A finished stage, then its table is changed."""

    def make(folder: Path) -> Path:
        stage(folder)
        (path,) = Path(os.environ["ARTIFACTS_DIR"]).glob("table/*/table.parquet")
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


NAMES = {
    "newline": "a\nb.wav",
    "quotes": "a\"'`b.wav",
    "HTML": "<img src=x onerror=alert(1)>.wav",
    "dollars": "a$\\x$b.wav",
    "escape": "a\x1b[2Jb.wav",
    "long": "n" * 251 + ".wav",
    "dash": "-rf.wav",
    "format": "%s%n{0}{x}.wav",
    "shell": f"$({SHELL}).wav",
    "right to left": "a\u202egpj.wav",
    "spaces": " .. .wav",
    "emoji": "\U0001f3b5" * 60 + ".wav",
    "300 characters": "n" * 150 + "/" + "m" * 150 + ".wav",
}
X = r"bad/x\.wav"
CASES = {
    **{
        f"wav: {what}": Case(beside(body), listen, rf"{X}( \(|: ).*({said})")
        for what, body, said in (
            ("rate 0", wav(rate_hz=0), "not decodable"),
            ("rate -1", wav(rate_hz=2**32 - 1), "not decodable"),
            ("rate 2^31 - 1", wav(rate_hz=2**31 - 1), "1 channels, 30000 samples, 2147483647 Hz"),
            ("rate 1", wav(rate_hz=1), "30000 samples, 1 Hz"),
            ("0 channels", wav(channels=0), "not decodable"),
            ("65,535 channels", wav(channels=65535), "not decodable"),
            ("1,024 channels", wav(channels=1024), "1024 channels"),
            (
                "2^31 channels, as AU has them",
                b".snd" + struct.pack(">5I", 24, 60_000, 3, GOOD_HZ, 2**31) + bytes(60_000),
                "not decodable",
            ),
            ("0 bits", wav(bits=0), "not decodable"),
            ("65,535 bits", wav(bits=65535), "not decodable"),
            ("10 hours", wav(size=10 * 3600 * GOOD_HZ * 2), "truncated"),
            ("2^31 bytes", wav(size=2**31), "truncated"),
            ("NaN", floats(np.nan), "NaN or infinite"),
            ("infinity", floats(np.inf), "NaN or infinite"),
            ("1e300", floats(1e300, "<f8"), "NaN or infinite"),
            ("denormal numbers", floats(1e-40), "silent"),
            ("text chunk", wav()[:36] + b"LIST" + b"\xff" * 4 + bytes(99), "not decodable|samples"),
        )
    },
    "wav: 2^62 samples of 64 bits": Case(beside(rf64(2**60)), listen, f"{X}.*silent|{X} \\("),
    "wav: 3e38": Case(beside(floats(3e38)), listen, f"taken {X}|{X}: "),
    **{
        f"{name[2:]}: {what}": Case(beside(body, name), listen, rf"bad/{name}( \(|: ).*({said})")
        for name, what, body, said in (
            ("x.flac", "2^36 - 1 samples", lambda: flac(2**36 - 1), "truncated"),
            ("x.flac", "unknown length", lambda: flac(0), "truncated"),
            ("x.flac", "rate 0", lambda: flac(24000, 0), "not decodable"),
            ("x.flac", "rate 1", lambda: flac(24000, 1), "24000 samples, 1 Hz"),
            ("x.flac", "1,000 hours of silence", lambda: flac_bomb(1000), "silent"),
            ("x.ogg", "10 hours of silence", lambda: ogg_bomb(10), "silent"),
            ("x.mp3", "half an hour of silence", lambda: mp3_bomb(0.5), "silent"),
            ("x.mp3", "promises 2^31 frames", lambda: mp3_bomb(1, 2**31 - 1), "truncated|samples"),
            ("x.mp3", "zeros", lambda: bytes(10**6), "not decodable"),
        )
    },
    "ogg: ends at 2^62": Case(beside(lambda: ogg_end(2**62), "x.ogg"), listen, r"bad/x\.ogg"),
    "ogg: ends at -5": Case(beside(lambda: ogg_end(-5), "x.ogg"), listen, r"bad/x\.ogg"),
    "name: pipe": Case(placed(os.mkfifo), listen, rf"{X} \(zero bytes"),
    "name: socket": Case(placed(bound_socket), listen, rf"{X} \(zero bytes"),
    "name: device": Case(placed(zeros), listen, rf"{X} \(a link that leaves the folder"),
    "name: folder": Case(placed(os.mkdir), listen, "taken good/good"),
    "name: link to itself": Case(
        placed(lambda path: path.symlink_to(path.name)), listen, rf"{X} \("
    ),
    "name: link out": Case(
        placed(lambda path: path.symlink_to("/etc/passwd")), listen, rf"{X} \(a link that leaves"
    ),
    "name: link up": Case(placed(lambda path: path.symlink_to("../..")), listen, "taken good/good"),
    "name: not UTF-8": Case(
        beside(wav(), b"\xff\xfe.wav"), listen, r"bad/\\udcff\\udcfe\.wav' \(not decodable"
    ),
    **{
        f"name: {what}": Case(
            beside(lambda: encoded("WAV"), name), listen, f"taken bad/{re.escape(name)}"
        )
        for what, name in NAMES.items()
    },
    "name: newline, and broken": Case(
        beside(b"x", "a\nb.wav"), listen, r"'bad/a\\nb\.wav' \(not decodable"
    ),
    **{
        f"mp4: {what}": Case(
            song(content),
            read_whole,
            rf"train/Bad(: | \(|/|\.).*({said})|Bad\.stem\.mp4: .*({said})",
        )
        for what, content, said in (
            ("text", b"<html>" * 99, "not decodable"),
            ("pipe", os.mkfifo, "missing"),
            ("folder", os.mkdir, "missing"),
            (
                "playlist",
                b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
                "not decodable",
            ),
            (
                "list of other files",
                b"ffconcat version 1.0\nfile 'Good.stem.mp4'\n",
                "not decodable",
            ),
            ("cut", lambda _: mp4()[:3000], "not decodable|truncated"),
            ("2^31 samples in a table", patched("stsz", offset_8=2**31 - 1), "not decodable"),
            (
                "samples of nothing",
                patched("stsz", offset_4=1, offset_8=2**28 - 1),
                "not decodable|truncated",
            ),
            ("samples of 2^31 ticks", patched("stts", offset_12=2**31 - 1), "truncated|samples"),
            ("content beyond the end", patched("stco", offset_8=2**32 - 1), "truncated"),
            ("0 ticks a second", patched("mdhd", offset_12=0), "truncated"),
        )
    },
    "mp4: a title that is no UTF-8": Case(
        song(lambda _: mp4().replace(b"abc", b"\xff\xfe\xe9")), read_whole, "taken train/Bad"
    ),
    "mp4: unknown codec": Case(
        song(lambda _: mp4().replace(b"mp4a", b"zzzz")), read_whole, "train/Bad"
    ),
    "mp4: 65,535 channels": Case(
        song(patched("mp4a", offset_16=2**32 - 1)), read_whole, "train/Bad"
    ),
    "vctk: persons from a pipe": Case(vctk(os.mkfifo), read_whole, "taken p1"),
    "vctk: persons without end": Case(vctk(zeros), read_whole, "taken p1"),
    "vctk: persons of HTML": Case(
        vctk(lambda path: path.write_text("p2 <b>\n" * 9)), read_whole, r"p2 \(no sound"
    ),
    **{
        f"npy: {what}": Case(file(body), predict, f"/x: not readable.*{said}")
        for what, body, said in (
            ("2^64 values", shaped("(4294967296, 4294967296)", "'u1'"), "too big"),
            ("2^80 values", shaped("(1208925819614629174706176, 2)"), ""),
            ("-5 values", shaped("(-1, 5)"), "negative"),
            ("-3 by -4", shaped("(-3, -4)"), ""),
            ("2^43 values, 8 there", shaped("(1099511627776, 8)"), "greater than file"),
            ("shape of True", shaped("(True, 5)"), "integer"),
            ("70 axes", shaped("(" + "1," * 70 + ")"), "64"),
            ("objects that run code", objects(), "Python objects"),
            ("header that runs code", npy(f"__import__('os').system({SHELL!r})"), ""),
            ("header of brackets", npy("(" * 150), ""),
            ("header of minus signs", npy("-" * 9000 + "1"), ""),
            ("header without end", npy("{'descr': '<f8'"), ""),
            ("header of 20 MB", npy("[" * 20_000_000, version=2), ""),
            ("dtype of a number", shaped("(5, 5)", "3"), "descriptor"),
            ("zip of arrays", zipped_weights(pickle.dumps(Canary())), "not as .npy or IDX"),
        )
    },
    "npy: values without size": Case(file(shaped("(5, 5)", "'V0'")), predict, r"/x: holds \|V0"),
    **{
        f"idx: {what}": Case(file(body), predict, f"/x: not readable.*{said}")
        for what, body, said in (
            ("2^64 values", idx(8, 2**31, 2**31, 4), "0 are there"),
            ("255 axes of 2^32 - 1", idx(14, *[2**32 - 1] * 255), "0 are there"),
            ("more axes than sizes", idx(8, 2, axes=200), ""),
            ("unknown type", idx(7, 2, 2, data=b"abcd"), "not as .npy or IDX"),
            ("bomb of 10 GB", lambda: many_members(10_000), "61 are there"),
            (
                "bomb of 2 GB as told",
                lambda: gzip.compress(idx(8, 2, 2**30)),
                "unpacks to 2147483648 bytes|are there",
            ),
            ("endless gzip header", b"\x1f\x8b\x08\x08" + b"n" * 10**6, ""),
        )
    },
    "idx: pipe": Case(special(os.mkfifo), predict, "/x: not readable .neither a file nor a folder"),
    "idx: device": Case(special(zeros), predict, "/x: not readable .neither a file nor a folder"),
    "digits: bomb": Case(
        mnist(gzip.compress(idx(8, 10**4, 28, 28)) + gzip.compress(bytes(2**20)) * 9000),
        digits,
        "does not fit",
    ),
    "digits: damaged": Case(
        mnist(gzip.compress(idx(8, 9, 28, 28))[:12] + b"\xff" * 99),
        digits,
        "idx3-ubyte.gz: not a readable",
    ),
    **{
        f"run: {what}": Case(file(body, "x.yml"), run_file, rf"x\.yml: {said}")
        for what, body, said in (
            (
                "code by a tag",
                f"stories: !!python/object/apply:os.system ['{SHELL}']",
                "not a run file",
            ),
            ("new object by a tag", f"!!python/object/new:os.system ['{SHELL}']", "not a run file"),
            ("module by a tag", "stories: !!python/module:os", "not a run file"),
            ("billion laughs", laughs(), "names a value by an alias"),
            (
                "quadratic laughs",
                f"a: &a {'x' * 10**5}\nb: [{'*a,' * 9999}]\n" + RUN("speech"),
                "names a value by an",
            ),
            ("a list in itself", "a: &a [*a]\n" + RUN("*a"), "names a value by an alias"),
            ("nested 1,000 times", "[" * 1000, "not a run file"),
            ("a number of 5,000 digits", RUN("1" * 5000), "not a run file"),
            ("not UTF-8", b"\xff\xfe\xfa", "not a run file"),
            ("zero bytes", b"stories: \0", "not a run file"),
            (
                "code as the name of a parameter",
                RUN(f"speech, 'seed=0;import os;os.system(\"{SHELL}\")#': 1"),
                ".*unknown",
            ),
            (
                "code as the name of a story",
                f"stories: {{'../../$({SHELL})': {{}}}}",
                "story '../../",
            ),
            ("a list as stories", "stories: [1, 2]", "not a run file"),
            ("text as parameters", "stories: {02_audio_effects: abc}", "not a run file"),
            ("a corpus of zero bytes", RUN('"folder:\\0"'), "02_audio_effects: corpus = 'folder:"),
        )
    },
    "run: pipe": Case(special(os.mkfifo, "x.yml"), run_file, r"x\.yml: no such run"),
    "run: folder": Case(special(os.mkdir, "x.yml"), run_file, r"x\.yml: no such run"),
    **{
        f"parameter: {what}": Case(
            lambda _, values=values: values, begin, f"02_audio_effects: {said}"
        )
        for what, values, said in (
            ("code as a number", {"clip_s": f"__import__('os').system({SHELL!r})"}, "clip_s = "),
            ("minus signs as a number", {"clip_s": "-" * 10**5 + "1"}, "clip_s = "),
            ("brackets as a number", {"clip_s": "[" * 10**5}, "clip_s = "),
            ("braces as a number", {"seed": "{" * 150 + "}" * 150}, "seed = "),
            (
                "code as a corpus",
                {"corpus": f"speech');__import__('os').system('{SHELL}')#"},
                "corpus = ",
            ),
            ("quotes as a choice", {"settings": "fixed\"'\n<b>"}, "settings = "),
            (
                "a name that was injected",
                {"In": ["# Parameters\nseed = 1\nbeta = 2"], "beta": 2},
                "unknown parameter beta",
            ),
            ("half a character", {"seed": "\ud800"}, "seed = "),
        )
    },
    **{
        f"corpus: {corpus[:20]!a}": Case(lambda _, corpus=corpus: corpus, load, said)
        for corpus, said in (
            (f"folder:..;{SHELL}", r"folder \.\.;touch"),
            (f"folder:$({SHELL})", r"folder \$\(touch"),
            (f"vctk:`{SHELL}`", "vctk `touch"),
            (f"folder:|{SHELL}", r"folder \|touch"),
            ("folder:a\0b", "zero|null"),
            ("vctk:a\0b", "zero|null"),
            ("folder:\ud800", "surrogate"),
            ("musdb18:\ud800?stem=bass", "surrogate"),
            ("folder:~nobody-by-this-name/x", "folder ~nobody-by-this-name/x: No such"),
            ("vctk:~nobody-by-this-name", "vctk ~nobody-by-this-name: No such"),
            ("folder:" + "a" * 5000, "File name too long"),
            ("folder:/dev/zero", "folder /dev/zero: Not a directory"),
            ("musdb18:http://127.0.0.1:9/x", "musdb18 http:/"),
            ("vctk:/tmp?mic=9", "setting 'mic=9' is not known"),
            ("musdb18:/tmp?stem=';DROP", "setting"),
            ("speech:../../etc", "takes nothing after a colon"),
            ("__class__:x", "is not known"),
        )
    },
    **{
        f"card: {what}": Case(as_card(content), card, said)
        for what, content, said in (
            ("nested 100,000 times", "[" * 10**5, r"card\.json: missing or not readable"),
            (
                "nested in files",
                '{"format": 2, "files": ' + '{"a":' * 10**5,
                r"card\.json: missing or not readable",
            ),
            (
                "a number of 5,000 digits",
                '{"format": ' + "1" * 5000 + "}",
                r"card\.json: missing or not readable",
            ),
            ("a list", "[]", r"card\.json: written in card format None"),
            ("no files", {}, r"card\.json: written in card format None"),
            ("files as a list", {"files": ["a", "b"]}, r"card\.json: written in card format None"),
            (
                "files as a number",
                {"files": float("inf")},
                r"card\.json: written in card format None",
            ),
            ("another format", {"format": 1, "files": {}}, r"card\.json: written in card format 1"),
            (
                "a format as text",
                {"format": "2", "files": {}},
                r"card\.json: written in card format 2",
            ),
            (
                "no checksum",
                '{"format": 2, "files": {}}',
                r"card\.json: damaged, its checksum is another",
            ),
            (
                "a list as its checksum",
                '{"format": 2, "files": {}, "sum": []}',
                r"card\.json: damaged, its checksum is an",
            ),
            *(
                (
                    f"{what} as a checksum",
                    {"files": {"card.json": value}},
                    r"card\.json: damaged, its checksum is not that",
                )
                for what, value in (
                    ("text", "many"),
                    ("NaN", float("nan")),
                    ("a list of lists", [[[]]] * 99),
                )
            ),
            *(
                (
                    f"a name of {what}",
                    {"files": {name: DIGEST}},
                    f"{said}: (missing or not readable|not a file of this)",
                )
                for what, name, said in (
                    ("5,000 letters", "a" * 5000, "aaaa"),
                    ("a zero byte", "a\0b", "a\0b"),
                    ("half a character", "\ud800", "/\ud800"),
                    ("nothing", "", ""),
                    ("a folder", "inner", "inner"),
                    ("a file that is missing", "x", "/x"),
                )
            ),
            *(
                (what, {"files": {name: DIGEST}}, f"{re.escape(name)}: not a file of this stage")
                for what, name in (
                    ("a device", "/dev/zero"),
                    ("a device above", "../" * 20 + "dev/zero"),
                    ("a link to a device", "zeros"),
                    ("a file elsewhere", "/etc/passwd"),
                    ("a file above", "inner/../../above"),
                    ("a pipe", "pipe"),
                )
            ),
            (
                "a name in another spelling",
                {"files": {"./card.json": DIGEST}},
                "card.json: (damaged|not a file of)",
            ),
        )
    },
    **{
        f"checkpoint: {what}": Case(
            file(body, "model.pt"), weights, r"model\.pt: not a readable checkpoint"
        )
        for what, body in (
            ("pickled code", pickle.dumps(Canary())),
            ("pickled code in a zip", zipped_weights(pickle.dumps(Canary()))),
            ("pickled code in a tar", tarred_weights()),
            ("code by the protocol of 1996", f"cos\nsystem\n(S'{SHELL}'\ntR.".encode()),
            (
                "pickled code in the form of 2016",
                b"".join(map(pickle.dumps, (0x1950A86A20F9469CFC6C, 1001, Canary()))),
            ),
            ("nested 100,000 times", b"(" * 10**5 + b"."),
            (
                "a pickle that fills memory",
                b"\x80\x04" + b"\x8e" + struct.pack("<Q", 2**40) + b"x.",
            ),
            ("a bomb", bomb),
        )
    },
    **{
        f"training: {what}": Case(
            trained(body), net, r"(.*model\.pt: not a readable checkpoint.*delete){2}"
        )
        for what, body in (
            ("pickled code", pickle.dumps(Canary())),
            ("pickled code in a zip", zipped_weights(pickle.dumps(Canary()))),
            ("pickled code in a tar", tarred_weights()),
            ("no pickle", zipped_weights(b"")),
            ("text", b"weights"),
            ("nothing", b""),
        )
    },
    "parquet: truncated": Case(
        damaged_stage(lambda body: body[:-99]), stage, r"taken.*table\.parquet: damaged"
    ),
    "parquet: empty": Case(
        damaged_stage(lambda body: b""), stage, r"taken.*table\.parquet: damaged"
    ),
}


# the child processes --------------------------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every name below a folder with kind, size and time of change; without artifacts/, and tmp/ itself."""
    found = {}
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("artifacts", "d")]
        for name in {*folders, *names} - {"tmp"}:
            status = os.lstat(os.path.join(top, name))
            path = os.path.relpath(os.path.join(top, name), folder)
            found[path] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
BELOW = {
    "os.remove": 1,
    "os.rmdir": 1,
    "os.mkdir": 2,
    "os.rename": 2,
}  # place of the open folder that a name is in
CHANGES = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
)
STARTS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "subprocess.Popen",
    "pty.spawn",
    "socket.connect",
)
DECODER = ["-m", "lib.data.recordings"]  # the child process of lib in which sound is decoded


def watch(events: Any, *allowed: Path) -> None:
    """Append to events what this process starts, connects to, or writes outside of these folders."""

    def hook(event: str, arguments: tuple) -> None:
        writes = event in CHANGES or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        )
        if event in STARTS and not (event == "subprocess.Popen" and arguments[1][1:] == DECODER):
            events.append(f"{event} {arguments!r}"[:200])
        elif writes and not isinstance(arguments[0], int):
            below = arguments[BELOW[event]] if event in BELOW else -1
            base = os.getcwd() if below < 0 else os.readlink(f"/proc/self/fd/{below}")
            path = os.path.normpath(os.path.join(base, os.fsdecode(arguments[0])))
            if not path.startswith(tuple(f"{each}/" for each in allowed)):
                events.append(f"{event} {path}"[:200])

    sys.addaudithook(hook)


class Log:
    """Events of a process that the fork starts, in a file that was opened before anything is noted."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def append(self, event: str) -> None:
        os.write(self.file, f"{event!a}\n".encode())


# of the child process in which lib decodes sound: it is a new interpreter, to which no hook of this one reaches
HOOK = """
import os, sys
if "HOSTILE_EVENTS" in os.environ:
    sys.path.append({tests!r})
    import pathlib, hostile
    log = hostile.Log(os.environ["HOSTILE_EVENTS"])
    place, measured = pathlib.Path(os.environ["HOSTILE_PLACE"]), pathlib.Path({tests!r}).parent / "artifacts/coverage"
    hostile.watch(log, place / "artifacts", place / "tmp", measured)
"""


def child(case: Case, argument: Any, place: Path, out: int) -> None:
    """The fork: limits, the act, and what came of it into the pipe. Never returns."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(WALL_S)
    os.chdir(place)
    events: list[str] = []
    watch(events, place / "artifacts", place / "tmp")
    from lib import BadInput

    found: dict[str, Any] = {"events": events}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found |= {"kind": "done", "said": case.act(argument)}
        except BadInput as error:
            found |= {"kind": "refused", "said": [str(error)]}
        except BaseException as error:
            found |= {"kind": "raised", "said": [f"{type(error).__name__}: {error}"]}
    found["said"] += [str(warning.message) for warning in caught]
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
    with os.fdopen(out, "wb") as pipe:
        pipe.write(json.dumps(found).encode())  # ASCII: half a character is an escape
    os._exit(0)


def run(number: int, case: Case, folder: Path) -> dict[str, Any]:
    """Make a case and give it to a fork."""
    place = folder / f"{number:03}"
    for name in ("input", "tmp"):
        (place / name).mkdir(parents=True)
    tempfile.tempdir = str(place / "tmp")
    hook, log = folder / "hook", folder / f"{number:03}.events"
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(HOOK.format(tests=str(Path(__file__).parent)))
    os.environ |= {
        "HOME": str(place),
        "ARTIFACTS_DIR": str(place / "artifacts"),
        "HOSTILE_PLACE": str(place),
        "HOSTILE_EVENTS": str(log),
        "PYTHONPATH": f"{hook}{os.pathsep}{ROOT}",
    }
    argument = case.make(place / "input")
    before = tree(place)
    into, out = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(into)
        child(case, argument, place, out)
    os.close(out)
    with os.fdopen(into, "rb") as pipe:
        body = pipe.read()
    _, status, used = os.wait4(pid, 0)
    after = tree(place)
    changed = sorted(
        ascii(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    found = (
        json.loads(body) if body else {"kind": "nothing", "said": [], "events": [], "peak_mb": 0}
    )
    found |= {"status": status, "seconds": used.ru_utime + used.ru_stime, "changed": changed}
    found["events"] += log.read_text().splitlines() if log.exists() else []
    return found | {
        "decoded": log.exists(),
        "canary": (place / CANARY).exists() or (ROOT / CANARY).exists(),
    }


def main(folder: Path, *names: str) -> None:
    """Run all cases, or those of these names, and write found.json."""
    import matplotlib.pyplot  # noqa: F401  what a case loads is loaded once, here
    import pyarrow.parquet  # noqa: F401

    from lib.data.mp4 import AudioStream  # noqa: F401
    from lib.vae import training  # noqa: F401

    found = {
        name: run(number, case, folder)
        for number, (name, case) in enumerate(CASES.items())
        if not names or any(name.startswith(each) for each in names)
    }
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
