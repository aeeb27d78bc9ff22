"""Everything computed is a stage: a frozen config in, a folder with a JSON card out. Used by every story.

`artifacts/<stage>/<hash>/` is written beside its final name and renamed when it is complete, so a folder that exists
is whole. The hash covers the config and the code that the stage runs, comments and docstrings aside: a stage whose
folder exists is not computed again, and a change in the code never meets yesterday's numbers. A build that fails, is
killed or meets a full disk leaves nothing under the final name.
"""

import ast
import errno
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from lib import ROOT, BadInput

FORMAT = 1  # of the card; raised when its meaning changes
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, limit of a file's size
PACKAGES = ("torch", "torchaudio", "lightning", "numpy", "scikit-learn", "umap-learn", "librosa", "pedalboard")


class Config(BaseModel):
    """Base of a stage's config: frozen, no unknown fields; BadInput names the field, the value and what is right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **fields) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors())
            known = ", ".join(type(self).model_fields)
            raise BadInput(f"{type(self).__name__}: {wrong}. Fields: {known}") from None


def root() -> Path:
    """The artifact folder: `artifacts/` of the checkout, or where ARTIFACTS_DIR points, from the checkout on."""
    return ROOT / (os.environ.get("ARTIFACTS_DIR") or "artifacts")


def imports(source: str) -> list[str]:
    """Names of the lib modules that a Python source imports, sorted; the package itself is not among them."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "lib":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lib."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("lib.")}
    return sorted(name for name in names if (ROOT / "lib" / f"{name}.py").exists())


def closure(source: str) -> list[Path]:
    """Files of the lib modules that a source imports, directly or through one another, sorted."""
    found, todo = set(), imports(source)
    while todo:
        path = ROOT / "lib" / f"{todo.pop()}.py"
        if path not in found:
            found.add(path)
            todo += imports(path.read_text(encoding="utf-8"))
    return sorted(found)


def _bare(source: str) -> str:
    """The source as a syntax tree without docstrings and positions: what the code does, not how it is told."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            node.body = body[1:]
    return ast.dump(tree)


@cache
def code_hash(module: str) -> str:
    """Hash of what a lib module and the lib modules below it do; `module` is a dotted name like "lib.render"."""
    source = (ROOT / "lib" / f"{module.removeprefix('lib.')}.py").read_text(encoding="utf-8")
    parts = [_bare(source)] + [_bare(path.read_text(encoding="utf-8")) for path in closure(source)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def key(config: dict, module: str) -> str:
    """The folder name of a stage: 16 hex digits over config, versions and the code of the module that computes it."""
    whole = {"config": config, "code": code_hash(module), "format": FORMAT, "versions": versions()}
    text = json.dumps(whole, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def commit() -> str:
    """The checkout's commit, marked when there are uncommitted changes; "unknown" outside git."""
    try:
        run = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers."""
    return {"python": sys.version.split()[0]} | {name: version(name) for name in PACKAGES}


def peak_memory_mb() -> float:
    """Peak resident memory of this process, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically: beside the file, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


def read_card(folder: Path) -> dict:
    """The card of a finished stage; BadInput when it is unreadable or of another version, or a file is not whole."""
    path, remedy = folder / "card.json", f"delete {folder} and run again"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a readable artifact card ({error}); {remedy}") from None
    found = card.get("format") if isinstance(card, dict) and isinstance(card.get("files"), dict) else None
    if found != FORMAT:
        raise BadInput(f"{path}: written in card format {found}, this version reads {FORMAT}; {remedy}")
    for name, size in card["files"].items():
        file = folder / name
        if not os.path.isfile(file) or file.stat().st_size != size:
            raise BadInput(f"{file}: missing or not the {size} bytes that its card tells; {remedy}")
    return card


def stage(name: str, config: dict, build: Callable[[Path], None], module: str | ModuleType) -> Path:
    """The folder of a computed stage; computes it if it is not there.

    name: stage, one word ("render", "train"); config: JSON-able and complete, seeds included; build: writes every
    file of the stage into the folder it is given; module: the lib module whose code (with what it imports) decides
    the result. Safe when several processes ask for the same stage: one computes, the others wait. BadInput: no space.
    """
    module = module if isinstance(module, str) else module.__name__
    folder = root() / name / key(config, module)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if folder.exists():
                read_card(folder)
                return folder
            for left in folder.parent.glob(f".{folder.name}.*"):  # by killed processes: this one holds the lock
                shutil.rmtree(left)
            beside.mkdir()
            try:
                _build(beside, name, config, build, module)
                beside.rename(folder)
            except BaseException:
                shutil.rmtree(beside, ignore_errors=True)
                raise
    except OSError as error:
        if error.errno in FULL:
            raise BadInput(
                f"{root()}: {error.strerror} while stage {name!r} was written; free some space, or set the variable "
                "ARTIFACTS_DIR to a folder that has it"
            ) from error
        if isinstance(error, (PermissionError, FileExistsError, NotADirectoryError)) and not folder.parent.is_dir():
            raise BadInput(f"{root()}: no folder that can be written ({error.strerror}); set ARTIFACTS_DIR") from error
        raise
    return folder


def _build(beside: Path, name: str, config: dict, build: Callable[[Path], None], module: str) -> None:
    """Run build in its folder and write the card."""
    start, cpu = time.perf_counter(), time.process_time()
    build(beside)
    files = [path for path in sorted(beside.rglob("*")) if path.is_file()]
    card = {
        "format": FORMAT, "stage": name, "config": config, "module": module,
        "versions": versions(), "commit": commit(),
        "seconds": round(time.perf_counter() - start, 2), "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_memory_mb": round(peak_memory_mb()),
        "files": {path.relative_to(beside).as_posix(): path.stat().st_size for path in files},
    }
    write_json(beside / "card.json", card)
