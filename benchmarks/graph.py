"""The graph: a report run with nothing to be done or one parameter changed; cost of scheduling."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from lib import ROOT

GRID = "06_beta_ablation"


def _snakemake(*words: str, **more: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--nolock", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | more, **pipes)
    if done.returncode:
        raise RuntimeError(done.stdout[-3000:])
    return done.stdout


def _plan(run: str, path: Path, artifacts: str) -> int:
    """How many jobs a run would start with the parameters of a file."""
    config = ("--config", f"run={run}", f"parameters={path}")
    words = ("results", *config, "--dry-run", "--quiet", "rules")
    text = _snakemake(*words, ARTIFACTS_DIR=artifacts)
    counts = re.findall(r"^(?:story|point)\s+(\d+)$", text, re.M)
    return max(map(int, counts), default=0) if "Nothing to be done" not in text else 0


def report(run: str, story: str, parameter: str, value: object, artifacts: str):
    """A run that is complete: seconds with nothing to be done, jobs after one change.

    Snakemake records parameters by the name of a page's file. Where a link leads to the folder,
    the run may have used either name; a change that no job follows means that neither has records.
    """
    parameters = yaml.safe_load((ROOT / f"runs/{run}.yml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{run}.yml")
        path.write_text(yaml.safe_dump(parameters), encoding="utf-8")
        complete = _plan(run, path, artifacts) == 0
        yield
        if not complete:  # nothing is computed here
            yield 0, {}
        start = time.perf_counter()
        _snakemake("results", "--config", f"run={run}", ARTIFACTS_DIR=artifacts)
        warm_s = time.perf_counter() - start
        parameters["stories"][story][parameter] = value
        path.write_text(yaml.safe_dump(parameters), encoding="utf-8")
        jobs = _plan(run, path, artifacts) or _plan(run, path, os.path.realpath(artifacts))
        yield len(parameters["stories"]), {"warm_s": warm_s, "jobs_after_change": jobs}


def planned(jobs: int):
    """A dry run of our own graph, in which a story is scattered over so many jobs."""
    stories = yaml.safe_load((ROOT / "runs/quick.yml").read_text(encoding="utf-8"))["stories"]
    grid = stories[GRID] | {"corpora": ["digits"], "seeds": list(range(jobs))}
    run = {"stories": {GRID: grid}, "scatter": {GRID: ["seeds"]}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "grid.yml")
        path.write_text(yaml.safe_dump(run), encoding="utf-8")
        yield
        if _plan("grid", path, folder) < jobs:
            raise RuntimeError("the plan lacks jobs")
        yield jobs, {}


def started(jobs: int):
    """Snakemake runs so many jobs that do nothing, two at a time."""
    scale = str(Path(__file__).with_name("scale.smk"))
    with tempfile.TemporaryDirectory() as folder:
        yield
        words = ("--snakefile", scale, "--directory", folder, "--config", f"jobs={jobs}")
        _snakemake(*words, "--quiet", "all")
        yield len(list(Path(folder).glob("jobs/*"))), {}
