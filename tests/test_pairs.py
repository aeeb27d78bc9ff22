"""Pairs of pictures: floored, standardised by training, and a further clip is prepared like those on disk."""

from pathlib import Path

import numpy as np
import pytest

from lib.data import pairs


@pytest.fixture(autouse=True)
def artifact_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path))


def test_pairs_are_floored_standardised_by_wet_training_pictures_and_drawn_again_alike() -> None:
    train = pairs.pairs(("speech", "music"), "train", ("delay", "overdrive"), 3, 1, -50.0)
    scale = train.data.standardiser
    test = pairs.pairs(("speech",), "test", ("delay",), 4, 1, -50.0, scale)
    assert (
        len(train.table) == len(train.data) == 12
        and train.data.shape == (96, 48)
        and len(test.data) == 4
    )
    wet, dry = train.x
    assert wet.shape == dry.shape == (12, 1, 48, 48)
    assert abs(wet.double().mean()) < 1e-3 and wet.double().std() == pytest.approx(1, abs=1e-3)
    floor = (-50.0 - scale.mean) / scale.std
    assert (
        min(wet.min(), dry.min()) == pytest.approx(floor, abs=1e-3)
        and test.data.standardiser is scale
    )
    part = test.parts[0]  # float16 on disk
    assert np.allclose(test.picture(part.wet(2))[0], test.x[0][2], atol=5e-3)
    assert np.allclose(test.picture(part.dry(2))[0], test.x[1][2], atol=5e-3)
    assert not set(train.table["group"]) & set(test.table["group"])
