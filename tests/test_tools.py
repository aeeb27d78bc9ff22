"""The tools between papermill and the book: a killed run goes on, publishing is whole, syncing keeps outputs."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import pages
import publish
import pytest
import results
import stage_book
import status
import sync
import yaml

from lib import ROOT, BadInput
from lib.book.page import page_hash
from lib.book.parameters import resolve
from lib.runtime import stages as artifacts

NAME = "02_audio_effects"
VALUES = {"corpus": "speech", "clip_s": 2.03, "settings": "fixed", "seed": 0}
STORY = """
# %% tags=["parameters"]
corpora: list = ["speech", "music"]  # corpora
clip_s: float = 2.03  # seconds
seed: int = 0  # seed
split_seed: int = 0  # seed

# %%
import time
from pathlib import Path

from lib import ROOT
from lib.book import page as story

parameters = story.begin("01_dataset_preparation", globals())
while parameters.corpora == ("music",) and not (ROOT / "go").exists():
    time.sleep(0.2)
story.record(f"toy.{parameters.corpora[0]}", 1.5)
"""


def page(
    value: float = 0.25, mark: str = "", tag: str = "injected-parameters"
) -> nbformat.NotebookNode:
    """A page as papermill leaves it: an injected cell, a recorded number, a mark."""
    scrap = {"scrapbook": {"mime_prefix": "application/papermill.record/", "name": "toy.mse"}}
    number = {"application/papermill.record/text/plain": repr(value)}
    record = nbformat.v4.new_output("display_data", number, metadata=scrap)
    told = {
        "parameter <code>x</code>": "2",
        "versions": "python 3, numpy 2",
        "commit": "abc-dirty",
        "device": "CPU",
        "time": "3 s (less where finished stages were found)",
        "peak memory": "5 MB",
    }
    table = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in told.items())
    end = nbformat.v4.new_output(
        "display_data",
        {"text/plain": "provenance", "text/html": f"<table>{table}</table>"},
        metadata={"average_spectrogram": {"story": NAME, "hash": mark}},
    )
    cells = [
        nbformat.v4.new_markdown_cell("# A | question?"),
        nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["parameters"]}, execution_count=1),
        nbformat.v4.new_code_cell("x = 2", metadata={"tags": [tag]}, execution_count=2),
        nbformat.v4.new_code_cell("run()", outputs=[record, end], execution_count=3),
    ]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(tmp_path) -> None:
    for name in ("lib", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", tmp_path)
    for name in ("requirements.txt", "data/manifest.csv", "_config.yml", "_toc.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    story = "01_dataset_preparation"
    values = {"corpora": ["speech", "music"], "clip_s": 2.03, "seed": 0, "split_seed": 0}
    (tmp_path / "runs").mkdir()
    run = {"stories": {story: values}, "scatter": {story: ["corpora"]}}
    (tmp_path / "runs/quick.yml").write_text(yaml.safe_dump(run))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / f"{story}.py").write_text(STORY)
    notebook = jupytext.reads(STORY, fmt="py:percent")
    notebook.metadata = {"kernelspec": sync.KERNEL}
    nbformat.write(notebook, tmp_path / "notebooks" / f"{story}.ipynb")

    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "ARTIFACTS_DIR": str(tmp_path / "artifacts"),
        "JOBS": "2",
    }
    command = [sys.executable, "tools/run.py", "quick", "results"]
    out = tmp_path / "artifacts/quick"
    first = out / "scatter" / story / "speech.ipynb"
    with (tmp_path / "log").open("w") as log:
        going = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        for _ in range(600):
            if first.exists() or going.poll() is not None:
                break
            time.sleep(0.2)
        os.killpg(going.pid, signal.SIGKILL)
        going.wait()
    assert first.exists(), (tmp_path / "log").read_text()[-3000:]
    assert not (out / "pages").exists() and not (out / "results.json").exists()
    before = first.stat().st_mtime_ns

    (tmp_path / "go").touch()
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert first.stat().st_mtime_ns == before, "the finished point was computed again"
    assert (out / "results.json").read_text() == '{\n "toy.speech": 1.5\n}\n'


def test_numbers_are_collected_and_a_contradiction_is_an_error(tmp_path) -> None:
    nbformat.write(page(), tmp_path / "a.ipynb")
    nbformat.write(page(), tmp_path / "b.ipynb")
    assert results.collect([tmp_path / "a.ipynb", tmp_path / "b.ipynb"]) == {"toy.mse": 0.25}
    nbformat.write(page(0.5), tmp_path / "b.ipynb")
    with pytest.raises(SystemExit, match="b.ipynb: toy.mse = 0.5, but another page recorded 0.25"):
        results.collect([tmp_path / "a.ipynb", tmp_path / "b.ipynb"])


def test_parameters_of_a_page_are_the_injected_ones() -> None:
    assert pages.parameters(page()) == {"x": 2}
    assert pages.sources(page()) == [
        ("markdown", "# A | question?"),
        ("code", "x = 1"),
        ("code", "run()"),
    ]


@pytest.fixture
def complete(tmp_path, monkeypatch) -> Path:
    """A complete run of one story, and a published book of yesterday beside it."""
    monkeypatch.setattr(pages, "chapters", lambda: [NAME])
    monkeypatch.setattr(status, "small", lambda name: (page(0.5), True))
    (tmp_path / "run/pages").mkdir(parents=True)
    (tmp_path / "book/chapters").mkdir(parents=True)
    (tmp_path / "book/chapters/old.ipynb").write_text("yesterday")
    nbformat.write(
        page(mark=page_hash(NAME, resolve(NAME, VALUES))), tmp_path / f"run/pages/{NAME}.ipynb"
    )
    return tmp_path


def test_a_complete_run_is_published_whole(complete: Path) -> None:
    publish.publish(complete / "run", {NAME: VALUES}, complete / "book")
    assert files(complete / "book") == [
        f"chapters/{NAME}.ipynb",
        "results.json",
        "small_run.json",
        "status.md",
    ]
    assert (complete / "book/results.json").read_text() == '{\n "toy.mse": 0.25\n}\n'
    assert json.loads((complete / "book/small_run.json").read_text()) == {NAME: {"toy.mse": 0.5}}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing", "missing; run `make report`"),
        ("stale", "other code or parameters"),
        ("large", "a chapter has at most 1000000"),
        ("unsynced", "outputs of other code than the checkout's; run `make sync`"),
    ],
)
def test_a_run_that_is_not_complete_is_refused_and_the_old_book_stays(
    fault: str, said: str, complete: Path, monkeypatch
) -> None:
    path, values = complete / f"run/pages/{NAME}.ipynb", VALUES
    if fault == "missing":
        path.unlink()
    elif fault == "stale":
        values = VALUES | {"seed": 1}
    elif fault == "unsynced":
        monkeypatch.setattr(status, "small", lambda name: (page(), False))
    else:
        path.write_text(path.read_text() + " " * 1_000_000)
    with pytest.raises(BadInput, match=said):
        publish.publish(complete / "run", {NAME: values}, complete / "book")
    assert [path.name for path in (complete / "book").rglob("*")] == ["chapters", "old.ipynb"]


@pytest.mark.parametrize("there", [True, False])
def test_the_picture_of_the_readme_comes_with_its_page_or_nothing_does(
    there: bool, complete: Path, monkeypatch
) -> None:
    path = complete / f"run/pages/{NAME}.ipynb"
    notebook = pages.read(path)
    notebook.cells[1].metadata["mystnb"] = {"figure": {"name": "fig-x" if there else "fig-y"}}
    notebook.cells[1].outputs = [nbformat.v4.new_output("display_data", {"image/png": "cG5n"})]
    nbformat.write(notebook, path)
    monkeypatch.setattr(publish, "PICTURE", (NAME, "fig-x"))
    if there:
        publish.publish(complete / "run", {NAME: VALUES}, complete / "book")
        assert (complete / "book/average.png").read_bytes() == b"png"
    else:
        with pytest.raises(BadInput, match="no figure fig-x, which README.md shows"):
            publish.publish(complete / "run", {NAME: VALUES}, complete / "book")
        assert files(complete / "book") == ["chapters/old.ipynb"]


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def with_sound_and_assets(path: Path, sounds: list[bytes], folder: str) -> None:
    """A page gets players, as lib.book.players writes them, and the mark of an artifact whose files it shows."""
    notebook = pages.read(path)
    html = "".join(
        f'<audio src="data:audio/mpeg;base64,{base64.b64encode(s).decode()}"></audio>'
        for s in sounds
    )
    notebook.cells[-1].outputs.insert(
        0,
        nbformat.v4.new_output(
            "display_data",
            {"text/html": html},
            metadata={"average_spectrogram_assets": {"name": "explorer", "folder": folder}},
        ),
    )
    nbformat.write(notebook, path)


@pytest.fixture
def sounding(complete: Path, monkeypatch) -> Path:
    """The complete run's page now has sounds, two of them equal, and an artifact; yesterday's book had others."""
    monkeypatch.setattr(artifacts, "root", lambda: complete / "artifacts")

    def build(folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep/clip.json").write_text("[1]")

    folder = artifacts.stage("explore", {}, build, artifacts.__name__)
    page, sounds = complete / f"run/pages/{NAME}.ipynb", [b"first", b"second", b"first"]
    with_sound_and_assets(page, sounds, folder.relative_to(complete / "artifacts").as_posix())
    for name in ("sound/old.mp3", "gone/old.json", "style.css"):
        (complete / "book/_static" / name).parent.mkdir(parents=True, exist_ok=True)
        (complete / "book/_static" / name).write_text("yesterday")
    (complete / "run/results.json").write_text('{"toy.mse": 0.25}')
    return complete


def check_chapter(book: Path) -> None:
    """The sounds that the chapter names are there, in order and as they were; no other is; assets lie beside them."""
    html = pages.read(book / f"chapters/{NAME}.ipynb").cells[-1].outputs[0].data["text/html"]
    names = [part.split('"')[0] for part in html.split('src="')[1:]]
    assert [(book / "chapters" / name).read_bytes() for name in names] == [
        b"first",
        b"second",
        b"first",
    ]
    found = {name for name in files(book / "_static") if "/" in name}
    assert found == {name.removeprefix("../_static/") for name in names} | {
        "explorer/deep/clip.json"
    }
    assert (book / "_static/explorer/deep/clip.json").read_text() == "[1]"


def test_sounds_and_assets_are_published_as_files_and_old_ones_go(sounding: Path) -> None:
    before = (sounding / f"run/pages/{NAME}.ipynb").read_bytes()
    publish.publish(sounding / "run", {NAME: VALUES}, sounding / "book")
    check_chapter(sounding / "book")
    assert (sounding / "book/_static/style.css").read_text() == "yesterday"
    assert (sounding / f"run/pages/{NAME}.ipynb").read_bytes() == before


def test_sounds_and_assets_are_staged_as_files_and_old_ones_go(sounding: Path) -> None:
    (sounding / "run/book").mkdir()
    shutil.copytree(sounding / "book/_static", sounding / "run/book/_static")
    stage_book.stage(sounding / "run")
    check_chapter(sounding / "run/book")
    told, sound = (
        sounding / "run/book/status.md",
        next((sounding / "run/book/_static/sound").iterdir()),
    )
    assert "`toy.mse`" in told.read_text()
    before = told.stat().st_mtime_ns, sound.stat().st_mtime_ns
    stage_book.stage(sounding / "run")
    assert (told.stat().st_mtime_ns, sound.stat().st_mtime_ns) == before, (
        "what did not change keeps its time"
    )


@pytest.mark.parametrize("step", ["publish", "stage"])
def test_a_page_whose_assets_are_gone_is_refused(step: str, sounding: Path) -> None:
    shutil.rmtree(sounding / "artifacts")
    before = files(sounding / "book")
    with pytest.raises(BadInput, match="run the story again"):
        if step == "publish":
            publish.publish(sounding / "run", {NAME: VALUES}, sounding / "book")
        else:
            stage_book.stage(sounding / "run")
    assert files(sounding / "book") == before


@pytest.mark.parametrize("at", range(1, 8))
def test_a_publication_that_fails_at_any_step_leaves_the_old_book(
    at: int, sounding: Path, monkeypatch
) -> None:
    before = {name: (sounding / "book" / name).read_bytes() for name in files(sounding / "book")}
    rename, count = Path.rename, []

    def failing(path: Path, target: Path) -> Path:
        if path.parent.name != "pages":
            count.append(path)
            if len(count) == at:
                raise OSError("disk")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="disk"):
        publish.publish(sounding / "run", {NAME: VALUES}, sounding / "book")
    assert {
        name: (sounding / "book" / name).read_bytes() for name in files(sounding / "book")
    } == before
    assert not list((sounding / "book").glob(".*"))


def test_status_tells_what_the_page_tells_of_itself(complete: Path) -> None:
    path = complete / f"run/pages/{NAME}.ipynb"
    notebook = pages.read(path)
    notebook.cells[2].source = "\n".join(f"{key} = {value!r}" for key, value in VALUES.items())
    notebook.cells[1].source = "corpus = 'other'"
    nbformat.write(notebook, path)
    told = status.text([path])
    row = rf"| [A \| question?](chapters/{NAME}.ipynb) | fresh | 3 s | 5 MB | `abc-dirty` |"
    assert row in told.replace("\u00a0", " ")
    assert '| `corpus` | `"speech"` |' in told and "python 3, numpy 2" in told
    assert f"| `toy.mse` | 0.25 | [02 audio effects](chapters/{NAME}.ipynb) |" in told.replace(
        "\u00a0", " "
    )
    for source in ("seed = 1", "seed = -1", "sead = 0"):  # other, wrong, unknown
        notebook.cells[2].source += f"\n{source}"
        nbformat.write(notebook, path)
        assert "| stale |" in status.text([path]), source


def test_a_page_of_older_lib_is_confirmed_by_the_numbers_of_its_small_run(
    tmp_path, monkeypatch
) -> None:
    chapter = pages.read(ROOT / "notebooks" / f"{NAME}.ipynb")
    numbers = pages.records(chapter)
    for output in pages.outputs(chapter):
        if "average_spectrogram" in output.get("metadata", {}):
            output.metadata["average_spectrogram"]["hash"] = "of older code"
    monkeypatch.setattr(status, "SMALL", tmp_path / "small_run.json")
    assert status.state(NAME, chapter) == "stale", "nothing is known of the small run"
    name = next(iter(numbers))
    near, far = numbers[name] * (1 + 1e-8), numbers[name] * (1 + 1e-4)
    cases = {"confirmed": [{}, {name: near}], "stale": [{name: far}, {"another": 1.0}]}
    for state, changes in cases.items():
        for change in changes:
            artifacts.write_json(status.SMALL, {NAME: numbers | change})
            assert status.state(NAME, chapter) == state, change
    monkeypatch.setattr(status, "page_hash", lambda *_: "of code that is newer than the outputs")
    artifacts.write_json(status.SMALL, {NAME: numbers})
    assert status.state(NAME, chapter) == "stale"


def test_outputs_come_from_the_page_without_the_injected_cell(tmp_path) -> None:
    story = tmp_path / f"{NAME}.ipynb"
    nbformat.write(sync.strip(page()), story)
    nbformat.write(page(0.75), tmp_path / "page.ipynb")
    assert sync.take(tmp_path / "page.ipynb", story)
    found = pages.read(story)
    assert pages.records(found) == {"toy.mse": 0.75}
    assert [cell.execution_count for cell in found.cells if cell.cell_type == "code"] == [1, 2]
    assert not sync.take(tmp_path / "page.ipynb", story), "nothing changed: the file stays as it is"
    nbformat.write(page(tag="other"), tmp_path / "page.ipynb")
    with pytest.raises(BadInput, match="made from another version"):
        sync.take(tmp_path / "page.ipynb", story)


def test_after_a_sync_jupyter_lab_opens_the_pair(tmp_path, monkeypatch) -> None:
    """It refuses a story whose .ipynb is newer than its .py."""
    script, story = (tmp_path / "notebooks" / f"{NAME}.{kind}" for kind in ("py", "ipynb"))
    made = tmp_path / "artifacts/quick/pages" / story.name
    for folder in (script.parent, made.parent):
        folder.mkdir(parents=True)
    script.write_text("run()\n")
    os.utime(script, (1, 1))
    nbformat.write(sync.strip(page()), story)
    nbformat.write(page(0.75), made)
    monkeypatch.setattr(sync, "ROOT", tmp_path)
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    sync.main("outputs")
    assert pages.records(pages.read(story)) == {"toy.mse": 0.75}
    assert story.stat().st_mtime_ns <= script.stat().st_mtime_ns


def test_an_edited_script_updates_its_notebook_and_keeps_other_outputs(tmp_path) -> None:
    script, story = tmp_path / f"{NAME}.py", tmp_path / f"{NAME}.ipynb"
    nbformat.write(sync.strip(page()), story)
    script.write_text('# %% tags=["parameters"]\nx = 1\n\n# %%\nrun()\n\n# %%\nmore()\n')
    os.utime(script, (time.time() + 10, time.time() + 10))
    assert sync.pair(script) and not sync.pair(script)
    assert pages.sources(pages.read(story)) == [
        ("code", "x = 1"),
        ("code", "run()"),
        ("code", "more()"),
    ]
    assert pages.records(pages.read(story)) == {"toy.mse": 0.25}
    script.write_text("# %%\nrun()\n")
    os.utime(script, (0, 0))
    with pytest.raises(BadInput, match=f"edited after {NAME}.py"):
        sync.pair(script)
