"""Every command of the README, as typed. `make book` comes first: what it computes, the later ones and nbval find."""

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pages
import pytest
from filelock import FileLock

from lib import ROOT
from lib.book.parameters import STORIES
from lib.runtime import stages as artifacts

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
STORY = "03_mnist_sanity_check"


def run(
    command: str, cwd: Path = ROOT, seconds: float = 1800, **more: str
) -> subprocess.CompletedProcess:
    """A command in a shell, with this environment's tools first on the path."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("PYTEST")
    } | {"PATH": PATH}
    return subprocess.run(
        command,
        shell=True,
        cwd=cwd,
        env=environment | more,
        text=True,
        timeout=seconds,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def status() -> str:
    """Every tracked file's state, contents included."""
    return run("git status --porcelain && git diff HEAD").stdout


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.ipynb")}


def test_make_book_builds_the_whole_book_without_a_network_and_changes_no_tracked_file(
    offline,
) -> None:
    before = status()
    done = run("make book", **offline)
    assert done.returncode == 0, done.stdout[-6000:]
    says = [line for line in done.stdout.splitlines() if line.startswith("The book is at ")]
    place = Path(says[-1].removeprefix("The book is at "))
    assert place.name == "index.html" and place.stat().st_size > 0
    stories = [path.stem for path in (ROOT / "notebooks").glob("*.ipynb")]
    for story in stories:
        assert (place.parent / "chapters" / f"{story}.html").exists()
    numbers = json.loads((artifacts.root() / "quick" / "results.json").read_text())
    assert numbers and all(isinstance(value, (int, float)) for value in numbers.values())
    assert status() == before


def test_make_book_again_does_nothing() -> None:
    folder = artifacts.root() / "quick" / "pages"
    before = times(folder)
    done = run("make book")
    assert done.returncode == 0, done.stdout[-6000:]
    assert times(folder) == before


def test_pages_carry_no_debris() -> None:
    for page in (artifacts.root() / "quick" / "pages").glob("*.ipynb"):
        outputs = pages.outputs(pages.read(page))
        assert not [output for output in outputs if output.get("name") == "stderr"], page
        assert not [output for output in outputs if "\r" in output.get("text", "")], page


def test_a_second_run_at_the_same_time_is_refused() -> None:
    with FileLock(artifacts.root() / ".run.lock"):
        done = run("python tools/run.py quick")
    assert done.returncode == 2 and "another run is under way" in done.stdout


def test_a_run_that_does_not_exist_is_named() -> None:
    done = run("python tools/run.py quik")
    assert done.returncode == 2 and 'did you mean "quick"' in done.stdout


def test_papermill_runs_a_story_from_any_directory_and_without_a_network(tmp_path, offline) -> None:
    done = run(
        f"papermill {ROOT}/notebooks/{STORY}.ipynb out.ipynb -p beta 0.1", tmp_path, **offline
    )
    assert done.returncode == 0, done.stdout[-4000:]
    page = pages.read(tmp_path / "out.ipynb")
    assert pages.parameters(page)["beta"] == 0.1
    assert pages.mark(page)["story"] == STORY


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-p betaa 0.1", 'unknown parameter betaa = 0.1: did you mean "beta"?'),
        pytest.param(
            "-p beta abc", "beta = 'abc': should be a valid number", marks=pytest.mark.slow
        ),
        pytest.param(
            "-p beta -1", "beta = -1: should be greater than or equal to 0", marks=pytest.mark.slow
        ),
    ],
)
def test_papermill_refuses_a_wrong_parameter(words: str, said: str, tmp_path) -> None:
    done = run(f"papermill {ROOT}/notebooks/{STORY}.ipynb out.ipynb {words}", tmp_path, 120)
    assert done.returncode != 0 and said in done.stdout


@pytest.mark.parametrize(
    "story",
    [
        story if story[:2] == "04" else pytest.param(story, marks=pytest.mark.slow)
        for story in STORIES
    ],
)
def test_papermill_explains_every_parameter(story: str) -> None:
    """Name, type, default and, on the same line or the next, the meaning."""
    done = run(f"papermill --help-notebook notebooks/{story}.ipynb")
    explained = re.findall(r"^  (\w+): \w+ \(default [^\n]+\)\s+\S", done.stdout, re.M)
    assert done.returncode == 0 and explained == list(STORIES[story].model_fields), done.stdout


@pytest.mark.slow
def test_a_story_runs_on_a_folder_of_sound(tmp_path) -> None:
    """Nothing but paths of recordings is needed: here three of each of five voices, from another directory."""
    for voice in ("en", "es", "fr", "it", "ru"):
        (tmp_path / "sounds" / voice).mkdir(parents=True)
        for path in sorted(
            (ROOT / "data/speech" / voice).glob("*.ogg"), key=lambda file: -file.stat().st_size
        )[:3]:
            shutil.copy(path, tmp_path / "sounds" / voice)
    words = f"-p corpus folder:{tmp_path}/sounds -p clip_s 1.0"
    done = run(
        f"papermill {ROOT}/notebooks/02_audio_effects.ipynb out.ipynb {words}", tmp_path, 300
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert pages.mark(pages.read(tmp_path / "out.ipynb"))["story"] == "02_audio_effects"


def test_the_commands_of_the_readme_exist_and_ci_runs_its_test_command() -> None:
    readme, ci = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", ".ci/run"))
    named = set(re.findall(r"(?:^|`)make (\w+)", readme, re.M))
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"book", "report", "publish", "test"} <= named <= targets
    assert ci.splitlines()[-2:] == ["make test", "make slow"]


def test_a_clone_holds_what_the_commands_need(tmp_path) -> None:
    """Code and data are tracked, and make finds its way from nothing."""
    clone = tmp_path / "clone"
    assert run(f"git clone --quiet {ROOT} {clone}").returncode == 0
    files = set(run("git ls-files", clone).stdout.splitlines())
    with open(ROOT / "data/manifest.csv", encoding="utf-8", newline="") as manifest:
        data = {f"data/{row['file']}" for row in csv.DictReader(manifest)}
    code = {
        path.relative_to(ROOT).as_posix()
        for folder in ("lib", "tools")
        for path in (ROOT / folder).glob("*.py")
    }
    assert data | code | {"data/manifest.csv", "requirements.txt", "Snakefile"} <= files
    done = run("make -n book report publish test", clone, 60)
    assert done.returncode == 0, done.stdout
    steps = [
        "pip install",
        "tools/run.py quick",
        "tools/run.py report",
        "tools/publish.py",
        "pytest --nbval",
    ]
    places = [done.stdout.find(step) for step in steps]
    assert -1 not in places and places == sorted(places), done.stdout


def copy_of_tracked_files(folder: Path, *patterns: str) -> None:
    for name in run(f"git ls-files -- {' '.join(patterns)}").stdout.split("\n")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)


def test_the_published_book_builds_without_torch_data_and_network(tmp_path, offline) -> None:
    copy_of_tracked_files(tmp_path / "clone", "book", "_config.yml", "_toc.yml")
    without = tmp_path / "without"
    without.mkdir()
    (without / "torch.py").write_text("raise ImportError('no torch here')\n")
    more = offline | {"PYTHONPATH": f"{without}{os.pathsep}{offline['PYTHONPATH']}"}
    done = run("jupyter-book build book", tmp_path / "clone", 120, **more)
    assert done.returncode == 0 and "WARNING" not in done.stdout, done.stdout[-4000:]
    assert (tmp_path / "clone/book/_build/html/index.html").stat().st_size > 0
    assert not (tmp_path / "clone/_build").exists()


def test_one_setting_gives_buttons_to_binder_and_colab(tmp_path) -> None:
    """As _config.yml says: comment signs away, an address. Binder then finds what it installs; the page can be had."""
    import pages

    copy_of_tracked_files(tmp_path, "book", "_config.yml", "_toc.yml")
    settings = (tmp_path / "_config.yml").read_text()
    switched = re.sub("^# (?=repository:|launch_buttons:|html:)", "", settings, flags=re.M)
    assert switched.count("\n") == settings.count("\n") and len(settings) - len(switched) == 6
    (tmp_path / "_config.yml").write_text(switched.replace("OWNER/NAME", "someone/average"))
    (tmp_path / "_toc.yml").write_text(f"format: jb-book\nroot: chapters/{STORY}\n")
    done = run("jupyter-book build book", tmp_path, 120)
    assert done.returncode == 0, done.stdout[-4000:]
    page = (tmp_path / f"book/_build/html/chapters/{STORY}.html").read_text()
    place = f"book/chapters/{STORY}.ipynb"
    assert f'"https://mybinder.org/v2/gh/someone/average/main?urlpath=lab/tree/{place}"' in page
    assert f'"https://colab.research.google.com/github/someone/average/blob/main/{place}"' in page
    assert "https://github.com/someone/average/issues" in page
    download = re.search(r'href="([^":]+\.ipynb)"', page)[1]
    found = pages.read(tmp_path / "book/_build/html/chapters" / download)
    assert pages.sources(found) == pages.sources(pages.read(ROOT / place))
    assert (ROOT / "environment.yml").exists(), "Binder installs this"


def test_without_an_address_no_page_offers_a_button_that_leads_nowhere() -> None:
    settings = (ROOT / "_config.yml").read_text(encoding="utf-8")
    assert not re.search("^(repository|launch_buttons):|^ *use_\\w+_button: true", settings, re.M)


def test_a_checkout_without_links_still_lays_out_a_book(tmp_path) -> None:
    import stage_book

    (tmp_path / "pages").mkdir()
    (tmp_path / "results.json").write_text("{}")
    stage_book.stage(tmp_path)
    assert (tmp_path / "book/_toc.yml").read_text() == (ROOT / "_toc.yml").read_text()
    assert not (tmp_path / "book/_toc.yml").is_symlink()


def test_jupyter_lab_opens_stories_paired_with_their_scripts(tmp_path) -> None:
    copy_of_tracked_files(tmp_path, "notebooks", "pyproject.toml")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "lab",
        "--no-browser",
        f"--port={port}",
        "--IdentityProvider.token=t",
        "--allow-root",
        "--ServerApp.log_level=ERROR",
    ]
    server = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"PATH": PATH},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/api/contents/notebooks"

    def ask(address: str, body: dict | None = None) -> dict:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(
            address, data, {"Authorization": "token t"}, method="PUT" if body else "GET"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    try:
        for _ in range(120):
            try:
                listed = {item["name"]: item["type"] for item in ask(url)["content"]}
                break
            except OSError:
                time.sleep(0.5)
        assert listed[f"{STORY}.ipynb"] == listed[f"{STORY}.py"] == "notebook"
        opened = ask(f"{url}/{STORY}.ipynb")
        opened["content"]["cells"][0]["source"] += "\n\nOne more line."
        ask(
            f"{url}/{STORY}.ipynb",
            {"type": "notebook", "format": "json", "content": opened["content"]},
        )
        assert "# One more line." in (tmp_path / "notebooks" / f"{STORY}.py").read_text()
        assert "One more line." in (tmp_path / "notebooks" / f"{STORY}.ipynb").read_text()
    finally:
        server.terminate()
        server.wait(30)
