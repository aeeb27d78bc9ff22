"""The calculator of story 05: what book/_static/calculator.js needs to know of each data set, as JSON inside the page.

The script draws the water level, the predicted numbers and the predicted reconstruction; it needs no server.
"""

import base64

import numpy as np
from IPython.display import HTML

from lib import BadInput
from lib.book import widgets
from lib.theory.components import Pca

COMPONENTS = 64  # most latents that can be chosen


def _packed(values: np.ndarray, signed: bool) -> dict:
    """Numbers as one byte each: {"scale", "offset", "data"}, value = offset + scale * byte."""
    low, high = float(values.min()), float(values.max())
    scale = (max(abs(low), abs(high)) / 127 if signed else (high - low) / 255) or 1.0
    offset = 0.0 if signed else low
    packed = np.rint((values - offset) / scale).astype(np.int8 if signed else np.uint8)
    return {"scale": scale, "offset": offset, "data": base64.b64encode(packed.tobytes()).decode()}


def dataset(
    key: str,
    name: str,
    pca: Pca,
    examples: int,
    shape: tuple[int, int],
    pictures: dict[str, np.ndarray],
    lower: bool,
) -> dict:
    """One choice of the calculator. pictures: by name, (bin, frame), prepared; lower: first bin at the bottom.

    The eigenvalues and coefficients are kept in full, pictures and components as bytes: they are for the eye.
    """
    if len(pca.eigenvalues) < COMPONENTS:
        raise BadInput(
            f"pca of {key!r} has {len(pca.eigenvalues)} components: the calculator needs {COMPONENTS}"
        )
    shown = {title: np.asarray(picture, np.float64).ravel() for title, picture in pictures.items()}
    low, high = np.percentile(np.concatenate(list(shown.values())), (0.5, 99.5))
    components = pca.components[:COMPONENTS]
    return {
        "key": key,
        "name": name,
        "n_values": len(pca.mean),
        "examples": examples,
        "total": pca.total_variance,
        "eigenvalues": pca.eigenvalues[:COMPONENTS].tolist(),
        "shape": list(shape),
        "origin": "lower" if lower else "upper",
        "range": [float(low), float(high)],
        "mean": _packed(pca.mean, False),
        "components": _packed(components, True),
        "pictures": [
            {
                "name": title,
                "data": _packed(x, False),
                "coefficients": (components @ (x - pca.mean)).tolist(),
            }
            for title, x in shown.items()
        ],
    }


def calculator(datasets: list[dict], latents: int, beta: float = 1.0) -> HTML:
    """The calculator with these data sets, opened at the report's loss."""
    defaults = {
        "dataset": datasets[0]["key"],
        "reduction": "mean-sum",
        "beta": beta,
        "latents": latents,
    }
    return HTML(widgets.div("collapse-calculator", {"datasets": datasets, "defaults": defaults}))
