"""A live release's page: declared against observed, rights to take back, its line; corpora."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from governance.common.time import now
from governance.people.models import User
from governance.receipts.services import store
from governance.receipts.unused_tools import tool_use
from governance.releases.models import Release, ReleaseApproval, Slot
from governance.rollouts import services as rollouts
from governance.triage.models import ExceptionCase
from tests.dashboards.sessions import approve, propose  # noqa: F401 - fixtures
from tests.receipts.drafts import draft
from tests.rollouts.conftest import work

Login = Callable[[User], Client]
Make = Callable[..., Release]
TOOLS = {
    "tools": [
        {"name": "lookup_order", "permission": "read"},
        {"name": "refund", "permission": "write", "money_limit": "50.00", "currency": "EUR"},
    ]
}


def component(release: Release, slot: str) -> str:
    return str(release.manifest["slots"][slot])


@pytest.fixture
def adopted(make_release: Make, owner: User) -> Release:
    release = make_release(tools=TOOLS)
    rollouts.adopt_as_found(release, actor=owner, reason="It runs.", authenticated_at=now())
    return release


def run(release: Release, run_id: str, **said: Any) -> None:
    said.setdefault("started_at", now())
    store([draft(run_id, release=release.pk, **said)])


def show(client: Client, release: Release) -> str:
    return unescape(client.get(reverse("release", args=(release.pk,))).content.decode())


def part(page: str, slot: str) -> str:
    return page.split(f'id="slot-{slot}"')[1].split('<li id="slot-')[0]


def test_each_slot_of_a_live_release_matches_differs_or_is_not_observed(
    adopted: Release, make_release: Make, auditor: User, login: Login
) -> None:
    other = make_release(0.2, tools=TOOLS)
    honest = {"model": component(adopted, "model"), "guardrails": component(adopted, "guardrails")}
    run(adopted, "honest", observed=honest)
    run(adopted, "changed", observed={**honest, "guardrails": component(other, "guardrails")})
    work()
    page = show(login(auditor), adopted)
    case = ExceptionCase.objects.get()

    assert "Matches" in part(page, "model")
    assert "Not observed" in part(page, "routing")
    guardrails = part(page, "guardrails")
    assert "Differs" in guardrails
    assert f"#exception-{case.pk}" in guardrails
    assert "The escalation threshold goes from 0.35 to 0.20." in guardrails
    assert f"{other.name} {other.title}</a> declares" in guardrails
    assert "/changed/" in guardrails
    assert "What runs is not what r1 declares." in page
    # The same in the title, so that the weekly page says it too.
    assert case.title == (
        "Undeclared change of r1, Guardrails: the escalation threshold goes from 0.35 to 0.20"
    )


def test_a_slot_matches_again_a_day_after_the_last_run_that_differed(
    adopted: Release, auditor: User, login: Login
) -> None:
    changed = {"guardrails": "sha256:" + "0" * 64}
    run(adopted, "changed", observed=changed, started_at=now() - timedelta(hours=25))
    page = show(login(auditor), adopted)
    assert "Differs" in part(page, "guardrails")  # nothing that matches came after it
    run(adopted, "honest", observed={"guardrails": component(adopted, "guardrails")})
    guardrails = part(show(login(auditor), adopted), "guardrails")
    assert "Matches" in guardrails
    assert "Some runs showed something else before" in guardrails
    assert "which no release declares" in guardrails


def test_names_that_the_schema_does_not_know_are_flagged(
    make_release: Make, auditor: User, login: Login
) -> None:
    release = make_release(guardrails={"escalation_threshold": 0.3, "mood": "sunny"})
    guardrails = part(show(login(auditor), release), "guardrails")
    assert "Not in the schema" in guardrails
    assert "<code>mood</code>" in guardrails


def test_a_tool_that_nobody_used_for_thirty_days_is_proposed_for_revocation(
    adopted: Release, builder: User, auditor: User, login: Login
) -> None:
    long_ago = now() - timedelta(days=40)
    run(adopted, "old", observed={"tools": "lookup_order, refund:write"}, started_at=long_ago)
    run(adopted, "new", observed={"tools": "lookup_order"})
    # Granted for less than thirty days: nothing to say yet.
    assert tool_use(adopted).unused == ()

    ReleaseApproval.objects.update(valid_from=long_ago - timedelta(days=1))
    (unused,) = tool_use(adopted).unused
    assert (unused.name, unused.right, unused.last_used) == ("refund", "write", long_ago)

    page = show(login(builder), adopted)
    assert "1 tool granted and not used for 30 days or more" in page
    url = page.split('class="button small" href="')[1].split('"')[0]
    assert "without=refund" in url
    prepared = unescape(login(builder).get(url).content.decode())
    assert '"name": "lookup_order"' in prepared
    assert '"name": "refund"' not in prepared
    assert "A builder can prepare a release without it." in show(login(auditor), adopted)

    run(adopted, "used", observed={"tools.used": "refund:write"})
    assert tool_use(adopted).unused == ()


def test_nothing_is_called_unused_where_runs_do_not_name_their_tools(adopted: Release) -> None:
    ReleaseApproval.objects.update(valid_from=now() - timedelta(days=90))
    run(adopted, "digest", observed={"tools": component(adopted, "tools")})
    assert tool_use(adopted).named_since is None
    # Naming began ten days ago: thirty days are not over.
    run(
        adopted, "named", observed={"tools": "lookup_order"},
        started_at=now() - timedelta(days=10),
    )  # fmt: skip
    run(adopted, "now", observed={"tools": "lookup_order"})
    assert tool_use(adopted).unused == ()


def test_naming_that_stopped_says_nothing_about_use(adopted: Release) -> None:
    ReleaseApproval.objects.update(valid_from=now() - timedelta(days=90))
    for days in (70, 45):
        run(
            adopted, f"{days}", observed={"tools": "lookup_order"},
            started_at=now() - timedelta(days=days),
        )  # fmt: skip
    assert tool_use(adopted).unused == ()


def test_the_line_of_a_release_says_what_came_before_and_after(
    live: Release, propose: Any, approve: Any, owner: User, auditor: User, login: Login
) -> None:
    promotion = propose()
    approve(promotion, owner)
    rollouts.roll_back(promotion.workflow, actor=owner, reason="worse")
    page = show(login(auditor), promotion.release)
    assert "Came from" in page
    assert "Rolled back to" in page
    assert f"/releases/{live.pk}/compare/{promotion.release_id}/" in page
    first = show(login(auditor), live)
    assert "Followed by" in first


def test_the_page_of_a_live_release_reads_in_a_fixed_number_of_queries(
    adopted: Release, make_release: Make, builder: User, login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    others = [make_release(number / 100, tools=TOOLS) for number in range(1, 6)]
    for number, other in enumerate(others):
        seen = {slot: component(other, slot) for slot in Slot.values}
        run(adopted, f"run-{number}", observed={**seen, "tools.used": f"tool-{number}"})
    work()
    client = login(builder)
    client.get("/login/")  # the first request of a session writes it
    with django_assert_max_num_queries(24):
        client.get(reverse("release", args=(adopted.pk,)))


def corpus(*documents: tuple[str, str]) -> dict[str, Any]:
    return {"source": "kb", "documents": [{"id": d, "sha256": h * 64} for d, h in documents]}


def test_documents_are_found_by_their_ids_and_taken_as_csv(
    make_release: Make, auditor: User, login: Login
) -> None:
    before = make_release(retrieval=corpus(("a/old", "1"), ("a/kept", "2"), ("b/edited", "3")))
    after = make_release(
        retrieval=corpus(("a/kept", "2"), ("b/edited", "4"), ("=cmd()", "5"), ("c/new", "6"))
    )
    client, url = login(auditor), reverse("release-compare", args=(before.pk, after.pk))
    page = unescape(client.get(url).content.decode())
    for name in ("a/old", "b/edited", "=cmd()", "c/new"):
        assert f"<code>{name}</code>" in page
    assert "<code>a/kept</code>" not in page

    found = unescape(client.get(f"{url}?find=NEW&kind=added").content.decode())
    assert "<code>c/new</code>" in found
    assert "<code>a/old</code>" not in found
    assert 'value="NEW"' in found

    answer = client.get(reverse("release-compare-documents", args=(before.pk, after.pk)))
    rows = list(csv.reader(io.StringIO(b"".join(answer).decode())))
    assert rows == [
        ["change", "document", "sha256 before", "sha256 after"],
        ["added", "'=cmd()", "", "5" * 64],
        ["added", "c/new", "", "6" * 64],
        ["removed", "a/old", "1" * 64, ""],
        ["edited", "b/edited", "3" * 64, "4" * 64],
    ]


def test_texts_are_compared_word_by_word_and_readable_without_colour(
    make_release: Make, auditor: User, login: Login
) -> None:
    before = make_release(prompt_policy={"greeting": "Thank you for writing to us today."})
    after = make_release(prompt_policy={"greeting": "Thank you for calling us <b>today</b>."})
    page = login(auditor).get(reverse("release-compare", args=(before.pk, after.pk)))
    shown = page.content.decode()
    removed = '<del><span class="visually-hidden">[removed: </span>'
    assert removed in shown
    assert '<ins><span class="visually-hidden">[added: </span>' in shown
    assert "<b>today</b>" not in shown


def test_settings_stand_before_and_after_beside_each_other(
    make_release: Make, auditor: User, login: Login
) -> None:
    before, after = make_release(0.35, tools=TOOLS), make_release(0.2)
    page = login(auditor).get(reverse("release-compare", args=(before.pk, after.pk)))
    shown = unescape(page.content.decode())
    assert '<th scope="row">Escalation threshold</th><td><del class="whole">0.35</del>' in shown
    assert '<ins class="whole">0.20</ins>' in shown
    assert '<th scope="row">Tools › refund › permission</th>' in shown


def test_a_page_of_a_large_corpus_stays_small(
    make_release: Make, auditor: User, login: Login
) -> None:
    def documents(first: int) -> dict[str, Any]:
        ids = range(first, first + 20_000)
        return {"documents": [{"id": f"kb/{n:06}", "sha256": f"{n:064x}"} for n in ids]}

    before, after = make_release(retrieval=documents(0)), make_release(retrieval=documents(10_000))
    client = login(auditor)
    url = reverse("release-compare", args=(before.pk, after.pk))
    assert len(client.get(url).content) < 120_000
    assert len(client.get(reverse("release", args=(after.pk,))).content) < 200_000


def test_an_exception_says_what_was_declared_and_what_was_observed(
    adopted: Release, make_release: Make, analyst: User, login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    other = make_release(0.2, tools=TOOLS)
    run(adopted, "changed", observed={"guardrails": component(other, "guardrails")})
    run(adopted, "model", model_answered="<b>gpt-9</b>")
    run(other, "early")
    work()
    client = login(analyst)
    client.get("/login/")
    with django_assert_max_num_queries(16):
        page = unescape(client.get("/exceptions/").content.decode())
    assert f"/releases/{adopted.pk}/#slot-guardrails" in page
    assert "The escalation threshold goes from 0.35 to 0.20." in page
    assert ">r2 Threshold 0.2</a> declares" in page
    assert "the first case" in page
    assert "never for Support triage" in page
    raw = client.get("/exceptions/").content.decode()
    assert "<b>gpt-9" not in raw
