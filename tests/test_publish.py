"""Between papermill and the book: publishing is whole or nothing, syncing keeps outputs."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import publish
import pytest
import sync

from lib import ROOT, BadInput
from lib.book.page import page_hash
from lib.book.parameters import resolve
from lib.runtime import stages
from lib.runtime.files import write_json

NAME = "02_audio_effects"
VALUES = {"corpus": "speech", "clip_s": 2.03, "settings": "fixed", "seed": 0}
FILES = [f"chapters/{NAME}.ipynb", "results.json", "small_run.json", "status.md"]


def page(value: float = 0.25, mark: str = "", tag: str = "injected-parameters"):
    """A page as papermill leaves it: an injected cell, a recorded number, a mark."""
    scrap = {"scrapbook": {"mime_prefix": "application/papermill.record/", "name": "toy.mse"}}
    number = {"application/papermill.record/text/plain": repr(value)}
    record = nbformat.v4.new_output("display_data", number, metadata=scrap)
    rows = {
        "parameter <code>x</code>": "2",
        "versions": "python 3, numpy 2",
        "commit": "abc-dirty",
        "device": "CPU",
        "time": "3 s (less where finished stages were found)",
        "peak memory": "5 MB",
    }
    table = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in rows.items())
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


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


@pytest.fixture
def complete(tmp_path, monkeypatch) -> Path:
    """A complete run of one story with sounds and assets, and a published book of yesterday."""
    monkeypatch.setattr(publish, "chapters", lambda: [NAME])
    monkeypatch.setattr(publish, "small", lambda name: (page(0.5), True))
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))

    def build(folder: Path) -> None:
        (folder / "clip.json").write_text("[1]")

    assets = stages.stage("explore", {}, build, "lib.runtime.stages")
    notebook = page(mark=page_hash(NAME, resolve(NAME, VALUES)))
    html = ""
    for sound in (b"first", b"second", b"first"):
        html += f'<audio src="data:audio/mpeg;base64,{base64.b64encode(sound).decode()}"></audio>'
    folder = assets.relative_to(tmp_path / "artifacts").as_posix()
    marked = {"average_spectrogram_assets": {"name": "explorer", "folder": folder}}
    player = nbformat.v4.new_output("display_data", {"text/html": html}, metadata=marked)
    scrap = {"mime_prefix": "record/", "name": "key-02"}
    data = {"record/image/png": base64.b64encode(b"picture").decode()}
    key = nbformat.v4.new_output("display_data", data, metadata={"scrapbook": scrap})
    notebook.cells[-1].outputs = [player, key, *notebook.cells[-1].outputs]
    (tmp_path / "run/pages").mkdir(parents=True)
    nbformat.write(notebook, tmp_path / f"run/pages/{NAME}.ipynb")
    for name in ("chapters/old.ipynb", "_static/sound/old.mp3", "_static/style.css"):
        (tmp_path / "book" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "book" / name).write_text("yesterday")
    return tmp_path


def check_chapter(book: Path) -> None:
    """The chapter's sounds, key figure and assets lie beside it; those of yesterday have gone."""
    html = publish.read(book / f"chapters/{NAME}.ipynb").cells[-1].outputs[0].data["text/html"]
    names = [part.split('"')[0] for part in html.split('src="')[1:]]
    sounds = [(book / "chapters" / name).read_bytes() for name in names]
    assert sounds == [b"first", b"second", b"first"]
    folders = {name for name in files(book / "_static") if "/" in name}
    others = {"explorer/clip.json", "key/key-02.png"}
    assert folders == {n.removeprefix("../_static/") for n in names} | others
    assert (book / "_static/key/key-02.png").read_bytes() == b"picture"


def test_a_complete_run_is_published_whole(complete: Path) -> None:
    before = contents(complete / "run")
    publish.publish(complete / "run", {NAME: VALUES}, complete / "book")
    assert [name for name in files(complete / "book") if "_static" not in name] == FILES
    assert (complete / "book/results.json").read_text() == '{\n "toy.mse": 0.25\n}\n'
    assert json.loads((complete / "book/small_run.json").read_text()) == {NAME: {"toy.mse": 0.5}}
    check_chapter(complete / "book")
    assert (complete / "book/_static/style.css").exists()
    assert contents(complete / "run") == before


def test_a_run_s_own_book_is_laid_out_and_what_did_not_change_keeps_its_time(
    complete: Path,
) -> None:
    """Also from a checkout without symbolic links."""
    run = complete / "run"
    (run / "results.json").write_text("{}")
    publish.stage(run)
    check_chapter(run / "book")
    assert not (run / "book/_toc.yml").is_symlink()
    (run / "book/gone.md").write_text("# Gone")
    before = (run / "book/status.md").stat().st_mtime_ns
    publish.stage(run)
    assert (run / "book/status.md").stat().st_mtime_ns == before
    assert not (run / "book/gone.md").exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "missing; run `make report`"),
        ("stale", "other code or parameters"),
        ("large", "a chapter has at most 1000000"),
        ("unsynced", "outputs of other code; run `make sync`"),
        ("damaged", "damaged, its checksum is another"),
        ("no assets", "run the story again"),
        ("no picture", "no figure fig-x, which README.md shows"),
    ],
)
def test_a_run_that_is_not_complete_is_refused_and_the_old_book_stays(
    fault: str, message: str, complete: Path, monkeypatch
) -> None:
    path, values, before = complete / f"run/pages/{NAME}.ipynb", VALUES, contents(complete / "book")
    if fault == "missing":
        path.unlink()
    elif fault == "stale":
        values = VALUES | {"seed": 1}
    elif fault == "large":
        path.write_text(path.read_text() + " " * 1_000_000)
    elif fault == "unsynced":
        monkeypatch.setattr(publish, "small", lambda name: (page(), False))
    elif fault == "damaged":
        path.with_name(f"{path.name}.sha256").write_text("0")
    elif fault == "no assets":
        shutil.rmtree(complete / "artifacts/explore")
    else:
        monkeypatch.setattr(publish, "PICTURE", (NAME, "fig-x"))
    with pytest.raises(BadInput, match=message):
        publish.publish(complete / "run", {NAME: values}, complete / "book")
    assert contents(complete / "book") == before


def test_an_error_at_any_step_of_a_publication_leaves_the_old_book(
    complete: Path, monkeypatch
) -> None:
    before, rename = contents(complete / "book"), Path.rename
    for step in range(1, 8):
        left = [step]

        def failing(path: Path, target: Path, left: list[int] = left) -> Path:
            left[0] -= 1
            if left[0] == 0:
                raise OSError("disk")
            return rename(path, target)

        with monkeypatch.context() as patch, pytest.raises(OSError, match="disk"):
            patch.setattr(Path, "rename", failing)
            publish.publish(complete / "run", {NAME: VALUES}, complete / "book")
        assert contents(complete / "book") == before, step


KILLED = """
import os, sys
from pathlib import Path
import publish, test_publish
publish.chapters = lambda: [test_publish.NAME]
publish.small = lambda name: (test_publish.page(0.5), True)
rename, left = Path.rename, [int(sys.argv[2])]
def killed(path, target):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), 9)
    return rename(path, target)
Path.rename = killed
place = Path(sys.argv[1])
publish.publish(place / "run", {test_publish.NAME: test_publish.VALUES}, place / "book")
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3, 5])
def test_after_a_killed_publication_the_next_one_ends_or_brings_the_old_book_back(
    step: int, complete: Path
) -> None:
    before = contents(complete / "book")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tools"), str(ROOT / "tests")])
    command = [sys.executable, "-c", KILLED, str(complete), str(step)]
    page_ = complete / f"run/pages/{NAME}.ipynb"
    for refused in (True, False):
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, timeout=120)
        assert done.returncode == -9
        if refused:
            hidden = page_.rename(complete / "hidden")
            with pytest.raises(BadInput, match="missing"):
                publish.publish(complete / "run", {NAME: VALUES}, complete / "book")
            assert contents(complete / "book") == before
            hidden.rename(page_)
    publish.publish(complete / "run", {NAME: VALUES}, complete / "book")
    check_chapter(complete / "book")
    assert not list((complete / "book").glob(".*"))


def test_numbers_are_collected_and_a_contradiction_is_an_error(tmp_path) -> None:
    pages = [tmp_path / "a.ipynb", tmp_path / "b.ipynb"]
    for path in pages:
        nbformat.write(page(), path)
    assert publish.collect(pages) == {"toy.mse": 0.25}
    assert publish.parameters(page()) == {"x": 2}, "papermill's values, not the defaults"
    nbformat.write(page(0.5), pages[1])
    with pytest.raises(BadInput, match="b.ipynb: toy.mse = 0.5, but another page recorded 0.25"):
        publish.collect(pages)


def test_the_status_page_tells_what_the_page_tells_of_itself(complete: Path) -> None:
    path = complete / f"run/pages/{NAME}.ipynb"
    notebook = publish.read(path)
    notebook.cells[2].source = "\n".join(f"{key} = {value!r}" for key, value in VALUES.items())
    notebook.cells[1].source = "corpus = 'other'"
    nbformat.write(notebook, path)
    text = publish.status([path]).replace("\u00a0", " ")
    row = rf"| [A \| question?](chapters/{NAME}.ipynb) | fresh | 3 s | 5 MB | `abc-dirty` |"
    assert row in text and "python 3, numpy 2" in text and '| `corpus` | `"speech"` |' in text
    assert f"| `toy.mse` | 0.25 | [02 audio effects](chapters/{NAME}.ipynb) |" in text
    for source in ("seed = 1", "seed = -1", "sead = 0"):  # other, wrong, unknown
        notebook.cells[2].source += f"\n{source}"
        nbformat.write(notebook, path)
        assert "| stale |" in publish.status([path]), source


def test_a_page_of_older_code_is_confirmed_by_the_numbers_of_its_quick_run(
    complete: Path, monkeypatch
) -> None:
    monkeypatch.setattr(publish, "SMALL", complete / "small_run.json")
    chapter = page(mark="of older code")
    chapter.cells[1].source = "\n".join(f"{key} = {value!r}" for key, value in VALUES.items())
    chapter.cells[2].source = ""
    assert publish.state(NAME, chapter) == "stale", "nothing is known of the quick run"
    cases = [(0.5, "confirmed"), (0.5 * (1 + 1e-8), "confirmed"), (0.5 * (1 + 1e-4), "stale")]
    for value, state in cases:
        write_json(publish.SMALL, {NAME: {"toy.mse": value}})
        assert publish.state(NAME, chapter) == state, value
    write_json(publish.SMALL, {NAME: {"toy.mse": 0.5}})
    monkeypatch.setattr(publish, "small", lambda name: (page(0.5), False))
    assert publish.state(NAME, chapter) == "stale", "the quick run is of older code too"


def test_outputs_come_from_the_page_without_the_injected_cell(tmp_path) -> None:
    story, made = tmp_path / f"{NAME}.ipynb", tmp_path / "page.ipynb"
    story.with_suffix(".py").write_text("run()\n")
    os.utime(story.with_suffix(".py"), (1, 1))
    nbformat.write(sync.strip(page()), story)
    nbformat.write(page(0.75), made)
    sync.take(made, story)
    notebook = publish.read(story)
    assert publish.records(notebook) == {"toy.mse": 0.75}
    assert [c.execution_count for c in notebook.cells if c.cell_type == "code"] == [1, 2]
    assert story.stat().st_mtime == 1, "Jupyter Lab opens no pair whose .ipynb is newer"
    nbformat.write(page(tag="other"), made)
    with pytest.raises(BadInput, match="made from another version"):
        sync.take(made, story)
    with pytest.raises(BadInput, match="other cells than 02_audio_effects.py; see `python tool"):
        sync.check(story.with_suffix(".py"))
