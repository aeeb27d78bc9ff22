"""Eight UMAP panels, speech and music under two to five effects: our way and UMAP as it comes.

The book takes each corpus as a job of its own, reduces spectrograms to 50 components, finds
neighbours exactly and seeds everything. `defaults` is `umap.UMAP().fit` on flattened
spectrograms, panel after panel, with all threads. Wall seconds count.
"""

import warnings

import joblib
import numpy as np
import pandas as pd

from lib.audio.effects import REPORT_ORDER
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig, render
from lib.embeddings import maps

SEED = 42


def _panels(corpus: str, clips: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Spectrograms and effects of each panel; clips: of each effect, for 2, 3, ... effects."""
    sets = []
    for place, effect in enumerate(REPORT_ORDER[: len(clips) + 1]):
        source = ClipConfig(corpus=corpus, split="all", seed=SEED + 1000 * place)
        most = max(clips[max(0, place - 1) :])
        config = RenderConfig(clips=source, effects=(effect,), clips_per_effect=most)
        sets.append(render(config))
    panels = []
    for number, count in enumerate(clips, 2):
        x = np.concatenate([each.spectrograms[:count] for each in sets[:number]])
        labels = pd.concat([each.table[:count] for each in sets[:number]])["effect"]
        panels.append((x, labels.to_numpy()))
    return panels


def _maps(corpus: str, clips: list[int], most: int | None) -> list[float]:
    """The 5-NN accuracy of each panel; most: clips of each panel, or None for all."""
    panels = [(x[:most], labels[:most]) for x, labels in _panels(corpus, clips)]
    return [maps.knn_accuracy(maps.umap_2d(x, SEED), labels) for x, labels in panels]


def ours(corpora: list[str], clips: list[int]):
    pool = joblib.Parallel(len(corpora))
    pool(joblib.delayed(_maps)(corpus, clips, 40) for corpus in corpora)  # renders and compiles
    yield
    accuracies = pool(joblib.delayed(_maps)(corpus, clips, None) for corpus in corpora)
    flat = [value for each in accuracies for value in each]
    yield len(flat), {"knn5": float(np.mean(flat))}


def defaults(corpora: list[str], clips: list[int]):
    warnings.simplefilter("ignore")
    from umap import UMAP

    panels = [panel for corpus in corpora for panel in _panels(corpus, clips)]
    flat = [(x.reshape(len(x), -1).astype(np.float32), labels) for x, labels in panels]
    UMAP().fit(flat[0][0][:40])  # numba compiles
    yield
    accuracies = [maps.knn_accuracy(UMAP().fit(x).embedding_, labels) for x, labels in flat]
    yield len(panels), {"knn5": float(np.mean(accuracies))}
