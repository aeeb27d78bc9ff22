"""Parameters: what is right passes unchanged, every mistake is named with its value and its remedy."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import ROOT, BadInput
from lib.book.parameters import STORIES, read_run, resolve

MNIST = {
    "preset": "small",
    "latent": 16,
    "beta": 1.0,
    "epochs": 1,
    "learning_rate": 1e-3,
    "batch_size": 128,
    "train_images": 10000,
    "logger": "csv",
    "seed": 1,
}
UMAP = {
    "corpora": ["speech", "music"],
    "effects": [2, 3],
    "clips_per_effect": [100, 50],
    "clip_s": 2.03,
    "spectrogram": "log_mel",
    "settings": "random",
    "n_neighbors": 15,
    "min_dist": 0.1,
    "grid_clips": [20, 40],
    "sweep_clips": 40,
    "sweep_neighbors": [5, 15],
    "sweep_min_dists": [0.0, 0.5],
    "seed": 42,
}
WRONG = [
    ("03_mnist_sanity_check", {"betaa": 0.1}, ["betaa", "0.1", 'did you mean "beta"?']),
    ("03_mnist_sanity_check", {"beta": "abc"}, ["beta", "'abc'", "valid number"]),
    ("03_mnist_sanity_check", {"beta": -0.5}, ["beta = -0.5", "greater than or equal to 0"]),
    ("03_mnist_sanity_check", {"beta": float("nan")}, ["beta = nan", "finite"]),
    ("03_mnist_sanity_check", {"epochs": 1.5}, ["epochs = 1.5", "valid integer"]),
    ("03_mnist_sanity_check", {"epochs": True}, ["epochs = True", "valid integer"]),
    ("03_mnist_sanity_check", {"epochs": 0}, ["epochs = 0", "at least 1"]),
    ("03_mnist_sanity_check", {"preset": "smal"}, ["preset = 'smal'", 'did you mean "small"?']),
    (
        "09_umap_analysis",
        {"corpora": ["speech", "musik"]},
        ["corpora[1] = 'musik'", 'did you mean "music"?'],
    ),
    ("09_umap_analysis", {"corpora": ["speech", "speech"]}, ["corpora", "none twice"]),
    ("09_umap_analysis", {"corpora": []}, ["corpora", "at least one item"]),
    ("09_umap_analysis", {"corpora": ["folder:"]}, ["corpora[0] = 'folder:'", "folder:PATH"]),
    ("09_umap_analysis", {"effects": [2, 3, 4]}, ["clips_per_effect = [100, 50]", "[2, 3, 4]"]),
    ("09_umap_analysis", {"grid_clips": [20, 60]}, ["grid_clips", "more than 50"]),
    ("09_umap_analysis", {"sweep_clips": 60}, ["sweep_clips", "more than 50"]),
    (
        "09_umap_analysis",
        {"sweep_neighbors": [15, 150]},
        ["sweep_neighbors = [15, 150]", "below 120"],
    ),
    ("09_umap_analysis", {"effects": [2, 6]}, ["effects[1] = 6", "less than or equal to 5"]),
]


@pytest.mark.parametrize(
    ("story", "change", "said"), WRONG, ids=[f"{next(iter(c.items()))}" for _, c, _ in WRONG]
)
def test_a_wrong_parameter_is_named_with_value_and_remedy(
    story: str, change: dict, said: list[str]
) -> None:
    with pytest.raises(BadInput) as error:
        resolve(story, (MNIST if story.startswith("03") else UMAP) | change)
    assert story in str(error.value)
    for words in said:
        assert words in str(error.value)


def test_a_missing_parameter_and_an_unknown_story_are_named() -> None:
    with pytest.raises(BadInput, match="parameter seed is missing"):
        resolve(
            "03_mnist_sanity_check", {key: value for key, value in MNIST.items() if key != "seed"}
        )
    with pytest.raises(BadInput, match='did you mean "03_mnist_sanity_check"'):
        resolve("03_mnist_sanity_chek", MNIST)


def test_strings_that_papermill_leaves_are_read_as_what_they_spell() -> None:
    found = resolve("03_mnist_sanity_check", MNIST | {"beta": "1e-3", "epochs": "2"})
    assert (found.beta, found.epochs) == (1e-3, 2)
    assert resolve(
        "09_umap_analysis", UMAP | {"clips_per_effect": "[60, 40]"}
    ).clips_per_effect == (60, 40)


@settings(max_examples=30, deadline=None)
@given(beta=st.floats(0, 1e6), seed=st.integers(0, 2**32 - 1))
def test_right_values_pass_unchanged_and_cannot_be_changed_after(beta: float, seed: int) -> None:
    found = resolve("03_mnist_sanity_check", MNIST | {"beta": beta, "seed": seed})
    assert found.model_dump() == MNIST | {"beta": beta, "seed": seed}
    with pytest.raises(ValueError, match="frozen"):
        found.beta = 0.0


@pytest.mark.parametrize("run", sorted(path.stem for path in (ROOT / "runs").glob("*.yml")))
def test_every_run_file_is_right(run: str) -> None:
    found = read_run(ROOT / "runs" / f"{run}.yml")
    assert set(found["stories"]) <= set(STORIES) and set(found.get("first", [])) <= set(
        found["stories"]
    )
    for story, names in found.get("scatter", {}).items():
        assert all(isinstance(found["stories"][story][name], list) for name in names)


def test_a_wrong_run_file_is_named(tmp_path) -> None:
    with pytest.raises(BadInput, match=r'quik.yml: no such run; did you mean "quick"'):
        read_run(ROOT / "runs" / "quik.yml")
    (tmp_path / "mine.yml").write_text("stories: [")
    with pytest.raises(BadInput, match="mine.yml: not a run file"):
        read_run(tmp_path / "mine.yml")
    (tmp_path / "mine.yml").write_text(
        yaml.safe_dump({"stories": {"03_mnist_sanity_check": MNIST | {"beta": -1}}})
    )
    with pytest.raises(BadInput, match="mine.yml: 03_mnist_sanity_check: beta = -1"):
        read_run(tmp_path / "mine.yml")
