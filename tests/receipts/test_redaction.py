"""Personal data is taken out before the first write."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from governance.audit.models import AuditEvent
from governance.common.time import true_now
from governance.receipts import partitions
from governance.receipts.models import Receipt
from governance.receipts.redaction import redact, redact_identity
from governance.receipts.services import store
from governance.receipts.spans import Decoder
from governance.receipts.tasks import make_partitions
from governance.workflows.models import Workflow
from tests.receipts.drafts import draft
from tests.receipts.otlp import request, span


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("write to jane.doe+x@mail.example.co.uk now", "write to ⟨e-mail⟩ now"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN ⟨IBAN⟩."),
        ("GB82WEST12345698765432", "⟨IBAN⟩"),
        ("card 4111 1111 1111 1111!", "card ⟨card⟩!"),
        ("card 4111-1111-1111-1111", "card ⟨card⟩"),
        ("378282246310005", "⟨card⟩"),
    ],
)
def test_what_gives_a_person_away_is_replaced(text: str, kept: str) -> None:
    assert redact(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "DE89 3704 0044 0532 0130 01",  # wrong check digits
        "4111 1111 1111 1112",
        "1700000000000000000",  # a time in nanoseconds
        "a1b2c3d4e5f60718293a4b5c6d7e8f90",
        "INV-2026-000123",
        "2026-11-25T10:00:00Z",
        "@mention",
        "",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redact(text) == text


def test_own_patterns_and_identities() -> None:
    assert redact("customer K-12345 called", (re.compile(r"K-\d{5}"),)) == (
        "customer ⟨removed⟩ called"
    )
    assert redact_identity("invoice 7") == "invoice 7"
    one, other = redact_identity("a@example.com"), redact_identity("b@example.com")
    assert one != other
    assert "example" not in one


def test_a_receipt_is_redacted_before_it_is_written(workflow: Workflow, settings: Any) -> None:
    settings.REDACT_PATTERNS = [r"K-\d{5}"]
    sent = draft(
        run_id="r1", case_id="jane@example.com", error="No reply from jane@example.com (K-12345)",
        refs={"invoice": "INV-7", "payer": "DE89370400440532013000"},
    )  # fmt: skip
    assert store([sent]).accepted == 1
    kept = Receipt.objects.get()
    assert kept.error == "No reply from ⟨e-mail⟩ (⟨removed⟩)"
    assert kept.refs == {"invoice": "INV-7", "payer": "⟨IBAN⟩"}
    assert kept.case_id.startswith("hash:")
    assert store([sent]).duplicates == 1  # sent again, it is still the same


def test_attributes_of_spans_are_redacted_at_every_depth() -> None:
    sent = request(
        span(note="ask jane@example.com", notes=["a", "b@example.com"], user__email="j@example.com")
    )
    (kept,) = Decoder(b"k", datetime.now(UTC)).protobuf(sent.SerializeToString()).spans
    assert kept.attributes["note"] == "ask ⟨e-mail⟩"
    assert kept.attributes["notes"] == ["a", "⟨e-mail⟩"]
    assert kept.attributes["user.email"].startswith("hash:")


def partitions_of(parent: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(c.relname, 8) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = %s::regclass", [parent],
        )  # fmt: skip
        return {name for (name,) in cursor.fetchall()}


def test_retention_drops_whole_days_and_says_so(workflow: Workflow, settings: Any) -> None:
    today = true_now().date()
    old, kept = today - timedelta(days=41), today - timedelta(days=39)
    partitions.forget()
    partitions.ensure_partitions([old, kept])
    settings.RECEIPT_DAYS, settings.SPAN_DAYS = 40, 0

    make_partitions(None)  # type: ignore[arg-type] # the job needs nothing of its claim

    assert f"{old:%Y%m%d}" not in partitions_of("governance_receipt")
    assert f"{kept:%Y%m%d}" in partitions_of("governance_receipt")
    assert f"{old:%Y%m%d}" in partitions_of("governance_span")
    event = AuditEvent.objects.get(verb="receipts.partition_dropped")
    assert old.isoformat() in event.body
    partitions.forget()


def test_the_database_never_drops_the_last_thirty_days(db: None) -> None:
    for parent, days in (("governance_receipt", 29), ("governance_auditevent", 400)):
        first_kept = true_now().date() - timedelta(days=days)
        with (
            pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor
        ):  # fmt: skip
            cursor.execute("SELECT cs_drop_partitions(%s, %s)", [parent, first_kept])
