"""On SLURM itself, two nodes of this machine: a story whose job dies is tried again.

For Kubernetes, what is handed to kubectl.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from test_faults import checkout

from lib import ROOT

__all__ = ["checkout"]  # a fixture

SBIN = f"/usr/sbin{os.pathsep}{os.environ['PATH']}"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
STORY = "01_dataset_preparation"
CONF = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MinJobAge=3600
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=8000
PartitionName=normal Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def until(true, what: str, seconds: float = 250):
    """What `true` returns, as soon as that is something; the machine may be busy."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, what
        time.sleep(0.2)
    return value


def ports(count: int) -> list[int]:
    """Free ports of this machine."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return numbers


def sh(command: str, environment: dict[str, str]) -> str:
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True)
    return done.stdout


def job(number: int, environment: dict[str, str]) -> dict[str, str]:
    """What SLURM knows of a job, {} before there is one."""
    words = sh(f"scontrol show job {number}", environment).split()
    return dict(word.split("=", 1) for word in words if "=" in word)


@pytest.fixture
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which sbatch finds a cluster of two nodes, with one core and 8 GB each."""
    missing = [name for name in NEEDED if shutil.which(name, path=SBIN) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"no {', '.join(missing)} here: apt-get install slurm-wlm munge")
    assert not missing, "CI needs SLURM: .ci/run installs it"
    folder = Path(f"/tmp/slurm-{os.getpid()}")  # a socket's path is short
    modes = {"": 0o755, "munge": 0o711, "key": 0o700, "state": 0o700, "bin": 0o755}
    for name, mode in modes.items():
        (folder / name).mkdir()
        (folder / name).chmod(mode)
    (folder / "key/key").write_bytes(os.urandom(1024))
    (folder / "key/key").chmod(0o600)
    user = sh("id -un", dict(os.environ)).strip()
    conf = CONF.format(host=socket.gethostname(), ports=ports(3), user=user, folder=folder)
    (folder / "slurm.conf").write_text(conf)
    # the executor's job step forgets SLURM_CONF, which a cluster in /etc/slurm does not need
    srun = f'SLURM_CONF={folder}/slurm.conf exec {shutil.which("srun", path=SBIN)} "$@"\n'
    (folder / "bin/srun").write_text(f"#!/bin/sh\n{srun}")
    (folder / "bin/srun").chmod(0o755)
    outer = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "SLURM"))}
    own = {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin{os.pathsep}{SBIN}"}
    environment, running = outer | own, []

    def start(name: str, *words: str) -> None:
        with open(folder / f"{name}.out", "a") as out:
            command = [shutil.which(name, path=SBIN), *words]
            pipes = {"stdout": out, "stderr": subprocess.STDOUT}
            running.append(subprocess.Popen(command, env=environment, **pipes))

    try:
        files = [f"--{name}-file={folder}/key/{name}" for name in ("key", "log", "seed")]
        places = [f"--socket={folder}/munge/socket", f"--pid-file={folder}/munge/pid"]
        start("munged", "--foreground", *places, *files)
        until((folder / "munge/socket").exists, "munge does not start")
        start("slurmctld", "-D", "-i")
        start("slurmd", "-D", "-N", "n1")
        start("slurmd", "-D", "-N", "n2")
        idle = lambda: sh("sinfo -h -N -o %T", environment).split() == ["idle"] * 2  # noqa: E731
        until(idle, "".join(path.read_text()[-2000:] for path in folder.glob("*.out")))
        yield environment
    finally:
        for each in reversed(running):
            each.terminate()
        for each in reversed(running):
            each.wait(60)
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_story_whose_job_dies_is_tried_again_with_more(
    slurm: dict[str, str], checkout: Path
) -> None:
    """The profile as it is; the first job is killed from outside, as by a lack of memory."""
    shutil.copytree(ROOT / "profiles", checkout / "profiles")
    artifacts, log = checkout / "artifacts", checkout / "log"
    path = f"{Path(sys.executable).parent}{os.pathsep}{slurm['PATH']}"
    own = {"PYTHONPATH": str(checkout), "PATH": path, "ARTIFACTS_DIR": str(artifacts)}
    words = "tools/run.py one --profile profiles/slurm --latency-wait 5 results"
    words += " --slurm-init-seconds-before-status-checks 1 --seconds-between-status-checks 1"
    words += " --slurm-status-command squeue"  # there is no accounting here
    with open(log, "w") as out:
        pipes = {"stdout": out, "stderr": subprocess.STDOUT}
        command = [sys.executable, *words.split()]
        run = subprocess.Popen(command, cwd=checkout, env=slurm | own, **pipes)
    try:
        tried = artifacts / f"one/tried/{STORY}.ipynb"
        until(lambda: tried.exists() or run.poll() is not None, "no job started")
        first = job(1, slurm)
        assert first.get("JobState") == "RUNNING", log.read_text()[-4000:]
        sh("scancel --signal=KILL --full 1", slurm)
        assert run.wait(600) == 0, log.read_text()[-4000:]
    finally:
        if run.poll() is None:
            run.send_signal(signal.SIGINT)
            run.wait(60)
    assert (artifacts / "one/results.json").stat().st_size > 2
    second = job(2, slurm)
    assert job(1, slurm)["JobState"] in ("FAILED", "CANCELLED")
    assert second["JobState"] == "COMPLETED" and job(3, slurm) == {}
    assert [each["TimeLimit"] for each in (first, second)] == ["02:00:00", "04:00:00"]
    assert [each["MinMemoryNode"] for each in (first, second)] == ["4000M", "8000M"]


@pytest.fixture
def kubernetes(tmp_path: Path):
    """Calls a script of the profile with a stand-in for kubectl, which keeps words and manifest."""
    (tmp_path / "kubectl").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/words\ncase $1 in\n'
        f"create) cat > {tmp_path}/manifest ;;\nget) cat {tmp_path}/state ;;\nesac\n"
    )
    (tmp_path / "kubectl").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "CLAIM": "ours", "MOUNT": "/disk"}

    def call(script: str, *words: str) -> str:
        command = [ROOT / "profiles/kubernetes" / script, *words]
        pipes = {"capture_output": True, "text": True, "check": True}
        return subprocess.run(command, cwd=ROOT, env=environment, **pipes).stdout.strip()

    return call


def test_a_job_for_kubernetes_has_its_resources_and_its_state_is_read(kubernetes, tmp_path: Path):
    script = "/disk/.snakemake/job 1.sh"
    name = kubernetes("submit.sh", "story", "1", "8000", "240", "2", script)
    manifest = yaml.safe_load((tmp_path / "manifest").read_text())
    assert manifest["kind"] == "Job" and manifest["metadata"]["name"] == name
    spec = manifest["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 240 * 60)
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] == ["/bin/bash", script] and container["workingDir"] == str(ROOT)
    limits = {"memory": "8000M", "nvidia.com/gpu": 2}
    assert container["resources"] == {"requests": {"cpu": 1, "memory": "8000M"}, "limits": limits}
    assert container["volumeMounts"] == [{"name": "book", "mountPath": "/disk"}]
    states = {"": "running", "SuccessCriteriaMet Complete": "success", "Failed": "failed"}
    for state, word in states.items():
        (tmp_path / "state").write_text(state)
        assert kubernetes("status.sh", name) == word
    (tmp_path / "state").unlink()  # kubectl fails
    assert kubernetes("status.sh", name) == "running"
    kubernetes("cancel.sh", "one", "two")
    last = (tmp_path / "words").read_text().splitlines()[-1]
    assert last == "delete job --namespace default --wait=false one two"


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_profile_asks_for_what_the_graph_says(name: str) -> None:
    """Only resources that every job has."""
    profile = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    assert profile["retries"] >= 1 and profile["jobs"] > 1
    asked = set(re.findall(r"\{resources\.(\w+)\}", str(profile)))
    given = set(re.findall(r"^        (\w+)=need\(", (ROOT / "Snakefile").read_text(), re.M))
    assert given == {"mem_mb", "runtime", "gpu"} and asked <= given
