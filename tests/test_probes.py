"""Probes: folds that keep groups whole, chance on noise, certainty on separated classes, R^2 against a known line."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import BadInput
from lib.embeddings import probes


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 8), min_size=40, max_size=120), st.integers(2, 4), st.integers(0, 50)
)
def test_folds_keep_groups_whole_and_leave_none_out(
    groups: list[int], count: int, seed: int
) -> None:
    groups = np.array(groups)
    if len(set(groups)) < count:
        with pytest.raises(BadInput, match=f"folds = {count}"):
            probes.folds(groups, count, seed)
        return
    found = probes.folds(groups, count, seed)
    assert set(found) == set(range(count))
    assert all(len(set(found[groups == group])) == 1 for group in set(groups))
    assert np.array_equal(found, probes.folds(groups, count, seed))


def blobs(distance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(["a", "b", "c", "d"], 80)
    centres = distance * np.eye(4, 12)[np.repeat(range(4), 80)]
    return centres + np.random.default_rng(seed).standard_normal((320, 12)), labels


@pytest.mark.parametrize("name", probes.PROBES)
def test_probes_know_what_is_there_and_nothing_more(name: str) -> None:
    far, labels = blobs(12)
    near, _ = blobs(0, seed=1)
    there, nothing = blobs(12, seed=2)[0], blobs(0, seed=3)[0]
    assert probes.accuracies(far, labels, there, labels, 0, (name,)) == {name: 1.0}
    assert abs(probes.accuracies(near, labels, nothing, labels, 0, (name,))[name] - 0.25) < 0.1


def test_a_probe_does_not_depend_on_units() -> None:
    codes, labels = blobs(2)
    test, _ = blobs(2, seed=1)
    scale = 10.0 ** np.arange(-6, 6)
    other = probes.accuracies(codes * scale, labels, test * scale, labels, 0)
    assert probes.accuracies(codes, labels, test, labels, 0) == pytest.approx(other, abs=0.02)


def test_parameters_are_regressed_where_they_are() -> None:
    rng = np.random.default_rng(0)
    codes, test = rng.standard_normal((400, 6)), rng.standard_normal((400, 6))

    def units(x: np.ndarray) -> pd.DataFrame:
        known = np.where(np.arange(len(x)) % 2 == 0, 0.5 + 0.1 * x[:, 0], np.nan)
        few = np.where(np.arange(len(x)) < probes.LEAST - 1, 0.5, np.nan)
        return pd.DataFrame(
            {"delay.mix": known, "delay.feedback": rng.random(len(x)), "phaser.mix": few}
        )

    found = probes.parameters_r2(codes, units(codes), test, units(test))
    assert set(found) == {"delay.mix", "delay.feedback"}  # too few clips of the third
    assert found["delay.mix"] > 0.99 and found["delay.feedback"] < 0.1
