"""Published corpora of chapter 01: `vctk:PATH?mic=2` and `musdb18:PATH?stem=vocals`.

VCTK 0.92 (https://doi.org/10.7488/ds/2645) was recorded by two microphones, 0.80 by one. A
recording is an utterance, a group is a person. MUSDB18 (https://doi.org/10.5281/zenodo.1117372, HQ:
3338373) has 150 songs with stems. A recording is a song, a group of its own, and keeps its place in
the corpus's split. What a folder holds is decided by names.
"""

import os
import re
from pathlib import Path

from lib import BadInput
from lib.config import OPTIONS, CorpusName
from lib.data.recordings import SHOWN, Recording, listed, read_header, shortfall, warn_skipped

PERSONS = {"VCTK 0.92": 110, "VCTK 0.80": 109}
SOUNDS = {"VCTK 0.92": "wav48_silence_trimmed", "VCTK 0.80": "wav48"}
SONGS = {"train": 100, "test": 50}
STEMS = OPTIONS["musdb18"]["stem"]  # in the order of the streams of a .stem.mp4
SIGNS = {  # one of these stands below the folder of a version; its kind comes first
    "VCTK 0.92": ("vctk", ["wav48_silence_trimmed"]),
    "VCTK 0.80": ("vctk", ["wav48"]),
    "MUSDB18-HQ": ("musdb18", [f"{part}/*/{stem}.wav" for part in SONGS for stem in STEMS]),
    "MUSDB18": ("musdb18", [f"{part}/*.stem.mp4" for part in SONGS]),
}
CONVERTED = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")  # people write copies in these
WANTED = {
    "vctk": "VCTK, a folder wav48_silence_trimmed (version 0.92) or wav48 (0.80) with a folder "
    "for each person",
    "musdb18": "MUSDB18, folders train and test with files ARTIST - TITLE.stem.mp4, or folders "
    "ARTIST - TITLE (HQ)",
}


def load_vctk(corpus: str, name: CorpusName) -> list[Recording]:
    """The utterances of VCTK by microphone 1, or 2 with ?mic=2.

    Warns of persons and utterances without usable sound that speaker-info.txt, txt/ or the other
    microphone name: p280 has no second microphone, p362 lacks some files. Raises BadInput for
    another folder, if nobody has usable sound, and if a microphone is chosen in version 0.80.
    """
    top, version = _find(name)
    if name.options and version == "VCTK 0.80":
        raise BadInput(f"{corpus}: {version} has one microphone; write vctk:{top}")
    ending = ".wav"
    if version == "VCTK 0.92":
        ending = f"_mic{name.options.get('mic', '1')}.flac"
    persons = _persons(top, version)
    recordings, no_sound, problems = [], {}, {}
    for person in sorted(persons):
        folder = top / SOUNDS[version] / person
        files = {path.name for path in folder.glob("[!.]*") if path.suffix in (".flac", ".wav")}
        texts = {path.name for path in (top / "txt" / person).glob("[!.]*.txt")}
        utterances = {re.sub(r"(_mic\d)?\.\w+$", "", file) for file in files | texts}
        usable, unusable = [], {}
        for utterance in sorted(utterances):
            path = folder / f"{utterance}{ending}"
            try:
                usable.append(_recording(corpus, person, path, f"{person}/{path.name}"))
            except BadInput as error:
                unusable[utterance] = str(error)
        recordings += usable
        if usable:
            problems |= unusable
        elif files:
            no_sound[person] = next(iter(unusable.values()))
        else:
            no_sound[person] = f"no sound in {SOUNDS[version]}/{person}"
    where = f"vctk {top}: {version}"
    if not recordings:
        named = listed(no_sound) or "no persons"
        what = f"nobody has usable sound: {named}; unpack it again"
        raise BadInput(f"{where}, but {what}{_copy(top / SOUNDS[version], ', or ')}")
    unnamed = max(0, PERSONS[version] - len(persons))
    warn_skipped(where, "persons", no_sound, len(persons) + unnamed, unnamed)
    warn_skipped(where, "utterances", problems, len(recordings) + len(problems))
    return recordings


def load_musdb18(corpus: str, name: CorpusName) -> list[Recording]:
    """The songs of MUSDB18: their mixtures, or a stem with ?stem=drums, bass, other or vocals.

    Warns of songs whose file is missing or broken, and that are not there. Raises BadInput for
    another folder, and for a split without usable songs: songs of the other split would take their
    place.
    """
    top, version = _find(name)
    stem = name.options.get("stem", "mixture")
    pattern, file_of_folder, stream = "[!.]*.stem.mp4", "", STEMS.index(stem)
    if version == "MUSDB18-HQ":
        pattern, file_of_folder, stream = "[!.]*/", f"{stem}.wav", 0
    recordings, problems = [], {}
    for split in SONGS:
        usable, unusable = [], {}
        for path in sorted((top / split).glob(pattern)):
            song = path.name.removesuffix(".stem.mp4")
            file = path / file_of_folder
            try:
                usable.append(_recording(corpus, song, file, f"{split}/{song}", split, stream))
            except BadInput as error:
                unusable[f"{split}/{song}"] = f"{file.name}: {error}"
        if not usable:
            reasons = listed(unusable) or "it has none"
            what = f"{version}, but of {split} no song can be used: {reasons}"
            raise BadInput(f"musdb18 {top}: {what}; unpack it again")
        recordings += usable
        problems |= unusable
    there = len(recordings) + len(problems)
    unnamed = max(0, sum(SONGS.values()) - there)
    warn_skipped(f"musdb18 {top}: {version}", "songs", problems, there + unnamed, unnamed)
    return recordings


def recognise(folder: Path) -> str:
    """The version whose layout a folder has, a key of SIGNS, or ""."""
    for version, (_, signs) in SIGNS.items():
        for sign in signs:
            if any(folder.glob(sign)):
                return version
    return ""


def _recording(
    corpus: str, group: str, path: Path, name: str, split: str | None = None, stream: int = 0
) -> Recording:
    if not path.is_file():
        raise BadInput(f"no {path.name}")
    rate_hz, seconds = read_header(path, stream)
    if shortfall(path, stream):
        raise BadInput(f"cut off, {shortfall(path, stream)}")
    return Recording(corpus, group, (path,), rate_hz, seconds, name, split, stream)


def _persons(top: Path, version: str) -> set[str]:
    """Names in the folders of sound and texts, and in speaker-info.txt, where 0.80 writes no p."""
    persons = set()
    for part in (SOUNDS[version], "txt"):
        persons |= {folder.name for folder in (top / part).glob("[!.]*/")}
    info = top / "speaker-info.txt"
    if info.is_file():
        text = info.read_text(encoding="utf-8", errors="replace")
        for letter, number in re.findall(r"^([ps]?)(\d+)\s", text, re.MULTILINE):
            persons.add((letter or "p") + number)
    return persons


def _find(name: CorpusName) -> tuple[Path, str]:
    """Folder and version of a corpus. BadInput says what is there instead, and what to do."""
    kind, top = name.kind, name.path
    try:
        entries = sorted(os.listdir(top))
    except (OSError, ValueError) as error:  # ValueError: half a character
        reason = getattr(error, "strerror", error)
        raise BadInput(f"{kind} {top}: {reason}; {_remedy(top, kind)}") from None
    near = []
    for folder in (top, top.parent, *top.glob("[!.]*/")):
        version = recognise(folder)
        if not version:
            continue
        actual = SIGNS[version][0]
        if folder == top and actual == kind:
            return top, version
        near.append((actual != kind, f"{version} is in {folder}; write {actual}:{folder}"))
    if near:
        raise BadInput(f"{kind} {top}: {min(near)[1]}")
    holds = ", ".join(entries[:SHOWN]) or "nothing"
    if len(entries) > SHOWN:
        holds += ", ..."
    what = f"holds {holds}, and lacks what makes {WANTED[kind]}"
    raise BadInput(f"{kind} {top}: {what}; {_remedy(top, kind)}")


def _remedy(top: Path, kind: str) -> str:
    """What to do about a folder that is missing or incomplete, by what lies in or beside it."""
    download = {"vctk": "vctk", "musdb18": "musdb18-hq"}[kind]
    if (top.parent / f".{top.name}.download").is_dir():
        command = f"`average-spectrogram download {download} --to {top.parent}`"
        return f"its download was not finished: run {command} again"
    if _copy(top):
        return _copy(top)
    archives = [top] if top.is_file() else sorted(top.glob("*.zip")) + sorted(top.glob("*.tar*"))
    if archives:
        return f"unpack {archives[0]} and give the folder that comes of it"
    return f"give the path of {WANTED[kind]}; `average-spectrogram download {download}` fetches it"


def _copy(top: Path, before: str = "") -> str:
    """How a converted or moved copy is read, or "": its folders of persons or songs hold sound."""
    for pattern in ("[!.]*/[!.]*", "[!.]*/[!.]*/[!.]*"):
        for path in top.glob(pattern):
            if path.suffix.lower() in CONVERTED:
                where = path.parent.parent
                return f"{before}if it was converted or moved, read it as folder:{where}"
    return ""
