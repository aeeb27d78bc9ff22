"""The linear VAE on its exact expected loss, the oracle of `lib.theory`. Introduced by story 05, used by the tests.

Over a data set the expected loss depends on the covariance alone: no sampling, no batches. In the basis of the
principal components, without loss of generality.
"""

import numpy as np
import torch
from torch import Tensor


def optimum(values: np.ndarray, n_values: int, latents: int, beta: float, seed: int = 0) -> dict[str, float]:
    """A linear VAE found by L-BFGS in float64 from random weights under MSE + beta * summed KL.

    values: eigenvalues of the covariance that are not 0, all of them; n_values: N. Returns kl (nats), mse (z drawn from
    the posterior, averaged over the N values) and active, the units whose mean varies by more than 0.001.
    Lucas, Tucker, Grosse and Norouzi 2019, the loss of their linear VAE.
    """
    deviation, generator = torch.tensor(values, dtype=torch.float64).sqrt(), torch.Generator().manual_seed(seed)
    # the encoder's weights count standard deviations of the components: better conditioned, same optimum
    sizes = (latents, len(deviation)), (len(deviation), latents), (latents,)
    weights = [(0.1 * torch.randn(*size, generator=generator, dtype=torch.float64)).requires_grad_() for size in sizes]
    encoder, decoder, log_var = weights

    def terms() -> tuple[Tensor, Tensor, Tensor]:
        covariance = encoder @ encoder.T  # of mu, (latent, latent)
        missed = deviation.square().sum() - 2 * ((encoder * deviation) * decoder.T).sum()
        missed = missed + ((decoder.T @ decoder) * covariance).sum()
        noise = (decoder.square() * log_var.exp()).sum()  # what drawing z adds to the squared error
        kl = 0.5 * (covariance.diagonal() + log_var.exp() - log_var - 1).sum()
        return (missed + noise) / n_values, kl, covariance.diagonal()

    def closure() -> Tensor:
        solver.zero_grad()
        mse, kl, _ = terms()
        loss = n_values * (mse + beta * kl)
        loss.backward()
        return loss.detach()

    solver = torch.optim.LBFGS(
        weights, max_iter=3000, max_eval=4000, history_size=20, tolerance_grad=1e-8, tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )
    solver.step(closure)
    mse, kl, variance = (value.detach().numpy() for value in terms())
    return {"kl": float(kl), "mse": float(mse), "active": int((variance > 1e-3).sum())}
