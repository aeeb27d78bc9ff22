"""Every command of the README, as typed. `make book` comes first: the others and nbval find what it
computes.
"""

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

import publish
import pytest
from filelock import FileLock
from test_layout import tracked

from lib import ROOT
from lib.book.parameters import STORIES, read_run
from lib.runtime import stages

BIN = Path(sys.executable).parent
STORY = "03_mnist_sanity_check"


def run(command: str, cwd: Path = ROOT, seconds: float = 280, **more: str):
    """A command in a shell, with this environment's tools first on the path."""
    outer = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    env = outer | path | more
    return subprocess.run(command, shell=True, cwd=cwd, env=env, timeout=seconds, **pipes)


def copy_of_tracked_files(folder: Path, *patterns: str) -> None:
    for name in tracked(*patterns):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)


@pytest.mark.timeout(1800)
def test_make_book_builds_the_whole_book_without_a_network_and_changes_no_tracked_file(offline):
    state = "git status --porcelain && git diff HEAD"
    before = run(state).stdout
    done = run("make book", seconds=1700, **offline)
    assert done.returncode == 0, done.stdout[-6000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("The book is at ")]
    index = Path(lines[-1].removeprefix("The book is at "))
    assert index.stat().st_size > 0
    for story in STORIES:
        assert (index.parent / "chapters" / f"{story}.html").exists()
        page = publish.read(stages.root() / "quick" / "pages" / f"{story}.ipynb")
        for output in publish.outputs(page):
            debris = output.get("name") == "stderr" or "\r" in output.get("text", "")
            assert not debris, (story, output)
    numbers = json.loads((stages.root() / "quick" / "results.json").read_text())
    assert numbers and all(isinstance(value, (int, float)) for value in numbers.values())
    assert run(state).stdout == before


def test_another_folder_or_package_lib_does_not_win_in_silence(tmp_path) -> None:
    (tmp_path / "empty/lib").mkdir(parents=True)
    (tmp_path / "other/lib").mkdir(parents=True)
    (tmp_path / "other/lib/__init__.py").touch()
    for command in (
        "average-spectrogram predict digits --latents 2",
        "python -c 'import lib.theory'",
    ):
        done = run(command, tmp_path / "empty", PYTHONPATH="")
        assert done.returncode == 0, done.stdout
    done = run("average-spectrogram predict digits", ROOT, PYTHONPATH=str(tmp_path / "other"))
    assert done.returncode == 2 and f"{tmp_path}/other/lib hides {ROOT}/lib: rename" in done.stdout
    assert run("average-spectrogram", tmp_path).returncode == 2


def test_make_book_again_does_nothing() -> None:
    pages = list((stages.root() / "quick" / "pages").glob("*.ipynb"))
    before = [page.stat().st_mtime_ns for page in pages]
    done = run("make book")
    assert done.returncode == 0, done.stdout[-6000:]
    assert [page.stat().st_mtime_ns for page in pages] == before


def test_a_second_run_and_a_run_that_does_not_exist_are_refused() -> None:
    with FileLock(stages.root() / ".run.lock"):
        done = run("python tools/run.py quick")
    assert done.returncode == 2 and "another run is under way" in done.stdout
    done = run("python tools/run.py quik")
    assert done.returncode == 2 and 'did you mean "quick"' in done.stdout


def test_papermill_runs_a_story_from_any_directory_without_a_network(tmp_path, offline) -> None:
    notebook = f"{ROOT}/notebooks/{STORY}.ipynb"
    done = run(f"papermill {notebook} out.ipynb -p beta 0.1", tmp_path, **offline)
    assert done.returncode == 0, done.stdout[-4000:]
    page = publish.read(tmp_path / "out.ipynb")
    assert publish.parameters(page)["beta"] == 0.1 and publish.mark(page)["story"] == STORY
    done = run(f"papermill {notebook} out.ipynb -p betaa 0.1", tmp_path)
    assert done.returncode and 'unknown parameter betaa = 0.1: did you mean "beta"' in done.stdout


@pytest.mark.parametrize("place", ["notebooks", "/"])
def test_nbval_compares_cells_whichever_folder_it_is_started_in(place) -> None:
    done = run(f"pytest --nbval -q '{ROOT}/notebooks/{STORY}.ipynb::Cell 0'", ROOT / place)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-4000:]


def test_papermill_explains_every_parameter() -> None:
    done = run("papermill --help-notebook notebooks/04_spectrogram_vae.ipynb")
    explained = re.findall(r"^  (\w+): \w+ \(default [^\n]+\)\s+\S", done.stdout, re.M)
    quick = read_run(ROOT / "runs/quick.yml")["stories"]["04_spectrogram_vae"]
    assert explained == list(quick), done.stdout


@pytest.mark.slow
def test_a_story_and_the_prediction_run_on_a_folder_of_sound(tmp_path) -> None:
    """Three recordings of each of five voices, from another directory."""
    for voice in ("en", "es", "fr", "it", "ru"):
        (tmp_path / "sounds" / voice).mkdir(parents=True)
        files = sorted(
            (ROOT / "data/speech" / voice).glob("*.ogg"), key=lambda f: -f.stat().st_size
        )
        for path in files[:3]:
            shutil.copy(path, tmp_path / "sounds" / voice)
    notebook, corpus = f"{ROOT}/notebooks/02_audio_effects.ipynb", f"folder:{tmp_path}/sounds"
    done = run(f"papermill {notebook} out.ipynb -p corpus {corpus} -p clip_s 1.0", tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]
    done = run(f"python -m lib.predict {tmp_path}/sounds --latents 8 --beta 1", ROOT)
    assert done.returncode == 0 and "sigma2" in done.stdout, done.stdout[-4000:]


def test_the_commands_of_readme_and_ci_exist_and_a_clone_holds_what_they_need(tmp_path) -> None:
    """Code and data are tracked, and make finds its way from nothing."""
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:^|`)make (\w+)", readme, re.M))
    assert {"book", "report", "publish", "test"} <= named
    assert named <= set(re.findall(r"^(\w+):", makefile, re.M))
    assert (ROOT / ".ci/run").read_text().splitlines()[-2:] == ["make test", "make slow"]
    clone = tmp_path / "clone"
    assert run(f"git clone --quiet {ROOT} {clone}").returncode == 0
    with open(ROOT / "data/manifest.csv", encoding="utf-8", newline="") as manifest:
        data = [f"data/{row['file']}" for row in csv.DictReader(manifest)]
    assert all((clone / name).exists() for name in [*data, "lib/vae/losses.py", "tools/run.py"])
    done = run("make --no-print-directory -n book report publish test", clone)
    steps = [
        "pip install",
        "tools/run.py quick",
        "tools/run.py report",
        "tools/publish.py",
        "bin/pytest",
    ]
    places = [done.stdout.find(step) for step in steps]
    assert -1 not in places and places == sorted(places), done.stdout


def test_the_published_book_builds_without_torch_data_and_network(tmp_path, offline) -> None:
    copy_of_tracked_files(tmp_path / "clone", "book", "_config.yml", "_toc.yml")
    (tmp_path / "without").mkdir()
    (tmp_path / "without/torch.py").write_text("raise ImportError('no torch here')\n")
    path = f"{tmp_path}/without{os.pathsep}{offline['PYTHONPATH']}"
    done = run("jupyter-book build book", tmp_path / "clone", **offline | {"PYTHONPATH": path})
    assert done.returncode == 0 and "WARNING" not in done.stdout, done.stdout[-4000:]
    assert (tmp_path / "clone/book/_build/html/index.html").stat().st_size > 0


@pytest.mark.slow
def test_one_setting_gives_buttons_to_binder_and_colab(tmp_path) -> None:
    """As _config.yml says: comment signs away, an address."""
    copy_of_tracked_files(tmp_path, "book", "_config.yml", "_toc.yml")
    settings = (tmp_path / "_config.yml").read_text()
    switched = re.sub("^# (?=repository:|launch_buttons:|html:)", "", settings, flags=re.M)
    assert len(settings) - len(switched) == 6, "three comment signs"
    (tmp_path / "_config.yml").write_text(switched.replace("OWNER/NAME", "someone/average"))
    (tmp_path / "_toc.yml").write_text(f"format: jb-book\nroot: chapters/{STORY}\n")
    done = run("jupyter-book build book", tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]
    page = (tmp_path / f"book/_build/html/chapters/{STORY}.html").read_text()
    place = f"book/chapters/{STORY}.ipynb"
    assert f"https://mybinder.org/v2/gh/someone/average/main?urlpath=lab/tree/{place}" in page
    assert f"https://colab.research.google.com/github/someone/average/blob/main/{place}" in page


def test_jupyter_lab_opens_stories_paired_with_their_scripts(tmp_path) -> None:
    copy_of_tracked_files(tmp_path, "notebooks", "pyproject.toml")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [BIN / "jupyter", "lab", "--no-browser", f"--port={port}", "--allow-root"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*command, "--IdentityProvider.token=t"], cwd=tmp_path, **silent)
    story = f"http://127.0.0.1:{port}/api/contents/notebooks/{STORY}.ipynb"

    def ask(body: dict | None = None) -> dict:
        data, method = json.dumps(body).encode() if body else None, "PUT" if body else "GET"
        headers = {"Authorization": "token t"}
        request = urllib.request.Request(story, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    try:
        for _ in range(120):
            try:
                content = ask()["content"]
                break
            except OSError:
                time.sleep(0.5)
        content["cells"][0]["source"] += "\n\nOne more line."
        ask({"type": "notebook", "format": "json", "content": content})
        assert "# One more line." in (tmp_path / "notebooks" / f"{STORY}.py").read_text()
    finally:
        server.terminate()
        server.wait(30)
