"""Everything computed is a stage: a frozen config in, a folder with a JSON card out. Used by every story.

`artifacts/<stage>/<hash>/` is written beside its final name and renamed when it is complete, so a folder that exists
is whole. The hash covers the config and the code that the stage runs, comments and docstrings aside: a stage whose
folder exists is not computed again, and a change in the code never meets yesterday's numbers. A build that fails, is
killed or meets a full disk leaves nothing under the final name. The card holds a checksum of each file and of itself:
a stage that was damaged since is named, removed and computed again.
"""

import errno
import hashlib
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

from filelock import FileLock

from lib import ROOT, BadInput
from lib.runtime.code import code_hash
from lib.runtime.files import sync as settle
from lib.runtime.files import write_json
from lib.runtime.provenance import commit, peak_memory_mb, versions

FORMAT = 2  # of the card; raised when its meaning changes
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, limit of a file's size
DENIED = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
)  # rights, read-only, a file in the way
NO_MEMORY = (
    "allocate memory",
    "out of memory",
    "excessive memory",
)  # in errors of torch and joblib


def root() -> Path:
    """The artifact folder: `artifacts/` of the checkout, or where ARTIFACTS_DIR points, from the checkout on."""
    return ROOT / (os.environ.get("ARTIFACTS_DIR") or "artifacts")


def key(config: dict, module: str) -> str:
    """The folder name of a stage: 16 hex digits over config, versions and the code of the module that computes it."""
    whole = {"config": config, "code": code_hash(module), "format": FORMAT, "versions": versions()}
    return _sum(whole)[:16]


def _sum(value: object) -> str:
    """Hash of what JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def digest(path: Path, mtime_ns: int) -> str:
    """BLAKE2b of a file's bytes, 32 hex digits; a process reads a file once, as long as its time stays."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def read_card(folder: Path) -> dict:
    """The card of a finished stage; BadInput when it is unreadable or of another version, or a file is damaged."""
    card, damage = _card(folder)
    if damage:
        raise BadInput(f"{damage}; delete {folder} and run again")
    return card


def _card(folder: Path) -> tuple[dict, str]:
    """The card of a stage, and what is wrong with it or with a file that it tells of: "" where all is well."""
    path = file = folder / "card.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        found = (
            card.get("format")
            if isinstance(card, dict) and isinstance(card.get("files"), dict)
            else None
        )
        if found != FORMAT:
            return {}, f"{path}: written in card format {found}, this version reads {FORMAT}"
        if card.pop("sum", None) != _sum(card):
            return {}, f"{path}: damaged, its checksum is another"
        for name, known in card["files"].items():
            file, inside = folder / name, str(folder / name) == f"{folder}/{name}"
            if file.exists() and not (
                inside and file.is_file() and file.resolve().is_relative_to(folder.resolve())
            ):
                return {}, f"{file}: not a file of this stage"
            if digest(file, file.stat().st_mtime_ns) != known:
                return {}, f"{file}: damaged, its checksum is not that of its card"
    except (OSError, ValueError, RecursionError) as error:
        return {}, f"{file}: missing or not readable ({error})"
    return card, ""


def stage(name: str, config: dict, build: Callable[[Path], None], module: str | ModuleType) -> Path:
    """The folder of a computed stage; computes it if it is not there.

    name: stage, one word ("render", "train"); config: JSON-able and complete, seeds included; build: writes every
    file of the stage into the folder it is given; module: the lib module whose code (with what it imports) decides
    the result. Safe when several processes ask for the same stage: one computes, the others wait. A damaged stage is
    computed again, with a warning. BadInput: no space, no memory, no right to write. An interrupt says how to go on.
    """
    module = module if isinstance(module, str) else module.__name__
    folder = root() / name / key(config, module)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        if (
            folder.exists() and not _card(folder)[1]
        ):  # without the lock: a folder that can only be read serves
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if folder.exists():
                if not (damage := _card(folder)[1]):
                    return folder
                warnings.warn(f"{damage}; stage {name!r} is computed again", stacklevel=2)
                folder.rename(
                    folder.with_name(f".{folder.name}.damaged")
                )  # whole or not there: then deleted
            for left in folder.parent.glob(
                f".{folder.name}.*"
            ):  # by killed processes: this one holds the lock
                shutil.rmtree(left)
            beside.mkdir()
            try:
                _build(beside, name, config, build, module)
                settle(*beside.rglob("*"), beside)  # the name only after the bytes
                beside.rename(folder)
                settle(folder.parent)
            except BaseException:
                shutil.rmtree(beside, ignore_errors=True)
                raise
    except KeyboardInterrupt:
        told = f"stopped in stage {name!r}; run again: finished stages and epochs are kept"
        os.write(
            getattr(sys.stderr, "_original_stdstream_copy", 2), f"\n{told}\n".encode()
        )  # papermill shows no page
        raise KeyboardInterrupt(told) from None
    except (OSError, MemoryError, RuntimeError) as error:
        if not (remedy := _remedy(error)):
            raise
        said = getattr(error, "strerror", None) or "Out of memory"
        raise BadInput(f"{root()}: {said} while stage {name!r} was written; {remedy}") from error
    return folder


def _remedy(error: Exception) -> str:
    """What helps against a full disk, a folder that cannot be written, too little memory; "" for any other error."""
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        return "lower batch_size or a number of clips (train_clips, clips_per_effect), or set JOBS=1: one at a time"
    if number in FULL:
        return "free some space, or set the variable ARTIFACTS_DIR to a folder that has it"
    if number in DENIED and Path(str(error.filename)).is_relative_to(
        root()
    ):  # and no file that the build reads
        return "set the variable ARTIFACTS_DIR to a folder that can be written"
    return ""


def _build(
    beside: Path, name: str, config: dict, build: Callable[[Path], None], module: str
) -> None:
    """Run build in its folder and write the card."""
    start, cpu = time.perf_counter(), time.process_time()
    build(beside)
    files = [path for path in sorted(beside.rglob("*")) if path.is_file()]
    card = {
        "format": FORMAT,
        "stage": name,
        "config": json.loads(json.dumps(config)),
        "module": module,
        "versions": versions(),
        "commit": commit(),
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_memory_mb": round(peak_memory_mb()),
        "files": {
            path.relative_to(beside).as_posix(): digest(path, path.stat().st_mtime_ns)
            for path in files
        },
    }
    write_json(beside / "card.json", card | {"sum": _sum(card)})
