"""The training step, the optimiser and the numbers of an epoch, for Lightning. See chapter 03.

The noise of an epoch follows from (seed, epoch) alone, so a resumed run draws the same.
"""

import math
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from lib import BadInput
from lib.data.batches import seed_stream
from lib.data.equaliser import equalised
from lib.vae import losses
from lib.vae.config import TrainingConfig
from lib.vae.evaluation import importance_bound
from lib.vae.networks import VAE


class VAEModule(pl.LightningModule):
    """A VAE and its loss, `losses.LOSSES[config.loss]`. steps: those of the whole training."""

    def __init__(self, model: VAE, config: TrainingConfig, steps: int) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.steps = steps
        self.n_values = math.prod(model.shape)
        self.loss = losses.LOSSES[config.loss]
        if config.loss == "free_bits":
            self.loss = partial(losses.free_bits, floor=config.floor)
        self.noise = torch.Generator()
        self.sums: dict[str, Tensor] = {}  # (4,): examples, and loss, MSE and KL times examples
        self.history: list[dict[str, float]] = []  # Lightning's CSVLogger forgets it when resumed

    def training_step(self, x: Tensor, index: int) -> dict[str, Tensor]:
        """One step on x (batch, 1, bin, frame)."""
        if self.config.equalise:
            x = equalised(x, self.config.equalise, self.noise)
        return self.step("train", x, self.beta())

    def validation_step(self, x: Tensor, index: int) -> None:
        """The loss of x (batch, 1, bin, frame), at the final beta."""
        self.step("val", x, self.config.beta)

    def step(self, part: str, x: Tensor, beta: float) -> dict[str, Tensor]:
        """The loss of x (batch, 1, bin, frame), counted as one of "train" or "val"."""
        if self.config.loss == "bernoulli":
            x = self._binarised(x)
        outputs = self.model(x, generator=self.noise)
        x_hat, mu, log_var = (output.float() for output in outputs)  # bf16 is too coarse for sums
        x = self.model.target(x)
        loss = self.loss(x, x_hat, mu, log_var, beta)
        if self.config.samples > 1:
            bound = importance_bound(self.model, x, mu, log_var, self.config.samples, self.noise)
            loss = bound.mean()
        self._count(part, x, x_hat, mu, log_var, loss)
        return {"loss": loss, "mu": mu.detach(), "log_var": log_var.detach()}

    def beta(self) -> float:
        """The weight of the KL at this step.

        warm_up: it rises over the first half (Bowman et al. 2016). cyclical: it rises and stays,
        four times (Fu et al. 2019).
        """
        progress = self.trainer.global_step / self.steps
        share = 1.0
        if self.config.beta_schedule == "warm_up":
            share = 2 * progress
        elif self.config.beta_schedule == "cyclical":
            share = 2 * (4 * progress % 1)
        return self.config.beta * min(share, 1.0)

    def configure_optimizers(self) -> Any:
        """Adam, with the one-cycle schedule unless the step size is constant."""
        rate = self.config.learning_rate
        optimiser = torch.optim.Adam(self.parameters(), lr=rate, fused=True)
        if self.config.schedule == "constant":
            return optimiser
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, max(self.steps, 2))
        return [optimiser], [{"scheduler": schedule, "interval": "step"}]

    def _binarised(self, x):
        """Binary pixels, new ones each time; a grey value is the probability of a 1."""
        if not (x.min() >= 0 and x.max() <= 1):
            raise BadInput(
                f"loss = 'bernoulli': data from {x.min():g} to {x.max():g}; it must lie in 0 to 1"
            )
        return torch.bernoulli(x.cpu(), generator=self.noise).to(x.device)

    @torch.no_grad()
    def _count(self, part, x, x_hat, mu, log_var, loss):
        if self.config.loss == "bernoulli":
            mse = losses.bernoulli_nats(x, x_hat).mean() / self.n_values  # cross-entropy of a pixel
        else:
            mse = mse_loss(x_hat, x)
        kl = losses.kl_sum_latent(mu, log_var).mean()
        means = torch.stack([torch.ones_like(mse), loss, mse, kl])
        self.sums[part] = self.sums.get(part, 0) + len(x) * means

    def _epoch(self, part):
        """Means over the examples of an epoch and over all devices; KL in nats."""
        sums = self.trainer.strategy.reduce(self.sums.pop(part), reduce_op="sum").cpu().double()
        loss, mse, kl = (sums[1:] / sums[0]).tolist()
        if self.config.loss == "calibrated":  # its weight changes: compare epochs by likelihood
            loss = float(losses.calibrated_nats(mse, kl, self.n_values))
        return {f"{part}_loss": loss, f"{part}_mse": mse, f"{part}_kl": kl}

    def _seed(self, part, epoch):
        """Seed the noise of z and the dropout; each device has its own."""
        path = [part, epoch]
        if self.global_rank > 0:
            path.append(self.global_rank)
        self.noise.manual_seed(seed_stream(self.config.seed, *path))
        torch.manual_seed(seed_stream(self.config.seed, 6, *path))

    def on_train_epoch_start(self):
        self.trainer.train_dataloader.epoch = self.current_epoch
        for batches in (self.trainer.train_dataloader, self.trainer.val_dataloaders):
            batches.rank = self.global_rank
            batches.ranks = self.trainer.world_size
        self._seed(0, self.current_epoch)

    def on_validation_epoch_start(self):
        self._seed(1, 0)  # the same noise after every epoch

    def on_train_epoch_end(self):
        row = self._epoch("train") | self._epoch("val")
        if not all(map(math.isfinite, row.values())):
            raise BadInput(
                f"learning_rate = {self.config.learning_rate:g}: training left the finite numbers "
                f"in epoch {self.current_epoch + 1}; use a smaller one"
            )
        self.history.append({"epoch": self.current_epoch + 1} | row)
        self.log_dict(row, sync_dist=True)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint):
        self.history = list(checkpoint["history"])
