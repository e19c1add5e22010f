"""Push mode: signed, retried, superseded, and honest about what is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from countersign import BadSignatureError, read_webhook

from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now, true_now
from governance.jobs import services as jobs
from governance.jobs.models import Job
from governance.people.models import User
from governance.receipts import partitions
from governance.receipts.models import Receipt
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.models import LiveChange, Promotion
from governance.rollouts.push import KIND, progress
from governance.rollouts.push_models import PushDelivery
from governance.workflows.models import Workflow
from tests.clients.server import Scripted, scripted
from tests.rollouts.conftest import work

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = b"a long shared secret"
State = PushDelivery.State


@pytest.fixture
def hook(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setenv("COUNTERSIGN_PUSH", SECRET.decode())
    with scripted() as script:
        settings.OUTBOUND_ALLOWED = [script.url]
        script.says(b"", 204)
        yield script


@pytest.fixture
def push(owner: User, workflow: Workflow, hook: Scripted) -> Callable[..., Workflow]:
    def choose(**changes: Any) -> Workflow:
        given = {
            "actor": owner, "mode": "push", "reason": "The vendor cannot ask.",
            "authenticated_at": now(), "push_url": f"{hook.url}/in/s3cret-path",
            "push_secret_ref": "env:COUNTERSIGN_PUSH", **changes,
        }  # fmt: skip
        return services.set_mode(workflow, **given)

    return choose


def try_once() -> None:
    """Let a worker try every delivery that waits, however long it should still wait."""
    Job.objects.filter(kind=KIND, state=Job.State.WAITING).update(run_at=true_now())
    for job_id in Job.objects.filter(kind=KIND, state=Job.State.WAITING).values_list(
        "pk", flat=True
    ):
        jobs.run(job_id)


def messages(hook: Scripted) -> list[dict[str, Any]]:
    return [
        read_webhook(body, headers["countersign-signature"], SECRET)
        for _, _, headers, body in hook.asked
    ]


def test_choosing_push_mode_tells_the_pipeline_what_is_live_now(
    live: Release, push: Callable[..., Workflow], hook: Scripted, workflow: Workflow
) -> None:
    push()
    work()
    ((method, path, headers, _),) = hook.asked
    assert (method, path) == ("POST", "/in/s3cret-path")
    assert headers["idempotency-key"] == "support-triage:1"
    (message,) = messages(hook)
    assert message["workflow"] == "support-triage"
    assert (message["seq"], message["release"], message["stage"]) == (1, live.pk, "stable")
    assert message["cause"] == "adopt"
    assert message["content_url"] == f"/api/v1/releases/{live.pk}"
    delivery = PushDelivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.last_status) == (State.DELIVERED, 1, 204)
    event = AuditEvent.objects.get(verb="workflow.mode_changed")
    assert "s3cret-path" not in event.body
    assert SECRET.decode() not in event.body
    assert SECRET.decode() not in json.dumps(list(Job.objects.values_list("payload", flat=True)))


def test_a_forged_or_old_message_is_told_apart(
    live: Release, push: Callable[..., Workflow], hook: Scripted
) -> None:
    push()
    work()
    _, _, headers, body = hook.asked[0]
    signature = headers["countersign-signature"]
    assert read_webhook(body, signature, SECRET)["seq"] == 1
    for wrong in (
        (body + b" ", signature, SECRET), (body, signature, b"another"), (body, "", SECRET),
        (body, signature.replace("t=", "t=1"), SECRET), (body, "v1=abc", SECRET),
    ):  # fmt: skip
        with pytest.raises(BadSignatureError):
            read_webhook(*wrong)
    with pytest.raises(BadSignatureError, match="another time"):
        read_webhook(body, signature, SECRET, tolerance=-1)


def test_a_rollback_is_asked_in_its_own_transaction_and_waits_for_nobody(
    live: Release, propose: Callable[..., Promotion], approve: Callable[..., Promotion],
    owner: User, push: Callable[..., Workflow], hook: Scripted, workflow: Workflow,
) -> None:  # fmt: skip
    approve(propose(), owner)
    push()
    work()
    hook.says(b"", 500)
    done = services.roll_back(workflow, actor=owner, reason="Worse.")
    delivery = PushDelivery.objects.get(change=done.change)
    assert progress(delivery).state == "asked"
    assert len(hook.asked) == 1  # nobody was called inside the rollback
    try_once()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.last_status) == (State.ASKED, 1, 500)
    assert "500" in progress(delivery).sentence
    hook.says(b"", 200)
    try_once()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (State.DELIVERED, 2)
    told = messages(hook)[-1]
    assert (told["release"], told["stage"], told["cause"]) == (live.pk, "rolled_back", "rollback")
    assert progress(delivery).state == "delivered"


def test_only_receipts_confirm(
    live: Release, push: Callable[..., Workflow], hook: Scripted, workflow: Workflow
) -> None:
    push()
    work()
    delivery = PushDelivery.objects.select_related("change").get()
    partitions.forget()
    partitions.ensure_partitions([now().date()])

    def run(number: int, release: str) -> None:
        moment = now()
        Receipt.objects.create(
            run_id=f"r{number}", day=moment.date(), workflow=workflow, standing="authorised",
            started_at=moment, received_at=moment, body_sha256="0" * 64, release_digest=release,
        )  # fmt: skip

    assert progress(delivery).state == "delivered"
    PushDelivery.objects.update(delivered_at=now() - timedelta(minutes=16))
    delivery.refresh_from_db()
    assert progress(delivery).state == "silent"
    run(1, live.pk)
    found = progress(delivery)
    assert (found.state, found.runs, found.others) == ("confirmed", 1, 0)
    run(2, "sha256:" + "e" * 64)
    assert progress(delivery).state == "differs"
    partitions.forget()


def test_a_change_that_lived_a_moment_is_overtaken_and_not_silent(
    live: Release, push: Callable[..., Workflow], owner: User, workflow: Workflow
) -> None:
    push()
    work()
    services.switch_off(workflow, actor=owner, reason="Stop.")
    PushDelivery.objects.filter(change__seq=1).update(
        asked_at=now() - timedelta(minutes=10), delivered_at=now() - timedelta(minutes=9)
    )
    assert progress(PushDelivery.objects.get(change__seq=1)).state == "overtaken"


def test_a_newer_change_takes_the_place_of_one_that_was_not_delivered(
    live: Release, propose: Callable[..., Promotion], approve: Callable[..., Promotion],
    owner: User, push: Callable[..., Workflow], hook: Scripted, workflow: Workflow,
) -> None:  # fmt: skip
    hook.says(b"", 503)
    push()
    try_once()
    approve(propose(), owner)
    hook.says(b"", 204)
    before = len(hook.asked)
    try_once()
    states = dict(PushDelivery.objects.values_list("change__seq", "state"))
    assert states == {1: State.SUPERSEDED, 2: State.DELIVERED}
    assert [message["seq"] for message in messages(hook)[before:]] == [2]


def test_the_kill_switch_names_no_release(
    live: Release, push: Callable[..., Workflow], hook: Scripted, workflow: Workflow, owner: User
) -> None:
    push()
    work()
    services.switch_off(workflow, actor=owner, reason="Stop.")
    work()
    told = messages(hook)[-1]
    assert (told["release"], told["stage"], told["content_url"]) == ("", "switched_off", "")
    assert told["authority"] == "read_only"


def test_a_webhook_that_stays_away_is_asked_again_later_and_given_up_after_days(
    live: Release, push: Callable[..., Workflow], hook: Scripted
) -> None:
    hook.says(b"", 302, Location="http://127.0.0.1:9/elsewhere")
    push()
    for _ in range(7):
        try_once()
    delivery = PushDelivery.objects.get()
    assert (delivery.state, delivery.attempts) == (State.ASKED, 7)
    assert Job.objects.filter(kind=KIND, state=Job.State.FAILED).count() == 1
    PushDelivery.objects.update(asked_at=now() - timedelta(days=4))
    for _ in range(5):
        try_once()
    delivery.refresh_from_db()
    assert delivery.state == State.FAILED
    assert not Job.objects.filter(kind=KIND, state=Job.State.WAITING).exists()


def test_a_job_that_runs_twice_tells_once(
    live: Release, push: Callable[..., Workflow], hook: Scripted
) -> None:
    push()
    work()
    jobs.enqueue(KIND, "again", {"delivery": PushDelivery.objects.get().pk})
    work()
    assert len(hook.asked) == 1


def test_a_secret_that_is_not_there_is_said_and_nothing_is_sent(
    live: Release, push: Callable[..., Workflow], hook: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COUNTERSIGN_PUSH")
    push()
    try_once()
    assert not hook.asked
    assert "env:COUNTERSIGN_PUSH" in PushDelivery.objects.get().last_error


def test_who_may_not_or_asks_wrongly_changes_nothing(
    live: Release, push: Callable[..., Workflow], hook: Scripted, workflow: Workflow,
    analyst: User, cfo: User, admin: User,
) -> None:  # fmt: skip
    for stranger in (analyst, cfo):
        with pytest.raises(NotAllowedError):
            push(actor=stranger)
    with pytest.raises(NotAllowedError):
        push(authenticated_at=now() - timedelta(hours=1))
    for wrong in (
        {"mode": "telepathy"}, {"push_url": "http://169.254.169.254/latest"}, {"push_url": ""},
        {"push_url": "https://user:pw@example.com/"}, {"push_url": "https://10.0.0.1/"},
        {"push_secret_ref": "hunter2"}, {"push_secret_ref": "env:SECRET_KEY"},
        {"push_secret_ref": "file:/etc/shadow"}, {"reason": " "},
    ):  # fmt: skip
        with pytest.raises(InvalidInputError):
            push(**wrong)
    workflow.refresh_from_db()
    assert (workflow.mode, workflow.push_url) == ("pull", "")
    assert not PushDelivery.objects.exists()
    assert not AuditEvent.objects.filter(verb="workflow.mode_changed").exists()
    push(actor=admin)
    with pytest.raises(StateConflictError):
        push(actor=admin)
    push(mode="observe")
    workflow.refresh_from_db()
    assert (workflow.mode, workflow.push_url, workflow.push_secret_ref) == ("observe", "", "")


def test_a_workflow_that_asks_is_told_nothing(
    live: Release, propose: Callable[..., Promotion], approve: Callable[..., Promotion],
    owner: User,
) -> None:  # fmt: skip
    approve(propose(), owner)
    assert LiveChange.objects.count() == 2
    assert not PushDelivery.objects.exists()
