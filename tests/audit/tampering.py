"""The twelve ways to tamper with the audit (I10), done past the triggers, and who notices.

`ROWS` is the table, `run` does one row and says which layers detected it; the report of
`make faults` and the tests both use them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.test.utils import override_settings

from governance import audit
from governance.audit import Actor, checkpoints, keys, sinks
from governance.audit.chain import GENESIS, event_hash
from governance.audit.checkpoint_models import Checkpoint, CheckpointDelivery
from governance.audit.checkpoint_verification import CheckpointResult, Comparison
from governance.audit.models import AuditEvent
from governance.audit.verification import Verification, verify
from governance.common.canonical import canonical

EVENTS = "governance_auditevent"
SIGNED = "governance_checkpoint"
DELIVERED = "governance_checkpointdelivery"
SYSTEM = Actor.system("tests")
LAYERS = ("trigger", "chain", "checkpoint", "sink")
AUTHORS = ("cs_app", "cs_owner")
NOBODY = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to tamper. `attempt` is the same in SQL, for the logins that have triggers."""

    name: str
    what: str
    act: Callable[[], None]
    attempt: str
    expected: tuple[str, ...]  # the layers, without the triggers, that must detect it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one row of the table."""

    row: Row
    refused_to: tuple[str, ...]  # logins that the grants or triggers refused it to
    detected_by: tuple[str, ...]  # chain, checkpoint, sink: once it was done past the triggers
    sentence: str  # of the first fault

    @property
    def layer(self) -> str:
        """The first layer that stopped or showed it."""
        return "trigger" if self.refused_to == AUTHORS else (*self.detected_by, "nothing")[0]


def write(count: int, about: str = "reason") -> None:
    """Write events of one transaction."""
    with audit.atomic():
        for number in range(1, count + 1):
            audit.record("demo.seeded", actor=SYSTEM, reason=f"{about} {number}", number=number)


def tamper(*statements: str) -> None:
    """Do what only the superuser of the database can: write past the triggers."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("SET LOCAL ROLE cs_app")


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def rehash(seq: int, reason: str = "another") -> None:
    """Give event `seq` another reason in body, column and hash."""
    event = AuditEvent.objects.get(seq=seq)
    body = canonical({**json.loads(event.body), "reason": reason})
    tamper(
        f"UPDATE {EVENTS} SET body = {literal(body)}, reason = {literal(reason)},"
        f" hash = '{event_hash(body)}' WHERE seq = {seq}"
    )


def rechain(first: int, reason: str = "never happened") -> None:
    """Rewrite event `first` and every link behind it: a chain that fits in itself again."""
    before = AuditEvent.objects.filter(seq=first - 1).first()
    prev = before.hash if before else GENESIS
    statements = []
    for event in AuditEvent.objects.filter(seq__gte=first).order_by("seq"):
        said = {**json.loads(event.body), "prev": prev}
        if event.seq == first:
            said["reason"] = reason
        body = canonical(said)
        statements.append(
            f"UPDATE {EVENTS} SET body = {literal(body)}, reason = {literal(said['reason'])},"
            f" prev = '{prev}', hash = '{event_hash(body)}' WHERE seq = {event.seq}"
        )
        prev = event_hash(body)
    tamper(*statements)


def rechain_with_a_new_key() -> None:
    """Rewrite everything, and replace the checkpoints and the key by new ones that fit."""
    rechain(1)
    tamper(f"DELETE FROM {DELIVERED}", f"DELETE FROM {SIGNED}")
    keys.key_file().unlink()
    keys.create_key(keys.key_file())
    checkpoints.make()
    sinks.deliver_due()


def insert_after(seq: int) -> None:
    """Slip a whole, well hashed event in, and move everything behind it on by one."""
    before = AuditEvent.objects.get(seq=seq)
    body = canonical(
        {**json.loads(before.body), "seq": seq + 1, "prev": before.hash, "event_id": NOBODY}
    )
    tamper(
        f"UPDATE {EVENTS} SET seq = -seq WHERE seq > {seq}",
        f"UPDATE {EVENTS} SET seq = 1 - seq WHERE seq < 0",
        _copied(seq, seq + 1, before.hash, body),
    )


def _copied(seq: int, as_seq: int, prev: str, body: str) -> str:
    """The statement that inserts event `seq` once more, with another number, link and body."""
    others = ", ".join(
        str(field.column)
        for field in AuditEvent._meta.fields
        if field.column not in ("seq", "prev", "hash", "body", "event_id")
    )
    return (
        f"INSERT INTO {EVENTS} (seq, prev, hash, body, event_id, {others})"
        f" SELECT {as_seq}, '{prev}', '{event_hash(body)}', {literal(body)}, '{NOBODY}', {others}"
        f" FROM {EVENTS} WHERE seq = {seq}"
    )


def swap(one: int, other: int) -> None:
    tamper(
        f"UPDATE {EVENTS} SET seq = -1 WHERE seq = {one}",
        f"UPDATE {EVENTS} SET seq = {one} WHERE seq = {other}",
        f"UPDATE {EVENTS} SET seq = {other} WHERE seq = -1",
    )


def duplicate(seq: int) -> None:
    """Write the number of an event a second time, which takes dropping the primary key."""
    event = AuditEvent.objects.get(seq=seq)
    body = canonical({**json.loads(event.body), "event_id": NOBODY})
    tamper(
        f"ALTER TABLE {EVENTS} DROP CONSTRAINT {EVENTS}_pkey", _copied(seq, seq, event.prev, body)
    )


def foreign() -> None:
    """Append an event that was whole and valid in another installation's chain."""
    last = AuditEvent.objects.latest("seq")
    elsewhere = "sha256:" + "7" * 64
    body = canonical(
        {**json.loads(last.body), "seq": last.seq + 1, "prev": elsewhere, "event_id": NOBODY}
    )
    tamper(_copied(last.seq, last.seq + 1, elsewhere, body))


def restore_an_old_backup() -> None:
    """Bring back the database as it was after its first checkpoint, and go on from there."""
    first = Checkpoint.objects.get(number=1)
    tamper(
        f"DELETE FROM {DELIVERED} WHERE checkpoint_id > 1",
        f"DELETE FROM {SIGNED} WHERE number > 1",
        f"DELETE FROM {EVENTS} WHERE seq > {first.last_seq}",
    )
    write(3, "after the restore")


NEXT = f"(SELECT max(seq) + 1 FROM {EVENTS})"
INSERT_ONE = (
    f"INSERT INTO {EVENTS} SELECT (jsonb_populate_record(e, jsonb_build_object("
    f"'seq', {{seq}}, 'event_id', '{NOBODY}', 'hash', 'sha256:7'))).* FROM {EVENTS} e"
    " WHERE seq = 4"
)
ROWS: tuple[Row, ...] = (
    Row(
        "edit body",
        "the stored text of one event is changed",
        lambda: tamper(
            f"UPDATE {EVENTS} SET body = replace(body, 'reason 4', 'reason 5') WHERE seq = 4"
        ),
        f"UPDATE {EVENTS} SET body = replace(body, 'reason 4', 'reason 5') WHERE seq = 4",
        ("chain",),
    ),
    Row(
        "edit a column",
        "what pages and searches show is changed, the hashed text is not",
        lambda: tamper(f"UPDATE {EVENTS} SET reason = 'x' WHERE seq = 4"),
        f"UPDATE {EVENTS} SET reason = 'x' WHERE seq = 4",
        ("chain",),
    ),
    Row(
        "delete middle",
        "two events in the middle are deleted",
        lambda: tamper(f"DELETE FROM {EVENTS} WHERE seq IN (4, 5)"),
        f"DELETE FROM {EVENTS} WHERE seq IN (4, 5)",
        ("chain", "checkpoint", "sink"),
    ),
    Row(
        "delete tail",
        "the newest events are deleted; what is left is a whole chain",
        lambda: tamper(f"DELETE FROM {EVENTS} WHERE seq > 6"),
        f"DELETE FROM {EVENTS} WHERE seq > 6",
        ("checkpoint", "sink"),
    ),
    Row(
        "insert",
        "a well hashed event is slipped in, the later ones are numbered anew",
        lambda: insert_after(4),
        INSERT_ONE.format(seq=0),
        ("chain", "checkpoint", "sink"),
    ),
    Row(
        "swap",
        "two events change places",
        lambda: swap(4, 6),
        f"UPDATE {EVENTS} SET seq = 10 - seq WHERE seq IN (4, 6)",
        ("chain", "checkpoint", "sink"),
    ),
    Row(
        "duplicate seq",
        "the primary key is dropped and one number written twice",
        lambda: duplicate(4),
        INSERT_ONE.format(seq=4),
        ("chain", "checkpoint", "sink"),
    ),
    Row(
        "re-chain the tail",
        "one event is changed and everything behind it hashed and linked again",
        lambda: rechain(5),
        f"UPDATE {EVENTS} SET hash = 'sha256:7' WHERE seq >= 5",
        ("checkpoint", "sink"),
    ),
    Row(
        "re-chain all with a new key",
        "all events, all checkpoints and the key file are replaced by ones that fit",
        rechain_with_a_new_key,
        f"DELETE FROM {SIGNED}",
        ("sink",),
    ),
    Row(
        "truncate",
        "events and checkpoints are emptied",
        lambda: tamper(f"TRUNCATE {EVENTS}, {DELIVERED}, {SIGNED}"),
        f"TRUNCATE {EVENTS}",
        ("sink",),
    ),
    Row(
        "restore an old backup",
        "the database goes back to its first checkpoint and work goes on from there",
        restore_an_old_backup,
        f"DELETE FROM {EVENTS} WHERE seq > 10",
        ("sink",),
    ),
    Row(
        "foreign event",
        "an event that is valid in another installation's chain is appended",
        foreign,
        INSERT_ONE.format(seq=NEXT),
        ("chain",),
    ),
)


@contextmanager
def installation(folder: Path) -> Iterator[None]:
    """An empty audit gets a key, events, two checkpoints that left for a folder, and a tail."""
    with override_settings(
        AUDIT_KEY_FILE=str(folder / "key.pem"),
        AUDIT_SINK_DIR=str(folder / "sink"),
        AUDIT_SINK_EMAIL=[],
    ):
        keys.create_key(keys.key_file())
        for _ in range(2):
            write(9)
            checkpoints.make()
        sinks.deliver_due()
        write(2, "after the last checkpoint")
        yield


def examine() -> tuple[Verification, CheckpointResult]:
    """What `manage.py audit_verify` does."""
    comparison = Comparison.gather()
    chain = verify(sizes=comparison.sizes)
    return chain, comparison.compare(chain)


def run(row: Row) -> Outcome:
    """Try one row with the two logins of the product, then do it past the triggers."""
    refused = tuple(login for login in AUTHORS if _is_refused(row.attempt, login))
    row.act()
    chain, compared = examine()
    faults = [*chain.faults, *compared.faults]
    kinds = {"chain" for _ in chain.faults} | {fault.kind for fault in compared.faults}
    return Outcome(
        row,
        refused,
        tuple(layer for layer in LAYERS if layer in kinds),
        faults[0].sentence if faults else "nothing was detected",
    )


def _is_refused(statement: str, login: str) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL ROLE {login}")
            cursor.execute(statement)
            transaction.set_rollback(True)
    except DatabaseError:
        return True
    return False


def mend() -> None:
    """Give the table its primary key back, which one of the moves dropped."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("SELECT count(*) FROM pg_constraint WHERE conname = %s", [f"{EVENTS}_pkey"])
        if not cursor.fetchone()[0]:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(f"DELETE FROM {EVENTS}")
            cursor.execute(f"ALTER TABLE {EVENTS} ADD CONSTRAINT {EVENTS}_pkey PRIMARY KEY (seq)")
        cursor.execute("SET LOCAL ROLE cs_app")


def concurrent_events(total: int, threads: int = 8) -> tuple[int, int, int]:
    """Write events from many threads while checkpoints are made and the audit is verified.

    Returns:
        events written, verifications done meanwhile and after, faults that they all reported.
    """
    together = threading.Barrier(threads + 1)
    errors: list[BaseException] = []
    done = threading.Event()
    verifications = faults = 0

    def writer(number: int) -> None:
        try:
            together.wait()
            for turn in range(number, total, threads):
                with audit.atomic():
                    audit.record("demo.seeded", actor=SYSTEM, reason=f"event {turn}")
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    workers = [threading.Thread(target=writer, args=(number,)) for number in range(threads)]
    before = AuditEvent.objects.count()
    for worker in workers:
        worker.start()
    together.wait()
    while not done.is_set():
        if not any(worker.is_alive() for worker in workers):
            done.set()
        checkpoints.make()
        sinks.deliver_due()
        chain, compared = examine()
        verifications += 1
        faults += chain.fault_count + compared.fault_count
        done.wait(0.2 if total < 10_000 else 5)
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    written = AuditEvent.objects.count() - before
    introduced = 1 if before == 0 and Checkpoint.objects.exists() else 0
    return written - introduced, verifications, faults


def undelivered() -> int:
    return CheckpointDelivery.objects.exclude(state="delivered").count()
