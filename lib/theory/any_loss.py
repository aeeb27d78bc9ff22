"""The edge of collapse of any torch loss, and the edge of use of a flat one.

A loss is `loss_fn(x_hat, x) -> (batch,)`, the error of each example as it is coded, with its own
means and sums. We need nothing else of it: one gradient per example gives G, and products of the
Hessian with vectors give H, as `lib.theory.stability` defines them.
"""

import copy
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy import ndarray as Array
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, lobpcg
from torch import Tensor

from lib import BadInput
from lib.theory.stability import Edge, halves

LossFn = Callable[[Tensor, Tensor], Tensor]
CHUNK = 2**21  # values whose graph is made at a time: some hundred MB for a spectral loss
PROBES = 16  # random vectors that estimate the diagonal of the Hessian
DENSE = 128  # matrices of so many values are made and solved whole
SPARE = 4  # LOBPCG carries so many more directions than asked for
ITERATIONS = 100
FLAT = 1e-8  # a curvature below this share of the mean one counts as none
NODES = 7  # the quadrature over a unit's posterior has so many
USED_NATS = 0.05  # a unit that holds less is of no use: the bound of the collapse alarm
USED_VALUES = 2**19  # the edge of use is computed from so many values
PRECISE = 1.02  # the edge of use is known within this ratio


def edge_of(
    loss_fn: LossFn,
    x: Tensor,
    start: Tensor | None = None,
    outputs: Tensor | None = None,
    count: int = 2,
) -> Edge:
    """The edge of any twice differentiable loss on the examples x (n, ...).

    start: where the search for the best constant output begins, which also gives its shape; the
    mean example where there is none; outputs: (n, ...), what a decoder gives without a code, for
    instance one that was trained on a condition alone. They take the place of the constant. Weights
    are those of `Edge`. BadInput: where no best constant is found, and where the Hessian there is
    not positive, so that it is no strict minimum.
    """
    x = torch.as_tensor(x)
    if len(x) < 4:
        raise BadInput(f"{len(x)} examples: an edge needs four or more")
    start = x.double().mean(0) if start is None else start
    base = _best_constant(loss_fn, x, start) if outputs is None else outputs
    at = _Pencil(loss_fn, x, base)
    edges, directions = at.largest(count)
    low = []
    for half in halves(len(x)):
        given, judged = [base if len(base) == 1 else base[part] for part in (half, ~half)]
        _, found = _Pencil(loss_fn, x[half], given).largest(1)
        low.append(_Pencil(loss_fn, x[~half], judged).quotient(found[:, 0]))
    beta = float(edges[0])
    direction = directions[:, 0] / np.linalg.norm(directions[:, 0])
    output = base.detach().reshape(len(base), -1).squeeze(0).numpy()
    return Edge(beta, min(float(np.mean(low)), beta), edges, output, direction)


class _Pencil:
    """G and H of a loss about the outputs `base`, (1, ...) or (n, ...)."""

    def __init__(self, loss_fn: LossFn, x: Tensor, base: Tensor) -> None:
        self.loss_fn, self.x, self.base = loss_fn, x, base.detach()
        self.shape = self.base.shape[1:]
        self.size = self.shape.numel()
        rows = max(1, CHUNK // self.size)
        self.parts = [slice(at, at + rows) for at in range(0, len(x), rows)]
        self.slopes = torch.cat([self._slopes(part) for part in self.parts])  # (n, N)
        probes = torch.randn(PROBES, self.size, generator=torch.manual_seed(0)).sign()
        diagonal = (probes * self.hessian(probes.to(base.dtype))).mean(0)
        least = FLAT * float(diagonal.abs().mean())
        if not least > 0:
            raise BadInput(
                "loss_fn has no curvature at its best constant, as piecewise linear losses have "
                'none; for an absolute error use theory.edge("l1-mean", x)'
            )
        self.root = diagonal.abs().clamp(min=least).sqrt().numpy()

    def _outputs(self, part: slice) -> Tensor:
        base = self.base if len(self.base) == 1 else self.base[part]
        return base.expand(len(self.x[part]), *self.shape)

    def _slopes(self, part: slice) -> Tensor:
        outputs = self._outputs(part).clone().requires_grad_()
        losses = _losses(self.loss_fn, outputs, self.x[part])
        return torch.autograd.grad(losses.sum(), outputs)[0].reshape(-1, self.size).detach()

    def hessian(self, vectors: Tensor) -> Tensor:
        """H times each of vectors (k, N)."""
        products = torch.zeros_like(vectors)
        for part in self.parts:
            shift = torch.zeros(self.shape, dtype=self.base.dtype, requires_grad=True)
            losses = _losses(self.loss_fn, self._outputs(part) + shift, self.x[part])
            slope = torch.autograd.grad(losses.sum() / len(self.x), shift, create_graph=True)[0]
            if not slope.requires_grad:  # the loss is linear here
                continue
            for vector, product in zip(vectors, products, strict=True):
                more = torch.autograd.grad(
                    slope, shift, vector.reshape(self.shape), retain_graph=True, allow_unused=True
                )[0]
                product += 0 if more is None else more.flatten()
        return products

    def quotient(self, direction: Array) -> float:
        """The weight below which a unit with this output pays."""
        vector = torch.as_tensor(direction, dtype=self.base.dtype)
        gain = (self.slopes @ vector).square().mean()
        return float(gain / (vector @ self.hessian(vector[None])[0]))

    def largest(self, count: int) -> tuple[Array, Array]:
        """The largest weights (count,) and their outputs as columns (N, count).

        In units of the root of the Hessian's diagonal both matrices are well conditioned.
        """
        scaled = (self.slopes.numpy() / self.root).astype(np.float64)

        def gain(columns: Array) -> Array:
            return scaled.T @ (scaled @ columns) / len(scaled)

        def cost(columns: Array) -> Array:
            vectors = torch.as_tensor(columns.T / self.root, dtype=self.base.dtype)
            return self.hessian(vectors).numpy().astype(np.float64).T / self.root[:, None]

        few = self.size <= DENSE
        block = self.size if few else count + SPARE
        start = scaled.T @ np.random.default_rng(0).normal(size=(len(scaled), block))
        basis = np.eye(self.size) if few else np.linalg.qr(start)[0]
        bends = basis.T @ cost(basis)
        if np.linalg.eigvalsh(bends).min() < -1e-6:  # 0 is right where an output has no effect
            raise BadInput(
                "loss_fn bends downwards at its best constant, which is then no minimum; "
                "give a better `start`, or a loss that is convex near it"
            )
        if few:
            last = [self.size - min(count, self.size), self.size - 1]
            ridge = 1e-9 * np.eye(self.size)
            values, vectors = eigh(gain(basis), bends + ridge, subset_by_index=last)
            return values[::-1], vectors[:, ::-1] / self.root[:, None]
        operators = [
            LinearOperator(2 * [self.size], matmat=f, matvec=f, dtype=float) for f in (gain, cost)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # LOBPCG warns when it stops early
            values, vectors = lobpcg(
                operators[0], start, B=operators[1], tol=1e-6, maxiter=ITERATIONS
            )
        order = np.argsort(-values)[:count]
        return values[order], vectors[:, order] / self.root[:, None]


def _losses(loss_fn: LossFn, outputs: Tensor, x: Tensor) -> Tensor:
    losses = loss_fn(outputs, x)
    if losses.shape != (len(x),):
        wanted = f"one number per example, ({len(x)},)"
        raise BadInput(f"loss_fn gives shape {tuple(losses.shape)}; it has to give {wanted}")
    return losses


def _best_constant(loss_fn: LossFn, x: Tensor, start: Tensor) -> Tensor:
    """The best output that is the same for all examples, by L-BFGS: (1, ...)."""
    constant = torch.as_tensor(start).detach().clone()[None].requires_grad_()
    search = torch.optim.LBFGS(
        [constant], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def mean_loss() -> Tensor:
        search.zero_grad()
        loss = _losses(loss_fn, constant.expand(len(x), *constant.shape[1:]), x).mean()
        loss.backward()
        return loss

    search.step(mean_loss)
    if not (torch.isfinite(constant).all() and torch.isfinite(constant.grad).all()):
        raise BadInput("loss_fn is not finite near its best constant; give another `start`")
    return constant.detach()


def edge_of_use(loss_fn: LossFn, x: Tensor, edge: Edge, steps: int = 100) -> float:
    """The weight of the KL up to which the best code of one unit holds USED_NATS.

    Where a loss is flat at its best constant, the edge of stability says that a unit pays, but not
    how little it holds. Here the posteriors of one unit (a mean and a deviation per example) and
    its line of outputs, which starts along `edge.direction`, are optimised directly, and the weight
    rises as long as the unit holds enough. x: floats; an output has the shape of an example. At
    most USED_VALUES values of x are used. The result is 0 where the unit never holds so much.
    """
    x = torch.as_tensor(x)[: max(4, USED_VALUES // edge.direction.size)]
    weight, step = edge.beta / 5, 2.0
    alive = _OneUnit(loss_fn, x, edge)
    while alive.fit(weight, 4 * steps) < USED_NATS:
        if weight < 1e-4 * edge.beta:
            return 0.0
        weight /= 4
        alive = _OneUnit(loss_fn, x, edge)
    while step > PRECISE:
        tried = copy.deepcopy(alive)
        if tried.fit(weight * step, steps) < USED_NATS:
            step = step**0.5
        else:
            weight, alive = weight * step, tried
    return weight


class _OneUnit:
    """The best code of one latent unit: posteriors, a line of outputs, a constant."""

    def __init__(self, loss_fn: LossFn, x: Tensor, edge: Edge) -> None:
        self.loss_fn, self.x = loss_fn, x
        output = torch.as_tensor(edge.output).to(x.dtype)
        self.base = output[: len(x)] if output.ndim == 2 else output
        line = torch.as_tensor(edge.direction).to(x.dtype)
        outputs = self.base.expand(len(x), len(line)).clone().requires_grad_()
        slopes = torch.autograd.grad(self._errors(outputs[None]).sum(), outputs)[0]
        mu = -slopes @ line
        scale = mu.std()
        self.mu = (mu / scale).requires_grad_()
        self.log_deviation = torch.full_like(mu, -1.0).requires_grad_()
        # a unit step of z moves the output as far as this direction varies in the examples
        spread = self._spread(line, mu / scale)
        self.line = (spread * line).requires_grad_()
        self.shift = torch.zeros_like(line).requires_grad_()
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        self.nodes = torch.as_tensor(nodes).to(x.dtype)
        self.weights = torch.as_tensor(weights / weights.sum()).to(x.dtype)

    def _errors(self, outputs: Tensor) -> Tensor:
        """The loss of each of the outputs (k, n, N): (k, n)."""
        k, n = outputs.shape[:2]
        copies = self.x.repeat(k, *[1] * (self.x.ndim - 1))
        return self.loss_fn(outputs.reshape(k * n, *self.x.shape[1:]), copies).reshape(k, n)

    def _spread(self, line: Tensor, z: Tensor) -> Tensor:
        """The best of some lengths of the line, for codes without noise."""
        lengths = torch.logspace(-2, 2, 41, dtype=line.dtype) * (1 + self.x.double().std().item())
        with torch.no_grad():
            errors = [
                self._errors((self.base + z[:, None] * d * line)[None]).mean() for d in lengths
            ]
        return lengths[int(torch.stack(errors).argmin())]

    def fit(self, weight: float, steps: int) -> float:
        """Optimise for a weight of the KL; its nats per example."""
        free = [self.mu, self.log_deviation, self.line, self.shift]
        search = torch.optim.LBFGS(
            free, max_iter=steps, history_size=20, line_search_fn="strong_wolfe"
        )

        def objective() -> Tensor:
            search.zero_grad()
            z = self.mu + self.log_deviation.exp() * self.nodes[:, None]
            outputs = self.base + self.shift + z[:, :, None] * self.line
            loss = (self.weights @ self._errors(outputs)).mean() + weight * self._kl()
            loss.backward()
            return loss

        search.step(objective)
        return float(self._kl().detach())

    def _kl(self) -> Tensor:
        variance = (2 * self.log_deviation).exp()
        return 0.5 * (self.mu.square() + variance - 1 - 2 * self.log_deviation).mean()
