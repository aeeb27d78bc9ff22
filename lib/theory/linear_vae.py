"""The linear VAE on its exact expected loss, the oracle of `lib.theory.collapse`. Introduced by story 05, used by the tests.

Over a data set the expected loss depends on the covariance alone: no sampling, no batches. In the basis of the
principal components, without loss of generality.
"""

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits


@threadpool_limits.wrap(
    limits=1, user_api="blas"
)  # beside other work, two threads wait for each other
def optimum(
    values: np.ndarray, n_values: int, latents: int, beta: float, seed: int = 0
) -> dict[str, float]:
    """A linear VAE found by L-BFGS in float64 from random weights under MSE + beta * summed KL.

    values: eigenvalues of the covariance that are not 0, all of them; n_values: N. Returns kl (nats), mse (z drawn from
    the posterior, averaged over the N values) and active, the units whose mean varies by more than 0.001.
    Lucas, Tucker, Grosse and Norouzi 2019, the loss of their linear VAE.
    """
    deviation, sizes = np.sqrt(values), ((latents, len(values)), (latents, len(values)), (latents,))
    start = 0.1 * np.random.default_rng(seed).standard_normal(latents * (2 * len(values) + 1))

    def terms(flat: np.ndarray) -> tuple[float, float, np.ndarray, list[np.ndarray]]:
        """Squared error, KL, variance of each mean (latent,), and of error + N beta KL the slope of every weight.

        The encoder's weights count standard deviations of the components: better conditioned, same optimum.
        """
        parts = np.split(flat, [latents * len(values), 2 * latents * len(values)])
        encoder, decoder, log_var = (
            part.reshape(size) for part, size in zip(parts, sizes, strict=True)
        )
        covariance, gram, drawn = encoder @ encoder.T, decoder @ decoder.T, np.exp(log_var)
        missed = (
            values.sum() - 2 * np.vdot(encoder * deviation, decoder) + np.vdot(gram, covariance)
        )
        kl = 0.5 * (covariance.trace() + (drawn - log_var - 1).sum())
        slopes = [
            2 * (gram @ encoder - decoder * deviation) + n_values * beta * encoder,
            2 * (covariance @ decoder - encoder * deviation + drawn[:, None] * decoder),
            gram.diagonal() * drawn + 0.5 * n_values * beta * (drawn - 1),
        ]
        return (
            missed + gram.diagonal() @ drawn,
            kl,
            covariance.diagonal(),
            slopes,
        )  # drawing z adds the second summand

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        error, kl, _, slopes = terms(flat)
        return error + n_values * beta * kl, np.concatenate([slope.ravel() for slope in slopes])

    options = {"maxiter": 3000, "maxfun": 4000, "maxcor": 5, "ftol": 1e-14, "gtol": 1e-8}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    error, kl, variance, _ = terms(found.x)
    return {"kl": float(kl), "mse": float(error / n_values), "active": int((variance > 1e-3).sum())}
