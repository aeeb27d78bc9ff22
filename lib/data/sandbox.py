"""A worker process for C libraries that decode files of strangers: a crash there is an error here.

Corpora with a path (chapter 01) are listed and read through `run`. Every request has limits of
memory and time.
"""

import os
import re
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from joblib.externals.loky.process_executor import BrokenProcessPool, ProcessPoolExecutor

from lib import BadInput

MEMORY_BYTES = 4 * 2**30  # address space of the worker
CPU_S, WALL_S = 60, 300  # limits of one request
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # stacks count as memory


class Crash(BadInput):
    """A request ended its worker."""


@cache
def _pool(pid: int) -> ProcessPoolExecutor:
    """The worker of one process: a fork needs its own."""
    return ProcessPoolExecutor(1, timeout=None, initializer=_begin, env=ONE_THREAD)


def run(function: Callable, *arguments: Any) -> Any:
    """What a function of a module returns, called in the worker. What it raises is raised here.

    A request that ends the worker gets a second try in a new one, because an earlier request may be
    to blame. Raises Crash if that one ends too: by SIGSEGV or SIGABRT in a crash; by SIGXCPU,
    SIGALRM or no memory at a limit. Raises RuntimeError if somebody else ended it.
    """
    for _ in range(2):
        try:
            return _pool(os.getpid()).submit(_limited, function, arguments).result()
        except BrokenProcessPool as error:
            _pool.cache_clear()
            status = "".join(re.findall(r"\{(.*)\}", str(error)))
    if re.search("SIG(TERM|KILL|INT|HUP)", status):  # no crash sends these
        raise RuntimeError(f"the process that decodes sound was ended by {status}; run again")
    raise Crash(f"ended its decoder: {status}")


def _begin() -> None:
    """Prepare the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller
    os.dup2(2, 1)  # a library's messages must not mix with the caller's output
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)


def _limited(function: Callable, arguments: tuple) -> Any:
    """Call the function within CPU_S and WALL_S."""
    _limit(resource.RLIMIT_CPU, int(time.process_time()) + CPU_S)
    signal.alarm(WALL_S)
    try:
        return function(*arguments)
    except MemoryError:
        os.abort()  # what an earlier request left behind goes with the worker
    finally:
        signal.alarm(0)


def _limit(kind: int, value: int) -> None:
    """Set the soft limit of this process, as far as the system lets it."""
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
