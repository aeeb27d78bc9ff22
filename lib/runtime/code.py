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
        if isinstance(node, ast.Import | ast.ImportFrom):
            parent = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                files |= _modules(parent + alias.name)
    return files


def _modules(name: str) -> set[Path]:
    """Files behind a dotted name, which are those of the whole room unless it names a module."""
    package, *names = name.split(".")
    if package != "lib" or not names:
        return set()
    for depth in (1, 2):
        path = ROOT.joinpath("lib", *names[:depth]).with_suffix(".py")
        if path.exists():
            return {path}
    return set((ROOT / "lib" / names[0]).glob("[!_]*.py"))


@cache
def _tree(source: str) -> str:
    """The syntax tree without docstrings and positions: what the code does, not how it is told."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.dump(tree)
