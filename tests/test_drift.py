"""Nothing drifts apart: .py and .ipynb, defaults and runs/quick.yml, chapters and their stories."""

import ast
import io
import json
import re
import shutil
import tokenize
from itertools import pairwise
from pathlib import Path

import jupytext
import nbformat
import publish
import pytest
import sync

from lib import ROOT, BadInput
from lib.book.page import page_hash
from lib.book.parameters import STORIES, read_run, resolve

SCRIPTS = [ROOT / "notebooks" / f"{name}.py" for name in STORIES]  # a reader may add copies
QUICK, REPORT = (read_run(ROOT / f"runs/{name}.yml")["stories"] for name in ("quick", "report"))
CHAPTERS = ROOT / "book" / "chapters"
stories = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def tracked(script: Path) -> nbformat.NotebookNode:
    return publish.read(script.with_suffix(".ipynb"))


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parameters_cell(script: Path) -> str:
    first, *others = code(jupytext.read(script, fmt="py:percent"))
    assert publish.tags(first) == ["parameters"], "the first code cell has this tag"
    assert not any("parameters" in publish.tags(cell) for cell in others)
    return first.source


def test_every_story_has_parameters_and_a_place_in_the_book() -> None:
    names = [path.stem for path in SCRIPTS]
    assert names == sorted(STORIES) == sorted(QUICK) == sorted(REPORT) == publish.chapters()
    assert all(path.with_suffix(".ipynb").is_file() and path.is_file() for path in SCRIPTS)
    assert [int(name[:2]) for name in names] == list(range(1, len(names) + 1))


@stories
def test_a_pair_is_equal_and_its_outputs_are_those_of_this_code(script: Path) -> None:
    sync.check(script)
    notebook = tracked(script)
    assert "jupytext" not in notebook.metadata, "the pairing is global, in pyproject.toml"
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "make sync"
    assert len(publish.own_cells(notebook)) == len(notebook.cells), "an injected cell"
    for output in publish.outputs(notebook):
        assert output.output_type != "error" and output.get("name") != "stderr", (
            "debris on the page"
        )
    expected = page_hash(script.stem, resolve(script.stem, QUICK[script.stem]))
    assert publish.mark(notebook) == {"story": script.stem, "hash": expected}, "make sync"


SPOILED = {  # what has become of a story's notebook
    "edited": lambda path: path.write_text(path.read_text().replace("import torch", "import os")),
    "cut": lambda path: path.write_text(path.read_text()[:999]),
    "with the marks of a merge": lambda path: path.write_text(f"<<<<<<< HEAD\n{path.read_text()}"),
    "absent": lambda path: path.unlink(),
}


@pytest.mark.parametrize("side", ["py", "ipynb"])
@pytest.mark.parametrize("fault", SPOILED)
def test_of_a_pair_that_differs_either_side_can_be_taken(tmp_path, capsys, fault, side) -> None:
    """Every message names the command; it shows both sides first."""
    script, notebook = (tmp_path / SCRIPTS[2].with_suffix(end).name for end in (".py", ".ipynb"))
    for path in (script, notebook):
        shutil.copy(SCRIPTS[2].with_suffix(path.suffix), path)
    before = script.read_text()
    SPOILED[fault](notebook)
    with pytest.raises(BadInput, match=r"`python tools/sync.py (show|py) 03`"):
        sync.check(script)
    if side == "ipynb" and fault != "edited":
        with pytest.raises(BadInput, match="cannot be read.*`python tools/sync.py py 03`"):
            sync.choose(side, script)
    else:
        sync.choose("show", script)
        sync.choose(side, script)
        assert "\n-import torch\n+import os\n" in capsys.readouterr().out or fault != "edited"
        sync.check(script)
        assert script.stat().st_mtime_ns == notebook.stat().st_mtime_ns
    changed = fault == "edited" and side == "ipynb"
    assert script.read_text() == (
        before.replace("import torch", "import os") if changed else before
    )


@stories
def test_parameters_have_type_default_and_meaning(script: Path) -> None:
    source = parameters_cell(script)
    nodes = ast.parse(source).body
    assert all(isinstance(node, ast.AnnAssign) for node in nodes), source
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    comments = [token.start[0] for token in tokens if token.type == tokenize.COMMENT]
    assert comments == [node.end_lineno for node in nodes], "each has a comment"
    assert {node.target.id for node in nodes} == set(STORIES[script.stem].model_fields)
    defaults = {node.target.id: ast.literal_eval(node.value) for node in nodes}
    assert list(QUICK[script.stem].items()) == list(defaults.items()), "runs/quick.yml"


def figure_faults(cells: list) -> list[str]:
    """Faults of pictures in code cells: each needs a caption, a name of its own and an alt text."""
    faults, names = [], []
    for cell in cells:
        settings, start = cell.metadata.get("mystnb", {}), cell.source[:60]
        bundles = [output.get("data", {}) for output in cell.get("outputs", [])]
        pictures = sum(kind.startswith("image/") for bundle in bundles for kind in bundle)
        if pictures or "figure" in settings:
            figure = settings.get("figure", {})
            alt = settings.get("image", {}).get("alt", "")
            if not all(
                text.strip() for text in (figure.get("caption", ""), figure.get("name", ""), alt)
            ):
                faults.append(f"no caption, name or alt: {start}")
            if pictures != 1:
                faults.append(f"{pictures} pictures under one caption: {start}")
            if figure.get("name") in names:
                faults.append(f"twice: {figure['name']}")
            names.append(figure.get("name"))
        html = "".join(bundle.get("text/html", "") for bundle in bundles)
        for tag in re.findall(r"<img\b[^>]*>", html):
            if not re.search(r' alt="[^"]', tag):
                faults.append(f"no alt: {tag}")
    return faults


def test_every_figure_has_a_caption_a_name_of_its_own_and_words_for_who_cannot_see_it() -> None:
    assert figure_faults([cell for script in SCRIPTS for cell in code(tracked(script))]) == []


def test_a_figure_without_words_is_found() -> None:
    """No words, words without a picture, two pictures in a cell, one name twice, a bare <img>."""
    picture = nbformat.v4.new_output("display_data", {"image/png": "00"})
    bare = nbformat.v4.new_output("display_data", {"text/html": "<img src='data:,'>"})
    good = {"mystnb": {"figure": {"name": "fig-a", "caption": "A."}, "image": {"alt": "a"}}}
    bad = {"mystnb": {"figure": {"name": "fig-b", "caption": "A."}, "image": {"alt": " "}}}

    def cell(metadata: dict, *outputs) -> nbformat.NotebookNode:
        return nbformat.v4.new_code_cell("plt.show()", metadata=metadata, outputs=list(outputs))

    assert figure_faults([cell(good, picture), cell({})]) == []
    for faulty in (cell({}, picture), cell(bad, picture), cell(good), cell({}, bare)):
        assert len(figure_faults([faulty])) == 1, faulty
    assert len(figure_faults([cell(good, picture, picture)])) == 1
    assert len(figure_faults([cell(good, picture), cell(good, picture)])) == 1


def headings(text: str) -> list[str]:
    """Headings of Markdown, outside of fences; AssertionError when a level is skipped."""
    outside = re.sub(r"^(`{3,}|~{3,}).*?^\1`*$", "", text, flags=re.M | re.S)
    found = re.findall(r"^#+ .+$", outside, re.M)
    levels = [len(heading.split()[0]) for heading in found]
    assert levels[0] == 1 and levels.count(1) == 1, found
    assert all(after - before <= 1 for before, after in pairwise(levels)), found
    return found


@stories
def test_a_chapter_asks_and_has_a_box_an_exercise_a_folded_solution_and_provenance(
    script: Path,
) -> None:
    cells = tracked(script).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert headings(text)[0].endswith("?")
    box = re.search(r"^```\{admonition\} This page\n:class: tip\n(.*?)^```$", text, re.M | re.S)[1]
    places = [box.find(f"**{word}") for word in ("In", "Out", "Time", "Number to")]
    assert -1 not in places and places == sorted(places)
    folded = r"\{admonition\} Exercise\n.*^`{3,4}\{admonition\} (A s|S)olution\n:class: dropdown\n"
    assert re.search(folded, text, re.M | re.S)
    assert code(tracked(script))[-1].source.endswith(".provenance(parameters)")


def test_headings_of_prose_skip_no_level() -> None:
    for path in (ROOT / "book").glob("*.md"):
        assert headings(path.read_text(encoding="utf-8")), path


def test_the_report_run_has_the_size_that_was_promised() -> None:
    ablation, umap = REPORT["06_beta_ablation"], REPORT["09_umap_analysis"]
    betas = ablation["betas"]
    assert len(set(betas)) >= 20 and (min(betas), max(betas)) == (1e-5, 1.0)
    for name in (
        "06_beta_ablation",
        "07_edge_of_collapse",
        "08_the_repair",
        "10_effect_embeddings",
    ):
        assert len(set(REPORT[name]["seeds"])) == 3, name
    for name in ("05_the_loss_question", "06_beta_ablation", "07_edge_of_collapse"):
        assert set(REPORT[name]["corpora"]) == {"digits", "speech", "music"}, name
    for name in ("08_the_repair", "09_umap_analysis", "10_effect_embeddings", "11_how_far"):
        assert set(REPORT[name]["corpora"]) == {"speech", "music"}, name
    question, far = REPORT["05_the_loss_question"], REPORT["11_how_far"]
    assert len(question["relative_betas"]) >= 12 and question["checked"] >= 10
    assert umap["effects"] == [2, 3, 4, 5] and umap["clips_per_effect"] == [2500, 2500, 2000, 1000]
    assert min(REPORT["10_effect_embeddings"]["clips_per_effect"], far["clips_per_effect"]) >= 1000
    assert set(far["sets"]) == {"fixed", "clean", "twelve"} and len(far["left_out"]) == 5


@stories
def test_a_chapter_is_the_story_with_the_parameters_of_the_report(script: Path) -> None:
    """Code that moves no number of the quick run may change without a new report."""
    chapter, values = publish.read(CHAPTERS / f"{script.stem}.ipynb"), REPORT[script.stem]
    used = publish.parameters(chapter)
    assert {name: used.get(name) for name in values} == values, "make report publish"
    state = publish.state(script.stem, chapter)
    assert state in ("fresh", "confirmed"), "make report publish"
    if state == "fresh":
        assert publish.sources(chapter) == publish.sources(tracked(script)), "make report publish"
    assert len(chapter.cells) == len(publish.own_cells(chapter)) + 1


def test_published_numbers_status_sounds_and_picture_are_those_of_the_chapters() -> None:
    chapters, book = [CHAPTERS / f"{name}.ipynb" for name in publish.chapters()], ROOT / "book"
    assert json.loads((book / "results.json").read_text()) == publish.collect(chapters)
    status = publish.status(chapters)
    assert (book / "status.md").read_text(encoding="utf-8") == status, (
        "python tools/publish.py status"
    )
    missing = re.search(r"\| unknown \||`unknown`", status)
    assert not missing, "a provenance table without one of its rows"
    text = "".join(path.read_text(encoding="utf-8") for path in chapters)
    assert "data:audio" not in text, "make publish"
    sounds = {path.name for path in (book / "_static" / "sound").iterdir()}
    assert set(re.findall(r"\.\./_static/sound/(\w+\.mp3)", text)) == sounds
    assert (book / "average.png").read_bytes() == publish.picture(CHAPTERS)


@stories
def test_no_number_is_quoted_before_the_cell_that_records_it(script: Path) -> None:
    known: set[str] = set()
    for cell in tracked(script).cells:
        if cell.cell_type == "code":
            scraps = [output.get("metadata", {}).get("scrapbook") for output in cell.outputs]
            known |= {scrap["name"] for scrap in scraps if scrap}
        else:
            quoted = set(re.findall(r"\{glue:text\}`([\w.]+)(?=:[^:]|`)", cell.source))
            assert quoted <= known, sorted(quoted - known)


def test_prose_quotes_only_what_the_quick_run_records_too() -> None:
    """`make book` builds the prose with pages of the quick run, which lack some numbers."""
    recorded = {path.stem: publish.records(tracked(path)) for path in SCRIPTS}
    for path in sorted((ROOT / "book").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for story, name in re.findall(r"chapters/(\w+)\.ipynb::([\w.]+)", text):
            assert name in recorded[story], f"{path.name}: {name} is not recorded by {story}"


@pytest.mark.parametrize("run", ["quick", "published"])
def test_every_accuracy_of_an_embedding_has_a_deviation(run: str) -> None:
    numbers = json.loads((ROOT / "book" / "results.json").read_text())
    if run == "quick":
        numbers = publish.records(publish.read(ROOT / "notebooks" / "10_effect_embeddings.ipynb"))
    pattern = r"embed\.(speech|music)\.(blind|paired)\.\w+\.\w+\.mean"
    means = [name for name in numbers if re.fullmatch(pattern, name)]
    assert len(means) > 20
    for name in means:
        assert 0 <= numbers[name.removesuffix("mean") + "std"] < 0.5, name
