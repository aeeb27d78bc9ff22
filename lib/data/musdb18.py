"""MUSDB18, 150 songs with stems at 44.1 kHz, as stem.mp4 or in the HQ version: `musdb18:<path>?stem=vocals`.

https://doi.org/10.5281/zenodo.1117372 and 3338373. A recording is a song and a group of its own, and keeps its place in
the corpus's split; `lib.data.clips` takes the validation songs from the training songs.
"""

from pathlib import Path

from lib import BadInput
from lib.data import layouts
from lib.data.recordings import Recording, header

SONGS = {"train": 100, "test": 50}


def load(argument: str) -> list[Recording]:
    """A recording for each song: <path> is its mixture, <path>?stem=drums, bass, other or vocals is a stem.

    Skipped with a warning is a song whose file is missing or broken, or that is not there. BadInput: what
    `layouts.find` says; a split without usable songs.
    """
    top, version, settings = layouts.find("musdb18", argument, {"stem": layouts.STEMS})
    stem, recordings, absent = settings.get("stem", "mixture"), [], {}
    stream = layouts.STEMS.index(stem) if version == "MUSDB18" else 0
    for split in SONGS:
        paths = _paths(top / split, version, stem)
        good = []
        for song, path in paths.items():
            try:
                if not path.is_file():
                    raise BadInput("missing")
                rate_hz, seconds = header(path, stream)
            except BadInput as error:
                absent[f"{split}/{song}"] = f"{path.name}: {error}"
            else:
                name = f"{split}/{song}"
                good.append(
                    Recording(
                        f"musdb18:{argument}", song, (path,), rate_hz, seconds, name, split, stream
                    )
                )
        if not good:
            broken = (
                ", ".join(f"{name} ({absent[name]})" for name in list(absent)[: layouts.SHOWN])
                or "it has none"
            )
            raise BadInput(
                f"musdb18 {top}: {version}, but of {split} no song can be used: {broken}; unpack it again"
            )
        recordings += good
    found = len(recordings) + len(absent)
    unnamed = max(0, sum(SONGS.values()) - found)
    layouts.tell(f"musdb18 {top}: {version}", "songs", absent, found + unnamed, unnamed)
    return recordings


def _paths(folder: Path, version: str, stem: str) -> dict[str, Path]:
    """The file of a stem of each song in a folder, by title."""
    pattern, end = ("*.stem.mp4", ".stem.mp4") if version == "MUSDB18" else ("*/", "")
    songs = {
        path.name.removesuffix(end): path
        for path in sorted(folder.glob(pattern))
        if path.name[0] != "."
    }
    return (
        songs
        if version == "MUSDB18"
        else {song: path / f"{stem}.wav" for song, path in songs.items()}
    )
