"""Processes that share each batch: gradients, numbers and alarms are those of one, and what happens to one ends all."""

import copy
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import nbclient
import nbformat
import numpy as np
import pytest
import torch
from test_training import (
    CONFIG,
    KEY,
    TEST,
    TRAIN,
    Killed,
    artifact_folder,
    blobs,
    finished,
    killing,
    same,
    weights,
)

from lib import ROOT, BadInput
from lib.data.batches import ArrayDataset, Batches
from lib.runtime import stages as artifacts
from lib.vae import evaluate as measures
from lib.vae import losses as objective
from lib.vae import networks as vae
from lib.vae import ranks
from lib.vae import train as training
from lib.vae.alarm import PATIENCE, CollapseAlarm
from lib.vae.module import Task, TrainingConfig

__all__ = ["artifact_folder"]  # a fixture
ODD = ArrayDataset(blobs(321, 0), 1 / 255)  # the last of its batches has one example
TWO = CONFIG.model_copy(update={"devices": 2, "accelerator": "cpu"})


class Ranks:
    """Threads that stand for ranks, and the sum over them for that of torch.distributed."""

    def __init__(self, count: int):
        self.count, self.barrier, self.own = (
            count,
            threading.Barrier(count, timeout=60),
            threading.local(),
        )
        self.parts: list = [None] * count

    def all_reduce(self, tensor: torch.Tensor) -> None:
        self.parts[self.own.rank] = tensor.clone()
        self.barrier.wait()
        total = sum(self.parts)
        self.barrier.wait()
        tensor.copy_(total)

    def reduce(self, tensor: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "sum"
        self.all_reduce(total := tensor.clone())
        return total

    def run(self, function) -> list:
        """What function(rank) returns on each rank."""

        def on(rank: int):
            self.own.rank = rank
            return function(rank)

        with ThreadPoolExecutor(self.count) as pool:
            return list(pool.map(on, range(self.count)))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [None, 4])
def test_the_ranks_share_each_batch(count: int, seed: int | None) -> None:
    whole = Batches(TEST, np.arange(23), 5, seed)
    shares = [Batches(TEST, np.arange(23), 5, seed) for _ in range(count)]
    for rank, share in enumerate(shares):
        share.rank, share.ranks = rank, count
    for index, (batch, *parts) in enumerate(zip(whole, *shares, strict=True)):
        sizes = [share.counted(index) for share in shares]
        assert sum(sizes) == len(batch) and max(sizes) - min(sizes) <= 1
        assert [len(part) for part in parts] == [max(size, 1) for size in sizes]
        kept = [part[:size] for part, size in zip(parts, sizes, strict=True)]
        assert torch.equal(torch.cat(kept).flatten(1).sort(0)[0], batch.flatten(1).sort(0)[0])


OBJECTIVES = [
    *({"objective": "report", "reduction": reduction} for reduction in ("mean-sum", "sum-sum", "mean-mean")),
    {"objective": "calibrated"}, {"objective": "free_bits"}, {"objective": "delta", "floor": 0.2},
    {"objective": "bernoulli", "beta": 1.0}, {"objective": "bernoulli", "beta": 1.0, "samples": 3, "preset": "mlp"},
    {"objective": "calibrated", "preset": "told"}, {"objective": "report", "preset": "told_picture"},
    {"objective": "calibrated", "preset": "refined"}, {"objective": "calibrated", "preset": "week4"},
]  # fmt: skip


@pytest.mark.parametrize(
    "chosen", OBJECTIVES, ids=lambda chosen: "-".join(map(str, chosen.values()))
)
@pytest.mark.parametrize(("count", "examples"), [(2, 8), (2, 7), (3, 7), (3, 2)])
def test_gradients_and_numbers_are_those_of_one_process(
    chosen: dict, count: int, examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without noise, and in eval mode. DDP takes the mean of the ranks' gradients, so that is compared."""
    for module in (vae, measures):
        monkeypatch.setattr(module, "draw", lambda mu, log_var, generator: mu)
    shape = {"told": (3, 10), "told_picture": (8, 10)}.get(chosen.get("preset"), (9, 10))
    array = (blobs(examples, 3)[:, : shape[0]] > 90).astype(
        np.float32
    )  # 0 and 1 stay so when they are binarised
    config = TrainingConfig(**({"preset": "small", "latent": 3, "beta": 0.3} | chosen))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = training._built(config, shape).eval()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
    if config.objective == "free_bits":  # parts of the batch lie on either side of this floor
        units = objective.kl_per_unit(*model.encode(torch.from_numpy(array)[:, None])).mean(0)
        config = config.model_copy(update={"floor": 1.001 * units[0].item()})
    group = Ranks(count)
    monkeypatch.setattr(torch.distributed, "all_reduce", group.all_reduce)

    def step(rank: int, ranks_: int) -> tuple[list[torch.Tensor], dict]:
        batches = Batches(ArrayDataset(array), np.arange(examples), examples)
        batches.rank, batches.ranks = rank, ranks_
        task = Task(copy.deepcopy(model), config.model_copy(update={"devices": ranks_}), 10)
        task.trainer = SimpleNamespace(train_dataloader=batches, global_step=5, global_rank=rank)
        task.training_step(next(iter(batches)), 0)["loss"].backward()
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in task.model.parameters()]
        return found, task.sums

    expected, sums = step(0, 1)
    shared = group.run(lambda rank: step(rank, count))
    assert any(gradient.norm() > 0 for gradient in expected)
    for index, gradient in enumerate(expected):
        mean = sum(found[index] for found, _ in shared) / count
        assert torch.allclose(
            mean, gradient, rtol=1e-3, atol=1e-5 * (1 + gradient.abs().max().item())
        )
    for _, found in shared:
        assert found.keys() == sums.keys() and found["n"] == examples
        for name, value in sums.items():
            assert torch.allclose(
                torch.as_tensor(found[name]), torch.as_tensor(value), rtol=1e-4
            ), name


def test_the_alarm_hears_all_ranks() -> None:
    """Each rank's code is constant, so its part looks empty; together they are not, or they are."""

    def alarms(rank: int, spread: float) -> tuple[list, list]:
        alarm = CollapseAlarm(None, 1.0, tell=lambda message: None)
        trainer = SimpleNamespace(
            world_size=2, estimated_stepping_batches=20, strategy=group, global_step=0
        )
        alarm.on_train_start(trainer, None)
        mu = torch.full((2 + rank, 2), spread * (1 - 2 * rank))
        for trainer.global_step in range(1, 21):
            alarm.on_train_batch_end(trainer, None, {"mu": mu, "log_var": torch.zeros_like(mu)})
        return alarm.alarms, alarm.looks

    group = Ranks(2)
    group.root_device = torch.device("cpu")
    for spread, told in ((0.15, 0), (0.05, 1)):
        (first, looks), (second, same_looks) = group.run(
            lambda rank, spread=spread: alarms(rank, spread)
        )
        assert first == second and looks == same_looks and len(first) == told
        assert [step for step, _ in first] == [PATIENCE] * told


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_a_killed_pair_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal batches and other noise; then the same pair, killed in its second epoch, with the same bytes in the end."""
    seen = []

    def progress(steps, total, label):
        seen.append(total)
        yield from steps
        seen.append(label())

    one = training.fit(CONFIG, ODD, TEST, KEY)
    two = training.fit(TWO, ODD, TEST, KEY, progress)
    assert seen == [33, "training small, calibrated, epoch 3 of 3"]
    assert two.folder != one.folder and two.alarms == one.alarms
    assert {path.name for path in two.folder.iterdir()} == {
        path.name for path in one.folder.iterdir()
    }
    for name in ("train_mse", "val_mse", "train_loss", "val_loss"):
        assert two.log()[name].to_numpy() == pytest.approx(one.log()[name].to_numpy(), rel=0.05), (
            name
        )
    assert two.log()["val_mse"].is_monotonic_decreasing
    assert not same(weights(one), weights(two))
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "killed"))
    with pytest.raises(Killed):
        training.fit(TWO, ODD, TEST, KEY, killing(15))
    assert not finished() and gone()
    resumed = training.fit(TWO, ODD, TEST, KEY, progress)
    assert (
        seen[2] == 22 and same(weights(two), weights(resumed)) and two.log().equals(resumed.log())
    )


def running() -> list[int]:
    """Process numbers of the ranks of this test's trainings."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:  # gone meanwhile
            continue
        if b"lib.vae.ranks" in words and str(artifacts.root()).encode() in b" ".join(words):
            found.append(int(path.name))
    return sorted(found)


def gone() -> bool:
    """Whether all ranks end: one hears of the end of another with its next step, or is killed at its own time."""
    for _ in range(1500):
        if not running():
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
def test_a_rank_that_dies_ends_all_and_is_told() -> None:
    def progress(steps, total, label):
        for count, step in enumerate(steps):
            if count == 3:
                os.kill(running()[-1], signal.SIGKILL)
            yield step

    with pytest.raises(RuntimeError, match="a rank of 2 died"):
        training.fit(TWO.model_copy(update={"epochs": 1000}), ODD, TEST, KEY, progress)
    assert gone() and not finished()


@pytest.mark.slow
def test_what_a_rank_raises_is_raised_here() -> None:
    config = TWO.model_copy(
        update={"objective": "report", "beta": 1e30, "learning_rate": 1e6, "schedule": "constant"}
    )
    with pytest.raises(BadInput, match=r"learning_rate = 1e\+06: training left"):
        training.fit(config, TRAIN, TEST, KEY)
    assert not [path for path in (artifacts.root() / "train").iterdir() if path.is_dir()]


@pytest.mark.slow
def test_ranks_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """As when a kernel is killed: nothing goes on writing into its folder."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from test_ranks import KEY, ODD, TEST, TWO, training

def progress(steps, total, label):
    for step in steps:
        print(step, flush=True)
        yield step

training.fit(TWO.model_copy(update={{"epochs": 1000}}), ODD, TEST, KEY, progress)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
    assert parent.stdout.readline()
    assert len(running()) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone()


@pytest.mark.slow
def test_several_devices_work_inside_a_kernel(tmp_path: Path) -> None:
    cell = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from test_ranks import KEY, ODD, TEST, TWO, training
print(len(training.fit(TWO.model_copy(update={{"epochs": 1}}), ODD, TEST, KEY).log()))"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    assert notebook.cells[0].outputs[-1]["text"] == "1\n" and len(notebook.cells[0].outputs) == 1


def test_devices_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(
        BadInput, match="devices = 3: this machine has 2 of accelerator 'cuda'; take at most 2"
    ):
        training.fit(CONFIG.model_copy(update={"devices": 3}), TRAIN, TEST, KEY)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(BadInput, match="devices = 2: this machine has 1 of accelerator 'mps'"):
        training.fit(
            CONFIG.model_copy(update={"devices": 2, "accelerator": "mps"}), TRAIN, TEST, KEY
        )
    monkeypatch.setattr(ranks.shutil, "which", lambda name: None)
    with pytest.raises(BadInput, match="num_nodes = 4: needs a SLURM allocation"):
        training.fit(
            CONFIG.model_copy(update={"num_nodes": 4, "accelerator": "cpu"}), TRAIN, TEST, KEY
        )
