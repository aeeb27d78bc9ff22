"""Examples for a net: scaled or standardised, and no person on two sides of a split."""

import numpy as np
import pandas as pd
import pytest

from lib.audio.levels import loudness
from lib.data.batches import ArrayDataset
from lib.data.digits import load_digits
from lib.data.examples import load_examples, paired_splits
from lib.runtime import stages


@pytest.fixture(autouse=True)
def artifact_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path))


def all_of(dataset: ArrayDataset) -> np.ndarray:
    return dataset[np.arange(len(dataset))].numpy()


def test_digits_are_scaled_and_split_in_order() -> None:
    data = load_examples("digits", 1000, held_out=7)
    assert (len(data.train), len(data.validation), len(data.test)) == (1000, 2000, 10000)
    assert data.key == {"digits": 1000} and data.train.shape == (28, 28)
    x_train = load_digits("train")[0]
    for dataset, array in [(data.train, x_train[:1000]), (data.validation, x_train[58000:])]:
        x = all_of(dataset)
        assert x.shape == (len(array), 1, 28, 28) and x.min() == 0 and x.max() == 1
        assert np.allclose(255 * x[:, 0], array, atol=1e-4)


def test_speech_is_standardised_by_training_and_persons_are_apart() -> None:
    data = load_examples("speech", 12, held_out=5)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 5, 5)
    assert data.train.shape == data.test.shape == (48, 48)
    x = all_of(data.train).astype(np.float64)
    assert abs(x.mean()) < 1e-3 and x.std() == pytest.approx(1, abs=1e-3)
    assert data.train.standardiser is data.validation.standardiser is data.test.standardiser
    groups = []
    for folder in data.key.values():
        table = pd.read_parquet(stages.root() / "render" / folder / "table.parquet")
        groups.append(set(table["group"]))
    assert len(groups) == 3 and all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_a_seed_draws_other_clips_and_the_key_says_so() -> None:
    one, same, other = (load_examples("speech", 4, held_out=0, seed=seed) for seed in (0, 0, 1))
    assert one.validation is one.test is None and list(one.key) == ["train"]
    assert one.key == same.key and np.array_equal(all_of(one.train), all_of(same.train))
    assert one.key != other.key and not np.allclose(all_of(one.train), all_of(other.train))


def test_pairs_are_floored_standardised_by_wet_training_clips_and_prepared_alike() -> None:
    pairs, data = paired_splits(("speech", "music"), ("delay", "overdrive"), 3, 6, 1, -50.0)
    train, test = pairs["train"], pairs["test"]
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 8, 24)
    assert data.train.shape == (96, 48) and len(data.key["pairs"]) == 6
    wet, dry = train.x
    assert wet.shape == dry.shape == (12, 1, 48, 48)
    assert abs(wet.double().mean()) < 1e-3 and wet.double().std() == pytest.approx(1, abs=1e-3)
    scale = train.data.standardiser
    floor = (-50.0 - scale.mean) / scale.std
    assert min(wet.min(), dry.min()) == pytest.approx(floor, abs=1e-3)
    assert data.validation.standardiser is data.test.standardiser is scale
    part = test.parts[0]  # float16 on disk
    assert np.allclose(test.picture(part.wet(2))[0], test.x[0][2], atol=5e-3)
    assert np.allclose(test.picture(part.dry(2))[0], test.x[1][2], atol=5e-3)
    assert not set(train.table["group"]) & set(test.table["group"])
    sound = test.to_audio(test.x[0][2], part.dry(2))
    assert sound.shape == part.dry(2).shape
    assert loudness(sound, 24000) == pytest.approx(-23, abs=0.01)
