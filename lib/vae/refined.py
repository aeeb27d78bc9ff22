"""A net that starts at the linear optimum and learns to improve its picture. See chapter 08."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from lib import BadInput
from lib.theory.components import Pca
from lib.vae.networks import VAE, Shape


class RefinedVAE(VAE):
    """Probabilistic PCA, frozen, and convolutions that refine its picture.

    mu = A (x - mean), and each unit has one learned log_var; y = mean + W z, and x_hat = y +
    refine(y). Call `start_from` first. mean, W and A are then those of probabilistic PCA (Tipping
    and Bishop 1999), and refine is zero: training starts where PCA ends.
    """

    def __init__(self, shape: Shape, latent: int = 64) -> None:
        super().__init__(shape, latent)
        n_values = math.prod(shape)
        self.register_buffer("mean", torch.zeros(n_values))
        self.register_buffer("W", torch.zeros(latent, n_values))
        self.register_buffer("A", torch.zeros(latent, n_values))
        self.log_var = nn.Parameter(torch.zeros(latent))
        self.refine = nn.Sequential(
            nn.Conv2d(1, 16, 5, 2, 2),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(32, 32, 3, 1, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(16, 1, 4, 2, 1),
        )
        nn.init.zeros_(self.refine[-1].weight)
        nn.init.zeros_(self.refine[-1].bias)

    def start_from(self, pca: Pca) -> None:
        """Take the linear optimum with as many units as pca has components.

        BadInput: no variance is left beside these components, so the noise variance would be 0.
        """
        rest = pca.total_variance - pca.eigenvalues.sum()
        if not rest > 1e-12 * pca.total_variance:
            raise BadInput(
                f"latent = {self.latent}: "
                "'refined' needs fewer than the directions of the training set"
            )
        sigma2 = rest / (len(pca.mean) - self.latent)  # noise variance
        scale = np.sqrt(np.maximum(pca.eigenvalues - sigma2, 0))[:, None]
        weights = pca.components * scale
        state = {
            "mean": pca.mean,
            "W": weights,
            "A": weights / pca.eigenvalues[:, None],
            "log_var": np.log(np.minimum(sigma2 / pca.eigenvalues, 1)),
        }
        tensors = {name: torch.from_numpy(value).float() for name, value in state.items()}
        self.load_state_dict(tensors, strict=False)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, 1, bin, frame) -> mu, log_var (batch, latent)."""
        mu = (x.flatten(1) - self.mean) @ self.A.T
        return mu, self.log_var.expand_as(mu)

    def decode(self, z: Tensor) -> Tensor:
        """z (batch, latent) -> x_hat (batch, 1, bin, frame)."""
        bins, frames = self.shape
        y = (self.mean + z @ self.W).view(-1, 1, bins, frames)
        return y + self.refine(y)[..., :bins, :frames]
