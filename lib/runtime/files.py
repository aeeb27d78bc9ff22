"""Atomic writes: a reader finds the old file or the new one, never half. All chapters use them."""

import errno
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from lib.runtime.progress import write_terminal

CANNOT_SYNC = {  # by CIFS, FUSE and NFS, of a folder or of any file; a failing disk says EIO
    *(errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP),
    *(errno.EACCES, errno.EPERM, errno.EISDIR, errno.EBADF),
}


def sync(*paths: Path) -> None:
    """Wait until the bytes of files and the names in folders are safe from a power cut.

    Some file systems cannot wait. Nothing is lost without a power cut, so one line says it.
    """
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in CANNOT_SYNC:
                raise
            _say_unsafe(error.strerror)


@cache  # once in a process
def _say_unsafe(reason: str) -> None:
    message = "this file system cannot wait for its disk; a power cut may damage the last stage"
    write_terminal(f"{reason}: {message}\n")


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then rename it; a failed write leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        sync(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, with sorted keys and a line for each value."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write_atomic(path, lambda beside: beside.write_text(text, encoding="utf-8"))
