"""Run the graph: `python tools/run.py quick`, `report` or `full`; further words go to Snakemake as they are.

With `--profile profiles/slurm` it runs on a cluster, and the profile says on how many cores.

A lock of the operating system keeps two runs of one checkout apart, and vanishes with a run that was killed: the next
one goes on where it stopped. What a run to its end took is one more line of `artifacts/<run>/took.jsonl`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import results
import sync
from filelock import FileLock, Timeout

from lib import ROOT, BadInput
from lib.book.parameters import read_run
from lib.runtime import stages as artifacts

READ = (
    "*.txt",
    "*.yml",
    "book/*",
    "book/_*/*",
    "data/*.csv",
    "lib/*.py",
    "notebooks/*",
    "tools/*.py",
)  # by the graph
MADE = (
    "*.json",
    "*.done",
    "pages/*",
    "scatter/*/*",
    "shards/*/*",
)  # by the graph, in the folder of a run


def set_back(out: Path) -> None:
    """Files of tomorrow, left by a clock that was ahead, get the time of now: nothing made today would be newer."""
    now, found = time.time(), []
    for place, names in ((ROOT, READ), (out, MADE)):
        for path in (path for name in names for path in place.glob(name)):
            if path.is_file() and path.stat().st_mtime > now:
                with contextlib.suppress(OSError):  # Snakemake names it, if it matters
                    os.utime(path, (now, now))
                    found.append(path)
    if found:
        print(
            f"{len(found)} files had a time in the future, now that of today: {found[0]}, ...",
            file=sys.stderr,
        )


def keep_true(numbers: Path, made: list[Path]) -> None:
    """Numbers of a run that are not those of its pages go: of files, Snakemake sees only what is missing or newer."""
    if numbers.exists():
        try:
            if all(page.exists() for page in made) and json.loads(
                numbers.read_bytes()
            ) == results.collect(made):
                return
        except (
            ValueError,
            SystemExit,
        ):  # numbers, or a page, of which the rule that gathers them tells
            pass
        print(f"{numbers}: not the numbers of its pages; made again", file=sys.stderr)
        numbers.unlink()


def main(run: str, *more: str) -> int:
    """Exit status of Snakemake; 130 after Ctrl-C; 2 for a wrong run file, another run under way, no right to write."""
    try:
        stories = read_run(ROOT / "runs" / f"{run}.yml")["stories"]
        for story in stories:
            sync.check(ROOT / "notebooks" / f"{story}.py")
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    out = artifacts.root() / run
    page = out / "book" / "_build" / "html" / "index.html"
    try:
        artifacts.root().mkdir(parents=True, exist_ok=True)
        lock = FileLock(artifacts.root() / ".run.lock", timeout=0).acquire()
    except Timeout:
        print(
            f"another run is under way in {artifacts.root()}: wait for it, or stop it",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        print(
            f"{error}: set the variable ARTIFACTS_DIR to a folder that can be written",
            file=sys.stderr,
        )
        return 2
    with lock:
        set_back(out)
        keep_true(out / "results.json", [out / "pages" / f"{story}.ipynb" for story in stories])
        if not (page.exists() and (out / "results.json").exists()):
            (out / "book.done").unlink(missing_ok=True)
        return snakemake(run, page, *more)


def snakemake(run: str, page: Path, *more: str) -> int:
    """Run the graph, wait for its end, also after Ctrl-C, and tell where the book is or how to go on."""
    # every output moves into place whole, so what a killed run left is good
    command = [sys.executable, "-m", "snakemake", "--quiet", "rules", "--config", f"run={run}"]
    command += ["--nolock", "--ignore-incomplete"]
    if not any(word.startswith("--profile") for word in more):  # a profile says it itself
        command += ["--cores", os.environ.get("JOBS", "all")]
    command += more
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # papermill, jupyter-book of this Python
    quiet = "ignore:The `srun` command is available"  # what Lightning tells each page wherever SLURM is installed
    environment = {"PYTHONWARNINGS": quiet} | os.environ | {"PATH": path}
    fresh = not any(artifacts.root().glob("*/*/card.json"))
    start, clock = time.time(), time.perf_counter()
    heard: list[int] = []
    signal.signal(
        signal.SIGINT, lambda number, _: heard.append(number)
    )  # Snakemake hears it too, and ends its jobs
    code = subprocess.run(command, cwd=ROOT, env=environment).returncode
    if heard:
        print(
            "stopped: run the same again; it goes on after the last finished page, stage and epoch",
            file=sys.stderr,
        )
        return 130
    if code == 0 and not more:
        made = [
            path.stat().st_mtime >= start
            for path in (artifacts.root() / run / "pages").glob("*.ipynb")
        ]
        took = {
            "seconds": round(time.perf_counter() - clock, 1),
            "pages": len(made),
            "made": sum(made),
            "fresh": fresh,
        }
        with (artifacts.root() / run / "took.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(took) + "\n")
        print(f"The book is at {page}")
    return code


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or ["quick"])))
