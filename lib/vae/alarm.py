"""A collapse alarm for any Lightning training of a Gaussian VAE. Introduced by chapter 06.

    from lib.vae import CollapseAlarm
    trainer = Trainer(callbacks=[CollapseAlarm(sigma2, lambda_1)])

It warns before the first step when the noise variance of the loss is not below the largest
eigenvalue of the training data (see `lib.theory.collapse`), and during training when the code is
empty and stays empty. It changes nothing.
"""

import math
import warnings
from typing import Any

import lightning.pytorch as pl

from lib import BadInput
from lib.vae.losses import kl_sum_latent

ACTIVE = 0.01  # a unit is active when the variance of its mean exceeds this (Burda et al. 2016)
EMPTY_NATS = 0.05  # a code with less KL is empty
WINDOWS = 20  # a training is looked at so many times, at equal distances
ENDLESS = 100  # steps per window where the end of the training is not known
PATIENCE = 8  # warn after so many consecutive empty windows: some units become active late


class CollapseWarning(UserWarning):
    """A VAE has collapsed, or is about to."""


class CollapseAlarm(pl.Callback):
    """Warn of collapse once before the first step and once during training.

    The training_step of the module returns a dict with mu and log_var, (batch, latent) each, beside
    the loss. sigma2: noise variance that the loss implies, `theory.sigma2_of`; None where it
    implies none. lambda_1: the largest eigenvalue of the covariance of the training examples. warn:
    raise a CollapseWarning with each message. `alarms` lists (step, message). Of several processes
    each looks at its own examples, and only the first warns.
    """

    def __init__(self, sigma2: float | None, lambda_1: float, warn: bool = True) -> None:
        if not lambda_1 >= 0 or (sigma2 is not None and not sigma2 >= 0):
            raise BadInput(f"sigma2 = {sigma2}, lambda_1 = {lambda_1}: variances, 0 or more")
        self.sigma2 = sigma2
        self.lambda_1 = lambda_1
        self.warn = warn
        self.step = 0
        self.alarms: list[tuple[int, str]] = []
        self.empty_kls: list[float] = []  # KL of each window since the last that was not empty
        self.sums: dict[str, Any] = {}  # over the examples of this window

    def on_train_start(self, trainer, module):
        self.step = trainer.global_step
        if self.step > 0 or self.alarms or self.sigma2 is None:
            return
        if self.sigma2 >= self.lambda_1:
            self._alarm(
                trainer,
                f"sigma^2 = {self.sigma2:.4g}, which this loss implies, is not below "
                f"lambda_1 = {self.lambda_1:.4g} of the training data: every latent unit will die, "
                "and every input get the average. Give the KL a smaller weight, by more than the "
                "ratio of the two.",
            )

    def on_train_batch_end(self, trainer, module, outputs, *_):
        mu = outputs["mu"].detach().cpu().double()  # MPS has no float64
        log_var = outputs["log_var"].detach().cpu().double()
        kl = kl_sum_latent(mu, log_var).sum()
        sums = {"count": len(mu), "kl": kl, "mu": mu.sum(0), "square": mu.square().sum(0)}
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0) + value
        step = trainer.global_step
        if step == self.step:  # gradients still accumulate
            return
        self.step = step
        steps = trainer.estimated_stepping_batches  # inf or -1: no end is known
        window = ENDLESS
        if 0 < steps < math.inf:
            window = max(1, steps // WINDOWS)
        if step % window == 0 or step == steps:
            self._look(trainer, last=step == steps)

    def _look(self, trainer, last):
        """Judge the window that ends here, and open the next."""
        count = self.sums["count"]
        kl = float(self.sums["kl"] / count)
        variance = self.sums["square"] / count - (self.sums["mu"] / count).square()
        self.sums = {}
        if kl >= EMPTY_NATS or (variance > ACTIVE).any():
            self.empty_kls = []
            return
        self.empty_kls.append(kl)
        recent = self.empty_kls[-PATIENCE:]
        stays = len(recent) == PATIENCE and kl <= max(recent[:-1])
        is_first = all(step == 0 for step, _ in self.alarms)
        if (stays or last) and is_first:
            reason = "and it does not fill" if stays else "at the end of training"
            self._alarm(
                trainer, f"step {self.step}: {kl:.2g} nats in the code, no active unit, {reason}."
            )

    def _alarm(self, trainer, message):
        self.alarms.append((self.step, message))
        if self.warn and trainer.is_global_zero:
            warnings.warn(message, CollapseWarning, stacklevel=2)

    def state_dict(self) -> dict[str, Any]:
        return {"alarms": self.alarms, "empty_kls": self.empty_kls, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.alarms = [tuple(alarm) for alarm in state["alarms"]]
        self.empty_kls = list(state["empty_kls"])
        self.sums = dict(state["sums"])
