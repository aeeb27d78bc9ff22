"""The digits of MNIST, which lie in data/digits, and IDX, their format. See chapter 03."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from lib import ROOT, BadInput

FOLDER = ROOT / "data/digits"
PREFIXES = {"train": "train", "test": "t10k"}
# Types of IDX files by their code, see http://yann.lecun.com/exdb/mnist.
IDX = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
UNPACKED = 2**31  # bytes that a gzipped file may unpack to, since it is held in memory


def load_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """MNIST (LeCun et al. 1998): images uint8 (n, 28, 28) and labels uint8 (n,).

    split is "train" (60,000) or "test" (10,000). Raises BadInput for another split and for damaged
    files.
    """
    if split not in PREFIXES:
        raise BadInput(f'split {split!r} of the digits is not known; choose "train" or "test"')
    arrays = []
    for content in ("images-idx3", "labels-idx1"):
        path = FOLDER / f"{PREFIXES[split]}-{content}-ubyte.gz"
        try:
            arrays.append(read_idx(path))
        except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
            problem = f"not a readable IDX file ({error})"
            raise BadInput(f"{path}: {problem}; restore it with `git checkout data`") from None
    images, labels = arrays
    if len(images) != len(labels) or images.shape[1:] != (28, 28):
        shapes = f"images {images.shape} and labels {labels.shape}"
        raise BadInput(f"{FOLDER}: {shapes} do not belong together")
    return images, labels


def read_idx(path: Path) -> np.ndarray:
    """The array of an IDX file, gzipped or not.

    Raises ValueError, and what reading raises, for anything else.
    """
    with path.open("rb") as file:
        head = file.read(6)
    gzipped = head[:2] == b"\x1f\x8b"
    with gzip.open(path) if gzipped else path.open("rb") as file:
        zeros, code, axes = struct.unpack(">HBB", file.read(4).ljust(4))
        if zeros or code not in IDX:
            raise ValueError(f"begins with {head!r}, not as .npy or IDX do")
        shape, dtype = struct.unpack(f">{axes}I", file.read(4 * axes)), np.dtype(IDX[code])
        promised = math.prod(shape) * dtype.itemsize
        if gzipped and promised > UNPACKED:
            raise ValueError(f"unpacks to {promised} bytes, too many: gunzip it first")
        # A gzipped file may unpack to far more than its header promises.
        content = file.read(promised + 1 if gzipped else -1)
    if len(content) != promised:
        sizes = f"sizes {shape} promise {promised} bytes of content, {len(content)} are there"
        raise ValueError(f"cut off or damaged: {sizes}")
    return np.frombuffer(content, dtype).reshape(shape)
