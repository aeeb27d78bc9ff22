"""Atomic writes: a reader finds the old file or the new one, never half. All chapters use them."""

import json
import os
from collections.abc import Callable
from pathlib import Path


def sync(*paths: Path) -> None:
    """Wait until the bytes of files and the names in folders are safe from a power cut."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
