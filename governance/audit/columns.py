"""One event against itself: does it fit its hash, and do its columns fit its body?

Every hash is computed here and every body is parsed here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec  # parses only what is compared, three times as fast as a whole parse

from governance.audit.chain import DOMAIN

# What the columns repeat from the body, in the order of the statement.
COLUMNS = (
    "seq", "prev", "event_id", "recorded_at", "occurred_at", "demo", "actor_type", "actor_id",
    "actor_label", "verb", "object_type", "object_id", "object_label", "object_digest", "workflow",
    "reason",
)  # fmt: skip
SEPARATOR, IN_A_BODY = "\x1f", rb"\u001f"
BEGIN_OF_HASH = hashlib.sha256(DOMAIN)  # copied for each event, which is cheaper than a new one


@dataclass(frozen=True, slots=True)
class Fault:
    """One place where the chain does not hold."""

    seq: int
    kind: str  # hash, body, column, link, gap, order
    sentence: str


class _Actor(msgspec.Struct, gc=False):
    type: str
    id: str
    label: str


class _Thing(msgspec.Struct, gc=False):
    type: str
    id: str
    label: str
    digest: str


class _Body(msgspec.Struct, gc=False):
    """What the columns repeat of a body; the rest is parsed too, and dropped."""

    seq: int
    prev: str
    event_id: str
    recorded_at: str
    occurred_at: str
    demo: bool
    actor: _Actor
    verb: str
    object: _Thing
    workflow: str
    reason: str


_parse = msgspec.json.Decoder(_Body).decode


def link_of(stored_hash: str, text: bytes, columns: str | None) -> str:
    """The link of an event that fits its hash and whose columns fit its body, or an empty text.

    The common case, fast. An empty text says no more than "look closely": so it is with a body
    that holds the separator, which could otherwise pass characters from one column to the next.
    """
    computed = BEGIN_OF_HASH.copy()
    computed.update(text)
    if stored_hash[7:] != computed.hexdigest() or stored_hash[:7] != "sha256:":
        return ""
    try:
        body = _parse(text)
    except msgspec.DecodeError:
        return ""
    actor, thing = body.actor, body.object
    recorded = occurred = _moment(body.recorded_at)
    if body.occurred_at != body.recorded_at:
        occurred = _moment(body.occurred_at)
    said = SEPARATOR.join((
        str(body.seq), body.prev, body.event_id, recorded, occurred,
        "true" if body.demo else "false", actor.type, actor.id, actor.label, body.verb,
        thing.type, thing.id, thing.label, thing.digest, body.workflow, body.reason,
    ))  # fmt: skip
    return body.prev if said == columns and IN_A_BODY not in text else ""


def _moment(text: str) -> str:
    """A body's time as PostgreSQL writes it, if it is written as the product does."""
    if text[-6:] != "+00:00":
        return text
    clock = text[11:-6]
    return f"{text[:10]} {clock.rstrip('0') if '.' in clock else clock}+00"


def faults_of(row: tuple[Any, ...]) -> list[Fault]:
    """What is wrong within one event: its hash, and its columns against its body."""
    seq, _, stored_hash, text = row[:4]
    faults: list[Fault] = []
    if stored_hash != "sha256:" + hashlib.sha256(DOMAIN + text).hexdigest():
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
    for name, in_body, in_column in zip(COLUMNS, said, (*row[:2], *row[4:]), strict=True):
        is_time = name in ("recorded_at", "occurred_at")
        if not (_same_moment(in_body, in_column) if is_time else in_body == in_column):
            faults.append(
                Fault(seq, "column", f"The column {name} of event {seq:,} differs from its body.")
            )
    return faults


def _same_moment(in_body: Any, in_column: str) -> bool:
    """Whether two texts are one moment: PostgreSQL and Python write it differently."""
    try:
        return datetime.fromisoformat(in_body) == datetime.fromisoformat(in_column)
    except (TypeError, ValueError):
        return False
