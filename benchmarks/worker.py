"""One contender of a benchmark in a process of its own: so are its threads, seconds and memory.

`python benchmarks/worker.py trainings.ours '{"images": 2560}' ['{"images": 40000}']`, started by
tools/bench.py. A contender is a generator: it prepares, yields once, works, and yields how much
it did and facts about the result. With two sizes it does the first one before, for late imports
and compilation. The clock runs during the work only. The answer is a line of JSON.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable


def usage() -> tuple[float, float]:
    """CPU-seconds and peak memory in MB, of this process and of its children that ended."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    each = [resource.getrusage(who) for who in whose]
    return sum(u.ru_utime + u.ru_stime for u in each), max(u.ru_maxrss for u in each) / unit


def turn(contender: Callable, size: dict) -> dict:
    """What a contender did in one turn, and what it took."""
    steps = contender(**size)
    next(steps)  # it prepares
    start, (cpu_s, _) = time.perf_counter(), usage()
    done, facts = next(steps)
    wall_s = time.perf_counter() - start
    steps.close()  # children end, and count
    cpu_after_s, peak_mb = usage()
    took = {"cpu_s": cpu_after_s - cpu_s, "wall_s": wall_s, "peak_mb": peak_mb}
    return {"done": done, "facts": facts, **took}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print do not disturb the answer
    module, name = sys.argv[1].split(".")
    contender = getattr(importlib.import_module(module), name)
    turns = [turn(contender, json.loads(size)) for size in sys.argv[2:]]
    answers.write(json.dumps(turns[-1]) + "\n")
