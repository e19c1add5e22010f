"""Reading the chain again: does every event still say what it said, in the same order?

What a chain alone cannot show: that its newest events were cut off, or that somebody with the
database's superuser wrote it anew from some event to the end. Both leave a chain that fits, but
not the roots that were signed before: `checkpoint_verification` compares those.

Every hash is computed here and every body is parsed here; the database only hands out rows.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from typing import Any, cast

import psycopg
from django.db import connection, transaction

from governance.audit.chain import GENESIS
from governance.audit.columns import COLUMNS, Fault, faults_of, link_of
from governance.audit.merkle import BLOCK, Tree, block_root, root_of
from governance.common.processes import begin_process

CHUNK = 4_000  # events per fetch
LONGEST_PART = 16 * BLOCK  # events that one process takes at once
FAULTS_KEPT = 50
# Times come as text: a year that Python cannot hold is a fault, not a crash.
EVENT = """
SELECT seq, prev, hash, convert_to(body, 'UTF8'), event_id::text, recorded_at::text,
       occurred_at::text, demo, actor_type, actor_id, actor_label, verb, object_type, object_id,
       object_label, object_digest, workflow, reason
FROM governance_auditevent WHERE seq = %s
"""
# The same columns in one text: handing out one value costs a sixth of handing out sixteen. It is
# NULL where a column is, so that a missing column cannot hide behind its neighbour.
JOINED = "||chr(31)||".join(
    f"{name}::text" if name in ("seq", "event_id", "recorded_at", "occurred_at", "demo") else name
    for name in COLUMNS
)
STATEMENT = f"""
SELECT seq, hash, convert_to(body, 'UTF8'), {JOINED}
FROM governance_auditevent WHERE seq BETWEEN %s AND %s ORDER BY seq
"""  # noqa: S608 - names of columns
BEFORE_THE_FIRST = -(2**62)  # an event that was slipped in there is read too


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
    # Merkle roots over the first so many events, for the sizes that were asked for and reached.
    roots: dict[int, str] = field(default_factory=dict)

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
        said = asdict(self)
        del said["roots"]
        return {"intact": self.intact, "sentence": self.sentence, **said}


@dataclass(frozen=True, slots=True)
class _Part:
    """One stretch, verified, and what the Merkle tree of the whole needs of it."""

    result: Verification
    blocks: list[bytes]  # roots of its whole blocks
    edges: dict[int, list[bytes]]  # per size asked for: the right edge within the last block


def verify(
    first: int = 1, last: int | None = None, *, processes: int = 1, sizes: Iterable[int] = ()
) -> Verification:
    """Verify the events from seq `first` to `last`, by default all that exist now.

    Args:
        processes: how many to share the work among; each opens its own connection.
        sizes: return the Merkle roots over so many events; only together with `first` = 1.
    """
    end = last if last is not None else _newest()
    wanted = sorted({size for size in sizes if 0 < size <= end})
    if processes == 1 or end - first < processes:
        return _joined([_verify_part(first, end, wanted)], wanted)
    share = min(-(-(end - first + 1) // processes), LONGEST_PART)
    share = -(-share // BLOCK) * BLOCK  # whole blocks of the Merkle tree, so parts can be joined
    bounds = [(start, min(start + share - 1, end)) for start in range(first, end + 1, share)]
    with ProcessPoolExecutor(
        processes - 1, mp_context=_context(), initializer=begin_process
    ) as pool:
        given = [pool.submit(_verify_part, *each, wanted) for each in bounds]
        # This process takes from the end what no other one has begun; they need a moment to start.
        own = {
            at: _verify_part(*bounds[at], wanted)
            for at in reversed(range(len(bounds)))
            if given[at].cancel()
        }
        parts = [own[at] if at in own else given[at].result() for at in range(len(bounds))]
    return _joined(parts, wanted)


def _context() -> BaseContext:
    """A copy of this process where that is sound, because starting anew takes a second."""
    is_alone = threading.active_count() == 1
    return get_context("fork" if is_alone and sys.platform == "linux" else "spawn")


def verify_newest(count: int) -> Verification:
    """Verify the newest `count` events only: what a page can afford each time it is opened."""
    newest = _newest()
    return _verify_part(max(1, newest - count + 1), newest).result


def sensible_processes() -> int:
    """Two, where there are two processors and enough events to be worth starting them."""
    return 2 if (os.cpu_count() or 1) > 1 and _newest() > 50 * CHUNK else 1


def _newest() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(seq) FROM governance_auditevent")
        (newest,) = cursor.fetchone()
    return newest or 0


def _chunks(first: int, last: int) -> Iterator[list[tuple[Any, ...]]]:
    """The events in order, in one snapshot: what is written meanwhile is no false alarm."""
    with transaction.atomic():
        connection.ensure_connection()
        driver = cast("psycopg.Connection[tuple[Any, ...]]", connection.connection)
        # Binary results, which Django's own cursors do not offer: bodies come as bytes.
        with driver.cursor("audit_verification", binary=True) as cursor:
            cursor.execute(STATEMENT, [first, last])
            while rows := cursor.fetchmany(CHUNK):
                yield rows


def _verify_part(first: int, last: int, sizes: Sequence[int] = ()) -> _Part:
    """Verify one stretch, and its link to the event before it."""
    from_the_start = first <= 1
    found: list[Fault] = []
    count = events = last_seq = 0
    expected = first
    previous = GENESIS if from_the_start else _hash_of(first - 1)
    leaves = _Leaves(first, [size for size in sizes if size >= first])
    for rows in _chunks(BEFORE_THE_FIRST if from_the_start else first, last):
        hashes = []
        for seq, stored_hash, text, columns in rows:
            link = link_of(stored_hash, text, columns)
            if link:
                faults: list[Fault] = []
            else:
                link, faults = _looked_at_closely(seq)
            if seq < expected:
                faults.append(Fault(seq, "order", f"Event {seq:,} stands before the first one."))
            elif seq > expected:
                faults.append(Fault(seq, "gap", _missing(expected, seq - 1)))
            elif link != previous:
                faults.append(
                    Fault(seq, "link", f"Event {seq:,} does not link to the one before it.")
                )
            if faults:
                count += len(faults)
                found.extend(faults[: FAULTS_KEPT - len(found)])
            expected, previous, last_seq = max(seq + 1, expected), stored_hash, seq
            hashes.append(previous)
        events += len(rows)
        leaves.add(hashes)
    if expected <= last:
        count += 1
        found.append(Fault(last, "gap", _missing(expected, last)))
    result = Verification(
        first=first if events else 0,
        last=last_seq,
        events=events,
        head=previous if events else "",
        from_the_start=from_the_start,
        fault_count=count,
        faults=tuple(found[:FAULTS_KEPT]),
    )
    return _Part(result, leaves.tree.blocks, leaves.edges)


class _Leaves:
    """The Merkle tree over one stretch, as far as somebody asked for a root in or behind it.

    Events that are missing or stand elsewhere make other roots, which is what roots are for.
    """

    def __init__(self, first: int, sizes: list[int]) -> None:
        self.tree = Tree()
        self.edges: dict[int, list[bytes]] = {}
        self._before = first - 1
        self._sizes = iter(sizes)
        self._next = next(self._sizes, 0)

    def add(self, hashes: list[str]) -> None:
        if not self._next:
            return
        tree, before = self.tree, self._before
        entries = [_entry(text) for text in hashes]
        at = 0
        while at < len(entries) and self._next:
            left = self._next - before - tree.size  # leaves until the next root
            if tree.size % BLOCK == 0 and min(len(entries) - at, left) >= BLOCK:
                tree.append_block(block_root(entries[at : at + BLOCK]))
                at += BLOCK
            else:
                tree.append(entries[at])
                at += 1
            if before + tree.size == self._next:
                inside = (tree.size % BLOCK).bit_count()
                self.edges[self._next] = tree.edge[len(tree.edge) - inside :]
                self._next = next(self._sizes, 0)


def _entry(text: str) -> bytes:
    try:
        return bytes.fromhex(text[7:])
    except ValueError:
        return text.encode()  # no hash at all, so no root that was ever signed


def _missing(first: int, last: int) -> str:
    if first == last:
        return f"Event {first:,} is missing."
    return f"Events {first:,} to {last:,} are missing."


def _hash_of(seq: int) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT hash FROM governance_auditevent WHERE seq = %s", [seq])
        row = cursor.fetchone()
    return row[0] if row else f"event {seq} is missing"


def _looked_at_closely(seq: int) -> tuple[str, list[Fault]]:
    """The link of an event, and what is wrong within it, column by column."""
    driver = cast("psycopg.Connection[tuple[Any, ...]]", connection.connection)
    with driver.cursor("audit_event", binary=True) as cursor:
        row = cursor.execute(EVENT, [seq]).fetchone()
    if row is None:  # gone since it was read
        return "", [Fault(seq, "gap", _missing(seq, seq))]
    return row[1], faults_of(row)


def _joined(parts: list[_Part], sizes: Sequence[int]) -> Verification:
    """One result for neighbouring parts; each part checked its link to the part before it."""
    results = [part.result for part in parts]
    read = [result for result in results if result.events]
    faults = [fault for result in results for fault in result.faults]
    return Verification(
        first=read[0].first if read else 0,
        last=read[-1].last if read else 0,
        events=sum(result.events for result in results),
        head=read[-1].head if read else "",
        from_the_start=results[0].from_the_start,
        fault_count=sum(result.fault_count for result in results),
        faults=tuple(faults[:FAULTS_KEPT]),
        roots=_roots(parts, sizes) if results[0].from_the_start else {},
    )


def _roots(parts: list[_Part], sizes: Sequence[int]) -> dict[int, str]:
    """The root over the first so many events, from the blocks and edges of the parts."""
    blocks = [block for part in parts for block in part.blocks]
    edges = {size: edge for part in parts for size, edge in part.edges.items()}
    tree = Tree()
    found = {}
    for size in sizes:
        if size in edges and size // BLOCK <= len(blocks):
            while tree.size < size // BLOCK * BLOCK:
                tree.append_block(blocks[tree.size // BLOCK])
            found[size] = "sha256:" + root_of([*tree.edge, *edges[size]]).hex()
    return found
