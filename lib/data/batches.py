"""Data by the batch: arrays in memory or memory-mapped, and the order in which an epoch sees them. For story 03 on.

Items are not decoded one by one, which would cap training at a fraction of what the net can do: a batch is one index
into one array. The order of an epoch follows from (seed, epoch) alone, so a resumed run sees what it would have seen.
"""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lib import BadInput

TERMS = 6  # cosines of an equaliser's curve, the k-th at 1 / k


class Standardising(Protocol):
    """Anything that standardises spectrograms, for instance `lib.data.standardiser.Standardiser`."""

    def apply(self, x: Tensor) -> Tensor:
        """(batch, bin, frame) -> the same shape."""


class ArrayDataset(torch.utils.data.Dataset):
    """Pictures or spectrograms (n, bin, frame) in memory or memory-mapped, handed out by the batch.

    scale: factor on the stored values (1/255 for digits); standardiser: applied to each batch after that.
    """

    def __init__(
        self, array: np.ndarray, scale: float = 1.0, standardiser: Standardising | None = None
    ):
        if array.ndim != 3 or len(array) == 0:
            raise BadInput(
                f"array of shape {array.shape}: must be (example, bin, frame) with at least one example"
            )
        self.array, self.scale, self.standardiser = array, scale, standardiser

    @property
    def shape(self) -> tuple[int, int]:
        """(bin, frame) of one example."""
        return self.array.shape[1:]

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> Tensor:
        """One example, (1, bin, frame) float32."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int] | np.ndarray) -> Tensor:
        """The examples at these indices, (batch, 1, bin, frame) float32."""
        return self.prepare(self.array[indices]).unsqueeze(1)

    def prepare(self, stored: np.ndarray) -> Tensor:
        """Stored examples (batch, bin, frame) as the net sees them: float32, scaled and standardised."""
        x = torch.from_numpy(np.array(stored, dtype=np.float32)).mul_(
            self.scale
        )  # a copy: the data stay as they are
        return x if self.standardiser is None else self.standardiser.apply(x)


def stream(seed: int, *path: int) -> int:
    """A seed of its own for every place in a run: the same numbers, whatever was drawn before."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0])


def equalised(x: Tensor, amount: float, noise: torch.Generator | Tensor) -> Tensor:
    """Each example (batch, 1, bin, frame) plus a smooth random curve over its bins, of standard deviation `amount`.

    On dB spectrograms a random equaliser: another microphone, room or voice. noise: or what it drew, (batch, TERMS).
    """
    bins, k = x.shape[-2], torch.arange(TERMS)
    size = (1 + k).float().reciprocal()
    place = (torch.arange(bins) + 0.5)[:, None] / bins  # (bin, 1)
    curves = (
        torch.cos(math.pi * place * k) * torch.where(k > 0, math.sqrt(2), 1.0) * size / size.norm()
    )  # (bin, term)
    drawn = noise if isinstance(noise, Tensor) else torch.randn(len(x), TERMS, generator=noise)
    return x + amount * (drawn @ curves.T)[:, None, :, None].to(x.device)


class Equalised:
    """The examples of a data set `equalised`, each in its own way: an array (n, bin, frame) float32, read by slices."""

    def __init__(self, data: ArrayDataset, amount: float, noise: torch.Generator):
        self.data, self.amount, self.drawn = (
            data,
            amount,
            torch.randn(len(data), TERMS, generator=noise),
        )
        self.shape = (len(data), *data.shape)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, part: slice) -> np.ndarray:
        x = self.data.prepare(self.data.array[part]).unsqueeze(1)
        return equalised(x, self.amount, self.drawn[part])[:, 0].numpy()


class Batches:
    """The batches of an epoch: shuffled by (seed, epoch) where there is a seed, else in the order of the indices.

    ranks: processes that share each batch; `rank`, set later, gets every ranks-th example. Where a batch has fewer
    examples than there are ranks, those left over get its first example, which counts nothing.
    """

    def __init__(
        self,
        dataset: ArrayDataset,
        indices: np.ndarray,
        batch_size: int,
        seed: int | None = None,
        ranks: int = 1,
    ):
        self.dataset, self.indices, self.batch_size, self.seed = dataset, indices, batch_size, seed
        self.epoch, self.rank, self.ranks = 0, 0, ranks

    def __len__(self) -> int:
        return math.ceil(len(self.indices) / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = self.indices
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            yield self.dataset.__getitems__(
                batch[self.rank :: self.ranks] if self.rank < len(batch) else batch[:1]
            )

    def counted(self, index: int) -> int:
        """How many examples of batch `index` count on this rank."""
        size = min(self.batch_size, len(self.indices) - index * self.batch_size)
        return len(range(self.rank, size, self.ranks))
