"""Nothing asks for a network unless a reader asks for it: imports, training, prediction.

tests/test_commands.py runs `make book`, a story and jupyter-book in the same way.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib import ROOT
from lib.book.parameters import read_run

ASKS = """
import socket, urllib.request
for ask in (lambda: socket.socket().connect(("192.0.2.1", 80)),
            lambda: urllib.request.urlopen("http://example.org", timeout=1),
            lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.2", 53))):
    try:
        ask()
    except OSError:
        pass  # as a library would that reports home
with socket.create_server(("127.0.0.1", 0)) as server:  # kernels use the loopback
    socket.create_connection(server.getsockname()).close()
"""
WORKS = """
import importlib, pathlib, sys
import numpy as np
for path in pathlib.Path(sys.argv[1], "lib").rglob("*.py"):
    name = ".".join(path.relative_to(sys.argv[1]).with_suffix("").parts)
    importlib.import_module(name.removesuffix(".__init__"))
import umap
from lib import predict
from lib.data.batches import ArrayDataset
from lib.data.batches import Splits
from lib.vae import config, training
x = np.random.default_rng(0).integers(0, 256, (256, 28, 28), np.uint8)
assert umap.UMAP(n_epochs=20, random_state=0).fit_transform(x[:60].reshape(60, -1)).shape == (60, 2)
images = ArrayDataset(x, 1 / 255)
training.train(config.TrainingConfig(), Splits(images, images, None, {"data": "noise"}))
np.save("x.npy", x)
predict.main(["x.npy", "--latents", "3"])
"""


def run(offline: dict[str, str], code: str, cwd: Path) -> str:
    command = [sys.executable, "-c", code, str(ROOT)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=cwd, env=os.environ | offline, **pipes)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_who_asks_is_refused_and_named(offline: dict[str, str], tmp_path: Path) -> None:
    """Also in a child, and where the error is caught."""
    run(
        offline,
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ASKS!r}])",
        tmp_path,
    )
    log = Path(offline["OFFLINE_LOG"])
    asked = [line.split(", asked by ")[0] for line in log.read_text().splitlines()]
    log.write_text("")
    hosts = [
        "socket.connect 192.0.2.1",
        "socket.getaddrinfo example.org",
        "socket.sendto 192.0.2.2",
    ]
    assert asked == hosts


@pytest.mark.slow
def test_lib_asks_for_no_network_and_curves_go_to_a_csv(offline: dict[str, str], tmp_path: Path):
    own = {"ARTIFACTS_DIR": str(tmp_path / "artifacts")}
    assert "sigma2" in run(offline | own, WORKS, tmp_path)
    written = [path.name for path in (tmp_path / "artifacts").rglob("*")]
    assert "log.csv" in written
    assert not [name for name in written if "events.out" in name or "wandb" in name]
    for name in ("quick", "report", "full"):
        stories = read_run(ROOT / f"runs/{name}.yml")["stories"].values()
        assert {story["logger"] for story in stories if "logger" in story} == {"csv"}
