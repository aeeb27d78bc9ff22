"""A training run on disk: its best weights, its state, the finished run. From chapter 03 on."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch.callbacks import Checkpoint

from lib import BadInput
from lib.runtime import stages
from lib.runtime.files import write_atomic
from lib.vae.config import TrainingConfig
from lib.vae.networks import VAE
from lib.vae.presets import build

WARM = 0.8  # share of the one-cycle schedule whose steps are too large for a fair validation loss
TIE = 0.01  # relative difference of two validation losses below which the later epoch wins


@dataclass(frozen=True)
class Run:
    """A finished training run in its folder."""

    folder: Path

    @property
    def card(self) -> dict[str, Any]:
        """Its settings, cost and versions."""
        return stages.read_card(self.folder)

    def model(self) -> VAE:
        """The net with the best weights on validation, in eval mode, on the CPU."""
        config = self.card["config"]
        model = net(TrainingConfig(**config["training"]), tuple(config["shape"]))
        model.load_state_dict(load(self.folder / "model.pt"))
        return model.eval()

    def log(self) -> pd.DataFrame:
        """One row per epoch: loss, MSE and KL (nats) of training and validation."""
        return pd.read_csv(self.folder / "log.csv")

    @property
    def alarms(self) -> list[tuple[int, str]]:
        """Step (0: before the first) and message of each alarm of `lib.vae.alarm`."""
        alarms = json.loads((self.folder / "alarms.json").read_text(encoding="utf-8"))
        return [tuple(alarm) for alarm in alarms]


class Checkpoints(Checkpoint):
    """Keep the best weights and the state to resume from after each epoch; no file is ever half.

    Lightning's ModelCheckpoint has no rule for ties or for the start of a schedule, and overwrites
    in place.
    """

    def __init__(self, folder: Path, ticks: Iterator[int]) -> None:
        self.folder = folder
        self.ticks = ticks  # advanced once per step, to show progress

    def on_train_batch_end(self, trainer, *_):
        if trainer.is_global_zero:
            next(self.ticks, None)

    on_train_start = on_train_batch_end  # one tick before the first step, one after each

    def on_train_epoch_end(self, trainer, module):
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.folder)  # every process takes part; only the first writes
            return
        if best_so_far(module.history, module.config):
            buffer = io.BytesIO()  # torch.save to a full disk is no OSError, a write of bytes is
            torch.save(module.model.state_dict(), buffer)
            weights = buffer.getbuffer()
            write_atomic(self.folder / "model.pt", lambda path: path.write_bytes(weights))
        write_atomic(self.folder / "last.ckpt", trainer.save_checkpoint)


def best_so_far(history: list[dict[str, float]], config: TrainingConfig) -> bool:
    """Whether the last epoch has the best validation loss since the steps became small."""
    first = WARM * config.epochs if config.schedule == "one_cycle" else 0
    validation = [row["val_loss"] for row in history if row["epoch"] > first]
    if not validation:
        return False
    best = min(validation)
    return validation[-1] <= best + TIE * abs(best)


def net(config: TrainingConfig, shape: tuple[int, int]) -> VAE:
    """The untrained net of a training on examples of this shape."""
    floor = config.floor if config.loss == "delta" else 0.0
    return build(config.preset, shape, config.latent, floor)


def load(path: Path) -> dict[str, Any]:
    """Read weights or a state without unpickling. BadInput: the file is damaged or no checkpoint.

    torch.load checks no checksum, zipfile does. torch does not compress: a compressed part may be a
    bomb.
    """
    try:
        with zipfile.ZipFile(path) as file:
            compressed = any(part.compress_type for part in file.infolist())
            if not compressed and file.testzip() is None:
                return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged file raises many kinds of error
        pass
    raise BadInput(
        f"{path}: not a readable checkpoint of weights; delete {path.parent} and run again"
    )
