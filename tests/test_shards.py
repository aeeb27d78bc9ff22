"""A story's clips are rendered by jobs of their own before it starts: by the graph, by hand, and what is refused."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pages
import pytest
import shards
import sync
import yaml

import lib.data.rendering
from lib import ROOT
from lib.book.parameters import read_run
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig, render
from lib.runtime import stages as artifacts

NAME = "01_dataset_preparation"
STORY = f'''# %% tags=["parameters"]
corpora: tuple = ("speech",)
clip_s: float = 2.03
seed: int = 0
split_seed: int = 0

# %%
from lib.book import page as story
from lib.runtime import stages as artifacts
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig, render

parameters = story.begin("{NAME}", globals())
story.record("toy.shards_before", len(list(artifacts.root().glob("shard/*/card.json"))))

# %%
done = []
for count in (70, 20):
    source = ClipConfig(corpus=parameters.corpora[0], split="train", seed=parameters.seed + count)
    done.append(render(RenderConfig(clips=source, clips_per_effect=count)))
    story.record(f"toy.renderings_{{count}}", len(list(artifacts.root().glob("render/*/card.json"))))

# %%
story.record("toy.sum", sum(float(one.spectrograms.astype("float64").sum()) for one in done))
story.record("toy.shards_after", len(list(artifacts.root().glob("shard/*/card.json"))))
'''
FULL = yaml.safe_load((ROOT / "runs/full.yml").read_text(encoding="utf-8"))
QUICK = read_run(ROOT / "runs/quick.yml")["stories"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a run of one toy story needs, with shards of 32 clips, and a run of two jobs before it."""
    for name in ("lib", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (tmp_path / "lib/data/rendering.py").read_text(encoding="utf-8")
    (tmp_path / "lib/data/rendering.py").write_text(
        re.sub(r"^SHARD = \d+", "SHARD = 32", text, count=1, flags=re.M)
    )
    for name in ("Snakefile", "requirements.txt", "_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / f"notebooks/{NAME}.py").write_text(STORY)
    notebook = jupytext.reads(STORY, fmt="py:percent")
    notebook.metadata = {"kernelspec": sync.KERNEL}
    nbformat.write(notebook, tmp_path / f"notebooks/{NAME}.ipynb")
    (tmp_path / "runs").mkdir()
    values = {"corpora": ["speech"], "clip_s": 2.03, "seed": 5, "split_seed": 0}
    (tmp_path / "runs/tiny.yml").write_text(
        yaml.safe_dump({"stories": {NAME: values}, "shards": {NAME: 2}})
    )
    return tmp_path


@pytest.fixture
def here(checkout: Path, monkeypatch) -> Path:
    """The same for a call of the tool in this process."""
    monkeypatch.setenv("ARTIFACTS_DIR", str(checkout / "artifacts"))
    monkeypatch.setattr(shards, "ROOT", checkout)
    monkeypatch.setattr(lib.data.rendering, "SHARD", 32)
    return checkout


def run(checkout: Path, *words: object) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "ARTIFACTS_DIR": str(checkout / "artifacts"),
        "JOBS": "2",
    }
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=checkout,
        env=environment,
        text=True,
        timeout=1800,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.slow
def test_jobs_render_a_story_s_clips_and_the_story_finds_them(checkout: Path, monkeypatch) -> None:
    """70 clips are three shards, 20 are made whole: two parts for each of two jobs."""
    done = run(checkout, "tools/run.py", "tiny", "results")
    assert done.returncode == 0, done.stdout[-4000:]
    found = pages.records(pages.read(checkout / f"artifacts/tiny/pages/{NAME}.ipynb"))
    assert sorted(path.name for path in (checkout / f"artifacts/tiny/shards/{NAME}").iterdir()) == [
        "0",
        "1",
    ]
    assert (found["toy.shards_before"], found["toy.shards_after"]) == (3, 0)
    assert (found["toy.renderings_70"], found["toy.renderings_20"]) == (
        2,
        2,
    )  # the small one was there already
    monkeypatch.setenv("ARTIFACTS_DIR", str(checkout / "whole"))
    clips = (ClipConfig(corpus="speech", split="train", seed=5 + count) for count in (70, 20))
    whole = [
        render(RenderConfig(clips=one, clips_per_effect=one.seed - 5)).spectrograms for one in clips
    ]
    assert found["toy.sum"] == sum(float(one.astype("float64").sum()) for one in whole)
    again = run(checkout, "tools/run.py", "tiny", "-n", "results")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout, again.stdout[-4000:]


def test_a_share_is_dealt_alike_whatever_is_there(here: Path) -> None:
    """In any order and twice: parts that are there do not move the others to another share."""
    counts = []
    for share in (1, 1, 0):
        assert shards.main("tiny", NAME, str(share), "2") == 0
        counts.append(
            [
                len(list((here / "artifacts").glob(f"{kind}/*/card.json")))
                for kind in ("shard", "render")
            ]
        )
    assert counts == [[1, 1], [1, 1], [3, 1]]


def test_shards_of_a_rendering_that_is_whole_are_not_made_again(here: Path) -> None:
    plan = shards.plan(NAME, yaml.safe_load((here / "runs/tiny.yml").read_text())["stories"][NAME])
    assert [render(config).folder for config, *_ in plan] == [folder for _, _, folder in plan]
    for share in (0, 1):
        assert shards.main("tiny", NAME, str(share), "2") == 0
    assert not list((here / "artifacts").glob("shard/*/card.json"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("tiny", "04_spectrogram_vae", "0", "2"),
            f"story '04_spectrogram_vae' is not in runs/tiny.yml; choose of {NAME}",
        ),
        (("tiny", NAME, "2", "2"), "share 2 of 2: give 0 to 1"),
        (("tinny", NAME, "0", "2"), 'no such run; did you mean "tiny"'),
    ],
)
def test_a_wrong_share_is_refused(words: tuple[str, ...], said: str, here: Path, capsys) -> None:
    assert shards.main(*words) == 2 and said in capsys.readouterr().err
    assert not (here / "artifacts").exists()


def test_the_plan_of_a_story_is_what_it_renders_and_nothing_is_made(
    tmp_path: Path, monkeypatch
) -> None:
    """Every story that the full run divides, at the quick parameters: all its corpora, in the numbers asked for."""
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    asked = {name: QUICK[name] for name in FULL["shards"]}
    found = {
        name: [config for config, *_ in shards.plan(name, values)] for name, values in asked.items()
    }
    assert not (tmp_path / "artifacts").exists()
    for name, configs in found.items():
        corpora = asked[name].get("corpora") or [asked[name]["corpus"]]
        assert {config.clips.corpus for config in configs} == {*corpora}, name
    vae = asked["04_spectrogram_vae"]
    assert {one.clips.split: one.count for one in found["04_spectrogram_vae"]} == {
        "train": vae["train_clips"],
        "validation": vae["test_clips"],
        "test": vae["test_clips"],
    }
    embeddings = asked["10_effect_embeddings"]
    assert [one.count for one in found["10_effect_embeddings"]] == [
        embeddings["clips_per_effect"]
    ] * 10
    assert all(one.prints for one in found["10_effect_embeddings"])
    few, many = (
        {one.model_dump_json() for one in found[name]}
        for name in ("10_effect_embeddings", "11_how_far")
    )
    assert few < many  # the second page looks at the clips of the first, and at more


def test_a_plan_that_ends_before_a_rendering_is_empty(tmp_path: Path, monkeypatch) -> None:
    """A story that trains first: nothing is trained for the plan."""
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    monkeypatch.setattr(shards, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()
    early = '# %%\nfrom lib import artifacts\nartifacts.stage("train", {}, lambda folder: None, "lib.runtime.stages")\n'
    (tmp_path / f"notebooks/{NAME}.py").write_text(
        STORY.replace("# %%\ndone", early + "\n# %%\ndone")
    )
    assert shards.plan(NAME, QUICK[NAME]) == [] and not (tmp_path / "artifacts").exists()
    (tmp_path / f"notebooks/{NAME}.py").write_text(STORY)
    planned = [
        (config.count, folder.parent) for config, _, folder in shards.plan(NAME, QUICK[NAME])
    ]
    assert planned == [(70, artifacts.root() / "render"), (20, artifacts.root() / "render")]


def test_the_full_run_divides_stories_that_it_has(tmp_path: Path) -> None:
    """A dry run: a job for each share, and every job of such a story waits for all of them."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-n",
        "--config",
        "run=full",
        "--cores",
        "1",
        "results",
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"ARTIFACTS_DIR": str(tmp_path)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert FULL["shards"].keys() <= FULL["stories"].keys()
    assert int(re.search(r"^shard +(\d+)$", done.stdout, re.M)[1]) == sum(FULL["shards"].values())
    job = r"^rule (?:story|point):\n    input: (.*)\n    output: .*/(?:pages|scatter)/(\w+)"
    jobs = re.findall(job, done.stdout, re.M)
    for inputs, story in jobs:
        assert inputs.count(f"/full/shards/{story}/") == FULL["shards"].get(story, 0), story
    assert {story for _, story in jobs} == {*FULL["stories"]}
    (shard,) = set(
        re.findall(r"^rule shard:\n(?:    .*\n)*?    resources: (.*)", done.stdout, re.M)
    )
    assert "mem_mb=4000" in shard and "gpu=0" in shard  # and not what the story itself may take
