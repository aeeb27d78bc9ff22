"""Training: the same weights for the same seed, after a kill too; collapse and repair; measures by their definition."""

import errno
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lib.vae.train import ArrayDataset, TrainingConfig
from pydantic import ValidationError

from lib import ROOT, BadInput, theory
from lib.runtime import stages as artifacts
from lib.vae import evaluate as measures
from lib.vae import losses as objective
from lib.vae import networks as vae
from lib.vae import train as training
from lib.vae.module import Task

CONFIG = TrainingConfig(
    epochs=3, batch_size=32, latent=3, objective="calibrated", learning_rate=5e-3
)
KEY = {"data": "blobs"}


@pytest.fixture(autouse=True)
def artifact_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path))


def blobs(n: int, seed: int) -> np.ndarray:
    """Pictures (n, 9, 10) uint8 of one soft spot each, at a random place and brightness."""
    rng = np.random.default_rng(seed)
    bins, frames = np.mgrid[:9, :10]
    row, column, level = (
        rng.uniform(low, high, (n, 1, 1)) for low, high in ((1, 8), (1, 9), (0.3, 1))
    )
    return (255 * level * np.exp(-((bins - row) ** 2 + (frames - column) ** 2) / 6)).astype(
        np.uint8
    )


TRAIN, TEST = ArrayDataset(blobs(320, 0), 1 / 255), ArrayDataset(blobs(100, 1), 1 / 255)


class Killed(BaseException):
    """Stands for the signal that ends a process: not an Exception."""


def killing(after: int):
    """A progress that dies after so many steps."""

    def progress(steps, total, label):
        for count, step in enumerate(steps):
            if count == after:
                raise Killed
            yield step

    return progress


def killing_copy(*_, **__):
    """Stands for a kill between training and storing."""
    raise Killed


def finished() -> list[Path]:
    """Folders of whole training runs."""
    return [
        path
        for path in artifacts.root().glob("train/*")
        if path.is_dir() and not path.name.startswith(".")
    ]


def weights(fitted: training.Fitted) -> dict[str, torch.Tensor]:
    return fitted.model().state_dict()


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_same_seed_same_bytes_and_another_seed_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = training.fit(CONFIG, TRAIN, TEST, KEY)
    other = training.fit(CONFIG.model_copy(update={"seed": 1}), TRAIN, TEST, KEY)
    assert not same(weights(first), weights(other))
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "again"))
    torch.manual_seed(99)  # the run must not hear the global generator
    again = training.fit(CONFIG, TRAIN, TEST, KEY)
    for name in ("model.pt", "log.csv"):
        assert (first.folder / name).read_bytes() == (again.folder / name).read_bytes()
    assert first.folder.name == again.folder.name and first.folder != again.folder


@pytest.mark.parametrize(
    ("preset", "after", "left"),  # ten steps an epoch; week4 has BatchNorm
    [("small", 0, 30), ("week4", 13, 20), ("small", 20, 20), ("week4", 21, 10), ("small", None, 0)],
)
def test_a_killed_run_ends_as_one_that_was_not(
    preset: str, after: int | None, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at once, within an epoch, before and after its end is kept, and with training done but not yet stored."""
    config = CONFIG.model_copy(update={"preset": preset})
    whole = training.fit(config, TRAIN, TEST, KEY)
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "killed"))
    with pytest.raises(Killed), pytest.MonkeyPatch.context() as patch:
        if after is None:
            patch.setattr(training.shutil, "copy2", killing_copy)
        training.fit(config, TRAIN, TEST, KEY, None if after is None else killing(after))
    folder = tmp_path / "killed" / "train"
    assert not finished()
    seen = []

    def progress(steps, total, label):
        seen.append(total)
        return steps

    resumed = training.fit(config, TRAIN, TEST, KEY, progress)
    assert seen == [left]
    assert same(weights(whole), weights(resumed))
    assert whole.log().equals(resumed.log())
    assert not [
        path for path in folder.iterdir() if path.is_dir() and path.name.startswith(".partial-")
    ]


def test_a_finished_run_is_found_not_repeated() -> None:
    first = training.fit(CONFIG, TRAIN, TEST, KEY)
    stamp = (first.folder / "model.pt").stat().st_mtime_ns
    again = training.fit(CONFIG, TRAIN, TEST, KEY, killing(0))
    assert again.folder == first.folder and (again.folder / "model.pt").stat().st_mtime_ns == stamp
    other = training.fit(CONFIG, TRAIN, TEST, {"data": "others"})
    assert other.folder != first.folder


def test_log_and_best_weights(capfd: pytest.CaptureFixture) -> None:
    """One row an epoch; the weights kept are those of the best row; nothing is printed."""
    opposite = ArrayDataset(
        -blobs(100, 1).astype(np.float32), 1 / 255
    )  # the more is learnt, the worse it goes here
    config = CONFIG.model_copy(update={"epochs": 8, "schedule": "constant"})
    fitted = training.fit(config, TRAIN, opposite, KEY)
    log = fitted.log()
    assert list(log) == [
        "epoch",
        "train_loss",
        "train_mse",
        "train_kl",
        "val_loss",
        "val_mse",
        "val_kl",
    ]
    assert list(log["epoch"]) == list(range(1, 9))
    assert np.allclose(log["val_loss"], 45 * np.log(log["val_mse"]) + log["val_kl"])
    found = measures.evaluate(fitted.model(), opposite)
    least = log["val_loss"].cummin()
    best = log[log["val_loss"] <= least + 0.01 * least.abs()].iloc[-1]  # of equal epochs the last
    assert best["epoch"] < 8  # or this test could not tell best from last
    assert found["kl"] == pytest.approx(best["val_kl"], rel=1e-5)  # no noise enters the KL
    assert found["mse_sampled"] == pytest.approx(best["val_mse"], rel=0.1)
    assert capfd.readouterr() == ("", "")
    assert fitted.card["config"]["training"]["accelerator"] in ("cpu", "cuda", "mps")


def test_in_a_cycle_only_its_last_fifth_competes() -> None:
    """Earlier epochs take steps so large that a good validation loss is luck: here the first is best, and not kept."""
    opposite = ArrayDataset(-blobs(100, 1).astype(np.float32), 1 / 255)
    fitted = training.fit(CONFIG.model_copy(update={"epochs": 5}), TRAIN, opposite, KEY)
    log = fitted.log()
    assert log["val_loss"].idxmin() < 4
    assert measures.evaluate(fitted.model(), opposite)["kl"] == pytest.approx(
        log["val_kl"].iloc[4], rel=1e-5
    )


def test_collapse_at_beta_1_and_not_when_calibrated() -> None:
    """The report's finding in miniature: beyond the edge one image for all, and none with the calibrated loss."""
    report = TrainingConfig(epochs=15, batch_size=32, latent=3)
    collapsed = measures.evaluate(training.fit(report, TRAIN, TEST, KEY).model(), TEST)
    mean = TRAIN.array.mean(0) / 255
    trivial = np.mean((TEST.array / 255 - mean) ** 2)
    assert collapsed["kl"] < 0.01 and collapsed["active_units"] == 0
    assert collapsed["mse_mu"] == pytest.approx(trivial, rel=0.02)
    config = report.model_copy(update={"objective": "calibrated"})
    repaired = measures.evaluate(training.fit(config, TRAIN, TEST, KEY).model(), TEST)
    assert repaired["active_units"] == 3 and repaired["mse_mu"] < 0.5 * trivial


def test_beta_0_is_an_autoencoder() -> None:
    config = TrainingConfig(epochs=4, batch_size=32, latent=3, beta=0)
    fitted = training.fit(config, TRAIN, TEST, KEY)
    log = fitted.log()
    assert (
        np.array_equal(log["val_loss"], log["val_mse"])
        and log["val_mse"].iloc[-1] < log["val_mse"].iloc[0]
    )


def test_evaluate_is_what_it_says() -> None:
    model = vae.build("small", (9, 10), 3)  # in training mode: evaluate has to see to that
    found = measures.evaluate(model, TEST, seed=4, batch_size=7)
    assert found["kl_per_unit"].shape == found["mu_variance"].shape == (3,)
    x = torch.from_numpy(TEST.array / 255).float().unsqueeze(1)
    model.eval()
    with torch.inference_mode():
        mu, log_var = model.encode(x)
        generator = torch.Generator().manual_seed(4)
        noise = torch.cat([torch.randn((len(part), 3), generator=generator) for part in x.split(7)])
        x_hat = model.decode(mu + (log_var / 2).exp() * noise)
        mse_mu = (model.decode(mu) - x).square().mean().item()
        kl = objective.kl_sum_latent(mu, log_var)
    mse = (x_hat - x).square().mean().item()
    assert found["mse_mu"] == pytest.approx(mse_mu, rel=1e-5)
    assert found["mse_sampled"] == found["sigma2"] == pytest.approx(mse, rel=1e-5)
    assert found["kl"] == pytest.approx(kl.mean().item(), rel=1e-5)
    assert found["kl_per_unit"].sum() == pytest.approx(found["kl"])
    assert found["active_units"] == int((mu.var(0) > 0.01).sum())
    assert found["neg_elbo"] == pytest.approx(
        45 * (math.log(2 * math.pi * mse) + 1) + kl.mean().item(), rel=1e-5
    )
    fixed = measures.evaluate(model, TEST, seed=4, sigma2=0.5)
    assert fixed["neg_elbo"] == pytest.approx(
        45 * (math.log(math.pi) + 2 * mse) + kl.mean().item(), rel=1e-2
    )
    again = measures.evaluate(model, TEST, seed=4, batch_size=7)
    assert json.dumps(found, default=np.ndarray.tolist) == json.dumps(
        again, default=np.ndarray.tolist
    )


def test_a_run_keeps_what_evaluate_found() -> None:
    first = training.run(CONFIG, TRAIN, TEST, TEST, KEY)
    expected = measures.evaluate(first.fitted.model(), TEST)
    assert first.metrics.keys() == expected.keys()
    assert all(np.array_equal(first.metrics[name], expected[name]) for name in expected)
    again = training.run(CONFIG, TRAIN, TEST, TEST, KEY, killing(0))
    assert again.folder == first.folder
    half = ArrayDataset(TEST.array[:50], 1 / 255)
    assert training.run(CONFIG, TRAIN, TEST, half, KEY).metrics["mse_mu"] != first.metrics["mse_mu"]


def test_active_units_are_burdas() -> None:
    """Variance of the mean over the data above 0.01: here two units by construction, one just below the line."""
    model = vae.build("small", (9, 10), 3)
    mu, _ = measures.embed(model, TEST)
    with torch.no_grad():
        scale = torch.tensor([0.101, 0.5, 0.099]) / torch.from_numpy(mu.std(0))
        model.mu.weight.mul_(scale[:, None])
        model.mu.bias.zero_()
    found = measures.evaluate(model, TEST)
    assert found["active_units"] == 2
    assert np.allclose(np.sqrt(found["mu_variance"]), [0.101, 0.5, 0.099], rtol=1e-3)


def test_embed_and_reconstruct_in_order() -> None:
    model = vae.build("small", (9, 10), 3)
    mu, log_var = measures.embed(model, TEST, batch_size=9)
    x = TEST.__getitems__(list(range(100)))
    with torch.inference_mode():
        expected = model.eval().encode(x)
    assert np.allclose(mu, expected[0], atol=1e-6) and np.allclose(log_var, expected[1], atol=1e-6)
    assert torch.allclose(
        measures.reconstruct(model, x), model.decode(torch.from_numpy(mu)), atol=1e-5
    )
    drawn = [measures.reconstruct(model, x, sample=True, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_a_damaged_file_is_named_and_never_used() -> None:
    fitted = training.fit(CONFIG, TRAIN, TEST, KEY)
    path = fitted.folder / "model.pt"
    whole = path.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], whole[:-1] + b"x"):
        path.write_bytes(broken)
        with pytest.raises(BadInput, match="model.pt: damaged.*delete .* and run again"):
            fitted.model()
    path.unlink()
    with pytest.raises(BadInput, match="model.pt: missing.*delete"):
        fitted.model()


def test_divergence_names_the_learning_rate() -> None:
    config = TrainingConfig(
        epochs=2, batch_size=32, beta=1e30, learning_rate=1e6, schedule="constant"
    )
    with pytest.raises(BadInput, match=r"learning_rate = 1e\+06: training left"):
        training.fit(config, TRAIN, TEST, KEY)
    assert not [path for path in (artifacts.root() / "train").iterdir() if path.is_dir()]


def test_an_interrupt_is_one_and_the_next_is_heard() -> None:
    def progress(steps, total, label):
        yield 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.fit(CONFIG, TRAIN, TEST, KEY, progress)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_bad_input_is_named() -> None:
    with pytest.raises(BadInput, match="did you mean 'small'"):
        training.fit(TrainingConfig(preset="smal"), TRAIN, TEST, KEY)
    with pytest.raises(BadInput, match="validation of shape"):
        training.fit(CONFIG, TRAIN, ArrayDataset(np.zeros((4, 9, 9), np.uint8)), KEY)
    for shape in ((0, 9, 10), (9, 10)):
        with pytest.raises(BadInput, match="array of shape"):
            ArrayDataset(np.zeros(shape))
    if not torch.cuda.is_available():
        with pytest.raises(BadInput, match="accelerator = 'cuda'"):
            training.fit(CONFIG.model_copy(update={"accelerator": "cuda"}), TRAIN, TEST, KEY)
    for wrong in (
        {"beta": -1},
        {"epochs": 0},
        {"learning_rate": 0},
        {"betaa": 1},
        {"beta": math.inf},
    ):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            TrainingConfig(**wrong)


@pytest.mark.parametrize(
    ("logger", "pattern"), [("tensorboard", "events.out.*"), ("wandb_offline", "*.wandb")]
)
def test_loggers_write_offline(logger: str, pattern: str) -> None:
    if logger == "wandb_offline":
        pytest.importorskip("wandb")
    fitted = training.fit(
        CONFIG.model_copy(update={"epochs": 1, "logger": logger}), TRAIN, TEST, KEY
    )
    assert list(fitted.folder.rglob(pattern)) and len(fitted.log()) == 1


def test_two_trainings_of_one_kernel_write_two_wandb_runs() -> None:
    """A run that is left open takes the curves of the next one."""
    pytest.importorskip("wandb")
    config = CONFIG.model_copy(update={"epochs": 1, "logger": "wandb_offline"})
    fits = [
        training.fit(config.model_copy(update={"seed": seed}), TRAIN, TEST, KEY) for seed in (1, 2)
    ]
    found = [
        [path.name for path in fitted.folder.glob("wandb/offline-run-*/*.wandb")] for fitted in fits
    ]
    assert [len(names) for names in found] == [1, 1] and found[0] != found[1]


@pytest.mark.parametrize("logger", ["wandb", "wandb_offline"])
def test_a_logger_that_is_not_installed_is_named(
    logger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(BadInput, match=rf"logger = '{logger}': .*pip install -e '\.\[loggers\]'"):
        training.fit(CONFIG.model_copy(update={"logger": logger}), TRAIN, TEST, KEY)
    assert not finished()


@pytest.mark.parametrize(
    ("accelerator", "precision"), [("cpu", "32-true"), ("mps", "32-true"), ("cuda", "bf16-mixed")]
)
def test_precision_is_mixed_on_cuda_only(
    accelerator: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trainer(**settings: object) -> None:
        raise Killed(settings)

    monkeypatch.setattr(training, "_accelerator", lambda wanted, devices: accelerator)
    monkeypatch.setattr(training.pl, "Trainer", trainer)
    with pytest.raises(Killed) as stop:
        training.fit(CONFIG, TRAIN, TEST, KEY)
    settings = stop.value.args[0]
    assert (settings["accelerator"], settings["devices"], settings["precision"]) == (
        accelerator,
        1,
        precision,
    )


def test_no_step_looks_for_nvidias_library_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, found = [], torch.cuda._raw_device_count_nvml
    monkeypatch.setattr(torch.cuda, "_raw_device_count_nvml", lambda: looked.append(1) or found())
    counts = []
    for epochs in (1, 3):  # of ten steps
        looked.clear()
        training.fit(CONFIG.model_copy(update={"epochs": epochs}), TRAIN, TEST, KEY)
        counts.append(len(looked))
    assert counts[0] == counts[1] < 10


def test_a_training_takes_one_thread() -> None:
    seen = set()

    def progress(steps, total, label):
        for step in steps:
            seen.add(torch.get_num_threads())
            yield step

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        training.fit(CONFIG.model_copy(update={"epochs": 1}), TRAIN, TEST, KEY, progress)
    finally:
        torch.set_num_threads(before)
    assert seen == {1}


@pytest.mark.parametrize("file", ["model.pt", "last.ckpt"])
def test_a_full_disk_is_told_and_leaves_nothing(file: str) -> None:
    """Too little room for the weights, or for the state, which is larger; with more room the run is made."""
    config = CONFIG.model_copy(update={"epochs": 1})
    size = sum(value.nbytes for value in vae.build("small", (9, 10), 3).state_dict().values())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, ({"model.pt": size // 2, "last.ckpt": 2 * size}[file], hard)
    )
    try:
        with pytest.raises(
            BadInput, match="File too large while stage 'train' was written; free some space"
        ):
            training.fit(config, TRAIN, TEST, KEY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    written = {path.name for path in artifacts.root().glob("train/.partial-*/*")}
    assert (
        not finished() and file not in written and ("model.pt" in written) == (file == "last.ckpt")
    )
    assert len(training.fit(config, TRAIN, TEST, KEY).log()) == 1


def test_a_disk_that_is_full_after_training_loses_no_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    copyfile = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(BadInput, match="No space left on device while stage 'train'"):
        training.fit(CONFIG, TRAIN, TEST, KEY)
    assert not finished()
    monkeypatch.setattr(shutil, "copyfile", copyfile)
    seen = []

    def progress(steps, total, label):
        seen.append(total)
        return steps

    assert len(training.fit(CONFIG, TRAIN, TEST, KEY, progress).log()) == 3 and seen == [0]


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory by kind is told by Linux only"
)
def test_memory_does_not_grow_with_the_number_of_clips(tmp_path: Path) -> None:
    """Memory of its own, at every step: pages of the mapped file, which the system takes back, are not counted."""
    code = """
import sys
from pathlib import Path
import numpy as np
from lib.vae.train import ArrayDataset, TrainingConfig, fit

def progress(steps, total, label):
    for step in steps:
        seen.append(int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1000)
        yield step

peaks, config = [], TrainingConfig(epochs=1, latent=2, batch_size=50)
for count in (500, 5000):
    path, seen = Path(sys.argv[1], f"{count}.npy"), []
    np.lib.format.open_memmap(path, "w+", np.float64, (count, 32, 32)).flush()  # 8 kB a clip
    clips = ArrayDataset(np.load(path, mmap_mode="r"))
    fit(config, clips, ArrayDataset(np.zeros((8, 32, 32))), {"clips": count}, progress)
    peaks.append(max(seen))
print(peaks[1] - peaks[0])
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(run.stdout) < 18  # MB; 4,500 clips more are 37 MB


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(),
    reason="memory by kind is told and limited by Linux only",
)
def test_the_start_of_the_refined_net_reads_a_large_set_in_parts(tmp_path: Path) -> None:
    """After a set of 1,000, one of 20,000 clips is trained on with 60 MB more of memory of its own; it takes 82 MB."""
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from lib.vae.train import ArrayDataset, TrainingConfig, fit

config = TrainingConfig(preset="refined", latent=3, objective="calibrated", equalise=0.2, epochs=1, batch_size=200)
few = np.random.default_rng(0).normal(size=(1000, 32, 32)).astype(np.float16)
for count in (1000, 20_000):
    path = Path(sys.argv[1], f"{count}.npy")
    array = np.lib.format.open_memmap(path, "w+", np.float16, (count, 32, 32))
    for start in range(0, count, 1000):
        array[start : start + 1000] = few
    del array
    clips = ArrayDataset(np.load(path, mmap_mode="r"))
    fit(config, clips, ArrayDataset(few[:8]), {"clips": count})
    used = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + 60_000_000, resource.getrlimit(resource.RLIMIT_DATA)[1]))
"""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
    }
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]


def test_a_run_starts_from_the_weights_of_another() -> None:
    first = training.fit(CONFIG, TRAIN, TEST, KEY)
    config = CONFIG.model_copy(
        update={"start": first.folder.name, "learning_rate": 1e-9, "epochs": 1, "seed": 7}
    )
    second = training.fit(config, TRAIN, TEST, KEY)
    assert second.folder != first.folder
    found, expected = (measures.evaluate(fitted.model(), TEST) for fitted in (second, first))
    for name in ("mse_mu", "mse_sampled", "kl", "mu_variance"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4), name
    fresh = training.fit(config.model_copy(update={"start": None}), TRAIN, TEST, KEY)
    assert measures.evaluate(fresh.model(), TEST)["mse_mu"] > 1.2 * expected["mse_mu"]


def test_a_start_that_is_gone_is_named() -> None:
    with pytest.raises(
        BadInput, match="start = '0123456789abcdef': no finished training in .*train"
    ):
        training.fit(CONFIG.model_copy(update={"start": "0123456789abcdef"}), TRAIN, TEST, KEY)
    assert not finished()
    for wrong in ("../../elsewhere", "0123456789ABCDEF", "0123", ""):
        with pytest.raises(ValidationError, match="start"):
            TrainingConfig(start=wrong)


@pytest.mark.parametrize("change", [{"latent": 2}, {"preset": "repair"}, {"preset": "linear"}, {}])
def test_a_start_of_another_net_is_named(change: dict) -> None:
    """Other weights, and weights that fit examples of another shape."""
    first = training.fit(CONFIG.model_copy(update={"epochs": 1}), TRAIN, TEST, KEY)
    config = CONFIG.model_copy(update={"start": first.folder.name, **change})
    sets = (
        (TRAIN, TEST)
        if change
        else (ArrayDataset(part.array.swapaxes(1, 2), 1 / 255) for part in (TRAIN, TEST))
    )
    with pytest.raises(
        BadInput,
        match=f"start = '{first.folder.name}': a training of another net; .*preset '.*latent",
    ):
        training.fit(config, *sets, {"data": "other"})
    assert finished() == [first.folder]


def test_settings_that_would_do_nothing_are_named() -> None:
    for objective_ in ("free_bits", "calibrated", "bernoulli"):
        config = TrainingConfig(objective=objective_, reduction="sum-sum")
        with pytest.raises(
            BadInput, match=f"reduction = 'sum-sum': objective '{objective_}' takes 'mean-sum'"
        ):
            training.fit(config, TRAIN, TEST, KEY)
    for change in ({"objective": "report"}, {"beta": 0.5}, {"beta_schedule": "warm_up"}):
        config = TrainingConfig(**({"objective": "bernoulli", "samples": 5} | change))
        with pytest.raises(
            BadInput, match="samples = 5: only 'bernoulli' with a constant beta of 1"
        ):
            training.fit(config, TRAIN, TEST, KEY)
    with pytest.raises(BadInput, match="floor = 0.5: preset 'refined'"):
        training.fit(
            TrainingConfig(preset="refined", latent=3, objective="delta", floor=0.5),
            TRAIN,
            TEST,
            KEY,
        )
    assert not finished()


@pytest.mark.parametrize("latent", [90, 91])
def test_refined_with_a_latent_for_every_value_is_named(latent: int) -> None:
    with pytest.raises(BadInput, match=f"latent = {latent}: "):
        training.fit(TrainingConfig(preset="refined", latent=latent), TRAIN, TEST, KEY)


def test_a_training_set_of_one_example_is_named() -> None:
    config = CONFIG.model_copy(update={"objective": "report"})  # for which a spectrum is taken
    with pytest.raises(BadInput, match="training set of 1: .* 2 or more examples"):
        training.fit(config, ArrayDataset(TRAIN.array[:1], 1 / 255), TEST, KEY)


@pytest.mark.parametrize("low", [-0.5, math.nan, 0.0])
def test_greys_that_are_no_probabilities_are_named(low: float) -> None:
    data = ArrayDataset(np.where(TRAIN.array > 9, TRAIN.array / 200, low).astype(np.float32))
    with pytest.raises(
        BadInput, match=f"objective = 'bernoulli': data from .* to {'nan' if low != low else '1.'}"
    ):
        task = Task(vae.build("mlp", (9, 10), 3), TrainingConfig(objective="bernoulli"), 1)
        task.validation_step(data.__getitems__(np.arange(320)), 0)


def test_the_loss_of_free_bits_is_the_one_that_is_minimised() -> None:
    """One unit below its floor and others above it, or the plain loss could not be told from it; uneven batches."""
    model = vae.build("small", (9, 10), 3)
    with torch.no_grad():
        model.log_var.bias.copy_(torch.tensor([-0.1, -3.0, -4.0]))
    units = measures.evaluate(model, TEST)["kl_per_unit"]
    assert units[0] < 0.4 < units[1:].min()
    task = Task(model, TrainingConfig(objective="free_bits", beta=0.02, floor=0.4), 1)
    task._beta = lambda: 0.02
    for some in np.split(np.arange(100), [70]):
        task.validation_step(TEST.__getitems__(some), 0)
    row = task._finish("val")
    assert row["val_loss"] == pytest.approx(
        row["val_mse"] + 0.02 * (0.4 + units[1:].sum()), rel=1e-5
    )
    assert row["val_kl"] == pytest.approx(units.sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("schedule", "shares"),  # of beta at each eighth of 80 steps, and at the last one
    [
        ("constant", [1] * 9),
        ("warm_up", [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ("cyclical", [0, 1, 0, 1, 0, 1, 0, 1, 1]),
    ],
)
def test_beta_rises_as_its_schedule_says(schedule: str, shares: list[float]) -> None:
    class At:  # stands for the trainer
        global_step = 0

    task, trainer = (
        Task(vae.build("linear", (3, 3), 2), TrainingConfig(beta=0.3, beta_schedule=schedule), 80),
        At(),
    )
    task.trainer = trainer
    found = []
    for trainer.global_step in (*range(0, 80, 10), 79):
        found.append(task._beta())
    assert found == pytest.approx([0.3 * share for share in shares])
    if schedule == "cyclical":
        trainer.global_step = 45  # halfway up the third rise
        assert task._beta() == pytest.approx(0.15)


@pytest.mark.parametrize("schedule", ["warm_up", "cyclical"])
def test_a_rise_starts_with_no_weight_on_the_kl(schedule: str) -> None:
    """A training of one step, at the bottom of the rise, ends with the weights of an autoencoder."""
    config = TrainingConfig(epochs=1, batch_size=320, latent=3, beta=3.0, accelerator="cpu")
    risen, constant, none = (
        weights(training.fit(config.model_copy(update=change), TRAIN, TEST, KEY))
        for change in ({"beta_schedule": schedule}, {}, {"beta": 0.0})
    )
    assert same(risen, none) and not same(constant, none)


def test_another_reduction_at_its_equal_weight_learns_the_same_weights() -> None:
    """Adam does not hear the scale of a loss, so equal sigma2 is an equal path; at the same number it is another."""
    config = TrainingConfig(epochs=1, batch_size=32, latent=3, beta=0.02, accelerator="cpu")
    sigma2 = theory.sigma2_of("mean-sum", 0.02, 90, 3)

    def learnt(**change: object) -> torch.Tensor:
        found = weights(training.fit(config.model_copy(update=change), TRAIN, TEST, KEY))
        return torch.cat([value.flatten() for value in found.values()])

    expected = learnt()
    way = (expected - learnt(learning_rate=1e-12)).norm()
    for reduction in ("half-sum-sum", "sum-sum", "mean-mean"):
        equal = learnt(reduction=reduction, beta=theory.weight_of(reduction, sigma2, 90, 3))
        assert (
            equal - expected
        ).norm() < 0.02 * way  # Adam's eps is heard where gradients are small
        assert (learnt(reduction=reduction) - expected).norm() > 0.1 * way


def test_the_log_of_every_reduction_is_in_the_units_of_the_report() -> None:
    config = TrainingConfig(epochs=1, batch_size=32, latent=3, beta=0.5, reduction="half-sum-sum")
    row = training.fit(config, TRAIN, TEST, KEY).log().iloc[-1]
    assert row["val_loss"] == pytest.approx(row["val_mse"] + 2 * 0.5 / 90 * row["val_kl"])


def test_the_spectrum_is_that_of_the_prepared_examples_and_kept() -> None:
    expected = theory.pca(TRAIN.array / 255, 5)
    assert training.spectrum(TRAIN, 5, KEY) == pytest.approx(expected.eigenvalues, rel=1e-5)
    kept = "spectrum/*/eigenvalues.npy"
    (path,) = artifacts.root().glob(kept)
    stamp = path.stat().st_mtime_ns
    training.spectrum(TRAIN, 5, KEY)
    assert path.stat().st_mtime_ns == stamp
    other = training.spectrum(TRAIN, 5, {"data": "others"})
    assert len(list(artifacts.root().glob(kept))) == 2 and len(other) == 5


BINARY = ArrayDataset((blobs(60, 2) > 90).astype(np.uint8))


@pytest.mark.parametrize("preset", ["small", "mlp", "linear"])
def test_importance_nll_of_a_net_that_ignores_its_code_is_exact(preset: str) -> None:
    """Posterior = prior and one picture for all: every importance weight is the likelihood itself."""
    model = vae.build(preset, (9, 10), 3)
    logits = torch.randn(1, 9, 10, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.decode = lambda z, decode=model.decode: decode(z) + logits
    x = torch.from_numpy(BINARY.array).float()
    expected = (
        -torch.distributions.Bernoulli(logits=logits[0]).log_prob(x).sum((1, 2)).mean().item()
    )
    for samples in (1, 7):
        assert measures.importance_nll(model, BINARY, samples) == pytest.approx(expected, rel=1e-5)


def test_importance_nll_comes_closer_with_samples_and_starts_at_the_elbo() -> None:
    """One unit, so that the likelihood itself can be had by summing over a fine grid of codes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = vae.build("mlp", (9, 10), 1).eval()
    with torch.no_grad():
        model.decoder[-2].weight.mul_(6)
        model.log_var.bias.fill_(-0.5)
    z = torch.linspace(-6, 6, 401)[:, None]
    x = torch.from_numpy(BINARY.array).float().unsqueeze(1)
    with torch.inference_mode():
        nats = torch.stack(
            [objective.bernoulli_nats(x, logits) for logits in model.decode(z)]
        ).double()
        mu, log_var = model.encode(x)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z.double()) + math.log(12 / 400)
    exact = -torch.logsumexp(prior - nats, 0).mean().item()
    posterior = torch.softmax(
        torch.distributions.Normal(mu, (log_var / 2).exp()).log_prob(z.T), 1
    ).double()  # (n, z)
    elbo = (posterior * nats.T).sum(1).mean().item() + objective.kl_sum_latent(
        mu, log_var
    ).mean().item()
    found = [
        np.mean([measures.importance_nll(model, BINARY, k, seed) for seed in range(12)])
        for k in (1, 3, 200)
    ]
    assert found[0] > found[1] > found[2] and elbo > exact + 0.3
    assert found[0] == pytest.approx(elbo, abs=0.3 * (elbo - exact))
    assert found[2] == pytest.approx(exact, abs=0.05 * (elbo - exact))


def test_several_samples_train_the_tighter_bound() -> None:
    """The validation loss is the bound itself, and the likelihood that comes out is better than by one sample."""
    found = {}
    for samples in (1, 8):
        config = TrainingConfig(
            preset="mlp",
            latent=3,
            objective="bernoulli",
            samples=samples,
            epochs=12,
            seed=1,
            batch_size=16,
            learning_rate=5e-3,
            schedule="constant",
        )
        fitted = training.fit(config, BINARY, BINARY, {"binary": samples})
        found[samples] = (
            measures.importance_nll(fitted.model(), BINARY, 500),
            fitted.log()["val_loss"].iloc[-1],
        )
    (one, elbo), (several, bound) = found[1], found[8]
    assert several < one < elbo and several < bound < elbo
    assert bound == pytest.approx(measures.importance_nll(fitted.model(), BINARY, 8), rel=0.02)
