"""Nothing drifts apart: .py and .ipynb, notebook defaults and runs/quick.yml, chapters and their stories."""

import ast
import io
import json
import re
import tokenize
from itertools import pairwise
from pathlib import Path

import jupytext
import nbformat
import pages
import publish
import pytest
import status
import sync

from lib import ROOT
from lib.book.page import page_hash
from lib.book.parameters import STORIES, read_run, resolve
from lib.embeddings.methods import METHODS

SCRIPTS = sorted((ROOT / "notebooks").glob(pages.STORIES + ".py"))
QUICK, REPORT = (read_run(ROOT / "runs" / f"{name}.yml")["stories"] for name in ("quick", "report"))
WITHOUT_FIGURE = ("14_explorer",)  # its map is no picture
LOSS_PAGES = ("05_the_loss_question", "07_edge_of_collapse", "08_the_repair")
stories = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def parameters_cell(script: Path) -> str:
    notebook = jupytext.read(script, fmt="py:percent")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert pages.tags(cells[0]) == ["parameters"], (
        "the first code cell is the one tagged parameters"
    )
    assert sum("parameters" in pages.tags(cell) for cell in cells) == 1
    return cells[0].source


def test_every_story_has_parameters_and_a_place_in_the_book() -> None:
    names = [path.stem for path in SCRIPTS]
    assert names == sorted(STORIES) == sorted(QUICK) == sorted(REPORT)
    chapters = pages.chapters()  # pages of one number stand in the order in which they are read
    assert names == sorted(chapters) and [name[:2] for name in names] == [
        name[:2] for name in chapters
    ]
    assert names == [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


@stories
def test_pair_is_equal(script: Path) -> None:
    left, right = jupytext.read(script, fmt="py:percent"), pages.read(script.with_suffix(".ipynb"))
    assert sync.cells(left) == sync.cells(right), "make sync"
    assert "jupytext" not in right.metadata, "the pairing is global, in pyproject.toml"


@stories
def test_every_cell_was_run_in_order_and_none_was_injected(script: Path) -> None:
    notebook = pages.read(script.with_suffix(".ipynb"))
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "make sync"
    assert not [cell for cell in notebook.cells if "injected-parameters" in pages.tags(cell)]
    assert not [output for output in pages.outputs(notebook) if output.output_type == "error"]
    assert not [output for output in pages.outputs(notebook) if output.get("name") == "stderr"], (
        "debris on the page"
    )


@stories
def test_parameters_have_type_default_and_meaning_one_a_line(script: Path) -> None:
    source = parameters_cell(script)
    nodes = ast.parse(source).body
    assert all(
        isinstance(node, ast.AnnAssign) and node.lineno == node.end_lineno for node in nodes
    ), source
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token.start[0] for token in tokens if token.type == tokenize.COMMENT]
    assert comments == [node.lineno for node in nodes] == list(range(1, len(nodes) + 1)), (
        "a comment on every line"
    )
    assert [node.target.id for node in nodes] == list(STORIES[script.stem].model_fields), (
        "same names, same order"
    )


def figure_faults(cells: list) -> list[str]:
    """What is wrong with the pictures of code cells: each needs a caption, a name of its own and an alt text."""
    faults, names = [], []
    for cell in cells:
        found, data = (
            cell.metadata.get("mystnb", {}),
            [output.get("data", {}) for output in cell.get("outputs", [])],
        )
        pictures = sum(kind.startswith("image/") for bundle in data for kind in bundle)
        if pictures or "figure" in found:
            figure, start = found.get("figure", {}), cell.source[:60]
            words = (
                figure.get("caption", ""),
                figure.get("name", ""),
                found.get("image", {}).get("alt", ""),
            )
            faults += [f"no caption, name or alt: {start}"] * (
                not all(text.strip() for text in words)
            )
            faults += [f"{pictures} pictures under one caption: {start}"] * (pictures != 1)
            names.append(figure.get("name"))
        html = "".join(bundle.get("text/html", "") for bundle in data)
        faults += [
            f"no alt: {tag}"
            for tag in re.findall(r"<img\b[^>]*>", html)
            if not re.search(r' alt="[^"]', tag)
        ]
    return faults + [f"twice: {name}" for name in set(names) if names.count(name) > 1]


@stories
def test_every_figure_has_a_caption_and_a_text_for_those_who_cannot_see_it(script: Path) -> None:
    cells = [
        cell for cell in pages.read(script.with_suffix(".ipynb")).cells if cell.cell_type == "code"
    ]
    assert figure_faults(cells) == []
    assert (
        any("figure" in cell.metadata.get("mystnb", {}) for cell in cells)
        or script.stem in WITHOUT_FIGURE
    )


def test_no_figure_of_two_stories_has_one_name() -> None:
    names = [
        cell.metadata["mystnb"]["figure"]["name"]
        for script in SCRIPTS
        for cell in pages.read(script.with_suffix(".ipynb")).cells
        if "figure" in cell.metadata.get("mystnb", {})
    ]
    assert len(names) > 20 and sorted(names) == sorted(set(names))


def test_a_figure_without_words_is_found() -> None:
    """MUST BE FOUND: no words, words without a picture, two pictures in a cell, one name twice, a bare <img>."""
    picture = nbformat.v4.new_output("display_data", {"image/png": "00"})
    bare = nbformat.v4.new_output("display_data", {"text/html": "<img src='data:,'>"})
    told = {"mystnb": {"figure": {"name": "fig-a", "caption": "A."}, "image": {"alt": "a"}}}
    untold = {"mystnb": {"figure": {"name": "fig-b", "caption": "A."}, "image": {"alt": " "}}}

    def cell(metadata: dict, *outputs) -> nbformat.NotebookNode:
        return nbformat.v4.new_code_cell("plt.show()", metadata=metadata, outputs=list(outputs))

    assert figure_faults([cell(told, picture), cell({})]) == []
    for faulty in (
        [cell({}, picture)],
        [cell(untold, picture)],
        [cell(told)],
        [cell(told, picture, picture)],
        [cell(told, picture), cell(told, picture)],
        [cell({}, bare)],
    ):
        assert len(figure_faults(faulty)) == 1, faulty


def headings(text: str) -> list[str]:
    """Headings of Markdown, without what stands in fences."""
    outside = re.sub(r"^(`{3,}|~{3,}).*?^\1`*$", "", text, flags=re.M | re.S)
    return re.findall(r"^#+ .+$", outside, re.M)


def check_levels(found: list[str]) -> None:
    levels = [len(heading.split()[0]) for heading in found]
    assert levels[0] == 1 and levels.count(1) == 1, found
    assert all(after - before <= 1 for before, after in pairwise(levels)), (
        f"a level is skipped: {found}"
    )


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("*.md")), ids=lambda path: path.stem)
def test_headings_of_prose_skip_no_level(path: Path) -> None:
    check_levels(headings(path.read_text(encoding="utf-8")))


@stories
def test_a_chapter_asks_and_has_a_box_an_exercise_a_folded_solution_and_provenance(
    script: Path,
) -> None:
    cells = pages.read(script.with_suffix(".ipynb")).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    check_levels(headings(text))
    assert headings(text)[0].endswith("?")
    box = re.match(
        r"# [^\n]+\n\n```\{admonition\} This page\n:class: tip\n(.*?)^```$", text, re.M | re.S
    )
    assert box and re.search(
        r"\*\*In\*\*.*\*\*Out\*\*.*\*\*Time\*\*.*\*\*Number to\s+expect\*\*", box[1], re.S
    )
    folded = r"\{admonition\} Exercise\n.*^`{3,4}\{admonition\} (A s|S)olution\n:class: dropdown\n"
    assert re.search(folded, text, re.M | re.S)
    assert [cell.source for cell in cells if cell.cell_type == "code"][
        -1
    ] == "story.provenance(parameters)"


def test_the_report_run_has_the_size_that_was_promised() -> None:
    ablation, umap = REPORT["06_beta_ablation"], REPORT["09_umap_analysis"]
    assert len(set(ablation["betas"])) >= 20 and (
        min(ablation["betas"]),
        max(ablation["betas"]),
    ) == (1e-5, 1.0)
    assert len(set(ablation["seeds"])) == 3 and set(ablation["corpora"]) == {
        "digits",
        "speech",
        "music",
    }
    question, edge, repair = (REPORT[name] for name in STORIES if name in LOSS_PAGES)
    assert len(question["relative_betas"]) >= 12 and question["checked"] >= 10
    assert set(question["corpora"]) == set(edge["corpora"]) == {"digits", "speech", "music"}
    assert len(edge["seeds"]) == len(repair["seeds"]) == 3 and set(repair["corpora"]) == {
        "speech",
        "music",
    }
    assert umap["effects"] == [2, 3, 4, 5] and umap["clips_per_effect"] == [2500, 2500, 2000, 1000]
    assert set(umap["corpora"]) == {"speech", "music"}
    embeddings, far = REPORT["10_effect_embeddings"], REPORT["11_how_far"]
    assert (
        min(embeddings["clips_per_effect"], far["clips_per_effect"]) >= 1000
        and len(embeddings["seeds"]) == 3
    )
    assert set(embeddings["corpora"]) == set(far["corpora"]) == {"speech", "music"} and far["joint"]
    assert set(far["sets"]) == {"fixed", "clean", "twelve"} and len(far["left_out"]) == 5


@stories
def test_quick_run_is_the_notebooks_defaults(script: Path) -> None:
    defaults = {
        node.target.id: ast.literal_eval(node.value)
        for node in ast.parse(parameters_cell(script)).body
    }
    assert QUICK[script.stem] == defaults
    assert resolve(script.stem, defaults)


@stories
def test_tracked_outputs_are_of_this_code(script: Path) -> None:
    found = pages.mark(pages.read(script.with_suffix(".ipynb")))
    expected = {
        "story": script.stem,
        "hash": page_hash(script.stem, resolve(script.stem, QUICK[script.stem])),
    }
    assert found == expected, "code or parameters changed since: make sync"


@stories
def test_chapter_is_the_story_with_the_parameters_of_the_report(script: Path) -> None:
    chapter, values = (
        pages.read(ROOT / "book" / "chapters" / f"{script.stem}.ipynb"),
        REPORT[script.stem],
    )
    assert {name: pages.parameters(chapter)[name] for name in values} == values, (
        "make report publish"
    )
    if status.state(script.stem, chapter) == "fresh":
        assert pages.sources(chapter) == pages.sources(pages.read(script.with_suffix(".ipynb"))), (
            "make report publish"
        )
    assert (
        len(chapter.cells) == len(pages.own_cells(chapter)) + 1
        and pages.mark(chapter)["story"] == script.stem
    )


@stories
def test_no_chapter_is_stale_and_the_status_page_has_its_state(script: Path) -> None:
    """Code that moves no number of the small run may change without an hour of computing; other code may not."""
    state = status.state(
        script.stem, pages.read(ROOT / "book" / "chapters" / f"{script.stem}.ipynb")
    )
    told = (ROOT / "book" / "status.md").read_text(encoding="utf-8")
    assert f"(chapters/{script.stem}.ipynb) | {state} |" in told, "python tools/status.py"
    assert state in ("fresh", "confirmed"), "make report publish"


def test_published_numbers_are_those_on_the_chapters() -> None:
    import results

    chapters = [ROOT / "book" / "chapters" / f"{script.stem}.ipynb" for script in SCRIPTS]
    assert json.loads((ROOT / "book" / "results.json").read_text()) == results.collect(chapters)


@pytest.mark.parametrize("where", ("quick", "published"))
def test_accuracies_of_embeddings_have_a_deviation(where: str) -> None:
    """Every run has two folds or more, so each mean over folds and seeds has a spread, whichever the probe."""
    story = ROOT / "notebooks" / "10_effect_embeddings.ipynb"
    published = json.loads((ROOT / "book" / "results.json").read_text())
    found = pages.records(pages.read(story)) if where == "quick" else published
    named = [
        re.fullmatch(r"embed\.(speech|music)\.(blind|paired)\.(\w+)\.(\w+)\.mean", name)
        for name in found
    ]
    named = [name for name in named if name]
    for corpus in ("speech", "music"):
        assert {name[3] for name in named if name[1] == corpus} == {*METHODS} - {"told_paired"}
    missing = [
        name[0]
        for name in named
        if not 0 <= found.get(f"{name[0].removesuffix('.mean')}.std", -1) < 0.5
    ]
    assert not missing, missing


def test_the_published_status_is_that_of_the_chapters() -> None:
    found = status.text([ROOT / "book" / "chapters" / f"{name}.ipynb" for name in pages.chapters()])
    assert (ROOT / "book" / "status.md").read_text(encoding="utf-8") == found, (
        "python tools/status.py"
    )
    assert "| unknown |" not in found and "`unknown`" not in found, (
        "a provenance table without one of its rows"
    )


def test_every_sound_of_the_book_is_on_a_chapter() -> None:
    text = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "book" / "chapters").glob("*.ipynb")
    )
    assert "data:audio" not in text, "make publish"
    named = set(re.findall(r"\.\./_static/sound/(\w+\.mp3)", text))
    assert named == {path.name for path in (ROOT / "book" / "_static" / "sound").iterdir()}


def test_the_picture_of_the_readme_is_the_chapter_s() -> None:
    assert (ROOT / "book" / "average.png").read_bytes() == publish.picture(
        ROOT / "book" / "chapters"
    )
    assert "(book/average.png)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_prose_quotes_only_what_the_small_run_records_too() -> None:
    """`make book` builds the prose with pages of the quick run: a number that only the report has would stop it."""
    told = {}
    for path in sorted((ROOT / "book").glob("*.md")):
        for story, name in re.findall(
            r"chapters/(\w+)\.ipynb::([\w.]+)", path.read_text(encoding="utf-8")
        ):
            if story not in told:
                told[story] = pages.records(
                    pages.read(ROOT / "notebooks" / f"{story}.ipynb")
                ).keys()
            assert name in told[story], (
                f"{path.name}: {name} is not recorded by {story} at the quick parameters"
            )
