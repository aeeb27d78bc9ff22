"""From the pages of a run to the book: chapters, numbers and the status page.

    python tools/publish.py                       a complete report run into book/ (`make publish`)
    python tools/publish.py status                book/status.md anew, from the published chapters
    python tools/publish.py results FILE PAGE...  numbers recorded on pages, into one flat JSON file
    python tools/publish.py stage RUN             prose, settings and pages of a run, into RUN/book

Publishing refuses a run that is incomplete, that other code or other parameters made, or that has
a page above 1 MB. It writes beside and renames: the published book is the old one or the new one,
never a mixture.
"""

import ast
import base64
import hashlib
import html
import json
import math
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import yaml
from filelock import FileLock

from lib import ROOT, BadInput
from lib.book.page import page_hash
from lib.book.parameters import read_run, resolve
from lib.runtime import stages
from lib.runtime.files import write_json

LIMIT = 1_000_000  # bytes of a page
COMPUTED = ("chapters", "results.json", "small_run.json", "status.md")  # a run writes these
PICTURE = ("03_mnist_sanity_check", "fig-digits-beta1")  # page and name of README.md's figure
SMALL = ROOT / "book" / "small_run.json"  # numbers of the quick run at publication, by story
SAME = 1e-6  # relative: two numbers closer than this differ by rounding in float32
SOUND = re.compile(r'(?:data-file="(\w+)" )?src="data:audio/mpeg;base64,([A-Za-z0-9+/=]+)"')
NO_BREAK = "\u00a0"  # a space at which no line breaks
BEFORE = "before.json"  # a file in the folder of moved files: it names everything that has to move


# Pages


def toc() -> list[str]:
    """Pages of the book in the order of the table of contents, without suffix."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [entry["file"] for part in contents["parts"] for entry in part["chapters"]]
    return [contents["root"], *chapters]


def chapters() -> list[str]:
    """Stories in the same order."""
    return [name.removeprefix("chapters/") for name in toc() if name.startswith("chapters/")]


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook. BadInput when it no longer has the checksum that the run left beside it."""
    seal = path.with_name(f"{path.name}.sha256")
    if seal.exists() and seal.read_text().strip() != hashlib.sha256(path.read_bytes()).hexdigest():
        raise BadInput(f"{path}: damaged, its checksum is another; delete it and run again")
    return nbformat.read(path, as_version=4)


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def own_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells that the author wrote, without the one that papermill injects."""
    return [cell for cell in notebook.cells if "injected-parameters" not in tags(cell)]


def sources(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Type and text of the author's cells."""
    return [(cell.cell_type, cell.source) for cell in own_cells(notebook)]


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [output for cell in code for output in cell.outputs]


def records(notebook: nbformat.NotebookNode) -> dict[str, float]:
    """Numbers glued by lib.book.page.record, by name. BadInput when a name has two values."""
    numbers: dict[str, float] = {}
    for output in outputs(notebook):
        scrap = output.get("metadata", {}).get("scrapbook")
        if not scrap or scrap["name"].startswith("key-"):  # a key figure
            continue
        name = scrap["name"]
        value = ast.literal_eval(output.data[f"{scrap['mime_prefix']}text/plain"])
        if numbers.setdefault(name, value) != value:
            raise BadInput(f"{name} has two values, {numbers[name]} and {value}")
    return numbers


def mark(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Story and hash left by lib.book.page.provenance; empty when the page did not end."""
    marks = [output.get("metadata", {}).get("average_spectrogram") for output in outputs(notebook)]
    return next((each for each in reversed(marks) if each), {})


def provenance(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Rows of the table left by lib.book.page.provenance, without those of the parameters."""
    marked = [o for o in outputs(notebook) if "average_spectrogram" in o.get("metadata", {})]
    table = marked[-1].data.get("text/html", "") if marked else ""
    rows = re.findall(r"<tr><th>([\w ]+)</th><td>(.*?)</td></tr>", table)
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


def collect(paths: list[Path]) -> dict[str, float]:
    """Recorded numbers of all pages by name. BadInput for a damaged page or a contradiction."""
    numbers: dict[str, float] = {}
    for path in paths:
        for name, value in records(read(path)).items():
            if numbers.setdefault(name, value) != value:
                other = numbers[name]
                raise BadInput(f"{path}: {name} = {value}, but another page recorded {other}")
    return numbers


def with_current_prose(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """A page with the Markdown cells of the checkout, if its code cells are the checkout's.

    So a sentence can be mended without an hour of computing: the outputs stay those of the run.
    """
    story = read(ROOT / "notebooks" / f"{name}.ipynb")
    code = [cell for cell in own_cells(notebook) if cell.cell_type == "code"]
    if [cell.source for cell in code] != [c.source for c in story.cells if c.cell_type == "code"]:
        return notebook
    injected = [cell for cell in notebook.cells if "injected-parameters" in tags(cell)]
    cells = []
    for cell in story.cells:
        cells.append(code.pop(0) if cell.cell_type == "code" else cell)
        if "parameters" in tags(cell):
            cells += injected
    for place, cell in enumerate(cells):
        cell["id"] = f"cell-{place:02d}"
    notebook.cells = cells
    return notebook


def as_chapter(page: Path) -> dict[Path, bytes | Path]:
    """Files of a page as a chapter, by their place in the book: their content, or the file to copy.

    Sounds leave the page: a data address becomes a file in `_static/sound/`. Key figures are
    copied to `_static/key/`, where the introduction finds them. An output whose
    metadata say `average_spectrogram_assets: {name, folder}` brings that stage's files into
    `_static/<name>/`.
    """
    notebook = with_current_prose(read(page), page.stem)
    notebook.metadata.pop("papermill", None)  # it names folders of this machine
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(tags(cell)):
            cell.metadata["tags"] = [*tags(cell), "remove-cell"]  # `begin` shows them as a table
    files: dict[Path, bytes | Path] = {}

    def leave(match: re.Match) -> str:
        sound = base64.b64decode(match[2])
        name = match[1] or hashlib.sha256(sound).hexdigest()[:16]
        files[Path(f"_static/sound/{name}.mp3")] = sound
        return f'src="../_static/sound/{name}.mp3"'

    for output in outputs(notebook):
        if "text/html" in output.get("data", {}):
            output.data["text/html"] = SOUND.sub(leave, output.data["text/html"])
        scrap = output.get("metadata", {}).get("scrapbook", {"name": ""})
        if scrap["name"].startswith("key-"):  # a key figure, which prose shows
            picture = output.data[f"{scrap['mime_prefix']}image/png"]
            files[Path(f"_static/key/{scrap['name']}.png")] = base64.b64decode(picture)
        assets = output.get("metadata", {}).get("average_spectrogram_assets")
        if assets:
            folder = stages.root() / assets["folder"]
            if not folder.is_dir():
                raise BadInput(f"{page}: {folder} is gone; delete the page and run the story again")
            for name in stages.read_card(folder)["files"]:
                files[Path("_static") / assets["name"] / name] = folder / name
    files[Path("chapters") / page.name] = (nbformat.writes(notebook) + "\n").encode()
    return files


# The status page

STATUS = """\
# Are the pages those of the present code?

{fresh} of {count} pages are *fresh*: their story, the code that it imports and its parameters are
those of the checkout. {confirmed} are *confirmed*, which means that code has changed but the
story's small run still gives every number that it gave at publication; {stale} are *stale*, so
their numbers are those of older code.
{behind}
| page | state | time | peak memory | commit |
|---|---|---|---|---|
{rows}

`tools/publish.py` wrote this page. The time is that of the page's last run. It is short where the
run found finished stages, so the sum of the times is not the time of a first run. A commit marked
*dirty* had changes that were not committed.

## Parameters and versions
{folded}
## All numbers

Every number that a page recorded, rounded to six digits; {{download}}`results.json` has them in
full.

| number | value | page |
|---|---|---|
{numbers}
"""
BEHIND = """
`make report publish` computes the stale pages again. They stand at the commit in the last column.
"""
FOLDED = """
```{{admonition}} {title}
:class: dropdown
| parameter | value |
|---|---|
{values}

Hash `{hash}`, on {device}, with {versions}.
```
"""
ROWS = ("time", "peak memory", "commit", "device", "versions")


def small(name: str) -> tuple[nbformat.NotebookNode, bool]:
    """A story with the outputs of its quick run, and whether the checkout's code made these."""
    tracked = read(ROOT / "notebooks" / f"{name}.ipynb")
    values = read_run(ROOT / "runs" / "quick.yml")["stories"][name]
    return tracked, mark(tracked).get("hash") == page_hash(name, resolve(name, values))


def confirmed(name: str) -> bool:
    """Whether a story's quick run by this code gives the numbers that it gave at publication."""
    tracked, current = small(name)
    before = json.loads(SMALL.read_text(encoding="utf-8")).get(name) if SMALL.exists() else None
    now = records(tracked)
    if not current or not before or before.keys() != now.keys():
        return False
    compared = [key for key in now if not key.endswith("_seconds")]
    return all(math.isclose(now[key], before[key], rel_tol=SAME) for key in compared)


def state(name: str, notebook: nbformat.NotebookNode) -> str:
    """fresh, confirmed or stale: whether the checkout would compute this page's numbers again."""
    try:
        now = page_hash(name, resolve(name, parameters(notebook)))
    except BadInput:  # a parameter has gone, or its values are others
        return "stale"
    if mark(notebook).get("hash") == now:
        return "fresh"
    return "confirmed" if confirmed(name) else "stale"


def cell(value: object) -> str:
    """A value in a cell of a table."""
    return str(value).replace("|", r"\|")


def title(notebook: nbformat.NotebookNode) -> str:
    """The first heading."""
    lines = "\n".join(each.source for each in notebook.cells).splitlines()
    return next(line.removeprefix("# ") for line in lines if line.startswith("# "))


def status(pages: list[Path]) -> str:
    """The page about these chapters, in their order; Markdown."""
    rows, folded, numbers, states = [], [], [], []
    for page in pages:
        name, notebook, link = page.stem, read(page), f"chapters/{page.name}"
        head = title(notebook)
        made = dict.fromkeys(ROWS, "unknown") | provenance(notebook)
        time = made["time"].split(" (")[0].replace(" ", NO_BREAK)
        memory = made["peak memory"].replace(" ", NO_BREAK)
        now = state(name, notebook)
        states.append(now)
        rows.append(f"| [{cell(head)}]({link}) | {now} | {time} | {memory} | `{made['commit']}` |")
        values = []
        for key, value in parameters(notebook).items():
            text = json.dumps(value).replace("`", r"\u0060")
            values.append(f"| `{key}` | `{cell(text)}` |")
        told = {"hash": "unknown"} | made | mark(notebook)
        folded.append(FOLDED.format_map(told | {"title": head, "values": "\n".join(values)}))
        for key, value in records(notebook).items():
            numbers.append(f"| `{key}` | {value:.6g} | [{name.replace('_', NO_BREAK)}]({link}) |")
    return STATUS.format(
        **{each: states.count(each) for each in ("fresh", "confirmed", "stale")},
        count=len(states),
        behind=BEHIND if "stale" in states else "",
        rows="\n".join(rows),
        folded="".join(folded),
        numbers="\n".join(sorted(numbers)),
    )


# A run's own book


def write(target: Path, source: bytes | Path) -> None:
    """Content, or that of a file, to its place; a file that did not change keeps its time."""
    content = source.read_bytes() if isinstance(source, Path) else source
    if target.exists() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(target)


def is_computed(place: Path) -> bool:
    """Whether a run writes a file of the book: chapters, numbers, status, folders in `_static/`."""
    return place.parts[0] in COMPUTED or (place.parts[0] == "_static" and len(place.parts) > 2)


def stage(run: Path) -> None:
    """Prose, settings and the run's pages with their files in RUN/book, and nothing else."""
    files: dict[Path, bytes | Path] = {}
    for path in (ROOT / "book").rglob("*"):
        name = path.relative_to(ROOT / "book")
        if path.is_file() and name.parts[0] != "_build" and not is_computed(name):
            files[name] = path
    for name in ("_config.yml", "_toc.yml"):  # these are links in book/, which a checkout may lack
        files[Path(name)] = ROOT / name
    pages = [run / "pages" / f"{name}.ipynb" for name in chapters()]
    pages = [page for page in pages if page.exists()]
    for page in pages:
        files |= as_chapter(page)
    files[Path("results.json")] = run / "results.json"
    files[Path("status.md")] = status(pages).encode()
    for path in (run / "book").rglob("*"):
        name = path.relative_to(run / "book")
        if path.is_file() and name.parts[0] != "_build" and name not in files:
            path.unlink()
    for name, source in files.items():
        write(run / "book" / name, source)


# Publication


def check(run: Path, stories: dict[str, dict]) -> list[Path]:
    """The pages of a complete run in order. BadInput says which is missing, stale or too large."""
    pages = []
    for name in chapters():
        page = run / "pages" / f"{name}.ipynb"
        if name not in stories or not page.exists():
            raise BadInput(f"{page}: missing; run `make report` to its end first")
        size = page.stat().st_size
        if size > LIMIT:
            raise BadInput(
                f"{page}: {size} bytes, a chapter has at most {LIMIT}; show fewer pictures"
            )
        expected = page_hash(name, resolve(name, stories[name]))
        if mark(read(page)).get("hash") != expected:
            raise BadInput(f"{page}: made by other code or parameters; run `make report` again")
        pages.append(page)
    return pages


def picture(folder: Path) -> bytes:
    """The figure of README.md as PNG, from the page that made it, in a folder of pages."""
    story, name = PICTURE
    for each in read(folder / f"{story}.ipynb").cells:
        if each.metadata.get("mystnb", {}).get("figure", {}).get("name") == name:
            images = [o.data["image/png"] for o in each.outputs if "image/png" in o.get("data", {})]
            return base64.b64decode(images[0])
    raise BadInput(f"{story}: no figure {name}, which README.md shows")


def small_numbers(name: str) -> dict[str, float]:
    """Numbers of a story's quick run. BadInput: other code than the checkout's made its outputs."""
    tracked, current = small(name)
    if not current:
        raise BadInput(f"notebooks/{name}.ipynb: outputs of other code; run `make sync` first")
    return records(tracked)


def computed(book: Path) -> list[str]:
    """Names of what a publication wrote into a book, sorted."""
    places = [*(book / name for name in COMPUTED), *(book / "_static").glob("*/")]
    return sorted(path.relative_to(book).as_posix() for path in places if path.exists())


def publish(run: Path, stories: dict[str, dict], book: Path) -> None:
    """A run's pages, with their files and numbers, into a book folder, all or nothing.

    A second publication waits for the first. After one that was killed, the old book comes back
    first.
    """
    with FileLock(stages.root() / ".publish.lock"):
        for old in book.glob(".old.*"):
            restore(old, book)
        for new in book.glob(".new.*"):
            shutil.rmtree(new)
        pages = check(run, stories)
        average = picture(run / "pages") if PICTURE[0] in stories else b""
        replace(pages, book)
        if average:
            write(book / "average.png", average)


def restore(old: Path, book: Path) -> None:
    """Bring back the book of before, from what an unfinished publication had moved to `old`.

    It may itself be killed and called again: what is back is no longer in that folder.
    """
    names = old / BEFORE
    if names.exists():  # otherwise everything new is in place
        before = json.loads(names.read_text(encoding="utf-8"))
        for name in computed(book):
            if (old / name).exists() or name not in before:
                remove = shutil.rmtree if (book / name).is_dir() else Path.unlink
                remove(book / name)
        move(old, book, [name for name in before if (old / name).exists()])
        names.unlink()
    shutil.rmtree(old, ignore_errors=True)


def move(source: Path, target: Path, names: list[str]) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).rename(target / name)


def replace(pages: list[Path], book: Path) -> None:
    """Put these pages, with their files, in place of what a run wrote into the book before."""
    new, old = book / f".new.{os.getpid()}", book / f".old.{os.getpid()}"  # laid out as the book is
    try:
        write_json(new / "results.json", collect(pages))
        write(new / "status.md", status(pages).encode())
        write_json(new / SMALL.name, {page.stem: small_numbers(page.stem) for page in pages})
        for page in pages:
            for name, source in as_chapter(page).items():
                write(new / name, source)
        before = computed(book)
        try:
            write_json(old / BEFORE, before)
            move(book, old, before)
            move(new, book, computed(new))
        except BaseException:
            restore(old, book)
            raise
        (old / BEFORE).unlink()  # the new book stands from here on
        shutil.rmtree(old)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def main(command: str = "publish", *words: str) -> None:
    book = ROOT / "book"
    if command == "publish":
        stories = read_run(ROOT / "runs" / "report.yml")["stories"]
        publish(stages.root() / "report", stories, book)
        print(f"published {len(chapters())} chapters: commit {book}")
    elif command == "status":
        published = [book / "chapters" / f"{name}.ipynb" for name in chapters()]
        (book / "status.md").write_text(status(published), encoding="utf-8")
    elif command == "results":
        target, *pages = map(Path, words)
        write_json(target, collect(pages))
    elif command == "stage":
        stage(Path(words[0]))
    else:
        raise BadInput(f"{command!r}: write one of publish, status, results, stage")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BadInput as error:
        sys.exit(str(error))
