"""A random equaliser for spectrograms in dB: another microphone or room. For chapter 08."""

import math

import numpy as np
import torch
from torch import Tensor

from lib.data.batches import ArrayDataset

TERMS = 6  # cosines that make up a curve; the k-th has weight 1 / k


def equalised(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Add a smooth random curve over its bins to each example of x (batch, 1, bin, frame).

    amount: standard deviation of the curve, in the units of x.
    """
    return _add_curves(x, amount, torch.randn(len(x), TERMS, generator=generator))


class Equalised:
    """The examples of a data set, each with its own curve, as an array that is read by slices.

    Its shape is (n, bin, frame), its values are float32.
    """

    def __init__(self, data: ArrayDataset, amount: float, generator: torch.Generator) -> None:
        self.data = data
        self.amount = amount
        self.weights = torch.randn(len(data), TERMS, generator=generator)
        self.shape = (len(data), *data.shape)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, part: slice) -> np.ndarray:
        x = self.data.prepare(self.data.array[part]).unsqueeze(1)
        return _add_curves(x, self.amount, self.weights[part])[:, 0].numpy()


def _add_curves(x: Tensor, amount: float, weights: Tensor) -> Tensor:
    """Add a sum of cosines over the bins to each example of x (batch, 1, bin, frame).

    weights: (batch, TERMS), drawn from a standard normal.
    """
    bins = x.shape[-2]
    k = torch.arange(TERMS)
    size = (1 + k).float().reciprocal()
    place = (torch.arange(bins) + 0.5)[:, None] / bins  # (bin, 1)
    norm = torch.where(k > 0, math.sqrt(2), 1.0)
    curves = torch.cos(math.pi * place * k) * norm * size / size.norm()  # (bin, term)
    return x + amount * (weights @ curves.T)[:, None, :, None].to(x.device)
