"""`python tools/speed.py` writes book/speed.md and book/cost.md from speed.json and gpu.json.

Their words are benchmarks/speed.md and cost.md; tools/bench.py and benchmarks/gpu.py measure.
"""

import json
import statistics
from pathlib import Path

from lib import ROOT

VCTK_HOURS, HOURS, EPOCHS, CLUSTER = 44, 100_000, 20, 1000
LONG_S = 131_072 / 24_000  # the report's clips last so long
SOUND_BYTES = 48_000 * 2 * 3600  # an hour of sound, 16 bit


def number(value: float) -> str:
    """Three digits, without an exponent where it can be read."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def template(name: str, **values: object) -> str:
    return (ROOT / "benchmarks" / name).read_text(encoding="utf-8").format(**values)


def row(line: dict) -> str:
    """A line of speed.json as a row of the table."""
    measured = number(line["value"])
    if line["turns"] > 1:
        measured += f" ({number(line['low'])} to {number(line['high'])})"
    goal = f"{line['goal'][0]} {number(line['goal'][1])}" if line["goal"] else ""
    goal = goal.replace(" ", "\u00a0")  # a narrow column would hold a word per line
    verdict = {True: "reached", False: "**not reached**", None: ""}[line["reached"]]
    unit = f" {line['unit']}" if line["unit"] else ""
    return f"| {line['what']} | {line['against']} | {measured}{unit} | {goal} | {verdict} |"


def speed_page(result: dict) -> str:
    goals = [line["reached"] for line in result["lines"] if line["goal"]]
    about, parts = result["machine"], []
    for part, contenders in result["parts"].items():
        for name, each in contenders.items():
            numbers = (each[key] for key in ("done", "cpu_s", "wall_s", "peak_mb"))
            parts.append(f"| {part} | {name} | {' | '.join(map(number, numbers))} |")
    with_versions = ", ".join(f"{name} {each}" for name, each in about["versions"].items())
    cores = f"{about['cores']} cores, {about['memory_gb']} GB, {about['system']}"
    return template(
        "speed.md",
        machine=f"{about['processor']}, {cores}",
        goals=f"Of {len(goals)} goals {sum(goals)} are reached.",
        lines="\n".join(map(row, result["lines"])),
        parts="\n".join(parts),
        versions=f"Commit `{about['commit']}`, with {with_versions}.",
    )


def costs(parts: dict) -> dict[str, float]:
    """Of an audio-hour: CPU-seconds, MB, TFLOP; and the jobs that Snakemake starts per second."""
    ours, large = parts["clips"]["ours"], parts["large"]["ours"]
    # their difference leaves out what a training does once
    few, many = sorted(parts["vae"].values(), key=lambda each: each["done"])
    step = (many["cpu_s"] - few["cpu_s"]) / (many["done"] - few["done"])
    clips = 3600 / many["facts"]["clip_s"]
    (started,) = parts["started"].values()
    return {
        "render": 3600 * ours["cpu_s"] / ours["done"],
        "storage": 3600 * ours["facts"]["bytes_per_audio_s"] / 1e6,
        "train": clips * step,
        "tflop": clips * many["facts"]["flop"] / 1e12,
        "predict": 3600 / LONG_S * large["cpu_s"] / large["done"],
        "long": 3600 / LONG_S * large["facts"]["n_values"] * 2 / 1e6,
        "started": started["done"] / started["wall_s"],
    }


def gpu_seconds(net: dict) -> float:
    """GPU-seconds of an epoch over an audio-hour, by the median step of a net in gpu.json."""
    return 3600 / net["clip_s"] / net["batch_size"] * statistics.median(net["step_s"])


def net_row(net: dict) -> str:
    steps, size = sorted(net["step_s"]), " x ".join(f"{side:,}" for side in net["shape"])
    middle = statistics.median(steps)
    low, ms, high = (number(1000 * value) for value in (steps[0], middle, steps[-1]))
    rest = (net["batch_size"] / middle, gpu_seconds(net), net["peak_gb"])
    head = f"| `{net['preset']}` on {size} | {net['batch_size']} | {ms} ({low} to {high})"
    return f"{head} | {' | '.join(map(number, rest))} |"


def cost_page(result: dict, gpu: dict) -> str:
    parts, cost = result["parts"], costs(result["parts"])
    per_core = cost["render"] / 3600
    factors = [  # name, amount per audio-hour, unit
        ("rendering", per_core, "core-hours"),
        (f"rendering, wall on {CLUSTER:,} cores, if nothing saturates", per_core * 0.06, "min"),
        ("training `small` on CPUs", EPOCHS * cost["train"] / 3600, "core-hours"),
    ]
    cheapest = {}
    for net in sorted(gpu["nets"], key=gpu_seconds):
        cheapest.setdefault(net["preset"], net)
    for name, net in sorted(cheapest.items()):
        what = f"training `{name}` on a GPU, batches of {net['batch_size']}"
        factors.append((what, EPOCHS * gpu_seconds(net) / 3600, "GPU-hours"))
    factors += [
        ("sound at 48 kHz, 16 bit, not compressed", SOUND_BYTES / 1e9, "GB"),
        ("spectrograms, 96 x 96", cost["storage"] / 1e3, "GB"),
        ("spectrograms of the report's size", cost["long"] / 1e3, "GB"),
    ]
    table = []
    for what, amount, unit in factors:
        columns = [f"{number(hours * amount)} {unit}" for hours in (VCTK_HOURS, HOURS)]
        table.append(f"| {what} | {' | '.join(columns)} |")
    stages = parts["clips"]["the bare calls"]["facts"].items()
    planned = sorted(parts["planned"].values(), key=lambda each: each["done"])
    plans = [f"{each['wall_s']:.0f} s ({each['done']:,} jobs)" for each in planned]
    cores, disk = cost["started"] * cost["render"], 1e9 * cost["render"] / SOUND_BYTES
    return template(
        "cost.md",
        **cost,
        processor=result["machine"]["processor"],
        vctk=VCTK_HOURS,
        vctk_cpu=VCTK_HOURS * cost["render"] / 3600,
        hours=HOURS,
        hours_cpu=HOURS * cost["render"] / 3600,
        epochs=EPOCHS,
        stages="\n".join(f"| {name} | {3600 * value:.1f} |" for name, value in stages),
        gpu=gpu["gpu"],
        gpu_torch=gpu["versions"]["torch"].partition("+")[0],
        gpu_turns=len(gpu["nets"][0]["step_s"]),
        nets="\n".join(map(net_row, gpu["nets"])),
        pace=cost["tflop"] / gpu_seconds(cheapest["small"]),
        table="\n".join(table),
        planned=", ".join(plans),
        cores=cores,
        disk=disk,
        read=SOUND_BYTES / cost["render"] / 1e6,
        written=cost["storage"] / cost["render"],
        share=cost["train"] / cost["render"],
        bill=EPOCHS * cost["train"] / cost["render"],
        first="the scheduler" if cores < disk else "the disk",
    )


def write(folder: Path) -> None:
    """Both pages beside the numbers of a folder."""
    result = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    (folder / "speed.md").write_text(speed_page(result), encoding="utf-8")
    if {"clips", "large", "vae", "planned", "started"} <= result["parts"].keys():
        gpu = json.loads((ROOT / "book" / "gpu.json").read_text(encoding="utf-8"))
        (folder / "cost.md").write_text(cost_page(result, gpu), encoding="utf-8")


if __name__ == "__main__":
    write(ROOT / "book")
