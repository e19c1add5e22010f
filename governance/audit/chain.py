"""Writing to the audit chain: `record()` queues, the outermost `audit.atomic()` writes.

The events are written as the last statements of the transaction, under the chain's lock. A lock
taken in the middle of a transaction deadlocks with row locks; taken last, it is held only for the
commit.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from contextlib import ContextDecorator
from dataclasses import dataclass, field
from datetime import datetime
from threading import local
from types import TracebackType
from typing import Any, Protocol

from django.db import connection, models, transaction

from governance.audit.models import Actor, AuditEvent
from governance.audit.verbs import VERBS
from governance.common.canonical import canonical
from governance.common.failpoints import reach
from governance.common.time import is_story, now, true_now

DOMAIN = b"countersign.audit.v1\0"
GENESIS = "sha256:" + "0" * 64
CHAIN_LOCK = 0x636F756E74657273  # "counters": one advisory lock for one chain
COLUMNS = (
    "actor_type", "actor_id", "actor_label", "verb", "object_type", "object_id", "object_label",
    "object_digest", "workflow", "reason", "demo", "prev", "seq",
)  # fmt: skip


class HasActor(Protocol):
    def as_actor(self) -> Actor: ...


@dataclass(slots=True)
class _Pending:
    """The events of one `atomic()` level that have not been written yet."""

    events: list[dict[str, Any]] = field(default_factory=list)


_state = local()


def _levels() -> list[_Pending]:
    if not hasattr(_state, "levels"):
        _state.levels = []
    return _state.levels  # type: ignore[no-any-return]


def event_hash(body: str) -> str:
    """Return the hash of one event, over its body exactly as stored."""
    return "sha256:" + hashlib.sha256(DOMAIN + body.encode()).hexdigest()


class atomic(ContextDecorator):  # noqa: N801 - reads like transaction.atomic
    """A transaction whose queued audit events are written as its last statements.

    Nested levels are savepoints: when one fails, its events vanish with its changes.
    """

    def __init__(self) -> None:
        self._transactions: list[transaction.Atomic] = []

    def _recreate_cm(self) -> atomic:
        return atomic()

    def __enter__(self) -> None:
        levels = _levels()
        inner = transaction.atomic(durable=not levels)
        inner.__enter__()
        self._transactions.append(inner)
        levels.append(_Pending())

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        levels = _levels()
        pending = levels.pop()
        inner = self._transactions.pop()
        if exc_type is None:
            try:
                if levels:
                    levels[-1].events.extend(pending.events)
                elif pending.events:
                    _write(pending.events)
                    reach("before commit")
            except BaseException as error:
                inner.__exit__(type(error), error, error.__traceback__)
                raise
        inner.__exit__(exc_type, exc, traceback)
        if exc_type is None and not levels:
            reach("after commit")


def record(
    verb: str,
    obj: models.Model | None = None,
    *,
    actor: Actor | HasActor,
    workflow: str = "",
    reason: str = "",
    digest: str = "",
    before: str = "",
    after: str = "",
    on_behalf_of: str = "",
    references: Mapping[str, str] | None = None,
    label: str = "",
    **details: Any,
) -> None:
    """Queue one event; the outermost `audit.atomic()` writes it with the change itself.

    Args:
        verb: one of `audit.verbs.VERBS`.
        obj: what it was done to; its `pk` and `str()` are kept as text.
        workflow: the slug of the workflow it belongs to, empty for the installation.
        digest, before, after: digests of the object, and of what changed.
        details: further facts, JSON values only.

    Raises:
        RuntimeError: outside `audit.atomic()`.
        KeyError: the verb is not registered.
    """
    levels = _levels()
    if not levels:
        raise RuntimeError(f"record({verb!r}) outside audit.atomic(): it could be lost")
    if verb not in VERBS:
        raise KeyError(f"{verb!r} is not registered in governance/audit/verbs.py")
    who = actor if isinstance(actor, Actor) else actor.as_actor()
    levels[-1].events.append(
        {
            "actor": {
                "type": who.type,
                "id": who.id,
                "label": who.label,
                "authenticated_by": who.authenticated_by,
                "on_behalf_of": on_behalf_of,
            },
            "verb": verb,
            "object": {
                "type": obj._meta.model_name if obj is not None else "",
                "id": str(obj.pk) if obj is not None else "",
                "label": (label or (str(obj) if obj is not None else ""))[:300],
                "digest": digest,
            },
            "workflow": workflow,
            "reason": _storable(reason),
            "before": before,
            "after": after,
            "references": dict(references or {}),
            "details": details,
            "occurred_at": now(),
            "demo": is_story(),
        }
    )


def _storable(text: str) -> str:
    """Drop what PostgreSQL's text cannot hold, so that the hash is over what is stored."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _clean(value: Any) -> Any:
    """Make `value` canonical: times as ISO text, other rich types as text."""
    if isinstance(value, str):
        return _storable(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return str(value)


def _write(events: list[dict[str, Any]]) -> None:
    """Chain and insert the events of one transaction."""
    recorded_at = true_now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CHAIN_LOCK])
        cursor.execute(
            f"SELECT seq, hash FROM {AuditEvent._meta.db_table} ORDER BY seq DESC LIMIT 1"  # noqa: S608
        )
        seq, prev = cursor.fetchone() or (0, GENESIS)
    rows = []
    for event in events:
        seq += 1
        event_id = uuid.uuid4()
        occurred_at = event["occurred_at"]
        body = canonical(
            {
                "v": 1,
                "seq": seq,
                "prev": prev,
                "event_id": str(event_id),
                "recorded_at": recorded_at.isoformat(),
                **_clean(event),
            }
        )
        row = AuditEvent(
            seq=seq,
            event_id=event_id,
            prev=prev,
            hash=event_hash(body),
            recorded_at=recorded_at,
            occurred_at=occurred_at,
            demo=event["demo"],
            actor_type=event["actor"]["type"],
            actor_id=_storable(event["actor"]["id"]),
            actor_label=_storable(event["actor"]["label"]),
            verb=event["verb"],
            object_type=event["object"]["type"],
            object_id=_storable(event["object"]["id"]),
            object_label=_storable(event["object"]["label"]),
            object_digest=event["object"]["digest"],
            workflow=event["workflow"],
            reason=event["reason"],
            body=body,
        )
        rows.append(row)
        prev = row.hash
    AuditEvent.objects.bulk_create(rows)
    reach("after the audit row")
