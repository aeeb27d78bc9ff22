"""Principal components of a data set: the eigenvalues from which `lib.theory.collapse` predicts. Introduced by chapter 05.

Examples are read in chunks, so memory does not grow with the data set and a memory map will do.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, lobpcg

from lib import BadInput

EXACT = 4096  # With at most so many examples or values the decomposition is exact (128 MB).
CHUNK = 2**26  # bytes of float64 examples that are read at a time
SPARE = 16  # LOBPCG carries so many more components than asked for: the last ones converge badly.
Prepare = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pca:
    """Principal components of a data set whose examples have N values.

    mean: (N,); components: (count, N), orthonormal; eigenvalues: of the covariance, descending
    (count,); total_variance: the sum of all N eigenvalues; prepare: applied to examples first.
    """

    mean: np.ndarray
    components: np.ndarray
    eigenvalues: np.ndarray
    total_variance: float
    prepare: Prepare | None = None

    def mse(self, x: np.ndarray, components: int) -> float:
        """Mean squared error of reconstructing x (n, ...) from its first `components` components.

        With 0 components it is the error of the mean example. BadInput for more than there are.
        """
        if not 0 <= components <= len(self.eigenvalues):
            raise BadInput(f"components = {components}: this PCA has 0 to {len(self.eigenvalues)}")
        basis = self.components[:components].T
        squared = 0.0
        for _, chunk in _chunks(x, self.prepare, self.mean):
            squared += np.square(chunk).sum() - np.square(chunk @ basis).sum()
        return float(squared / (len(x) * len(self.mean)))


def pca(x: np.ndarray, count: int, prepare: Prepare | None = None) -> Pca:
    """The first `count` principal components of the examples x (n, ...), an array or a memory map.

    prepare: applied to each chunk (n, ...) first, for instance to scale or standardise it.
    With at most EXACT examples or EXACT values the result is exact. Beyond, it is iterative: good
    to about 1e-8 where the spectrum falls, to a percent in the last components where it is flat.
    The total variance is always exact. BadInput for a count that x does not allow, and for values
    that are not finite.
    """
    n, n_values = len(x), math.prod(x.shape[1:])
    _check(x, count, min(n - 1, n_values))
    with np.errstate(over="ignore", invalid="ignore"):  # The check below reports these.
        mean = _mean(x, prepare)
        if n_values <= EXACT:
            scatter = np.zeros((n_values, n_values))
            for _, chunk in _chunks(x, prepare, mean):
                scatter += chunk.T @ chunk
            total_variance = float(np.trace(scatter)) / n
        else:
            squares = (np.square(chunk).sum() for _, chunk in _chunks(x, prepare, mean))
            total_variance = float(sum(squares) / n)
    if not np.isfinite(total_variance):
        raise BadInput(
            "the examples hold NaN or infinite values, or too large ones; "
            "a spectrum needs finite squares"
        )
    if n_values <= EXACT:
        eigenvalues, vectors = _largest(scatter / n, count)
        components = vectors.T
    elif n <= EXACT:
        eigenvalues, components = _from_examples(x, count, prepare, mean)
    else:
        eigenvalues, components = _iterative(x, count, prepare, mean, total_variance)
    return Pca(mean, components, eigenvalues, total_variance, prepare)


def separable_pca(x: np.ndarray, count: int) -> Pca:
    """PCA of x (n, bin, frame) whose components are products of a spectrum and a course in time.

    The spectra are the eigenvectors of the covariance of bins, the courses those of frames. Of all
    their products we take the `count` with most variance. That is (bin^2 + frame^2) / 2 numbers to
    learn instead of count * N, so it fits unheard examples better where n is small. x is sliced.
    """
    _check(x, count, math.prod(x.shape[1:]))
    n, *shape = x.shape
    mean = sum(chunk.sum(0) for _, chunk in _chunks(x, None)) / n
    bins, frames = np.zeros((shape[0], shape[0])), np.zeros((shape[1], shape[1]))
    for _, chunk in _chunks(x, None, mean):
        pictures = chunk.reshape(-1, *shape)
        bins += np.einsum("nbt,nct->bc", pictures, pictures, optimize=True)
        frames += np.einsum("nbt,nbs->ts", pictures, pictures, optimize=True)
    spectra, courses = np.linalg.eigh(bins)[1].T, np.linalg.eigh(frames)[1].T
    variance = np.zeros(shape)
    for _, chunk in _chunks(x, None, mean):
        variance += np.square(spectra @ chunk.reshape(-1, *shape) @ courses.T).sum(0)
    variance = variance.ravel() / n
    best = np.argsort(variance)[::-1][:count]
    row, column = np.divmod(best, len(courses))
    components = spectra[row][:, :, None] * courses[column][:, None, :]
    return Pca(mean, components.reshape(count, -1), variance[best], float(variance.sum()))


def _chunks(
    x: np.ndarray, prepare: Prepare | None, mean: np.ndarray | float = 0.0, rows: int = 0
) -> Iterator[tuple[int, np.ndarray]]:
    """The examples of x minus their mean (N,), chunk by chunk: first index and float64 (rows, N).

    A chunk holds a sixteenth of CHUNK bytes, or 64 long examples if they fit into CHUNK; at least
    one example, at least `rows`.
    """
    room = CHUNK // (8 * max(1, math.prod(x.shape[1:])))
    rows = max(1, rows, room // 16, min(64, room))
    for start in range(0, len(x), rows):
        chunk = np.asarray(x[start : start + rows])
        if prepare is not None:
            chunk = prepare(chunk)
        yield start, np.asarray(chunk, dtype=np.float64).reshape(len(chunk), -1) - mean


def _mean(x: np.ndarray, prepare: Prepare | None) -> np.ndarray:
    """The mean example (N,), summed from the first one: equal examples then have no variance."""
    _, first = next(_chunks(x[:1], prepare))
    return first[0] + sum(chunk.sum(0) for _, chunk in _chunks(x, prepare, first[0])) / len(x)


def _check(x: np.ndarray, count: int, most: int) -> None:
    """BadInput for fewer than two examples, and for a count of components that is not 1 to most."""
    if len(x) < 2:
        raise BadInput(
            f"training set of {len(x)}: components and a spectrum need 2 or more examples"
        )
    if not 1 <= count <= most:
        n_values = math.prod(x.shape[1:])
        raise BadInput(f"count = {count}: {len(x)} examples of {n_values} values allow 1 to {most}")


def _largest(symmetric: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues, descending and not below 0, and their vectors as columns."""
    size = len(symmetric)
    values, vectors = eigh(symmetric, subset_by_index=[size - count, size - 1], overwrite_a=True)
    return np.maximum(values[::-1], 0), vectors[:, ::-1]


def _from_examples(
    x: np.ndarray, count: int, prepare: Prepare | None, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and components from the n x n products of examples, of which there are few."""
    n = len(x)
    gram = np.zeros((n, n))
    rows = 4 * CHUNK // (8 * len(mean))  # We hold four chunks against one: fewer passes over x.
    for i, left in _chunks(x, prepare, mean, rows):
        for j, right in _chunks(x[: i + len(left)], prepare, mean):
            block = left @ right.T
            gram[i : i + len(left), j : j + len(right)] = block
            gram[j : j + len(right), i : i + len(left)] = block.T
    eigenvalues, vectors = _largest(gram / n, count)
    components = np.zeros((count, len(mean)))
    for i, chunk in _chunks(x, prepare, mean):
        components += vectors[i : i + len(chunk)].T @ chunk
    lengths = np.linalg.norm(components, axis=1, keepdims=True)
    return eigenvalues, components / np.maximum(lengths, 1e-300)


def _iterative(
    x: np.ndarray, count: int, prepare: Prepare | None, mean: np.ndarray, total_variance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and components by LOBPCG (Knyazev 2001), in nine passes over the examples."""
    size, scale = len(mean), len(x) * total_variance

    def covariance(vectors: np.ndarray) -> np.ndarray:
        products = (chunk.T @ (chunk @ vectors) for _, chunk in _chunks(x, prepare, mean))
        return sum(products) / scale

    start = np.random.default_rng(0).normal(size=(size, min(count + SPARE, size)))
    operator = LinearOperator((size, size), covariance, matmat=covariance, dtype=np.float64)
    with warnings.catch_warnings():
        # LOBPCG warns when it stops early and when the problem is small. Both are fine here.
        warnings.simplefilter("ignore")
        values, vectors = lobpcg(operator, start, tol=1e-8, maxiter=6)
    order = np.argsort(-values)[:count]
    return np.maximum(values[order], 0) * total_variance, vectors[:, order].T
