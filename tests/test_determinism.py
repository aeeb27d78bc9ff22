"""The same number tomorrow: a stage of each kind leaves the same bytes, or within a tolerance.

`test_determinism.py OUT` computes the stages in a fresh process.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import threadpoolctl

from lib import ROOT
from lib.data.batches import ArrayDataset, Splits
from lib.data.digits import load_digits
from lib.data.rendering import render_set
from lib.data.standardiser import Standardiser
from lib.embeddings.maps import map_stage
from lib.embeddings.methods import embed
from lib.runtime import stages
from lib.vae.config import TrainingConfig
from lib.vae.evaluation import evaluate
from lib.vae.training import spectrum, train

# How far a number may be off with other threads or on another processor; book/use.md says the same.
TOLERANCES = {
    "a value of a spectrogram, dB": 0.07,  # above 64 dB they are stored in steps of 1/16 dB
    "an eigenvalue, relative": 1e-6,
    "error and KL of a short training, relative": 0.001,
    "5-NN on a map of 90 clips by UMAP": 0.15,  # another last digit of a coordinate, another map
}
UNSTABLE = {"seconds", "cpu_seconds", "peak_memory_mb", "commit", "sum"}  # of a card
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
ONE_THREAD = dict.fromkeys(POOLS, "1")
TWO_THREADS = dict.fromkeys(POOLS, "2")
OLDER = ONE_THREAD | {  # an x86 processor before 2011, as far as libraries can be told
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
}


def compute(out: Path) -> None:
    """Run a stage of each kind; save some of the numbers, and hashes of all that is on disk."""
    threads = max(pool["num_threads"] for pool in threadpoolctl.threadpool_info())
    clips = render_set("speech", ("delay", "overdrive", "ambience"), 30, seed=0)
    x = clips.spectrograms
    images = load_digits("train")[0]
    examples = ArrayDataset(images[:1000], 1 / 255)
    data = Splits(examples, examples, ArrayDataset(images[1000:2000], 1 / 255), {"data": "digits"})
    sound = ArrayDataset(x, standardiser=Standardiser().fit(x))
    eigenvalues = [spectrum(examples, 16, data.key), spectrum(sound, 16, {"data": "sound"})]
    measures = []
    for loss in ("report", "calibrated"):
        config = TrainingConfig(
            latent=8, loss=loss, beta=1e-3, epochs=4, batch_size=32, learning_rate=3e-3
        )
        metrics = evaluate(train(config, data), data)
        measures += [metrics["mse_mu"], metrics["mse_sampled"], metrics["kl"]]
    _, of_map = map_stage(lambda: (x, clips.effects, clips.groups), {"data": "sound"}, 42)
    seen = clips.groups != clips.groups[0]
    embed(clips, "told", seen, seen, 1, 0)
    values = [x.astype(np.float32), np.concatenate(eigenvalues), measures]
    values.append([of_map["knn5"], of_map["knn5_grouped"]])
    np.savez(out.with_suffix(".npz"), **dict(zip(TOLERANCES, values, strict=True)))
    hashes = {}
    for path in sorted(stages.root().rglob("*")):
        timed = path.parent.parent.name == "embed" and path.suffix != ".npy"  # scores hold seconds
        if not path.is_file() or path.suffix == ".lock" or timed:
            continue
        content = path.read_bytes()
        if path.name == "card.json":
            card = json.loads(content)
            stable = {name: card[name] for name in sorted(card.keys() - UNSTABLE)}
            content = json.dumps(stable).encode()
        hashes[str(path.relative_to(stages.root()))] = hashlib.sha256(content).hexdigest()
    out.write_text(json.dumps({"threads": threads, "hashes": hashes}))


if __name__ == "__main__":
    compute(Path(sys.argv[1]))


def _process(folder: Path, **environment: str) -> dict:
    """What a fresh process computes; its stages are in a folder of its own."""
    folder.mkdir()
    given = {"ARTIFACTS_DIR": str(folder / "artifacts"), "PYTHONPATH": str(ROOT)}
    given["PYTHONWARNINGS"] = "ignore"
    done = subprocess.run(
        [sys.executable, __file__, folder / "out.json"],
        cwd=folder,
        env=os.environ | given | environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads((folder / "out.json").read_text())
    return found | {"values": dict(np.load(folder / "out.npz"))}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return _process(tmp_path_factory.mktemp("determinism") / "once", **ONE_THREAD)


@pytest.mark.slow
def test_two_processes_leave_the_same_bytes(once: dict, tmp_path: Path) -> None:
    """The second has another hash seed, folder, clock and language."""
    other = {"PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    again = _process(tmp_path / "again", **ONE_THREAD, **other)
    kinds = {name.partition("/")[0] for name in once["hashes"]}
    assert {"render", "spectrum", "train", "evaluate", "umap", "embed"} <= kinds
    assert again["hashes"] == once["hashes"]


@pytest.mark.slow
@pytest.mark.parametrize("environment", [TWO_THREADS, OLDER], ids=["threads", "processor"])
def test_other_threads_and_processors_stay_within_the_tolerances(environment, once, tmp_path):
    if environment is TWO_THREADS and joblib.cpu_count() < 2:
        pytest.skip("one core: libraries start no second thread")
    if environment is OLDER and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("no x86: these variables say nothing here")
    other = _process(tmp_path / "other", **environment)
    assert (once["threads"], other["threads"]) == (1, 2 if environment is TWO_THREADS else 1)
    for name, most in TOLERANCES.items():
        here, there = once["values"][name], other["values"][name]
        size = np.maximum(np.abs(here), 1e-6) if name.endswith("relative") else 1
        assert (np.abs(there - here) / size).max() <= most, name


def test_the_page_tells_the_tolerances_that_are_tested() -> None:
    text = (ROOT / "book/use.md").read_text(encoding="utf-8")
    rows = text.partition("| at most |")[2].partition("\n\n")[0]
    found = re.findall(r"^\| (.+) \| ([\d.e-]+) \|$", rows, re.M)
    assert {name: float(most) for name, most in found} == TOLERANCES
