"""What the calculator page is given: it decodes to what went in; and the table of public losses."""

import base64
import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib import ROOT, BadInput, theory
from lib.book import calculator

X = np.random.default_rng(0).normal(size=(90, 9, 10)) * 0.9 ** np.arange(10) + 3
PCA = theory.pca(X, 70)
PICTURES = {"one": X[0], "</script><b>&": X[1].astype(np.float32)}


def unpacked(packed: dict, kind: type) -> np.ndarray:
    """As book/_static/calculator.js reads it: offset + scale * byte."""
    return packed["offset"] + packed["scale"] * np.frombuffer(
        base64.b64decode(packed["data"]), kind
    ).astype(float)


def payload(html: str) -> tuple[str, dict]:
    """The text of the JSON script, and what it says."""
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    return text, json.loads(text)


def test_the_page_decodes_to_what_went_in() -> None:
    given = calculator.dataset("blobs", "a < b", PCA, 90, (9, 10), PICTURES, lower=True)
    html = calculator.calculator([given, given | {"key": "again"}], latents=12, beta=0.5).data
    text, said = payload(html)
    assert "<" not in text and html.count("</script>") == 1 and html.count("<") == 4
    assert said["defaults"] == {
        "dataset": "blobs",
        "reduction": "mean-sum",
        "beta": 0.5,
        "latents": 12,
    }
    found, again = said["datasets"]
    assert again["key"] == "again" and found["key"] == "blobs" and found["name"] == "a < b"
    assert (found["n_values"], found["examples"], found["shape"], found["origin"]) == (
        90,
        90,
        [9, 10],
        "lower",
    )
    assert (
        found["eigenvalues"] == PCA.eigenvalues[:64].tolist()
        and found["total"] == PCA.total_variance
    )
    components = unpacked(found["components"], np.int8).reshape(64, 90)
    for near, exact, packed in (
        (unpacked(found["mean"], np.uint8), PCA.mean, found["mean"]),
        (components, PCA.components[:64], found["components"]),
        *(
            (unpacked(shown["data"], np.uint8), PICTURES[shown["name"]].ravel(), shown["data"])
            for shown in found["pictures"]
        ),
    ):
        assert near.shape == exact.shape and np.abs(near - exact).max() <= 0.5001 * packed["scale"]
        assert packed["scale"] <= 1.001 * np.ptp(exact) / (
            255 if packed["offset"] else 127
        )  # a byte is used up
    assert [shown["name"] for shown in found["pictures"]] == list(PICTURES)
    for shown in found["pictures"]:
        exact = PCA.components[:64] @ (
            np.asarray(PICTURES[shown["name"]], np.float64).ravel() - PCA.mean
        )
        assert shown["coefficients"] == exact.tolist()
    low, high = found["range"]
    assert X[:2].min() <= low < high <= X[:2].max()
    assert (
        calculator.dataset("k", "n", PCA, 90, (9, 10), PICTURES, lower=False)["origin"] == "upper"
    )


def test_equal_values_are_packed_too() -> None:
    flat = replace(PCA, mean=np.full(90, 0.25))
    found = calculator.dataset(
        "flat", "flat", flat, 90, (9, 10), {"zero": np.zeros((9, 10))}, lower=True
    )
    assert np.array_equal(unpacked(found["mean"], np.uint8), flat.mean)
    assert np.array_equal(unpacked(found["pictures"][0]["data"], np.uint8), np.zeros(90))


def test_too_few_components_are_named() -> None:
    with pytest.raises(BadInput, match="pca of 'blobs' has 63 components: the calculator needs 64"):
        calculator.dataset("blobs", "blobs", theory.pca(X, 63), 90, (9, 10), PICTURES, lower=True)


def test_the_table_of_public_losses_is_whole() -> None:
    table = pd.read_csv(ROOT / "data" / "losses.csv", dtype=str, keep_default_na=False)
    assert len(table) >= 10 and table["key"].is_unique and table["name"].is_unique
    assert set(table["reduction"]) <= set(theory.REDUCTIONS)
    for name in ("key", "name", "repository", "path", "lines", "commit", "as_of", "data"):
        assert (table[name].str.strip() != "").all(), name
    assert table["repository"].str.fullmatch(r"[\w.-]+/[\w.-]+").all()
    assert table["lines"].str.fullmatch(r"\d+(-\d+)?(;\d+(-\d+)?)*").all()
    assert table["commit"].str.fullmatch(r"[0-9a-f]{40}|pypi [\w.]+").all()
    assert (table["date"].str.fullmatch(r"\d{4}-\d\d-\d\d|")).all()
    for row in table.itertuples():
        weight, factor = float(row.weight), float(row.kl_factor)
        assert weight > 0 and factor > 0, row.key
        assert math.isfinite(
            theory.sigma2_of(row.reduction, weight * factor, int(row.n_values), int(row.latents))
        )
