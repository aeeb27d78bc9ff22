"""The verdicts of book/the_answer.md hold for the published numbers."""

import json
import re

import pytest

from lib import ROOT

FOUND = json.loads((ROOT / "book/results.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "book/the_answer.md").read_text(encoding="utf-8")


def near(one: str, other: str, tolerance: float) -> bool:
    return abs(FOUND[one] / FOUND[other] - 1) <= tolerance


# words of a row, its verdict, and what must hold for it
ROWS = [
    ('predicts "an average', "reproduced", lambda: near("speech.beta1.mse", "speech.mean_spectrogram.mse", 0.01)
     and FOUND["speech.beta1.kl"] < 0.05),
    ("so does the VAE on MNIST", "reproduced", lambda: near("mnist.beta1.mse", "mnist.mean_image.mse", 0.01)),
    ("with beta = 0 it does not", "reproduced", lambda: FOUND["mnist.beta0.mse"] < 0.5 * FOUND["mnist.mean_image.mse"]),
    ("the loss may be wrong", "refined", lambda: FOUND["mnist.beta1.edges_out"] > 1 < FOUND["speech.beta1.edges_out"]
     and all(abs(FOUND[f"theory.{name}.edge_ratio"] - 1) < 0.15 for name in ("digits", "speech", "music"))),
    ("a better architecture", "refined", lambda: FOUND["speech.calibrated.mse"] < 0.5 * FOUND["speech.beta1.mse"]
     and FOUND["repair.speech.mse"] < FOUND["speech.calibrated.mse"]),
    ('"clearly better" than music', "refined", lambda: 6 < FOUND["umap.verdict.lead.holds_in"] < 12
     and abs(FOUND["umap.speech.2fx.knn5"] - FOUND["umap.music.2fx.knn5"]) < 0.05),
    ("messy with more than 3", "reproduced",
     lambda: FOUND["umap.speech.3fx.knn5"] - FOUND["umap.speech.4fx.knn5"] > 0.05),
    ("fewer samples per effect", "refuted", lambda: FOUND["umap.verdict.samples.effects"] < -0.1
     and FOUND["umap.verdict.samples.clips_of_table"] < -0.5 * FOUND["umap.verdict.samples.effects"]),
    ("reflect the difference in effects", "reached", lambda: FOUND["embed.speech.blind.told.logistic.mean"] > 0.85
     and FOUND["embed.music.blind.told.logistic.mean"] > 0.7),
    ("summed losses with beta", "refined", lambda: FOUND["decoder.musikalkemist_audio.sigma2"] < 0.1),
    ("beats PCA by far", "refuted", lambda: FOUND["embed.speech.blind.pca128.forest.mean"]
     > FOUND["embed.speech.blind.final.forest.mean"] - 0.05),
    ("mean vector taken for knowledge", "refuted", lambda: FOUND["embed.speech.collapsed_kl"] < 0.05
     and FOUND["embed.speech.blind.collapsed.sampled.mean"] < 0.3
     and FOUND["embed.speech.blind.collapsed.logistic.mean"] > 0.3),
    ("seen in training", "refined", lambda: FOUND["umap.music.5fx.knn5"] - FOUND["umap.music.5fx.knn5_grouped"] > 0.05),
]


@pytest.mark.parametrize(("words", "verdict", "holds"), ROWS, ids=[row[0] for row in ROWS])
def test_the_verdict_holds(words: str, verdict: str, holds) -> None:
    line, = [line for line in PAGE.splitlines() if line.startswith("|") and words in line]
    assert line.split("|")[2].strip() == verdict
    assert holds()


def test_every_row_has_a_test_and_a_number_from_a_page() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\|( claim| slip|---)", line)]
    assert len(rows) == len(ROWS)
    assert all("{glue:text}`chapters/" in row and re.search(r"\[\]\(chapters/\w+\.ipynb\) \|$", row) for row in rows)
