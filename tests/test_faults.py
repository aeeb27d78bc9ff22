"""Faults, each injected: kills, damage, full disks, wrong clocks, two at once, interrupts.

Each has a row on the page book/faults.md, and each row its test; tests of other parts hold more.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import psutil
import pytest
import soundfile
import sync
import yaml

from lib import ROOT
from lib.audio.spectrograms import SpectrogramConfig
from lib.data.batches import ArrayDataset, Splits
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig, render
from lib.runtime import stages
from lib.vae import training
from lib.vae.config import TrainingConfig

SEED = 20  # of the moment of a kill, and of the bits that flip
RATE_HZ = 8000
CONFIG = TrainingConfig(epochs=5, batch_size=32, latent=3, loss="calibrated", learning_rate=5e-3)
STEPS = 10  # per epoch
WAIT_S = 250  # at most, for whatever should come


# What is computed here: the same in this process, in one that is killed, and in a notebook


def blobs(count: int, seed: int) -> np.ndarray:
    """Images (count, 9, 10) uint8 of one soft spot each."""
    rng, (bins, frames) = np.random.default_rng(seed), np.mgrid[:9, :10]
    row, column = rng.uniform(1, 8, (2, count, 1, 1))
    return (255 * np.exp(-((bins - row) ** 2 + (frames - column) ** 2) / 6)).astype(np.uint8)


def observed(steps, total=None, label=""):
    """Stand in for lib's progress: note the number of steps; wait in the third epoch if WAIT is
    set.
    """
    steps = list(steps)
    with open(stages.root() / "steps", "a") as file:
        file.write(f"{len(steps)}\n")
    for count, step in enumerate(steps):
        if count == 2 * STEPS + 5 and os.environ.get("WAIT"):
            wait, end = Path(os.environ["WAIT"]), time.monotonic() + WAIT_S
            wait.write_text(str(os.getpid()))
            while wait.exists() and time.monotonic() < end:
                time.sleep(0.02)
        yield step


def trained(_: str = "") -> training.Run:
    training.progress = observed
    sets = [ArrayDataset(blobs(n, seed), 1 / 255) for n, seed in ((32 * STEPS, 0), (100, 1))]
    return training.train(CONFIG, Splits(*sets, None, {"data": "blobs"}))


def rendered(sounds: str):
    clips = ClipConfig(
        corpus=f"folder:{sounds}", split="train", clip_s=0.5, sample_rate_hz=RATE_HZ, seed=0
    )
    layout = SpectrogramConfig(sample_rate_hz=RATE_HZ, n_fft=512, hop_length=256, n_mels=16)
    effects = ("clean", "delay", "flanger")
    return render(
        RenderConfig(clips=clips, spectrogram=layout, effects=effects, clips_per_effect=64)
    )


KINDS: dict[str, Callable] = {"render": rendered, "train": trained}
HERE = f"""
import os, subprocess, sys
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT / "tools")!r}]
import test_faults
from lib import BadInput
from lib.runtime import stages
"""


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> str:
    """Four persons with a buzz of three seconds each."""
    folder, t = tmp_path_factory.mktemp("sounds"), np.arange(3 * RATE_HZ) / RATE_HZ
    for group in range(4):
        buzz = sum(np.sin(2 * np.pi * (100 + 20 * group) * k * t) / k for k in range(1, 9))
        (folder / f"person{group}").mkdir()
        wave = 0.1 * buzz * (1.2 + np.sin(2 * np.pi * 3 * t))
        soundfile.write(folder / f"person{group}/a.wav", wave, RATE_HZ)
    return str(folder)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The artifact folder of a test."""
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    (tmp_path / "artifacts").mkdir()
    return tmp_path / "artifacts"


def finished(root: Path) -> list[Path]:
    """Folders under the final name of a stage, each whole."""
    folders = [path for path in root.glob("*/*/") if re.fullmatch("[0-9a-f]{16}", path.name)]
    for each in folders:
        stages.verify(each)
    return sorted(folders)


# Processes


def environment(place: Path, **more: str) -> dict[str, str]:
    outer = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PYTHONPATH": str(place), "PATH": path, "JOBS": "1", "PYTHONWARNINGS": "ignore"}
    return outer | own | more


def below(place: Path) -> list[psutil.Process]:
    """Processes whose artifacts lie below a folder: a kernel has a session of its own."""
    processes = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if each.environ().get("ARTIFACTS_DIR", "").startswith(f"{place}/"):
                processes.append(each)
    return [each for each in processes if each.pid != os.getpid()]


def hear_interrupts() -> None:
    """In a child: Ctrl-C ends it, even where whoever started the tests ignores it (nohup)."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts a command in a session of its own, as a terminal does; what is left is killed."""
    runs = []

    def begin(*command: str, place: Path = ROOT, **more: str) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        session = {"start_new_session": True, "preexec_fn": hear_interrupts}
        env = environment(place, **more)
        runs.append(subprocess.Popen(command, cwd=place, env=env, **pipes, **session))
        return runs[-1]

    yield begin
    for each in below(folder.parent):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    for run in runs:
        run.communicate(timeout=WAIT_S)


def ended(run: subprocess.Popen, code: int = 0) -> str:
    """What a process printed; it must end with this status."""
    text = run.communicate(timeout=WAIT_S)[0]
    assert run.returncode == code, text[-4000:]
    return text


def until(true: Callable[[], object], run: subprocess.Popen | None = None) -> None:
    end = time.monotonic() + WAIT_S
    while not true() and (run is None or run.poll() is None):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


SHARED = {"clip_s": 2.03, "seed": 0}
TOY = {
    "01_dataset_preparation": {"corpora": ["speech", "music"], "split_seed": 0, **SHARED},
    "02_audio_effects": {"corpus": "speech", "settings": "fixed", **SHARED},
}
WORK = {  # of the stories, after their parameters
    "01_dataset_preparation": f"{HERE}log = test_faults.trained().log()\n"
    "page.record('toy.mse', float(log['val_mse'].iloc[-1]))",
    "02_audio_effects": "page.record('toy.seed', parameters.seed)",
}


def story(name: str) -> str:
    """A story as py:percent: parameters, the work, provenance."""
    values = "\n".join(f"{key} = {value!r}" for key, value in TOY[name].items())
    return (
        f'# %% [markdown]\n# # {name}\n\n# %% tags=["parameters"]\n{values}\n\n# %%\n'
        f"from lib.book import page\n\nparameters = page.begin({name!r}, globals())\n\n"
        f"# %%\n{WORK[name]}\n\n# %%\npage.provenance(parameters)\n"
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of two stories and a book of three pages."""
    place = tmp_path / "checkout"
    for name in ("lib", "tools"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", place)
    chapters = [{"file": f"chapters/{name}"} for name in TOY]
    toc = {"format": "jb-book", "root": "intro", "parts": [{"caption": "x", "chapters": chapters}]}
    first = dict(list(TOY.items())[:1])
    files = {
        "requirements.txt": "",
        "data/manifest.csv": "",
        "book/intro.md": "# Toy\n\nA book.\n",
        "_config.yml": 'title: Toy\nexecute: {execute_notebooks: "off"}\n',
        "_toc.yml": yaml.safe_dump(toc),
        "runs/tiny.yml": yaml.safe_dump({"stories": TOY}),
        "runs/one.yml": yaml.safe_dump({"stories": first}),
    }
    for name in TOY:
        notebook = jupytext.reads(story(name), fmt="py:percent")
        notebook.metadata = {"kernelspec": sync.KERNEL}
        files[f"notebooks/{name}.py"] = story(name)
        files[f"notebooks/{name}.ipynb"] = nbformat.writes(notebook)
    for name, text in files.items():
        (place / name).parent.mkdir(exist_ok=True, parents=True)
        (place / name).write_text(text)
    return place


@pytest.fixture
def running(start: Callable[..., subprocess.Popen], checkout: Path) -> Callable:
    """Starts tools/run.py of the checkout."""
    command = (sys.executable, "tools/run.py")
    return lambda *words, place=checkout, **more: start(*command, *words, place=place, **more)


# Killed


@pytest.mark.slow
def test_a_training_killed_at_a_random_moment_ends_as_one_that_was_not(
    folder: Path, tmp_path: Path, start: Callable
) -> None:
    """kill -9; the next run trains what was cut, and nothing else."""
    code = f"{HERE}print('begun', flush=True); test_faults.trained()"
    begun = time.monotonic()
    whole = trained()
    seconds, root = time.monotonic() - begun, tmp_path / "killed"
    root.mkdir()
    run = start(sys.executable, "-c", code, ARTIFACTS_DIR=str(root))
    assert run.stdout.readline() == "begun\n"
    time.sleep(np.random.default_rng(SEED).uniform(0, 0.8) * seconds)
    run.kill()
    run.communicate(timeout=WAIT_S)
    ended(start(sys.executable, "-c", code, ARTIFACTS_DIR=str(root)))
    (again,) = finished(root)
    for name in ("model.pt", "log.csv"):
        assert (again / name).read_bytes() == (whole.folder / name).read_bytes()
    assert not list(root.glob("*/.*/")), "what the killed run had begun is still there"


@pytest.mark.slow
def test_a_book_killed_while_it_is_built_is_built_as_one_that_was_not(
    running: Callable, folder: Path
) -> None:
    """Snakemake and Sphinx are killed at once; pages that were finished stay."""
    run = running("tiny")
    until((folder / "tiny/building").exists, run)
    time.sleep(1)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=WAIT_S)
    assert not (folder / "tiny/book.done").exists()
    whole = {path: path.stat().st_mtime_ns for path in folder.glob("tiny/pages/*.ipynb")}
    ended(running("tiny"))
    assert {path: path.stat().st_mtime_ns for path in whole} == whole and len(whole) == 2
    html = folder / "tiny/book/_build/html"
    pages = {path.name: path.read_bytes() for path in html.glob("**/*.html")}
    shutil.rmtree(folder / "tiny/book/_build")
    ended(running("tiny"))
    assert pages == {path.name: path.read_bytes() for path in html.glob("**/*.html")}


# Damaged


def flip(path: Path, rng: np.random.Generator) -> None:
    """Flip a bit and keep the time, as a disk does."""
    content, about = bytearray(path.read_bytes()), path.stat()
    bit = int(rng.integers(8 * len(content)))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.slow
def test_damaged_numbers_of_a_run_are_made_again_and_a_damaged_page_stops_it(
    running: Callable, folder: Path
) -> None:
    """Though nothing has changed, as far as their times tell."""
    ended(running("one", "results"))
    numbers, (page,) = folder / "one/results.json", folder.glob("one/pages/*.ipynb")
    expected, rng = numbers.read_bytes(), np.random.default_rng(SEED)
    flip(numbers, rng)
    text = ended(running("one", "results"))
    assert f"{numbers}: not the numbers of its pages; made again\n" in text
    assert numbers.read_bytes() == expected
    flip(page, rng)
    assert f"{page}: damaged, its checksum is another; delete it" in ended(running("one"), 1)


# No room, no right to write, a wrong clock


def mounts() -> bool:
    """Whether this process may mount, out of sight of others."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/tmp"]
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run(command, capture_output=True).returncode
    )


@pytest.mark.slow
def test_a_full_disk_is_told_and_more_room_is_all_that_is_needed(
    folder: Path, sounds: str, start: Callable
) -> None:
    """A disk with room for half of the stage, or less."""
    if not mounts():
        pytest.skip("no right to mount here")
    code = f"""{HERE}
def disk(options):
    command = ["mount", "-t", "tmpfs", "-o", options, "none", stages.root()]
    subprocess.run(command, check=True)
for kind, room in {{"render": "100k", "train": "24k"}}.items():
    disk("size=" + room)
    try:
        test_faults.KINDS[kind]({sounds!r})
    except BadInput as error:
        print("refused:", error)
    assert not list(stages.root().glob(kind + "/[0-9a-f]*/"))
    disk("remount,size=8m")
    test_faults.KINDS[kind]({sounds!r})
    assert test_faults.finished(stages.root())
"""
    text = ended(start("unshare", "-m", sys.executable, "-c", code))
    for kind in KINDS:
        told = f"No space left on device.* while stage '{kind}' was written; free some space"
        assert re.search(f"refused: {folder}: .*{told}", text), text


@pytest.mark.slow
def test_a_run_on_a_full_disk_says_so_and_ends_with_more_room(
    folder: Path, checkout: Path, start: Callable
) -> None:
    """A disk without room for a page: whoever meets it, memory is not what was short."""
    if not mounts():
        pytest.skip("no right to mount here")
    script = f"""
mount -t tmpfs -o size=8m none {folder}
dd if=/dev/zero of={folder}/full bs=4k 2>/dev/null
{sys.executable} tools/run.py one results; echo status $?
rm {folder}/full
{sys.executable} tools/run.py one results; echo status $?
"""
    cut, end = ended(start("unshare", "-m", "sh", "-c", script, place=checkout)).split("status 1\n")
    assert "01_dataset_preparation did not end; its page so far: " in cut
    assert "\nNothing more can be written there: free some space, or set the variable" in cut
    assert "\nIf its kernel died" not in cut and end.endswith("status 0\n")


@pytest.mark.slow
def test_where_nothing_can_be_written_stages_are_found_and_new_ones_refused(
    folder: Path, sounds: str, checkout: Path, start: Callable
) -> None:
    if not mounts():
        pytest.skip("no right to mount here")
    # in a child: a decoder of this process would be ended below, as one that was left
    ended(start(sys.executable, "-c", f"{HERE}test_faults.rendered({sounds!r})"))
    code = f"""{HERE}
print(len(test_faults.rendered({sounds!r}).table), flush=True)
try:
    test_faults.trained()
except BadInput as error:
    print("refused:", error, flush=True)
command, place = [sys.executable, "tools/run.py", "tiny"], {str(checkout)!r}
subprocess.run(command, cwd=place, env=test_faults.environment(place))
"""
    read_only = f'mount -o bind,ro {folder} {folder} && exec "$@"'
    command = ("unshare", "-m", "sh", "-c", read_only, "sh", sys.executable, "-c", code)
    text = ended(start(*command))
    assert text.startswith("192\n")
    remedy = "set the variable ARTIFACTS_DIR to a folder that can be written\n"
    assert re.search(f"refused: {folder}: .* while stage '\\w+' was written; {remedy}", text), text
    assert re.search(f"Read-only file system.*: {remedy}", text), text


AHEAD = """
import os, time
now, ahead = time.time_ns, int(os.environ.get("AHEAD_S", 0))
time.time_ns = lambda: now() + ahead * 10**9  # Sphinx notes it
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_a_clock_that_was_a_day_ahead_an_edited_story_is_made_again(
    running: Callable, checkout: Path, folder: Path
) -> None:
    """What was made carries a time of tomorrow, and so do the sources after the edit."""
    out, name = folder / "tiny", "02_audio_effects"
    sources = [checkout / f"notebooks/{name}{suffix}" for suffix in (".py", ".ipynb")]
    (checkout / "sitecustomize.py").write_text(AHEAD)
    ended(running("tiny", AHEAD_S="86400"))
    first = out / "pages/01_dataset_preparation.ipynb"
    before = first.read_bytes()
    for path in sources:
        path.write_text(path.read_text().replace("parameters.seed", "1 + parameters.seed"))
    for path in (*out.rglob("*"), *sources):
        os.utime(path, (time.time() + 86400, time.time() + 86400))
    assert "had a time in the future, now that of today: " in ended(running("tiny"))
    assert json.loads((out / "results.json").read_text())["toy.seed"] == 1
    html = re.sub("<.*?>", "", (out / "book/_build/html/status.html").read_text())
    assert re.search(r"toy\.seed\s+1\b", html), "the old book"
    assert first.read_bytes() == before, "more was made again"


# Two at once


@pytest.mark.slow
def test_of_two_runs_one_computes_and_a_killed_kernel_is_told(
    running: Callable, checkout: Path, folder: Path, tmp_path: Path
) -> None:
    """The second run of a checkout is refused, and one of another checkout on these artifacts."""
    other, wait = tmp_path / "other", tmp_path / "wait"
    shutil.copytree(checkout, other)
    first = running("one", "results", WAIT=str(wait))
    until(wait.exists, first)
    for place in (checkout, other):
        run = running("one", "results", place=place)
        assert f"another run is under way in {folder}" in ended(run, 2)
    os.kill(int(wait.read_text()), signal.SIGKILL)  # as the system does when memory is short
    text = ended(first, 1)
    assert "01_dataset_preparation did not end; its page so far: " in text
    assert "memory was short: lower batch_size or a number of clips in runs/one.yml" in text
    assert not (folder / "one/results.json").exists() and not list(folder.glob("one/pages/*.ipynb"))
    (folder / "steps").unlink()
    ended(running("one", "results", place=other))
    assert (folder / "steps").read_text() == f"{(CONFIG.epochs - 2) * STEPS}\n"


# Interrupted


STOPPED = "stopped in stage 'train'; run again: finished stages and epochs are kept"


@pytest.mark.slow
def test_an_interrupt_in_jupyter_says_how_to_go_on_and_the_kernel_lives(
    folder: Path, tmp_path: Path
) -> None:
    from jupyter_client.manager import start_new_kernel

    wait = tmp_path / "wait"
    manager, client = start_new_kernel(250, env=environment(ROOT, WAIT=str(wait)))
    try:
        client.execute(f"{HERE}test_faults.trained()", stop_on_error=False)
        until(wait.exists)
        manager.interrupt_kernel()
        answer = client.get_shell_msg(timeout=250)["content"]
        while answer.get("status") == "ok":  # the answer to the kernel's start
            answer = client.get_shell_msg(timeout=250)["content"]
        assert (answer["ename"], answer["evalue"]) == ("KeyboardInterrupt", STOPPED)
        assert client.execute("2 + 2", reply=True, timeout=250)["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert not finished(folder)
    trained()
    assert (folder / "steps").read_text().split() == ["50", "30"], "two epochs were kept"


@pytest.mark.slow
def test_an_interrupt_of_a_run_says_how_to_go_on(
    running: Callable, folder: Path, tmp_path: Path
) -> None:
    """Ctrl-C in `make book`: all processes end; the next run ends with the same weights."""
    wait = tmp_path / "wait"
    run = running("one", "results", WAIT=str(wait))
    until(wait.exists, run)
    os.killpg(run.pid, signal.SIGINT)
    text = ended(run, 130)
    assert STOPPED in text and "stopped: run the same again; it goes on after the last" in text
    until(lambda: not below(tmp_path))
    assert not list(folder.glob("one/pages/*.ipynb")) and not finished(folder)
    cut = (trained().folder / "model.pt").read_bytes()
    assert (folder / "steps").read_text().split() == ["50", "30"], "two epochs were kept"
    shutil.rmtree(folder / "train")
    assert (trained().folder / "model.pt").read_bytes() == cut


# The page


def test_every_fault_has_a_row_on_the_page_and_every_row_a_test() -> None:
    text = (ROOT / "book" / "faults.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)::(\w+)`", text))
    there = set()
    for path in (ROOT / "tests").glob("test_*.py"):
        functions = re.findall(r"^def test_(\w+)\(", path.read_text(encoding="utf-8"), re.M)
        there |= {(path.stem, name) for name in functions}
    assert named <= there, f"no such test: {sorted(named - there)}"
    own = {(file, name) for file, name in there if file == "test_faults" and "row" not in name}
    assert own <= named and len(named) > 15, f"no row on the page: {sorted(own - named)}"
