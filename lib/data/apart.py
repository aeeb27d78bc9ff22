"""A child process for what may crash: C libraries that decode a stranger's files. A crash there is an error here.

The child is started at the first question and answers one after another, with bounds of memory, processor time and
time. A question and an answer are a line of JSON, behind an answer's the bytes of an array; nothing is unpickled. A
question is to blame when it ends a child that has answered no other.
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
NO_MEMORY = 77  # status of a child that met its bound: what it leaked is gone with it
READY = b"ready\n"
OUTSIDE = (
    signal.SIGTERM,
    signal.SIGKILL,
    signal.SIGINT,
    signal.SIGHUP,
)  # which neither a crash nor a bound sends


class Ended(BadInput):
    """A question ended the child, or was answered with what is no answer."""


class _Child:
    """The process that answers for a module, started when there is none."""

    def __init__(self, module: str) -> None:
        self.module, self.lock, self.owner = module, threading.Lock(), os.getpid()
        self.process: subprocess.Popen | None = None
        atexit.register(self.end)

    def start(self) -> subprocess.Popen:
        one = {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }  # a stack each would count as memory
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                cwd=ROOT,
                env=os.environ | one,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is the parent's
            )
            started = READY in iter(self.process.stdout.readline, b"")
        except OSError as error:
            raise RuntimeError(
                f"{self.module}: its child process cannot be started ({error})"
            ) from error
        if not started:
            raise RuntimeError(
                f"{self.module}: its child process ended at its start, by status {self.end(1)}"
            )
        return self.process

    def end(self, grace_s: float = 0) -> int | None:
        """Its status, negative for a signal; None when there is none, or it lived on and was killed."""
        process, self.process = self.process, None
        if not process or os.getpid() != self.owner:  # a fork's copy is the parent's
            return None
        with process:  # which closes its pipes and waits for it
            try:
                return process.wait(grace_s)
            except subprocess.TimeoutExpired:
                return process.kill()

    def answer(self, question: list, kind: str, most: int) -> tuple[bytes, str]:
        """Bytes of an array of that kind, not more than `most`, and the words of a refusal."""
        if self.process and self.process.poll() is not None:
            self.end()
        fresh = not self.process
        process = self.process or self.start()
        try:
            with suppress(BrokenPipeError):
                os.write(process.stdin.fileno(), json.dumps(question).encode() + b"\n")
            found, size, refused = json.loads(process.stdout.readline(10_000))
            if refused:
                return b"", str(refused)
            if found == kind and type(size) is int and 0 <= size <= most:
                body = process.stdout.read(size)
                if len(body) == size:
                    return body, ""
        except (ValueError, TypeError, RecursionError):
            pass  # no answer, and none will come
        except BaseException:  # an interrupt: the answer may still come, and belongs to nobody
            self.end()
            raise
        status = self.end(1)
        if not fresh:  # an earlier question may have done it
            return self.answer(question, kind, most)
        name = {None: "an answer that is none", NO_MEMORY: "out of memory"}.get(
            status, f"status {status}"
        )
        if status and status < 0:
            name = (
                signal.Signals(-status).name
                if -status in set(signal.Signals)
                else f"signal {-status}"
            )
            if -status in OUTSIDE:
                raise RuntimeError(
                    f"{self.module}: its child process was ended by {name}; run again"
                )
        raise Ended(f"ended its decoder: {name}")


@cache
def _child(module: str, process: int) -> _Child:
    """The child of this process, and of none that it was forked from."""
    return _Child(module)


def ask(module: str, name: str, *arguments: str | int, kind: str, most: int) -> np.ndarray:
    """What a function that a module serves returns for these arguments: at most `most` numbers, an axis, read-only.

    kind: type of the numbers, as numpy writes it ("<f8"). BadInput: what the function raised. Ended: the question ended
    the child, by SIGSEGV for a crash, SIGXCPU or SIGALRM for an answer that took more than CPU_S or WALL_S.
    RuntimeError: there is no child, or somebody else ended it.
    """
    child = _child(module, os.getpid())
    with child.lock:
        body, refused = child.answer([name, *arguments], kind, most * np.dtype(kind).itemsize)
    if refused:
        raise BadInput(refused)
    return np.frombuffer(body, kind)


def serve(*served: Callable[..., np.ndarray]) -> None:
    """The child's side, until the parent goes: answer by these functions. Each raises BadInput or MemoryError."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    functions = {function.__name__: function for function in served}
    hard_s = resource.getrlimit(resource.RLIMIT_CPU)[1]
    answers.write(READY)
    answers.flush()
    for question in sys.stdin.buffer:
        name, *arguments = json.loads(question)
        resource.setrlimit(resource.RLIMIT_CPU, (hard_s, hard_s))
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + CPU_S)
        signal.alarm(WALL_S)
        try:
            found = functions[name](*arguments)
            head, body = [found.dtype.str, found.nbytes, ""], found.tobytes()
        except BadInput as error:
            head, body = [None, 0, str(error)], b""
        except MemoryError:
            os._exit(NO_MEMORY)
        answers.write(json.dumps(head).encode() + b"\n" + body)
        answers.flush()
        signal.alarm(0)


def _limit(kind: int, value: int) -> None:
    """Lower a limit of this process to a value, as far as the system has it and lets it be set."""
    with suppress(ValueError, OSError):
        soft, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (min([value, *({soft, hard} - {resource.RLIM_INFINITY})]), hard))
