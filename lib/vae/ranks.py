"""A training on several devices and nodes: one process a device, joined by Lightning's DDP. For story 04 on.

    one node:       fit -> launch -> python -m lib.vae.ranks FOLDER, which is rank 0 -> the other ranks, by Lightning
    several nodes:  fit -> launch -> srun -> python -m lib.vae.ranks FOLDER on every node, once a device

`fit` may be called anywhere: a notebook, papermill, a script, a test. Lightning by itself would not do in a kernel:
"ddp_notebook" forks, which CUDA does not survive, "ddp_spawn" is refused there, and "ddp" starts its own script again,
which would be the kernel. One node needs nothing but its devices; several need a SLURM allocation, in which `fit` is
called, and artifacts on a disk that all of them see. The ranks share the examples as the net sees them, float32 in
mapped files. Their noise differs, so results are those of one process but for the noise, and, on CPUs, for BatchNorm,
which counts each rank alone there.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lib import ROOT, BadInput
from lib.data.batches import ArrayDataset
from lib.runtime import stages as artifacts
from lib.vae.module import TrainingConfig

PARTS = ("train", "validation")
RAISED = {
    "BadInput": BadInput,
    "FloatingPointError": FloatingPointError,
    "OSError": OSError,
}  # told by a rank as it is


def launch(
    config: TrainingConfig,
    train: ArrayDataset,
    validation: ArrayDataset,
    folder: Path,
    progress: Any,
    lambda_1: float,
) -> None:
    """`training._train` on config.num_nodes x config.devices ranks; what they raise is raised here.

    An interrupt here ends them, and they end when this process does. RuntimeError: a rank died; it tells of what.
    """
    for name, data in zip(PARTS, (train, validation), strict=True):
        header = {
            "descr": "<f4",
            "fortran_order": False,
            "shape": (len(data), *map(int, data.shape)),
        }
        with open(
            folder / f"{name}.npy", "wb"
        ) as file:  # a mapped file would end the process on a full disk
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(data), 256):
                file.write(data.prepare(data.array[start : start + 256]).numpy().tobytes())
    artifacts.write_json(
        folder / "job.json", {"training": config.model_dump(), "lambda_1": lambda_1}
    )
    command = [sys.executable, "-m", __name__, str(folder)]
    if config.num_nodes > 1:
        if shutil.which("srun") is None or "SLURM_JOB_ID" not in os.environ:
            raise BadInput(
                f"num_nodes = {config.num_nodes}: needs a SLURM allocation of as many nodes; or take 1"
            )
        nodes = [f"--nodes={config.num_nodes}", f"--ntasks-per-node={config.devices}"]
        command = ["srun", *nodes, "--kill-on-bad-exit=1", *command]
    environment = {"OMP_NUM_THREADS": "1"} | os.environ
    for name in (
        "LOCAL_RANK",
        "RANK",
        "WORLD_SIZE",
        "NODE_RANK",
        "GROUP_RANK",
    ):  # of whatever started this process
        environment.pop(name, None)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        job = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        try:
            if failure := _follow(job, progress):
                raise RAISED[failure[0]](*failure[1:])
            if job.wait():
                log.seek(0)
                raise RuntimeError(f"a rank of {config.ranks} died:\n{log.read()[-4000:]}")
        finally:
            _end(job)
    for name in PARTS:
        (folder / f"{name}.npy").unlink()
    (folder / "job.json").unlink()


def _end(job: subprocess.Popen) -> None:
    """End a job and all that it started, at once if it does not by itself."""
    for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, None)):
        try:
            os.killpg(job.pid, number)
            job.wait(seconds)
        except ProcessLookupError:  # the group is gone
            break
        except subprocess.TimeoutExpired:
            continue
    job.wait()
    job.stdout.close()


def _follow(job: subprocess.Popen, progress: Callable[..., Any] | None) -> list[Any]:
    """Pass the steps that rank 0 tells to progress; returns the error that it told, [] without one."""
    told: Any = json.loads(
        job.stdout.readline() or "0"
    )  # nothing where the last step was done before

    def steps() -> Iterator[str]:
        nonlocal told
        for line in job.stdout:
            told = json.loads(line)
            if isinstance(told, list):
                return
            yield told

    if not isinstance(told, list):
        for _ in steps() if progress is None else progress(steps(), total=told, label=lambda: told):
            pass
    return told if isinstance(told, list) else []


def main(folder: Path) -> None:
    """One rank. Rank 0 tells how many steps are to do, then a label each; a list is an error."""
    from lib.vae import train as training  # which launches this module

    channel = os.fdopen(
        os.dup(1), "w", encoding="utf-8"
    )  # its end is that of this process: no other rank inherits it
    os.dup2(2, 1)

    def tell(message: object) -> None:
        if rank_zero_only.rank == 0:
            print(json.dumps(message), file=channel, flush=True)

    def progress(steps: range, total: int, label: Callable[[], str]) -> Iterator[int]:
        tell(total)
        for step in steps:
            tell(label())
            yield step

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    train, validation = (
        ArrayDataset(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in PARTS
    )
    try:
        training._train(
            TrainingConfig(**job["training"]), train, validation, folder, progress, job["lambda_1"]
        )
    except tuple(RAISED.values()) as error:
        tell(
            [
                next(name for name, known in RAISED.items() if isinstance(error, known)),
                *error.args[:2],
            ]
        )
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
