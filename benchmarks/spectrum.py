"""`lib.predict` against numpy's full SVD of the digits, and on large spectrograms."""

from pathlib import Path

import numpy as np
import torch

from lib.data.digits import load_digits
from lib.predict import predict_data
from lib.runtime import stages

LATENTS = 16
torch.set_num_threads(1)


def _file(name: str) -> Path:
    (stages.root() / "bench").mkdir(parents=True, exist_ok=True)
    return stages.root() / "bench" / name


def ours(images: int):
    """Facts: the leading eigenvalues of the covariance."""
    path = _file(f"digits-{images}.npy")
    np.save(path, load_digits("train")[0][:images])
    yield
    report = predict_data(str(path), LATENTS, 0.01)
    yield images, {"eigenvalues": report["eigenvalues"]}


def numpy_svd(images: int):
    yield
    x = load_digits("train")[0][:images].reshape(images, -1) / 255
    _, deviations, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    yield images, {"eigenvalues": (deviations[:LATENTS] ** 2 / images).tolist()}


def large(examples: int, bins: int, frames: int):
    """Spectrograms, made for the purpose, of a falling spectrum. Facts: values of an example."""
    path, rng = _file(f"large-{examples}.npy"), np.random.default_rng(0)
    basis = rng.standard_normal((32, bins * frames), dtype=np.float32)
    basis *= 0.8 ** np.arange(32, dtype=np.float32)[:, None]
    x = np.lib.format.open_memmap(path, "w+", np.float16, (examples, bins, frames))
    for start in range(0, examples, 64):
        rows = rng.standard_normal((min(64, examples - start), 32), dtype=np.float32) @ basis
        x[start : start + 64] = rows.reshape(-1, bins, frames)
    x.flush()
    yield
    report = predict_data(str(path), LATENTS, 0.01)
    path.unlink()
    yield examples, {"n_values": report["n_values"]}
