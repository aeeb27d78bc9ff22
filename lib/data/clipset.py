"""Clips under effects, several renderings as one set, with pictures, prints and labels. Introduced by story 08."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lib.audio import effects
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig, Rendered, render


@dataclass(frozen=True)
class Clipset:
    """Clips under effects from one or more renderings, with prints."""

    parts: tuple[Rendered, ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        return pd.concat([part.table for part in self.parts], ignore_index=True)

    @cached_property
    def spectrograms(self) -> np.ndarray:
        return np.concatenate([part.spectrograms for part in self.parts])

    @cached_property
    def prints(self) -> np.ndarray:
        return np.concatenate([part.prints for part in self.parts])

    @property
    def effects(self) -> np.ndarray:
        return self.table["effect"].to_numpy()

    @property
    def groups(self) -> np.ndarray:
        return self.table["group"].to_numpy()

    @property
    def units(self) -> pd.DataFrame:
        """`effect.parameter` columns, in [0, 1]."""
        return self.table[[name for name in self.table if "." in name]]

    @property
    def key(self) -> list[str]:
        return [part.folder.name for part in self.parts]


def clipset(
    corpus: str,
    names: tuple[str, ...],
    clips_per_effect: int,
    seed: int,
    settings: str = "random",
    progress: Callable[..., Any] | None = None,
) -> Clipset:
    """Clips of all groups of a corpus under these effects, a rendering each; no two effects share a draw."""
    parts = []
    for name in names:
        source = ClipConfig(
            corpus=corpus, split="all", seed=seed + 1000 * list(effects.EFFECTS).index(name)
        )
        parts.append(
            render(
                RenderConfig(
                    clips=source,
                    effects=(name,),
                    settings=settings,
                    clips_per_effect=clips_per_effect,
                    prints=True,
                ),
                progress=progress,
            )
        )
    return Clipset(tuple(parts))
