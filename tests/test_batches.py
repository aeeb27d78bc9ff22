"""Batches and standardiser against numpy, the random equaliser against its definition."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.batches import ArrayDataset, Batches
from lib.data.equaliser import Equalised, equalised
from lib.data.standardiser import Standardiser


def test_a_memory_map_is_standardised_by_the_batch_and_left_as_it_is(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(23, 5, 4)).astype(np.float16)
    np.save(tmp_path / "x.npy", array)
    standardiser = Standardiser(mean=2, std=4)
    dataset = ArrayDataset(np.load(tmp_path / "x.npy", mmap_mode="r"), standardiser=standardiser)
    x = dataset[[7, 3, 7]]
    assert x.shape == (3, 1, 5, 4) and x.dtype == torch.float32
    assert np.array_equal(x[:, 0], (array[[7, 3, 7]].astype(np.float32) - 2) / 4)
    assert torch.equal(dataset[3], x[1]) and torch.equal(dataset.prepare(dataset.array[3:4]), x[1])
    floats = array.astype(np.float32)
    assert torch.equal(ArrayDataset(floats, scale=3)[0][0], torch.from_numpy(3 * floats[0]))
    assert np.array_equal(array, dataset.array) and np.array_equal(array.astype(np.float32), floats)


def test_an_epoch_sees_every_example_once_in_an_order_of_its_own() -> None:
    dataset = ArrayDataset(np.arange(23, dtype=np.float32).reshape(23, 1, 1))
    batches = Batches(dataset, np.arange(23), 5, seed=3)
    orders = []
    for batches.epoch in (0, 1, 0):
        sizes = [len(batch) for batch in batches]
        assert sizes == [5, 5, 5, 5, 3] and len(batches) == 5
        orders.append(torch.cat(list(batches)).flatten().tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(23))
    assert torch.cat(list(Batches(dataset, np.array([4, 2]), 1))).flatten().tolist() == [4, 2]


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_processes_share_each_batch(ranks: int) -> None:
    dataset = ArrayDataset(np.arange(21, dtype=np.float32).reshape(21, 1, 1))
    shares = []
    for rank in range(ranks):
        share = Batches(dataset, np.arange(21), 5, seed=4)
        share.rank, share.ranks = rank, ranks
        shares.append(share)
    whole = Batches(dataset, np.arange(21), 5, seed=4)
    for batch, *parts in zip(whole, *shares, strict=True):
        share = len(batch) // ranks
        assert {len(part) for part in parts} <= {max(1, share), 1 + share}
        assert set(torch.cat(parts).flatten().tolist()) == set(batch.flatten().tolist())


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 17),
    st.floats(-90, 40),
    st.floats(0.1, 20),
    st.integers(0, 9),
)
def test_constants_are_numpys_moments_whatever_the_block(clips, block, mean, std, seed) -> None:
    x = np.random.default_rng(seed).normal(mean, std, (clips, 5, 4)).astype(np.float16)
    fitted = Standardiser("constants").fit(x, block=block)
    assert fitted.mean == pytest.approx(x.astype(np.float64).mean(), rel=1e-9, abs=1e-9)
    assert fitted.std == pytest.approx(x.astype(np.float64).std(), rel=1e-9)
    y = fitted.apply(x)
    assert y.dtype == torch.float32 and abs(y.mean()) < 1e-3 and abs(y.std(correction=0) - 1) < 1e-3
    torch.testing.assert_close(fitted.invert(y), torch.as_tensor(x).float(), rtol=1e-5, atol=1e-3)


def test_per_clip_gives_each_clip_mean_0_and_deviation_1_and_is_undone_by_the_original() -> None:
    x = np.random.default_rng(0).normal(-40, 12, (3, 1, 20, 30)).astype(np.float16)
    x[1] = -100  # a flat clip
    standardiser = Standardiser("per_clip").fit(x)
    y = standardiser.apply(x)
    np.testing.assert_allclose(y.mean((-2, -1)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((-2, -1), correction=0)[[0, 2]], 1, atol=1e-4)
    assert (y[1] == 0).all()
    back = standardiser.invert(y, like=x)
    torch.testing.assert_close(back, torch.as_tensor(x).float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("bins", "amount"), [(48, 3.0), (7, 0.5)])
def test_the_equaliser_is_a_curve_over_bins_of_that_deviation(bins: int, amount: float) -> None:
    def added(seed: int) -> torch.Tensor:
        return equalised(x, amount, torch.Generator().manual_seed(seed)) - x

    x = torch.randn(4000, 1, bins, 3, generator=torch.Generator().manual_seed(1))
    curves = added(2)[:, 0, :, 0]
    assert torch.allclose(added(2), curves[:, None, :, None].expand_as(x), atol=1e-5)
    assert curves.square().mean().sqrt() == pytest.approx(amount, rel=0.02)
    assert curves.mean().abs() < 0.05 * amount and curves.var(0).min() > 0
    assert not torch.allclose(curves[0], curves[1], atol=0.01 * amount)
    assert torch.equal(added(2), added(2)) and not torch.allclose(added(2), added(3))
    data = ArrayDataset(x[:, 0].numpy())
    array = Equalised(data, amount, torch.Generator().manual_seed(2))
    assert array.shape == (4000, bins, 3) and len(array) == 4000
    assert np.allclose(array[5:9], (x + added(2))[5:9, 0].numpy(), atol=1e-5)
