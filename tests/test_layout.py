"""The house stands: versions, links, settings, the lock, what git tracks, and the limits that keep it thin."""

import ast
import csv
import json
import math
import re
import subprocess
import sys
from importlib.metadata import version

import jupytext
import pytest
import yaml

from lib import ROOT

LINKS = {"book/_config.yml": "_config.yml", "book/_toc.yml": "_toc.yml"}
YAML = [
    "_config.yml",
    "_toc.yml",
    "environment.yml",
    "runs/quick.yml",
    "runs/report.yml",
    "runs/full.yml",
    "profiles/slurm/config.yaml",
    "profiles/kubernetes/config.yaml",
]


def tracked(*patterns: str) -> list[str]:
    """Names of the files that git tracks or would track."""
    run = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )[:-1]


def check_link(path, name: str) -> None:
    """AssertionError that says what to do when a link of the book is an ordinary file."""
    assert path.is_symlink(), (
        f"{path} is not a symbolic link: this checkout was made without them. Run `git config core.symlinks true` and "
        f"`git checkout -- {path.name}`, or copy {name} over it, or build with `make book`, which needs no links"
    )


@pytest.mark.parametrize(("link", "target"), LINKS.items())
def test_settings_of_the_book_are_links(link: str, target: str) -> None:
    check_link(ROOT / link, target)
    assert (ROOT / link).resolve() == ROOT / target


def test_a_checkout_without_links_gets_a_remedy(tmp_path) -> None:
    (tmp_path / "_toc.yml").write_text("../_toc.yml")
    with pytest.raises(AssertionError, match="git config core.symlinks true"):
        check_link(tmp_path / "_toc.yml", "_toc.yml")


def test_jupyter_book_is_version_1() -> None:
    assert version("jupyter-book").startswith("1."), (
        "version 2 ignores _config.yml and makes no HTML"
    )


class Strict(yaml.SafeLoader):
    """Refuses a key that stands twice: the second would win in silence."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"keys that stand twice: {sorted(twice)} {node.start_mark}")
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize("name", YAML)
def test_no_yaml_key_stands_twice(name: str) -> None:
    assert yaml.load((ROOT / name).read_text(encoding="utf-8"), Loader=Strict)


def test_a_double_key_is_found() -> None:
    with pytest.raises(yaml.YAMLError, match="execute"):
        yaml.load("execute: {a: 1}\nexecute: {b: 2}\n", Loader=Strict)


def test_conda_installs_the_same_lock() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert {"pip": ["-r requirements.txt", "-e ."]} in dependencies
    (python,) = [text for text in dependencies if str(text).startswith("python")]
    assert python == "python=3.11"
    others = [
        text for text in dependencies if isinstance(text, str) and text not in (python, "pip")
    ]
    assert not others, "pin it in the lock"


def test_the_lock_is_what_is_installed_and_holds_nothing_but_pins() -> None:
    lines = [
        line
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    for line in lines:
        assert re.fullmatch(r'[a-z0-9-]+==[\w.]+( ; sys_platform == "linux")?', line), line
    for line in lines:
        name, pin = line.split(" ;")[0].split("==")
        assert version(name).split("+")[0] == pin, (
            f"{name} {version(name)} is here, the lock has {pin}: make setup"
        )


def test_the_lock_holds_what_the_project_needs() -> None:
    import tomllib

    import lock

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    pins = {line.split("==")[0] for line in (ROOT / "requirements.txt").read_text().splitlines()}
    assert set(lock.closure(wanted)) <= pins, "run python tools/lock.py"


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11) or sys.platform != "linux",
    reason="what is needed differs there",
)
def test_the_lock_is_what_the_tool_writes() -> None:
    """Nothing that nobody needs, in the tool's order."""
    import lock

    assert (ROOT / "requirements.txt").read_text() == lock.text(), "run python tools/lock.py"


def test_the_benchmark_s_packages_are_pinned_and_none_is_in_the_lock() -> None:
    first, *lines = (ROOT / "requirements-bench.txt").read_text().splitlines()
    assert (
        first.startswith("#")
        and lines
        and all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
    ), lines
    locked = {line.split("==")[0] for line in (ROOT / "requirements.txt").read_text().splitlines()}
    assert not {line.split("==")[0] for line in lines} & locked


def test_every_function_that_mutants_survive_in_exists() -> None:
    (listed,) = re.findall(
        r"^\|---.*\n((?:\|.*\n)+)", (ROOT / "tests/survivors.md").read_text(encoding="utf-8"), re.M
    )
    named = set(
        re.findall(
            r"`([a-z]+)\.(\w+(?:\.\w+)?)`",
            " ".join(row.split("|")[1] for row in listed.splitlines()),
        )
    )
    assert {module for module, _ in named} == {"clips", "effects", "objective", "theory"}
    for module in {module for module, _ in named}:
        body = ast.parse((ROOT / f"lib/{module}.py").read_text(encoding="utf-8")).body
        found = {node.name for node in body if isinstance(node, ast.FunctionDef)}
        found |= {
            f"{each.name}.{node.name}"
            for each in body
            if isinstance(each, ast.ClassDef)
            for node in each.body
            if isinstance(node, ast.FunctionDef)
        }
        assert {name for of, name in named if of == module} <= found, f"not in lib/{module}.py"


@pytest.mark.parametrize("name", ["README.md", "LICENSE"])
def test_every_licence_is_named(name: str) -> None:
    """Those of the data, as the manifest lists them; those of code, text and the effects."""
    text = (ROOT / name).read_text(encoding="utf-8")
    with open(ROOT / "data/manifest.csv", encoding="utf-8", newline="") as manifest:
        licences = {row["licence"] for row in csv.DictReader(manifest)} | {
            "MIT",
            "CC-BY-4.0",
            "GPL-3",
        }
    missing = {
        licence
        for licence in licences
        if not re.search(rf"(?<![\w-]){re.escape(licence)}(?![\w-])", text)
    }
    assert not missing and "pedalboard" in text


@pytest.mark.parametrize("corpus", ["digits", "speech", "music"])
def test_the_readme_s_table_gives_each_corpus_its_licences(corpus: str) -> None:
    with open(ROOT / "data/manifest.csv", encoding="utf-8", newline="") as manifest:
        licences = {row["licence"] for row in csv.DictReader(manifest) if row["corpus"] == corpus}
    (row,) = re.findall(
        rf"^\| {corpus} in `data/` \| (.*) \|$",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.M,
    )
    assert set(row.partition(":")[0].split(", ")) == licences


def test_the_numbers_of_the_readme_are_the_published_ones() -> None:
    """To as many decimals as the README gives."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    found = json.loads((ROOT / "book/results.json").read_text())
    expected = {
        "standard deviation of NUMBER": math.sqrt(found["mnist.beta1.sigma2"]),
        "variance of NUMBER": found["mnist.beta1.sigma2"],
        "MSE NUMBER": found["mnist.beta1.mse"],
        "2 lambda_1 / N = NUMBER": found["mnist.edge_predicted"],
        "NUMBER times beyond the edge": found["mnist.beta1.edges_out"],
    }
    for words, number in expected.items():
        told = re.search(words.replace("NUMBER", r"(\d*\.?\d+)"), text)
        assert told, f"the README no longer says {words!r}: change this test with it"
        decimals = len(told[1].partition(".")[2])
        assert float(told[1]) == round(number, decimals), f"{told[0]}: published is {number}"


def test_what_the_readme_promises_holds_for_the_published_numbers() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    found = json.loads((ROOT / "book/results.json").read_text())
    collapsed = found["speech.beta1.mse"]
    edges = [found[f"theory.{name}.edge_ratio"] for name in ("digits", "speech", "music")]
    told = [found[f"embed.{name}.blind.told.logistic.mean"] for name in ("speech", "music")]
    promises = {
        r"the average spectrogram's error, within (\d+) %": lambda most: (
            abs(collapsed / found["speech.mean_spectrogram.mse"] - 1) <= most / 100
        ),
        r"at most (\d+) % of that error": lambda most: (
            found["speech.calibrated.mse"] / collapsed <= most / 100
        ),
        r"within (\d+) % of what PCA predicts": lambda most: (
            max(abs(ratio - 1) for ratio in edges) <= most / 100
        ),
        r"at least (\.\d+) \(speech\)": lambda least: told[0] >= least,
        r"and (\.\d+) \(music\)": lambda least: told[1] >= least,
        r"by chance, (\.\d+)": lambda chance: chance == 1 / 5,
    }
    for words, holds in promises.items():
        number = re.search(words, text)
        assert number, f"the README no longer says {words!r}: change this test with it"
        assert holds(float(number[1])), f"{number[0]}: the published numbers say otherwise"


def test_the_screenshot_of_the_readme_is_small() -> None:
    assert "(book/explorer.png)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (
        "book/explorer.png" in tracked("book/*.png")
        and (ROOT / "book/explorer.png").stat().st_size <= 200_000
    )


def test_lib_is_tracked_and_computed_things_are_not() -> None:
    files = tracked()
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "lib").glob("*.py")} <= set(files)
    computed = r"(^|/)(artifacts|_build|\.venv|\.snakemake|__pycache__)/|\.ckpt$"
    assert not [name for name in files if re.search(computed, name)]


def code_lines(source: str) -> int:
    """Lines that hold code: without blank lines, comments and docstrings."""
    tree, told = ast.parse(source), set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            told |= set(range(first.lineno, first.end_lineno + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and n not in told
        for n, line in lines
    )


def test_lib_stays_thin() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "lib").glob("*.py")}
    assert {
        name: len(text.splitlines())
        for name, text in sources.items()
        if len(text.splitlines()) > 250
    } == {}
    assert (
        sum(code_lines(text) for text in sources.values()) <= 4285
    )  # docstrings and comments not counted


def test_prose_that_quotes_a_page_is_built_again_with_new_numbers() -> None:
    """Sphinx knows of a download that a page depends on it, and not of a number glued on another page."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md")}
    quoting = {name for name, text in texts.items() if ".ipynb::" in text}
    assert "the_answer.md" in quoting
    assert not {name for name in quoting if "{download}`results.json`" not in texts[name]}


def test_stories_and_chapters_stay_small() -> None:
    for path in (ROOT / "notebooks").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 250, path
    for name in tracked("book/chapters/*.ipynb", "notebooks/*.ipynb"):
        assert (ROOT / name).stat().st_size <= 1_000_000, name


LONGEST = 25  # lines of code that a reader sees at once
EQUATION = re.compile(r"^(`{3,})\{math\}[^\n]*\n(.*?)^\1`*$|^\$\$(.*?)\$\$(.*?)$", re.M | re.S)


def prose() -> dict[str, str]:
    """Markdown of the stories, by the names of their pages, and of the book's other pages."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md")}
    for path in (ROOT / "notebooks").glob("*.py"):
        cells = jupytext.read(path, fmt="py:percent").cells
        found[path.stem] = "\n\n".join(
            cell.source for cell in cells if cell.cell_type == "markdown"
        )
    return found


def equation_faults(texts: dict[str, str]) -> list[str]:
    """Displayed equations without a label, labels that stand twice or are not referred to, {eq} without a label."""
    labels, faults = [], []
    for page, text in texts.items():
        for equation in EQUATION.finditer(text):
            of_fence, behind = (
                re.search(r"^:label: (\S+)$", equation[2] or "", re.M),
                equation[4] or "",
            )
            label = of_fence or re.match(r" ?\(([\w-]+)\)", behind)
            labels += [label[1]] if label else []
            faults += [] if label else [f"{page}: no label: {equation[0][:80]}"]
    used = {label for text in texts.values() for label in re.findall(r"\{eq\}`([^`]+)`", text)}
    faults += [f"twice: {label}" for label in set(labels) if labels.count(label) > 1]
    return (
        faults
        + [f"nobody refers to {label}" for label in set(labels) - used]
        + [f"no equation {label}" for label in used - set(labels)]
    )


def test_every_equation_has_a_label_that_is_used_and_every_reference_an_equation() -> None:
    assert equation_faults(prose()) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```{math}\nx = 1\n```", "a: no label"),
        ("$$ x = 1 $$", "a: no label"),
        ("{eq}`gone`", "no equation gone"),
        ("```{math}\n:label: b\nx\n```", "nobody refers to b"),
        ("$$ x $$ (b)", "nobody refers to b"),
        ("```{math}\n:label: b\nx\n```\n\n$$ y $$ (b)\n\n{eq}`b`", "twice: b"),
    ],
)
def test_an_equation_without_label_or_reference_is_found(text: str, fault: str) -> None:
    """MUST BE FOUND."""
    (found,) = equation_faults({"a": text, "b": "$$ z $$ (c)\n\n{eq}`c`"})
    assert found.startswith(fault)


def test_long_code_is_folded() -> None:
    """What is decisive is shown from lib; who wants the rest unfolds it."""
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        for cell in jupytext.read(path, fmt="py:percent").cells:
            if cell.cell_type == "code" and len(cell.source.splitlines()) > LONGEST:
                assert "hide-input" in cell.metadata.get("tags", []), (
                    f"{path.name}: {cell.source[:60]}"
                )


def test_the_glossary_is_in_order() -> None:
    terms = re.findall(
        r"^(?! |```|#)(\S.*)$", (ROOT / "book/glossary.md").read_text(encoding="utf-8"), re.M
    )
    assert len(terms) > 20 and terms == sorted(terms, key=str.casefold)


def test_one_notebook_does_not_import_another() -> None:
    for path in (ROOT / "notebooks").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) (notebooks|tools|tests)\b", source, re.M), path
