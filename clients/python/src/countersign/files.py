"""Small JSON files that survive a crash: written whole or not at all, and checked when read."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from countersign.canonical import digest

VERSION = 1


class UnusableFileError(Exception):
    """The file is missing, damaged, or not ours. The message says which."""


def write(path: Path, body: dict[str, Any], *, durable: bool = True) -> None:
    """Replace `path` by `body` and its checksum; readers see the old file or the new one.

    Raises:
        OSError: the disk refuses.
    """
    text = json.dumps({"v": VERSION, "checksum": digest(body), "body": body}, ensure_ascii=False)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def read(path: Path) -> dict[str, Any]:
    """Return the body of a file that `write` made.

    Raises:
        UnusableFileError: it is missing, damaged, or something else.
    """
    try:
        whole = json.loads(path.read_bytes())
        if whole["v"] != VERSION:
            raise UnusableFileError(f"{path} is of another version.")
        body = whole["body"]
        if not isinstance(body, dict) or digest(body) != whole["checksum"]:
            raise UnusableFileError(f"{path} is damaged: its checksum is another one.")
    except FileNotFoundError as error:
        raise UnusableFileError(f"{path} does not exist.") from error
    except OSError as error:
        raise UnusableFileError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnusableFileError(f"{path} is damaged.") from error
    return body
