"""The exception queue: take, resolve, dismiss; by owner, analyst, stranger; twice; with htmx."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from governance.audit.models import AuditEvent
from governance.people.models import User
from governance.triage.models import ExceptionCase
from governance.triage.services import open_or_join
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def case(workflow: Workflow) -> ExceptionCase:
    return opened(workflow, "policy_violation", "<b>Promised</b> a refund")


def opened(workflow: Workflow, kind: str, title: str) -> ExceptionCase:
    found = open_or_join(workflow, kind, title, title=title)
    assert found is not None
    return found


def test_the_queue_shows_what_is_open_and_escapes_it(
    case: ExceptionCase, analyst: User, owner: User, controller: User, login: Login
) -> None:
    for user in (analyst, owner):
        page = login(user).get("/exceptions/").content.decode()
        assert "&lt;b&gt;Promised&lt;/b&gt; a refund" in page
        assert f'id="exception-{case.pk}" data-exception tabindex="-1"' in page
        assert f"/receipts/?exception={case.pk}" in page
        for key in ("1", "2", "3", "Enter"):
            assert f'data-key="{key}"' in page
    stranger = login(controller).get("/exceptions/").content.decode()
    assert "Promised" not in stranger
    assert "Nothing to look at" in stranger
    assert Client().get("/exceptions/").status_code == 302


def test_without_javascript_an_act_goes_back_to_the_page_it_came_from(
    case: ExceptionCase, analyst: User, login: Login
) -> None:
    client = login(analyst)
    response = client.post(f"/exceptions/{case.pk}/take/", {"next": "/exceptions/?mine=1"})
    assert (response.status_code, response["Location"]) == (302, "/exceptions/?mine=1")
    case.refresh_from_db()
    assert (case.state, case.taken_by) == (ExceptionCase.State.TAKEN, analyst)
    elsewhere = client.post(
        f"/exceptions/{case.pk}/resolve/", {"next": "https://evil.example/", "comment": "Done."}
    )
    assert elsewhere["Location"] == "/exceptions/"
    case.refresh_from_db()
    assert (case.state, case.comment) == (ExceptionCase.State.RESOLVED, "Done.")
    assert AuditEvent.objects.filter(verb="exception.resolved").count() == 1


def test_with_htmx_the_answer_is_the_row_alone(
    case: ExceptionCase, analyst: User, login: Login
) -> None:
    client = login(analyst)
    row = client.post(f"/exceptions/{case.pk}/take/", headers=HTMX).content.decode()
    assert row.lstrip().startswith(f'<li id="exception-{case.pk}"')
    assert "taken by Analyst" in row
    assert "<html" not in row
    closed = client.post(
        f"/exceptions/{case.pk}/dismiss/", {"comment": "A test account."}, headers=HTMX
    ).content.decode()
    assert "Dismissed" in closed
    assert "A test account." in closed
    assert "data-key" not in closed.replace('data-key="Enter"', "")


def test_closing_needs_a_comment(case: ExceptionCase, analyst: User, login: Login) -> None:
    client = login(analyst)
    for act in ("resolve", "dismiss"):
        for headers in ({}, HTMX):
            response = client.post(
                f"/exceptions/{case.pk}/{act}/", {"comment": "  "}, headers=headers
            )
            assert response.status_code == 422
            assert "Write a comment" in response.content.decode()
    case.refresh_from_db()
    assert case.state == ExceptionCase.State.OPEN


def test_a_second_person_is_told_that_somebody_was_faster(
    case: ExceptionCase, analyst: User, owner: User, login: Login
) -> None:
    login(analyst).post(f"/exceptions/{case.pk}/take/")
    response = login(owner).post(f"/exceptions/{case.pk}/take/", headers=HTMX)
    assert response.status_code == 409
    assert "has taken this exception already" in response.content.decode()
    login(analyst).post(f"/exceptions/{case.pk}/resolve/", {"comment": "Done."})
    again = login(analyst).post(f"/exceptions/{case.pk}/resolve/", {"comment": "Done."})
    assert again.status_code == 409


def test_those_who_may_only_read_get_no_buttons_and_are_refused(
    case: ExceptionCase, auditor: User, controller: User, login: Login
) -> None:
    client = login(auditor)
    page = client.get("/exceptions/").content.decode()
    assert "Promised" in page
    assert 'data-key="1"' not in page
    for act in ("take", "resolve", "dismiss"):
        url = f"/exceptions/{case.pk}/{act}/"
        assert client.post(url, {"comment": "x"}).status_code == 403
        assert login(controller).post(url, {"comment": "x"}).status_code == 404
        assert client.get(url).status_code == 405
    case.refresh_from_db()
    assert case.state == ExceptionCase.State.OPEN


def test_filters_live_in_the_query_string(
    case: ExceptionCase, controller: User, analyst: User, login: Login
) -> None:
    other = create_workflow("close", "Close automation", owner=controller, actor=TESTER)
    second = opened(other, "unattributed", "No release named")
    client = login(analyst)

    def shown(query: str) -> set[int]:
        return {row["case"].pk for row in client.get(f"/exceptions/?{query}").context["rows"]}

    assert shown("") == {case.pk, second.pk}
    assert shown("workflow=close") == {second.pk}
    assert shown("kind=policy_violation") == {case.pk}
    assert shown("mine=1") == set()
    client.post(f"/exceptions/{second.pk}/dismiss/", {"comment": "Known."})
    assert shown("") == {case.pk}
    assert shown("state=dismissed") == {second.pk}
    assert shown("state=all") == {case.pk, second.pk}
    assert shown("workflow=%00&page=x&state=zzz") == {case.pk}
