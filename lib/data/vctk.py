"""VCTK, English speakers at 48 kHz, versions 0.92 and 0.80: `vctk:<path>`, and `vctk:<path>?mic=2`.

0.92 (https://doi.org/10.7488/ds/2645) was recorded by two microphones, of which one is taken; 0.80 has one. A recording
is an utterance, a group is a person. Texts are not read, so p315, whose texts are lost, is a voice like the others.
"""

import os
import re
from pathlib import Path

from lib import BadInput
from lib.data import layouts
from lib.data.recordings import Recording, header

PERSONS = {"VCTK 0.92": 110, "VCTK 0.80": 109}
SOUNDS = {"VCTK 0.92": "wav48_silence_trimmed", "VCTK 0.80": "wav48"}


def load(argument: str) -> list[Recording]:
    """A recording for each utterance; argument: <path> or <path>?mic=1 (the default) or 2.

    Skipped with a warning is a person or an utterance without usable sound, of those that speaker-info.txt, txt/ or
    the other microphone name: p280 has no second microphone, p362 lacks some files. BadInput: what `layouts.find`
    says; nobody has usable sound; a microphone is asked of 0.80.
    """
    top, version, settings = layouts.find("vctk", argument, {"mic": ("1", "2")})
    if settings and version == "VCTK 0.80":
        raise BadInput(f"vctk:{argument}: {version} has one microphone; write vctk:{top}")
    suffix = f"_mic{settings.get('mic', '1')}.flac" if version == "VCTK 0.92" else ".wav"
    persons, recordings, absent, lacking = sorted(_persons(top, version)), [], {}, {}
    for person in persons:
        good, bad = [], {}
        folder = top / SOUNDS[version] / person
        files, texts = _names(folder), _names(top / "txt" / person)
        spoken = {
            re.sub(r"(_mic\d)?\.\w+$", "", name)
            for name in files
            if name.endswith((".flac", ".wav"))
        }
        for utterance in sorted(
            spoken | {name.removesuffix(".txt") for name in texts if name.endswith(".txt")}
        ):
            path = folder / f"{utterance}{suffix}"
            try:
                if path.name not in files:
                    raise BadInput(f"no {utterance}{suffix}")
                rate_hz, seconds = header(path)
            except BadInput as error:
                bad[utterance] = str(error)
            else:
                name = f"{person}/{path.name}"
                good.append(Recording(f"vctk:{argument}", person, (path,), rate_hz, seconds, name))
        if not good:
            absent[person] = (
                next(iter(bad.values())) if spoken else f"no sound in {SOUNDS[version]}/{person}"
            )
        recordings += good
        lacking |= bad if good else {}
    where = f"vctk {top}: {version}"
    if not recordings:
        named = ", ".join(
            f"{person} ({reason})" for person, reason in list(absent.items())[: layouts.SHOWN]
        )
        raise BadInput(
            f"{where}, but nobody has usable sound: {named or 'no persons'}; unpack it again"
        )
    unnamed = max(0, PERSONS[version] - len(persons))
    layouts.tell(where, "persons", absent, len(persons) + unnamed, unnamed)
    layouts.tell(where, "utterances", lacking, len(recordings) + len(lacking))
    return recordings


def _persons(top: Path, version: str) -> set[str]:
    """Names of the folders of sound and of texts, and of the rows of speaker-info.txt, which 0.80 writes without p."""
    found = {
        name
        for part in (SOUNDS[version], "txt")
        for name in _names(top / part)
        if (top / part / name).is_dir()
    }
    try:
        info = top / "speaker-info.txt"
        rows = (
            info.read_text(encoding="utf-8", errors="replace").splitlines()
            if info.is_file()
            else []
        )
    except OSError:
        return found
    return found | {
        f"{row[1] or 'p'}{row[2]}"
        for row in (re.match(r"([ps]?)(\d+)\s", line) for line in rows)
        if row
    }


def _names(folder: Path) -> set[str]:
    """Names in a folder, none where it is missing; no hidden files."""
    try:
        return {name for name in os.listdir(folder) if not name.startswith(".")}
    except OSError:
        return set()
