"""The messages the demo works on: reading them, telling them apart, splitting them. Pure."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

BUNDLED = Path(__file__).resolve().parent.parent / "data" / "messages.csv"
ORDINARY, OUT_OF_SCOPE, INJECTION = "ordinary", "out_of_scope", "injection"
LOOK_ALIKE = "look-"  # start of the ids of harmless mails that sound like an attack

# Mail that a person must read whatever a machine thinks of it. In other people's data the rule
# goes by the words in the label.
SENSITIVE = frozenset(
    {"fraud_report", "account_takeover", "legal_complaint", "injury_safety", "bereavement"}
)
SENSITIVE_WORDS = (
    "fraud", "compromised", "stolen", "lost", "not_recognised", "takeover", "hacked", "legal",
    "complaint", "injury", "bereavement", "deceased",
)  # fmt: skip

CHOICE = "demo.json"  # in the data folder: which messages the demo uses
IMPORTED = "demo-messages"  # the folder beside it
CORPUS_PERCENT = 55  # of the ordinary messages; the others are live mail and eval cases


class LibraryError(ValueError):
    """Messages that cannot be read or are not the ones a release names, in one sentence."""


@dataclass(frozen=True)
class Message:
    """One mail with the intent a person gave it."""

    id: str
    text: str
    label: str
    kind: str = ORDINARY
    language: str = "en"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def place(self) -> int:
        """A number from 0 to 99 that depends on the text alone: which split it belongs to."""
        words = " ".join(re.findall(r"\w+", self.text.lower()))
        return int.from_bytes(hashlib.sha256(b"split:" + words.encode()).digest()[:4]) % 100

    @property
    def is_look_alike(self) -> bool:
        return self.id.startswith(LOOK_ALIKE)


def is_sensitive(label: str) -> bool:
    """Whether mail of this intent always goes to a person."""
    return label in SENSITIVE or any(word in label.lower() for word in SENSITIVE_WORDS)


@dataclass(frozen=True)
class Library:
    """All messages of one file."""

    name: str
    messages: Sequence[Message] = field(repr=False)

    @cached_property
    def by_id(self) -> Mapping[str, Message]:
        return {message.id: message for message in self.messages}

    @cached_property
    def labels(self) -> list[str]:
        return sorted({message.label for message in self.messages if message.kind == ORDINARY})

    @property
    def sensitive_labels(self) -> list[str]:
        return [label for label in self.labels if is_sensitive(label)]

    def corpus(self, percent: int = CORPUS_PERCENT) -> list[Message]:
        """Ordinary messages that a corpus may hold; a smaller `percent` is a subset of a larger.

        Never one of the hold-out, so no eval case is ever answered by looking itself up.
        """
        limit = min(percent, CORPUS_PERCENT)
        return [
            message
            for message in self.messages
            if message.kind == ORDINARY and not message.is_look_alike and message.place < limit
        ]

    def hold_out(self) -> list[Message]:
        """Everything that is in no corpus: live mail and eval cases."""
        inside = {message.id for message in self.corpus()}
        return [message for message in self.messages if message.id not in inside]


def read_messages(path: Path) -> Library:
    """Read a file of messages: our own columns, or only a text and its label.

    Raises:
        LibraryError: no such file, no column of texts or labels, or fewer than two labels.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise LibraryError(f"{path.name} cannot be read: {error}") from error
    columns = {str(name).strip().lower(): name for name in (rows[0] if rows else {})}
    text = columns.get("text") or columns.get("message")
    label = columns.get("label") or columns.get("category") or columns.get("intent")
    if text is None or label is None:
        raise LibraryError(f"{path.name} needs the columns text and label.")
    messages, seen = [], set()
    for number, row in enumerate(rows, start=1):
        body, intent = (row[text] or "").strip(), (row[label] or "").strip()
        if not body or not intent or body in seen:
            continue
        seen.add(body)
        messages.append(
            Message(
                row.get("id") or f"m-{number:05d}",
                body,
                intent,
                row.get("kind") or ORDINARY,
                row.get("language") or "en",
            )
        )
    library = Library(path.name, tuple(messages))
    if len(library.labels) < 2:
        raise LibraryError(f"{path.name} holds fewer than two labels: there is nothing to sort.")
    return library


def write_messages(messages: Iterable[Message], path: Path) -> None:
    """Write messages in our own columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "text", "label", "kind", "language"))
        writer.writerows((m.id, m.text, m.label, m.kind, m.language) for m in messages)


def data_folder() -> Path:
    """The folder of this installation's data."""
    home = os.environ.get("DATA_DIR") or Path(__file__).resolve().parents[3] / ".data"
    return Path(home).absolute()


def chosen_library() -> Library:
    """Return the messages that this installation's demo was seeded with."""
    note = data_folder() / CHOICE
    if not note.is_file():
        return open_library()
    return open_library(str(json.loads(note.read_text(encoding="utf-8"))["messages"]))


def import_messages(path: Path) -> Library:
    """Keep a message file from outside beside the other data of this installation."""
    library = read_messages(path)
    folder = data_folder() / IMPORTED
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    told_apart = hashlib.sha256("".join(m.sha256 + m.label for m in library.messages).encode())
    name = f"messages-{told_apart.hexdigest()[:12]}.csv"
    write_messages(library.messages, folder / name)
    return open_library(name)


def choose(library: Library) -> None:
    """Note which messages the demo uses, for the evals and for the demo's own application."""
    note = data_folder() / CHOICE
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    note.write_text(json.dumps({"messages": library.name}) + "\n", encoding="utf-8")


@cache
def _read_once(path: Path, changed_ns: int) -> Library:
    return read_messages(path)


def open_library(name: str = BUNDLED.name) -> Library:
    """Return the messages that a release names as its source.

    Raises:
        LibraryError: the file is not here.
    """
    if not re.fullmatch(r"[\w.-]{1,100}", name):
        raise LibraryError(f"{name[:60]!r} is not the name of a message file.")
    path = BUNDLED if name == BUNDLED.name else data_folder() / IMPORTED / name
    if not path.is_file():
        raise LibraryError(f"The messages {name} are not on this machine.")
    return _read_once(path, path.stat().st_mtime_ns)
