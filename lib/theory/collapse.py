"""What a loss will do to a data set, predicted from eigenvalues before any training (chapter 05).

Squared error plus weighted KL is the negative ELBO of a decoder with noise variance sigma2. For a
linear VAE at its optimum this is reverse water-filling of a Gaussian source at water level sigma2
(Cover and Thomas, ch. 10; Lucas, Tucker, Grosse and Norouzi 2019): a latent unit lives while its
eigenvalue lies above the level. Everything here speaks sigma2; `sigma2_of` converts the weight of
a loss (beta), `weight_of` converts it back.
"""

from dataclasses import dataclass

import numpy as np

from lib import BadInput


@dataclass(frozen=True)
class Reduction:
    """How a loss reduces squared error and KL. `dataclasses.asdict` makes it JSON for a page.

    factor: sigma2 at weight 1 for one value and one latent; error_averaged: over the N values of an
    example, else summed; kl_averaged: over the K latents, else summed; words: for a reader.
    """

    name: str
    factor: float
    error_averaged: bool
    kl_averaged: bool
    words: str

    def sigma2(self, n_values: int, latents: int) -> float:
        """The noise variance that the loss implies at weight 1."""
        sigma2 = self.factor
        if self.error_averaged:
            sigma2 *= n_values
        if self.kl_averaged:
            sigma2 /= latents
        return sigma2


REDUCTIONS = {
    reduction.name: reduction
    for reduction in (
        # The weight of mean-mean is beta_norm = beta K / N of Higgins et al. 2017. half-sum-sum
        # is the ELBO of unit variance (Kingma and Welling 2014), so its weight is sigma2 itself.
        Reduction("mean-sum", 0.5, True, False, "the report's: mean squared error + summed KL"),
        Reduction("mean-mean", 0.5, True, True, "mean squared error + KL averaged over latents"),
        Reduction("sum-sum", 0.5, False, False, "summed squared error + summed KL"),
        Reduction("half-sum-sum", 1.0, False, False, "half the summed squared error + summed KL"),
    )
}


@dataclass(frozen=True)
class Prediction:
    """The optimum of a linear VAE at water level sigma2.

    KL in nats per example. Both errors are averaged over the N values of an example.
    """

    sigma2: float
    active: int
    kl_nats: float
    mse_sampled: float  # z is drawn from the posterior, as in training
    mse_mu: float  # z is mu


def sigma2_of(reduction: str, weight: float, n_values: int, latents: int) -> float:
    """The noise variance that a loss implies: squared error + weight * KL, reduced as named.

    reduction: a key of REDUCTIONS; weight: of the KL, for instance beta; n_values: N, the values of
    an example; latents: K. BadInput for an unknown reduction, and for a weight that is not above 0
    or whose sigma2 is not finite.
    """
    if reduction not in REDUCTIONS:
        from lib.config import did_you_mean  # pydantic would double the start of `lib.predict`

        hint = did_you_mean(reduction, REDUCTIONS)
        raise BadInput(f"reduction {reduction!r} is not known; {hint}")
    if min(n_values, latents) < 1:
        raise BadInput(f"n_values = {n_values}, latents = {latents}: must be 1 or more")
    sigma2 = weight * REDUCTIONS[reduction].sigma2(n_values, latents)
    if not 0 < sigma2 < np.inf:
        bound = "must be above 0 and finite; at 0 the KL has no bound"
        raise BadInput(f"weight (beta) = {weight}: {bound}")
    return sigma2


def weight_of(reduction: str, sigma2: float, n_values: int, latents: int) -> float:
    """The weight of the KL at which a loss implies sigma2 >= 0: the inverse of `sigma2_of`."""
    return sigma2 / sigma2_of(reduction, 1.0, n_values, latents)


def edge_beta(lambda_1: float, n_values: int) -> float:
    """The beta from which on the report's loss has no active unit: 2 lambda_1 / N.

    With lambda_k it is the beta at which unit k dies.
    """
    return 2 * lambda_1 / n_values


def predict(
    eigenvalues: np.ndarray, total_variance: float, n_values: int, latents: int, sigma2: float
) -> Prediction:
    """The linear VAE with so many latents at its optimum for the noise variance sigma2 > 0.

    eigenvalues: descending, at least min(latents, N) of them; total_variance: the sum of all of
    them; n_values: N.
    """
    if not 0 < sigma2 < np.inf:
        raise BadInput(f"sigma2 = {sigma2}: the prediction needs a finite sigma2 above 0")
    usable = _usable(eigenvalues, n_values, latents)
    active = usable[usable > sigma2]
    kl_nats = 0.5 * (np.log(active) - np.log(sigma2)).sum()
    error_sampled = np.minimum(usable, sigma2).sum() + max(total_variance - usable.sum(), 0.0)
    error_mu = (sigma2 * (sigma2 / active)).sum() + total_variance - active.sum()
    errors = float(error_sampled / n_values), float(error_mu / n_values)
    return Prediction(sigma2, len(active), float(kl_nats), *errors)


def calibrated_sigma2(
    eigenvalues: np.ndarray, total_variance: float, n_values: int, latents: int
) -> float:
    """The best sigma2 for so many latents: the mean of the discarded eigenvalues.

    It is the maximum likelihood noise variance of probabilistic PCA (Tipping and Bishop 1999).
    """
    usable = _usable(eigenvalues, n_values, latents)
    if latents >= n_values:
        raise BadInput(
            f"latents = {latents}: must be below the {n_values} values, or nothing is discarded"
        )
    return float(total_variance - usable.sum()) / (n_values - latents)


def _usable(eigenvalues, n_values, latents):
    """The eigenvalues that so many latents can use; BadInput when fewer are known."""
    needed = min(latents, n_values)
    known = len(eigenvalues)
    if known < needed:
        raise BadInput(f"eigenvalues: {known} are too few for {latents} latents; compute {needed}")
    return np.asarray(eigenvalues, dtype=np.float64)[:needed]
