"""Probes: folds keep groups whole; chance on noise, certainty on blobs; R^2 of a known line."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import BadInput
from lib.embeddings import probes

SEEN = np.arange(640) < 320


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 8), min_size=40, max_size=120), st.integers(2, 4), st.integers(0, 50)
)
def test_folds_keep_groups_whole_and_leave_none_out(groups, count, seed) -> None:
    groups = np.array(groups)
    if len(set(groups)) < count:
        with pytest.raises(BadInput, match=f"folds = {count}"):
            probes.folds(groups, count, seed)
        return
    fold = probes.folds(groups, count, seed)
    assert set(fold) == set(range(count))
    assert all(len(set(fold[groups == group])) == 1 for group in set(groups))
    assert np.array_equal(fold, probes.folds(groups, count, seed))


def blobs(distance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    labels = np.tile(np.repeat(["a", "b", "c", "d"], 80), 2)
    centres = distance * np.tile(np.repeat(np.eye(4, 12), 80, axis=0), (2, 1))
    return centres + np.random.default_rng(seed).standard_normal((640, 12)), labels


@pytest.mark.parametrize("name", probes.PROBES)
def test_probes_know_what_is_there_and_nothing_more(name: str) -> None:
    assert probes.accuracies(*blobs(12), SEEN, 0, (name,)) == {name: 1.0}
    assert abs(probes.accuracies(*blobs(0, seed=1), SEEN, 0, (name,))[name] - 0.25) < 0.1


def test_a_probe_does_not_depend_on_units() -> None:
    codes, labels = blobs(2)
    scaled = probes.accuracies(codes * 10.0 ** np.arange(-6, 6), labels, SEEN, 0)
    assert probes.accuracies(codes, labels, SEEN, 0) == pytest.approx(scaled, abs=0.02)


def test_parameters_are_regressed_where_they_are() -> None:
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((640, 6))
    place = np.arange(640) % 320
    units = pd.DataFrame(
        {
            "delay.mix": np.where(place % 2 == 0, 0.5 + 0.1 * codes[:, 0], np.nan),
            "delay.feedback": rng.random(640),
            "phaser.mix": np.where(place < probes.LEAST - 1, 0.5, np.nan),
        }
    )
    r2 = probes.parameters_r2(codes, units, SEEN)
    assert set(r2) == {"delay.mix", "delay.feedback"}  # the phaser has too few clips
    assert r2["delay.mix"] > 0.99 and r2["delay.feedback"] < 0.1
