"""The recall list: read in pages, decided one by one or together, taken away as CSV."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from governance.common.time import now
from governance.people.models import User
from governance.releases.models import Release
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.recovery_models import RecallRow
from governance.rollouts.services import add_to_timeline, roll_back
from governance.workflows.models import Workflow
from tests.dashboards.reading import words
from tests.dashboards.sessions import approve, propose  # noqa: F401 - fixtures

Login = Callable[[User], Client]
Fill = Callable[..., None]


@pytest.fixture
def post_mortem(
    workflow: Workflow, propose: Callable[..., Promotion], approve: Callable[..., Promotion],
    owner: User,
) -> PostMortem:  # fmt: skip
    approve(propose(), owner)
    roll_back(workflow, actor=owner, reason="Too many were escalated.")
    return PostMortem.objects.get()


@pytest.fixture
def fill(post_mortem: PostMortem) -> Fill:
    """Cases as the receipts would list them."""

    def make(count: int, **more: Any) -> None:
        moment = now()
        RecallRow.objects.bulk_create(
            RecallRow(
                post_mortem=post_mortem, case_id=f"case {number:05}", runs=1, first_at=moment,
                last_at=moment,
                **{"amount": Decimal(number), "outcome": "refunded" if number % 2 else "", **more},
            )
            for number in range(count)
        )  # fmt: skip

    return make


def test_cases_are_chosen_and_decided_and_the_filters_stay(
    post_mortem: PostMortem, fill: Fill, owner: User, login: Login
) -> None:
    fill(6)
    client, decide = login(owner), reverse("post-mortem-recall-decide", args=(post_mortem.pk,))
    chosen = {"cases": ["case 00001", "case 00003"], "scope": "selected", "note": "By telephone"}
    assert client.post(decide, chosen).status_code == 422  # what is done about them?
    done = client.post(decide, {**chosen, "state": "contacted", "here": "state=undecided&least=1"})
    assert done["Location"].endswith("/recall/?state=undecided&least=1")
    page = words(client, reverse("post-mortem-recall", args=(post_mortem.pk,)))
    assert "Decided for 2 cases." in page
    assert "Customer contacted" in page
    assert "Head of Support" in page
    assert RecallRow.objects.filter(state="contacted", note="By telephone").count() == 2
    nothing = client.post(decide, {"scope": "selected", "state": "rerun"})
    assert (nothing.status_code, b"Choose at least one case." in nothing.content) == (422, True)


def test_all_that_wait_are_decided_at_once_but_only_those_that_the_filters_leave(
    post_mortem: PostMortem, fill: Fill, owner: User, login: Login
) -> None:
    fill(6)
    client, decide = login(owner), reverse("post-mortem-recall-decide", args=(post_mortem.pk,))
    all_of = {"scope": "matching", "state": "rerun"}
    client.post(decide, {**all_of, "here": "outcome=refunded"})
    assert set(RecallRow.objects.filter(state="rerun").values_list("outcome", flat=True)) == {
        "refunded"
    }
    client.post(decide, {**all_of, "state": "nothing_needed"})
    assert not RecallRow.objects.filter(state="undecided").exists()
    assert RecallRow.objects.filter(state="rerun").count() == 3  # what was decided stays


def test_the_list_is_searched_by_the_query_string(
    post_mortem: PostMortem, fill: Fill, auditor: User, login: Login
) -> None:
    fill(20)
    url, client = reverse("post-mortem-recall", args=(post_mortem.pk,)), login(auditor)
    assert "case 00019 19.00 USD refunded" in words(client, f"{url}?least=19")
    found = words(client, f"{url}?case=0001&order=case")
    assert found.index("case 00010") < found.index("case 00011")
    assert "case 00002" not in found
    assert "No case matches" in words(client, f"{url}?state=contacted")
    assert "case 00003" in words(client, f"{url}?state=%00&least=much&order=up&page=x")
    assert "Decide" not in words(client, url)  # an auditor reads


def test_the_csv_holds_every_row_and_no_formula(
    post_mortem: PostMortem, fill: Fill, owner: User, controller: User, login: Login
) -> None:
    fill(3)
    RecallRow.objects.filter(case_id="case 00001").update(case_id="=HYPERLINK(1)", amount=-5)
    url = reverse("post-mortem-recall-csv", args=(post_mortem.pk,))
    answer = login(owner).get(url)
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    rows = {row["case"]: row for row in csv.DictReader(text.splitlines())}
    assert set(rows) == {"case 00000", "'=HYPERLINK(1)", "case 00002"}
    assert rows["'=HYPERLINK(1)"]["amount"] == "-5.0000"
    assert rows["case 00002"]["state"] == "Undecided"
    assert answer["Cache-Control"] == "no-store"
    assert login(controller).get(url).status_code == 404


def test_ten_thousand_cases_page_with_the_same_few_queries(
    post_mortem: PostMortem, fill: Fill, owner: User, login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    fill(10_000)
    url, client = reverse("post-mortem-recall", args=(post_mortem.pk,)), login(owner)
    client.get(url)
    with django_assert_max_num_queries(9):
        first = words(client, url)
    assert "1–100 of 10,000" in first
    assert "Decide all 10,000 undecided" in first
    with django_assert_max_num_queries(10):
        assert "9,901–10,000 of 10,000" in words(client, f"{url}?state=undecided&page=100")
    decide = reverse("post-mortem-recall-decide", args=(post_mortem.pk,))
    client.post(decide, {"scope": "matching", "state": "nothing_needed"})
    assert not RecallRow.objects.filter(state="undecided").exists()


def test_the_page_says_what_stands_between_it_and_its_review(
    post_mortem: PostMortem, fill: Fill, owner: User, builder: User, login: Login,
    make_release: Callable[..., Release],
) -> None:  # fmt: skip
    fill(2)
    fix = make_release(0.9)
    client, url = login(owner), reverse("post-mortem", args=(post_mortem.pk,))
    page = words(client, url)
    missing = "the cause, the impact, at least one action, a decision on 2 cases of the recall list"
    assert f"Still missing: {missing}." in page
    assert "Proved with run receipts" in page
    assert "Propose a release as its fix" not in page  # a builder proposes
    builders = login(builder)
    propose = f"{reverse('promotion-propose', args=(fix.pk,))}?fixes={post_mortem.pk}"
    assert propose in builders.get(url).content.decode()
    chosen = f'<option value="{post_mortem.pk}" selected>'
    assert chosen in builders.get(propose).content.decode()


def test_an_overdue_one_says_since_when(post_mortem: PostMortem, owner: User, login: Login) -> None:
    PostMortem.objects.update(due_at=now() - timedelta(days=3, hours=1))
    client = login(owner)
    page = words(client, reverse("post-mortem", args=(post_mortem.pk,)))
    assert "Overdue for 3 days, since" in page
    assert re.search(r"Overdue .* since ", words(client, "/post-mortems/"))


def test_people_add_to_the_timeline_what_no_machine_knows(
    post_mortem: PostMortem, owner: User, auditor: User, login: Login
) -> None:
    client = login(owner)
    add = reverse("post-mortem-add-to-timeline", args=(post_mortem.pk,))
    assert client.post(add, {"what": "x", "at": "soon"}).status_code == 422
    assert client.post(add, {"what": "x", "at": "2099-01-01T10:00"}).status_code == 422
    earlier = f"{post_mortem.opened_at - timedelta(days=400):%Y-%m-%dT%H:%M}"
    assert client.post(add, {"what": "A <customer> called.", "at": earlier}).status_code == 302
    post_mortem.refresh_from_db()
    assert post_mortem.timeline[0]["what"] == "A <customer> called."
    page = client.get(reverse("post-mortem", args=(post_mortem.pk,))).content.decode()
    assert "A &lt;customer&gt; called." in page
    assert login(auditor).post(add, {"what": "mine"}).status_code == 403
    for number in range(15):
        add_to_timeline(post_mortem.pk, actor=owner, what=f"Call {number}")
    assert "earlier entries" in words(client, reverse("post-mortem", args=(post_mortem.pk,)))
