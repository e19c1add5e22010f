"""Reading the chain again: does every event still say what it said, in the same order?

What a chain alone cannot show: that its newest events were cut off, or that somebody with the
database's superuser wrote it anew from some event to the end. Both leave a chain that fits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from multiprocessing import get_context
from typing import Any

import django
from django.db import connection, transaction

from governance.audit.chain import DOMAIN, GENESIS

CHUNK = 2_000  # events per fetch
FAULTS_KEPT = 50
# What the columns repeat from the body, in the order of the statement.
COLUMNS = (
    "seq", "prev", "event_id", "recorded_at", "occurred_at", "demo", "actor_type", "actor_id",
    "actor_label", "verb", "object_type", "object_id", "object_label", "object_digest", "workflow",
    "reason",
)  # fmt: skip
STATEMENT = """
SELECT seq, prev, hash, body, event_id::text, recorded_at, occurred_at, demo, actor_type, actor_id,
       actor_label, verb, object_type, object_id, object_label, object_digest, workflow, reason
FROM governance_auditevent WHERE seq BETWEEN %s AND %s ORDER BY seq
"""
BEFORE_THE_FIRST = -(2**62)  # an event that was slipped in there is read too


@dataclass(frozen=True, slots=True)
class Fault:
    """One place where the chain does not hold."""

    seq: int
    kind: str  # hash, body, column, link, gap, order
    sentence: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked, and what was found. It never claims more than it read."""

    first: int  # seq of the first event that was read, 0 when there was none
    last: int
    events: int
    head: str  # hash of the last event that was read
    from_the_start: bool  # the first link was checked against the fixed beginning of every chain
    fault_count: int
    faults: tuple[Fault, ...]  # the first of them

    @property
    def intact(self) -> bool:
        """Everything that was read holds, and something was read."""
        return self.events > 0 and self.fault_count == 0

    @property
    def sentence(self) -> str:
        if not self.events:
            return "There are no audit events, so there was nothing to verify."
        span = f"{self.events:,} event{'s' if self.events != 1 else ''}"
        whole = "from the first" if self.from_the_start else f"from event {self.first:,}"
        if self.intact:
            return f"Valid: {span} verified, {whole} to event {self.last:,}."
        places = f"{self.fault_count:,} place{'s' if self.fault_count != 1 else ''}"
        return f"Broken: {places} in {span}, {whole} to event {self.last:,}."

    def as_json(self) -> dict[str, Any]:
        return {"intact": self.intact, "sentence": self.sentence, **asdict(self)}


def verify(first: int = 1, last: int | None = None, *, processes: int = 1) -> Verification:
    """Verify the events from seq `first` to `last`, by default all that exist now.

    Args:
        processes: how many to share the work among; each opens its own connection.
    """
    end = last if last is not None else _newest()
    share = -(-(end - first + 1) // processes)
    if processes == 1 or end - first < processes:
        return _verify_part(first, end)
    bounds = [(start, min(start + share - 1, end)) for start in range(first, end + 1, share)]
    # django.setup first: what is unpickled after it imports models.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(len(bounds), mp_context=spawn, initializer=django.setup) as pool:
        return _joined(list(pool.map(_verify_part, *zip(*bounds, strict=True))))


def verify_newest(count: int) -> Verification:
    """Verify the newest `count` events only: what a page can afford each time it is opened."""
    newest = _newest()
    return _verify_part(max(1, newest - count + 1), newest)


def sensible_processes() -> int:
    """Two, where there are two processors and enough events to be worth starting them."""
    return 2 if (os.cpu_count() or 1) > 1 and _newest() > 50 * CHUNK else 1


def _newest() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(seq) FROM governance_auditevent")
        (newest,) = cursor.fetchone()
    return newest or 0


def _rows(first: int, last: int) -> Iterator[tuple[Any, ...]]:
    """The events in order, in one snapshot: what is written meanwhile is no false alarm."""
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(STATEMENT, [first, last])
        while rows := cursor.fetchmany(CHUNK):
            yield from rows


def _verify_part(first: int, last: int) -> Verification:
    """Verify one stretch, and its link to the event before it."""
    from_the_start = first <= 1
    found: list[Fault] = []
    count = events = last_seq = 0
    expected = first
    previous = GENESIS if from_the_start else _hash_of(first - 1)
    for row in _rows(BEFORE_THE_FIRST if from_the_start else first, last):
        events += 1
        seq, prev = row[:2]
        faults = _faults_of(row)
        if seq < expected:
            faults.append(Fault(seq, "order", f"Event {seq:,} stands before the first one."))
        elif seq > expected:
            faults.append(Fault(seq, "gap", _missing(expected, seq - 1)))
        elif prev != previous:
            faults.append(Fault(seq, "link", f"Event {seq:,} does not link to the one before it."))
        count += len(faults)
        found.extend(faults[: FAULTS_KEPT - len(found)])
        expected, previous, last_seq = max(seq + 1, expected), row[2], seq
    if expected <= last:
        count += 1
        found.append(Fault(last, "gap", _missing(expected, last)))
    return Verification(
        first=first if events else 0,
        last=last_seq,
        events=events,
        head=previous if events else "",
        from_the_start=from_the_start,
        fault_count=count,
        faults=tuple(found[:FAULTS_KEPT]),
    )


def _missing(first: int, last: int) -> str:
    if first == last:
        return f"Event {first:,} is missing."
    return f"Events {first:,} to {last:,} are missing."


def _hash_of(seq: int) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT hash FROM governance_auditevent WHERE seq = %s", [seq])
        row = cursor.fetchone()
    return row[0] if row else f"event {seq} is missing"


def _faults_of(row: tuple[Any, ...]) -> list[Fault]:
    """What is wrong within one event: its hash, and its columns against its body."""
    seq, prev, stored_hash, text = row[:4]
    faults: list[Fault] = []
    if stored_hash != "sha256:" + hashlib.sha256(DOMAIN + text.encode()).hexdigest():
        faults.append(Fault(seq, "hash", f"Event {seq:,} is not what was hashed."))
    try:
        body = json.loads(text)
        actor, thing = body["actor"], body["object"]
        said = (
            body["seq"], body["prev"], body["event_id"], body["recorded_at"], body["occurred_at"],
            body["demo"], actor["type"], actor["id"], actor["label"], body["verb"], thing["type"],
            thing["id"], thing["label"], thing["digest"], body["workflow"], body["reason"],
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, RecursionError):
        faults.append(Fault(seq, "body", f"The body of event {seq:,} cannot be read."))
        return faults
    shown = (seq, prev, row[4], row[5].isoformat(), row[6].isoformat(), *row[7:])
    if said == shown:
        return faults
    for name, in_body, in_column in zip(COLUMNS, said, shown, strict=True):
        if in_body != in_column and not _same_moment(name, in_body, in_column):
            faults.append(
                Fault(seq, "column", f"The column {name} of event {seq:,} differs from its body.")
            )
    return faults


def _same_moment(name: str, in_body: Any, in_column: Any) -> bool:
    """Whether two texts are one moment: the connection may show another offset."""
    if name not in ("recorded_at", "occurred_at"):
        return False
    try:
        return datetime.fromisoformat(in_body) == datetime.fromisoformat(in_column)
    except (TypeError, ValueError):
        return False


def _joined(parts: list[Verification]) -> Verification:
    """One result for neighbouring parts; each part checked its link to the part before it."""
    read = [part for part in parts if part.events]
    faults = [fault for part in parts for fault in part.faults]
    count = sum(part.fault_count for part in parts)
    return Verification(
        first=read[0].first if read else 0,
        last=read[-1].last if read else 0,
        events=sum(part.events for part in parts),
        head=read[-1].head if read else "",
        from_the_start=parts[0].from_the_start,
        fault_count=count,
        faults=tuple(faults[:FAULTS_KEPT]),
    )
