"""What an embedding knows: probes trained on some groups, asked about others. Introduced by story 08.

Every score is of persons or songs that neither encoder nor probe has met: folds are by group, and a probe is trained on
codes of the encoder's own training clips.
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
LEAST = 30  # clips on either side, below which no parameter is regressed


def folds(groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold of each clip, 0 to count - 1, whole groups shuffled by seed. BadInput: fewer groups than folds."""
    if len(np.unique(groups)) < count:
        raise BadInput(
            f"folds = {count}: the clips come from {len(np.unique(groups))} groups; use fewer folds"
        )
    found = np.empty(len(groups), int)
    parts = GroupKFold(count, shuffle=True, random_state=seed).split(groups, groups=groups)
    for number, (_, held_out) in enumerate(parts):
        found[held_out] = number
    return found


def probe(name: str, codes: np.ndarray, labels: np.ndarray, seed: int) -> ClassifierMixin:
    """A probe of PROBES on standardised codes (clip, value), trained on labels (clip,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of iterations that ran out: the probe is what it is
        return make_pipeline(StandardScaler(), PROBES[name](seed)).fit(codes, labels)


def accuracies(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    truth: np.ndarray,
    seed: int,
    names: tuple[str, ...] = tuple(PROBES),
) -> dict[str, float]:
    """Accuracy on the test codes of each probe: name -> share of clips named rightly."""
    return {
        name: float((probe(name, train, labels, seed).predict(test) == truth).mean())
        for name in names
    }


def parameters_r2(
    train: np.ndarray, train_units: pd.DataFrame, test: np.ndarray, test_units: pd.DataFrame
) -> dict[str, float]:
    """R^2 on the test codes of a ridge regression of every effect parameter, from 0 to 1, on the training codes.

    units: `effect.parameter` in [0, 1] for each parameter, NaN in the rows of other effects, which are left out.
    """
    found = {}
    for name in train_units:
        here, there = train_units[name].notna().to_numpy(), test_units[name].notna().to_numpy()
        if min(here.sum(), there.sum()) >= LEAST:
            model = make_pipeline(StandardScaler(), RidgeCV(np.geomspace(1, 1e4, 9)))
            model.fit(train[here], train_units[name][here])
            found[name] = float(model.score(test[there], test_units[name][there]))
    return found
