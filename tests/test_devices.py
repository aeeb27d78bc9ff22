"""On another device: every net and objective, on a stand-in that computes on the CPU and refuses to mix with it."""

from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_ranks import OBJECTIVES
from test_training import Killed, artifact_folder, blobs
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lib.data.batches import ArrayDataset, Batches
from lib.data.digits import load_digits
from lib.vae import evaluate as measures
from lib.vae import train as training
from lib.vae.alarm import PATIENCE, CollapseAlarm
from lib.vae.module import Keep, Task, TrainingConfig

__all__ = ["artifact_folder"]  # a fixture
DEVICE = torch.device("lazy:0")  # a kind of device that autograd knows and no machine has
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
PRESETS = ["small", "repair", "mlp", "linear", "final", "told_paired", "told_picture_paired"]


class Elsewhere(torch.Tensor):
    """A tensor of DEVICE; its numbers are kept on the CPU."""

    @staticmethod
    def __new__(cls, kept: torch.Tensor) -> "Elsewhere":
        return torch.Tensor._make_wrapper_subclass(
            cls,
            kept.size(),
            strides=kept.stride(),
            storage_offset=kept.storage_offset(),
            dtype=kept.dtype,
            device=DEVICE,
        )

    def __init__(self, kept: torch.Tensor):
        self.kept = kept

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return computed(operation, args, kwargs or {})


class Machine(TorchDispatchMode):
    """With DEVICE in it, for tensors that are made there, too."""

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return computed(operation, args, kwargs or {})


def computed(operation: Any, args: tuple, kwargs: dict) -> Any:
    """An operation on the CPU, with its result where it belongs. RuntimeError: what a GPU would refuse."""
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    away = [isinstance(value, Elsewhere) for value in tensors]
    mixed = any(away) and any(value.dim() and not isinstance(value, Elsewhere) for value in tensors)
    if mixed and operation not in MOVES:
        raise RuntimeError(f"{operation}: expected all tensors to be on the same device")
    if isinstance(kwargs.get("generator"), torch.Generator) and (
        any(away) or kwargs.get("device") == DEVICE
    ):
        raise RuntimeError(f"{operation}: expected a generator of {DEVICE}")
    wanted = kwargs.get("device")
    there = any(away) if wanted is None else torch.device(wanted) == DEVICE
    if operation is torch.ops.aten.copy_.default:
        there = away[0]
    inner = kwargs | ({"device": torch.device("cpu")} if wanted is not None else {})
    found = operation(
        *tree_map_only(Elsewhere, lambda value: value.kept, args),
        **tree_map_only(Elsewhere, lambda value: value.kept, inner),
    )
    if not there:
        return found
    known = {
        id(value.kept): value for value in tensors if isinstance(value, Elsewhere)
    }  # of what is done in place
    return tree_map_only(
        torch.Tensor, lambda new: known[id(new)] if id(new) in known else Elsewhere(new), found
    )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    optimizer = import_module("torch.optim.optimizer")
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: ["cpu", "lazy"])
    with Machine():
        yield


def examples(config: TrainingConfig, count: int = 12) -> ArrayDataset:
    """Pictures of 0 to 1, of a shape that the net takes."""
    rows = (
        3
        if config.preset in ("told", "told_paired")
        else 8
        if config.preset.startswith("told")
        else 9
    )
    return ArrayDataset(blobs(count, 2)[:, :rows], 1 / 255)


def test_the_stand_in_refuses_what_a_gpu_would(machine: None) -> None:
    here, there = torch.ones(3), torch.ones(3).to(DEVICE)
    assert {there.device, (there + there).device, torch.zeros(2, device=DEVICE).device} == {DEVICE}
    assert (
        type(there.cpu()) is torch.Tensor
        and (2 * there).cpu().tolist() == [2, 2, 2]
        and float(there.sum()) == 3
    )
    for wrong in (
        lambda: here + there,
        lambda: there @ here,
        lambda: there.copy_(here) + here,
        lambda: torch.randn(3, generator=torch.Generator(), device=DEVICE),
        lambda: torch.bernoulli(there, generator=torch.Generator()),
    ):
        with pytest.raises(RuntimeError, match="expected"):
            wrong()


CASES = [*OBJECTIVES, *({"objective": "calibrated", "preset": preset} for preset in PRESETS)]


@pytest.mark.parametrize("chosen", CASES, ids=lambda chosen: "-".join(map(str, chosen.values())))
def test_a_step_there_is_the_step_here(chosen: dict, machine: None) -> None:
    """Losses, weights after two steps, numbers, the alarm's sums and the measures; nothing moves there by itself."""
    config = TrainingConfig(
        **({"preset": "small", "latent": 3, "beta": 0.3, "equalise": 0.01} | chosen)
    )
    config = config.model_copy(update={"equalise": 0.0} if config.objective == "bernoulli" else {})
    data = examples(config)
    found = {}
    for device in (torch.device("cpu"), DEVICE):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = training._built(config, data.shape)
            task = Task(model, config, 10).to(device)
            task.trainer = SimpleNamespace(
                global_step=5, global_rank=0, current_epoch=0, sanity_checking=False
            )
            optimiser = task.configure_optimizers()[0][0]
            alarm, watched = (
                CollapseAlarm(None, 1.0, tell=lambda message: None),
                SimpleNamespace(
                    world_size=1, estimated_stepping_batches=10 * PATIENCE, global_step=0
                ),
            )
            task._start(0)
            losses = []
            for x in Batches(data, np.arange(len(data)), 6, 1):
                out = task.training_step(x.to(device), 0)
                assert out["loss"].device == device
                optimiser.zero_grad()
                out["loss"].backward()
                optimiser.step()
                watched.global_step += 1
                alarm.on_train_batch_end(watched, task, out)
                losses.append(float(out["loss"].detach()))
            row = task._finish("train")
            task._start(1)
            task.validation_step(data.__getitems__([0, 1]).to(device), 0)
            row |= task._finish("val")
        assert {value.device for value in model.state_dict().values()} == {device}
        state = {name: value.cpu() for name, value in model.state_dict().items()}
        assert {value.device.type for value in alarm.sums.values()} == {"cpu"}
        measured = measures.evaluate(model, data) | {"mu": measures.embed(model, data)[0]}
        measured["x_hat"] = measures.reconstruct(
            model, data.__getitems__([0, 1]), sample=True
        ).numpy()
        if config.objective == "bernoulli":
            measured["nll"] = measures.importance_nll(model, data, 3)
        found[device.type] = {"losses": losses, **row, **state, **alarm.sums, **measured}
    here, there = found["cpu"], found["lazy"]
    assert here.keys() == there.keys() and np.ptp(here["losses"]) > 0
    for name, value in here.items():
        assert np.allclose(np.asarray(there[name]), np.asarray(value), rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("chosen", CASES, ids=lambda chosen: "-".join(map(str, chosen.values())))
def test_a_step_in_bfloat16_is_near_the_step_in_float32(chosen: dict) -> None:
    """Autocast, as Lightning's "bf16-mixed" does: losses and sums are float32, gradients are finite and reach all."""
    config = TrainingConfig(**({"preset": "small", "latent": 3, "beta": 0.3} | chosen))
    data = examples(config)
    losses = {}
    for mixed in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            task = Task(training._built(config, data.shape).eval(), config, 10)
            for value in (
                task.model.parameters()
            ):  # some start at zero, and would not tell one precision from another
                value.data += 0.05 * torch.randn(value.shape)
            task.trainer = SimpleNamespace(global_step=5, global_rank=0, current_epoch=0)
            task.noise.manual_seed(1)
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                out = task.training_step(data.__getitems__(np.arange(12)), 0)
        assert {value.dtype for value in out.values()} == {torch.float32}
        assert {value.dtype for name, value in task.sums.items() if name != "n"} == {torch.float32}
        out["loss"].backward()
        gradients = [parameter.grad for parameter in task.model.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        losses[mixed] = out["loss"].item()
    assert (
        losses[True] != losses[False] or config.preset == "refined"
    )  # whose linear part is zero until it is fitted
    assert losses[True] == pytest.approx(losses[False], rel=0.05)


needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device here: its own tests are skipped"
)


def fitted(accelerator: str, key: int = 0, **chosen: Any) -> training.Fitted:
    fields = {
        "preset": "small",
        "latent": 16,
        "epochs": 2,
        "batch_size": 128,
        "learning_rate": 3e-3,
        "seed": 3,
    }
    config = TrainingConfig(**(fields | {"accelerator": accelerator} | chosen))
    pictures = load_digits("train")[0]
    parts = [ArrayDataset(part, scale=1 / 255) for part in (pictures[:4000], pictures[-1000:])]
    return training.fit(config, *parts, {"digits": key})


@needs_cuda
@pytest.mark.parametrize(
    "chosen",
    [
        {"beta": 1e-3},
        {"beta": 1.0},
        {"objective": "calibrated", "preset": "repair"},
        {"objective": "delta", "floor": 0.2},
        {"objective": "free_bits", "beta": 1e-3, "floor": 0.1},
        {"objective": "bernoulli", "preset": "mlp"},
        {"objective": "bernoulli", "preset": "mlp", "samples": 5},
        {"objective": "calibrated", "preset": "refined"},
        {"objective": "calibrated", "preset": "final"},
    ],
    ids=lambda chosen: "-".join(map(str, chosen.values())),
)
def test_a_training_on_cuda_ends_where_one_on_the_cpu_ends(chosen: dict) -> None:
    """In bf16 mixed precision: 4,000 digits, twice."""
    here, there = (fitted(accelerator, **chosen).log().iloc[-1] for accelerator in ("cpu", "cuda"))
    for name in ("val_mse", "val_kl"):
        assert there[name] == pytest.approx(here[name], rel=0.05), name


@needs_cuda
def test_a_training_on_cuda_that_was_killed_ends_with_the_same_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = fitted("cuda", 1, epochs=4, beta=1e-3).model().state_dict()
    keep = Keep.on_train_epoch_end

    def killing(self: Keep, trainer: Any, task: Task) -> None:
        keep(self, trainer, task)
        if task.current_epoch == 1:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Keep, "on_train_epoch_end", killing)
        fitted("cuda", 2, epochs=4, beta=1e-3)
    again = fitted("cuda", 2, epochs=4, beta=1e-3).model().state_dict()
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
