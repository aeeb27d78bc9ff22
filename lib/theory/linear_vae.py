"""The linear VAE trained on its exact expected loss: the oracle of `lib.theory.collapse`. Introduced by chapter 05.

Over a whole data set the expected loss depends on the covariance alone, so we need no sampling and
no batches. In the basis of the principal components the covariance is diagonal; this loses nothing,
because the weights may turn freely. Source: Lucas, Tucker, Grosse and Norouzi 2019.
"""

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits


# A second BLAS thread would only wait for other jobs on the same cores.
@threadpool_limits.wrap(limits=1, user_api="blas")
def optimise(
    eigenvalues: np.ndarray, n_values: int, latents: int, sigma2: float, seed: int = 0
) -> dict[str, float]:
    """A linear VAE trained by L-BFGS in float64, from random weights, on squared error + 2 sigma2 KL.

    eigenvalues: all of the covariance that are not 0; n_values: N. Returns kl (nats), mse (with z
    drawn from the posterior, averaged over the N values) and active, the number of units whose mu
    varies by more than 0.001.
    """
    shape = (latents, len(eigenvalues))
    size = latents * len(eigenvalues)
    parameters = 0.1 * np.random.default_rng(seed).standard_normal(2 * size + latents)

    def unpack(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        encoder, decoder, log_var = np.split(parameters, [size, 2 * size])
        return encoder.reshape(shape), decoder.reshape(shape), log_var

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        encoder, decoder, log_var = unpack(parameters)
        squared_error, kl = expected_terms(eigenvalues, encoder, decoder, log_var)
        gradient = expected_gradient(eigenvalues, encoder, decoder, log_var, sigma2)
        return squared_error + 2 * sigma2 * kl, gradient

    options = {"maxiter": 3000, "maxfun": 4000, "maxcor": 5, "ftol": 1e-14, "gtol": 1e-8}
    optimum = minimize(loss, parameters, jac=True, method="L-BFGS-B", options=options).x
    encoder, decoder, log_var = unpack(optimum)
    squared_error, kl = expected_terms(eigenvalues, encoder, decoder, log_var)
    variance_of_mu = np.square(encoder).sum(1)
    return {
        "kl": float(kl),
        "mse": float(squared_error / n_values),
        "active": int((variance_of_mu > 1e-3).sum()),
    }


def expected_terms(
    eigenvalues: np.ndarray, encoder: np.ndarray, decoder: np.ndarray, log_var: np.ndarray
) -> tuple[float, float]:
    """Expected squared error, summed over the N values, and KL in nats.

    encoder, decoder: (latent, component); log_var: (latent,). The encoder reads components in units
    of their standard deviation, which conditions the problem better and has the same optimum.
    """
    deviation, var = np.sqrt(eigenvalues), np.exp(log_var)
    covariance = encoder @ encoder.T  # of mu
    gram = decoder @ decoder.T
    squared_error_mu = (
        eigenvalues.sum() - 2 * np.vdot(encoder * deviation, decoder) + np.vdot(gram, covariance)
    )
    squared_error = (
        squared_error_mu + gram.diagonal() @ var
    )  # The second term comes from drawing z.
    kl = 0.5 * (covariance.trace() + (var - log_var - 1).sum())
    return squared_error, kl


def expected_gradient(
    eigenvalues: np.ndarray,
    encoder: np.ndarray,
    decoder: np.ndarray,
    log_var: np.ndarray,
    sigma2: float,
) -> np.ndarray:
    """The gradient of squared error + 2 sigma2 KL, for encoder, decoder and log_var in one row."""
    deviation, var = np.sqrt(eigenvalues), np.exp(log_var)
    covariance = encoder @ encoder.T
    gram = decoder @ decoder.T
    d_encoder = 2 * (gram @ encoder - decoder * deviation) + 2 * sigma2 * encoder
    d_decoder = 2 * (covariance @ decoder - encoder * deviation + var[:, None] * decoder)
    d_log_var = gram.diagonal() * var + sigma2 * (var - 1)
    return np.concatenate([d_encoder.ravel(), d_decoder.ravel(), d_log_var])
