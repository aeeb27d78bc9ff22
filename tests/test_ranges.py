"""Stories with parameters from the ends of their ranges: each ends, or refuses them by name.

Two settings of each cheap story are drawn. `STORY_SETTINGS=20 pytest -m slow tests/test_ranges.py`
draws as many of every story, which takes hours.
"""

import os
import re
import subprocess
import sys
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import yaml
from pydantic.fields import FieldInfo

from lib import ROOT, BadInput
from lib.book.parameters import STORIES, resolve

QUICK = yaml.safe_load((ROOT / "runs/quick.yml").read_text(encoding="utf-8"))["stories"]
SMALL = {  # a size costs time and nothing else: its ends here
    "epochs": (1, 2),
    "cnn_epochs": (1, 2),
    "sound_epochs": (1, 2),
    "binarised_epochs": (0, 1),
    "train_images": (1000, 1200),
    "remedy_images": (1000, 1200),
    "train_clips": (66, 70),
    "test_clips": (9, 20),
    "clips_per_effect": (30, 33),
    "clip_s": (0.5, 3.0),
    "bisections": (1, 2),
    "checked": (0, 2),
    "devices": (1, 1),
    "folds": (2, 3),
    "shown": (3, 5),
    "grid_clips": (10, 12),
    "sweep_clips": (11, 20),
    "latent": (1, 64),
}
FIXED = {"logger": "csv", "accelerator": "cpu", "preset": "small"}


def drawn(story: str, rng: np.random.Generator) -> dict[str, Any]:
    """A setting: small sizes, and of a third of the other parameters an end of its range."""
    values = dict(QUICK[story])
    for name, field in STORIES[story].model_fields.items():
        few = SMALL.get(name)
        if name in FIXED:
            values[name] = FIXED[name]
        elif few:
            value = few[rng.integers(2)]
            panels = len(QUICK[story]["effects"]) if story == "09_umap_analysis" else 0
            values[name] = [value] * panels if panels and name == "clips_per_effect" else value
        elif rng.random() < 0.33:
            values[name] = _value(field, values.get(name), rng)
    return values


def _value(field: FieldInfo, quick: Any, rng: np.random.Generator) -> Any:
    """A value that a field allows, an end of its range if it has one."""
    if get_origin(field.annotation) is Literal:
        return str(rng.choice(get_args(field.annotation)))
    if field.annotation is bool:
        return bool(rng.integers(2))
    bounds = {
        name: b
        for m in field.metadata
        for name in ("ge", "le")
        if (b := getattr(m, name, None)) is not None
    }
    if field.annotation not in (int, float) or len(bounds) < 2:
        return quick
    return field.annotation(bounds["ge" if rng.integers(2) else "le"])


def run(story: str, values: dict[str, Any], folder) -> str:
    """What is wrong with a story that neither ends nor refuses its parameters; else ""."""
    try:
        resolve(story, values)
    except BadInput:
        return ""
    script = (ROOT / f"notebooks/{story}.py").read_text(encoding="utf-8")
    lines = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    script = re.sub(
        r'(# %% tags=\["parameters"\]\n).*?(?=\n# %%)',
        lambda m: m[1] + lines,
        script,
        count=1,
        flags=re.S,
    )
    environment = os.environ | {
        "MPLBACKEND": "agg",
        "ARTIFACTS_DIR": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(
        command, cwd=ROOT / "notebooks", env=environment, capture_output=True, text=True
    )
    last = done.stderr.strip().rpartition("\n")[2]
    return (
        ""
        if done.returncode == 0 or last.startswith("lib.BadInput")
        else f"{values}: {done.stderr[-3000:]}"
    )


CHEAP = (
    "01_dataset_preparation",
    "02_audio_effects",
    "03_mnist_sanity_check",
    "05_the_loss_question",
)
COUNT = int(os.environ.get("STORY_SETTINGS", 0))


@pytest.mark.slow
@pytest.mark.timeout(900 * max(COUNT, 1))
@pytest.mark.parametrize("story", STORIES if COUNT else CHEAP)
def test_a_story_at_the_ends_of_its_parameters_ends_or_refuses_by_name(story, tmp_path) -> None:
    rng = np.random.default_rng(int(story[:2]))
    for _ in range(COUNT or 2):
        assert run(story, drawn(story, rng), tmp_path) == ""
