"""Stages: a config in, a folder with a card out, each computed once. Used by every chapter.

`artifacts/STAGE/KEY/` is written beside its final name and renamed when it is complete: a folder
that exists is whole. The key covers the config and the code that the stage runs, so a change in
the code never meets yesterday's numbers. The card holds a checksum of each file and of itself.
`python -m lib.runtime.stages` reads every file and removes damaged stages; a run does it first.
"""

import errno
import hashlib
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from lib import BadInput
from lib.runtime.code import json_hash, source_hash
from lib.runtime.files import sync, write_json
from lib.runtime.places import root
from lib.runtime.progress import write_terminal
from lib.runtime.provenance import commit, peak_memory_mb, versions

CARD = "card.json"
KEY = "[0-9a-f]" * 16  # the folder of a finished stage
AGAIN = "the next run computes this stage again"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)
CANNOT = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV)
NO_MEMORY = ("allocate memory", "out of memory", "excessive memory")  # by torch and joblib


def key(config: dict, module: str) -> str:
    """The folder name of a stage: 16 hex digits over config, package versions and code."""
    code = source_hash(f"import {module}")  # the module and all below it count
    return json_hash([config, code, versions()])[:16]


def stage(name: str, config: dict, build: Callable[[Path], None], module: str) -> Path:
    """The folder of a stage, computed if it is not there.

    name: one word, like "render"; config: JSON-able and complete, seeds included; build: writes
    all files into the folder it is given; module: the lib module, like "lib.vae.training", whose
    code decides the result together with what it imports. When several processes ask for one
    stage, one computes and the others wait. A build that fails leaves nothing. A damaged stage is
    computed again. Raises BadInput when there is no space, no memory or no right to write.
    """
    folder = root() / name / key(config, module)
    with _explained(name):
        if _is_finished(folder):  # before the lock: the folder may be read-only
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not _is_finished(folder):
                shutil.rmtree(folder, ignore_errors=True)
                _compute(folder, name, config, build, module)
    return folder


def _is_finished(folder: Path) -> bool:
    """Whether a stage is there and its card is in order; warns of a damaged one."""
    if not folder.exists():
        return False
    try:
        read_card(folder)
    except BadInput as error:
        warnings.warn(str(error), stacklevel=3)
        return False
    return True


def _compute(
    folder: Path, name: str, config: dict, build: Callable[[Path], None], module: str
) -> None:
    """Run `build` beside the folder, write the card, and give the name once all is on the disk."""
    for rest in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(rest)  # a killed process left it: this one holds the lock
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    beside.mkdir()
    start, cpu_start = time.perf_counter(), time.process_time()
    try:
        build(beside)
        card = {
            "stage": name,
            "config": config,
            "module": module,
            "versions": versions(),
            "commit": commit(),
            "seconds": round(time.perf_counter() - start, 2),
            "cpu_seconds": round(time.process_time() - cpu_start, 2),
            "peak_memory_mb": round(peak_memory_mb()),
            "files": {name: _checksum(beside / name) for name in _names(beside)},
        }
        write_json(beside / CARD, card | {"sum": json_hash(card)})
        sync(*beside.rglob("*"), beside)
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    sync(folder.parent)


def read_card(folder: Path) -> dict:
    """The card of a finished stage. Raises BadInput when the stage is damaged or incomplete."""
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        checksum = card.pop("sum", None)
        missing = card["files"].keys() - _names(folder)
    except Exception as error:  # the disk or JSON raises, or values are no card
        raise BadInput(f"{path}: missing or not readable ({error}); {AGAIN}") from None
    if checksum != json_hash(card):
        raise BadInput(f"{path}: damaged, its checksum is another; {AGAIN}")
    if missing:
        raise BadInput(f"{folder / min(missing)}: missing or not a file of this stage; {AGAIN}")
    return card


def verify(folder: Path) -> None:
    """Read all files of a stage. Raises BadInput, which names a damaged file."""
    for name, checksum in read_card(folder)["files"].items():
        if _checksum(folder / name) != checksum:
            problem = "damaged, its checksum is not that of its card"
            raise BadInput(f"{folder / name}: {problem}; {AGAIN}")


def verify_all() -> list[str]:
    """Read all files of all stages and remove the damaged stages; what is wrong with each."""
    problems = []
    for folder in sorted(root().glob(f"*/{KEY}")):
        try:
            verify(folder)
        except BadInput as error:
            problems.append(str(error))
            try:
                with _explained(folder.parent.name), FileLock(folder.with_suffix(".lock")):
                    shutil.rmtree(folder)
            except BadInput as refusal:
                problems.append(str(refusal))
    return problems


def _names(folder: Path) -> set[str]:
    """Paths of the files in a folder. A link is none: it may lead out of the folder."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def _checksum(path: Path) -> str:
    """BLAKE2b of a file's bytes, 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say what helps when a stage was interrupted, or met a full disk or too little memory."""
    try:
        yield
    except KeyboardInterrupt:
        message = f"stopped in stage {name!r}; run again: finished stages and epochs are kept"
        write_terminal(f"\n{message}\n")  # papermill keeps the page, and the message in it
        raise KeyboardInterrupt(message) from None
    except (OSError, MemoryError, RuntimeError) as error:
        remedy = remedy_of(error)
        if not remedy:
            raise
        what = getattr(error, "strerror", None) or "Out of memory"
        message = f"{root()}: {what} while stage {name!r} was written; {remedy}"
        raise BadInput(message) from error


def remedy_of(error: Exception) -> str:
    """What the user can do about an error of the machine; "" for any other error."""
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        return (
            "lower batch_size or a number of clips (train_clips, clips_per_effect), "
            "or set JOBS=1: one at a time"
        )
    if number in FULL:
        return "free some space, or set the variable ARTIFACTS_DIR to a folder that has it"
    name = getattr(error, "filename", None)  # a lock has none
    ours = name is not None and Path(os.fsdecode(name)).is_relative_to(root())
    if number in DENIED and ours:
        return "set the variable ARTIFACTS_DIR to a folder that can be written"
    if number in CANNOT and (ours or name is None):  # NFS without locks, some FUSE
        return "set the variable ARTIFACTS_DIR to a folder on a disk of this machine"
    return ""  # also for a file that the build may not read


if __name__ == "__main__":
    sys.exit("\n".join(verify_all()) or None)
