"""Training a VAE on MNIST: the same net, batch size, optimiser and loss, by five loops; and ours on spectrograms.

`bare` is the limit: a loop that does nothing else, on one float tensor in memory. `loader` is the loop of most
tutorials: an image is decoded by PIL and ToTensor, one by one. Ours is `lib.vae.train` as the stories call it, which
also validates, watches for collapse and keeps checkpoints. Its spectrum of the data, a stage that all trainings on the
same images share, is made before.
"""

import gzip
import itertools
import os
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lib.data.digits import FOLDER, load_digits
from lib.runtime import stages as artifacts
from lib.vae import losses
from lib.vae.networks import VAE
from lib.vae.presets import build

BATCH, RATE, BETA, LATENT = 128, 1e-3, 1e-3, 16
Work = Callable[[], tuple[int, dict[str, float]]]
torch.set_num_threads(1)


def _net(preset: str) -> VAE:
    torch.manual_seed(0)
    return build(preset, (28, 28), LATENT)


def _loss(net: VAE, x: Tensor) -> Tensor:
    return losses.report(x, *net(x), BETA)


def _told(net: nn.Module, x: np.ndarray) -> dict[str, float]:
    """The error that the net reached, so that a loop that learns nothing is seen."""
    with torch.inference_mode():
        x = torch.from_numpy(x[:1000] / np.float32(255)).unsqueeze(1)
        return {"mse": float(nn.functional.mse_loss(net.eval()(x, sample=False)[0], x))}


def ours(preset: str, images: int) -> Work:
    from lib.data.batches import ArrayDataset, Splits
    from lib.vae import training
    from lib.vae.config import TrainingConfig

    x, seeds = load_digits("train")[0], itertools.count()
    train, validation = (
        ArrayDataset(x[:images], scale=1 / 255),
        ArrayDataset(x[-512:], scale=1 / 255),
    )
    training.spectrum(train, 1, {"digits": images})

    def work() -> tuple[int, dict[str, float]]:
        config = TrainingConfig(
            preset=preset,
            latent=LATENT,
            beta=BETA,
            learning_rate=RATE,
            schedule="constant",
            batch_size=BATCH,
            epochs=1,
            seed=next(seeds),
            accelerator="cpu",
        )
        data = Splits(train, validation, None, {"digits": images})
        return images, _told(training.train(config, data).model(), x)

    return work


def bare(preset: str, images: int) -> Work:
    x = load_digits("train")[0][:images]
    tensor = torch.from_numpy(x / np.float32(255)).unsqueeze(1)

    def work() -> tuple[int, dict[str, float]]:
        net = _net(preset).to(memory_format=torch.channels_last)
        optimiser = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
        for chosen in torch.randperm(images).split(BATCH):
            optimiser.zero_grad()
            _loss(net, tensor[chosen]).backward()
            optimiser.step()
        return images, _told(net, x)

    return work


def torchvision_digits(images: int) -> torch.utils.data.Dataset:
    """The first images of torchvision's own MNIST class, for which the files lie unpacked in artifacts/."""
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    raw = artifacts.root() / "bench" / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for path in FOLDER.glob("*.gz"):
        if not (raw / path.stem).exists():
            beside = raw / f"{path.stem}.{os.getpid()}"
            beside.write_bytes(gzip.decompress(path.read_bytes()))
            beside.rename(raw / path.stem)
    return torch.utils.data.Subset(
        MNIST(str(raw.parents[1]), train=True, transform=ToTensor()), range(images)
    )


def loader(preset: str, images: int) -> Work:
    data = torchvision_digits(images)
    batches = torch.utils.data.DataLoader(data, BATCH, shuffle=True)
    x = data.dataset.data.numpy()

    def work() -> tuple[int, dict[str, float]]:
        net = _net(preset)
        optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
        for pictures, _ in batches:
            optimiser.zero_grad()
            _loss(net, pictures).backward()
            optimiser.step()
        return images, _told(net, x)

    return work


def lightning(preset: str, images: int) -> Work:
    """A LightningModule and a DataLoader over one tensor in memory, everything else as Lightning has it."""
    import logging
    import warnings

    import lightning.pytorch as pl

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    x = load_digits("train")[0][:images]
    tensor = torch.utils.data.TensorDataset(torch.from_numpy(x / np.float32(255)).unsqueeze(1))
    folder = artifacts.root() / "bench" / "lightning"

    class Task(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = _net(preset)

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            return _loss(self.net, batch[0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=RATE)

    def work() -> tuple[int, dict[str, float]]:
        task = Task()
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=1, default_root_dir=folder, enable_progress_bar=False
        )
        trainer.fit(task, torch.utils.data.DataLoader(tensor, BATCH, shuffle=True))
        return images, _told(task.net, x)

    return work


def pythae(preset: str, images: int) -> Work:
    """Chadebec, Vincent and Allassonniere 2022: pythae's VAE and trainer around the same encoder and decoder."""
    import logging

    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as Theirs
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    logging.disable(logging.INFO)
    x = load_digits("train")[0][:images]
    tensor = torch.from_numpy(x / np.float32(255)).unsqueeze(1)

    class Encoder(BaseEncoder):
        def __init__(self, net: VAE) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> ModelOutput:
            mu, log_var = self.net.encode(x)
            return ModelOutput(embedding=mu, log_covariance=log_var)

    class Decoder(BaseDecoder):
        def __init__(self, net: VAE) -> None:
            super().__init__()
            self.decoder = net.decoder  # the encoder's weights are not to be counted twice

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.decoder(z))

    def work() -> tuple[int, dict[str, float]]:
        net = _net(preset)
        encoder = Encoder(net)
        model = Theirs(VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT), encoder, Decoder(net))
        config = BaseTrainerConfig(
            output_dir=str(artifacts.root() / "bench" / "pythae"),
            num_epochs=1,
            learning_rate=RATE,
            per_device_train_batch_size=BATCH,
            no_cuda=True,
        )
        trainer = BaseTrainer(model, BaseDataset(tensor, torch.zeros(images)), None, config)
        trainer.train()
        return images, _told(net, x)

    return work


def spectrogram_vae(clips: int) -> Work:
    """Ours on log-mel spectrograms 96 x 96, for what an audio-hour costs. Facts: seconds of a clip, FLOP of one pass.

    A pass is forward and backward over one clip.
    """
    from torch.utils.flop_counter import FlopCounterMode

    from lib.data.batches import ArrayDataset, Splits
    from lib.data.clips import ClipConfig
    from lib.data.rendering import RenderConfig, render
    from lib.data.standardiser import Standardiser
    from lib.vae import training
    from lib.vae.config import TrainingConfig

    chosen, seeds = ClipConfig(split="all", seed=0), itertools.count()
    x = np.asarray(render(RenderConfig(clips=chosen, clips_per_effect=clips)).spectrograms)
    data = ArrayDataset(x, standardiser=Standardiser().fit(x))
    training.spectrum(data, 1, {"clips": clips})
    net, counter = build("small", data.shape), FlopCounterMode(display=False)
    with counter:
        _loss(net, data[[0]]).backward()

    def work() -> tuple[int, dict[str, float]]:
        config = TrainingConfig(
            beta=0.01, learning_rate=RATE, batch_size=16, seed=next(seeds), accelerator="cpu"
        )
        few = ArrayDataset(x[:16], standardiser=data.standardiser)
        training.train(config, Splits(data, few, None, {"clips": clips}))
        return clips, {"clip_s": chosen.clip_s, "flop": float(counter.get_total_flops())}

    return work


CONTENDERS = {
    "ours": ours,
    "bare": bare,
    "loader": loader,
    "lightning": lightning,
    "pythae": pythae,
    "spectrogram_vae": spectrogram_vae,
}
