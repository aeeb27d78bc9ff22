"""The digits of MNIST, which lie in data/digits. Chapter 03 trains on them."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from lib import ROOT, BadInput

FOLDER = ROOT / "data/digits"
PREFIXES = {"train": "train", "test": "t10k"}
LARGEST = 2**26  # bytes; the largest of the four files has 47 MB


def load_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """MNIST (LeCun et al. 1998): images uint8 (n, 28, 28) and labels uint8 (n,).

    split is "train" (60,000) or "test" (10,000). Raises BadInput for another split and for damaged
    files.
    """
    if split not in PREFIXES:
        raise BadInput(f'split {split!r} of the digits is not known; choose "train" or "test"')
    images = _read_idx(FOLDER / f"{PREFIXES[split]}-images-idx3-ubyte.gz", 3)
    labels = _read_idx(FOLDER / f"{PREFIXES[split]}-labels-idx1-ubyte.gz", 1)
    if len(images) != len(labels) or images.shape[1:] != (28, 28):
        shapes = f"images {images.shape} and labels {labels.shape}"
        raise BadInput(f"{FOLDER}: {shapes} do not belong together")
    return images, labels


def _read_idx(path: Path, axes: int) -> np.ndarray:
    """A gzipped IDX file of bytes: magic number, sizes, content."""
    remedy = "restore it with `git checkout data`"
    header = struct.Struct(f">{1 + axes}I")
    try:
        with gzip.open(path) as file:
            content = file.read(LARGEST)
        magic, *shape = header.unpack_from(content)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise BadInput(f"{path}: not a readable IDX file ({error}); {remedy}") from None
    if magic != 0x0800 + axes or len(content) - header.size != math.prod(shape):
        what = f"magic number {magic} with sizes {shape} does not fit {len(content)} bytes"
        raise BadInput(f"{path}: {what}; {remedy}")
    return np.frombuffer(content, np.uint8, offset=header.size).reshape(shape)
