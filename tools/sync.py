"""Put the outputs of the quick run into notebooks/*.ipynb, where nbval compares them: `make sync`.

The cells come from the .py, by `jupytext --update`, before the run. The cell that papermill injects
stays out.
"""

import os
import sys
from pathlib import Path

import jupytext
import nbformat
from jupytext.compare import NotebookDifference, compare_notebooks
from publish import own_cells, read, sources, write

from lib import ROOT, BadInput
from lib.runtime import stages

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def check(script: Path) -> None:
    """BadInput when a story's .ipynb, which a run executes, has other cells than its .py."""
    path = script.with_suffix(".ipynb")
    notebook = read(path)
    notebook.metadata = {}  # the .py names no kernel
    try:
        compare_notebooks(notebook, jupytext.read(script, fmt="py:percent"), "py:percent")
    except NotebookDifference:
        message = f"{path}: other cells than {script.name}; run `make sync` first"
        raise BadInput(message) from None


def strip(page: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A page as its story: no injected cell, no papermill metadata, cells counted from 1."""
    page.cells = own_cells(page)
    page.metadata = {"kernelspec": KERNEL}
    count = 0
    for place, cell in enumerate(page.cells):
        cell["id"] = f"cell-{place:02d}"
        kept = [key for key in ("tags", "mystnb") if cell.metadata.get(key)]
        cell.metadata = {key: cell.metadata[key] for key in kept}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count
    return page


def take(page: Path, story: Path) -> None:
    """Put the outputs of an executed page into its story; an equal file keeps its time."""
    notebook = read(page)
    if sources(notebook) != sources(read(story)):
        raise BadInput(f"{page}: made from another version of {story.name}; run `make book` first")
    write(story, (nbformat.writes(strip(notebook)) + "\n").encode())
    times = story.with_suffix(".py").stat()  # Jupyter Lab opens no pair whose .ipynb is newer
    os.utime(story, ns=(times.st_atime_ns, times.st_mtime_ns))


if __name__ == "__main__":
    try:
        for script in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py")):
            name = script.with_suffix(".ipynb").name
            take(stages.root() / "quick" / "pages" / name, script.with_suffix(".ipynb"))
    except (BadInput, FileNotFoundError) as error:
        sys.exit(str(error))
