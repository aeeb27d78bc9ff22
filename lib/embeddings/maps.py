"""Maps of many spectrograms and how well classes separate on them: PCA, UMAP, nearest neighbours, silhouette, trust.

Introduced by story 07. Everything is seeded: a second run on the same machine gives the same bits. UMAP gets at most
50 principal components, which is what its neighbours are found in and keeps long spectrograms cheap.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from lib import BadInput
from lib.runtime import stages as artifacts

BLOCK = 256  # rows read at a time, so that an array on disk is in memory once, as float32, and not twice


def _check(points: np.ndarray, labels: np.ndarray, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    points, labels = np.asarray(points, np.float64), np.asarray(labels)
    if points.ndim != 2 or len(points) != len(labels):
        raise BadInput(
            f"points: shape {points.shape} with {len(labels)} labels; wanted (n, features) with n labels"
        )
    if not np.isfinite(points).all():
        raise BadInput("points: contain nan or infinity; embed finite values")
    if len(np.unique(labels)) < least:
        raise BadInput(f"labels: {len(np.unique(labels))} class; separation needs at least {least}")
    return points, labels


def pca(x: np.ndarray, components: int, seed: int) -> np.ndarray:
    """Coordinates (n, components) of the rows of x (n, ...) on their first principal components, float32.

    x may be a memory map of any shape beyond the first axis. Randomised SVD (Halko et al., 2011), seeded. Raises
    BadInput when more components are asked for than rows or columns can give.
    """
    rows, columns = len(x), int(np.prod(x.shape[1:]))
    if not 1 <= components <= min(rows, columns):
        raise BadInput(
            f"components: {components}; {rows} rows of {columns} numbers allow 1 to {min(rows, columns)}"
        )
    flat = np.empty((rows, columns), np.float32)
    for start in range(0, rows, BLOCK):
        flat[start : start + BLOCK] = np.asarray(x[start : start + BLOCK]).reshape(-1, columns)
    model = PCA(components, svd_solver="randomized", random_state=seed, copy=False)
    return model.fit_transform(flat).astype(np.float32)


def reduce(x: np.ndarray, seed: int, components: int = 50) -> np.ndarray:
    """Rows of x (n, ...) as at most `components` numbers, float32: PCA, unless x already has no more than these."""
    rows, columns = len(x), int(np.prod(x.shape[1:]))
    return (
        pca(x, min(components, rows), seed)
        if columns > components
        else np.float32(x).reshape(rows, columns)
    )


def umap_2d(
    x: np.ndarray, seed: int, n_neighbors: int = 15, min_dist: float = 0.1, pca_components: int = 50
) -> np.ndarray:
    """UMAP (McInnes et al., 2018) of the rows of x (n, ...) to the plane: (n, 2) float32, the same bits every time.

    PCA to `pca_components` comes first where x has more columns. n_neighbors: local (small) or global (large)
    structure; min_dist: how tightly points may lie. Neighbours come from an exact search: UMAP's approximate one, which
    it uses from 4,096 rows on, compiles for half a minute first. BadInput: n_neighbors not below the number of rows.
    """
    if not 2 <= n_neighbors < len(x):
        raise BadInput(f"n_neighbors: {n_neighbors}; {len(x)} rows allow 2 to {len(x) - 1}")
    if not 0 <= min_dist <= 1:
        raise BadInput(f"min_dist: {min_dist}; wanted 0 to 1")
    reduced, oneself = reduce(x, seed, pca_components), np.arange(len(x))[:, None]
    distances, others = (
        NearestNeighbors(n_neighbors=n_neighbors - 1, algorithm="brute").fit(reduced).kneighbors()
    )
    knn = (
        np.hstack((oneself, others)),
        np.hstack((0.0 * oneself, distances)).astype(np.float32),
    )  # (n, n_neighbors)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of Tensorflow, of widgets, and that no new point can be put on the map
        from umap import UMAP  # a slow import: numba compiles

        model = UMAP(
            n_neighbors=n_neighbors,
            min_dist=min_dist,
            precomputed_knn=knn,
            random_state=seed,
            n_jobs=1,
        )
        return model.fit_transform(reduced).astype(np.float32)


def knn_accuracy(
    points: np.ndarray, labels: np.ndarray, k: int = 5, groups: np.ndarray | None = None
) -> float:
    """Share of points whose k nearest other points vote for their own class, leave-one-out, exact search.

    points: (n, features); labels: (n,). With groups (n,), all points of the point's own group (person, song) are
    left out as well: what remains is knowledge from other voices. A tie goes to the tied class whose
    neighbour is nearest. Raises BadInput when fewer than k neighbours remain.
    """
    points, labels = _check(points, labels)
    classes, codes = np.unique(labels, return_inverse=True)
    if groups is not None and len(groups) != len(points):
        raise BadInput(f"groups: {len(groups)} for {len(points)} points; give one each")
    everyone = np.ones(len(points), bool)
    own_points = (
        [everyone]
        if groups is None
        else [np.asarray(groups) == group for group in np.unique(groups)]
    )
    correct = 0
    for own in own_points:  # the queries; the neighbours come from the others
        others = everyone if groups is None else ~own
        left = int(others.sum()) - (groups is None)
        if left < k:
            raise BadInput(
                f"k: {k} neighbours wanted, {left} other points are left; use more points or a lower k"
            )
        search = NearestNeighbors(n_neighbors=k).fit(points[others])
        found = search.kneighbors(
            None if groups is None else points[own], return_distance=False
        )  # None: not oneself
        votes = codes[others][found]  # (queries, k), nearest first
        counts = (votes[:, :, None] == np.arange(len(classes))).sum(1)  # (queries, classes)
        tied = np.take_along_axis(counts, votes, 1) == counts.max(
            1, keepdims=True
        )  # neighbours of a winning class
        winner = votes[np.arange(len(votes)), tied.argmax(1)]
        correct += int((winner == codes[own]).sum())
    return correct / len(points)


def silhouette(points: np.ndarray, labels: np.ndarray, seed: int, most: int = 2000) -> float:
    """Mean silhouette (Rousseeuw, 1987), -1 to 1, of a seeded sample of at most `most` points: it costs n^2."""
    points, labels = _check(points, labels)
    chosen = _sample(len(points), seed, most)
    return float(silhouette_score(points[chosen], labels[chosen]))


def _sample(count: int, seed: int, most: int) -> np.ndarray:
    """Sorted indices of at most `most` of `count` rows."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def trustworthiness(
    x: np.ndarray, points: np.ndarray, seed: int, k: int = 5, most: int = 2000
) -> float:
    """How far the k neighbours on the map are neighbours in x, too (Venna and Kaski, 2001): 1 all, about 1/2 by chance.

    x: (n, features), what was mapped; points: (n, 2). Of a seeded sample of at most `most` rows, neighbours within it.
    """
    if not len(x) == len(points) > 2 * k:
        raise BadInput(
            f"points: {len(points)} for {len(x)} rows; wanted as many, and more than {2 * k}"
        )
    chosen = _sample(len(x), seed, most)
    return float(sklearn_trustworthiness(x[chosen], points[chosen], n_neighbors=k))


def separation(
    points: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int, x: np.ndarray
) -> dict[str, float]:
    """The four numbers under a panel: knn5 (leave-one-out), knn5_grouped (own person or song left out), silhouette,
    and trustworthiness against what was mapped, x (n, features).
    """
    return {
        "knn5": knn_accuracy(points, labels),
        "knn5_grouped": knn_accuracy(points, labels, groups=groups),
        "silhouette": silhouette(points, labels, seed),
        "trustworthiness": trustworthiness(x, points, seed),
    }


def umap_panel(
    load: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]],
    data_key: dict,
    seed: int,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """A map and its four numbers, computed once: the stage "umap", kept as Parquet.

    load: gives spectrograms (n, bin, frame), or what `reduce` made of them, labels (n,) and groups (n,), called only
    when the map is not there yet;
    data_key: JSON-able, identifies what `load` gives. Returns the points (columns x, y, label, group) and `separation`.
    """

    def build(folder: Path) -> None:
        x, labels, groups = load()
        x = reduce(x, seed)
        points = umap_2d(x, seed, n_neighbors, min_dist)
        table = pd.DataFrame(
            {"x": points[:, 0], "y": points[:, 1], "label": labels, "group": groups}
        )
        table.to_parquet(folder / "points.parquet", index=False)
        pd.DataFrame([separation(points, labels, groups, seed, x)]).to_parquet(
            folder / "numbers.parquet", index=False
        )

    config = {"data": data_key, "seed": seed, "n_neighbors": n_neighbors, "min_dist": min_dist}
    folder = artifacts.stage("umap", config, build, __name__)
    return pd.read_parquet(folder / "points.parquet"), pd.read_parquet(
        folder / "numbers.parquet"
    ).iloc[0].to_dict()
