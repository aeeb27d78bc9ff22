"""What a folder holds, by its layout: for the loaders of VCTK and MUSDB18, and for what they say when it is not there.

Nothing is opened: names of files and folders decide.
"""

import os
import re
import warnings
from pathlib import Path

from lib import BadInput

STEMS = (
    "mixture",
    "drums",
    "bass",
    "other",
    "vocals",
)  # in the order of the streams of a .stem.mp4
SIGNS = {  # name: (loader, what one of has to match below its folder)
    "VCTK 0.92": ("vctk", ("wav48_silence_trimmed",)),
    "VCTK 0.80": ("vctk", ("wav48",)),
    "MUSDB18-HQ": (
        "musdb18",
        tuple(f"{part}/*/{stem}.wav" for part in ("train", "test") for stem in STEMS),
    ),
    "MUSDB18": ("musdb18", ("train/*.stem.mp4", "test/*.stem.mp4")),
}
WANTED = {
    "vctk": "VCTK, a folder wav48_silence_trimmed (version 0.92) or wav48 (0.80) with a folder for each person",
    "musdb18": "MUSDB18, folders train and test with files ARTIST - TITLE.stem.mp4, or folders ARTIST - TITLE (HQ)",
}
SHOWN = 5  # names in a message


def recognise(folder: Path) -> str:
    """Name of the corpus that a folder has the layout of, a key of SIGNS, or "" for none of them."""
    found = (
        name for name, (_, signs) in SIGNS.items() if any(any(folder.glob(sign)) for sign in signs)
    )
    return next(found, "")


def find(
    kind: str, argument: str, choices: dict[str, tuple[str, ...]]
) -> tuple[Path, str, dict[str, str]]:
    """Folder, name and settings of a corpus: "/corpora/VCTK?mic=2" is /corpora/VCTK, "VCTK 0.92", {"mic": "2"}.

    kind: "vctk" or "musdb18"; choices: the values of each setting. BadInput, which says what is there instead: no such
    folder, not readable, not unpacked, another corpus, a folder above or below it; an unknown setting or value.
    """
    path, mark, words = argument.rpartition("?")
    if not (mark and re.fullmatch(r"\w*=[^/]*", words)) or os.path.exists(
        os.path.expanduser(argument)
    ):
        path, words = argument, ""
    top, settings = Path(os.path.expanduser(path)), dict([words.split("=", 1)] if words else [])
    for key, value in settings.items():
        if value not in choices.get(key, ()):
            known = " or ".join(
                f"?{name}= with one of {', '.join(values)}" for name, values in choices.items()
            )
            raise BadInput(f"{kind}:{argument}: setting {words!r} is not known; write {known}")
    try:
        entries = sorted(os.listdir(top))
    except (
        OSError,
        ValueError,
    ) as error:  # ValueError: no path holds a zero byte or half a character
        raise BadInput(
            f"{kind} {top}: {getattr(error, 'strerror', error)}; {_remedy(top, kind)}"
        ) from None
    name = recognise(top)
    if name and SIGNS[name][0] == kind:
        return top, name, settings
    if name:
        raise BadInput(
            f"{kind} {top}: is {name}; write {SIGNS[name][0]}:{top}, or give the path of {WANTED[kind]}"
        )
    near = [top.parent, *(top / entry for entry in entries if not entry.startswith("."))]
    found = [(folder, name) for folder in near if folder.is_dir() and (name := recognise(folder))]
    for folder, name in sorted(found, key=lambda pair: SIGNS[pair[1]][0] != kind)[:1]:
        raise BadInput(f"{kind} {top}: {name} is in {folder}; write {SIGNS[name][0]}:{folder}")
    listed = ", ".join(entries[:SHOWN]) + (", ..." if len(entries) > SHOWN else "") or "nothing"
    half = (
        "VCTK"
        if "speaker-info.txt" in entries
        else "MUSDB18"
        if {"train", "test"} & {*entries}
        else ""
    )
    listed += f" (it looks like {half}, half unpacked)" if half else ""
    raise BadInput(
        f"{kind} {top}: holds {listed}, and lacks what makes {WANTED[kind]}; {_remedy(top, kind)}"
    )


def tell(where: str, what: str, missing: dict[str, str], total: int, unnamed: int = 0) -> None:
    """Warn of what a corpus should hold and does not give: names with reasons, and how many more nothing names."""
    if missing or unnamed:
        few = list(missing.items())[:SHOWN]
        named = [f"{name if name.isprintable() else repr(name)} ({reason})" for name, reason in few]
        named += ["..."] * (len(missing) > SHOWN) + [f"{unnamed} that are not there"] * (
            unnamed > 0
        )
        warnings.warn(
            f"{where}: skipped {len(missing) + unnamed} of {total} {what}: {', '.join(named)}",
            stacklevel=4,
        )


def _remedy(top: Path, kind: str) -> str:
    """What to do about a folder that is not there or not complete, by what lies in or beside it."""
    download = "vctk" if kind == "vctk" else "musdb18-hq"
    if (top.parent / f".{top.name}.download").is_dir():
        return f"its download was not finished: run `python -m lib.download {download} --to {top.parent}` again"
    archives = [top] if top.is_file() else sorted(top.glob("*.zip")) + sorted(top.glob("*.tar*"))
    if archives:
        return f"unpack {archives[0]} and give the folder that comes of it"
    return f"give the path of {WANTED[kind]}; `python -m lib.download {download}` fetches it"
