"""`lib.predict` against numpy: seconds, equality and peak memory.

On digits against a full singular value decomposition, on larger pictures against the examples' inner products.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lib.data.digits import load_digits
from lib.predict import predict_data
from lib.runtime import stages as artifacts

Work = Callable[[], tuple[float, dict[str, float]]]
LATENTS = 16
torch.set_num_threads(1)


def ours(images: int) -> Work:
    """The digits, images of 784 values. Facts: the leading eigenvalues of the covariance."""
    name = "digits"
    if images < 60_000:
        name = str(artifacts.root() / "bench" / f"digits-{images}.npy")
        (artifacts.root() / "bench").mkdir(parents=True, exist_ok=True)
        np.save(name, load_digits("train")[0][:images])

    def work() -> tuple[float, dict[str, float]]:
        found = predict_data(name, LATENTS, 0.01)
        return found["examples"], {
            f"lambda_{k}": value for k, value in enumerate(found["eigenvalues"], 1)
        }

    return work


def numpy_svd(images: int) -> Work:
    """numpy.linalg.svd of the centred images, all components."""

    def work() -> tuple[float, dict[str, float]]:
        x = load_digits("train")[0][:images].reshape(images, -1) / 255
        _, deviations, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
        return images, {
            f"lambda_{k}": float(s**2 / images) for k, s in enumerate(deviations[:LATENTS], 1)
        }

    return work


def _made(examples: int, bins: int, frames: int) -> Path:
    """Spectrograms of the report's size, float16, of a falling spectrum."""
    path = artifacts.root() / "bench" / f"large-{examples}-{bins * frames}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        rng, beside = np.random.default_rng(0), path.with_suffix(f".{os.getpid()}")
        basis = rng.standard_normal((32, bins * frames), dtype=np.float32)
        basis *= 0.8 ** np.arange(32, dtype=np.float32)[:, None]
        with beside.open("wb") as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": (examples, bins, frames)}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, examples, 64):
                rows = (
                    rng.standard_normal((min(64, examples - start), 32), dtype=np.float32) @ basis
                )
                rows += 0.1 * rng.standard_normal((1, bins * frames), dtype=np.float32)
                file.write(rows.astype("<f2").data)
        beside.rename(path)
    return path


def large(examples: int, bins: int, frames: int) -> Work:
    """Spectrograms of the report's size. Facts: N, the leading eigenvalues and their share of the variance."""
    path = _made(examples, bins, frames)

    def work() -> tuple[float, dict[str, float]]:
        found = predict_data(str(path), LATENTS, 0.01)
        share = sum(found["eigenvalues"]) / found["total"]
        values = {f"lambda_{k}": value for k, value in enumerate(found["eigenvalues"], 1)}
        facts = {"n_values": found["n_values"], "share": share if math.isfinite(share) else 0.0}
        return found["examples"], facts | values

    return work


def numpy_gram(examples: int, bins: int, frames: int, columns: int = 4096) -> Work:
    """numpy's eigenvalues of all inner products of the centred examples, in float64, some columns at a time."""
    path = _made(examples, bins, frames)

    def work() -> tuple[float, dict[str, float]]:
        x, gram = np.load(path, mmap_mode="r").reshape(examples, -1), np.zeros((examples, examples))
        for start in range(0, bins * frames, columns):
            part = x[:, start : start + columns].astype(np.float64)
            part -= part.mean(0)
            gram += part @ part.T
        values = np.linalg.eigvalsh(gram)[::-1] / examples
        return examples, {
            f"lambda_{k}": float(value) for k, value in enumerate(values[:LATENTS], 1)
        }

    return work


CONTENDERS = {"ours": ours, "numpy": numpy_svd, "large": large, "numpy_gram": numpy_gram}
