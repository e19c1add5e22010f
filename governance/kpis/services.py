"""Defining KPIs, moving their targets, and what their owners say about a week."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.core.exceptions import ValidationError

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError
from governance.common.time import now
from governance.kpis.models import Kpi, KpiNote
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.workflows.models import Workflow

NOTE_LENGTH = 300  # characters


def _owns(user: User, kpi: Kpi) -> bool:
    return user.pk in (kpi.owner_id, kpi.workflow.owner_id)


register_rule(
    "kpi.create",
    lambda user, workflow: user.role == User.Role.ADMIN or user.pk == workflow.owner_id,
    "Only the owner of the workflow or an administrator defines a KPI.",
)
register_rule("kpi.set_target", _owns, "Only the KPI owner changes its target.")
register_rule("kpi.note", _owns, "Only the KPI owner writes its note.")


@audit.atomic()
def create_kpi(
    workflow: Workflow, slug: str, name: str, *, owner: User, actor: Actor | User, **fields: Any
) -> Kpi:
    """Define a number somebody answers for; `fields` are those of the model."""
    if isinstance(actor, User):
        require(actor, "kpi.create", workflow)
    kpi = Kpi(workflow=workflow, slug=slug, name=name, owner=owner, **fields)
    _check(kpi)
    kpi.save()
    audit.record(
        "kpi.created", kpi, actor=actor, workflow=workflow.slug, owner=owner.username,
        measure=kpi.measure, target=_text(kpi.target), limit=_text(kpi.limit),
    )  # fmt: skip
    return kpi


@audit.atomic()
def set_target(
    kpi_id: int, *, actor: User, target: float | None, limit: float | None, reason: str
) -> Kpi:
    """Move a KPI's target and limit, with the reason why."""
    kpi = Kpi.objects.select_for_update(of=("self",)).select_related("workflow").get(pk=kpi_id)
    require(actor, "kpi.set_target", kpi)
    if not reason.strip():
        raise InvalidInputError("Give a reason: it stays in the record.")
    target_before, limit_before = _text(kpi.target), _text(kpi.limit)
    kpi.target, kpi.limit = target, limit
    _check(kpi)
    kpi.save(update_fields=["target", "limit"])
    audit.record(
        "kpi.target_changed", kpi, actor=actor, workflow=kpi.workflow.slug,
        reason=reason.strip(), target=_text(target), limit=_text(limit),
        target_before=target_before, limit_before=limit_before,
    )  # fmt: skip
    return kpi


@audit.atomic()
def write_note(kpi_id: int, week_start: date, text: str, *, actor: User) -> KpiNote:
    """Keep what the owner says about one week; a second note replaces the first."""
    # The KPI's row is the lock: two notes for one week must not race for the unique key.
    kpi = Kpi.objects.select_for_update(of=("self",)).select_related("workflow").get(pk=kpi_id)
    require(actor, "kpi.note", kpi)
    said = " ".join(text.split())
    if not said or len(said) > NOTE_LENGTH:
        raise InvalidInputError(f"A note has 1 to {NOTE_LENGTH} characters.")
    if week_start.weekday() != 0:
        raise InvalidInputError("A note belongs to a week, which starts on a Monday.")
    note, _ = KpiNote.objects.update_or_create(
        kpi=kpi,
        week_start=week_start,
        defaults={"text": said, "written_by": actor, "written_at": now()},
    )
    audit.record(
        "kpi.note_written", kpi, actor=actor, workflow=kpi.workflow.slug,
        week=week_start.isoformat(), text=said,
    )  # fmt: skip
    return note


def _check(kpi: Kpi) -> None:
    try:
        kpi.full_clean()
    except ValidationError as problem:
        raise InvalidInputError(" ".join(problem.messages)) from problem
    if kpi.target is not None and kpi.limit is not None:
        stricter = kpi.limit < kpi.target if kpi.lower_is_better else kpi.limit > kpi.target
        if stricter:
            raise InvalidInputError("The limit must not be stricter than the target.")


def _text(value: float | None) -> str:
    """Decimals go into the audit body as text."""
    return "" if value is None else repr(value)
