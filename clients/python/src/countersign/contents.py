"""What is in a release: fetched once by its digest, verified down to each slot, kept on disk."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from countersign import files
from countersign.canonical import digest, is_digest
from countersign.errors import ContentError

log = logging.getLogger("countersign")
IN_MEMORY = 4  # releases; what is live, its pilot, and where a rollback leads


@dataclass(frozen=True, slots=True)
class Release:
    """A release whose bytes are what its digest names.

    Attributes:
        slots: the content per slot; None where the slot is not declared.
        slot_digests: what a receipt may carry as `observed`; None where it is not declared.
    """

    digest: str
    workflow: str
    slots: Mapping[str, Mapping[str, Any] | None]
    slot_digests: Mapping[str, str | None]


def verified(document: Any, expected: str, workflow: str) -> Release:
    """Return the release of a document as `GET /api/v1/releases/{digest}` gives it.

    Raises:
        ContentError: something in it is not what its digest names.
    """
    try:
        manifest, components = document["manifest"], document["components"]
        if digest(manifest) != expected:
            raise ContentError(f"The manifest is not the one that {expected} names.")
        if manifest["workflow"] != workflow:
            raise ContentError(f"{expected} is a release of another workflow.")
        slots: dict[str, Mapping[str, Any] | None] = {}
        for slot, named in manifest["slots"].items():
            if named is None:
                slots[slot] = None
                continue
            content = components[slot]["content"]
            if digest({"slot": slot, "content": content}) != named:
                raise ContentError(f"The slot {slot} of {expected} is not what its digest names.")
            slots[slot] = content
        return Release(expected, workflow, slots, dict(manifest["slots"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ContentError(f"The content of {expected} is not whole: {error!r}") from error


class Contents:
    """Releases by digest: from memory, from disk, else from the server."""

    def __init__(self, workflow: str, folder: Path | None, fetch: Callable[[str], bytes]) -> None:
        """`fetch` returns the document of a digest, or raises a CountersignError."""
        self._workflow = workflow
        self._folder = folder
        self._fetch = fetch
        self._found: OrderedDict[str, Release] = OrderedDict()
        self.reset_locks()

    def reset_locks(self) -> None:
        self._lock = Lock()

    def get(self, wanted: str) -> Release:
        """Return the verified release.

        Raises:
            ContentError: nobody has it, or what was found is not what the digest names.
            UnreachableError: it is not here and the server does not answer.
        """
        if not is_digest(wanted):
            raise ContentError(f"{wanted!r} is no digest.")
        with self._lock:
            if (known := self._found.get(wanted)) is not None:
                self._found.move_to_end(wanted)
                return known
        release = self._from_disk(wanted)
        if release is None:
            try:
                document = json.loads(self._fetch(wanted))
            except (ValueError, RecursionError) as error:
                raise ContentError(f"The content of {wanted} is not JSON.") from error
            release = self.add(document, wanted)
        self._remember(release)
        return release

    def add(self, document: Any, expected: str) -> Release:
        """Verify a document and keep it on disk."""
        release = verified(document, expected, self._workflow)
        path = self._path(expected)
        if path is not None:
            kept = {
                "manifest": document["manifest"],
                "components": {
                    slot: None if content is None else {"content": content}
                    for slot, content in release.slots.items()
                },
            }
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write(path, kept)
            except OSError as error:
                log.warning("Release %s is not kept on disk: %s", expected, error)
        self._remember(release)
        return release

    def _remember(self, release: Release) -> None:
        with self._lock:
            self._found[release.digest] = release
            self._found.move_to_end(release.digest)
            while len(self._found) > IN_MEMORY:
                self._found.popitem(last=False)

    def _from_disk(self, wanted: str) -> Release | None:
        path = self._path(wanted)
        if path is None or not path.exists():
            return None
        try:
            return verified(files.read(path), wanted, self._workflow)
        except (files.UnusableFileError, ContentError) as error:
            log.warning("Ignored a kept release: %s", error)
            return None

    def _path(self, wanted: str) -> Path | None:
        return self._folder / f"{wanted[7:]}.json" if self._folder else None
