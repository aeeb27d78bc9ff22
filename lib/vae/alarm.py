"""A collapse alarm for any Lightning training of a Gaussian VAE. Introduced by chapter 06.

    from lib.vae import CollapseAlarm
    trainer = Trainer(callbacks=[CollapseAlarm(sigma2, lambda_1)])

It warns before the first step when the noise variance of the loss is not below the largest
eigenvalue of the training data (see `lib.theory.collapse`), and during training when the code is
empty and stays empty. `CollapseAlarm.for_loss(loss_fn, batch, beta)` does so for any other loss,
and `before_training` is its first warning alone, for a training without Lightning. It changes
nothing and ends no training.
"""

import math
import warnings
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from lib import BadInput
from lib.theory.any_loss import LossFn, edge_of
from lib.theory.stability import Edge
from lib.vae.losses import kl_sum_latent

ACTIVE = 0.01  # a unit is active when the variance of its mean exceeds this (Burda et al. 2016)
EMPTY_NATS = 0.05  # a code with less KL is empty
WINDOWS = 20  # a training is looked at so many times, at equal distances
ENDLESS = 100  # batches per window where the end of the training is not known
PATIENCE = 8  # warn after so many consecutive empty windows: some units become active late


class CollapseWarning(UserWarning):
    """A VAE has collapsed, or is about to."""


def before_training(loss_fn: LossFn, batch: Tensor, beta: float) -> Edge:
    """Warn if a loss will collapse, and return its edge: `edge.beta` is the weight to stay below.

    loss_fn: (x_hat, x) -> (batch,), the reconstruction error of each example as it is coded; batch:
    examples, some hundred; beta: the weight of a KL that is summed over the latent units and
    averaged over the batch. `theory.weight_as_coded` helps where it is not.
    """
    edge = edge_of(loss_fn, batch)
    message = _before(beta, edge.beta, "beta", "the edge")
    if message:
        warnings.warn(message, CollapseWarning, stacklevel=2)
    return edge


def _before(level, bound, name, of):
    if level < bound:
        return ""
    return (
        f"{name} = {level:.4g}, which this loss implies, is not below {of} = {bound:.4g} of the "
        "training data: every latent unit will die, and every input get the average. Give the KL "
        "a smaller weight, by more than the ratio of the two."
    )


class CollapseAlarm(pl.Callback):
    """Warn of collapse once before the first step and once during training.

    The training_step of the module returns a dict with mu and log_var, (batch, latent) each, beside
    the loss. A step that returns nothing is skipped; any other answer is told once. sigma2: noise
    variance that the loss implies, `theory.sigma2_of`; None where it implies none. lambda_1: the
    largest eigenvalue of the covariance of the training examples. warn: raise a CollapseWarning
    with each message. `alarms` lists (step, message). Of several processes each looks at its own
    examples, and only the first warns.
    """

    def __init__(self, sigma2: float | None, lambda_1: float, warn: bool = True) -> None:
        if not lambda_1 >= 0 or (sigma2 is not None and not sigma2 >= 0):
            raise BadInput(f"sigma2 = {sigma2}, lambda_1 = {lambda_1}: variances, 0 or more")
        self.sigma2 = sigma2
        self.lambda_1 = lambda_1
        self.warn = warn
        self.names = "sigma^2", "lambda_1"
        self.batch = 0  # progress counts batches: two manual optimisers make two steps of each
        self.watching = True
        self.step = 0
        self.alarms: list[tuple[int, str]] = []
        self.empty_kls: list[float] = []  # KL of each window since the last that was not empty
        self.sums: dict[str, Any] = {}  # over the examples of this window

    @classmethod
    def for_loss(
        cls, loss_fn: LossFn, batch: Tensor, beta: float, warn: bool = True
    ) -> "CollapseAlarm":
        """An alarm for any loss; the arguments are those of `before_training`."""
        alarm = cls(beta, edge_of(loss_fn, batch).beta, warn)
        alarm.names = "beta", "the edge"
        return alarm

    def on_train_start(self, trainer, module):
        self.step = trainer.global_step
        if self.step > 0 or self.alarms or self.sigma2 is None:
            return
        message = _before(self.sigma2, self.lambda_1, *self.names)
        if message:
            self._alarm(trainer, message)

    def on_train_batch_end(self, trainer, module, outputs, *_):
        self.batch += 1
        self.step = trainer.global_step
        if self.watching and outputs:  # Lightning gives {} for a step that returned None
            self._add(trainer, outputs)
        epochs = trainer.max_epochs or 0  # -1: no end is known; a stream has inf batches
        batches = trainer.num_training_batches * epochs if epochs > 0 else math.inf
        if 0 < trainer.max_steps:
            batches = min(batches, trainer.max_steps * trainer.accumulate_grad_batches)
        window = ENDLESS if batches == math.inf else max(1, batches // WINDOWS)
        last = self.batch == batches
        if self.sums and (last or self.batch % window == 0):
            self._look(trainer, last)

    def _add(self, trainer, outputs):
        """Add the code of one batch to the sums of this window."""
        try:
            code = (outputs[name].detach().cpu() for name in ("mu", "log_var"))
            mu, log_var = (x.double().flatten(1) for x in code)  # MPS has no float64
            kl = kl_sum_latent(mu, log_var).sum()
            sums = {"count": len(mu), "kl": kl, "mu": mu.sum(0), "square": mu.square().sum(0)}
            self.sums = {name: self.sums.get(name, 0) + value for name, value in sums.items()}
        except (KeyError, TypeError, IndexError, AttributeError, RuntimeError) as error:
            self.watching = False
            if self.warn and trainer.is_global_zero:
                wanted = "a dict with mu and log_var, (batch, latent) in each step, beside the loss"
                message = f"the collapse alarm sees no code: training_step has to return {wanted}"
                warnings.warn(f"{message} ({error!r})", CollapseWarning, stacklevel=2)

    def _look(self, trainer, last):
        """Judge the window that ends here, and open the next."""
        count = self.sums["count"]
        kl = float(self.sums["kl"] / count)
        variance = self.sums["square"] / count - (self.sums["mu"] / count).square()
        self.sums = {}
        if not kl < EMPTY_NATS or (variance > ACTIVE).any():
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
        return {name: getattr(self, name) for name in ("alarms", "empty_kls", "sums", "batch")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.alarms = [tuple(alarm) for alarm in state["alarms"]]
        self.empty_kls = list(state["empty_kls"])
        self.sums = dict(state["sums"])
        self.batch = state.get("batch", 0)  # older checkpoints do not have it
