"""A ZIP file whose bytes depend on its contents only, written as a stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from governance.common.canonical import digest

VERSION = "countersign.evidence.v1"
MANIFEST = "manifest.json"
AT_ONCE = 1 << 20  # bytes
NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP can say


class Writer:
    """One file on its way into the archive, hashed as it is written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, text: str) -> None:
        # Whatever cannot be UTF-8 was never stored; a replacement is better than half a pack.
        data = text.encode("utf-8", "replace")
        self._stream.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        return "sha256:" + self._hash.hexdigest()


class Archive:
    """The pack: files by path, each once, and at the end the manifest that names them all."""

    def __init__(self, out: IO[bytes]) -> None:
        self._zip = ZipFile(out, "w", ZIP_DEFLATED, compresslevel=6)
        self._files: dict[str, dict[str, Any]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def __len__(self) -> int:
        return len(self._files) + 1  # with the manifest

    @contextmanager
    def stream(self, path: str) -> Iterator[Writer]:
        """Write one file piece by piece."""
        if path in self._files:
            raise ValueError(f"{path} is in the pack already")
        with self._zip.open(_entry(path), "w", force_zip64=True) as stream:
            writer = Writer(stream)
            yield writer
        self._files[path] = {"path": path, "bytes": writer.size, "sha256": writer.sha256}

    def add(self, path: str, text: str) -> None:
        with self.stream(path) as writer:
            writer.write(text)

    def add_once(self, path: str, text: str) -> None:
        """Add what several promotions share; its path names its bytes."""
        if path not in self._files:
            self.add(path, text)

    def add_json(self, path: str, value: Any) -> None:
        self.add(path, readable_json(value))

    def close(self, subject: Mapping[str, Any]) -> str:
        """Write the manifest and finish; returns the digest of what the manifest says."""
        said = {
            "v": VERSION,
            "subject": dict(subject),
            "files": sorted(self._files.values(), key=lambda file: str(file["path"])),
        }
        whole = {**said, "digest": digest(said)}
        with self._zip.open(_entry(MANIFEST), "w") as stream:
            stream.write(readable_json(whole).encode())
        self._zip.close()
        return str(whole["digest"])


def _entry(path: str) -> ZipInfo:
    entry = ZipInfo(path, date_time=NO_TIME)
    entry.compress_type = ZIP_DEFLATED
    entry.create_system = 3  # Unix, wherever it is made
    entry.external_attr = 0o644 << 16
    return entry


def readable_json(value: Any) -> str:
    """JSON with one fact a line, always in the same order."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def sha256_of(file: IO[bytes]) -> str:
    """The SHA-256 of a whole file, read from its start."""
    file.seek(0)
    found = hashlib.sha256()
    while part := file.read(AT_ONCE):
        found.update(part)
    file.seek(0)
    return "sha256:" + found.hexdigest()
