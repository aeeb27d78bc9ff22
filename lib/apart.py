"""A child process for what may crash: C libraries that decode a stranger's files. A crash there is an error here.

The child is started at the first question and answers one after another. Each has bounds of memory, processor time and
time. A question and an answer are a line of JSON; the bytes of an array come behind the answer's, and nothing is
unpickled, so that a child that was taken over can say nothing but numbers.
"""

import atexit
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import numpy as np

from lib import ROOT, BadInput

MEMORY_BYTES, CPU_S, WALL_S = 4 * 2**30, 60, 300  # a child's address space; of one answer


class _Child:
    """The process that answers for a module, started when there is none."""

    def __init__(self, module: str) -> None:
        self.module, self.lock, self.process = module, threading.Lock(), None
        atexit.register(self.end)

    def end(self) -> None:
        if self.process:
            with self.process as process:  # which closes its pipes and waits for it
                process.kill()
            self.process = None

    def answer(self, question: list) -> tuple[str, bytes, str]:
        if self.process and self.process.poll() is not None:  # somebody else ended it: no file's fault
            self.end()
        if not self.process:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self.process = subprocess.Popen([sys.executable, "-m", self.module], cwd=ROOT, **pipes)
        try:
            with suppress(BrokenPipeError):
                self.process.stdin.write(json.dumps(question).encode() + b"\n")
                self.process.stdin.flush()
            kind, size, refused = json.loads(self.process.stdout.readline() or "[null, 0, null]")
            body = self.process.stdout.read(size)
            if kind is None or len(body) < size:
                number = -self.process.wait()
                name = signal.Signals(number).name if number > 0 else f"status {-number}"
                self.end()
                return "", b"", f"ended its decoder by {name}"
            return kind, body, refused
        except BaseException:  # an interrupt: the answer may still come, and belongs to nobody
            self.end()
            raise


@cache
def _child(module: str, process: int) -> _Child:
    """The child of this process, and of none that it was forked from."""
    return _Child(module)


def ask(module: str, name: str, *arguments: str | int) -> np.ndarray:
    """What a function that a module serves returns for these arguments, an array with one axis, read-only.

    BadInput: what the function raised; that the child died, with the signal: SIGSEGV for a crash, SIGXCPU or SIGALRM
    for an answer that took more than CPU_S or WALL_S.
    """
    child = _child(module, os.getpid())
    with child.lock:
        kind, body, refused = child.answer([name, *arguments])
    if refused:
        raise BadInput(refused)
    return np.frombuffer(body, kind)


def serve(*functions: Callable[..., np.ndarray]) -> None:
    """The child's side, until the parent goes: answer by these functions, known by their names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    known = {function.__name__: function for function in functions}
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    for question in sys.stdin.buffer:
        name, *arguments = json.loads(question)
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + CPU_S)
        signal.alarm(WALL_S)
        try:
            found, refused = np.ascontiguousarray(known[name](*arguments)), ""
        except Exception as error:
            found, refused = np.zeros(0), str(error) or type(error).__name__
        answers.write(json.dumps([found.dtype.str, found.nbytes, refused]).encode() + b"\n" + found.tobytes())
        answers.flush()
        signal.alarm(0)


def _limit(kind: int, value: int) -> None:
    """Set a limit of this process, as far as the system has it and lets it be set."""
    with suppress(ValueError, OSError):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
