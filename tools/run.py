"""Run the graph: `python tools/run.py quick`, `report` or `full`; further words go to Snakemake as
they are.

With `--profile profiles/slurm` it runs on a cluster, and the profile says on how many cores.

A lock of the operating system keeps two runs of one checkout apart, and vanishes with a run that
was killed: the next one goes on where it stopped. A run that ends adds a line with its time to
`artifacts/<run>/took.jsonl`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout
from publish import collect
from sync import check

from lib import ROOT, BadInput
from lib.book.parameters import read_run
from lib.runtime import stages
from lib.runtime.places import workplace

INPUTS = (  # files that the graph reads, below the checkout
    *("*.txt", "*.yml", "book/*", "book/_*/*", "data/*.csv"),
    *("lib/*.py", "lib/*/*.py", "notebooks/*", "tools/*.py"),
)
RESULTS = ("*.json", "*.done", "pages/*", "scatter/*/*")  # it writes these below a run's folder


def reset_future_times(out: Path) -> None:
    """Give files of tomorrow, left by a clock that was ahead, the time of now.

    Otherwise nothing that is made today would be newer than they are.
    """
    now = time.time()
    changed = []
    paths = [path for pattern in INPUTS for path in ROOT.glob(pattern)]
    paths += [path for pattern in RESULTS for path in out.glob(pattern)]
    for path in paths:
        if path.is_file() and path.stat().st_mtime > now:
            with contextlib.suppress(OSError):  # Snakemake names the file, if it matters
                os.utime(path, (now, now))
                changed.append(path)
    if changed:
        message = "files had a time in the future, now that of today"
        print(f"{len(changed)} {message}: {changed[0]}, ...", file=sys.stderr)


def remove_wrong_results(numbers: Path, pages: list[Path]) -> None:
    """Remove results.json unless it holds the pages' numbers: Snakemake compares times only."""
    if not numbers.exists():
        return
    try:
        if json.loads(numbers.read_bytes()) == collect(pages):
            return
    except (ValueError, OSError):  # BadInput is a ValueError: the rule `results` reports the page
        pass
    print(f"{numbers}: not the numbers of its pages; made again", file=sys.stderr)
    numbers.unlink()


def main(run: str, *more: str) -> int:
    """Exit status of Snakemake; 130 after Ctrl-C; 2 when the run cannot begin."""
    try:
        stories = read_run(ROOT / "runs" / f"{run}.yml")["stories"]
        for story in stories:
            check(ROOT / "notebooks" / f"{story}.py")
        stages.root().mkdir(parents=True, exist_ok=True)
        lock = FileLock(stages.root() / ".run.lock", timeout=0).acquire()
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    except Timeout:
        where = f"another run is under way in {stages.root()}"
        print(f"{where}: wait for it, or stop it", file=sys.stderr)
        return 2
    except OSError as error:
        remedy = stages.remedy_of(error) or "is it a folder that can be written?"
        print(f"{stages.root()}: {error}: {remedy}", file=sys.stderr)
        return 2
    out = stages.root() / run
    index = out / "book" / "_build" / "html" / "index.html"
    with lock:
        reset_future_times(out)
        pages = [out / "pages" / f"{story}.ipynb" for story in stories]
        remove_wrong_results(out / "results.json", pages)
        if not (index.exists() and (out / "results.json").exists()):
            (out / "book.done").unlink(missing_ok=True)
        return snakemake(out, index, *more)


def snakemake(out: Path, index: Path, *more: str) -> int:
    """Run the graph until it ends, also by Ctrl-C; say where the book is or how to go on."""
    # every output moves into place whole, so what a killed run has left is good
    command = [sys.executable, "-m", "snakemake", "--quiet", "rules", "--config", f"run={out.name}"]
    command += ["--nolock", "--ignore-incomplete"]
    if not any(word.startswith("--profile") for word in more):  # a profile gives the cores itself
        command += ["--cores", os.environ.get("JOBS", "all")]
    environment = os.environ.copy()
    # Lightning warns each page wherever SLURM is installed
    environment.setdefault("PYTHONWARNINGS", "ignore:The `srun` command is available")
    # papermill and jupyter-book are those of this Python
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    fresh = not any(stages.root().glob("*/*/card.json"))
    interrupts: list[int] = []
    # Snakemake receives the interrupt too, and ends its jobs
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    start, clock = time.time(), time.perf_counter()
    code = subprocess.run([*command, *more], cwd=workplace(), env=environment).returncode
    if interrupts:
        message = "run the same again; it goes on after the last finished page, stage and epoch"
        print(f"stopped: {message}", file=sys.stderr)
        return 130
    if code == 0 and not more:
        seconds = round(time.perf_counter() - clock, 1)
        pages = list((out / "pages").glob("*.ipynb"))
        made = sum(page.stat().st_mtime >= start for page in pages)
        line = {"seconds": seconds, "pages": len(pages), "made": made, "fresh": fresh}
        with (out / "took.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"The book is at {index}")
    return code


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or ["quick"])))
