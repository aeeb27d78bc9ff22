"""The weight of the KL from which on a VAE collapses, for other losses than squared error.

Give a collapsed VAE its first latent unit, so that its output is c* + w z, where c* is the best
output without a code. To second order in w the loss changes by w'Hw / 2 - E[(g'w)^2] / (2 beta).
Here g is the gradient of an example's loss with respect to the output at c*, and H is the mean of
the second derivatives. So the collapsed state is unstable below beta_1, the largest generalised
eigenvalue of G w = beta H w with G = E[g g']. For squared error averaged over N values it is
2 lambda_1 / N, as in chapter 05.

`edge` knows the common losses in closed form. `any_loss.edge_of` takes any torch function. Their
weights multiply a KL summed over latent units and averaged over the batch; `weight_as_coded`
converts them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from lib import BadInput
from lib.theory.components import pca

LEADING = 8  # edges that are returned: that of the first unit, of the second, ...
STEPS = 100  # the search for the best output stops earlier when a step is tiny
TIED = 0.02  # more examples than this share with one value are no chance
LONGEST = 1.0  # a longer step in the logarithm of a rate overshoots
Array = np.ndarray


@dataclass(frozen=True)
class Edge:
    """Where the collapsed state of a VAE loses its stability.

    beta: the weight below which a first unit pays; beta_low: the same without its upward bias, from
    directions that one half of the examples gave and the other half judged; edges: (count,),
    descending, for the first unit, the second, ...; output: the best one without a code, (N,), or
    (n, N) under a condition, and the value itself where all examples share it; direction: the
    first that a VAE will learn, (N,), of unit length.
    """

    beta: float
    beta_low: float
    edges: Array
    output: Array
    direction: Array


@dataclass(frozen=True)
class Loss:
    """A loss of single values x (n, N), given the output c, (N,) or (n, N).

    start: x -> the best constant output, or a first guess (N,); slope: first derivative (n, N);
    bend: second derivative, (n, N) or its mean (N,); weight: (n, N), the curvature that steps
    towards the best output assume, `bend` where there is none; check: what is wrong with x, or "".
    """

    start: Callable[[Array], Array]
    slope: Callable[[Array, Array], Array]
    bend: Callable[[Array, Array], Array]
    weight: Callable[[Array, Array], Array] | None = None
    check: Callable[[Array], str] = lambda x: ""


def _squared_error(factor: float = 1.0) -> Loss:
    """factor * (c - x)^2."""
    return Loss(
        start=lambda x: x.mean(0),
        slope=lambda x, c: 2 * factor * (c - x),
        bend=lambda x, c: np.full_like(x, 2 * factor),
    )


def _bernoulli() -> Loss:
    """Binary cross-entropy of values from 0 to 1; c is the logit."""

    def check(x: Array) -> str:
        return "" if x.min() >= 0 and x.max() <= 1 else "binary cross-entropy needs 0 to 1"

    return Loss(
        start=lambda x: logit(x.mean(0)),
        slope=lambda x, c: expit(c) - x,
        bend=lambda x, c: expit(c) * expit(-c) + 0 * x,
        check=check,
    )


def _check_counts(x: Array) -> str:
    return "" if x.min() >= 0 else "a loss of counts needs values of 0 or more"


def _poisson() -> Loss:
    """Poisson negative log-likelihood; c is the logarithm of the rate.

    Tokens as one-hot values have the same derivatives: c is then the logarithm of a probability.
    """
    return Loss(
        start=lambda x: np.log(x.mean(0)),
        slope=lambda x, c: np.exp(c) - x,
        bend=lambda x, c: np.exp(c) + 0 * x,
        check=_check_counts,
    )


def _negative_binomial(theta: float) -> Loss:
    """Negative binomial negative log-likelihood of variance mu + mu^2 / theta; c = log mu."""

    def slope(x: Array, c: Array) -> Array:
        return theta * (np.exp(c) - x) / (np.exp(c) + theta)

    def bend(x: Array, c: Array) -> Array:
        return theta * np.exp(c) * (x + theta) / (np.exp(c) + theta) ** 2

    return Loss(lambda x: np.log(x.mean(0)), slope, bend, check=_check_counts)


def _of_difference(slope: Callable[[Array], Array], bend: Callable[[Array, Array], Array]) -> Loss:
    """A loss of d = c - x alone, from its derivatives. The search for the best output reweights."""

    def weight(x: Array, c: Array) -> Array:
        difference = c - x
        distance = np.where(np.abs(difference) < 1e-9, 1e-9, difference)
        return slope(distance) / distance

    return Loss(lambda x: np.median(x, axis=0), lambda x, c: slope(c - x), bend, weight)


def _huber(delta: float) -> Loss:
    """d^2 / 2 up to |d| = delta, then a line: torch's HuberLoss."""
    return _of_difference(
        slope=lambda d: np.clip(d, -delta, delta),
        bend=lambda x, c: (np.abs(c - x) < delta).astype(float),
    )


def _student_t(nu: float) -> Loss:
    """Negative log-likelihood of Student's t with nu degrees of freedom and scale 1."""

    def bend(x: Array, c: Array) -> Array:
        square = (c - x) ** 2
        return (nu + 1) * (nu - square) / (nu + square) ** 2

    return _of_difference(lambda d: (nu + 1) * d / (nu + d**2), bend)


def _absolute_error() -> Loss:
    """|d|, whose mean has a bend of 2 f, twice the density of the values at their median.

    A kernel estimate gives f, with Silverman's bandwidth (1986, eq. 3.31). Where several examples
    have the median itself as their value, the loss has a kink there and no small output pays.
    """

    def bend(x: Array, c: Array) -> Array:
        difference = x - c
        low, high = np.quantile(difference, [0.25, 0.75], axis=0)
        width = np.minimum(difference.std(0), (high - low) / 1.349)
        width = np.maximum(0.9 * width * len(x) ** -0.2, 1e-9)
        density = (norm.pdf(difference / width) / width).mean(0)
        tied = (np.abs(difference) < 1e-9).mean(0) > max(TIED, 1.5 / len(x))
        return np.where(tied, np.inf, 2 * density)

    return _of_difference(np.sign, bend)


LOSSES: dict[str, tuple[Callable[..., Loss], str, float | None]] = {
    # maker, words, and the parameter of the maker where it has one
    "mse": (_squared_error, "squared error", None),
    "mse-half": (partial(_squared_error, 0.5), "half the squared error", None),
    "bce": (_bernoulli, "binary cross-entropy", None),
    "poisson": (_poisson, "Poisson negative log-likelihood", None),
    "nb": (_negative_binomial, "negative binomial negative log-likelihood, theta", 10.0),
    "ce": (_poisson, "cross-entropy of tokens", None),
    "l1": (_absolute_error, "absolute error", None),
    "huber": (_huber, "Huber loss, delta", 1.0),
    "student": (_student_t, "Student's t negative log-likelihood, nu", 4.0),
}
NAMES = tuple(f"{name}-{how}" for name in LOSSES for how in ("mean", "sum"))


def edge(
    loss: str,
    x: Array,
    condition: Array | None = None,
    parameter: float | None = None,
    count: int = LEADING,
) -> Edge:
    """The edge of `loss` on the examples x (n, ...), in closed form.

    loss: one of NAMES; "mean" averages over the values of an example, or over its tokens; x: real
    numbers, for "ce" whole numbers from 0; condition: what a conditional decoder sees (n, m); it
    enters linearly; parameter: theta, delta or nu, where the loss has one. BadInput: for a name, a
    value or a shape that does not fit, and where nothing varies.
    """
    made, averaged = _loss_of(loss, parameter)
    x, per_example = _values(loss, np.asarray(x))
    if condition is not None:
        condition = np.asarray(condition, np.float64)
        if condition.shape[0] != len(x) or condition.ndim != 2:
            wanted = f"give one row per example, ({len(x)}, m)"
            raise BadInput(f"condition of shape {condition.shape}: {wanted}")
        if loss.startswith("ce"):
            raise BadInput("condition: tokens under a condition need lib.theory.edge_of")
    wrong = made.check(x)
    if wrong:
        raise BadInput(f"loss {loss!r}: values from {x.min():.4g} to {x.max():.4g}; {wrong}")
    varies = x.std(0) > 1e-9 * np.abs(x).max()
    if not varies.any():
        raise BadInput(f"all {len(x)} examples are equal; give examples that differ")
    whole, x = x, x[:, varies]
    scale = 1 / per_example if averaged else 1.0
    count = min(count, len(x) - 1, x.shape[1])
    output = _best_output(made, x, condition)
    slope, bend = _derivatives(made, x, output)
    whitened = pca(slope / np.sqrt(bend), count)
    low = [_judged(made, x, output, half) for half in halves(len(x))]
    direction = np.zeros(len(varies))
    direction[varies] = whitened.components[0] / np.sqrt(bend)
    direction /= np.linalg.norm(direction)
    edges = scale * whitened.eigenvalues
    filled = whole[: 1 if output.ndim == 1 else len(x)].copy()
    filled[:, varies] = output
    output = filled.reshape(output.shape[:-1] + varies.shape)
    low = min(scale * float(np.mean(low)), float(edges[0]))
    return Edge(float(edges[0]), low, edges, output, direction)


def _judged(loss: Loss, x: Array, output: Array, half: Array) -> float:
    """The direction that one half of the examples gives, judged by the other."""
    given, judged = [output if output.ndim == 1 else output[part] for part in (half, ~half)]
    slope_a, bend_a = _derivatives(loss, x[half], given)
    slope_b, bend_b = _derivatives(loss, x[~half], judged)
    root = np.sqrt(bend_a)
    unit = pca(slope_a / root, 1).components[0] / root
    counted = unit != 0  # a kink of the loss has an infinite bend
    gain = np.square(slope_b[:, counted] @ unit[counted]).mean()
    return gain / (bend_b[counted] @ unit[counted] ** 2)


def halves(n: int) -> tuple[Array, Array]:
    """Two random halves of n examples as masks. Neighbours in a file may be alike."""
    half = np.random.default_rng(0).permutation(n) % 2 == 0
    return half, ~half


def weight_as_coded(
    beta: float, latents: int, kl: str = "sum", kl_batch: int = 1, kl_factor: float = 1.0
) -> float:
    """The weight in a loss whose KL is coded otherwise than in `Edge`.

    kl: "sum" or "mean" over the latent units; kl_batch: B where the KL is also summed over B
    examples while the error is averaged; kl_factor: 2 where the KL lacks its 1/2.
    """
    if kl not in ("sum", "mean"):
        raise BadInput(f'kl {kl!r}: "sum" or "mean" over the latent units')
    return beta * (latents if kl == "mean" else 1) / (kl_batch * kl_factor)


def _loss_of(name: str, parameter: float | None) -> tuple[Loss, bool]:
    """The loss of a name, and whether it averages over values."""
    if name not in NAMES:
        from lib.config import did_you_mean

        raise BadInput(f"loss {name!r} is not known; {did_you_mean(name, NAMES)}")
    kind, _, how = name.rpartition("-")
    maker, words, default = LOSSES[kind]
    if default is None and parameter is not None:
        raise BadInput(f"parameter = {parameter}: {words} has none")
    parameter = default if parameter is None else parameter
    if parameter is not None and not parameter > 0:
        raise BadInput(f"parameter = {parameter}: must be above 0 ({words})")
    return (maker() if default is None else maker(parameter)), how == "mean"


def _values(loss: str, x: Array) -> tuple[Array, int]:
    """Examples as float64 rows, tokens one-hot, and over how many numbers a mean goes."""
    if x.ndim < 2 or len(x) < 4 or x.dtype.kind not in "buif" or not np.isfinite(x).all():
        wanted = "give finite real numbers of shape (example, ...), four or more examples"
        raise BadInput(f"x of shape {x.shape} and {x.dtype}: {wanted}")
    rows = x.reshape(len(x), -1)
    if not loss.startswith("ce"):
        return rows.astype(np.float64), rows.shape[1]
    if (rows % 1).any() or rows.min() < 0:
        raise BadInput(f"loss {loss!r}: tokens are whole numbers from 0, not {rows.min()}...")
    one_hot = rows[:, :, None] == np.arange(int(rows.max()) + 1)
    return one_hot.reshape(len(x), -1).astype(np.float64), rows.shape[1]


def _derivatives(loss: Loss, x: Array, output: Array) -> tuple[Array, Array]:
    """The slopes (n, N) at an output, and the mean bend (N,)."""
    bend = np.atleast_2d(loss.bend(x, output)).mean(0)
    return loss.slope(x, output), np.where(bend > 1e-12, bend, np.inf)


def _best_output(loss: Loss, x: Array, condition: Array | None) -> Array:
    """By Fisher scoring or reweighting: (N,), or (n, N) where it is linear in a condition."""
    start = loss.start(x)
    if condition is None and loss.weight is None:
        return start
    design = np.ones((len(x), 1))
    if condition is not None:
        deviation = np.maximum(condition.std(0), 1e-12)
        design = np.hstack([design, (condition - condition.mean(0)) / deviation])
    coefficients = np.zeros((design.shape[1], x.shape[1]))
    coefficients[0] = start
    ridge = 1e-9 * np.eye(len(coefficients))
    for _ in range(STEPS):
        output = design @ coefficients
        weight = (loss.weight or loss.bend)(x, output)
        information = np.einsum("nm,nk,nj->jmk", design, design, weight, optimize=True) / len(x)
        gradient = design.T @ loss.slope(x, output) / len(x)
        step = np.linalg.solve(information + ridge, gradient.T[:, :, None])[:, :, 0].T
        coefficients -= np.clip(step, -LONGEST, LONGEST)
        if np.abs(step).max() < 1e-9:
            break
    return coefficients[0] if condition is None else design @ coefficients
