"""Bring each story's .ipynb up to its .py, and its outputs up to the quick run: `make sync`.

`python tools/sync.py pairs` before the run: cells of the .ipynb follow an edited .py. `python tools/sync.py outputs`
after it: outputs of the quick pages come in, the injected cell stays out.
"""

import os
import sys
from pathlib import Path

import jupytext
import nbformat
import pages

from lib import ROOT, BadInput
from lib.runtime import stages as artifacts

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def write(notebook: nbformat.NotebookNode, path: Path) -> bool:
    """Write atomically, and only what changed, so that file times mean something."""
    text = nbformat.writes(notebook) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    return True


def cells(notebook: nbformat.NotebookNode) -> list[tuple]:
    """What a pair has in common: type, text, tags and figure settings of every cell."""
    return [
        (c.cell_type, c.source, pages.tags(c), c.metadata.get("mystnb", {})) for c in notebook.cells
    ]


def pair(script: Path) -> bool:
    """Update the cells of a story's .ipynb from its .py, keeping outputs of cells that did not change."""
    path = script.with_suffix(".ipynb")
    new = jupytext.read(script, fmt="py:percent")
    new.metadata = {"kernelspec": KERNEL}
    if path.exists():
        old = pages.read(path)
        if cells(old) == cells(new):
            return False
        if path.stat().st_mtime > script.stat().st_mtime and any(
            cell.get("outputs") for cell in old.cells
        ):
            raise BadInput(
                f"{path}: edited after {script.name}; save it in Jupyter Lab, which writes both"
            )
        kept = {cell.source: cell for cell in old.cells if cell.cell_type == "code"}
        for cell in new.cells:
            if cell.cell_type == "code" and cell.source in kept:
                cell.outputs, cell.execution_count = (
                    kept[cell.source].outputs,
                    kept[cell.source].execution_count,
                )
    for place, cell in enumerate(new.cells):
        cell["id"] = f"cell-{place:02d}"
    new.nbformat, new.nbformat_minor = 4, 5
    return write(new, path)


def check(script: Path) -> None:
    """BadInput when a story's .ipynb, which a run executes, has other cells than its .py, which people review."""
    if cells(pages.read(script.with_suffix(".ipynb"))) != cells(
        jupytext.read(script, fmt="py:percent")
    ):
        raise BadInput(
            f"{script.with_suffix('.ipynb')}: other cells than {script.name}; run `make sync` first"
        )


def strip(page: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A page as its story: no injected cell, no papermill metadata, cells counted from 1."""
    page.cells = pages.own_cells(page)
    page.metadata = {"kernelspec": KERNEL}
    count = 0
    for place, cell in enumerate(page.cells):
        cell["id"] = f"cell-{place:02d}"
        cell.metadata = {
            key: value
            for key, value in cell.metadata.items()
            if key in ("tags", "mystnb") and value
        }
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count
    return page


def take(page: Path, story: Path) -> bool:
    """Put the outputs of an executed page into its story."""
    notebook = pages.read(page)
    if pages.sources(notebook) != pages.sources(pages.read(story)):
        raise BadInput(f"{page}: made from another version of {story.name}; run `make book` first")
    return write(strip(notebook), story)


def main(step: str) -> None:
    for script in sorted((ROOT / "notebooks").glob(f"{pages.STORIES}.py")):
        story = script.with_suffix(".ipynb")
        changed = (
            pair(script)
            if step == "pairs"
            else take(artifacts.root() / "quick" / "pages" / story.name, story)
        )
        times = script.stat()  # Jupyter Lab opens no pair whose .ipynb is the newer one
        os.utime(story, ns=(times.st_atime_ns, times.st_mtime_ns))
        print(f"{story.relative_to(ROOT)}: {'updated' if changed else 'as it was'}")


if __name__ == "__main__":
    if sys.argv[1:] not in (["pairs"], ["outputs"]):
        sys.exit("usage: python tools/sync.py pairs | outputs")
    try:
        main(sys.argv[1])
    except (BadInput, FileNotFoundError) as error:
        sys.exit(str(error))
