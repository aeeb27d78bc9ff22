"""How many mutants of each module the tests kill, after a run of mutmut: `make mutants`. Fails below LEAST of all.

Counted as in mutmut's own badge: a mutant whose tests run out of time is killed too, a skipped one is none. All others
live, also those that crash Python, that no test reaches, or that an interrupted run did not come to.
"""

import sys
import tomllib
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.stats import collect_stat

LEAST = 85  # % of the mutants of all modules together


def count(name: str) -> tuple[int, int]:
    """Killed and all mutants of a file; none, where there was no run."""
    data = SourceFileMutationData(path=name)  # reads mutants/, beside pyproject.toml
    data.load()
    found = collect_stat(data)
    return found.killed + found.timeout, found.total - found.skipped


if __name__ == "__main__":
    names = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"][
        "only_mutate"
    ]
    counts = {name: count(name) for name in names}
    killed, total = map(sum, zip(*counts.values(), strict=True))
    for name, (part, whole) in (counts | {"all": (killed, total)}).items():
        print(f"{name}: {part} of {whole} mutants killed, {100 * part / max(whole, 1):.1f} %")
    if empty := [name for name, (_, whole) in counts.items() if not whole]:
        sys.exit(
            f"no mutants of {', '.join(empty)}: run `make mutants`, from the folder of pyproject.toml"
        )
    if 100 * killed < LEAST * total:
        sys.exit(
            f"fewer than {LEAST} % are killed: `mutmut results` lists who lives, tests/survivors.md who may"
        )
