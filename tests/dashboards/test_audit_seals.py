"""The audit log shows what people did; the seals of every minute are there when asked for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test import Client

from governance.common.time import true_now
from governance.people.models import User
from governance.receipts import seals
from governance.receipts.services import store
from governance.workflows.models import Workflow
from tests.receipts.drafts import draft

pytestmark = pytest.mark.django_db(transaction=True)
SEALED = "sealed the receipts of"


def test_seals_do_not_bury_the_log_and_are_one_click_away(
    client: Client, auditor: User, workflow: Workflow
) -> None:
    for number in range(60):
        store([draft(f"run-{number}")])
        seals.seal_waiting(workflow.pk, true_now() + timedelta(seconds=1))
    client.force_login(auditor)

    page = client.get("/audit/").content.decode()
    rows = page[page.index("<tbody>") :]
    assert SEALED not in rows
    assert "created the workflow" in rows
    assert 'href="?verb=receipts.sealed"' in page

    rows = client.get("/audit/", {"verb": "receipts.sealed"}).content.decode()
    assert rows[rows.index("<tbody>") :].count(SEALED) == 50
    file = b"".join(client.get("/audit/events.csv")).decode()
    assert file.count("receipts.sealed") >= 60


def test_the_page_has_an_index_for_what_it_lists(db: None) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        cursor.execute(
            "EXPLAIN SELECT * FROM governance_auditevent WHERE NOT (verb = 'receipts.sealed')"
            " ORDER BY seq DESC LIMIT 51"
        )
        plan = " ".join(line for (line,) in cursor.fetchall())
    assert "audit_without_seals" in plan
