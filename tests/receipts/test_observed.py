"""Declared against observed: what runs show is compared with the release they claim."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import transaction

from governance.common.canonical import digest
from governance.common.time import now
from governance.people.models import User
from governance.receipts import observations
from governance.receipts.drafts import ReceiptDraft
from governance.receipts.models import Receipt
from governance.receipts.observation_models import SlotObservation
from governance.receipts.rows import Row
from governance.receipts.services import store
from governance.releases.models import Release, Slot
from governance.rollouts import services as rollouts
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow
from tests.receipts.drafts import STARTED, draft
from tests.rollouts.conftest import work

SLOTS: dict[str, dict[str, Any]] = {
    "prompt_policy": {"name": "triage", "version": 7, "text": "Be kind."},
    "model": {"provider": "openai", "id": "gpt-5-mini", "aliases": ["gpt-5-nano"]},
    "tools": {
        "tools": [
            {"name": "lookup_order", "permission": "read"},
            {"name": "refund", "permission": "write", "money_limit": "50.00"},
            {"name": "delete_account", "permission": "none"},
        ]
    },
    "retrieval": {
        "source": "kb",
        "documents": [{"id": "d1", "sha256": "a" * 64}, {"id": "d2", "sha256": "b" * 64}],
        "root": "c" * 64,
    },
    "guardrails": {"confidence_threshold": 0.4},
    "routing": {"fallback_model": "claude-4-sonnet", "default": "router"},
    "feedback": {"labels": "none"},
}


@pytest.fixture
def release(workflow: Workflow, make_release: Callable[..., Release], owner: User) -> Release:
    made = make_release(**SLOTS)
    rollouts.adopt_as_found(made, actor=owner, reason="It runs.", authenticated_at=now())
    return made


def run(release: Release, run_id: str = "run-1", **changes: Any) -> ReceiptDraft:
    return draft(run_id, release=release.pk, started_at=now(), **changes)


def component(release: Release, slot: str) -> str:
    return str(release.manifest["slots"][slot])


def undeclared() -> list[str]:
    return [
        case.group_key.split()[0]
        for case in ExceptionCase.objects.filter(kind=ExceptionCase.Kind.UNDECLARED).order_by("pk")
    ]


@pytest.mark.parametrize("slot", Slot.values)
def test_each_of_the_seven_slots_is_found_when_its_digest_differs(
    release: Release, slot: str
) -> None:
    honest = {name: component(release, name) for name in Slot.values}
    store([run(release, "honest", observed=honest)])
    work()
    assert undeclared() == []
    store([run(release, "other", observed={**honest, slot: "sha256:" + "0" * 64})])
    work()
    assert undeclared() == [slot]
    case = ExceptionCase.objects.get()
    assert Slot(slot).label in case.title
    assert release.name in case.title
    assert (case.severity, case.receipt_count) == (ExceptionCase.Severity.HIGH, 1)
    assert [link.run_id for link in case.receipts.all()] == ["other"]
    assert case.first_at == Receipt.objects.get(run_id="other").started_at


HONEST: tuple[dict[str, Any], ...] = (
    {"model_answered": "gpt-5-mini"},
    {"model_answered": "GPT-5-mini-2026-10-01"},
    {"model_answered": "openai/gpt-5-mini-20261001"},
    {"model_answered": "gpt-5-nano"},
    {"model_answered": "gpt-5-mini, claude-4-sonnet@20260131"},
    {"observed": {"tools": "lookup_order"}},
    {"observed": {"tools.used": "refund, lookup_order"}},
    {"observed": {"tools.used": '["refund:write", "lookup_order:read"]'}},
    {"observed": {"retrieval.documents": "d1, d2"}},
    {"observed": {"retrieval.documents": "a" * 64}},
    {"observed": {"retrieval": "kb"}},
    {"observed": {"retrieval.seen": "sha256:" + "c" * 64}},
    {"observed": {"prompt_policy": "triage@7"}},
    {"observed": {"prompt_policy.version": "7"}},
    {"observed": {"guardrails": digest({"confidence_threshold": 0.4})}},
    {"observed": {"guardrails": digest({"confidence_threshold": 0.4})[7:].upper()}},
    {"observed": {"routing": digest({"content": SLOTS["routing"], "slot": "routing"})}},
    {"observed": {"release_claimed": "v1", "arm": "b", "tools.mood": "sunny"}},
    {"observed": {"feedback": "agents re-label mail"}},  # no version declared to compare with
    {"observed": {}},
)
DISHONEST: tuple[tuple[str, dict[str, Any]], ...] = (
    ("model", {"model_answered": "gpt-5"}),
    ("model", {"model_answered": "gpt-5-mini-large"}),
    ("model", {"model_answered": "gpt-5-mini-2026-99-01"}),
    ("model", {"model_answered": "gpt-5-mini, gpt-4"}),
    ("tools", {"observed": {"tools": "send_money"}}),
    ("tools", {"observed": {"tools.used": "lookup_order, send_money"}}),
    ("tools", {"observed": {"tools.used": "delete_account"}}),
    ("tools", {"observed": {"tools.used": "lookup_order:write"}}),
    ("retrieval", {"observed": {"retrieval.documents": "d1, d9"}}),
    ("retrieval", {"observed": {"retrieval.documents": "f" * 64}}),
    ("retrieval", {"observed": {"retrieval.source": "hr-files"}}),
    ("prompt_policy", {"observed": {"prompt_policy": "triage@8"}}),
    ("guardrails", {"observed": {"guardrails": "sha256:abc"}}),
    ("routing", {"observed": {"routing": "0" * 64}}),
    ("feedback", {"observed": {"feedback.seen": digest({"labels": "all"})}}),
)


@pytest.mark.parametrize("said", HONEST, ids=str)
def test_what_a_release_declares_is_no_difference(release: Release, said: dict[str, Any]) -> None:
    store([run(release, **said)])
    work()
    assert undeclared() == []
    assert not SlotObservation.objects.filter(verdict="differs").exists()


@pytest.mark.parametrize(("slot", "said"), DISHONEST, ids=str)
def test_what_a_release_does_not_declare_differs(
    release: Release, slot: str, said: dict[str, Any]
) -> None:
    store([run(release, **said)])
    work()
    assert undeclared() == [slot]


def test_a_dated_model_is_not_answered_by_another_date_or_by_none(
    workflow: Workflow, make_release: Callable[..., Release]
) -> None:
    pinned = make_release(model={"provider": "openai", "id": "gpt-5-mini-2026-10-01"})
    store([
        run(pinned, "same", model_answered="gpt-5-mini-2026-10-01"),
        run(pinned, "later", model_answered="gpt-5-mini-2026-12-01"),
        run(pinned, "floating", model_answered="gpt-5-mini"),
    ])  # fmt: skip
    seen = dict(SlotObservation.objects.filter(slot="model").values_list("value", "verdict"))
    assert seen == {
        "gpt-5-mini-2026-10-01": "matches",
        "gpt-5-mini-2026-12-01": "differs",
        "gpt-5-mini": "differs",
    }


def test_a_slot_that_is_not_declared_is_compared_by_digest_only(
    workflow: Workflow, make_release: Callable[..., Release]
) -> None:
    partial = make_release(tools=None, model=None)
    store([run(partial, "names", model_answered="gpt-9", observed={"tools": "send_money"})])
    assert set(SlotObservation.objects.values_list("verdict", flat=True)) == {"unknown"}
    store([run(partial, "digest", observed={"tools": "sha256:" + "0" * 64})])
    assert SlotObservation.objects.get(verdict="differs").slot == "tools"


def test_no_false_alarm_in_100_000_honest_receipts(release: Release) -> None:
    dice = random.Random(17)
    base = run(release)
    honest = [{**vars_of(base), **case} for case in HONEST]
    moment = now()
    differing = 0
    seen_in_all = 0
    for batch in range(20):
        rows = []
        for number in range(5_000):
            said = dict(dice.choice(honest))
            slots = dice.sample(Slot.values, dice.randrange(8))
            said["observed"] = {
                **{slot: component(release, slot) for slot in slots}, **said["observed"],
            }  # fmt: skip
            said["run_id"] = f"{batch}-{number}"
            rows.append(
                Row(ReceiptDraft(**said), STARTED.date(), release.workflow_id, "authorised", "",
                    moment, None)
            )  # fmt: skip
        seen = observations.observe(rows)
        differing += len(seen.differing)
        seen_in_all += sum(total.n for total in seen.sums.values())
    assert differing == 0
    assert seen_in_all > 300_000


def vars_of(base: ReceiptDraft) -> dict[str, Any]:
    return {name: getattr(base, name) for name in base.__dataclass_fields__}


def test_sums_hold_the_first_case_and_count_each_receipt_once(release: Release) -> None:
    moment = now()
    later = run(release, "later", model_answered="gpt-9")
    earlier = draft(
        "earlier", release=release.pk, started_at=moment - timedelta(seconds=30),
        model_answered="gpt-9",
    )  # fmt: skip
    store([later])
    store([earlier, later])
    seen = SlotObservation.objects.get()
    assert (seen.n, seen.first_run_id, seen.last_at) == (2, "earlier", later.started_at)


def test_values_without_end_do_not_fill_the_table(release: Release) -> None:
    store([
        run(release, f"run-{number}", observed={"tools": f"tool-{number}"})
        for number in range(observations.MOST_VALUES + 50)
    ])  # fmt: skip
    kept = SlotObservation.objects.filter(slot="tools")
    assert kept.count() == observations.MOST_VALUES + 1
    assert kept.get(value=observations.OTHERS).n == 50


def test_a_release_of_another_workflow_or_unknown_is_not_compared(
    release: Release, make_workflow: Callable[[str], Workflow]
) -> None:
    other = make_workflow("collections")
    store([
        draft("a", workflow=other.slug, release=release.pk, model_answered="gpt-9"),
        draft("b", release="sha256:" + "9" * 64, model_answered="gpt-9"),
    ])  # fmt: skip
    assert not SlotObservation.objects.exists()


def test_what_was_seen_is_never_deleted(release: Release) -> None:
    store([run(release, model_answered="gpt-5-mini")])
    with pytest.raises(DatabaseError), transaction.atomic():
        SlotObservation.objects.all().delete()


def test_comparing_costs_no_query_once_a_release_is_known(
    release: Release, django_assert_num_queries: Any
) -> None:
    said = {"observed": {"guardrails": component(release, "guardrails")}}
    store([run(release, "first", **said)])
    row = Row(
        run(release, "again", **said), STARTED.date(), release.workflow_id, "authorised", "",
        now(), None,
    )  # fmt: skip
    with django_assert_num_queries(0):
        observations.observe([row])
