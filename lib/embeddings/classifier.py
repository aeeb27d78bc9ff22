"""The supervised reference: a small convolutional net that is trained with the effects' names.

Chapter 10 introduces it, as the last row of its table of methods.
"""

import warnings

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import nn

from lib.data.batches import ArrayDataset, seed_stream

BATCH = 64  # examples of a training step
LEARNING_RATE = 3e-3


def convolutional_net(classes: int) -> nn.Sequential:
    """The net: (batch, 1, band, frame) -> (batch, class); each strided block halves both axes."""
    layers, width = [], 1
    for channels, stride in ((16, 2), (32, 2), (64, 2), (96, 2), (96, 1)):
        layers.append(nn.Conv2d(width, channels, 3, stride, 1))
        layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU())
        width = channels
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(width, classes)]
    return nn.Sequential(*layers, *head)


class _Task(pl.LightningModule):
    def __init__(self, net, steps, seed):
        super().__init__()
        self.net = net
        self.steps = steps
        self.noise = torch.Generator().manual_seed(seed)
        self.losses = []

    def configure_optimizers(self):
        optimiser = torch.optim.AdamW(
            self.parameters(), lr=LEARNING_RATE, weight_decay=1e-2, fused=True
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, self.steps)
        return [optimiser], [{"scheduler": schedule, "interval": "step"}]

    def training_step(self, batch, _):
        x, y = batch
        shift = torch.randint(x.shape[-1], (1,), generator=self.noise)
        x = x.roll(int(shift), -1)  # a clip may begin anywhere in time
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.losses.append(float(loss.detach()))
        return loss


class _Loader:
    """Batches (x, y) of labelled examples, in a new order in each epoch."""

    def __init__(self, data, y, seed):
        self.data, self.y = data, y
        self.rng = np.random.default_rng(seed)

    def __len__(self):
        return -(-len(self.data) // BATCH)

    def __iter__(self):
        order = self.rng.permutation(len(self.data))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            yield self.data[rows], self.y[rows]


def classify(
    train: ArrayDataset, labels: np.ndarray, test: ArrayDataset, epochs: int, seed: int
) -> tuple[np.ndarray, float]:
    """Train on labels (example,) and name the test examples.

    Returns the names (example,) and the mean loss of the last epoch, in nats per example.
    """
    names, codes = np.unique(labels, return_inverse=True)
    torch.set_num_threads(1)
    loader = _Loader(train, torch.from_numpy(codes), seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_stream(seed, 4))
        net = convolutional_net(len(names)).to(
            memory_format=torch.channels_last
        )  # 1/5 faster on a CPU
        task = _Task(net, max(epochs * len(loader), 2), seed_stream(seed, 5))
        trainer = pl.Trainer(
            barebones=True,  # no log, checkpoint or progress bar
            devices=1,
            max_epochs=epochs,
            plugins=LightningEnvironment(),  # within a SLURM job this is still one process
        )
        with warnings.catch_warnings():
            # Lightning 2.6 uses a name that torch 2.14 deprecates.
            warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
            trainer.fit(task, loader)
    net.eval().cpu()
    answers = []
    with torch.inference_mode():
        for rows in np.split(np.arange(len(test)), range(256, len(test), 256)):
            answers.append(net(test[rows]).argmax(1))
    return names[torch.cat(answers).numpy()], float(np.mean(task.losses[-len(loader) :]))
