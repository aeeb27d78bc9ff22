"""The losses against torch.distributions, formulas of public repositories, their gradients."""

import math
from decimal import Decimal, localcontext
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from lib import theory
from lib.vae import losses
from lib.vae.config import TrainingConfig
from lib.vae.module import VAEModule
from lib.vae.presets import build


def example(batch: int = 5, latent: int = 3, shape: tuple = (1, 4, 7), seed: int = 0) -> tuple:
    """x, x_hat, mu, log_var in float64, the last three with gradients."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (batch, *shape), (batch, *shape), (batch, latent), (batch, latent)
    x, *rest = (torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)
    return x, *(tensor.requires_grad_() for tensor in rest)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(0, 1000), st.floats(0.1, 4))
def test_kl_is_that_of_torch_distributions(latent: int, seed: int, scale: float) -> None:
    _, _, mu, log_var = example(5, latent, seed=seed)
    mu, log_var = scale * mu, scale * log_var
    posterior = Independent(Normal(mu, (0.5 * log_var).exp()), 1)
    prior = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
    expected = kl_divergence(posterior, prior)
    assert torch.allclose(losses.kl_sum_latent(mu, log_var), expected, rtol=1e-9)
    assert torch.allclose(losses.kl_per_unit(mu, log_var).sum(1), expected, rtol=1e-9)


def test_calibrated_gradient_points_where_the_gaussian_likelihood_does() -> None:
    x, x_hat, mu, log_var = example()
    inputs = (x_hat, mu, log_var)
    ours = torch.autograd.grad(losses.calibrated(x, x_hat, mu, log_var), inputs)
    mse = mse_loss(x_hat, x)
    kl = losses.kl_sum_latent(mu, log_var).mean()
    nats = torch.autograd.grad(losses.calibrated_nats(mse, kl, 28), inputs)
    for a, b in zip(ours, nats, strict=True):
        assert torch.allclose(a, 2 * mse.detach() / 28 * b, rtol=1e-9)


def test_neg_elbo_is_that_of_a_normal_decoder() -> None:
    x, x_hat, mu, log_var = example()
    sigma2, kl = 0.37, losses.kl_sum_latent(mu, log_var)
    expected = kl - Normal(x_hat, math.sqrt(sigma2)).log_prob(x).flatten(1).sum(1)
    squared = losses.squared_error_sum(x, x_hat)
    assert torch.allclose(losses.neg_elbo_nats(squared, kl, sigma2, 28), expected, rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 10))
def test_beta_implies_the_noise_variance_beta_n_over_2(beta: float) -> None:
    """Report loss = 2 sigma2 / N * -ELBO + constant, with sigma2 = beta N / 2."""
    sigma2 = beta * 28 / 2
    differences = []
    for seed in (1, 2):
        x, x_hat, mu, log_var = example(seed=seed)
        kl = losses.kl_sum_latent(mu, log_var)
        elbo = losses.neg_elbo_nats(losses.squared_error_sum(x, x_hat), kl, sigma2, 28).mean()
        differences.append(losses.report(x, x_hat, mu, log_var, beta) - 2 * sigma2 / 28 * elbo)
    assert torch.allclose(differences[0], differences[1], rtol=1e-9)


def written_out(name: str, x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, weight: float):
    """The loss as a repository with this reduction writes it."""
    kl, mse = -0.5 * (1 + log_var - mu.pow(2) - log_var.exp()), torch.nn.MSELoss
    summed = mse(reduction="sum")(x_hat, x) / len(x)
    return {
        "report": mse()(x_hat, x) + weight * kl.sum(1).mean(),
        "mean_mean": mse()(x_hat, x) + weight * kl.mean(),
        "sum_sum": summed + weight * kl.sum(1).mean(),
        "half_sum_sum": 0.5 * summed + weight * kl.sum() / len(x),
    }[name]


@pytest.mark.parametrize("name", losses.REDUCTIONS)
@settings(max_examples=15, deadline=None)
@given(weight=st.floats(1e-3, 100), latent=st.integers(1, 5), seed=st.integers(0, 99))
def test_each_reduction_is_its_formula_and_the_report_loss_at_a_beta(name, weight, latent, seed):
    beta = 2 * theory.sigma2_of(losses.REDUCTIONS[name], weight, 28, latent) / 28
    ratios = []
    for inputs in (example(5, latent, seed=seed), example(6, latent, seed=seed + 100)):
        loss = losses.LOSSES[name](*inputs, weight)
        assert torch.allclose(loss, written_out(name, *inputs, weight), rtol=1e-12)
        ratios.append((loss / losses.report(*inputs, beta)).item())
    factor = {"sum_sum": 28, "half_sum_sum": 14}.get(name, 1)
    assert ratios == pytest.approx([factor, factor], rel=1e-9)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_the_loss_of_the_table_is_the_object_that_trains(name: str) -> None:
    module = VAEModule(build("mlp", (4, 7), 3), TrainingConfig(loss=name, floor=0.3), steps=1)
    if name == "free_bits":
        assert module.loss.func is losses.free_bits and module.loss.keywords == {"floor": 0.3}
    else:
        assert module.loss is losses.LOSSES[name]
    assert losses.LOSSES["report"] is losses.LOSSES["delta"] is losses.report
    assert get_args(TrainingConfig.model_fields["loss"].annotation) == tuple(losses.LOSSES)


def test_bernoulli_is_the_negative_elbo_of_binary_pixels() -> None:
    x, logits, mu, log_var = example()
    x = (x > 0).double()
    nats = -Independent(Bernoulli(logits=logits), 3).log_prob(x) + losses.kl_sum_latent(mu, log_var)
    assert torch.allclose(losses.bernoulli(x, logits, mu, log_var, 1.0), nats.mean(), rtol=1e-9)


def test_free_bits_cost_nothing_below_the_floor_and_the_whole_kl_above() -> None:
    x, x_hat, mu, log_var = inputs = example()
    per_unit = losses.kl_per_unit(mu, log_var).mean(0).detach()
    low, high = 0.9 * per_unit.min().item(), 1.1 * per_unit.max().item()
    report = losses.report(*inputs, 0.3)
    assert torch.allclose(losses.free_bits(*inputs, 0.3, low), report, rtol=1e-12)
    loss = losses.free_bits(*inputs, 0.3, high)
    assert torch.allclose(loss, mse_loss(x_hat, x) + 0.3 * 3 * high, rtol=1e-12)
    picture, *code = torch.autograd.grad(loss, inputs[1:])
    assert picture.abs().min() > 0 and all((gradient == 0).all() for gradient in code)
    between = per_unit.sort().values[:2].mean().item()  # one unit below, two above
    (gradient,) = torch.autograd.grad(losses.free_bits(*inputs, 0.3, between), mu)
    free = per_unit < between
    assert ((gradient == 0).all(0) == free).all() and free.sum() == 1


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-3, 10), st.floats(1e-3, 20), st.floats(1e-3, 10))
def test_at_the_cap_a_unit_has_the_floor_and_cannot_have_less(floor, below, mu) -> None:
    cap = losses.log_var_cap(floor)
    assert cap < 0

    def kl(mean: float, log_var: float) -> float:
        return losses.kl_per_unit(*torch.tensor([mean, log_var], dtype=torch.float64)).item()

    assert abs(kl(0, cap) - floor) < 1e-9
    assert min(kl(0, cap - below), kl(mu, cap), kl(-mu, cap - below)) > kl(0, cap)
    assert losses.log_var_cap(0.0) == math.inf


@settings(max_examples=60, deadline=None)
@given(st.floats(-6, 1))
def test_the_cap_holds_the_floor_at_any_size(exponent: float) -> None:
    """(v - 1 - ln v) / 2 = floor in 60 digits, down to a millionth of a nat."""
    floor = 10**exponent
    with localcontext(prec=60):
        log_var = Decimal(losses.log_var_cap(floor))
        ratio = (log_var.exp() - 1 - log_var) / 2 / Decimal(floor)
        assert log_var < 0 and abs(ratio - 1) < Decimal("1e-9")


def test_bernoulli_nats_are_those_of_torch() -> None:
    x, logits, *_ = example()
    x = (x > 0).double()
    many = torch.stack([logits, -logits, 300 * logits])  # an axis of samples before; far from 0 too
    expected = binary_cross_entropy_with_logits(many, x.expand_as(many), reduction="none")
    assert torch.allclose(losses.bernoulli_nats(x, many), expected.sum((2, 3, 4)), rtol=1e-12)
    assert torch.allclose(losses.bernoulli_nats(x, logits), expected[0].sum((1, 2, 3)), rtol=1e-12)


def test_importance_nats_are_exact_for_the_true_posterior_and_the_elbo_for_one_draw() -> None:
    """x = w z + noise, z and noise normal: p(x) is each weight under the posterior."""
    normal, w, noise = torch.distributions.Normal, 1.7, 0.6
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    exact = -normal(0.0, math.sqrt(w**2 + noise**2)).log_prob(x)
    variance = 1 / (1 + w**2 / noise**2)
    mu = (variance * w / noise**2 * x)[:, None]
    log_var = torch.full_like(mu, math.log(variance))
    draws = torch.randn(5000, 7, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def nats(z: Tensor) -> Tensor:
        return -normal(w * z[..., 0], noise).log_prob(x)

    def importance(z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
        return losses.importance_nats(nats(z), z, mu, log_var)

    for k in (1, 3):
        z = mu + (log_var / 2).exp() * draws[:k]
        assert torch.allclose(importance(z, mu, log_var), exact, atol=1e-9)
    # Not the posterior: the bound lies above, and more draws lower it
    mu, log_var = mu + 0.4, log_var + 0.5
    z = mu + (log_var / 2).exp() * draws
    singles = torch.stack([importance(one[None], mu, log_var) for one in z])
    elbo = nats(z).mean(0) + losses.kl_sum_latent(mu, log_var)
    assert torch.allclose(singles.mean(0), elbo, atol=0.1) and (elbo > exact + 0.05).all()
    assert torch.allclose(importance(z, mu, log_var), exact, atol=0.05)
