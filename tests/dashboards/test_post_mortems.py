"""Post-mortem pages: written while it is fresh, finished before the next promotion."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from governance.common.time import now, today
from governance.people.models import User
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.recovery_models import PostMortemAction
from governance.rollouts.services import roll_back
from governance.workflows.models import Workflow
from tests.dashboards.sessions import approve, propose  # noqa: F401 - fixtures

Login = Callable[[User], Client]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def post_mortem(
    workflow: Workflow, propose: Callable[..., Promotion], approve: Callable[..., Promotion],
    owner: User,
) -> PostMortem:  # fmt: skip
    approve(propose(), owner)
    roll_back(workflow, actor=owner, reason="Too many were <escalated>.")
    return PostMortem.objects.get()


def test_it_opens_with_the_timeline_of_what_happened(
    post_mortem: PostMortem, owner: User, login: Login
) -> None:
    page = login(owner).get(reverse("post-mortem", args=(post_mortem.pk,))).content.decode()
    assert "proposed the promotion" in page
    assert "made live" in page
    assert "Too many were &lt;escalated&gt;." in page
    assert "Overdue" not in page


def test_one_person_writes_it_and_another_finishes_it_without_a_script(
    post_mortem: PostMortem, owner: User, builder: User, login: Login
) -> None:
    client, key = login(owner), (post_mortem.pk,)
    submit, finish = (reverse(f"post-mortem-{verb}", args=key) for verb in ("submit", "finish"))
    show = reverse("post-mortem", args=key)

    early = client.post(submit)
    assert early.status_code == 422
    assert "Still missing: the cause, the impact, at least one action." in early.content.decode()

    typed = {"cause": "A threshold of the old model.", "impact": "212 cases."}
    assert client.post(reverse("post-mortem-write", args=key), typed).status_code == 302
    action = {
        "text": "Tune it",
        "owner": owner.pk,
        "due_on": (today() + timedelta(days=5)).isoformat(),
    }
    late = client.post(
        reverse("post-mortem-add-action", args=key),
        {**action, "due_on": (today() - timedelta(days=1)).isoformat()},
    )
    assert late.status_code == 422
    assert "It is due today or on a day to come." in late.content.decode()
    assert client.post(reverse("post-mortem-add-action", args=key), action).status_code == 302
    assert client.post(finish).status_code == 409  # nobody has handed it in
    assert client.post(submit).status_code == 302
    assert client.post(submit).status_code == 409
    assert finish not in client.get(show).content.decode()
    assert client.post(finish).status_code == 403  # its writer does not review it

    reviewer = login(builder)
    assert finish in reviewer.get(show).content.decode()
    give_back = reverse("post-mortem-return", args=key)
    assert reviewer.post(give_back, {"reason": ""}).status_code == 422
    assert reviewer.post(give_back, {"reason": "Since when?"}).status_code == 302
    assert client.post(submit).status_code == 302
    assert reviewer.post(finish).status_code == 302

    page = client.get(show).content.decode()
    assert "Finished by Builder" in page
    assert "A threshold of the old model." in page
    assert reviewer.post(finish).status_code == 409
    late = client.post(reverse("post-mortem-write", args=key), {"cause": "Other", "impact": ""})
    assert late.status_code == 409
    assert PostMortem.objects.get().cause == "A threshold of the old model."


def test_an_action_is_added_and_done_as_a_fragment(
    post_mortem: PostMortem, owner: User, login: Login
) -> None:
    client = login(owner)
    url = reverse("post-mortem-add-action", args=(post_mortem.pk,))

    wrong = client.post(url, {"text": "x", "due_on": "soon"}, headers=HTMX)
    assert wrong.status_code == 422
    assert "Write the day as 2026-11-30." in wrong.content.decode()

    added = client.post(url, {"text": "Tune it"}, headers=HTMX).content.decode()
    assert added.lstrip().startswith('<section class="section" id="actions"')
    assert "Tune it" in added

    done = reverse("post-mortem-finish-action", args=(PostMortemAction.objects.get().pk,))
    assert "Done" in client.post(done, headers=HTMX).content.decode()
    again = client.post(done, headers=HTMX)
    assert again.status_code == 409
    assert "This action is done already." in again.content.decode()


def test_what_is_overdue_is_marked_in_the_list_and_the_navigation(
    post_mortem: PostMortem, owner: User, login: Login
) -> None:
    client = login(owner)
    assert "Overdue" not in client.get("/post-mortems/").content.decode()
    PostMortem.objects.update(due_at=now() - timedelta(minutes=1))
    page = client.get("/post-mortems/").content.decode()
    assert "Overdue" in page
    assert 'class="count due"' in page


def test_readers_cannot_write_and_strangers_cannot_read(
    post_mortem: PostMortem, auditor: User, controller: User, login: Login
) -> None:
    typed = {"cause": "mine", "impact": "mine"}
    write = reverse("post-mortem-write", args=(post_mortem.pk,))
    assert login(auditor).post(write, typed).status_code == 403
    assert login(controller).post(write, typed).status_code == 404
    assert (
        "<textarea" not in login(auditor).get(f"/post-mortems/{post_mortem.pk}/").content.decode()
    )
    assert login(controller).get(f"/post-mortems/{post_mortem.pk}/").status_code == 404
    assert "No post-mortem" in login(controller).get("/post-mortems/").content.decode()
    assert PostMortem.objects.get().cause == ""


def test_pages_read_in_a_fixed_number_of_queries(
    post_mortem: PostMortem, owner: User, login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    client = login(owner)
    client.get("/login/")  # the first request of a session writes it
    with django_assert_max_num_queries(6):
        client.get("/post-mortems/")
    with django_assert_max_num_queries(21):
        client.get(reverse("post-mortem", args=(post_mortem.pk,)))
