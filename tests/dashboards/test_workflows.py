"""The workflow pages: what runs, why, and the way back."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from dashboards.workflow_page import CAUSES
from governance.people.models import User
from governance.releases.models import LiveRelease, Release
from governance.rollouts.models import LiveChange, PostMortem, Promotion, Rollback
from governance.rollouts.services import roll_back
from governance.workflows.models import Workflow
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures

Approve = Callable[..., Promotion]
Propose = Callable[..., Promotion]


@pytest.fixture
def promoted(propose: Propose, approve: Approve, owner: User) -> Promotion:
    """A second release is live, so there is something to go back to."""
    return approve(propose(), owner)


def test_the_page_says_what_runs_who_approved_it_and_why(
    workflow: Workflow, promoted: Promotion, owner: User, login: Callable[[User], Client]
) -> None:
    page = login(owner).get(reverse("workflow", args=(workflow.slug,))).content.decode()
    assert "Passed its gate" in page
    assert "The evidence convinces me." in page
    assert promoted.release_id in page
    assert "Roll back to r1" in page


def test_what_was_adopted_as_found_is_marked_not_gated(
    workflow: Workflow, live: Release, auditor: User, login: Callable[[User], Client]
) -> None:
    page = login(auditor).get(reverse("workflow", args=(workflow.slug,))).content.decode()
    assert "Adopted as found, not gated" in page
    assert "There is no earlier good release" in page


def test_a_workflow_without_anything_says_what_to_do(
    workflow: Workflow, owner: User, login: Callable[[User], Client]
) -> None:
    page = login(owner).get(reverse("workflow", args=(workflow.slug,))).content.decode()
    assert "A builder registers the release that already runs" in page


def test_rolling_back_takes_a_page_a_reason_and_no_script(
    workflow: Workflow, promoted: Promotion, owner: User, login: Callable[[User], Client]
) -> None:
    client, url = login(owner), reverse("workflow-roll-back", args=(workflow.slug,))
    assert "Goes back to" in client.get(url).content.decode()

    answer = client.post(url, {"preset": "It broke a policy", "reason": "money promised", "seq": 2})

    done = Rollback.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/rollbacks/{done.pk}/")
    assert done.reason == "It broke a policy: money promised"
    assert LiveRelease.objects.get(workflow=workflow).release.number == 1
    page = client.get(answer["Location"]).content.decode()
    assert "A post-mortem is open" in page
    assert reverse("post-mortem", args=(PostMortem.objects.get().pk,)) in page


def test_going_back_without_a_reason_is_answered_with_the_form(
    workflow: Workflow, promoted: Promotion, owner: User, login: Callable[[User], Client]
) -> None:
    answer = login(owner).post(reverse("workflow-roll-back", args=(workflow.slug,)), {"seq": 2})
    assert answer.status_code == 422
    assert "Say why" in answer.content.decode()
    assert not Rollback.objects.exists()


def test_the_second_of_two_people_learns_that_somebody_was_faster(
    workflow: Workflow, promoted: Promotion, owner: User, cfo: User,
    login: Callable[[User], Client],
) -> None:  # fmt: skip
    roll_back(workflow, actor=owner, reason="first")
    answer = login(cfo).post(
        reverse("workflow-roll-back", args=(workflow.slug,)), {"reason": "second", "seq": 2}
    )
    assert answer.status_code == 409
    assert "Somebody was faster" in answer.content.decode()
    assert Rollback.objects.count() == 1


def test_who_only_reads_is_refused_and_strangers_see_nothing(
    workflow: Workflow, promoted: Promotion, auditor: User, controller: User,
    login: Callable[[User], Client],
) -> None:  # fmt: skip
    url = reverse("workflow-roll-back", args=(workflow.slug,))
    assert login(auditor).post(url, {"reason": "I audit", "seq": 2}).status_code == 403
    assert login(controller).post(url, {"reason": "not mine", "seq": 2}).status_code == 404
    assert login(auditor).put(url).status_code == 405
    assert not Rollback.objects.exists()
    assert "Roll back…" not in login(auditor).get("/workflows/support-triage/").content.decode()


def test_the_list_shows_own_workflows_only(
    workflow: Workflow, owner: User, controller: User, login: Callable[[User], Client]
) -> None:
    assert "Support triage" in login(owner).get("/workflows/").content.decode()
    page = login(controller).get("/workflows/").content.decode()
    assert "Support triage" not in page
    assert "No workflow to see" in page


def test_the_queries_do_not_grow_with_history(
    workflow: Workflow, promoted: Promotion, propose: Propose, approve: Approve, owner: User,
    login: Callable[[User], Client], django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    client, url = login(owner), reverse("workflow", args=(workflow.slug,))
    client.get("/workflows/")  # the first request of a session writes it
    with django_assert_max_num_queries(WORKFLOW_QUERIES):
        client.get(url)
    for right in (95, 99):
        approve(propose(right), owner)
    with django_assert_max_num_queries(WORKFLOW_QUERIES):
        client.get(url)
    with django_assert_max_num_queries(4):
        client.get("/workflows/")


WORKFLOW_QUERIES = 34


def test_kpis_show_the_week_with_target_limit_and_status(
    workflow: Workflow, promoted: Promotion, measured: None, owner: User,
    login: Callable[[User], Client],
) -> None:  # fmt: skip
    page = login(owner).get(reverse("workflow", args=(workflow.slug,))).content.decode()
    assert "Time to first response" in page
    assert "6\N{NO-BREAK SPACE}m\N{NO-BREAK SPACE}40\N{NO-BREAK SPACE}s" in page
    assert "On track" in page
    assert "approves promotions" in page
    assert 'class="flag"' in page  # the releases of these weeks


def test_every_cause_of_a_change_has_its_words() -> None:
    assert set(CAUSES) == set(LiveChange.Cause)
