"""Embeddings compared: every method on a small folder of sound; scores against probes; stages; the supervised net."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile

from lib.data.batches import ArrayDataset
from lib.data.clipset import Clipset, clipset
from lib.embeddings import methods as encoders
from lib.embeddings import probes
from lib.embeddings.classifier import train_and_name

RATE_HZ = 24000


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four persons, two effects that a mean spectrum tells apart, at fixed settings."""
    folder = tmp_path_factory.mktemp("sounds")
    t = np.arange(4 * RATE_HZ) / RATE_HZ
    for person in range(4):
        rng = np.random.default_rng(person)
        buzz = sum(np.sin(2 * np.pi * (90 + 30 * person) * k * t) / k for k in range(1, 20))
        audio = 0.1 * buzz * (1.2 + np.sin(2 * np.pi * 3 * t)) + 0.01 * rng.normal(size=t.size)
        (folder / f"person{person}").mkdir()
        soundfile.write(
            folder / f"person{person}" / "a.wav", audio.astype(np.float32), RATE_HZ, subtype="FLOAT"
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARTIFACTS_DIR", str(tmp_path_factory.mktemp("artifacts")))
        yield clipset(f"folder:{folder}", ("overdrive", "delay"), 16, 3, "fixed")


def test_a_clipset_is_its_renderings_one_after_another(data) -> None:
    assert list(data.effects) == ["overdrive"] * 16 + ["delay"] * 16
    assert data.spectrograms.shape[0] == data.prints.shape[0] == len(data.table) == 32
    assert np.array_equal(data.prints[20], data.parts[1].prints[4])
    assert all("." in name for name in data.units)


@pytest.mark.slow
@pytest.mark.parametrize("method", [*encoders.METHODS, "supervised_cnn"])
def test_every_method_gives_finite_codes_of_all_clips_and_the_scores_of_the_unseen(
    data, method: str
) -> None:
    seen = probes.folds(data.groups, 2, 0) != 0
    folder = encoders.embed(data, method, seen, seen, 2, 0)
    assert encoders.embed(data, method, seen, seen, 2, 0) == folder  # found, not computed again
    row = pd.read_parquet(folder / "scores.parquet").iloc[0]
    if method == "supervised_cnn":
        assert 0 <= row["cnn"] <= 1
        return
    mu = np.load(folder / "mu.npy")
    assert len(mu) == len(data.table) and np.isfinite(mu).all()
    expected = probes.accuracies(
        mu[seen], data.effects[seen], mu[~seen], data.effects[~seen], 0, ("logistic",)
    )
    assert row["logistic"] == pytest.approx(expected["logistic"], abs=1e-9)
    if (folder / "log_var.npy").exists():
        assert np.load(folder / "log_var.npy").shape == mu.shape and row["kl"] >= 0


def test_nothing_of_the_unseen_clips_is_fitted(data) -> None:
    """Other prints and pictures in the unseen rows leave the codes of the seen ones as they are."""
    seen = probes.folds(data.groups, 2, 0) != 0
    changed = Clipset(data.parts)
    for name in ("prints", "spectrograms"):
        array = np.array(getattr(data, name))
        array[~seen] = array[~seen][::-1] * 1.5
        changed.__dict__[name] = array  # what cached_property would have found
    for method in ("pca128", "print", "print_pca", "pair_pca"):
        one, other = (encoders.METHODS[method].codes(x, seen, 1, 0)[0] for x in (data, changed))
        assert np.allclose(one[seen], other[seen], atol=1e-4), method
        assert not np.allclose(one[~seen], other[~seen], atol=1e-4), method


@pytest.mark.parametrize("method", ["pca128", "print_pca", "pair_pca"])
def test_a_pca_of_few_clips_has_no_component_of_noise(data, method: str) -> None:
    """A probe divides by a component's deviation on the training clips, so noise would become the loudest of all."""
    seen = probes.folds(data.groups, 2, 0) != 0
    codes = encoders.METHODS[method].codes(data, seen, 1, 0)[0]
    assert codes[seen].std(0).min() > 1e-3 * codes[seen].std(0).max()


@pytest.mark.slow
def test_the_map_holds_every_clip_once(data) -> None:
    seen = probes.folds(data.groups, 2, 0) != 0
    folder = encoders.embed(data, "print_pca", seen, seen, 2, 0)
    points, votes = encoders.latent_map(folder, data, seen, 0)
    assert list(points["label"]) == list(data.effects) and np.array_equal(points["seen"], seen)
    assert np.isfinite(points[["x", "y"]].to_numpy()).all() and 0 <= votes <= 1


@pytest.mark.slow
@pytest.mark.parametrize("seen_clips", [1500, encoders.UMAP_EXACT])
def test_the_map_is_that_of_umap_whatever_the_number_of_clips(
    tmp_path, monkeypatch, seen_clips: int
) -> None:
    """Below and above the number from which UMAP searches by itself: islands of effects, the unseen on their own."""
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path))
    rng, embedded = np.random.default_rng(0), tmp_path / "embed" / "made_up"
    effect = rng.integers(3, size=seen_clips + 60)
    embedded.mkdir(parents=True)
    np.save(
        embedded / "mu.npy",
        (9 * np.eye(3, 8)[effect] + rng.standard_normal((len(effect), 8))).astype(np.float32),
    )
    clips = SimpleNamespace(
        effects=np.array(["a", "b", "c"])[effect], groups=np.full(len(effect), "g")
    )
    points, votes = encoders.latent_map(embedded, clips, np.arange(len(effect)) < seen_clips, 0)
    assert votes > 0.95 and len(points) == len(effect)


def test_the_supervised_net_learns_what_is_plain_to_see() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["low", "high"])[rng.integers(2, size=200)]
    x = rng.standard_normal((200, 32, 32)).astype(np.float32)
    x[labels == "low", :16] += 1
    x[labels == "high", 16:] += 1
    named, loss = train_and_name(ArrayDataset(x[:150]), labels[:150], ArrayDataset(x[150:]), 6, 0)
    assert (named == labels[150:]).mean() > 0.95 and loss < 0.3
