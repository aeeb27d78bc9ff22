"""Principal components of a data set, whose eigenvalues predict collapse. See chapter 05.

Examples are read in chunks, so memory does not grow with the data set and a memory map will do.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import lobpcg

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
        squared_error = 0.0
        for chunk in _Examples(x, self.prepare, self.mean):
            squared_error += np.square(chunk).sum() - np.square(chunk @ basis).sum()
        return float(squared_error / (len(x) * len(self.mean)))


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
        # We sum from the first example on: equal examples then have no variance at all.
        first = _Examples(x, prepare)[:1][0]
        mean = first + sum(chunk.sum(0) for chunk in _Examples(x, prepare, first)) / n
        examples = _Examples(x, prepare, mean)
        if n_values <= EXACT:
            scatter = np.zeros((n_values, n_values))
            for chunk in examples:
                scatter += chunk.T @ chunk
            total_variance = float(np.trace(scatter)) / n
        else:
            total_variance = float(sum(np.square(chunk).sum() for chunk in examples) / n)
    if not np.isfinite(total_variance):
        raise BadInput(
            "the examples hold NaN or infinite values, or too large ones; "
            "a spectrum needs finite squares"
        )
    if n_values <= EXACT:
        eigenvalues, vectors = _largest(scatter / n, count)
        components = vectors.T
    elif n <= EXACT:
        eigenvalues, components = _from_examples(examples, count)
    else:
        eigenvalues, components = _iterative(examples, count, total_variance)
    return Pca(mean, components, eigenvalues, total_variance, prepare)


def separable_pca(x: np.ndarray, count: int) -> Pca:
    """PCA of x (n, bin, frame) whose components are products of a spectrum and a course in time.

    The spectra are the eigenvectors of the covariance of bins, the courses those of frames. Of all
    their products we take the `count` with most variance. That is (bin^2 + frame^2) / 2 numbers to
    learn instead of count * N, so it fits unheard examples better where n is small. x is sliced.
    """
    n, *shape = x.shape
    _check(x, count, math.prod(shape))
    mean = sum(chunk.sum(0) for chunk in _Examples(x)) / n
    examples = _Examples(x, None, mean)
    bins = frames = variance = 0.0
    for chunk in examples:
        pictures = chunk.reshape(-1, *shape)
        bins += np.einsum("nbt,nct->bc", pictures, pictures, optimize=True)
        frames += np.einsum("nbt,nbs->ts", pictures, pictures, optimize=True)
    spectra, courses = np.linalg.eigh(bins)[1].T, np.linalg.eigh(frames)[1].T
    for chunk in examples:
        variance += np.square(spectra @ chunk.reshape(-1, *shape) @ courses.T).sum(0)
    variance = variance.ravel() / n
    best = np.argsort(variance)[::-1][:count]
    row, column = np.divmod(best, len(courses))
    components = spectra[row][:, :, None] * courses[column][:, None, :]
    return Pca(mean, components.reshape(count, -1), variance[best], float(variance.sum()))


@dataclass(frozen=True)
class _Examples:
    """The examples x (n, ...) minus their mean (N,), read by slices as float64 rows."""

    x: np.ndarray
    prepare: Prepare | None = None
    mean: np.ndarray | float = 0.0

    def __getitem__(self, part: slice) -> np.ndarray:
        chunk = np.asarray(self.x[part])
        if self.prepare is not None:
            chunk = self.prepare(chunk)
        return np.asarray(chunk, dtype=np.float64).reshape(len(chunk), -1) - self.mean

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[part] for part in self.parts(len(self.x)))

    def parts(self, stop: int) -> list[slice]:
        """Chunks up to `stop`: a sixteenth of CHUNK bytes each, or 64 long examples if they fit."""
        room = CHUNK // (8 * max(1, math.prod(self.x.shape[1:])))
        return _slices(stop, max(1, room // 16, min(64, room)))


def _slices(stop, rows):
    return [slice(start, min(start + rows, stop)) for start in range(0, stop, rows)]


def _check(x, count, most):
    """BadInput for fewer than two examples, and for a count of components that is not 1 to most."""
    n, n_values = len(x), math.prod(x.shape[1:])
    if n < 2:
        raise BadInput(f"training set of {n}: components and a spectrum need 2 or more examples")
    if not 1 <= count <= most:
        raise BadInput(f"count = {count}: {n} examples of {n_values} values allow 1 to {most}")


def _largest(symmetric, count):
    """The largest eigenvalues (count,), descending and not below 0, and their vectors as columns.

    Only the lower triangle of the symmetric matrix is read.
    """
    size = len(symmetric)
    values, vectors = eigh(symmetric, subset_by_index=[size - count, size - 1], overwrite_a=True)
    return np.maximum(values[::-1], 0), vectors[:, ::-1]


def _from_examples(examples, count):
    """Eigenvalues and components from the n x n products of examples, of which there are few."""
    n, n_values = len(examples.x), len(examples.mean)
    gram = np.zeros((n, n))
    # We hold four chunks against one, which reads x in fewer passes.
    for left in _slices(n, max(1, 4 * CHUNK // (8 * n_values))):
        rows = examples[left]
        for right in examples.parts(left.stop):
            gram[left, right] = rows @ examples[right].T
    eigenvalues, vectors = _largest(gram / n, count)
    components = sum(vectors[part].T @ examples[part] for part in examples.parts(n))
    lengths = np.linalg.norm(components, axis=1, keepdims=True)
    return eigenvalues, components / np.maximum(lengths, 1e-300)


def _iterative(examples, count, total_variance):
    """Eigenvalues and components by LOBPCG (Knyazev 2001), in nine passes over the examples."""
    size, scale = len(examples.mean), len(examples.x) * total_variance

    def covariance(vectors):
        return sum(chunk.T @ (chunk @ vectors) for chunk in examples) / scale

    start = np.random.default_rng(0).normal(size=(size, min(count + SPARE, size)))
    with warnings.catch_warnings():
        # LOBPCG warns when it stops early and when the problem is small. Both are fine here.
        warnings.simplefilter("ignore")
        values, vectors = lobpcg(covariance, start, tol=1e-8, maxiter=6)
    order = np.argsort(-values)[:count]
    return np.maximum(values[order], 0) * total_variance, vectors[:, order].T
