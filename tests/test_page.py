"""The frame of a page, run in a real kernel: parameters, numbers, tables, source, provenance."""

from types import SimpleNamespace

import jupytext
import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from nbclient import NotebookClient

from lib import ROOT, BadInput
from lib.book import page
from lib.book.parameters import resolve
from lib.runtime import provenance

NAME = "02_audio_effects"
RUN = yaml.safe_load((ROOT / "runs/quick.yml").read_text(encoding="utf-8"))
QUICK = RUN["stories"]["03_mnist_sanity_check"]
VALUES = {"corpus": "speech", "clip_s": 2.03, "settings": "fixed", "seed": 0}
PARAMETERS = "\n".join(f"{name} = {value!r}" for name, value in VALUES.items())
CHANGED = PARAMETERS.replace("'fixed'", "'random'")
BEGIN = f"from lib.book import page\nparameters = page.begin('{NAME}', globals())"
PROVENANCE = "page.provenance(parameters)"
CELLS = jupytext.read(ROOT / f"notebooks/{NAME}.py").cells
BELOW = sum(cell.cell_type == "code" for cell in CELLS) - 2  # those after that of `begin`


def execute(*cells):
    code = [nbformat.v4.new_code_cell(cell) for cell in cells]
    notebook = nbformat.v4.new_notebook(cells=code)
    return NotebookClient(notebook, kernel_name="python3", timeout=120).execute().cells


def test_a_page_shows_what_was_asked_and_nothing_else():
    cells = execute(
        PARAMETERS,
        "# Parameters\nsettings = 'random'\n",  # as papermill injects it
        BEGIN,
        "parameters.settings",
        "import lib.runtime.progress as progress\nprogress.TERMINAL_EVERY_S = 0",
        "progress.DISPLAY_EVERY_S = 0\nsum(progress.progress([1, 2, 3], label='adding'))",
    )
    (settings,), (total,) = cells[3].outputs, cells[5].outputs
    assert settings.data["text/plain"] == "'random'" and total.data["text/plain"] == "6"


def test_an_unknown_injected_name_stops_the_page():
    cells = ["", PARAMETERS, "# Parameters\nsetings = 'random'\n"]
    with pytest.raises(BadInput, match="unknown parameter setings = 'random': did you mean"):
        page.begin(NAME, VALUES | {"In": cells, "setings": "random"})


STALE = [  # cells that follow the first check; how many cells have not run
    ([CHANGED, BEGIN, *map(str, range(BELOW - 1)), PROVENANCE], 0),
    ([CHANGED, BEGIN, *["0"] * (BELOW - 1), PROVENANCE], BELOW - 2),  # one, repeated
    ([PARAMETERS, BEGIN, PROVENANCE], None),  # nothing has changed
]


@pytest.mark.parametrize(("cells", "skipped"), STALE)
def test_changed_parameters_leave_no_page_stale_unnoticed(cells, skipped):
    """A note names them and goes when all below has run; until then the last cell says so."""
    *others, last = execute(PARAMETERS, BEGIN, *cells)
    notes = []
    for cell in others:
        if cell.source in (PARAMETERS, CHANGED):
            notes += [output.data for output in cell.outputs]
    table = next(output.data["text/html"] for output in last.outputs)
    if skipped:
        (note,) = notes
        changed = "`settings` was 'fixed', now 'random'. Run all of it, and this note goes."
        assert note["text/markdown"] == f"**The page below is stale**: {changed}"
        assert f"{skipped} of {BELOW} cells did not run" in table
    else:
        assert notes == [{"text/plain": ""}][skipped is None :] and "stale" not in table


def test_numbers_are_recorded_under_names_of_corpora(monkeypatch):
    recorded = {}
    monkeypatch.setattr(page, "glue", lambda key, value, display: recorded.update({key: value}))
    for corpus in ("speech", "folder:/x/My voices/"):
        page.record_all(f"umap.{page.slug(corpus)}", {"knn5": np.float32(0.25)})
    assert recorded == {"umap.speech.knn5": 0.25, "umap.My_voices.knn5": 0.25}


def test_a_table_is_stable_and_its_cells_are_text():
    frame = pd.DataFrame({"<b>": [0.12345, None]}, index=["<script>", "b"])
    html = page.table(frame, "levels", "a < b", digits=2).to_html()
    assert html == page.table(frame, "levels", "a < b", digits=2).to_html()
    assert "T_levels" in html and "0.12<" in html and "a &lt; b" in html and "nan" not in html
    assert "<script>" not in html and "<b>" not in html


def test_source_shows_the_lines_without_docstrings():
    shown = page.source(provenance.commit).data
    assert shown.startswith("```python\ndef commit() -> str:\n    if not")
    assert '"""' not in shown


def test_the_page_hash_follows_code_and_parameters_but_not_prose(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "ROOT", tmp_path)

    def hashed(prose, code, seed=0):
        path = tmp_path / "notebooks" / f"{NAME}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# %% [markdown]\n# {prose}\n\n# %%\n{code}\n")
        return page.page_hash(NAME, resolve(NAME, VALUES | {"seed": seed}))

    first = hashed("Prose.", "from lib import theory")
    assert hashed("Better prose.", "from lib import theory") == first
    assert hashed("Prose.", "from lib import theory, audio") != first
    assert hashed("Prose.", "from lib import theory", seed=1) != first


def test_provenance_marks_the_page(monkeypatch):
    shown = []
    monkeypatch.setattr(page, "display", lambda data, raw, metadata: shown.append((data, metadata)))
    monkeypatch.setattr(page._page, "name", NAME)
    parameters = resolve(NAME, VALUES)
    page.provenance(parameters)
    ((data, metadata),) = shown
    mark = {"story": NAME, "hash": page.page_hash(NAME, parameters)}
    assert metadata["average_spectrogram"] == mark
    for word in ("torch", "commit", "seed", "peak memory"):
        assert word in data["text/html"]


def test_folders_that_end_alike_have_names_of_their_own(monkeypatch) -> None:
    corpora = ("folder:/a/wav", "folder:/b/wav", "folder:/a/speech", "speech", "vctk:/x/My voices")
    monkeypatch.setattr(page._page, "parameters", SimpleNamespace(corpora=corpora))
    names = [page.slug(corpus) for corpus in corpora]
    assert names == ["a_wav", "b_wav", "a_speech", "speech", "My_voices"]
    for alike in (
        ("folder:/a_wav", "folder:/a/wav", "folder:/b/wav"),
        ("folder:/x/a b", "folder:/x/a_b", "folder:/x/a-b"),
        ("folder:/x/v", "vctk:/x/v"),
        ("folder:/speech", "speech"),
    ):
        monkeypatch.setattr(page._page, "parameters", SimpleNamespace(corpora=alike))
        assert len({page.slug(corpus) for corpus in alike}) == len(alike)
    assert page.slug("speech") == "speech"


@pytest.mark.parametrize("holds", [True, False])
def test_a_finding_is_asserted_on_the_book_s_own_runs_and_told_on_any_other(
    holds, monkeypatch, capsys
) -> None:
    own = resolve("03_mnist_sanity_check", QUICK)
    monkeypatch.setattr(page._page, "name", "03_mnist_sanity_check")
    monkeypatch.setattr(page._page, "parameters", own)
    if holds:
        page.finding("it is so", True, 0.5)
        assert capsys.readouterr().out == "asserted: it is so\n"
    else:
        with pytest.raises(AssertionError, match=r"does not hold: it is so \(0.5\)"):
            page.finding("it is so", False, 0.5)
    verdict = "holds" if holds else "does not hold here"
    for change, words in (
        ({"beta": 0.2}, verdict),
        ({"epochs": 1, "train_images": 1000}, f"{verdict}, too short to judge with "),
    ):
        monkeypatch.setattr(page._page, "parameters", own.model_copy(update=change))
        page.finding("it is so", np.bool_(holds), np.float32(0.5))
        assert capsys.readouterr().out.startswith(words)
