"""The collapse alarm: when it speaks, when it keeps quiet; a kill does not change its words."""

import warnings
from collections.abc import Callable
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from test_vae_training import Killed, artifact_folder, blobs, killing

from lib import theory
from lib.data.batches import ArrayDataset, Batches, Splits
from lib.vae import training
from lib.vae.alarm import (
    ENDLESS,
    PATIENCE,
    WINDOWS,
    CollapseAlarm,
    CollapseWarning,
    before_training,
)
from lib.vae.config import TrainingConfig

__all__ = ["artifact_folder"]  # a fixture
lightning = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")


TRAIN = ArrayDataset(blobs(320, 0, 6, 5), 1 / 255)
TEST = ArrayDataset(blobs(64, 1, 6, 5), 1 / 255)
DATA = Splits(TRAIN, TEST, None, {"data": "blobs"})
LATE = PATIENCE * ENDLESS
LAMBDA_1 = theory.pca(TRAIN.array, 1, TRAIN.prepare).eigenvalues[0]
COLLAPSING = TrainingConfig(
    latent=2, beta=1.5 * theory.edge_beta(LAMBDA_1, 30), learning_rate=2e-2, epochs=7, batch_size=32
)


class Scripted(pl.LightningModule):
    """A training whose code is given: mu at a step, (batch, latent); the prior's variance."""

    def __init__(self, mu: Callable[[int], torch.Tensor]):
        super().__init__()
        self.weight, self.mu = torch.nn.Parameter(torch.zeros(1)), mu

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, x: torch.Tensor, _: int) -> dict[str, torch.Tensor]:
        mu = self.mu(self.trainer.global_step + 1)
        loss = (self.weight - x).square().mean()
        return {"loss": loss, "mu": mu, "log_var": torch.zeros_like(mu)}


def of_kl(nats: float) -> torch.Tensor:
    """mu (4, 2), the same for every example, with so many nats in the first unit."""
    return torch.tensor([[(2 * nats) ** 0.5, 0.0]]).expand(4, 2)


def alarms_of(
    mu: Callable[[int], torch.Tensor],
    steps: int | torch.utils.data.DataLoader,
    alarm: CollapseAlarm | None = None,
    stop: int = -1,
    **settings: int,
) -> list[tuple[int, str]]:
    """An alarm's words on such a training, so many batches an epoch, which ends after `stop`."""
    alarm = alarm or CollapseAlarm(None, 1.0, warn=False)

    def stop_at(trainer: pl.Trainer, *_: object) -> None:
        trainer.should_stop = trainer.global_step == stop

    stopping = pl.callbacks.LambdaCallback(on_train_batch_end=stop_at)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[alarm, stopping],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=LightningEnvironment(),  # no word of srun
        **({"max_epochs": 1} | settings),
    )
    if isinstance(steps, int):
        ones = ArrayDataset(np.ones((4 * steps, 1, 1)))
        steps = Batches(ones, np.arange(len(ones)), 4)
    trainer.fit(Scripted(mu), steps)
    return alarm.alarms


def test_a_real_collapse_is_told_before_and_during_training() -> None:
    (first, before), (later, during) = training.train(COLLAPSING, DATA).alarms
    assert first == 0 < later <= 70 and later % (70 // WINDOWS) == 0
    assert f"{1.5 * LAMBDA_1:.4g}" in before and f"{LAMBDA_1:.4g}" in before
    assert f"step {later}: " in during and "no active unit" in during


@pytest.mark.parametrize("change", [{"loss": "calibrated"}, {"beta": 0.01 * COLLAPSING.beta}])
def test_a_healthy_run_is_not_disturbed(change: dict) -> None:
    assert training.train(COLLAPSING.model_copy(update=change), DATA).alarms == []


@pytest.mark.parametrize(("ratio", "told"), [(0.999, 0), (1.0, 1)])
@lightning
def test_the_edge_itself_is_an_alarm(ratio: float, told: int) -> None:
    alarms = alarms_of(lambda step: of_kl(1.0), 3, CollapseAlarm(2.0 * ratio, 2.0, warn=False))
    assert [step for step, _ in alarms] == [0] * told
    assert all("is not below lambda_1" in message for _, message in alarms)


@lightning
def test_standalone_it_warns() -> None:
    with pytest.warns(CollapseWarning) as told:
        alarms = alarms_of(lambda step: of_kl(0.0), 20, CollapseAlarm(3.0, 2.0))
    warned = [str(each.message) for each in told if each.category is CollapseWarning]
    assert warned == [message for _, message in alarms]
    assert [step for step, _ in alarms] == [0, PATIENCE]


@pytest.mark.parametrize("after", [5, 45])  # ten steps an epoch, three a window
def test_a_killed_run_tells_what_one_that_was_not_does(after, tmp_path, monkeypatch) -> None:
    whole = training.train(COLLAPSING, DATA)
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "killed"))
    with pytest.raises(Killed), monkeypatch.context() as patch:
        patch.setattr(training, "progress", killing(after))
        training.train(COLLAPSING, DATA)
    resumed = training.train(COLLAPSING, DATA)
    assert resumed.alarms == whole.alarms and len(whole.alarms) == 2


SPREAD = of_kl(0.02) * torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])  # variance 0.04
FULL = {PATIENCE, 2 * PATIENCE, 20}
LOOKS = {  # of a code: mu at a step, the batches, settings; the step of the alarm and its words
    "empty, at each step": (0.01, WINDOWS, {}, PATIENCE, "does not fill"),
    "empty, every other step": (0.01, 2 * WINDOWS + 7, {}, 2 * PATIENCE, "0.01 nats"),
    "three batches a step": (0.01, 60, {"accumulate_grad_batches": 3}, PATIENCE, "does not fill"),
    "no end": (0.01, 90, {"stop": 10 + LATE, "max_epochs": -1}, LATE, "does not fill"),
    "fills too slowly": (lambda step: of_kl(0.001 * step), 20, {}, 20, "at the end of training"),
    "fills": (lambda step: of_kl(0.003 * step), 20, {}, None, ""),  # 0.06 nats in the end
    "an active unit": (lambda step: SPREAD, 20, {}, None, ""),
    "varies over a window": (lambda step: of_kl(0.02) * (-1) ** step, 80, {}, None, ""),
    "full now and then": (lambda step: of_kl(1.0 if step in FULL else 0.01), 20, {}, None, ""),
}


@pytest.mark.parametrize("what", LOOKS)
@lightning
def test_an_empty_code_is_told_once_and_a_full_one_is_left_alone(what: str) -> None:
    mu, steps, settings, at, words = LOOKS[what]
    alarms = alarms_of(mu if callable(mu) else lambda step: of_kl(mu), steps, **settings)
    assert [step for step, _ in alarms] == [at] * (at is not None)
    assert all(words in message for _, message in alarms)


def lengths(step: int) -> torch.Tensor:
    return torch.zeros(4, 2, 3 + step % 5)


ANSWERS = {  # of a training_step: whether the alarm then hears of the empty code, and warns once
    "nothing now and then": (
        lambda mu, step: None if step % 3 else {"mu": mu, "log_var": 0 * mu},
        1,
        0,
    ),
    "the loss alone": (lambda mu, step: {}, 0, 1),
    "a code of maps": (
        lambda mu, step: {"mu": mu[:, :, None], "log_var": 0 * mu[:, :, None]},
        1,
        0,
    ),
    "other lengths": (lambda mu, step: {"mu": lengths(step), "log_var": lengths(step)}, 0, 1),
    "one code without a batch": (lambda mu, step: {"mu": mu[0, 0], "log_var": mu[0, 0]}, 0, 1),
    "not finite": (lambda mu, step: {"mu": mu * torch.nan, "log_var": 0 * mu}, 0, 0),
}


@pytest.mark.parametrize("what", ANSWERS)
@lightning
def test_no_answer_of_a_training_step_ends_a_training(what: str, monkeypatch) -> None:
    answer, heard, warned = ANSWERS[what]
    step_of = Scripted.training_step

    def training_step(self: Scripted, x: torch.Tensor, number: int):
        step = step_of(self, x, number)
        more = answer(step["mu"], number)
        return None if more is None else {"loss": step["loss"], **more}

    monkeypatch.setattr(Scripted, "training_step", training_step)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        alarms = alarms_of(lambda step: of_kl(0.01), 60, CollapseAlarm(None, 1.0))
    assert len(alarms) == heard
    assert sum("sees no code" in str(each.message) for each in told) == warned


class Endless(torch.utils.data.IterableDataset):
    """A stream, of which only `max_steps` knows the end."""

    def __iter__(self):
        while True:
            yield torch.ones(4, 1, 1, 1)


@lightning
def test_a_stream_has_an_end_and_an_older_checkpoint_is_read() -> None:
    alarm = CollapseAlarm(None, 1.0, warn=False)
    older = alarm.state_dict()
    del older["batch"]
    alarm.load_state_dict(older)
    stream = torch.utils.data.DataLoader(Endless(), batch_size=None)
    alarms = alarms_of(lambda step: of_kl(0.01), stream, alarm, max_steps=60, max_epochs=-1)
    assert [step for step, _ in alarms] == [PATIENCE * (60 // WINDOWS)]


@lightning
def test_two_manual_optimisers_are_no_end_of_training_half_way(monkeypatch) -> None:
    """Each batch makes two steps; the code fills in the second half."""

    def training_step(self: Scripted, x: torch.Tensor, number: int):
        for optimiser in self.optimizers():
            optimiser.step()
        mu = of_kl(0.001 if number < 30 else 1.0)
        return {"mu": mu, "log_var": torch.zeros_like(mu)}

    def configure_optimizers(self: Scripted):
        self.automatic_optimization = False
        return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(2)]

    monkeypatch.setattr(Scripted, "training_step", training_step)
    monkeypatch.setattr(Scripted, "configure_optimizers", configure_optimizers)
    alarm = CollapseAlarm(None, 1.0, warn=False)
    alarms_of(lambda step: of_kl(1.0), 40, alarm)
    assert [message for _, message in alarm.alarms if "end of training" in message] == []


def test_any_loss_has_an_alarm_before_training() -> None:
    x = torch.as_tensor(np.random.default_rng(0).normal(size=(200, 6)) * np.arange(1, 7))

    def loss_fn(x_hat, x):
        return (x_hat - x).square().mean(1)

    edge = before_training(loss_fn, x, 1e-3)
    assert edge.beta == pytest.approx(theory.edge("mse-mean", x.numpy()).beta, rel=1e-6)
    with pytest.warns(CollapseWarning, match="beta = .* is not below the edge"):
        before_training(loss_fn, x, 1.01 * edge.beta)
    for ratio, told in ((0.99, 0), (1.01, 1)):
        alarm = CollapseAlarm.for_loss(loss_fn, x, ratio * edge.beta, warn=False)
        alarm.on_train_start(SimpleNamespace(global_step=0, is_global_zero=True), None)
        assert len(alarm.alarms) == told
