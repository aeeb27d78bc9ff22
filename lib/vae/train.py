"""Training by Lightning as one stage, resumed where it was killed; and measuring the net that came out.

Introduced by story 03. Of the last fifth of the epochs the best on validation is kept, and a log with one row an
epoch. Everything here gives the same bytes for the same seed on one CPU.
"""

import json
import logging
import math
import pickle
import shutil
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment

from lib import BadInput
from lib.data.batches import ArrayDataset, Batches, seed_stream
from lib.data.equaliser import Equalised
from lib.runtime import stages as artifacts
from lib.theory import components
from lib.vae import ranks
from lib.vae.alarm import CollapseAlarm
from lib.vae.evaluate import evaluate
from lib.vae.module import Keep, Task, TrainingConfig, damaged, logger_of
from lib.vae.networks import VAE, RefinedVAE, build

logging.getLogger("lightning.pytorch").setLevel(
    logging.ERROR
)  # its greetings and tips do not belong on a page


@dataclass(frozen=True)
class Fitted:
    """A finished training run in its artifact folder."""

    folder: Path

    @property
    def card(self) -> dict[str, Any]:
        return artifacts.read_card(self.folder)

    def model(self) -> VAE:
        """The net with the best weights on validation, in eval mode, on the CPU."""
        config = self.card["config"]
        model = _built(TrainingConfig(**config["training"]), tuple(config["shape"]))
        model.load_state_dict(_load(self.folder / "model.pt"))
        return model.eval()

    @property
    def alarms(self) -> list[tuple[int, str]]:
        """What the collapse alarm told: step (0: before the first) and message."""
        return [
            tuple(alarm)
            for alarm in json.loads((self.folder / "alarms.json").read_text(encoding="utf-8"))
        ]

    def log(self) -> pd.DataFrame:
        """One row an epoch: epoch, and loss, mse and kl (nats) in training (train_) and on validation (val_)."""
        return pd.read_csv(self.folder / "log.csv")


def _load(path: Path) -> dict[str, Any]:
    """A file of weights or state whose checksums hold, without unpickling objects; BadInput where it holds others."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        ValueError,
        RuntimeError,
    ):  # in words that advise to trust it
        raise BadInput(
            f"{path}: not a readable checkpoint of weights; delete {path.parent} and run again"
        ) from None


def _built(config: TrainingConfig, shape: tuple[int, int]) -> VAE:
    return build(
        config.preset, shape, config.latent, config.floor if config.objective == "delta" else 0.0
    )


def _earlier(config: TrainingConfig, model: VAE) -> dict[str, torch.Tensor]:
    """The weights of the finished training that `start` names; BadInput when there is none, or of another net."""
    fitted = Fitted(artifacts.root() / "train" / config.start)
    if not fitted.folder.is_dir():
        raise BadInput(
            f"start = {config.start!r}: no finished training in {fitted.folder.parent}; take one there"
        )
    shape, weights = tuple(fitted.card["config"]["shape"]), _load(fitted.folder / "model.pt")
    sizes, wanted = (
        {name: value.shape for name, value in each.items()}
        for each in (weights, model.state_dict())
    )
    if shape != model.shape or sizes != wanted:
        wanted = f"preset {config.preset!r}, latent {model.latent}, shape {model.shape}"
        raise BadInput(f"start = {config.start!r}: a training of another net; take one of {wanted}")
    return weights


def spectrum(data: ArrayDataset, count: int, data_key: dict[str, Any]) -> np.ndarray:
    """The leading eigenvalues of the covariance of a data set as the net sees it, (count,); a stage "spectrum"."""

    def compute(folder: Path) -> None:
        np.save(
            folder / "eigenvalues.npy", components.pca(data.array, count, data.prepare).eigenvalues
        )

    identity = {
        "data": data_key,
        "examples": len(data),
        "shape": [int(size) for size in data.shape],
        "count": count,
    }
    return np.load(
        artifacts.stage("spectrum", identity, compute, components.__name__) / "eigenvalues.npy"
    )


def _accelerator(wanted: str, devices: int = 1) -> str:
    """The kind of device to train on: cuda or mps where there is one, unless told otherwise."""
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted != "auto" and not present[wanted]:
        raise BadInput(f"accelerator = {wanted!r}: this machine has none; use 'auto' or 'cpu'")
    chosen = (
        wanted
        if wanted != "auto"
        else "cuda"
        if present["cuda"]
        else "mps"
        if present["mps"]
        else "cpu"
    )
    most = {"cpu": devices, "cuda": torch.cuda.device_count(), "mps": 1}[chosen]
    if devices > most:
        raise BadInput(
            f"devices = {devices}: this machine has {most} of accelerator {chosen!r}; take at most {most}"
        )
    return chosen


def fit(
    config: TrainingConfig,
    train: ArrayDataset,
    validation: ArrayDataset,
    data_key: dict[str, Any],
    progress: Callable[..., Any] | None = None,
) -> Fitted:
    """Train, or find the run already made: a stage "train". A run that was killed goes on after its last whole epoch.

    data_key: JSON-able, says which data these are; progress(iterable, total=, label=) yields the steps and shows them
    under the text that label() returns.
    """
    if train.shape != validation.shape:
        raise BadInput(
            f"validation of shape {validation.shape}: must be that of the training set, {train.shape}"
        )
    if config.reduction != "mean-sum" and config.objective not in ("report", "delta"):
        raise BadInput(
            f"reduction = {config.reduction!r}: objective {config.objective!r} takes 'mean-sum' only"
        )
    weighed = (
        config.objective == "bernoulli" and config.beta == 1 and config.beta_schedule == "constant"
    )
    if config.samples > 1 and not weighed:
        raise BadInput(
            f"samples = {config.samples}: only 'bernoulli' with a constant beta of 1 takes several"
        )
    config = config.model_copy(
        update={"accelerator": _accelerator(config.accelerator, config.devices)}
    )
    identity = {
        "training": config.model_dump(),
        "data": data_key,
        "shape": [int(size) for size in train.shape],
        "examples": [len(train), len(validation)],
    }
    partial = artifacts.root() / "train" / f".partial-{artifacts.key(identity, __name__)}"

    def compute(folder: Path) -> None:
        if bad := [name for name in ("last.ckpt", "model.pt") if damaged(partial / name)]:
            warnings.warn(
                f"{partial / bad[0]}: damaged, its checksum is another; training starts again",
                stacklevel=4,
            )
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        try:
            report = (
                config.objective == "report"
            )  # the other objectives imply no noise variance to compare with
            lambda_1 = float(spectrum(train, 1, data_key)[0]) if report else 0.0
            trained = _train if config.ranks == 1 else ranks.launch
            trained(config, train, validation, partial, progress, lambda_1)
        except FloatingPointError as error:
            shutil.rmtree(partial)
            raise BadInput(
                f"learning_rate = {config.learning_rate:g}: {error}; use a smaller one"
            ) from None
        for path in partial.rglob(
            "*"
        ):  # file by file: of a full disk, copytree makes an error without a number
            if (
                path.is_file()
                and not path.is_symlink()
                and not path.name.startswith((".", "last.ckpt"))
            ):
                target = folder / path.relative_to(partial)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)

    folder = artifacts.stage("train", identity, compute, __name__)
    shutil.rmtree(partial, ignore_errors=True)
    return Fitted(folder)


def _train(
    config: TrainingConfig,
    train: ArrayDataset,
    validation: ArrayDataset,
    folder: Path,
    progress: Any,
    lambda_1: float,
) -> None:
    """Run Lightning in a folder, from its last.ckpt where there is one."""
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_stream(config.seed, 2))
        model = _built(config, train.shape)
    model.to(
        memory_format=torch.channels_last
    )  # convolutions of few channels are a fifth faster on a CPU
    if config.start:
        model.load_state_dict(_earlier(config, model))
    elif isinstance(model, RefinedVAE):
        heard = Equalised(
            train, config.equalise, torch.Generator().manual_seed(seed_stream(config.seed, 3))
        )
        model.start_from(components.separable_pca(heard, min(model.latent, math.prod(model.shape))))
    some = np.random.default_rng(config.seed).permutation(len(validation))[
        : config.validation_examples
    ]
    batches = Batches(train, np.arange(len(train)), config.batch_size, config.seed)
    watched = Batches(validation, np.sort(some), 512)
    done, state, steps = 0, None, config.epochs * len(batches)
    if (folder / "last.ckpt").exists():
        state = folder / "last.ckpt"
        done = _load(state)["global_step"]
    objective_ = "calibrated" if config.objective == "calibrated" else f"beta {config.beta:g}"

    def label() -> str:
        epoch = min(task.current_epoch + 1, config.epochs)
        return f"training {config.preset}, {objective_}, epoch {epoch} of {config.epochs}"

    ticks = (
        range(done, steps)
        if progress is None
        else progress(range(done, steps), total=steps - done, label=label)
    )
    task = Task(model, config, steps)
    sigma2 = (
        task.equal_beta * task.n_values / 2 if config.objective == "report" else None
    )  # the others fix none
    alarm = CollapseAlarm(sigma2, lambda_1, tell=lambda message: None)  # kept, for the page to tell
    trainer = pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        max_epochs=config.epochs,
        strategy="auto" if config.ranks == 1 else "ddp",
        sync_batchnorm=config.ranks > 1 and config.accelerator == "cuda",  # there is none on CPUs
        plugins=LightningEnvironment()
        if config.num_nodes == 1
        else None,  # else SLURM's, whose srun starts the ranks
        precision="bf16-mixed" if config.accelerator == "cuda" else "32-true",
        logger=logger_of(config.logger, folder),
        log_every_n_steps=len(batches),
        callbacks=[alarm, Keep(folder, iter(ticks))],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    batches.rank = watched.rank = trainer.global_rank
    batches.ranks = watched.ranks = config.ranks
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # Lightning 2.6 calls a name that torch 2.14 has deprecated
        warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
        torch.set_flush_denormal(
            True
        )  # what dead ReLU units leave in Adam's moments makes a step three times slower
        try:
            trainer.fit(task, batches, watched, ckpt_path=state, weights_only=True)
        except SystemExit as error:  # what Lightning makes of an interrupt, deaf to the next one; a notebook lives on
            if isinstance(error.__context__, KeyboardInterrupt):
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise error.__context__ from None
            raise
        finally:
            torch.set_flush_denormal(False)
            if config.logger.startswith(
                "wandb"
            ):  # else the next training in this kernel writes into this one's log
                trainer.logger.experiment.finish()
    if trainer.is_global_zero:
        pd.DataFrame(task.history).to_csv(folder / "log.csv", index=False)
        artifacts.write_json(folder / "alarms.json", alarm.alarms)


@dataclass(frozen=True)
class Run:
    """A training run and its measures on a test set. folder: of metrics.parquet, one row: what `evaluate` returns."""

    fitted: Fitted
    folder: Path

    @property
    def metrics(self) -> dict[str, Any]:
        return pd.read_parquet(self.folder / "metrics.parquet").iloc[0].to_dict()


def run(
    config: TrainingConfig,
    train: ArrayDataset,
    validation: ArrayDataset,
    test: ArrayDataset,
    data_key: dict[str, Any],
    progress: Callable[..., Any] | None = None,
) -> Run:
    """`fit`, then `evaluate` on the test set, kept as a stage "evaluate"; data_key says which data all three are."""
    fitted = fit(config, train, validation, data_key, progress)

    def compute(folder: Path) -> None:
        row = {name: [value] for name, value in evaluate(fitted.model(), test).items()}
        pd.DataFrame(row).to_parquet(folder / "metrics.parquet", index=False)

    identity = {"train": fitted.folder.name, "data": data_key, "examples": len(test)}
    return Run(fitted, artifacts.stage("evaluate", identity, compute, __name__))
