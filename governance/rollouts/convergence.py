"""Proof that a rollback arrived: what was served, and what the receipts say since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Max, Q

from governance.common.time import now
from governance.people.models import ApiToken
from governance.receipts.models import Receipt
from governance.releases.models import LiveRelease
from governance.rollouts.models import LiveChange, Rollback
from governance.rollouts.recovery_models import Convergence

SENDERS_OF = timedelta(hours=24)  # who sent receipts in this time before counts as an application
WATCHED_FOR = timedelta(hours=24)
NAMED_FOR = timedelta(days=7)  # who fell silent before that is still named, and not waited for


def confirm_served(rollback: Rollback, clicked_at: datetime) -> Convergence | None:
    """After the commit, read the row that serving reads, and keep when it named the target.

    Returns:
        None when something else serves by now.
    """
    found = Convergence.objects.filter(rollback=rollback).first()
    if found is not None:
        return found
    live = LiveRelease.objects.get(workflow=rollback.workflow)
    if live.release_id != rollback.to_release_id:
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (served_at,) = cursor.fetchone()
    return Convergence.objects.create(
        rollback=rollback, clicked_at=min(clicked_at, served_at), served_at=served_at
    )


@dataclass(frozen=True, slots=True)
class Application:
    """One sender of receipts and what it has run since the rollback was served."""

    name: str
    on_target: int  # runs that started after, on the target
    on_bad: int  # runs that started after, on the release that was rolled back
    last_at: datetime | None  # its newest run since, of any release
    target_at: datetime | None = None  # its newest run since on the target
    bad_at: datetime | None = None  # its newest run since on the bad release
    first_target_at: datetime | None = None

    @property
    def state(self) -> str:
        """What its newest run says: two processes of one sender may disagree for a moment."""
        if self.bad_at is not None and (self.target_at is None or self.bad_at > self.target_at):
            return "wrong"
        return "confirmed" if self.on_target else "silent"


@dataclass(frozen=True, slots=True)
class Unseen:
    """A sender that had fallen silent a day before the rollback: nobody waits for it."""

    name: str
    last_at: datetime  # its newest run


@dataclass(frozen=True, slots=True)
class Proof:
    """What the receipts say about one rollback."""

    clicked_at: datetime | None
    served_at: datetime
    last_bad_at: datetime | None  # newest start of a run on the bad release
    last_bad_receipt_at: datetime | None  # newest arrival of a receipt of such a run
    bad_since: int  # runs that started on it after it was served no more
    applications: tuple[Application, ...]
    watched_until: datetime
    moved_on: LiveChange | None  # what ended the watching early
    unseen: tuple[Unseen, ...] = ()  # not among the applications, so they hold nothing up

    def count(self, state: str) -> int:
        return sum(application.state == state for application in self.applications)

    @property
    def first_on_target_at(self) -> datetime | None:
        """When the first application was seen on the target: the moment it was restored."""
        return min(
            (one.first_target_at for one in self.applications if one.first_target_at is not None),
            default=None,
        )

    @property
    def is_complete(self) -> bool:
        """Every application was seen on the target, and the newest run of none was on the bad."""
        return bool(self.applications) and all(
            application.state == "confirmed" for application in self.applications
        )


def proof(rollback: Rollback) -> Proof:
    """Read the proof from the receipts of a day before and after, or until the next move.

    Three queries, whatever the number of receipts shown, and one more over receipts where a token
    may have fallen silent; those over receipts read an index.
    """
    kept = Convergence.objects.filter(rollback=rollback).first()
    served_at = kept.served_at if kept is not None else rollback.done_at
    moved_on = (
        LiveChange.objects.filter(
            # Also a pilot of the bad release: its runs are allowed again from then on.
            ~Q(to_release=rollback.to_release_id, switched_off=False)
            | Q(pilot_release=rollback.from_release_id),
            workflow=rollback.workflow_id, seq__gt=rollback.change.seq,
        )
        .order_by("seq")
        .first()
    )  # fmt: skip
    watched_until = served_at + WATCHED_FOR
    if moved_on is not None and moved_on.changed_at < watched_until:
        # After that, nobody should be on the target any more.
        watched_until = max(moved_on.changed_at, served_at)
    else:
        moved_on = None
    until = min(watched_until, now())
    since = served_at - SENDERS_OF
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT token_id,"
            " count(*) FILTER (WHERE started_at >= %(served)s AND release_digest = %(target)s),"
            " count(*) FILTER (WHERE started_at >= %(served)s AND release_digest = %(bad)s),"
            " max(started_at) FILTER (WHERE started_at >= %(served)s),"
            " max(started_at) FILTER (WHERE started_at >= %(served)s"
            " AND release_digest = %(target)s),"
            " max(started_at) FILTER (WHERE started_at >= %(served)s AND release_digest = %(bad)s),"
            " min(started_at) FILTER (WHERE started_at >= %(served)s"
            " AND release_digest = %(target)s),"
            " max(started_at) FILTER (WHERE release_digest = %(bad)s),"
            " max(received_at) FILTER (WHERE release_digest = %(bad)s)"
            " FROM governance_receipt WHERE workflow_id = %(workflow)s"
            " AND day BETWEEN %(first)s AND %(last)s"
            " AND started_at BETWEEN %(since)s AND %(until)s GROUP BY token_id",
            {
                "served": served_at, "target": rollback.to_release_id,
                "bad": rollback.from_release_id, "workflow": rollback.workflow_id,
                "first": since.date(), "last": until.date(), "since": since, "until": until,
            },
        )  # fmt: skip
        rows = cursor.fetchall()
    sent = {row[0] for row in rows if row[0]}
    names: dict[int, str] = {}
    silent: dict[int, str] = {}
    # Who cannot send any more is not waited for: a token that is revoked or has expired, and a
    # history that was brought in without one. What they sent since still counts.
    gone: set[int | None] = {None}
    for token in ApiToken.objects.filter(
        Q(pk__in=sent)
        | Q(scopes__contains=[ApiToken.Scope.RECEIPTS_WRITE], last_used_at__gte=since - NAMED_FOR)
    ):
        is_gone = token.revoked_at is not None or (token.expires_at and token.expires_at <= now())
        if token.pk in sent:
            names[token.pk] = token.name
            gone |= {token.pk} if is_gone else set()
        elif not is_gone:
            silent[token.pk] = token.name
    applications = tuple(
        sorted(
            (
                Application(names.get(row[0], "Without a token"), *row[1:7])
                for row in rows
                if row[3] is not None or row[0] not in gone
            ),
            key=lambda application: application.name,
        )
    )
    return Proof(
        clicked_at=kept.clicked_at if kept is not None else None,
        served_at=served_at,
        last_bad_at=max((row[7] for row in rows if row[7] is not None), default=None),
        last_bad_receipt_at=max((row[8] for row in rows if row[8] is not None), default=None),
        bad_since=sum(application.on_bad for application in applications),
        applications=applications,
        watched_until=watched_until,
        moved_on=moved_on,
        unseen=_unseen(rollback.workflow_id, silent, since) if silent else (),
    )


def _unseen(workflow_id: int, names: Mapping[int, str], since: datetime) -> tuple[Unseen, ...]:
    """Name those of these tokens that sent receipts of this workflow in the week before."""
    earliest = since - NAMED_FOR
    seen = (
        Receipt.objects.filter(
            workflow=workflow_id, token_id__in=list(names),
            day__range=(earliest.date(), since.date()), started_at__range=(earliest, since),
        )
        .order_by()
        .values_list("token_id")
        .annotate(last_at=Max("started_at"))
    )  # fmt: skip
    found = [Unseen(names[key], last_at) for key, last_at in seen if key is not None]
    return tuple(sorted(found, key=lambda one: one.name))
