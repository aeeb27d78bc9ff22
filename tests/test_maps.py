"""Maps and their numbers: against scikit-learn, by properties, and twice for the same bits."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score
from sklearn.model_selection import LeaveOneGroupOut, LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from lib.embeddings import maps
from lib.embeddings.methods import Embedding


def blobs(n=90, classes=2, distance=2.0, seed=0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(classes, size=n)
    points = rng.normal(size=(n, 2)) + distance * np.stack((codes, codes % 2), 1)
    return points, np.array(["delay", "overdrive", "flanger"])[codes], rng.integers(4, size=n)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), distance=st.floats(0, 3))
def test_knn_is_that_of_scikit_learn(seed: int, distance: float) -> None:
    points, labels, groups = blobs(distance=distance, seed=seed)  # two classes, k odd: no ties
    oracle = KNeighborsClassifier(5)
    alone = cross_val_predict(oracle, points, labels, cv=LeaveOneOut())
    assert maps.knn_accuracy(points, labels) == np.mean(alone == labels)
    grouped = cross_val_predict(oracle, points, labels, groups=groups, cv=LeaveOneGroupOut())
    assert maps.knn_accuracy(points, labels, groups=groups) == np.mean(grouped == labels)


def test_a_tie_goes_to_the_nearest() -> None:
    points = np.array([[0.0], [1.0], [-1.1], [50.0], [51.0], [52.0]])
    labels = np.array(["a", "a", "b", "c", "c", "c"])
    # Only "b" is wrong: both of its neighbours are "a".
    assert maps.knn_accuracy(points, labels, k=2) == pytest.approx(5 / 6)


def test_separation_is_that_of_scikit_learn_on_a_fixed_sample(monkeypatch) -> None:
    points, labels, groups = blobs(600, 3, 4.0)
    x = np.hstack([points, np.random.default_rng(9).normal(size=(600, 6))])
    whole = maps.separation(points, labels, groups, 1, x)
    assert whole["silhouette"] == pytest.approx(silhouette_score(points, labels))
    assert whole["trustworthiness"] == pytest.approx(trustworthiness(x, points, n_neighbors=5))
    monkeypatch.setattr(maps, "SAMPLE", 300)
    part = maps.separation(points, labels, groups, 1, x)
    assert part == maps.separation(points, labels, groups, 1, x) != whole
    assert part == pytest.approx(whole, abs=0.05)


def test_reduce_is_the_pca_of_scikit_learn_on_a_memory_map(tmp_path) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 50)) @ rng.normal(size=(50, 60)) * 5 + rng.normal(size=(300, 60)) / 10
    np.save(tmp_path / "x.npy", x.astype(np.float16).reshape(300, 6, 10))
    reduced = maps.reduce(np.load(tmp_path / "x.npy", mmap_mode="r"), seed=0)
    assert reduced.shape == (300, 50) and reduced.dtype == np.float32
    oracle = PCA(50, svd_solver="full").fit_transform(x.astype(np.float16).astype(float))
    np.testing.assert_allclose(np.abs(reduced[:, :10]), np.abs(oracle[:, :10]), rtol=0.01, atol=0.3)
    assert np.array_equal(maps.reduce(reduced, seed=0), reduced)
    assert maps.reduce(x[:20], seed=2).shape == (20, 20)


def test_umap_is_bit_identical_and_keeps_blobs_apart() -> None:
    rng = np.random.default_rng(4)
    codes = np.repeat([0, 1, 2], 40)
    x = rng.normal(size=(120, 6, 20)).astype(np.float32)
    x[:, 1::3] += 6 * codes[:, None, None]
    first, second = maps.umap_2d(x, seed=42), maps.umap_2d(x, seed=42)
    assert first.shape == (120, 2) and first.tobytes() == second.tobytes()
    assert maps.knn_accuracy(first, codes) > 0.95
    assert maps.umap_2d(x, seed=43).tobytes() != first.tobytes()


def test_umap_gets_exact_neighbours_and_each_point_is_its_own_at_distance_0(monkeypatch) -> None:
    options = {}

    class Umap:
        def __init__(self, **given) -> None:
            options.update(given)

        def fit_transform(self, x: np.ndarray) -> np.ndarray:
            return x[:, :2]

    monkeypatch.setattr("umap.UMAP", Umap)
    x = np.random.default_rng(6).normal(size=(300, 10)).astype(np.float32) * 1000  # rounding shows
    maps.umap_2d(x, seed=42, n_neighbors=15)
    neighbours, distances = options["precomputed_knn"]
    exact = np.linalg.norm(x.astype(np.float64)[:, None] - x, axis=-1)
    assert np.array_equal(neighbours, np.argsort(exact, 1)[:, :15]) and not distances[:, 0].any()
    np.testing.assert_allclose(distances, np.sort(exact, 1)[:, :15], rtol=1e-4)
    assert (options["random_state"], options["n_jobs"]) == (42, 1)


def test_a_map_is_computed_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path))
    x, (_, labels, groups) = np.random.default_rng(5).normal(size=(60, 4, 5)), blobs(60)
    calls = []

    def load() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        calls.append(1)
        return x, labels, groups

    points, numbers = maps.map_stage(load, {"data": 1}, seed=3)
    again, same = maps.map_stage(load, {"data": 1}, seed=3)
    assert len(calls) == 1 and points.equals(again) and numbers == same
    plane = points[["x", "y"]].to_numpy()
    assert np.array_equal(plane, maps.umap_2d(x, seed=3)) and list(points["label"]) == list(labels)
    assert numbers == maps.separation(plane, labels, groups, 3, maps.reduce(x, 3))
    assert list(numbers) == ["knn5", "knn5_grouped", "silhouette", "trustworthiness"]
    maps.map_stage(load, {"data": 2}, seed=3)
    assert len(calls) == 2  # other data, another map


@pytest.mark.slow
@pytest.mark.parametrize("count", [1500, maps.EXACT])
def test_the_latent_map_is_that_of_umap_below_and_above_its_search(tmp_path, monkeypatch, count):
    """Three islands of effects; unseen clips land on their own."""
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path))
    rng = np.random.default_rng(0)
    effect = rng.integers(3, size=count + 60)
    mu = 9 * np.eye(3, 8)[effect] + rng.standard_normal((count + 60, 8))
    np.save(tmp_path / "mu.npy", mu.astype(np.float32))
    clips = SimpleNamespace(effects=np.array(["a", "b", "c"])[effect], groups=effect * 0)
    seen = np.arange(len(effect)) < count
    points, accuracy = maps.latent_map(Embedding(tmp_path), clips, seen, 0)
    assert accuracy > 0.95 and np.isfinite(points[["x", "y"]].to_numpy()).all()
    assert list(points["label"]) == list(clips.effects) and np.array_equal(points["seen"], seen)
