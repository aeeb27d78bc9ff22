"""Maps and their numbers: against scikit-learn, by properties, and twice for the same bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.model_selection import LeaveOneGroupOut, LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from lib import BadInput
from lib.embeddings import maps as embeddings


def blobs(
    n: int = 90, classes: int = 2, distance: float = 2.0, seed: int = 0
) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(classes, size=n)
    points = rng.normal(size=(n, 2)) + distance * np.stack((codes, codes % 2), 1)
    return points, np.array(["delay", "overdrive", "flanger"])[codes], rng.integers(4, size=n)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), distance=st.floats(0, 3))
def test_knn_is_that_of_scikit_learn(seed: int, distance: float) -> None:
    points, labels, groups = blobs(distance=distance, seed=seed)  # two classes and k odd: no ties
    oracle = cross_val_score(KNeighborsClassifier(5), points, labels, cv=LeaveOneOut()).mean()
    assert embeddings.knn_accuracy(points, labels) == pytest.approx(oracle)
    splits = LeaveOneGroupOut().split(points, labels, groups)
    fitted = ((KNeighborsClassifier(5).fit(points[a], labels[a]), b) for a, b in splits)
    hits = [(model.predict(points[b]) == labels[b]).sum() for model, b in fitted]
    assert embeddings.knn_accuracy(points, labels, groups=groups) == pytest.approx(
        sum(hits) / len(points)
    )


def test_knn_tie_goes_to_the_nearest() -> None:
    points = np.array([[0.0], [1.0], [-1.1], [50.0], [51.0], [52.0]])
    labels = np.array(["a", "a", "b", "c", "c", "c"])
    assert embeddings.knn_accuracy(points, labels, k=2) == pytest.approx(
        5 / 6
    )  # only "b" is wrong; its two say "a"


def test_knn_leaves_the_own_group_out() -> None:
    centres = np.repeat(
        np.arange(8.0) * 100, 10
    )  # eight tight piles; each is one group and one class
    points = np.stack((centres + np.tile(np.arange(10), 8) / 100, centres * 0), 1)
    groups, labels = (
        (centres / 100).astype(int),
        np.where(centres / 100 % 2 == 0, "delay", "overdrive"),
    )
    assert embeddings.knn_accuracy(points, labels) == 1.0
    assert (
        embeddings.knn_accuracy(points, labels, groups=groups) <= 0.2
    )  # neighbouring piles are of the other class


def test_silhouette_sample_is_fixed_and_close() -> None:
    points, labels, _ = blobs(600, 3, 4.0)
    whole = embeddings.silhouette(points, labels, seed=1)
    part = embeddings.silhouette(points, labels, seed=1, most=300)
    assert part == embeddings.silhouette(points, labels, seed=1, most=300) != whole
    assert part == pytest.approx(whole, abs=0.05)


def test_pca_is_that_of_scikit_learn_on_a_memory_map(tmp_path) -> None:
    rng = np.random.default_rng(3)
    x = (
        rng.normal(size=(300, 5)) @ rng.normal(size=(5, 48)) * 5 + rng.normal(size=(300, 48)) * 0.1
    ).astype(np.float16)
    np.save(tmp_path / "x.npy", x.reshape(300, 6, 8))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    ours = embeddings.pca(mapped, 5, seed=0)
    oracle = PCA(5, svd_solver="full").fit_transform(x.astype(np.float64))
    assert ours.shape == (300, 5) and ours.dtype == np.float32
    np.testing.assert_allclose(np.abs(ours), np.abs(oracle), rtol=1e-3, atol=2e-2)


def test_umap_is_bit_identical_and_keeps_blobs_apart() -> None:
    rng = np.random.default_rng(4)
    codes = np.repeat([0, 1, 2], 40)
    x = (
        rng.normal(size=(120, 6, 20)) + 6 * codes[:, None, None] * (np.arange(6) % 3 == 1)[:, None]
    ).astype(np.float32)
    first, second = (embeddings.umap_2d(x, seed=42) for _ in range(2))
    assert first.shape == (120, 2) and first.tobytes() == second.tobytes()
    assert embeddings.knn_accuracy(first, codes) > 0.95
    assert embeddings.umap_2d(x, seed=43).tobytes() != first.tobytes()


def test_umap_gets_exact_neighbours_and_each_point_is_its_own_at_distance_0(monkeypatch) -> None:
    given = {}

    class Umap:
        def __init__(self, **options) -> None:
            given.update(options)

        def fit_transform(self, x: np.ndarray) -> np.ndarray:
            return x[:, :2]

    monkeypatch.setattr("umap.UMAP", Umap)
    x = (np.random.default_rng(6).normal(size=(300, 10)) * 1000).astype(
        np.float32
    )  # rounding shows
    embeddings.umap_2d(x, seed=42, n_neighbors=15)
    found, distances = given["precomputed_knn"]
    exact = np.linalg.norm(x.astype(np.float64)[:, None] - x, axis=-1)
    assert np.array_equal(found, np.argsort(exact, 1)[:, :15]) and not distances[:, 0].any()
    np.testing.assert_allclose(distances, np.sort(exact, 1)[:, :15], rtol=1e-4)
    assert (given["random_state"], given["n_jobs"]) == (42, 1)


@pytest.mark.slow
def test_umap_does_not_compile_its_approximate_search(monkeypatch) -> None:
    import umap.umap_

    def refuse(*args, **kwargs):
        raise AssertionError("approximate neighbours")

    monkeypatch.setattr(umap.umap_, "nearest_neighbors", refuse)
    x = np.random.default_rng(7).normal(size=(4200, 4)).astype(np.float32)
    first, second = (embeddings.umap_2d(x, seed=1, n_neighbors=5) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_reduce_is_pca_once_and_nothing_after() -> None:
    x = np.random.default_rng(8).normal(size=(70, 6, 10)).astype(np.float16)
    small = embeddings.reduce(x, seed=2)
    assert small.shape == (70, 50) and np.array_equal(small, embeddings.pca(x, 50, 2))
    assert np.array_equal(embeddings.reduce(small, seed=2), small)
    assert embeddings.reduce(x[:20], seed=2).shape == (20, 20)
    assert np.array_equal(embeddings.reduce(x[:, 0], seed=2), x[:, 0].astype(np.float32))


def test_trustworthiness_is_that_of_scikit_learn_on_a_fixed_sample() -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(size=(400, 8))
    for points in (x[:, :2], rng.normal(size=(400, 2))):
        assert embeddings.trustworthiness(x, points, seed=1) == pytest.approx(
            trustworthiness(x, points, n_neighbors=5)
        )
    assert embeddings.trustworthiness(x, x, seed=1) == 1.0
    assert embeddings.trustworthiness(x, rng.normal(size=(400, 2)), seed=1) == pytest.approx(
        0.5, abs=0.05
    )
    part = embeddings.trustworthiness(x, x[:, :2], seed=1, most=200)
    assert part == embeddings.trustworthiness(x, x[:, :2], seed=1, most=200)
    assert part == pytest.approx(embeddings.trustworthiness(x, x[:, :2], seed=1), abs=0.05)


def test_separation_names_the_four_numbers() -> None:
    points, labels, groups = blobs(120, 3, 3.0)
    numbers = embeddings.separation(points, labels, groups, seed=0, x=points)
    assert list(numbers) == ["knn5", "knn5_grouped", "silhouette", "trustworthiness"]
    assert numbers["knn5"] == embeddings.knn_accuracy(points, labels, k=5)
    assert numbers["trustworthiness"] == 1.0


def test_umap_panel_is_computed_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path))
    x, (_, labels, groups) = np.random.default_rng(5).normal(size=(60, 4, 5)), blobs(60)
    calls = []

    def load():
        calls.append(1)
        return x, labels, groups

    points, numbers = embeddings.umap_panel(load, {"data": 1}, seed=3)
    again, same = embeddings.umap_panel(load, {"data": 1}, seed=3)
    assert len(calls) == 1 and points.equals(again) and numbers == same
    assert np.array_equal(points[["x", "y"]].to_numpy(), embeddings.umap_2d(x, seed=3))
    assert list(points["label"]) == list(labels)
    assert numbers["knn5"] == embeddings.knn_accuracy(again[["x", "y"]], labels)
    embeddings.umap_panel(load, {"data": 2}, seed=3)
    assert len(calls) == 2  # other data, other map


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, y: embeddings.pca(p, 0, 0), "components: 0"),
        (lambda p, y: embeddings.pca(p, 3, 0), "components: 3"),
        (lambda p, y: embeddings.umap_2d(p, 0, n_neighbors=90), "n_neighbors: 90"),
        (lambda p, y: embeddings.umap_2d(p, 0, min_dist=2), "min_dist: 2"),
        (lambda p, y: embeddings.knn_accuracy(p, y, k=90), "k: 90"),
        (lambda p, y: embeddings.knn_accuracy(p, y, groups=np.zeros(90)), "k: 5 .* 0 other points"),
        (lambda p, y: embeddings.knn_accuracy(p, y, groups=np.zeros(3)), "groups: 3"),
        (lambda p, y: embeddings.knn_accuracy(p, y[:4]), "4 labels"),
        (lambda p, y: embeddings.knn_accuracy(p * np.nan, y), "nan"),
        (lambda p, y: embeddings.trustworthiness(p, p[:50], 0), "50 for 90 rows"),
        (lambda p, y: embeddings.trustworthiness(p[:10], p[:10], 0), "more than 10"),
        (lambda p, y: embeddings.silhouette(p, np.full(90, "delay"), 0), "labels: 1 class"),
    ],
)
def test_mistakes_are_named(call, message: str) -> None:
    points, labels, _ = blobs()
    with pytest.raises(BadInput, match=message):
        call(points, labels)
