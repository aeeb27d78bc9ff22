"""What the other tools know about pages: their order, the author's code, recorded numbers, provenance, the chapter."""

import ast
import base64
import hashlib
import html
import re
from pathlib import Path

import nbformat
import yaml

from lib import ROOT, BadInput
from lib.runtime import stages as artifacts

STORIES = "[0-9][0-9]_*"  # file names of stories, without suffix
COMPUTED = (
    "chapters",
    "results.json",
    "small_run.json",
    "status.md",
)  # what a run writes at the top of a book
SOUND = re.compile(
    r'(?<=src=")data:audio/mpeg;base64,([A-Za-z0-9+/=]+)(?=")'
)  # as lib.book.players writes it


def toc() -> list[str]:
    """Pages of the book in the order of the table of contents, without suffix."""
    found = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [
        found["root"],
        *(entry["file"] for part in found["parts"] for entry in part["chapters"]),
    ]


def chapters() -> list[str]:
    """Stories in the same order."""
    return [name.removeprefix("chapters/") for name in toc() if name.startswith("chapters/")]


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook, in nbformat 4; BadInput when a run left a checksum beside it and it is another."""
    seal = path.with_name(f"{path.name}.sha256")
    if seal.exists() and seal.read_text().strip() != hashlib.sha256(path.read_bytes()).hexdigest():
        raise BadInput(f"{path}: damaged, its checksum is another; delete it and run again")
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
    return [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]


def records(notebook: nbformat.NotebookNode) -> dict[str, float]:
    """Numbers glued by lib.book.page.record, by name; ValueError when a name has two values."""
    found: dict[str, float] = {}
    for output in outputs(notebook):
        scrap = output.get("metadata", {}).get("scrapbook")
        if scrap:
            value = ast.literal_eval(output.data[f"{scrap['mime_prefix']}text/plain"])
            if found.setdefault(scrap["name"], value) != value:
                raise ValueError(
                    f"{scrap['name']} has two values, {found[scrap['name']]} and {value}"
                )
    return found


def mark(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Story and hash that lib.book.page.provenance left on the page; empty when it did not run to the end."""
    marks = [output.get("metadata", {}).get("average_spectrogram") for output in outputs(notebook)]
    return next((found for found in reversed(marks) if found), {})


def provenance(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Rows of the table that lib.book.page.provenance left on the page, without those of the parameters."""
    tables = [
        o.data.get("text/html", "")
        for o in outputs(notebook)
        if "average_spectrogram" in o.get("metadata", {})
    ]
    rows = re.findall(r"<tr><th>([\w ]+)</th><td>(.*?)</td></tr>", "".join(tables[-1:]))
    return {key: html.unescape(value) for key, value in rows}


def parameters(notebook: nbformat.NotebookNode) -> dict[str, object]:
    """Values that a page was run with: defaults, then what papermill injected."""
    values = {}
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(tags(cell)):
            for node in ast.parse(cell.source).body:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                values[target.id] = ast.literal_eval(node.value)
    return values


def as_chapter(page: Path) -> dict[Path, bytes | Path]:
    """Files of a page as a chapter, by their place in the book: their content, or the file to copy.

    Sounds leave the page: a data address becomes a file in `_static/sound/`. An output whose metadata say
    `average_spectrogram_assets: {name, folder}` brings that artifact's files into `_static/<name>/`. So the folders in
    `_static/` are computed, and the files that lie directly in it are written by hand.
    """
    notebook, files = read(page), {}
    notebook.metadata.pop("papermill", None)  # it names folders of this machine

    def leave(found: re.Match) -> str:
        sound = base64.b64decode(found[1])
        place = Path("_static/sound") / f"{hashlib.sha256(sound).hexdigest()[:16]}.mp3"
        files[place] = sound
        return f"../{place.as_posix()}"

    for output in outputs(notebook):
        if "text/html" in output.get("data", {}):
            output.data["text/html"] = SOUND.sub(leave, output.data["text/html"])
        assets = output.get("metadata", {}).get("average_spectrogram_assets")
        if assets:
            folder = artifacts.root() / assets["folder"]
            if not folder.is_dir():
                raise BadInput(
                    f"{page}: shows files of {folder}, which is gone; delete it and run the story again"
                )
            for name in artifacts.read_card(folder)["files"]:
                files[Path("_static") / assets["name"] / name] = folder / name
    files[Path("chapters") / page.name] = (nbformat.writes(notebook) + "\n").encode()
    return files


def is_computed(place: Path) -> bool:
    """Whether a file of the book is written by a run: chapters, numbers, status, and the folders in `_static/`."""
    return place.parts[0] in COMPUTED or (place.parts[0] == "_static" and len(place.parts) > 2)
