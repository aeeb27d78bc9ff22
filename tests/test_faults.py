"""Faults, each injected: kills, damage, full and read-only disks, wrong clocks, two at once, interrupts, short memory.

Each has a row on the page book/faults.md, and each row its test; more of them stand in the test of the part they hit.
"""

import contextlib
import functools
import json
import logging
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import nbformat
import numpy as np
import pages
import psutil
import publish
import pytest
import results
import soundfile
import status
import test_tools
import torch
import yaml
from test_tools import complete

from lib import ROOT, BadInput
from lib.audio.spectrograms import SpectrogramConfig
from lib.data import rendering as render
from lib.data.batches import ArrayDataset, Splits
from lib.data.clips import ClipConfig
from lib.embeddings import maps as embeddings
from lib.runtime import stages as artifacts
from lib.runtime.files import write_json
from lib.vae import training
from lib.vae.checkpoints import Run, damaged, load
from lib.vae.config import TrainingConfig
from lib.vae.evaluation import evaluate

__all__ = ["complete"]  # a fixture
SEED = 20  # of the moments of the kills, and of the bits that flip
RATE_HZ = 8000
CONFIG = TrainingConfig(
    epochs=5, batch_size=32, latent=3, objective="calibrated", learning_rate=5e-3
)
STEPS = 10  # an epoch
WAIT_S = 600  # at most, for whatever should come
TOLD = (
    "seconds",
    "cpu_seconds",
    "peak_memory_mb",
    "commit",
    "sum",
)  # by a card, and no part of the result


# What is computed here: the same in this process, in one that is killed, and in a notebook


def blobs(n: int, seed: int) -> np.ndarray:
    """Pictures (n, 9, 10) uint8 of one soft spot each."""
    rng, (bins, frames) = np.random.default_rng(seed), np.mgrid[:9, :10]
    row, column, level = (
        rng.uniform(low, high, (n, 1, 1)) for low, high in ((1, 8), (1, 9), (0.3, 1))
    )
    return (255 * level * np.exp(-((bins - row) ** 2 + (frames - column) ** 2) / 6)).astype(
        np.uint8
    )


def pause(wait: Path) -> None:
    """Leaves the number of this process in a file, and waits until the file is gone."""
    write_json(wait, os.getpid())
    end = time.monotonic() + WAIT_S
    while wait.exists() and time.monotonic() < end:
        time.sleep(0.02)


def told(steps, total, label):
    """A progress that writes down how many steps were to do, and waits in the third epoch where the test wants it."""
    with open(artifacts.root() / "steps", "a") as file:
        file.write(f"{total}\n")
    for count, step in enumerate(steps):
        if count == 2 * STEPS + 5 and os.environ.get("WAIT"):
            pause(Path(os.environ["WAIT"]))
        yield step


def trained(_: Path | None = None, **change: object) -> Run:
    with mock.patch.object(training, "progress", told):
        return training.train(CONFIG.model_copy(update=change), data())


def data() -> Splits:
    """Training and other pictures."""
    train, test = (
        ArrayDataset(blobs(count, seed), 1 / 255) for count, seed in ((32 * STEPS, 0), (100, 1))
    )
    return Splits(train, test, test, {"data": "blobs"})


def rendered(sounds: Path) -> render.Rendering:
    clips = ClipConfig(
        corpus=f"folder:{sounds}", split="train", clip_s=0.5, sample_rate_hz=RATE_HZ, seed=0
    )
    picture = SpectrogramConfig(sample_rate_hz=RATE_HZ, n_fft=512, hop_length=256, n_mels=16)
    return render.render(
        render.RenderConfig(
            clips=clips,
            spectrogram=picture,
            effects=("clean", "delay", "flanger"),
            clips_per_effect=64,
            dry=True,
        )
    )


def ablated(_: Path) -> list[dict]:
    """A net for each weight of the KL, and its evaluation."""
    return [
        evaluate(trained(loss="report", beta=beta, epochs=2), data()) for beta in (0.01, 0.1, 1)
    ]


def mapped(_: Path) -> tuple:
    def load() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = np.random.default_rng(0).normal(size=(60, 20)) + 3 * (np.arange(60) % 3)[:, None]
        return x, np.arange(60) % 3, np.arange(60) // 20

    return embeddings.map_stage(load, {"data": "normal"}, 0, n_neighbors=5)


KINDS: dict[str, Callable] = {
    "render": rendered,
    "train": trained,
    "ablation": ablated,
    "umap": mapped,
}
FULL = {
    "render": (0, 0),
    "train": (CONFIG.epochs, 1),
    "ablation": (2, 3),
    "umap": (0, 0),
}  # passes, trainings


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Four persons with a buzz of three seconds each."""
    folder, t = tmp_path_factory.mktemp("sounds"), np.arange(3 * RATE_HZ) / RATE_HZ
    for group in range(4):
        buzz = sum(np.sin(2 * np.pi * (100 + 20 * group) * k * t) / k for k in range(1, 9))
        (folder / f"person{group}").mkdir()
        soundfile.write(
            folder / f"person{group}/a.wav", 0.1 * buzz * (1.2 + np.sin(2 * np.pi * 3 * t)), RATE_HZ
        )
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The artifact folder of a test; children that it leaves end with it."""
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    (tmp_path / "artifacts").mkdir()
    yield tmp_path / "artifacts"
    for child in multiprocessing.active_children():
        if isinstance(child, PROCESSES.Process):
            child.kill()
            child.join(WAIT_S)


def stages(root: Path) -> list[Path]:
    """Folders under the final name of a stage."""
    return sorted(path for path in root.glob("*/*/") if re.fullmatch("[0-9a-f]{16}", path.name))


def contents(root: Path) -> dict[str, object]:
    """Every file of every finished stage, by name: bytes, but of a card all that is part of the result."""
    found: dict[str, object] = {}
    for path in (path for stage in stages(root) for path in stage.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        found[name] = path.read_bytes()
        if path.name == "card.json":
            found[name] = {
                key: value for key, value in json.loads(path.read_text()).items() if key not in TOLD
            }
    return found


def times(root: Path) -> dict[Path, int]:
    return {stage: (stage / "card.json").stat().st_mtime_ns for stage in stages(root)}


# Killed


PROCESSES = multiprocessing.get_context(
    "forkserver"
)  # a child has imported everything and computed nothing
PROCESSES.set_forkserver_preload(
    ["lib.embeddings.maps", "lib.data.rendering", "lib.vae.training", "umap", "pytest", "nbformat"]
)


def prepare(root: Path, wait: str = "") -> None:
    """In a child: its artifact folder, where it tells when it waits for a lock, and where it waits itself."""
    os.environ.update(ARTIFACTS_DIR=str(root), WAIT=wait)
    logging.getLogger("filelock").setLevel(logging.DEBUG)
    logging.getLogger("filelock").addHandler(logging.FileHandler(root / "locks.log"))


def waits(root: Path) -> bool:
    """Whether a child of this artifact folder has met a lock that another holds."""
    return "not acquired" in (root / "locks.log").read_text()


def work(kind: str, root: Path, sounds: Path, begun, wait: str) -> None:
    prepare(root, wait)
    begun.set()
    KINDS[kind](sounds)


def process(kind: str, root: Path, sounds: Path, wait: str = ""):
    """A process that has begun to compute."""
    root.mkdir(exist_ok=True)
    begun = PROCESSES.Event()
    child = PROCESSES.Process(target=work, args=(kind, root, sounds, begun, wait))
    child.start()
    assert begun.wait(WAIT_S)
    return child


def joined(child) -> int:
    """The exit code of a child that ends."""
    child.join(WAIT_S)
    assert child.exitcode is not None, "it does not end"
    return child.exitcode


def killed(child, after_s: float) -> int:
    """The exit code of a child that is killed then: 0 where it ended before, be it while the signal was on its way."""
    child.join(after_s)
    child.kill()
    return joined(child)


def whole_or_absent(root: Path) -> None:
    """Every file under its final name is whole: those of stages by their cards, those of a training by themselves."""
    for stage in stages(root):
        artifacts.read_card(stage)
    for path in (*root.glob("train/.partial-*/*.pt"), *root.glob("train/.partial-*/*.ckpt")):
        assert not damaged(path), path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "kills"), [("render", 5), ("train", 5), ("ablation", 4), ("umap", 2)]
)
def test_killed_at_random_moments_it_ends_as_one_that_was_not(
    kind: str, kills: int, tmp_path: Path, sounds: Path
):
    """kill -9; the next run does what was cut again, and nothing else."""
    child = process(kind, tmp_path / "whole", sounds)
    begun = time.monotonic()
    assert joined(child) == 0
    seconds = time.monotonic() - begun
    expected, rng = contents(tmp_path / "whole"), np.random.default_rng([SEED, kills, len(kind)])
    for number, moment in enumerate(rng.uniform(0, 0.9, kills)):
        root = tmp_path / f"killed{number}"
        while (
            code := killed(process(kind, root, sounds), moment * seconds)
        ) == 0:  # it took less than the first one
            shutil.rmtree(root)
            moment *= 0.7
        assert code == -signal.SIGKILL
        whole_or_absent(root)
        before = times(root)
        (root / "steps").unlink(missing_ok=True)
        states = [
            load(path)
            for path in root.glob("train/.partial-*/last.ckpt")
            if path.parent.with_name(path.parent.name.removeprefix(".partial-")) not in before
        ]
        assert joined(process(kind, root, sounds)) == 0
        assert contents(root) == expected
        assert {stage: times(root)[stage] for stage in before} == before, (
            "a finished stage was computed again"
        )
        assert not [path for path in root.glob("*/.*/")], (
            "what the killed run had begun is still there"
        )
        left = [FULL[kind][0] * STEPS] * (
            FULL[kind][1] - sum(stage.parent.name == "train" for stage in before)
        )
        for state in states:
            left[0] -= state["global_step"]
        steps = (root / "steps").read_text().split() if (root / "steps").exists() else []
        assert [int(count) for count in steps] == [count for count in left if count], (
            "a finished epoch was repeated"
        )


IMPORT = f"import sys\n\nsys.path[:0] = [{str(ROOT / 'tests')!r}, {str(ROOT / 'tools')!r}]\nimport test_faults\n\n"
TOY = {
    "01_dataset_preparation": {
        "corpora": ["speech", "music"],
        "clip_s": 2.03,
        "seed": 0,
        "split_seed": 0,
    },
    "02_audio_effects": {"corpus": "speech", "clip_s": 2.03, "settings": "fixed", "seed": 0},
}
CODE = {  # of the stories, after their parameters; the first one trains, the second one is short
    "01_dataset_preparation": f"{IMPORT}log = test_faults.trained().log()\n"
    "story.record('toy.mse', float(log['val_mse'].iloc[-1]))",
    "02_audio_effects": "story.record('toy.seed', parameters.seed)",
}


def story(name: str) -> str:
    """A story as py:percent: parameters, the work, provenance."""
    lines = "\n".join(f"{key} = {value!r}" for key, value in TOY[name].items())
    return (
        f'# %% [markdown]\n# # {name}\n\n# %% tags=["parameters"]\n{lines}\n\n# %%\nfrom lib import story\n\n'
        f"parameters = story.begin({name!r}, globals())\n\n# %%\n{CODE[name]}\n\n"
        "# %%\nstory.provenance(parameters)\n"
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of two stories and a book of three pages."""
    import jupytext
    import sync

    place = tmp_path / "checkout"
    for name in ("lib", "tools"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", place)
    files = {
        "requirements.txt": "",
        "data/manifest.csv": "",
        "book/intro.md": "# Toy\n\nA book.\n",
        "_config.yml": 'title: Toy\nexecute: {execute_notebooks: "off"}\n',
        "_toc.yml": yaml.safe_dump(
            {
                "format": "jb-book",
                "root": "intro",
                "parts": [
                    {"caption": "x", "chapters": [{"file": f"chapters/{name}"} for name in TOY]}
                ],
            }
        ),
        "runs/tiny.yml": yaml.safe_dump({"stories": TOY}),
        "runs/one.yml": yaml.safe_dump({"stories": dict(list(TOY.items())[:1])}),
    }
    for name in TOY:
        files[f"notebooks/{name}.py"] = story(name)
        notebook = jupytext.reads(story(name), fmt="py:percent")
        notebook.metadata = {"kernelspec": sync.KERNEL}
        files[f"notebooks/{name}.ipynb"] = nbformat.writes(notebook)
    for name, text in files.items():
        (place / name).parent.mkdir(exist_ok=True, parents=True)
        (place / name).write_text(text)
    return place


def environment(place: Path, **more: str) -> dict[str, str]:
    found = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return (
        found
        | {"PYTHONPATH": str(place), "PATH": path, "JOBS": "1", "PYTHONWARNINGS": "ignore"}
        | more
    )


def going(place: Path) -> list[psutil.Process]:
    """Processes whose artifacts lie below a folder: a kernel has a session of its own, and may have lost its parent."""
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if each.pid != os.getpid() and each.environ().get("ARTIFACTS_DIR", "").startswith(
                f"{place}/"
            ):
                found.append(each)
    return found


def hears() -> None:
    """In a child: Ctrl-C ends it, though whoever started the tests may have told it not to."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts a command in a session of its own, as a terminal does. What goes on after the test is killed."""
    runs = []

    def begin(command: list[str], place: Path, **more: str) -> subprocess.Popen:
        runs.append(
            subprocess.Popen(
                command,
                cwd=place,
                env=environment(place, **more),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=hears,
            )
        )
        return runs[-1]

    yield begin
    left = going(folder.parent)
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(left, WAIT_S)
    for run in runs:
        run.communicate(timeout=WAIT_S)


@pytest.fixture
def running(start: Callable[..., subprocess.Popen]) -> Callable[..., subprocess.Popen]:
    """Starts tools/run.py of a checkout."""
    return lambda checkout, *words, **more: start(
        [sys.executable, "tools/run.py", *words], checkout, **more
    )


def ended(run: subprocess.Popen, code: int = 0) -> str:
    said = run.communicate(timeout=WAIT_S)[0]
    assert run.returncode == code, said[-4000:]
    return said


def until(true: Callable[[], object], run: subprocess.Popen | None = None) -> None:
    end = time.monotonic() + WAIT_S
    while not true() and (run is None or run.poll() is None):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def shown(page: Path) -> list:
    """What the cells of a page show, but for the table of provenance, which holds times."""
    return [output for cell in pages.read(page).cells[:-1] for output in cell.get("outputs", [])]


@pytest.mark.slow
def test_a_book_killed_at_random_moments_is_built_as_one_that_was_not(
    running: Callable, checkout: Path, folder: Path, tmp_path: Path
) -> None:
    """Snakemake, papermill and Sphinx are killed at once, twice while pages are made and twice while Sphinx writes."""
    whole, rng = tmp_path / "whole", np.random.default_rng(SEED)
    begun = time.monotonic()
    run = running(checkout, "tiny", ARTIFACTS_DIR=str(whole))
    until((whole / "tiny/building").exists, run)
    made = time.monotonic() - begun
    ended(run)
    built = time.monotonic() - begun - made
    for part, moment in zip(
        ("pages", "pages", "book", "book"), rng.uniform(0, 0.9, 4), strict=True
    ):
        run = running(checkout, "tiny")
        if part == "book":
            until((folder / "tiny/building").exists, run)
        time.sleep(moment * (built if part == "book" else made) / 2)
        assert run.poll() is None, "it ended before it was killed"
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate(timeout=WAIT_S)
        whole_or_absent(folder)
        for page in folder.glob("tiny/pages/*.ipynb"):
            pages.read(page)
        assert not (folder / "tiny/book.done").exists()
        kept = {path: path.stat().st_mtime_ns for path in folder.glob("tiny/pages/*.ipynb")}
    ended(running(checkout, "tiny"))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept and len(kept) == 2
    assert (folder / "tiny/results.json").read_bytes() == (whole / "tiny/results.json").read_bytes()
    assert contents(folder) == contents(whole)
    for name in TOY:
        assert shown(folder / f"tiny/pages/{name}.ipynb") == shown(
            whole / f"tiny/pages/{name}.ipynb"
        )
    html = {path.name: path.read_bytes() for path in folder.glob("tiny/book/_build/html/**/*.html")}
    shutil.rmtree(folder / "tiny/book/_build")
    ended(running(checkout, "tiny"))
    assert html == {
        path.name: path.read_bytes() for path in folder.glob("tiny/book/_build/html/**/*.html")
    }


def publishing(
    run: Path, book: Path, at: int = 0, then: Callable[[], object] | None = None
) -> None:
    """In a child: publishes, and does something else before the file or folder number `at` is renamed."""
    prepare(book.parent / "artifacts")
    pages.chapters, status.small = (
        (lambda: [test_tools.NAME]),
        (lambda name: (test_tools.page(0.5), True)),
    )
    rename, count = Path.rename, []

    def renamed(path: Path, target: Path) -> Path:
        count.append(path)
        if len(count) == at:
            then()
        return rename(path, target)

    Path.rename = renamed
    publish.publish(run, {test_tools.NAME: test_tools.VALUES}, book)


def published(*asked: object):
    """A process that publishes."""
    child = PROCESSES.Process(target=publishing, args=asked)
    child.start()
    return child


DIES = functools.partial(signal.raise_signal, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("at", range(1, 6))
def test_a_publication_that_was_killed_is_ended_by_the_next(at: int, complete: Path) -> None:
    assert joined(published(complete / "run", complete / "book", at, DIES)) == -signal.SIGKILL
    publish.publish(complete / "run", {test_tools.NAME: test_tools.VALUES}, complete / "book")
    expected = [f"chapters/{test_tools.NAME}.ipynb", "results.json", "small_run.json", "status.md"]
    assert test_tools.files(complete / "book") == expected and not list(
        (complete / "book").glob(".*")
    )


@pytest.mark.slow
@pytest.mark.parametrize("at", range(1, 8))
def test_a_publication_that_was_killed_and_the_next_one_refused_leave_the_old_book(
    at: int, complete: Path
) -> None:
    """And of a book with more files than the new one has, one of them under the same name."""
    book = complete / "book"
    for name in ("results.json", "_static/gone/old.json"):
        (book / name).parent.mkdir(parents=True, exist_ok=True)
        (book / name).write_text("yesterday")
    before = test_tools.files(book)
    assert joined(published(complete / "run", book, at, DIES)) == -signal.SIGKILL
    (complete / f"run/pages/{test_tools.NAME}.ipynb").unlink()
    with pytest.raises(BadInput, match="missing; run `make report` to its end first"):
        publish.publish(complete / "run", {test_tools.NAME: test_tools.VALUES}, book)
    assert test_tools.files(book) == before and {(book / name).read_text() for name in before} == {
        "yesterday"
    }
    assert not list(book.glob(".*"))


# Damaged


def flipped(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    bit = int(rng.integers(8 * len(content)))
    content[bit // 8] ^= 1 << bit % 8
    about = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # as a disk does it: in silence


def cut(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(path.read_bytes()[: int(rng.integers(path.stat().st_size))])


def gone(path: Path, rng: np.random.Generator) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("kind", "most"), [("render", 4), ("train", 4), ("ablation", 1), ("umap", 1)]
)
def test_a_damaged_stage_is_named_and_computed_again(
    kind: str, most: int, folder: Path, sounds: Path
) -> None:
    """Files of a stage in turn, cards and Parquet tables included: a bit flips, the end is missing, all is missing."""
    KINDS[kind](sounds)
    expected, rng = contents(folder), np.random.default_rng(SEED)
    stage = {"ablation": "evaluate"}.get(kind, kind)
    names = sorted(
        (name for name in expected if name.startswith(stage)),
        key=lambda name: name.endswith("card.json"),
    )
    damages = (cut, gone, flipped, flipped) if most > 1 else (flipped,)
    for name, damage in zip(names[:most], damages, strict=False):
        damage(folder / name, rng)
        (problem,) = artifacts.verify_all()
        assert re.search(f"{re.escape(name)}: (damaged|missing|written)", problem)
        KINDS[kind](sounds)
        assert contents(folder) == expected, name
    assert {Path(name).name for name in names[:most]} >= {
        "render": {"spectrograms.npy", "table.parquet", "card.json"},
        "train": {"model.pt", "card.json"},
        "ablation": {"metrics.parquet"},
        "umap": set(),
    }[kind]  # of umap one table or the other


@pytest.mark.parametrize("name", ["last.ckpt", "model.pt"])
@pytest.mark.parametrize("damage", [flipped, cut])
def test_a_damaged_checkpoint_is_named_and_training_starts_again(
    name: str, damage: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch.load looks at no checksum: most flipped bits are other weights, without a word."""
    expected, rng = (
        (trained(epochs=2).folder / "model.pt").read_bytes(),
        np.random.default_rng(SEED),
    )
    for number in range(3):
        monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / f"cut{number}"))
        artifacts.root().mkdir()
        with (
            monkeypatch.context() as patch,
            pytest.raises(RuntimeError, match="stopped for the test"),
        ):
            patch.setattr(training.shutil, "copy2", stopped)
            trained(epochs=2)
        (path,) = artifacts.root().glob(f"train/.partial-*/{name}")
        damage(path, rng)
        with pytest.warns(
            UserWarning, match=f"{name}: damaged, its checksum is another; training starts again"
        ):
            found = trained(epochs=2)
        assert (found.folder / "model.pt").read_bytes() == expected
        assert (artifacts.root() / "steps").read_text().split() == ["20", "20"]


def test_every_flipped_bit_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    """And of the bits that torch.load takes without a word, most are other numbers."""
    path, rng, silent = tmp_path / "last.ckpt", np.random.default_rng(SEED), 0
    state = {"weights": torch.randn(4000, generator=torch.Generator().manual_seed(0)), "steps": 3}
    torch.save(state, path)
    whole = path.read_bytes()
    assert not damaged(path) and not damaged(tmp_path / "absent")
    for _ in range(200):
        flipped(path, rng)
        same = False
        try:
            found = torch.load(path, weights_only=True)
            same = torch.equal(found["weights"], state["weights"]) and found["steps"] == 3
            silent += not same
        except Exception:  # of many kinds
            pass
        assert (
            damaged(path) or same
        )  # a zip has bits that say nothing of its content: a file's date
        path.write_bytes(whole)
    assert silent > 100


def stopped(*_, **__) -> None:
    raise RuntimeError("stopped for the test")


def test_a_damaged_page_is_refused_by_name(complete: Path) -> None:
    import hashlib

    page = complete / f"run/pages/{test_tools.NAME}.ipynb"
    page.with_name(f"{page.name}.sha256").write_text(
        f"{hashlib.sha256(page.read_bytes()).hexdigest()}\n"
    )
    assert results.collect([page]) == {"toy.mse": 0.25}
    page.write_text(page.read_text().replace("0.25", "0.35"))
    with pytest.raises(
        SystemExit, match=f"{page}: damaged, its checksum is another; delete it and run again"
    ):
        results.collect([page])
    with pytest.raises(BadInput, match=f"{page}: damaged"):
        publish.publish(complete / "run", {test_tools.NAME: test_tools.VALUES}, complete / "book")
    assert (complete / "book/chapters/old.ipynb").exists()


@pytest.mark.slow
def test_damaged_numbers_of_a_run_are_made_again_and_a_damaged_page_stops_it(
    running: Callable, checkout: Path, folder: Path
) -> None:
    """Though nothing has changed, as far as their times tell."""
    ended(running(checkout, "one", "results"))
    numbers, (page,) = folder / "one/results.json", folder.glob("one/pages/*.ipynb")
    expected, rng = numbers.read_bytes(), np.random.default_rng(SEED)
    for damage in (flipped, cut):
        damage(numbers, rng)
        said = ended(running(checkout, "one", "results"))
        assert f"{numbers}: not the numbers of its pages; made again\n" in said
        assert numbers.read_bytes() == expected, damage
    flipped(page, rng)
    assert f"{page}: damaged, its checksum is another; delete it and run again" in ended(
        running(checkout, "one"), 1
    )
    page.unlink()
    ended(running(checkout, "one", "results"))
    assert numbers.read_bytes() == expected


# No room, no right to write


HERE = f"""
import sys
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT / "tools")!r}]
import os
import subprocess
from pathlib import Path
import test_faults
from lib import BadInput
from lib.runtime import stages as artifacts
from lib.runtime.files import write_json
root, sounds = artifacts.root(), Path(sys.argv[1])
def refused(kind):
    try:
        test_faults.KINDS[kind](sounds)
    except BadInput as error:
        return print("refused:", error)
    raise SystemExit(f"{{kind}}: not refused")
"""


def python(code: str, *words: str, before: tuple[str, ...] = ()) -> str:
    """What a program of its own prints, started by the words before it."""
    done = subprocess.run(
        [*before, sys.executable, "-u", "-c", HERE + code, *words],
        env=environment(ROOT),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def mounts() -> bool:
    """Whether this process may mount, out of sight of others."""
    return (
        shutil.which("unshare") is not None
        and subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/tmp"],
            capture_output=True,
            timeout=WAIT_S,
        ).returncode
        == 0
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "room", "stage"),
    [
        ("render", "100k", "render"),
        ("train", "24k", "train"),
        ("ablation", "24k", "train"),
        ("umap", "4k", "umap"),
    ],
)
def test_a_full_disk_is_told_and_more_room_is_all_that_is_needed(
    kind: str, room: str, stage: str, folder: Path, sounds: Path
) -> None:
    """A disk with room for half of the stage, or less."""
    if not mounts():
        pytest.skip(
            "no right to mount here: limits of a file's size stand for a full disk in other tests"
        )
    said = python(
        """
kind, room = sys.argv[2:]
def disk(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", root], check=True)
disk(f"size={room}")
refused(kind)
print("left:", *sorted({stage.parent.name for stage in test_faults.stages(root)}))
test_faults.whole_or_absent(root)
disk("remount,size=8m")
test_faults.KINDS[kind](sounds)
test_faults.whole_or_absent(root)
print("ended:", *sorted({stage.parent.name for stage in test_faults.stages(root)}))
""",
        str(sounds),
        kind,
        room,
        before=("unshare", "-m"),
    )
    why = f"refused: {folder}: .*No space left on device.* while stage '{stage}' was written; free some space"
    refusal, left, end = said.splitlines()[-3:]
    assert re.match(why, refusal) and stage not in left and stage in end


@pytest.mark.slow
def test_a_run_on_a_full_disk_says_so_and_ends_with_more_room(folder: Path, checkout: Path) -> None:
    """A disk without room for a page: whoever meets it, papermill or a cell, memory is not what was short."""
    if not mounts():
        pytest.skip("no right to mount here")
    said = python(
        """
checkout, full = sys.argv[1], root / "full"
def run():
    return subprocess.run([sys.executable, "tools/run.py", "one", "results"], cwd=checkout,
                          env=test_faults.environment(checkout)).returncode
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", root], check=True)
try:
    with open(full, "wb", 0) as file:
        while file.write(bytes(4096)):
            pass
except OSError as error:
    print("it is full:", error)
print("status", run(), "pages", len(list(root.glob("*/pages/*.ipynb"))))
full.unlink()
print("status", run(), "pages", len(list(root.glob("*/pages/*.ipynb"))))
""",
        str(checkout),
        before=("unshare", "-m"),
    )
    cut, ended = said.split("status 1 pages 0\n")
    assert (
        "01_dataset_preparation did not end; its page so far: " in cut
        and "\nIf its kernel died" not in cut
    )
    assert (
        "\nNothing more can be written there: free some space, or set the variable ARTIFACTS_DIR to another"
        in cut
    )
    assert ended.endswith("status 0 pages 1\n")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["permissions", "mount"])
def test_where_nothing_can_be_written_stages_are_found_and_new_ones_refused(
    way: str, folder: Path, sounds: Path, checkout: Path
) -> None:
    rendered(sounds)
    if way == "mount":
        if not mounts():
            pytest.skip("no right to mount here")
        before = (
            "unshare",
            "-m",
            "sh",
            "-c",
            f'mount -o bind,ro {folder} {folder} && exec "$@"',
            "sh",
        )
    else:
        root = os.getuid() == 0  # whom permissions do not stop
        before = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if root else ()
        if root and shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere here")
        for path in (folder, *folder.glob("*")):
            path.chmod(0o555)
    try:
        said = python(
            f"""
print(len(test_faults.rendered(sounds).table))
refused("umap")
subprocess.run([sys.executable, "tools/run.py", "tiny"], cwd={str(checkout)!r},
               env=test_faults.environment({str(checkout)!r}))
""",
            str(sounds),
            before=before,
        )
    finally:
        for path in (folder, *folder.glob("*")):
            path.chmod(0o755)
    assert said.startswith("192\n")
    why = "Read-only file system" if way == "mount" else "Permission denied"
    assert re.search(
        f"refused: {folder}: .* while stage 'umap' was written; set the variable ARTIFACTS_DIR",
        said,
    )
    assert re.search(
        f"{why}.*: set the variable ARTIFACTS_DIR to a folder that can be written\n", said
    ), said


# The clock


def test_times_in_the_future_and_in_the_past_change_nothing(folder: Path, sounds: Path) -> None:
    """A clock that jumps: stages of tomorrow, and a damaged file older than all."""
    done, future = rendered(sounds), time.time() + 86_400
    for path in (done.folder, *done.folder.iterdir()):
        os.utime(path, (future, future))
    before, expected = times(folder), contents(folder)
    rendered(sounds)
    assert times(folder) == before
    flipped(done.folder / "table.parquet", np.random.default_rng(SEED))
    os.utime(done.folder / "table.parquet", (0, 0))
    with pytest.warns(UserWarning, match="table.parquet: damaged.* is computed again"):
        rendered(sounds)
    assert contents(folder) == expected


AHEAD = """
import os
import time
now, ahead = time.time_ns, int(os.environ.get("AHEAD_S", 0))
time.time_ns = lambda: now() + ahead * 10**9  # Sphinx notes it
"""


@pytest.mark.slow
def test_after_a_clock_that_was_a_day_ahead_an_edited_story_is_made_again(
    running: Callable, checkout: Path, folder: Path
) -> None:
    """Once its page, and then its source too, carries a time of tomorrow."""
    day, name = 86_400, "02_audio_effects"
    out, sources = (
        folder / "tiny",
        [checkout / f"notebooks/{name}{suffix}" for suffix in (".py", ".ipynb")],
    )
    (checkout / "sitecustomize.py").write_text(AHEAD)
    ended(running(checkout, "tiny", AHEAD_S=str(day)))
    first = out / f"pages/{list(TOY)[0]}.ipynb"
    before, whole = first.read_bytes(), times(folder)
    for number, late in enumerate((out.rglob("*"), sources), 1):
        tomorrow = time.time() + day
        for path in sources:
            path.write_text(path.read_text().replace("parameters.seed", "1 + parameters.seed"))
        for path in late:
            os.utime(path, (tomorrow, tomorrow))
        said = ended(running(checkout, "tiny"))
        assert "had a time in the future, now that of today: " in said
        assert json.loads((out / "results.json").read_text())["toy.seed"] == number
        html = re.sub("<.*?>", "", (out / "book/_build/html/status.html").read_text())
        assert re.search(rf"toy\.seed\s+{number}\b", html), "the old book"
        assert (first.read_bytes(), times(folder)) == (before, whole), "more was made again"
    assert "Nothing to be done" in ended(running(checkout, "tiny"))


@pytest.mark.slow
def test_after_an_edit_of_the_bibliography_no_page_keeps_an_old_label(
    running: Callable, checkout: Path, folder: Path
) -> None:
    """One page cites, another lists: Sphinx sees that the second has changed, and the first page of all with it."""
    book, page = checkout / "book", folder / "tiny/book/_build/html/citing.html"
    (book / "citing.md").write_text("# Citing\n\nOf {cite}`one`.\n")
    (book / "list.md").write_text("# List\n\n```{bibliography}\n```\n")
    toc = yaml.safe_load((checkout / "_toc.yml").read_text())
    toc["parts"][0]["chapters"] += [{"file": "citing"}, {"file": "list"}]
    (checkout / "_toc.yml").write_text(yaml.safe_dump(toc))
    with open(checkout / "_config.yml", "a") as file:
        file.write("bibtex_bibfiles: [references.bib]\n")
    for name, label in (("Abel", "[Abe20]"), ("Cain", "[Cai20]")):
        (book / "references.bib").write_text(
            f"@book{{one, author = {{{name}, A.}}, title = {{T}}, year = {{2020}}}}\n"
        )
        ended(running(checkout, "tiny"))
        assert label in re.sub("<.*?>", "", page.read_text())


# Two at once


@pytest.mark.slow
def test_of_two_runs_in_one_checkout_and_two_machines_on_one_folder_one_computes(
    running: Callable, checkout: Path, folder: Path, tmp_path: Path
) -> None:
    """The second run of a checkout is refused, and so is that of another checkout with the same artifacts."""
    other = tmp_path / "other"
    shutil.copytree(checkout, other)
    wait = tmp_path / "wait"
    first = running(checkout, "one", "results", WAIT=str(wait))
    until(wait.exists, first)
    for place in (checkout, other):
        assert f"another run is under way in {folder}" in ended(running(place, "one", "results"), 2)
    os.kill(
        int(wait.read_text()), signal.SIGKILL
    )  # as the system does to a kernel that takes too much memory
    said = ended(first, 1)
    assert "01_dataset_preparation did not end; its page so far: " in said
    assert (
        "memory was short: lower batch_size or a number of clips in runs/one.yml, or set JOBS=1"
        in said
    )
    assert "\nNothing more can be written" not in said
    assert not (folder / "one/results.json").exists() and not list(folder.glob("one/pages/*.ipynb"))
    (folder / "steps").unlink()
    ended(running(other, "one", "results"))
    assert (folder / "steps").read_text() == f"{(CONFIG.epochs - 2) * STEPS}\n"


@pytest.mark.slow
def test_two_that_want_one_stage_compute_it_once(
    folder: Path, sounds: Path, tmp_path: Path
) -> None:
    """As two machines with one artifact folder: the second process comes while the first one trains."""
    wait = tmp_path / "wait"
    first = process("train", folder, sounds, str(wait))
    until(wait.exists)
    second = process("train", folder, sounds)
    until(lambda: waits(folder))
    assert first.is_alive() and second.is_alive() and not stages(folder)
    wait.unlink()
    assert [joined(child) for child in (first, second)] == [0, 0]
    assert (folder / "steps").read_text() == f"{CONFIG.epochs * STEPS}\n" and len(
        stages(folder)
    ) == 1
    whole_or_absent(folder)


@pytest.mark.parametrize("at", [2, 4])
def test_two_publications_at_once_leave_one_of_them_whole(
    at: int, complete: Path, folder: Path
) -> None:
    """The second one comes while the first has its files half in place."""
    other, book, wait = complete / "other", complete / "book", complete / "wait"
    shutil.copytree(complete / "run", other)
    page = other / f"pages/{test_tools.NAME}.ipynb"
    page.write_text(page.read_text().replace("0.25", "0.5"))
    first = published(complete / "run", book, at, functools.partial(pause, wait))
    until(wait.exists)
    before, second = test_tools.files(book), published(other, book)
    until(lambda: waits(folder))
    assert first.is_alive() and second.is_alive() and test_tools.files(book) == before
    wait.unlink()
    assert [joined(child) for child in (first, second)] == [0, 0]
    found = pages.records(pages.read(book / f"chapters/{test_tools.NAME}.ipynb"))
    assert json.loads((book / "results.json").read_text()) == found == {"toy.mse": 0.5}
    assert not list(book.glob(".*"))


# Interrupted


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> bytes:
    """The weights of a training that was not interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARTIFACTS_DIR", str(tmp_path_factory.mktemp("whole")))
        return (trained().folder / "model.pt").read_bytes()


def resumed(folder: Path, expected: bytes) -> None:
    """After an interrupt in the third epoch: two epochs are kept, and the next run ends with the same weights."""
    whole_or_absent(folder)
    assert not stages(folder) and len(list(folder.glob("train/.partial-*/last.ckpt"))) == 1
    assert (trained().folder / "model.pt").read_bytes() == expected
    assert (folder / "steps").read_text().split() == [
        f"{CONFIG.epochs * STEPS}",
        f"{(CONFIG.epochs - 2) * STEPS}",
    ]


STOPPED = "stopped in stage 'train'; run again: finished stages and epochs are kept"


@pytest.mark.slow
def test_an_interrupt_in_jupyter_says_how_to_go_on(
    folder: Path, expected: bytes, tmp_path: Path
) -> None:
    from jupyter_client.manager import start_new_kernel

    wait = tmp_path / "wait"
    manager, client = start_new_kernel(
        300, env=environment(ROOT, WAIT=str(wait)), kernel_name="python3"
    )
    try:
        client.execute(
            f"{IMPORT}test_faults.trained()", stop_on_error=False
        )  # what comes next is not aborted
        until(wait.exists)
        manager.interrupt_kernel()
        answer = client.get_shell_msg(timeout=300)["content"]
        while answer.get("status") == "ok":  # that of the start
            answer = client.get_shell_msg(timeout=300)["content"]
        assert (answer["ename"], answer["evalue"]) == ("KeyboardInterrupt", STOPPED)
        assert client.execute("2 + 2", reply=True, timeout=300)["content"]["status"] == "ok", (
            "the kernel lives"
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    resumed(folder, expected)


@pytest.mark.slow
def test_an_interrupt_of_papermill_says_how_to_go_on(
    start: Callable, checkout: Path, folder: Path, expected: bytes, tmp_path: Path
) -> None:
    wait = tmp_path / "wait"
    command = ["papermill", f"notebooks/{list(TOY)[0]}.ipynb", "out.ipynb", "-k", "python3"]
    run = start(command, checkout, WAIT=str(wait))
    until(wait.exists, run)
    os.killpg(run.pid, signal.SIGINT)
    assert STOPPED in ended(run, 1)
    until(lambda: not going(tmp_path))
    resumed(folder, expected)


@pytest.mark.slow
def test_an_interrupt_of_a_run_says_how_to_go_on(
    running: Callable, checkout: Path, folder: Path, expected: bytes, tmp_path: Path
) -> None:
    """Ctrl-C in `make book`: Snakemake, papermill and the kernel end."""
    wait = tmp_path / "wait"
    run = running(checkout, "one", "results", WAIT=str(wait))
    until(wait.exists, run)
    os.killpg(run.pid, signal.SIGINT)
    said = ended(run, 130)
    assert STOPPED in said
    assert (
        "stopped: run the same again; it goes on after the last finished page, stage and epoch\n"
        in said
    )
    until(lambda: not going(tmp_path))
    assert not list(folder.glob("one/pages/*.ipynb"))
    resumed(folder, expected)


# Short of memory


@pytest.mark.slow
def test_too_little_memory_names_what_to_lower_and_less_of_it_fits(
    folder: Path, sounds: Path
) -> None:
    """Beside what the libraries take, 400 MB: a batch of 4,096 pictures does not fit, one of 32 does."""
    said = python(
        """
import resource
import numpy as np
import torch
from lib import vae
from lib.data.batches import ArrayDataset, Splits
data = ArrayDataset(np.zeros((4096, 64, 64), np.uint8) + np.arange(64, dtype=np.uint8), 1 / 255)
def fit(batch_size):
    config = vae.TrainingConfig(batch_size=batch_size, latent=2, loss="calibrated", beta=0)
    return vae.train(config, Splits(data, ArrayDataset(data.array[:64], 1 / 255), None, {"data": "ramps"}))
test_faults.trained(epochs=1)  # what loads late has loaded
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 400_000_000,) * 2)
test_faults.KINDS["fit"] = lambda _: fit(4096)
refused("fit")
print("epochs with 32:", len(fit(32).log()))
""",
        str(sounds),
    )
    assert (
        "Out of memory while stage 'train' was written; lower batch_size or a number of clips (train_clips"
        in said
    )
    assert "\nepochs with 32: 1\n" in said


# The page


def test_every_fault_has_a_row_on_the_page_and_every_row_a_test() -> None:
    page = (ROOT / "book" / "faults.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`test_" in line]
    named = {
        (file, name) for line in rows for file, name in re.findall(r"`(test_\w+)::(\w+)`", line)
    }
    there = {
        (path.stem, name)
        for path in (ROOT / "tests").glob("test_*.py")
        for name in re.findall(r"^def test_(\w+)\(", path.read_text(encoding="utf-8"), re.M)
    }
    assert named <= there, f"no such test: {sorted(named - there)}"
    own = {(file, name) for file, name in there if file == "test_faults"} - {("test_faults", OWN)}
    assert own <= named, f"no row on the page: {sorted(own - named)}"
    assert all(re.search(r"`test_\w+::\w+`", line) for line in rows) and len(rows) > 15


OWN = "every_fault_has_a_row_on_the_page_and_every_row_a_test"
