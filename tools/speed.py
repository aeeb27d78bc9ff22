"""The pages on speed and cost, `book/speed.md` and `book/cost.md`, from what tools/bench.py measured.

`python tools/speed.py` writes them again from the numbers that are there. Every number on them comes
from `book/speed.json`, and those of a GPU from `book/gpu.json`, which benchmarks/gpu.py measures.
"""

import json
import math
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from lib import ROOT

SPEED = """\
# Is it fast?

Written by `tools/speed.py` from {{download}}`speed.json`, which `make bench` measures: everything in one run, the
contenders of a row in turn, A B A B, each in a process of its own. A ratio says how many times as much ours does in
the same time. It is the median over the turns, with the lowest and the highest in brackets, since the machine is
shared. Time is CPU-seconds on one thread, wall seconds where the row says so. **What does not reach its goal is
printed as such.**

Measured on {machine}. {summary}

| what | against | measured | goal | |
|---|---|---|---|---|
{lines}

## What the rows compare

- **MNIST VAE training**: the same net, batch of 128, loss and learning rate. The limit is a loop on one tensor in
  memory that does nothing else. Ours, `lib.vae.train`, also validates on 512 images, watches for collapse and
  keeps checkpoints; the spectrum of the data, a stage of its own that all trainings share, is not counted. The
  ToTensor loader is torchvision's MNIST class. Ours is itself run by Lightning, without its DataLoader.
  MLP: 784-400-16. Convolutions: the preset `small`.
- **Beta grid**: story 06 by `tools/run.py`, kernels, test and page included, against the same trainings one after
  another with Lightning and torchvision as they come, on all threads. Of those one in {share} is trained and stands
  for the rest.
- **Clips**: recordings of speech and music, five effects. The limit is the bare calls of soundfile, soxr,
  pedalboard, scipy and torch on the stretches and settings that ours had drawn. The report's way opens, resamples,
  applies and transforms an item at a time with librosa, without levels: ours sets that of every clip twice, dry and
  wet, which takes time that the report's way does not spend. A ratio below 1: the libraries as they come are faster.
- **STFT**: clips of 5.46 s, one at a time. Ours is `torch.stft` in float64, because beside a pure tone float32 is a
  third of a dB off in quiet bins; librosa and torchaudio take float32 as they come, and float64 for comparison.
  torchaudio calls `torch.stft`, and so do we.
- **UMAP**: the book maps a corpus a job, reduces to 50 components, finds neighbours exactly and seeds everything.
  `umap.UMAP().fit` gets flattened spectrograms, no seed, all threads.
- **lib.predict**: reading the data included. numpy decomposes all 784 directions. The second set, made for the
  purpose, is 5,000 examples of the report's spectrogram size; there numpy decomposes the inner products of the
  examples, summed in float64 a few columns at a time: for the set itself it would need several times its 5.3 GB.
- **Graph**: our own with a story scattered over so many jobs, and `benchmarks/scale.smk`, whose jobs do nothing and
  depend on nothing.
- **Growth**: dry speech, rendered at three sizes. What one more clip costs is the difference of two sizes, so that
  imports and the first call do not count; it should be the same from size to size.
- **Runs**: `tools/run.py` in a copy of the checkout with the quick parameters of {stories} stories.{report}

## What each did

Medians of a turn; memory is the peak of the process.

| part | contender | done | CPU-s | wall s | MB |
|---|---|---|---|---|---|
{found}

{versions}
"""
COST = """\
# What would the whole of VCTK cost? And 100,000 hours?

Written by `tools/speed.py` from the numbers of [the page on speed](speed.md): one core of {processor}. A
multiplication, not a measurement: nothing of that size was run. VCTK is taken as {vctk} hours, one microphone.

## An audio-hour

| stage | CPU-seconds |
|---|---|
{stages}
| *rendering, all of it, as our graph does it* | {render:.1f} |
| *training, an epoch of the preset `small` on 96 x 96* | {train:.1f} |
| *`lib.predict` on spectrograms of the report's size, all passes* | {predict:.1f} |

Rendering is counted once for each effect that a clip is put through. It stores {storage:.1f} MB an audio-hour and
effect, as float16; spectrograms of the report's size, 2,049 x 65, take {long:.0f} MB. The row of all of it also has
what the bare calls leave out: drawing stretches and settings, refusing silent ones, labels, files.

## On a GPU

Steps of training on one {gpu}, measured by `benchmarks/gpu.py` on another machine with torch {gpu_torch}, in bf16
mixed precision, on made-up pictures ({{download}}`gpu.json`): medians of {gpu_turns} turns, with the lowest and the
highest in brackets. GPU-seconds are those of an epoch over an audio-hour, validation and checkpoints left out.

| net | batch | ms a step | clips a second | GPU-seconds | peak memory, GB |
|---|---|---|---|---|---|
{nets}

Per audio-hour an epoch of `small` is {tflop:.2f} TFLOP, so in the batches that cost least the device did {pace:.2f}
TFLOP a second. One CPU thread prepares the batches and starts the kernels; how much of a step waits for it is not told
by these numbers. Only trainings use a GPU: rendering, spectra, evaluations and maps run on CPUs.

## All of it

With one effect and {epochs} epochs of training.

| | VCTK | 100,000 hours |
|---|---|---|
{table}

Maps and probes take samples of a fixed size, so they cost what they cost in this book. `lib.predict` reads the data
a few times; its memory does not grow with them.

## What saturates first

A clip is a function of its number alone, so rendering may be cut anywhere: at an audio-hour a job the graph is
{vctk} jobs wide for VCTK, {hours:,} for the other, and one job gathers. Three things end the gain from more cores.

- **The scheduler.** A dry run of our graph, one story scattered over so many jobs, took
  {planned}.
  A job more costs {plan_first:.1f} ms between the first two, {plan_last:.1f} ms between the last two. Snakemake
  started and ended jobs that do nothing at {started:.1f} a second on this machine{shape}.
  A job of an audio-hour takes {render:.0f} s, so from about {cores:.0f} cores on they wait for Snakemake. Longer
  shards move that: the number of cores grows with the hours of a shard.
- **The disk.** A core reads {read:.1f} MB/s of 16-bit sound at 48 kHz and writes {written:.2f} MB/s. A shared disk
  of 1 GB/s, an assumption, feeds about {disk:.0f} cores.
- **Training.** An epoch takes {share:.2g} times the CPU of rendering once, {epochs} epochs {bill:.0f} times. Its
  steps follow one another: more machines make each step shorter, by DDP, and not fewer of them.

So {first} first. For {hours:,} hours shards of {shard:.0f} hours keep the graph at {jobs:,.0f} jobs, the most that
was planned here.
"""
VCTK_HOURS, HOURS, EPOCHS, CLUSTER = 44, 100_000, 20, 1000
LONG_S = 131_072 / 24_000  # of a clip of the report


def _number(value: float) -> str:
    """Three digits, without an exponent where it can be read."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _measured(row: dict[str, Any]) -> str:
    unit = {"x": "", "": ""}.get(row["unit"], f" {row['unit']}")
    spread = f" ({_number(row['low'])} to {_number(row['high'])})" if row["turns"] > 1 else ""
    return f"{_number(row['value'])}{spread}{unit}"


def _row(row: dict[str, Any]) -> str:
    goal = "" if row["goal"] is None else f"{row['sense']} {_number(row['goal'])}"
    goal = goal.replace(" ", "\N{NO-BREAK SPACE}")  # in a narrow column it would be a word a line
    told = {True: "reached", False: "**not reached**", None: ""}[row["reached"]]
    note = f"; {row['note']}" if row["note"] else ""
    return f"| {row['what']} | {row['against']} | {_measured(row)}{note} | {goal} | {told} |"


def _rising(turns: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Contenders by how much they did, then by name."""
    return sorted(turns.items(), key=lambda each: (each[1]["done"], each[0]))


def _machine(found: dict[str, Any]) -> str:
    m = found["machine"]
    return f"{m['processor']}, {m['cores']} cores, {m['memory_gb']} GB, {m['system']}"


def gpu_seconds(net: dict[str, Any]) -> float:
    """GPU-seconds of an epoch over an audio-hour, by the median step of a net in gpu.json."""
    return 3600 / net["clip_s"] / net["batch_size"] * statistics.median(net["step_s"])


def _net(net: dict[str, Any]) -> str:
    steps = net["step_s"]
    low, middle, high = (
        _number(1000 * value) for value in (min(steps), statistics.median(steps), max(steps))
    )
    size = " x ".join(f"{side:,}" for side in net["shape"])
    return (
        f"| `{net['preset']}` on {size} | {net['batch_size']} | {middle} ({low} to {high}) | "
        f"{_number(net['batch_size'] / statistics.median(steps))} | {_number(gpu_seconds(net))} | "
        f"{_number(net['peak_gb'])} |"
    )


def _report(found: dict[str, Any]) -> str:
    """Which run had nothing to be done."""
    facts = found["found"].get("rerun", {}).get("ours", {}).get("facts", {})
    return (
        " With nothing to be done, "
        + (
            "the report run of this checkout was timed, pages and numbers; its time from nothing is that of the run before."
            if "report_s" in facts
            else "the same run was timed: no complete report run was there."
        )
        if facts
        else ""
    )


def speed_page(found: dict[str, Any]) -> str:
    """The page on speed; Markdown."""
    goals = [row for row in found["lines"] if row["goal"] is not None]
    reached = sum(row["reached"] for row in goals)
    rows = [
        f"| {part} | {name} | {_number(turn['done'])} | {_number(turn['cpu_s'])} | {_number(turn['wall_s'])} | "
        f"{_number(turn['peak_mb'])} |"
        for part, each in found["found"].items()
        for name, turn in _rising(each)
    ]
    versions = ", ".join(
        f"{name} {version}" for name, version in found["machine"]["versions"].items()
    )
    rerun = found["found"].get("rerun", {}).get("ours", {}).get("facts", {})
    return SPEED.format(
        machine=_machine(found),
        summary=f"Of {len(goals)} goals {reached} are reached.",
        lines="\n".join(map(_row, found["lines"])),
        found="\n".join(rows),
        share=found["share"],
        stories=f"{rerun.get('pages', 0):.0f}",
        report=_report(found),
        versions=f"Commit `{found['machine']['commit']}`, with {versions}.",
    )


def costs(found: dict[str, Any]) -> dict[str, float]:
    """What the page on cost multiplies: an audio-hour's CPU-seconds, bytes and FLOP, and the scheduler's pace."""
    parts = found["found"]
    ours, bare, large = (
        parts["clips"]["ours"],
        parts["clips"]["the bare calls"]["facts"],
        parts["large"]["ours"],
    )
    (_, few), (_, many) = _rising(parts["vae"])  # what a training does once does not count
    step = (many["cpu_s"] - few["cpu_s"]) / (many["done"] - few["done"])
    plans = sorted((turn["done"], turn["cpu_s"]) for turn in parts["planned"].values())
    more = [
        (s - s_before) / (jobs - before) for (before, s_before), (jobs, s) in pairwise(plans)
    ]  # of one job more
    started = parts["started"]["ours"]
    seconds = many["facts"]["clip_s"]
    return {
        **{f"stage.{name}": 3600 * value for name, value in bare.items() if name != "finite"},
        "render": 3600 * ours["cpu_s"] / ours["done"],
        "storage": 3600 * ours["facts"]["bytes_per_audio_s"],
        "train": 3600 / seconds * step,
        "flop": 3600 / seconds * many["facts"]["flop"],
        "predict": 3600 / LONG_S * large["cpu_s"] / large["done"],
        "long": 3600 / LONG_S * large["facts"]["n_values"] * 2,
        "started": started["done"] / started["wall_s"],
        "plan_first": more[0],
        "plan_last": more[-1],
    }


def cost_page(found: dict[str, Any], gpu: dict[str, Any]) -> str:
    """The page on cost, from speed.json and gpu.json; Markdown."""
    c, parts = costs(found), found["found"]
    cheapest = {net["preset"]: net for net in sorted(gpu["nets"], key=gpu_seconds, reverse=True)}
    stages = [
        f"| {name.partition('.')[2]} | {value:.1f} |"
        for name, value in c.items()
        if name.startswith("stage.")
    ]

    def days(cpu_s: float) -> str:
        hours = cpu_s / 3600
        return (
            f"{_number(hours / 24 / 365)} core-years"
            if hours > 8760
            else f"{_number(hours)} core-hours"
        )

    def row(name: str, told: Any) -> str:
        return f"| {name} | {told(VCTK_HOURS)} | {told(HOURS)} |"

    cores, disk = c["started"] * c["render"], 1e9 / (48_000 * 2 * 3600 / c["render"])
    table = [
        row("rendering", lambda h: days(h * c["render"])),
        row(
            f"rendering, wall on {CLUSTER:,} cores, if nothing saturates",
            lambda h: f"{_number(h * c['render'] / CLUSTER / 60)} min",
        ),
        row("training `small` on CPUs", lambda h: days(h * EPOCHS * c["train"])),
        *(
            row(
                f"training `{name}` on a GPU, batches of {net['batch_size']}",
                lambda h, net=net: f"{_number(h * EPOCHS * gpu_seconds(net) / 3600)} GPU-hours",
            )
            for name, net in sorted(cheapest.items())
        ),
        row(
            "sound at 48 kHz, 16 bit, not compressed",
            lambda h: f"{_number(h * 48_000 * 2 * 3600 / 1e9)} GB",
        ),
        row("spectrograms, 96 x 96", lambda h: f"{_number(h * c['storage'] / 1e9)} GB"),
        row("spectrograms of the report's size", lambda h: f"{_number(h * c['long'] / 1e9)} GB"),
        row("width of the graph, an audio-hour a job", lambda h: f"{h:,}"),
    ]
    planned = [
        f"{turn['wall_s']:.0f} s ({turn['done']:,} jobs, {turn['peak_mb']:.0f} MB)"
        for _, turn in _rising(parts["planned"])
    ]
    empty = parts.get("shape", {}).get("ours")
    shape = f"; it planned {empty['done']:,} such jobs in {empty['wall_s']:.0f} s" if empty else ""
    largest = max(int(turn["done"]) for turn in parts["planned"].values())
    first = "the scheduler saturates" if cores < disk else "the disk saturates"
    return COST.format(
        processor=found["machine"]["processor"],
        vctk=VCTK_HOURS,
        epochs=EPOCHS,
        stages="\n".join(stages),
        render=c["render"],
        train=c["train"],
        predict=c["predict"],
        long=c["long"] / 1e6,
        storage=c["storage"] / 1e6,
        tflop=c["flop"] / 1e12,
        gpu=gpu["gpu"],
        gpu_torch=gpu["versions"]["torch"].partition("+")[0],
        gpu_turns=len(gpu["nets"][0]["step_s"]),
        nets="\n".join(map(_net, gpu["nets"])),
        pace=c["flop"] / 1e12 / gpu_seconds(cheapest["small"]),
        shape=shape,
        table="\n".join(table),
        planned=", ".join(planned),
        plan_first=1000 * c["plan_first"],
        plan_last=1000 * c["plan_last"],
        started=c["started"],
        cores=cores,
        disk=disk,
        read=48_000 * 2 * 3600 / c["render"] / 1e6,
        written=c["storage"] / c["render"] / 1e6,
        share=c["train"] / c["render"],
        first=first,
        bill=EPOCHS * c["train"] / c["render"],
        hours=HOURS,
        shard=math.ceil(HOURS / largest),
        jobs=HOURS / math.ceil(HOURS / largest),
    )


def write(folder: Path) -> None:
    """Both pages beside the numbers of a folder."""
    found = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    (folder / "speed.md").write_text(speed_page(found), encoding="utf-8")
    if {"clips", "large", "vae", "planned", "started"} <= found["found"].keys():
        gpu = json.loads((ROOT / "book" / "gpu.json").read_text(encoding="utf-8"))
        (folder / "cost.md").write_text(cost_page(found, gpu), encoding="utf-8")


if __name__ == "__main__":
    write(ROOT / "book")
