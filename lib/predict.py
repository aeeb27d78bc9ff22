"""What a loss will do to your data, told before any training: `python -m lib.predict DATA --latents K [--beta B]`.

DATA: a .npy file of numbers (example, ...); an IDX file, gzipped or not; a folder of wav, flac, ogg or mp3; or one of
digits, speech, music. Arrays of uint8 are scaled by 1/255, others taken as they are. Sound becomes what story 04
trains on: dry clips as log-mel spectrograms. The answer is the optimum of a linear VAE, `lib.theory.collapse`; a deep one died
beyond that edge wherever this book measured it, and below it may keep another number of units. Files are read through
a memory map, gzipped ones unpacked in memory. A file that bears the name of one of these words is written ./digits.
"""

import argparse
import gzip
import json
import math
import os
import struct
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np

from lib import BadInput
from lib.data import corpora
from lib.data.digits import load_digits
from lib.theory import collapse as theory
from lib.theory import components

IDX = {
    0x08: "u1",
    0x09: "i1",
    0x0B: ">i2",
    0x0C: ">i4",
    0x0D: ">f4",
    0x0E: ">f8",
}  # http://yann.lecun.com/exdb/mnist
UNPACKED = 2**31  # bytes that a gzipped file may unpack to, since they are held in memory
LEADING = 8  # eigenvalues that are shown
WANTED = "give a .npy or IDX file, a folder of wav, flac, ogg or mp3, digits, speech, music, vctk:PATH or musdb18:PATH"


def predict_data(
    data: str, latents: int, weight: float = 1.0, reduction: str = "mean-sum", clips: int = 1000
) -> dict:
    """The prediction for a data set under squared error + weight * KL, as numbers that JSON can hold.

    data: as DATA above; weight: beta, of the KL; reduction: one of `theory.REDUCTIONS`; clips: how many are cut from
    sound. Keys: data, about (how it was read), reduction, weight, latents, examples, n_values (N), eigenvalues
    (descending, max(K, 8) where there are as many), total (variance), edge (the weight from which on no unit lives),
    sigma2, active, kl_nats, mse_sampled, mse_mu, mse_mean (the mean example's; all three averaged over N), calibrated
    (the weight of the best sigma2, Tipping and Bishop 1999; None when K components leave no error), collapse, verdict.
    BadInput names the file or the option, the value and what would be right.
    """
    theory.sigma2_of(
        reduction, weight, 1, latents
    )  # refuses what is wrong before the data are read
    x, prepare, about = _read(str(data), latents, clips)
    n, n_values = len(x), math.prod(x.shape[1:])
    most = min(n - 1, n_values)
    if latents > most:
        raise BadInput(
            f"--latents {latents}: {n} examples of {n_values} values in {data} allow 1 to {most}"
        )
    try:
        found = components.pca(x, min(most, max(latents, LEADING)), prepare)
    except BadInput as error:
        raise BadInput(f"{data}: {error}") from None
    if not found.total_variance > 0:
        raise BadInput(
            f"{data}: all {n} examples are equal; a prediction needs examples that differ"
        )
    values, sigma2 = found.eigenvalues, theory.sigma2_of(reduction, weight, n_values, latents)
    optimum = theory.predict(values, found.total_variance, n_values, latents, sigma2)
    calibrated = None
    if (
        latents < n_values
        and found.total_variance - values[:latents].sum() > 1e-12 * found.total_variance
    ):  # else K leave no error
        best = theory.calibrated_sigma2(values, found.total_variance, n_values, latents)
        calibrated = theory.weight_of(reduction, best, n_values, latents)
    result = {
        "data": str(data),
        "about": about,
        "examples": n,
        "n_values": n_values,
        "reduction": reduction,
        "weight": weight,
        "latents": latents,
        "eigenvalues": values.tolist(),
        "total": found.total_variance,
        "edge": theory.weight_of(reduction, float(values[0]), n_values, latents),
        "mse_mean": found.total_variance / n_values,
        "calibrated": calibrated,
        **asdict(optimum),
        "collapse": optimum.active == 0,
    }
    return result | {"verdict": _verdict(result)}


def _verdict(r: dict) -> str:
    """Whether this loss collapses, in words."""
    first, dead = r["eigenvalues"][0], r["latents"] - r["active"]
    times = float(f"{max(r['weight'] / r['edge'], r['edge'] / r['weight']):.2g}")
    level, edge, times = (f"{value:.3g}" for value in (r["sigma2"], r["edge"], times))
    if r["collapse"]:
        return (
            f"sigma2 = {level} {'exceeds' if r['sigma2'] > first else 'reaches'} lambda_1 = {first:.3g}: every "
            "latent unit dies; the VAE will answer every input with the average. "
            f"The edge is at beta = {edge}, {times} times lower."
        )
    rest = f"; sigma2 exceeds the eigenvalues of the other {dead}, which die" * (dead > 0)
    return (
        f"sigma2 = {level} lies below lambda_1 = {first:.3g}: {r['active']} of {r['latents']} units stay alive"
        f"{rest}. The edge, from which on all die, is at beta = {edge}, {times} times higher."
    )


def _read(data: str, latents: int, clips: int) -> tuple[np.ndarray, components.Prepare | None, str]:
    """The examples (n, ...), what is done to each chunk of them, and both in words."""
    path = Path(os.path.expanduser(data))
    corpus = f"folder:{path}" if data and path.is_dir() else data
    if corpus.partition(":")[0] in corpora.LOADERS:
        return _sound(corpus, latents, clips)
    try:
        x = load_digits("train")[0] if data == "digits" else _array(path)
    except (
        Exception
    ) as error:  # of files, gzip, our reading and numpy's, which parses a header as Python
        raise BadInput(
            f"{data}: not readable ({getattr(error, 'strerror', 0) or error}); {WANTED}"
        ) from None
    if x.dtype.kind not in "buif" or x.ndim < 2 or len(x) < 2 or x.size == 0:
        what = f"holds {x.dtype} of shape {x.shape}"
        raise BadInput(
            f"{data}: {what}; give real numbers of shape (example, ...), two or more examples, none empty"
        )
    if x.dtype == np.uint8:
        return x, lambda chunk: chunk / 255, "uint8, scaled by 1/255"
    return x, None, f"{x.dtype}, taken as they are"


def _array(path: Path) -> np.ndarray:
    """A .npy or IDX file, known by its first bytes, as a memory map; a gzipped IDX file in memory.

    ValueError, and what reading raises, for anything else; no more is unpacked than the header promises.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError("neither a file nor a folder")
    with path.open("rb") as file:
        head = file.read(6)
    if head == b"\x93NUMPY":
        return np.load(path, mmap_mode="r", allow_pickle=False)
    packed = head[:2] == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        zeros, kind, axes = struct.unpack(">HBB", file.read(4).ljust(4))
        if zeros or kind not in IDX:
            raise ValueError(f"begins with {head!r}, not as .npy or IDX do")
        shape, dtype = struct.unpack(f">{axes}I", file.read(4 * axes)), np.dtype(IDX[kind])
        promised, offset = math.prod(shape) * dtype.itemsize, 4 + 4 * axes
        if packed and promised > UNPACKED:
            raise ValueError(
                f"unpacks to {promised} bytes, {UNPACKED} are the most: gunzip it first"
            )
        content = file.read(promised + 1) if packed else b""
    size = len(content) if packed else path.stat().st_size - offset
    if size != promised:
        raise ValueError(
            f"cut off or damaged: sizes {shape} promise {promised} bytes of content, {size} are there"
        )
    return (
        np.frombuffer(content, dtype).reshape(shape)
        if packed
        else np.memmap(path, dtype, "r", offset, shape)
    )


def _sound(corpus: str, latents: int, clips: int) -> tuple[np.ndarray, components.Prepare, str]:
    """Spectrograms of dry clips, rendered once into artifacts/ and standardised with two constants, as in story 04.

    1,000 clips of speech or music are the training set of that story; of a folder, all sound is used.
    """
    from lib.data.clips import ClipConfig
    from lib.data.rendering import RenderConfig, render
    from lib.data.standardiser import Standardiser

    if clips <= latents:
        raise BadInput(f"--clips {clips}: must be above --latents {latents}; a thousand are usual")
    split, part = (
        ("all", "all of it")
        if corpus.startswith("folder:")
        else ("train", "the training voices or songs")
    )
    chosen = ClipConfig(corpus=corpus, split=split, seed=1234)
    x = render(RenderConfig(clips=chosen, clips_per_effect=clips)).spectrograms
    fitted = Standardiser().fit(x)
    about = (
        f"dry clips of {chosen.clip_s} s from {part}, log-mel {x.shape[1]} x {x.shape[2]} in dB, "
        f"standardised with the set's mean {fitted.mean:.4g} and deviation {fitted.std:.4g}"
    )
    return x, fitted.apply, about


def main(arguments: list[str] | None = None) -> None:
    """The command; exit code 2 and one line on stderr when something is wrong with what it was given."""
    parser = argparse.ArgumentParser(
        "python -m lib.predict", description=(__doc__ or "").partition("\n")[0]
    )
    parser.error = lambda message: parser.exit(
        2, " ".join(message.splitlines()) + "\n"
    )  # no usage before it
    parser.add_argument("data", metavar="DATA", help=WANTED.removeprefix("give "))
    parser.add_argument(
        "--latents", type=int, required=True, metavar="K", help="number of latent units"
    )
    parser.add_argument(
        "--beta", type=float, default=1.0, metavar="B", help="weight of the KL (default 1)"
    )
    parser.add_argument(
        "--reduction",
        default="mean-sum",
        metavar="R",
        help=f"of squared error and KL: {', '.join(theory.REDUCTIONS)} (default mean-sum)",
    )
    parser.add_argument(
        "--clips", type=int, default=1000, metavar="C", help="clips cut from sound (default 1000)"
    )
    parser.add_argument("--json", action="store_true", help="the same numbers as one JSON object")
    given = parser.parse_args(arguments)
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    try:
        r = predict_data(given.data, given.latents, given.beta, given.reduction, given.clips)
    except BadInput as error:
        parser.error(str(error))
    lines = (
        [json.dumps(r, allow_nan=False)]
        if given.json
        else [f"{name:<12} {_shown(r[name])}" for name in r]
    )
    print(*lines, sep="\n")


def _shown(value: object) -> str:
    """Four digits of a number, the first numbers of a list."""
    if isinstance(value, list):
        return " ".join(map(_shown, value[:LEADING]))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
