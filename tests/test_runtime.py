"""Stages are computed once, whole or absent; keys follow config and code; names are parsed."""

import errno
import os
import subprocess
import sys
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import ROOT, BadInput
from lib.config import parse_corpus
from lib.runtime import code, files, places, progress, provenance, stages

MODULE = "lib.audio.spectrograms"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts"


def build(beside, text="whole"):
    (beside / "in").mkdir()
    (beside / "in" / "a.txt").write_text(text)


def folders(top):
    """All folders of the stage "demo", finished or not."""
    return [path for path in (top / "demo").glob("*") if path.is_dir()]


def test_a_stage_is_computed_once_and_has_a_card(folder):
    counted = mock.Mock(side_effect=build)
    first = stages.stage("demo", {"seed": 1}, counted, MODULE)
    assert stages.stage("demo", {"seed": 1}, counted, MODULE) == first
    assert stages.stage("demo", {"seed": 2}, counted, MODULE) != first
    assert counted.call_count == 2
    card = stages.read_card(first)
    assert card["config"] == {"seed": 1} and card["stage"] == "demo"
    assert card["files"].keys() == {"in/a.txt"}
    assert {"versions", "commit", "seconds", "peak_memory_mb"} <= card.keys()
    assert len(folders(folder)) == 2 and stages.verify_all() == []


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
OF_TORCH = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
FAULTS = [  # what a build raises, what the user sees
    (FileNotFoundError("absent"), FileNotFoundError, "absent"),
    (KeyboardInterrupt(), KeyboardInterrupt, "stopped in stage 'demo'; run again"),
    (FULL, BadInput, "artifacts: No space left on device.*'demo'.*ARTIFACTS_DIR"),
    (MemoryError(), BadInput, "memory while stage 'demo' was written; lower batch_size"),
    (OF_TORCH, BadInput, "memory while stage 'demo' was written; lower batch_size"),
]


@pytest.mark.parametrize(("error", "seen", "message"), FAULTS, ids=[str(f[2]) for f in FAULTS])
def test_a_build_that_fails_leaves_nothing_and_can_be_repeated(folder, error, seen, message):
    def broken(beside):
        build(beside, "half")
        raise error

    with pytest.raises(seen, match=message):
        stages.stage("demo", {}, broken, MODULE)
    assert folders(folder) == []
    assert (stages.stage("demo", {}, build, MODULE) / "in/a.txt").read_text() == "whole"


def test_a_file_in_place_of_the_artifact_folder_is_named(folder):
    folder.write_text("a file")
    with pytest.raises(BadInput, match=f"{folder}: Not a directory.*ARTIFACTS_DIR to a folder"):
        stages.stage("demo", {}, build, MODULE)


REFUSED = [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EIO]


@pytest.mark.parametrize("number", REFUSED, ids=errno.errorcode.get)
def test_a_file_system_that_cannot_sync_is_told_once_and_a_failing_disk_stops(
    folder, monkeypatch, capfd, number
):
    monkeypatch.setattr(os, "fsync", mock.Mock(side_effect=OSError(number, os.strerror(number))))
    files._say_unsafe.cache_clear()
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            stages.stage("demo", {}, build, MODULE)
        assert folders(folder) == []
    else:
        stages.verify(stages.stage("demo", {}, build, MODULE))
        assert capfd.readouterr().err.count("a power cut may damage the last stage") == 1


CANNOT = [  # a function of the system, what it answers
    ("fcntl.flock", OSError(errno.ENOLCK, "No locks available")),
    ("fcntl.flock", OSError(errno.ENOTSUP, "Operation not supported")),
    ("os.rename", OSError(errno.EXDEV, "Invalid cross-device link")),
]


@pytest.mark.parametrize(("name", "error"), CANNOT, ids=lambda value: str(value))
def test_a_file_system_without_locks_or_renames_is_named(folder, monkeypatch, name, error):
    monkeypatch.setattr(name, mock.Mock(side_effect=error))
    told = f"{folder}: .*'demo'.*ARTIFACTS_DIR to a folder on a disk of this machine"
    with pytest.raises(BadInput, match=told):
        stages.stage("demo", {}, build, MODULE)
    assert folders(folder) == []


@pytest.mark.parametrize("shut", [*{*places.CACHES.values()}, "", "nothing"])
def test_caches_move_where_their_own_place_cannot_be_written(folder, tmp_path, monkeypatch, shut):
    """The home itself, or a folder in it; a variable that is set stays."""
    for variable in places.CACHES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "absent"))
    monkeypatch.setenv("IPYTHONDIR", "mine")
    (tmp_path / "absent" / shut).mkdir(parents=True)
    closed = tmp_path / "absent" / shut
    monkeypatch.setattr(os, "access", lambda path, mode: not path == closed)
    places.move_caches()
    for variable, place in places.CACHES.items():
        moved = shut in (place, "") and variable != "IPYTHONDIR"
        expected = str(folder / "caches" / variable.lower()) if moved else None
        assert os.environ.get(variable) == ("mine" if variable == "IPYTHONDIR" else expected)


def test_a_checkout_that_cannot_be_written_is_run_from_links(folder, monkeypatch):
    assert places.workplace() == ROOT
    monkeypatch.setattr(places, "is_writable", lambda place: False)
    for _ in range(2):
        place = places.workplace()
        assert place.parent == folder and (place / "Snakefile").resolve() == ROOT / "Snakefile"


def test_the_artifact_folder_may_be_below_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ARTIFACTS_DIR", "~/x")
    assert stages.root() == tmp_path / "x"


def test_an_unpacked_zip_has_no_commit_though_it_lies_in_a_repository(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in a hook
    theirs = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert not theirs.startswith(provenance.commit().removesuffix("-dirty"))
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "unpacked")
    assert provenance.commit() == "none: not a git checkout"


BUILD = f"""
import time
from lib.runtime import stages
def build(beside):
    with open("CALLS", "a") as calls:
        calls.write("x")
    (beside / "half.txt").write_text("half")
    time.sleep(SECONDS)
stages.stage("demo", {{}}, build, {MODULE!r})
"""


def test_of_several_processes_one_computes_and_the_others_wait(folder, tmp_path):
    source = BUILD.replace("CALLS", str(tmp_path / "calls")).replace("SECONDS", "0.5")
    command = [sys.executable, "-c", source]
    children = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [each.wait() for each in children] == [0, 0, 0]
    assert (tmp_path / "calls").read_text() == "x" and len(folders(folder)) == 1


def test_a_name_is_given_only_to_what_is_on_the_disk(monkeypatch):
    """A power cut after the rename must find all bytes and the names in each folder."""
    events, fsync, rename = [], os.fsync, stages.Path.rename

    def noted_fsync(descriptor):
        fsync(descriptor)
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    def noted_rename(path, target):
        rename(path, target)
        events.append("renamed")

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(stages.Path, "rename", noted_rename)
    done = stages.stage("demo", {}, build, MODULE)
    named = events.index("renamed")
    assert {path.rpartition("/")[2] for path in events[:named]} >= {"a.txt", "in", "card.json"}
    assert events[named + 1 :] == [str(done.parent)]


CARDS = [
    ("[]", "card.json: missing or not readable"),
    ('{"form', "card.json: missing or not readable"),
    ('{"files": {}}', "card.json: damaged, its checksum is another"),
]


@pytest.mark.parametrize(("card", "message"), CARDS)
def test_a_stage_with_a_damaged_card_is_named_and_computed_again(card, message):
    done = stages.stage("demo", {}, build, MODULE)
    (done / "card.json").write_text(card)
    with pytest.raises(BadInput, match=f"{message}.*the next run computes this stage again"):
        stages.read_card(done)
    with pytest.warns(UserWarning, match=message):
        assert stages.stage("demo", {}, build, MODULE) == done
    assert stages.verify_all() == []


def test_a_damaged_file_is_found_by_the_command_which_removes_its_stage(folder):
    good = stages.stage("demo", {"seed": 1}, build, MODULE)
    bad = stages.stage("demo", {"seed": 2}, build, MODULE)
    (bad / "in/a.txt").write_text("WHOLE")
    command = [sys.executable, "-m", "lib.runtime.stages"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and f"{bad}/in/a.txt: damaged" in done.stderr
    assert folders(folder) == [good]
    assert subprocess.run(command, cwd=ROOT).returncode == 0


def test_an_atomic_write_replaces_a_file_or_leaves_it(tmp_path):
    path = tmp_path / "inner" / "a.json"
    files.write_json(path, {"b": 1})
    files.write_json(path, {"a": "ä"})

    def broken(beside):
        beside.write_text("half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        files.write_atomic(path, broken)
    assert path.read_text(encoding="utf-8") == '{\n "a": "ä"\n}\n'
    assert list(path.parent.iterdir()) == [path]


def test_the_identity_of_code_follows_what_it_does():
    before = code.source_hash('def f(x):\n    """Old words."""\n    return x + 1  # old\n')
    assert code.source_hash('"""A module."""\ndef f(x):\n\n    return x + 1\n') == before
    assert code.source_hash("def f(x):\n    return x + 2\n") != before
    assert stages.key({}, MODULE) != stages.key({}, "lib.runtime.stages")


IMPORTS = {
    "from lib.data.rendering import render": {"data/rendering", "data/clips", "runtime/stages"},
    "import lib.data.rendering": {"data/rendering", "data/clips"},
    "from lib import vae": {"vae/losses", "vae/networks", "runtime/stages"},  # all of a room
    "from lib.vae import train": {"vae/losses", "vae/networks"},  # a name of a room's face
}


@pytest.mark.parametrize("source", IMPORTS)
def test_the_identity_of_code_sees_every_module_that_runs(source):
    paths = {str(path.relative_to(ROOT / "lib").with_suffix("")) for path in code.closure(source)}
    assert paths >= IMPORTS[source]
    assert code.closure("import numpy\nfrom lib import BadInput\n") == []


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(max_size=5), st.integers() | st.lists(st.floats()), max_size=4))
def test_the_key_follows_the_config_and_not_its_order(config):
    turned = dict(reversed(config.items()))
    assert stages.key(config, MODULE) == stages.key(turned, MODULE)
    assert stages.key(config | {"one more": 1}, MODULE) != stages.key(config, MODULE)


def test_progress_passes_items_on_and_writes_to_the_terminal(capfd, monkeypatch):
    monkeypatch.setattr(progress, "TERMINAL_EVERY_S", 0)
    monkeypatch.setattr(progress, "DISPLAY_EVERY_S", 0)
    items = []
    for item in progress.progress(iter("ab"), total=2, label=lambda: f"epoch {len(items)}"):
        items.append(item)
    assert items == ["a", "b"]
    out, err = capfd.readouterr()
    assert out == "" and err.index("epoch 1:") < err.index("epoch 2:") < err.index("2/2")


def test_a_corpus_is_parsed(tmp_path):
    assert parse_corpus("speech") == ("speech", None, {})
    assert parse_corpus(f"folder:{tmp_path}?links=follow") == (
        "folder",
        tmp_path,
        {"links": "follow"},
    )
    text = f"vctk:{tmp_path}/VCTK?mic=2"
    assert parse_corpus(text) == ("vctk", tmp_path / "VCTK", {"mic": "2"})
    (tmp_path / "VCTK?mic=2").mkdir()
    assert parse_corpus(text) == ("vctk", tmp_path / "VCTK?mic=2", {})
    for wrong in ("speech:x", "vctk:/x?stem=vocals", "folder:/x?mic=1"):
        with pytest.raises(BadInput, match="did you mean|not known"):
            parse_corpus(wrong)
