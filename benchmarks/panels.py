"""Eight UMAP panels, speech and music under two to five effects: the book's way against UMAP as it comes. Wall seconds.

The book takes each corpus as a job of its own, reduces spectrograms to 50 components, finds neighbours exactly and
seeds everything. `defaults` is `umap.UMAP().fit` on flattened spectrograms, panel after panel, with all threads. The
facts are the 5-NN accuracy of each panel.
"""

from collections.abc import Callable, Iterator

import joblib
import numpy as np
import pandas as pd

from lib.audio.effects import REPORT_ORDER
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig, render
from lib.embeddings import maps as embeddings

Work = Callable[[], tuple[float, dict[str, float]]]
SEED = 42


def _panels(corpus: str, clips: list[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Spectrograms and effects of each panel of a corpus; clips: of each effect, for 2, 3, ... effects."""
    for number, count in enumerate(clips, 2):
        parts = []
        for place, effect in enumerate(REPORT_ORDER[:number]):
            source = ClipConfig(corpus=corpus, split="all", seed=SEED)
            most = max(clips[max(0, place - 1) :])  # what the largest panel with this effect needs
            parts.append(
                render(RenderConfig(clips=source, effects=(effect,), clips_per_effect=most))
            )
        x = np.concatenate([part.spectrograms[:count] for part in parts])
        yield x, pd.concat([part.table[:count] for part in parts])["effect"].to_numpy()


def _rendered(corpus: str, clips: list[int]) -> None:
    """Makes the renderings, which are stages, and maps a few clips, so that numba compiles."""
    for x, _ in _panels(corpus, clips):
        embeddings.umap_2d(x[:40], SEED)


def _ours(corpus: str, clips: list[int]) -> dict[str, float]:
    """Of each panel, by corpus and number of effects, the share of points whose five neighbours vote right."""
    return {
        f"{corpus}, {number} effects": embeddings.knn_accuracy(embeddings.umap_2d(x, SEED), labels)
        for number, (x, labels) in enumerate(_panels(corpus, clips), 2)
    }


def ours(corpora: list[str], clips: list[int]) -> Work:
    pool = joblib.Parallel(len(corpora))
    pool(joblib.delayed(_rendered)(corpus, clips) for corpus in corpora)

    def work() -> tuple[float, dict[str, float]]:
        found = pool(joblib.delayed(_ours)(corpus, clips) for corpus in corpora)
        facts = {name: value for each in found for name, value in each.items()}
        return len(facts), facts

    return work


def defaults(corpora: list[str], clips: list[int]) -> Work:
    import warnings

    warnings.simplefilter("ignore")
    from umap import UMAP

    data = {
        f"{corpus}, {number} effects": panel
        for corpus in corpora
        for number, panel in enumerate(_panels(corpus, clips), 2)
    }
    first, _ = next(iter(data.values()))
    UMAP().fit(first.reshape(len(first), -1).astype(np.float32)[:40])  # numba compiles

    def work() -> tuple[float, dict[str, float]]:
        facts = {}
        for name, (x, labels) in data.items():
            points = UMAP().fit(x.reshape(len(x), -1).astype(np.float32)).embedding_
            facts[name] = embeddings.knn_accuracy(points, labels)
        return len(facts), facts

    return work


CONTENDERS = {"ours": ours, "defaults": defaults}
