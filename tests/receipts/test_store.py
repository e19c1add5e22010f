"""Storing receipts: once, with exact roll-ups, or refused with a sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from governance.audit.models import AuditEvent
from governance.common.time import true_now
from governance.jobs.models import Job
from governance.people.models import ApiToken
from governance.people.services import create_token
from governance.receipts import partitions, rows
from governance.receipts.models import Receipt, RollUp
from governance.receipts.rollups import Counted, recount
from governance.receipts.services import store
from governance.releases.models import Release, ReleaseApproval
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.receipts.drafts import STARTED, draft


def kept_rollups() -> dict[tuple[Any, ...], tuple[int, float, float]]:
    return {
        (row.workflow_id, row.grain, row.starts_at, row.release_digest, row.segment, row.measure): (
            row.n, row.total, row.total_squares,
        )
        for row in RollUp.objects.exclude(n=0)
    }  # fmt: skip


def recounted() -> dict[tuple[Any, ...], tuple[int, float, float]]:
    return {
        tuple(key): sums
        for key, sums in recount(
            Counted(
                row.workflow_id, row.started_at, row.release_digest, row.segment,
                None if row.cost is None else float(row.cost), row.duration_ms, row.escalated,
                row.quality, row.error, row.measures,
            )
            for row in Receipt.objects.all()
        ).items()
    }  # fmt: skip


def assert_rollups_exact() -> None:
    kept, expected = kept_rollups(), recounted()
    assert kept.keys() == expected.keys()
    for key, sums in expected.items():
        assert kept[key] == pytest.approx(sums), key


def test_a_receipt_is_stored_with_everything_it_says(workflow: Workflow) -> None:
    result = store([draft(refs={"invoice": "INV-1"}, tokens_in=212, outcome="refund")])

    assert (result.accepted, result.duplicates, result.refused) == (1, 0, [])
    kept = Receipt.objects.get()
    assert (kept.run_id, kept.day, kept.workflow_id) == ("run-1", STARTED.date(), workflow.pk)
    assert (kept.cost, kept.escalated, kept.case_id) == (Decimal("0.0125"), False, "ticket-7")
    assert kept.refs == {"invoice": "INV-1"}
    assert kept.measures == {"correct": 1.0, "first_response_s": 90.0, "policy_ok": 1.0}
    assert kept.standing == Receipt.Standing.UNATTRIBUTED
    assert_rollups_exact()


def test_the_same_receipt_again_changes_nothing(workflow: Workflow) -> None:
    store([draft()])
    before = kept_rollups()

    result = store([draft(), draft()])

    assert (result.accepted, result.duplicates, result.refused) == (0, 2, [])
    assert Receipt.objects.count() == 1
    assert kept_rollups() == before


def test_another_body_under_the_same_identity_is_refused(workflow: Workflow) -> None:
    result = store([draft(), draft(cost=Decimal("9")), draft("run-2")])
    again = store([draft(cost=Decimal("9"))])

    assert (result.accepted, [refusal.index for refusal in result.conflicts]) == (2, [1])
    assert [refusal.run_id for refusal in again.conflicts] == ["run-1"]
    assert Receipt.objects.get(run_id="run-1").cost == Decimal("0.0125")
    assert_rollups_exact()


def test_the_same_run_id_on_another_day_is_another_receipt(workflow: Workflow) -> None:
    result = store([draft(), draft(started_at=STARTED - timedelta(days=1))])

    assert result.accepted == 2
    assert Receipt.objects.count() == 2


BAD = {
    "no workflow": {"workflow": ""},
    "unknown workflow": {"workflow": "nobody-knows"},
    "no run_id": {"run_id": " "},
    "run_id with NUL": {"run_id": "run\0"},
    "run_id with a line break": {"run_id": "run\r\nX: y"},
    "run_id with a lone surrogate": {"run_id": "run\ud800"},
    "run_id too long": {"run_id": "r" * 201},
    "no time zone": {"started_at": STARTED.replace(tzinfo=None)},
    "1970": {"started_at": STARTED.replace(year=1970)},
    "2262": {"started_at": STARTED.replace(year=2262)},
    "negative cost": {"cost": Decimal("-0.01")},
    "huge cost": {"cost": Decimal("1e20")},
    "NaN cost": {"cost": Decimal("NaN")},
    "infinite cost": {"cost": Decimal("Infinity")},
    "another currency": {"currency": "EUR"},
    "currency in lower case": {"currency": "usd"},
    "ended before it started": {"duration_ms": -1.0},
    "infinite duration": {"duration_ms": float("inf")},
    "NaN quality": {"quality": float("nan")},
    "quality in percent": {"quality": 93.0},
    "tokens beyond 2^53": {"tokens_in": 2**53},
    "negative tokens": {"tokens_out": -1},
    "true as tokens": {"tokens_out": True},
    "upper-case digest": {"release": "sha256:" + "A" * 64},
    "63 digits": {"release": "sha256:" + "a" * 63},
    "digest with a line break": {"release": "sha256:" + "a" * 64 + "\n"},
    "digest without its algorithm": {"release": "a" * 64},
    "a measure of ours": {"measures": {"cost": 4.0}},
    "a measure with a bad name": {"measures": {"Größe": 1.0}},
    "NaN measure": {"measures": {"correct": float("nan")}},
    "integer too large for a float": {"measures": {"correct": 10**400}},
    "a share of 1e15": {"measures": {"correct": 1e15}},
    "a share below 0": {"measures": {"policy_ok": -0.1}},
    "a share in percent": {"measures": {"correct": 93}},
    "a time below 0": {"measures": {"first_response_s": -1e-9}},
    "eleven years in seconds": {"measures": {"first_response_s": 3.5e8}},
    "eleven years in milliseconds": {"measures": {"first_token_ms": 3.5e11}},
    "a number beyond 1e12": {"measures": {"letters": 1.1e12}},
    "a number below -1e12": {"measures": {"letters": -1.1e12}},
    "violations as text": {"violations": "pii"},
    "nested reference": {"refs": {"a": {"b": "c"}}},
    "too many references": {"refs": {str(number): "x" for number in range(31)}},
    "unknown acceptance": {"acceptance": "maybe"},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
def test_a_bad_value_is_refused_with_a_sentence_and_nothing_is_stored(
    workflow: Workflow, changes: dict[str, Any]
) -> None:
    result = store([draft(**changes)])

    assert (result.accepted, result.duplicates) == (0, 0)
    (refusal,) = result.refused
    assert refusal.error.endswith(".")
    assert refusal.error.isprintable()
    assert not Receipt.objects.exists()
    assert not RollUp.objects.exists()


def test_one_bad_receipt_does_not_stop_the_others(workflow: Workflow) -> None:
    result = store([draft("a"), draft("b", cost=Decimal(-1)), draft("c")])

    assert result.accepted == 2
    assert [(refusal.index, refusal.run_id) for refusal in result.refused] == [(1, "b")]


def test_hostile_text_is_kept_as_text(workflow: Workflow) -> None:
    hostile = "<svg onload=alert(1)> {{7*7}} =cmd|' \u202eعربي 🙂"

    result = store([draft(case_id=hostile, error="bad\0 \ud800 end", segment="'; DROP TABLE x;--")])

    assert result.accepted == 1
    kept = Receipt.objects.get()
    assert kept.case_id == hostile
    assert kept.error == "bad\ufffd \ufffd end"
    assert kept.segment == "'; DROP TABLE x;--"


def test_missing_numbers_are_not_counted_as_zero(workflow: Workflow) -> None:
    store([draft(cost=None, escalated=None, violations=None, measures={}, duration_ms=None)])

    measures = set(RollUp.objects.values_list("measure", flat=True))
    assert measures == {"runs", "error"}


def test_a_release_counts_as_approved_only_while_it_was_allowed_to_serve(
    workflow: Workflow, make_release: Callable[..., Release]
) -> None:
    first, second = make_release(0.35), make_release(0.2)
    rolled_back_at = STARTED + timedelta(hours=1)
    ReleaseApproval.objects.create(
        workflow=workflow, release=second, valid_from=STARTED, valid_to=rolled_back_at
    )
    ReleaseApproval.objects.create(workflow=workflow, release=first, valid_from=rolled_back_at)

    store([
        draft("during", release=second.digest, started_at=STARTED + timedelta(minutes=30)),
        draft("late", release=second.digest, started_at=rolled_back_at + timedelta(minutes=9)),
        draft("after", release=second.digest, started_at=rolled_back_at + timedelta(minutes=11)),
        draft("before", release=first.digest, started_at=STARTED),
        draft("back", release=first.digest, started_at=rolled_back_at + timedelta(minutes=11)),
        draft("unknown", release="sha256:" + "0" * 64),
        draft("none"),
    ])  # fmt: skip

    standings = dict(Receipt.objects.values_list("run_id", "standing"))
    assert standings == {
        "during": "authorised", "late": "authorised", "after": "unauthorised",
        "before": "unauthorised", "back": "authorised", "unknown": "unauthorised",
        "none": "unattributed",
    }  # fmt: skip


def test_an_approval_in_another_workflow_does_not_count(
    workflow: Workflow, make_release: Callable[..., Release], make_workflow: Callable[..., Workflow]
) -> None:
    release = make_release()
    ReleaseApproval.objects.create(workflow=workflow, release=release, valid_from=STARTED)
    make_workflow("collections-copilot")

    store([draft(workflow="collections-copilot", release=release.digest)])

    assert Receipt.objects.get().standing == Receipt.Standing.UNAUTHORISED


def test_a_token_stores_only_for_its_workflow(
    workflow: Workflow, make_workflow: Callable[..., Workflow]
) -> None:
    make_workflow("collections-copilot")
    token, _ = create_token(
        "copilot", scopes=[ApiToken.Scope.RECEIPTS_WRITE], actor=TESTER,
        workflow_slug="collections-copilot",
    )  # fmt: skip

    result = store([draft("a"), draft("b", workflow="collections-copilot")], token=token)

    assert result.accepted == 1
    assert result.refused[0].error == "This token may not send receipts for support-triage."
    assert Receipt.objects.get().token_id == token.pk


def test_triage_is_woken_only_for_what_somebody_must_look_at(
    workflow: Workflow, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    ReleaseApproval.objects.create(workflow=workflow, release=release, valid_from=STARTED)

    store([draft("fine", release=release.digest)])
    assert not Job.objects.exists()

    store([draft("bad", release=release.digest, violations=("pii",)), draft("unattributed")])

    job = Job.objects.get(kind="triage.receipts")
    day = STARTED.date().isoformat()
    assert job.payload == {"receipts": [[day, "bad"], [day, "unattributed"]]}


def test_a_new_day_makes_its_partition_and_says_so_in_the_audit(workflow: Workflow) -> None:
    day = STARTED - timedelta(days=400)

    store([draft(started_at=day)])

    event = AuditEvent.objects.get(verb="receipts.partition_made")
    assert event.object_label == day.date().isoformat()
    store([draft("another", started_at=day)])
    assert AuditEvent.objects.filter(verb="receipts.partition_made").count() == 1


@given(
    batches=st.lists(
        st.lists(
            st.builds(
                draft,
                run_id=st.sampled_from([f"run-{number}" for number in range(12)]),
                started_at=st.sampled_from([STARTED - timedelta(hours=h) for h in (0, 1, 30)]),
                segment=st.sampled_from(["", "billing", "cards"]),
                release=st.sampled_from(["", "sha256:" + "1" * 64]),
                cost=st.none() | st.decimals("0", "1000", places=4),
                escalated=st.sampled_from([None, True, False]),
                quality=st.none() | st.floats(0, 1),
                measures=st.dictionaries(
                    st.sampled_from(["correct", "first_response_s"]), st.floats(-1e6, 1e6)
                ),
                violations=st.sampled_from([None, (), ("pii",), ("pii", "refund_limit")]),
            ),
            max_size=8,
        ),
        max_size=5,
    )
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_rollups_equal_a_recount_from_the_receipts(
    workflow: Workflow, batches: list[list[Any]]
) -> None:
    for batch in batches:
        result = store(batch)
        assert result.accepted + result.duplicates + len(result.refused) == len(batch)
    assert_rollups_exact()


@pytest.mark.django_db(transaction=True)
def test_the_same_batch_sent_twice_at_once_is_stored_once(workflow: Workflow) -> None:
    batch = [draft(f"run-{number}", escalated=number % 3 == 0) for number in range(200)]
    start = threading.Barrier(4)
    results, errors = [], []

    def send(order: list[Any]) -> None:
        try:
            start.wait()
            results.append(store(order))
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    senders = [
        threading.Thread(target=send, args=(batch if number % 2 else batch[::-1],))
        for number in range(4)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert not errors
    assert sum(result.accepted for result in results) == 200
    assert sum(result.duplicates for result in results) == 600
    assert Receipt.objects.count() == 200
    assert_rollups_exact()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ["stored_bodies", "roll_up"])
def test_a_failure_in_the_middle_leaves_nothing_half_written(
    workflow: Workflow, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("the power went out")

    with monkeypatch.context() as broken:
        broken.setattr(rows, step, fail)
        with pytest.raises(ConnectionError):
            store([draft(), draft("run-2")])

    assert not Receipt.objects.exists()
    assert not RollUp.objects.exists()
    assert not Job.objects.exists()
    assert store([draft(), draft("run-2")]).accepted == 2


@pytest.mark.django_db(transaction=True)
def test_a_dropped_partition_is_made_again(workflow: Workflow) -> None:
    day = true_now() - timedelta(days=500)
    store([draft(started_at=day)])
    assert day.date() in partitions._known
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute(f"DROP TABLE governance_receipt_{day:%Y%m%d}, governance_span_{day:%Y%m%d}")
        cursor.execute("SET ROLE cs_app")

    assert store([draft(started_at=day)]).accepted == 1


def test_only_a_handful_of_queries_whatever_the_size(
    workflow: Workflow, django_assert_max_num_queries: Any
) -> None:
    store([draft("first")])
    with django_assert_max_num_queries(18):
        store([draft(f"run-{number}") for number in range(300)])
