"""Stages: computed once, whole or not there, whatever kills them; keys that follow config and code."""

import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import ROOT, BadInput
from lib.config import Config
from lib.runtime import code as source
from lib.runtime import stages as artifacts

MODULE = "lib.audio.spectrograms"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts"


def _final(folder, name="demo"):
    """Folders under a final name."""
    return [
        path
        for path in (folder / name).glob("*")
        if path.is_dir() and not path.name.startswith(".")
    ]


def _beside(folder, name="demo"):
    """Folders that a build has begun."""
    return [path for path in (folder / name).glob(".*") if path.is_dir()]


def _write(text="x"):
    return lambda beside: (beside / "numbers.txt").write_text(text)


def test_a_stage_is_computed_once_and_its_card_tells_how(folder):
    calls = []

    def build(beside):
        calls.append(beside)
        (beside / "inner").mkdir()
        (beside / "inner" / "numbers.txt").write_text("12345")

    first = artifacts.stage("demo", {"seed": 1}, build, MODULE)
    assert artifacts.stage("demo", {"seed": 1}, build, MODULE) == first and len(calls) == 1
    assert artifacts.stage("demo", {"seed": 2}, build, MODULE) != first and len(calls) == 2
    card = artifacts.read_card(first)
    assert card["config"] == {"seed": 1} and card["stage"] == "demo"
    assert card["files"] == {
        "inner/numbers.txt": hashlib.blake2b(b"12345", digest_size=16).hexdigest()
    }
    assert {"versions", "commit", "seconds", "peak_memory_mb"} <= card.keys()
    assert _beside(folder) == []


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_a_build_that_raises_leaves_nothing_and_can_be_repeated(folder, error):
    def build(beside):
        (beside / "half.txt").write_text("half")
        raise error

    with pytest.raises(type(error)):
        artifacts.stage("demo", {}, build, MODULE)
    assert _final(folder) == _beside(folder) == []
    assert (artifacts.stage("demo", {}, _write(), MODULE) / "numbers.txt").exists()


def _child(code, folder):
    environment = os.environ | {"ARTIFACTS_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment)


def test_a_killed_build_leaves_nothing_under_the_final_name_and_its_rest_goes_with_the_next(folder):
    code = f"""
import time
from lib.runtime import stages as artifacts
def build(beside):
    (beside / "half.txt").write_text("half")
    time.sleep(60)
artifacts.stage("demo", {{}}, build, {MODULE!r})
"""
    child = _child(code, folder)
    until = time.monotonic() + 30
    while not list((folder / "demo").glob(".*/half.txt")) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert _final(folder) == [] and len(_beside(folder)) == 1
    done = artifacts.stage("demo", {}, _write(), MODULE)
    assert _final(folder) == [done] and _beside(folder) == [] and not (done / "half.txt").exists()


def test_of_several_processes_one_computes_and_the_others_wait(folder, tmp_path):
    code = f"""
import time
from lib.runtime import stages as artifacts
def build(beside):
    with open({str(tmp_path / "calls")!r}, "a") as calls:
        calls.write("x")
    time.sleep(0.5)
    (beside / "numbers.txt").write_text("whole")
assert (artifacts.stage("demo", {{}}, build, {MODULE!r}) / "numbers.txt").read_text() == "whole"
"""
    children = [_child(code, folder) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert (tmp_path / "calls").read_text() == "x"


def test_a_full_disk_is_told_and_leaves_nothing(folder):
    def build(beside):
        (beside / "half.txt").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(beside / "half.txt"))

    with pytest.raises(BadInput, match=f"{folder}: No space left on device.*'demo'.*ARTIFACTS_DIR"):
        artifacts.stage("demo", {}, build, MODULE)
    assert _final(folder) == _beside(folder) == []


def test_a_write_past_the_limit_of_a_file_is_told_like_a_full_disk(folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(BadInput, match="File too large"):
            artifacts.stage("demo", {}, _write("x" * 200_000), MODULE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _final(folder) == _beside(folder) == []


def test_other_errors_of_a_build_stay_what_they_are():
    with pytest.raises(FileNotFoundError):
        artifacts.stage("demo", {}, lambda beside: (beside / "absent").read_text(), MODULE)


def test_a_file_where_the_artifact_folder_should_be_is_named(folder):
    folder.write_text("a file")
    with pytest.raises(
        BadInput, match=f"{folder}: Not a directory.*ARTIFACTS_DIR to a folder that can be"
    ):
        artifacts.stage("demo", {}, _write(), MODULE)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ('{"format": 1, "files": {}}', "written in card format 1, this version reads 2"),
        ("[]", "card format None"),
        ('{"form', "not readable"),
        (None, "missing"),
        ('{"format": 2, "files": {}}', "damaged, its checksum is another"),
    ],
)
def test_a_card_of_another_version_or_a_damaged_one_is_refused_by_name(card, said):
    done = artifacts.stage("demo", {}, _write(), MODULE)
    (done / "card.json").unlink() if card is None else (done / "card.json").write_text(card)
    with pytest.raises(BadInput, match=f"card.json: .*{said}.*; delete {done} and run again"):
        artifacts.read_card(done)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_too_little_memory_is_told_with_what_to_lower_and_leaves_nothing(folder, error):
    def build(beside):
        (beside / "half.txt").write_text("half")
        raise error

    with pytest.raises(
        BadInput,
        match="emory while stage 'demo' was written; lower batch_size or a number of clips",
    ):
        artifacts.stage("demo", {}, build, MODULE)
    assert _final(folder) == _beside(folder) == []


def test_a_name_is_given_only_to_what_is_on_the_disk(monkeypatch):
    """A power cut after the rename must find the bytes: each file, and the folder of the names, is asked for first."""
    said, fsync, rename = [], os.fsync, artifacts.Path.rename

    def settled(descriptor):
        fsync(descriptor)
        said.append(artifacts.Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    monkeypatch.setattr(os, "fsync", settled)
    monkeypatch.setattr(
        artifacts.Path, "rename", lambda path, to: (said.append(to), rename(path, to))[1]
    )

    def build(folder):
        (folder / "in").mkdir()
        (folder / "in" / "a.txt").write_text("a")

    folder = artifacts.stage("demo", {}, build, MODULE)
    named = said.index(folder)
    assert {path.name for path in said[:named]} >= {"a.txt", "in", "card.json"}
    assert said[named - 1].parent == folder.parent and said[named + 1 :] == [folder.parent]


@pytest.mark.parametrize("name", ["/dev/zero", "../../outside", "pipe", "link"])
def test_a_card_that_names_another_file_is_refused(tmp_path, name):
    """Its checksums are right: who wrote it could write those. Nothing is read, no reading waits for ever."""
    folder = artifacts.stage("demo", {}, lambda folder: None, MODULE)
    (outside := folder.parents[1] / "outside").write_text("o")
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(outside)
    card = artifacts.read_card(folder)
    card["files"] = {name: "0" * 32}
    artifacts.write_json(folder / "card.json", card | {"sum": artifacts._sum(card)})
    with pytest.raises(BadInput, match=f"{name}: not a file of this stage"):
        artifacts.read_card(folder)


def test_the_key_follows_what_code_does_and_not_how_it_is_told():
    before = source._bare('def f(x):\n    """Old words."""\n    return x + 1  # old\n')
    assert source._bare('"""A module."""\ndef f(x):\n\n    return x + 1\n') == before
    assert source._bare("def f(x):\n    return x + 2\n") != before
    assert artifacts.key({}, "lib.audio.spectrograms") != artifacts.key({}, "lib.runtime.stages")


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5), st.integers() | st.text(max_size=5) | st.lists(st.floats()), max_size=4
    )
)
def test_the_key_follows_the_config_and_not_its_order(config):
    turned = dict(reversed(config.items()))
    assert artifacts.key(config, MODULE) == artifacts.key(turned, MODULE)
    assert artifacts.key(config | {"one more": 1}, MODULE) != artifacts.key(config, MODULE)


def test_closure_follows_imports_of_imports():
    names = [
        path.stem
        for path in source.closure("from lib.data.rendering import render\nimport numpy\n")
    ]
    assert names == sorted(names)
    assert {"render", "clips", "corpora", "effects", "spectrograms", "artifacts"} <= set(names)
    assert source.closure("import numpy\nfrom lib import BadInput\n") == []


def test_lib_imports_one_way():
    order = [
        "source",
        "artifacts",
        "mp4",
        "recordings",
        "layouts",
        "vctk",
        "musdb18",
        "corpora",
        "clips",
        "effects",
        "spectrograms",
        "render",
        "objective",
        "theory",
        "vae",
        "training",
        "embeddings",
        "figures",
    ]
    for place, name in enumerate(order):
        path = ROOT / "lib" / f"{name}.py"
        later = set(source.imports(path.read_text(encoding="utf-8"))) & set(order[place:])
        assert not later, f"{path}: imports {sorted(later)}, which come after it"


def test_write_json_replaces_a_file_whole(tmp_path):
    artifacts.write_json(tmp_path / "sub" / "a.json", {"b": 1, "a": "ä"})
    artifacts.write_json(tmp_path / "sub" / "a.json", {"a": "ä"})
    assert json.loads((tmp_path / "sub" / "a.json").read_text(encoding="utf-8")) == {"a": "ä"}
    with pytest.raises(TypeError):
        artifacts.write_json(tmp_path / "sub" / "a.json", {"a": object()})
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.json"]


def test_a_config_refuses_what_it_does_not_know_and_does_not_change():
    class Demo(Config):
        beta: float = 1.0

    with pytest.raises(BadInput, match="betaa = 2.*Fields: beta"):
        Demo(betaa=2)
    with pytest.raises(BadInput, match="beta = 'much'"):
        Demo(beta="much")
    with pytest.raises(ValueError, match="frozen"):
        Demo().beta = 2.0
