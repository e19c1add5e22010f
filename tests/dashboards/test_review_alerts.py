"""What stands above the review: only while there is something, in the same few queries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from governance.common.time import now, story_time, today
from governance.people import delegations
from governance.people.models import User
from governance.receipts import partitions
from governance.receipts.models import Receipt
from governance.releases.models import Release
from governance.reviews import services as reviews
from governance.reviews.cadence import WEEKLY, period_of
from governance.reviews.models import ChecklistItem
from governance.rollouts import services
from governance.rollouts.models import PostMortem, Promotion
from governance.triage.models import ExceptionCase
from governance.triage.services import open_or_join
from governance.workflows.models import Workflow
from tests.rollouts.conftest import work

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
DAY = timedelta(days=1)
MOST_QUERIES = 25


def shown(client: Client, url: str = "/") -> str:
    """The alerts of a page, as text."""
    answer = client.get(url)
    assert answer.status_code == 200
    page = unescape(answer.content.decode())
    return " ".join(part.split("</div>")[0] for part in page.split('gap alert">')[1:])


@pytest.fixture
def on_call(analyst: User) -> User:
    User.objects.filter(pk=analyst.pk).update(emergency_changes=True)
    return User.objects.get(pk=analyst.pk)


@pytest.fixture
def emergency(live: Release, make_release: Callable[..., Release], on_call: User) -> Promotion:
    return services.emergency_change(
        make_release(0.9), actor=on_call, incident="INC-7", reason="It leaks data.",
        authenticated_at=now(),
    )  # fmt: skip


@pytest.fixture
def foreign(workflow: Workflow) -> ExceptionCase:
    """A run of a release that nobody approved, with its receipt."""
    moment = now()
    partitions.forget()
    partitions.ensure_partitions([moment.date()])
    Receipt.objects.create(
        run_id="run-77", day=moment.date(), workflow=workflow, standing="unauthorised",
        release_digest="sha256:" + "d" * 64, case_id="case-12", started_at=moment,
        received_at=moment, body_sha256="0" * 64,
    )  # fmt: skip
    partitions.forget()
    opened = open_or_join(
        workflow, ExceptionCase.Kind.UNAUTHORISED, "sha256:dd", title="Runs of r9, unapproved",
        moments={(moment.date(), "run-77"): moment}, release_digest="sha256:" + "d" * 64,
    )  # fmt: skip
    assert opened is not None
    return opened


def test_a_calm_week_has_nothing_above_it(
    live: Release, owner: User, cfo: User, measured: None, login: Login
) -> None:
    for person in (owner, cfo):
        assert shown(login(person)) == ""
    assert "Nothing needs you" in login(owner).get("/").content.decode()


def test_an_emergency_change_stands_on_top_until_a_second_person_ratifies_it(
    emergency: Promotion, on_call: User, owner: User, cfo: User, outsider: User, measured: None,
    login: Login,
) -> None:  # fmt: skip
    said = shown(login(cfo))
    assert "Emergency change: Support triage r2 serves without a gate" in said
    assert "for INC-7" in said
    assert "left: until a second person ratifies it, r1 comes back by itself" in said
    assert "Head of Support, an executive or another KPI owner" in said
    assert f'href="/promotions/{emergency.pk}/ratify/">Look and ratify' in said
    assert "Look and ratify" in shown(login(owner))
    assert "Look and ratify" not in shown(login(on_call))
    assert shown(login(outsider)) == ""
    assert "Nothing needs you" not in login(owner).get("/").content.decode()

    services.ratify_emergency(emergency.pk, actor=cfo, reason="Right.", authenticated_at=now())
    assert shown(login(cfo)) == ""


def test_an_emergency_change_that_went_back_is_shown_as_reverted(
    emergency: Promotion, cfo: User, measured: None, login: Login
) -> None:
    with story_time(now() + timedelta(hours=4, seconds=1)):
        services.revert_unratified(emergency.pk)
        said = shown(login(cfo))
    assert "Emergency change Support triage r2 was reverted" in said
    assert "was not ratified in four hours" in said


def test_an_unauthorised_change_names_what_since_when_and_the_first_case(
    foreign: ExceptionCase, live: Release, cfo: User, analyst: User, measured: None, login: Login
) -> None:
    from governance.triage.services import resolve

    said = shown(login(cfo))
    assert "Unauthorised change in Support triage" in said
    assert "Runs of r9, unapproved. Since" in said
    assert "first case case-12; 1 run receipt." in said
    assert f'href="/receipts/{today():%Y-%m-%d}/run-77/"' in said
    resolve(foreign.pk, actor=analyst, comment="Their deployment was taken back.")
    assert shown(login(cfo)) == ""


def test_a_heading_is_not_said_again_by_its_sentence(
    foreign: ExceptionCase, cfo: User, measured: None, login: Login
) -> None:
    ExceptionCase.objects.update(
        kind=ExceptionCase.Kind.UNDECLARED, title="Undeclared change of r6, Guardrails: …"
    )
    said = shown(login(cfo))
    assert "Undeclared change in Support triage.</strong> r6, Guardrails: …. Since" in said
    assert said.count("Undeclared change") == 1


def test_a_past_week_keeps_what_was_foreign_in_it_but_not_what_was_dismissed(
    workflow: Workflow, live: Release, cfo: User, analyst: User, measured: None, login: Login
) -> None:
    from governance.triage.services import dismiss, resolve

    week = period_of(WEEKLY, today()).previous()
    at = now() - timedelta(days=7)
    for key in ("real", "false alarm"):
        opened = open_or_join(
            workflow, ExceptionCase.Kind.UNDECLARED, key, title=f"Guardrails differ: {key}", at=at
        )
        assert opened is not None
        close = resolve if key == "real" else dismiss
        close(opened.pk, actor=analyst, comment="Looked at.")
    said = shown(login(cfo), f"/reviews/weekly/{week.key}/")
    assert "Undeclared change in Support triage" in said
    assert "Guardrails differ: real" in said
    assert "Resolved." in said
    assert "false alarm" not in said


def test_more_than_three_are_counted(
    workflow: Workflow, live: Release, cfo: User, measured: None, login: Login
) -> None:
    for number in range(5):
        open_or_join(workflow, ExceptionCase.Kind.UNDECLARED, f"{number}", title=f"Slot {number}")
    assert "2 more unauthorised or undeclared changes" in shown(login(cfo))


def test_what_is_switched_off_is_not_said_to_serve(
    live: Release, make_release: Callable[..., Release], workflow: Workflow, owner: User,
    builder: User, measured: None, login: Login,
) -> None:  # fmt: skip
    other = make_release(0.6)
    User.objects.filter(pk=owner.pk).update(emergency_changes=True)
    client = login(owner)
    preview = f"/workflows/{workflow.slug}/emergency/?release={other.pk}"
    assert "no release serves" not in client.get("/").content.decode()
    assert "Serves now" in client.get(preview).content.decode()
    services.switch_off(workflow, actor=builder, reason="It shouts at people.")
    for url in ("/", preview):
        page = client.get(url).content.decode()
        assert "Switched off since" in page, url
        assert ": no release serves." in page, url
    assert "Serves now" not in client.get(preview).content.decode()


def test_a_switch_that_is_off_a_freeze_and_a_gap_are_said(
    live: Release, workflow: Workflow, owner: User, cfo: User, builder: User, controller: User,
    measured: None, login: Login,
) -> None:  # fmt: skip
    services.switch_off(workflow, actor=builder, reason="It shouts at people.")
    services.set_freeze(
        actor=cfo, name="Close", starts_at=now(), ends_at=now() + DAY, reason="The books."
    )
    start = (now() + 5 * DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    delegations.note_absence(owner, actor=owner, starts_at=start, ends_at=start + 2 * DAY)
    delegations.note_absence(
        owner, actor=owner, starts_at=start + 20 * DAY, ends_at=start + 22 * DAY
    )
    for person in (owner, cfo):
        said = shown(login(person))
        assert "Support triage is switched off" in said
        assert "“It shouts at people.”" in said
        assert "Close: every workflow is frozen" in said
        assert f"{start.day}" in said
        assert said.count("nobody decides for Head of Support") == 1  # the later one is far off
    assert shown(login(controller)) == ""
    delegations.delegate(
        controller, actor=owner, starts_at=now(), ends_at=now() + 9 * DAY, reason="Leave.",
        authenticated_at=now(),
    )  # fmt: skip
    assert "nobody decides" not in shown(login(cfo))


def test_an_overdue_post_mortem_is_said_with_its_name(
    emergency: Promotion, workflow: Workflow, owner: User, cfo: User, measured: None, login: Login
) -> None:
    services.roll_back(workflow, actor=owner, reason="Worse.")
    PostMortem.objects.update(due_at=now() - 3 * DAY)
    found = PostMortem.objects.get()
    said = shown(login(cfo))
    assert "A post-mortem is overdue" in said
    assert "due 3 days ago" in said
    assert f'href="/post-mortems/{found.pk}/"' in said


def test_everything_at_once_costs_no_more_queries(
    emergency: Promotion, foreign: ExceptionCase, workflow: Workflow, owner: User, cfo: User,
    builder: User, measured: None, login: Login, make_release: Callable[..., Release],
    model: Callable[..., dict[str, Any]],
) -> None:  # fmt: skip
    services.set_freeze(
        actor=cfo, name="Close", starts_at=now(), ends_at=now() + DAY, reason="The books."
    )
    delegations.note_absence(owner, actor=owner, starts_at=now(), ends_at=now() + 2 * DAY)
    services.propose_promotion(make_release(model=model(90)), actor=builder, rationale="Better.")
    work()
    for person in (owner, cfo):
        client = login(person)
        client.get("/")
        with CaptureQueriesContext(connection) as queries:
            said = shown(client)
        assert said.count("<strong>") == 4
        assert len(queries) <= MOST_QUERIES, "\n".join(q["sql"][:160] for q in queries)


def test_a_signed_week_keeps_what_stood_above_it_and_offers_nothing(
    emergency: Promotion, cfo: User, owner: User, measured: None, login: Login
) -> None:
    key = period_of(WEEKLY, today()).key
    ChecklistItem.objects.filter(review=reviews.open_review(WEEKLY, key)).update(
        done_at=now(), done_by=owner
    )
    client = login(cfo)
    answer = client.post(f"/reviews/weekly/{key}/sign-off/", {"note": "Seen."})
    assert answer.status_code == 302
    services.ratify_emergency(emergency.pk, actor=cfo, reason="Right.", authenticated_at=now())
    said = shown(client, f"/reviews/weekly/{key}/")
    assert "Emergency change: Support triage r2" in said
    assert "Look and ratify" not in said
