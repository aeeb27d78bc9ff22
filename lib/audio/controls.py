"""What an effect is: a function of audio, and a table of the controls it has. See chapter 02."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Parameter:
    """One control of an effect, whose positions from 0 to 1 lead from `low` to `high`."""

    name: str
    low: float
    high: float
    unit: str = ""
    scale: Literal["linear", "log"] = "linear"

    def denormalise(self, position: float) -> float:
        """Value, in the control's unit, of a position in [0, 1]."""
        if self.scale == "log":
            return float(self.low * (self.high / self.low) ** position)
        return float(self.low + (self.high - self.low) * position)


@dataclass(frozen=True)
class Effect:
    """One class of sound: `apply(audio, rate_hz, **values)` returns wet audio (sample,).

    `label` is what figures show.
    """

    name: str
    label: str
    parameters: tuple[Parameter, ...]
    apply: Callable[..., np.ndarray]
