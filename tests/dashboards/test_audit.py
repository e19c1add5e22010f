"""The audit log: who sees which events, filters as links, and what is said of the chain."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from governance import audit
from governance.audit import Actor
from governance.audit.models import AuditEvent
from governance.people.models import User
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]


@pytest.fixture
def other(controller: User) -> Workflow:
    return create_workflow("close", "Close automation", owner=controller, actor=TESTER)


def write(count: int, workflow: str = "support-triage") -> None:
    with audit.atomic():
        for number in range(1, count + 1):
            audit.record(
                "demo.seeded",
                actor=Actor.system("tests"),
                reason=f"<svg onload=alert({number})>",
                workflow=workflow,
                label=f"thing {number}",
            )


def test_an_owner_sees_the_events_of_their_workflow_and_nobody_else_s(
    workflow: Workflow, other: Workflow, owner: User, outsider: User, auditor: User, login: Login
) -> None:
    mine = login(owner).get("/audit/").content.decode()
    assert "Support triage" in mine
    assert "Close automation" not in mine
    everything = login(auditor).get("/audit/").content.decode()
    assert "Close automation" in everything
    assert "No event matches" in login(outsider).get("/audit/").content.decode()
    assert Client().get("/audit/").status_code == 302


def test_the_log_goes_back_in_steps_and_keeps_its_filters(
    workflow: Workflow, auditor: User, login: Login
) -> None:
    write(120)
    client = login(auditor)
    seen: list[int] = []
    url = "/audit/?verb=demo.seeded&workflow=support-triage"
    for _ in range(3):
        response = client.get(url)
        seen += [row.event.seq for row in response.context["rows"]]
        older = response.context["older"]
        if older is None:
            break
        assert f"before={older}" in response.content.decode()
        url = f"/audit/?verb=demo.seeded&workflow=support-triage&before={older}"
    wanted = AuditEvent.objects.filter(verb="demo.seeded").order_by("-seq")
    assert seen == list(wanted.values_list("seq", flat=True))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor=tests", True),
        ("actor=nobody", False),
        ("object=thing+2", True),
        ("object=nothing", False),
        ("verb=demo.seeded", True),
        ("verb=rollback.done", False),
        ("workflow=support-triage", True),
        ("workflow=close", False),
        ("from=2000-01-01", True),
        ("from=9999-12-31", False),
        ("to=2000-01-01", False),
        ("to=9999-12-31", True),
        ("from=tomorrow&to=%00&before=x&actor=%00", True),
        ("before=99999999999999999999", True),
        ("before=-1", True),
        ("verb=%27%3B--", True),
    ],
)
def test_each_filter_narrows_and_nonsense_is_ignored(
    workflow: Workflow, auditor: User, login: Login, query: str, found: bool
) -> None:
    write(3)
    response = login(auditor).get(f"/audit/?{query}")
    assert response.status_code == 200
    verbs = {row.event.verb for row in response.context["rows"]}
    assert ("demo.seeded" in verbs) is found


def test_reasons_are_shown_as_text(workflow: Workflow, auditor: User, login: Login) -> None:
    write(1)
    page = login(auditor).get("/audit/").content.decode()
    assert "&lt;svg onload=alert(1)&gt;" in page
    assert "<svg onload" not in page


def test_opening_the_page_claims_only_what_it_checked(
    workflow: Workflow, auditor: User, login: Login
) -> None:
    write(400)
    client = login(auditor)
    total = AuditEvent.objects.count()
    opened = client.get("/audit/").content.decode()
    assert "The newest 300 events verified" in opened
    assert "Earlier events were not looked at just now" in opened
    checked = client.post("/audit/verify/").content.decode()
    assert f"{total} events verified, from the first to event {total}" in checked
    fragment = client.post("/audit/verify/", headers={"HX-Request": "true"}).content.decode()
    assert fragment.lstrip().startswith('<section class="card chain good" id="chain"')
    assert "<html" not in fragment


def test_a_broken_chain_is_shown_with_the_place(
    workflow: Workflow, auditor: User, login: Login
) -> None:
    write(5)
    broken = AuditEvent.objects.order_by("seq").last()
    assert broken is not None
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE governance_auditevent SET reason = 'x' WHERE seq = %s", [broken.seq])
        cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute("SET LOCAL ROLE cs_app")
    page = login(auditor).get("/audit/").content.decode()
    assert "Broken" in page
    assert f"The column reason of event {broken.seq} differs from its body." in page


def test_wrong_methods_are_refused(auditor: User, login: Login) -> None:
    client = login(auditor)
    assert client.post("/audit/").status_code == 405
    assert client.get("/audit/verify/").status_code == 405


def test_the_page_costs_the_same_queries_however_long_the_log_is(
    workflow: Workflow,
    auditor: User,
    login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    write(60)
    client = login(auditor)
    with django_assert_max_num_queries(20):
        client.get("/audit/")
