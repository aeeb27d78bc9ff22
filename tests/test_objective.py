"""The loss against torch.distributions, against the report's formula as a student writes it, and by its gradients."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl_divergence

from lib import objective


def example(batch: int = 5, latent: int = 3, shape: tuple = (1, 4, 7), seed: int = 0) -> tuple:
    """x, x_hat, mu, log_var in float64, the last three with gradients."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (batch, *shape), (batch, *shape), (batch, latent), (batch, latent)
    x, *rest = (torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)
    return x, *(tensor.requires_grad_() for tensor in rest)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 1000), st.floats(0.1, 4))
def test_kl_is_that_of_torch_distributions(batch: int, latent: int, seed: int, scale: float) -> None:
    _, _, mu, log_var = example(batch, latent, seed=seed)
    mu, log_var = scale * mu, scale * log_var
    posterior = Independent(Normal(mu, (0.5 * log_var).exp()), 1)
    prior = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
    expected = kl_divergence(posterior, prior)
    assert torch.allclose(objective.kl_sum_latent(mu, log_var), expected, rtol=1e-9)
    assert torch.allclose(objective.kl_per_unit(mu, log_var).sum(1), expected, rtol=1e-9)
    assert torch.allclose(objective.kl_sum_latent_mean_batch(mu, log_var), expected.mean(), rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 10), st.integers(1, 5))
def test_report_loss_is_the_students_formula(beta: float, batch: int) -> None:
    x, x_hat, mu, log_var = example(batch)
    kl = torch.mean(-0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp(), dim=1), dim=0)
    expected = torch.nn.MSELoss(reduction="mean")(x_hat, x) + beta * kl
    assert torch.allclose(objective.report_loss(x, x_hat, mu, log_var, beta), expected, rtol=1e-12)


def test_calibrated_gradient_points_where_the_gaussian_likelihood_does() -> None:
    x, x_hat, mu, log_var = example()
    n_values = objective.values(x)
    assert n_values == 28
    inputs = (x_hat, mu, log_var)
    ours = torch.autograd.grad(objective.calibrated_loss(x, x_hat, mu, log_var), inputs)
    mse = objective.squared_error_mean(x, x_hat)
    kl = objective.kl_sum_latent_mean_batch(mu, log_var)
    nats = torch.autograd.grad(objective.calibrated_nats(mse, kl, n_values), inputs)
    for a, b in zip(ours, nats, strict=True):
        assert torch.allclose(a, 2 * mse.detach() / n_values * b, rtol=1e-9)


def test_neg_elbo_is_that_of_a_normal_decoder() -> None:
    x, x_hat, mu, log_var = example()
    sigma2, kl = 0.37, objective.kl_sum_latent(mu, log_var)
    expected = kl - Normal(x_hat, math.sqrt(sigma2)).log_prob(x).flatten(1).sum(1)
    squared = objective.squared_error_sum(x, x_hat)
    assert torch.allclose(objective.neg_elbo_nats(squared, kl, sigma2, 28), expected, rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 10))
def test_beta_implies_the_noise_variance_beta_n_over_2(beta: float) -> None:
    """The relation of the whole book: report loss = 2 sigma2 / N * -ELBO + constant, with sigma2 = beta N / 2."""
    sigma2 = beta * 28 / 2
    differences = []
    for seed in (1, 2):
        x, x_hat, mu, log_var = example(seed=seed)
        kl = objective.kl_sum_latent(mu, log_var)
        elbo = objective.neg_elbo_nats(objective.squared_error_sum(x, x_hat), kl, sigma2, 28).mean()
        differences.append(objective.report_loss(x, x_hat, mu, log_var, beta) - 2 * sigma2 / 28 * elbo)
    assert torch.allclose(differences[0], differences[1], rtol=1e-9)
