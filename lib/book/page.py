"""What every page does: check parameters, record numbers, style tables, show source and origin.

The notebooks of all chapters import it. `begin` stands below the parameters cell, `provenance` is
the last cell, and `record` keeps the numbers that the prose quotes and results.json collects.
"""

import ast
import html
import inspect
import json
import re
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython import get_ipython
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from myst_nb import glue
from pandas.io.formats.style import Styler

from lib import ROOT, BadInput
from lib.book.parameters import Parameters, model_of, read_run, resolve
from lib.runtime import progress
from lib.runtime.code import json_hash, source_hash
from lib.runtime.provenance import commit, device_name, peak_memory_mb, versions

_page = SimpleNamespace(name="", start=time.perf_counter(), parameters=None, cell=0, note=None)


def begin(name: str, namespace: dict[str, Any]) -> Parameters:
    """Check the parameters of a page, set the figure style and one torch thread, start the clock.

    name: the notebook's, "03_mnist_sanity_check"; namespace: its `globals()`. Raises BadInput for
    an unknown, missing, mistyped or out-of-range parameter. When the parameters cell is run again
    with new values in Jupyter, a note marks the page below as stale until all of it has run.
    """
    from lib.book.figures import use_style

    names = list(model_of(name).model_fields)
    for cell in namespace.get("In", []):
        if cell.startswith("# Parameters"):  # papermill injects it, also with unknown names
            names += re.findall(r"^(\w+) = ", cell, re.M)
    parameters = resolve(name, {key: namespace[key] for key in names if key in namespace})
    torch.set_num_threads(1)
    use_style()
    progress.page = name
    _page.name, _page.parameters, _page.start = name, parameters, time.perf_counter()
    shell = get_ipython()
    if shell is not None:
        _page.cell = len(shell.user_ns["In"])
        shell.events.register("post_run_cell", _mark_stale)
        _show_parameters()
    return parameters


def _script(name: str) -> str:
    """The text of a notebook's script."""
    return (ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8")


def _show_parameters() -> None:
    """Show name, meaning, default and present value of each parameter, folded."""
    cell = _script(_page.name).partition('# %% tags=["parameters"]\n')[2].partition("\n# %%")[0]
    values = _page.parameters.model_dump(mode="json")
    frame = pd.DataFrame(columns=["meaning", "default", "this run"])
    for name, default, meaning in re.findall(r"^(\w+): \w+ = (.*?)  # (.*)$", cell, re.M):
        default = json.dumps(ast.literal_eval(default))
        frame.loc[name] = [meaning, default, json.dumps(values[name])]
    body = table(frame, "parameters").to_html()
    folded = f"<details><summary>Parameters of this run</summary>{body}</details>"
    display({"text/html": folded, "text/plain": "parameters"}, raw=True)


def _mark_stale(result: Any) -> None:
    """After a cell has run: if it assigns new parameters, put a note under it."""
    old = _page.parameters.model_dump()
    if not all(re.search(rf"^{name}\b", result.info.raw_cell, re.M) for name in old):
        return
    try:
        values = {name: get_ipython().user_ns[name] for name in old}
        new = resolve(_page.name, values).model_dump()
    except BadInput:  # `begin` says so
        return
    changes = []
    for name in old:
        if new[name] != old[name]:
            changes.append(f"`{name}` was {old[name]!r}, now {new[name]!r}")
    if changes:
        changed = html.escape("; ".join(changes), quote=False)
        text = f"**The page below is stale**: {changed}. Run all of it, and this note goes."
        _page.note = display(Markdown(text), display_id=True)


def _skipped_cells() -> str:
    """How many cells a stale page has not run since `begin`; removes the note at none."""
    if _page.note is None:
        return ""
    cells = re.findall(r"^# %%(?! \[markdown\])", _script(_page.name), re.M)
    below = len(cells) - 2  # parameters, `begin`
    skipped = below - len(set(get_ipython().user_ns["In"][_page.cell :]))
    if skipped > 0:
        return f"{skipped} of {below} cells did not run since the parameters were checked"
    _page.note.update({"text/plain": ""}, raw=True)
    _page.note = None
    return ""


def record(name: str, value: float) -> None:
    """Keep a number under a dotted name, "mnist.beta1.mse", for prose and for results.json."""
    if not re.fullmatch(r"\w+(\.\w+)*", name):
        raise BadInput(
            f"record name {name!r}: use letters, digits and _ between dots, as in mnist.beta1.mse"
        )
    number = value.item() if hasattr(value, "item") else value  # numpy and torch have it
    if isinstance(number, bool) or not isinstance(number, int | float) or number != number:
        raise BadInput(f"record {name!r} = {value!r}: only a number can be recorded")
    glue(name, number, display=False)


def key_figure(figure: Figure) -> None:
    """Keep a figure as "key-NN", NN being the chapter, for the first screen of the page."""
    glue(f"key-{_page.name[:2]}", figure, display=False)


def record_all(prefix: str, values: Mapping[str, float]) -> None:
    """Record each of several numbers as "PREFIX.KEY"."""
    for name, value in values.items():
        record(f"{prefix}.{name}", value)


def slug(corpus: str) -> str:
    """A corpus as a part of recorded names: "speech"; "folder:/sounds/My voices" is "My_voices".

    Where two corpora of the page end alike, a folder bears the name of the one above it as well.
    Names that are still alike ("a b", "a_b") are numbered. An embedded corpus keeps its name.
    """
    corpora = sorted({*getattr(_page.parameters, "corpora", ()), corpus})
    names: dict[str, str] = {}
    for each in sorted(corpora, key=lambda other: ":" in other):
        name = short = _short_name(each, corpora)
        number = 1
        while name in names.values():
            number += 1
            name = f"{short}_{number}"
        names[each] = name
    return names[corpus]


def _short_name(corpus: str, corpora: Sequence[str]) -> str:
    """As many of the last folders of a path as tell it from the other corpora."""
    own = _parts(corpus)
    others = [_parts(other) for other in corpora if other != corpus]
    for count in range(1, len(own)):
        if own[-count:] not in [other[-count:] for other in others]:
            return "_".join(own[-count:])
    return "_".join(own)


def _parts(corpus: str) -> list[str]:
    path = Path(corpus.partition(":")[2] or corpus).resolve()
    parts = [path.name] if ":" not in corpus else list(path.parts[1:])
    return [re.sub(r"\W", "_", part) for part in parts]


def finding(words: str, holds: bool, number: float | None = None) -> None:
    """State a finding of the page. With the parameters of the book's own runs it is asserted.

    With any others it is printed: whether it holds here, and its number. A page on a reader's data
    so ends with verdicts. A trial that is shorter than the quick run is called too short to judge.
    """
    shown = "" if number is None else f" ({float(number):.3g})"
    short = ""
    for run in ("quick", "report"):
        values = read_run(ROOT / f"runs/{run}.yml")["stories"].get(_page.name)
        if values is None:
            continue
        own = resolve(_page.name, values)
        if own == _page.parameters:
            assert holds, f"does not hold: {words}{shown}"
            print(f"asserted: {words}")
            return
        if run == "quick":
            short = _shorter(own)
    verdict = "holds" if holds else "does not hold here"
    if short:
        verdict += f", too short to judge with {short}"
    print(f"{verdict}: {words}{shown}")


def _shorter(quick: Parameters) -> str:
    """The first parameter of length that is below its value in the quick run, in words."""
    for name, least in quick.model_dump().items():
        if not name.endswith(("epochs", "clips", "images", "clips_per_effect", "shown")):
            continue
        value = getattr(_page.parameters, name)
        if np.max(value) < np.min(least):
            return f"{name} = {value}"
    return ""


def table(frame: pd.DataFrame, name: str, caption: str = "", digits: int = 3) -> Styler:
    """A table with `digits` decimals, none in columns of whole numbers.

    `name` is its id on the page, so that its HTML is stable.
    """
    style = frame.style.set_uuid(name).set_caption(html.escape(caption, quote=False))
    style = style.format(precision=digits, na_rep="", escape="html")
    numbers = frame.select_dtypes("number")
    whole = [name for name in numbers if (numbers[name].dropna() % 1 == 0).all()]
    style = style.format(precision=0, na_rep="", subset=whole)
    return style.format_index(escape="html").format_index(escape="html", axis="columns")


def source(definition: Callable | type) -> Markdown:
    """The source of a function or class of lib, without docstrings, highlighted on the page."""
    text = textwrap.dedent(inspect.getsource(definition))
    lines = text.splitlines()
    hidden: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            end = node.body[0].end_lineno
            while end < len(lines) and not lines[end].strip():
                end += 1
            hidden |= set(range(node.body[0].lineno - 1, end))
    shown = [line for number, line in enumerate(lines) if number not in hidden]
    return Markdown("\n".join(["```python", *shown, "```"]))


def page_hash(name: str, parameters: Parameters) -> str:
    """Hash of what decides a page: its code, the lib modules below it, and the parameters."""
    return json_hash([source_hash(_script(name)), parameters.model_dump(mode="json")])


def provenance(parameters: Parameters) -> None:
    """Show what it takes to compute the page again; the output's metadata hold the page's hash."""
    rows = {}
    for name, value in parameters.model_dump(mode="json").items():
        rows[f"parameter <code>{name}</code>"] = json.dumps(value)
    rows["versions"] = ", ".join(f"{name} {version}" for name, version in versions().items())
    rows["commit"] = commit()
    rows["device"] = device_name()
    seconds = time.perf_counter() - _page.start
    rows["time"] = f"{seconds:.0f} s (less where finished stages were found)"
    rows["peak memory"] = f"{peak_memory_mb():.0f} MB"
    skipped = _skipped_cells()
    if skipped:
        rows["stale"] = skipped
    lines = ""
    for name, text in rows.items():
        lines += f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>"
    mark = {"story": _page.name, "hash": page_hash(_page.name, parameters)}
    content = {"text/html": f"<table>{lines}</table>", "text/plain": "provenance"}
    display(content, raw=True, metadata={"average_spectrogram": mark})
