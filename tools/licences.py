"""Write book/licences.md: each package of the lock, its version and its licence: `python tools/licences.py`.

What a package tells of itself is taken: an SPDX expression, else the field "License", else its one classifier; which
BSD licence it is, the licence file tells. Packages that tell nothing or too much stand in BY_HAND, with where we read
it. A licence that is not in GROUPS stops the tool, and so does copyleft of the strong kind from a package that is not
expected to have it: a person decides, and adds it here. Run it after tools/lock.py, in the same environment.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import NamedTuple

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from lib import ROOT, BadInput

TOOL = "tools/licences.py"
NVIDIA = "LicenseRef-NVIDIA-Proprietary"
GROUPS = {  # accepted licences, the groups in the order of what they ask for
    "Permissive": (
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
        "ZPL-2.1",
        "Zlib",
        "LicenseRef-Public-Domain",
    ),
    "Weak copyleft": ("LGPL-2.1-or-later", "MPL-2.0"),
    "Strong copyleft": ("GPL-3.0-only",),
    "Proprietary, free of charge": (NVIDIA,),
}
ONLY = {
    "Strong copyleft": ("pedalboard",),
    "Proprietary, free of charge": ("nvidia-", "cuda-"),
}  # starts of names
SPDX = {  # other words for the same, in small letters
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 3-clause license": "BSD-3-Clause",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "nvidia proprietary software": NVIDIA,
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
}


class Read(NamedTuple):
    """A licence that a person read: where, and words that stand there; a test looks whether they still do."""

    licence: str
    file: str  # in the package's metadata, or where else
    words: str = ""


MIT = Read("MIT", "LICENSE", "MIT License")
BSD_2 = Read("BSD-2-Clause", "pyproject.toml of its repository")
BY_HAND = {
    "axe-playwright-python": MIT,
    "conda-inject": MIT,
    "cuda-toolkit": Read(NVIDIA, "a list of NVIDIA's packages, empty itself"),
    "docutils": Read(
        "LicenseRef-Public-Domain AND BSD-2-Clause AND BSD-3-Clause AND ZPL-2.1",
        "COPYING.txt",
        "public domain, and therefore have no license requirements",
    ),  # its one GPL file is not installed
    "packaging": Read("Apache-2.0 OR BSD-2-Clause", "LICENSE", "terms of *either* of the licenses"),
    **dict.fromkeys(
        (
            f"snakemake-interface-{name}"
            for name in (
                "common",
                "logger-plugins",
                "report-plugins",
                "scheduler-plugins",
                "storage-plugins",
            )
        ),
        MIT,
    ),
    **dict.fromkeys(
        (
            f"sphinxcontrib-{name}"
            for name in ("applehelp", "devhelp", "htmlhelp", "qthelp", "serializinghtml")
        ),
        BSD_2,
    ),
}
RUNTIME = "GCC's runtime: GPL-3.0-or-later with the exception that lets any program use it"
CARRIED = {  # what a wheel brings along under other licences; all packages that bring shared libraries stand here
    "av": "FFmpeg and its libraries: LGPL-3.0-or-later; x264 and x265, which it calls: **GPL-2.0-or-later**",
    "axe-playwright-python": "axe-core: MPL-2.0",
    "debugpy": "pydevd: EPL-1.0",
    "jupyterlab": "its scripts: permissive; elkjs: EPL-2.0; Font Awesome: OFL-1.1, CC-BY-4.0",
    "llvmlite": "LLVM: Apache-2.0 with the LLVM exception",
    "matplotlib": "fonts: DejaVu (Bitstream Vera), STIX, Computer Modern, Last Resort, all free to share",
    "numpy": f"OpenBLAS: BSD-3-Clause; {RUNTIME}; libquadmath: LGPL-2.1-or-later",
    "pedalboard": "JUCE 6 and the VST3 SDK: **GPL-3.0**; Rubber Band and FFTW: **GPL-2.0-or-later**; LAME and ALSA: "
    "LGPL; libgsm, FreeType, libpng, bzip2: permissive",
    "pillow": "FreeType, HarfBuzz, libjpeg-turbo, libtiff, libwebp, libavif and others: permissive",
    "playwright": "Node.js: MIT and what its LICENSE lists",
    "pulp": "the solver CBC: EPL-1.0",
    "pyarrow": "Arrow's C++ libraries: Apache-2.0 and what its LICENSE.txt lists, permissive",
    "pyzmq": "libzmq: MPL-2.0; libsodium: ISC",
    "scikit-learn": RUNTIME,
    "scipy": f"OpenBLAS: BSD-3-Clause; {RUNTIME}; libquadmath: LGPL-2.1-or-later",
    "setuptools": "autocommand: LGPL-3.0",
    "soundfile": "libsndfile: LGPL-2.1-or-later, with LAME and mpg123, LGPL, and FLAC, Ogg, Opus, Vorbis, BSD-3-Clause",
    "soxr": "libsoxr: LGPL-2.1-or-later",
    "torch": f"Intel oneMKL (x86-64): Intel Simplified Software License, proprietary, free to share; {RUNTIME}",
    "triton": "LLVM: Apache-2.0 with the LLVM exception; NVIDIA's ptxas, cuobjdump, nvdisasm and CUPTI: proprietary",
}
PAGE = """\
# Licences

Our code is MIT, the text CC-BY-4.0; the [data card](data_card.md) has the sounds and digits. This page is about what is
installed beside them: the {count} packages of `requirements.txt`. `tools/licences.py` wrote it from what they tell of
themselves; in parentheses stands where we read what a package does not tell. A test holds that the page is whole, that
each version is the installed one, and that no licence is unknown. It is no legal advice.

## What the GPL-3 of pedalboard means for you

The effects come from [pedalboard](https://github.com/spotify/pedalboard), which is GPL-3. Our code imports it, but this
repository does not contain it: `pip` fetches it from its makers. What follows depends on what you do:

| you | and the GPL-3 asks |
|---|---|
| **run** the stories, on your data, at home, in a company, on a server | nothing |
| **change** our code or pedalboard for yourself | nothing |
| **publish** figures, sounds, numbers or a trained network | nothing: what a program puts out is not the program |
| **publish** our code, changed or not, without pedalboard | nothing; MIT asks that its notice stays |
| **ship** a program, an installer or a container image with pedalboard in it | see below |

Who ships it has to put the whole program that works with pedalboard under the GPL-3: whoever gets it, gets its source
and the same rights. MIT allows that for our code; your own code has to allow it too.

NVIDIA's libraries, which torch brings on Linux, are proprietary. As we read the GPL-3, a program may not be shipped as
one with them. So ship it with a torch for CPUs, which needs none of them, or without pedalboard, or let users install
one of the two. What uses digits or arrays alone does without pedalboard: story 03, and `lib.predict` of an array.

PyAV, which reads MUSDB18's songs, is BSD, but its wheels carry x264 and x265, GPL-2 or later: who ships them is asked
for the same. Built from source, PyAV uses the FFmpeg that is there. Weak copyleft asks only that the *library* stays
open and can be exchanged for another version: ship it as `pip` left it, with its licence.

{strict}
## What wheels carry beside their own code

| package | carries |
|---|---|
{carried}

## What the pages themselves carry

| in the built book | licence |
|---|---|
| MathJax 3.2.2, with its fonts, in `book/_extra` | Apache-2.0 |
| D3, in `book/_extra` | ISC |
| the theme: sphinx-book-theme, pydata-sphinx-theme, Sphinx and its extensions | BSD-3-Clause, BSD-2-Clause, MIT |
| Bootstrap, clipboard.js, in the theme | MIT |
| Font Awesome Free, in the theme | icons CC-BY-4.0, fonts OFL-1.1, code MIT |

## What you add yourself

| for | package | licence |
|---|---|---|
| `pip install -e '.[loggers]'` | wandb | MIT |
| `pip install -e '.[kubernetes]'` | snakemake-executor-plugin-cluster-generic | MIT |
| `make bench` | imageio | BSD-2-Clause |
| | pythae | Apache-2.0 |
| | resampy | ISC |
| | torchvision | BSD-3-Clause |
| `make mutants` | libcst | MIT, parts PSF-2.0 or Apache-2.0 |
| | mutmut | BSD-3-Clause |
| | rich | MIT |
| | setproctitle | BSD-3-Clause |
| | textual | MIT |
| other effects | mda-lv2, a program of its own with its plug-ins | GPL-3.0-or-later |
| tests, `make pdf` | chromium, a program of its own | BSD-3-Clause and others |

{mild}"""


def installed(name: str, pin: str) -> Distribution:
    """The package, at the version that the lock names; BadInput when it is not that."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise BadInput(
            f"{name}: in the lock and not installed; run this on Linux, after `make setup`"
        ) from None
    if found.version.split("+")[0] != pin:
        raise BadInput(
            f"{name}: {found.version} is installed, the lock has {pin}; run `make setup` or tools/lock.py"
        )
    return found


def texts(package: Distribution) -> str:
    """Its licence files, one after another."""
    own = [path for path in package.files or [] if ".dist-info" in path.parts[0]]
    found = [
        path
        for path in own
        if re.search("licen[cs]e|copying", path.name, re.I) and path.suffix != ".json"
    ]
    return "\n".join(path.locate().read_text(encoding="utf-8", errors="replace") for path in found)


def spdx(words: str, package: Distribution) -> str | None:
    """The SPDX expression for what a package says, or None."""
    if words.lower() in (
        "bsd",
        "bsd license",
    ):  # which one, the text tells: the third clause is about endorsing
        text = texts(package)
        if "endorse or promote" in text:
            return "BSD-3-Clause"
        return (
            "BSD-2-Clause" if "Redistribution and use in source and binary forms" in text else None
        )
    try:
        return canonicalize_license_expression(SPDX.get(words.lower(), words))
    except InvalidLicenseExpression:
        return None


def licence(name: str, package: Distribution) -> str:
    """SPDX expression of a package; BadInput when it tells none and no person has read it."""
    if name in BY_HAND:
        return BY_HAND[name].licence
    about = package.metadata
    classifiers = [
        text for text in about.get_all("Classifier") or [] if text.startswith("License ::")
    ]
    words = [about.get("License-Expression") or "", (about.get("License") or "").strip()]
    words += [text.split(" :: ")[-1] for text in classifiers if len(classifiers) == 1]
    found = [expression for text in words if (expression := spdx(text, package))]
    if not found:
        told = (
            "; ".join(text.splitlines()[0][:80] for text in words + classifiers if text)
            or "nothing"
        )
        raise BadInput(
            f"{name}: unknown licence, it tells {told!r}; read its files, then add it to BY_HAND of {TOOL}"
        )
    return found[0]


def group(name: str, expression: str) -> str:
    """The group of an expression: the strictest part counts, and of alternatives the mildest. BadInput: none."""
    order = list(GROUPS)

    def rank(part: str) -> int:
        for number, licences in enumerate(GROUPS.values()):
            if part in licences:
                return number
        raise BadInput(
            f"{name}: {expression} is not accepted: {part}; do without it, or add it to GROUPS of {TOOL}"
        )

    found = order[
        min(max(rank(part) for part in each.split(" AND ")) for each in expression.split(" OR "))
    ]
    if found in ONLY and not name.startswith(ONLY[found]):
        raise BadInput(
            f"{name}: {expression} is {found.lower()}, accepted of {', '.join(ONLY[found])} alone; do "
            f"without, or add it to ONLY of {TOOL} and tell users what it asks of them"
        )
    return found


def pins() -> dict[str, str]:
    """Name and version of every package of the lock."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ;")[0].split("==") for line in lines if not line.startswith("#"))


def text() -> str:
    """The page; Markdown. BadInput names a package whose licence is unknown or not accepted."""
    rows: dict[str, list[str]] = {name: [] for name in GROUPS}
    for name, pin in pins().items():
        told = licence(name, installed(name, pin))
        source = f" ({BY_HAND[name].file})" if name in BY_HAND else ""
        rows[group(name, told)].append(
            f"| {name} | {pin} | {told.replace('LicenseRef-', '')}{source} |"
        )
    head = "| package | version | licence |\n|---|---|---|\n"
    mild, *strict = (
        f"## {name}: {len(found)}\n\n{head}" + "\n".join(found) + "\n"
        for name, found in rows.items()
    )
    carried = "\n".join(f"| {name} | {what} |" for name, what in CARRIED.items())
    return PAGE.format(count=len(pins()), strict="\n".join(strict), mild=mild, carried=carried)


if __name__ == "__main__":
    try:
        (ROOT / "book" / "licences.md").write_text(text(), encoding="utf-8")
    except BadInput as error:
        sys.exit(str(error))
