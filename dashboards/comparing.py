"""Which documents of two corpora differ: found by their ids, and all of them as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.tones import DOCUMENT
from governance.common.csv_cells import safe_cell
from governance.releases.retrieval_rules import DocumentDiff, compare_documents

SHOWN = 100  # documents on a page
HEADER = ("change", "document", "sha256 before", "sha256 after")

Content = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DocumentSearch:
    """The documents that a page shows, and what was asked for."""

    rows: tuple[tuple[str, str], ...]
    total: int
    find: str
    kind: str
    action: str
    csv_url: str

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return [(kind, chip.word) for kind, chip in DOCUMENT.items()]


def search(
    corpus: DocumentDiff, *, find: str, kind: str, action: str, csv_url: str
) -> DocumentSearch:
    """Return the first documents of this change with this text in their ids."""
    wanted = find.casefold()
    rows: list[tuple[str, str]] = []
    total = 0
    for found, names in _by_kind(corpus).items():
        if kind in DOCUMENT and kind != found:
            continue
        for name in names:
            if wanted in name.casefold():
                total += 1
                if len(rows) < SHOWN:
                    rows.append((found, name))
    return DocumentSearch(tuple(rows), total, find, kind, action, csv_url)


def _by_kind(corpus: DocumentDiff) -> dict[str, tuple[str, ...]]:
    return {"added": corpus.added, "removed": corpus.removed, "edited": corpus.edited}


def csv_lines(before: Content | None, after: Content | None) -> Iterator[str]:
    """Yield the file with every document that differs, in pieces."""
    old, new = _hashes(before), _hashes(after)
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")
    writer.writerow(HEADER)
    for kind, names in _by_kind(compare_documents(before, after)).items():
        for name in names:
            writer.writerow(map(safe_cell, (kind, name, old.get(name), new.get(name))))
            if line.tell() > 64 * 1024:
                yield line.getvalue()
                line.seek(0)
                line.truncate()
    yield line.getvalue()


def _hashes(content: Content | None) -> dict[str, str]:
    listed = (content or {}).get("documents")
    return {
        str(item["id"]): str(item.get("sha256", ""))
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, Mapping) and "id" in item
    }
