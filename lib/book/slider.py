"""The collapse slider of story 06: trained nets over beta, for book/_static/slider.js, as JSON inside the page."""

import base64
import io

import numpy as np
from IPython.display import HTML
from PIL import Image

from lib.book import figures, widgets
from lib.theory import collapse as theory


def _address(tiles: Image.Image) -> str:
    """A picture as the address of a PNG in the page."""
    file = io.BytesIO()
    tiles.save(file, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def dataset(
    key: str,
    name: str,
    predicted: dict,
    mean_mse: float,
    latent: int,
    originals: np.ndarray,
    alt: str,
    stops: dict[float, dict],
) -> dict:
    """One choice of the slider.

    predicted: `spectrum` (leading eigenvalues), `total` variance, `values` N and `edge`; mean_mse: error of the mean;
    originals: pictures (n, row, column); alt: what they show, in words; stops: by beta, what a net measured: kl,
    active_units, mse and its reconstructions `x_hat` (n, row, column).
    """
    spectrum, total, values = predicted["spectrum"], predicted["total"], predicted["values"]
    digits = key == "digits"
    low, high = (0.0, 1.0) if digits else figures.limits(originals)

    def row(pictures: np.ndarray) -> str:
        upright = pictures if digits else pictures[:, ::-1]  # low frequencies below
        return _address(
            figures.tiles(upright, len(pictures), low, high, "gray" if digits else "magma")
        )

    found = []
    for beta, stop in sorted(stops.items()):
        line = theory.predict(spectrum, total, values, latent, beta * values / 2)
        expected = {"kl": line.kl_nats, "active_units": line.active, "mse": line.mse_mu}
        measured = {name: float(stop[name]) for name in ("kl", "active_units", "mse")}
        found.append({"beta": beta, **measured, "predicted": expected, "src": row(stop["x_hat"])})
    return {
        "key": key,
        "name": name,
        "n_values": values,
        "total": float(total),
        "edge": predicted["edge"],
        "eigenvalues": [float(value) for value in spectrum[:latent]],
        "mean_mse": mean_mse,
        "tile": list(originals.shape[:0:-1]),
        "columns": len(originals),
        "originals": {"src": row(originals), "alt": alt},
        "stops": found,
    }


def slider(datasets: list[dict], latents: int, report_beta: float = 1.0) -> HTML:
    """The slider over these data sets."""
    payload = {"datasets": datasets, "report_beta": report_beta, "latents": latents}
    return HTML(widgets.div("collapse-slider", payload))
