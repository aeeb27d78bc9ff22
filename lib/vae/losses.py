"""The two terms of the VAE loss and the two ways to add them, every reduction in a name. Introduced by story 03.

The whole question of the report is one of reductions: the squared error was averaged over the N values of an example,
the KL divergence was summed over the latents. The decoder's noise variance that a weight beta implies is then
sigma2 = beta N / 2 (see `lib.theory.collapse`). Shapes: x, x_hat (batch, 1, bin, frame); mu, log_var (batch, latent).
"""

import math

import torch
from torch import Tensor


def squared_error_mean(x: Tensor, x_hat: Tensor) -> Tensor:
    """Squared error averaged over the batch and over the N values of an example: a scalar, the "MSE" of every page."""
    return torch.nn.functional.mse_loss(x_hat, x)


def squared_error_sum(x: Tensor, x_hat: Tensor) -> Tensor:
    """Squared error summed over the N values of an example, one number an example: (batch,)."""
    return (x_hat - x).square().flatten(1).sum(1)


def kl_sum_latent(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, exp(log_var)) || N(0, 1)) summed over the latents, nats: (batch,). Kingma and Welling 2014, app. B."""
    return kl_per_unit(mu, log_var).sum(1)


def kl_per_unit(mu: Tensor, log_var: Tensor) -> Tensor:
    """The same divergence for each latent unit alone, nats: (batch, latent)."""
    return -0.5 * (1 + log_var - mu.square() - log_var.exp())


def kl_sum_latent_mean_batch(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL summed over the latents and averaged over the batch, nats: a scalar, the "KL" of every page."""
    return kl_sum_latent(mu, log_var).mean()


def report_loss(x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, beta: float) -> Tensor:
    """The report's loss as it stands: squared error *averaged* over N values + beta * KL *summed* over latents."""
    return squared_error_mean(x, x_hat) + beta * kl_sum_latent_mean_batch(mu, log_var)


def reduced_loss(
    x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, weight: float, reduction: str
) -> Tensor:
    """Squared error + weight * KL in one of the reductions found in the wild, a mean over the batch: a scalar.

    reduction: a key of `theory.REDUCTIONS`, the error's over the N values, then the KL's over the latents.
    """
    error, kl = squared_error_sum(x, x_hat).mean(), kl_per_unit(mu, log_var).mean(0)
    error = error * {"mean": 1 / values(x), "sum": 1.0, "half": 0.5}[reduction.split("-")[0]]
    return error + weight * (kl.mean() if reduction.endswith("-mean") else kl.sum())


def free_bits_loss(
    x: Tensor,
    x_hat: Tensor,
    mu: Tensor,
    log_var: Tensor,
    beta: float,
    floor: float,
    whole: Tensor | None = None,
) -> Tensor:
    """The report's loss in which a unit's first `floor` nats cost nothing. Kingma et al. 2016, "free bits".

    The KL of a unit, averaged over the batch, counts as `floor` nats where it is below. whole: those of the whole
    batch, (latent,), where x is the part of it on this device.
    """
    units = kl_per_unit(mu, log_var).mean(0)
    units = (
        units if whole is None else units + (whole - units).detach()
    )  # their values, the gradient of this part
    return squared_error_mean(x, x_hat) + beta * units.clamp(min=floor).sum()


def calibrated_loss(
    x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, whole: Tensor | None = None
) -> Tensor:
    """The report's loss with beta = 2 sigma2 / N, where sigma2 is the batch's own squared error: nothing left to tune.

    Its gradient is that of `calibrated_nats` times 2 mse / N. Rybkin, Daniilidis and Levine 2021 (sigma-VAE).
    whole: the squared error of the whole batch, where x is the part of it on this device.
    """
    mse = squared_error_mean(x, x_hat)
    sigma2 = mse.detach() if whole is None else whole
    return mse + 2 * sigma2 / values(x) * kl_sum_latent_mean_batch(mu, log_var)


def calibrated_nats(mse: Tensor | float, kl: Tensor | float, n_values: int) -> Tensor:
    """(N/2) ln(mse) + KL, nats: the negative ELBO at the best sigma2 for this error, without its constant."""
    return n_values / 2 * torch.log(torch.as_tensor(mse)) + kl


def neg_elbo_nats(squared_error: Tensor, kl: Tensor, sigma2: float, n_values: int) -> Tensor:
    """-ELBO of each example under the decoder N(x_hat, sigma2 I), nats.

    squared_error: summed over the N values, (batch,); kl: summed over the latents, (batch,); sigma2 > 0.
    """
    return squared_error / (2 * sigma2) + n_values / 2 * math.log(2 * math.pi * sigma2) + kl


def bernoulli_nats(x: Tensor, logits: Tensor) -> Tensor:
    """-ln p(x | logits) of binary pixels x, summed over the N values, nats: (..., batch); logits may have more axes."""
    error = torch.nn.functional.softplus(logits) - logits * x
    return error.flatten(-3).sum(-1)


def importance_nats(nats: Tensor, z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """-ln of the mean over k draws of p(x | z) p(z) / q(z | x), nats: (batch,). Burda et al. 2016, eq. 8.

    nats: -ln p(x | z) of each draw, (k, batch); z (k, batch, latent). For k = 1 it is -ELBO in expectation, and it
    falls towards -ln p(x) as k grows.
    """
    prior_over_q = 0.5 * ((z - mu).square() * (-log_var).exp() - z.square() + log_var).sum(
        -1
    )  # the constants cancel
    return math.log(len(z)) - torch.logsumexp(prior_over_q - nats, 0)


def log_var_cap(floor: float) -> float:
    """The largest log_var with which a unit's KL cannot fall below `floor` nats, whatever its mean; inf for 0.

    A posterior held narrower than the prior keeps a KL, the idea of delta-VAE (Razavi et al. 2019): the variance v
    with (v - 1 - ln v) / 2 = floor.
    """
    from scipy.special import lambertw

    if 0 < floor < 1e-6:  # the argument of lambertw has lost its digits: the series in q
        q = 2 * math.sqrt(floor)
        return -q - q**2 / 6 - q**3 / 36
    return math.log(-lambertw(-math.exp(-1 - 2 * floor)).real) if floor > 0 else math.inf


def values(x: Tensor) -> int:
    """N, how many values one example has: the product of all sizes but the first."""
    return math.prod(x.shape[1:])
