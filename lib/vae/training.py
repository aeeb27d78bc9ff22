"""Training by Lightning as a stage, resumed where it was killed. Introduced by chapter 03.

The same seed gives the same bytes on one CPU. The folder of a run holds the best weights of the
last fifth of the epochs (model.pt), one row per epoch (log.csv) and what the collapse alarm said
(alarms.json).
"""

import logging
import math
import os
import shutil
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch.multiprocessing import ProcessRaisedException

from lib import BadInput
from lib.data.batches import ArrayDataset, Batches, Splits, seed_stream
from lib.data.equaliser import Equalised
from lib.runtime import stages
from lib.runtime.files import write_json
from lib.runtime.progress import progress
from lib.theory import components
from lib.theory.collapse import sigma2_of
from lib.vae.alarm import CollapseAlarm
from lib.vae.checkpoints import Checkpoints, Run, load, net
from lib.vae.config import TrainingConfig
from lib.vae.losses import REDUCTIONS
from lib.vae.module import VAEModule
from lib.vae.refined import RefinedVAE

for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)  # no greetings and tips on a page


def train(config: TrainingConfig, data: Splits) -> Run:
    """Train a VAE, or return the run that was made before: a stage "train".

    A run that was killed continues after its last whole epoch. BadInput: settings that do not fit
    the data, the net, the loss or the machine; a training that diverges.
    """
    _check(config, data)
    accelerator = _accelerator(config.accelerator, config.devices)
    config = config.model_copy(update={"accelerator": accelerator})
    identity = {
        "training": config.model_dump(),
        "data": data.key,
        "shape": list(data.train.shape),
        "examples": [len(data.train), len(data.validation)],
    }
    partial = stages.root() / "train" / f".partial-{stages.key(identity, __name__)}"

    def compute(folder):
        _discard_damaged(partial)
        partial.mkdir(parents=True, exist_ok=True)
        try:
            _fit(config, data, partial)
        except BadInput:
            shutil.rmtree(partial)
            raise
        shutil.copy2(partial / "model.pt", folder / "model.pt")
        for logs in ("tensorboard", "wandb"):
            if (partial / logs).exists():
                shutil.copytree(partial / logs, folder / logs, symlinks=True)
        state = load(partial / "last.ckpt")
        pd.DataFrame(state["history"]).to_csv(folder / "log.csv", index=False)
        write_json(folder / "alarms.json", state["callbacks"][CollapseAlarm.__name__]["alarms"])

    folder = stages.stage("train", identity, compute, __name__)
    shutil.rmtree(partial, ignore_errors=True)
    return Run(folder)


def spectrum(data: ArrayDataset, count: int, key: dict[str, Any]) -> np.ndarray:
    """Leading eigenvalues of the covariance of prepared examples, (count,): a stage "spectrum"."""

    def compute(folder):
        pca = components.pca(data.array, count, data.prepare)
        np.save(folder / "eigenvalues.npy", pca.eigenvalues)

    shape = list(data.shape)
    identity = {"data": key, "examples": len(data), "shape": shape, "count": count}
    folder = stages.stage("spectrum", identity, compute, components.__name__)
    return np.load(folder / "eigenvalues.npy")


def _check(config, data):
    """Refuse data without validation or of two shapes, and samples that the loss cannot use."""
    if data.validation is None:
        raise BadInput("data.validation = None: a training needs validation examples; give it some")
    if data.train.shape != data.validation.shape:
        raise BadInput(
            f"validation of shape {data.validation.shape}: "
            f"must be that of the training set, {data.train.shape}"
        )
    constant = config.beta == 1 and config.beta_schedule == "constant"
    if config.samples > 1 and not (config.loss == "bernoulli" and constant):
        raise BadInput(
            f"samples = {config.samples}: only 'bernoulli' with a constant beta of 1 takes several"
        )


def _accelerator(wanted, devices):
    """The kind of device to train on: where "auto" leaves a choice, a GPU if there is one."""
    counts = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": devices,
    }
    if wanted == "auto":
        wanted = next(kind for kind, count in counts.items() if count)
    if devices > counts[wanted]:
        raise BadInput(
            f"accelerator = {wanted!r}, devices = {devices}: this machine has {counts[wanted]} "
            "of that kind; take fewer, or another accelerator ('auto', 'cpu')"
        )
    return wanted


def _discard_damaged(partial):
    """Remove the state of a killed run that a broken disk or an outsider has changed."""
    for name in ("last.ckpt", "model.pt"):
        path = partial / name
        try:
            if path.exists():
                load(path)
        except BadInput:
            message = f"{path}: damaged, its checksum is another; training starts again"
            warnings.warn(message, stacklevel=5)
            shutil.rmtree(partial)


def _fit(config, data, folder):
    """Run Lightning in a folder, from its last.ckpt where there is one."""
    torch.set_num_threads(1)
    model = _start(config, data.train)
    batches = Batches(data.train, np.arange(len(data.train)), config.batch_size, config.seed)
    order = np.random.default_rng(config.seed).permutation(len(data.validation))
    shown = np.sort(order[: config.validation_examples])
    validation = Batches(data.validation, shown, 512)
    steps = config.epochs * len(batches)
    last = folder / "last.ckpt"
    done = load(last)["global_step"] if last.exists() else 0
    module = VAEModule(model, config, steps)

    def label():
        weight = "calibrated" if config.loss == "calibrated" else f"beta {config.beta:g}"
        epoch = min(module.current_epoch + 1, config.epochs)
        return f"training {config.preset}, {weight}, epoch {epoch} of {config.epochs}"

    ticks = iter(progress(range(done, steps), total=steps - done, label=label))
    callbacks = [_alarm(config, data, model), Checkpoints(folder, ticks)]
    trainer = _trainer(config, folder, callbacks, len(batches))
    try:
        with _lightning_explained():
            trainer.fit(
                module,
                batches,
                validation,
                ckpt_path=last if last.exists() else None,
                weights_only=True,
            )
    finally:
        if config.logger.startswith("wandb"):
            trainer.logger.experiment.finish()  # the next training would write into this log


@contextmanager
def _lightning_explained() -> Iterator[None]:
    """Keep the state of the process, and raise an interrupt or a BadInput as what it was."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # Lightning 2.6 calls a name that torch 2.14 has deprecated
        warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
        # Dead ReLU units leave denormal numbers in Adam's moments: steps three times slower
        torch.set_flush_denormal(True)
        try:
            yield
        except SystemExit as error:
            # Lightning turns Ctrl-C into SystemExit and ignores the next one. Undo both: the
            # kernel must survive
            if isinstance(error.__context__, KeyboardInterrupt):
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise error.__context__ from None
            raise
        except ProcessRaisedException as error:  # one of several devices raised it, as text
            name, _, message = str(error).strip().splitlines()[-1].partition(": ")
            if name.endswith("BadInput"):
                raise BadInput(message) from None
            raise
        finally:
            torch.set_flush_denormal(False)


def _start(config, examples):
    """The net before the first step: new weights, those of a run, or the linear optimum."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_stream(config.seed, 2))
        model = net(config, examples.shape)
    model.to(memory_format=torch.channels_last)  # a fifth faster on a CPU with few channels
    if config.start:
        _load_earlier(config, model, examples.shape)
    elif isinstance(model, RefinedVAE):
        generator = torch.Generator().manual_seed(seed_stream(config.seed, 3))
        equalised = Equalised(examples, config.equalise, generator)
        count = min(model.latent, examples.shape[0] * examples.shape[1])
        model.start_from(components.separable_pca(equalised, count))
    return model


def _load_earlier(config, model, shape):
    """Load the weights of the run that `start` names. BadInput: none, or one of another net."""
    run = Run(stages.root() / "train" / config.start)
    if not run.folder.is_dir():
        raise BadInput(
            f"start = {config.start!r}: no finished training in {run.folder.parent}; take one there"
        )
    same = tuple(run.card["config"]["shape"]) == shape
    try:
        model.load_state_dict(load(run.folder / "model.pt"))
    except RuntimeError:  # other weights, or other sizes of them
        same = False
    if not same:
        raise BadInput(
            f"start = {config.start!r}: a training of another net; "
            f"take one of preset {config.preset!r}, latent {model.latent}, shape {shape}"
        )


def _alarm(config, data, model):
    """A collapse alarm that says nothing: the page tells what it has noted."""
    if config.loss not in REDUCTIONS or config.beta == 0:
        return CollapseAlarm(None, 0.0, warn=False)
    n_values = math.prod(data.train.shape)
    sigma2 = sigma2_of(REDUCTIONS[config.loss], config.beta, n_values, model.latent)
    (lambda_1,) = spectrum(data.train, 1, data.key)
    return CollapseAlarm(sigma2, float(lambda_1), warn=False)


def _trainer(config, folder, callbacks, steps_per_epoch):
    """Several devices of this machine train in forked processes, which work in a notebook too."""
    several = config.devices > 1
    # Lightning sets 1, which costs .5 ms per step, and which a fork needs
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1" if several else "0"
    cuda = config.accelerator == "cuda"
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        max_epochs=config.epochs,
        strategy="ddp_notebook" if several else "auto",
        sync_batchnorm=several and cuda,  # CPUs have none
        use_distributed_sampler=False,  # `Batches` shares each batch out itself
        plugins=LightningEnvironment(),  # SLURM's would look for other tasks of the job
        precision="bf16-mixed" if cuda else "32-true",
        logger=_logger(config.logger, folder),
        log_every_n_steps=steps_per_epoch,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _logger(name, folder):
    """The logger beside the CSV, which writes into the folder; only "wandb" uses the network."""
    try:
        if name == "tensorboard":
            return pl.loggers.TensorBoardLogger(folder, name="tensorboard", version="")
        if name.startswith("wandb"):
            import wandb

            return pl.loggers.WandbLogger(
                save_dir=folder,
                offline=name == "wandb_offline",
                settings=wandb.Settings(silent=True),
            )
    except ImportError:
        raise BadInput(
            f"logger = {name!r}: not installed; pip install -e '.[loggers]', or take 'csv'"
        ) from None
    return False
