"""What Lightning is told: the settings of a run, its loss, optimiser and numbers by epoch, and what to keep of it.

Introduced by story 03; `lib.vae.train` runs it. The noise of an epoch follows from (seed, epoch) alone.
"""

import io
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from lib import BadInput
from lib.data.batches import seed_stream
from lib.data.equaliser import equalised
from lib.runtime import stages as artifacts
from lib.theory import collapse as theory
from lib.vae import losses as objective
from lib.vae.evaluate import importance_weighted
from lib.vae.networks import VAE

os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = (
    "0"  # Lightning sets 1: each step then seeks NVIDIA's library, .5 ms
)
SETTLED = 0.8  # of a cycle: before it, steps are so large that an epoch's validation loss is luck, and none is kept
TIE = 0.01  # of the best validation loss: of epochs that differ by less, the last one is kept, where steps are smallest


class TrainingConfig(BaseModel):
    """All that decides a training run, but for the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = "small"
    latent: int | None = Field(None, ge=1)  # None: the preset's own
    objective: Literal["report", "calibrated", "free_bits", "delta", "bernoulli"] = "report"
    beta: float = Field(
        1.0, ge=0, allow_inf_nan=False
    )  # weight of the KL at the end; the calibrated loss has none
    reduction: Literal["mean-sum", "mean-mean", "sum-sum", "half-sum-sum"] = (
        "mean-sum"  # the report's, or another's
    )
    beta_schedule: Literal["constant", "warm_up", "cyclical"] = "constant"  # how beta gets there
    floor: float = Field(0.0, ge=0, le=10)  # nats a latent unit, of free_bits and delta
    samples: int = Field(
        1, ge=1, le=100
    )  # draws of z an example, of bernoulli: more than 1, importance-weighted
    equalise: float = Field(
        0.0, ge=0, le=10
    )  # deviation of a random equaliser in training, in the input's unit
    start: str | None = Field(
        None, pattern="^[0-9a-f]{16}$"
    )  # finished training (its folder) whose weights to take
    learning_rate: float = Field(
        2e-2, gt=0, allow_inf_nan=False
    )  # of Adam, the peak of the schedule
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    batch_size: int = Field(128, ge=1)
    epochs: int = Field(1, ge=1)
    seed: int = Field(1234, ge=0)
    validation_examples: int = Field(2048, ge=1)  # at most so many are looked at after an epoch
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = Field(
        1, ge=1
    )  # of each node; they share every batch, batch_size counts all of them
    num_nodes: int = Field(1, ge=1)  # machines, see lib.vae.ranks
    logger: Literal["csv", "tensorboard", "wandb", "wandb_offline"] = (
        "csv"  # a CSV is always written
    )

    @property
    def ranks(self) -> int:
        """Processes that train together, one a device."""
        return self.devices * self.num_nodes


class Task(pl.LightningModule):
    """What Lightning needs to know: the loss of a batch, the optimiser, the numbers of an epoch."""

    def __init__(self, model: VAE, config: TrainingConfig, steps: int):
        super().__init__()
        self.model, self.config, self.steps = model, config, steps
        self.n_values = math.prod(model.shape)
        sigma2 = config.beta and theory.sigma2_of(
            config.reduction, config.beta, self.n_values, model.latent
        )
        self.equal_beta = (
            2 * sigma2 / self.n_values
        )  # of the report's loss, to which this one is proportional
        self.noise = torch.Generator()
        self.sums: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.Adam(self.parameters(), lr=self.config.learning_rate, fused=True)
        if self.config.schedule == "constant":
            return optimiser
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self.config.learning_rate, max(self.steps, 2)
        )
        return [optimiser], [{"scheduler": schedule, "interval": "step"}]

    def _beta(self) -> float:
        """The weight of the KL at this step.

        warm_up: rises over the first half (Bowman et al. 2016); cyclical: rises and stays, four times (Fu et al. 2019).
        """
        done = self.trainer.global_step / self.steps
        ramp = {"constant": 1.0, "warm_up": 2 * done, "cyclical": 2 * (4 * done % 1)}[
            self.config.beta_schedule
        ]
        return self.config.beta * min(ramp, 1.0)

    def _whole(self, n: int, *means: Tensor) -> tuple[int, list[Tensor]]:
        """Examples of all ranks, and means over these; n: those of this rank, over which the given means are."""
        if self.config.ranks == 1:
            return n, [mean.detach() for mean in means]
        flat = torch.cat(
            [torch.ones(1, device=means[0].device), *(mean.detach().flatten() for mean in means)]
        )
        torch.distributed.all_reduce(total := n * flat)
        count, *sums = total.split([1, *(mean.numel() for mean in means)])
        return int(count), [
            part.view_as(mean) / count for part, mean in zip(sums, means, strict=True)
        ]

    def _loss(self, x: Tensor, n: int) -> dict[str, Tensor]:
        """Loss of this rank's part x of a batch, of which n examples count."""
        bernoulli = self.config.objective == "bernoulli"
        if bernoulli:  # grey is a probability: new binary pixels each time
            if not (x.min() >= 0 and x.max() <= 1):
                raise BadInput(
                    f"objective = 'bernoulli': data from {x.min():g} to {x.max():g}; it must lie in 0 to 1"
                )
            x = torch.bernoulli(x.cpu(), generator=self.noise).to(x.device)
        x_hat, mu, log_var = (
            out.float() for out in self.model(x, generator=self.noise)
        )  # sums are not for bf16
        x = self.model.target(x)
        with torch.set_grad_enabled(
            bernoulli and torch.is_grad_enabled()
        ):  # else these are for the log alone
            units = objective.kl_per_unit(mu, log_var)
            kl, units = units.sum(1).mean(), units.mean(0)
            mse = (
                objective.bernoulli_nats(x, x_hat).mean() / self.n_values
                if bernoulli  # cross-entropy of a pixel
                else objective.squared_error_mean(x, x_hat)
            )
        whole_n, (mse_, kl_, units_) = self._whole(n, mse, kl, units)
        self._add(mse=whole_n * mse_, kl=whole_n * kl_, units=whole_n * units_, n=whole_n)
        if bernoulli:
            loss = self.n_values * mse + self._beta() * kl
            if self.config.samples > 1:
                loss = importance_weighted(
                    self.model, x, mu, log_var, self.config.samples, self.noise
                ).mean()
                self._add(bound=whole_n * self._whole(n, loss)[1][0])
        elif self.config.objective == "calibrated":
            loss = objective.calibrated_loss(x, x_hat, mu, log_var, mse_)
        elif self.config.objective == "free_bits":
            loss = objective.free_bits_loss(
                x, x_hat, mu, log_var, self._beta(), self.config.floor, units_
            )
        else:
            loss = objective.reduced_loss(
                x, x_hat, mu, log_var, self._beta(), self.config.reduction
            )
        if (
            self.config.ranks > 1
        ):  # the gradient is the mean over ranks, whose parts may differ by an example
            loss = loss * (n * self.config.ranks / whole_n)
        return {"loss": loss, "mu": mu[:n].detach(), "log_var": log_var[:n].detach()}

    def _add(self, **values: Any) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value

    def _start(self, part: int) -> None:
        self.sums, epoch = {}, self.current_epoch if part == 0 else 0
        rank = [self.global_rank] if self.global_rank else []
        self.noise.manual_seed(seed_stream(self.config.seed, part, epoch, *rank))
        torch.manual_seed(seed_stream(self.config.seed, 6, part, epoch, *rank))  # of dropout

    def _finish(self, part: str) -> dict[str, float]:
        """Means over the examples; the loss is what the objective minimises, up to a constant factor.

        Free bits count by the mean of each unit over all examples.
        """
        n = self.sums["n"]
        mse, kl = float(self.sums["mse"]) / n, float(self.sums["kl"]) / n
        if self.config.objective == "calibrated":
            loss = float(objective.calibrated_nats(mse, kl, self.n_values))
        elif self.config.objective == "bernoulli":
            bound = self.sums.get("bound")
            loss = (
                self.n_values * mse + self.config.beta * kl if bound is None else float(bound) / n
            )
        elif self.config.objective == "free_bits":
            loss = mse + self.config.beta * float(
                (self.sums["units"] / n).clamp(min=self.config.floor).sum()
            )
        else:
            loss = mse + self.equal_beta * kl
        return {f"{part}_loss": loss, f"{part}_mse": mse, f"{part}_kl": kl}

    def on_train_epoch_start(self) -> None:
        self.trainer.train_dataloader.epoch = self.current_epoch
        self._start(0)

    def training_step(self, x: Tensor, index: int) -> dict[str, Tensor]:
        x = equalised(x, self.config.equalise, self.noise) if self.config.equalise else x
        return self._loss(
            x, len(x) if self.config.ranks == 1 else self.trainer.train_dataloader.counted(index)
        )

    def on_validation_epoch_start(self) -> None:
        self.train_row = self._finish(
            "train"
        )  # Lightning validates before it ends the training epoch
        self._start(1)

    def validation_step(self, x: Tensor, index: int) -> None:
        self._loss(
            x, len(x) if self.config.ranks == 1 else self.trainer.val_dataloaders.counted(index)
        )

    def on_train_epoch_end(self) -> None:
        row = self.train_row | self._finish("val")
        if not all(map(math.isfinite, row.values())):
            raise FloatingPointError(
                f"training left the finite numbers in epoch {self.current_epoch + 1}"
            )
        self.history.append({"epoch": self.current_epoch + 1} | row)
        self.log_dict(row, sync_dist=self.config.ranks > 1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])


class Keep(Checkpoint):
    """After each epoch: the best weights and, last, the state to resume from. Each file is whole or absent.

    Of several ranks the first one writes.
    """

    def __init__(self, folder: Path, progress: Iterator[int]):
        self.folder, self.progress = folder, progress

    def on_train_start(self, *_: Any) -> None:
        next(self.progress, None)

    def on_train_batch_end(self, *_: Any) -> None:
        next(self.progress, None)

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.folder)  # every rank takes part, this one writes nothing
            return
        cycle = task.config.schedule == "one_cycle"
        losses = [
            row["val_loss"]
            for row in task.history
            if not cycle or row["epoch"] > SETTLED * task.config.epochs
        ]
        if losses and losses[-1] <= min(losses) + TIE * abs(min(losses)):
            weights = (
                io.BytesIO()
            )  # by way of memory: a full disk is then an OSError, as everywhere else
            torch.save(task.model.state_dict(), weights)
            _whole(self.folder / "model.pt", lambda path: path.write_bytes(weights.getbuffer()))
        _whole(self.folder / "last.ckpt", trainer.save_checkpoint)


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its name, then rename it; a power cut leaves the old one or the new one."""
    beside = path.with_name(f"{path.name}.part")
    write(beside)
    artifacts.settle(beside)
    os.replace(beside, path)
    artifacts.settle(path.parent)


def damaged(path: Path) -> bool:
    """Whether a file of torch.save is there and not readable, or a checksum in it is off: torch.load looks at none."""
    try:
        if not path.exists():
            return False
        with zipfile.ZipFile(path) as file:
            packed = any(
                part.compress_type for part in file.infolist()
            )  # torch packs nothing: it may be a bomb
            return packed or bool(file.testzip() or not torch.load(path, "cpu", weights_only=True))
    except Exception:  # of a damaged file, many kinds
        return True


def logger_of(name: str, folder: Path) -> Any:
    """The logger asked for beside the CSV, writing into the run's folder; only "wandb" uses the network."""
    try:
        if name == "tensorboard":
            return pl.loggers.TensorBoardLogger(folder, name="tensorboard", version="")
        if name.startswith("wandb"):
            import wandb

            offline = name == "wandb_offline"
            return pl.loggers.WandbLogger(
                save_dir=folder, offline=offline, settings=wandb.Settings(silent=True)
            )
    except ImportError:
        raise BadInput(
            f"logger = {name!r}: not installed; pip install -e '.[loggers]', or take 'csv'"
        ) from None
    return False
