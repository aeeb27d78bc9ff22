"""The benchmark: every part runs at a tiny size, contenders do the same work, the pages say what was measured."""

import importlib
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import bench
import pages
import pytest
import speed
import torch

from lib import ROOT

LOSES, WINS = (
    0.1,
    0.035,
)  # squared error of a net that has learned a little, and below what none reaches here


@pytest.fixture
def measured(tmp_path):
    """Measures a part at its tiny size."""
    if not bench.PEERS.is_dir() and not os.environ.get("CI"):
        pytest.skip("what the benchmark compares with is not here: `make slow` installs it")
    assert bench.PEERS.is_dir(), (
        "CI needs requirements-bench.txt in artifacts/peers: `make slow` installs it"
    )
    return lambda name: bench.measure(bench.PARTS[name], True, tmp_path)


def check(found: bench.Found, part: bench.Part) -> dict[str, dict]:
    """All took their turns, in time and memory; the lines by what they compare and with whom."""
    assert list(found) == [each.name for each in part.contenders]
    for turns in found.values():
        for turn in turns:
            assert (
                turn["done"] > 0
                and turn["cpu_s"] > 0
                and turn["wall_s"] > 0
                and turn["peak_mb"] > 10
            )
    lines = {(each["what"], each["against"]): each for each in part.lines(found)}
    assert all(
        math.isfinite(each["value"]) and each["low"] <= each["value"] <= each["high"]
        for each in lines.values()
    )
    return lines


@pytest.mark.slow
def test_every_loop_trains_the_same_net(measured) -> None:
    found = measured("mlp")
    lines = check(found, bench.PARTS["mlp"])
    assert {name for _, name in lines} == found.keys() - {"ours"}
    for name, turns in found.items():
        assert all(WINS < turn["facts"]["mse"] < LOSES for turn in turns), (name, turns)


@pytest.mark.slow
def test_every_way_makes_spectrograms_of_the_same_stretches(measured) -> None:
    found = measured("clips")
    check(found, bench.PARTS["clips"])
    assert len({turn["done"] for turns in found.values() for turn in turns}) == 1, (
        "not the same audio-seconds"
    )
    assert all(turns[-1]["facts"].get("finite", 1.0) == 1.0 for turns in found.values())
    bare = found["the bare calls"][-1]
    spent = bare["done"] * sum(value for name, value in bare["facts"].items() if name != "finite")
    assert 0.7 * bare["cpu_s"] < spent <= bare["cpu_s"], "a stage is not counted, or twice"


@pytest.mark.slow
def test_every_stft_is_the_same(measured) -> None:
    found = measured("stft")
    check(found, bench.PARTS["stft"])
    assert all(0 < turn["facts"]["error"] <= 1e-4 for turns in found.values() for turn in turns), (
        found
    )


@pytest.mark.slow
def test_both_kinds_of_maps_separate_effects(measured) -> None:
    found = measured("panels")
    check(found, bench.PARTS["panels"])
    for turns in found.values():
        assert all(
            turn["facts"].keys() == {"speech, 2 effects"} and turn["done"] == 1 for turn in turns
        )
        assert all(0.6 < value <= 1 for turn in turns for value in turn["facts"].values()), (
            found
        )  # chance: 0.5


@pytest.mark.slow
def test_the_prediction_has_the_eigenvalues_of_numpy(measured) -> None:
    lines = check(measured("predict"), bench.PARTS["predict"])
    assert lines["lib.predict, 60,000 x 784, eigenvalues apart", "numpy SVD"]["value"] <= 1e-6


@pytest.mark.slow
def test_a_large_set_is_read_in_pieces(measured) -> None:
    found = measured("large")
    lines = check(found, bench.PARTS["large"])
    apart = lines["lib.predict, 5,000 x 133,185, eigenvalues apart", "numpy, inner products"]
    assert 0 < apart["value"] <= 1e-6  # two ways, in another order
    assert found["ours"][0]["done"] == 40 and 0.9 < found["ours"][0]["facts"]["share"] <= 1


@pytest.mark.slow
def test_a_rendering_of_more_clips_takes_no_more_memory(measured) -> None:
    lines = check(measured("growth"), bench.PARTS["growth"])
    memory = lines["growth of a rendering, peak memory, largest / smallest", ""]
    assert memory["reached"], memory  # 16 times the clips


@pytest.mark.slow
def test_a_change_makes_again_only_what_depends_on_it(measured) -> None:
    found = measured("rerun")
    check(found, bench.PARTS["rerun"])
    assert found["ours"][0]["facts"]["only_what_depends"] == 1.0, found


@pytest.mark.slow
def test_the_grid_of_both_sides_is_trained(measured) -> None:
    found = measured("grid")
    check(found, bench.PARTS["grid"])
    assert found["ours"][0]["done"] == 4 and found["one process, defaults"][0]["done"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["planned", "shape", "started"])
def test_the_scheduler_is_asked(name: str, measured) -> None:
    check(measured(name), bench.PARTS[name])


def test_a_contender_that_fails_stops_the_benchmark_with_its_reason(tmp_path) -> None:
    part = bench.Part(
        "sound", (bench.Contender("ours", "growth"),), {}, {"clips": 0, "workers": 1}, list
    )
    with pytest.raises(
        SystemExit, match="(?s)benchmark sound growth failed:.*clips_per_effect = 0"
    ):
        bench.measure(part, True, tmp_path)


@pytest.mark.parametrize("words", [["--small"], ["--only", "stft"]])
def test_the_book_gets_no_partial_numbers(words: list[str], monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(bench, "PEERS", tmp_path)
    with pytest.raises(SystemExit):
        bench.main(words)
    assert "give --to FOLDER" in capsys.readouterr().err


def turn(done: float, cpu_s: float, peak_mb: float = 100.0, **facts: float) -> dict:
    return {"done": done, "cpu_s": cpu_s, "wall_s": cpu_s, "peak_mb": peak_mb, "facts": facts}


def test_panels_are_compared_one_by_one() -> None:
    """Two panels that err against each other have the same mean, and are still 4 points apart."""
    found = {
        "ours": [turn(2, 1.0, a=0.80, b=0.90), turn(2, 1.0, a=0.80, b=0.90)],
        "umap.UMAP().fit": [turn(2, 2.0, a=0.84, b=0.86), turn(2, 2.0, a=0.82, b=0.87)],
    }
    _, apart, again = bench._panels(found)
    assert (apart["low"], apart["high"]) == pytest.approx((3.0, 4.0)) and not apart["reached"]
    assert apart["note"].endswith("; ours is higher in 1 of 2 panels")
    assert again["value"] == pytest.approx(2.0) and again["goal"] is None


@pytest.mark.parametrize(
    ("seconds", "change", "reached"),
    [
        ((15.0, 25.0, 65.0), 0.0, True),  # 10 ms a clip, after a start of 5 s: a straight line
        ((15.0, 25.0, 77.0), 30.0, False),  # the third size is dearer
        ((15.0, 25.0, 53.0), 30.0, False),  # or cheaper: no line either
    ],
)
def test_growth_is_that_of_one_more_clip(
    seconds: tuple[float, ...], change: float, reached: bool
) -> None:
    sizes = {str(n): [turn(n, cpu_s)] for n, cpu_s in zip((1000, 2000, 6000), seconds, strict=True)}
    clips, memory = bench._growth(sizes)
    assert (
        clips["value"] == pytest.approx(change, abs=1e-9)
        and clips["reached"] == reached
        and memory["reached"]
    )
    sizes["6000"][0]["peak_mb"] = 120.0
    assert not bench._growth(sizes)[1]["reached"]


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ({}, "quick run, 3 stories, nothing to be done"),
        (
            {"report_s": 40.0, "report_pages": 14.0, "report_made_again": 2.0},
            "report run, 14 stories, nothing to be done",
        ),
    ],
)
def test_half_a_minute_with_nothing_to_do_is_asked_of_the_report_where_there_is_one(
    report: dict, told: str
) -> None:
    facts = {
        "cold_s": 90.0,
        "warm_s": 12.0,
        "changed_s": 20.0,
        "pages": 3,
        "made_again": 1.0,
    } | report
    rows = {row["what"]: row for row in bench._rerun({"ours": [turn(3, 1.0, **facts)]})}
    row = rows[told]
    assert (row["goal"], row["value"]) == (30.0, facts.get("report_s", 12.0)) and row[
        "reached"
    ] == (not report)
    assert ("no complete report run" in row["note"]) == (not report)
    assert [one["what"] for one in rows.values() if one["goal"] == 30.0] == [told]
    again = rows.get("report run, 14 stories, jobs planned after the same change")
    assert not again["reached"] if report else again is None  # two: one that does not depend on it
    page = speed.speed_page(
        result(1.0) | {"found": {"rerun": {"ours": turn(3, 1.0, **facts) | {"turns": 1}}}}
    )
    assert ("no complete report run was there" in page) == (not report)


def test_the_cold_report_is_a_row_where_one_was_timed(monkeypatch, tmp_path) -> None:
    """Of what tools/run.py noted, the last run from nothing that made every page."""
    facts = {
        "cold_s": 90.0,
        "warm_s": 12.0,
        "changed_s": 20.0,
        "pages": 3,
        "made_again": 1.0,
        "report_s": 6.0,
        "report_pages": 14.0,
        "report_made_again": 1.0,
    }
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    (tmp_path / "artifacts/report").mkdir(parents=True)
    noted = ""
    for seconds, made, fresh, values in (
        (60.0, 0, False, []),
        (90.0, 13, True, []),
        (300.0, 14, True, [5.0]),
        (30.0, 0, False, [5.0]),
        (480.0, 14, False, [5.0]),
        (240.0, 14, True, [4.0]),
    ):
        noted += json.dumps({"seconds": seconds, "pages": 14, "made": made, "fresh": fresh}) + "\n"
        (tmp_path / "artifacts/report/took.jsonl").write_text(noted)
        rows = bench._rerun({"ours": [turn(3, 1.0, **facts)]})
        assert [
            row["value"] for row in rows if row["what"] == "report run, 14 stories, cold"
        ] == values


@pytest.mark.parametrize(
    ("plan", "jobs"),
    [
        ("story          1\nresults        1\ntotal          2", 1),
        ("point 12\nstory 2", 14),
        ("nothing", None),
    ],
)
def test_the_plan_after_a_change_is_read(
    plan: str, jobs: int | None, monkeypatch, tmp_path
) -> None:
    """A stand-in for Snakemake is shown a graph that reads the changed run."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    graph = importlib.import_module("graph")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/report.yml").write_text("stories:\n  one: {seed: 0}\n  two: {seed: 0}\n")
    (tmp_path / "Snakefile").write_text('run = read_run(Path("runs") / f"{RUN}.yml")\n')
    monkeypatch.setattr(graph, "ROOT", tmp_path)

    def snakemake(command: list[str], **_: object) -> subprocess.CompletedProcess:
        source = Path(command[command.index("--snakefile") + 1]).read_text()
        changed = Path(source.split("'")[1])
        assert graph.yaml.safe_load(changed.read_text()) == {
            "stories": {"one": {"seed": 1}, "two": {"seed": 0}}
        }
        assert command[-2:] == ["--dry-run", "results"]
        return subprocess.CompletedProcess(command, 0, plan)

    monkeypatch.setattr(graph.subprocess, "run", snakemake)
    if jobs is None:
        with pytest.raises(RuntimeError, match="nothing"):
            graph._planned_again("one", "seed", 1)
    else:
        assert graph._planned_again("one", "seed", 1) == jobs
    with pytest.raises(RuntimeError, match="seed of one is 0 already"):
        graph._planned_again("one", "seed", 0)


@pytest.mark.parametrize("says", ["Nothing to be done", "job count\nstory 14"])
def test_the_report_is_timed_only_when_it_is_complete(says: str, monkeypatch, tmp_path) -> None:
    """A stand-in for tools/run.py notes how it was called: an incomplete report is never computed."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/run.py").write_text(
        f"import sys; open('called', 'a').write(' '.join(sys.argv[1:]) + chr(10)); print({says!r})"
    )
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    graph = importlib.import_module("graph")
    monkeypatch.setattr(graph, "ROOT", tmp_path)
    assert graph._report_again() == {} and not (tmp_path / "called").exists()
    (tmp_path / "artifacts/report/pages").mkdir(parents=True)
    (tmp_path / "artifacts/report/pages/one.ipynb").touch()
    found, complete = graph._report_again(), says.startswith("Nothing")
    assert (found.get("report_pages") == 1 and found["report_s"] > 0) if complete else found == {}
    called = (tmp_path / "called").read_text().splitlines()
    assert called == ["report results --dry-run"] + ["report results"] * complete


def test_contenders_take_turns_and_a_ratio_is_that_of_a_turn() -> None:
    found = {
        "ours": [{"done": 8, "cpu_s": 1.0}, {"done": 8, "cpu_s": 4.0}, {"done": 8, "cpu_s": 2.0}],
        "theirs": [{"done": 4, "cpu_s": 1.0}, {"done": 4, "cpu_s": 2.0}, {"done": 4, "cpu_s": 4.0}],
    }
    (row,) = bench.against(found, "work", {"theirs": 2.0})
    assert (row["low"], row["value"], row["high"], row["reached"]) == (1.0, 2.0, 4.0, True)


def result(value: float) -> dict:
    """Numbers as speed.json has them, of one part."""
    turns = {"ours": [{"done": 1, "cpu_s": 1.0, "wall_s": 1.0, "peak_mb": 1.0, "facts": {}}]}
    rows = [
        {"part": "toy", **bench.line("toying", "others", [value], "at least", 2.0, "x")},
        {"part": "toy", **bench.line("error", "", [value], "at most", 2.0)},
        {"part": "toy", **bench.line("no goal", "", [value])},
    ]
    return {
        "machine": bench.machine(),
        "share": 5,
        "lines": rows,
        "found": {"toy": bench._rates(turns)},
    }


def test_what_misses_its_goal_is_printed_as_such() -> None:
    text, more = (
        speed.speed_page(result(value)).replace("\N{NO-BREAK SPACE}", " ") for value in (1.5, 2.5)
    )
    assert "| toying | others | 1.5 | at least 2 | **not reached** |" in text
    assert (
        "| error |  | 1.5 | at most 2 | reached |" in text and "| no goal |  | 1.5 |  |  |" in text
    )
    assert "Of 2 goals 1 are reached." in text
    assert "| toying | others | 2.5 | at least 2 | reached |" in more


def bill(started: float) -> dict:
    """Rendering at 100 audio-seconds a CPU-second, 10 bytes stored of each; lib.predict at 10 clips a CPU-second;
    training at 4 clips of 2 s a CPU-second, after a start of 3 s.
    """
    return result(1.0) | {
        "found": {
            "clips": {
                "ours": turn(1000, 10.0, bytes_per_audio_s=10.0),
                "the bare calls": turn(1000, 8.0, decode=0.002),
            },
            "vae": {
                "16": turn(16, 7.0, clip_s=2.0, flop=1e9),
                "8": turn(8, 5.0, clip_s=2.0, flop=1e9),
            },
            "large": {"ours": turn(50, 5.0, n_values=1000)},
            "planned": {"300": turn(300, 5.0), "1000": turn(1000, 12.0), "3000": turn(3000, 52.0)},
            "shape": {"ours": turn(10_000, 60.0)},
            "started": {"ours": turn(started, 1.0)},
        }
    }


GPU = {"gpu": "H100", "versions": {"torch": "2.11.0+cu130"}}


def on_gpu(preset: str, batch_size: int, *step_s: float) -> dict:
    return {
        "preset": preset,
        "batch_size": batch_size,
        "step_s": step_s,
        "shape": (96, 2049),
        "clip_s": 2.0,
        "peak_gb": 0.5,
    }


@pytest.mark.parametrize(
    ("started", "first"), [(0.5, "the scheduler saturates"), (500.0, "the disk saturates")]
)
def test_the_bill_is_a_multiplication(started: float, first: str) -> None:
    found = bill(started)
    assert speed.costs(found) == pytest.approx(
        {
            "stage.decode": 7.2,
            "render": 36.0,
            "storage": 36_000.0,
            "train": 450.0,
            "flop": 1.8e12,
            "started": started,
            "predict": 360 / speed.LONG_S,
            "long": 3600 / speed.LONG_S * 2000,
            "plan_first": 0.01,
            "plan_last": 0.02,
        }
    )
    text = speed.cost_page(found, GPU | {"nets": [on_gpu("small", 10, 1.0)]})
    assert (
        f"So {first} first." in text
        and "| rendering | 0.44 core-hours | 1,000 core-hours |" in text
    )
    assert (
        "| spectrograms, 96 x 96 | 0.00158 GB | 3.6 GB |" in text
        and f"about {started * 36:.0f} cores" in text
    )


def test_the_bill_of_a_gpu_takes_the_batch_that_costs_least() -> None:
    """1,800 clips an audio-hour: 180 steps of 10 clips, or 18 of 100; the median step counts, whatever the turn."""
    few, many = on_gpu("small", 10, 0.9, 0.02, 0.01), on_gpu("small", 100, 0.04, 0.03, 0.9)
    assert [speed.gpu_seconds(net) for net in (few, many)] == pytest.approx([3.6, 0.72])
    nets = [few, many, on_gpu("week4", 8, 0.1, 0.1, 0.1)]
    text = " ".join(speed.cost_page(bill(0.5), GPU | {"nets": nets}).split())
    assert "on one H100," in text and "torch 2.11.0," in text and "medians of 3 turns" in text
    assert "| `small` on 96 x 2,049 | 100 | 40 (30 to 900) | 2,500 | 0.72 | 0.5 |" in text
    assert "| training `small` on a GPU, batches of 100 | 0.176 GPU-hours | 400 GPU-hours |" in text
    assert "training `week4` on a GPU, batches of 8 | 5.5 GPU-hours" in text
    assert (
        "is 1.80 TFLOP, so in the batches that cost least the device did 2.50 TFLOP a second"
        in text
    )


def test_without_a_gpu_its_benchmark_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    command = [sys.executable, "benchmarks/gpu.py", str(tmp_path / "gpu.json")]
    told = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (
        told.returncode == 1
        and "no CUDA device here" in told.stderr
        and not list(tmp_path.iterdir())
    )


def test_a_step_is_timed_between_the_first_ones_and_the_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first look is at the start, before a step; the last step is left out, which ends with the epoch."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path))
    gpu = importlib.import_module("gpu")
    ticks = itertools.count()
    monkeypatch.setattr(gpu, "perf_counter", lambda: next(ticks) ** 2)  # the n-th look is at n^2
    net = {"preset": "small", "shape": (32, 32), "batch_size": 2, "steps": gpu.WARM + 3}
    assert gpu.step_s(net, 0, "cpu") == ((12**2 - 10**2) / 2, 0.0)


def test_pages_are_those_of_the_numbers() -> None:
    """book/speed.md and book/cost.md say what book/speed.json holds, measured at full size, and are in the book.

    Until `make bench` has written them none of the three is there, and the contents do not name them: a strict build
    stops at a page that is named and missing.
    """
    written = [
        name for name in ("speed.json", "speed.md", "cost.md") if (ROOT / "book" / name).exists()
    ]
    named = [name for name in pages.toc() if name in ("speed", "cost")]
    if written or named:
        assert written == ["speed.json", "speed.md", "cost.md"] and named == ["speed", "cost"]
        found = json.loads((ROOT / "book/speed.json").read_text(encoding="utf-8"))
        gpu = json.loads((ROOT / "book/gpu.json").read_text(encoding="utf-8"))
        assert not found["small"] and found["found"].keys() == bench.PARTS.keys()
        assert (ROOT / "book/speed.md").read_text(encoding="utf-8") == speed.speed_page(found)
        assert (ROOT / "book/cost.md").read_text(encoding="utf-8") == speed.cost_page(found, gpu)
