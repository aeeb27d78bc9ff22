"""What a training step takes on a GPU: `python benchmarks/gpu.py book/gpu.json`, where one is.

The page on cost multiplies it. `lib.vae.train` as the stories call it, in bf16 mixed precision,
on noise. Steps count from WARM on, within one epoch: start, validation and checkpoints are left
out. Each net is measured TURNS times, in turn.
"""

import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

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


def step_s(net: dict, seed: int) -> tuple[float, float]:
    """Mean seconds of a step after the first WARM, and the device's peak memory in GB."""
    count, steps, times = net["steps"] * net["batch_size"], net["steps"], []
    noise = np.random.default_rng(0).standard_normal((count, *net["shape"]), dtype=np.float32)
    noise = noise.astype(np.float16)
    standardiser = Standardiser().fit(noise[:64])

    def clock(ticks, **_):
        for tick in ticks:
            if tick in (WARM, steps - 1):
                torch.cuda.synchronize()
            times.append(perf_counter())
            yield tick

    training.progress = clock
    torch.cuda.reset_peak_memory_stats()
    config = TrainingConfig(
        preset=net["preset"],
        loss="calibrated",
        learning_rate=1e-4,
        schedule="constant",
        batch_size=net["batch_size"],
        seed=seed,
        accelerator="cuda",
    )
    sets = [ArrayDataset(x, standardiser=standardiser) for x in (noise, noise[:16])]
    training.train(config, Splits(*sets, None, key={"bench": seed}))
    peak_gb = torch.cuda.max_memory_allocated() / 1e9
    return (times[steps - 1] - times[WARM]) / (steps - 1 - WARM), peak_gb


def main(path: str) -> None:
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: run this on a machine with a GPU")
    nets = [net | {"step_s": [], "peak_gb": 0.0} for net in NETS]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ARTIFACTS_DIR"] = scratch
        for turn in range(TURNS):
            for place, net in enumerate(nets):
                seconds, peak_gb = step_s(net, turn * len(nets) + place)
                net["step_s"].append(seconds)
                net["peak_gb"] = max(net["peak_gb"], peak_gb)
                print(f"turn {turn + 1}: {net['preset']}: {1000 * seconds:.2f} ms a step")
    versions = {"python": sys.version.split()[0], "torch": torch.__version__}
    device = {"gpu": torch.cuda.get_device_name(), "commit": commit(), "versions": versions}
    write_json(Path(path), device | {"nets": nets})


if __name__ == "__main__":
    main(*sys.argv[1:])
