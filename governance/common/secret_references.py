"""Secrets that others issued: only where they lie is stored, and only a worker looks there."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from governance.common.errors import InvalidInputError

PREFIX = "COUNTERSIGN_"
ENV = re.compile(rf"env:({PREFIX}[A-Z0-9_]{{1,80}})\Z")
FILE = re.compile(r"file:(/[\w./-]{1,180})\Z", re.ASCII)
LARGEST = 64 * 1024  # bytes


def check_reference(reference: str, *, folders: Sequence[str]) -> None:
    """Refuse what is no reference, or points at something that is not for others to use.

    The product's own settings cannot be named: whoever may set a reference could otherwise have
    them used at an address of their choice.

    Raises:
        InvalidInputError: with what it must look like.
    """
    if ENV.match(reference):
        return
    if not FILE.match(reference) or not _inside(Path(reference[5:]), folders):
        raise InvalidInputError(
            f"Write env:{PREFIX}NAME, or file:/path of a file in {' or '.join(folders)}."
        )


def resolve(reference: str, *, folders: Sequence[str]) -> bytes:
    """Return the secret, without the line end of a file.

    Raises:
        InvalidInputError: there is none. The sentence names the reference, never the secret.
    """
    check_reference(reference, folders=folders)
    if found := ENV.match(reference):
        secret = os.environ.get(found[1], "").encode()
    else:
        try:
            with Path(reference[5:]).open("rb") as file:
                secret = file.read(LARGEST + 1).rstrip(b"\r\n")
        except OSError as error:
            raise InvalidInputError(f"{reference} cannot be read: {error.strerror}.") from error
    if not secret or len(secret) > LARGEST:
        raise InvalidInputError(f"{reference} holds no usable secret.")
    return secret


def _inside(path: Path, folders: Sequence[str]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(Path(folder).resolve()) for folder in folders)
