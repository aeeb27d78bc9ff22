"""What the other tools know about pages: code without the injected cell, recorded numbers, mark."""

import ast
from pathlib import Path

import nbformat

STORIES = "[0-9][0-9]_*"  # file names of stories, without suffix


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook, in nbformat 4."""
    return nbformat.read(path, as_version=4)


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def own_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells that the author wrote: without the one that papermill injects."""
    return [cell for cell in notebook.cells if "injected-parameters" not in tags(cell)]


def sources(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Type and text of the author's cells."""
    return [(cell.cell_type, cell.source) for cell in own_cells(notebook)]


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def records(notebook: nbformat.NotebookNode) -> dict[str, float]:
    """Numbers glued by lib.story.record, by name; ValueError when a name has two values."""
    found: dict[str, float] = {}
    for output in outputs(notebook):
        scrap = output.get("metadata", {}).get("scrapbook")
        if scrap:
            value = ast.literal_eval(output.data[f"{scrap['mime_prefix']}text/plain"])
            if found.setdefault(scrap["name"], value) != value:
                raise ValueError(f"{scrap['name']} has two values, {found[scrap['name']]} and {value}")
    return found


def mark(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Story and hash that lib.story.provenance left on the page; empty when it did not run to the end."""
    marks = [output.get("metadata", {}).get("average_spectrogram") for output in outputs(notebook)]
    return next((found for found in reversed(marks) if found), {})


def parameters(notebook: nbformat.NotebookNode) -> dict[str, object]:
    """Values that a page was run with: defaults, then what papermill injected."""
    values = {}
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(tags(cell)):
            for node in ast.parse(cell.source).body:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                values[target.id] = ast.literal_eval(node.value)
    return values
