"""Data by the batch, and the order in which an epoch sees them. For chapter 03 on.

Items are not decoded one by one, which would cap training at a fraction of what the net can do: a
batch is one index into one array. The order of an epoch follows from (seed, epoch) alone, so a
resumed run sees what it would have seen.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import BadInput


class ArrayDataset(torch.utils.data.Dataset):
    """Pictures or spectrograms (n, bin, frame) in memory or memory-mapped, handed out by the batch.

    scale: factor on the stored values (1/255 for digits). standardiser: an object such as
    `lib.data.standardiser.Standardiser`, whose `apply` is called with each batch after that.
    """

    def __init__(self, array: np.ndarray, scale: float = 1.0, standardiser: Any = None) -> None:
        if array.ndim != 3 or len(array) == 0:
            raise BadInput(
                f"array of shape {array.shape}: "
                "must be (example, bin, frame) with at least one example"
            )
        self.array = array
        self.scale = scale
        self.standardiser = standardiser

    @property
    def shape(self) -> tuple[int, int]:
        """(bin, frame) of one example."""
        return self.array.shape[1:]

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> Tensor:
        """One example (1, bin, frame) float32, or (batch, 1, bin, frame) of a slice or list."""
        if isinstance(index, int | np.integer):
            return self[[index]][0]
        return self.prepare(self.array[index]).unsqueeze(1)

    def prepare(self, stored: np.ndarray) -> Tensor:
        """Stored examples (batch, bin, frame) as a net sees them: float32, standardised."""
        copy = np.array(stored, dtype=np.float32)  # the data themselves stay as they are
        x = torch.from_numpy(copy).mul_(self.scale)
        return x if self.standardiser is None else self.standardiser.apply(x)


@dataclass(frozen=True)
class Splits:
    """The data sets of an experiment. key: JSON-able, identifies them in the name of a stage."""

    train: ArrayDataset
    validation: ArrayDataset | None
    test: ArrayDataset | None
    key: dict[str, Any]


class Batches:
    """The batches of an epoch: shuffled by (seed, epoch), or in order where seed is None.

    Of several processes that train together each sets `rank` and `ranks`, and gets its share of
    every batch.
    """

    def __init__(
        self, dataset: ArrayDataset, indices: np.ndarray, batch_size: int, seed: int | None = None
    ) -> None:
        self.dataset = dataset
        self.indices = indices
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.rank = 0
        self.ranks = 1

    def __len__(self) -> int:
        return math.ceil(len(self.indices) / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = self.indices
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            share = batch[self.rank :: self.ranks]
            yield self.dataset[share if len(share) else batch[:1]]


def seed_stream(seed: int, *path: int) -> int:
    """A seed for each place in a run, by its path: independent of what was drawn before."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0])
