"""Seals over receipts: a receipt that was changed, deleted or slipped in does not fit any more."""

from __future__ import annotations

import json
import re
import threading
from datetime import date, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import Error as DatabaseError
from django.db import connection, transaction

from governance.audit.models import AuditEvent
from governance.audit.verification import verify
from governance.common.time import story_time, true_now
from governance.jobs import services as jobs
from governance.jobs.models import Job
from governance.people.models import ApiToken
from governance.people.services import create_token
from governance.receipts import partitions, seals
from governance.receipts.models import Receipt
from governance.receipts.seal_models import ReceiptPending, ReceiptSeal
from governance.receipts.seal_verification import SealResult, verify_seals
from governance.receipts.services import store
from governance.workflows.models import Workflow
from tests.audit.tampering import tamper
from tests.conftest import TESTER
from tests.receipts.drafts import STARTED, draft
from tests.receipts.otlp import run_span, span
from tests.receipts.test_traces import send

pytestmark = pytest.mark.django_db(transaction=True)
RECEIPTS = "governance_receipt"
SEALS = "governance_receiptseal"


def stored(count: int, *, start: int = 0, **changes: Any) -> None:
    result = store([draft(f"run-{start + number}", **changes) for number in range(count)])
    assert result.accepted == count


def sealed(workflow: Workflow) -> ReceiptSeal | None:
    """Seal everything that waits, without waiting for the minute to end."""
    return seals.seal_waiting(workflow.pk, true_now() + timedelta(seconds=1))


def sentences(result: SealResult) -> str:
    return " ".join(fault.sentence for fault in result.faults)


def test_every_receipt_is_sealed_once_and_late_ones_in_a_later_seal(workflow: Workflow) -> None:
    stored(5)
    before = verify_seals()
    assert (before.intact, before.receipts, before.waiting) == (True, 5, 5)
    first = sealed(workflow)
    assert first is not None
    assert first.count == 5
    assert sealed(workflow) is None  # nothing new
    event = AuditEvent.objects.get(verb="receipts.sealed")
    assert (event.object_digest, event.object_id) == (first.root, "1")
    details = json.loads(event.body)["details"]
    assert (details["count"], details["workflow_slug"]) == (5, "support-triage")

    stored(2, start=5, started_at=STARTED - timedelta(days=2))  # late: of another day
    second = sealed(workflow)
    assert second is not None
    assert (second.number, second.count) == (2, 2)
    assert second.days == [(STARTED - timedelta(days=2)).date()]
    result = verify_seals()
    assert result.intact, result.faults
    assert (result.seals, result.receipts, result.waiting, result.corrected) == (2, 7, 0, 0)
    assert verify().intact


@pytest.mark.parametrize(
    "change",
    [
        "cost = 0", "duration_ms = duration_ms + 0.25", "escalated = NOT escalated",
        "standing = 'authorised'", "release_digest = 'sha256:7'", "quality = 0.5",
        "measures = '{}'", "violations = '{x}'", "observed = '{\"model\": \"x\"}'",
        "started_at = started_at + interval '1 microsecond'", "body_sha256 = repeat('0', 64)",
        "token_id = 7", "outcome = 'x'", "refs = '{\"invoice\": \"7\"}'", "amount = 1",
        "received_at = received_at - interval '1 hour'", "acceptance = 'as_is'",
    ],
)  # fmt: skip
def test_a_changed_receipt_is_found(workflow: Workflow, change: str) -> None:
    stored(3)
    sealed(workflow)
    tamper(f"UPDATE {RECEIPTS} SET {change} WHERE run_id = 'run-1'")
    result = verify_seals()
    assert result.fault_count == 1
    assert f"Receipt run-1 of {STARTED.date()} is not what was sealed" in sentences(result)
    assert result.faults[0].seq == AuditEvent.objects.get(verb="receipts.sealed").seq


def test_every_column_of_a_receipt_is_sealed() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = 'cs_receipt_leaf'")
        (source,) = cursor.fetchone()
    for column in (field.column for field in Receipt._meta.concrete_fields):
        assert column is None or f"r.{column}" in source


def test_deleted_slipped_in_and_moved_receipts_are_found(workflow: Workflow) -> None:
    stored(4)
    sealed(workflow)
    tamper(f"DELETE FROM {RECEIPTS} WHERE run_id IN ('run-1', 'run-2')")
    assert "2 receipts are missing" in sentences(verify_seals())
    tamper(f"UPDATE {RECEIPTS} SET run_id = 'run-9' WHERE run_id = 'run-3'")
    said = sentences(verify_seals())
    assert "3 receipts are missing" in said
    assert "Receipt run-9" in said
    assert "was slipped in" in said


def test_a_receipt_that_is_gone_before_its_seal_is_found(workflow: Workflow) -> None:
    stored(2)
    tamper(f"DELETE FROM {RECEIPTS} WHERE run_id = 'run-1'")
    assert "gone before their seal" in sentences(verify_seals())


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (f"UPDATE {SEALS} SET leaves = overlay(leaves PLACING '\\x00' FROM 50)", "is not what"),
        (f"UPDATE {SEALS} SET root = 'sha256:7'", "is not what"),
        (f"UPDATE {SEALS} SET count = 1", "is not what"),
        (f"DELETE FROM {SEALS}", "is missing"),
    ],
)
def test_a_seal_that_is_changed_is_found_and_refused_before(
    workflow: Workflow, statement: str, said: str
) -> None:
    stored(2)
    sealed(workflow)
    for login in ("cs_app", "cs_owner"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL ROLE {login}; {statement}")
    tamper(statement)
    assert said in sentences(verify_seals())


def test_a_seal_without_its_event_is_found(workflow: Workflow) -> None:
    stored(1)
    sealed(workflow)
    tamper("DELETE FROM governance_auditevent WHERE verb = 'receipts.sealed'")
    assert "No audit event says" in sentences(verify_seals())


def test_a_receipt_of_spans_that_is_corrected_later_is_sealed_again(workflow: Workflow) -> None:
    token = create_token("sender", scopes=[ApiToken.Scope.RECEIPTS_WRITE], actor=TESTER)[0]
    send(token, run_span(1, countersign__case_id="ticket-7"))
    sealed(workflow)
    call = span(2, 1, start_ms=5, duration_ms=20, gen_ai__usage__input_tokens=100)
    send(token, call)
    waiting = verify_seals()
    assert (waiting.intact, waiting.waiting) == (True, 1)
    sealed(workflow)
    result = verify_seals()
    assert result.intact, result.faults
    assert (result.seals, result.receipts, result.corrected) == (2, 1, 1)

    send(token, span(3, 1, start_ms=6, duration_ms=20, gen_ai__usage__input_tokens=9))
    send(token, span(4, 1, start_ms=7, duration_ms=20, gen_ai__usage__input_tokens=9))
    third = sealed(workflow)
    assert third is not None
    assert third.count == 1  # corrected twice within one seal
    assert verify_seals().intact


def test_dropped_days_are_retained_by_digest_and_days_that_vanish_are_not(
    workflow: Workflow,
) -> None:
    old = true_now() - timedelta(days=40)
    partitions.ensure_partitions([old.date()])
    with story_time(old):
        stored(3, started_at=old)
    stored(2, start=3)
    sealed(workflow)
    assert verify_seals().receipts == 5
    dropped = partitions.drop_before(RECEIPTS, old.date() + timedelta(days=1))
    assert old.date().isoformat() in dropped
    result = verify_seals()
    assert result.intact, result.faults
    assert (result.receipts, result.retained) == (2, 3)
    assert "3 dropped ones retained by digest" in result.sentence

    _drop(STARTED.date())
    assert "2 receipts are missing" in sentences(verify_seals())
    partitions.forget()
    partitions.ensure_partitions([STARTED.date()])


def _drop(day: date) -> None:
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute(f"DROP TABLE {RECEIPTS}_{day:%Y%m%d}")
        cursor.execute("SET ROLE cs_app")


def test_the_cost_of_a_seal_does_not_grow_with_what_was_sealed_before(
    workflow: Workflow,
) -> None:
    costs = []
    for number in range(4):
        stored(2, start=10 * number)
        with connection.execute_wrapper(counter := _Counter()):
            sealed(workflow)
        costs.append(counter.statements)
    assert len(set(costs)) == 1
    assert verify_seals().receipts == 8


class _Counter:
    statements = 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.statements += 1
        assert not re.search(r"\bgovernance_receipt\b", sql)  # it reads no receipts at all
        return execute(sql, params, many, context)


def test_the_job_seals_what_came_before_this_minute_and_leaves_the_rest(
    workflow: Workflow,
) -> None:
    stored(2)
    jobs.tick_recurring()
    job = Job.objects.get(kind="receipts.seal")
    assert jobs.run(job.pk)
    assert ReceiptSeal.objects.count() == 0  # of this minute
    assert ReceiptPending.objects.exists()
    tamper("UPDATE governance_receiptpending SET noted_at = noted_at - interval '20 minutes'")
    assert [alarm.kind for alarm in seals.alarms()] == ["unsealed"]
    assert seals.seal_everything() == 1
    assert seals.seal_everything() == 0
    assert seals.alarms() == []


def test_senders_and_seals_at_once_raise_no_false_alarm(workflow: Workflow) -> None:
    errors: list[BaseException] = []

    def sender(number: int) -> None:
        try:
            for turn in range(8):
                stored(4, start=1000 * number + 10 * turn)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=sender, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        sealed(workflow)
        result = verify_seals()
        assert result.intact, result.faults
    for thread in threads:
        thread.join()
    assert not errors
    sealed(workflow)
    result = verify_seals()
    assert (result.intact, result.receipts, result.waiting) == (True, 128, 0)
    assert sum(ReceiptSeal.objects.values_list("count", flat=True)) == 128


def test_the_command_compares_receipts_when_it_is_asked_to(
    workflow: Workflow, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(3)
    sealed(workflow)

    def run() -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as ended:
            call_command("audit_verify", "--receipts", "--json")
        assert isinstance(ended.value.code, int)
        return ended.value.code, json.loads(capsys.readouterr().out)

    code, said = run()
    assert (code, said["receipts"]["receipts"]) == (0, 3)
    tamper(f"UPDATE {RECEIPTS} SET cost = 7 WHERE run_id = 'run-1'")
    code, said = run()
    assert (code, said["intact"], said["receipts"]["fault_count"]) == (1, False, 1)
