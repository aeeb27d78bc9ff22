"""The linear VAE trained on its exact expected loss: the oracle of the theory (chapter 05).

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
    """A linear VAE trained by L-BFGS in float64, from random weights, on
    squared error + 2 sigma2 KL.

    eigenvalues: all of the covariance that are not 0; n_values: N. Returns kl (nats), mse (with z
    drawn from the posterior, averaged over the N values) and active, the number of units whose mu
    varies by more than 0.001.
    """
    deviation, size = np.sqrt(eigenvalues), latents * len(eigenvalues)

    def terms(parameters: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
        """Squared error summed over the N values, KL, variance of each mu, gradient of the loss.

        The encoder reads components in units of their standard deviation. This conditions the
        problem better and has the same optimum.
        """
        encoder = parameters[:size].reshape(latents, -1)
        decoder = parameters[size : 2 * size].reshape(latents, -1)
        log_var = parameters[2 * size :]
        covariance, gram, var = encoder @ encoder.T, decoder @ decoder.T, np.exp(log_var)
        explained = np.vdot(encoder * deviation, decoder)
        error_of_mu = eigenvalues.sum() - 2 * explained + np.vdot(gram, covariance)
        squared_error = error_of_mu + gram.diagonal() @ var  # Drawing z adds the second term.
        kl = 0.5 * (covariance.trace() + (var - log_var - 1).sum())
        d_encoder = 2 * (gram @ encoder - decoder * deviation) + 2 * sigma2 * encoder
        d_decoder = 2 * (covariance @ decoder - encoder * deviation + var[:, None] * decoder)
        d_log_var = gram.diagonal() * var + sigma2 * (var - 1)
        gradient = np.concatenate([d_encoder.ravel(), d_decoder.ravel(), d_log_var])
        return squared_error, kl, covariance.diagonal(), gradient

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        squared_error, kl, _, gradient = terms(parameters)
        return squared_error + 2 * sigma2 * kl, gradient

    start = 0.1 * np.random.default_rng(seed).standard_normal(2 * size + latents)
    options = {"maxiter": 3000, "maxfun": 4000, "maxcor": 5, "ftol": 1e-14, "gtol": 1e-8}
    optimum = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    squared_error, kl, variance, _ = terms(optimum.x)
    active = int((variance > 1e-3).sum())
    return {"kl": float(kl), "mse": float(squared_error / n_values), "active": active}
