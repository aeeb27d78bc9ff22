"""The losses as plain functions of tensors: `LOSSES[name]` is what trains. See chapter 03.

All of them take x, x_hat (batch, 1, bin, frame), mu, log_var (batch, latent) and beta, the weight
of the KL term, and return a scalar. They differ in the axes over which they sum or average. N, the
number of values of one example, is 784 for a digit.
"""

import math
from collections.abc import Callable

import torch
from scipy.special import lambertw
from torch import Tensor
from torch.nn.functional import mse_loss, softplus


def kl_per_unit(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, exp(log_var)) || N(0, 1)) of each latent unit, nats: (batch, latent).

    Kingma and Welling 2014, appendix B.
    """
    return -0.5 * (1 + log_var - mu.square() - log_var.exp())


def report(x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, beta: float) -> Tensor:
    """The report's loss: squared error averaged over the N values, KL summed over the units."""
    error = (x_hat - x).square().mean(0)  # mean over the batch: (1, bin, frame)
    kl = kl_per_unit(mu, log_var).mean(0)  # mean over the batch: (latent,)
    return error.mean() + beta * kl.sum()


def mean_mean(x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, beta: float) -> Tensor:
    """Both terms are averages. Higgins et al. 2017 call this weight beta_norm = beta K / N."""
    error = (x_hat - x).square().mean(0)
    kl = kl_per_unit(mu, log_var).mean(0)
    return error.mean() + beta * kl.mean()


def sum_sum(x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, beta: float) -> Tensor:
    """Both terms are sums, without the 1/2 that a decoder of unit variance has."""
    error = (x_hat - x).square().mean(0)
    kl = kl_per_unit(mu, log_var).mean(0)
    return error.sum() + beta * kl.sum()


def half_sum_sum(x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, beta: float) -> Tensor:
    """The negative ELBO of a decoder of unit variance, without its constant; beta is sigma2."""
    error = (x_hat - x).square().mean(0)
    kl = kl_per_unit(mu, log_var).mean(0)
    return 0.5 * error.sum() + beta * kl.sum()


def calibrated(x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, beta: float = 0.0) -> Tensor:
    """The report's loss with beta = 2 sigma2 / N, sigma2 being the batch's error; `beta` is unused.

    Rybkin, Daniilidis and Levine 2021 (sigma-VAE).
    """
    mse = mse_loss(x_hat, x)
    sigma2 = mse.detach()  # a constant: a smaller error must not be rewarded twice
    kl = kl_per_unit(mu, log_var).sum(1).mean()
    return mse + 2 * sigma2 / x[0].numel() * kl


def free_bits(
    x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, beta: float, floor: float = 0.0
) -> Tensor:
    """The report's loss, but the first `floor` nats of a unit are free. Kingma et al. 2016."""
    kl = kl_per_unit(mu, log_var).mean(0)  # mean over the batch: (latent,)
    return mse_loss(x_hat, x) + beta * kl.clamp(min=floor).sum()


def bernoulli(x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, beta: float) -> Tensor:
    """The negative ELBO of binary pixels x, nats; x_hat are the logits of the decoder."""
    kl = kl_per_unit(mu, log_var).sum(1).mean()
    return bernoulli_nats(x, x_hat).mean() + beta * kl


LOSSES: dict[str, Callable[..., Tensor]] = {
    "report": report,
    "mean_mean": mean_mean,
    "sum_sum": sum_sum,
    "half_sum_sum": half_sum_sum,
    "calibrated": calibrated,
    "free_bits": free_bits,
    "delta": report,  # delta-VAE changes the net: its units cannot have less than `floor` nats
    "bernoulli": bernoulli,
}
REDUCTIONS = {  # the losses that fix a noise variance: names for `theory.collapse.sigma2_of`
    "report": "mean-sum",
    "mean_mean": "mean-mean",
    "sum_sum": "sum-sum",
    "half_sum_sum": "half-sum-sum",
}


def squared_error_sum(x: Tensor, x_hat: Tensor) -> Tensor:
    """Squared error of each example, summed over its N values: (batch,)."""
    return (x_hat - x).square().flatten(1).sum(1)


def kl_sum_latent(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL of each example, summed over the latent units, nats: (batch,)."""
    return kl_per_unit(mu, log_var).sum(1)


def calibrated_nats(mse: Tensor | float, kl: Tensor | float, n_values: int) -> Tensor:
    """(N/2) ln(mse) + KL, nats: the negative ELBO at the best sigma2, without its constant.

    The gradient of `calibrated` is the gradient of this, times 2 mse / N.
    """
    return n_values / 2 * torch.log(torch.as_tensor(mse)) + kl


def neg_elbo_nats(squared_error: Tensor, kl: Tensor, sigma2: float, n_values: int) -> Tensor:
    """-ELBO of each example under the decoder N(x_hat, sigma2 I), nats: (batch,).

    squared_error: summed over the N values, (batch,). kl: summed over the units, (batch,).
    """
    return squared_error / (2 * sigma2) + n_values / 2 * math.log(2 * math.pi * sigma2) + kl


def bernoulli_nats(x: Tensor, logits: Tensor) -> Tensor:
    """-ln p(x | logits) of binary pixels x, summed over the N values, nats: (..., batch).

    logits may have more leading axes than x, for instance one of samples.
    """
    nats = softplus(logits) - logits * x
    return nats.flatten(-3).sum(-1)


def importance_nats(nats: Tensor, z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """-ln of the mean of p(x | z) p(z) / q(z | x) over k samples z, nats: (batch,).

    nats: -ln p(x | z) of each sample, (k, batch). z: (k, batch, latent). With k = 1 it is -ELBO in
    expectation; it falls towards -ln p(x) as k grows. Burda et al. 2016, eq. 8.
    """
    log_ratio = (z - mu).square() * (-log_var).exp() - z.square() + log_var  # 2 ln p(z) / q(z)
    prior_over_q = 0.5 * log_ratio.sum(-1)
    return math.log(len(z)) - torch.logsumexp(prior_over_q - nats, 0)


def log_var_cap(floor: float) -> float:
    """The largest log_var at which the KL of a unit cannot fall below `floor` nats, or inf for 0.

    The variance v solves (v - 1 - ln v) / 2 = floor. A posterior narrower than the prior keeps a KL
    whatever its mean: the idea of delta-VAE (Razavi et al. 2019).
    """
    if floor <= 0:
        return math.inf
    return math.log(-lambertw(-math.exp(-1 - 2 * floor)).real)
