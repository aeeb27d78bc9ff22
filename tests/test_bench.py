"""The benchmark runs small, its goals are judged, and its pages are those of its numbers."""

import json
import subprocess
import sys
from pathlib import Path

import bench
import pytest
import speed

from lib import ROOT


@pytest.mark.slow
def test_parts_run_small_and_give_their_rows(tmp_path: Path) -> None:
    words = ["--small", "--to", str(tmp_path), "--only", "stft", "predict"]
    done = subprocess.run([sys.executable, "tools/bench.py", *words], cwd=ROOT)
    assert done.returncode == 0
    result = json.loads((tmp_path / "speed.json").read_text())
    lines = {(line["what"], line["against"]): line for line in result["lines"]}
    assert len(lines) == 5 and all(line["value"] > 0 for line in lines.values())
    assert lines["STFT 4096/2048, largest error", "numpy in float64"]["reached"]
    assert lines["lib.predict, eigenvalues apart", "numpy SVD"]["reached"]
    assert "| STFT 4096/2048 | librosa |" in (tmp_path / "speed.md").read_text()


def test_the_book_gets_no_partial_numbers(capsys) -> None:
    for words in (["--small"], ["--only", "stft"]):
        with pytest.raises(SystemExit):
            bench.main(words)
        assert "every part at full size" in capsys.readouterr().err


def test_a_ratio_is_that_of_a_turn_and_what_misses_its_goal_is_printed_as_such() -> None:
    turns = {
        "ours": [{"done": 10, "cpu_s": seconds} for seconds in (1, 2, 4)],
        "theirs": [{"done": 10, "cpu_s": seconds} for seconds in (2, 4, 4)],
    }
    line = bench.ratio(turns, "work", "theirs", 1.5)
    assert (line["value"], line["low"], line["high"], line["reached"]) == (2, 1, 2, True)
    assert speed.row(line).startswith(
        "| work | theirs | 2 (1 to 2) | at\u00a0least\u00a01.5 | reached |"
    )
    assert "**not reached**" in speed.row(bench.ratio(turns, "work", "theirs", 3.0))


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_run_whose_records_are_elsewhere_gives_no_row_on_its_jobs(jobs: int, capsys) -> None:
    facts = {"warm_s": 1.0, "jobs_after_change": jobs}
    rows = bench.rows("report", {"ours": [{"done": 14, "facts": facts}]})
    assert [row["value"] for row in rows if "jobs" in row["what"]] == [jobs] * jobs
    assert ("in another checkout" in capsys.readouterr().err) == (not jobs)


def test_the_pages_are_those_of_the_numbers() -> None:
    result = json.loads((ROOT / "book/speed.json").read_text(encoding="utf-8"))
    gpu = json.loads((ROOT / "book/gpu.json").read_text(encoding="utf-8"))
    assert not result["small"], "python tools/bench.py"
    assert (ROOT / "book/speed.md").read_text(encoding="utf-8") == speed.speed_page(result)
    assert (ROOT / "book/cost.md").read_text(encoding="utf-8") == speed.cost_page(result, gpu)
