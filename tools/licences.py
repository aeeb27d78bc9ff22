"""Write the tables of book/licences.md: packages of the lock, versions, licences (pip-licenses).

A licence that nobody has accepted stops the tool: a person reads it and adds it to ACCEPTED or
BY_HAND. Copyleft that reaches our own code is accepted of pedalboard alone. Run it in the
environment of the lock (`make lock` does).
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

from lib import ROOT, BadInput

START = "<!-- tools/licences.py writes what follows -->\n"
ACCEPTED = {  # patterns of licences, in the order of what they ask for
    "Permissive": r"(0BSD|Apache|BSD|BSL|CC0|DFSG approved|ISC|MIT|PSF|Python Software Foundation"
    r"|3-Clause BSD|Public Domain|ZPL|Zlib)",
    "Weak copyleft": r"(LGPL|MPL|Mozilla Public License)",
    "Strong copyleft": r"(GNU General Public License v3|GPL-3)",
    "Proprietary, free of charge": r"(LicenseRef-NVIDIA|NVIDIA|Other/Proprietary)",
}
ONLY = {  # starts of the names of packages from which we accept these groups
    "Strong copyleft": ("pedalboard",),
    "Proprietary, free of charge": ("nvidia-", "cuda-"),
}
BY_HAND = {  # a person has read these, because the package says nothing or too much
    "axe-playwright-python": "MIT (LICENSE)",
    "conda-inject": "MIT (LICENSE)",
    "cuda-toolkit": "NVIDIA-Proprietary (a list of NVIDIA's packages, empty itself)",
    "docutils": "Public Domain AND BSD-2-Clause AND BSD-3-Clause AND ZPL-2.1 (COPYING.txt)",
    "snakemake-interface-common": "MIT (LICENSE)",
    "snakemake-interface-logger-plugins": "MIT (LICENSE)",
    "snakemake-interface-report-plugins": "MIT (LICENSE)",
    "snakemake-interface-scheduler-plugins": "MIT (LICENSE)",
    "snakemake-interface-storage-plugins": "MIT (LICENSE)",
}


def lock() -> dict[str, str]:
    """Name and version of every package that the lock installs on this machine."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in here}


def licences() -> dict[str, tuple[str, str]]:
    """Version and licence of every installed package, by its name in the lock."""
    command = [Path(sys.executable).with_name("pip-licenses"), "--format=json", "--with-system"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    table = {}
    for row in json.loads(text):
        name = re.sub(r"[-_.]+", "-", row["Name"]).lower()
        table[name] = (row["Version"].split("+")[0], BY_HAND.get(name, row["License"]))
    return table


def group(name: str, licence: str) -> str:
    """The strictest group of a licence's parts; of alternatives, the mildest. May be BadInput."""
    order = list(ACCEPTED)
    ranks = []
    for alternative in re.sub(r" \(.*\)$", "", licence).split(" OR "):
        strictest = 0
        for part in re.split(" AND |; ", alternative):
            matching = [key for key in order if re.match(ACCEPTED[key], part)]
            if not matching:
                raise BadInput(
                    f"{name}: {licence} is not accepted: read it, then add it to {__file__}"
                )
            strictest = max(strictest, order.index(matching[0]))
        ranks.append(strictest)
    found = order[min(ranks)]
    if found in ONLY and not name.startswith(ONLY[found]):
        raise BadInput(f"{name}: {licence} is {found.lower()}; do without it, or add it to ONLY")
    return found


def tables() -> str:
    """A section for every group of licences; Markdown."""
    installed = licences()
    rows: dict[str, list[str]] = {name: [] for name in ACCEPTED}
    for name, pin in lock().items():
        version, licence = installed.get(name, ("nothing", ""))
        if version != pin.split("+")[0]:
            raise BadInput(f"{name}: {version} is installed, the lock has {pin}; run `make setup`")
        rows[group(name, licence)].append(f"| {name} | {pin} | {licence} |")
    sections = []
    for name, lines in reversed(rows.items()):
        head = f"## {name}: {len(lines)}\n\n| package | version | licence |\n|---|---|---|\n"
        sections.append(head + "\n".join(lines) + "\n")
    return "\n".join(sections)


if __name__ == "__main__":
    page = ROOT / "book" / "licences.md"
    prose = page.read_text(encoding="utf-8").partition(START)[0]
    try:
        page.write_text(f"{prose}{START}\n{tables()}", encoding="utf-8")
    except BadInput as error:
        sys.exit(str(error))
