"""The supervised ceiling: a small convolutional net that is told the effects of its training clips. For story 08."""

import warnings

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from lib.data.batches import ArrayDataset, seed_stream

WIDTHS = (16, 32, 64, 96)


def _net(classes: int) -> nn.Sequential:
    """(batch, 1, band, frame) -> (batch, class): blocks, each half as large as the last, and a mean."""
    layers, width = [], 1
    for wider in WIDTHS:
        layers += [nn.Conv2d(width, wider, 3, 2, 1), nn.BatchNorm2d(wider), nn.ReLU()]
        width = wider
    layers += [nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(width, classes)
    )


class _Task(pl.LightningModule):
    def __init__(self, net: nn.Module, steps: int, shift: torch.Generator):
        super().__init__()
        self.net, self.steps, self.shift = net, steps, shift
        self.losses: list[float] = []

    def configure_optimizers(self) -> tuple:
        optimiser = torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=1e-2, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, max(self.steps, 2))
        return [optimiser], [{"scheduler": schedule, "interval": "step"}]

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        x = x.roll(int(torch.randint(x.shape[-1], (1,), generator=self.shift)), -1)  # in time
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.losses.append(float(loss.detach()))
        return loss


class _Loader:
    """Batches (x, y), in a new order each epoch."""

    def __init__(self, data: ArrayDataset, codes: Tensor, size: int, seed: int):
        self.data, self.codes, self.size, self.rng = data, codes, size, np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.data) // self.size)

    def __iter__(self):
        order = self.rng.permutation(len(self.data))
        for start in range(0, len(order), self.size):
            chosen = order[start : start + self.size]
            yield self.data.__getitems__(chosen), self.codes[chosen]


def train_and_name(
    train: ArrayDataset,
    labels: np.ndarray,
    test: ArrayDataset,
    epochs: int,
    seed: int,
    batch_size: int = 64,
) -> tuple[np.ndarray, float]:
    """Train on labels (example,) and name the test examples: names (example,), mean loss of the last epoch in nats."""
    names, codes = np.unique(labels, return_inverse=True)
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_stream(seed, 4))
        net = _net(len(names)).to(memory_format=torch.channels_last)  # a fifth faster on a CPU
        loader = _Loader(train, torch.from_numpy(codes), batch_size, seed)
        task = _Task(net, epochs * len(loader), torch.Generator().manual_seed(seed_stream(seed, 5)))
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            plugins=LightningEnvironment(),  # within SLURM, too
        )
        with warnings.catch_warnings():  # Lightning 2.6 calls a name that torch 2.14 has deprecated
            warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
            trainer.fit(task, loader)
    net.eval().cpu()
    with torch.inference_mode():
        found = [
            net(test.__getitems__(np.arange(start, min(start + 256, len(test))))).argmax(1)
            for start in range(0, len(test), 256)
        ]
    return names[torch.cat(found).numpy()], float(np.mean(task.losses[-len(loader) :]))
