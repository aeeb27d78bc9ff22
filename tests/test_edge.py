"""The edge of collapse of any loss: closed forms, automatic derivatives, and what they refuse."""

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch.nn import functional as F

from lib import BadInput, theory

RNG = np.random.default_rng(0)
SERIES = RNG.normal(size=(600, 6)) @ RNG.normal(size=(6, 12)) + RNG.normal(size=(600, 12))
RATES = np.exp(0.3 * SERIES / SERIES.std())
COUNTS = RNG.poisson(3 * RATES).astype(float)
GREY = 1 / (1 + np.exp(-SERIES))
TOKENS = np.where(RNG.random((600, 9)) < 0.6, RNG.integers(0, 4, (600, 1)), RNG.integers(0, 4))


def per_value(loss, reduce="mean"):
    """A loss of single values as `edge_of` wants it."""
    return lambda x_hat, x: getattr(loss(x_hat, x), reduce)(1)


def student_t(x_hat, x):
    return 2.5 * torch.log1p((x_hat - x).square() / 4)


def negative_binomial(x_hat, x, theta=10.0):
    return (x + theta) * torch.log(x_hat.exp() + theta) - x * x_hat


def cross_entropy(logits, x):
    return F.cross_entropy(logits.movedim(-1, 1), x, reduction="none").mean(1)


def bernoulli(x_hat, x):
    return F.binary_cross_entropy_with_logits(x_hat, x, reduction="none")


CLOSED = {
    "mse-mean": (SERIES, per_value(lambda x_hat, x: (x_hat - x).square())),
    "mse-half-sum": (SERIES, per_value(lambda x_hat, x: (x_hat - x).square() / 2, "sum")),
    "bce-mean": (GREY, per_value(bernoulli)),
    "poisson-sum": (COUNTS, per_value(lambda x_hat, x: x_hat.exp() - x * x_hat, "sum")),
    "nb-sum": (COUNTS, per_value(negative_binomial, "sum")),
    "huber-mean": (SERIES, per_value(lambda x_hat, x: F.huber_loss(x_hat, x, reduction="none"))),
    "student-mean": (SERIES, per_value(student_t)),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_are_what_automatic_derivatives_give(name) -> None:
    x, loss_fn = CLOSED[name]
    closed = theory.edge(name, x)
    automatic = theory.edge_of(loss_fn, torch.as_tensor(x))
    assert automatic.edges == pytest.approx(closed.edges[:2], rel=1e-3)
    assert automatic.beta_low == pytest.approx(closed.beta_low, rel=1e-2)
    assert abs(automatic.direction @ closed.direction) > 0.999
    assert closed.beta_low <= closed.beta and (np.diff(closed.edges) <= 0).all()


def test_tokens_are_what_torch_s_cross_entropy_gives() -> None:
    closed = theory.edge("ce-mean", TOKENS)
    shares = np.stack([(TOKENS == token).mean(0) for token in range(4)], axis=1)
    start = torch.as_tensor(np.log(shares))
    automatic = theory.edge_of(cross_entropy, torch.as_tensor(TOKENS), start=start)
    assert automatic.beta == pytest.approx(closed.beta, rel=1e-3)


def test_textbook_cases() -> None:
    """Squared error, binary values, and the arcsine law of the signs of Gaussians."""
    eigenvalues = np.linalg.eigvalsh(np.cov(SERIES.T, bias=True))
    assert theory.edge("mse-mean", SERIES).beta == pytest.approx(2 * eigenvalues[-1] / 12)
    binary = (GREY > 0.5).astype(float)
    correlation = np.corrcoef(binary.T)
    assert theory.edge("bce-sum", binary).beta == pytest.approx(np.linalg.eigvalsh(correlation)[-1])
    mixing = np.random.default_rng(1).normal(size=(3, 8)) / 2
    x = np.random.default_rng(2).normal(size=(40_000, 3)) @ mixing
    x += np.random.default_rng(3).normal(size=x.shape)
    covariance = mixing.T @ mixing + np.eye(8)
    deviation = np.sqrt(covariance.diagonal())
    correlation = np.clip(covariance / np.outer(deviation, deviation), -1, 1)
    signs = 2 / np.pi * np.arcsin(correlation)
    root = np.sqrt(2 / (np.sqrt(2 * np.pi) * deviation))
    expected = np.linalg.eigvalsh(signs / np.outer(root, root))[-1] / 8
    assert theory.edge("l1-mean", x).beta == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("name", CLOSED)
def test_a_small_code_pays_below_the_edge_only(name) -> None:
    """The exact change of the loss by a small code, with z drawn from its posteriors."""
    x, loss_fn = CLOSED[name]
    found = theory.edge(name, x)
    output, w = torch.as_tensor(found.output), 0.01 * torch.as_tensor(found.direction)
    at = output.expand(x.shape).clone().requires_grad_()
    slopes = torch.autograd.grad(loss_fn(at, torch.as_tensor(x)).sum(), at)[0] @ w
    nodes, weights = hermegauss(9)
    for times, pays in ((0.8, True), (1.25, False)):
        beta = times * found.beta
        mu = -slopes / beta
        change = beta * mu.square().mean() / 2
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            outputs = output + (mu + node)[:, None] * w
            change += weight * loss_fn(outputs, torch.as_tensor(x)).mean()
        change -= loss_fn(output.expand(x.shape), torch.as_tensor(x)).mean()
        assert (change < 0) == pays


def test_a_condition_takes_away_what_it_explains() -> None:
    condition = SERIES[:, :2]
    given = theory.edge("mse-mean", SERIES, condition)
    design = np.column_stack([np.ones(len(SERIES)), condition])
    rest = SERIES - design @ np.linalg.lstsq(design, SERIES, rcond=None)[0]
    assert given.beta == pytest.approx(theory.edge("mse-mean", rest).beta, rel=1e-6)
    counts = theory.edge("poisson-sum", COUNTS, condition)
    loss_fn, outputs = CLOSED["poisson-sum"][1], torch.as_tensor(counts.output)
    automatic = theory.edge_of(loss_fn, torch.as_tensor(COUNTS), outputs=outputs)
    assert automatic.beta == pytest.approx(counts.beta, rel=1e-3)
    assert counts.beta < theory.edge("poisson-sum", COUNTS).beta


def test_few_examples_promise_too_much_and_the_honest_edge_does_not() -> None:
    noise = np.random.default_rng(4).normal(size=(60, 100))  # the true edge is 2 / 100
    found = theory.edge("mse-mean", noise)
    assert found.beta > 0.06 and 0.015 < found.beta_low < 0.03


def test_the_edge_of_use_is_exact_for_squared_error_and_far_below_for_a_flat_loss() -> None:
    """A unit of squared error holds ln(beta_1 / beta) / 2 nats. L1 is flat between two modes."""
    mixing = np.random.default_rng(6).normal(size=(3, 20))
    z = np.random.default_rng(5).normal(size=(400, 3)) @ mixing
    z /= z.std(0)
    modes = np.sign(z) * 0.9 + 0.44 * np.random.default_rng(7).normal(size=z.shape)
    used = []
    for name, power, x in (("mse-mean", 2, z), ("l1-mean", 1, z), ("l1-mean", 1, modes)):
        loss_fn = per_value(lambda x_hat, x, power=power: (x_hat - x).abs() ** power)
        found = theory.edge(name, x)
        used.append(theory.edge_of_use(loss_fn, torch.as_tensor(x), found) / found.beta)
    assert used[0] == pytest.approx(np.exp(-2 * 0.05), rel=0.03)
    assert used[2] < 0.65 < 0.75 < used[1] < 1


def test_weights_as_they_are_coded() -> None:
    assert theory.weight_as_coded(0.5, 8) == 0.5
    assert theory.weight_as_coded(0.5, 8, kl="mean", kl_batch=4, kl_factor=2) == 0.5


REFUSED = {
    "unknown": (lambda: theory.edge("bce", GREY), 'did you mean "bce-sum"|known'),
    "above 1": (lambda: theory.edge("bce-mean", 255 * GREY), "needs 0 to 1"),
    "negative": (lambda: theory.edge("nb-sum", -COUNTS), "0 or more"),
    "theta": (lambda: theory.edge("nb-sum", COUNTS, parameter=-1), "above 0"),
    "tokens": (lambda: theory.edge("ce-mean", GREY), "whole numbers"),
    "equal": (lambda: theory.edge("mse-mean", np.ones((9, 3))), "all 9 examples are equal"),
    "rows": (lambda: theory.edge("mse-mean", SERIES, SERIES[:9]), "one row per example"),
    "NaN": (lambda: theory.edge("mse-mean", SERIES * np.nan), "finite"),
    "kl": (lambda: theory.weight_as_coded(1.0, 8, kl="max"), "sum"),
    "kink": (
        lambda: theory.edge_of(lambda h, x: (h - x).abs().mean(1), torch.as_tensor(SERIES)),
        "no curvature",
    ),
    "downwards": (
        lambda: theory.edge_of(lambda h, x: (h - x).cos().sum(1), torch.zeros(9, 3)),
        "bends downwards",
    ),
    "shape": (
        lambda: theory.edge_of(lambda h, x: (h - x).mean(), torch.zeros(9, 3)),
        "per example",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_words(case) -> None:
    call, words = REFUSED[case]
    with pytest.raises(BadInput, match=words):
        call()
