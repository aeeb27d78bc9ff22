"""Every dependency has a licence that we know and accept, and a place on the page; the page says so of this lock."""

import re
import subprocess
import sys
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import licences
import pytest

from lib import ROOT, BadInput

PAGE = (ROOT / "book/licences.md").read_text(encoding="utf-8")
LIBRARY = re.compile(r"\.(so|dylib|dll)(\.|$)")
EXTENSION = re.compile(r"\.(cpython-|abi3\.|cp\d+-|pyd$)")  # a module of the package itself


def package(folder: Path, *lines: str, name: str = "made-up", text: str = "") -> PathDistribution:
    """An installed package that tells this of itself."""
    path = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    path.mkdir(parents=True)
    (path / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines]) + "\n"
    )
    (path / "LICENSE").write_text(text)
    (path / "RECORD").write_text(f"{path.name}/METADATA,,\n{path.name}/LICENSE,,\n")
    return PathDistribution(path)


def test_the_page_is_of_this_lock() -> None:
    assert licences.text() == PAGE, "run python tools/licences.py"


def test_every_package_of_the_lock_stands_on_the_page_with_its_version_and_a_licence_of_its_group() -> (
    None
):
    """Read from the page as a reader does, and the pins from the lock."""
    rows, at = {}, None
    for line in PAGE.splitlines():
        head = re.fullmatch(r"## ([^:]+): (\d+)", line)
        row = re.fullmatch(r"\| ([\w-]+) \| (\d[\w.]*) \| (.+) \|", line)
        if line.startswith("## "):
            at = head and head[1]
        elif at and row:
            rows[row[1]] = row[2]
            told = row[3].split(" (")[0].replace("Public-Domain", "LicenseRef-Public-Domain")
            told = told.replace("NVIDIA-Proprietary", licences.NVIDIA)
            assert licences.group(row[1], told) == at, line
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert rows == dict(
        re.match(r"([\w-]+)==([\w.]+)", line).groups() for line in lines if not line.startswith("#")
    )
    assert not re.search("unknown \\|", PAGE, re.I)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "unknown licence, it tells 'nothing'"),
        (["License: UNKNOWN"], "unknown licence, it tells 'UNKNOWN'"),
        (["License: See the website"], "unknown licence, it tells 'See the website'"),
        (
            [
                f"Classifier: License :: {each}"
                for each in ("OSI Approved :: MIT License", "Other/Proprietary")
            ],
            "unknown",
        ),
        (["License-Expression: AGPL-3.0-only"], "AGPL-3.0-only is not accepted"),
        (["License-Expression: MIT AND SSPL-1.0"], "not accepted: SSPL-1.0"),
        (["License-Expression: GPL-3.0-only"], "strong copyleft, accepted of pedalboard alone"),
        (["License-Expression: LicenseRef-NVIDIA-Proprietary"], "accepted of nvidia-, cuda- alone"),
        (
            ["Classifier: License :: OSI Approved :: BSD License"],
            "unknown",
        ),  # and no text that tells which
    ],
)
def test_a_package_with_a_licence_that_is_unknown_or_not_accepted_is_refused(
    lines: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MUST BE FOUND: it is installed and in the lock, beside one that is fine."""
    package(tmp_path / "site", "License-Expression: MIT", name="fine")
    package(tmp_path / "site", *lines)
    (tmp_path / "requirements.txt").write_text("# the lock\nfine==1.0\nmade-up==1.0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(licences, "ROOT", tmp_path)
    with pytest.raises(BadInput, match=f"^made-up: .*{re.escape(said)}"):
        licences.text()
    (tmp_path / "requirements.txt").write_text("# the lock\nfine==1.0\n")
    assert "| fine | 1.0 | MIT |" in licences.text()
    (tmp_path / "requirements.txt").write_text("# the lock\nfine==1.1\n")
    with pytest.raises(BadInput, match="^fine: 1.0 is installed, the lock has 1.1"):
        licences.text()


@pytest.mark.parametrize(
    ("lines", "text", "expected"),
    [
        (["License-Expression: MIT OR GPL-2.0-only"], "", "MIT OR GPL-2.0-only"),
        (["License-Expression: BSD-3-Clause", "License: MIT"], "", "BSD-3-Clause"),
        (["License: Apache License, Version 2.0"], "", "Apache-2.0"),
        (
            [
                "License: Copyright 2020",
                "  All rights",
                "Classifier: License :: OSI Approved :: MIT License",
            ],
            "",
            "MIT",
        ),
        (
            ["License: BSD"],
            "Redistribution and use in source and binary forms ... endorse or promote",
            "BSD-3-Clause",
        ),
        (
            ["License: BSD"],
            "Redistribution and use in source and binary forms ... are met",
            "BSD-2-Clause",
        ),
    ],
)
def test_what_a_package_tells_becomes_an_spdx_expression(
    lines: list[str], text: str, expected: str, tmp_path: Path
) -> None:
    assert licences.licence("made-up", package(tmp_path, *lines, text=text)) == expected


def test_of_parts_the_strictest_counts_and_of_alternatives_the_mildest() -> None:
    assert licences.group("x", "MIT") == licences.group("x", "MIT AND Zlib") == "Permissive"
    assert licences.group("x", "MPL-2.0 AND MIT") == "Weak copyleft"
    assert licences.group("x", "MPL-2.0 OR MIT") == "Permissive"
    assert licences.group("pedalboard", "GPL-3.0-only AND MIT") == "Strong copyleft"


@pytest.mark.parametrize("name", licences.BY_HAND)
def test_what_was_read_by_hand_still_stands_there(name: str) -> None:
    read, found = licences.BY_HAND[name], distribution(name)
    if read.words:
        (path,) = (
            path for path in found.files if path.name == read.file and ".dist-info" in path.parts[0]
        )
        assert read.words in " ".join(path.locate().read_text(encoding="utf-8").split())
    elif name == "cuda-toolkit":
        assert all(".dist-info" in path.parts[0] for path in found.files), "it installs something"
    else:
        assert "License :: OSI Approved :: BSD License" in found.metadata.get_all("Classifier")


def test_every_wheel_that_carries_libraries_stands_on_the_page() -> None:
    """Shared libraries that are no modules of the package were made by others; NVIDIA's packages are nothing else."""
    found = set()
    for name in licences.pins():
        libraries = [
            path.name for path in distribution(name).files or [] if LIBRARY.search(path.name)
        ]
        if not name.startswith(("nvidia-", "cuda-")) and not all(
            EXTENSION.search(each) for each in libraries
        ):
            found.add(name)
    assert (
        {"av", "pedalboard", "soundfile", "torch"}
        <= found
        <= set(licences.CARRIED)
        <= set(licences.pins())
    )
    for name, what in licences.CARRIED.items():
        assert f"| {name} | {what} |" in PAGE


def test_the_readme_and_the_page_agree() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (
        re.search(r"pedalboard.*GPL-3", readme)
        and "| pedalboard | " in PAGE.partition("## Strong copyleft")[2]
    )
    assert re.search("PyAV.* with GPL parts", readme) and re.search(
        "PyAV, .*x264 and x265, GPL-2", PAGE
    )


@pytest.mark.parametrize("name", ["bench", "mutants"])
def test_what_a_target_installs_beside_the_lock_stands_on_the_page(name: str) -> None:
    first, *lines = (ROOT / f"requirements-{name}.txt").read_text().splitlines()
    assert (
        first.startswith("#")
        and lines
        and all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
    ), lines
    names = {line.split("==")[0] for line in lines}
    assert not names & set(licences.pins()), "the lock has its own version"
    added = PAGE.partition("## What you add yourself")[2].partition("\n## ")[0]
    assert f"| `make {name}` |" in added and all(f"| {each} |" in added for each in names)


def test_digits_and_arrays_need_no_pedalboard(tmp_path: Path) -> None:
    """What the page promises to who ships the rest without it: its modules load where pedalboard cannot."""
    story = (ROOT / "notebooks/03_mnist_sanity_check.py").read_text(encoding="utf-8")
    (modules,) = re.findall(r"^from lib import (.+)$", story, re.M)
    code = (
        "import sys; sys.modules['pedalboard'] = None\n"
        f"from lib import predict, {modules}\n"
        "import numpy as np; np.save('x.npy', np.random.default_rng(0).normal(size=(50, 8)))\n"
        "assert predict.predict_data('x.npy', 3)['examples'] == 50\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
