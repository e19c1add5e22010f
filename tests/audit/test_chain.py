"""The audit chain: what is recorded, and what the database refuses."""

from __future__ import annotations

import pytest
from django.db import Error as DatabaseError
from django.db import connection, transaction

from governance import audit
from governance.audit import Actor
from governance.audit.models import AuditEvent

SYSTEM = Actor.system("tests")


@pytest.mark.django_db(transaction=True)
def test_events_link_to_the_one_before_and_refuse_every_change() -> None:
    for reason in ("first", "second"):
        with audit.atomic():
            audit.record("demo.seeded", actor=SYSTEM, reason=reason)
    first, second = AuditEvent.objects.order_by("seq")
    assert (first.seq, second.seq) == (1, 2)
    assert second.prev == first.hash

    for statement in (
        "UPDATE governance_auditevent SET reason = 'other'",
        "DELETE FROM governance_auditevent",
        "TRUNCATE governance_auditevent",
    ):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        # Even the owner of the schema meets the trigger.
        as_owner = f"SET LOCAL ROLE cs_owner; {statement}"
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(as_owner)
    assert AuditEvent.objects.count() == 2
