"""Collect the numbers recorded on pages into one flat JSON file: `python tools/results.py results.json PAGE...`."""

import sys
from pathlib import Path

import pages

from lib import BadInput
from lib.runtime.stages import write_json


def collect(paths: list[Path]) -> dict[str, float]:
    """Recorded numbers of all pages by name; SystemExit when a page is damaged, or two give a name different values."""
    found: dict[str, float] = {}
    for path in paths:
        try:
            new = pages.records(pages.read(path))
        except BadInput as error:
            raise SystemExit(str(error)) from None
        except ValueError as error:
            raise SystemExit(f"{path}: {error}") from None
        for name, value in new.items():
            if found.setdefault(name, value) != value:
                raise SystemExit(
                    f"{path}: {name} = {value}, but another page recorded {found[name]}"
                )
    return found


if __name__ == "__main__":
    write_json(Path(sys.argv[1]), collect([Path(name) for name in sys.argv[2:]]))
