"""Run the graph: `python tools/run.py quick`, `report` or `full`; further words go to Snakemake as they are.

With `--profile profiles/slurm` it runs on a cluster, and the profile says on how many cores.

A lock of the operating system keeps two runs of one checkout apart, and vanishes with a run that was killed: the next
one goes on where it stopped. What a run to its end took is one more line of `artifacts/<run>/took.jsonl`.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import sync
from filelock import FileLock, Timeout

from lib import ROOT, BadInput, artifacts
from lib.parameters import read_run


def main(run: str, *more: str) -> int:
    """Exit status of Snakemake; 2 when the run file is wrong or another run is under way."""
    try:
        for story in read_run(ROOT / "runs" / f"{run}.yml")["stories"]:
            sync.check(ROOT / "notebooks" / f"{story}.py")
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    page = artifacts.root() / run / "book" / "_build" / "html" / "index.html"
    artifacts.root().mkdir(parents=True, exist_ok=True)
    if not page.exists():
        (artifacts.root() / run / "book.done").unlink(missing_ok=True)
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
    try:
        with FileLock(artifacts.root() / ".run.lock", timeout=0):
            code = subprocess.run(command, cwd=ROOT, env=environment).returncode
    except Timeout:
        print(f"another run is under way in {ROOT}: wait for it, or stop it", file=sys.stderr)
        return 2
    if code == 0 and not more:
        made = [path.stat().st_mtime >= start for path in (artifacts.root() / run / "pages").glob("*.ipynb")]
        took = {"seconds": round(time.perf_counter() - clock, 1), "pages": len(made), "made": sum(made), "fresh": fresh}
        with (artifacts.root() / run / "took.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(took) + "\n")
        print(f"The book is at {page}")
    return code


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or ["quick"])))
