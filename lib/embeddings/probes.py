"""Probes say what an embedding knows: models, trained on codes of some clips, answer for others.

Chapter 10 introduces them. All scores are of persons or songs that neither encoder nor probe has
met: folds keep groups whole, and a probe is trained on codes of the clips that the encoder was
trained on.
"""

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lib import BadInput

PROBES: dict[str, Callable[[int], ClassifierMixin]] = {
    "logistic": lambda seed: LogisticRegression(C=0.03, max_iter=300),
    "forest": lambda seed: RandomForestClassifier(100, min_samples_leaf=2, random_state=seed),
    "lda": lambda seed: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    "knn5": lambda seed: KNeighborsClassifier(5),
}
LEAST = 30  # fewer clips in training or test are too few to regress a parameter


def folds(groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Number of the fold of each clip, 0 to count - 1; groups (clip,) stay whole and are shuffled.

    Raises BadInput when there are fewer groups than folds.
    """
    n_groups = len(np.unique(groups))
    if n_groups < count:
        raise BadInput(f"folds = {count}: the clips come from {n_groups} groups; use fewer folds")
    fold = np.empty(len(groups), int)
    splits = GroupKFold(count, shuffle=True, random_state=seed).split(groups, groups=groups)
    for number, (_, held_out) in enumerate(splits):
        fold[held_out] = number
    return fold


def probe(name: str, codes: np.ndarray, labels: np.ndarray, seed: int) -> ClassifierMixin:
    """The probe `name`, trained on standardised codes (clip, value) and labels (clip,)."""
    with warnings.catch_warnings():
        # scikit-learn warns when iterations run out. That is fine: 300 steps define this probe.
        warnings.simplefilter("ignore")
        return make_pipeline(StandardScaler(), PROBES[name](seed)).fit(codes, labels)


def accuracies(
    codes: np.ndarray,
    labels: np.ndarray,
    seen: np.ndarray,
    seed: int,
    names: tuple[str, ...] = tuple(PROBES),
) -> dict[str, float]:
    """Accuracy of each probe on the clips outside `seen`, after training on those inside.

    codes: (clip, value); labels: (clip,); seen: bool (clip,).
    """
    accuracy = {}
    for name in names:
        model = probe(name, codes[seen], labels[seen], seed)
        correct = model.predict(codes[~seen]) == labels[~seen]
        accuracy[name] = float(correct.mean())
    return accuracy


def parameters_r2(codes: np.ndarray, units: pd.DataFrame, seen: np.ndarray) -> dict[str, float]:
    """R^2 on the clips outside `seen` of a ridge regression from codes to each effect parameter.

    codes: (clip, value); seen: bool (clip,). units: a column `effect.parameter` for each parameter,
    from 0 to 1, NaN in the rows of other effects, which take no part in the regression.
    """
    r2 = {}
    for name in units:
        known = units[name].notna().to_numpy()
        train, test = known & seen, known & ~seen
        if min(train.sum(), test.sum()) < LEAST:
            continue
        model = make_pipeline(StandardScaler(), RidgeCV(np.geomspace(1, 1e4, 9)))
        model.fit(codes[train], units[name][train])
        r2[name] = float(model.score(codes[test], units[name][test]))
    return r2
