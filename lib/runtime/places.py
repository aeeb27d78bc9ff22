"""Where things are written: the artifact folder, and the caches of packages where HOME is shut."""

import os
from pathlib import Path

from lib import ROOT

CACHES = {  # the variable by which a package is told its place, and that place below HOME
    "XDG_CACHE_HOME": ".cache",  # fontconfig, Snakemake, torch
    "NUMBA_CACHE_DIR": ".cache",
    "MPLCONFIGDIR": ".config",
    "IPYTHONDIR": ".ipython",
    "JUPYTER_CONFIG_DIR": ".jupyter",
    "JUPYTER_DATA_DIR": ".local/share",
    "JUPYTER_RUNTIME_DIR": ".local/share",
}


def root() -> Path:
    """The folder of all stages: ARTIFACTS_DIR, relative to the checkout, or its `artifacts/`."""
    return ROOT / os.path.expanduser(os.environ.get("ARTIFACTS_DIR") or "artifacts")


def is_writable(place: Path) -> bool:
    """Whether a folder can be written, or made where there is none."""
    while not os.path.exists(place):  # Path.exists raises where a parent may not be read
        place = place.parent
    return os.access(place, os.W_OK)


def move_caches() -> None:
    """Let packages cache below the artifact folder where their place cannot be written.

    Numba would refuse to compile, Jupyter to start a kernel. A variable that is set stays.
    """
    home = Path(os.path.expanduser("~"))
    for variable, place in CACHES.items():
        if not is_writable(home / place):
            os.environ.setdefault(variable, str(root() / "caches" / variable.lower()))


def workplace() -> Path:
    """The checkout, or where it cannot be written, a folder of links to what is in it."""
    if is_writable(ROOT / ".snakemake"):
        return ROOT
    place = root() / "checkout"
    place.mkdir(parents=True, exist_ok=True)
    for path in ROOT.iterdir():
        if path.name != ".snakemake":
            (place / path.name).unlink(missing_ok=True)
            (place / path.name).symlink_to(path)
    return place
