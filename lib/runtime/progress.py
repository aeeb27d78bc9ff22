"""The progress of long loops, in the terminal and in Jupyter Lab. All chapters use it."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from tqdm import tqdm

TERMINAL_EVERY_S = 5.0
DISPLAY_EVERY_S = 0.5
page = ""  # the notebook that runs; `lib.book.page.begin` sets it


def write_terminal(text: str) -> None:
    """Write to the terminal in which papermill or Jupyter was started, not to the page.

    An ipykernel keeps a copy of the stderr that it was started with.
    """
    copy = getattr(sys.stderr, "_original_stdstream_copy", None)
    with contextlib.suppress(OSError):  # a process without a terminal
        os.write(2 if copy is None else copy, text.encode())


def _lab_display() -> Callable[[str], object]:
    """A function that shows a line below the cell, in Jupyter Lab: it sets JPY_SESSION_NAME."""
    if "JPY_SESSION_NAME" not in os.environ:
        return lambda line: None
    from IPython.display import display

    handle = display({"text/plain": ""}, raw=True, display_id=True)
    return lambda line: handle.update({"text/plain": line}, raw=True)


def progress(
    iterable: Iterable, total: int | None = None, label: str | Callable[[], str] = ""
) -> Iterator:
    """Pass the items through, say how many are done and how long the rest takes.

    total: the number of items, where `iterable` has no length; label: a text, or a function that
    gives the text of the moment. Nothing stays on the page.
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    show = _lab_display()
    start = last_written = last_shown = time.perf_counter()
    try:
        for done, item in enumerate(iterable, start=1):
            yield item
            now = time.perf_counter()
            if now - last_shown < DISPLAY_EVERY_S:
                continue
            last_shown = now
            text = label() if callable(label) else label
            line = tqdm.format_meter(done, total, now - start, ncols=100, prefix=text)
            show(line)
            if now - last_written >= TERMINAL_EVERY_S:
                last_written = now
                over_the_bar = f"\r{page} · {line}".ljust(101)  # papermill's bar has no line end
                write_terminal(over_the_bar + "\n")
    finally:
        show("")
