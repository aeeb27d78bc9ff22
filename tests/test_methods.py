"""Every method on a small folder of sound: scores match probes; unseen clips are never fitted."""

import numpy as np
import pytest
from test_render import persons

from lib.data.batches import ArrayDataset
from lib.data.rendering import ClipSet, render_set
from lib.embeddings import probes
from lib.embeddings.classifier import classify
from lib.embeddings.methods import METHODS, Task, embed


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> ClipSet:
    """Four persons, two effects that a mean spectrum tells apart, at fixed settings."""
    folder = persons(tmp_path_factory.mktemp("sounds"), 24000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARTIFACTS_DIR", str(tmp_path_factory.mktemp("artifacts")))
        yield render_set(f"folder:{folder}", ("overdrive", "delay"), 16, 3, "fixed")


@pytest.fixture
def seen(data) -> np.ndarray:
    return probes.folds(data.groups, 2, 0) != 0


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_scores_of_the_unseen_clips(data, seen, method: str) -> None:
    embedding = embed(data, method, seen, seen, 2, 0)
    assert embed(data, method, seen, seen, 2, 0) == embedding
    scores = embedding.scores
    if method == "supervised_cnn":
        assert 0 <= scores["cnn"] <= 1
        return
    mu = embedding.mu
    assert len(mu) == len(data.table) and np.isfinite(mu).all()
    oracle = probes.accuracies(mu, data.effects, seen, 0, ("logistic",))
    assert scores["logistic"] == pytest.approx(oracle["logistic"], abs=1e-9)
    log_var = embedding.folder / "log_var.npy"
    if log_var.exists():
        assert np.load(log_var).shape == mu.shape and scores["kl"] >= 0


def test_nothing_of_the_unseen_clips_is_fitted(data, seen) -> None:
    """The codes of the seen clips stay when features and spectrograms of the unseen ones change."""
    changed = ClipSet(data.parts)
    for name in ("features", "spectrograms"):
        array = np.array(getattr(data, name))
        array[~seen] = array[~seen][::-1] * 1.5
        changed.__dict__[name] = array  # takes the place of the cached property
    for method in ("pca128", "print", "print_pca", "pair_pca"):
        before = METHODS[method].codes(Task(data, seen, 1, 0)).mu
        after = METHODS[method].codes(Task(changed, seen, 1, 0)).mu
        assert np.allclose(before[seen], after[seen], atol=1e-4), method
        assert not np.allclose(before[~seen], after[~seen], atol=1e-4), method


@pytest.mark.parametrize("method", ["pca128", "print_pca", "pair_pca"])
def test_a_pca_of_few_clips_has_no_component_of_noise(data, seen, method: str) -> None:
    """A probe divides each code by its deviation, so noise would become as loud as all else."""
    deviation = METHODS[method].codes(Task(data, seen, 1, 0)).mu[seen].std(0)
    assert deviation.min() > 1e-3 * deviation.max()


def test_the_supervised_net_learns_what_is_plain_to_see() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["low", "high"])[rng.integers(2, size=200)]
    x = rng.standard_normal((200, 32, 32)).astype(np.float32)
    x[labels == "low", :16] += 1
    x[labels == "high", 16:] += 1
    answers, loss = classify(ArrayDataset(x[:150]), labels[:150], ArrayDataset(x[150:]), 6, 0)
    assert (answers == labels[150:]).mean() > 0.95 and loss < 0.3
