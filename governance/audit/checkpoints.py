"""Making checkpoints, and proving that one event is under the root of one of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from governance.audit import keys, merkle, sinks
from governance.audit.chain import GENESIS, atomic, record
from governance.audit.checkpoint_models import Checkpoint
from governance.audit.merkle import BLOCK, HASH_BYTES, Tree, verify_inclusion
from governance.audit.models import Actor, AuditEvent
from governance.common.canonical import canonical, digest_text
from governance.common.errors import StateConflictError
from governance.common.time import true_now

__all__ = (
    "InclusionProof", "covering", "inclusion_proof", "inclusion_proofs", "make", "make_if_due",
    "newest", "verify_inclusion",
)  # fmt: skip

TYPE = "countersign.checkpoint.v1"
CHECKPOINT_LOCK = 0x636865636B70  # "checkp": one checkpoint is made at a time
ACTOR = Actor.system("audit")
FETCH = 10_000  # hashes


def newest() -> Checkpoint | None:
    return Checkpoint.objects.order_by("-number").first()


def covering(seq: int) -> Checkpoint | None:
    """Return the first checkpoint that covers this event; None while there is none."""
    return Checkpoint.objects.filter(last_seq__gte=seq).order_by("last_seq").first()


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That one event is under the root of a signed checkpoint (an RFC 6962 audit path)."""

    seq: int
    event_hash: str  # sha256:…
    checkpoint: int  # its number
    tree_size: int
    root: str  # sha256:…
    path: tuple[str, ...]  # hex, siblings from the leaf up

    @property
    def leaf_index(self) -> int:
        return self.seq - 1

    @property
    def holds(self) -> bool:
        """Whether the path leads from the event's hash to the root."""
        return verify_inclusion(
            raw(self.event_hash),
            self.leaf_index,
            self.tree_size,
            [bytes.fromhex(sibling) for sibling in self.path],
            raw(self.root),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "seq": self.seq, "leaf_index": self.leaf_index, "event_hash": self.event_hash,
            "checkpoint": self.checkpoint, "tree_size": self.tree_size, "root": self.root,
            "path": list(self.path),
        }  # fmt: skip


def inclusion_proof(seq: int) -> InclusionProof | None:
    """Return the proof for one event, or None when no checkpoint covers it yet."""
    checkpoint = covering(seq)
    return inclusion_proofs([seq], checkpoint)[0] if checkpoint and seq > 0 else None


def inclusion_proofs(seqs: Iterable[int], checkpoint: Checkpoint) -> list[InclusionProof]:
    """Return the proofs of these events, all against one checkpoint that covers them.

    Reads the event hashes of the blocks that the events are in and of the last one, and one hash
    per block of 1,024 events: not the whole chain.

    Raises:
        ValueError: an event is not covered, or is missing.
    """
    size = checkpoint.tree_size
    blocks = _block_roots(checkpoint)
    tail = _leaves(len(blocks) * BLOCK, size)
    tops = [*blocks, merkle.root(tail)] if tail else blocks
    read = {len(blocks): tail}
    proofs = []
    for seq in seqs:
        index = seq - 1
        if not 0 <= index < size:
            raise ValueError(f"event {seq} is not covered by checkpoint {checkpoint.number}")
        at = index // BLOCK
        if at not in read:
            read[at] = _leaves(at * BLOCK, min((at + 1) * BLOCK, size))
        entries = read[at]
        inside = merkle.audit_path([merkle.leaf_hash(entry) for entry in entries], index % BLOCK)
        path = [*inside, *merkle.audit_path(tops, at)]
        proofs.append(
            InclusionProof(
                seq=seq,
                event_hash="sha256:" + entries[index % BLOCK].hex(),
                checkpoint=checkpoint.number,
                tree_size=size,
                root=checkpoint.root,
                path=tuple(sibling.hex() for sibling in path),
            )
        )
    return proofs


def raw(digest: str) -> bytes:
    """Return the 32 bytes of `sha256:<64 hex>`."""
    return bytes.fromhex(digest.removeprefix("sha256:"))


def split(joined: bytes) -> list[bytes]:
    """Return the hashes that stand in a row of bytes."""
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]


def _block_roots(checkpoint: Checkpoint) -> list[bytes]:
    """Return the roots of all whole blocks that this checkpoint covers, in order."""
    rows = Checkpoint.objects.filter(number__lte=checkpoint.number).order_by("number")
    return split(b"".join(bytes(row) for row in rows.values_list("blocks", flat=True)))


def _leaves(start: int, end: int) -> list[bytes]:
    """Return the raw event hashes of the leaves from `start` up to, not with, `end`."""
    found = [
        raw(event)
        for event in AuditEvent.objects.filter(seq__gt=start, seq__lte=end)
        .order_by("seq")
        .values_list("hash", flat=True)
    ]
    if len(found) != end - start:
        raise ValueError(f"events are missing between {start + 1} and {end}")
    return found


def make_if_due() -> Checkpoint | None:
    """Make a checkpoint once enough events or enough time went by; the very first at once."""
    waiting, oldest, moment = uncovered()
    if not waiting or oldest is None:
        return None
    patience = timedelta(minutes=settings.AUDIT_CHECKPOINT_MINUTES)
    is_early = waiting < settings.AUDIT_CHECKPOINT_EVENTS and moment - oldest < patience
    return None if is_early and Checkpoint.objects.exists() else make()


def uncovered() -> tuple[int, datetime | None, datetime]:
    """Return how many events no checkpoint covers, since when, and the time now."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT max(seq) FROM governance_auditevent) - c.last,"
            " (SELECT recorded_at FROM governance_auditevent WHERE seq > c.last"
            "  ORDER BY seq LIMIT 1), now()"
            " FROM (SELECT COALESCE(max(last_seq), 0) AS last FROM governance_checkpoint) AS c"
        )
        waiting, oldest, moment = cursor.fetchone()
    return max(waiting or 0, 0), oldest, moment


def make() -> Checkpoint | None:
    """Sign the root over every event until now; None when no event is new.

    Costs as much as there are new events, however long the chain is.

    Raises:
        KeyProblemError: there is no key to sign with.
        StateConflictError: the new events do not follow the last checkpoint, so they are not
            signed.
    """
    key = keys.signing_key()
    public = key.public_key()
    _introduce(keys.key_id(public))
    with transaction.atomic(durable=True):
        _take_turn()
        before = newest()
        tree = Tree(before.tree_size, split(bytes(before.edge))) if before else Tree()
        first = tree.size + 1
        head = before.head if before else GENESIS
        for seq, prev, event_hash in _events_after(tree.size):
            if seq != tree.size + 1 or prev != head:
                raise StateConflictError(
                    f"Event {seq:,} does not follow event {tree.size:,}, so nothing was signed."
                    " Run audit_verify."
                )
            tree.append(raw(event_hash))
            head = event_hash
        if tree.size < first:
            return None
        made_at = true_now()
        number = before.number + 1 if before else 1
        previous = before.digest if before else GENESIS
        root = "sha256:" + tree.root.hex()
        text = canonical(
            {
                "type": TYPE, "number": number, "first_seq": first, "last_seq": tree.size,
                "tree_size": tree.size, "root": root, "head": head,
                "made_at": made_at.isoformat(), "previous": previous,
                "key_id": keys.key_id(public),
            }
        )  # fmt: skip
        checkpoint = Checkpoint.objects.create(
            number=number,
            first_seq=first,
            last_seq=tree.size,
            tree_size=tree.size,
            root=root,
            head=head,
            made_at=made_at,
            previous=previous,
            digest=digest_text(text),
            text=text,
            signature=keys.sign(key, text),
            key_id=keys.key_id(public),
            public_key=keys.public_pem(public),
            edge=b"".join(tree.edge),
            blocks=b"".join(tree.blocks),
        )
        sinks.plan(checkpoint)
    return checkpoint


def _take_turn() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CHECKPOINT_LOCK])


def _introduce(key_id: str) -> None:
    """Write into the chain that this key signs from now on, once."""
    known = AuditEvent.objects.filter(verb="audit.key_introduced", object_digest=key_id)
    if known.exists():
        return
    with atomic():
        _take_turn()
        if not known.exists():
            record("audit.key_introduced", actor=ACTOR, digest=key_id, label=key_id[:23])


def _events_after(seq: int) -> Iterator[tuple[int, str, str]]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(
            "SELECT seq, prev, hash FROM governance_auditevent WHERE seq > %s ORDER BY seq", [seq]
        )
        while rows := cursor.fetchmany(FETCH):
            yield from rows


def read_text(text: str) -> dict[str, Any]:
    """Return what a checkpoint's signed text says.

    Raises:
        ValueError: it is not the text of a checkpoint.
    """
    said = json.loads(text)
    if not isinstance(said, dict) or said.get("type") != TYPE:
        raise ValueError("this is not a checkpoint")
    numbers = ("number", "first_seq", "last_seq", "tree_size")
    texts = ("root", "head", "made_at", "previous", "key_id")
    if not all(type(said.get(name)) is int for name in numbers) or not all(
        isinstance(said.get(name), str) for name in texts
    ):
        raise ValueError("this checkpoint is not complete")
    return said
