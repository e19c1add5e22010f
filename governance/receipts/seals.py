"""Sealing run receipts: once a minute what was stored since, one audit event per workflow."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django.db import connection

from governance import audit
from governance.audit import Actor
from governance.audit.alarms import Alarm
from governance.audit.merkle import root
from governance.common.time import true_now
from governance.receipts.seal_models import ReceiptPending, ReceiptSeal
from governance.workflows.models import Workflow

ACTOR = Actor.system("receipts")
LEAF_BYTES = 68
KEY_BYTES = 36  # of them: the day and the digest of the identity
EPOCH = date(2000, 1, 1)
MOST_LEAVES = 100_000  # receipts per seal, after a long pause
SEAL_LOCK = 0x7365616C  # "seal": one seal is made at a time
LATE = timedelta(minutes=10)


def seal_waiting(workflow_id: int, before: datetime) -> ReceiptSeal | None:
    """Seal what was stored before this moment, up to a limit; None when nothing waits.

    Costs as much as there are new receipts. Safe to repeat: what is sealed no longer waits, and
    what was committed late waits for the next seal.
    """
    with audit.atomic():
        _take_turn()
        rows = _waiting_rows(workflow_id, before)
        if not rows:
            return None
        leaves = sorted(_newest_of_each(rows))
        newest = ReceiptSeal.objects.order_by("-number").values_list("number", flat=True).first()
        seal = ReceiptSeal.objects.create(
            number=(newest or 0) + 1,
            workflow_id=workflow_id,
            sealed_at=true_now(),
            first_at=min(row.noted_at for row in rows),
            last_at=max(row.noted_at for row in rows),
            count=len(leaves),
            root="sha256:" + root(leaves).hex(),
            days=sorted({day_of(leaf) for leaf in leaves}),
            leaves=b"".join(leaves),
        )
        ReceiptPending.objects.filter(pk__in=[row.pk for row in rows]).delete()
        slug = Workflow.objects.filter(pk=workflow_id).values_list("slug", flat=True).first() or ""
        # An event of the installation: a minute's seal would bury a workflow's own history.
        audit.record(
            "receipts.sealed", seal, actor=ACTOR, digest=seal.root,
            label=f"{slug}: {seal.count:,} receipt{'s' if seal.count != 1 else ''}",
            workflow_slug=slug, count=seal.count,
            first_at=seal.first_at, last_at=seal.last_at,
            first_day=seal.days[0].isoformat(), last_day=seal.days[-1].isoformat(),
        )  # fmt: skip
    return seal


def seal_everything() -> int:
    """Seal what every workflow stored before this minute began; returns how many seals."""
    before = true_now().replace(second=0, microsecond=0)
    made = 0
    waiting = ReceiptPending.objects.filter(noted_at__lt=before)
    for workflow_id in list(waiting.values_list("workflow_id", flat=True).distinct()):
        while seal_waiting(workflow_id, before) is not None:
            made += 1
    return made


def alarms() -> list[Alarm]:
    """Receipts that wait too long for their seal: then no worker runs."""
    oldest = ReceiptPending.objects.order_by("pk").values_list("noted_at", flat=True).first()
    if oldest is None or true_now() - oldest < LATE:
        return []
    said = f"Receipts have waited for their seal since {oldest:%Y-%m-%d %H:%M} UTC."
    return [Alarm("unsealed", f"{said} Is a worker running?", oldest)]


def day_of(leaf: bytes) -> date:
    return EPOCH + timedelta(days=int.from_bytes(leaf[:4], "big", signed=True))


def leaves_of(joined: bytes) -> list[bytes]:
    """Return the leaves that stand in a row of bytes."""
    return [joined[at : at + LEAF_BYTES] for at in range(0, len(joined), LEAF_BYTES)]


def _take_turn() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SEAL_LOCK])


def _waiting_rows(workflow_id: int, before: datetime) -> list[ReceiptPending]:
    found = []
    leaves = 0
    rows = ReceiptPending.objects.filter(workflow_id=workflow_id, noted_at__lt=before)
    for row in rows.order_by("pk").iterator(chunk_size=500):
        found.append(row)
        leaves += len(row.leaves) // LEAF_BYTES
        if leaves >= MOST_LEAVES:
            break
    return found


def _newest_of_each(rows: list[ReceiptPending]) -> list[bytes]:
    """The last leaf of each receipt: one that was corrected within the minute counts once.

    A correction waits for the statement that stored the receipt, so its row is a later one.
    """
    newest: dict[bytes, bytes] = {}
    for row in rows:
        for leaf in leaves_of(bytes(row.leaves)):
            newest[leaf[:KEY_BYTES]] = leaf
    return list(newest.values())
