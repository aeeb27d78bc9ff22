"""Examples for a net: scaled or standardised, and nobody heard in training is heard again."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.data import corpora, examples
from lib.runtime import stages as artifacts


@pytest.fixture(autouse=True)
def artifact_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path))


def everything(dataset: examples.ArrayDataset) -> np.ndarray:
    return dataset.__getitems__(np.arange(len(dataset))).numpy()


def test_digits_are_scaled_and_split_in_order() -> None:
    sets, identity = examples.load("digits", 1000, held_out=7)
    assert {split: len(part) for split, part in sets.items()} == {
        "train": 1000,
        "validation": 2000,
        "test": 10000,
    }
    assert identity == {"digits": 1000} and {part.shape for part in sets.values()} == {(28, 28)}
    x_train = corpora.digits("train")[0]
    for split, array in {"train": x_train[:1000], "validation": x_train[58000:]}.items():
        x = everything(sets[split])
        assert x.shape == (len(array), 1, 28, 28) and x.min() == 0 and x.max() == 1
        assert np.allclose(255 * x[:, 0], array, atol=1e-4)


def test_speech_is_standardised_by_training_and_persons_are_apart() -> None:
    sets, identity = examples.load("speech", 12, held_out=5)
    assert {split: len(part) for split, part in sets.items()} == {
        "train": 12,
        "validation": 5,
        "test": 5,
    }
    assert {part.shape for part in sets.values()} == {(48, 48)}
    x = everything(sets["train"]).astype(np.float64)
    assert abs(x.mean()) < 1e-3 and x.std() == pytest.approx(1, abs=1e-3)
    used = {split: part.standardiser for split, part in sets.items()}
    assert used["train"] is used["validation"] is used["test"]
    (folder,) = {path.parent for path in artifacts.root().glob(f"*/{identity['train']}")}
    groups = [
        set(pd.read_parquet(folder / identity[split] / "table.parquet")["group"]) for split in sets
    ]
    assert all(groups) and sum(map(len, groups)) == len(set.union(*groups))
    other, changed = examples.load("speech", 12, held_out=0, seed=1)
    assert list(other) == list(changed) == ["train"] and changed["train"] != identity["train"]
    assert not np.allclose(everything(other["train"]), x)
    again, same = examples.load("speech", 12, held_out=0)
    assert same == {"train": identity["train"]}
    assert np.array_equal(everything(again["train"]), everything(sets["train"]))
