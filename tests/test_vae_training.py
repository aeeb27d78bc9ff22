"""Training: equal seeds, equal weights, after a kill too; collapse, repair, evaluation."""

import math
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib import ROOT, BadInput, theory, vae
from lib.data.batches import ArrayDataset, Splits
from lib.runtime import stages
from lib.vae import losses, training
from lib.vae.config import TrainingConfig
from lib.vae.evaluation import importance_nll
from lib.vae.module import VAEModule

CONFIG = TrainingConfig(epochs=3, batch_size=32, latent=3, loss="calibrated", learning_rate=5e-3)
REPORT = TrainingConfig(epochs=1, batch_size=32, latent=3, beta=0.02, accelerator="cpu")


@pytest.fixture(autouse=True)
def artifact_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path))


def blobs(n: int, seed: int, bins: int = 9, frames: int = 10) -> np.ndarray:
    """Pictures (n, bin, frame) uint8 of one soft spot each, at a random place and brightness."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:bins, :frames]
    row = rng.uniform(1, bins - 1, (n, 1, 1))
    column = rng.uniform(1, frames - 1, (n, 1, 1))
    level = rng.uniform(0.3, 1, (n, 1, 1))
    spots = level * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 6)
    return (255 * spots).astype(np.uint8)


TRAIN, TEST = ArrayDataset(blobs(320, 0), 1 / 255), ArrayDataset(blobs(100, 1), 1 / 255)
DATA = Splits(TRAIN, TEST, TEST, {"data": "blobs"})
NEGATIVE = ArrayDataset(-blobs(100, 1).astype(np.float32), 1 / 255)  # learning makes these worse
BINARY = ArrayDataset((blobs(60, 2) > 90).astype(np.uint8))


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


def finished() -> list[Path]:
    """Folders of whole training runs."""
    folders = stages.root().glob("train/*")
    return [path for path in folders if path.is_dir() and not path.name.startswith(".")]


def weights(run: vae.Run) -> dict[str, torch.Tensor]:
    return run.model().state_dict()


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def changed(config: TrainingConfig, **fields: object) -> TrainingConfig:
    return config.model_copy(update=fields)


def test_same_seed_same_bytes_and_another_seed_others(tmp_path, monkeypatch) -> None:
    first = vae.train(CONFIG, DATA)
    assert not same(weights(first), weights(vae.train(changed(CONFIG, seed=1), DATA)))
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "again"))
    torch.manual_seed(99)  # the global generator must not matter
    again = vae.train(CONFIG, DATA)
    for name in ("model.pt", "log.csv"):
        assert (first.folder / name).read_bytes() == (again.folder / name).read_bytes()
    assert first.folder.name == again.folder.name and first.folder != again.folder


@pytest.mark.parametrize(
    ("preset", "after", "left"),  # ten steps an epoch; week4 has BatchNorm
    [("small", 0, 30), ("week4", 13, 20), ("small", 20, 20), ("small", None, 0)],
)
def test_a_killed_run_ends_as_one_that_was_not(preset, after, left, tmp_path, monkeypatch) -> None:
    """Killed at once, within an epoch, before its end is kept, before all is stored."""

    def killing_copy(*_):
        raise Killed

    config = changed(CONFIG, preset=preset)
    whole = vae.train(config, DATA)
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "killed"))
    with pytest.raises(Killed), monkeypatch.context() as patch:
        if after is None:
            patch.setattr(training.shutil, "copy2", killing_copy)
        else:
            patch.setattr(training, "progress", killing(after))
        vae.train(config, DATA)
    assert not finished()
    seen = []

    def progress(steps, total, label):
        seen.append(total)
        return steps

    monkeypatch.setattr(training, "progress", progress)
    resumed = vae.train(config, DATA)
    assert seen == [left]
    assert same(weights(whole), weights(resumed)) and whole.log().equals(resumed.log())
    folders = [path.name for path in (tmp_path / "killed/train").iterdir() if path.is_dir()]
    assert not [name for name in folders if name.startswith(".partial-")]


def test_a_finished_run_is_not_repeated(monkeypatch) -> None:
    first = vae.train(CONFIG, DATA)
    metrics = vae.evaluate(first, DATA)
    monkeypatch.setattr(training, "progress", killing(0))
    again = vae.train(CONFIG, DATA)
    assert again.folder == first.folder
    expected = vae.measure(first.model(), TEST)
    assert all(np.array_equal(metrics[name], expected[name]) for name in expected)
    half = Splits(TRAIN, TEST, ArrayDataset(TEST.array[:50], 1 / 255), DATA.key)
    assert vae.evaluate(again, half)["mse_mu"] != metrics["mse_mu"]
    with pytest.raises(Killed):
        vae.train(CONFIG, Splits(TRAIN, TEST, None, {"data": "others"}))
    with pytest.raises(BadInput, match=r"data\.test = None"):
        vae.evaluate(again, Splits(TRAIN, TEST, None, DATA.key))


def test_log_and_best_weights(capfd: pytest.CaptureFixture) -> None:
    """One row per epoch; weights of the best row, of equal rows the last; nothing is printed."""
    run = vae.train(
        changed(CONFIG, epochs=8, schedule="constant"), Splits(TRAIN, NEGATIVE, None, {})
    )
    log = run.log()
    columns = "epoch train_loss train_mse train_kl val_loss val_mse val_kl"
    assert list(log) == columns.split() and list(log["epoch"]) == list(range(1, 9))
    assert np.allclose(log["val_loss"], 45 * np.log(log["val_mse"]) + log["val_kl"])
    least = log["val_loss"].cummin()
    best = log[log["val_loss"] <= least + 0.01 * least.abs()].iloc[-1]
    assert best["epoch"] < 8  # or this test could not tell best from last
    metrics = vae.measure(run.model(), NEGATIVE)
    assert metrics["kl"] == pytest.approx(best["val_kl"], rel=1e-5)  # no noise enters the KL
    assert metrics["mse_sampled"] == pytest.approx(best["val_mse"], rel=0.1)
    assert capfd.readouterr() == ("", "")


def test_in_a_cycle_only_its_last_fifth_competes() -> None:
    run = vae.train(changed(CONFIG, epochs=5), Splits(TRAIN, NEGATIVE, None, {}))
    log = run.log()
    assert log["val_loss"].idxmin() < 4
    kl = vae.measure(run.model(), NEGATIVE)["kl"]
    assert kl == pytest.approx(log["val_kl"].iloc[4], rel=1e-5)


def test_collapse_at_beta_1_and_not_when_calibrated() -> None:
    """The report's finding in miniature: one image for all beyond the edge, not if calibrated."""
    config = TrainingConfig(epochs=15, batch_size=32, latent=3)
    collapsed = vae.measure(vae.train(config, DATA).model(), TEST)
    trivial = np.mean((TEST.array / 255 - TRAIN.array.mean(0) / 255) ** 2)
    assert collapsed["kl"] < 0.01 and collapsed["active_units"] == 0
    assert collapsed["mse_mu"] == pytest.approx(trivial, rel=0.02)
    repaired = vae.measure(vae.train(changed(config, loss="calibrated"), DATA).model(), TEST)
    assert repaired["active_units"] == 3 and repaired["mse_mu"] < 0.5 * trivial


def test_a_trained_linear_vae_ends_at_the_optimum_of_the_theory() -> None:
    pca = theory.pca(TRAIN.array, 3, TRAIN.prepare)
    beta = 0.3 * theory.edge_beta(pca.eigenvalues[1], 90)
    expected = theory.predict(pca.eigenvalues, pca.total_variance, 90, 3, beta * 90 / 2)
    config = TrainingConfig(preset="linear", latent=3, beta=beta, epochs=60, batch_size=32)
    run = vae.train(config, Splits(TRAIN, TRAIN, TRAIN, {}))
    metrics = vae.measure(run.model(), TRAIN)
    assert metrics["active_units"] == expected.active
    assert metrics["kl"] == pytest.approx(expected.kl_nats, rel=0.1)
    assert metrics["mse_sampled"] == pytest.approx(expected.mse_sampled, rel=0.05)


def test_measure_is_what_it_says() -> None:
    model = vae.build("small", (9, 10), 3)  # in training mode: measure has to see to that
    metrics = vae.measure(model, TEST, seed=4)
    x = torch.from_numpy(TEST.array / 255).float().unsqueeze(1)
    model.eval()
    with torch.inference_mode():
        mu, log_var = model.encode(x)
        generator = torch.Generator().manual_seed(4)
        noise = torch.randn((100, 3), generator=generator)
        mse = (model.decode(mu + (log_var / 2).exp() * noise) - x).square().mean().item()
        mse_mu = (model.decode(mu) - x).square().mean().item()
        kl = losses.kl_sum_latent(mu, log_var).mean().item()
    assert metrics["mse_mu"] == pytest.approx(mse_mu, rel=1e-5)
    assert metrics["mse_sampled"] == metrics["sigma2"] == pytest.approx(mse, rel=1e-5)
    assert metrics["kl"] == pytest.approx(kl, rel=1e-5) == metrics["kl_per_unit"].sum()
    assert metrics["active_units"] == int((mu.var(0) > 0.01).sum())
    nats = 45 * (math.log(2 * math.pi * mse) + 1) + kl
    assert metrics["neg_elbo"] == pytest.approx(nats, rel=1e-5)


def test_active_units_are_burdas() -> None:
    """Variance of mu over the data above 0.01: one unit above the line, two just beside it."""
    model = vae.build("small", (9, 10), 3)
    mu, _ = vae.encode_all(model, TEST)
    with torch.no_grad():
        scale = torch.tensor([0.101, 0.5, 0.099]) / torch.from_numpy(mu.std(0))
        model.encoder.mu.weight.mul_(scale[:, None])
        model.encoder.mu.bias.zero_()
    metrics = vae.measure(model, TEST)
    assert metrics["active_units"] == 2
    assert np.allclose(np.sqrt(metrics["mu_variance"]), [0.101, 0.5, 0.099], rtol=1e-3)


def test_encode_all_and_reconstruct_in_order() -> None:
    model = vae.build("small", (9, 10), 3)
    mu, log_var = vae.encode_all(model, TEST)
    x = TEST[list(range(100))]
    with torch.inference_mode():
        expected = model.eval().encode(x)
        x_hat = model.decode(torch.from_numpy(mu))
    assert np.allclose(mu, expected[0], atol=1e-6) and np.allclose(log_var, expected[1], atol=1e-6)
    assert torch.allclose(vae.reconstruct(model, x), x_hat, atol=1e-5)
    one, again, other = (vae.reconstruct(model, x, sample=True, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_divergence_names_the_learning_rate() -> None:
    config = changed(REPORT, epochs=2, beta=1e30, learning_rate=1e6, schedule="constant")
    with pytest.raises(BadInput, match=r"learning_rate = 1e\+06: training left"):
        vae.train(config, DATA)
    assert not [path for path in (stages.root() / "train").iterdir() if path.is_dir()]


ONE = Splits(ArrayDataset(TRAIN.array[:1]), TEST, None, {})
SIGNED = Splits(NEGATIVE, TEST, None, {})
OTHER_SHAPE = ArrayDataset(np.zeros((4, 9, 9), np.uint8))
BAD = [
    (dict(), Splits(TRAIN, OTHER_SHAPE, None, {}), "validation of shape"),
    (dict(), Splits(TRAIN, None, None, {}), r"data\.validation = None"),
    (dict(), ONE, "training set of 1: .* 2 or more"),
    (dict(start="0123456789abcdef"), DATA, "start = '0123456789abcdef': no finished training in"),
    (dict(loss="bernoulli", samples=5, beta=0.5), DATA, "samples = 5: only 'bernoulli' with a"),
    (dict(preset="refined", latent=90), DATA, "latent = 90: "),
    (dict(loss="bernoulli", preset="mlp"), SIGNED, "loss = 'bernoulli': data"),
    (dict(logger="wandb"), DATA, r"logger = 'wandb': .*pip install -e '\.\[loggers\]'"),
    (dict(devices=3, accelerator="mps"), DATA, "'mps', devices = 3: this machine has 1"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "data", "message"), BAD)
def test_bad_input_is_named(fields, data, message, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(BadInput, match=message):
        vae.train(TrainingConfig(**({"accelerator": "cpu"} | fields)), data)
    assert not finished()


def test_precision_is_mixed_on_cuda_only(monkeypatch) -> None:
    monkeypatch.setattr(training.pl, "Trainer", dict)
    for accelerator, precision in {"mps": "32-true", "cuda": "bf16-mixed"}.items():
        config = changed(CONFIG, accelerator=accelerator)
        settings = training._trainer(config, Path(), callbacks=[], steps_per_epoch=1)
        assert (settings["accelerator"], settings["precision"]) == (accelerator, precision)


@pytest.mark.parametrize("file", ["model.pt", "last.ckpt"])
def test_a_full_disk_is_an_error_and_leaves_nothing(file: str) -> None:
    """Too little room for the weights, or for the larger state; with more room it ends."""
    config = changed(CONFIG, epochs=1)
    size = sum(value.nbytes for value in vae.build("small", (9, 10), 3).state_dict().values())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = {"model.pt": size // 2, "last.ckpt": 2 * size}[file]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(BadInput, match="File too large while stage 'train' was written"):
            vae.train(config, DATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    written = {path.name for path in stages.root().glob("train/.partial-*/*")}
    assert not finished() and file not in written
    assert len(vae.train(config, DATA).log()) == 1


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from lib import vae
from lib.data.batches import ArrayDataset, Splits

fields = {"preset": "refined", "loss": "calibrated", "equalise": 0.2, "epochs": 1}
config = vae.TrainingConfig(latent=3, batch_size=200, **fields)
for count in (1000, 20_000):
    clips = ArrayDataset(np.load(Path(sys.argv[1], f"{count}.npy"), mmap_mode="r"))
    vae.train(config, Splits(clips, ArrayDataset(clips.array[:8]), None, {"clips": count}))
    used = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + 60_000_000, hard))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone limits this memory")
def test_memory_does_not_grow_with_the_number_of_clips(tmp_path) -> None:
    """After 1,000 clips, 20,000 fit into 60 MB more of memory of its own; they take 82 MB."""
    few = np.random.default_rng(0).normal(size=(1000, 32, 32)).astype(np.float16)
    for count in (1000, 20_000):
        np.save(tmp_path / f"{count}.npy", np.resize(few, (count, 32, 32)))
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    run = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]


def test_a_run_starts_from_the_weights_of_another() -> None:
    first = vae.train(CONFIG, DATA)
    config = changed(CONFIG, start=first.folder.name, learning_rate=1e-9, epochs=1, seed=7)
    expected = vae.measure(first.model(), TEST)
    metrics = vae.measure(vae.train(config, DATA).model(), TEST)
    for name in ("mse_mu", "mse_sampled", "kl", "mu_variance"):
        assert metrics[name] == pytest.approx(expected[name], rel=1e-4), name
    fresh = vae.train(changed(config, start=None), DATA)
    assert vae.measure(fresh.model(), TEST)["mse_mu"] > 1.2 * expected["mse_mu"]
    turned = [ArrayDataset(part.array.swapaxes(1, 2), 1 / 255) for part in (TRAIN, TEST)]
    others = [({"preset": "repair"}, DATA), ({}, Splits(*turned, None, {}))]
    for other, data in others:
        with pytest.raises(BadInput, match=f"start = '{first.folder.name}': a training of another"):
            vae.train(changed(config, **other), data)


@pytest.mark.parametrize(
    ("schedule", "shares"),  # of beta at each eighth of 80 steps, and at the last one
    [
        ("constant", [1] * 9),
        ("warm_up", [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ("cyclical", [0, 1, 0, 1, 0, 1, 0, 1, 1]),
    ],
)
def test_beta_rises_as_its_schedule_says(schedule: str, shares: list[float]) -> None:
    config = TrainingConfig(beta=0.3, beta_schedule=schedule)
    module = VAEModule(vae.build("linear", (3, 3), 2), config, 80)
    betas = []
    for step in (*range(0, 80, 10), 79, 45):
        module.trainer = SimpleNamespace(global_step=step)
        betas.append(module.beta())
    assert betas[:-1] == pytest.approx([0.3 * share for share in shares])
    if schedule == "cyclical":  # halfway up the third rise
        assert betas[-1] == pytest.approx(0.15)


def test_another_reduction_at_its_equal_weight_learns_the_same_weights() -> None:
    """Adam sees no scale of a loss: equal sigma2, equal path; an equal number, another."""
    sigma2 = theory.sigma2_of("mean-sum", 0.02, 90, 3)

    def learnt(**fields: object) -> torch.Tensor:
        state = weights(vae.train(changed(REPORT, **fields), DATA))
        return torch.cat([value.flatten() for value in state.values()])

    expected = learnt()
    way = (expected - learnt(learning_rate=1e-12)).norm()
    for loss in ("half_sum_sum", "sum_sum", "mean_mean"):
        weight = theory.weight_of(losses.REDUCTIONS[loss], sigma2, 90, 3)
        # Adam's eps counts where gradients are small
        assert (learnt(loss=loss, beta=weight) - expected).norm() < 0.02 * way
        assert (learnt(loss=loss) - expected).norm() > 0.1 * way


def test_the_log_is_the_mean_of_what_is_minimised() -> None:
    row = vae.train(changed(REPORT, beta=0.5, loss="half_sum_sum"), DATA).log().iloc[-1]
    assert row["val_loss"] == pytest.approx(45 * row["val_mse"] + 0.5 * row["val_kl"], rel=1e-5)
    row = vae.train(changed(REPORT, beta=0.0), DATA).log().iloc[-1]
    assert row["val_loss"] == pytest.approx(row["val_mse"], rel=1e-6)


def test_the_spectrum_is_that_of_the_prepared_examples_and_kept() -> None:
    expected = theory.pca(TRAIN.array / 255, 5)
    for _ in range(2):
        spectrum = training.spectrum(TRAIN, 5, {"data": 1})
        assert spectrum == pytest.approx(expected.eigenvalues, rel=1e-5)
    training.spectrum(TRAIN, 5, {"data": 2})
    assert len(list(stages.root().glob("spectrum/*/eigenvalues.npy"))) == 2


def test_importance_nll_of_a_net_that_ignores_its_code_is_exact() -> None:
    """Posterior = prior and one picture for all: each importance weight is the likelihood."""
    model = vae.build("small", (9, 10), 3)
    logits = torch.randn(1, 9, 10, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.decode = lambda z, decode=model.decode: decode(z) + logits
    x = torch.from_numpy(BINARY.array).float()
    nats = -torch.distributions.Bernoulli(logits=logits[0]).log_prob(x).sum((1, 2)).mean().item()
    for samples in (1, 7):
        assert importance_nll(model, BINARY, samples) == pytest.approx(nats, rel=1e-5)


def test_importance_nll_comes_closer_with_samples_and_starts_at_the_elbo() -> None:
    """One unit, so that a sum over a fine grid of codes gives the likelihood itself."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = vae.build("mlp", (9, 10), 1).eval()
    with torch.no_grad():
        model.decoder[-2].weight.mul_(6)
        model.encoder.log_var.bias.fill_(-0.5)
    z = torch.linspace(-6, 6, 401)[:, None]
    x = torch.from_numpy(BINARY.array).float().unsqueeze(1)
    normal = torch.distributions.Normal
    with torch.inference_mode():
        nats = torch.stack([losses.bernoulli_nats(x, one) for one in model.decode(z)]).double()
        mu, log_var = model.encode(x)
    prior = normal(0.0, 1.0).log_prob(z.double()) + math.log(12 / 400)
    exact = -torch.logsumexp(prior - nats, 0).mean().item()
    posterior = torch.softmax(normal(mu, (log_var / 2).exp()).log_prob(z.T), 1).double()  # (n, z)
    kl = losses.kl_sum_latent(mu, log_var).mean().item()
    elbo = (posterior * nats.T).sum(1).mean().item() + kl
    one, few, many = (
        np.mean([importance_nll(model, BINARY, k, seed) for seed in range(12)]) for k in (1, 3, 200)
    )
    assert one > few > many and elbo > exact + 0.3
    assert one == pytest.approx(elbo, abs=0.3 * (elbo - exact))
    assert many == pytest.approx(exact, abs=0.05 * (elbo - exact))


def test_several_samples_train_the_tighter_bound() -> None:
    """The validation loss is the bound; the likelihood is better than by one sample."""
    fields = {"preset": "mlp", "loss": "bernoulli", "beta": 1.0, "schedule": "constant"}
    config = changed(CONFIG, epochs=12, seed=1, batch_size=16, **fields)
    data = Splits(BINARY, BINARY, None, {})
    one, several = (vae.train(changed(config, samples=samples), data) for samples in (1, 8))
    elbo, bound = (run.log()["val_loss"].iloc[-1] for run in (one, several))
    nll_one, nll_several = (importance_nll(run.model(), BINARY, 500) for run in (one, several))
    assert nll_several < nll_one < elbo and nll_several < bound < elbo
    assert bound == pytest.approx(importance_nll(several.model(), BINARY, 8), rel=0.02)
