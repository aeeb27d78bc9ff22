"""What a trained VAE does on a whole data set: errors, KL, codes. From chapter 03 on."""

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib import BadInput
from lib.data.batches import ArrayDataset, Batches, Splits
from lib.runtime import stages
from lib.vae import losses
from lib.vae.alarm import ACTIVE
from lib.vae.checkpoints import Run
from lib.vae.networks import VAE, reparameterise


def evaluate(run: Run, data: Splits) -> dict[str, Any]:
    """`measure` the net of a finished run on the test set: a stage "evaluate"."""
    if data.test is None:
        raise BadInput("data.test = None: a run is evaluated on a test set; give the data one")

    def compute(folder):
        metrics = measure(run.model(), data.test)
        pd.DataFrame([metrics]).to_parquet(folder / "metrics.parquet", index=False)

    identity = {"train": run.folder.name, "data": data.key, "examples": len(data.test)}
    folder = stages.stage("evaluate", identity, compute, __name__)
    return pd.read_parquet(folder / "metrics.parquet").iloc[0].to_dict()


def measure(model: VAE, dataset: ArrayDataset, seed: int = 0) -> dict[str, Any]:
    """Errors, KL and likelihood of a model in eval mode; the seed fixes the noise.

    Returns mse_mu and mse_sampled, the squared error with z = mu and with z ~ q(z | x), averaged
    over the values and the examples; the numbers of `usage`; neg_elbo (nats per example, z ~ q) and
    its sigma2, which is mse_sampled.
    """
    n_values = math.prod(model.shape)
    noise = torch.Generator().manual_seed(seed)
    batches = []
    with torch.inference_mode():
        for x in _batches(model, dataset):
            target, condition = model.target(x), model.condition(x)
            mu, log_var = model.encode(x)
            z = reparameterise(mu, log_var, noise)
            error_mu = losses.squared_error_sum(target, model.decode(mu, *condition))
            error_sampled = losses.squared_error_sum(target, model.decode(z, *condition))
            batches.append((error_mu, error_sampled, losses.kl_per_unit(mu, log_var), mu))
    columns = [torch.cat(column).cpu().double() for column in zip(*batches, strict=True)]
    error_mu, error_sampled, kl, mu = columns
    sigma2 = error_sampled.mean().item() / n_values
    nats = losses.neg_elbo_nats(error_sampled, kl.sum(1), sigma2, n_values)
    return {
        **usage(kl, mu),
        "mse_mu": error_mu.mean().item() / n_values,
        "mse_sampled": sigma2,
        "sigma2": sigma2,
        "neg_elbo": nats.mean().item(),
    }


def usage(kl: Tensor, mu: Tensor) -> dict[str, Any]:
    """What the latent units carry.

    kl: `losses.kl_per_unit` of every example, mu: their codes, (example, latent) each. Returns kl
    (nats per example), kl_per_unit (latent,), mu_variance (latent,) and active_units, the number of
    units with a variance of mu above 0.01 (Burda, Grosse and Salakhutdinov 2016).
    """
    kl = kl.double()
    variance = mu.double().var(0, correction=0).numpy()
    return {
        "kl": kl.sum(1).mean().item(),
        "kl_per_unit": kl.mean(0).numpy(),
        "mu_variance": variance,
        "active_units": int((variance > ACTIVE).sum()),
    }


def importance_bound(
    model: VAE, x: Tensor, mu: Tensor, log_var: Tensor, samples: int, noise: torch.Generator
) -> Tensor:
    """`losses.importance_nats` of binary x (batch, 1, bin, frame), by samples from q: (batch,)."""
    size = (samples, *mu.shape)
    z = reparameterise(mu.expand(size), log_var.expand(size), noise)  # (sample, batch, latent)
    logits = model.decode(z.flatten(0, 1)).float()
    logits = logits.unflatten(0, z.shape[:2])  # (sample, batch, 1, bin, frame)
    return losses.importance_nats(losses.bernoulli_nats(x, logits), z, mu, log_var)


def importance_nll(model: VAE, dataset: ArrayDataset, samples: int = 200, seed: int = 0) -> float:
    """-ln p(x) of a Bernoulli VAE, nats per example, by importance samples (Burda et al. 2016).

    dataset: pictures of 0 and 1. In expectation it is an upper bound, which more samples tighten.
    """
    noise = torch.Generator().manual_seed(seed)
    nats = []
    with torch.inference_mode():
        for x in _batches(model, dataset, 64):
            mu, log_var = model.encode(x)
            nats.append(importance_bound(model, x, mu, log_var, samples, noise))
    return float(torch.cat(nats).double().mean())


def reconstruct(model: VAE, x: Tensor, sample: bool = False, seed: int = 0) -> Tensor:
    """x (batch, 1, bin, frame) -> x_hat in eval mode, with z = mu or, with sample, z ~ q(z | x)."""
    model.eval()
    with torch.inference_mode():
        noise = torch.Generator().manual_seed(seed)
        return model(x.to(_device(model)), sample, noise)[0].cpu()


def encode_all(model: VAE, dataset: ArrayDataset) -> tuple[np.ndarray, np.ndarray]:
    """mu and log_var of every example, (example, latent) float32 each, in their order."""
    with torch.inference_mode():
        codes = [model.encode(x) for x in _batches(model, dataset)]
        mus, log_vars = zip(*codes, strict=True)
        return torch.cat(mus).cpu().numpy(), torch.cat(log_vars).cpu().numpy()


def _batches(model, dataset, batch_size=512):
    """The data set in order, on the device of the model, with the model in eval mode."""
    model.eval()
    for x in Batches(dataset, np.arange(len(dataset)), batch_size):
        yield x.to(_device(model))


def _device(model):
    return next(model.parameters()).device
