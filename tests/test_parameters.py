"""What is right passes unchanged; every mistake is named with its value and its remedy."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import ROOT, BadInput
from lib.book.parameters import STORIES, read_run, resolve
from lib.config import parse_corpus

QUICK = yaml.safe_load((ROOT / "runs/quick.yml").read_text(encoding="utf-8"))["stories"]
MNIST = "03_mnist_sanity_check"
UMAP = "09_umap_analysis"
WRONG = [  # story, a change of the quick run, words of the message
    (MNIST, {"betaa": 0.1}, 'unknown parameter betaa = 0.1: did you mean "beta"?'),
    (MNIST, {"beta": -0.5}, "beta = -0.5: should be greater than or equal to 0"),
    (MNIST, {"epochs": True}, "epochs = True: should be a valid integer"),
    (MNIST, {"preset": "smal"}, "preset = 'smal': did you mean \"small\"? (architecture"),
    (MNIST, {"beta": -1, "seed": -1}, "; seed = -1"),
    (UMAP, {"corpora": ["digits"]}, "corpora[0] = 'digits': should be a corpus of sound"),
    (UMAP, {"corpora": ["speech", "speech"]}, "none twice"),
    (UMAP, {"corpora": ["folder:"]}, 'did you mean "folder:PATH"?'),
    (UMAP, {"effects": [2, 3]}, "needs one number for each of effects = [2, 3]"),
    (UMAP, {"grid_clips": [20, 600]}, "grid_clips, sweep_clips: more than 100"),
    (UMAP, {"sweep_clips": 10, "sweep_neighbors": [50]}, "must be below 50"),
]


@pytest.mark.parametrize(("story", "change", "message"), WRONG)
def test_a_wrong_parameter_is_named_with_value_and_remedy(story, change, message):
    with pytest.raises(BadInput) as error:
        resolve(story, QUICK[story] | change)
    assert str(error.value).startswith(f"{story}: ") and message in str(error.value)


def test_a_missing_parameter_and_an_unknown_story_are_named():
    with pytest.raises(BadInput, match="parameter seed is missing"):
        resolve(MNIST, {name: value for name, value in QUICK[MNIST].items() if name != "seed"})
    with pytest.raises(BadInput, match=f'did you mean "{MNIST}"'):
        resolve("03_mnist_sanity_chek", QUICK[MNIST])


def test_strings_that_papermill_leaves_are_read_as_what_they_spell():
    parameters = resolve(MNIST, QUICK[MNIST] | {"beta": "1e-3", "epochs": "2"})
    assert (parameters.beta, parameters.epochs) == (1e-3, 2)
    change = {"corpora": "speech", "effects": "[2, 3]", "clips_per_effect": "[100, 100]"}
    parameters = resolve(UMAP, QUICK[UMAP] | change)
    assert parameters.corpora == ("speech",) and parameters.clips_per_effect == (100, 100)
    assert resolve("04_spectrogram_vae", QUICK["04_spectrogram_vae"] | {"augment": "true"}).augment


def test_corpus_and_corpora_are_one_name():
    folder = {name: value for name, value in QUICK[UMAP].items() if name != "corpora"}
    for named in ({"corpora": "folder:x"}, {"corpus": "folder:x"}, {"corpora": ["folder:x"]}):
        assert resolve(UMAP, folder | named).corpora == ("folder:x",)
    assert resolve(UMAP, QUICK[UMAP] | {"corpus": "folder:x"}).corpora == ("folder:x",)
    sound = QUICK["04_spectrogram_vae"]
    assert resolve("04_spectrogram_vae", sound | {"corpora": ["music"]}).corpus == "music"
    with pytest.raises(BadInput, match="corpus = "):
        resolve("04_spectrogram_vae", sound | {"corpora": ["music", "speech"]})


def test_a_relative_folder_is_looked_up_where_the_command_was_typed(tmp_path, monkeypatch):
    (tmp_path / "typed/sounds").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")  # papermill goes there
    monkeypatch.setenv("PWD", str(tmp_path / "typed"))
    assert parse_corpus("folder:sounds").path == tmp_path / "typed/sounds"
    assert parse_corpus("folder:lib").path == ROOT / "lib"
    assert parse_corpus("folder:nowhere").path == tmp_path / "notebooks/nowhere"


@settings(max_examples=30, deadline=None)
@given(beta=st.floats(0, 1e6), seed=st.integers(0, 2**32 - 1))
def test_right_values_pass_unchanged_and_cannot_be_changed_after(beta, seed):
    values = QUICK[MNIST] | {"beta": beta, "seed": seed}
    parameters = resolve(MNIST, values)
    assert parameters.model_dump() == values
    with pytest.raises(ValueError, match="frozen"):
        parameters.beta = 0.0


@pytest.mark.parametrize("path", sorted((ROOT / "runs").glob("*.yml")), ids=lambda path: path.stem)
def test_every_run_file_is_right(path):
    run = read_run(path)
    assert set(run["stories"]) <= set(STORIES) and set(run.get("first", [])) <= set(run["stories"])
    for story, names in run.get("scatter", {}).items():
        assert all(isinstance(run["stories"][story][name], list) for name in names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stories: [", "not a run file"),
        ("stories: {1: 2}", "story 1: known"),
        (f"stories: {{{MNIST}: {{beta: -1}}}}", f"{MNIST}: .*beta = -1"),
        ("a: &x 1\nstories: {b: *x}", "names a value by an alias"),
    ],
)
def test_a_wrong_run_file_is_named(text, message, tmp_path):
    (tmp_path / "mine.yml").write_text(text)
    with pytest.raises(BadInput, match=f"mine.yml: {message}"):
        read_run(tmp_path / "mine.yml")
    with pytest.raises(BadInput, match='mein.yml: no such run; did you mean "mine"'):
        read_run(tmp_path / "mein.yml")
