"""What a trained VAE does on a whole data set: errors, KL, active units; codes and reconstructions. For story 03 on."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.data.batches import ArrayDataset, Batches
from lib.vae import losses as objective
from lib.vae.alarm import ACTIVE
from lib.vae.networks import VAE, draw


def evaluate(
    model: VAE,
    dataset: ArrayDataset,
    seed: int = 0,
    batch_size: int = 512,
    sigma2: float | None = None,
) -> dict[str, Any]:
    """What a model does on a whole data set, in eval mode; the noise is fixed by the seed.

    Returns mse_mu and mse_sampled (squared error averaged over values and examples, z = mu and z ~ q), what `usage`
    returns, sigma2 and neg_elbo (nats an example, z ~ q), where sigma2 is mse_sampled unless given.
    """
    n_values = math.prod(model.shape)
    noise = torch.Generator().manual_seed(seed)
    at_mu, sampled, kl, mus = [], [], [], []
    with torch.inference_mode():
        for x in _batches(model, dataset, batch_size):
            mu, log_var = model.encode(x)
            for errors, z in ((at_mu, mu), (sampled, draw(mu, log_var, noise))):
                errors.append(
                    objective.squared_error_sum(model.target(x), model.decode(z, *model.told(x)))
                )
            kl.append(objective.kl_per_unit(mu, log_var))
            mus.append(mu)
    at_mu, sampled, kl, mus = (
        torch.cat(parts).cpu().double() for parts in (at_mu, sampled, kl, mus)
    )
    mse_sampled = sampled.mean().item() / n_values
    sigma2 = mse_sampled if sigma2 is None else sigma2
    return usage(kl, mus) | {
        "mse_mu": at_mu.mean().item() / n_values,
        "mse_sampled": mse_sampled,
        "sigma2": sigma2,
        "neg_elbo": objective.neg_elbo_nats(sampled, kl.sum(1), sigma2, n_values).mean().item(),
    }


def usage(kl: Tensor, mu: Tensor) -> dict[str, Any]:
    """What latents carry; kl: `objective.kl_per_unit` of every example, mu: their codes, (example, latent) each.

    Returns kl (nats an example), kl_per_unit (latent,), mu_variance (latent,) and active_units, how many of these
    exceed 0.01 (Burda, Grosse and Salakhutdinov 2016).
    """
    kl, variance = kl.double(), mu.double().var(0, correction=0).numpy()
    return {
        "kl": kl.sum(1).mean().item(),
        "kl_per_unit": kl.mean(0).numpy(),
        "mu_variance": variance,
        "active_units": int((variance > ACTIVE).sum()),
    }


def importance_weighted(
    model: VAE, x: Tensor, mu: Tensor, log_var: Tensor, samples: int, noise: torch.Generator
) -> Tensor:
    """`objective.importance_nats` of binary pictures x (batch, 1, bin, frame) by so many draws from q: (batch,)."""
    z = draw(
        *(part.expand(samples, *part.shape) for part in (mu, log_var)), noise
    )  # (sample, batch, latent)
    logits = (
        model.decode(z.flatten(0, 1)).float().unflatten(0, z.shape[:2])
    )  # (sample, batch, 1, bin, frame)
    return objective.importance_nats(objective.bernoulli_nats(x, logits), z, mu, log_var)


def importance_nll(model: VAE, dataset: ArrayDataset, samples: int = 200, seed: int = 0) -> float:
    """-ln p(x) of a Bernoulli VAE, nats an example, by importance samples from q: Burda et al. 2016.

    dataset: pictures of 0 and 1. An upper bound in expectation, closer to the truth with more samples.
    """
    noise, found = torch.Generator().manual_seed(seed), []
    with torch.inference_mode():
        for x in _batches(model, dataset, 64):
            mu, log_var = model.encode(x)
            found.append(importance_weighted(model, x, mu, log_var, samples, noise))
    return float(torch.cat(found).double().mean())


def reconstruct(model: VAE, x: Tensor, sample: bool = False, seed: int = 0) -> Tensor:
    """x (batch, 1, bin, frame) -> x_hat of the same shape, in eval mode, from z = mu or, with sample, z ~ q."""
    model.eval()
    with torch.inference_mode():
        return model(x.to(_device(model)), sample, torch.Generator().manual_seed(seed))[0].cpu()


def embed(
    model: VAE, dataset: ArrayDataset, batch_size: int = 512
) -> tuple[np.ndarray, np.ndarray]:
    """mu and log_var of every example, (example, latent) float32 each, in the order of the data set."""
    with torch.inference_mode():
        parts = [model.encode(x) for x in _batches(model, dataset, batch_size)]
    mu, log_var = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return mu, log_var


def _batches(model: VAE, dataset: ArrayDataset, batch_size: int) -> Iterator[Tensor]:
    """The data set in order, on the model's device, with the model in eval mode."""
    model.eval()
    for x in Batches(dataset, np.arange(len(dataset)), batch_size):
        yield x.to(_device(model))


def _device(model: VAE) -> torch.device:
    return next(model.parameters()).device
