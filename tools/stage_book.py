"""Lay out a run's book: prose of book/, settings and pages, in artifacts/<run>/book: `python tools/stage_book.py RUN`.

Files that did not change keep their times, so that Sphinx builds only what did.
"""

import os
import sys
from pathlib import Path

import pages
import status

from lib import ROOT, BadInput


def write(target: Path, source: bytes | Path) -> None:
    """Content, or that of a file, to its place, unless it is there."""
    content = source.read_bytes() if isinstance(source, Path) else source
    if not target.exists() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        beside.write_bytes(content)
        beside.replace(target)


def stage(run: Path) -> None:
    """Prose, settings and the run's pages with what they take along, side by side, and nothing else."""
    files: dict[Path, bytes | Path] = {
        Path(name): ROOT / name for name in ("_config.yml", "_toc.yml")
    }
    for path in (ROOT / "book").rglob("*"):
        name = path.relative_to(ROOT / "book")
        if (
            path.is_file()
            and name.parts[0] != "_build"
            and not pages.is_computed(name)
            and name not in files
        ):
            files[name] = path
    found = [run / "pages" / f"{name}.ipynb" for name in pages.chapters()]
    found = [page for page in found if page.exists()]
    for page in found:
        files |= pages.as_chapter(page)
    files |= {
        Path("results.json"): run / "results.json",
        Path("status.md"): status.text(found).encode(),
    }
    for path in (run / "book").rglob("*"):
        name = path.relative_to(run / "book")
        if path.is_file() and name.parts[0] != "_build" and name not in files:
            path.unlink()
    for name, source in files.items():
        write(run / "book" / name, source)


if __name__ == "__main__":
    try:
        stage(Path(sys.argv[1]))
    except BadInput as error:
        sys.exit(str(error))
