from __future__ import annotations

from datetime import date

import pytest

from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError
from governance.kpis import services
from governance.kpis.models import Kpi, KpiNote
from governance.people.models import User
from governance.workflows.models import Workflow

MONDAY = date(2026, 11, 16)


@pytest.fixture
def kpi(workflow: Workflow, owner: User) -> Kpi:
    return services.create_kpi(
        workflow,
        "escalation-rate",
        "Escalation rate",
        owner=owner,
        actor=owner,
        measure="escalated",
        unit=Kpi.Unit.SHARE,
        target=0.12,
        limit=0.20,
    )


def test_a_kpi_whose_limit_is_stricter_than_its_target_is_refused(
    workflow: Workflow, owner: User
) -> None:
    with pytest.raises(InvalidInputError, match="stricter"):
        services.create_kpi(
            workflow, "q", "Quality", owner=owner, actor=owner, measure="correct",
            unit=Kpi.Unit.SHARE, lower_is_better=False, target=0.9, limit=0.95,
        )  # fmt: skip
    assert not Kpi.objects.exists()


def test_only_its_owner_moves_a_target_and_the_audit_keeps_both(
    kpi: Kpi, owner: User, cfo: User
) -> None:
    with pytest.raises(NotAllowedError):
        services.set_target(kpi.pk, actor=cfo, target=0.1, limit=0.2, reason="Stricter.")
    services.set_target(kpi.pk, actor=owner, target=0.10, limit=0.18, reason="Steady for a year.")
    event = AuditEvent.objects.filter(verb="kpi.target_changed").get()
    assert event.reason == "Steady for a year."
    assert '"0.12"' in event.body
    assert '"0.1"' in event.body


def test_a_second_note_replaces_the_first_and_both_stay_in_the_audit(kpi: Kpi, owner: User) -> None:
    services.write_note(kpi.pk, MONDAY, "First.", actor=owner)
    services.write_note(kpi.pk, MONDAY, "Second.", actor=owner)
    assert KpiNote.objects.get().text == "Second."
    assert AuditEvent.objects.filter(verb="kpi.note_written").count() == 2


def test_refused_notes_change_nothing(kpi: Kpi, owner: User, analyst: User) -> None:
    with pytest.raises(NotAllowedError):
        services.write_note(kpi.pk, MONDAY, "Mine?", actor=analyst)
    with pytest.raises(InvalidInputError):
        services.write_note(kpi.pk, MONDAY, " ", actor=owner)
    with pytest.raises(InvalidInputError):
        services.write_note(kpi.pk, date(2026, 11, 17), "Tuesday.", actor=owner)
    assert not KpiNote.objects.exists()
