"""The embeddings that story 08 compares: from clips under effects to codes, each in one function of METHODS.

A method is fitted on training clips and gives codes of all clips. No method but "supervised_cnn" sees an effect's name;
what it may see instead stands in its row of METHODS. `embed` keeps codes and scores of a method as a stage.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances

from lib.audio import cepstra
from lib.data.batches import ArrayDataset
from lib.data.clipset import Clipset
from lib.data.standardiser import Standardiser
from lib.embeddings import probes
from lib.embeddings.classifier import train_and_name
from lib.runtime import stages as artifacts
from lib.vae import evaluate as measures
from lib.vae import losses as objective
from lib.vae import train as training
from lib.vae.module import TrainingConfig
from lib.vae.networks import build

LEAST = 64  # training clips of a net
UMAP_EXACT = 4096  # points below which UMAP compares all pairs, and calls Python for each: given distances are faster
WATCHED = 256  # examples on which a training looks after each epoch; they are training clips, nothing is held out

Codes = tuple[
    np.ndarray, np.ndarray | None, dict[str, float]
]  # mu, log_var (clip, value) and what else was measured


def _moments(data: Clipset, fit: np.ndarray, epochs: int, seed: int) -> Codes:
    x = data.spectrograms.astype(np.float32)
    return np.concatenate([x.mean(2), x.std(2)], 1), None, {}


def _time_statistics(data: Clipset, fit: np.ndarray, epochs: int, seed: int) -> Codes:
    x = data.spectrograms.astype(np.float32)
    mean, std = x.mean(2), x.std(2)
    skewness = ((x - mean[..., None]) ** 3).mean(2) / (std + 1e-3) ** 3
    return np.concatenate([mean, std, skewness, np.diff(x, axis=2).std(2)], 1), None, {}


def _pca(x: np.ndarray, fit: np.ndarray, components: int, seed: int) -> Codes:
    flat = x.reshape(len(x), -1)
    most = min(
        components, fit.sum() - 1
    )  # n clips less their mean span no more; the next one would be noise
    model = PCA(most, svd_solver="randomized", random_state=seed).fit(flat[fit])
    return (
        np.concatenate([model.transform(flat[i : i + 512]) for i in range(0, len(flat), 512)]),
        None,
        {},
    )


def _pca_128(data: Clipset, fit: np.ndarray, epochs: int, seed: int) -> Codes:
    return _pca(data.spectrograms.astype(np.float32), fit, 128, seed)


def _scaled_prints(data: Clipset, fit: np.ndarray) -> np.ndarray:
    return (
        cepstra.FeatureStandardiser(data.prints[fit]).apply(torch.from_numpy(data.prints)).numpy()
    )


def _print(data: Clipset, fit: np.ndarray, epochs: int, seed: int) -> Codes:
    return _scaled_prints(data, fit)[:, cepstra.WET], None, {}


def _print_pca(data: Clipset, fit: np.ndarray, epochs: int, seed: int) -> Codes:
    return _pca(_scaled_prints(data, fit)[:, cepstra.WET], fit, 64, seed)


def _pair_pca(data: Clipset, fit: np.ndarray, epochs: int, seed: int) -> Codes:
    return _pca(_scaled_prints(data, fit)[:, cepstra.PAIR], fit, 128, seed)


def _untrained(data: Clipset, fit: np.ndarray, epochs: int, seed: int) -> Codes:
    whole = ArrayDataset(data.spectrograms, standardiser=Standardiser().fit(data.spectrograms[fit]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build("small", whole.shape, 64)
    return _measured(model, whole, 0.0)


def _measured(model: Any, whole: ArrayDataset, cpu_s: float) -> Codes:
    mu, log_var = measures.embed(model, whole)
    found = measures.usage(
        objective.kl_per_unit(torch.from_numpy(mu), torch.from_numpy(log_var)), torch.from_numpy(mu)
    )
    return mu, log_var, {"kl": found["kl"], "active_units": found["active_units"], "cpu_s": cpu_s}


def _trained(
    whole: ArrayDataset, data: Clipset, fit: np.ndarray, config: TrainingConfig, every: int = 1
) -> Codes:
    """Codes of a net trained on the clips of fit, or on one of `every` so many of them."""
    learning = ArrayDataset(whole.array[fit][::every], standardiser=whole.standardiser)
    watched = ArrayDataset(
        whole.array[fit][:: max(1, fit.sum() // WATCHED)], standardiser=whole.standardiser
    )
    fitted = training.fit(
        config, learning, watched, {"renders": data.key, "fit": np.packbits(fit).tobytes().hex()}
    )
    return _measured(fitted.model(), whole, fitted.card["cpu_seconds"])


def _on_prints(preset: str, latent: int = 64) -> Callable[..., Codes]:
    def method(data: Clipset, fit: np.ndarray, epochs: int, seed: int) -> Codes:
        whole = ArrayDataset(
            data.prints, standardiser=cepstra.FeatureStandardiser(data.prints[fit])
        )
        if preset == "mlp":  # hears the wet print alone, and is told nothing
            whole = ArrayDataset(_scaled_prints(data, fit)[:, :1])
        config = TrainingConfig(
            preset=preset,
            latent=latent,
            objective="calibrated",
            learning_rate=2e-3,
            batch_size=128,
            epochs=epochs,
            seed=seed,
        )
        return _trained(whole, data, fit, config)

    return method


def _on_spectrograms(per_epoch: float, **fields: Any) -> Callable[..., Codes]:
    """On spectrograms, standardised by two constants of the training clips.

    per_epoch: passes that cost about as much as one pass of ours over prints; less than one in all: fewer clips.
    """

    def method(data: Clipset, fit: np.ndarray, epochs: int, seed: int) -> Codes:
        whole = ArrayDataset(
            data.spectrograms, standardiser=Standardiser().fit(data.spectrograms[fit])
        )
        passes = per_epoch * epochs
        config = TrainingConfig(epochs=max(1, round(passes)), seed=seed, **fields)
        return _trained(
            whole, data, fit, config, max(1, min(round(1 / passes), fit.sum() // LEAST))
        )

    return method


@dataclass(frozen=True)
class Method:
    """label: in tables; knows: what it is given beside the clips to be embedded; codes: data, fit, epochs, seed."""

    label: str
    knows: str
    codes: Callable[..., Codes]


METHODS = {
    "moments": Method("mean and deviation spectrum", "nothing", _moments),
    "time_statistics": Method("four time statistics a band", "nothing", _time_statistics),
    "pca128": Method("PCA-128 of log-mel", "training clips", _pca_128),
    "untrained": Method("untrained encoder, 64 latents", "nothing", _untrained),
    "week4": Method(
        "the report's recipe (week4)",
        "training clips",
        _on_spectrograms(
            0.017, preset="week4", beta=1.0, learning_rate=1e-5, batch_size=8, schedule="constant"
        ),
    ),
    "final": Method(
        "the student's later recipe (final)",
        "training clips",
        _on_spectrograms(
            0.05,
            preset="final",
            beta=1e-3,
            beta_schedule="cyclical",
            learning_rate=5e-4,
            batch_size=8,
            schedule="constant",
        ),
    ),
    "collapsed": Method(
        "VAE of log-mel at beta = 1",
        "training clips",
        _on_spectrograms(0.15, preset="small", beta=1.0, learning_rate=3e-3, batch_size=16),
    ),
    "calibrated": Method(
        "calibrated VAE of log-mel",
        "training clips",
        _on_spectrograms(
            0.15, preset="small", objective="calibrated", learning_rate=3e-3, batch_size=16
        ),
    ),
    "print": Method("print, no net", "nothing", _print),
    "print_pca": Method("PCA-64 of prints", "training clips", _print_pca),
    "print_vae": Method("VAE of prints, decoder told nothing", "training clips", _on_prints("mlp")),
    "told_16": Method("ours with 16 latents", "dry training clips", _on_prints("told", 16)),
    "told": Method(
        "ours: VAE of prints, decoder told the dry clip", "dry training clips", _on_prints("told")
    ),
    "pair_pca": Method("PCA-128 of pairs' prints", "dry clips", _pair_pca),
    "told_paired": Method(
        "ours with 128 latents, hearing the dry clip", "dry clips", _on_prints("told_paired", 128)
    ),
}


def embed(
    data: Clipset,
    method: str,
    fit: np.ndarray,
    seen: np.ndarray,
    epochs: int,
    seed: int,
    asked: tuple[str, ...] = tuple(probes.PROBES),
) -> Path:
    """A stage "embed": codes of all clips by a method fitted on the clips of `fit`, scored on those not in `seen`.

    fit, seen: bool (clip,); the probes asked are trained on the codes of `seen`. Files: mu.npy, log_var.npy of a VAE,
    and scores.parquet, one row: accuracy by probe, `sampled` (logistic probe on z ~ q), kl, active_units and cpu_s, of
    fitting.
    """
    names, test = data.effects, ~seen

    def build_(folder: Path) -> None:
        start = time.process_time()
        if method == "supervised_cnn":
            scale = Standardiser().fit(data.spectrograms[fit])
            train, other = (
                ArrayDataset(data.spectrograms[of], standardiser=scale) for of in (fit, test)
            )
            named, loss = train_and_name(train, names[fit], other, epochs, seed)
            row = {"cnn": float((named == names[test]).mean()), "last_loss": loss}
        else:
            mu, log_var, row = METHODS[method].codes(data, fit, epochs, seed)
            np.save(folder / "mu.npy", mu.astype(np.float32))
            row.setdefault("cpu_s", time.process_time() - start)
            row = row | probes.accuracies(mu[seen], names[seen], mu[test], names[test], seed, asked)
            if log_var is not None:
                z = mu + np.exp(log_var / 2) * np.random.default_rng(seed).standard_normal(mu.shape)
                found = probes.accuracies(
                    z[seen], names[seen], z[test], names[test], seed, ("logistic",)
                )
                row["sampled"] = found["logistic"]
                np.save(folder / "log_var.npy", log_var)
        row.setdefault("cpu_s", time.process_time() - start)
        pd.DataFrame([row]).to_parquet(folder / "scores.parquet", index=False)

    identity = {
        "renders": data.key,
        "method": method,
        "epochs": epochs,
        "seed": seed,
        "probes": asked,
        "fit": np.packbits(fit).tobytes().hex(),
        "seen": np.packbits(seen).tobytes().hex(),
    }
    return artifacts.stage("embed", identity, build_, __name__)


def latent_map(
    embedded: Path, data: Clipset, seen: np.ndarray, seed: int
) -> tuple[pd.DataFrame, float]:
    """UMAP of the latent means of the clips in `seen`, in which the others are placed; a stage "latent_map".

    embedded: what `embed` returned. Returns x, y, label, group and seen of every clip, and the share of unseen clips
    whose five nearest seen points in the plane vote for the right effect.
    """

    def build_(folder: Path) -> None:
        mu, points = np.load(embedded / "mu.npy"), np.empty((len(seen), 2), np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of Tensorflow, of widgets, and of what given distances do not allow
            from umap import UMAP  # a slow import: numba compiles

            known, few = mu[seen], seen.sum() < UMAP_EXACT

            def near(x: np.ndarray) -> np.ndarray:
                return pairwise_distances(x, known) if few else x

            model = UMAP(
                metric="precomputed" if few else "euclidean", random_state=seed, n_jobs=1
            ).fit(near(known))
            points[seen], points[~seen] = model.embedding_, model.transform(near(mu[~seen]))
        columns = {
            "x": points[:, 0],
            "y": points[:, 1],
            "label": data.effects,
            "group": data.groups,
            "seen": seen,
        }
        pd.DataFrame(columns).to_parquet(folder / "points.parquet", index=False)

    identity = {"embed": embedded.name, "seen": np.packbits(seen).tobytes().hex(), "seed": seed}
    table = pd.read_parquet(
        artifacts.stage("latent_map", identity, build_, __name__) / "points.parquet"
    )
    sides = {side: rows for side, rows in table.groupby("seen")}
    votes = probes.accuracies(
        sides[True][["x", "y"]].to_numpy(),
        sides[True]["label"].to_numpy(),
        sides[False][["x", "y"]].to_numpy(),
        sides[False]["label"].to_numpy(),
        seed,
        ("knn5",),
    )
    return table, votes["knn5"]
