"""The settings of a training run. Introduced by chapter 03."""

from typing import Literal

from pydantic import Field

from lib.config import Config
from lib.vae.losses import LOSSES


class TrainingConfig(Config):
    """All that decides a training run, but for the data."""

    preset: str = "small"  # a key of `lib.vae.presets.PRESETS`
    latent: int | None = Field(None, ge=1)  # None: the preset's own
    loss: Literal[*LOSSES] = "report"  # the function that trains, `lib.vae.losses`
    beta: float = Field(1.0, ge=0, allow_inf_nan=False)  # weight of the KL at the end
    beta_schedule: Literal["constant", "warm_up", "cyclical"] = "constant"  # the way of beta
    floor: float = Field(0.0, ge=0, le=10)  # nats per unit, for free_bits and delta
    samples: int = Field(1, ge=1, le=100)  # several: bernoulli trains the importance-weighted bound
    equalise: float = Field(0.0, ge=0, le=10)  # deviation of a random equaliser, in units of x
    start: str | None = Field(None, pattern="^[0-9a-f]{16}$")  # run (its folder) to start from
    learning_rate: float = Field(2e-2, gt=0, allow_inf_nan=False)  # Adam's peak
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    batch_size: int = Field(128, ge=1)  # all devices share it
    epochs: int = Field(1, ge=1)
    seed: int = Field(1234, ge=0)
    validation_examples: int = Field(2048, ge=1)  # examples after each epoch, at most
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = Field(1, ge=1)  # those of one machine share every batch
    logger: Literal["csv", "tensorboard", "wandb", "wandb_offline"] = "csv"  # beside the CSV
