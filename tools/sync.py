"""Put the outputs of the quick run into notebooks/*.ipynb, where nbval compares them: `make sync`.

The cells come from the .py, by `jupytext --update`, before the run. The cell that papermill injects
stays out. `python tools/sync.py show 03` shows where a story's two files differ; `py 03` or
`ipynb 03` gives the cells of that file to the other.
"""

import difflib
import os
import sys
from pathlib import Path

import jupytext
import nbformat
from jupytext.cli import jupytext as jupytext_command
from publish import own_cells, read, sources, write

from lib import ROOT, BadInput
from lib.book.parameters import STORIES
from lib.runtime import stages

FILTERS = {"cell_metadata_filter": "tags,mystnb,-all", "notebook_metadata_filter": "-all"}
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def script_of(path: Path, known: list = ()) -> tuple[str, list]:
    """A file of a story as a script, and its cells' metadata, ordered as equal known ones."""
    try:
        notebook = read(path) if path.suffix == ".ipynb" else jupytext.read(path, fmt="py:percent")
    except (OSError, ValueError, AttributeError) as error:  # absent, cut, or the marks of a merge
        other = "py" if path.suffix == ".ipynb" else "ipynb"
        remedy = f"python tools/sync.py {other} {path.name[:2]}` takes the other side"
        raise BadInput(f"{path}: cannot be read ({error}); `{remedy}") from None
    notebook.cells, notebook.metadata = own_cells(notebook), {"jupytext": FILTERS}
    for cell in notebook.cells:
        data = {key: cell.metadata[key] for key in ("tags", "mystnb") if cell.metadata.get(key)}
        cell.metadata = next((each for each in known if each == data), data)
    text = jupytext.writes(notebook, fmt="py:percent")
    return text, [cell.metadata for cell in notebook.cells]


def difference(script: Path) -> str:
    """Cells of a story's .py (-) and of its .ipynb (+) where they differ, as a diff."""
    path = script.with_suffix(".ipynb")
    ours, known = script_of(script)
    sides = ours.splitlines(keepends=True), script_of(path, known)[0].splitlines(keepends=True)
    return "".join(difflib.unified_diff(*sides, script.name, path.name))


def check(script: Path) -> None:
    """BadInput when a story's .ipynb, which a run executes, has other cells than its .py."""
    if difference(script):
        remedy = f"see `python tools/sync.py show {script.name[:2]}`"
        problem = f"other cells than {script.name}; {remedy}"
        raise BadInput(f"{script.with_suffix('.ipynb')}: {problem}")


def choose(side: str, script: Path) -> None:
    """Show where the files of a story differ, and give the cells of the chosen one to the other."""
    path = script.with_suffix(".ipynb")
    try:
        print(difference(script) or f"{path.name}: the same cells as {script.name}")
    except BadInput as error:
        print(error)
        if side == "py":
            path.unlink(missing_ok=True)  # outputs cannot be kept
    if side == "py":
        jupytext_command(["--quiet", "--update", "--to", "notebook", str(script)])
    elif side == "ipynb":
        known = script_of(script)[1] if script.exists() else []
        write(script, script_of(path, known)[0].encode())
    else:
        command, number = "python tools/sync.py", script.name[:2]
        print(f"`{command} py {number}` keeps the lines with -, `{command} ipynb {number}` with +")
        return
    same_time(script)


def same_time(script: Path) -> None:
    """Jupyter Lab opens no pair of which one file is newer."""
    times = script.stat()
    os.utime(script.with_suffix(".ipynb"), ns=(times.st_atime_ns, times.st_mtime_ns))


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
    same_time(story.with_suffix(".py"))


def main(side: str = "", number: str = "") -> None:
    if side not in ("", "show", "py", "ipynb"):
        raise BadInput(f"{side}: give show, py or ipynb, and the number of a chapter")
    names = [name for name in STORIES if number in ("", name[:2], name)]
    if not names:
        raise BadInput(f"notebooks/{number}_*: no such story; give a chapter's number, as in 03")
    for name in names:
        script = ROOT / "notebooks" / f"{name}.py"
        if side:
            choose(side, script)
        else:
            page = stages.root() / "quick" / "pages" / f"{name}.ipynb"
            take(page, script.with_suffix(".ipynb"))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (BadInput, FileNotFoundError) as error:
        sys.exit(str(error))
