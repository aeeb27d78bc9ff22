"""Maps of many clips in the plane by UMAP, and numbers that say how well classes separate there.

Chapter 09 introduces the maps and their numbers, chapter 10 the map of latent codes. Everything is
seeded: a second run on the same machine gives the same bits.
"""

import warnings
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.metrics import pairwise_distances, silhouette_score
from sklearn.neighbors import NearestNeighbors

from lib import BadInput
from lib.data.rendering import ClipSet
from lib.embeddings import probes
from lib.embeddings.methods import Embedding, packed
from lib.runtime import stages

COMPONENTS = 50  # principal components in which UMAP looks for neighbours
SAMPLE = 2000  # silhouette and trustworthiness compare all pairs of at most this many rows
EXACT = 4096  # UMAP compares all pairs below this many rows, slowly unless given distances


def reduce(x: np.ndarray, seed: int) -> np.ndarray:
    """Rows of x (n, ...) as at most 50 principal components, (n, component) float32.

    x may be a memory map. The PCA is a randomised SVD (Halko et al., 2011), seeded. Rows of 50
    values or fewer are returned as they are.
    """
    flat = np.array(x, np.float32).reshape(len(x), -1)  # a copy, which PCA may overwrite
    if flat.shape[1] <= COMPONENTS:
        return flat
    count = min(COMPONENTS, len(flat))
    model = PCA(count, svd_solver="randomized", random_state=seed, copy=False)
    return model.fit_transform(flat).astype(np.float32)


@contextmanager
def _quiet_umap():
    """The class UMAP, without its warnings about TensorFlow, ipywidgets and `transform`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP  # a slow import, because numba compiles: only where it is needed

        yield UMAP


def umap_2d(x: np.ndarray, seed: int, n_neighbors: int = 15, min_dist: float = 0.1) -> np.ndarray:
    """UMAP (McInnes et al., 2018) of the rows of x (n, ...) after `reduce`: (n, 2) float32.

    n_neighbors: few show local, many global structure. min_dist: how tightly points may lie, 0 to
    1. The neighbours are exact: UMAP's own search is approximate from 4,096 rows on, and compiles
    for half a minute first. Raises BadInput when n_neighbors is not below the number of rows.
    """
    if not 2 <= n_neighbors < len(x):
        raise BadInput(f"n_neighbors: {n_neighbors}; {len(x)} rows allow 2 to {len(x) - 1}")
    x = reduce(x, seed)
    search = NearestNeighbors(n_neighbors=n_neighbors - 1, algorithm="brute").fit(x)
    distances, others = search.kneighbors()
    # UMAP counts a point as its own first neighbour, at distance 0.
    itself = np.arange(len(x))[:, None]
    neighbours = np.hstack([itself, others])
    distances = np.hstack([np.zeros((len(x), 1)), distances]).astype(np.float32)
    with _quiet_umap() as umap:
        model = umap(
            n_neighbors=n_neighbors,
            min_dist=min_dist,
            precomputed_knn=(neighbours, distances),
            random_state=seed,
            n_jobs=1,
        )
        return model.fit_transform(x).astype(np.float32)


def _nearest_others(points, k, groups):
    """Indices (n, k) of the nearest other points, nearest first; with groups, of other groups."""
    if groups is None:
        return NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)
    neighbours = np.empty((len(points), k), int)
    for group in np.unique(groups):
        own = groups == group
        others = np.flatnonzero(~own)
        search = NearestNeighbors(n_neighbors=k).fit(points[others])
        neighbours[own] = others[search.kneighbors(points[own], return_distance=False)]
    return neighbours


def knn_accuracy(
    points: np.ndarray, labels: np.ndarray, k: int = 5, groups: np.ndarray | None = None
) -> float:
    """Share of points whose k nearest other points vote for their class: leave-one-out, exact.

    points: (n, features); labels: (n,). With groups (n,) a point's whole group (person, song) is
    left out: what remains is knowledge from other voices. A tie goes to the class whose neighbour
    is nearest, where scikit-learn's classifier takes the first in the alphabet. Raises BadInput
    when fewer than k neighbours remain.
    """
    points = np.asarray(points, np.float64)
    largest = 1
    if groups is not None:
        groups = np.asarray(groups)
        largest = np.unique(groups, return_counts=True)[1].max()
    left = len(points) - largest
    if left < k:
        remedy = "use more points, more groups or a lower k"
        raise BadInput(f"k: {k} neighbours wanted, {left} other points are left; {remedy}")
    codes = np.unique(labels, return_inverse=True)[1]
    votes = codes[_nearest_others(points, k, groups)]  # (n, k), nearest first
    support = (votes[:, :, None] == votes[:, None, :]).sum(2)  # (n, k): votes for the same class
    winner = votes[np.arange(len(votes)), support.argmax(1)]  # argmax takes the nearest of a tie
    return float((winner == codes).mean())


def separation(
    points: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int, x: np.ndarray
) -> dict[str, float]:
    """Four numbers on a map of x (n, features): points (n, 2), labels (n,), groups (n,).

    knn5 is leave-one-out; knn5_grouped leaves out a point's own person or song. silhouette
    (Rousseeuw, 1987) goes from -1 to 1. trustworthiness (Venna and Kaski, 2001) says how far the
    five neighbours on the map are neighbours in x as well: 1 if all are, about 1/2 by chance. These
    two are of a seeded sample of the rows.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(points))[:SAMPLE])
    plane = np.asarray(points, np.float64)
    return {
        "knn5": knn_accuracy(points, labels),
        "knn5_grouped": knn_accuracy(points, labels, groups=groups),
        "silhouette": float(silhouette_score(plane[rows], labels[rows])),
        "trustworthiness": float(trustworthiness(x[rows], points[rows])),
    }


def map_stage(
    load: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]],
    data_key: dict,
    seed: int,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """A map (columns x, y, label, group) and its `separation`, computed once: the stage "umap".

    load: returns spectrograms (n, bin, frame) or rows from `reduce`, labels (n,), groups (n,). It
    is called only when the map is not there yet. data_key: JSON-able, identifies what it returns.
    """

    def build(folder):
        x, labels, groups = load()
        x = reduce(x, seed)
        points = umap_2d(x, seed, n_neighbors, min_dist)
        columns = {"x": points[:, 0], "y": points[:, 1], "label": labels, "group": groups}
        pd.DataFrame(columns).to_parquet(folder / "points.parquet", index=False)
        numbers = pd.DataFrame([separation(points, labels, groups, seed, x)])
        numbers.to_parquet(folder / "numbers.parquet", index=False)

    config = {"data": data_key, "seed": seed, "n_neighbors": n_neighbors, "min_dist": min_dist}
    folder = stages.stage("umap", config, build, __name__)
    points = pd.read_parquet(folder / "points.parquet")
    numbers = pd.read_parquet(folder / "numbers.parquet")
    return points, numbers.iloc[0].to_dict()


def latent_map(
    embedding: Embedding, data: ClipSet, seen: np.ndarray, seed: int
) -> tuple[pd.DataFrame, float]:
    """UMAP of the latent means of the clips in `seen`, in which the others are placed.

    seen: bool (clip,). Returns the map of all clips (columns x, y, label, group, seen; the stage
    "latent_map") and the share of unseen clips whose five nearest seen points in the plane vote
    for the right effect.
    """

    def build(folder):
        mu = embedding.mu
        train, test = mu[seen], mu[~seen]
        metric = "euclidean"
        if len(train) < EXACT:
            metric = "precomputed"
            train, test = pairwise_distances(train), pairwise_distances(test, train)
        points = np.empty((len(mu), 2), np.float32)
        with _quiet_umap() as umap:
            model = umap(metric=metric, random_state=seed, n_jobs=1).fit(train)
            points[seen] = model.embedding_
            points[~seen] = model.transform(test)
        table = pd.DataFrame(points, columns=["x", "y"])
        table = table.assign(label=data.effects, group=data.groups, seen=seen)
        table.to_parquet(folder / "points.parquet", index=False)

    config = {"embed": embedding.folder.name, "seen": packed(seen), "seed": seed}
    folder = stages.stage("latent_map", config, build, __name__)
    table = pd.read_parquet(folder / "points.parquet")
    plane, labels = table[["x", "y"]].to_numpy(), table["label"].to_numpy()
    accuracy = probes.accuracies(plane, labels, seen, seed, ("knn5",))
    return table, accuracy["knn5"]
