"""What a loss will do to your data before any training: `average-spectrogram predict DATA -h`.

DATA is a .npy, .npz, .csv, .pt or IDX file of numbers (example, ...), a folder of sound, or one of
digits, speech, music. Write ./digits for a file that bears such a name. `lib.data.arrays` says how
numbers are scaled; --scale overrides it. Sound becomes what chapter 04 trains on: dry clips as
log-mel spectrograms.

For squared error the answer is the optimum of a linear VAE (chapter 05). A deep one died beyond
that edge wherever this book measured it; below the edge it may keep another number of units. For
other losses, --loss NAME, the answer is where the collapsed state loses its stability. A .npy file
may exceed the memory, unless the loss is another one; the others are read into it.
"""

import argparse
import json
import math
import os
import runpy
import sys
import warnings
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import numpy as np

from lib import BadInput
from lib.data.arrays import WANTED as FILES
from lib.data.arrays import first_bad_row, read_array, scale_of
from lib.data.digits import load_digits
from lib.theory import collapse
from lib.theory.components import pca

LEADING = 8  # eigenvalues that are shown
MOST_VALUES = 2**26  # another loss than squared error holds its examples in memory
SOUND = ("speech", "music", "folder", "vctk", "musdb18")
WANTED = f"{FILES}, a folder of sound, digits, speech, music, vctk:PATH or musdb18:PATH"


def predict_data(
    data: str,
    latents: int,
    weight: float = 1.0,
    reduction: str = "mean-sum",
    clips: int = 1000,
    clip_s: float = 2.03,
    scale: float | None = None,
) -> dict:
    """The prediction for a data set under squared error + weight * KL, as JSON-able values.

    data: as DATA above; weight: of the KL, beta; reduction: a key of `collapse.REDUCTIONS`; clips:
    how many are cut from sound, of clip_s seconds each; scale: the factor for numbers, None for
    what `scale_of` finds. Keys of the result: about (how data was read), examples, n_values (N),
    eigenvalues (descending, max(K, 8) where there are as many), total (variance), edge (the weight
    from which on no unit lives), calibrated (the weight of the best sigma2, None when K components
    leave no error), mse_mean (the error of the mean example), collapse, verdict, the arguments, and
    the fields of `collapse.Prediction`. BadInput names the file or option, its value and what would
    be right.
    """
    collapse.sigma2_of(reduction, weight, 1, latents)  # Refuse a wrong loss before reading data.
    x, prepare, about = _read(str(data), latents, clips, clip_s, scale)
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


def predict_loss(
    data: str,
    latents: int,
    weight: float,
    loss: str,
    given: str | None = None,
    coded: dict | None = None,
    **read: float,
) -> dict:
    """The edge of another loss on a data set, as JSON-able values.

    loss: one of `stability.NAMES`, or FILE.py:FUNCTION of a torch function (x_hat, x) -> (batch,);
    given: a file of what a conditional decoder sees (example, value); coded: how the KL is coded,
    arguments of `theory.weight_as_coded`; read: clips, clip_s and scale as above. Keys of the
    result: about, examples, n_values, edge (the weight as coded from which on no unit pays),
    edge_low (without its upward bias), edge_use (up to which a unit holds 0.05 nats, for absolute
    error; else None), edges (of each unit), active (how many of them exceed the weight), collapse,
    verdict, first_direction (flat), and the arguments. BadInput as above.
    """
    from lib import theory

    if not 0 < weight < math.inf:
        raise BadInput(f"weight (beta) = {weight}: must be above 0 and finite")
    per_unit = theory.weight_as_coded(1.0, latents, **(coded or {}))
    x, prepare, about = _read(str(data), latents, **read)
    condition = None if given is None else _flat(read_array(given))
    x, condition, about = _fewer(x, condition, about)
    x = np.array(x if prepare is None else prepare(x), np.float64)
    try:
        edge, use = _edges_of(loss, x, condition, max(latents, LEADING))
    except BadInput as error:
        raise BadInput(f"{data}: {first_bad_row(x) or error}") from None
    result = {
        "data": str(data),
        "about": about,
        "examples": len(x),
        "n_values": x[0].size,
        "loss": loss,
        "weight": weight,
        "latents": latents,
        "edge": edge.beta * per_unit,
        "edge_low": edge.beta_low * per_unit,
        "edge_use": None if use is None else use * per_unit,
        "edges": (edge.edges * per_unit).tolist(),
        "first_direction": edge.direction.tolist(),
    }
    result["active"] = min(latents, sum(one > weight for one in result["edges"]))
    result["collapse"] = result["active"] == 0
    result["verdict"] = _verdict_of_loss(result)
    return result


def _fewer(x, condition, about):
    """As many examples as fit into memory, evenly spaced."""
    most = max(4, MOST_VALUES // math.prod(x.shape[1:]))
    if len(x) <= most:
        return x, condition, about
    chosen = np.linspace(0, len(x) - 1, most).astype(int)
    condition = None if condition is None else condition[chosen]
    return x[chosen], condition, f"{about}; {most} examples of them, evenly spaced"


def _flat(condition: np.ndarray) -> np.ndarray:
    return np.asarray(condition, np.float64).reshape(len(condition), -1)


def _edges_of(loss, x, condition, count):
    """The edge of a loss, and its edge of use where it may be flat."""
    from lib import theory

    file, _, function = loss.rpartition(":")
    if not file.endswith(".py"):
        edge = theory.edge(loss, x, condition, count=count)
        if not loss.startswith("l1"):
            return edge, None
        import torch

        over = torch.mean if loss == "l1-mean" else torch.sum

        def loss_fn(x_hat, x):
            return over((x_hat - x).abs(), dim=1)

        return edge, theory.edge_of_use(loss_fn, torch.as_tensor(_flat(x)), edge)
    import torch

    if condition is not None:
        raise BadInput(f"--given with {loss}: fit the decoder without z, and call theory.edge_of")
    try:
        loss_fn = runpy.run_path(file)[function]
    except (OSError, KeyError, SyntaxError) as error:
        wanted = "give FILE.py:FUNCTION, a torch function (x_hat, x) -> (batch,)"
        raise BadInput(f"--loss {loss}: {error!r}; {wanted}") from None
    tensor = torch.as_tensor(x, dtype=torch.float32)
    edge = theory.edge_of(loss_fn, tensor, count=min(count, 4))
    return edge, None


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
        raise BadInput(f"{data}: {first_bad_row(x) or error}") from None
    if not components.total_variance > 0:
        raise BadInput(f"{data}: all {n} examples are equal; give examples that differ")
    return components


def _verdict(result):
    """Whether this loss collapses, in words."""
    sigma2, lambda_1 = result["sigma2"], result["eigenvalues"][0]
    dead = result["latents"] - result["active"]
    if result["collapse"]:
        verb = "exceeds" if sigma2 > lambda_1 else "reaches"
        return (
            f"sigma2 = {sigma2:.3g} {verb} lambda_1 = {lambda_1:.3g}: every latent unit dies; "
            "the VAE will answer every input with the average. "
            f"The edge is at beta = {result['edge']:.3g}, {_times(result)} times lower."
        )
    others = f"; sigma2 exceeds the eigenvalues of the other {dead}, which die" if dead else ""
    return (
        f"sigma2 = {sigma2:.3g} lies below lambda_1 = {lambda_1:.3g}: {result['active']} of "
        f"{result['latents']} units stay alive{others}. "
        f"The edge, from which on all die, is at beta = {result['edge']:.3g}, "
        f"{_times(result)} times higher. {_healthy(result)}"
    )


def _verdict_of_loss(result):
    """The same for another loss."""
    weight, edge, use = result["weight"], result["edge"], result["edge_use"]
    if result["collapse"]:
        return (
            f"beta = {weight:.3g} is not below the edge at {edge:.3g}: no latent unit pays; the "
            f"VAE will answer every input with the average. The edge is {_times(result)} times "
            "lower."
        )
    if use is not None and weight >= use:
        return (
            f"beta = {weight:.3g} lies below the edge at {edge:.3g}, but above {use:.3g}: this "
            "loss is flat at its best constant, so a unit pays there and holds less than 0.05 "
            "nats. The VAE will answer almost with the average."
        )
    return (
        f"beta = {weight:.3g} lies below the edge at {edge:.3g}, which is {_times(result)} times "
        f"higher: {result['active']} of {result['latents']} units pay. {_healthy(result)}"
    )


def _times(result):
    ratio = result["weight"] / result["edge"]
    return f"{float(f'{max(ratio, 1 / ratio):.2g}'):.3g}"


def _healthy(result):
    """What to compare with a training, so that a bug can be told from a scale."""
    variance = result["weight"] / result["edge"]
    return f"The first unit should show a posterior variance near {variance:.2g}."


def _read(data, latents, clips=1000, clip_s=2.03, scale=None):
    """The examples (n, ...), what is done to each chunk of them, and both in words."""
    path = Path(os.path.expanduser(data))
    if scale is not None and not 0 < scale < math.inf:
        raise BadInput(f"--scale {scale}: must be above 0 and finite, for example 1/255")
    if data and path.is_dir():
        data = f"folder:{path}"
    if data.partition(":")[0] in SOUND:
        if scale is not None:
            raise BadInput(f"--scale {scale:.4g}: is for numbers; sound is standardised")
        return _sound(data, latents, clips, clip_s)
    x = load_digits("train")[0] if data == "digits" else read_array(data)
    factor, about = scale_of(x)
    if scale is not None:
        factor, about = scale, f"{x.dtype}, scaled by {scale:.4g} as asked"
    return x, None if factor == 1 else lambda chunk: chunk * factor, about


def _sound(corpus, latents, clips, clip_s):
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
    config = ClipConfig(corpus=corpus, split=split, seed=1234, clip_s=clip_s)
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
    summary = "Say before training what a loss will do to your data."
    parser = argparse.ArgumentParser("average-spectrogram predict", description=summary)
    parser.error = lambda message: parser.exit(2, " ".join(message.splitlines()) + "\n")
    reductions = ", ".join(collapse.REDUCTIONS)
    option = parser.add_argument
    option("data", metavar="DATA", help=WANTED.removeprefix("give "))
    option("--latents", type=int, required=True, metavar="K", help="number of latent units")
    option("--beta", type=float, default=1.0, metavar="B", help="weight of the KL (default 1)")
    option("--reduction", default="mean-sum", metavar="R", help=f"squared error: {reductions}")
    option("--loss", metavar="L", help="another loss: bce-mean, l1-mean, ... or FILE.py:FUNCTION")
    option("--given", metavar="FILE", help="with --loss: what a conditional decoder sees")
    option("--kl", default="sum", help="with --loss: sum (default) or mean over the latent units")
    option("--kl-batch", type=int, default=1, metavar="N", help="the KL is summed over N examples")
    option("--kl-factor", type=float, default=1.0, metavar="F", help="2 if the KL lacks its 1/2")
    option("--clips", type=int, default=1000, metavar="C", help="cut from sound (default 1000)")
    option("--clip-s", type=float, default=2.03, metavar="S", help="their length (default 2.03)")
    option("--scale", type=_factor, metavar="F", help="factor for numbers, for example 1/255")
    option("--json", action="store_true", help="the same numbers as one JSON object")
    args = parser.parse_args(arguments)
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    read = {"clips": args.clips, "clip_s": args.clip_s, "scale": args.scale}
    try:
        if args.loss is None:
            result = predict_data(args.data, args.latents, args.beta, args.reduction, **read)
        else:
            coded = {"kl": args.kl, "kl_batch": args.kl_batch, "kl_factor": args.kl_factor}
            wanted = args.data, args.latents, args.beta, args.loss, args.given, coded
            result = predict_loss(*wanted, **read)
    except BadInput as error:
        parser.error(str(error))
    if args.json:
        print(json.dumps(result, allow_nan=False))
        return
    for name, value in result.items():
        if name != "first_direction":
            print(f"{name:<12} {_shown(value)}")


def _factor(text):
    """A number, also as a fraction; argparse names what is neither."""
    try:
        return float(Fraction(text))
    except ArithmeticError as error:  # 1/0, 1e400
        raise argparse.ArgumentTypeError(f"{text}: {error}; write for example 1/255") from None


def _shown(value):
    """Four digits of a number, the first numbers of a list."""
    if isinstance(value, list):
        return " ".join(map(_shown, value[:LEADING]))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
