"""The release pages: what a release is, what differs, asking for it."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable

from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from governance.people.models import User
from governance.releases.models import LiveRelease, Release
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.services import roll_back
from governance.workflows.models import Workflow
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures

Login = Callable[[User], Client]
Make = Callable[..., Release]


def test_each_slot_is_readable_and_a_missing_one_is_never_hidden(
    make_release: Make, auditor: User, login: Login
) -> None:
    release = make_release(feedback=None, prompt_policy={"greeting": "<script>alert(1)</script>"})
    page = login(auditor).get(reverse("release", args=(release.pk,))).content.decode()
    assert "Not declared" in page
    assert "Escalation threshold" in page
    assert '<code>lookup_order</code></th><td data-label="Right">read</td>' in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "The digest fits the manifest" in page
    assert "new in this release" in page


def test_a_slot_says_since_which_release_it_is_the_same(
    make_release: Make, auditor: User, login: Login
) -> None:
    make_release(0.35)
    page = login(auditor).get(reverse("release", args=(make_release(0.2).pk,))).content.decode()
    assert page.count("unchanged since r1") == 6
    assert page.count("new in this release") == 1


def test_comparing_says_it_in_words_first_and_then_as_text(
    make_release: Make, auditor: User, login: Login
) -> None:
    before, after = make_release(0.35), make_release(0.2)
    page = login(auditor).get(reverse("release-compare", args=(before.pk, after.pk)))
    shown = page.content.decode()
    words = shown.index("The escalation threshold goes from 0.35 to 0.2")
    assert words < shown.index('<del class="line del">')
    assert '<ins class="line ins">' in shown
    assert "High risk" in shown
    assert "A weaker guardrail" in shown


def test_a_builder_proposes_from_the_page(
    live: Release, make_release: Make, builder: User, login: Login
) -> None:
    release = make_release(0.3)
    client = login(builder)
    assert (
        "Ask for promotion" in client.get(reverse("release", args=(release.pk,))).content.decode()
    )
    url = reverse("promotion-propose", args=(release.pk,))

    empty = client.post(url, {"rationale": " "})
    assert empty.status_code == 422
    assert "Say why this release should become live." in empty.content.decode()

    answer = client.post(url, {"rationale": "It answers more."})
    promotion = Promotion.objects.get(release=release)
    assert answer["Location"] == reverse("promotion", args=(promotion.pk,))

    again = client.post(url, {"rationale": "And again, kept."})
    assert again.status_code == 409
    assert "is open. Decide or withdraw it first." in again.content.decode()


def test_after_a_rollback_only_the_fix_can_be_proposed(
    workflow: Workflow, propose: Callable[..., Promotion], approve: Callable[..., Promotion],
    make_release: Make, owner: User, builder: User, login: Login,
) -> None:  # fmt: skip
    approve(propose(), owner)
    roll_back(workflow, actor=owner, reason="worse")
    release, client = make_release(0.4), login(builder)
    url = reverse("promotion-propose", args=(release.pk,))

    refused = client.post(url, {"rationale": "Something else."})
    assert refused.status_code == 409
    assert "is not finished" in refused.content.decode()
    assert "Something else.</textarea>" in refused.content.decode()

    answer = client.post(url, {"rationale": "The fix.", "fixes": PostMortem.objects.get().pk})
    assert answer.status_code == 302


def test_the_owner_adopts_what_runs_after_confirming_the_password(
    workflow: Workflow, make_release: Make, owner: User, builder: User, login: Login,
    confirmed: Login,
) -> None:  # fmt: skip
    release = make_release()
    url, typed = reverse("release-adopt", args=(release.pk,)), {"reason": "It runs since spring."}

    assert login(owner).post(url, typed)["Location"].startswith("/reauthenticate/")
    assert confirmed(builder).post(url, typed).status_code == 403
    assert not LiveRelease.objects.exists()

    assert confirmed(owner).post(url, typed)["Location"] == f"/workflows/{workflow.slug}/"
    assert not LiveRelease.objects.get().gated
    assert confirmed(owner).post(url, typed).status_code == 409


def test_strangers_find_no_release(make_release: Make, controller: User, login: Login) -> None:
    release, client = make_release(), login(controller)
    assert client.get(reverse("release", args=(release.pk,))).status_code == 404
    assert client.get(reverse("release-compare", args=(release.pk, release.pk))).status_code == 404
    assert "No release to see" in client.get("/releases/").content.decode()


def test_the_list_is_filtered_by_its_query_string(
    make_release: Make, auditor: User, login: Login
) -> None:
    release, client = make_release(), login(auditor)
    assert release.pk in client.get("/releases/?workflow=support-triage").content.decode()
    assert release.pk not in client.get("/releases/?workflow=other").content.decode()


def test_pages_read_in_a_fixed_number_of_queries(
    make_release: Make, auditor: User, login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    releases = [make_release(0.1 + number / 100) for number in range(6)]
    client = login(auditor)
    client.get("/login/")  # the first request of a session writes it
    with django_assert_max_num_queries(7):
        client.get("/releases/")
    with django_assert_max_num_queries(15):
        client.get(reverse("release", args=(releases[0].pk,)))
    with django_assert_max_num_queries(7):
        client.get(reverse("release-compare", args=(releases[0].pk, releases[1].pk)))
