"""Run receipts: found in every way, seen only by those who may, hostile text kept harmless."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlencode, urljoin

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboards.hostile import LONGEST_SHOWN, reveal
from governance.common.time import now
from governance.people.models import User
from governance.people.services import create_token
from governance.receipts import partitions
from governance.receipts.drafts import ReceiptDraft
from governance.receipts.models import Receipt
from governance.receipts.services import store
from governance.releases.models import Release
from governance.triage.services import triage_receipts
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.api.conftest import adopt
from tests.conftest import TESTER

__all__ = ("adopt",)
pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]


@pytest.fixture(autouse=True)
def _fresh_partition_memory() -> Iterator[None]:
    partitions.forget()
    yield
    partitions.forget()


@pytest.fixture
def send(workflow: Workflow) -> Callable[..., Receipt]:
    def one(run_id: str, at: datetime | None = None, **more: Any) -> Receipt:
        draft = ReceiptDraft(
            run_id=run_id,
            started_at=at or now(),
            **{"workflow": workflow.slug, **more},
        )
        assert store([draft]).accepted == 1
        return Receipt.objects.get(run_id=run_id, day=draft.day)

    return one


def ids(response: Any) -> list[str]:
    return [row.run_id for row in response.context["rows"]]


def test_each_filter_finds_its_receipts(
    workflow: Workflow,
    make_release: Callable[..., Release],
    adopt: Callable[[Release], Any],
    send: Callable[..., Receipt],
    controller: User,
    analyst: User,
    login: Login,
) -> None:
    release = make_release()
    adopt(release)
    create_workflow("close", "Close automation", owner=controller, actor=TESTER)
    moment = now()
    send("run-1", moment, release=release.digest, case_id="case-1")
    send("run-2", moment - timedelta(minutes=1), case_id="case-2")
    send("run-3", moment - timedelta(days=3), release="sha256:" + "9" * 64, case_id="case-1")
    send("run-4", moment - timedelta(days=30), release=release.digest)
    send("run-5", moment - timedelta(minutes=2), workflow="close")
    client = login(analyst)

    def found(query: str) -> set[str]:
        return set(ids(client.get(f"/receipts/?{query}")))

    today = moment.date().isoformat()
    assert found("") == {"run-1", "run-2", "run-3", "run-5"}  # the last seven days
    assert found("run=run-4") == {"run-4"}
    assert found("case=case-1") == {"run-1", "run-3"}
    assert found("workflow=close") == {"run-5"}
    assert found("release=r1") == {"run-1"}
    assert found(f"release={release.digest}&from=2000-01-01") == {"run-1", "run-4"}
    assert found("release=sha256:9999") == {"run-3"}
    assert found("release=nonsense") == set()
    assert found("standing=unattributed") == {"run-2", "run-5"}
    assert "run-3" in found("standing=unauthorised")
    assert found(f"from={today}&to={today}") <= {"run-1", "run-2", "run-5"}
    assert found(f"to={(moment - timedelta(days=20)).date()}") == {"run-4"}
    assert found("run=%00&case=&workflow=&from=x&exception=x&at=x") >= {"run-1"}
    empty = client.get("/receipts/?run=nothing").content.decode()
    assert "No run receipt matches" in empty


def test_steps_go_through_everything_once(
    workflow: Workflow, send: Callable[..., Receipt], analyst: User, login: Login
) -> None:
    moment = now()
    drafts = [
        ReceiptDraft(
            run_id=f"run-{number:03}",
            workflow=workflow.slug,
            started_at=moment - timedelta(seconds=number // 7),  # several share one moment
        )
        for number in range(120)
    ]
    assert store(drafts).accepted == 120
    client = login(analyst)
    seen: list[str] = []
    url = "/receipts/"
    while True:
        response = client.get(url)
        seen += ids(response)
        if not response.context["older"]:
            break
        url = f"/receipts/?{response.context['older']}"
    assert len(seen) == len(set(seen)) == 120


def test_strangers_see_nothing_of_a_workflow_that_is_not_theirs(
    send: Callable[..., Receipt],
    owner: User,
    controller: User,
    outsider: User,
    login: Login,
) -> None:
    row = send("run-1")
    url = f"/receipts/{row.day}/run-1/"
    assert login(owner).get(url).status_code == 200
    for stranger in (controller, outsider):
        assert ids(login(stranger).get("/receipts/?run=run-1")) == []
        assert login(stranger).get(url).status_code == 404
    assert Client().get(url).status_code == 302
    assert login(owner).post(url).status_code == 405
    assert login(owner).get("/receipts/2026-99-99/run-1/").status_code == 404


def test_the_receipts_behind_an_exception_are_found_by_those_who_see_the_exception(
    send: Callable[..., Receipt],
    analyst: User,
    controller: User,
    login: Login,
) -> None:
    bad = send("run-1", violations=["promised a refund"])
    send("run-2")
    case = next(
        case for case in triage_receipts([(bad.day, bad.run_id)]) if case.kind == "policy_violation"
    )
    response = login(analyst).get(f"/receipts/?exception={case.pk}")
    assert ids(response) == ["run-1"]
    assert "Behind the exception" in response.content.decode()
    page = login(analyst).get(f"/receipts/{bad.day}/run-1/").content.decode()
    assert "Exceptions it stands behind" in page
    stranger = login(controller).get(f"/receipts/?exception={case.pk}")
    assert ids(stranger) == []
    assert case.title not in stranger.content.decode()


def test_a_receipt_shows_everything_and_renders_none_of_it(
    send: Callable[..., Receipt], analyst: User, login: Login
) -> None:
    row = send(
        "run/1 ?#<b>",
        case_id="<script>alert(1)</script>",
        segment="{{7*7}}",
        outcome="invoice\u202efdp.exe",
        refs={"invoice": "<svg onload=alert(1)>"},
        measures={"first_response_s": 41.5},
        violations=["said <b>yes</b>"],
        cost=Decimal("0.0123"),
        amount=Decimal("1250.50"),
        currency="USD",
        escalated=True,
        duration_ms=830.0,
    )
    client = login(analyst)
    listed = client.get("/receipts/").content.decode()
    link = f"/receipts/{row.day}/-/?{urlencode({'run': row.run_id})}"
    assert link in listed
    page = client.get(link).content.decode()
    for harmless in (
        "&lt;script&gt;alert(1)&lt;/script&gt;", "{{7*7}}", "invoice⟦U+202E⟧fdp.exe",
        "&lt;svg onload=alert(1)&gt;", "said &lt;b&gt;yes&lt;/b&gt;", "41.5", "$0.012",
        "1,250.50", "830", "Hidden characters.",
    ):  # fmt: skip
        assert harmless in page, harmless
    for body in (page, listed):
        assert "<script>alert" not in body
        assert "<svg onload" not in body
        assert "\u202e" not in body


def test_a_receipt_names_its_token_to_those_who_see_tokens(
    workflow: Workflow, admin: User, analyst: User, login: Login
) -> None:
    made = now()
    token, _ = create_token("billing gateway", scopes=["receipts:write"], actor=admin)
    store([ReceiptDraft(run_id="a", started_at=made, workflow=workflow.slug)], token=token)
    row = Receipt.objects.get(run_id="a")
    link = f"/receipts/{row.day}/-/?run=a"
    assert "with the token “billing gateway”" in login(admin).get(link).content.decode()
    assert f"with token number {token.pk}" in login(analyst).get(link).content.decode()


@pytest.mark.parametrize(
    "run_id",
    [".", "..", "a/../b", "/a//b/", "a%2Fb", "a b", " a", "a?b#c", "a\\b", "-", "\u202ea", "ü"],
)
def test_a_receipt_of_any_run_id_is_reached_by_its_link(
    run_id: str, send: Callable[..., Receipt], analyst: User, login: Login
) -> None:
    send(run_id, outcome="the right one")
    send("other", outcome="another one")
    client = login(analyst)
    listed = client.get("/receipts/").content.decode()
    links = re.findall(r'class="run-id"[^>]*href="([^"]*)"', listed)
    (link,) = (html.unescape(found) for found in links if not found.endswith("/other/"))
    # A browser resolves dots, and a proxy may decode and join slashes, before it asks.
    assert urljoin("http://host/receipts/", link) == f"http://host{link}"
    path = unquote(link.partition("?")[0])
    assert "//" not in path
    assert len(path.strip("/").split("/")) == 3
    page = client.get(link)
    assert page.status_code == 200
    assert "the right one" in page.content.decode()


def test_hidden_characters_are_named_and_long_text_is_cut() -> None:
    assert reveal("a\u200bb\x07c\n") == "a⟦U+200B⟧b⟦U+0007⟧c\n"
    assert reveal("שלום 👋 café") == "שלום 👋 café"
    assert reveal("one\r\ntwo\rthree") == "one\r\ntwo⟦U+000D⟧three"
    assert reveal("\x85\ue000\U000f0001\ud800") == "⟦U+0085⟧⟦U+E000⟧⟦U+F0001⟧⟦U+D800⟧"
    cut = reveal("x" * (LONGEST_SHOWN + 5))
    assert cut.endswith("⟦5 more characters are not shown⟧")


def test_the_list_costs_the_same_queries_for_one_and_for_fifty(
    workflow: Workflow,
    analyst: User,
    login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    drafts = [
        ReceiptDraft(run_id=f"r{number}", workflow=workflow.slug, started_at=now())
        for number in range(50)
    ]
    store(drafts)
    client = login(analyst)
    with django_assert_max_num_queries(10):
        client.get("/receipts/")
