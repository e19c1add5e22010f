"""Comparing the chain with what was signed before: in the database, in the folder, kept elsewhere.

A chain that was rewritten, cut off or restored from an old backup still fits in itself. It does
not reproduce the roots that left the database while it said something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from governance.audit import keys, sinks
from governance.audit.chain import GENESIS
from governance.audit.checkpoint_models import Checkpoint, CheckpointDelivery
from governance.audit.checkpoints import read_text
from governance.audit.columns import Fault
from governance.audit.models import AuditEvent
from governance.audit.verification import FAULTS_KEPT, Verification
from governance.common.canonical import digest_text

FILE_NAME = re.compile(r"checkpoint-(\d{8,})\.json\Z")
DATABASE = "the database"


class UnreadableError(Exception):
    """This file is not a checkpoint, so nothing can be compared with it."""


@dataclass(frozen=True, slots=True)
class Signed:
    """One signed checkpoint, and where it was found."""

    place: str
    text: str
    digest: str
    signature: str
    public_key: str
    said: Mapping[str, Any]
    outside: bool = True  # found outside of the database

    @property
    def number(self) -> int:
        return int(self.said["number"])

    @property
    def size(self) -> int:
        return int(self.said["tree_size"])


@dataclass(frozen=True, slots=True)
class CheckpointResult:
    """What comparing with the checkpoints showed. It never claims more than it compared."""

    compared: int  # different checkpoints
    outside: int  # of them, found outside of the database
    covered: int  # the newest event that a checkpoint which holds covers
    keys_compared: bool  # signatures count only from keys that were known before
    fault_count: int
    faults: tuple[Fault, ...]
    notes: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        return self.compared > 0 and self.fault_count == 0

    @property
    def sentence(self) -> str:
        if not self.compared:
            return "There are no checkpoints, so there was nothing to compare the chain with."
        several = f"{self.compared:,} checkpoint{'s' if self.compared != 1 else ''}"
        found = f"{several}, {self.outside:,} found outside of the database"
        if self.intact:
            return f"Consistent: {found}; the chain reproduces what they signed."
        places = f"{self.fault_count:,} place{'s' if self.fault_count != 1 else ''}"
        return f"Contradicted: {places}, comparing {found}."

    def as_json(self) -> dict[str, Any]:
        return {
            "intact": self.intact, "sentence": self.sentence, "compared": self.compared,
            "outside": self.outside, "covered": self.covered,
            "keys_compared": self.keys_compared, "fault_count": self.fault_count,
            "faults": [
                {"seq": fault.seq, "kind": fault.kind, "sentence": fault.sentence}
                for fault in self.faults
            ],
            "notes": list(self.notes),
        }  # fmt: skip


def read_file(path: Path) -> Signed:
    """Read one checkpoint that was kept outside of the database.

    Raises:
        UnreadableError: it is not there, or is not a checkpoint.
    """
    try:
        stored = json.loads(path.read_text())
        return Signed(
            place=str(path),
            text=stored["checkpoint"],
            digest=stored["digest"],
            signature=stored["signature"],
            public_key=stored["public_key"],
            said=read_text(stored["checkpoint"]),
        )
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnreadableError(f"{path} is not a checkpoint: {error}") from error


@dataclass(slots=True)
class Comparison:
    """Gathers the checkpoints first, so that one reading of the chain serves all of them."""

    trusted: Mapping[str, Ed25519PublicKey]
    count: int = 0
    found: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stored: list[Signed] = field(default_factory=list)
    kept: list[Signed] = field(default_factory=list)
    signed_well: set[tuple[str, str, str]] = field(default_factory=set)

    @classmethod
    def gather(
        cls, files: Iterable[Path] = (), key_files: Iterable[Path] = (), *, folder: bool = True
    ) -> Comparison:
        """Read every checkpoint of the database and the folder, and those that are named.

        Raises:
            UnreadableError: a file that was named is no checkpoint.
            KeyProblemError: a key that was named cannot be read.
        """
        chosen = list(key_files)
        try:
            trusted = keys.trusted_keys(chosen)
        except keys.KeyProblemError:
            if chosen:
                raise
            trusted = {}  # an auditor's machine has no key of its own
        comparison = cls(trusted)
        comparison.kept = [read_file(path) for path in files]
        if folder:  # before the database: what is delivered meanwhile is no contradiction
            comparison._read_folder()
        comparison._read_database()
        return comparison

    @property
    def sizes(self) -> set[int]:
        """For which numbers of events the roots are needed."""
        return {signed.size for signed in (*self.stored, *self.kept)}

    def compare(self, chain: Verification) -> CheckpointResult:
        """Say what the checkpoints say about the chain that was just read."""
        covered = 0
        for signed in (*self.stored, *self.kept):
            before = self.count
            self._check_signature(signed)
            self._check_root(signed, chain)
            if self.count == before:
                covered = max(covered, signed.size)
        self._check_against_database()
        self._check_introduced(chain)
        distinct = {signed.digest for signed in (*self.stored, *self.kept)}
        outside = {signed.digest for signed in self.kept}
        return CheckpointResult(
            compared=len(distinct),
            outside=len(outside),
            covered=covered,
            keys_compared=bool(self.trusted),
            fault_count=self.count,
            faults=tuple(self.found[:FAULTS_KEPT]),
            notes=tuple(self.notes),
        )

    def _fault(self, seq: int, kind: str, sentence: str) -> None:
        self.count += 1
        if len(self.found) < FAULTS_KEPT:
            self.found.append(Fault(seq, kind, sentence))

    def _read_database(self) -> None:
        """Read the checkpoints that the database has; they must follow each other."""
        number, size, previous = 0, 0, GENESIS
        for row in Checkpoint.objects.order_by("number").defer("edge", "blocks"):
            number += 1
            if row.number != number:
                self._fault(size, "checkpoint", f"Checkpoint {number:,} is missing.")
                number = row.number
            elif (row.previous, row.first_seq) != (previous, size + 1):
                self._fault(
                    row.last_seq,
                    "checkpoint",
                    f"Checkpoint {number:,} does not follow the one before it.",
                )
            size, previous = row.tree_size, row.digest
            try:
                said = read_text(row.text)
            except (ValueError, RecursionError):
                self._fault(row.last_seq, "checkpoint", f"Checkpoint {number:,} is unreadable.")
                continue
            shown = (
                row.number, row.first_seq, row.last_seq, row.tree_size, row.root, row.head,
                row.previous, row.key_id,
            )  # fmt: skip
            names = ("number", "first_seq", "last_seq", "tree_size", "root", "head", "previous",
                     "key_id")  # fmt: skip
            if shown != tuple(said[name] for name in names):
                self._fault(
                    row.last_seq,
                    "checkpoint",
                    f"The columns of checkpoint {number:,} differ from what was signed.",
                )
            self.stored.append(
                Signed(
                    DATABASE, row.text, row.digest, row.signature, row.public_key, said,
                    outside=False,
                )
            )  # fmt: skip

    def _read_folder(self) -> None:
        """Read every file of the folder; note those that were delivered and are gone."""
        here = sinks.folder()
        try:
            names = sorted(path.name for path in here.iterdir())
        except FileNotFoundError:
            names = []
        except OSError as error:
            self.notes.append(f"The folder {here} cannot be read: {error.strerror}.")
            names = []
        for name in names:
            if FILE_NAME.match(name):
                try:
                    self.kept.append(read_file(here / name))
                except UnreadableError as error:
                    self._fault(0, "sink", f"{error}.")
        delivered = CheckpointDelivery.objects.filter(sink="file", state="delivered")
        gone = [where for where in delivered.values_list("where", flat=True) if where]
        gone = [where for where in gone if not Path(where).exists()]
        if gone:
            several = f"{len(gone):,} files were" if len(gone) != 1 else "1 file was"
            self.notes.append(f"{several} delivered and cannot be seen from here: {gone[0]}.")

    def _check_signature(self, signed: Signed) -> None:
        kind, before = _kind(signed), self.count
        same = (signed.text, signed.signature, signed.public_key)
        if digest_text(signed.text) == signed.digest and same in self.signed_well:
            return  # a copy of one that was looked at
        if digest_text(signed.text) != signed.digest:
            self._fault(signed.size, kind, f"{_named(signed)} is not what its digest says.")
        try:
            key = keys.load_public(signed.public_key)
        except keys.KeyProblemError:
            self._fault(signed.size, kind, f"{_named(signed)} has no key that can be read.")
            return
        if keys.key_id(key) != signed.said["key_id"] or not keys.is_signed(
            key, signed.text, signed.signature
        ):
            self._fault(signed.size, kind, f"{_named(signed)} is not signed by the key it names.")
        elif self.trusted and keys.key_id(key) not in self.trusted:
            self._fault(
                signed.size, kind, f"{_named(signed)} is signed by a key that is not known here."
            )
        if self.count == before:
            self.signed_well.add(same)

    def _check_root(self, signed: Signed, chain: Verification) -> None:
        kind, size = _kind(signed), signed.size
        if size > chain.last:
            self._fault(
                size,
                kind,
                f"{_named(signed)} covers {size:,} events, the chain ends with event"
                f" {chain.last:,}: it was cut off, or an old backup was restored.",
            )
        elif chain.roots.get(size) != signed.said["root"]:
            self._fault(
                size,
                kind,
                f"Events 1 to {size:,} are not those that {_named(signed)} was signed over.",
            )

    def _check_against_database(self) -> None:
        """What was kept outside must be what the database still has under that number."""
        known = {signed.number: signed.digest for signed in self.stored}
        for signed in self.kept:
            if known.get(signed.number) != signed.digest:
                what = "another one" if signed.number in known else "none"
                self._fault(
                    signed.size, "sink", f"{_named(signed)}: the database has {what} instead of it."
                )

    def _check_introduced(self, chain: Verification) -> None:
        """A key that signs was introduced by an event that its own first checkpoint covers."""
        first: dict[str, Signed] = {}
        for signed in self.stored:
            first.setdefault(str(signed.said["key_id"]), signed)
        for key_id, signed in first.items():
            introduced = AuditEvent.objects.filter(
                verb="audit.key_introduced", object_digest=key_id, seq__lte=signed.size
            )
            if chain.events and not introduced.exists():
                self._fault(
                    signed.size,
                    "checkpoint",
                    f"No event says that the key of checkpoint {signed.number:,} came into use.",
                )


def _kind(signed: Signed) -> str:
    return "sink" if signed.outside else "checkpoint"


def _named(signed: Signed) -> str:
    where = "" if signed.place == DATABASE else f" in {signed.place}"
    return f"Checkpoint {signed.number:,}{where}"
