"""One contender of a benchmark in a process of its own, so that threads, CPU-seconds and peak memory are its own.

`python benchmarks/worker.py PART CONTENDER SIZE [SIZE]`, started by tools/bench.py. PART is a module beside this one;
its CONTENDERS are functions of the size, a JSON object, that prepare and return the work: a function that does it once
and returns how much was done, and facts about the result. With a second size the work is done in that one first, for
what a process does once: late imports, compilation. Every line on stdin asks for the work once; the answer is a line of
JSON. What libraries print goes to stderr.
"""

import importlib
import json
import os
import resource
import sys
import time

import psutil


def cpu_s() -> float:
    """CPU-seconds of this process, all its threads, and of its children, gone or alive."""
    gone = resource.getrusage(resource.RUSAGE_CHILDREN)
    alive = (child.cpu_times() for child in psutil.Process().children(recursive=True))
    return (
        time.process_time()
        + gone.ru_utime
        + gone.ru_stime
        + sum(times.user + times.system for times in alive)
    )


def peak_mb() -> float:
    """Peak resident memory, MB, of this process or of a child that is gone; of a child that lives, what it has now."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    peaks = [
        resource.getrusage(who).ru_maxrss / unit
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return max(
        *peaks,
        *(child.memory_info().rss / 1e6 for child in psutil.Process().children(recursive=True)),
    )


def main(part: str, contender: str, size: str, before: str = "") -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries that print do not disturb the answers
    prepare = importlib.import_module(part).CONTENDERS[contender]
    if before:
        prepare(**json.loads(before))()
    work = prepare(**json.loads(size))
    answers.write(json.dumps({"ready": contender}) + "\n")
    for _ in sys.stdin:
        start, cpu = time.perf_counter(), cpu_s()
        done, facts = work()
        found = {
            "done": done,
            "cpu_s": cpu_s() - cpu,
            "wall_s": time.perf_counter() - start,
            "peak_mb": peak_mb(),
        }
        answers.write(json.dumps(found | {"facts": facts}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
