"""Comparing stored receipts with their seals, and the seals with the audit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from django.db import connection, transaction

from governance.audit.columns import Fault
from governance.audit.merkle import root
from governance.audit.models import AuditEvent
from governance.audit.verification import FAULTS_KEPT
from governance.receipts.seal_models import ReceiptPending, ReceiptSeal
from governance.receipts.seals import EPOCH, KEY_BYTES, LEAF_BYTES, day_of, leaves_of

FETCH = 5_000  # receipts


@dataclass(frozen=True, slots=True)
class SealResult:
    """What comparing showed. It never claims more than it compared."""

    seals: int
    receipts: int  # stored, and equal to what was sealed or waits for its seal
    waiting: int  # of them, not sealed yet
    corrected: int  # sealed again after further spans of their trace arrived
    retained: int  # dropped by retention; their digests are still sealed
    fault_count: int
    faults: tuple[Fault, ...]

    @property
    def intact(self) -> bool:
        return self.fault_count == 0

    @property
    def sentence(self) -> str:
        checked = (
            f"{self.receipts:,} receipt{'s' if self.receipts != 1 else ''} against"
            f" {self.seals:,} seal{'s' if self.seals != 1 else ''}"
        )
        if self.retained:
            checked += f", {self.retained:,} dropped ones retained by digest"
        if self.waiting:
            checked += f", {self.waiting:,} wait for their seal"
        if self.intact:
            return f"Sealed: {checked}."
        places = f"{self.fault_count:,} place{'s' if self.fault_count != 1 else ''}"
        return f"Receipts differ from their seals: {places}; {checked}."

    def as_json(self) -> dict[str, Any]:
        return {"intact": self.intact, "sentence": self.sentence, **asdict(self)}


def verify_seals() -> SealResult:
    """Compare every stored receipt with the newest seal over it, in one snapshot.

    Keeps the digests of one day in memory at a time, about 300 bytes a receipt.
    """
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return _Comparing().run()


@dataclass(slots=True)
class _Comparing:
    seals: int = 0
    receipts: int = 0
    waiting: int = 0
    corrected: int = 0
    retained: int = 0
    count: int = 0
    found: list[Fault] = field(default_factory=list)
    events: dict[int, int] = field(default_factory=dict)  # seal number -> seq of its event
    days: set[date] = field(default_factory=set)

    def run(self) -> SealResult:
        self._check_seals()
        stored = _stored_days()
        dropped = _dropped_days()
        pending = self._pending()
        for day in sorted(self.days | stored | pending.keys()):
            self._compare(day, pending.get(day, {}), stored=day in stored, dropped=day in dropped)
        return SealResult(
            self.seals, self.receipts, self.waiting, self.corrected, self.retained, self.count,
            tuple(self.found[:FAULTS_KEPT]),
        )  # fmt: skip

    def _fault(self, seq: int, sentence: str) -> None:
        self.count += 1
        if len(self.found) < FAULTS_KEPT:
            self.found.append(Fault(seq, "seal", sentence))

    def _check_seals(self) -> None:
        """Each event has its seal and each seal its event, with the root over its leaves."""
        roots: dict[int, str] = {}
        for seq, number, digest in (
            AuditEvent.objects.filter(verb="receipts.sealed")
            .order_by("seq")
            .values_list("seq", "object_id", "object_digest")
        ):
            self.events[int(number)] = seq
            roots[int(number)] = digest
        for seal in ReceiptSeal.objects.order_by("number").iterator(chunk_size=50):
            self.seals += 1
            self.days.update(seal.days)
            seq = self.events.get(seal.number, 0)
            leaves = leaves_of(bytes(seal.leaves))
            said = roots.pop(seal.number, "")
            if not said:
                self._fault(0, f"No audit event says that there is a seal {seal.number:,}.")
            elif (
                "sha256:" + root(leaves).hex() != said
                or seal.root != said
                or seal.count != len(leaves)
                or seal.days != sorted({day_of(leaf) for leaf in leaves})
            ):
                self._fault(seq, f"Seal {seal.number:,} is not what event {seq:,} says.")
        for lost in roots:
            seq = self.events[lost]
            self._fault(seq, f"Seal {lost:,} is missing; event {seq:,} says there is one.")

    def _pending(self) -> dict[date, dict[bytes, bytes]]:
        """What waits for its seal, per day: identity and content."""
        found: dict[date, dict[bytes, bytes]] = {}
        for row in ReceiptPending.objects.order_by("pk").iterator(chunk_size=500):
            for leaf in leaves_of(bytes(row.leaves)):
                found.setdefault(day_of(leaf), {})[leaf[4:KEY_BYTES]] = leaf[KEY_BYTES:]
        return found

    def _sealed(self, day: date) -> dict[bytes, tuple[bytes, int]]:
        """The newest sealed content of each receipt of this day, and the number of the seal."""
        prefix = (day - EPOCH).days.to_bytes(4, "big", signed=True)
        found: dict[bytes, tuple[bytes, int]] = {}
        seals = ReceiptSeal.objects.filter(days__contains=[day]).order_by("number")
        for number, joined in seals.values_list("number", "leaves").iterator(chunk_size=50):
            leaves = bytes(joined)
            for at in range(0, len(leaves), LEAF_BYTES):
                if leaves[at : at + 4] == prefix:
                    identity = leaves[at + 4 : at + KEY_BYTES]
                    self.corrected += identity in found
                    found[identity] = leaves[at + KEY_BYTES : at + LEAF_BYTES], number
        return found

    def _compare(
        self, day: date, pending: dict[bytes, bytes], *, stored: bool, dropped: bool
    ) -> None:
        sealed = self._sealed(day)
        for run_id, identity, content in _receipts(day) if stored else ():
            known = sealed.pop(identity, None)
            waits = pending.pop(identity, None)
            expected = waits if waits is not None else known[0] if known else None
            seq = self.events.get(known[1], 0) if known else 0
            if expected is None:
                self._fault(0, f"Receipt {run_id} of {day} was never sealed: it was slipped in.")
            elif content != expected:
                self._fault(seq, f"Receipt {run_id} of {day} is not what was sealed.")
            else:
                self.receipts += 1
                self.waiting += waits is not None
        if dropped:
            self.retained += len(sealed)
        else:
            gone: dict[int, int] = {}
            for _, number in sealed.values():
                gone[number] = gone.get(number, 0) + 1
            for number, missing in sorted(gone.items()):
                several = f"{missing:,} receipts are" if missing != 1 else "1 receipt is"
                self._fault(
                    self.events.get(number, 0),
                    f"{several} missing of {day} that seal {number:,} holds.",
                )
            if pending:
                self._fault(0, f"{len(pending):,} receipts of {day} are gone before their seal.")


def _receipts(day: date) -> Iterator[tuple[str, bytes, bytes]]:
    """Run id, digest of the identity and digest of the content of every receipt of a day."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(
            "SELECT run_id, cs_receipt_leaf(r) FROM governance_receipt r WHERE day = %s", [day]
        )
        while rows := cursor.fetchmany(FETCH):
            for run_id, leaf in rows:
                yield run_id, bytes(leaf[4:KEY_BYTES]), bytes(leaf[KEY_BYTES:])


def _stored_days() -> set[date]:
    """The days that have a partition now."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT to_date(right(c.relname, 8), 'YYYYMMDD') FROM pg_inherits i"
            " JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'governance_receipt'::regclass"
        )
        return {day for (day,) in cursor.fetchall()}


def _dropped_days() -> set[date]:
    """The days that retention dropped, as the audit says."""
    found: set[date] = set()
    for body in AuditEvent.objects.filter(verb="receipts.partition_dropped").values_list(
        "body", flat=True
    ):
        details = json.loads(body)["details"]
        if details.get("table", "governance_receipt") == "governance_receipt":
            found.update(date.fromisoformat(day) for day in details.get("days", ()))
    return found
