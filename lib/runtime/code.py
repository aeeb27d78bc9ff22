"""The identity of code: a hash of what a module of lib does, for keys of stages and of pages.

Comments, docstrings and formatting do not count. A module counts with all modules of lib that it
imports, directly or through one another. `from lib import vae` counts all modules of that room.
"""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

from lib import ROOT


def json_hash(value: object) -> str:
    """SHA-256 of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def code_hash(module: str) -> str:
    """Hash of what a lib module, "lib.data.rendering", and the modules below it do."""
    return source_hash(_file(module).read_text(encoding="utf-8"))


@cache
def source_hash(source: str) -> str:
    """Hash of what a Python source and the lib modules below it do."""
    trees = [_tree(source)]
    for path in closure(source):
        trees.append(_tree(path.read_text(encoding="utf-8")))
    return json_hash(trees)


def closure(source: str) -> list[Path]:
    """Files of the lib modules that a source imports, directly or through one another, sorted."""
    files: set[Path] = set()
    waiting = [source]
    while waiting:
        new = _imports(waiting.pop()) - files
        files |= new
        waiting += [path.read_text(encoding="utf-8") for path in new]
    return sorted(files)


@cache
def _imports(source: str) -> set[Path]:
    """Files of the lib modules that a source imports itself, anywhere in it."""
    files = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                files |= _modules(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:  # a module, or a name that the face of a room exports
                files |= _modules(f"{node.module}.{alias.name}") or _modules(str(node.module))
    return files


def _modules(name: str) -> set[Path]:
    """Files that a dotted name stands for: a module, all of a room, or none outside lib."""
    if not name.startswith("lib."):
        return set()
    if _file(name).exists():
        return {_file(name)}
    return set(_file(name).with_suffix("").glob("[!_]*.py"))


def _file(module: str) -> Path:
    """The file of a module: "lib.vae.losses" is lib/vae/losses.py."""
    return ROOT / f"{module.replace('.', '/')}.py"


@cache
def _tree(source: str) -> str:
    """The syntax tree without docstrings and positions: what the code does, not how it is told."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
