"""Nothing asks for a network unless a reader asks for a download or a service: imports, commands, the book.

A story is run so in tests/test_commands.py.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lib import ROOT
from lib.book.parameters import read_run
from lib.vae.config import TrainingConfig

BIN = Path(sys.executable).parent
MODULES = sorted(path.stem for path in (ROOT / "lib").glob("[a-z]*.py"))
LIBRARIES = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(f"lib.{name}")
import librosa, numpy as np, umap
x = np.random.default_rng(0).normal(size=(60, 5))
assert umap.UMAP(n_neighbors=5, n_epochs=20, random_state=0).fit_transform(x).shape == (60, 2)
assert librosa.feature.melspectrogram(y=x.ravel(), sr=8000, n_fft=256).shape[0] == 128
"""
ASKS = """
import socket, urllib.request
for ask in (lambda: socket.socket().connect(("192.0.2.1", 80)),
            lambda: urllib.request.urlopen("http://example.org", timeout=1),
            lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.2", 53))):
    try:
        ask()
    except OSError:
        pass  # as a library would that reports home
try:
    import wandb
except ImportError:
    pass
"""
STAYS = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
    client.sendall(b"x")
one, other = socket.socketpair()
one.sendall(b"x")
"""
# a network namespace of its own, but for the loopback, which kernels use: what is not Python finds no network either
ALONE = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
if not shutil.which("unshare") or subprocess.run([*ALONE, "true"], capture_output=True).returncode:
    ALONE = []  # not everybody may make one; Python is watched all the same


def run(offline: dict[str, str], *command: str | Path, cwd: Path) -> str:
    environment = os.environ | offline | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [*ALONE, *command],
        cwd=cwd,
        env=environment,
        text=True,
        timeout=600,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_who_asks_is_refused_and_named(offline: dict[str, str], tmp_path: Path) -> None:
    """MUST BE FOUND, in a child of a child too and where the error is caught; the loopback and unix sockets stay."""
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ASKS!r}], check=True)"
    run(offline, sys.executable, "-c", parent, cwd=tmp_path)
    log = Path(offline["OFFLINE_LOG"])
    found = [line.split(", asked by ")[0] for line in log.read_text().splitlines()]
    asked = [
        "socket.connect 192.0.2.1",
        "socket.getaddrinfo example.org",
        "socket.sendto 192.0.2.2",
        "import wandb",
    ]
    assert found == asked
    log.write_text("")
    run(offline, sys.executable, "-c", STAYS, cwd=tmp_path)


@pytest.mark.slow
def test_libraries_ask_for_no_network(offline: dict[str, str], tmp_path: Path) -> None:
    """Every module of lib is imported; UMAP and librosa compute."""
    assert len(MODULES) > 40
    run(offline, sys.executable, "-c", LIBRARIES, *MODULES, cwd=tmp_path)


def test_the_prediction_asks_for_no_network(offline: dict[str, str], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, 8)))
    assert "sigma2" in run(
        offline, sys.executable, "-m", "lib.predict", "x.npy", "--latents", "3", cwd=tmp_path
    )


TRAIN = """
import numpy as np
from lib import vae
from lib.data.batches import ArrayDataset, Splits

pictures = ArrayDataset(np.random.default_rng(0).integers(0, 256, (256, 28, 28), np.uint8), 1 / 255)
vae.train(vae.TrainingConfig(), Splits(pictures, pictures, None, {"pictures": "noise"}))
"""


@pytest.mark.slow
def test_a_training_asks_for_no_network_and_no_logger_but_csv(
    offline: dict[str, str], tmp_path: Path
) -> None:
    artifacts = tmp_path / "artifacts"
    run(offline | {"ARTIFACTS_DIR": str(artifacts)}, BIN / "python", "-c", TRAIN, cwd=tmp_path)
    written = [path.relative_to(artifacts).as_posix() for path in artifacts.rglob("*")]
    assert any(name.endswith("/log.csv") for name in written)
    assert [name for name in written if "events.out" in name or "wandb" in name] == []


def test_a_book_is_built_without_a_network(offline: dict[str, str], tmp_path: Path) -> None:
    """One page with the book's own settings; tests/test_commands.py builds all of it."""
    shutil.copytree(
        ROOT / "book",
        tmp_path / "book",
        ignore=lambda folder, names: [
            name
            for name in names
            if name in ("_build", "chapters", "explorer", "sound") or name.endswith(".md")
        ],
    )
    (tmp_path / "book/_toc.yml").write_text("format: jb-book\nroot: intro\n")
    head = "---\nmyst: {html_meta: {description: About one}}\n---\n"
    (tmp_path / "book/intro.md").write_text(head + "# One\n\n$x$, and [](https://example.org).\n")
    run(offline, BIN / "jupyter-book", "build", "book", cwd=tmp_path)
    html = (tmp_path / "book/_build/html/intro.html").read_text(encoding="utf-8")
    assert "About one" in html and "Content-Security-Policy" in html, (
        "_templates/layout.html adds to the page's own"
    )


def test_curves_go_to_no_service_unless_a_reader_says_so() -> None:
    assert TrainingConfig().logger == "csv"
    runs = {
        name: read_run(ROOT / f"runs/{name}.yml")["stories"] for name in ("quick", "report", "full")
    }
    loggers = [
        story["logger"] for run in runs.values() for story in run.values() if "logger" in story
    ]
    assert len(loggers) >= 4 and set(loggers) == {"csv"}
