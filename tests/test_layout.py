"""The house stands: versions, links, settings, lock, licences, and bounds that keep it small.

`make check` also runs ruff and import-linter, which hold the style and the direction of imports.
"""

import ast
import csv
import json
import math
import re
import shutil
import subprocess
import sys
from importlib.metadata import version

import jupytext
import licences
import pytest
import yaml

from lib import ROOT, BadInput
from lib.book.parameters import STORIES

MOST = {  # these numbers only fall
    "code lines of lib": 6141,
    "syntax nodes of lib": 63_321,
    "lines of tests": 9855,
    "lines of tools and benchmarks": 2296,
    "lines of benchmarks": 960,
    "lines of a function of lib": 50,
    "lines of a cell that is not folded": 15,
    "columns of a notebook's code": 79,
}
SCRIPTS = [ROOT / "notebooks" / f"{name}.py" for name in STORIES]  # a reader may add copies
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORDS = " ".join(README.split())
NUMBERS = json.loads((ROOT / "book/results.json").read_text(encoding="utf-8"))
EQUATION = re.compile(r"^(`{3,})\{math\}[^\n]*\n(.*?)^\1`*$|^\$\$(.*?)\$\$(.*?)$", re.M | re.S)


def tracked(*patterns: str) -> list[str]:
    """Names of the files that git tracks or would track; a test that asks is skipped without it."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip(
            "git has to say which files it tracks: this is no git checkout, or git is absent"
        )
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def sources(*patterns: str) -> dict[str, str]:
    """Text of the Python files that match."""
    paths = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def code_lines(source: str) -> int:
    """Lines that hold code: without blank lines, comments and docstrings."""
    documented = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        value = first.value if isinstance(first, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            documented |= set(range(first.lineno, first.end_lineno + 1))
    lines = [line.strip() for line in source.splitlines()]
    code = [n for n, line in enumerate(lines, 1) if line and not line.startswith("#")]
    return len(set(code) - documented)


def test_the_house_stays_small() -> None:
    lib = sources("lib/*.py", "lib/*/*.py")
    nodes = [node for text in lib.values() for node in ast.walk(ast.parse(text))]
    functions = [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    bench = sources("benchmarks/*.py", "tools/bench.py", "tools/speed.py")
    scripts = sources("tools/*.py", "benchmarks/*.py")
    sizes = {
        "code lines of lib": sum(map(code_lines, lib.values())),
        "syntax nodes of lib": len(nodes),
        "lines of tests": sum(text.count("\n") for text in sources("tests/**/*.py").values()),
        "lines of tools and benchmarks": sum(text.count("\n") for text in scripts.values()),
        "lines of benchmarks": sum(text.count("\n") for text in bench.values()),
        "lines of a function of lib": max(n.end_lineno - n.lineno + 1 for n in functions),
    }
    assert {name: (size, MOST[name]) for name, size in sizes.items() if size > MOST[name]} == {}


def test_no_two_public_functions_of_lib_have_one_name() -> None:
    names = []
    for text in sources("lib/*.py", "lib/*/*.py").values():
        functions = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
        names += [n.name for n in functions if not n.name.startswith("_")]
    assert {name for name in names if names.count(name) > 1} <= {"main"}


@pytest.mark.parametrize("name", ["_config.yml", "_toc.yml"])
def test_settings_of_the_book_are_links(name: str) -> None:
    assert (ROOT / "book" / name).is_symlink(), (
        f"book/{name} is not a symbolic link: this checkout was made without them. Run `git config "
        f"core.symlinks true` and `git checkout -- book/{name}`, or copy {name} over it"
    )
    assert (ROOT / "book" / name).resolve() == ROOT / name


def test_jupyter_book_is_version_1() -> None:
    assert version("jupyter-book").startswith("1."), "version 2 ignores _config.yml, makes no HTML"


class Strict(yaml.SafeLoader):
    """Refuses a key that stands twice: the second would win in silence."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice: {keys} {node.start_mark}"
        return super().construct_mapping(node, deep)


def test_no_yaml_key_stands_twice() -> None:
    for name in tracked("*.yml", "*.yaml"):
        assert yaml.load((ROOT / name).read_text(encoding="utf-8"), Loader=Strict), name
    with pytest.raises(AssertionError, match="execute"):
        yaml.load("execute: {a: 1}\nexecute: {b: 2}\n", Loader=Strict)


def test_the_lock_is_installed_and_conda_and_macos_use_it_too() -> None:
    installed = licences.licences()
    for name, pin in licences.lock().items():
        assert installed[name][0] == pin.split("+")[0], f"{name}: make setup"
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    cuda = [line for line in lines if re.match("nvidia-|cuda-|triton", line)]
    assert len(cuda) > 10 and all("sys_platform == 'linux'" in line for line in cuda)
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda == ["python=3.11", "pip", {"pip": ["-r requirements.txt", "-e ."]}]


@pytest.mark.skipif(sys.platform != "linux", reason="the lock has other packages there")
def test_the_page_on_licences_is_of_this_lock() -> None:
    page = (ROOT / "book/licences.md").read_text(encoding="utf-8")
    assert page.partition(licences.START)[2] == f"\n{licences.tables()}", "python tools/licences.py"


@pytest.mark.parametrize(
    ("name", "licence", "group"),
    [
        ("x", "MIT OR GPL-3.0-only", "Permissive"),  # of alternatives the mildest counts
        ("x", "BSD-3-Clause AND MPL-2.0", "Weak copyleft"),  # of parts the strictest
        ("pedalboard", "GNU General Public License v3 (GPLv3)", "Strong copyleft"),
        ("x", "GNU General Public License v3 (GPLv3)", None),
        ("x", "LicenseRef-NVIDIA-Proprietary", None),
        ("x", "UNKNOWN", None),
    ],
)
def test_a_licence_is_accepted_or_refused(name: str, licence: str, group: str | None) -> None:
    if group:
        assert licences.group(name, licence) == group
    else:
        with pytest.raises(BadInput, match=f"{name}: "):
            licences.group(name, licence)


def test_the_readme_and_the_licence_file_name_every_licence_of_the_data() -> None:
    with open(ROOT / "data/manifest.csv", encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest))
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert {row["licence"] for row in rows} | {"CC-BY-4.0", "MIT"} <= set(
        re.findall(r"[\w.-]*\w", text)
    )
    for corpus in ("digits", "speech", "music"):
        (line,) = re.findall(rf"^\| {corpus} in `data/` \| (.*) \|$", README, re.M)
        of_corpus = {row["licence"] for row in rows if row["corpus"] == corpus}
        assert set(line.partition(":")[0].split(", ")) == of_corpus


def test_the_numbers_of_the_readme_are_the_published_ones() -> None:
    """To as many decimals as the README gives."""
    expected = {
        "standard deviation of NUMBER": math.sqrt(NUMBERS["mnist.beta1.sigma2"]),
        "variance of NUMBER": NUMBERS["mnist.beta1.sigma2"],
        "MSE NUMBER": NUMBERS["mnist.beta1.mse"],
        "2 lambda_1 / N = NUMBER": NUMBERS["mnist.edge_predicted"],
        "NUMBER times beyond the edge": NUMBERS["mnist.beta1.edges_out"],
    }
    for words, number in expected.items():
        quoted = re.search(words.replace("NUMBER", r"(\d*\.?\d+)"), WORDS)
        assert quoted, f"the README no longer says {words!r}: change this test with it"
        decimals = len(quoted[1].partition(".")[2])
        assert float(quoted[1]) == round(number, decimals), f"{quoted[0]}: published is {number}"


def test_what_the_readme_promises_holds_for_the_published_numbers() -> None:
    collapsed = NUMBERS["speech.beta1.mse"]
    off_average = 100 * abs(collapsed / NUMBERS["speech.mean_spectrogram.mse"] - 1)
    ratios = [NUMBERS[f"theory.{name}.edge_ratio"] for name in ("digits", "speech", "music")]
    off_edge = 100 * max(abs(ratio - 1) for ratio in ratios)
    promises = [  # words, the published number, and how it compares with that of the words
        (r"the average spectrogram's error, within (\d+) %", off_average, "most"),
        (
            r"at most (\d+) % of that error",
            100 * NUMBERS["speech.calibrated.mse"] / collapsed,
            "most",
        ),
        (r"within (\d+) % of what PCA predicts", off_edge, "most"),
        (r"at least (\.\d+) \(speech\)", NUMBERS["embed.speech.blind.told.logistic.mean"], "least"),
        (r"and (\.\d+) \(music\)", NUMBERS["embed.music.blind.told.logistic.mean"], "least"),
    ]
    for words, number, sense in promises:
        bound = re.search(words, WORDS)
        assert bound, f"the README no longer says {words!r}: change this test with it"
        holds = number <= float(bound[1]) if sense == "most" else number >= float(bound[1])
        assert holds, f"{bound[0]}: published is {number}"


def test_git_tracks_lib_and_nothing_computed_and_files_are_small() -> None:
    files = tracked()
    assert set(sources("lib/*.py", "lib/*/*.py")) <= set(files)
    computed = r"(^|/)(artifacts|_build|\.venv|\.snakemake|__pycache__)/|\.ckpt$"
    assert not [name for name in files if re.search(computed, name)]
    for name in tracked("book/chapters/*.ipynb", "notebooks/*.ipynb"):
        assert (ROOT / name).stat().st_size <= 1_000_000, name
    assert (ROOT / "book/explorer.png").stat().st_size <= 200_000


def test_prose_that_quotes_a_page_is_built_again_with_new_numbers() -> None:
    """Sphinx knows that a page depends on a download, and not on a number glued on another page."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md")}
    quoting = [text for text in texts.values() if ".ipynb::" in text]
    assert quoting and all("{download}`results.json`" in text for text in quoting)


def prose() -> dict[str, str]:
    """Markdown of the stories and of the book's other pages."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md")}
    for path in SCRIPTS:
        cells = jupytext.read(path, fmt="py:percent").cells
        texts[path.stem] = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    return texts


def test_every_equation_has_a_label_that_is_used_and_every_reference_an_equation() -> None:
    labels, used = [], set()
    for page, text in prose().items():
        for equation in EQUATION.finditer(text):
            fence = re.search(r"^:label: (\S+)$", equation[2] or "", re.M)
            label = fence or re.match(r" ?\(([\w-]+)\)", equation[4] or "")
            assert label, f"{page}: no label: {equation[0][:80]}"
            labels.append(label[1])
        used |= set(re.findall(r"\{eq\}`([^`]+)`", text))
    assert sorted(labels) == sorted(used)


def test_the_glossary_is_in_order() -> None:
    text = (ROOT / "book/glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^(?! |```|#)(\S.*)$", text, re.M)
    assert len(terms) > 20 and terms == sorted(terms, key=str.casefold)


def test_cells_of_notebooks_import_lib_only_and_fit_the_page() -> None:
    lines, columns = (
        MOST["lines of a cell that is not folded"],
        MOST["columns of a notebook's code"],
    )
    foreign = re.compile(r"^\s*(from|import) (notebooks|tools|tests)\b", re.M)
    for path in SCRIPTS:
        for cell in jupytext.read(path, fmt="py:percent").cells:
            if cell.cell_type != "code":
                continue
            code, tags = cell.source.splitlines(), set(cell.metadata.get("tags", []))
            place = f"{path.name}: {cell.source[:60]}"
            assert not foreign.search(cell.source), place
            assert max(map(len, code)) <= columns, place
            assert len(code) <= lines or tags & {"hide-input", "hide-cell", "parameters"}, place
