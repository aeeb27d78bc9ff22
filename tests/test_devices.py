"""Other devices: nets and losses keep to theirs and bear bfloat16; two processes learn as one."""

from types import SimpleNamespace
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest
import torch
from test_vae_training import (
    CONFIG,
    TEST,
    Killed,
    artifact_folder,
    blobs,
    changed,
    killing,
    weights,
)
from torch.multiprocessing.spawn import ProcessException

from lib import ROOT, BadInput, vae
from lib.data.batches import ArrayDataset, Splits
from lib.data.digits import load_digits
from lib.vae import losses, training
from lib.vae.alarm import PATIENCE
from lib.vae.checkpoints import Run, net
from lib.vae.config import TrainingConfig
from lib.vae.module import VAEModule

__all__ = ["artifact_folder"]  # a fixture
CASES = [
    *({"loss": name} for name in losses.LOSSES),
    {"loss": "bernoulli", "beta": 1.0, "samples": 3, "preset": "mlp"},
]
PRESETS = ["repair", "mlp", "linear", "final", "refined"]
PRESETS += ["conditional_paired", "conditional_spectrogram_paired"]
CASES += [{"loss": "calibrated", "preset": preset} for preset in PRESETS]


def case_name(chosen: dict) -> str:
    return "-".join(map(str, chosen.values()))


def examples(config: TrainingConfig, count: int = 12) -> ArrayDataset:
    """Pictures of 0 to 1, of a shape that the net takes."""
    rows = {"conditional_paired": 3, "conditional_spectrogram_paired": 8}.get(config.preset, 9)
    return ArrayDataset(blobs(count, 2)[:, :rows], 1 / 255)


def stand_in(step: int) -> SimpleNamespace:
    """A trainer of one device at a step of ten."""
    strategy = SimpleNamespace(reduce=lambda tensor, reduce_op: tensor)
    return SimpleNamespace(
        global_step=step, global_rank=0, current_epoch=0, sanity_checking=False, strategy=strategy,
        estimated_stepping_batches=10 * PATIENCE, is_global_zero=True,
    )  # fmt: skip


@pytest.mark.parametrize("chosen", CASES, ids=case_name)
def test_a_step_on_another_device_keeps_to_it(chosen, monkeypatch) -> None:
    """PyTorch's device "meta" computes nothing, and refuses as a GPU does to mix with the CPU."""
    monkeypatch.setattr(VAEModule, "_binarised", lambda self, x: x)  # it looks at values
    equalise = 0.0 if chosen["loss"] == "bernoulli" else 0.01
    fields = {"latent": 3, "beta": 0.3, "floor": 0.2, "equalise": equalise} | chosen
    config = TrainingConfig(**fields)
    data = examples(config)
    module = VAEModule(net(config, data.shape), config, 10).to("meta")
    module.trainer = stand_in(5)
    x = data[np.arange(12)].to("meta")
    with pytest.raises(RuntimeError, match="device"):
        x + torch.ones(1, 10)
    out = module.training_step(x, 0)
    out["loss"].backward()
    module.validation_step(x, 0)
    assert {value.device.type for value in out.values()} == {"meta"}
    assert all(parameter.grad is not None for parameter in module.model.parameters())


@pytest.mark.parametrize("chosen", CASES, ids=case_name)
def test_a_step_in_bfloat16_is_near_the_step_in_float32(chosen: dict) -> None:
    """Autocast as by Lightning: losses and sums are float32, gradients reach every weight."""
    config = TrainingConfig(**({"latent": 3, "beta": 0.3} | chosen))
    data = examples(config)
    steps = {}
    for mixed in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = VAEModule(net(config, data.shape).eval(), config, 10)
            for value in module.model.parameters():  # some start at zero, where all is exact
                value.data += 0.05 * torch.randn(value.shape)
            module.trainer = stand_in(5)
            module.noise.manual_seed(1)
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                out = module.training_step(data[np.arange(12)], 0)
        assert {value.dtype for value in out.values()} == {torch.float32}
        assert module.sums["train"].dtype == torch.float32
        out["loss"].backward()
        gradients = [parameter.grad for parameter in module.model.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        steps[mixed] = out["loss"].item()
    assert steps[True] == pytest.approx(steps[False], rel=0.05)


TWO = changed(CONFIG, devices=2, accelerator="cpu")
ODD = Splits(ArrayDataset(blobs(321, 0), 1 / 255), TEST, TEST, {"data": "odd"})


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_a_killed_pair_goes_on(tmp_path, monkeypatch) -> None:
    """Equal batches and other noise; a pair killed in its second epoch ends with the same bytes."""
    one, two = vae.train(CONFIG, ODD), vae.train(TWO, ODD)
    assert two.folder != one.folder and two.alarms == one.alarms
    for name in ("train_mse", "val_mse", "train_loss", "val_loss"):
        curve = one.log()[name].to_numpy()
        assert two.log()[name].to_numpy() == pytest.approx(curve, rel=0.05), name
    assert two.log()["val_mse"].is_monotonic_decreasing
    assert any(not torch.equal(value, weights(two)[name]) for name, value in weights(one).items())
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "killed"))
    with monkeypatch.context() as patch, pytest.raises(ProcessException):
        patch.setattr(training, "progress", killing(15))
        vae.train(TWO, ODD)
    resumed = vae.train(TWO, ODD)
    assert two.log().equals(resumed.log())
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(two).items())


@pytest.mark.slow
def test_a_user_s_mistake_in_one_of_two_processes_is_raised_here() -> None:
    config = changed(TWO, loss="report", beta=1e30, learning_rate=1e6, schedule="constant")
    with pytest.raises(BadInput, match=r"^learning_rate = 1e\+06: training left .*a smaller one$"):
        vae.train(config, ODD)


@pytest.mark.slow
def test_several_devices_work_inside_a_kernel() -> None:
    cell = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from test_devices import ODD, TWO, vae
print(len(vae.train(TWO.model_copy(update={{"epochs": 1}}), ODD).log()))"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    assert notebook.cells[0].outputs[-1]["text"] == "1\n" and len(notebook.cells[0].outputs) == 1


ON_CUDA = [
    *({"beta": 1e-3}, {"loss": "delta", "floor": 0.2}),
    *({"loss": "calibrated", "preset": preset} for preset in ("repair", "refined", "final")),
    {"loss": "bernoulli", "preset": "mlp", "samples": 5},
]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def trained(accelerator: str, key: int = 0, **chosen: Any) -> Run:
    fields = {"latent": 16, "epochs": 2, "learning_rate": 3e-3, "seed": 3} | chosen
    x, _ = load_digits("train")
    train, validation = (ArrayDataset(part, scale=1 / 255) for part in (x[:4000], x[-1000:]))
    config = TrainingConfig(accelerator=accelerator, **fields)
    return vae.train(config, Splits(train, validation, None, {"digits": key}))


@needs_cuda
@pytest.mark.parametrize("chosen", ON_CUDA, ids=case_name)
def test_a_training_on_cuda_ends_where_one_on_the_cpu_ends(chosen: dict) -> None:
    """In bf16 mixed precision: 4,000 digits, twice."""
    here, there = (trained(accelerator, **chosen).log().iloc[-1] for accelerator in ("cpu", "cuda"))
    for name in ("val_mse", "val_kl"):
        assert there[name] == pytest.approx(here[name], rel=0.05), name


@needs_cuda
def test_a_training_on_cuda_that_was_killed_ends_with_the_same_weights(monkeypatch):
    whole = weights(trained("cuda", 1, epochs=4, beta=1e-3))
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(training, "progress", killing(40))  # in the second epoch
        trained("cuda", 2, epochs=4, beta=1e-3)
    again = weights(trained("cuda", 2, epochs=4, beta=1e-3))
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
