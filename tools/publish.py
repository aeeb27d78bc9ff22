"""Publish a complete report run: pages, their sounds and assets, numbers and status into book/. `make publish`.

Refuses a run that is incomplete, was made by other code or other parameters, or has a page above 1 MB. Writes beside,
then renames: the published book is the old one or the new one, never a mixture.
"""

import base64
import json
import os
import shutil
import sys
from pathlib import Path

import pages
import results
import stage_book
import status
from filelock import FileLock

from lib import ROOT, BadInput
from lib.book import parameters
from lib.book.page import page_hash
from lib.runtime import stages as artifacts

LIMIT = 1_000_000  # bytes of a page
BEFORE = "before.json"  # in the folder of what a publication moves away: names of all that it has to move
PICTURE = (
    "03_mnist_sanity_check",
    "fig-digits-beta1",
)  # page and name of the figure that README.md shows


def check(run: Path, stories: dict[str, dict]) -> list[Path]:
    """The pages of a complete run in order; BadInput says which page is missing, stale or too large."""
    found = []
    for name in pages.chapters():
        page = run / "pages" / f"{name}.ipynb"
        if name not in stories or not page.exists():
            raise BadInput(f"{page}: missing; run `make report` to its end first")
        size = page.stat().st_size
        if size > LIMIT:
            raise BadInput(
                f"{page}: {size} bytes, a chapter has at most {LIMIT}; show fewer pictures or sounds"
            )
        if pages.mark(pages.read(page)).get("hash") != page_hash(
            name, parameters.resolve(name, stories[name])
        ):
            raise BadInput(
                f"{page}: made by other code or parameters than the checkout's; run `make report` again"
            )
        found.append(page)
    return found


def picture(folder: Path) -> bytes:
    """The figure of README.md as PNG, from the page that made it, in a folder of pages."""
    story, name = PICTURE
    for cell in pages.read(folder / f"{story}.ipynb").cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name:
            return base64.b64decode(
                next(o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {}))
            )
    raise BadInput(f"{story}: no figure {name}, which README.md shows")


def small_numbers(name: str) -> dict[str, float]:
    """What the small run of a story records with the code that is published; BadInput: its outputs are of another."""
    tracked, current = status.small(name)
    if not current:
        raise BadInput(
            f"notebooks/{name}.ipynb: outputs of other code than the checkout's; run `make sync` first"
        )
    return pages.records(tracked)


def computed(book: Path) -> list[str]:
    """What a publication wrote into a book: chapters, numbers, status, and every folder in `_static/`; sorted."""
    found = [*(book / name for name in pages.COMPUTED), *(book / "_static").glob("*/")]
    return sorted(path.relative_to(book).as_posix() for path in found if path.exists())


def publish(run: Path, stories: dict[str, dict], book: Path) -> None:
    """A run's pages, with what they take along, and its numbers into a book folder, all or nothing.

    A second publication waits for the first. After one that was killed, run it again: the old book comes back first.
    """
    with FileLock(artifacts.root() / ".publish.lock"):
        for old in book.glob(".old.*"):
            restore(old, book)
        for new in book.glob(".new.*"):
            shutil.rmtree(new)
        found = check(run, stories)
        average = picture(run / "pages") if PICTURE[0] in stories else b""
        replace(found, book)
        if average:
            stage_book.write(book / "average.png", average)


def restore(old: Path, book: Path) -> None:
    """The book as it was before a publication that did not end, from the folder of what that had moved away.

    Killed itself, it can be called again: what is back is no longer in that folder.
    """
    if (there := old / BEFORE).exists():  # or all that is new is in place
        before = json.loads(there.read_text(encoding="utf-8"))
        for name in computed(book):
            if (old / name).exists() or name not in before:
                shutil.rmtree(book / name) if (book / name).is_dir() else (book / name).unlink()
        for name in before:
            if (old / name).exists():
                (old / name).rename(book / name)
        there.unlink()
    shutil.rmtree(old, ignore_errors=True)


def replace(found: list[Path], book: Path) -> None:
    """The pages found, with all that is of them, in place of what a run wrote into the book before."""
    new, old = book / f".new.{os.getpid()}", book / f".old.{os.getpid()}"  # laid out as the book is
    try:
        artifacts.write_json(new / "results.json", results.collect(found))
        stage_book.write(new / "status.md", status.text(found).encode())
        artifacts.write_json(
            new / status.SMALL.name, {page.stem: small_numbers(page.stem) for page in found}
        )
        for page in found:
            for name, source in pages.as_chapter(page).items():
                stage_book.write(new / name, source)
        before = computed(book)
        try:
            artifacts.write_json(old / BEFORE, before)
            for source, target, names in ((book, old, before), (new, book, computed(new))):
                for name in names:
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    (source / name).rename(target / name)
        except BaseException:
            restore(old, book)
            raise
        (old / BEFORE).unlink()  # from here on the new book stands
        shutil.rmtree(old)
    finally:
        shutil.rmtree(new, ignore_errors=True)


if __name__ == "__main__":
    try:
        run = parameters.read_run(ROOT / "runs" / "report.yml")
        publish(artifacts.root() / "report", run["stories"], ROOT / "book")
    except BadInput as error:
        sys.exit(str(error))
    print(f"published {len(pages.chapters())} chapters: commit {ROOT / 'book'}")
