"""What the code of lib does, as a hash: the identity of a stage and of a page. Words about the code do not count."""

import ast
import hashlib
from functools import cache
from pathlib import Path

from lib import ROOT


@cache  # a kernel asks for the same sources at every stage
def imports(source: str) -> tuple[str, ...]:
    """Names of the lib modules that a Python source imports, sorted; the package itself is not among them."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "lib":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lib."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("lib.")}
    return tuple(sorted(name for name in names if (ROOT / "lib" / f"{name}.py").exists()))


def closure(source: str) -> list[Path]:
    """Files of the lib modules that a source imports, directly or through one another, sorted."""
    found, todo = set(), list(imports(source))
    while todo:
        path = ROOT / "lib" / f"{todo.pop()}.py"
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
    """Hash of what a lib module and the lib modules below it do; `module` is a dotted name like "lib.render"."""
    source = (ROOT / "lib" / f"{module.removeprefix('lib.')}.py").read_text(encoding="utf-8")
    parts = [_bare(source)] + [_bare(path.read_text(encoding="utf-8")) for path in closure(source)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
