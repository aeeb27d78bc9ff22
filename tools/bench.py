"""Measure the book against what one would use instead: `make bench` writes book/speed.json, speed.md and cost.md.

Every contender is a process of its own (benchmarks/worker.py) with one thread, unless its row is about cores. The
contenders of a row take turns, A B A B, since other work on the machine comes and goes; a ratio is that of one turn,
and the table has the median over the turns. `--small` measures nothing worth knowing, but runs every part in minutes;
`--only PART ...` some of them; both need `--to FOLDER`, which writes there and not into book/.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import speed

from lib import ROOT
from lib.runtime import stages as artifacts

PEERS = ROOT / "artifacts" / "peers"  # what requirements-bench.txt names
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
Found = dict[str, list[dict[str, Any]]]  # of each contender, its turns


@dataclass(frozen=True)
class Contender:
    """name: in the tables; call: in the CONTENDERS of the part's module."""

    name: str
    call: str
    peers: bool = False  # needs what requirements-bench.txt names
    pinned: bool = True  # to one thread
    full: dict[str, Any] = field(default_factory=dict)  # of its size, beside that of the part
    small: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A comparison. full, small: sizes, JSON-able; turns: of each contender; lines: makes those of the table."""

    module: str
    contenders: tuple[Contender, ...]
    full: dict[str, Any]
    small: dict[str, Any]
    lines: Callable[[Found], list[dict[str, Any]]]
    turns: int = 3
    warm: bool = True  # each contender does the small work first


class Worker:
    """A running contender, which waits for its turns."""

    def __init__(self, part: Part, contender: Contender, small: bool, scratch: Path):
        self.log = tempfile.TemporaryFile("w+", dir=scratch)
        path = [str(ROOT), *([str(PEERS)] if contender.peers else [])]
        own = {"PYTHONPATH": os.pathsep.join(path), "ARTIFACTS_DIR": str(scratch)}
        own |= dict.fromkeys(THREADS, "1") if contender.pinned else {}
        full, tiny = part.full | contender.full, part.small | contender.small
        sizes = [tiny] if small else [full, tiny] if part.warm else [full]
        command = [
            sys.executable,
            "benchmarks/worker.py",
            part.module,
            contender.call,
            *map(json.dumps, sizes),
        ]
        self.name, self.process = (
            f"{part.module} {contender.call}",
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | own,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                text=True,
            ),
        )

    def answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise SystemExit(f"benchmark {self.name} failed:\n{self.log.read()[-3000:]}")
        return json.loads(line)

    def turn(self) -> dict[str, Any]:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def measure(part: Part, small: bool, scratch: Path) -> Found:
    """The turns of every contender of a part."""
    turns = min(2, part.turns) if small else part.turns
    workers = {each.name: Worker(part, each, small, scratch) for each in part.contenders}
    try:
        for worker in workers.values():
            worker.answer()  # it is ready
        found: Found = {name: [] for name in workers}
        for _ in range(turns):
            for name, worker in workers.items():
                found[name].append(worker.turn())
        return found
    finally:
        for worker in workers.values():
            worker.close()


def line(
    what: str,
    against: str,
    values: list[float],
    sense: str = "",
    goal: float | None = None,
    unit: str = "",
    note: str = "",
) -> dict[str, Any]:
    """A line of the table: median and spread of the values, and whether it reaches its goal (None: there is none).

    sense: "at least" or "at most".
    """
    value = statistics.median(values)
    reached = (
        None if goal is None else bool(value >= goal if sense == "at least" else value <= goal)
    )
    return {
        "what": what,
        "against": against,
        "value": value,
        "low": min(values),
        "high": max(values),
        "sense": sense,
        "goal": goal,
        "unit": unit,
        "reached": reached,
        "turns": len(values),
        "note": note,
    }


def ratios(found: Found, theirs: str, ours: str = "ours", by: str = "cpu_s") -> list[float]:
    """How many times as much ours did in the same time, turn by turn."""
    rates = [[turn["done"] / turn[by] for turn in found[name]] for name in (ours, theirs)]
    return [a / b for a, b in zip(*rates, strict=True)]


def against(
    found: Found, what: str, goals: dict[str, float | None], by: str = "cpu_s"
) -> list[dict[str, Any]]:
    """One line for each other contender."""
    return [
        line(what, name, ratios(found, name, by=by), "at least", goal, "x")
        for name, goal in goals.items()
    ]


def _mnist(preset: str, goals: dict[str, float | None]) -> Callable[[Found], list[dict[str, Any]]]:
    return lambda found: against(found, f"MNIST VAE training, {preset}", goals)


def _stft(found: Found) -> list[dict[str, Any]]:
    goals = {
        "librosa": 2.0,
        "torchaudio": 1.4,
        "librosa in float64": None,
        "torchaudio in float64": None,
        "torch.stft in float32": None,
    }
    lines = against(found, "STFT 4096/2048, ours in float64", goals)
    error = max(turn["facts"]["error"] for turn in found["ours"])
    return [
        *lines,
        line("STFT 4096/2048, largest error", "numpy in float64", [error], "at most", 1e-4),
    ]


def _gap(ours: dict[str, float], theirs: dict[str, float]) -> tuple[float, str]:
    """The largest difference of two sets of accuracies, panel by panel, in points, and the panel where it is."""
    gaps = {name: 100 * abs(value - theirs[name]) for name, value in ours.items()}
    where = max(gaps, key=gaps.__getitem__)
    return gaps[where], where


def _panels(found: Found) -> list[dict[str, Any]]:
    ours, theirs = ([turn["facts"] for turn in found[name]] for name in ("ours", "umap.UMAP().fit"))
    apart = [_gap(a, b) for a, b in zip(ours, theirs, strict=True)]
    again = [_gap(a, b)[0] for a, b in pairwise(theirs)]
    what = "eight UMAP panels, 5-NN of the panel that differs most"
    better = sum(
        statistics.mean(turn[name] for turn in ours)
        > statistics.mean(turn[name] for turn in theirs)
        for name in ours[0]
    )
    note = f"at most in {max(apart)[1]}; ours is higher in {better} of {len(ours[0])} panels"
    return [
        *against(
            found, "eight UMAP panels, wall on 2 cores", {"umap.UMAP().fit": 2.0}, by="wall_s"
        ),
        line(what, "umap.UMAP().fit", [gap for gap, _ in apart], "at most", 1.0, "points", note),
        line(f"{what}, umap.UMAP().fit a turn later", "umap.UMAP().fit", again, unit="points"),
    ]


def _apart(found: Found, theirs: str) -> float:
    """The largest relative difference of the eigenvalues of ours and theirs."""
    ours, others = (found[name][-1]["facts"] for name in ("ours", theirs))
    return max(abs(ours[name] / value - 1) for name, value in others.items())


def _spectrum(found: Found) -> list[dict[str, Any]]:
    return [
        *against(found, "lib.predict, 60,000 x 784", {"numpy SVD": 10.0}),
        line(
            "lib.predict, 60,000 x 784, eigenvalues apart",
            "numpy SVD",
            [_apart(found, "numpy SVD")],
            "at most",
            1e-6,
        ),
    ]


def _large(found: Found) -> list[dict[str, Any]]:
    (turn,) = found["ours"]
    what, gram = "lib.predict, 5,000 x 133,185", "numpy, inner products"
    return [
        *against(found, what, {gram: None}),
        line(f"{what}, eigenvalues apart", gram, [_apart(found, gram)], "at most", 1e-6),
        line(
            f"{what}, peak memory",
            "",
            [turn["peak_mb"] / 1000],
            "at most",
            4.0,
            "GB",
            note=f"{turn['cpu_s']:.0f} CPU-seconds",
        ),
    ]


def _growth(found: Found) -> list[dict[str, Any]]:
    """What one more clip costs, from one size to the next, so that what a process does once does not count."""
    sizes = [turn for turns in found.values() for turn in turns]
    steps = [(b["cpu_s"] - a["cpu_s"]) / (b["done"] - a["done"]) for a, b in pairwise(sizes)]
    changes = [100 * (after / before - 1) for before, after in pairwise(steps)]  # either sign
    note = ", ".join(
        f"{turn['done']:,} clips: {turn['cpu_s']:.0f} CPU-s, {turn['peak_mb']:.0f} MB"
        for turn in sizes
    )
    note += "; one more costs " + ", then ".join(f"{1000 * step:.2f} ms" for step in steps)
    return [
        line(
            "growth of a rendering, change of what one more clip costs",
            "",
            [max(map(abs, changes))],
            "at most",
            10.0,
            "%",
            note,
        ),
        line(
            "growth of a rendering, peak memory, largest / smallest",
            "",
            [sizes[-1]["peak_mb"] / sizes[0]["peak_mb"]],
            "at most",
            1.1,
            "x",
        ),
    ]


def _rerun(found: Found) -> list[dict[str, Any]]:
    """The goal, half a minute with nothing to be done, is that of the report; of the quick run where there is none."""
    facts = found["ours"][-1]["facts"]
    quick, whole = f"quick run, {facts['pages']:.0f} stories", "report_s" in facts
    told = f"report run, {facts['report_pages']:.0f} stories" if whole else quick
    note = "" if whole else "no complete report run was there"
    lines = [
        line(f"{quick}, cold", "", [facts["cold_s"]], unit="s"),
        line(f"{quick}, one parameter changed", "", [facts["changed_s"]], unit="s"),
        line(
            f"{quick}, pages made again by that change", "", [facts["made_again"]], "at most", 1.0
        ),
    ]
    if whole:
        lines.insert(1, line(f"{quick}, nothing to be done", "", [facts["warm_s"]], unit="s"))
        again = facts["report_made_again"]
        lines.append(
            line(f"{told}, jobs planned after the same change", "", [again], "at most", 1.0)
        )
        lines += [line(f"{told}, cold", "", [minutes], unit="min") for minutes in _cold("report")]
    warm = facts["report_s"] if whole else facts["warm_s"]
    return [*lines, line(f"{told}, nothing to be done", "", [warm], "at most", 30.0, "s", note)]


def _planned(found: Found) -> list[dict[str, Any]]:
    largest = max(
        (turn for turns in found.values() for turn in turns), key=lambda turn: turn["done"]
    )
    return [
        line(
            f"dry run of our graph with {largest['done']:,} jobs, the most planned",
            "",
            [largest["wall_s"]],
            unit="s",
        )
    ]


def _shape(found: Found) -> list[dict[str, Any]]:
    (turn,) = found["ours"]
    return [
        line(f"dry run of a graph of {turn['done']:,} empty jobs", "", [turn["wall_s"]], unit="s")
    ]


def _grid(found: Found) -> list[dict[str, Any]]:
    return against(
        found, "60-run beta grid, wall on 2 cores", {"one process, defaults": 3.0}, by="wall_s"
    )


def _clips(found: Found) -> list[dict[str, Any]]:
    goals = {
        "the bare calls": 0.8,
        "the report's way, resampy": 5.0,
        "the report's way, librosa": 5.0,
    }
    return against(found, "clips to spectrograms", goals)


LOOPS = tuple(
    Contender(name, call, peers)
    for name, call, peers in (
        ("ours", "ours", False),
        ("a bare loop", "bare", False),
        ("the ToTensor loader", "loader", True),
        ("pythae's trainer", "pythae", True),
        ("Lightning, DataLoader", "lightning", False),
    )
)
BOTH, SHARE = ["speech", "music"], 5
PARTS = {
    "mlp": Part(
        "trainings",
        LOOPS,
        {"preset": "mlp", "images": 40_000},
        {"preset": "mlp", "images": 2560},
        _mnist(
            "MLP",
            {
                "a bare loop": 0.9,
                "the ToTensor loader": 2.5,
                "pythae's trainer": 1.5,
                "Lightning, DataLoader": None,
            },
        ),
    ),
    "conv": Part(
        "trainings",
        LOOPS,
        {"preset": "small", "images": 12_800},
        {"preset": "small", "images": 640},
        _mnist(
            "convolutions",
            {
                "a bare loop": 0.9,
                "the ToTensor loader": None,
                "pythae's trainer": 1.5,
                "Lightning, DataLoader": None,
            },
        ),
    ),
    "grid": Part(
        "graph",
        (
            Contender("ours", "grid_ours"),
            Contender("one process, defaults", "grid_defaults", peers=True, pinned=False),
        ),
        {"betas": 15, "seeds": 4, "images": 10000, "share": SHARE},
        {"betas": 2, "seeds": 2, "images": 10000, "share": 2},
        _grid,
        1,
        warm=False,
    ),
    "clips": Part(
        "sound",
        (
            Contender("ours", "ours"),
            Contender("the bare calls", "bare"),
            Contender("the report's way, resampy", "resampy", True),
            Contender("the report's way, librosa", "librosa", True),
        ),
        {"corpora_": BOTH, "clips": 12},
        {"corpora_": ["speech"], "clips": 1},
        _clips,
    ),
    "stft": Part(
        "sound",
        (
            Contender("ours", "stft_ours"),
            Contender("librosa", "stft_librosa"),
            Contender("torchaudio", "stft_torchaudio"),
            Contender("torch.stft in float32", "stft_torch"),
            Contender("librosa in float64", "stft_librosa_64"),
            Contender("torchaudio in float64", "stft_torchaudio_64"),
        ),
        {"clips": 200},
        {"clips": 4},
        _stft,
        5,
    ),
    "panels": Part(
        "panels",
        (Contender("ours", "ours"), Contender("umap.UMAP().fit", "defaults", pinned=False)),
        {"corpora": BOTH, "clips": [400, 400, 300, 200]},
        {"corpora": ["speech"], "clips": [40]},
        _panels,
        2,
    ),
    "predict": Part(
        "spectrum",
        (Contender("ours", "ours"), Contender("numpy SVD", "numpy")),
        {"images": 60_000},
        {"images": 1000},
        _spectrum,
        2,
    ),
    "large": Part(
        "spectrum",
        (Contender("ours", "large"), Contender("numpy, inner products", "numpy_gram")),
        {"examples": 5000, "bins": 2049, "frames": 65},
        {"examples": 40, "bins": 65, "frames": 65},
        _large,
        1,
        warm=False,
    ),
    "rerun": Part(
        "graph",
        (Contender("ours", "rerun"),),
        {
            "stories": ["01_dataset_preparation", "02_audio_effects", "03_mnist_sanity_check"],
            "changed": "02_audio_effects",
            "parameter": "seed",
            "value": 1,
            "report": True,
        },
        {
            "stories": ["01_dataset_preparation", "02_audio_effects"],
            "changed": "02_audio_effects",
            "parameter": "seed",
            "value": 1,
            "report": False,
        },
        _rerun,
        1,
        warm=False,
    ),
    "growth": Part(
        "sound",
        tuple(
            Contender(f"{n}", "growth", full={"clips": n}, small={"clips": n // 100})
            for n in (1000, 4000, 16_000)
        ),
        {"workers": 2},
        {"workers": 1},
        _growth,
        1,
        warm=False,
    ),
    "vae": Part(
        "trainings",
        tuple(
            Contender(f"{n}", "spectrogram_vae", full={"clips": n}, small={"clips": n // 8})
            for n in (512, 2048)
        ),
        {},
        {},
        lambda found: [],
        2,
    ),
    "planned": Part(
        "graph",
        tuple(
            Contender(f"{n}", "planned", full={"jobs": n}, small={"jobs": n // 100})
            for n in (300, 1000, 3000)
        ),
        {},
        {},
        _planned,
        1,
        warm=False,
    ),
    "shape": Part(
        "graph",
        (Contender("ours", "shape"),),
        {"jobs": 10_000},
        {"jobs": 100},
        _shape,
        1,
        warm=False,
    ),
    "started": Part(
        "graph",
        (Contender("ours", "started"),),
        {"jobs": 100},
        {"jobs": 5},
        lambda found: [],
        1,
        warm=False,
    ),
}


def _rates(found: Found) -> dict[str, Any]:
    """What each contender did, median over its turns, and the facts of its last one."""
    return {
        name: {
            "done": turns[-1]["done"],
            "turns": len(turns),
            "facts": turns[-1]["facts"],
            **{
                key: statistics.median(turn[key] for turn in turns)
                for key in ("cpu_s", "wall_s", "peak_mb")
            },
        }
        for name, turns in found.items()
    }


def machine() -> dict[str, Any]:
    """What the numbers were measured on: processor, cores, memory in GB, system, versions, commit."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        rows = cpuinfo.read_text().splitlines()
        model = next(
            (row.partition(":")[2].strip() for row in rows if row.startswith("model name")), model
        )
    versions = artifacts.versions() | {
        name: version(name) for name in ("scipy", "soxr", "soundfile", "snakemake")
    }
    pins = (
        row.split("==")
        for row in (ROOT / "requirements-bench.txt").read_text().splitlines()
        if "==" in row
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "commit": artifacts.commit(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions | dict(pins),
    }


def _cold(run: str) -> list[float]:
    """Wall minutes of the last run of this checkout from nothing, where tools/run.py noted one."""
    path = ROOT / "artifacts" / run / "took.jsonl"
    noted = [json.loads(row) for row in path.read_text().splitlines()] if path.exists() else []
    return [row["seconds"] / 60 for row in noted if row["fresh"] and row["made"] == row["pages"]][
        -1:
    ]


def run(names: list[str], small: bool) -> dict[str, Any]:
    """Every part named, one after the other: what stands in speed.json."""
    result = {
        "machine": machine(),
        "small": small,
        "load_before": os.getloadavg()[0],
        "share": SHARE,
        "lines": [],
        "found": {},
    }
    (ROOT / "artifacts").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "artifacts") as scratch:
        for name in names:
            start, part = time.perf_counter(), PARTS[name]
            found = measure(part, small, Path(scratch))
            result["lines"] += [{"part": name, **each} for each in part.lines(found)]
            result["found"][name] = _rates(found)
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return result


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python tools/bench.py", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--small", action="store_true", help="tiny sizes: does every part run?")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        metavar="PART",
        help=", ".join(PARTS),
    )
    parser.add_argument(
        "--to", type=Path, default=ROOT / "book", help="folder of speed.json, speed.md and cost.md"
    )
    given = parser.parse_args(arguments)
    if not PEERS.is_dir():
        parser.error(
            f"{PEERS} is missing: run `make bench`, which installs requirements-bench.txt there"
        )
    if given.to == ROOT / "book" and (given.small or given.only != list(PARTS)):
        parser.error(
            "the book shows every part at full size: give --to FOLDER with --small or --only"
        )
    result = run(given.only, given.small)
    artifacts.write_json(given.to / "speed.json", result)
    speed.write(given.to)


if __name__ == "__main__":
    main()
