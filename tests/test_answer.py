"""The verdicts of book/the_answer.md hold for the published numbers, and so do sentences of pages that rest on them."""

import ast
import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from lib import ROOT

FOUND = json.loads((ROOT / "book/results.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "book/the_answer.md").read_text(encoding="utf-8")


def near(one: str, other: str, tolerance: float) -> bool:
    return abs(FOUND[one] / FOUND[other] - 1) <= tolerance


def lost_by_sampling(method: str) -> float:
    """What a linear probe on speech loses when it gets a sample of the code in place of its mean."""
    name = f"embed.speech.blind.{method}"
    return FOUND[f"{name}.logistic.mean"] - FOUND[f"{name}.sampled.mean"]


def defined(path: Path, name: str) -> ast.FunctionDef | None:
    """A function at the top of a file."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return next(
        (node for node in body if isinstance(node, ast.FunctionDef) and node.name == name), None
    )


def asks_for(path: Path, name: str, argument: str) -> bool:
    """Whether a function has this argument and no default for it."""
    args = defined(path, name).args.args
    return argument in [
        each.arg for each in args[: len(args) - len(defined(path, name).args.defaults)]
    ]


def guarded(function: str, *tests: str) -> bool:
    """Whether the page names a function of lib and the file of tests that guard against a slip, and all are there."""
    package, module, name = function.split(".")
    file = ROOT / "tests" / f"{tests[0].partition('::')[0]}.py"
    wanted = [
        (ROOT / package / f"{module}.py", name),
        *((file, test.partition("::")[2]) for test in tests),
    ]
    (line,) = [line for line in PAGE.splitlines() if f"`{function}`" in line]
    return all(defined(*each) for each in wanted) and f"`tests/{file.name}`" in line


# words of a row, its verdict, and what must hold for it
ROWS = [
    (
        "to help with debugging",
        "refined",
        lambda: (
            all(
                FOUND[f"theory.{name}.edge_predicted"] < 1 for name in ("digits", "speech", "music")
            )
            and FOUND["theory.digits.edge_predicted"] < FOUND["theory.speech.edge_predicted"]
            and all(
                FOUND[f"ablation.{name}.largest_beta.kl"] < 0.05
                for name in ("digits", "speech", "music")
            )
        ),
    ),
    (
        'predicts "an average',
        "reproduced",
        lambda: (
            near("speech.beta1.mse", "speech.mean_spectrogram.mse", 0.01)
            and FOUND["speech.beta1.kl"] < 0.05
        ),
    ),
    (
        "so does the VAE on MNIST",
        "reproduced",
        lambda: near("mnist.beta1.mse", "mnist.mean_image.mse", 0.01),
    ),
    (
        "with beta = 0 it does not",
        "reproduced",
        lambda: FOUND["mnist.beta0.mse"] < 0.5 * FOUND["mnist.mean_image.mse"],
    ),
    (
        "the loss may be wrong",
        "refined",
        lambda: (
            FOUND["mnist.beta1.edges_out"] > 1 < FOUND["speech.beta1.edges_out"]
            and all(
                abs(FOUND[f"theory.{name}.edge_ratio"] - 1) < 0.15
                for name in ("digits", "speech", "music")
            )
        ),
    ),
    (
        "a better architecture",
        "refined",
        lambda: (
            FOUND["speech.calibrated.mse"] < 0.5 * FOUND["speech.beta1.mse"]
            and FOUND["repair.speech.mse"] < FOUND["speech.calibrated.mse"]
        ),
    ),
    (
        '"clearly better" than music',
        "refined",
        lambda: (
            6 < FOUND["umap.verdict.lead.holds_in"] < 12
            and abs(FOUND["umap.speech.2fx.knn5"] - FOUND["umap.music.2fx.knn5"]) < 0.05
        ),
    ),
    (
        "messy with more than 3",
        "reproduced",
        lambda: FOUND["umap.speech.3fx.knn5"] - FOUND["umap.speech.4fx.knn5"] > 0.05,
    ),
    (
        "fewer samples per effect",
        "refuted",
        lambda: (
            FOUND["umap.verdict.samples.effects"] < -0.1
            and FOUND["umap.verdict.samples.clips_of_table"]
            < -0.5 * FOUND["umap.verdict.samples.effects"]
        ),
    ),
    (
        "reflect the difference in effects",
        "reached",
        lambda: (
            FOUND["embed.speech.blind.told.logistic.mean"] > 0.85
            and FOUND["embed.music.blind.told.logistic.mean"] > 0.7
        ),
    ),
    (
        "look at reconstructions and latents",
        "reached",
        lambda: FOUND["latent.error.mean.told"] < 0.5 * FOUND["latent.error.mean.dry"],
    ),
    (
        "summed losses with beta",
        "refined",
        lambda: FOUND["decoder.musikalkemist_audio.sigma2"] < 0.1,
    ),
    (
        "beats PCA by far",
        "refuted",
        lambda: (
            FOUND["embed.speech.blind.pca128.forest.mean"]
            > FOUND["embed.speech.blind.final.forest.mean"] - 0.05
        ),
    ),
    (
        "mean vector taken for knowledge",
        "refuted",
        lambda: (
            FOUND["embed.speech.collapsed_kl"] < 0.05
            and FOUND["embed.speech.blind.collapsed.sampled.mean"] < 0.3
            and FOUND["embed.speech.blind.collapsed.logistic.mean"] > 0.3
        ),
    ),
    (
        "seen in training",
        "refined",
        lambda: FOUND["umap.music.5fx.knn5"] - FOUND["umap.music.5fx.knn5_grouped"] > 0.05,
    ),
    ("volume dominated", "avoided", lambda: FOUND["effects.level_error_lu"] < 0.01),
    (
        "a sampled z",
        "refined",
        lambda: lost_by_sampling("final") > 0.1 and abs(lost_by_sampling("told")) < 0.03,
    ),
    (
        "UMAP without a seed",
        "avoided",
        lambda: (
            guarded(
                "lib.embeddings.maps.umap_2d",
                "test_maps::test_umap_is_bit_identical_and_keeps_blobs_apart",
                "test_maps::test_umap_gets_exact_neighbours_and_each_point_is_its_own_at_distance_0",
            )
            and asks_for(ROOT / "lib/embeddings/maps.py", "umap_2d", "seed")
        ),
    ),
    (
        "validation drawn from training",
        "avoided",
        lambda: guarded(
            "lib.data.splits.split_groups",
            "test_splits::test_splits_are_disjoint_and_complete",
            "test_splits::test_embedded_corpora_share_no_person_and_no_song",
        ),
    ),
    (
        "trainable parameter",
        "avoided",
        lambda: guarded(
            "lib.audio.spectrograms.stft",
            "test_spectrograms::test_the_window_is_a_fixed_hann",
        ),
    ),
    (
        "class names in the wrong order",
        "avoided",
        lambda: guarded(
            "lib.book.figures.umap_panel",
            "test_figures::test_a_class_keeps_its_colour_and_marker_in_any_order",
            "test_figures::test_every_effect_has_its_colour",
        ),
    ),
    (
        "clean audio kept",
        "avoided",
        lambda: guarded(
            "lib.audio.effects.draw_wet",
            "test_effects::test_no_clean_or_silent_audio_under_an_effects_label",
        ),
    ),
    (
        'silently meant "speech only"',
        "avoided",
        lambda: guarded(
            "lib.data.corpora.load_corpus",
            "test_corpora::test_files_that_the_manifest_names_and_data_lacks_are_an_error",
            "test_corpora::test_an_unknown_corpus_is_an_error_that_says_what_would_be_right",
        ),
    ),
]


@pytest.mark.parametrize(("words", "verdict", "holds"), ROWS, ids=[row[0] for row in ROWS])
def test_the_verdict_holds(words: str, verdict: str, holds) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith("|") and words in line]
    assert line.split("|")[2].strip() == verdict
    assert holds()


def table(first: str) -> list[str]:
    """Rows of the page's table whose first column has this head."""
    rows = re.search(rf"^\| {first} \|.*\n\|---.*\n((?:\|.*\n)+)", PAGE, re.M)
    return rows[1].splitlines()


def test_every_row_has_a_test_and_a_number_from_a_page_or_what_guards() -> None:
    rows = table("claim") + table("slip")
    assert len(rows) == len(ROWS)
    for row in rows:
        assert re.search(r"\[\]\(chapters/\w+\.ipynb\) \|$", row), row
        assert "{glue:text}`chapters/" in row or re.search(
            r"\| avoided \|.*`lib\.\w+\.\w+`.*`tests/\w+\.py`", row
        ), row


def test_the_page_asks_and_has_a_box_that_counts_an_exercise_and_a_folded_solution() -> None:
    assert re.match(r"# [^\n]+\?\n\n```\{admonition\} This page\n:class: tip\n\*\*In\*\*", PAGE)
    box = " ".join(PAGE.partition("```\n")[0].split())
    told = re.search(
        r"\*\*Number to expect\*\*: of (\d+) claims (\d+) are reproduced, (\d+) refined, (\d+) refuted, "
        r"and (\d+) goals reached",
        box,
    )
    count = Counter(row.split("|")[2].strip() for row in table("claim"))
    assert [int(number) for number in told.groups()] == [
        count.total(),
        *(count[verdict] for verdict in ("reproduced", "refined", "refuted", "reached")),
    ]
    assert re.search(
        r"\{admonition\} Exercise\n.*^```\{admonition\} A solution\n:class: dropdown\n",
        PAGE,
        re.M | re.S,
    )


def test_below_the_edge_schedules_and_a_good_start_help() -> None:
    """As 08_the_repair says."""
    story = (ROOT / "notebooks/08_the_repair.py").read_text(encoding="utf-8")
    assert "So below the edge schedules and a good start do help." in story
    kl = {
        name: FOUND[f"remedy.below.{name}.kl"]
        for name in ("none", "warm_up", "cyclical", "good_start")
    }
    assert min(kl["warm_up"], kl["cyclical"], kl["good_start"]) > 2 * kl["none"], kl


def test_of_the_losses_in_the_wild_one_alone_is_not_as_predicted() -> None:
    """As 05_the_loss_question says, with the day on which they were read."""
    story = (ROOT / "notebooks/05_the_loss_question.py").read_text(encoding="utf-8")
    with open(ROOT / "data/losses.csv", encoding="utf-8", newline="") as file:
        losses = list(csv.DictReader(file))
    other = []
    for key in (loss["key"] for loss in losses):
        measured, predicted = (
            FOUND[f"decoder.{key}.kl_{name}"] for name in ("measured", "predicted")
        )
        if max(measured, predicted) >= 0.05 and abs(measured / predicted - 1) >= 0.2:
            other.append(key)
    assert other == ["beta_vae_celeba"] and "The one exception is Beta-VAE on CelebA" in story
    assert near("decoder.beta_vae_celeba.sigma2", "mnist.lambda1", 0.15)
    (day,) = {loss["as_of"] for loss in losses}
    assert f"was read at its source on {day}" in story
