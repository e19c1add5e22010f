"""The `.eval` files of Inspect: archives that may lie about what is in them. Pure."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from typing import BinaryIO

from governance.common.errors import InvalidInputError

LARGEST_UNPACKED = 512 * 1024 * 1024  # bytes, of an .eval file
LARGEST_SAMPLE = 16 * 1024 * 1024  # bytes: one is in memory at a time
# What zipfile raises of a file that is broken, cut off, encrypted or packed in an unknown way.
BROKEN = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError,
    zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """Open an archive whose directory promises no more than may be unpacked.

    Raises:
        InvalidInputError: it is broken, or too large.
    """
    try:
        archive = zipfile.ZipFile(file)
    except BROKEN as error:
        raise InvalidInputError(f"This .eval file is broken: {error}") from error
    if sum(entry.file_size for entry in archive.infolist()) > LARGEST_UNPACKED:
        raise InvalidInputError(f"Unpacked it is larger than {LARGEST_UNPACKED // 2**20} MB.")
    return archive


def unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read one file of it. The directory may lie about the size: no more is read than it says.

    Raises:
        InvalidInputError: it is too large, broken, encrypted, or packed in a way not known here.
    """
    if entry.file_size > LARGEST_SAMPLE:
        raise InvalidInputError(
            f"{entry.filename} is larger than {LARGEST_SAMPLE // 2**20} MB unpacked."
        )
    try:
        with archive.open(entry) as packed:
            return packed.read(entry.file_size + 1)
    except BROKEN as error:
        raise InvalidInputError(f"{entry.filename} is broken: {error}") from error
