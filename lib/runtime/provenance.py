"""Where a number comes from: commit, package versions, memory, device. Every page ends with it."""

import os
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import version

from lib import ROOT

PACKAGES = (  # each of them decides digits of some result
    "torch",
    "torchaudio",
    "lightning",
    "numpy",
    "scipy",
    "scikit-learn",
    "umap-learn",
    "pedalboard",
)


def commit() -> str:
    """The commit of the checkout, with "-dirty" when files have changed; "unknown" without git.

    An unpacked ZIP has none, whatever repository it lies in or GIT_DIR names.
    """
    if not (ROOT / ".git").exists():
        return "none: not a git checkout"
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers."""
    packages = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        packages[name] = version(name)
    return packages


def peak_memory_mb() -> float:
    """Peak resident memory of this process, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":  # macOS counts bytes, Linux kilobytes
        return peak / 1e6
    return peak / 1e3


def device_name() -> str:
    """The accelerator's name, or the number of CPU cores."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "Apple GPU (MPS)"
    return f"CPU, {os.cpu_count()} cores"
