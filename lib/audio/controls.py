"""Effects and their controls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Parameter:
    """One control of an effect, from low to high in its unit; a linear or logarithmic way from 0 to 1 between them."""

    name: str
    low: float
    high: float
    unit: str
    scale: Literal["linear", "log"] = "linear"

    def denormalise(self, unit: float) -> float:
        """Value for a position in [0, 1]."""
        log = self.scale == "log"
        return float(
            self.low * (self.high / self.low) ** unit
            if log
            else self.low + (self.high - self.low) * unit
        )

    def normalise(self, value: float) -> float:
        """Position in [0, 1] for a value."""
        way, length = value - self.low, self.high - self.low
        return float(
            np.log(value / self.low) / np.log(self.high / self.low)
            if self.scale == "log"
            else way / length
        )


@dataclass(frozen=True)
class Effect:
    """A class: its name, the label that figures show, its parameters, and apply(audio, rate_hz, **values) -> audio."""

    name: str
    label: str
    parameters: tuple[Parameter, ...]
    apply: Callable[..., np.ndarray]
