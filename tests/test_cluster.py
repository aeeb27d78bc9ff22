"""On SLURM itself, two nodes of this machine: a story whose job dies is tried again, and a net trains on both.

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

from lib import ROOT

SBIN = f"/usr/sbin{os.pathsep}{os.environ['PATH']}"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
STORY = "02_audio_effects"
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


def until(true, what: str, seconds: float = 900):
    """What `true` returns, as soon as that is something; the machine may be busy."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, what
        time.sleep(0.2)
    return found


def ports(count: int) -> list[int]:
    """Free ones."""
    open_ = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [each.getsockname()[1] for each in open_]
    for each in open_:
        each.close()
    return found


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which sbatch finds a cluster of two nodes, with one core and 8 GB each."""
    missing = [name for name in NEEDED if shutil.which(name, path=SBIN) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"no {', '.join(missing)} here: apt-get install slurm-wlm munge")
    assert not missing, "CI needs SLURM: .ci/run installs it"
    folder = Path(f"/tmp/slurm-{os.getpid()}")  # a socket's path is short
    for name, mode in (
        ("", 0o755),
        ("munge", 0o711),
        ("key", 0o700),
        ("state", 0o700),
        ("bin", 0o755),
    ):
        (folder / name).mkdir()
        (folder / name).chmod(mode)
    (folder / "key/key").write_bytes(os.urandom(1024))
    (folder / "key/key").chmod(0o600)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    conf = CONF.format(host=socket.gethostname(), ports=ports(3), user=user, folder=folder)
    (folder / "slurm.conf").write_text(conf)
    # the executor's job step forgets SLURM_CONF, which a cluster in /etc/slurm would not need
    script = (
        f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun", path=SBIN)} "$@"\n'
    )
    (folder / "bin/srun").write_text(script)
    (folder / "bin/srun").chmod(0o755)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "SLURM"))
    }
    environment |= {"SLURM_CONF": f"{folder}/slurm.conf", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{folder}/bin{os.pathsep}{SBIN}"
    running = []

    def start(name: str, *words: str) -> None:
        with open(folder / f"{name}.out", "a") as out:
            running.append(
                subprocess.Popen(
                    [shutil.which(name, path=SBIN), *words],
                    env=environment,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
            )

    def said() -> str:
        return "".join(path.read_text()[-2000:] for path in folder.glob("*.out"))

    try:
        start(
            "munged",
            "--foreground",
            f"--socket={folder}/munge/socket",
            f"--pid-file={folder}/munge/pid",
            *(f"--{name}-file={folder}/key/{name}" for name in ("key", "log", "seed")),
        )
        until((folder / "munge/socket").exists, said())
        start("slurmctld", "-D", "-i")
        for node in ("n1", "n2"):
            start("slurmd", "-D", "-N", node)
        until(lambda: sh("sinfo -h -N -o %T", environment).split() == ["idle"] * 2, said())
        yield environment
    finally:
        for each in reversed(running):
            each.terminate()
        for each in reversed(running):
            each.wait(60)
        shutil.rmtree(folder)


def sh(command: str, environment: dict[str, str]) -> str:
    return subprocess.run(
        command, shell=True, env=environment, capture_output=True, text=True
    ).stdout


def job(number: int, environment: dict[str, str]) -> dict[str, str]:
    """What SLURM knows of a job, {} before there is one."""
    words = sh(f"scontrol show job {number}", environment).split()
    return dict(word.split("=", 1) for word in words if "=" in word)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a run needs, with a run of one story."""
    for name in ("lib", "tools", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "notebooks").mkdir()
    for name in (
        "Snakefile",
        "requirements.txt",
        f"notebooks/{STORY}.py",
        f"notebooks/{STORY}.ipynb",
    ):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("data", "book", "_config.yml", "_toc.yml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "runs").mkdir()
    story = yaml.safe_load((ROOT / "runs/quick.yml").read_text())["stories"][STORY]
    (tmp_path / "runs/tiny.yml").write_text(yaml.safe_dump({"stories": {STORY: story}}))
    return tmp_path


@pytest.mark.slow
def test_a_story_whose_job_dies_is_tried_again_with_more(
    slurm: dict[str, str], checkout: Path
) -> None:
    """The profile as it is; the first job is killed from outside while its kernel runs, as by a lack of memory."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{slurm['PATH']}"
    environment = slurm | {
        "PYTHONPATH": str(checkout),
        "PATH": path,
        "ARTIFACTS_DIR": str(checkout / "artifacts"),
    }
    command = [
        sys.executable,
        "tools/run.py",
        "tiny",
        "--profile",
        "profiles/slurm",
        "--latency-wait",
        "5",
        "--slurm-init-seconds-before-status-checks",
        "1",
        "--seconds-between-status-checks",
        "1",
        "--slurm-status-command",
        "squeue",
        "results",
    ]  # there is no accounting here
    with open(checkout / "said", "w+") as said:
        run = subprocess.Popen(
            command, cwd=checkout, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            tried = checkout / f"artifacts/tiny/tried/{STORY}.ipynb"
            until(
                lambda: tried.exists() or job(2, slurm) or run.poll() is not None, "no job started"
            )
            first = job(1, slurm)
            assert first.get("JobState") == "RUNNING", (checkout / "said").read_text()[-4000:]
            sh("scancel --signal=KILL --full 1", slurm)
            assert run.wait(1500) == 0, (checkout / "said").read_text()[-4000:]
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGINT)
                run.wait(60)
    assert (checkout / "artifacts/tiny/results.json").stat().st_size > 2
    assert (
        checkout / f"artifacts/tiny/pages/{STORY}.ipynb"
    ).stat().st_size > 0 and not tried.exists()
    second = job(2, slurm)
    assert job(1, slurm)["JobState"] in ("FAILED", "CANCELLED")
    assert (
        second["JobState"] == "COMPLETED" and job(3, slurm) == {}
    )  # numbers are gathered here, without a job
    assert [each["TimeLimit"] for each in (first, second)] == ["02:00:00", "04:00:00"]
    assert [each["MinMemoryNode"] for each in (first, second)] == ["4000M", "8000M"]
    assert first["Partition"] == "normal" and first["NumCPUs"] == "1"


KUBECTL = """#!/bin/sh
echo "$@" >> {folder}/words
[ "$1" != create ] || cat > {folder}/manifest
[ "$1" != get ] || {{ [ -e {folder}/state ] && cat {folder}/state; }}
"""


@pytest.fixture
def kubernetes(tmp_path: Path):
    """Calls a script of the profile, with a kubectl that writes down what it is given."""
    (tmp_path / "kubectl").write_text(KUBECTL.format(folder=tmp_path))
    (tmp_path / "kubectl").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "CLAIM": "ours", "MOUNT": "/disk"}

    def called(script: str, *words: str) -> str:
        command = [ROOT / "profiles/kubernetes" / script, *words]
        return subprocess.run(
            command, cwd=ROOT, env=environment, text=True, capture_output=True, check=True
        ).stdout

    return called


def test_a_job_for_kubernetes_has_its_resources(kubernetes, tmp_path: Path) -> None:
    name = kubernetes(
        "submit.sh", "story", "1", "8000", "240", "2", "/disk/.snakemake/job 1.sh"
    ).strip()
    manifest = yaml.safe_load((tmp_path / "manifest").read_text())
    assert (
        manifest["kind"] == "Job"
        and manifest["metadata"]["name"] == name
        and name.startswith("book-story-")
    )
    assert (
        manifest["spec"]["backoffLimit"] == 0
        and manifest["spec"]["activeDeadlineSeconds"] == 240 * 60
    )
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["/bin/bash", "/disk/.snakemake/job 1.sh"] and container[
        "workingDir"
    ] == str(ROOT)
    assert container["resources"] == {
        "requests": {"cpu": 1, "memory": "8000M"},
        "limits": {"memory": "8000M", "nvidia.com/gpu": 2},
    }
    assert container["volumeMounts"] == [{"name": "book", "mountPath": "/disk"}]
    assert pod["volumes"] == [{"name": "book", "persistentVolumeClaim": {"claimName": "ours"}}]
    assert kubernetes("submit.sh", "story", "1", "8000", "240", "2", "x").strip() != name


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("", "running"),
        ("Complete", "success"),
        ("SuccessCriteriaMet Complete", "success"),
        ("Failed", "failed"),
        ("FailureTarget Failed", "failed"),
        ("Suspended", "running"),
        (None, "running"),
    ],
)
def test_the_state_of_a_job_on_kubernetes(
    state: str | None, said: str, kubernetes, tmp_path: Path
) -> None:
    if state is not None:  # else kubectl fails
        (tmp_path / "state").write_text(state)
    assert kubernetes("status.sh", "book-story-1").strip() == said
    kubernetes("cancel.sh", "book-story-1", "book-story-2")
    words = (tmp_path / "words").read_text().splitlines()
    assert words[-1] == "delete job --namespace default --wait=false book-story-1 book-story-2"


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_profile_asks_for_what_the_graph_says(name: str) -> None:
    """Only resources that every job has, and files that are there and can be run."""
    profile = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    assert profile["retries"] >= 1 and profile["jobs"] > 1
    scripts = [value.split()[0] for key, value in profile.items() if key.endswith("-cmd")]
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts) and len(scripts) == 3 * (
        name == "kubernetes"
    )
    asked = set(re.findall(r"\{resources\.(\w+)\}", str(profile)))
    given = set(re.findall(r"^        (\w+)=need\(", (ROOT / "Snakefile").read_text(), re.M))
    assert given == {"mem_mb", "runtime", "gpu"} and asked <= given
