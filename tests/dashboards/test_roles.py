"""The role table of the design, tried on every page: roles × URLs × GET and POST.

The table below names who gets through. A URL that is not in it fails the test, so nobody adds a
page without saying whose it is.
"""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLResolver, get_resolver, reverse

from dashboards.urls import urlpatterns
from governance.common.time import now
from governance.evals.models import EvalRun
from governance.jobs.models import Job
from governance.kpis.models import Kpi
from governance.people.models import User
from governance.people.services import create_token
from governance.receipts import partitions
from governance.receipts.models import Receipt
from governance.releases.models import Release
from governance.reviews.cadence import period_of
from governance.reviews.models import ChecklistItem
from governance.reviews.services import open_review
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.services import add_action, roll_back, write_post_mortem
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER
from tests.dashboards import role_rows
from tests.dashboards.role_rows import (
    ADMIN,
    ANALYST,
    AUDITOR,
    BUILDER,
    EXECUTIVE,
    NOBODY,
    OTHER_OWNER,
    OUTSIDER,
    OWNER,
    ROLES,
    Cast,
    Row,
    World,
)
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures

AREAS = [
    import_module(f"{role_rows.__name__}.{module.name}")
    for module in iter_modules(role_rows.__path__)
]
TABLE: dict[str, Row] = {name: row for area in AREAS for name, row in area.ROWS.items()}


@pytest.fixture
def world(
    workflow: Workflow, live: Release, propose: Callable[..., Promotion],
    approve: Callable[..., Promotion], make_release: Callable[..., Release], owner: User,
    person: Callable[..., User], cfo: User, builder: User,
) -> World:  # fmt: skip
    """One of everything, in a state in which each act is possible for somebody."""
    approve(propose(70), owner)
    roll_back(workflow, actor=owner, reason="worse")
    post_mortem = PostMortem.objects.get()
    action = add_action(post_mortem.pk, actor=owner, text="Tune it")
    write_post_mortem(post_mortem.pk, actor=owner, cause="A cause.", impact="An impact.")
    # Something to go back to again, and a candidate whose gate has passed.
    approve(propose(80, fixes=post_mortem), owner)
    approve(Promotion.objects.get(state=Promotion.State.AWAITING_OWNER), cfo)
    promotion = propose(95, fixes=post_mortem)
    assert promotion.state == Promotion.State.AWAITING_OWNER

    moment = now()
    partitions.forget()  # what other tests made is gone, and so will be what this one makes
    partitions.ensure_partitions([moment.date()])
    receipt = Receipt.objects.create(
        run_id="run-1", day=moment.date(), workflow=workflow, standing="authorised",
        started_at=moment, received_at=moment, body_sha256="0" * 64,
    )  # fmt: skip
    case = ExceptionCase.objects.create(
        workflow=workflow, kind="unattributed", group_key="g", severity=1, title="No release",
        first_at=moment, last_at=moment, opened_at=moment,
    )  # fmt: skip
    kpi = Kpi.objects.create(
        workflow=workflow, slug="escalation", name="Escalation rate", owner=owner,
        measure="escalated", unit="share",
    )  # fmt: skip
    this_week = period_of("weekly", moment.date())
    last_week = this_week.previous()
    ticked = last_week.previous()
    ChecklistItem.objects.filter(review=open_review("weekly", ticked.key)).update(
        done_at=moment, done_by=owner
    )
    job = Job.objects.create(
        kind="evals.run", slot="failed", payload={"workflow": workflow.slug}, run_at=moment,
        due_by=moment, created_at=moment, state=Job.State.FAILED, finished_at=moment,
    )  # fmt: skip
    token, _ = create_token("exporter", scopes=["receipts:write"], actor=TESTER)
    partitions.forget()
    found: World = {
        "": (),
        "kind": ("weekly",),
        "this week": ("weekly", this_week.key),
        "last week": ("weekly", last_week.key),
        "ticked week": ("weekly", ticked.key),
        "kpi": (kpi.pk,),
        "workflow": (workflow.slug,),
        "release": (live.pk,),
        "two releases": (live.pk, promotion.release_id),
        "new release": (live.pk,),
        "other release": (live.pk,),
        "promotion": (promotion.pk,),
        "gate report": (promotion.gate_report_id,),
        "post-mortem": (post_mortem.pk,),
        "action": (action.pk,),
        "eval run": (EvalRun.objects.filter(release=live)[0].pk,),
        "exception": (case.pk,),
        "receipt": (receipt.day.isoformat(), receipt.run_id),
        "job": (job.pk,),
        "token": (token.pk,),
    }
    cast = Cast(workflow, live, promotion, make_release, owner, cfo, builder)
    for area in AREAS:
        if hasattr(area, "extend"):
            area.extend(found, cast)
    return found


@pytest.fixture
def people(
    owner: User, controller: User, cfo: User, analyst: User, builder: User, auditor: User,
    admin: User, outsider: User,
) -> dict[str, User]:  # fmt: skip
    create_workflow("close", "Close automation", owner=controller, actor=TESTER)
    return {
        EXECUTIVE: cfo, OWNER: owner, OTHER_OWNER: controller, ANALYST: analyst,
        BUILDER: builder, AUDITOR: auditor, ADMIN: admin, OUTSIDER: outsider,
    }  # fmt: skip


@contextmanager
def undone() -> Iterator[None]:
    """Take back what happens inside, so that each request meets the same world."""
    block = transaction.atomic()
    vars(block)["_from_testcase"] = True  # what is durable may stand inside
    with block:
        yield
        transaction.set_rollback(True)


def got_through(client: Client, method: str, url: str, data: dict[str, Any]) -> bool:
    """Whether the answer was not a refusal: no 403, 404, 405, and not the login page."""
    with undone():
        answer = getattr(client, method)(url, data)
        if answer.streaming:
            for _ in answer.streaming_content:  # read to its end, a download closes its file
                pass
    assert answer.status_code != 500
    if answer.status_code == 302 and answer["Location"].startswith(("/login/?", "/reauth")):
        return False
    # 409 and 422 are answers to people who may; the table's data is right for each act, so
    # they would mean that the world lacks what the act needs.
    assert answer.status_code not in (409, 422), (url, answer.content.decode()[-3000:])
    return answer.status_code not in (403, 404, 405)


def test_every_url_has_its_row() -> None:
    names = [pattern.name for pattern in urlpatterns]
    (everything,) = get_resolver().url_patterns  # pages come from nowhere else
    assert isinstance(everything, URLResolver)
    assert everything.url_patterns == urlpatterns
    assert len(set(names)) == len(names)
    assert sum(len(area.ROWS) for area in AREAS) == len(TABLE)  # no area overwrites another
    assert set(names) == set(TABLE)


def test_each_role_gets_through_exactly_where_the_table_says(
    world: World, people: dict[str, User], confirmed: Callable[[User], Client]
) -> None:
    unexpected: list[str] = []
    for role in ROLES:
        client = Client() if role == NOBODY else confirmed(people[role])
        cookies = client.cookies.output(header="")
        for name, row in TABLE.items():
            if name in TWO_WORLDS:
                continue
            url = reverse(name, args=world[row.key])
            for method, allowed in (("get", row.get), ("post", row.post)):
                client.cookies = SimpleCookie(cookies)  # logging in and out change them
                data = row.data if method == "post" else {}
                if got_through(client, method, url, data) != (role in allowed):
                    word = "refused" if role in allowed else "let through"
                    unexpected.append(f"{method.upper()} {name}: {role} was {word}")
    assert unexpected == []


# These acts need a workflow in another state than the one in which the others are possible.
TWO_WORLDS = {"release-adopt", "promotion-propose"}


def test_adopting_and_proposing_follow_the_table_too(
    workflow: Workflow, suites: Any, policy: Any, make_release: Callable[..., Release],
    people: dict[str, User], confirmed: Callable[[User], Client],
) -> None:  # fmt: skip
    release = make_release()
    for role in ROLES:
        for name in sorted(TWO_WORLDS):
            row, url = TABLE[name], reverse(name, args=(release.pk,))
            client = Client() if role == NOBODY else confirmed(people[role])
            assert got_through(client, "get", url, {}) == (role in row.get), (role, name)
            assert got_through(client, "post", url, row.data) == (role in row.post), (role, name)


def test_an_outsider_reads_nothing_and_nobody_acts_without_the_csrf_token(
    world: World, owner: User, outsider: User, login: Callable[[User], Client], workflow: Workflow
) -> None:
    client = login(outsider)
    for name, row in TABLE.items():
        if OUTSIDER in row.get:
            answer = client.get(reverse(name, args=world[row.key]))
            page = answer.getvalue().decode()  # files are streamed
            assert workflow.name not in page, name

    careless = Client(enforce_csrf_checks=True)
    careless.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")
    for name, row in TABLE.items():
        if row.post:
            with undone():
                answer = careless.post(reverse(name, args=world[row.key]), row.data)
            assert answer.status_code == 403, name
