"""Write requirements.txt: every package that pyproject.toml needs, at the version installed: `python tools/lock.py`.

Run it in an environment where a new version was tried; what is installed there but needed by nobody stays out.
"""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lib import ROOT

CUDA, LINUX = ("nvidia-", "cuda-", "triton"), ' ; sys_platform == "linux"'
OLDEST = "3.11.0"  # Python that pyproject.toml allows; the one that runs this is newer
EXTRAS = ("test",)  # loggers are installed by those who want them


def name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def closure(wanted: list[str]) -> dict[str, str]:
    """Installed version of every package that the wanted ones need, by name."""
    found: dict[str, str] = {}
    seen, todo = set(), [(Requirement(text), "") for text in wanted]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for each in ("", *requirement.extras):
            if (name(requirement.name), each) in seen:
                continue
            seen.add((name(requirement.name), each))
            try:
                package = distribution(requirement.name)
            except PackageNotFoundError:
                raise SystemExit(
                    f"{requirement} is needed but not installed: pip install it first"
                ) from None
            if OLDEST not in SpecifierSet(package.metadata.get("Requires-Python", "")):
                raise SystemExit(
                    f"{package.name} {package.version} refuses {OLDEST}: bound it in pyproject.toml"
                )
            found[name(requirement.name)] = package.version.split("+")[0]
            todo += [(Requirement(text), each) for text in package.requires or []]
    return dict(sorted(found.items()))


def text() -> str:
    """The lock: a comment, then a pin a line."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["build-system"]["requires"] + project["project"]["dependencies"]
    wanted += [
        text for extra in EXTRAS for text in project["project"]["optional-dependencies"][extra]
    ]
    lines = [
        f"{key}=={value}" + LINUX * key.startswith(CUDA) for key, value in closure(wanted).items()
    ]
    head = "# The lock, written by tools/lock.py on Linux, where torch brings CUDA; pyproject.toml has loose ranges."
    return "\n".join([head, *lines]) + "\n"


if __name__ == "__main__":
    (ROOT / "requirements.txt").write_text(found := text(), encoding="utf-8")
    print(f"requirements.txt: {found.count('==')} packages")
