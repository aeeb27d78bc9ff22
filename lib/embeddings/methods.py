"""The embeddings that chapter 10 compares: METHODS has one row for each way from clips to codes.

A method is fitted on training clips and gives codes of all clips. No method but the last, the
supervised net, sees an effect's name; what each may see instead stands in its row. `embed` keeps
codes and scores as a stage.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from lib.audio import cepstra
from lib.data.batches import ArrayDataset, Splits
from lib.data.rendering import ClipSet
from lib.data.standardiser import Standardiser
from lib.embeddings import probes
from lib.embeddings.classifier import classify
from lib.runtime import stages
from lib.vae import losses
from lib.vae.config import TrainingConfig
from lib.vae.evaluation import encode_all, usage
from lib.vae.presets import build
from lib.vae.training import train

LEAST = 64  # a net is trained on at least this many clips
WATCHED = 256  # a training looks at this many of its own clips after each epoch; it needs no others


@dataclass(frozen=True)
class Task:
    """A method is given clips, which of them to learn from (bool (clip,)), passes and a seed."""

    data: ClipSet
    fit: np.ndarray
    epochs: int
    seed: int

    def log_mel(self) -> ArrayDataset:
        """Spectrograms of all clips, standardised by two constants of the training clips."""
        x = self.data.spectrograms
        return ArrayDataset(x, standardiser=Standardiser().fit(x[self.fit]))

    def features(self) -> ArrayDataset:
        """Cepstral features of all clips, each value standardised by the training clips."""
        x = self.data.features
        return ArrayDataset(x, standardiser=cepstra.FeatureStandardiser(x[self.fit]))


@dataclass(frozen=True)
class Codes:
    """A method gives mu (clip, value) of all clips, a VAE log_var as well; or answers (clip,).

    measures: further numbers, such as the KL in nats per clip.
    """

    mu: np.ndarray | None = None
    log_var: np.ndarray | None = None
    answers: np.ndarray | None = None
    measures: dict[str, float] = field(default_factory=dict)


def _moments(task):
    x = task.data.spectrograms.astype(np.float32)
    return Codes(np.concatenate([x.mean(2), x.std(2)], 1))


def _time_statistics(task):
    x = task.data.spectrograms.astype(np.float32)
    mean, std = x.mean(2), x.std(2)
    skewness = ((x - mean[..., None]) ** 3).mean(2) / (std + 1e-3) ** 3
    step = np.diff(x, axis=2).std(2)
    return Codes(np.concatenate([mean, std, skewness, step], 1))


def _pca(x, components, task):
    x = x.reshape(len(x), -1)
    # n clips less their mean span n - 1 dimensions. One more component would be noise.
    components = min(components, task.fit.sum() - 1)
    model = PCA(components, svd_solver="randomized", random_state=task.seed).fit(x[task.fit])
    blocks = np.split(x, range(512, len(x), 512))  # transform copies: not all clips at once
    return Codes(np.concatenate([model.transform(block) for block in blocks]))


def _mel_pca(task):
    return _pca(task.data.spectrograms.astype(np.float32), 128, task)


def _feature_row(row, task):
    features = task.features()
    return features.prepare(features.array)[:, row].numpy()


def _features(task):
    return Codes(_feature_row(cepstra.WET, task))


def _feature_pca(row, components, task):
    return _pca(_feature_row(row, task), components, task)


def _encoded(model, x, cpu_s):
    mu, log_var = encode_all(model, x)
    kl = losses.kl_per_unit(torch.from_numpy(mu), torch.from_numpy(log_var))
    used = usage(kl, torch.from_numpy(mu))
    measures = {"kl": used["kl"], "active_units": used["active_units"], "cpu_s": cpu_s}
    return Codes(mu, log_var, measures=measures)


def _untrained(task):
    x = task.log_mel()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        model = build("small", x.shape, 64)
    return _encoded(model, x, cpu_s=0.0)


def _trained(config, x, task, every=1):
    """Codes of all examples x by a net that was trained on every so many of the training clips."""
    array = x.array[task.fit]
    learning = ArrayDataset(array[::every], standardiser=x.standardiser)
    step = max(1, len(array) // WATCHED)
    validation = ArrayDataset(array[::step], standardiser=x.standardiser)
    key = {"renders": task.data.key, "fit": packed(task.fit)}
    run = train(config, Splits(learning, validation, None, key))
    return _encoded(run.model(), x, run.card["cpu_seconds"])


def _feature_vae(preset, latent, task):
    x = task.features()
    if preset == "mlp":  # this VAE is not conditional: it sees the wet clip alone
        x = ArrayDataset(_feature_row(cepstra.WET, task)[:, None])
    config = TrainingConfig(
        preset=preset,
        latent=latent,
        loss="calibrated",
        learning_rate=2e-3,
        batch_size=128,
        epochs=task.epochs,
        seed=task.seed,
    )
    return _trained(config, x, task)


def _mel_vae(config, cost, task):
    """Train for about the CPU time that our nets take over cepstral features.

    cost: passes that take as long as one of theirs. If all make less than one pass, the net gets
    one pass over fewer clips.
    """
    passes = cost * task.epochs
    config = config.model_copy(update={"epochs": max(1, round(passes)), "seed": task.seed})
    every = max(1, min(round(1 / passes), task.fit.sum() // LEAST))
    return _trained(config, task.log_mel(), task, every)


def _supervised_cnn(task):
    x, labels = task.log_mel(), task.data.effects[task.fit]
    learning = ArrayDataset(x.array[task.fit], standardiser=x.standardiser)
    answers, loss = classify(learning, labels, x, task.epochs, task.seed)
    return Codes(answers=answers, measures={"last_loss": loss})


CONSTANT = {"schedule": "constant", "batch_size": 8}
WEEK4 = TrainingConfig(preset="week4", beta=1.0, learning_rate=1e-5, **CONSTANT)
FINAL = TrainingConfig(
    preset="final", beta=1e-3, beta_schedule="cyclical", learning_rate=5e-4, **CONSTANT
)
COLLAPSED = TrainingConfig(preset="small", beta=1.0, learning_rate=3e-3, batch_size=16)
CALIBRATED = TrainingConfig(preset="small", loss="calibrated", learning_rate=3e-3, batch_size=16)


@dataclass(frozen=True)
class Method:
    """A row: its label in tables, what it sees beside the clips to be embedded, its function."""

    label: str
    knows: str
    codes: Callable[[Task], Codes]


TRAIN, DRY_TRAIN, DRY = "training clips", "dry training clips", "dry clips"

# The keys are part of the names of published numbers, so they keep an earlier version's words:
# "print" is what is called cepstral features elsewhere, and "told" is the conditional VAE.
METHODS = {
    "moments": Method("log-mel moments", "nothing", _moments),
    "time_statistics": Method("log-mel statistics", "nothing", _time_statistics),
    "pca128": Method("log-mel PCA", TRAIN, _mel_pca),
    "untrained": Method("untrained encoder", "nothing", _untrained),
    "week4": Method("report's VAE", TRAIN, partial(_mel_vae, WEEK4, 0.017)),
    "final": Method("report's later VAE", TRAIN, partial(_mel_vae, FINAL, 0.05)),
    "collapsed": Method("VAE at beta = 1", TRAIN, partial(_mel_vae, COLLAPSED, 0.15)),
    "calibrated": Method("calibrated VAE", TRAIN, partial(_mel_vae, CALIBRATED, 0.15)),
    "print": Method("cepstral features", "nothing", _features),
    "print_pca": Method("cepstral PCA", TRAIN, partial(_feature_pca, cepstra.WET, 64)),
    "print_vae": Method("cepstral VAE", TRAIN, partial(_feature_vae, "mlp", 64)),
    "told_16": Method(
        "conditional VAE, 16 units", DRY_TRAIN, partial(_feature_vae, "conditional", 16)
    ),
    "told": Method("conditional VAE", DRY_TRAIN, partial(_feature_vae, "conditional", 64)),
    "pair_pca": Method("paired PCA", DRY, partial(_feature_pca, cepstra.PAIR, 128)),
    "told_paired": Method(
        "paired conditional VAE", DRY, partial(_feature_vae, "conditional_paired", 128)
    ),
    "supervised_cnn": Method("supervised CNN", "effects' names", _supervised_cnn),
}


@dataclass(frozen=True)
class Embedding:
    """Codes and scores of one method, in the folder of their stage."""

    folder: Path

    @property
    def mu(self) -> np.ndarray:
        """Codes (clip, value) float32; the supervised net has none."""
        return np.load(self.folder / "mu.npy")

    @property
    def scores(self) -> pd.Series:
        """Accuracy by probe, `sampled` (the logistic probe on z ~ q), kl, active_units, cpu_s.

        The supervised net has `cnn`, the accuracy of its own answers, and last_loss instead.
        """
        return pd.read_parquet(self.folder / "scores.parquet").iloc[0]


def packed(mask: np.ndarray) -> str:
    """A bool mask (clip,) as short text, for the key of a stage."""
    return np.packbits(mask).tobytes().hex()


def embed(
    data: ClipSet,
    method: str,
    fit: np.ndarray,
    seen: np.ndarray,
    epochs: int,
    seed: int,
    names: tuple[str, ...] = tuple(probes.PROBES),
) -> Embedding:
    """Codes of all clips by a method fitted on the clips of `fit`, scored on those outside `seen`.

    fit, seen: bool (clip,). The probes `names` are trained on the codes of `seen`. This is the
    stage "embed".
    """
    effects = data.effects

    def build_stage(folder: Path) -> None:
        start = time.process_time()
        codes = METHODS[method].codes(Task(data, fit, epochs, seed))
        scores = {"cpu_s": time.process_time() - start} | codes.measures
        if codes.answers is not None:
            correct = codes.answers[~seen] == effects[~seen]
            scores["cnn"] = float(correct.mean())
        if codes.mu is not None:
            np.save(folder / "mu.npy", codes.mu.astype(np.float32))
            scores |= probes.accuracies(codes.mu, effects, seen, seed, names)
        if codes.log_var is not None:
            np.save(folder / "log_var.npy", codes.log_var)
            noise = np.random.default_rng(seed).standard_normal(codes.mu.shape)
            z = codes.mu + np.exp(codes.log_var / 2) * noise
            sampled = probes.accuracies(z, effects, seen, seed, ("logistic",))
            scores["sampled"] = sampled["logistic"]
        pd.DataFrame([scores]).to_parquet(folder / "scores.parquet", index=False)

    config = {
        "renders": data.key,
        "method": method,
        "epochs": epochs,
        "seed": seed,
        "probes": names,
        "fit": packed(fit),
        "seen": packed(seen),
    }
    return Embedding(stages.stage("embed", config, build_stage, __name__))
