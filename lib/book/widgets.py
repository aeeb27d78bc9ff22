"""Widgets of a page: a div with JSON inside, which a script of book/_static brings to life.

The calculator is introduced by chapter 05, the collapse slider by chapter 06. Neither needs a
server. `lib.book.explorer` makes the third widget, the map of chapter 14.
"""

import base64
import io
import json

import numpy as np
from IPython.display import HTML

from lib import BadInput
from lib.book import figures
from lib.theory import collapse
from lib.theory.components import Pca

COMPONENTS = 64  # the most latents that the calculator offers


def div(name: str, payload: dict, **data: str) -> str:
    """HTML of a div of class `name` with the payload inside; data: its data- attributes by name.

    We write "<" as its code, so that no text in the payload can end the script.
    """
    attributes = "".join(f' data-{key}="{value}"' for key, value in data.items())
    text = json.dumps(payload).replace("<", "\\u003c")
    return f'<div class="{name}"{attributes}><script type="application/json">{text}</script></div>'


def calculator(datasets: list[dict], latents: int) -> HTML:
    """The calculator over some `calculator_dataset`s, opened at the report's loss with beta = 1."""
    defaults = {"dataset": datasets[0]["key"], "reduction": "mean-sum", "beta": 1.0}
    defaults["latents"] = latents
    return HTML(div("collapse-calculator", {"datasets": datasets, "defaults": defaults}))


def calculator_dataset(
    key: str,
    name: str,
    pca: Pca,
    examples: int,
    shape: tuple[int, int],
    pictures: dict[str, np.ndarray],
    lower: bool,
) -> dict:
    """One choice of the calculator.

    pictures: prepared examples (bin, frame) by their names; lower: the first bin is at the bottom.
    Eigenvalues and coefficients stay exact. Pictures and components are packed into bytes: they are
    only looked at. BadInput for a PCA of fewer than 64 components.
    """
    count = len(pca.eigenvalues)
    if count < COMPONENTS:
        raise BadInput(f"pca of {key!r} has {count} components: the calculator needs {COMPONENTS}")
    components = pca.components[:COMPONENTS]
    flat = {title: np.asarray(x, np.float64).ravel() for title, x in pictures.items()}
    rows = []
    for title, x in flat.items():
        coefficients = components @ (x - pca.mean)
        rows.append({"name": title, "data": _packed(x), "coefficients": coefficients.tolist()})
    return {
        "key": key,
        "name": name,
        "n_values": len(pca.mean),
        "examples": examples,
        "total": pca.total_variance,
        "eigenvalues": pca.eigenvalues[:COMPONENTS].tolist(),
        "shape": list(shape),
        "origin": "lower" if lower else "upper",
        "range": np.percentile(np.concatenate(list(flat.values())), (0.5, 99.5)).tolist(),
        "mean": _packed(pca.mean),
        "components": _packed_signed(components),
        "pictures": rows,
    }


def slider(datasets: list[dict], latents: int) -> HTML:
    """The collapse slider over some `slider_dataset`s; the report's beta, 1, is marked on it."""
    payload = {"datasets": datasets, "report_beta": 1.0, "latents": latents}
    return HTML(div("collapse-slider", payload))


def slider_dataset(
    key: str,
    name: str,
    pca: Pca,
    mean_mse: float,
    latent: int,
    originals: np.ndarray,
    alt: str,
    stops: dict[float, dict],
) -> dict:
    """One choice of the slider.

    pca: of the training set; mean_mse: error of the mean on the test set; originals: pictures
    (n, row, column); alt: what they show; stops: for each beta what a net measured: kl,
    active_units, mse, and its x_hat like originals.
    """
    eigenvalues, total, n_values = pca.eigenvalues, pca.total_variance, len(pca.mean)
    rows = []
    for beta, stop in sorted(stops.items()):
        sigma2 = collapse.sigma2_of("mean-sum", beta, n_values, latent)
        linear = collapse.predict(eigenvalues, total, n_values, latent, sigma2)
        predicted = {"kl": linear.kl_nats, "active_units": linear.active, "mse": linear.mse_mu}
        row = {"beta": beta}
        for quantity in predicted:
            row[quantity] = float(stop[quantity])
        row["predicted"] = predicted
        row["src"] = _strip(stop["x_hat"], originals, key == "digits")
        rows.append(row)
    return {
        "key": key,
        "name": name,
        "n_values": n_values,
        "total": float(total),
        "edge": collapse.edge_beta(eigenvalues[0], n_values),
        "eigenvalues": np.asarray(eigenvalues[:latent], float).tolist(),
        "mean_mse": mean_mse,
        "tile": list(originals.shape[:0:-1]),
        "columns": len(originals),
        "originals": {"src": _strip(originals, originals, key == "digits"), "alt": alt},
        "stops": rows,
    }


def _strip(pictures, originals, digits):
    """Pictures side by side, on the scale of the originals, as the address of a PNG in the page."""
    if digits:
        image = figures.tiles(pictures, len(pictures), 0.0, 1.0, "gray")
    else:
        low, high = figures.limits(originals)
        image = figures.tiles(pictures[:, ::-1], len(pictures), low, high, "magma")
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _packed(values):
    """Numbers as bytes: value = offset + scale * byte, with 0 to 255 from the least to the most."""
    low = float(values.min())
    scale = (float(values.max()) - low) / 255 or 1.0
    return _base64(np.rint((values - low) / scale).astype(np.uint8), scale, low)


def _packed_signed(values):
    """Numbers as signed bytes: value = scale * byte, with 127 for the largest magnitude."""
    scale = float(np.abs(values).max()) / 127 or 1.0
    return _base64(np.rint(values / scale).astype(np.int8), scale, 0.0)


def _base64(array, scale, offset):
    data = base64.b64encode(array.tobytes()).decode()
    return {"scale": scale, "offset": offset, "data": data}
