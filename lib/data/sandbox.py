"""Worker processes for C libraries that decode files of strangers: a crash there is an error here.

Corpora with a path (chapter 01) are listed and read through `run`. A worker answers one request
after another over a pipe, which costs half as much as a pool of joblib, and has limits of memory,
processor time and time.
"""

import os
import resource
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from joblib.externals.loky.backend.context import get_context

from lib import BadInput

MEMORY_BYTES = 4 * 2**30  # address space of a worker
CPU_S, WALL_S = 60, 300  # limits of one request
NO_MEMORY = 77  # exit status of a worker that met its limit of memory
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # stacks count as memory
OUTSIDE = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP)  # no crash sends these
IDLE: defaultdict[int, list] = defaultdict(list)  # workers by process: a fork needs its own


class Crash(BadInput):
    """A request ended its worker."""


def run(function: Callable, *arguments: Any) -> Any:
    """What a function of a module returns, called in a worker. It may raise BadInput.

    A request that ends its worker gets a second try in a new one, because an earlier request may
    be to blame. Raises Crash if that one ends too: by SIGSEGV or SIGABRT in a crash, by SIGXCPU,
    SIGALRM or "out of memory" at a limit. Raises RuntimeError if somebody else ended it.
    """
    for _ in range(2):
        process, connection = _worker()
        try:
            connection.send((function, arguments))
            answer = connection.recv()
        except (EOFError, ConnectionError):
            process.join()
            continue
        IDLE[os.getpid()].append((process, connection))  # not after Ctrl-C: its answer is pending
        if isinstance(answer, BadInput):
            raise answer
        return answer
    status = process.exitcode
    name = "out of memory" if status == NO_MEMORY else f"status {status}"
    if status < 0:
        name = signal.Signals(-status).name
    if -status in OUTSIDE:
        raise RuntimeError(f"the process that decodes sound was ended by {name}; run again")
    raise Crash(f"ended its decoder: {name}")


def _worker() -> tuple[Any, Connection]:
    """An idle worker of this process, or a new one."""
    with suppress(IndexError):
        return IDLE[os.getpid()].pop()
    context = get_context("loky")  # unlike "spawn", it does not run the caller's script again
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, os.getpid()), daemon=True, env=ONE_THREAD
    )
    process.start()
    theirs.close()
    return process, ours


def _serve(connection: Connection, caller: int) -> None:
    """Answer requests until the caller is gone."""
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller
    sys.stderr = os.fdopen(os.dup(2), "w")  # a fault of our own is still shown
    nowhere = os.open(os.devnull, os.O_WRONLY)  # decoders print, and nobody can use their lines
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    with suppress(EOFError, ConnectionError):
        while True:
            function, arguments = connection.recv()
            _limit(resource.RLIMIT_CPU, int(time.process_time()) + CPU_S)
            signal.alarm(WALL_S)
            try:
                answer = function(*arguments)
            except BadInput as error:
                answer = error
            except MemoryError:
                os._exit(NO_MEMORY)
            connection.send(answer)
            signal.alarm(0)


def _end_with(caller: int) -> None:
    """End this process soon after its caller, even if that was killed during a request."""
    while os.getppid() == caller:
        time.sleep(1)
    os._exit(0)


def _limit(kind: int, value: int) -> None:
    """Set the soft limit of this process, as far as the system lets it."""
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
