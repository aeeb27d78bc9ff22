"""What a weight beta will do, predicted from the eigenvalues of the data alone, before any training. For story 03, 06.

The report's loss, mean squared error + beta * summed KL, is the negative ELBO of a decoder with noise variance
sigma2 = beta N / 2. For a linear VAE at its optimum this is reverse water-filling of a Gaussian source at water level
sigma2 (Cover and Thomas, ch. 10; Lucas, Tucker, Grosse and Norouzi 2019): a latent unit lives while its eigenvalue
lies above the level, and from beta = 2 lambda_1 / N on none does.
"""

import difflib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib import BadInput

EXACT = 4096  # examples or values up to which the covariance is decomposed exactly (128 MB); beyond, iteratively
CHUNK = (
    2**26
)  # bytes of examples, as float64, that are read at a time: memory does not grow with the data set
SPARE = 16  # components beyond those asked for, which the iteration carries along

# How a loss reduces squared error and KL -> the noise variance at weight 1, of N values and K latents.
REDUCTIONS: dict[str, Callable[[int, int], float]] = {
    "mean-sum": lambda n, k: (
        n / 2
    ),  # the report's: mean squared error + beta * KL summed over the latents
    "mean-mean": lambda n, k: (
        n / (2 * k)
    ),  # KL averaged too: the weight is beta_norm = beta K / N, Higgins et al. 2017
    "sum-sum": lambda n, k: (
        1 / 2
    ),  # squared error summed, without the 1/2 that the ELBO of unit variance has
    "half-sum-sum": lambda n, k: (
        1.0
    ),  # the ELBO of unit variance itself (Kingma and Welling 2014), weight = sigma2
}
Prepare = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pca:
    """Principal components of a data set. mean (N,); components (count, N).

    values: eigenvalues of the covariance, descending (count,); total: the whole variance, the sum of all N of them;
    prepare: what is done to examples first.
    """

    mean: np.ndarray
    components: np.ndarray
    values: np.ndarray
    total: float
    prepare: Prepare | None = None

    def mse(self, x: np.ndarray, components: int) -> float:
        """Mean squared error of reconstructing x (n, ...) from its first components; 0: the mean example's."""
        if not 0 <= components <= len(self.values):
            raise BadInput(f"components = {components}: this PCA has 0 to {len(self.values)}")
        squared = 0.0
        for _, chunk in _chunks(x, self.prepare, self.mean):
            squared += (
                np.square(chunk).sum() - np.square(chunk @ self.components[:components].T).sum()
            )
        return float(squared / (len(x) * len(self.mean)))


@dataclass(frozen=True)
class Prediction:
    """The optimum of a linear VAE. KL in nats an example, both errors averaged over the N values of an example."""

    beta: float
    active: int
    kl_nats: float
    mse_sampled: float  # z drawn from the posterior, as in training
    mse_mu: float  # z = mu
    sigma2: float  # the noise variance that beta implies, beta N / 2


def _chunks(x: np.ndarray, prepare: Prepare | None, mean: np.ndarray | float = 0.0, rows: int = 0):
    """The examples of x (n, ...) minus mean (N,), chunk by chunk: first index, and float64 (example, N).

    A chunk holds a sixteenth of CHUNK bytes or, where examples are long, 64 of them, if CHUNK has room; at least one,
    at least `rows`. x may be a memory map.
    """
    room = CHUNK // (8 * max(1, math.prod(x.shape[1:])))
    rows = max(1, rows, room // 16, min(64, room))
    for start in range(0, len(x), rows):
        chunk = np.asarray(x[start : start + rows])
        chunk = np.asarray(chunk if prepare is None else prepare(chunk), dtype=np.float64)
        yield start, chunk.reshape(len(chunk), -1) - mean


def pca(x: np.ndarray, count: int, prepare: Prepare | None = None) -> Pca:
    """Principal components of the examples x (n, ...), array or memory map, read in chunks.

    count: how many components; prepare: applied to each chunk (n, ...) first, for instance to scale or standardise it.
    Exact with at most EXACT examples or EXACT values; else iterative: to about 1e-8 where the
    spectrum falls, to a percent in the last components where it is flat. The total variance is always exact.
    """
    n, n_values = len(x), math.prod(x.shape[1:])
    _check(x, count, min(n - 1, n_values))
    with np.errstate(over="ignore", invalid="ignore"):  # found below
        ((_, first),) = _chunks(
            x[:1], prepare
        )  # counted from it: equal examples have a variance of 0, not of rounding
        mean = first[0] + sum(chunk.sum(0) for _, chunk in _chunks(x, prepare, first[0])) / n
        if n_values <= EXACT:
            products = np.zeros((n_values, n_values))
            for _, chunk in _chunks(x, prepare, mean):
                products += chunk.T @ chunk
            total = float(np.trace(products)) / n
        else:
            total = float(sum(np.square(chunk).sum() for _, chunk in _chunks(x, prepare, mean)) / n)
    if not np.isfinite(total):
        raise BadInput(
            "the examples hold NaN or infinite values, or too large ones; a spectrum needs finite squares"
        )
    if n_values <= EXACT:
        values, components = _top(products / n, count)
        components = components.T
    elif (
        n <= EXACT
    ):  # fewer examples than values: the same eigenvalues from the n x n products of the examples
        gram, wide = (
            np.zeros((n, n)),
            4 * CHUNK // (8 * n_values),
        )  # four chunks against one: fewer passes
        for i, rows in _chunks(x, prepare, mean, wide):
            for j, columns in _chunks(x[: i + len(rows)], prepare, mean):
                block = rows @ columns.T
                gram[i : i + len(rows), j : j + len(columns)] = block
                gram[j : j + len(columns), i : i + len(rows)] = block.T
        values, vectors = _top(gram / n, count)
        components = sum(
            vectors[i : i + len(rows)].T @ rows for i, rows in _chunks(x, prepare, mean)
        )
        components /= np.maximum(np.linalg.norm(components, axis=1, keepdims=True), 1e-300)
    else:
        values, components = _iterative(x, count, prepare, mean, total)
    return Pca(mean, components, values, total, prepare)


def separable_pca(x: np.ndarray, count: int) -> Pca:
    """PCA of x (n, bin, frame), read by slices, with components that are products of a spectrum and a course in time.

    The eigenvectors of the covariances of bins and of frames, and of all their products the count with most variance:
    (bin^2 + frame^2) / 2 numbers to learn in place of count * N, so it fits unheard examples better where n is small.
    """
    _check(x, count, math.prod(x.shape[1:]))
    (n, *shape), mean = x.shape, sum(chunk.sum(0) for _, chunk in _chunks(x, None)) / len(x)
    bins, frames = (np.zeros((size, size)) for size in shape)
    for _, chunk in _chunks(x, None, mean):
        part = chunk.reshape(-1, *shape)
        bins += np.einsum("nbt,nct->bc", part, part, optimize=True)
        frames += np.einsum("nbt,nbs->ts", part, part, optimize=True)
    bins, frames = np.linalg.eigh(bins)[1].T, np.linalg.eigh(frames)[1].T
    centred = (chunk.reshape(-1, *shape) for _, chunk in _chunks(x, None, mean))
    variance = sum(np.square(bins @ part @ frames.T).sum(0) for part in centred).ravel() / n
    best = np.argsort(variance)[::-1][:count]
    components = bins[best // len(frames)][:, :, None] * frames[best % len(frames)][:, None, :]
    return Pca(mean, components.reshape(count, -1), variance[best], float(variance.sum()))


def _check(x: np.ndarray, count: int, most: int) -> None:
    """BadInput for fewer than two examples, and for a count of components that is not 1 to `most`."""
    if len(x) < 2:
        raise BadInput(
            f"training set of {len(x)}: components and a spectrum need 2 or more examples"
        )
    if not 1 <= count <= most:
        raise BadInput(
            f"count = {count}: {len(x)} examples of {math.prod(x.shape[1:])} values allow 1 to {most}"
        )


def _top(symmetric: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues of a symmetric matrix, descending and not below 0, and their vectors as columns."""
    from scipy.linalg import eigh

    size = len(symmetric)
    values, vectors = eigh(symmetric, subset_by_index=[size - count, size - 1], overwrite_a=True)
    return np.maximum(values[::-1], 0), vectors[:, ::-1]


def _iterative(
    x: np.ndarray, count: int, prepare: Prepare | None, mean: np.ndarray, total: float
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and components by LOBPCG (Knyazev 2001) from a random start: nine passes over the examples."""
    from scipy.sparse.linalg import LinearOperator, lobpcg

    def covariance(vectors: np.ndarray) -> np.ndarray:
        return sum(chunk.T @ (chunk @ vectors) for _, chunk in _chunks(x, prepare, mean)) / (
            len(x) * total
        )

    size = len(mean)
    start = np.random.default_rng(0).normal(size=(size, min(count + SPARE, size)))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the last digits that six steps leave open; a problem small enough to be dense
        operator = LinearOperator((size, size), covariance, matmat=covariance, dtype=np.float64)
        values, vectors = lobpcg(operator, start, tol=1e-8, maxiter=6)
    order = np.argsort(-values)[:count]
    return np.maximum(values[order], 0) * total, vectors[:, order].T


def sigma2_of(reduction: str, weight: float, n_values: int, latents: int) -> float:
    """The noise variance that a loss implies: squared error + weight * KL, each summed or averaged as REDUCTIONS say.

    weight: of the KL, for instance beta; n_values: N, values of an example; latents: K. BadInput for an unknown
    reduction, and for a weight that is not above 0 or whose sigma2 is not finite.
    """
    if reduction not in REDUCTIONS:
        near = difflib.get_close_matches(str(reduction), REDUCTIONS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise BadInput(
            f"reduction {reduction!r} is not known; {hint}choose one of {', '.join(REDUCTIONS)}"
        )
    if min(n_values, latents) < 1:
        raise BadInput(f"n_values = {n_values}, latents = {latents}: must be 1 or more")
    sigma2 = weight * REDUCTIONS[reduction](n_values, latents)
    if not 0 < sigma2 < np.inf:
        raise BadInput(
            f"weight (beta) = {weight}: must be above 0 and finite; at 0 the KL has no bound"
        )
    return sigma2


def weight_of(reduction: str, sigma2: float, n_values: int, latents: int) -> float:
    """The weight of the KL with which a loss implies the noise variance sigma2 >= 0: the inverse of `sigma2_of`."""
    return sigma2 / sigma2_of(reduction, 1.0, n_values, latents)


def edge(lambda_1: float, n_values: int) -> float:
    """The beta from which on the report's loss has no active unit: 2 lambda_1 / N. With lambda_k, where unit k dies."""
    return 2 * lambda_1 / n_values


def predict(
    eigenvalues: np.ndarray, total: float, n_values: int, latents: int, beta: float
) -> Prediction:
    """The linear VAE with so many latents at its optimum under mean squared error + beta * summed KL, beta > 0.

    eigenvalues: descending, at least min(latents, N) of them; total: their whole sum, the variance; n_values: N.
    """
    if not 0 < beta < np.inf:
        raise BadInput(
            f"beta = {beta}: the prediction needs a finite beta above 0 (at 0 the KL has no bound)"
        )
    lead = _lead(eigenvalues, n_values, latents)
    level = beta * n_values / 2
    active = lead[lead > level]
    rest = max(total - lead.sum(), 0.0)
    return Prediction(
        beta=beta,
        active=len(active),
        kl_nats=float(0.5 * (np.log(active) - np.log(level)).sum()),
        mse_sampled=float((np.minimum(lead, level).sum() + rest) / n_values),
        mse_mu=float(((level * (level / active)).sum() + total - active.sum()) / n_values),
        sigma2=level,
    )


def calibrated_beta(eigenvalues: np.ndarray, total: float, n_values: int, latents: int) -> float:
    """The beta of the best sigma2 for so many latents: 2 / N times the mean of the discarded eigenvalues.

    Tipping and Bishop 1999, the maximum likelihood noise variance of probabilistic PCA.
    """
    lead = _lead(eigenvalues, n_values, latents)
    if latents >= n_values:
        raise BadInput(
            f"latents = {latents}: must be below the {n_values} values, or nothing is discarded"
        )
    return 2 / n_values * float(total - lead.sum()) / (n_values - latents)


def _lead(eigenvalues: np.ndarray, n_values: int, latents: int) -> np.ndarray:
    """The eigenvalues that so many latents can use; BadInput when fewer are known."""
    needed = min(latents, n_values)
    if len(eigenvalues) < needed:
        raise BadInput(
            f"eigenvalues: {len(eigenvalues)} are too few for {latents} latents; compute {needed} or more"
        )
    return np.asarray(eigenvalues, dtype=np.float64)[:needed]
