"""Push mode: a pipeline that cannot ask is told of every live change by a signed webhook.

The change writes a delivery and a job in its own transaction, so a rollback waits for nobody. A
worker sends it, again and again until it arrives or a newer change takes its place. Whether the
pipeline really runs the release only its receipts say.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from governance import audit
from governance.common import outbound, secret_references
from governance.common.errors import GovernanceError, InvalidInputError, StateConflictError
from governance.common.time import now, true_now
from governance.jobs.kinds import job_kind
from governance.jobs.services import Claim, enqueue
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.releases.models import LiveRelease
from governance.rollouts import rules
from governance.rollouts.live import lock_workflow, on_change
from governance.rollouts.models import LiveChange
from governance.rollouts.push_models import PushDelivery
from governance.workflows.models import Workflow

State = PushDelivery.State
KIND = "rollouts.push"
SECONDS = 10.0
MOST_BYTES = 64 * 1024  # of the answer, which nobody reads
AGAIN_AFTER = timedelta(minutes=10)
TRIED_FOR = timedelta(days=3)
SILENT_AFTER = timedelta(minutes=15)
WATCHED_FOR = timedelta(hours=24)
LEASE = timedelta(seconds=90)

register_rule(
    "workflow.set_mode",
    lambda user, workflow: user.role == User.Role.ADMIN or user.pk == rules.kpi_owner(workflow).pk,
    "Only the KPI owner or an administrator says how a workflow runs its releases.",
)


class NotDeliveredError(GovernanceError):
    """The webhook did not take it. The job tries again."""

    status = 502


@audit.atomic()
def set_mode(
    workflow: Workflow,
    *,
    actor: User,
    mode: str,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
    push_url: str = "",
    push_secret_ref: str = "",
) -> Workflow:
    """Say how a workflow runs its releases; in push mode the pipeline is told at once.

    Raises:
        InvalidInputError: an address that is not asked, or a reference that is none.
    """
    workflow = lock_workflow(workflow.pk)
    require(actor, "workflow.set_mode", workflow)
    rules.require_fresh_login(authenticated_at)
    reason = rules.require_reason(reason)
    if mode not in Workflow.Mode.values:
        raise InvalidInputError("Choose pull, push or observe.")
    host = ""
    if mode == Workflow.Mode.PUSH:
        host = outbound.check_url(push_url, allowed=settings.OUTBOUND_ALLOWED).origin
        secret_references.check_reference(push_secret_ref, folders=settings.SECRET_FOLDERS)
    else:
        push_url = push_secret_ref = ""
    before = workflow.mode
    if (before, workflow.push_url, workflow.push_secret_ref) == (mode, push_url, push_secret_ref):
        raise StateConflictError("It is set like that already.")
    workflow.mode, workflow.push_url, workflow.push_secret_ref = mode, push_url, push_secret_ref
    workflow.save(update_fields=["mode", "push_url", "push_secret_ref"])
    # Path and query may hold what only the pipeline should know, so they stay out of the record.
    audit.record(
        "workflow.mode_changed", workflow, actor=actor, workflow=workflow.slug, reason=reason,
        before=before, after=mode, origin=host, secret=push_secret_ref,
        authenticated_by=authenticated_by,
    )  # fmt: skip
    PushDelivery.objects.filter(workflow=workflow, state=State.ASKED).update(state=State.SUPERSEDED)
    newest = LiveChange.objects.filter(workflow=workflow).order_by("-seq").first()
    if mode == Workflow.Mode.PUSH and newest is not None:
        _tell(newest)
    return workflow


@on_change
def tell_pipeline(change: LiveChange) -> None:
    """Inside the transaction of every live change."""
    if change.workflow.mode == Workflow.Mode.PUSH:
        _tell(change)


def _tell(change: LiveChange) -> None:
    moment = now()
    PushDelivery.objects.filter(workflow=change.workflow_id, state=State.ASKED).exclude(
        change=change
    ).update(state=State.SUPERSEDED)
    delivery, _ = PushDelivery.objects.update_or_create(
        change=change,
        defaults={
            "workflow": change.workflow, "state": State.ASKED, "attempts": 0, "last_status": None,
            "last_error": "", "asked_at": moment, "delivered_at": None,
        },
    )  # fmt: skip
    _queue(delivery, moment)


def _queue(delivery: PushDelivery, at: datetime, run_at: datetime | None = None) -> None:
    enqueue(
        KIND, f"delivery {delivery.pk} {at.isoformat()}",
        {"delivery": delivery.pk, "workflow": delivery.workflow.slug}, run_at=run_at,
    )  # fmt: skip


def _try_later(payload: dict[str, Any], slot: str, error: str) -> None:
    """One job gives up after a minute; the pipeline may be away for longer."""
    delivery = PushDelivery.objects.select_related("workflow").get(pk=payload["delivery"])
    if delivery.state != State.ASKED:
        return
    moment = true_now()
    if moment - delivery.asked_at > TRIED_FOR:
        PushDelivery.objects.filter(pk=delivery.pk, state=State.ASKED).update(state=State.FAILED)
        return
    _queue(delivery, moment, moment + AGAIN_AFTER)


@job_kind(KIND, lease=LEASE, on_failed=_try_later)
def deliver(claim: Claim) -> None:
    """Send one change, unless a newer one exists. Sent twice it is still one: it has a key."""
    delivery = (
        PushDelivery.objects.select_related("workflow", "change")
        .filter(pk=claim.payload["delivery"])
        .first()
    )
    if delivery is None or delivery.state != State.ASKED:
        return
    workflow, change = delivery.workflow, delivery.change
    live = LiveRelease.objects.get(workflow=workflow)
    mine = PushDelivery.objects.filter(pk=delivery.pk, state=State.ASKED)
    if live.seq != change.seq or workflow.mode != Workflow.Mode.PUSH:
        mine.update(state=State.SUPERSEDED)
        return
    status: int | None = None
    try:
        status = _send(workflow, change, live)
        error = "" if 200 <= status < 300 else f"It answered {status}."
    except GovernanceError as refusal:
        error = str(refusal)
    mine.update(
        attempts=delivery.attempts + 1,
        last_status=status,
        last_error=error[:500],
        **({} if error else {"state": State.DELIVERED, "delivered_at": true_now()}),
    )
    if error:
        raise NotDeliveredError(error)


def _send(workflow: Workflow, change: LiveChange, live: LiveRelease) -> int:
    secret = secret_references.resolve(workflow.push_secret_ref, folders=settings.SECRET_FOLDERS)
    sent_at = datetime.now(UTC)
    body = json.dumps(body_of(workflow, change, live, sent_at)).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "countersign",
        "Idempotency-Key": f"{workflow.slug}:{change.seq}",
        "Countersign-Signature": signature_of(body, secret, int(sent_at.timestamp())),
    }
    return outbound.request(
        "POST", workflow.push_url, body=body, headers=headers, allowed=settings.OUTBOUND_ALLOWED,
        seconds=SECONDS, most_bytes=MOST_BYTES,
    ).status  # fmt: skip


def body_of(
    workflow: Workflow, change: LiveChange, live: LiveRelease, sent_at: datetime
) -> dict[str, Any]:
    """What the pipeline is told; the same fields as OFREP's answer where they mean the same."""
    off = live.switched_off
    release = "" if off else live.release_id
    pilot = None
    if live.pilot_release_id is not None and not off:
        pilot = {
            "release": live.pilot_release_id,
            "share": live.pilot_share,
            "salt": live.pilot_salt,
            "authority": live.pilot_authority or workflow.authority,
            "content_url": f"/api/v1/releases/{live.pilot_release_id}",
        }
    return {
        "workflow": workflow.slug,
        "seq": change.seq,
        "release": release,
        "stage": "switched_off" if off else live.stage,
        "authority": "read_only" if off else workflow.authority,
        "cause": change.cause,
        "pilot": pilot,
        "content_url": f"/api/v1/releases/{release}" if release else "",
        "changed_at": change.changed_at.astimezone(UTC).isoformat(),
        "sent_at": sent_at.isoformat(),
    }


def signature_of(body: bytes, secret: bytes, timestamp: int) -> str:
    """`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 over "<t>.<body>"."""
    signed = hmac.new(secret, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={signed}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one change has come at the pipeline. Only receipts say that it runs.

    `state`: asked, delivered, confirmed, differs, silent, overtaken, superseded or failed.
    """

    delivery: PushDelivery
    state: str
    confirmed_at: datetime | None = None  # start of the first run on what was asked for
    runs: int = 0  # runs on it, since it was asked
    others: int = 0  # runs on something else, since it was delivered

    @property
    def sentence(self) -> str:
        count = self.delivery.attempts
        tries = f"{count} {'try' if count == 1 else 'tries'}"
        if self.state == "asked":
            why = f" {self.delivery.last_error}" if self.delivery.last_error else ""
            return f"Asked, not delivered yet after {tries}.{why}"
        return {
            "delivered": "The pipeline took the message. No run receipt says yet what it runs.",
            "confirmed": f"Confirmed by {self.runs} run receipts.",
            "differs": f"{self.others} runs since then were on something else.",
            "silent": "The pipeline took the message, and has sent no run receipt since.",
            "overtaken": "Delivered. A newer change came before any run receipt.",
            "superseded": "A newer change took its place before it was delivered.",
            "failed": f"Given up after {tries}. {self.delivery.last_error}".rstrip(),
        }[self.state]


def progress(delivery: PushDelivery, at: datetime | None = None) -> Progress:
    """Compare what was asked with the receipts of the day after, as it stands now or `at`."""
    if delivery.state in (State.SUPERSEDED, State.FAILED):
        return Progress(delivery, str(delivery.state))
    change, moment = delivery.change, at or now()
    expected = [] if change.switched_off else [change.to_release_id, change.pilot_release_id]
    reached = delivery.delivered_at or moment
    until = min(delivery.asked_at + WATCHED_FOR, moment)
    later = LiveChange.objects.filter(workflow=delivery.workflow_id, seq=change.seq + 1).first()
    if later is not None:
        until = min(until, later.changed_at)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(started_at) FILTER (WHERE release_digest = ANY (%(expected)s)),"
            " count(*) FILTER (WHERE release_digest = ANY (%(expected)s)),"
            " count(*) FILTER (WHERE NOT release_digest = ANY (%(expected)s)"
            " AND started_at > %(reached)s)"
            " FROM governance_receipt WHERE workflow_id = %(workflow)s"
            " AND day BETWEEN %(first)s AND %(last)s"
            " AND started_at BETWEEN %(asked)s AND %(until)s",
            {
                "expected": [digest for digest in expected if digest is not None],
                "reached": reached, "workflow": delivery.workflow_id,
                "first": delivery.asked_at.date(), "last": until.date(),
                "asked": delivery.asked_at, "until": until,
            },
        )  # fmt: skip
        confirmed_at, runs, others = cursor.fetchone()
    if delivery.state == State.ASKED:
        state = "asked"
    elif others:
        state = "differs"
    elif runs:
        state = "confirmed"
    elif later is not None and later.changed_at - reached <= SILENT_AFTER:
        state = "overtaken"
    else:
        state = "silent" if moment - reached > SILENT_AFTER else "delivered"
    return Progress(delivery, state, confirmed_at, runs, others)
