"""Unpack a zip or tar file of a stranger: whole or not at all, and nothing outside its folder. For `lib.download`.

Python's own extractall follows what an archive says about links, permissions and sizes; here only plain files and
folders are written, with the permissions of new files.
"""

import errno
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tqdm import tqdm

from lib import BadInput

BLOCK = 2**20  # bytes that are held in memory
RATIO, MEMBERS = (
    10,
    1_000_000,
)  # an archive may unpack to that many times its own size, and to that many members
SPECIAL = (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,
    OverflowError,
)  # what reading raises; RuntimeError: encrypted, or packed in an unknown way
CLASH = (FileExistsError, NotADirectoryError, IsADirectoryError)


def unpack(archive: Path, into: Path, most: float) -> None:
    """Unpack a zip or tar file, packed or not, into a folder that is made anew; `most`: bytes that may come out.

    BadInput, and the folder is gone: a name that leaves the folder, is absolute or has a drive, a backslash or a
    control character, or stands twice; a link or a device; more than `most` or RATIO times the archive's bytes, more
    than MEMBERS members; damage. OSError: a full disk.
    """
    shutil.rmtree(into, ignore_errors=True)  # of a process that was killed
    into.mkdir()
    try:
        _write(archive, into, min(most, RATIO * archive.stat().st_size))
    except BaseException as error:
        shutil.rmtree(into, ignore_errors=True)
        no_disk = isinstance(error, OSError) and error.errno in (
            None,
            errno.ENAMETOOLONG,
        )  # None: gzip, bzip2
        if isinstance(error, (*DAMAGED, *CLASH)) or no_disk:
            twice = (
                isinstance(error, CLASH)
                and f"{Path(error.filename).relative_to(into).as_posix()!r} stands twice"
            )
            raise BadInput(
                f"{archive}: {twice or str(error).partition(chr(10))[0] or type(error).__name__}"
            ) from error
        raise


def _members(archive: Path) -> Iterator[tuple[str, int, str, Callable[[], BinaryIO]]]:
    """Name, size in bytes, kind ("file", "folder" or "special") and opener of each member."""
    with archive.open("rb") as file:
        is_zip = file.read(4) == b"PK\3\4"
    if is_zip:
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                special = stat.S_IFMT(info.external_attr >> 16) in SPECIAL
                kind = (
                    "special"
                    if special
                    else "folder"
                    if info.orig_filename.endswith("/")
                    else "file"
                )
                yield info.orig_filename, info.file_size, kind, partial(packed.open, info)
    else:
        with tarfile.open(archive) as packed:
            for info in packed:
                kind = "file" if info.isfile() else "folder" if info.isdir() else "special"
                yield info.name, info.size, kind, partial(packed.extractfile, info)
            while packed.fileobj.read(BLOCK):  # the checksum of gzip stands behind the last member
                pass


def _write(archive: Path, into: Path, most: float) -> None:
    """Write every member; a member's size is counted before it is written, and is what its header says."""
    total = 0
    with tqdm(desc="unpack", unit="B", unit_scale=True, disable=None) as bar:
        for count, (name, size, kind, opened) in enumerate(_members(archive), 1):
            path, shown = PurePosixPath(name), repr(name[:200])
            total += size
            if count > MEMBERS or total > most:
                raise BadInput(f"unpacks to more than {most:.0f} bytes or {MEMBERS} members")
            if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
                raise BadInput(f"{shown} would leave the folder")
            if "\\" in name or not name.isprintable() or (kind == "file" and not path.parts):
                raise BadInput(f"{shown} is no name for a file")
            if kind == "special" or size < 0:
                raise BadInput(f"{shown} is a link or a device")
            (into / path if kind == "folder" else into / path.parent).mkdir(
                parents=True, exist_ok=True
            )
            if kind == "folder":
                continue
            with opened() as packed, (into / path).open("xb") as file:
                shutil.copyfileobj(packed, file, BLOCK)
                if file.tell() != size:
                    raise BadInput(f"{shown} has {file.tell()} bytes, its header says {size}")
            bar.update(size)
