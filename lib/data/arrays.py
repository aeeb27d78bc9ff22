"""Files of numbers as examples: .npy, .npz, .csv, .pt and IDX. For `lib.predict`."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lib import BadInput
from lib.data.digits import read_idx

PICTURE = 127  # a uint8 above it belongs to a picture, which trainings divide by 255
WANTED = "give a .npy, .npz, .csv, .pt or IDX file"


def read_array(data: str) -> np.ndarray:
    """The array of a file (example, ...); a .npy file is mapped, the others are read into memory.

    data: a path; of several arrays in a .npz or .pt file, PATH?KEY names one. The first bytes tell
    .npy and IDX, gzipped or not; the ending tells .csv and .tsv. BadInput names the file, and says
    what would be right.
    """
    path, key = Path(data).expanduser(), ""
    if not path.exists() and "?" in path.name:
        name, _, key = path.name.rpartition("?")
        path = path.with_name(name)
    try:
        x = _array(path, key)
    except Exception as error:  # numpy parses a header as Python and raises almost anything
        lines = str(error).splitlines() or [type(error).__name__]
        reason = getattr(error, "strerror", None) or lines[0]
        raise BadInput(f"{data}: not readable ({reason}); {WANTED}") from None
    if x.dtype.kind not in "buif" or x.ndim < 2 or len(x) < 2 or x.size == 0:
        raise BadInput(
            f"{data}: holds {x.dtype} of shape {x.shape}; give real numbers of shape "
            "(example, ...), two or more examples, none empty"
        )
    return x


def scale_of(x: np.ndarray) -> tuple[float, str]:
    """The factor that a training would apply to these values, and a sentence about it.

    Pictures of uint8 are divided by 255. Bytes that stay below 128, as labels, bits and levels do,
    are taken as they are, and so is every other type.
    """
    if x.dtype == bool:
        return 1.0, "bool, taken as 0 and 1"
    if x.dtype.kind not in "ui":
        return 1.0, f"{x.dtype}, taken as they are"
    least, most = int(x.min()), int(x.max())
    span = f"{x.dtype} from {least} to {most}"
    if x.dtype == np.uint8 and most > PICTURE:
        return 1 / 255, f"{span}, scaled by 1/255"
    return 1.0, f"{span}, taken as they are; --scale changes it"


def first_bad_row(x: np.ndarray) -> str:
    """Which example is the first that is not finite, in words; "" if all are."""
    for row, example in enumerate(x):
        if not np.isfinite(example).all():
            return f"example {row} (from 0) holds NaN or infinite values"
    return ""


def _array(path: Path, key: str) -> np.ndarray:
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise ValueError("neither a file nor a folder")
    with path.open("rb") as file:
        head = file.read(6)
    if head == b"\x93NUMPY":
        return np.load(path, mmap_mode="r", allow_pickle=False)
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return _table(path)
    if path.suffix.lower() in (".pt", ".pth"):
        return _tensor(path, key)
    if zipfile.is_zipfile(path):
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[_chosen(path, arrays, key)]
    return read_idx(path)


def _chosen(path: Path, arrays: Mapping, key: str) -> str:
    """The name of the only array, or the one that was asked for."""
    names = list(arrays)
    if key in names or (not key and len(names) == 1):
        return key or names[0]
    wish = f"{path.name}?{names[0]}" if names else "another file"
    raise ValueError(f"it holds {', '.join(names) or 'nothing'}: write {wish}")


def _table(path: Path) -> np.ndarray:
    """The numbers of a .csv file (row, column), with a line of names or without."""
    import pandas as pd

    read = {"sep": "\t" if path.suffix.lower() == ".tsv" else None, "engine": "python"}
    table = pd.read_csv(path, header=None, **read)
    first = table.iloc[0].dropna().tolist()
    counts = len(first) > 2 and first == list(range(len(first)))  # names that pandas gives
    if counts or table.select_dtypes("number").shape != table.shape:  # the first line holds names
        table = pd.read_csv(path, **read)
        if str(table.columns[0]).startswith("Unnamed: "):
            raise ValueError("its first column has no name, as an index: write with index=False")
    words = table.columns.difference(table.select_dtypes("number").columns, sort=False)
    if len(words):
        raise ValueError(f"column {words[0]!r} is not of numbers: remove it")
    return table.to_numpy()


def _tensor(path: Path, key: str) -> np.ndarray:
    """A tensor of a .pt file, or one of a dictionary of them. No pickled code is run."""
    import pickle

    import torch

    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        line = "np.save('x.npy', x.numpy())"
        raise ValueError(f"it holds more than tensors: write x with {line}") from None
    if isinstance(tensors, Mapping):  # a checkpoint holds numbers of epochs and steps too
        tensors = {name: x for name, x in tensors.items() if isinstance(x, torch.Tensor)}
        tensors = tensors[_chosen(path, tensors, key)]
    if not isinstance(tensors, torch.Tensor):
        raise ValueError(f"it holds a {type(tensors).__name__} and no tensor: torch.save one")
    x = tensors.detach().to_dense()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()  # numpy has no bfloat16
