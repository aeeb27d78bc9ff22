"""The verdicts of book/the_answer.md hold for the published numbers, and so do sentences of
stories.
"""

import csv
import importlib
import json
import re
from collections import Counter

import pytest

from lib import ROOT

N = json.loads((ROOT / "book/results.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "book/the_answer.md").read_text(encoding="utf-8")
ALL = ("digits", "speech", "music")


def near(one: str, other: str, tolerance: float) -> bool:
    return abs(N[one] / N[other] - 1) <= tolerance


def sampling_loss(method: str) -> float:
    """What a linear probe on speech loses when it gets a sample of the code, not its mean."""
    name = f"embed.speech.blind.{method}"
    return N[f"{name}.logistic.mean"] - N[f"{name}.sampled.mean"]


def verdicts():
    """Words of a row, its verdict, and whether what the verdict rests on holds."""
    edges = {c: N[f"theory.{c}.edge_predicted"] for c in ALL}
    silent = all(N[f"ablation.{c}.largest_beta.kl"] < 0.05 for c in ALL)
    holds = max(edges.values()) < 1 and edges["digits"] < edges["speech"] and silent
    yield "to help with debugging", "refined", holds
    holds = near("speech.beta1.mse", "speech.mean_spectrogram.mse", 0.01)
    yield 'predicts "an average', "reproduced", holds and N["speech.beta1.kl"] < 0.05
    holds = near("mnist.beta1.mse", "mnist.mean_image.mse", 0.01)
    yield "so does the VAE on MNIST", "reproduced", holds
    holds = N["mnist.beta0.mse"] < 0.5 * N["mnist.mean_image.mse"]
    yield "with beta = 0 it does not", "reproduced", holds
    beyond = min(N["mnist.beta1.edges_out"], N["speech.beta1.edges_out"]) > 1
    predicted = all(abs(N[f"theory.{c}.edge_ratio"] - 1) < 0.15 for c in ALL)
    yield "the loss may be wrong", "refined", beyond and predicted
    errors = [N[f"{name}.mse"] for name in ("repair.speech", "speech.calibrated", "speech.beta1")]
    holds = errors[0] < errors[1] < 0.5 * errors[2]
    yield "a better architecture", "refined", holds
    apart = abs(N["umap.speech.2fx.knn5"] - N["umap.music.2fx.knn5"])
    holds = 6 < N["umap.verdict.lead.holds_in"] < 12 and apart < 0.05
    yield '"clearly better" than music', "refined", holds
    falls = N["umap.speech.3fx.knn5"] - N["umap.speech.4fx.knn5"] > 0.05
    holds = falls and 0 < N["umap.verdict.step.holds_in"] < 4
    yield "messy with more than 3", "refined", holds
    by_effects, by_clips = (N[f"umap.verdict.samples.{x}"] for x in ("effects", "clips_of_table"))
    holds = by_effects < -0.1 and by_clips < -0.5 * by_effects
    yield "fewer samples per effect", "refuted", holds
    accuracy = {c: N[f"embed.{c}.blind.told.logistic.mean"] for c in ("speech", "music")}
    holds = accuracy["speech"] > 0.85 and accuracy["music"] > 0.7
    yield "reflect the difference in effects", "reached", holds
    holds = N["latent.error.mean.told"] < 0.5 * N["latent.error.mean.dry"]
    yield "look at reconstructions and latents", "reached", holds
    holds = N["decoder.musikalkemist_audio.sigma2"] < 0.1
    yield "summed losses with beta", "refined", holds
    forest = {m: N[f"embed.speech.blind.{m}.forest.mean"] for m in ("pca128", "final")}
    yield "beats PCA by far", "refuted", forest["pca128"] > forest["final"] - 0.05
    collapsed = "embed.speech.blind.collapsed"
    unlike = N[f"{collapsed}.sampled.mean"] < 0.3 < N[f"{collapsed}.logistic.mean"]
    holds = N["embed.speech.collapsed_kl"] < 0.05 and unlike
    yield "mean vector taken for knowledge", "refuted", holds
    holds = N["umap.music.5fx.knn5"] - N["umap.music.5fx.knn5_grouped"] > 0.05
    yield "seen in training", "refined", holds
    yield "volume dominated", "avoided", N["effects.level_error_lu"] < 0.01
    holds = sampling_loss("final") > 0.1 and abs(sampling_loss("told")) < 0.03
    yield "a sampled z", "refined", holds


@pytest.mark.parametrize(("words", "verdict", "holds"), list(verdicts()))
def test_the_verdict_holds(words: str, verdict: str, holds: bool) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith("|") and words in line]
    assert line.split("|")[2].strip() == verdict
    assert holds


def table(first: str) -> list[str]:
    """Rows of the page's table whose first column has this head."""
    rows = re.search(rf"^\| {first} \|.*\n\|---.*\n((?:\|.*\n)+)", PAGE, re.M)
    return rows[1].splitlines()


def test_every_row_rests_on_a_number_of_a_page_or_names_what_guards() -> None:
    """What guards is a function of lib, which is there, and a file of tests, which calls it."""
    rows, tested = table("claim") + table("slip"), {words for words, *_ in verdicts()}
    for row in rows:
        assert re.search(r"\[\]\(chapters/\w+\.ipynb\) \|$", row), row
        guard = re.search(r"\| avoided \|.*`(lib[\w.]+)\.(\w+)`.*`(tests/\w+\.py)`", row)
        if guard:
            module, name, file = guard.groups()
            assert hasattr(importlib.import_module(module), name), row
            assert name in (ROOT / file).read_text(encoding="utf-8"), row
        else:
            assert "{glue:text}`chapters/" in row and any(words in row for words in tested), row


def test_the_page_asks_and_counts_its_verdicts() -> None:
    assert re.match(r"# [^\n]+\?\n\n```\{admonition\} This page\n:class: tip\n\*\*In\*\*", PAGE)
    box = " ".join(PAGE.partition("```\n")[0].split())
    words = "of # claims # are reproduced, # refined, # refuted, and # goals reached"
    numbers = re.search(words.replace("#", r"(\d+)"), box)
    count = Counter(row.split("|")[2].strip() for row in table("claim"))
    order = ("reproduced", "refined", "refuted", "reached")
    assert [int(n) for n in numbers.groups()] == [count.total(), *(count[name] for name in order)]


def test_below_the_edge_schedules_and_a_good_start_help() -> None:
    """Story 08 says so."""
    story = (ROOT / "notebooks/08_the_repair.py").read_text(encoding="utf-8")
    assert "So schedules and a good start can help there" in story
    kl = {name: N[f"remedy.below.{name}.kl"] for name in ("warm_up", "cyclical", "good_start")}
    assert min(kl.values()) > 2 * N["remedy.below.none.kl"], kl


def test_of_the_losses_in_the_wild_one_alone_is_not_as_predicted() -> None:
    """Story 05 says so, with the day on which they were read."""
    story = (ROOT / "notebooks/05_the_loss_question.py").read_text(encoding="utf-8")
    with open(ROOT / "data/losses.csv", encoding="utf-8", newline="") as file:
        losses = list(csv.DictReader(file))
    other = []
    for key in (loss["key"] for loss in losses):
        measured, predicted = N[f"decoder.{key}.kl_measured"], N[f"decoder.{key}.kl_predicted"]
        if max(measured, predicted) >= 0.05 and abs(measured / predicted - 1) >= 0.2:
            other.append(key)
    assert other == ["beta_vae_celeba"] and "one loss, Beta-VAE on CelebA" in story
    assert near("decoder.beta_vae_celeba.sigma2", "mnist.lambda1", 0.15)
    (day,) = {loss["as_of"] for loss in losses}
    assert f"at their source on {day}" in story
