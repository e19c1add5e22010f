"""Audit events verified per second: hashes, links, columns against bodies, Merkle roots.

On a private PostgreSQL with events as the product writes them, in one process and in two; client
processes and their database processes share this machine's processors.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django
import psycopg

from bench._server import Private, manage, private

PROJECT = Path(__file__).resolve().parent.parent
EVENTS = 400_000
RUNS = 3
COLUMNS = (
    "seq", "event_id", "prev", "hash", "recorded_at", "occurred_at", "demo", "actor_type",
    "actor_id", "actor_label", "verb", "object_type", "object_id", "object_label",
    "object_digest", "workflow", "reason", "body",
)  # fmt: skip


def measure() -> Iterator[str]:
    """Write events, verify all of them several times, and say the median."""
    # Only a test's server lets its owner fill the table faster than the triggers allow.
    with private(durable=False) as made:
        yield from _measure(made)


def _measure(made: Private) -> Iterator[str]:
    environment = made.environment
    os.environ.update(environment)
    fill(made.servers.owner_database_url, EVENTS)
    started = time.perf_counter()
    manage(environment, "audit_checkpoint")
    yield f"a first checkpoint over {EVENTS:,} events: {time.perf_counter() - started:.1f} s"
    for processes in ("1", "2"):
        speeds = []
        for _ in range(RUNS):
            said = json.loads(
                manage(environment, "audit_verify", "--json", "--processes", processes)
            )
            if not said["intact"]:
                raise RuntimeError(f"the events were not intact: {said['sentence']}")
            speeds.append(said["events"] / said["seconds"])
        speeds.sort()
        yield (
            f"{speeds[RUNS // 2]:,.0f} events/s verified with {processes} process"
            f"{'es' if processes != '1' else ''} (median of {RUNS}, {speeds[0]:,.0f} to"
            f" {speeds[-1]:,.0f}; {EVENTS:,} events, columns compared with bodies)"
        )


def fill(owner_url: str, count: int) -> None:
    """Copy a whole chain into an empty table, past the triggers that check each event."""
    django.setup()  # reads the environment that was just prepared
    from governance.audit.chain import GENESIS, event_hash
    from governance.common.canonical import canonical

    names = ", ".join(COLUMNS)
    prev = GENESIS
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    with psycopg.connect(owner_url) as connection:
        connection.execute("SET session_replication_role = replica")
        with connection.cursor().copy(f"COPY governance_auditevent ({names}) FROM STDIN") as copy:
            for seq in range(1, count + 1):
                at = begin + timedelta(seconds=seq, microseconds=seq % 1_000_000)
                event_id = str(uuid.UUID(int=seq))
                body = _body(seq, prev, event_id, at)
                text = canonical(body)
                event = event_hash(text)
                actor, thing = body["actor"], body["object"]
                copy.write_row(
                    (
                        seq, event_id, prev, event, at, at, False, actor["type"], actor["id"],
                        actor["label"], body["verb"], thing["type"], thing["id"], thing["label"],
                        thing["digest"], body["workflow"], body["reason"], text,
                    )
                )  # fmt: skip
                prev = event
        connection.execute("SET session_replication_role = origin")
        connection.commit()
        connection.execute("ANALYZE governance_auditevent")


def _body(seq: int, prev: str, event_id: str, at: datetime) -> dict[str, Any]:
    """An event of about 760 bytes, which is what those of the demo have on average."""
    digest = "sha256:" + f"{seq:064x}"
    return {
        "v": 1, "seq": seq, "prev": prev, "event_id": event_id,
        "recorded_at": at.isoformat(), "occurred_at": at.isoformat(), "demo": False,
        "actor": {
            "type": "user", "id": str(seq % 40), "label": "Dana Whitfield (Head of AR)",
            "authenticated_by": "password 2026-01-01T00:00:00+00:00", "on_behalf_of": "",
        },
        "verb": "promotion.approved",
        "object": {
            "type": "promotion", "id": str(seq), "label": f"promotion {seq} of Collections copilot",
            "digest": digest,
        },
        "workflow": "collections-copilot",
        "reason": "The dispute rate stayed below the limit — see the report.",
        "before": "", "after": "", "references": {}, "details": {"round": 1, "share": 0.25},
    }  # fmt: skip
