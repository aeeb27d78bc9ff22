"""Standardisation of spectrograms, (x - mean) / std, before a net sees them. For chapter 04 on."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lib import BadInput


@dataclass(frozen=True)
class Standardiser:
    """Subtract a mean and divide by a standard deviation.

    "constants" takes both from the whole training set:
    `Standardiser("constants").fit(training_set)` returns a fitted copy. "per_clip" takes them from
    each clip, which therefore forgets how loud it was.
    """

    kind: Literal["per_clip", "constants"] = "constants"
    mean: float | None = None
    std: float | None = None

    def fit(self, array: np.ndarray, block: int = 128) -> "Standardiser":
        """Fit the two constants to an array or memory map (clip, bin, frame), block by block.

        The moments of blocks are merged in float64 as in Chan, Golub and LeVeque (1983). BadInput:
        all values of the array are equal, or one is not finite.
        """
        if self.kind == "per_clip":
            return self
        count = 0
        mean = 0.0
        squares = 0.0
        for start in range(0, len(array), block):
            part = np.asarray(array[start : start + block], dtype=np.float64)
            part_mean = part.mean()
            delta = part_mean - mean
            squares += ((part - part_mean) ** 2).sum()
            squares += delta**2 * count * part.size / (count + part.size)
            count += part.size
            mean += delta * part.size / count
        if count == 0 or not np.isfinite(squares) or squares == 0:
            raise BadInput(
                f"training set of {len(array)} clips: "
                "it must hold finite values that are not all equal"
            )
        return replace(self, mean=float(mean), std=float(np.sqrt(squares / count)))

    def apply(self, x: Tensor | np.ndarray) -> Tensor:
        """Standardised float32 copy of x (..., bin, frame)."""
        x = _as_float32(x)
        mean, std = self._moments(x)
        return (x - mean) / std

    def invert(self, x: Tensor | np.ndarray, like: Tensor | np.ndarray | None = None) -> Tensor:
        """Undo `apply` for x (..., bin, frame).

        like: the unstandardised clips, from which "per_clip" takes its moments again.
        """
        if self.kind == "per_clip" and like is None:
            raise BadInput(
                "normalise='per_clip' cannot be undone without the original clips: "
                "pass them as `like`"
            )
        x = _as_float32(x)
        mean, std = self._moments(x if like is None else _as_float32(like).to(x.device))
        return x * std + mean

    def _moments(self, x: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Mean and deviation by which x is standardised: two numbers, or one of each per clip."""
        if self.kind == "per_clip":
            mean = x.mean((-2, -1), keepdim=True)
            std = x.std((-2, -1), correction=0, keepdim=True)
            return mean, torch.where(std > 1e-6, std, 1.0)  # a flat clip becomes zeros
        if self.mean is None or self.std is None:
            raise BadInput(
                "normalise='constants' needs the training set first: "
                "Standardiser('constants').fit(x)"
            )
        return self.mean, self.std


def _as_float32(x: Tensor | np.ndarray) -> Tensor:
    """x as a float32 tensor; arrays are copied, because a memory map must not be written to."""
    if isinstance(x, Tensor):
        return x.float()
    return torch.from_numpy(np.array(x, dtype=np.float32))
