"""Training a VAE on MNIST, ours against a bare loop; on spectrograms, for the page on cost.

The bare loop is the limit: one float tensor in memory, and nothing else. Ours is `lib.vae.train`
as the stories call it, which also validates, watches for collapse and keeps checkpoints. Its
spectrum of the data, a stage that all trainings on the same images share, is made before.
"""

import os

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lib.data.batches import ArrayDataset, Splits
from lib.data.clips import ClipConfig
from lib.data.digits import load_digits
from lib.data.rendering import RenderConfig, render
from lib.data.standardiser import Standardiser
from lib.vae import losses, training
from lib.vae.config import TrainingConfig
from lib.vae.presets import build

BATCH, RATE, BETA, LATENT = 128, 1e-3, 1e-3, 16
torch.set_num_threads(1)


def _seed() -> int:
    """Another one in each process: a training that was made is found, and not made again."""
    return int.from_bytes(os.urandom(3))


def _error(net: nn.Module, x: np.ndarray) -> dict[str, float]:
    """The error that the net reached, so that a loop that learns nothing is seen."""
    with torch.inference_mode():
        x = torch.from_numpy(x[:1000] / np.float32(255)).unsqueeze(1)
        return {"mse": float(nn.functional.mse_loss(net.eval()(x, sample=False)[0], x))}


def ours(preset: str, images: int):
    x = load_digits("train")[0]
    train, validation = ArrayDataset(x[:images], 1 / 255), ArrayDataset(x[-512:], 1 / 255)
    data = Splits(train, validation, None, key={"digits": images})
    training.spectrum(train, 1, data.key)
    config = TrainingConfig(
        preset=preset,
        latent=LATENT,
        beta=BETA,
        learning_rate=RATE,
        schedule="constant",
        batch_size=BATCH,
        seed=_seed(),
        accelerator="cpu",
    )
    yield
    run = training.train(config, data)
    yield images, _error(run.model(), x)


def bare(preset: str, images: int):
    x = load_digits("train")[0][:images]
    examples = torch.from_numpy(x / np.float32(255)).unsqueeze(1)
    yield
    net = build(preset, (28, 28), LATENT).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
    for chosen in torch.randperm(images).split(BATCH):
        optimiser.zero_grad()
        batch: Tensor = examples[chosen]
        losses.report(batch, *net(batch), BETA).backward()
        optimiser.step()
    yield images, _error(net, x)


def spectrograms(clips: int):
    """Log-mel spectrograms, 96 x 96. Facts: seconds of a clip, FLOP of a pass and its gradient."""
    chosen = ClipConfig(split="all", seed=0)
    x = np.asarray(render(RenderConfig(clips=chosen, clips_per_effect=clips)).spectrograms)
    standardiser = Standardiser().fit(x)
    train = ArrayDataset(x, standardiser=standardiser)
    validation = ArrayDataset(x[:16], standardiser=standardiser)
    data = Splits(train, validation, None, key={"clips": clips})
    training.spectrum(train, 1, data.key)
    net, counter = build("small", train.shape), FlopCounterMode(display=False)
    with counter:
        one = train[[0]]
        losses.report(one, *net(one), BETA).backward()
    config = TrainingConfig(beta=0.01, learning_rate=RATE, batch_size=16, seed=_seed())
    yield
    training.train(config.model_copy(update={"accelerator": "cpu"}), data)
    yield clips, {"clip_s": chosen.clip_s, "flop": float(counter.get_total_flops())}
