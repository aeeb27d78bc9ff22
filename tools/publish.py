"""Publish a complete report run: its pages to book/chapters, its numbers to book/results.json. `make publish`.

Refuses a run that is incomplete, was made by other code or other parameters, or has a page above 1 MB. Writes beside,
then renames: the published book is the old one or the new one, never a mixture.
"""

import base64
import os
import shutil
import sys
from pathlib import Path

import nbformat
import pages
import results
import yaml

from lib import ROOT, BadInput, artifacts, parameters
from lib.story import page_hash

LIMIT = 1_000_000  # bytes of a page
PICTURE = ("03_mnist_sanity_check", "fig-digits-beta1")  # page and name of the figure that README.md shows


def chapters() -> list[str]:
    """Stories that the table of contents names."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [name.removeprefix("chapters/") for name in files if name.startswith("chapters/")]


def check(run: Path, stories: dict[str, dict]) -> list[Path]:
    """The pages of a complete run in order; BadInput says which page is missing, stale or too large."""
    found = []
    for name in chapters():
        page = run / "pages" / f"{name}.ipynb"
        if name not in stories or not page.exists():
            raise BadInput(f"{page}: missing; run `make report` to its end first")
        size = page.stat().st_size
        if size > LIMIT:
            raise BadInput(f"{page}: {size} bytes, a chapter has at most {LIMIT}; show fewer pictures or sounds")
        if pages.mark(pages.read(page)).get("hash") != page_hash(name, parameters.resolve(name, stories[name])):
            raise BadInput(f"{page}: made by other code or parameters than the checkout's; run `make report` again")
        found.append(page)
    return found


def picture(chapters: Path) -> bytes:
    """The figure of README.md as PNG, from the page that made it."""
    story, name = PICTURE
    for cell in pages.read(chapters / f"{story}.ipynb").cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name:
            return base64.b64decode(next(o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})))
    raise BadInput(f"{story}: no figure {name}, which README.md shows")


def publish(run: Path, stories: dict[str, dict], book: Path) -> None:
    """Copy a run's pages and numbers into a book folder, all or nothing."""
    found = check(run, stories)
    numbers = results.collect(found)
    new, old, chapters = book / f".chapters.{os.getpid()}", book / f".chapters.{os.getpid()}.old", book / "chapters"
    new.mkdir(parents=True)
    try:
        for page in found:
            notebook = pages.read(page)
            notebook.metadata.pop("papermill", None)  # it names folders of this machine
            nbformat.write(notebook, new / page.name)
        if chapters.exists():
            chapters.rename(old)
        new.rename(chapters)
        artifacts.write_json(book / "results.json", numbers)
    except BaseException:
        if old.exists():
            shutil.rmtree(chapters, ignore_errors=True)
            old.rename(chapters)
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    try:
        run = parameters.read_run(ROOT / "runs" / "report.yml")
        publish(artifacts.root() / "report", run["stories"], ROOT / "book")
        (ROOT / "book" / "average.png").write_bytes(picture(ROOT / "book" / "chapters"))
    except BadInput as error:
        sys.exit(str(error))
    print(f"published {len(chapters())} chapters in {ROOT / 'book'}: commit book/chapters and book/results.json")
