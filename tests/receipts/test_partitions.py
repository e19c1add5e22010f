"""The partitions of the coming days, made before anybody waits for them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from governance.audit.models import AuditEvent
from governance.common.time import true_now
from governance.jobs import services as jobs
from governance.jobs.models import Schedule
from governance.receipts.tasks import ensure_schedule
from tests.conftest import TESTER


@pytest.mark.django_db
def test_the_schedule_makes_the_days_ahead_once_a_day() -> None:
    schedule = ensure_schedule(actor=TESTER)
    assert ensure_schedule(actor=TESTER) == schedule
    Schedule.objects.update(next_at=true_now() - timedelta(minutes=1))

    (job,) = jobs.tick()
    assert jobs.tick() == []
    assert jobs.run(job.pk)

    last = true_now().date() + timedelta(days=7)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT to_regclass(%s), to_regclass(%s)",
            [f"governance_receipt_{last:%Y%m%d}", f"governance_span_{last:%Y%m%d}"],
        )
        assert None not in cursor.fetchone()
    assert AuditEvent.objects.filter(verb="schedule.created").count() == 1
    assert AuditEvent.objects.filter(verb="receipts.partition_made").count() <= 1
