"""The refined net starts at probabilistic PCA and learns a correction only."""

import math

import numpy as np
import pytest
import torch

from lib import BadInput, theory, vae


def clips(n: int, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Examples (n, bin, frame) whose spectrum falls, around a mean that is not 0."""
    rng, size = np.random.default_rng(seed), math.prod(shape)
    mixed = rng.normal(size=(n, size)) * 0.8 ** np.arange(size) @ rng.normal(size=(size, size))
    return (rng.normal(size=size) + mixed + 0.1 * rng.normal(size=(n, size))).reshape(n, *shape)


@pytest.mark.parametrize("kind", ["exact", "separable"])
@pytest.mark.parametrize(
    ("shape", "latent"), [((8, 8), 5), ((5, 7), 34), ((1, 3), 2), ((9, 1), 1), ((6, 11), 64)]
)
def test_it_starts_at_probabilistic_pca(kind: str, shape: tuple[int, int], latent: int) -> None:
    """Before training, the answers are Tipping and Bishop's (1999, eq. 6 to 8)."""
    x = clips(200, shape)
    pca = theory.separable_pca(x, latent) if kind == "separable" else theory.pca(x, latent)
    model = vae.build("refined", shape, latent).eval()
    model.start_from(pca)
    n_values = math.prod(shape)
    noise = (pca.total_variance - pca.eigenvalues.sum()) / (n_values - latent)
    W = pca.components.T @ np.diag(np.sqrt(pca.eigenvalues - noise))
    M = W.T @ W + noise * np.eye(latent)
    mu = np.linalg.solve(M, W.T @ (x.reshape(200, -1) - pca.mean).T).T
    variance = np.diag(noise * np.linalg.inv(M))
    new = torch.from_numpy(x).float().unsqueeze(1)
    with torch.inference_mode():
        found, log_var = model.encode(new)
        x_hat = model.decode(found)
    log_var = log_var.detach()
    assert log_var.shape == found.shape == (200, latent) and x_hat.shape == new.shape
    assert np.allclose(found, mu, atol=2e-4)
    assert np.allclose(log_var.exp(), variance, rtol=1e-4)
    assert np.allclose(x_hat.flatten(1), pca.mean + mu @ W.T, atol=1e-3)


def test_only_the_refinement_and_the_widths_learn() -> None:
    model = vae.build("refined", (7, 9), 3)
    model.start_from(theory.separable_pca(clips(50, (7, 9)), 3))
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert names == {"log_var", "refine"}
    assert {"mean", "W", "A"} <= model.state_dict().keys()  # kept with the weights
    x = torch.from_numpy(clips(8, (7, 9), 1)).float().unsqueeze(1)
    (model(x, sample=False)[0] - x).square().mean().backward()
    assert model.refine[-1].weight.grad.abs().max() > 0  # a zero layer that can leave zero


@pytest.mark.parametrize(
    ("latent", "varying"),  # of 12 values in three rows, so many first ones differ
    [(12, 12), (13, 12), (8, 8), (7, 4), (3, 0)],
)
def test_more_latents_than_directions_are_bad_input(latent: int, varying: int) -> None:
    model = vae.build("refined", (3, 4), latent)
    x = np.random.default_rng(0).normal(size=(40, 12)) * (np.arange(12) < varying) + 2
    with pytest.raises(BadInput, match=f"latent = {latent}: 'refined' needs fewer"):
        model.start_from(theory.separable_pca(x.reshape(40, 3, 4), min(latent, 12)))
