"""What a loss will do to your data, before any training: `python -m lib.predict DATA --latents K`.

DATA is a .npy file of numbers (example, ...), an IDX file, gzipped or not, a folder of wav, flac,
ogg or mp3, or one of digits, speech, music. Write ./digits for a file that bears such a name.
Arrays of uint8 are scaled by 1/255, others are taken as they are. Sound becomes what chapter 04
trains on: dry clips as log-mel spectrograms. The answer is the optimum of a linear VAE (chapter
05). A deep one died beyond that edge wherever this book measured it; below the edge it may keep
another number of units. A .npy file may exceed the memory, the others are read into it.
"""

import argparse
import json
import math
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np

from lib import BadInput
from lib.data.digits import load_digits, read_idx
from lib.theory import collapse
from lib.theory.components import pca

LEADING = 8  # eigenvalues that are shown
SOUND = ("speech", "music", "folder", "vctk", "musdb18")
WANTED = (
    "give a .npy or IDX file, a folder of wav, flac, ogg or mp3, "
    "digits, speech, music, vctk:PATH or musdb18:PATH"
)


def predict_data(
    data: str, latents: int, weight: float = 1.0, reduction: str = "mean-sum", clips: int = 1000
) -> dict:
    """The prediction for a data set under squared error + weight * KL, as JSON-able values.

    data: as DATA above; weight: of the KL, beta; reduction: a key of `collapse.REDUCTIONS`; clips:
    how many are cut from sound. Keys of the result: about (how data was read), examples, n_values
    (N), eigenvalues (descending, max(K, 8) where there are as many), total (variance), edge (the
    weight from which on no unit lives), calibrated (the weight of the best sigma2, None when K
    components leave no error), mse_mean (the error of the mean example), collapse, verdict, the
    arguments, and the fields of `collapse.Prediction`. BadInput names the file or option, its value
    and what would be right.
    """
    collapse.sigma2_of(reduction, weight, 1, latents)  # Refuse a wrong loss before reading data.
    x, prepare, about = _read(str(data), latents, clips)
    components = _components(data, x, prepare, latents)
    eigenvalues, total = components.eigenvalues, components.total_variance
    n_values = len(components.mean)
    sigma2 = collapse.sigma2_of(reduction, weight, n_values, latents)
    calibrated = None
    if latents < n_values and total - eigenvalues[:latents].sum() > 1e-12 * total:
        best = collapse.calibrated_sigma2(eigenvalues, total, n_values, latents)
        calibrated = collapse.weight_of(reduction, best, n_values, latents)
    prediction = collapse.predict(eigenvalues, total, n_values, latents, sigma2)
    result = {
        "data": str(data),
        "about": about,
        "examples": len(x),
        "n_values": n_values,
        "reduction": reduction,
        "weight": weight,
        "latents": latents,
        "eigenvalues": eigenvalues.tolist(),
        "total": total,
        "edge": collapse.weight_of(reduction, float(eigenvalues[0]), n_values, latents),
        "mse_mean": total / n_values,
        "calibrated": calibrated,
    }
    result.update(asdict(prediction), collapse=prediction.active == 0)
    result["verdict"] = _verdict(result)
    return result


def _components(data, x, prepare, latents):
    """The components that a prediction needs; BadInput names the data."""
    n, n_values = len(x), math.prod(x.shape[1:])
    most = min(n - 1, n_values)
    if latents > most:
        raise BadInput(
            f"--latents {latents}: {n} examples of {n_values} values in {data} allow 1 to {most}"
        )
    try:
        components = pca(x, min(most, max(latents, LEADING)), prepare)
    except BadInput as error:
        raise BadInput(f"{data}: {error}") from None
    if not components.total_variance > 0:
        raise BadInput(f"{data}: all {n} examples are equal; give examples that differ")
    return components


def _verdict(result):
    """Whether this loss collapses, in words."""
    weight, edge, sigma2 = result["weight"], result["edge"], result["sigma2"]
    lambda_1, dead = result["eigenvalues"][0], result["latents"] - result["active"]
    times = float(f"{max(weight / edge, edge / weight):.2g}")
    if result["collapse"]:
        verb = "exceeds" if sigma2 > lambda_1 else "reaches"
        return (
            f"sigma2 = {sigma2:.3g} {verb} lambda_1 = {lambda_1:.3g}: every latent unit dies; "
            "the VAE will answer every input with the average. "
            f"The edge is at beta = {edge:.3g}, {times:.3g} times lower."
        )
    others = f"; sigma2 exceeds the eigenvalues of the other {dead}, which die" if dead else ""
    return (
        f"sigma2 = {sigma2:.3g} lies below lambda_1 = {lambda_1:.3g}: {result['active']} of "
        f"{result['latents']} units stay alive{others}. "
        f"The edge, from which on all die, is at beta = {edge:.3g}, {times:.3g} times higher."
    )


def _read(data, latents, clips):
    """The examples (n, ...), what is done to each chunk of them, and both in words."""
    path = Path(os.path.expanduser(data))
    if data and path.is_dir():
        return _sound(f"folder:{path}", latents, clips)
    if data.partition(":")[0] in SOUND:
        return _sound(data, latents, clips)
    try:
        if data == "digits":
            x, _ = load_digits("train")
        else:
            x = _array(path)
    except Exception as error:  # numpy parses a header as Python and raises almost anything.
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{data}: not readable ({reason}); {WANTED}") from None
    if x.dtype.kind not in "buif" or x.ndim < 2 or len(x) < 2 or x.size == 0:
        raise BadInput(
            f"{data}: holds {x.dtype} of shape {x.shape}; give real numbers of shape "
            "(example, ...), two or more examples, none empty"
        )
    if x.dtype == np.uint8:
        return x, lambda chunk: chunk / 255, "uint8, scaled by 1/255"
    return x, None, f"{x.dtype}, taken as they are"


def _array(path):
    """A .npy file as a memory map, or an IDX file, gzipped or not: known by their first bytes.

    Raises ValueError, and what reading raises, for anything else.
    """
    if path.exists() and not path.is_file():  # Reading a pipe would wait for ever.
        raise ValueError("neither a file nor a folder")
    with path.open("rb") as file:
        is_npy = file.read(6) == b"\x93NUMPY"
    if is_npy:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    return read_idx(path)


def _sound(corpus, latents, clips):
    """Spectrograms of dry clips, rendered once into artifacts/ and standardised, as in chapter 04.

    1,000 clips of speech or music are the training set of that chapter. A folder is used whole.
    """
    from lib.data.clips import ClipConfig
    from lib.data.rendering import RenderConfig, render
    from lib.data.standardiser import Standardiser

    if clips <= latents:
        raise BadInput(f"--clips {clips}: must be above --latents {latents}; a thousand are usual")
    split, part = "train", "the training voices or songs"
    if corpus.startswith("folder:"):
        split, part = "all", "all of it"
    config = ClipConfig(corpus=corpus, split=split, seed=1234)
    x = render(RenderConfig(clips=config, clips_per_effect=clips)).spectrograms
    standardiser = Standardiser().fit(x)
    about = (
        f"dry clips of {config.clip_s} s from {part}, log-mel {x.shape[1]} x {x.shape[2]} in dB, "
        f"standardised with the set's mean {standardiser.mean:.4g} "
        f"and deviation {standardiser.std:.4g}"
    )
    return x, standardiser.apply, about


def main(arguments: list[str] | None = None) -> None:
    """The command. Anything wrong is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser("python -m lib.predict", description=__doc__.split("\n")[0])
    parser.error = lambda message: parser.exit(2, " ".join(message.splitlines()) + "\n")
    reductions = ", ".join(collapse.REDUCTIONS)
    option = parser.add_argument
    option("data", metavar="DATA", help=WANTED.removeprefix("give "))
    option("--latents", type=int, required=True, metavar="K", help="number of latent units")
    option("--beta", type=float, default=1.0, metavar="B", help="weight of the KL (default 1)")
    option("--reduction", default="mean-sum", metavar="R", help=f"of the loss: {reductions}")
    option("--clips", type=int, default=1000, metavar="C", help="cut from sound (default 1000)")
    option("--json", action="store_true", help="the same numbers as one JSON object")
    args = parser.parse_args(arguments)
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    try:
        result = predict_data(args.data, args.latents, args.beta, args.reduction, args.clips)
    except BadInput as error:
        parser.error(str(error))
    if args.json:
        print(json.dumps(result, allow_nan=False))
        return
    for name, value in result.items():
        print(f"{name:<12} {_shown(value)}")


def _shown(value):
    """Four digits of a number, the first numbers of a list."""
    if isinstance(value, list):
        return " ".join(map(_shown, value[:LEADING]))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
