"""The book against what one would use instead: `make bench` writes book/speed.json and two pages.

Every contender runs in a process of its own (benchmarks/worker.py), with one thread unless its
row is about cores. The contenders of a part take turns, A B A B, because other work on the
machine comes and goes; a ratio is that of one turn, and the table has the median over the turns.
`--small --to FOLDER` runs every part in minutes, and measures nothing worth knowing.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil
import speed

from lib import ROOT
from lib.runtime import stages
from lib.runtime.files import write_json
from lib.runtime.provenance import commit, versions

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
BOTH = ["speech", "music"]


@dataclass(frozen=True)
class Part:
    """Contenders by name: a function of benchmarks/, and its sizes."""

    contenders: dict[str, tuple[str, dict]]
    turns: int = 3
    threads: bool = False  # all of them, for contenders other than ours
    warm: bool = True  # does a small size first


def same(functions: dict[str, str], **sizes: object) -> dict:
    return {name: (function, sizes) for name, function in functions.items()}


def growing(function: str, name: str, *counts: int) -> dict:
    """Contenders that differ in size only."""
    return {f"{count}": (function, {name: count}) for count in counts}


def small(size: object) -> object:
    """A sixteenth of what is counted, but 40 of it where there are as many."""
    if isinstance(size, dict):
        return {name: small(each) for name, each in size.items()}
    if isinstance(size, list):
        return [small(each) for each in size]
    return min(size, max(40, size // 16)) if isinstance(size, int) else size


LOOPS = {"ours": "trainings.ours", "a bare loop": "trainings.bare"}
CLIPS = {"ours": "sound.ours", "the bare calls": "sound.bare", "librosa": "sound.librosa"}
PANELS = {"ours": "panels.ours", "umap.UMAP().fit": "panels.defaults"}
PREDICT = {"ours": "spectrum.ours", "numpy SVD": "spectrum.numpy_svd"}
KINDS = ("ours", "librosa", "torchaudio")
LARGE = {"examples": 2000, "bins": 2049, "frames": 65}
CHANGE = {"story": "02_audio_effects", "parameter": "seed", "value": 1}
REPORT = {"run": "report", "artifacts": str(stages.root()), **CHANGE}
PARTS = {
    "mlp": Part(same(LOOPS, preset="mlp", images=40_000)),
    "conv": Part(same(LOOPS, preset="small", images=12_800)),
    "stft": Part({k: ("sound.stfts", {"kind": k, "clips": 200}) for k in KINDS}, turns=5),
    "clips": Part(same(CLIPS, names=BOTH, clips=12)),
    "panels": Part(
        same(PANELS, corpora=BOTH, clips=[400, 400, 300, 200]), turns=1, threads=True, warm=False
    ),
    "predict": Part(same(PREDICT, images=60_000)),
    "large": Part({"ours": ("spectrum.large", LARGE)}, turns=1, warm=False),
    "report": Part({"ours": ("graph.report", REPORT)}, turns=1, warm=False),
    "growth": Part(growing("sound.growth", "clips", 1000, 4000, 16_000), turns=1, warm=False),
    "vae": Part(growing("trainings.spectrograms", "clips", 512, 2048), turns=2),
    "planned": Part(growing("graph.planned", "jobs", 300, 1000, 3000), turns=1, warm=False),
    "started": Part(growing("graph.started", "jobs", 100), turns=1, warm=False),
}


def turn(part: Part, name: str, tiny: bool, scratch: str) -> dict:
    """One turn of a contender, in its own process."""
    function, size = part.contenders[name]
    chosen = [small(size)] if part.warm or tiny else []
    if not tiny:
        chosen.append(size)
    own = {"PYTHONPATH": str(ROOT), "ARTIFACTS_DIR": scratch}
    if name == "ours" or not part.threads:
        own |= dict.fromkeys(THREADS, "1")
    command = [sys.executable, "benchmarks/worker.py", function, *map(json.dumps, chosen)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"benchmark {function} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)


def line(what: str, against: str, values: list[float], goal: tuple = (), unit: str = "") -> dict:
    """A row of the table: median and spread of values; goal: "at least" or "at most", a number."""
    value = statistics.median(values)
    row = {"what": what, "against": against, "value": value, "unit": unit, "goal": list(goal)}
    row |= {"low": min(values), "high": max(values), "turns": len(values), "reached": None}
    if goal:
        row["reached"] = value >= goal[1] if goal[0] == "at least" else value <= goal[1]
    return row


def ratio(turns: dict, what: str, theirs: str, goal: float, by: str = "cpu_s") -> dict:
    """How many times as much ours did in the same time, turn by turn."""
    pairs = zip(turns["ours"], turns[theirs], strict=True)
    values = [a["done"] / a[by] / (b["done"] / b[by]) for a, b in pairs]
    return line(what, theirs, values, ("at least", goal))


def rows(name: str, turns: dict) -> list[dict]:
    """The rows that a part gives to the table; some parts serve the page on cost only."""
    last = {contender: each[-1] for contender, each in turns.items()}
    if name in ("mlp", "conv"):
        return [ratio(turns, f"MNIST VAE training, {name}", "a bare loop", 0.95)]
    if name == "stft":
        error = last["ours"]["facts"]["error"]
        return [
            ratio(turns, "STFT 4096/2048", "torchaudio", 1.4),
            ratio(turns, "STFT 4096/2048", "librosa", 2.0),
            line("STFT 4096/2048, largest error", "numpy in float64", [error], ("at most", 1e-4)),
        ]
    if name == "clips":
        return [
            ratio(turns, "clips to spectrograms", "the bare calls", 0.85),
            ratio(turns, "clips to spectrograms, levels included", "librosa", 0.8),
        ]
    if name == "panels":
        what = "eight UMAP panels, wall on all cores"
        return [ratio(turns, what, "umap.UMAP().fit", 4.0, by="wall_s")]
    if name == "predict":
        ours, theirs = (last[c]["facts"]["eigenvalues"] for c in ("ours", "numpy SVD"))
        apart = max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))
        what = "lib.predict, eigenvalues apart"
        return [
            ratio(turns, "lib.predict, 60,000 x 784", "numpy SVD", 10.0),
            line(what, "numpy SVD", [apart], ("at most", 1e-6)),
        ]
    if name == "report" and last["ours"]["done"]:
        facts, cold = last["ours"]["facts"], cold_minutes("report")
        whole = [line("report run, cold", "", [cold], ("at most", 45), "min")] if cold else []
        warm = line("report run, nothing to be done", "", [facts["warm_s"]], ("at most", 30), "s")
        jobs, what = facts["jobs_after_change"], "report run, jobs after one parameter changed"
        if not jobs:
            print(f"no row on {what}: the run's records are in another checkout", file=sys.stderr)
            return [*whole, warm]
        return [*whole, warm, line(what, "", [jobs], ("at most", 1))]
    if name == "growth":
        sizes_ = list(last.values())
        costs = [(b["cpu_s"] - a["cpu_s"]) / (b["done"] - a["done"]) for a, b in pairwise(sizes_)]
        change = 100 * abs(costs[1] / costs[0] - 1)
        memory, what = sizes_[-1]["peak_mb"] / sizes_[0]["peak_mb"], "growth of a rendering"
        return [
            line(f"{what}, cost of one more clip", "fewer clips", [change], ("at most", 10), "%"),
            line(f"{what}, peak memory, 16 times as many clips", "", [memory], ("at most", 1.1)),
        ]
    return []


def cold_minutes(run: str) -> float | None:
    """Minutes of this checkout's last run from nothing, if tools/run.py noted one."""
    path = stages.root() / run / "took.jsonl"
    noted = [json.loads(row) for row in path.read_text().splitlines()] if path.exists() else []
    whole = [row["seconds"] / 60 for row in noted if row["fresh"] and row["made"] == row["pages"]]
    return whole[-1] if whole else None


def machine() -> dict:
    """Processor, cores, memory in GB, system, versions and commit."""
    model, cpuinfo = platform.machine(), Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [r for r in cpuinfo.read_text().splitlines() if r.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    about = {"processor": model, "cores": os.cpu_count(), "commit": commit()}
    about["memory_gb"] = round(psutil.virtual_memory().total / 1e9)
    return about | {"system": platform.system(), "versions": versions()}


def summary(turns: list[dict]) -> dict:
    """Medians over a contender's turns, and the facts of its last one."""
    medians = {k: statistics.median(t[k] for t in turns) for k in ("cpu_s", "wall_s", "peak_mb")}
    return {"done": turns[-1]["done"], "facts": turns[-1]["facts"], **medians}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python tools/bench.py", description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="tiny sizes: does every part run?")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--to", type=Path, default=ROOT / "book", help="folder of what it writes")
    given = parser.parse_args(arguments)
    if given.to == ROOT / "book" and (given.small or given.only != list(PARTS)):
        parser.error("the book shows every part at full size: give --to FOLDER with these words")
    result = {"machine": machine(), "small": given.small, "lines": [], "parts": {}}
    stages.root().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=stages.root()) as scratch:
        for name in given.only:
            part, turns = PARTS[name], {contender: [] for contender in PARTS[name].contenders}
            for _ in range(1 if given.small else part.turns):
                for contender in turns:
                    turns[contender].append(turn(part, contender, given.small, scratch))
            result["lines"] += rows(name, turns)
            result["parts"][name] = {each: summary(done) for each, done in turns.items()}
            print(name, flush=True)
    write_json(given.to / "speed.json", result)
    speed.write(given.to)


if __name__ == "__main__":
    main()
