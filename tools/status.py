"""The state of every chapter and all numbers, as a page of the book: what stands in book/status.md.

tools/stage_book.py and tools/publish.py write it with the pages that they lay out. `python tools/status.py` writes it
again from the published chapters.
"""

import json
import math
from pathlib import Path

import nbformat
import pages

from lib import ROOT, BadInput
from lib.book.page import page_hash
from lib.book.parameters import read_run, resolve

SMALL = ROOT / "book" / "small_run.json"  # numbers of the small run at publication, by story
SAME = 1e-6  # relative, of two numbers that count as one: what rounding in float32 does; recorded times do not count
WHOLE = "\u00a0"  # a space where no line breaks
PAGE = """\
# The state of this book

Written by `tools/status.py` when the pages were laid out. A page is **fresh** when its story, the code that it imports
and its parameters are those of the checkout. It is **confirmed** when code has changed since, but the story's small
run, of `make book`, still gives every number that it gave then. Else it is **stale**: its numbers are of other code.
{behind}
| page | state | time | peak memory | commit |
|---|---|---|---|---|
{rows}

The time is that of the last run of the page. It is short where finished stages were found, so their sum is not the time
of a first run. A commit marked *dirty* had changes that were not committed.

## Parameters and versions
{folded}
## All numbers

Every number that a page recorded, rounded to six digits; {{download}}`results.json` has them in full.

| number | value | page |
|---|---|---|
{numbers}
"""
BEHIND = """
**{stale} of {count} pages are stale**: lib or the stories have moved on since they were computed, at the commit in the
last column. `make report publish` computes them again.
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


def cell(value: object) -> str:
    """A value in a cell of a table."""
    return str(value).replace("|", r"\|")


def title(notebook: nbformat.NotebookNode) -> str:
    """The first heading."""
    lines = (line for cell in notebook.cells for line in cell.source.splitlines())
    return next(line.removeprefix("# ") for line in lines if line.startswith("# "))


def small(name: str) -> tuple[nbformat.NotebookNode, bool]:
    """A story with the outputs of its small run, and whether these are of the checkout's code."""
    tracked = pages.read(ROOT / "notebooks" / f"{name}.ipynb")
    values = read_run(ROOT / "runs" / "quick.yml")["stories"][name]
    return tracked, pages.mark(tracked).get("hash") == page_hash(name, resolve(name, values))


def confirmed(name: str) -> bool:
    """Whether a story's small run, with the checkout's code, gives the numbers that it gave at publication."""
    (tracked, current), numbers = small(name), {}
    if SMALL.exists():
        numbers = json.loads(SMALL.read_text(encoding="utf-8")).get(name, {})
    now = pages.records(tracked)
    return bool(
        current
        and numbers
        and numbers.keys() == now.keys()
        and all(
            math.isclose(now[key], numbers[key], rel_tol=SAME)
            for key in now
            if not key.endswith("_seconds")
        )
    )


def state(name: str, notebook: nbformat.NotebookNode) -> str:
    """Whether the checkout would give the page the hash that it carries, or at least the numbers of its small run."""
    try:
        now = page_hash(name, resolve(name, pages.parameters(notebook)))
    except BadInput:  # a parameter has gone, or its values are others
        return "stale"
    if pages.mark(notebook).get("hash") == now:
        return "fresh"
    return "confirmed" if confirmed(name) else "stale"


def text(chapters: list[Path]) -> str:
    """The page about these chapters, in their order; Markdown."""
    rows, folded, numbers = [], [], []
    for chapter in chapters:
        name, notebook = chapter.stem, pages.read(chapter)
        head, link = title(notebook), f"chapters/{chapter.name}"
        names = ("time", "peak memory", "commit", "device", "versions")
        told = dict.fromkeys(names, "unknown") | pages.provenance(notebook)
        time, memory = (
            told[key].split(" (")[0].replace(" ", WHOLE) for key in ("time", "peak memory")
        )
        rows.append(
            f"| [{cell(head)}]({link}) | {state(name, notebook)} | {time} | {memory} | `{told['commit']}` |"
        )
        spelt = {
            key: json.dumps(value).replace("`", r"\u0060")
            for key, value in pages.parameters(notebook).items()
        }
        values = [f"| `{key}` | `{cell(value)}` |" for key, value in spelt.items()]
        found = {"hash": "unknown"} | told | pages.mark(notebook)
        folded.append(FOLDED.format_map(found | {"title": head, "values": "\n".join(values)}))
        for key, value in pages.records(notebook).items():
            numbers.append(f"| `{key}` | {value:.6g} | [{name.replace('_', WHOLE)}]({link}) |")
    stale = sum("| stale |" in row for row in rows)
    behind = BEHIND.format(stale=stale, count=len(rows)) if stale else ""
    return PAGE.format(
        behind=behind,
        rows="\n".join(rows),
        folded="".join(folded),
        numbers="\n".join(sorted(numbers)),
    )


if __name__ == "__main__":
    published = [ROOT / "book" / "chapters" / f"{name}.ipynb" for name in pages.chapters()]
    (ROOT / "book" / "status.md").write_text(text(published), encoding="utf-8")
