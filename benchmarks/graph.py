"""The graph of a run: a grid of trainings on two cores, a run cold, warm and changed, and what scheduling costs.

Each works in a copy of the checkout with runs of its own, so that the checkout's artifacts stay as they are.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from lib import ROOT
from lib.runtime import stages as artifacts

Work = Callable[[], tuple[float, dict[str, float]]]
COPIED = ("lib", "tools", "notebooks", "Snakefile", "requirements.txt", "_toc.yml", "_config.yml")
GRID = "06_beta_ablation"


def _checkout(story_values: dict[str, dict], scatter: dict[str, list[str]]) -> Path:
    """A copy of the checkout with one run, `bench`, and artifacts of its own; data are a link."""
    base = artifacts.root() / "bench"
    base.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(prefix="checkout-", dir=base))
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    (copy / "data").symlink_to(ROOT / "data")
    (copy / "runs").mkdir()
    _write(copy, story_values, scatter)
    return copy


def _write(copy: Path, story_values: dict[str, dict], scatter: dict[str, list[str]]) -> None:
    (copy / "runs/bench.yml").write_text(
        yaml.safe_dump({"stories": story_values, "scatter": scatter})
    )


def _run(copy: Path, jobs: int, *more: str) -> float:
    """Wall seconds of the run `bench`, without the book; more: for Snakemake."""
    own = {"PYTHONPATH": str(copy), "ARTIFACTS_DIR": str(copy / "artifacts"), "JOBS": str(jobs)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "tools/run.py", "bench", "results", *more],
        cwd=copy,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-3000:])
    return time.perf_counter() - start


def _quick() -> dict[str, dict]:
    return yaml.safe_load((ROOT / "runs/quick.yml").read_text(encoding="utf-8"))["stories"]


def _grid(betas: int, seeds: int, images: int) -> dict:
    values = [
        float(f"{1e-5 * 10 ** (5 * k / max(1, betas - 1)):.3g}") for k in range(betas)
    ]  # from 1e-5 to 1
    return _quick()[GRID] | {
        "corpora": ["digits"],
        "betas": values,
        "seeds": list(range(1, seeds + 1)),
        "epochs": 1,
        "train_images": images,
    }


def grid_ours(betas: int, seeds: int, images: int, share: int) -> Work:
    """Story 06 on digits by `tools/run.py`: the seeds are scattered over two jobs, then the page gathers and draws."""

    def work() -> tuple[float, dict[str, float]]:
        copy = _checkout({GRID: _grid(betas, seeds, images)}, {GRID: ["seeds"]})
        _run(copy, 2)
        found = len(list((copy / "artifacts/train").glob("*/model.pt")))
        shutil.rmtree(copy)
        return found, {"trainings": found}

    return work


def grid_defaults(betas: int, seeds: int, images: int, share: int) -> Work:
    """The same trainings one after another: Lightning and torchvision's ToTensor as they come, all threads of torch.

    share: one of so many points of the grid is trained, since all cost the same; test errors are measured as in the
    story, on all 10,000 images.
    """
    import logging
    import warnings

    import lightning.pytorch as pl
    import torch
    import trainings

    from lib.data.batches import ArrayDataset
    from lib.vae.evaluation import measure

    torch.set_num_threads(os.cpu_count() or 1)  # which importing trainings set to 1
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    values = _grid(betas, seeds, images)
    train, test = trainings.torchvision_digits(images), trainings.load_digits("test")[0]

    class Task(pl.LightningModule):
        def __init__(self, beta: float) -> None:
            super().__init__()
            self.net, self.beta = trainings.build("small", (28, 28), values["latent"]), beta

        def training_step(self, batch: list, _: int) -> torch.Tensor:
            return trainings.losses.report(batch[0], *self.net(batch[0]), self.beta)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=values["learning_rate"])

    points = list(itertools.product(values["betas"], values["seeds"]))[::share]
    folder = artifacts.root() / "bench" / "defaults"

    def work() -> tuple[float, dict[str, float]]:
        errors = []
        for beta, seed in points:
            torch.manual_seed(seed)
            task = Task(beta)
            batches = torch.utils.data.DataLoader(train, values["batch_size"], shuffle=True)
            pl.Trainer(accelerator="cpu", max_epochs=1, default_root_dir=folder).fit(task, batches)
            errors.append(measure(task.net.eval(), ArrayDataset(test, scale=1 / 255))["mse_mu"])
        return len(points), {"mse": float(min(errors)), "threads": torch.get_num_threads()}

    return work


def _planned_again(changed: str, parameter: str, value: object) -> float:
    """How many jobs of the checkout's report run would run again if one parameter of a story had another value."""
    read = 'Path("runs") / f"{RUN}.yml"'
    source, run = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("Snakefile", "runs/report.yml")
    )
    other = yaml.safe_load(run)
    if read not in source or other["stories"][changed][parameter] == value:
        raise RuntimeError(
            f"the graph does not read its run by {read}, or {parameter} of {changed} is {value} already"
        )
    other["stories"][changed][parameter] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.yml")
        path.write_text(yaml.safe_dump(other), encoding="utf-8")
        Path(folder, "Snakefile").write_text(
            source.replace(read, f"Path({str(path)!r})"), encoding="utf-8"
        )
        own = {name: each for name, each in os.environ.items() if name != "ARTIFACTS_DIR"}
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            f"{folder}/Snakefile",
            "--directory",
            str(ROOT),
            "--config",
            "run=report",
            "--nolock",
            "--cores",
            "2",
            "--quiet",
            "rules",
            "--dry-run",
            "results",
        ]
        done = subprocess.run(
            command, cwd=ROOT, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    counts = {
        name: float(number)
        for name, number in re.findall(r"^(story|point|shard)\s+(\d+)$", done.stdout, re.M)
    }
    if done.returncode or not counts:
        raise RuntimeError(done.stdout[-3000:])
    return sum(counts.values())


def _report_again() -> dict[str, float]:
    """Wall seconds of the checkout's report run with nothing to be done, and its pages; empty unless it is complete.

    A dry run asks first, so that no report is computed here.
    """
    own = {
        name: value for name, value in os.environ.items() if name != "ARTIFACTS_DIR"
    }  # the checkout's artifacts
    command, idle = [sys.executable, "tools/run.py", "report", "results"], "Nothing to be done"

    def said(*more: str) -> str:
        return subprocess.run(
            [*command, *more],
            cwd=ROOT,
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ).stdout

    pages = len(list((ROOT / "artifacts/report/pages").glob("*.ipynb")))
    if not pages or idle not in said("--dry-run"):
        return {}
    start = time.perf_counter()
    if idle not in said():
        raise RuntimeError("the report run had nothing to be done, and then did something")
    return {"report_s": time.perf_counter() - start, "report_pages": float(pages)}


def rerun(stories: list[str], changed: str, parameter: str, value: object, report: bool) -> Work:
    """A run of these stories cold, again with nothing changed, and with one parameter of one story changed.

    report: the checkout's report run too, where it is complete. Facts: wall seconds of each, and how many pages the
    change made again; of the report run, how many jobs it would by the plan.
    """

    def work() -> tuple[float, dict[str, float]]:
        values = {name: _quick()[name] for name in stories}
        copy = _checkout(values, {})
        cold, warm = _run(copy, 2), _run(copy, 2)
        pages = {name: copy / f"artifacts/bench/pages/{name}.ipynb" for name in stories}
        before = {name: page.stat().st_mtime_ns for name, page in pages.items()}
        values[changed] = values[changed] | {parameter: value}
        _write(copy, values, {})
        after_change = _run(copy, 2)
        again = [name for name, page in pages.items() if page.stat().st_mtime_ns != before[name]]
        shutil.rmtree(copy)
        facts = _report_again() if report else {}
        if facts:
            facts["report_made_again"] = _planned_again(changed, parameter, value)
        return len(stories), {
            "cold_s": cold,
            "warm_s": warm,
            "changed_s": after_change,
            "pages": len(pages),
            "made_again": len(again),
            "only_what_depends": float(again == [changed]),
            **facts,
        }

    return work


def planned(jobs: int) -> Work:
    """A dry run of our own graph, in which a story is scattered over so many jobs."""

    def work() -> tuple[float, dict[str, float]]:
        copy = _checkout({GRID: _grid(1, jobs, 1000)}, {GRID: ["seeds"]})
        _run(copy, 2, "--dry-run")
        shutil.rmtree(copy)
        return jobs, {}

    return work


def _scale(jobs: int, *more: str) -> tuple[bool, str]:
    """scale.smk with so many jobs, two at a time, and one that gathers them: whether it did, and what was said."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(Path(__file__).with_name("scale.smk")),
            "--directory",
            folder,
            "--config",
            f"shards={jobs}",
            "--cores",
            "2",
            *more,
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(done.stdout[-3000:])
        return (Path(folder) / "gathered.done").exists(), done.stdout


def started(jobs: int) -> Work:
    """Snakemake runs so many jobs that do nothing, two at a time, and one that gathers them."""

    def work() -> tuple[float, dict[str, float]]:
        gathered, told = _scale(jobs, "--quiet", "all")
        if not gathered:
            raise RuntimeError(told[-3000:])
        return jobs, {}

    return work


def shape(jobs: int) -> Work:
    """A dry run of scale.smk: what Snakemake itself needs to plan so many jobs that depend on nothing."""

    def work() -> tuple[float, dict[str, float]]:
        told = _scale(jobs, "--dry-run", "--quiet", "rules")[1]
        if not re.search(rf"^shard\s+{jobs}$", told, re.M):
            raise RuntimeError(told[-3000:])
        return jobs, {}

    return work


CONTENDERS = {
    "grid_ours": grid_ours,
    "grid_defaults": grid_defaults,
    "rerun": rerun,
    "planned": planned,
    "shape": shape,
    "started": started,
}
