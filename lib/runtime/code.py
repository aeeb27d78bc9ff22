"""What the code of lib does, as a hash: the identity of a stage and of a page. Words about the code do not count.

A room that is imported as a whole (`from lib import vae`) counts with all of its modules, a module with those that it
imports, directly or through one another.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from lib import ROOT


def _file(module: str) -> Path:
    """The file of a dotted name: "lib.vae.losses" is lib/vae/losses.py."""
    return ROOT / f"{module.replace('.', '/')}.py"


def _modules(name: str) -> set[str]:
    """The modules that an imported dotted name stands for: itself, those of a room, or none of lib's."""
    if name == "lib" or name.split(".")[0] != "lib":
        return set()
    if _file(name).exists():
        return {name}
    room = ROOT / name.replace(".", "/")
    return {f"{name}.{path.stem}" for path in room.glob("*.py") if path.stem != "__init__"}


@cache  # a kernel asks for the same sources at every stage
def imports(source: str) -> tuple[str, ...]:
    """Dotted names of the lib modules that a Python source imports, sorted; `lib` itself is not among them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _modules(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found |= _modules(f"{node.module}.{alias.name}") or _modules(node.module)
    return tuple(sorted(found))


def closure(source: str) -> list[Path]:
    """Files of the lib modules that a source imports, directly or through one another, sorted."""
    found, todo = set(), list(imports(source))
    while todo:
        path = _file(todo.pop())
        if path not in found:
            found.add(path)
            todo += imports(path.read_text(encoding="utf-8"))
    return sorted(found)


@cache
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
    """Hash of what a lib module and the lib modules below it do; `module` is a dotted name like "lib.data.rendering"."""
    source = _file(module).read_text(encoding="utf-8")
    parts = [_bare(source)] + [_bare(path.read_text(encoding="utf-8")) for path in closure(source)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
