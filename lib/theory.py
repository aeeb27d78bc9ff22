"""What a weight beta will do, predicted from the eigenvalues of the data alone, before any training. For story 03, 06.

The report's loss, mean squared error + beta * summed KL, is the negative ELBO of a decoder with noise variance
sigma2 = beta N / 2. For a linear VAE at its optimum this is reverse water-filling of a Gaussian source at water level
sigma2 (Cover and Thomas, ch. 10; Lucas, Tucker, Grosse and Norouzi 2019): a latent unit lives while its eigenvalue
lies above the level, and from beta = 2 lambda_1 / N on none does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib import BadInput

EXACT = 4096  # examples or values up to which the covariance is decomposed exactly (128 MB); beyond, incrementally
CHUNK = 1024  # examples read at a time

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
        for chunk in _chunks(x, self.prepare):
            chunk = chunk - self.mean
            squared += np.square(chunk).sum() - np.square(chunk @ self.components[:components].T).sum()
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


def _chunks(x: np.ndarray, prepare: Prepare | None):
    """The examples of x (n, ...) as float64 (at most CHUNK, N), one chunk after the other; x may be a memory map."""
    for start in range(0, len(x), CHUNK):
        chunk = np.asarray(x[start : start + CHUNK])
        chunk = np.asarray(chunk if prepare is None else prepare(chunk), dtype=np.float64)
        yield chunk.reshape(len(chunk), -1)


def pca(x: np.ndarray, count: int, prepare: Prepare | None = None) -> Pca:
    """Principal components of the examples x (n, ...), array or memory map, read in chunks.

    count: how many components; prepare: applied to each chunk (n, ...) first, for instance to scale or standardise it.
    Exact with at most EXACT examples or EXACT values; else scikit-learn's IncrementalPCA with spare components.
    """
    n, n_values = len(x), int(np.prod(x.shape[1:]))
    if not 1 <= count <= min(n - 1, n_values):
        raise BadInput(f"count = {count}: {n} examples of {n_values} values have 1 to {min(n - 1, n_values)} of them")
    mean = sum(chunk.sum(0) for chunk in _chunks(x, prepare)) / n
    total = sum(np.square(chunk - mean).sum() for chunk in _chunks(x, prepare)) / n
    if not np.isfinite(total):
        raise BadInput("the examples hold NaN or infinite values; a spectrum needs finite ones")
    if n_values <= EXACT:
        covariance = np.zeros((n_values, n_values))
        for chunk in _chunks(x, prepare):
            chunk = chunk - mean
            covariance += chunk.T @ chunk
        values, components = _top(covariance / n, count)
        components = components.T
    elif n <= EXACT:  # fewer examples than values: the same eigenvalues from the n x n products of the examples
        gram = np.zeros((n, n))
        for i, rows in enumerate(_chunks(x, prepare)):
            rows = rows - mean
            for j, columns in enumerate(_chunks(x[: i * CHUNK + len(rows)], prepare)):
                block = rows @ (columns - mean).T
                gram[i * CHUNK : i * CHUNK + len(rows), j * CHUNK : j * CHUNK + len(columns)] = block
                gram[j * CHUNK : j * CHUNK + len(columns), i * CHUNK : i * CHUNK + len(rows)] = block.T
        values, vectors = _top(gram / n, count)
        components = np.zeros((count, n_values))
        for i, rows in enumerate(_chunks(x, prepare)):
            components += vectors[i * CHUNK : i * CHUNK + len(rows)].T @ (rows - mean)
        components /= np.maximum(np.linalg.norm(components, axis=1, keepdims=True), 1e-300)
    else:
        values, components = _incremental(x, count, prepare)
    return Pca(mean, components, values, float(total), prepare)


def _top(symmetric: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues of a symmetric matrix, descending and not below 0, and their vectors as columns."""
    from scipy.linalg import eigh

    size = len(symmetric)
    values, vectors = eigh(symmetric, subset_by_index=[size - count, size - 1], overwrite_a=True)
    return np.maximum(values[::-1], 0), vectors[:, ::-1]


def _incremental(x: np.ndarray, count: int, prepare: Prepare | None) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and components by IncrementalPCA, kept wide while it runs and cut to count at the end."""
    from sklearn.decomposition import IncrementalPCA

    model = IncrementalPCA(n_components=min(2 * count + 32, CHUNK))
    kept = None  # a batch must hold at least n_components examples, so a short last one joins the one before
    for chunk in _chunks(x, prepare):
        if kept is not None and len(chunk) < model.n_components:
            chunk, kept = np.concatenate([kept, chunk]), None
        if kept is not None:
            model.partial_fit(kept)
        kept = chunk
    model.partial_fit(kept)
    return model.explained_variance_[:count] * (len(x) - 1) / len(x), model.components_[:count]


def eigenvalues(x: np.ndarray, count: int, prepare: Prepare | None = None) -> tuple[np.ndarray, float]:
    """The count largest eigenvalues of the covariance of x (n, ...), descending, and the total variance. See `pca`."""
    found = pca(x, count, prepare)
    return found.values, found.total


def edge(lambda_1: float, n_values: int) -> float:
    """The beta from which on the report's loss has no active unit: 2 lambda_1 / N. With lambda_k, where unit k dies."""
    return 2 * lambda_1 / n_values


def predict(eigenvalues: np.ndarray, total: float, n_values: int, latents: int, beta: float) -> Prediction:
    """The linear VAE with so many latents at its optimum under mean squared error + beta * summed KL, beta > 0.

    eigenvalues: descending, at least min(latents, N) of them; total: their whole sum, the variance; n_values: N.
    """
    if not beta > 0:
        raise BadInput(f"beta = {beta}: the prediction needs a beta above 0 (at 0 the KL has no bound)")
    lead = _lead(eigenvalues, n_values, latents)
    level = beta * n_values / 2
    active = lead[lead > level]
    rest = max(total - lead.sum(), 0.0)
    return Prediction(
        beta=beta,
        active=len(active),
        kl_nats=float(0.5 * np.log(active / level).sum()),
        mse_sampled=float((np.minimum(lead, level).sum() + rest) / n_values),
        mse_mu=float(((level**2 / active).sum() + total - active.sum()) / n_values),
        sigma2=level,
    )


def calibrated_beta(eigenvalues: np.ndarray, total: float, n_values: int, latents: int) -> float:
    """The beta of the best sigma2 for so many latents: 2 / N times the mean of the discarded eigenvalues.

    Tipping and Bishop 1999, the maximum likelihood noise variance of probabilistic PCA.
    """
    lead = _lead(eigenvalues, n_values, latents)
    if latents >= n_values:
        raise BadInput(f"latents = {latents}: must be below the {n_values} values, or nothing is discarded")
    return 2 / n_values * float(total - lead.sum()) / (n_values - latents)


def _lead(eigenvalues: np.ndarray, n_values: int, latents: int) -> np.ndarray:
    """The eigenvalues that so many latents can use; BadInput when fewer are known."""
    needed = min(latents, n_values)
    if len(eigenvalues) < needed:
        raise BadInput(f"eigenvalues: {len(eigenvalues)} are too few for {latents} latents; compute {needed} or more")
    return np.asarray(eigenvalues, dtype=np.float64)[:needed]
