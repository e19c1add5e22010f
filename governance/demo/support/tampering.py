"""A change behind Countersign's back: somebody edits what the demo application really runs.

The file `tamper.json` in the data folder says what is different from the release, slot by slot. The
application runs that, and goes on reporting honestly what it runs: so the difference is found.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from governance.demo.support.library import data_folder
from governance.releases.diff import SLOT_NAMES

log = logging.getLogger("governance.demo.support")
FILE = "tamper.json"

Slots = Mapping[str, Mapping[str, Any]]


class Tampering:
    """What somebody changed on this machine. The file is read again only when it changed."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or data_folder() / FILE
        self._seen: tuple[int, int] | None = None
        self._changes: dict[str, dict[str, Any]] = {}

    def changes(self) -> dict[str, dict[str, Any]]:
        """Return the changed settings per slot; empty where nobody changed anything."""
        try:
            found = self._path.stat()
        except OSError:
            self._seen, self._changes = None, {}
            return self._changes
        seen = (found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            self._seen = seen
            self._changes = _read(self._path)
        return self._changes


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s cannot be read: %s", path.name, error)
        return {}
    if not isinstance(said, dict):
        return {}
    return {
        slot: changes
        for slot, changes in said.items()
        if slot in SLOT_NAMES and isinstance(changes, dict) and changes
    }


def applied(contents: Slots, changes: Slots) -> dict[str, dict[str, Any]]:
    """Return the contents that really run: the release's own, with the changed settings in them."""
    return {
        slot: {**contents.get(slot, {}), **changes.get(slot, {})}
        for slot in {**contents, **changes}
    }
