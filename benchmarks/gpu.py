"""What a step of training takes on a GPU: `python benchmarks/gpu.py book/gpu.json`, on a machine that has one.

The page on cost multiplies it. `lib.vae.train` as the stories call it, in bf16 mixed precision, on made-up pictures:
what a step takes does not depend on what they show. Steps are counted from WARM on, within one epoch, so that start,
validation and checkpoints are left out; the device has finished its work at both ends. Each net is measured TURNS
times, in turn.
"""

import itertools
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

import numpy as np
import torch

from lib.data.batches import ArrayDataset, Splits
from lib.data.standardiser import Standardiser
from lib.runtime.files import write_json
from lib.runtime.provenance import commit
from lib.vae import training
from lib.vae.config import TrainingConfig

WARM, TURNS, CLIP_S, LONG_S = 10, 3, 2.03, 131_072 / 24_000
NETS = [  # batches of the stories and of runs/full.yml, and wider ones; steps of the one epoch
    {"preset": "small", "shape": (96, 96), "batch_size": 16, "clip_s": CLIP_S, "steps": 150},
    {"preset": "small", "shape": (96, 96), "batch_size": 128, "clip_s": CLIP_S, "steps": 60},
    {"preset": "week4", "shape": (2049, 65), "batch_size": 8, "clip_s": LONG_S, "steps": 40},
    {"preset": "week4", "shape": (2049, 65), "batch_size": 32, "clip_s": LONG_S, "steps": 20},
]


def step_s(net: dict[str, Any], seed: int, accelerator: str = "cuda") -> tuple[float, float]:
    """Seconds of a step, the mean of all after the first WARM, and the device's peak memory in GB."""
    shape, batch, steps = net["shape"], net["batch_size"], net["steps"]
    pictures = (
        np.random.default_rng(0)
        .standard_normal((steps * batch, *shape), dtype=np.float32)
        .astype(np.float16)
    )
    data, times = ArrayDataset(pictures, standardiser=Standardiser().fit(pictures[:64])), []

    def clock(ticks: Iterable[int], total: int, label: Any) -> Iterator[int]:
        for tick in ticks:
            if tick in (WARM, steps - 1) and accelerator == "cuda":
                torch.cuda.synchronize()
            times.append(perf_counter())
            yield tick

    if accelerator == "cuda":
        torch.cuda.reset_peak_memory_stats()
    config = TrainingConfig(
        preset=net["preset"],
        loss="calibrated",
        learning_rate=1e-4,
        schedule="constant",
        batch_size=batch,
        seed=seed,
        accelerator=accelerator,
    )
    validation = ArrayDataset(pictures[:16], standardiser=data.standardiser)
    with mock.patch.object(training, "progress", clock):
        training.train(config, Splits(data, validation, None, {"bench": seed}))
    peak = torch.cuda.max_memory_allocated() / 1e9 if accelerator == "cuda" else 0.0
    return (times[steps - 1] - times[WARM]) / (steps - 1 - WARM), peak


def main(path: str) -> None:
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: run this on a machine with a GPU")
    found: list[dict[str, Any]] = [net | {"step_s": [], "peak_gb": 0.0} for net in NETS]
    seeds = itertools.count()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ARTIFACTS_DIR"] = scratch
        for turn in range(TURNS):
            for net in found:
                seconds, peak = step_s(net, next(seeds))
                net["step_s"].append(seconds)
                net["peak_gb"] = max(net["peak_gb"], peak)
                print(
                    f"turn {turn + 1}: {net['preset']}, batch {net['batch_size']}: {1000 * seconds:.2f} ms a step, "
                    f"{net['batch_size'] / seconds:.0f} clips/s, {peak:.2f} GB",
                    flush=True,
                )
    told = {
        "gpu": torch.cuda.get_device_name(),
        "commit": commit(),
        "nets": found,
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
    }
    write_json(Path(path), told)


if __name__ == "__main__":
    main(*sys.argv[1:])
