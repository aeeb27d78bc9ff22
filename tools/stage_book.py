"""Lay out a run's book: prose of book/, settings and pages, in artifacts/<run>/book: `python tools/stage_book.py RUN`.

Files that did not change keep their times, so that Sphinx builds only what did.
"""

import filecmp
import shutil
import sys
from pathlib import Path

from lib import ROOT


def copy(source: Path, target: Path) -> None:
    if not target.exists() or not filecmp.cmp(source, target, shallow=False):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def stage(run: Path) -> None:
    """Prose, settings and the run's pages side by side, and nothing else."""
    files = {Path(name): ROOT / name for name in ("_config.yml", "_toc.yml")}
    for path in (ROOT / "book").rglob("*"):
        name = path.relative_to(ROOT / "book")
        if path.is_file() and name.parts[0] not in ("_build", "chapters") and name not in files:
            files[name] = path
    files |= {Path("chapters") / page.name: page for page in (run / "pages").glob("*.ipynb")}
    files[Path("results.json")] = run / "results.json"
    for path in (run / "book").rglob("*"):
        name = path.relative_to(run / "book")
        if path.is_file() and name.parts[0] != "_build" and name not in files:
            path.unlink()
    for name, source in files.items():
        copy(source, run / "book" / name)


if __name__ == "__main__":
    stage(Path(sys.argv[1]))
