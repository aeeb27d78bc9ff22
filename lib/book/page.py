"""What every notebook does at its first and last cell and in between: begin, record, progress, provenance, source.

Imported by notebooks only. `begin` checks the parameters, `record` glues a number that prose quotes (tools/results.py
collects the same numbers from the pages), `provenance` closes the page with what it takes to compute it again.
"""

import ast
import hashlib
import html
import inspect
import json
import re
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from IPython import get_ipython
from IPython.display import Markdown, display
from myst_nb import glue

from lib import ROOT, BadInput
from lib.book.parameters import Parameters, resolve
from lib.config import did_you_mean
from lib.runtime import progress as progress_
from lib.runtime import stages as artifacts
from lib.runtime.code import code_hash, imports
from lib.runtime.progress import progress as progress  # until all loops ask for it themselves
from lib.runtime.provenance import device_name

_running: dict[str, Any] = {"name": "", "start": time.perf_counter()}


def _injected(cells: list[str]) -> list[str]:
    """Names assigned in the cell that papermill injects; it starts with `# Parameters`."""
    names = []
    for cell in cells:
        if cell.startswith("# Parameters"):
            for node in ast.parse(cell).body:
                targets = (
                    node.targets
                    if isinstance(node, ast.Assign)
                    else [getattr(node, "target", None)]
                )
                names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def _watch(result: Any) -> None:
    """After a cell ran in Jupyter: if it is that of the parameters, a note under it while the page is of other ones."""
    before, space = _running["parameters"].model_dump(), get_ipython().user_ns
    if all(re.search(rf"^{name}\b", result.info.raw_cell, re.M) for name in before):
        now = {
            name: tuple(space[name]) if isinstance(space[name], list) else space[name]
            for name in before
        }
        changed = [
            f"`{name}` was {before[name]!r}, now {now[name]!r}"
            for name in before
            if now[name] != before[name]
        ]
        text = (
            f"**The page below is stale**: {'; '.join(changed)}. Run all of it, and this note goes."
        )
        if changed:
            _running["note"] = display(Markdown(html.escape(text, quote=False)), display_id=True)


def _settle() -> dict[str, str]:
    """At the last cell: the note of `_watch` goes when the cells between have run; else a row for the provenance."""
    if "note" not in _running:
        return {}
    text = (ROOT / "notebooks" / f"{_running['name']}.py").read_text(encoding="utf-8")
    below = (
        len(re.findall(r"^# %%(?! \[markdown\])", text, re.M)) - 2
    )  # the first two: parameters and `begin`
    missing = below - len(set(get_ipython().user_ns["In"][_running["cell"] :]))
    if missing > 0:
        return {
            "stale": f"{missing} of {below} cells did not run since the parameters were checked"
        }
    _running.pop("note").update({"text/plain": ""}, raw=True)
    return {}


def begin(name: str, namespace: dict[str, Any]) -> Parameters:
    """Check the story's parameters, set one torch thread and the figure style, start the clock.

    name: the notebook's, "03_mnist_sanity_check"; namespace: the notebook's `globals()`. Raises BadInput for an
    unknown, missing, mistyped or out-of-range parameter. In Jupyter, whoever runs the parameters cell again with other
    values is told there that the page below is stale, until all of it ran.
    """
    from lib.book.figures import use_style
    from lib.book.parameters import STORIES

    if name not in STORIES:
        raise BadInput(f"story {name!r}: {did_you_mean(name, tuple(STORIES))}")
    names = list(STORIES[name].model_fields) + _injected(namespace.get("In", []))
    parameters = resolve(
        name, {key: namespace[key] for key in dict.fromkeys(names) if key in namespace}
    )
    torch.set_num_threads(1)
    progress_.page = name
    use_style()
    _running.update(name=name, start=time.perf_counter(), parameters=parameters)
    shell = get_ipython()
    if shell is not None:
        _running["cell"] = len(shell.user_ns["In"])
        shell.events.register("post_run_cell", _watch)
    return parameters


def record(name: str, value: float | int) -> None:
    """Glue a number under a flat dotted name ("mnist.beta1.mse"), for prose and for results.json."""
    if not re.fullmatch(r"\w+(\.\w+)*", name):
        raise BadInput(
            f"record name {name!r}: use letters, digits and _ between dots, as in mnist.beta1.mse"
        )
    number = value.item() if hasattr(value, "item") else value  # numpy and torch scalars
    if isinstance(number, bool) or not isinstance(number, (int, float)) or number != number:
        raise BadInput(f"record {name!r} = {value!r}: only a number can be recorded")
    glue(name, number, display=False)


def slug(corpus: str) -> str:
    """A corpus as part of a record's name: "speech"; "folder:/sounds/My voices" is "My_voices"."""
    return re.sub(r"\W", "_", Path(corpus.partition(":")[2] or corpus).resolve().name)


def page_hash(name: str, parameters: Parameters) -> str:
    """Hash of what a page shows: the story's code, that of the lib modules it imports, and the parameters."""
    source = (ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8")
    code = [ast.dump(ast.parse(source))] + [code_hash(module) for module in imports(source)]
    text = json.dumps(
        {"code": code, "parameters": parameters.model_dump(mode="json")}, sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()


def provenance(parameters: Parameters) -> None:
    """The last cell: what it takes to compute the page again, as a table; its metadata carry the hash."""
    values = parameters.model_dump(mode="json")
    rows = {f"parameter <code>{key}</code>": json.dumps(value) for key, value in values.items()}
    rows |= {"versions": ", ".join(f"{key} {value}" for key, value in artifacts.versions().items())}
    rows |= {"commit": artifacts.commit(), "device": device_name()}
    rows |= {
        "time": f"{time.perf_counter() - _running['start']:.0f} s (less where finished stages were found)"
    }
    rows |= {"peak memory": f"{artifacts.peak_memory_mb():.0f} MB"}
    rows |= _settle()
    cells = "".join(
        f"<tr><th>{key}</th><td>{html.escape(value)}</td></tr>" for key, value in rows.items()
    )
    mark = {"story": _running["name"], "hash": page_hash(_running["name"], parameters)}
    page = {"text/html": f"<table>{cells}</table>", "text/plain": "provenance"}
    display(page, raw=True, metadata={"average_spectrogram": mark})


def source(function: Callable) -> Markdown:
    """The lines of a lib function, from its source, without the docstring, highlighted on the page."""
    text = textwrap.dedent(inspect.getsource(function))
    body = ast.parse(text).body[0].body
    lines = text.splitlines()
    if len(body) > 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        del lines[body[0].lineno - 1 : body[0].end_lineno]
    return Markdown("```python\n" + "\n".join(lines) + "\n```")
