"""Render a share of what a story renders first: `python tools/shards.py full 04_spectrogram_vae 0 8`, shares 0 to 7.

Which renderings these are stands in the story alone: its cells are run, and each rendering is noted in place of being
made, up to where the story looks into one or computes something else. Large renderings are dealt out by the shard,
small ones whole. The story then finds them. Shares may run at once, on any machine that sees the artifacts, and twice.
"""

import contextlib
import io
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import jupytext

from lib import ROOT, BadInput
from lib.book.parameters import read_run
from lib.data import rendering as render
from lib.runtime import stages as artifacts


class Looked(BaseException):
    """The story went on to something other than a rendering. No story catches it."""


class Noted:
    """Stands for the folder of a rendering that was noted: whoever looks into it ends the plan."""

    name = ""

    def __truediv__(self, _: str) -> Path:
        raise Looked


def plan(story: str, values: dict) -> list[tuple[render.RenderConfig, str, Path]]:
    """What a story with these parameters renders first: config, hash of its recordings, folder when it is made."""
    found = []

    def note(name: str, config: dict, _build: object, module: str | ModuleType) -> Noted:
        if name != "render":
            raise Looked
        folder = artifacts.root() / name / artifacts.key(config, module)
        found.append((render.RenderConfig(**config["render"]), config["recordings"], folder))
        return Noted()

    script = jupytext.read(ROOT / "notebooks" / f"{story}.py", fmt="py:percent")
    first, *others = [
        cell.source for cell in script.cells if cell.cell_type == "code"
    ]  # parameters come first
    space = {"__name__": "__main__"}
    said = contextlib.redirect_stdout(io.StringIO())
    with patch.object(artifacts, "stage", note), said, contextlib.suppress(Looked):
        exec(first, space)
        space |= values
        for source in others:
            exec(source, space)
    return found


def main(run: str, story: str, share: str, of: str) -> int:
    """Exit status; 2 when the run file, the story or the share is wrong."""
    try:
        stories = read_run(ROOT / "runs" / f"{run}.yml")["stories"]
        if story not in stories:
            raise BadInput(
                f"story {story!r} is not in runs/{run}.yml; choose of {', '.join(stories)}"
            )
        if not 0 <= int(share) < int(of):
            raise BadInput(f"share {share} of {of}: give 0 to {int(of) - 1}")
        noted = plan(story, stories[story])
        if not noted:
            raise BadInput(
                f"story {story!r} renders nothing before it computes something else: it has no shares"
            )
        dealt = [(*one, rows) for one in noted for rows in render.shards(one[0], render.SHARD)]
        for config, recordings, folder, rows in dealt[
            int(share) :: int(of)
        ]:  # dealt alike, whatever is there already
            if len(rows) == config.count:
                render.render(config)
            elif not folder.exists():  # it may have been gathered by now
                render.shard(config, rows, recordings)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
