"""The frame of a story, run in a real kernel: parameters, numbers, progress without debris, provenance."""

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from lib import ROOT, BadInput
from lib.book import page as story
from lib.book.parameters import resolve

NAME = "02_audio_effects"
VALUES = {"corpus": "speech", "clip_s": 2.03, "settings": "fixed", "seed": 0}
CELLS = [
    "\n".join(f"{key} = {value!r}" for key, value in VALUES.items()),
    "# Parameters\nsettings = 'random'\n",
    f"from lib import story\nparameters = story.begin('{NAME}', globals())\nprint(parameters.settings)",
    "import numpy as np\nstory.record('toy.mse', np.float32(0.25))\nstory.record('toy.units', 3)",
    "story.TERMINAL_EVERY_S = 0\nsum(story.progress([1, 2, 3], label='adding'))",
    "story.source(story.device)",
]


def execute(sources: list[str]) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources]
    )
    return NotebookClient(notebook, kernel_name="python3", timeout=120).execute()


@pytest.fixture(scope="module")
def page() -> nbformat.NotebookNode:
    return execute(CELLS)


def test_parameters_come_from_the_notebook_and_what_papermill_injected(page) -> None:
    assert page.cells[2].outputs[0].text == "random\n"


def test_numbers_are_glued_as_numbers(page) -> None:
    import publish

    assert publish.records(page) == {"toy.mse": 0.25, "toy.units": 3}


def test_progress_passes_items_on_and_leaves_nothing_on_the_page(page) -> None:
    assert [output.output_type for output in page.cells[4].outputs] == ["execute_result"]
    assert page.cells[4].outputs[0].data["text/plain"] == "6"


def test_progress_is_said_in_the_terminal(capfd, monkeypatch) -> None:
    monkeypatch.setattr(story, "TERMINAL_EVERY_S", 0)
    assert list(story.progress(iter("abc"), total=3, label="letters")) == ["a", "b", "c"]
    said = capfd.readouterr().err
    assert "letters" in said and "3/3" in said


def test_progress_asks_for_a_label_that_changes(capfd, monkeypatch) -> None:
    monkeypatch.setattr(story, "TERMINAL_EVERY_S", 0)
    seen = []
    for item in story.progress("ab", label=lambda: f"epoch {len(seen)} of 2"):
        seen.append(item)
    said = capfd.readouterr().err
    assert seen == ["a", "b"] and said.index("epoch 1 of 2") < said.index("epoch 2 of 2")


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("speech", "speech"),
        ("folder:/sounds/My voices", "My_voices"),
        ("folder:/sounds/My voices/", "My_voices"),
        ("folder:/sounds/C:notes-2.1", "C_notes_2_1"),
    ],
)
def test_a_corpus_has_a_name_that_can_be_recorded(corpus: str, name: str, monkeypatch) -> None:
    assert story.slug(corpus) == name
    recorded = []
    monkeypatch.setattr(story, "glue", lambda key, *_, **__: recorded.append(key))
    story.record(f"umap.{story.slug(corpus)}.knn5", 0.5)
    assert recorded == [f"umap.{name}.knn5"]


def test_source_shows_the_lines_without_the_docstring(page) -> None:
    shown = page.cells[5].outputs[0].data["text/markdown"]
    assert shown.startswith("```python\ndef device() -> str:\n    if torch.cuda.is_available()")
    assert "accelerator" not in shown


CHANGED = CELLS[0].replace("'fixed'", "'random'")
PROVENANCE = "story.provenance(parameters)"
BELOW = 11  # cells of the story below that of `begin`


def notes(page: nbformat.NotebookNode) -> list[str]:
    """What `begin` put under the parameters cells, one text for each note."""
    displays = [
        output
        for cell in page.cells
        for output in cell.outputs
        if output.output_type == "display_data"
    ]
    return [
        output.data.get("text/markdown", "")
        for output in displays
        if "text/html" not in output.data
    ]


@pytest.mark.parametrize(
    ("cells", "missing"),
    [
        ([CHANGED, CELLS[2], *map(str, range(BELOW - 1)), PROVENANCE], 0),
        (
            [CHANGED, CELLS[2], *["0"] * (BELOW - 1), PROVENANCE],
            BELOW - 2,
        ),  # one of them, again and again
        pytest.param([CHANGED, CELLS[2], PROVENANCE], BELOW - 1, marks=pytest.mark.slow),
        pytest.param(
            [CHANGED, PROVENANCE], BELOW - 2, marks=pytest.mark.slow
        ),  # the values were not even checked
    ],
)
def test_changed_parameters_leave_no_page_stale_unnoticed(cells: list[str], missing: int) -> None:
    """A note names them and goes when all below has run; until then the last cell tells how many cells have not."""
    story_cells = [
        cell
        for cell in jupytext.read(ROOT / f"notebooks/{NAME}.py").cells
        if cell.cell_type == "code"
    ]
    assert len(story_cells) == BELOW + 2
    page = execute([CELLS[0], CELLS[2], *cells])
    table = next(output.data["text/html"] for output in page.cells[-1].outputs)
    if missing:
        assert notes(page) == [
            "**The page below is stale**: `settings` was 'fixed', now 'random'. Run all of it, and "
            "this note goes."
        ]
        assert f"{missing} of {BELOW} cells did not run" in table
    else:
        assert notes(page) == [""] and "stale" not in table


def test_parameters_that_did_not_change_are_not_told() -> None:
    page = execute([CELLS[0], CELLS[2], CELLS[0], CELLS[2], PROVENANCE])
    assert notes(page) == [] and "stale" not in page.cells[-1].outputs[0].data["text/html"]


def test_an_unknown_injected_name_stops_the_notebook() -> None:
    with pytest.raises(
        CellExecutionError, match="unknown parameter setings = 'random': did you mean \"settings\""
    ):
        execute([CELLS[0], "# Parameters\nsetings = 'random'\n", CELLS[2]])


@pytest.mark.parametrize(
    ("name", "value"), [("toy mse", 1.0), ("", 1.0), ("toy.a", "much"), ("toy.b", float("nan"))]
)
def test_only_numbers_under_plain_names_are_recorded(name: str, value: object) -> None:
    with pytest.raises(BadInput, match="record"):
        story.record(name, value)


def test_the_page_hash_follows_code_and_parameters_but_not_prose(tmp_path, monkeypatch) -> None:
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / f"{NAME}.py"
    monkeypatch.setattr(story, "ROOT", tmp_path)
    fixed, other = resolve(NAME, VALUES), resolve(NAME, VALUES | {"seed": 1})
    path.write_text("# %% [markdown]\n# Prose.\n\n# %%\nfrom lib import artifacts\n")
    first = story.page_hash(NAME, fixed)
    assert first != story.page_hash(NAME, other)
    path.write_text("# %% [markdown]\n# Better prose.\n\n# %%\nfrom lib import artifacts\n")
    assert first == story.page_hash(NAME, fixed)
    path.write_text("# %%\nfrom lib import artifacts\n\nartifacts.root()\n")
    assert first != story.page_hash(NAME, fixed)


def test_provenance_marks_the_page(monkeypatch) -> None:

    stem = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))[0].stem
    shown = []
    monkeypatch.setattr(
        story, "display", lambda data, **more: shown.append((data, more["metadata"]))
    )
    monkeypatch.setitem(story._running, "name", stem)
    parameters = resolve(NAME, VALUES)
    story.provenance(parameters)
    ((data, metadata),) = shown
    assert metadata["average_spectrogram"] == {
        "story": stem,
        "hash": story.page_hash(stem, parameters),
    }
    for word in ("torch", "commit", "seed", "peak memory"):
        assert word in data["text/html"]
