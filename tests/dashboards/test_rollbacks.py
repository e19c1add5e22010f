"""The page that proves a rollback: clicked, served, and what the run receipts say since."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from governance.audit.models import AuditEvent
from governance.common.time import now, story_time
from governance.people.models import User
from governance.people.services import create_token
from governance.receipts.drafts import ReceiptDraft
from governance.receipts.services import store
from governance.releases.models import Release
from governance.rollouts.models import PostMortem, Promotion, Rollback
from governance.rollouts.recovery_models import Convergence
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.dashboards.reading import words
from tests.dashboards.sessions import approve, propose  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db(transaction=True)
Login = Callable[[User], Client]
Report = Callable[[str, Release], None]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def promoted(
    propose: Callable[..., Promotion], approve: Callable[..., Promotion], owner: User
) -> Promotion:
    return approve(propose(70), owner)


@pytest.fixture
def report(workflow: Workflow) -> Report:
    """Let an application send the receipt of one run that starts now."""
    tokens = {}

    def send(application: str, release: Release) -> None:
        if application not in tokens:
            scopes = ["receipts:write"]
            tokens[application], _ = create_token(application, scopes=scopes, actor=TESTER)
        draft = ReceiptDraft(
            run_id=f"{application} {now().isoformat()}", workflow=workflow.slug,
            release=release.pk, resolved_by="receipt", started_at=now(),
        )  # fmt: skip
        assert store([draft], token=tokens[application]).accepted == 1

    return send


def test_the_click_leads_to_a_proof_that_grows_with_the_receipts(
    workflow: Workflow, live: Release, promoted: Promotion, builder: User, login: Login,
    report: Report,
) -> None:  # fmt: skip
    for application in ("router", "batch", "portal"):
        report(application, promoted.release)
    client = login(builder)
    data = {"seq": 2, "preset": "It broke a policy"}
    before = now()
    answer = client.post(reverse("workflow-roll-back", args=(workflow.slug,)), data)
    done, kept = Rollback.objects.get(), Convergence.objects.get()
    assert answer["Location"] == reverse("rollback", args=(done.pk,))
    assert before < kept.clicked_at < done.done_at < kept.served_at

    page = words(client, reverse("rollback", args=(done.pk,)))
    assert f"clicked {kept.clicked_at:%H:%M:%S} served {kept.served_at:%H:%M:%S}." in page
    assert "runs started on r2 since 0" in page
    assert "0 confirmed, 3 silent" in page
    assert "Waiting for receipts" in page

    report("router", live)
    report("portal", promoted.release)  # its cache did not hear
    page = words(client, reverse("rollback", args=(done.pk,)))
    assert "1 confirmed, 1 silent, 1 still on r2" in page
    assert "1 of 3 applications ran r2 after it was rolled back." in page
    report("portal", live)
    report("batch", live)
    page = words(client, reverse("rollback", args=(done.pk,)))
    assert "applications 3 confirmed" in page
    assert "Converged" in page
    assert "runs started on r2 since 1" in page  # what happened stays in the record


def test_the_page_asks_for_its_proof_again_for_a_while(
    workflow: Workflow, promoted: Promotion, builder: User, login: Login, report: Report
) -> None:
    report("router", promoted.release)
    client = login(builder)
    client.post(reverse("workflow-roll-back", args=(workflow.slug,)), {"seq": 2, "reason": "Bad"})
    url = reverse("rollback", args=(Rollback.objects.get().pk,))
    part = client.get(url, headers=HTMX).content.decode()
    assert part.lstrip().startswith('<section id="proof"')
    assert 'hx-trigger="load delay:2s"' in part
    with story_time(now() + timedelta(minutes=5)):
        assert 'hx-trigger="load delay:10s"' in client.get(url).content.decode()
    with story_time(now() + timedelta(minutes=11)):
        assert "hx-trigger" not in client.get(url).content.decode()


def test_the_next_move_ends_the_watching(
    workflow: Workflow, live: Release, promoted: Promotion, owner: User, builder: User,
    login: Login, report: Report, propose: Callable[..., Promotion],
    approve: Callable[..., Promotion], cfo: User,
) -> None:  # fmt: skip
    report("router", promoted.release)
    client = login(builder)
    client.post(reverse("workflow-roll-back", args=(workflow.slug,)), {"seq": 2, "reason": "Bad"})
    report("router", live)
    fix = propose(90, fixes=PostMortem.objects.get())
    approve(fix, owner)
    approve(fix, cfo)
    report("router", fix.release)
    page = words(client, reverse("rollback", args=(Rollback.objects.get().pk,)))
    assert "Converged" in page
    assert "then something else changed what runs (promotion)" in page


def test_where_nobody_here_can_switch_the_page_says_so_and_names_who_was_asked(
    workflow: Workflow, promoted: Promotion, builder: User, auditor: User, login: Login
) -> None:
    Workflow.objects.update(mode=Workflow.Mode.OBSERVE)
    client = login(builder)
    offer = client.get(reverse("workflow-roll-back", args=(workflow.slug,))).content.decode()
    assert "Nobody here can switch this workflow" in offer
    client.post(reverse("workflow-roll-back", args=(workflow.slug,)), {"seq": 2, "reason": "Bad"})
    done = Rollback.objects.get()
    assert "Nobody was asked yet." in words(client, reverse("rollback", args=(done.pk,)))
    ask = reverse("rollback-note-asked", args=(done.pk,))
    assert client.post(ask, {"whom": ""}).status_code == 422
    assert client.post(ask, {"whom": "The <vendor>, by telephone"}).status_code == 302
    page = client.get(reverse("rollback", args=(done.pk,))).content.decode()
    assert "Asked The &lt;vendor&gt;, by telephone" in page
    assert "asked The <vendor>, by telephone to put r1 back" in [
        entry["what"] for entry in PostMortem.objects.get().timeline
    ]
    assert AuditEvent.objects.filter(verb="post_mortem.edited").exists()
    assert login(auditor).post(ask, {"whom": "me"}).status_code == 403


def test_the_page_reads_in_a_fixed_number_of_queries(
    workflow: Workflow, promoted: Promotion, builder: User, login: Login, report: Report,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    for number in range(5):
        report(f"application {number}", promoted.release)
    client = login(builder)
    client.post(reverse("workflow-roll-back", args=(workflow.slug,)), {"seq": 2, "reason": "Bad"})
    url = reverse("rollback", args=(Rollback.objects.get().pk,))
    client.get(url)
    with django_assert_max_num_queries(12):
        client.get(url)
