"""A collapse alarm for any Lightning training of a Gaussian VAE. Introduced by story 06.

It speaks before the first step, when the noise variance that the loss implies is not below the largest eigenvalue of
the training data (see `lib.theory.collapse`), and during training, when the code is empty and stays so. It changes nothing.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch

from lib import BadInput
from lib.vae import losses as objective

EMPTY_NATS = 0.05  # a code with less is empty
ACTIVE = 0.01  # a unit is active when the variance of its mean exceeds this (Burda et al. 2016)
WINDOWS = 20  # looks at a training, at equal distances
ENDLESS = 100  # steps between two looks where no end of the training is known
PATIENCE = 8  # looks in a row that find an empty code which does not fill; a unit may wake late


class CollapseWarning(UserWarning):
    """A VAE that collapses, or is about to."""


class CollapseAlarm(pl.Callback):
    """Tells of collapse once before the first step and once during training.

    The module's training_step returns a dict with mu and log_var, (batch, latent) each, beside the loss.
    sigma2: noise variance implied by the loss, `theory.sigma2_of`; None where the loss fixes none. lambda_1: largest
    eigenvalue of the covariance of the training examples, `theory.pca(x, 1).eigenvalues[0]`, in the units of the loss's
    input. tell(message): what to do with an alarm; by default a CollapseWarning. `alarms`: (step, message) so far.
    """

    def __init__(
        self, sigma2: float | None, lambda_1: float, tell: Callable[[str], Any] | None = None
    ) -> None:
        if not lambda_1 >= 0 or (sigma2 is not None and not sigma2 >= 0):
            raise BadInput(f"sigma2 = {sigma2}, lambda_1 = {lambda_1}: variances, 0 or more")
        self.sigma2, self.lambda_1, self.step = sigma2, lambda_1, 0
        self.tell = tell or (lambda message: warnings.warn(message, CollapseWarning, stacklevel=2))
        self.alarms: list[tuple[int, str]] = []
        self.looks: list[
            float
        ] = []  # KL of each window with an empty code, since the last one that was not
        self._open()

    def _open(self) -> None:
        self.count, self.sums = 0, {}

    def _alarm(self, step: int, message: str) -> None:
        self.alarms.append((step, message))
        self.tell(message)

    def on_train_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        self.step = trainer.global_step
        if (
            self.step == 0
            and not self.alarms
            and self.sigma2 is not None
            and self.sigma2 >= self.lambda_1
        ):
            self._alarm(
                0,
                f"sigma^2 = {self.sigma2:.4g}, which this loss implies, is not below lambda_1 = "
                f"{self.lambda_1:.4g} of the training data: every latent unit will die, and every input "
                "get the average. Give the KL a smaller weight, by more than the ratio of the two.",
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, _: pl.LightningModule, outputs: Any, *__: Any
    ) -> None:
        mu, log_var = (
            outputs[name].detach().cpu().double() for name in ("mu", "log_var")
        )  # MPS has no float64
        found = {
            "kl": objective.kl_sum_latent(mu, log_var).sum(),
            "mu": mu.sum(0),
            "square": mu.square().sum(0),
        }
        self.sums = {name: self.sums.get(name, 0) + value for name, value in found.items()}
        self.count += len(mu)
        step, steps = (
            trainer.global_step,
            trainer.estimated_stepping_batches,
        )  # inf or -1: no end is known
        every = max(1, steps // WINDOWS) if 0 < steps < math.inf else ENDLESS
        stepped, self.step = step != self.step, step  # False while gradients accumulate
        if stepped and (step % every == 0 or step == steps):
            if (
                trainer.world_size > 1
            ):  # each rank saw its part of the batches, all look at the whole
                for name, part in ({"count": torch.tensor(self.count)} | self.sums).items():
                    total = trainer.strategy.reduce(
                        part.to(trainer.strategy.root_device), reduce_op="sum"
                    ).cpu()
                    self.sums[name] = total
                self.count = int(self.sums.pop("count"))
            self._look(step, ends=step == steps)

    def _look(self, step: int, ends: bool) -> None:
        kl, mean, square = (self.sums[name] / self.count for name in ("kl", "mu", "square"))
        empty = kl < EMPTY_NATS and not (square - mean.square() > ACTIVE).any()
        self.looks = [*self.looks, float(kl)] if empty else []
        self._open()
        last = self.looks[-PATIENCE:]
        stays = len(last) == PATIENCE and last[-1] <= max(last[:-1])
        if last and (stays or ends) and not any(at for at, _ in self.alarms):
            why = "and it does not fill" if stays else "at the end of training"
            self._alarm(
                step, f"step {step}: {last[-1]:.2g} nats in the code, no active unit, {why}."
            )

    def state_dict(self) -> dict[str, Any]:
        return {"alarms": self.alarms, "looks": self.looks, "count": self.count, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.alarms, self.looks = [tuple(alarm) for alarm in state["alarms"]], list(state["looks"])
        self.count, self.sums = state["count"], dict(state["sums"])
